"""From result files to a board: a pure function. Two named scores, intervals over patients, ranks that admit ties."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import (
    DataNotFoundError,
    EtabError,
    MixedDataError,
    ResultError,
    UndefinedError,
)
from etab.leaderboard.suites import Suite, Tasks, suite_named
from etab.metrics.base import METRICS
from etab.metrics.uncertainty import (
    holm,
    percentile_interval,
    rank_intervals,
    resample_weights,
    weighted,
)
from etab.results import Predictions, Result, load_results
from etab.tasks.base import Task
from etab.tasks.codes import parse_code
from etab.tasks.menu import TASKS
from etab.types import Array, FloatArray, IntArray

DRAWS = 2000
LEVEL = 0.95
_SHOWN = 3
_SAME = ("task_version", "data_digest", "head", "metric")
Cells = Mapping[str, Mapping[str, Result]]
Tables = Mapping[tuple[str, str], Predictions]
Resamples = Mapping[str, tuple[Array, IntArray]]


@dataclass(frozen=True, slots=True)
class Row:
    """A backbone on the board.

    ``etab`` with its interval and ``etab2022`` are NaN, and ranks None, where a task of the headline is missing.
    ``kind`` is "pretrained", "random twin" or "control"; ``twin`` names the random twin that is ranked on this board.
    """

    backbone: str
    etab: float
    low: float
    high: float
    etab2022: float
    rank_low: int | None
    rank_high: int | None
    cells: Mapping[str, Result]
    missing: tuple[str, ...]
    kind: str
    twin: str = ""

    @property
    def ranked(self) -> bool:
        """Whether it has a headline."""
        return self.rank_low is not None


@dataclass(frozen=True, slots=True)
class Board:
    """A ranking with what is needed to read it; ranked rows come first, best first.

    ``p_better[i][j]`` is the share of resamples in which ranked row i is above ranked row j (ties count half).
    ``beats[i][j]``: row i is above row j beyond doubt (Holm over all pairs), which is what ranks count.
    ``gap`` is the median over pairs of the half width of the interval of their difference: what this board can tell
    apart, in units of ``etab``; NaN with fewer than two ranked rows.
    ``beside`` are cells of extra tasks (clips, cross-dataset) outside the suite: shown, never part of a score.
    """

    suite: Suite
    protocol: str
    seed: int
    phantom: bool
    shares: Mapping[str, float]
    rows: tuple[Row, ...]
    p_better: tuple[tuple[float, ...], ...]
    beats: tuple[tuple[bool, ...], ...]
    gap: float
    notes: tuple[str, ...]
    beside: tuple[Result, ...] = ()

    @property
    def title(self) -> str:
        """Title; a phantom board says so first."""
        made = "PHANTOM data, not patients: " if self.phantom else ""
        return f"{made}{self.suite.title or self.suite.name} ({self.protocol})"


def kind_of(backbone: str, cells: Sequence[Result]) -> str:
    """Say whether a backbone is pretrained, a random twin, or a control, as its results record it."""
    if backbone.startswith("random/"):
        return "random twin"
    return "control" if cells and cells[0].settings.get("family") == "control" else "pretrained"


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
    """Rank backbones by the results of one suite, protocol and seed; the order of ``results`` means nothing.

    ``folder`` holds the predictions: every record is checked against them, and the intervals come from them. One
    resample of patients a dataset is shared by all its tasks and all backbones, so that differences are paired. Two
    backbones are told apart when the two-sided bootstrap p of their difference, Holm-corrected over all pairs, is below
    0.05; otherwise they share ranks. A backbone without all tasks has no headline and stands below, with what it lacks.

    Adding a backbone changes neither the score, the interval, nor the order of the others, nor any P(row above column);
    it can only widen rank intervals, because Holm then corrects for more pairs.

    Raises ResultError for results that cannot stand together (another task version, data, head or rows; two of one
    cell; a value that its predictions do not give), MixedDataError for phantom beside real, UndefinedError where a
    metric does not exist in many resamples.
    """
    shares = suite.weights(task_weights or {}, category_weights or {})
    board = _chosen(results, suite, tasks, protocol, seed)
    tables = {
        (b, t): _checked(r, tasks[t], folder)
        for b, cells in board.items()
        for t, r in cells.items()
    }
    _refuse_other_rows(tables)
    headline = {t: float(s) for t, s in zip(suite.tasks, shares, strict=True) if s > 0}
    whole = sorted(b for b, cells in board.items() if all(t in cells for t in headline))
    resamples = _resamples(whole[0], headline, tables, seed, draws) if whole else {}
    scores = {b: _scores(b, headline, tables, tasks, resamples) for b in whole}
    points = {
        b: sum(s * tasks[t].anchored(board[b][t].value) for t, s in headline.items()) for b in whole
    }
    order = sorted(whole, key=lambda b: (-points[b], b))
    p_better, beats, gap = _separate(order, points, scores)
    ranks = dict(zip(order, rank_intervals(beats) if order else [], strict=True))
    rows = [_row(b, board, points[b], scores[b], headline, tasks, ranks[b]) for b in order]
    rows += [_unranked(b, board[b], headline) for b in sorted(board) if b not in whole]
    phantom = any(r.phantom for cells in board.values() for r in cells.values())
    by_task = dict(zip(suite.tasks, map(float, shares), strict=True))
    notes = (*_notes(draws, rows, gap), *_said(suite, rows, by_task, protocol))
    return Board(
        suite,
        protocol,
        seed,
        phantom,
        by_task,
        tuple(rows),
        tuple(tuple(p) for p in p_better.tolist()),
        tuple(tuple(b) for b in beats.tolist()),
        gap,
        notes,
        _beside(results, suite, tasks, folder, board, protocol, seed),
    )


def _beside(
    results: Sequence[Result],
    suite: Suite,
    tasks: Tasks,
    folder: Path,
    board: Cells,
    protocol: str,
    seed: int,
) -> tuple[Result, ...]:
    """Cells of extra tasks that the suite does not list, by task and backbone, checked as those of the suite are."""
    found = [
        r
        for r in results
        if r.protocol == protocol and r.seed == seed and r.task not in suite.tasks
    ]
    found = sorted(
        (r for r in found if _extra(r.task, tasks)), key=lambda r: (r.task, r.backbone, r.head)
    )
    _refuse_mixtures([*[r for cells in board.values() for r in cells.values()], *found], tasks)
    _refuse_other_rows({(r.backbone, r.task): _checked(r, tasks[r.task], folder) for r in found})
    for code in sorted({r.task for r in found if tasks[r.task].fit_on}):
        cells = [r for r in found if r.task == code]
        _refuse_difference(
            "fit_data_digest", cells, [r.settings.get("fit_data_digest") for r in cells]
        )
    return tuple(found)


def _extra(code: str, tasks: Tasks) -> bool:
    try:
        return tasks[code].extra
    except (KeyError, EtabError):
        return False


def _chosen(
    results: Sequence[Result], suite: Suite, tasks: Tasks, protocol: str, seed: int
) -> Cells:
    """Results of this suite, protocol and seed by backbone and task; whatever cannot stand together is refused."""
    mine = sorted(
        (
            r
            for r in results
            if r.task in suite.tasks
            and r.protocol == suite.protocols.get(r.task, protocol)
            and r.seed == seed
        ),
        key=lambda r: (r.backbone, r.task, r.head),
    )
    if not mine:
        there = sorted({f"{r.protocol} (seed {r.seed})" for r in results if r.task in suite.tasks})
        raise ResultError(
            f"No result of the suite {suite.name!r} has protocol {protocol} and seed {seed}. There is: "
            f"{', '.join(there) or 'nothing of this suite'}."
        )
    _refuse_mixtures(mine, tasks)
    board: dict[str, dict[str, Result]] = {}
    for r in mine:
        if r.task in board.setdefault(r.backbone, {}):
            raise ResultError(
                f"Two results for {r.task} with {r.backbone} ({protocol}, seed {seed}): remove one, or "
                "keep different heads in separate folders."
            )
        board[r.backbone][r.task] = r
    return board


def _refuse_mixtures(mine: Sequence[Result], tasks: Tasks) -> None:
    made, real = ([r for r in mine if r.phantom is p] for p in (True, False))
    if made and real:
        raise MixedDataError(
            f"Phantom and real results do not share a leaderboard: {made[0].task} with {made[0].backbone} is phantom, "
            f"{real[0].task} with {real[0].backbone} is real. Keep them in separate folders."
        )
    for r in mine:
        task = tasks[r.task]
        facts = (r.task_version, r.metric, r.anchor_low, r.anchor_high)
        if facts != (task.version, task.metric, task.low, task.high):
            raise ResultError(
                f"{r.task} with {r.backbone} is of version {r.task_version} ({r.metric}, anchors {r.anchor_low:g} and "
                f"{r.anchor_high:g}); the task now is version {task.version} ({task.metric}, {task.low:g} and "
                f"{task.high:g}). Scores of different versions never mix: move {r.path(Path())} away and run the cell again."
            )
    for code in sorted({r.task for r in mine}):
        cells = [r for r in mine if r.task == code]
        for name in _SAME:
            _refuse_difference(name, cells, [getattr(r, name) for r in cells])
        for name in ("aggregate", "rows", "window"):
            _refuse_difference(name, cells, [str(r.settings.get(name, "none")) for r in cells])


def _refuse_difference(name: str, cells: Sequence[Result], values: Sequence[Any]) -> None:
    """Refuse results of one task that differ in a fact; names a backbone on each side."""
    found: dict[Any, str] = {}
    for r, value in zip(cells, values, strict=True):
        found.setdefault(value, r.backbone)
    if len(found) > 1:
        sides = " and ".join(
            f"{str(value)[:12]} with {who}" for value, who in list(found.items())[:2]
        )
        short = [r for r in cells if r.bad]
        more = (
            f" {short[0].backbone} lacks what could not be read: {incomplete(short[:1])[0]}"
            if short
            else ""
        )
        raise ResultError(
            f"{cells[0].task}: results differ in {name}: {sides}.{more} Run the older ones again, or keep "
            "them in separate folders."
        )


def _checked(cell: Result, task: Task, folder: Path) -> Predictions:
    """Predictions of a cell, from which its value was computed again and found the same."""
    table = cell.predictions(folder)
    if table.kind is not task.kind:
        raise ResultError(
            f"{cell.task} with {cell.backbone}: its predictions are {table.kind}, the task's are {task.kind}."
        )
    patients = np.array(table.patients)
    for name, said in (
        (task.metric, cell.value),
        (task.metric_2022, cell.metrics.get(task.metric_2022, math.nan)),
    ):
        value = METRICS[name](table.columns, patients)
        if not math.isclose(value, said, rel_tol=1e-6, abs_tol=1e-9):
            raise ResultError(
                f"{cell.task} with {cell.backbone}: the record says {name} {said:.6g}, its predictions "
                f"give {value:.6g}. Move {cell.path(folder)} away and run the cell again."
            )
    return table


def _refuse_other_rows(tables: Tables) -> None:
    """Refuse backbones that answered other rows of one task, or against another truth."""
    first: dict[str, tuple[str, dict[str, float]]] = {}
    for (backbone, code), table in tables.items():
        truth = table.columns.get("truth", np.zeros(len(table.items)))
        rows = dict(zip(table.items, truth.tolist(), strict=True))
        other, wanted = first.setdefault(code, (backbone, rows))
        if rows != wanted:
            odd = sorted(k for k in rows.keys() | wanted.keys() if rows.get(k) != wanted.get(k))
            raise ResultError(
                f"{code}: {backbone} ({len(rows)} rows) and {other} ({len(wanted)} rows) did not answer the same rows; "
                f"the first that differs is {odd[0]}. Scores on different patients do not compare: run both again on "
                "the same data."
            )


def _resamples(
    backbone: str, codes: Mapping[str, float], tables: Tables, seed: int, n: int
) -> Resamples:
    """Patients of each test dataset, sorted, and (n, patients) how often each is drawn: one draw for everybody."""
    people: dict[str, set[str]] = {}
    for code in codes:
        people.setdefault(parse_code(code).test_dataset, set()).update(
            tables[backbone, code].patients
        )
    return {
        dataset: (
            np.array(sorted(found)),
            resample_weights(len(found), n, np.random.default_rng([seed, *dataset.encode()])),
        )
        for dataset, found in people.items()
    }


def _scores(
    backbone: str, headline: Mapping[str, float], tables: Tables, tasks: Tasks, resamples: Resamples
) -> FloatArray:
    """The headline of a backbone under each resample: (n,)."""
    total: Any = 0.0
    for code, share in headline.items():
        task, table = tasks[code], tables[backbone, code]
        order, weights = resamples[parse_code(code).test_dataset]
        values = weighted(
            task.metric, table.kind, table.columns, np.array(table.patients), order, weights
        )
        absent = int((~np.isfinite(values)).sum())
        if absent > 0.05 * len(values):
            raise UndefinedError(
                f"{code} with {backbone}: {task.metric} does not exist in {absent} of {len(values)} "
                "resamples of patients; there are too few of one class to rank on it."
            )
        total = total + share * (values - task.low) / (task.high - task.low)
    return np.asarray(total, dtype=np.float64)


def two_sided(difference: float, draws: FloatArray) -> float:
    """Two-sided bootstrap p of a difference against 0.

    The tail of the normal law with the bootstrap's standard deviation, and never less than twice the share of draws on
    the other side of 0. The share alone cannot fall below 2 / (n + 1), which Holm over some 50 pairs would never pass,
    however clear the difference.
    """
    there = draws[np.isfinite(draws)]
    against = float((there <= 0).mean() if difference > 0 else (there >= 0).mean())
    spread = float(there.std())
    tail = (
        math.erfc(abs(difference) / (spread * math.sqrt(2)))
        if spread > 0
        else float(difference == 0)
    )
    return min(1.0, max(tail, 2 * against))


def _separate(
    order: Sequence[str], points: Mapping[str, float], scores: Mapping[str, FloatArray]
) -> tuple[FloatArray, Array, float]:
    """P(row above column), who is above whom beyond doubt, and the median half width of a difference."""
    k = len(order)
    p_better, beats = np.full((k, k), 0.5), np.zeros((k, k), dtype=bool)
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    p, widths = [], []
    for i, j in pairs:
        d = scores[order[i]] - scores[order[j]]
        d = d[np.isfinite(d)]
        p_better[i, j] = (d > 0).mean() + 0.5 * (d == 0).mean()
        p_better[j, i] = 1 - p_better[i, j]
        p.append(two_sided(points[order[i]] - points[order[j]], d))
        low, high = np.quantile(d, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        widths.append(float(high - low) / 2)
    for (i, j), adjusted in zip(pairs, holm(p) if p else [], strict=True):
        beats[i, j] = adjusted < 1 - LEVEL and points[order[i]] > points[order[j]]
    return p_better, beats, float(np.median(widths)) if widths else math.nan


def raw2022(task: Task, cell: Result) -> float:
    """What enters the 2022 score, in [0, 1]: Jaccard for masks, AUROC for classes, R2 (0 at least) for EF."""
    value = float(cell.metrics[task.metric_2022])
    return min(max(value, 0.0), 1.0) if METRICS[task.metric_2022].worst < 0 else value


def _row(
    name: str,
    board: Cells,
    point: float,
    draws: FloatArray,
    headline: Mapping[str, float],
    tasks: Tasks,
    ranks: tuple[int, int],
) -> Row:
    cells = board[name]
    interval = percentile_interval(point, draws, level=LEVEL, method="bootstrap over patients")
    old = sum(share * raw2022(tasks[t], cells[t]) for t, share in headline.items())
    twin = f"random/{name}" if all(t in board.get(f"random/{name}", {}) for t in headline) else ""
    return Row(
        name,
        point,
        interval.low,
        interval.high,
        old,
        *ranks,
        dict(cells),
        (),
        kind_of(name, list(cells.values())),
        twin,
    )


def _unranked(name: str, cells: Mapping[str, Result], headline: Mapping[str, float]) -> Row:
    missing = tuple(t for t in headline if t not in cells)
    kind = kind_of(name, list(cells.values()))
    return Row(name, math.nan, math.nan, math.nan, math.nan, None, None, dict(cells), missing, kind)


def incomplete(cells: Sequence[Result]) -> list[str]:
    """One sentence for each data set of which some recordings were left out because they could not be read."""
    out = []
    for name in sorted({cell.dataset for cell in cells if cell.bad}):
        some = [cell.bad for cell in cells if cell.dataset == name and cell.bad]
        gone = sorted({pair[0] for bad in some for pair in bad["recordings"]})
        lost, total = {p for bad in some for p in bad["lost"]}, max(bad["patients"] for bad in some)
        partly = {p for bad in some for p in bad["partly"]} - lost
        more = f", and part of {len(partly)} more" if partly else ""
        which = ", ".join(gone[:_SHOWN]) + (
            f" and {len(gone) - _SHOWN} more" if len(gone) > _SHOWN else ""
        )
        out.append(
            f"INCOMPLETE DATA: {len(lost)} of {total} patients of {name} are missing{more}: {len(gone)} recordings could "
            f"not be read and were left out (--skip-bad): {which}. Not to be compared with scores on all of the data."
        )
    return out


def _notes(draws: int, rows: Sequence[Row], gap: float) -> tuple[str, ...]:
    """How to read the board; stated on every form of it."""
    notes = [
        "ETAB: mean over categories of the mean over their tasks of anchored metrics (0 the trivial predictor, 1 the "
        "named reference, not clipped). etab2022: the same mean of raw metrics (Jaccard, AUROC, R2 not below 0).",
        f"Intervals: 95 %, {draws} resamples of test patients shared by all tasks and backbones; they do not cover "
        "the draw of training patients or the seed of the folds.",
        "Ranks: an interval; backbones that cannot be told apart (paired differences, Holm over all pairs, 5 %) share "
        "ranks. A new backbone never changes the order of the others; it can widen their rank intervals, because Holm "
        "then corrects for more pairs.",
    ]
    if math.isfinite(gap):
        notes.append(
            f"Half of the pairs on this board have a 95 % interval of their difference narrower than "
            f"±{gap:.3f}: read smaller gaps as ties."
        )
    notes = [*incomplete([cell for r in rows for cell in r.cells.values()]), *notes]
    if any(r.missing for r in rows):
        notes.append(
            "A backbone with a missing task has no headline rank; nothing is filled in for it."
        )
    return tuple(notes)


def _said(
    suite: Suite, rows: Sequence[Row], shares: Mapping[str, float], protocol: str
) -> list[str]:
    """What the suite and the results themselves have to say: protocols, tasks that do not count, faults of the data."""
    other = [f"{t} ({p})" for t, p in suite.protocols.items() if p != protocol]
    notes = [f"Protocol {protocol}; by another one: {', '.join(other)}."] if other else []
    idle = [t for t in suite.tasks if shares[t] == 0]
    if idle:
        notes.append(f"Shown and not counted: {', '.join(idle)}.")
    cells = [cell for row in rows for cell in row.cells.values()]
    notes += list(
        dict.fromkeys(str(note) for cell in cells for note in cell.settings.get("notes", []))
    )
    return [*notes, *_database_alone(rows, protocol)]


def _database_alone(rows: Sequence[Row], protocol: str) -> list[str]:
    """Where databases are shared between folds: what knowing the database alone gives, pooled."""
    return [
        f"{code} ({protocol}), pooled over databases: database_only has AUROC {cell.metrics['auroc']:.3f} and MAcc "
        f"{cell.metrics['macc']:.3f}."
        for row in rows
        if row.backbone == "database_only"
        for code, cell in row.cells.items()
        if "macro_macc" in cell.metrics
        and cell.protocol != "lodo"
        and {"auroc", "macc"} <= set(cell.metrics)
    ]


def rank_folder(
    folder: Path,
    suite: str,
    *,
    protocol: str = "cv5",
    seed: int = 0,
    task_weights: Mapping[str, float] | None = None,
    category_weights: Mapping[str, float] | None = None,
) -> Board:
    """Rank the results in a folder."""
    results = load_results(folder)
    if not results:
        raise DataNotFoundError(
            f"{folder} holds no result files. Make some with `etab run --results {folder}`."
        )
    return rank(
        results,
        suite_named(suite),
        tasks=TASKS,
        folder=folder,
        protocol=protocol,
        seed=seed,
        task_weights=task_weights,
        category_weights=category_weights,
    )
