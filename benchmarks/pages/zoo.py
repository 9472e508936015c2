"""The model zoo page: cards of the registry beside what ``benchmarks/perf/zoo.json`` holds of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etab import backbones
from etab.backbones.base import BackboneCard
from etab.cli.listing import ListTable
from etab.legacy import names

MEASURED = Path(__file__).resolve().parents[1] / "perf" / "zoo.json"
FAMILIES = {
    "cnn": "Convolutional networks",
    "vit": "Vision transformers",
    "lstm": "Recurrent networks",
    "control": "Controls (nothing learned)",
}
_INTRO = """What can be named, by family. Parameters are in millions; GMACs are billions of multiply-adds of one input,
counted with torch's own counter over convolutions and matrix products, and by the steps of recurrent layers; throughput is
inputs a processor second on one thread ({setup}). `python -m benchmarks.perf.zoo` measures, `python -m benchmarks.pages.generate` writes
this page.

Besides these, `timm/<model>`, `torchvision/<model>`, `hf-hub:<owner>/<model>`, `local:<file>@<model>`, `random/<name>` (the
same network without its pretraining) and any torch module or function of yours ([adding](../adding.md)).
"""
_OLD = """The names of 2022 are architectures, as they were then: at random initialisation, or with `pretrained=True` with
the weights of their library, which need a network once. UniFormer and ResT are in no library that etab builds on and are
refused with the nearest that is. Licences are those of the library's weights or code.
"""


def _number(value: Any, scale: float = 1.0, digits: int = 2) -> str:
    return "not measured" if value is None else f"{value / scale:.{digits}f}"


def contract(card: BackboneCard) -> str:
    """What a backbone wants to hear or see, from its card."""
    rate = getattr(card, "rate", None)
    if card.modality == "sound" and rate:
        window = f", windows of {card.seconds:g} s" if getattr(card, "seconds", 0.0) else ""
        return f"mono waveform at {rate:g} Hz{window}, full scale at 1"
    if not card.learned:
        return f"grey {card.size} x {card.size}"
    mean, std = (
        ", ".join(f"{v:g}" for v in dict.fromkeys(values)) for values in (card.mean, card.std)
    )
    return f"grey {card.size} x {card.size} ({card.interpolation}), three equal channels in [0, 1], less {mean}, over {std}"


def _row(card: BackboneCard, facts: Mapping[str, Any]) -> tuple[str, ...]:
    speed, said = (
        facts.get("per_second"),
        "reads records" if card.modality == "record" else "not measured",
    )
    return (
        f"`{card.name}`",
        card.title,
        _number(facts.get("parameters"), 1e6),
        _number(facts.get("gmacs")),
        card.pretraining or "none",
        card.licence,
        contract(card),
        said if speed is None else f"{speed:g}",
    )


def _family(name: str) -> str:
    return FAMILIES.get(name, name.capitalize())


def page(note: str) -> str:
    """The page as Markdown."""
    held = json.loads(MEASURED.read_text())
    setup = held["setup"]
    said = f"{setup['processor']}, {setup['precision']}, batches of {setup['batch']}"
    parts = ["# Model zoo\n", note, _INTRO.format(setup=said)]
    cards = [backbones.card(name) for name in backbones.names()]
    head = (
        "name",
        "what it is",
        "parameters",
        "GMACs",
        "pretraining",
        "licence",
        "input",
        "inputs/s",
    )
    for family in dict.fromkeys(card.family for card in cards):
        rows = tuple(
            _row(c, held["backbones"].get(c.name, {})) for c in cards if c.family == family
        )
        parts.append(f"## {_family(family)}\n\n{ListTable('', head, rows).markdown()}")
    old = []
    for printed, there in names.ARCHITECTURES.items():
        facts = held["architectures"].get(printed, {})
        licence = names.architecture(printed).licence
        old.append(
            (
                f"`{printed}`",
                there,
                _number(facts.get("parameters"), 1e6),
                _number(facts.get("gmacs")),
                licence,
                f"{facts['size']} px" if "size" in facts else "not measured",
            )
        )
    table = ListTable(
        "", ("2022 name", "today", "parameters", "GMACs", "licence", "input"), tuple(old)
    )
    return "\n".join([*parts, f"## Architectures of 2022\n\n{_OLD}\n{table.markdown()}"])
