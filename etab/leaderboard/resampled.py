"""Scores of backbones under resamples of patients, which all tasks and backbones share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from etab.errors import UndefinedError
from etab.leaderboard.comparable import Tables
from etab.leaderboard.suites import Tasks
from etab.metrics.columns import ScoredRows
from etab.metrics.shared import frozen
from etab.metrics.uncertainty import resample_weights, weighted_together
from etab.tasks.codes import parse_code
from etab.types import Array, FloatArray, IntArray

# Above this share of resamples without a value, a metric is called undefined.
_MOST_UNDEFINED = 0.05

# Sorted patients of a dataset, and how often each is drawn in each resample: (draws, patients).
_Resamples = Mapping[str, tuple[Array, IntArray]]


def resampled_scores(
    order: Sequence[str],
    scored: Mapping[str, float],
    tasks: Tasks,
    tables: Tables,
    *,
    seed: int,
    draws: int,
) -> dict[str, FloatArray]:
    """Compute the scores of backbones under the same resamples of patients.

    Args:
        order: Names of the backbones. They have been checked to have the same rows.
        scored: Share of each task in the score, by code.
        tasks: Tasks by code.
        tables: Predictions by backbone and code.
        seed: Seed of the resamples.
        draws: Number of resamples.

    Returns:
        (draws,) scores by the name of the backbone.

    Raises:
        UndefinedError: If a metric does not exist in more than 5 % of the resamples.
    """
    if not order:
        return {}
    resamples = _resamples(min(order), scored, tables, seed, draws)
    totals: dict[str, FloatArray] = {backbone: np.zeros(draws) for backbone in order}
    for code, share in scored.items():
        task = tasks[code]
        patients, weights = resamples[parse_code(code).test_dataset]
        rows = [ScoredRows.of(tables[backbone, code]) for backbone in order]
        of_task = weighted_together(task.metric, rows, patients, weights)
        for backbone, values in zip(order, of_task, strict=True):
            _refuse_undefined(code, backbone, task.metric, values)
            totals[backbone] += share * (values - task.low) / (task.high - task.low)
    return totals


def _refuse_undefined(code: str, backbone: str, metric: str, values: FloatArray) -> None:
    undefined = int((~np.isfinite(values)).sum())
    if undefined > _MOST_UNDEFINED * len(values):
        raise UndefinedError(
            f"{code} with {backbone}: {metric} does not exist in {undefined} of {len(values)} "
            "resamples of patients; there are too few of one class to rank on it."
        )


def _resamples(
    backbone: str, scored: Mapping[str, float], tables: Tables, seed: int, draws: int
) -> _Resamples:
    """Draw the test patients of each dataset once; the patients are those of ``backbone``."""
    patients: dict[str, set[str]] = {}
    for code in scored:
        dataset = parse_code(code).test_dataset
        patients.setdefault(dataset, set()).update(tables[backbone, code].patients)
    resamples: dict[str, tuple[Array, IntArray]] = {}
    for dataset, names in patients.items():
        rng = np.random.default_rng([seed, *dataset.encode()])
        order = frozen(np.array(sorted(names)))
        resamples[dataset] = (order, resample_weights(len(names), draws, rng))
    return resamples
