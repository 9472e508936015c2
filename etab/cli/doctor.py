"""The report of ``etab doctor``: packages, extras, device, data, weights and cache."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

from etab import __version__, backbones, datasets, phantom
from etab.cli.cache import default_cache, size_words
from etab.errors import DataNotFoundError, EtabError
from etab.features.budget import folder_size
from etab.runs.provenance import provenance
from etab.storage.machine import allowed_cores
from etab.storage.text import counted

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "nibabel",
)


# Modules that each extra of the package installs, and what they are for.
_EXTRAS = {
    "audio": (("transformers", "torchaudio"), "sound models by name"),
    "birdnet": (("ai_edge_litert",), "the network birdnet"),
    "decoders": (("segmentation_models_pytorch",), "decoders of segmentation networks"),
    "dicom": (("pydicom",), "DICOM files"),
    "fetch": (("physionet",), "downloads of free data: etab data fetch"),
    "onnx": (("onnxruntime",), "encoders in ONNX files: onnx:<file>"),
    "open_clip": (("open_clip",), "models of open_clip by name"),
    "openvino": (("openvino",), "faster networks: --precision bf16-openvino"),
    "parquet": (("pyarrow", "pywt"), "Parquet tables"),
    "ray": (("ray",), "runs on a cluster: etab run --executor ray"),
    "slurm": (("submitit",), "runs on a cluster: etab run --executor slurm"),
    "transformers": (("transformers",), "models of transformers by name or folder"),
    "video": (("av",), "videos in H.264 and other codecs"),
    "weights": (("onnx", "h5py"), "weights that travel as ONNX or Keras files"),
    "zarr": (("zarr",), "EchoXFlow, which is published as Zarr stores"),
}


@dataclass(frozen=True, slots=True)
class SystemFinding:
    """One line of the report.

    Attributes:
        topic: What it is about: installed, extra, device, data, weights, backbone, calibration or
            cache.
        name: The package, dataset, backbone or device.
        ok: Whether it can be used; None for plain information.
        detail: What was found, in words.
        next_step: What to do next; empty where there is nothing to do.
    """

    topic: str
    name: str
    ok: bool | None
    detail: str
    next_step: str = ""


def _packages() -> list[SystemFinding]:
    facts = provenance(__version__)
    version = f"{__version__}, Python {facts['python']}, {facts['processor']}"
    findings = [SystemFinding("installed", "etab", None, version)]
    for name in _PACKAGES:
        present = facts[name] != "absent"
        next_step = "" if present else f"pip install {name}"
        findings.append(SystemFinding("installed", name, present, str(facts[name]), next_step))
    return findings


def _device() -> SystemFinding:
    if importlib.util.find_spec("torch") is None:
        return SystemFinding("device", "torch", False, "absent", "pip install torch torchvision")
    import torch

    from etab.features.store import has_bf16

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        return SystemFinding("device", "cuda", True, name, "etab run --device cuda")
    precision = "no bf16 in hardware, fp32 is used"
    if has_bf16("cpu"):
        precision = "bf16 in hardware, used by default"
    return SystemFinding("device", "cpu", True, f"{allowed_cores()} cores, {precision}")


def _extras() -> list[SystemFinding]:
    findings = []
    for extra, (modules, purpose) in _EXTRAS.items():
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        detail = purpose
        step = ""
        if absent:
            detail = f"{purpose}; {', '.join(absent)} is not installed"
            step = f'pip install "etab-bench[{extra}]"'
        findings.append(SystemFinding("extra", extra, None if absent else True, detail, step))
    return findings


def _data(name: str) -> SystemFinding:
    try:
        source = datasets.source(name)
        mark = " (PHANTOM)" if source.phantom else ""
        detail = f"{counted(len(source.records()), 'recording')} in {source.root}{mark}"
    except DataNotFoundError:
        return SystemFinding("data", name, None, "no folder found", _next_for_data(name))
    except EtabError as error:
        first_sentence = str(error).split(". ")[0]
        return SystemFinding("data", name, False, first_sentence, f"etab data check {name}")
    return SystemFinding("data", name, True, detail)


def _next_for_data(name: str) -> str:
    """How to get a dataset, and how to try it without patients where that is possible."""
    access = datasets.SOURCES[name].card.access
    steps = [access, f"then: export ETAB_{name.upper()}_DIR=FOLDER"]
    if name in (*phantom.NAMES, *phantom.BY_NAME):
        steps.append(f"or try phantom data: etab data phantom DIR --data {name}")
    return "; ".join(steps)


def _weights(name: str) -> SystemFinding | None:
    """The state of the weights of a backbone; None for weights that are fetched when needed."""
    from etab.backbones.weights import index as weights
    from etab.backbones.weights.formats import READERS

    reader = READERS.get(weights.entry(name)["format"], "")
    if reader and importlib.util.find_spec(reader) is None:
        next_step = 'pip install "etab-bench[weights]"'
        return SystemFinding(
            "weights", name, False, f"read by {reader}, which is absent", next_step
        )
    if weights.at_hand(name):
        return SystemFinding("weights", name, True, "on this machine")
    return None


def _all_weights(names: Sequence[str]) -> list[SystemFinding]:
    findings = []
    waiting = []
    for name in names:
        finding = _weights(name)
        if finding is None:
            waiting.append(name)
        else:
            findings.append(finding)
    if waiting:
        detail = f"not on this machine: {', '.join(waiting)}"
        step = "etab run fetches weights from the package index when they are first used"
        findings.append(
            SystemFinding("weights", counted(len(waiting), "backbone"), None, detail, step)
        )
    return findings


def _cache() -> SystemFinding:
    folder = default_cache()
    size = folder_size(folder)
    step = ""
    if size:
        step = f"etab cache lists what it holds; etab cache --clear deletes it ({folder})"
    return SystemFinding("cache", "features", None, f"{size_words(size)} in {folder}", step)


def _calibrations() -> list[SystemFinding]:
    """The measurements for --precision fastest on this machine."""
    from etab.features.calibration import stored_calibrations

    findings = []
    for stored in stored_calibrations():
        gain = stored.seconds["fp32"] / stored.seconds[stored.precision]
        detail = (
            f"{stored.precision} on {stored.device}, {gain:.1f} times fp32, features differ by "
            f"{stored.differences[stored.precision]:.2g} (of {stored.machine})"
        )
        findings.append(SystemFinding("calibration", stored.backbone, None, detail))
    return findings


def examine() -> list[SystemFinding]:
    """Look at packages, device, data and weights. Nothing is downloaded or written.

    Returns:
        The lines of the report, in the order in which they are shown.
    """
    cards, faults = backbones.cards(backbones.names())
    faults |= backbones.cards(backbones.installed())[1]
    faults |= backbones.hidden()
    return [
        *_packages(),
        _device(),
        *_extras(),
        *[_data(name) for name in datasets.SOURCES],
        *_all_weights([card.name for card in cards if card.learned and not card.twin]),
        *[SystemFinding("backbone", name, False, fault) for name, fault in faults.items()],
        *_calibrations(),
        _cache(),
    ]
