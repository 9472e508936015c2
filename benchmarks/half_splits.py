"""How far the order of the backbones hangs on the patients: Kendall's tau between halves of them.

``python -m benchmarks.half_splits [--splits 20]`` divides the patients of CAMUS into two halves, scores
the stored predictions of all backbones on each half, and prints the mean tau between both orders for
the scores ``etab`` and ``etab-p``, with the 2.5th and 97.5th percentile over the splits. No probe is
fitted anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from etab.leaderboard.suites import Suite, suite_named
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.results import load_results
from etab.tasks.codes import BOARD_PROTOCOL
from etab.tasks.menu import TASKS
from etab.types import Array, FloatArray, IntArray

FOLDER = Path("benchmarks/results")
Tables = Mapping[str, Mapping[str, ScoredRows]]
"""Predictions by task code and backbone."""
Places = Mapping[tuple[str, str], IntArray]


def stored_tables(folder: Path, suite: Suite) -> dict[str, dict[str, ScoredRows]]:
    """Read the predictions that the board of a suite ranks."""
    tables: dict[str, dict[str, ScoredRows]] = {code: {} for code in suite.tasks}
    for result in load_results(folder):
        is_ranked = result.protocol == BOARD_PROTOCOL and result.head == TASKS[result.task].head
        if result.task in tables and is_ranked and result.seed == 0:
            rows = ScoredRows.of(result.predictions(folder))
            tables[result.task][result.backbone] = rows
    return tables


def anchored_values(tables: Tables, places: Places, is_in: Array) -> dict[str, FloatArray]:
    """Anchored value (backbones,) of each task on some patients; backbones by name.

    Args:
        tables: The predictions.
        places: The number of the patient of each row, by task code and backbone.
        is_in: (patients,) whether a patient counts.
    """
    values = {}
    for code, of_task in tables.items():
        task = TASKS[code]
        measured = []
        for name, rows in sorted(of_task.items()):
            chosen = rows.select(np.flatnonzero(is_in[places[code, name]]))
            measured.append(task.anchored(METRICS[task.metric].value(chosen)))
        values[code] = np.array(measured)
    return values


def taus(tables: Tables, shares: Sequence[Mapping[str, float]], splits: int) -> FloatArray:
    """Kendall's tau (splits, scores) between the orders of two halves of the patients.

    Args:
        tables: Predictions of the same backbones on every task.
        shares: For each score the weight of each task.
        splits: Divisions into halves.

    Returns:
        One tau for each division and score.
    """
    of_tasks = [np.unique(rows.patients) for cells in tables.values() for rows in cells.values()]
    people = np.unique(np.concatenate(of_tasks))
    places = {
        (code, name): np.searchsorted(people, rows.patients)
        for code, cells in tables.items()
        for name, rows in cells.items()
    }
    rng = np.random.default_rng(0)
    found = np.zeros((splits, len(shares)))
    for split in range(splits):
        is_first = rng.permutation(len(people)) < len(people) // 2
        halves = [anchored_values(tables, places, is_in) for is_in in (is_first, ~is_first)]
        for s, share in enumerate(shares):
            first, second = (sum(share[code] * half[code] for code in share) for half in halves)
            found[split, s] = kendalltau(first, second).statistic
    return found


def main() -> None:
    """Print tau of both scores."""
    parser = argparse.ArgumentParser(description="the order of backbones on halves of the patients")
    parser.add_argument("--splits", type=int, default=20)
    asked = parser.parse_args()
    suite = suite_named("camus")
    plain = dict(zip(suite.tasks, suite.weights({}, {}).tolist(), strict=True))
    shares = [plain, suite.precision_shares()]
    found = taus(stored_tables(FOLDER, suite), shares, asked.splits)
    for name, of_score in zip(("etab", "etab-p"), found.T, strict=True):
        low, high = np.percentile(of_score, [2.5, 97.5])
        print(
            f"{name}: tau {of_score.mean():.2f} [{low:.2f}, {high:.2f}] over {asked.splits} splits"
        )


if __name__ == "__main__":
    main()
