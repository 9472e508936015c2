"""From result files to a board: scores, intervals over patients, and ranks that admit ties."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from etab.errors import DataNotFoundError, ResultError, UndefinedError
from etab.leaderboard.board import Board, BoardRow, kind_of
from etab.leaderboard.comparable import (
    Cells,
    ReadTable,
    Tables,
    cells_beside,
    cells_of_suite,
    checked_predictions,
    counts_on,
    refuse_other_rows,
)
from etab.leaderboard.notes import board_notes, set_aside_note
from etab.leaderboard.suites import Suite, Tasks, suite_named
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.uncertainty import (
    holm,
    percentile_interval,
    rank_intervals,
    resample_weights,
    weighted,
)
from etab.results import Predictions, Result, read_results
from etab.tasks.base import Task
from etab.tasks.codes import parse_code
from etab.tasks.menu import TASKS
from etab.types import Array, FloatArray, IntArray

DRAWS = 2000
LEVEL = 0.95
# Above this share of resamples without a value, a metric is called undefined.
_MOST_UNDEFINED = 0.05

# Sorted patients of a dataset, and how often each is drawn in each resample: (draws, patients).
Resamples = Mapping[str, tuple[Array, IntArray]]


def rank(
    results: Sequence[Result],
    suite: Suite,
    *,
    folder: Path,
    tasks: Tasks = TASKS,
    protocol: str = "cv5",
    seed: int = 0,
    draws: int = DRAWS,
    task_weights: Mapping[str, float] | None = None,
    category_weights: Mapping[str, float] | None = None,
) -> Board:
    """Rank backbones by their results on a suite of tasks.

    The score of a backbone is the weighted mean of its anchored metrics. Its interval comes from
    resampling the test patients. One resample of a dataset is shared by all tasks and backbones,
    so that differences between backbones are paired. Two backbones are told apart where the
    two-sided bootstrap p value of their difference, Holm-corrected over all pairs, is below 0.05;
    otherwise they share ranks. A backbone without all tasks of the score is listed below the
    others, without a rank.

    Adding a backbone changes neither the scores, intervals and order of the others nor
    ``p_better``. It may widen their rank intervals, because Holm then corrects for more pairs.

    Args:
        results: Results to rank, in any order. Those of other tasks, protocols and seeds are
            ignored.
        suite: The tasks of the score, with their weights.
        folder: The folder of results that holds the predictions. Every value is computed again
            from them.
        tasks: Tasks by code; by default all tasks of etab.
        protocol: Protocol of the results, such as ``"cv5"`` or ``"official"``.
        seed: Seed of the results; it also decides the resamples.
        draws: Number of resamples of patients.
        task_weights: Weights by task code that replace those of the suite; 0 or more.
        category_weights: Weights by category letter that replace those of the suite; 0 or more.

    Returns:
        The board. It does not depend on the order of ``results``.

    Raises:
        ResultError: If results cannot be compared (another version of a task, other data, another
            head, other rows), if a cell has two results, or if a value does not follow from its
            predictions.
        MixedDataError: If some results are of phantom data and others are of patients.
        UndefinedError: If a metric does not exist in more than 5 % of the resamples.
        UnknownNameError: If a weight is for a task or category that the suite does not have.

    Example:
        >>> from etab.results import load_results
        >>> folder = Path("benchmarks/results")
        >>> suite = Suite(name="frames", version=1, tasks=("a0-A4-C", "b0-A4-C"))
        >>> board = rank(load_results(folder), suite, folder=folder, draws=200)
        >>> board.rows[0].backbone, round(board.rows[0].etab, 3)
        ('vits14_saliency', 0.577)
    """

    def read_table(result: Result) -> Predictions:
        return checked_predictions(result, tasks[result.task], folder)

    shares = suite.weights(task_weights or {}, category_weights or {})
    return _rank(results, suite, shares, tasks, read_table, protocol, seed, draws)


def rank_folder(
    folder: Path,
    suite: str,
    *,
    protocol: str = "cv5",
    seed: int = 0,
    task_weights: Mapping[str, float] | None = None,
    category_weights: Mapping[str, float] | None = None,
) -> Board:
    """Rank the results in a folder, as ``etab leaderboard`` does.

    A file that cannot be read, or whose value does not follow from its predictions, is set aside:
    the first note of the board names it with the reason.

    Args:
        folder: Folder of results that ``etab run`` wrote.
        suite: Name of a packaged suite, or the path of a ``.toml`` file.
        protocol: Protocol of the results, such as ``"cv5"`` or ``"official"``.
        seed: Seed of the results; it also decides the resamples.
        task_weights: Weights by task code that replace those of the suite; 0 or more.
        category_weights: Weights by category letter that replace those of the suite; 0 or more.

    Returns:
        The board.

    Raises:
        DataNotFoundError: If the folder holds no result files, or there is no such suite.
        ResultError: If no result can be used, or the usable ones cannot be compared.
        MixedDataError: If some results are of phantom data and others are of patients.
        UndefinedError: If a metric does not exist in more than 5 % of the resamples.

    Example:
        >>> board = rank_folder(Path("benchmarks/results"), "camus")
        >>> board.title
        'CAMUS: structure, function, view and diagnosis (cv5)'
    """
    chosen = suite_named(suite)
    shares = chosen.weights(task_weights or {}, category_weights or {})
    files = read_results(folder)
    if not files.results and not files.problems:
        raise DataNotFoundError(
            f"{folder} holds no result files. Make some with `etab run --results {folder}`."
        )
    problems = list(files.problems)
    results: list[Result] = []
    tables: dict[Path, Predictions] = {}
    for result in files.results:
        path = result.path(folder)
        if not counts_on(result, chosen, TASKS, protocol, seed):
            results.append(result)
            continue
        try:
            tables[path] = checked_predictions(result, TASKS[result.task], folder)
        except ResultError as error:
            problems.append(str(error))
        else:
            results.append(result)
    if problems and not tables:
        raise ResultError(f"No result of {folder} can be ranked. {set_aside_note(problems)[0]}")

    def read_table(result: Result) -> Predictions:
        return tables[result.path(folder)]

    notes = set_aside_note(problems)
    return _rank(results, chosen, shares, TASKS, read_table, protocol, seed, DRAWS, notes)


def _rank(
    results: Sequence[Result],
    suite: Suite,
    weights: FloatArray,
    tasks: Tasks,
    read_table: ReadTable,
    protocol: str,
    seed: int,
    draws: int,
    first_notes: Sequence[str] = (),
) -> Board:
    cells = cells_of_suite(results, suite, tasks, protocol, seed)
    tables = {
        (backbone, code): read_table(result)
        for backbone, by_task in cells.items()
        for code, result in by_task.items()
    }
    refuse_other_rows(tables)
    beside = cells_beside(results, suite, tasks, cells, read_table, protocol, seed)

    shares = dict(zip(suite.tasks, weights.tolist(), strict=True))
    scored = {code: share for code, share in shares.items() if share > 0}
    complete = sorted(
        backbone for backbone in cells if all(code in cells[backbone] for code in scored)
    )
    points = {backbone: _score(cells[backbone], scored, tasks) for backbone in complete}
    resampled: dict[str, FloatArray] = {}
    if complete:
        resamples = _resamples(complete[0], scored, tables, seed, draws)
        for backbone in complete:
            resampled[backbone] = _resampled_scores(backbone, scored, tables, tasks, resamples)
    order = sorted(complete, key=lambda backbone: (-points[backbone], backbone))
    p_better, beats, gap = _compare_pairs(order, points, resampled)
    ranks = rank_intervals(beats) if order else []

    rows = [
        _ranked_row(backbone, cells, points[backbone], resampled[backbone], scored, tasks, interval)
        for backbone, interval in zip(order, ranks, strict=True)
    ]
    rows += [_unranked_row(name, cells[name], scored) for name in sorted(set(cells) - set(order))]
    notes = board_notes(suite, rows, shares, protocol=protocol, draws=draws, gap=gap)
    return Board(
        suite=suite,
        protocol=protocol,
        seed=seed,
        phantom=any(cell.phantom for row in rows for cell in row.cells.values()),
        shares=shares,
        rows=tuple(rows),
        p_better=tuple(tuple(row) for row in p_better.tolist()),
        beats=tuple(tuple(row) for row in beats.tolist()),
        gap=gap,
        notes=(*first_notes, *notes),
        beside=beside,
    )


def _score(cells: Mapping[str, Result], scored: Mapping[str, float], tasks: Tasks) -> float:
    return sum(share * tasks[code].anchored(cells[code].value) for code, share in scored.items())


def _resamples(
    backbone: str, scored: Mapping[str, float], tables: Tables, seed: int, draws: int
) -> Resamples:
    """Draw the test patients of each dataset once, for all tasks and backbones.

    The patients are those of ``backbone``; all backbones have been checked to have the same rows.
    """
    patients: dict[str, set[str]] = {}
    for code in scored:
        dataset = parse_code(code).test_dataset
        patients.setdefault(dataset, set()).update(tables[backbone, code].patients)
    resamples: dict[str, tuple[Array, IntArray]] = {}
    for dataset, names in patients.items():
        rng = np.random.default_rng([seed, *dataset.encode()])
        resamples[dataset] = (np.array(sorted(names)), resample_weights(len(names), draws, rng))
    return resamples


def _resampled_scores(
    backbone: str, scored: Mapping[str, float], tables: Tables, tasks: Tasks, resamples: Resamples
) -> FloatArray:
    """The score of a backbone under each resample: (draws,)."""
    total: FloatArray | float = 0.0
    for code, share in scored.items():
        task = tasks[code]
        table = tables[backbone, code]
        order, weights = resamples[parse_code(code).test_dataset]
        values = weighted(task.metric, ScoredRows.of(table), order, weights)
        undefined = int((~np.isfinite(values)).sum())
        if undefined > _MOST_UNDEFINED * len(values):
            raise UndefinedError(
                f"{code} with {backbone}: {task.metric} does not exist in {undefined} of "
                f"{len(values)} resamples of patients; there are too few of one class to rank on "
                "it."
            )
        total = total + share * (values - task.low) / (task.high - task.low)
    return np.asarray(total, dtype=np.float64)


def two_sided(difference: float, draws: FloatArray) -> float:
    """Two-sided bootstrap p value of a difference against 0.

    It is the tail of the normal distribution with the standard deviation of the bootstrap, and
    never less than twice the share of draws on the other side of 0. That share alone cannot fall
    below 2 / (n + 1), which Holm over some 50 pairs would never pass, however clear the
    difference.

    Args:
        difference: The observed difference.
        draws: The difference under each resample, shape (n,); NaN is ignored.

    Returns:
        A p value between 0 and 1.

    Example:
        >>> two_sided(0.5, np.array([-0.1, 0.4, 0.6, 1.1]))
        0.5
    """
    finite = draws[np.isfinite(draws)]
    other_side = finite <= 0 if difference > 0 else finite >= 0
    against = float(other_side.mean())
    spread = float(finite.std())
    if spread > 0:
        tail = math.erfc(abs(difference) / (spread * math.sqrt(2)))
    else:
        tail = float(difference == 0)
    return min(1.0, max(tail, 2 * against))


def _compare_pairs(
    order: Sequence[str], points: Mapping[str, float], resampled: Mapping[str, FloatArray]
) -> tuple[FloatArray, Array, float]:
    """Compare all pairs of ranked backbones.

    Returns:
        P(row above column), whether the row is significantly better than the column, and the
        median half width of the intervals of the differences (NaN without a pair).
    """
    n = len(order)
    p_better = np.full((n, n), 0.5)
    beats = np.zeros((n, n), dtype=bool)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    p_values: list[float] = []
    half_widths: list[float] = []
    for i, j in pairs:
        draws = resampled[order[i]] - resampled[order[j]]
        draws = draws[np.isfinite(draws)]
        p_better[i, j] = (draws > 0).mean() + 0.5 * (draws == 0).mean()
        p_better[j, i] = 1 - p_better[i, j]
        p_values.append(two_sided(points[order[i]] - points[order[j]], draws))
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        half_widths.append(float(high - low) / 2)
    if not pairs:
        return p_better, beats, math.nan
    for (i, j), adjusted in zip(pairs, holm(p_values), strict=True):
        beats[i, j] = adjusted < 1 - LEVEL and points[order[i]] > points[order[j]]
    return p_better, beats, float(np.median(half_widths))


def raw2022(task: Task, cell: Result) -> float:
    """The raw metric that enters the score of 2022.

    Args:
        task: The task.
        cell: Its result.

    Returns:
        A value in [0, 1]: Jaccard for masks, AUROC for classes, R2 (not below 0) for values.
    """
    value = float(cell.metrics[task.metric_2022])
    if METRICS[task.metric_2022].worst < 0:
        return min(max(value, 0.0), 1.0)
    return value


def _ranked_row(
    backbone: str,
    cells: Cells,
    point: float,
    draws: FloatArray,
    scored: Mapping[str, float],
    tasks: Tasks,
    ranks: tuple[int, int],
) -> BoardRow:
    own = cells[backbone]
    twin = f"random/{backbone}"
    has_twin = all(code in cells.get(twin, {}) for code in scored)
    interval = percentile_interval(point, draws, level=LEVEL, method="bootstrap over patients")
    return BoardRow(
        backbone=backbone,
        etab=point,
        low=interval.low,
        high=interval.high,
        etab2022=sum(share * raw2022(tasks[code], own[code]) for code, share in scored.items()),
        rank_low=ranks[0],
        rank_high=ranks[1],
        cells=dict(own),
        missing=(),
        kind=kind_of(backbone, list(own.values())),
        twin=twin if has_twin else "",
    )


def _unranked_row(
    backbone: str, cells: Mapping[str, Result], scored: Mapping[str, float]
) -> BoardRow:
    return BoardRow(
        backbone=backbone,
        etab=math.nan,
        low=math.nan,
        high=math.nan,
        etab2022=math.nan,
        rank_low=None,
        rank_high=None,
        cells=dict(cells),
        missing=tuple(code for code in scored if code not in cells),
        kind=kind_of(backbone, list(cells.values())),
    )
