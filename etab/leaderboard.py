"""From result files to a board: a pure function. Two named scores, intervals over patients, ranks that admit ties."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import MixedDataError, ResultError, UnknownNameError
from etab.metrics import METRICS
from etab.registry import unknown
from etab.results import Result
from etab.stats import holm, rank_intervals, resample_weights, weighted
from etab.tasks import TASKS, Task
from etab.types import FloatArray

DRAWS = 2000
LEVEL = 0.95
_SUITE_KEYS = {"name", "version", "title", "tasks", "task_weights", "category_weights"}


@dataclass(frozen=True, slots=True)
class Suite:
    """A named list of tasks with weights; a weight that is not given is 1."""

    name: str
    version: int
    tasks: tuple[str, ...]
    title: str = ""
    task_weights: Mapping[str, float] = field(default_factory=dict)
    category_weights: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_toml(cls, text: str) -> Suite:
        """Read a suite file; unknown keys and unknown tasks are errors."""
        found = tomllib.loads(text)
        surplus = sorted(set(found) - _SUITE_KEYS)
        if surplus:
            raise unknown("key of a suite", surplus[0], _SUITE_KEYS)
        for code in found.get("tasks", ()):
            TASKS[code]
        made = {**found, "tasks": tuple(found["tasks"])}
        return cls(**made)

    def weights(self, tasks: Mapping[str, float], categories: Mapping[str, float]) -> FloatArray:
        """Share of each task in the score: mean over categories of the mean over their tasks, weighted; sums to 1."""
        task_weights = {**self.task_weights, **tasks}
        category_weights = {**self.category_weights, **categories}
        letters = sorted({t[0] for t in self.tasks})
        for name in task_weights:
            if name not in self.tasks:
                raise unknown(f"task of the suite {self.name}", name, self.tasks)
        for name in category_weights:
            if name not in letters:
                raise unknown(f"category of the suite {self.name}", name, letters)
        raw = np.array([task_weights.get(t, 1.0) for t in self.tasks])
        if (raw < 0).any() or any(w < 0 for w in category_weights.values()):
            raise UnknownNameError("A weight is negative; weights are 0 or more.")
        return _shares(self.tasks, raw, {c: category_weights.get(c, 1.0) for c in letters})


def _shares(tasks: Sequence[str], raw: FloatArray, categories: Mapping[str, float]) -> FloatArray:
    within = {c: sum(w for t, w in zip(tasks, raw, strict=True) if t[0] == c) for c in categories}
    alive = {c: w for c, w in categories.items() if within[c] > 0}
    total = sum(alive.values())
    if total <= 0:
        raise UnknownNameError("Every weight is 0: there is nothing left to score.")
    return np.array([w / within[t[0]] * alive[t[0]] / total if within[t[0]] > 0 else 0.0
                     for t, w in zip(tasks, raw, strict=True)])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A backbone on the board. ``etab`` and ranks are NaN and None where a task is missing."""

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


@dataclass(frozen=True, slots=True)
class Board:
    """A ranking with what is needed to read it. ``p_better[i][j]`` is the share of resamples where row i beats row j."""

    suite: Suite
    protocol: str
    phantom: bool
    shares: Mapping[str, float]
    rows: tuple[Row, ...]
    p_better: tuple[tuple[float, ...], ...]
    notes: tuple[str, ...]

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


def _chosen(results: Sequence[Result], suite: Suite, protocol: str, seed: int) -> dict[str, dict[str, Result]]:
    """Results of this suite, protocol and seed by backbone and task; everything that cannot stand together is refused."""
    mine = [r for r in results if r.task in suite.tasks and r.protocol == protocol and r.seed == seed]
    if not mine:
        there = sorted({f"{r.protocol} (seed {r.seed})" for r in results})
        raise ResultError(f"No result of the suite {suite.name!r} has protocol {protocol} and seed {seed}. There is: "
                          f"{', '.join(there) or 'nothing'}.")  # fmt: skip
    if len({r.phantom for r in mine}) > 1:
        made = next(r for r in mine if r.phantom)
        raise MixedDataError(
            f"Phantom and real results do not share a leaderboard: {made.task} with {made.backbone} is phantom. "
            "Keep them in separate folders."
        )
    board: dict[str, dict[str, Result]] = {}
    for r in mine:
        if r.task in board.setdefault(r.backbone, {}):
            raise ResultError(f"Two results for {r.task} with {r.backbone} ({protocol}, seed {seed}): remove one, or keep "
                              "different heads in separate folders.")  # fmt: skip
        board[r.backbone][r.task] = r
    _refuse_mixtures(mine)
    return board


def _refuse_mixtures(mine: Sequence[Result]) -> None:
    for name in ("task_version", "data_digest", "head"):
        for task in sorted({r.task for r in mine}):
            found = {getattr(r, name) for r in mine if r.task == task}
            if len(found) > 1:
                who = sorted(r.backbone for r in mine if r.task == task)
                raise ResultError(f"{task}: results differ in {name} ({', '.join(sorted(map(str, found))[:3])}) among "
                                  f"{', '.join(who[:4])}. Run the older ones again.")  # fmt: skip
    for r in mine:
        if r.task_version != TASKS[r.task].version:
            raise ResultError(f"{r.task} with {r.backbone} is of task version {r.task_version}; this is version "
                              f"{TASKS[r.task].version}. Run it again.")  # fmt: skip


