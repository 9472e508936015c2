"""The cells of a folder as a plain table, and the suite and protocol of most of its cells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from etab.errors import DataNotFoundError, EtabError, ResultError
from etab.leaderboard.admission.ranges import scorable_predictions
from etab.leaderboard.admission.record import wrong_counts, wrong_intervals
from etab.leaderboard.comparable import checked_predictions
from etab.leaderboard.suites import Suite, suite_named
from etab.leaderboard.summary import Cards, number_words, target_of
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.results import Predictions, Result, read_results
from etab.tasks.base import Task
from etab.tasks.codes import BOARD_PROTOCOL
from etab.tasks.menu import TASKS
from etab.tasks.words import metric_unit, with_unit

CELL_HEADER = (
    "task",
    "backbone",
    "metric",
    "value",
    "95 % interval",
    "patients",
    "protocol",
    "seed",
    "head",
    "what is predicted",
)

# The packaged suites that a folder may complete, in the order in which they are tried.
SUITES = ("all", "camus", "sounds", "sounds-pooled")

# Of protocols with equally many complete backbones, the first one of this list is shown.
_PREFERRED = (BOARD_PROTOCOL, "cv5", "official", "lodo")


@dataclass(frozen=True, slots=True)
class FolderCells:
    """The results of a folder that follow from their predictions.

    Attributes:
        results: The results, by dataset, task and protocol, the best backbone first.
        problems: One reason for each file that is left out.
    """

    results: tuple[Result, ...]
    problems: tuple[str, ...]


def task_of(result: Result) -> Task | None:
    """Look up the task of a result.

    Args:
        result: Any result.

    Returns:
        The task, or None where this installation has no task of that code.
    """
    try:
        task = TASKS[result.task]
    except EtabError:
        return None
    return task if task.dataset == result.dataset else None


def folder_cells(folder: Path) -> FolderCells:
    """Read every result of a folder and compute what a table shows of it from its predictions.

    Args:
        folder: Folder of results that ``etab run`` wrote.

    Returns:
        The results whose value, interval and counts follow from their predictions, and the reasons
        against the others.

    Raises:
        DataNotFoundError: The folder holds no result files.

    Example:
        >>> cells = folder_cells(Path("benchmarks/results_states"))
        >>> cells.results[0].dataset
        'circor'
    """
    files = read_results(folder)
    if not files.results and not files.problems:
        raise DataNotFoundError(
            f"{folder} holds no result files. Compute some with `etab run --results {folder}`."
        )
    cells = checked_cells(files.results, folder)
    return FolderCells(cells.results, (*files.problems, *cells.problems))


def checked_cells(results: Iterable[Result], folder: Path) -> FolderCells:
    """Compute what a table shows of results again from their predictions.

    The tables of one task are in memory at once.

    Args:
        results: Records of the folder.
        folder: The folder of results, which holds the predictions.

    Returns:
        The results that stand, and the reasons against the others.
    """
    by_task: dict[str, list[Result]] = {}
    for result in results:
        by_task.setdefault(result.task, []).append(result)
    standing: list[Result] = []
    problems: list[str] = []
    for of_task in by_task.values():
        cells: list[tuple[Result, Predictions]] = []
        for result in of_task:
            try:
                cells.append((result, _checked_table(result, folder)))
            except EtabError as error:
                problems.append(str(error))
        for (result, _), reasons in zip(cells, wrong_intervals(cells), strict=True):
            if reasons:
                problems.append(f"{result.path(folder)}: {reasons[0]}.")
            else:
                standing.append(result)
    return FolderCells(tuple(sorted(standing, key=cell_order)), tuple(problems))


def _checked_table(result: Result, folder: Path) -> Predictions:
    """The predictions of a result that give its value and its counts; else raises ResultError."""
    task = task_of(result)
    if task is not None:
        table = checked_predictions(result, task, folder, is_ranked=False)
    else:
        table = scorable_predictions(result, folder)
        # A task of another installation has a metric that this one knows, or its value is hearsay.
        if result.metric not in METRICS or table.kind not in METRICS[result.metric].kinds:
            raise ResultError(
                f"{result.path(folder)}: its metric is {result.metric[:40]!a}, which scores no table "
                f"of {table.kind} here. Install the etab that made it, or move the file away."
            )
        computed = METRICS[result.metric].value(ScoredRows.of(table))
        if not math.isclose(computed, result.value, rel_tol=1e-6, abs_tol=1e-9):
            raise ResultError(
                f"{result.path(folder)}: the record says {result.metric} {result.value:.6g}, its "
                f"predictions give {computed:.6g}."
            )
    for reason in wrong_counts(result, table):
        raise ResultError(f"{result.path(folder)}: {reason}.")
    return table


def cell_order(result: Result) -> tuple[str, str, str, float, str]:
    """Sort key of a table of cells: dataset, task and protocol, then the best value first.

    Args:
        result: A result.
    """
    better = 1
    if result.metric in METRICS:
        better = METRICS[result.metric].better
    return result.dataset, result.task, result.protocol, -better * result.value, result.backbone


def cell_rows(results: Sequence[Result], cards: Cards) -> list[tuple[str, ...]]:
    """Describe results in words.

    Args:
        results: Results of cells.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.

    Returns:
        One tuple for each result, in the order of CELL_HEADER.

    Example:
        >>> cells = folder_cells(Path("benchmarks/results_states"))
        >>> dict(zip(CELL_HEADER, cell_rows(cells.results, {})[0]))["task"]
        'e0-AL-D'
    """
    rows: list[tuple[str, ...]] = []
    for result in results:
        task = task_of(result)
        rows.append(
            (
                result.task,
                result.backbone,
                with_unit(result.metric, cell_unit(result, cards)),
                number_words(result.value),
                f"{number_words(result.low)} to {number_words(result.high)}",
                str(result.n_patients),
                result.protocol,
                str(result.seed),
                result.head,
                result.dataset if task is None else task.title,
            )
        )
    return rows


def cell_unit(result: Result, cards: Cards) -> str:
    """Return the unit of the value of a result.

    Args:
        result: Any result.
        cards: Cards by the name of the dataset.

    Returns:
        The unit, or "" where it has none or this installation does not know the task.
    """
    task = task_of(result)
    return metric_unit(result.metric, None if task is None else target_of(task.code, cards))


def refuse_unusable(folder: Path, usable: Sequence[Result], problems: Sequence[str]) -> None:
    """Refuse a folder in which no result can be used.

    Args:
        folder: The folder of results.
        usable: Its results that can be used.
        problems: Why files are set aside.

    Raises:
        ResultError: If there are problems alone.
    """
    if problems and not usable:
        raise ResultError(
            f"{folder} holds no result that can be used. {len(problems)} left out; the first: "
            f"{problems[0]} If it cannot be repaired, compute the cells again into a new folder: "
            "`etab run --results`."
        )


def table_title(results: Sequence[Result]) -> str:
    """Title of a table of cells; that of phantom data begins with a warning.

    Args:
        results: The results of the table.

    Returns:
        The title.
    """
    if not any(result.phantom for result in results):
        return "results"
    all_phantom = all(result.phantom for result in results)
    return (
        "results of PHANTOM data, not patients" if all_phantom else "results, some of PHANTOM data"
    )


def complete_backbones(results: Sequence[Result], suite: Suite, protocol: str, seed: int) -> int:
    """Count the backbones that have a result for every task of a suite.

    Args:
        results: Results of any tasks.
        suite: The suite; it may name another protocol for single tasks.
        protocol: Protocol of all other tasks.
        seed: Seed of the results.

    Returns:
        The number of backbones.
    """
    codes: dict[str, set[str]] = {}
    for result in results:
        wanted = suite.protocols.get(result.task, protocol)
        if result.task in suite.tasks and result.protocol == wanted and result.seed == seed:
            codes.setdefault(result.backbone, set()).add(result.task)
    return sum(len(own) == len(suite.tasks) for own in codes.values())


def protocol_held(results: Sequence[Result], suite: Suite | None, seed: int) -> str:
    """Choose the protocol to show: the one with the most complete backbones.

    Of several, the protocol of the boards comes first.

    Args:
        results: The results of a folder.
        suite: The suite that is shown; None for any tasks.
        seed: Seed of the results.

    Returns:
        Name of a protocol; the preferred one where the folder has none for the suite.

    Example:
        >>> cells = folder_cells(Path("benchmarks/results_states"))
        >>> protocol_held(cells.results, None, 0) in {cell.protocol for cell in cells.results}
        True
    """
    relevant = [
        result
        for result in results
        if result.seed == seed and (suite is None or result.task in suite.tasks)
    ]
    counts = Counter(result.protocol for result in relevant)
    if not counts:
        return _PREFERRED[0]

    def rank_of(protocol: str) -> tuple[int, int, int, str]:
        complete = 0
        if suite is not None:
            complete = complete_backbones(relevant, suite, protocol, seed)
        preference = len(_PREFERRED)
        if protocol in _PREFERRED:
            preference = _PREFERRED.index(protocol)
        return -complete, preference, -counts[protocol], protocol

    return min(counts, key=rank_of)


def suite_held(results: Sequence[Result], seed: int, protocol: str | None = None) -> Suite | None:
    """Find the first packaged suite that a backbone of the folder completes.

    Args:
        results: The results of a folder.
        seed: Seed of the results.
        protocol: Protocol of the results; None for the one that ``protocol_held`` chooses.

    Returns:
        The suite, or None where no backbone completes any.
    """
    for name in SUITES:
        suite = suite_named(name)
        chosen = protocol or protocol_held(results, suite, seed)
        if complete_backbones(results, suite, chosen, seed):
            return suite
    return None
