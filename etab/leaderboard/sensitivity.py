"""How far the value of a cell depends on choices that have little to do with its encoder.

The choices are the seed of the folds, the head, the layer, the precision of the backbone and the
release of the data. What is known of them comes from the repeats of the cell itself, and from other
results of the same task and backbone. Their values are computed from their predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from etab.leaderboard.admission.canonical import canonical_release
from etab.leaderboard.board import CONTROL, BoardRow, Sensitivity, kind_of
from etab.leaderboard.comparable import Cells, Tables
from etab.leaderboard.suites import Suite
from etab.leaderboard.variants import (
    DATA,
    FOLD_SEED,
    HEAD,
    LAYER,
    PRECISION,
    Variant,
    changed_choice,
    digits,
    is_marked,
    values_by_seed,
)
from etab.metrics.columns import ScoredRows
from etab.results import Result
from etab.results.names import NAME
from etab.storage.text import counted, printable
from etab.tasks.protocols import parse

_UNKNOWN = "not known"
_ALL_LAYERS = ("all maps", "all")
_NAMED_HEADS = 4
_NAMED_PROTOCOLS = 6


def sensitivities(
    cells: Cells, tables: Tables, variants: Sequence[Variant]
) -> dict[tuple[str, str], tuple[Sensitivity, ...]]:
    """Collect what is known of every choice for every cell of a board.

    Args:
        cells: The cells of the board.
        tables: Their predictions.
        variants: Other results of these cells.

    Returns:
        By backbone and task code: one entry for each of the seed of the folds, head, layer and
        precision, and one for the data where another release was computed.
    """
    of_cell: dict[tuple[str, str], list[Variant]] = {}
    for variant in variants:
        of_cell.setdefault((variant.result.backbone, variant.result.task), []).append(variant)
    known = {}
    for backbone, by_task in cells.items():
        for code, cell in by_task.items():
            table = ScoredRows.of(tables[backbone, code])
            known[backbone, code] = _of_cell(cell, table, of_cell.get((backbone, code), []))
    return known


def with_sensitivities(
    rows: Iterable[BoardRow], known: Mapping[tuple[str, str], tuple[Sensitivity, ...]]
) -> list[BoardRow]:
    """Add what is known of the cells to the rows of a board.

    Args:
        rows: The rows.
        known: What ``sensitivities`` returned.

    Returns:
        The rows in the same order.
    """
    return [
        replace(row, sensitivities={code: known[row.backbone, code] for code in row.cells})
        for row in rows
    ]


def _of_cell(
    cell: Result, table: ScoredRows, variants: Sequence[Variant]
) -> tuple[Sensitivity, ...]:
    by_choice: dict[str, list[Variant]] = {}
    for variant in variants:
        by_choice.setdefault(changed_choice(cell, variant.result), []).append(variant)
    found = [
        _fold_seed(cell, table, by_choice.get(FOLD_SEED, [])),
        _farthest(HEAD, cell, {v.result.head: v.value for v in by_choice.get(HEAD, [])}),
        _layer(cell),
        _precision(cell, by_choice.get(PRECISION, [])),
    ]
    if DATA in by_choice:
        values = {_release_name(cell, v.result): v.value for v in by_choice[DATA]}
        found.append(_farthest(DATA, cell, values))
    return tuple(found)


def _release_name(cell: Result, other: Result) -> str:
    """The digest of another release; of a published cell it says whether the other one is published."""
    mark = "unpublished-" if is_marked(cell, other) else ""
    return f"{mark}data:{other.data_digest[:8]}"


def _fold_seed(cell: Result, table: ScoredRows, variants: Sequence[Variant]) -> Sensitivity:
    """Standard deviation of one seed, over the repeats of a cell and its results by other seeds."""
    if parse(cell.protocol).sort != "cv":
        return Sensitivity(FOLD_SEED, "no folds are drawn")
    if not variants and len(table.of_repeats()) < 2:
        return Sensitivity(FOLD_SEED, _UNKNOWN)
    by_seed = values_by_seed(cell.metric, cell.seed, table)
    for variant in variants:
        by_seed |= variant.by_fold_seed
    values = list(by_seed.values())
    if len(values) < 2 or not np.isfinite(values).all():
        return Sensitivity(FOLD_SEED, _UNKNOWN)
    spread = float(np.std(values, ddof=1))
    return Sensitivity(FOLD_SEED, f"SD {digits(spread)} over {len(values)} seeds", spread)


def _farthest(choice: str, cell: Result, value_of: Mapping[str, float]) -> Sensitivity:
    """The value farthest from that on the board, among several other values."""
    if not value_of:
        return Sensitivity(choice, _UNKNOWN)
    name = max(value_of, key=lambda other: (abs(value_of[other] - cell.value), other))
    difference = value_of[name] - cell.value
    return Sensitivity(choice, f"{_shown(name)} {_signed(difference)}", difference)


def _precision(cell: Result, variants: Sequence[Variant]) -> Sensitivity:
    """The farthest other precision; a control has no network that a precision could change."""
    if not variants and kind_of(cell.backbone, [cell]) == CONTROL:
        return Sensitivity(PRECISION, "no network")
    others = {str(v.result.settings.get("precision")): v.value for v in variants}
    return _farthest(PRECISION, cell, others)


def _layer(cell: Result) -> Sensitivity:
    """How many layers the folds of a cell chose."""
    choices = [fold["choice"] for fold in cell.folds]
    if choices and all("candidates" in choice for choice in choices):
        return Sensitivity(LAYER, "all are weighted")
    names = [choice.get("features", choice.get("maps")) for choice in choices]
    if not names or not all(isinstance(name, str) for name in names):
        return Sensitivity(LAYER, _UNKNOWN)
    if all(name in _ALL_LAYERS for name in names):
        return Sensitivity(LAYER, "all are used")
    return Sensitivity(LAYER, f"{len(set(names))} chosen in {len(names)} folds")


def _shown(name: str) -> str:
    """A name from a result file where it is plain; free text never reaches a board."""
    return name if NAME.fullmatch(name) else "another one"


def _signed(difference: float) -> str:
    """A difference with its sign; one that rounds to zero has none."""
    size = digits(abs(difference))
    if float(size) == 0:
        return size
    return f"+{size}" if difference > 0 else f"-{size}"


def ranking_notes(
    cells: Cells, others: Sequence[Result], suite: Suite, unread: Sequence[str] = ()
) -> list[str]:
    """Say which results are ranked, and which of the same tasks are not.

    Args:
        cells: The cells of the board.
        others: The other results of the folder.
        suite: The suite of the board.
        unread: Reasons against other results whose predictions cannot be used.

    Returns:
        One sentence, a second one where the folder holds other results of these tasks, and a third
        one where some of these cannot be used.
    """
    ranked = [cell for by_task in cells.values() for cell in by_task.values()]
    notes = [f"Ranked: {_kinds(ranked)}. No other result enters a score or a rank."]
    of_suite = [result for result in others if result.task in suite.tasks]
    if of_suite:
        notes.append(
            f"In the folder and not ranked: {_kinds(of_suite)}. Where such a result differs from a "
            "ranked one only in head, seed or precision, it shows how far the cell depends on it."
        )
    if unread:
        notes.append(
            f"Not ranked and not readable: {counted(len(unread), 'result')}, first "
            f"{printable(unread[0])}"
        )
    return notes


def _kinds(results: Sequence[Result]) -> str:
    """Count results by protocol and seed, with the heads of each."""
    heads: dict[str, list[str]] = {}
    for result in results:
        name = f"{_shown(result.protocol)} with seed {result.seed}"
        heads.setdefault(name, []).append(_shown(result.head))
    words = []
    for name, used in sorted(heads.items())[:_NAMED_PROTOCOLS]:
        different = sorted(set(used))
        named = ", ".join(different[:_NAMED_HEADS])
        more = f" and {len(different) - _NAMED_HEADS} more" if different[_NAMED_HEADS:] else ""
        count = counted(len(used), "result")
        words.append(f"{count} by {name} (heads: {named}{more})")
    n_more = len(heads) - len(words)
    if n_more:
        words.append(f"and results by {n_more} more protocols or seeds")
    return "; ".join(words)


def release_notes(cells: Cells) -> list[str]:
    """Name the release of every dataset on a board of patients.

    Args:
        cells: The cells of the board.

    Returns:
        One sentence for each dataset; none for phantoms.
    """
    titles: dict[str, str] = {}
    for by_task in cells.values():
        for cell in by_task.values():
            if cell.phantom or cell.dataset in titles:
                continue
            release = canonical_release(cell)
            digest = cell.data_digest[:8]
            titles[cell.dataset] = (
                release.title
                if release
                else f"a release that etab has no canonical table of (digest {digest}), not to be "
                "compared with boards of another release"
            )
    return [f"Data of {name}: {title}." for name, title in sorted(titles.items())]
