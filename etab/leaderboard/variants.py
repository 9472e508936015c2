"""Variants of the cells of a board: results that differ from a cell in one choice, as the head."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from etab.errors import DataNotFoundError, EtabError, ResultError
from etab.leaderboard.admission.canonical import (
    is_published_cell,
    is_published_variant,
    other_rows,
)
from etab.leaderboard.admission.files import record_files
from etab.leaderboard.admission.ranges import scorable_predictions
from etab.leaderboard.comparable import SAME_FIELDS, SAME_SETTINGS, Cells, Tables
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.results import Predictions, Result
from etab.results.names import wrong_own_name

FOLD_SEED = "fold seed"
HEAD = "head"
LAYER = "layer"
PRECISION = "precision"
DATA = "data"
CHOICES = (FOLD_SEED, HEAD, LAYER, PRECISION, DATA)

# Facts that a cell and its variants share. The protocol is one of them: a single division into folds
# is drawn in another way than several ones, which is more than one choice.
_ALIKE = (
    "weights_sha256",
    "phantom",
    "protocol",
    *(name for name in SAME_FIELDS if name not in ("head", "data_digest")),
)


@dataclass(frozen=True, slots=True)
class Variant:
    """A result that differs from a cell of the board in one choice.

    Attributes:
        result: The record.
        path: The file of the record.
        value: The value of the metric, computed from its predictions.
        by_fold_seed: The value of each division into folds, by the seed of the division.
    """

    result: Result
    path: Path
    value: float
    by_fold_seed: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Variants:
    """The variants of the cells of a board, and the results that are not used as variants.

    Attributes:
        known: The variants that no other result contradicts.
        unread: A reason for each result whose predictions cannot be used.
        contradictions: A sentence for each result, or set of results, that contradicts another one.
        unpublished: The files of results that would say something about a published cell and were
            not published themselves.
    """

    known: tuple[Variant, ...]
    unread: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    unpublished: tuple[Path, ...] = ()


Other = tuple[Result, Path]
"""A result that is not ranked, and the folder of results that it lies in."""


def results_of(folder: Path) -> tuple[list[Other], list[str]]:
    """Read the records of a folder that holds variants only, and no cells of a board.

    Args:
        folder: A folder of results.

    Returns:
        The records, and one reason for each file that cannot be used.

    Raises:
        DataNotFoundError: There is no such folder, or it holds no record.
    """
    files = record_files(folder)
    if not files.records and not files.refused:
        missing = "holds no results" if folder.is_dir() else "is not a folder of results"
        raise DataNotFoundError(
            f"{folder} {missing}. Name a folder that `etab run --results` wrote, as variants of "
            "this board."
        )
    problems = [f"{path}: {reason}" for path, reason in files.refused.items()]
    others: list[Other] = []
    for path in files.records:
        try:
            result = Result.load(path)
        except EtabError as error:
            problems.append(str(error))
            continue
        reason = wrong_own_name(result.backbone)
        if reason:
            problems.append(f"{path}: {reason}")
        else:
            others.append((result, folder))
    return others, problems


def variants_of(cells: Cells, tables: Tables, others: Iterable[Other]) -> Variants:
    """Select the results that differ from a cell of the board in one choice.

    Two results of the same choices may have different values, for instance because they come from
    two machines or from a changed copy of the data. It is unknown which of them is right, so neither
    is used. A result that contradicts the ranked cell itself is not used either.

    A name and a digest of weights are copied easily, so that of a published cell only published
    results are used. A result on another release of the data is used and marked, see ``is_marked``:
    no release is published in all its variants.

    Args:
        cells: The cells of the board.
        tables: The predictions of the cells.
        others: Other results, each with its folder.

    Returns:
        The variants, and a sentence for each result that is not used.
    """
    found: list[Variant] = []
    unread: list[str] = []
    unpublished: list[Path] = []
    for result, folder in others:
        cell = cells.get(result.backbone, {}).get(result.task)
        if cell is None or not _is_same_question(cell, result):
            continue
        changed = _changed(cell, result)
        is_copy = not changed and result.predictions_sha256 == cell.predictions_sha256
        if is_copy or len(changed) > 1:
            continue
        if changed != [DATA] and _is_unpublished_beside(cell, result, changed):
            unpublished.append(result.path(folder))
            continue
        try:
            predictions = scorable_predictions(result, folder)
            _refuse_other_rows(result, predictions)
            table = ScoredRows.of(predictions)
            value = METRICS[cell.metric].value(table)
        except EtabError as error:
            unread.append(str(error))
            continue
        by_seed = values_by_seed(cell.metric, result.seed, table)
        found.append(Variant(result, result.path(folder), value, by_seed))
    known, contradictions = _without_contradictions(found, cells, tables)
    return Variants(tuple(known), tuple(unread), tuple(contradictions), tuple(unpublished))


def _is_unpublished_beside(cell: Result, other: Result, changed: Sequence[str]) -> bool:
    """Whether a cell is published, and a result of the same backbone is not.

    Precisions are no part of the key of a published cell, so that another one is looked up among the
    published variants alone.
    """
    if not is_published_cell(cell) or is_published_variant(other):
        return False
    return PRECISION in changed or not is_published_cell(other)


def is_marked(cell: Result, other: Result) -> bool:
    """Whether a variant of a published cell was not published, and is shown as such.

    Args:
        cell: The cell of the board.
        other: The record of a variant.
    """
    return _is_unpublished_beside(cell, other, _changed(cell, other))


def _refuse_other_rows(result: Result, table: Predictions) -> None:
    """Refuse a result that was not tested on the rows of its release."""
    reason = other_rows(result, table)
    if reason:
        raise ResultError(f"{result.task} with {result.backbone}: {reason}.")


def changed_choice(cell: Result, other: Result) -> str:
    """Name the one choice in which a result differs from a cell of the board.

    Args:
        cell: The cell.
        other: A result of the same task and backbone.

    Returns:
        One of ``CHOICES``; empty where the results differ in several choices, in none, or in
        something that makes them results of another question.
    """
    changed = _changed(cell, other) if _is_same_question(cell, other) else []
    return changed[0] if len(changed) == 1 else ""


def _is_same_question(cell: Result, other: Result) -> bool:
    """Whether two results differ in nothing but choices."""
    return (
        not other.bad
        and all(getattr(cell, name) == getattr(other, name) for name in _ALIKE)
        and all(cell.settings.get(name) == other.settings.get(name) for name in SAME_SETTINGS)
    )


def _changed(cell: Result, other: Result) -> list[str]:
    differs = {
        FOLD_SEED: cell.seed != other.seed,
        HEAD: cell.head != other.head,
        PRECISION: cell.settings.get("precision") != other.settings.get("precision"),
        DATA: cell.data_digest != other.data_digest,
    }
    return [choice for choice, is_other in differs.items() if is_other]


def _without_contradictions(
    found: Sequence[Variant], cells: Cells, tables: Tables
) -> tuple[list[Variant], list[str]]:
    """Remove repeated and contradicting variants; return the rest, and the contradictions in words."""
    same_choices: dict[tuple[object, ...], list[Variant]] = {}
    for variant in found:
        result = variant.result
        precision = str(result.settings.get("precision"))
        choices = (result.seed, result.head, precision, result.data_digest)
        same_choices.setdefault((result.backbone, result.task, *choices), []).append(variant)
    known: list[Variant] = []
    notes: list[str] = []
    for variants in same_choices.values():
        first = variants[0].result
        cell = cells[first.backbone][first.task]
        if not changed_choice(cell, first):
            other_values = [one for one in variants if _differ(one.value, cell.value)]
            notes += [_against_cell(one, cell, cell.value, one.value) for one in other_values]
        elif _differ(*_ends(variants)):
            lowest = min(variants, key=lambda one: one.value)
            highest = max(variants, key=lambda one: one.value)
            notes.append(_against_each_other(lowest, highest, cell, *_ends(variants)))
        else:
            known.append(variants[0])
    refused, more = _contradicting_folds(known, cells, tables)
    return [variant for variant in known if variant.path not in refused], [*notes, *more]


def _contradicting_folds(
    known: Sequence[Variant], cells: Cells, tables: Tables
) -> tuple[set[Path], list[str]]:
    """Find results of different seeds that share a division into folds and disagree on its value.

    Returns:
        The files of these results, and a sentence for each pair that disagrees.
    """
    by_cell: dict[tuple[str, str], list[Variant]] = {}
    for variant in known:
        cell = cells[variant.result.backbone][variant.result.task]
        if changed_choice(cell, variant.result) == FOLD_SEED:
            by_cell.setdefault((cell.backbone, cell.task), []).append(variant)
    refused: set[Path] = set()
    notes: list[str] = []
    for (backbone, code), variants in by_cell.items():
        cell = cells[backbone][code]
        own = values_by_seed(cell.metric, cell.seed, ScoredRows.of(tables[backbone, code]))
        for variant in variants:
            values = _first_difference(own, variant.by_fold_seed)
            if values:
                refused.add(variant.path)
                notes.append(_against_cell(variant, cell, *values))
        for one, other in combinations(variants, 2):
            values = _first_difference(one.by_fold_seed, other.by_fold_seed)
            if values and not {one.path, other.path} & refused:
                refused |= {one.path, other.path}
                notes.append(_against_each_other(one, other, cell, *values))
    return refused, notes


def _first_difference(
    one: Mapping[int, float], other: Mapping[int, float]
) -> tuple[float, float] | None:
    """The two values of the first shared division into folds on which two results disagree."""
    for seed in sorted(one.keys() & other.keys()):
        if _differ(one[seed], other[seed]):
            return one[seed], other[seed]
    return None


def _ends(variants: Sequence[Variant]) -> tuple[float, float]:
    values = [variant.value for variant in variants]
    return min(values), max(values)


def _differ(one: float, other: float) -> bool:
    """Whether two values differ in the decimals that a board shows."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) != math.isnan(other)
    return digits(abs(one - other)) != digits(0.0)


