"""Whether a record says what its predictions say, and nothing else."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from etab.errors import EtabError, UndefinedError
from etab.leaderboard.admission.stated import wrong_statements
from etab.metrics import METRICS
from etab.metrics.by_table import ValuesOfTable, values_by_table
from etab.metrics.columns import ScoredRows, class_scores
from etab.metrics.intervals import LEVEL, intervals_together
from etab.metrics.uncertainty import OVER_PATIENTS, ConfidenceInterval
from etab.results import Predictions, Result
from etab.results.fields import is_number
from etab.results.row_names import n_distinct
from etab.tasks.base import Task
from etab.tasks.protocols import parse
from etab.types import Array, IntArray, Kind

_TOLERANCE = 1e-6
_OF_NOTHING = hashlib.sha256(b"").hexdigest()
_METRIC_NAME = re.compile(r"[A-Za-z0-9_]{1,60}")


Known = Mapping[str, ValuesOfTable]
"""Metrics of a table by name, computed together with those of other tables, up to rounding."""


def contradictions(
    result: Result,
    table: Predictions,
    task: Task,
    known: Known | None = None,
) -> list[str]:
    """List what a record states and its predictions or its task do not support.

    The interval is not among it: ``wrong_intervals`` checks those of many records at once.

    Args:
        result: The record.
        table: Its predictions.
        task: The task that the record names.
        known: What ``known_values`` computed of the table; a value that differs from the stated one
            is computed again from this table alone.

    Returns:
        One sentence for each statement that cannot be true; empty for an honest record.
    """
    rows = ScoredRows.of(table)
    values = known or {}
    return [
        *_task(result, table, task),
        *_identity(result),
        *wrong_statements(result, table),
        *wrong_counts(result, table),
        *_metrics(result, rows, task, values),
        *_folds(result, table, rows, values),
        *_divisions(result, table, task),
        *_people_in_folds(table),
        *_decisions(result, table),
    ]


def known_values(cells: Sequence[tuple[Result, Predictions]]) -> list[Known]:
    """Compute the stated metrics of many records at once, those of the same rows together.

    Args:
        cells: Records with their predictions, whose columns are in their ranges.

    Returns:
        For each record the metrics that can be computed together, by name.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, (result, table) in enumerate(cells):
        truth = table.columns.get("truth", np.zeros(0)).tobytes()
        rows = (table.kind, table.patients, table.folds, table.repeats, tuple(table.columns))
        groups.setdefault((result.task, truth, *rows), []).append(number)
    known: dict[int, Known] = {}
    for numbers in groups.values():
        names = {name for number in numbers for name in cells[number][0].metrics}
        tables = [ScoredRows.of(cells[number][1]) for number in numbers]
        known |= dict(zip(numbers, values_by_table(sorted(names), tables), strict=True))
    return [known[number] for number in range(len(cells))]


def wrong_intervals(cells: Sequence[tuple[Result, Predictions]]) -> list[list[str]]:
    """List what records state of their intervals and their predictions do not support.

    Args:
        cells: Records that state nothing else that cannot be true, with their predictions.

    Returns:
        For each record its reasons, empty for an honest one.
    """
    by_resamples: dict[tuple[str, str, int], list[int]] = {}
    for number, (result, _) in enumerate(cells):
        key = (result.task, result.metric, result.seed)
        by_resamples.setdefault(key, []).append(number)
    reasons: dict[int, list[str]] = {}
    for (task, metric, seed), numbers in by_resamples.items():
        values = [(cells[number][0].value, cells[number][1]) for number in numbers]
        intervals = intervals_together(task, metric, seed, values)
        for number, interval in zip(numbers, intervals, strict=True):
            reasons[number] = list(_interval(cells[number][0], interval))
    return [reasons[number] for number in range(len(cells))]


def _task(result: Result, table: Predictions, task: Task) -> Iterator[str]:
    recorded = (result.task_version, result.metric, result.anchor_low, result.anchor_high)
    if recorded != (task.version, task.metric, task.low, task.high):
        yield (
            f"it is of version {result.task_version} of {task.code} ({result.metric}, anchors "
            f"{result.anchor_low:g} and {result.anchor_high:g}); the task now is version "
            f"{task.version} ({task.metric}, {task.low:g} and {task.high:g}). Scores of different "
            "versions never mix: run the cell again"
        )
    if result.dataset != task.dataset:
        yield f"its dataset is {result.dataset[:40]!r}; {task.code} is tested on {task.dataset}"
    if table.kind is not task.kind:
        yield f"its predictions are {table.kind}, the task's are {task.kind}"


