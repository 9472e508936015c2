"""What is installed, which data and weights are found, which device there is, and what to do next."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from etab import __version__, backbones, datasets
from etab.errors import EtabError
from etab.runs.provenance import provenance
from etab.storage.machine import allowed_cores


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: ``ok`` is None for plain information."""

    topic: str
    name: str
    ok: bool | None
    said: str
    next_step: str = ""


def _packages() -> list[Finding]:
    facts = provenance(__version__)
    lines = [
        Finding(
            "installed",
            "etab",
            None,
            f"{__version__}, Python {facts['python']}, {facts['processor']}",
        )
    ]
    for name in (
        "torch",
        "torchvision",
        "timm",
        "numpy",
        "scipy",
        "opencv-python-headless",
        "nibabel",
    ):
        there = facts[name] != "absent"
        lines.append(
            Finding(
                "installed", name, there, str(facts[name]), "" if there else f"pip install {name}"
            )
        )
    return lines


def _device() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("device", "torch", False, "absent", "pip install torch torchvision")
    import torch

    from etab.features.store import has_bf16

    if torch.cuda.is_available():
        return Finding(
            "device", "cuda", True, torch.cuda.get_device_name(0), "etab run --device cuda"
        )
    fast = (
        "bf16 in hardware, used by default"
        if has_bf16("cpu")
        else "no bf16 in hardware, fp32 is used"
    )
    return Finding("device", "cpu", True, f"{allowed_cores()} cores, {fast}")


def _data(name: str) -> Finding:
    try:
        source = datasets.source(name)
        made = " (PHANTOM)" if source.phantom else ""
        return Finding(
            "data", name, True, f"{len(source.records())} recordings in {source.root}{made}"
        )
    except EtabError as error:
        first = str(error).split(". ")[0]
        step = f"{datasets.SOURCES[name].card.access} Or try made data: etab data phantom DIR"
        return Finding("data", name, False, first, step)


def _weights(name: str) -> Finding:
    from etab.backbones.weights import index as weights

    if weights.at_hand(name):
        return Finding("weights", name, True, "on this machine")
    return Finding(
        "weights", name, None, "not fetched yet", "fetched from the package index on first use"
    )


def examine() -> list[Finding]:
    """Look at packages, device, data and weights; downloads nothing and writes nothing."""
    cards = [backbones.card(n) for n in backbones.names()]
    return [
        *_packages(),
        _device(),
        *[_data(name) for name in datasets.SOURCES],
        *[_weights(c.name) for c in cards if c.learned and not c.twin],
    ]


def default_cache() -> Path:
    """ETAB_CACHE, or ``~/.cache/etab``."""
    return Path(os.environ.get("ETAB_CACHE") or Path.home() / ".cache" / "etab")
