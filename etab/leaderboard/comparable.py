"""Which results may share a board. Whatever cannot be compared is refused with the reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from etab.errors import EtabError, MixedDataError, ResultError, UndefinedError, reason_of
from etab.leaderboard.admission.ranges import scorable_predictions
from etab.leaderboard.notes import incomplete
from etab.leaderboard.suites import Suite, Tasks
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.results import Predictions, Result
from etab.tasks.base import Task

# Facts that the results of one task must share, in the record itself and in its settings.
SAME_FIELDS = ("task_version", "data_digest", "head", "metric")
SAME_SETTINGS = ("aggregate", "decide", "rows", "window")

Cells = Mapping[str, Mapping[str, Result]]
Tables = Mapping[tuple[str, str], Predictions]
ReadTable = Callable[[Result], Predictions]


def counts_on(result: Result, suite: Suite, tasks: Tasks, protocol: str, seed: int) -> bool:
    """Whether a board contains a result.

    Args:
        result: The result.
        suite: The suite of the board.
        tasks: Extra tasks of the board, beside those of the suite.
        protocol: The protocol of the board.
        seed: The seed of the board.
    """
    return _in_suite(result, suite, protocol, seed) or _beside_suite(
        result, suite, tasks, protocol, seed
    )


def _in_suite(result: Result, suite: Suite, protocol: str, seed: int) -> bool:
    if result.task not in suite.tasks or result.seed != seed:
        return False
    return result.protocol == suite.protocols.get(result.task, protocol)


def _beside_suite(result: Result, suite: Suite, tasks: Tasks, protocol: str, seed: int) -> bool:
    if result.task in suite.tasks or result.seed != seed or result.protocol != protocol:
        return False
    try:
        return tasks[result.task].extra
    except (KeyError, EtabError):
        return False


def cells_of_suite(
    results: Sequence[Result], suite: Suite, tasks: Tasks, protocol: str, seed: int
) -> dict[str, dict[str, Result]]:
    """Select the results of a suite, protocol and seed.

    Args:
        results: Any results, in any order.
        suite: The suite; it may name another protocol for single tasks.
        tasks: Tasks by code.
        protocol: Protocol of all other tasks.
        seed: Seed of the results.

    Returns:
        Results by backbone and task code.

    Raises:
        ResultError: If no result matches, a cell has two results, or results cannot be compared.
        MixedDataError: If some results are of phantom data and others are of patients.
    """
    selected = [result for result in results if _in_suite(result, suite, protocol, seed)]
    selected.sort(key=lambda result: (result.backbone, result.task, result.head))
    if not selected:
        available = {f"{r.protocol} (seed {r.seed})" for r in results if r.task in suite.tasks}
        held = "no results of this suite"
        if available:
            held = f"results with {', '.join(sorted(available))}"
        raise ResultError(
            f"No result of the suite {suite.name!r} has protocol {protocol} and seed {seed}. The "
            f"folder holds {held}."
        )
    refuse_mixtures(selected, tasks)
    cells: dict[str, dict[str, Result]] = {}
    for result in selected:
        of_backbone = cells.setdefault(result.backbone, {})
        if result.task in of_backbone:
            raise ResultError(
                f"Two results for {result.task} with {result.backbone} ({protocol}, seed {seed}): "
                "remove one, or keep different heads in separate folders."
            )
        of_backbone[result.task] = result
    return cells


def cells_beside(
    results: Sequence[Result],
    suite: Suite,
    tasks: Tasks,
    cells: Cells,
    read_table: ReadTable,
    protocol: str,
    seed: int,
) -> tuple[Result, ...]:
    """Select the results of extra tasks that the suite does not list, by task and backbone.

    They are checked like the results of the suite, and together with them.

    Args:
        results: All results.
        suite: The suite of the board.
        tasks: The extra tasks.
        cells: The results of the suite, by backbone and task.
        read_table: Reads the predictions of a result.
        protocol: The protocol of the board.
        seed: The seed of the board.
    """
    extras = [r for r in results if _beside_suite(r, suite, tasks, protocol, seed)]
    extras.sort(key=lambda result: (result.task, result.backbone, result.head))
    of_suite = [result for by_task in cells.values() for result in by_task.values()]
    refuse_mixtures([*of_suite, *extras], tasks)
    refuse_other_rows({(r.backbone, r.task): read_table(r) for r in extras})
    for code in sorted({r.task for r in extras if tasks[r.task].fit_on}):
        of_task = [result for result in extras if result.task == code]
        # The data that the head was fitted on are another dataset than the one it is tested on.
        digests = [str(result.settings.get("fit_data_digest")) for result in of_task]
        _refuse_difference("fit_data_digest", of_task, digests)
    return tuple(extras)


def refuse_mixtures(results: Sequence[Result], tasks: Tasks) -> None:
    """Refuse phantom beside real results, other versions of a task, and other data or settings.

    Args:
        results: The results of one board.
        tasks: The tasks of the results, by code.

    Raises:
        MixedDataError: If some results are of phantom data and others are of patients.
        ResultError: If a result is of another version of its task, or results of one task differ.
    """
    phantoms = [result for result in results if result.phantom]
    reals = [result for result in results if not result.phantom]
    if phantoms and reals:
        raise MixedDataError(
            f"Phantom and real results do not share a leaderboard: {phantoms[0].task} with "
            f"{phantoms[0].backbone} is phantom, {reals[0].task} with {reals[0].backbone} is real. "
            "Keep them in separate folders."
        )
    for result in results:
        _refuse_other_version(result, tasks[result.task])
    _refuse_homonyms(results)
    by_task: dict[str, list[Result]] = {}
    for result in results:
        by_task.setdefault(result.task, []).append(result)
    for _, of_task in sorted(by_task.items()):
        for name in SAME_FIELDS:
            _refuse_difference(name, of_task, [str(getattr(r, name)) for r in of_task])
        for name in SAME_SETTINGS:
            _refuse_difference(name, of_task, [str(r.settings.get(name, "none")) for r in of_task])


def _refuse_other_version(result: Result, task: Task) -> None:
    recorded = (result.task_version, result.metric, result.anchor_low, result.anchor_high)
    if recorded != (task.version, task.metric, task.low, task.high):
        raise ResultError(
            f"{result.task} with {result.backbone} is of version {result.task_version} "
            f"({result.metric}, anchors {result.anchor_low:g} and {result.anchor_high:g}); the "
            f"task now is version {task.version} ({task.metric}, {task.low:g} and {task.high:g}). "
            f"Scores of different versions never mix: move {result.path(Path())} away and run the "
            "cell "
            "again."
        )


def _refuse_homonyms(results: Sequence[Result]) -> None:
    """Refuse results of two different backbones under one name: their weights or code differ."""
    first: dict[str, Result] = {}
    for result in results:
        other = first.setdefault(result.backbone, result)
        if other.weights_sha256 != result.weights_sha256:
            raise ResultError(
                f"{result.backbone} is the name of two backbones: {other.task} was run with "
                f"{other.weights_sha256[:12]}, {result.task} with {result.weights_sha256[:12]} "
                "(sha256 of weights, or of weights and code). Move the results of one away, and "
                "run "
                "them again under a name of their own."
            )


def _refuse_difference(name: str, results: Sequence[Result], values: Sequence[str]) -> None:
    """Refuse results of one task that differ in a fact; the error names a backbone on each side."""
    backbones: dict[str, str] = {}
    for result, value in zip(results, values, strict=True):
        backbones.setdefault(value, result.backbone)
    if len(backbones) < 2:
        return
    first, second = list(backbones.items())[:2]
    sides = f"{first[0][:12]} with {first[1]} and {second[0][:12]} with {second[1]}"
    partial = [result for result in results if result.bad]
    reason = ""
    if partial:
        reason = (
            f" {partial[0].backbone} lacks what could not be read: {incomplete(partial[:1])[0]}"
        )
    raise ResultError(
        f"{results[0].task}: results differ in {name}: {sides}.{reason} Run the older ones again, "
        "or keep them in separate folders."
    )


def checked_predictions(
    result: Result, task: Task, folder: Path, *, is_ranked: bool = True
) -> Predictions:
    """Read the predictions of a result and compute its value again.

    Args:
        result: The result.
        task: Its task.
        folder: The folder of results that holds the predictions.
        is_ranked: Whether a board needs the metric of 2022 as well. A plain table does not: where
            the test rows lack a class, the record holds none.

    Returns:
        The predictions.

    Raises:
        ResultError: If the predictions cannot be read, are of another kind than the task, or give
            another value than the record holds, or if the record holds another metric.
    """
    table = scorable_predictions(result, folder)
    cell = f"{result.task} with {result.backbone}"
    if table.kind is not task.kind:
        raise ResultError(
            f"{cell}: its predictions are {table.kind}, the task's are {task.kind}. "
            f"Move {result.path(folder)} away and run the cell again."
        )
    if result.metric != task.metric:
        raise ResultError(
            f"{cell}: its metric is {result.metric[:40]!a}; that of the task is {task.metric}. "
            f"Move {result.path(folder)} away and run the cell again."
        )
    recorded = (
        (task.metric, result.value),
        (task.metric_2022, result.metrics.get(task.metric_2022, math.nan)),
    )
    rows = ScoredRows.of(table)
    for name, expected in recorded:
        try:
            value = METRICS[name].value(rows)
        except (KeyError, ValueError) as error:
            is_absent = name != task.metric and name not in result.metrics
            if is_absent and not is_ranked and isinstance(error, UndefinedError):
                continue
            raise ResultError(
                f"{cell}: {name} cannot be computed from its predictions: {reason_of(error)}. "
                f"Move {result.path(folder)} away and run the cell again."
            ) from error
        if not math.isclose(value, expected, rel_tol=1e-6, abs_tol=1e-9):
            raise ResultError(
                f"{cell}: the record says {name} {expected:.6g}, its predictions give {value:.6g}. "
                f"Move {result.path(folder)} away and run the cell again."
            )
    return table


def refuse_other_rows(tables: Tables) -> None:
    """Refuse backbones that predicted other rows of one task, or were compared with another truth.

    Args:
        tables: Predictions by backbone and task code.

    Raises:
        ResultError: Naming the task, two backbones and the first row that differs.
    """
    first: dict[str, tuple[str, Predictions]] = {}
    for (backbone, code), table in tables.items():
        other, of_other = first.setdefault(code, (backbone, table))
        if _same_rows_in_order(table, of_other):
            continue
        rows = _truth_by_row(table)
        wanted = _truth_by_row(of_other)
        if rows != wanted:
            every_row = sorted(rows.keys() | wanted.keys())
            odd = next(row for row in every_row if rows.get(row) != wanted.get(row))
            raise ResultError(
                f"{code}: {backbone} ({len(rows)} rows) and {other} ({len(wanted)} rows) did not "
                f"answer the same rows; the first that differs is {odd}. Scores on different "
                "patients do not compare: run both again on the same data."
            )


def _truth_by_row(table: Predictions) -> dict[str, float]:
    """The truth of each row by its name; 0 in tables of masks, which hold none."""
    truth = table.columns.get("truth", np.zeros(len(table.items)))
    return dict(zip(table.items, truth.tolist(), strict=True))


def _same_rows_in_order(one: Predictions, other: Predictions) -> bool:
    """Whether two tables have the same rows in the same order, with the same truth."""
    truths = [table.columns.get("truth", np.zeros(0)) for table in (one, other)]
    return one.items == other.items and np.array_equal(truths[0], truths[1])