def _against_each_other(
    one: Variant, other: Variant, cell: Result, value: float, other_value: float
) -> str:
    return (
        f"{one.path} and {other.path} are results of {cell.task} with {cell.backbone} by the same "
        f"choices, and have {cell.metric} {digits(value)} and {digits(other_value)}. Neither of "
        "them counts."
    )


def _against_cell(variant: Variant, cell: Result, own: float, other: float) -> str:
    return (
        f"{variant.path} has {cell.metric} {digits(other)} where the ranked result of {cell.task} "
        f"with {cell.backbone} has {digits(own)}, by the same choices. The ranked one counts."
    )


def values_by_seed(metric: str, seed: int, table: ScoredRows) -> dict[int, float]:
    """Compute the value of each division of the patients into folds.

    Args:
        metric: Name of the metric.
        seed: Seed of the result.
        table: Its rows.

    Returns:
        Values by the seed of the division: repeat r of a run has its seed plus r. NaN where the
        metric does not exist.
    """
    values = [_value_or_nan(metric, table.select(part)) for part in table.of_repeats()]
    return dict(enumerate(values, start=seed))


def _value_or_nan(metric: str, rows: ScoredRows) -> float:
    try:
        return METRICS[metric].value(rows)
    except EtabError:
        return float("nan")


def digits(value: float) -> str:
    """Write a value of 0 or more with the decimals that a board shows.

    Args:
        value: The value.

    Returns:
        Three decimals below 2, else two.

    Example:
        >>> digits(0.7125), digits(7.125)
        ('0.713', '7.12')
    """
    return f"{value:.2f}" if value >= 2 else f"{value:.3f}"