def rank(
    results: Sequence[Result], suite: Suite, *, folder: Path, tasks: Mapping[str, Task] | Any = TASKS,
    protocol: str = "cv5", seed: int = 0, draws: int = DRAWS, task_weights: Mapping[str, float] | None = None,
    category_weights: Mapping[str, float] | None = None,
) -> Board:  # fmt: skip
    """Rank backbones. ``folder`` holds the predictions, from which the intervals are computed.

    One resample of patients per dataset is shared by all tasks and backbones, so that differences are paired. Two
    backbones are told apart when the two-sided bootstrap p of their difference, Holm-corrected over all pairs, is
    below 0.05; otherwise they share ranks. A backbone without all tasks has no headline.
    """
    shares = suite.weights(task_weights or {}, category_weights or {})
    board = _chosen(results, suite, protocol, seed)
    needed = [t for t, s in zip(suite.tasks, shares, strict=True) if s > 0]
    whole = sorted(b for b, cells in board.items() if all(t in cells for t in needed))
    used = shares[shares > 0]
    anchored = {b: _draws([board[b][t] for t in needed], tasks, folder, seed, draws) for b in whole}
    scores = {b: anchored[b] @ used for b in whole}
    points = {b: float(used @ [tasks[t].anchored(board[b][t].value) for t in needed]) for b in whole}
    order = sorted(whole, key=lambda b: (-points[b], b))
    ranks, p_better = _separate(order, points, scores)
    rows = [_row(b, board[b], points[b], scores[b], needed, used, tasks, ranks[b]) for b in order]
    rows += [_unranked(b, board[b], needed) for b in sorted(board) if b not in whole]
    phantom = next(iter(next(iter(board.values())).values())).phantom
    return Board(suite, protocol, phantom, dict(zip(suite.tasks, map(float, shares), strict=True)), tuple(rows), p_better,
                 _notes(draws, rows))  # fmt: skip


def _draws(cells: Sequence[Result], tasks: Any, folder: Path, seed: int, n: int) -> FloatArray:
    """Anchored metric of each task under each resample: (n, tasks)."""
    return np.stack([_cell_draws(c, tasks[c.task], folder, seed, n) for c in cells], axis=1)


def _cell_draws(cell: Result, task: Task, folder: Path, seed: int, n: int) -> FloatArray:
    table = cell.predictions(folder)
    patients = np.array(table.patients)
    order = np.unique(patients)
    rng = np.random.default_rng([seed, *cell.dataset.encode(), len(order)])
    weights = resample_weights(len(order), n, rng)
    values = weighted(task.metric, table.kind, table.columns, patients, order, weights)
    return (values - task.low) / (task.high - task.low)


def _separate(
    order: Sequence[str], points: Mapping[str, float], scores: Mapping[str, FloatArray]
) -> tuple[dict[str, tuple[int, int]], tuple[tuple[float, ...], ...]]:
    """Rank intervals from Holm-corrected pairwise differences, and the matrix of P(row better than column)."""
    k = len(order)
    better = np.full((k, k), 0.5)
    pairs, p = [], []
    for i in range(k):
        for j in range(i + 1, k):
            d = scores[order[i]] - scores[order[j]]
            d = d[np.isfinite(d)]
            better[i, j] = ((d > 0).sum() + 0.5 * (d == 0).sum()) / max(len(d), 1)
            better[j, i] = 1 - better[i, j]
            pairs.append((i, j))
            p.append(min(1.0, 2 * (1 + min(int((d <= 0).sum()), int((d >= 0).sum()))) / (1 + len(d))))
    beats = np.zeros((k, k), dtype=bool)
    for (i, j), adjusted in zip(pairs, holm(p) if p else [], strict=True):
        beats[i, j] = adjusted < 1 - LEVEL and points[order[i]] > points[order[j]]
    intervals = rank_intervals(beats)
    return dict(zip(order, intervals, strict=True)), tuple(tuple(map(float, row)) for row in better)


def raw2022(task: Task, cell: Result) -> float:
    """The raw number in [0, 1] that enters the 2022 score: Jaccard for masks, AUROC for classes, R2 (0 at least) for EF."""
    value = float(cell.metrics[task.metric_2022])
    return min(max(value, 0.0), 1.0) if METRICS[task.metric_2022].worst < 0 else value


def _row(
    name: str, cells: Mapping[str, Result], point: float, draws: FloatArray, needed: Sequence[str], used: FloatArray,
    tasks: Any, ranks: tuple[int, int],
) -> Row:  # fmt: skip
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    old = float(used @ [raw2022(tasks[t], cells[t]) for t in needed])
    return Row(name, point, float(low), float(high), old, *ranks, dict(cells), (), kind_of(name, list(cells.values())))


def _unranked(name: str, cells: Mapping[str, Result], needed: Sequence[str]) -> Row:
    nan = float("nan")
    missing = tuple(t for t in needed if t not in cells)
    return Row(name, nan, nan, nan, nan, None, None, dict(cells), missing, kind_of(name, list(cells.values())))


def _notes(draws: int, rows: Sequence[Row]) -> tuple[str, ...]:
    """How to read the board; stated on every form of it."""
    notes = [
        "ETAB: mean over categories of the mean over their tasks of anchored metrics (0 the trivial predictor, 1 the named "
        "reference, not clipped). etab2022: the same mean of raw metrics (Jaccard, AUROC, R2 not below 0).",
        f"Intervals: 95 %, {draws} resamples of test patients shared by all backbones; they do not cover the draw of "
        "training patients or the seed of the folds.",
        "Ranks: an interval; backbones that cannot be told apart (Holm over all pairs, 5 %) share ranks.",
    ]
    if any(r.missing for r in rows):
        notes.append("A backbone with a missing task has no headline rank.")
    return tuple(notes)