def _identity(result: Result) -> Iterator[str]:
    for name in ("weights_sha256", "data_digest"):
        value = getattr(result, name)
        if not _is_sha256(value):
            yield f"{name} is {value[:40]!r}; wanted the 64 hexadecimal digits of a sha256"
    others = (_OF_NOTHING, result.data_digest, result.predictions_sha256)
    if result.weights_sha256 in others:
        what = ("an empty file", "the data", "the predictions")[others.index(result.weights_sha256)]
        yield f"weights_sha256 is the digest of {what}, and not of weights"


def wrong_counts(result: Result, table: Predictions) -> Iterator[str]:
    """Name the counts of a record that are not those of its predictions.

    Args:
        result: The record.
        table: Its predictions.

    Yields:
        One sentence for each.
    """
    counted = {
        "n_test": n_distinct(table.items),
        "n_patients": n_distinct(table.patients),
    }
    for name, value in counted.items():
        if getattr(result, name) != value:
            yield f"{name} is {getattr(result, name)}; its predictions hold {value}"
    if result.n_train == 0:
        yield "its n_train is 0; every head is fitted on rows"
    if result.bad:
        present = set(table.patients)
        tested = sorted(present.intersection(result.bad["lost"]))
        if tested:
            yield f"{tested[0]} is listed as lost and is among its predictions"


def _interval(result: Result, interval: ConfidenceInterval | UndefinedError) -> Iterator[str]:
    if result.level != LEVEL:
        yield f"its interval has level {result.level!r}; every interval on a board is of {LEVEL:g}"
    if result.interval != OVER_PATIENTS:
        yield f"its interval is {result.interval[:40]!a}; every interval is a {OVER_PATIENTS}"
    if isinstance(interval, UndefinedError):
        yield f"its predictions give no interval: {interval}"
    elif not (_equal(result.low, interval.low) and _equal(result.high, interval.high)):
        yield (
            f"it says that its interval is {result.low:.6g} to {result.high:.6g}; its predictions "
            f"give {interval.low:.6g} to {interval.high:.6g}"
        )


def _metrics(result: Result, rows: ScoredRows, task: Task, known: Known) -> Iterator[str]:
    stated = {**result.metrics, task.metric: result.value}
    for name in dict.fromkeys((task.metric, task.metric_2022)):
        if name not in result.metrics:
            yield f"its metrics lack {name}, which a score reads"
    for name, value in stated.items():
        if not _METRIC_NAME.fullmatch(name):
            yield f"a metric is named {name[:40]!a}; wanted letters, digits and underscores"
        if name not in METRICS or (name in known and _equal(value, known[name].whole)):
            continue
        computed = _value(name, rows)
        if computed is None or not _equal(value, computed):
            gives = "do not give it" if computed is None else f"give {computed:.6g}"
            yield f"it says {name} {value:.6g}, its predictions {gives}"
    among_others = result.metrics.get(task.metric, result.value)
    if not _equal(among_others, result.value):
        yield (
            f"its value is {result.value:.6g}; among its metrics {task.metric} is "
            f"{among_others:.6g}"
        )


def _fold_name(fold: Mapping[str, Any]) -> tuple[str, int]:
    return str(fold["name"]), int(fold.get("repeat", 0))


def _folds(result: Result, table: Predictions, rows: ScoredRows, known: Known) -> Iterator[str]:
    rows_of = _rows_by_fold(table.folds, table.repeats)
    tested = {fold: len(places) for fold, places in rows_of.items()}
    recorded = [_fold_name(fold) for fold in result.folds]
    if sorted(recorded) != sorted(tested):
        yield (
            f"it lists the folds {_listed(recorded)}; its predictions are of the folds "
            f"{_listed(sorted(tested))}"
        )
        return
    values = known[result.metric].of_folds if result.metric in known else {}
    for fold in result.folds:
        name, repeat = _fold_name(fold)
        n_rows = tested[name, repeat]
        if fold["n_test"] != n_rows:
            yield f"{name} has n_test {fold['n_test']}; its predictions hold {n_rows} rows"
            continue
        of_fold = rows_of[name, repeat]
        stated = fold["value"]
        value = values.get(int(of_fold[0]))
        if stated is not None and value is not None and _equal(stated, value):
            continue
        computed = _value(result.metric, rows.select(of_fold))
        if not _same(stated, computed):
            yield f"{name} has the value {stated}; its predictions give {computed}"


