"""The facts that a page states about a backbone: its card, if there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etab import backbones
from etab.backbones.computing import computing_facts
from etab.leaderboard.board import RANDOM_TWIN, Board, BoardRow

# Names of libraries whose cards are read without a network.
_OFFLINE = ("timm/", "torchvision/")


def card_facts(board: Board) -> dict[str, dict[str, Any]]:
    """Collect what is known of each backbone.

    Args:
        board: The board.

    Returns:
        By the name of the backbone: family, modality, parameters, width, pretraining with its
        datasets, licence, source, title, and what was counted and timed of it
        (``computing_facts``). A name that only its author knows has what its results state. No
        weights are read, and nothing is fetched.
    """
    computing = computing_facts()
    unknown: dict[str, Any] = {"gmacs": None, "per_second": None, "counted": "", "machine": ""}
    facts: dict[str, dict[str, Any]] = {}
    for row in board.rows:
        # A random twin is the same network, so that it computes as much.
        measured = computing.get(row.backbone.removeprefix("random/"), unknown)
        facts[row.backbone] = _facts(row) | measured
    return facts


def _facts(row: BoardRow) -> dict[str, Any]:
    settings = _settings(row)
    facts: dict[str, Any] = {
        "family": str(settings.get("family", "")),
        "modality": "",
        "params": None,
        "dim": None,
        "input": _input(settings.get("size")),
        "pretraining": "",
        "sets": [],
        "licence": "",
        "source": "",
        "title": row.backbone,
    }
    known = _card(row.backbone)
    if known is None:
        facts["pretraining"] = _stated(row)
        return facts
    facts |= {
        "family": known.family,
        "modality": known.modality,
        "params": known.params,
        "dim": known.dim,
        "pretraining": known.pretraining,
        "sets": list(known.pretraining_sets),
        "licence": known.licence,
        "source": known.source,
        "title": known.title,
    }
    if row.kind == RANDOM_TWIN:
        facts["pretraining"] = "none: random weights"
    return facts


def _stated(row: BoardRow) -> str:
    """The pretraining that the results state."""
    first = next(iter(row.cells.values()), None)
    return "" if first is None else str(first.provenance.get("pretraining", ""))


def _input(size: object) -> str:
    """The side of the pictures in words; size 0 is that of a control without pictures."""
    return f"{size} x {size} pixels" if isinstance(size, int) and size else str(size or "")


def _settings(row: BoardRow) -> Mapping[str, Any]:
    first = next(iter(row.cells.values()), None)
    return {} if first is None else first.settings


def _card(name: str) -> backbones.BackboneCard | None:
    """The card of a name that this installation knows without a network, or None."""
    base = name.removeprefix("random/")
    listed = base in {*backbones.names(), *backbones.optional()}
    if not listed and not base.startswith(_OFFLINE):
        return None
    cards, _ = backbones.cards([name])
    return cards[0] if cards else None
