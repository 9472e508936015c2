"""How far the value of a cell depends on choices that have little to do with its encoder.

The choices are the seed of the folds, the head, the layer, the precision of the backbone and the
release of the data. What is known of them comes from the repeats of the cell itself, and from other
results of the same task and backbone. Their values are computed from their predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from etab.errors import DataNotFoundError, EtabError
from etab.leaderboard.admission.canonical import canonical_release
from etab.leaderboard.admission.files import record_files
from etab.leaderboard.board import CONTROL, BoardRow, Sensitivity, kind_of
from etab.leaderboard.comparable import SAME_FIELDS, SAME_SETTINGS, Cells, Tables
from etab.leaderboard.suites import Suite
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.results import Result
from etab.results.names import NAME, wrong_name
from etab.storage.text import printable
from etab.tasks.protocols import parse

FOLD_SEED = "fold seed"
HEAD = "head"
LAYER = "layer"
PRECISION = "precision"
DATA = "data"
CHOICES = (FOLD_SEED, HEAD, LAYER, PRECISION, DATA)

_UNKNOWN = "not known"
# Facts that two results of one cell share where they differ in a choice. One division into folds
# and several are drawn differently, so that they differ in more than a choice.
_ALIKE = (
    "weights_sha256",
    "phantom",
    "protocol",
    *(name for name in SAME_FIELDS if name not in ("head", "data_digest")),
)
_ALL_LAYERS = ("all maps", "all")
_NAMED_HEADS = 4
_NAMED_PROTOCOLS = 6


@dataclass(frozen=True, slots=True)
class Variant:
    """Another result of a cell of the board.

    Attributes:
        result: The record.
        value: The value of the metric, computed from its predictions.
        by_fold_seed: The value of each division into folds, by the seed of the division.
    """

    result: Result
    value: float
    by_fold_seed: Mapping[int, float]


Other = tuple[Result, Path]
"""A result that is not ranked, and the folder of results that it lies in."""


def results_of(folder: Path) -> tuple[list[Other], list[str]]:
    """Read the records of a folder that is looked at for variants alone.

    Args:
        folder: A folder of results.

    Returns:
        The records, and one reason for each file that cannot be used.

    Raises:
        DataNotFoundError: There is no such folder, or it holds no record.
    """
    files = record_files(folder)
    if not files.records and not files.refused:
        missing = "holds no results" if folder.is_dir() else "is no folder of results"
        raise DataNotFoundError(
            f"{folder} {missing}. Name a folder that `etab run --results` wrote, as variants of this "
            "board."
        )
    problems = [f"{path}: {reason}" for path, reason in files.refused.items()]
    others: list[Other] = []
    for path in files.records:
        try:
            result = Result.load(path)
        except EtabError as error:
            problems.append(str(error))
            continue
        reason = wrong_name(result.backbone)
        if reason:
            problems.append(f"{path}: {reason}")
        else:
            others.append((result, folder))
    return others, problems


def variants_of(cells: Cells, others: Iterable[Other]) -> tuple[list[Variant], list[str]]:
    """Select the results that differ from a cell of the board in one choice.

    Args:
        cells: The cells of the board.
        others: Other results, each with its folder.

    Returns:
        The variants, and one reason for each result whose predictions cannot be used.
    """
    variants: list[Variant] = []
    problems: list[str] = []
    for result, folder in others:
        cell = cells.get(result.backbone, {}).get(result.task)
        if cell is None or not changed_choice(cell, result):
            continue
        try:
            table = ScoredRows.of(result.predictions(folder))
            value = METRICS[cell.metric].value(table)
        except EtabError as error:
            problems.append(str(error))
            continue
        variants.append(Variant(result, value, _by_fold_seed(cell.metric, result.seed, table)))
    return variants, problems


def changed_choice(cell: Result, other: Result) -> str:
    """Name the one choice in which a result differs from a cell of the board.

    Args:
        cell: The cell.
        other: A result of the same task and backbone.

    Returns:
        One of ``CHOICES``; empty where the results differ in several choices, in none, or in
        something that makes them results of another question.
    """
    alike = (
        not other.bad
        and all(getattr(cell, name) == getattr(other, name) for name in _ALIKE)
        and all(cell.settings.get(name) == other.settings.get(name) for name in SAME_SETTINGS)
    )
    if not alike:
        return ""
    differs = {
        FOLD_SEED: cell.seed != other.seed,
        HEAD: cell.head != other.head,
        PRECISION: cell.settings.get("precision") != other.settings.get("precision"),
        DATA: cell.data_digest != other.data_digest,
    }
    changed = [choice for choice, is_other in differs.items() if is_other]
    return changed[0] if len(changed) == 1 else ""


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
        values = {f"data:{v.result.data_digest[:8]}": v.value for v in by_choice[DATA]}
        found.append(_farthest(DATA, cell, values))
    return tuple(found)


def _fold_seed(cell: Result, table: ScoredRows, variants: Sequence[Variant]) -> Sensitivity:
    """Standard deviation of one seed, over the repeats of a cell and its results by other seeds."""
    if parse(cell.protocol).sort != "cv":
        return Sensitivity(FOLD_SEED, "no folds are drawn")
    if not variants and len(table.of_repeats()) < 2:
        return Sensitivity(FOLD_SEED, _UNKNOWN)
    by_seed = _by_fold_seed(cell.metric, cell.seed, table)
    for variant in variants:
        by_seed |= variant.by_fold_seed
    values = list(by_seed.values())
    if len(values) < 2 or not np.isfinite(values).all():
        return Sensitivity(FOLD_SEED, _UNKNOWN)
    spread = float(np.std(values, ddof=1))
    return Sensitivity(FOLD_SEED, f"SD {_digits(spread)} over {len(values)} seeds", spread)


def _by_fold_seed(metric: str, seed: int, table: ScoredRows) -> dict[int, float]:
    """The value of each division into folds by its seed: repeat r of a run has its seed plus r."""
    values = [_value_or_nan(metric, table.select(part)) for part in table.of_repeats()]
    return dict(enumerate(values, start=seed))


def _value_or_nan(metric: str, rows: ScoredRows) -> float:
    try:
        return METRICS[metric].value(rows)
    except EtabError:
        return float("nan")


def _farthest(choice: str, cell: Result, value_of: Mapping[str, float]) -> Sensitivity:
    """Of several other values, the one farthest from the value on the board."""
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
    digits = _digits(abs(difference))
    if float(digits) == 0:
        return digits
    return f"+{digits}" if difference > 0 else f"-{digits}"


def _digits(value: float) -> str:
    return f"{value:.2f}" if value >= 2 else f"{value:.3f}"


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
            "ranked one in head, seed or precision alone, it shows how far the cell depends on it."
        )
    if unread:
        notes.append(
            f"Not ranked and not readable: {len(unread)} results, first {printable(unread[0])}"
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
        count = "1 result" if len(used) == 1 else f"{len(used)} results"
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
