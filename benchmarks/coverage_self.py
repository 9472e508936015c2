"""A backbone against itself with other folds, on real data: no difference is to be found there.

Each backbone is probed under ``cv5x5`` with several seeds. The runs of one backbone differ in
nothing but the draws of the folds, so every verdict between two of them is false.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from etab import backbones, datasets, heads
from etab.features.frames import annotated_frames, frame_features, row_features, task_rows
from etab.heads.base import FoldFit, Memo
from etab.leaderboard.noise import (
    Noise,
    difference_patient_variances,
    difference_variances,
    mixed,
)
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows, score_columns
from etab.metrics.design import FoldDesign
from etab.metrics.inference import combined, precision_of, two_sided_p
from etab.runs.data import Data
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.tasks.protocol_rows import splits_of
from etab.tasks.rows import Rows
from etab.types import Features, FloatArray, RowSplit

CODES = ("b0-A4-C", "b1-A4-C", "c0-AX-C", "d0-A4-C")
SHARES = {"b0-A4-C": 0.25, "b1-A4-C": 0.25, "c0-AX-C": 0.25, "d0-A4-C": 0.25}


@dataclass(frozen=True)
class Verdicts:
    """p of every pair of runs of one backbone.

    Attributes:
        backbone: Its name.
        scores: (runs,) the mean of the anchored metrics of the tasks, for each run.
        probes: (pairs,) p as one of these probes, on new patients.
        encoders: (pairs,) p as one of encoders, with new training patients too.
    """

    backbone: str
    scores: FloatArray
    probes: FloatArray
    encoders: FloatArray


def table_of(
    task: Task, rows: Rows, splits: Sequence[RowSplit], fits: Sequence[FoldFit]
) -> ScoredRows:
    """The predictions of all fits as one prediction table."""
    order = np.concatenate([split.test for split in splits])
    scores = np.concatenate([np.asarray(fit.predictions, dtype=np.float64) for fit in fits])
    names = [np.full(len(split.test), split.name) for split in splits]
    repeats = [np.full(len(split.test), split.repeat) for split in splits]
    columns = {
        "truth": np.asarray(rows.answers, dtype=np.float64)[order],
        **score_columns(task.kind, scores),
    }
    return ScoredRows(
        task.kind, columns, rows.patients[order], np.concatenate(names), np.concatenate(repeats)
    )


def probed(
    task: Task,
    features: Features,
    rows: Rows,
    protocol: str,
    seed: int,
    memo: Memo,
) -> tuple[float, Noise]:
    """Value and noise of one task in anchored units, for one draw of the folds.

    ``memo`` is what fits on these rows share; the bases of one draw are no use to the next.
    """
    splits = splits_of(protocol, seed, rows, task.kind)
    target = datasets.card(task.dataset).target(task.target)
    fits = heads.head(task.head).cross_fit(
        features,
        rows.answers,
        rows.patients,
        splits,
        target,
        rng=np.random.default_rng(seed),
        memo=memo,
    )
    for key in [key for key in memo if key[0] == "basis"]:
        del memo[key]
    table = table_of(task, rows, splits, fits)
    repeats = len(table.of_repeats())
    design = FoldDesign(n_fold=5, repeats=repeats, test_share=0.25)
    part = precision_of(task.metric, table, np.unique(table.patients), design)
    noise = Noise({("camus", protocol): combined([part], [1 / (task.high - task.low)])})
    return task.anchored(METRICS[task.metric].value(table)), noise


def against_itself(
    data: Data, name: str, cache: Path | None, protocol: str, seeds: Sequence[int]
) -> Verdicts:
    """Compare the runs of one backbone under several draws of the folds.

    Args:
        data: CAMUS. Classes that are cut from a value are fitted by it, as on the board.
        name: The backbone.
        cache: Folder of cached features.
        protocol: ``"cv5x5"``, or ``"cv5"`` for one draw a run.
        seeds: One seed for each run.

    Returns:
        The verdicts.
    """
    source = data.source("camus")
    frames = annotated_frames(source)
    embedded = frame_features(source, frames, backbones.card(name), cache=cache)
    values = dict.fromkeys(seeds, 0.0)
    noises: dict[int, dict[str, Noise]] = {seed: {} for seed in seeds}
    for code in CODES:
        task = TASKS[code]
        rows = task_rows(task, source, frames)
        features = row_features(embedded.features, rows, maps=False)
        memo = Memo()
        memo.cut_values = data.values_of_classes(task)
        for seed in seeds:
            value, noise = probed(task, features, rows, protocol, seed, memo)
            values[seed] += SHARES[code] * value
            noises[seed][code] = noise
    scores = np.array([values[seed] for seed in seeds])
    totals = [mixed(noises[seed], SHARES) for seed in seeds]
    differences = scores[:, None] - scores[None, :]
    degrees = totals[0].degrees
    probes = two_sided_p(differences, difference_patient_variances(totals), degrees)
    encoders = two_sided_p(differences, difference_variances(totals), degrees)
    pairs = list(combinations(range(len(seeds)), 2))
    return Verdicts(
        name,
        scores,
        np.array([probes[pair] for pair in pairs]),
        np.array([encoders[pair] for pair in pairs]),
    )


def self_page(verdicts: Sequence[Verdicts], protocol: str, command: str) -> str:
    """Write the page: how often a backbone is called different from itself.

    Args:
        verdicts: One for each backbone.
        protocol: Protocol of the runs.
        command: The command that made it.

    Returns:
        Markdown.
    """
    lines = [
        "# A backbone against itself with other folds, on real CAMUS",
        "",
        f"Made by `{command}`.",
        "",
        "| backbone | runs | SD of the score over runs | p < 0.05, these probes | encoders |",
        "|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        lines.append(
            f"| {verdict.backbone} | {len(verdict.scores)} | {verdict.scores.std(ddof=1):.4f} | "
            f"{_share(verdict.probes)} | {_share(verdict.encoders)} |"
        )
    probes = np.concatenate([verdict.probes for verdict in verdicts])
    encoders = np.concatenate([verdict.encoders for verdict in verdicts])
    lines.append(f"| all | | | {_share(probes)} | {_share(encoders)} |")
    codes = ", ".join(CODES)
    lines += [
        "",
        f"Protocol {protocol}; score: the mean of {codes}, anchored. The runs of a backbone differ in",
        "nothing but the draws of the folds, so every verdict is false; wanted is at most 6 %. Two runs",
        "have different folds, so that their fold values do not pair: the test of encoders is then more",
        "careful than it is for two backbones on a board, which share their folds.",
        "",
    ]
    return "\n".join(lines)


def _share(p: FloatArray) -> str:
    return f"{100 * float((p < 0.05).mean()):.1f} % of {len(p)}"
