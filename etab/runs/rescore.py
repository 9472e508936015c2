"""Records computed anew from their stored predictions: no data, no features and no networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etab import __version__
from etab.errors import EtabError, ResultError
from etab.leaderboard.admission.ranges import scorable_predictions
from etab.metrics import evaluate_rows
from etab.metrics.columns import ScoredRows
from etab.metrics.intervals import interval_of
from etab.results import Predictions, Result, load_results, read_results
from etab.runs import studies
from etab.runs.record import rows_of_split, value_or_none
from etab.storage.atomic import write_atomically
from etab.tasks.menu import TASKS

_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Moved:
    """A number of a record that its predictions do not give.

    Attributes:
        task: Code of the task.
        backbone: Name of the backbone.
        protocol: Name of the protocol.
        number: What it is: "auroc", "low", "auroc of fold0", "task version", ...
        before: The number in the record; None where it had none.
        after: The number that follows from the predictions; None where there is none.
    """

    task: str
    backbone: str
    protocol: str
    number: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class Rescored:
    """A record and what its predictions give.

    Attributes:
        stored: The record as it is on disk.
        result: The record computed anew.
        moved: The numbers that differ by more than 1e-9.
    """

    stored: Result
    result: Result
    moved: tuple[Moved, ...]


def rescore(
    folder: Path,
    *,
    check: bool = False,
    left_out: Callable[[str], None] | None = None,
) -> list[Rescored]:
    """Compute every record of a folder anew from the predictions beside it.

    Metrics, the value, its interval and the values of folds follow from the predictions; version
    and anchors are those of the task now. All records are computed before the first is written. A
    record of which no number moved stays as it is.

    Args:
        folder: A folder of results.
        check: Write nothing.
        left_out: Called with the reason against each record that cannot be computed, which is then
            left out; None raises the first reason, before anything is written.

    Returns:
        Every record that can be computed, in the order of the paths.

    Raises:
        ResultError: If a record or its predictions cannot be read, or its task has another metric
            now.
        UndefinedError: If a metric does not exist for stored predictions.

    Example:
        >>> records = rescore(Path("benchmarks/results_states"), check=True)
        >>> [(record.result.task, record.moved) for record in records]
        [('e0-AL-D', ())]
    """
    if left_out is None:
        records = [_compared(stored, folder) for stored in load_results(folder)]
    else:
        records = list(_of_whole_ones(folder, left_out))
    if not check:
        for record in records:
            if record.moved:
                write_atomically(record.result.path(folder), record.result.to_json())
    return records


def _compared(stored: Result, folder: Path) -> Rescored:
    result = rescored(stored, scorable_predictions(stored, folder))
    return Rescored(stored, result, tuple(_differences(stored, result)))


def _of_whole_ones(folder: Path, left_out: Callable[[str], None]) -> Iterator[Rescored]:
    """Every record that can be computed; the reasons against the others are reported."""
    files = read_results(folder)
    for problem in files.problems:
        left_out(problem)
    for stored in files.results:
        try:
            yield _compared(stored, folder)
        except EtabError as error:
            left_out(f"{stored.path(folder)}: {error}")


def rescored(stored: Result, table: Predictions) -> Result:
    """Compute a record anew.

    Args:
        stored: The record.
        table: Its predictions.

    Returns:
        The record that a run with these predictions would write today.

    Raises:
        ResultError: If its task is unknown, or has another metric or kind of predictions now.
        UndefinedError: If a metric does not exist for these predictions.
    """
    task = TASKS[stored.task]
    if (stored.metric, table.kind) != (task.metric, task.kind):
        raise ResultError(
            f"{stored.task} with {stored.backbone} is scored by {stored.metric} on predictions of "
            f"{table.kind}; the task now wants {task.metric} on {task.kind}. Run the cell again."
        )
    rows = ScoredRows.of(table)
    values: dict[str, float] = {}
    for name, value in {**evaluate_rows(rows), **studies.upstream_metrics(task, rows)}.items():
        values[name] = _settled(stored.metrics.get(name, value), value)
    interval = interval_of(stored.task, task.metric, stored.seed, table)
    folds: list[Mapping[str, Any]] = []
    for fold in stored.folds:
        tested = rows_of_split(table, fold["name"], fold.get("repeat", 0))
        if len(tested) == 0:
            raise ResultError(
                f"{stored.task} with {stored.backbone} lists the split {fold['name']}, which "
                "tested no row of its predictions. Run the cell again."
            )
        value_of_fold = value_or_none(task.metric, tested)
        if value_of_fold is not None and fold["value"] is not None:
            value_of_fold = _settled(fold["value"], value_of_fold)
        folds.append({**fold, "value": value_of_fold, "n_test": len(tested)})
    return replace(
        stored,
        task_version=task.version,
        value=_settled(stored.value, values[task.metric]),
        low=_settled(stored.low, interval.low),
        high=_settled(stored.high, interval.high),
        metrics=values,
        folds=folds,
        n_test=len(set(table.items)),
        n_patients=len(set(table.patients)),
        anchor_low=task.low,
        anchor_high=task.high,
        provenance={**stored.provenance, "rescored": __version__},
    )


def _settled(before: float, after: float) -> float:
    """The stored number where the new one agrees with it: machines round the last digits apart."""
    return before if abs(before - after) <= _TOLERANCE else after


def _differences(stored: Result, result: Result) -> Iterator[Moved]:
    before = _numbers(stored)
    after = _numbers(result)
    for name in {**before, **after}:
        one = before.get(name)
        other = after.get(name)
        if one is None and other is None:
            continue
        if one is None or other is None or abs(one - other) > _TOLERANCE:
            yield Moved(stored.task, stored.backbone, stored.protocol, name, one, other)


def _numbers(result: Result) -> dict[str, float | None]:
    """Every number of a record that its predictions and its task decide."""
    numbers: dict[str, float | None] = {**result.metrics}
    numbers |= {"low": result.low, "high": result.high, "task version": result.task_version}
    numbers |= {"anchor low": result.anchor_low, "anchor high": result.anchor_high}
    numbers |= {"test rows": result.n_test, "test patients": result.n_patients}
    numbers["value"] = result.value
    for fold in result.folds:
        repeat = f" of repeat {fold['repeat']}" if "repeat" in fold else ""
        numbers[f"{result.metric} of {fold['name']}{repeat}"] = fold["value"]
    return numbers