def _divisions(result: Result, table: Predictions, task: Task) -> Iterator[str]:
    """A protocol says into how many folds patients are divided, and how often.

    Phantoms are not checked: made tables of one division stand for the repeated folds of a board.
    """
    protocol = parse(result.protocol)
    if protocol.sort != "cv" or task.fit_on or result.phantom:
        return
    tested = _rows_by_fold(table.folds, table.repeats)
    of_repeat = Counter(repeat for _, repeat in tested)
    # A fold without a row that can be scored is not in the table.
    if len(of_repeat) != protocol.repeats or max(of_repeat.values()) > protocol.n_fold:
        yield (
            f"its protocol is {result.protocol}, and its predictions are of {len(of_repeat)} "
            f"divisions into up to {max(of_repeat.values())} folds"
        )


@lru_cache(maxsize=256)
def _rows_by_fold(
    folds: tuple[str, ...],
    repeats: tuple[int, ...],
) -> dict[tuple[str, int], IntArray]:
    """The rows that each fold of each repeat tested; found once for the tables of all backbones."""
    places: dict[tuple[str, int], list[int]] = {}
    for row, fold in enumerate(zip(folds, repeats, strict=True)):
        places.setdefault(fold, []).append(row)
    return {fold: np.array(rows) for fold, rows in places.items()}


def _people_in_folds(table: Predictions) -> Iterator[str]:
    """A person in two folds was trained on before they were tested."""
    reason = _person_in_two_folds(table.patients, table.folds, table.repeats)
    if reason:
        yield reason


@lru_cache(maxsize=256)
def _person_in_two_folds(
    patients: tuple[str, ...],
    folds: tuple[str, ...],
    repeats: tuple[int, ...],
) -> str:
    """Name a person who is in two folds of one repeat; empty where nobody is."""
    fold_of: dict[tuple[str, int], str] = {}
    for patient, fold, repeat in zip(patients, folds, repeats, strict=True):
        first = fold_of.setdefault((patient, repeat), fold)
        if first != fold:
            return f"{patient} is in {first} and in {fold}; a person is in one fold only"
    return ""


def _decisions(result: Result, table: Predictions) -> Iterator[str]:
    """Decided classes follow from the scores and the rule that the record states of each fold."""
    answer = table.columns.get("answer")
    if answer is None:
        return
    rows_of = _rows_by_fold(table.folds, table.repeats)
    for fold in result.folds:
        rows = rows_of.get(_fold_name(fold), np.zeros(0, dtype=np.int64))
        decided = _decided(table, fold["choice"], rows)
        if decided is None:
            yield f"{fold['name']} states neither the threshold nor the factors of its decisions"
        elif (decided != answer[rows]).any():
            n_other = int((decided != answer[rows]).sum())
            yield (
                f"{n_other} decided classes of {fold['name']} do not follow from their scores and "
                "the stated rule"
            )


def _decided(
    table: Predictions,
    choice: Mapping[str, Any],
    rows: Array,
) -> Array | None:
    columns = {name: column[rows] for name, column in table.columns.items()}
    threshold = choice.get("threshold")
    factors = choice.get("factors")
    if table.kind is Kind.BINARY and is_number(threshold):
        return np.asarray(columns["score"] >= threshold, dtype=np.float64)
    scores = class_scores(table.kind, columns)
    if not isinstance(factors, list) or not all(is_number(factor) for factor in factors):
        return None
    if len(factors) == scores.shape[1]:
        return np.asarray((scores * factors).argmax(axis=1), dtype=np.float64)
    return None


def _value(name: str, rows: ScoredRows) -> float | None:
    """A metric of the rows; None where it does not exist."""
    try:
        return METRICS[name].value(rows)
    except (EtabError, ValueError, KeyError):
        return None


def _equal(stated: float, computed: float) -> bool:
    return math.isclose(stated, computed, rel_tol=_TOLERANCE, abs_tol=1e-9)


def _same(stated: float | None, computed: float | None) -> bool:
    if stated is None or computed is None:
        return stated is computed
    return _equal(stated, computed)


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _listed(names: list[tuple[str, int]], most: int = 6) -> str:
    shown = ", ".join(name[:20] for name, _ in names[:most])
    return f"{shown}, ..." if len(names) > most else shown or "none"
