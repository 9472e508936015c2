"""The weights of the score ``etab-p``: how precisely each task measures differences of backbones.

``python -m benchmarks.precision_weights`` ranks the stored results and prints the table
``[precision_weights]`` of each packaged suite. The weight of a task is the inverse of the variance
over patients of the difference of two backbones in its anchored metric (the median over pairs),
scaled to a mean of 1 inside its category. The numbers are copied into ``configs/suites`` and stay
there: they change with the version of a suite and never with its results.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from etab.leaderboard.noise import difference_patient_variances, patient_orders, task_noises
from etab.leaderboard.suites import suite_named
from etab.results import Predictions, Result, load_results
from etab.tasks.codes import BOARD_PROTOCOL
from etab.tasks.menu import TASKS

FOLDERS = (Path("benchmarks/results"), Path("benchmarks/results_sounds_full"))
SUITES = ("camus", "echo", "sounds", "all")
PROTOCOLS = {"f0-PH-N": "lodo"}
# Protocol of the stored results of each data set, where it is not that of the boards.
STORED = {"circor": "cv5", "cinc2016": "cv5"}


def variances(folder: Path) -> dict[str, float]:
    """Median variance of paired differences in anchored units, by task code."""
    by_task: dict[str, dict[str, Result]] = {}
    for result in load_results(folder):
        usual = STORED.get(result.dataset, BOARD_PROTOCOL)
        if result.protocol == PROTOCOLS.get(result.task, usual) and result.seed == 0:
            by_task.setdefault(result.task, {})[result.backbone] = result
    return {code: _variance(code, cells, folder) for code, cells in sorted(by_task.items())}


def _variance(code: str, cells: Mapping[str, Result], folder: Path) -> float:
    noises = []
    for backbone, cell in sorted(cells.items()):
        table: Predictions = cell.predictions(folder)
        orders = patient_orders([code], backbone, {(backbone, code): table})
        noises.append(task_noises({code: cell}, {code: table}, TASKS, orders)[code])
    between = difference_patient_variances(noises)
    return float(np.median(between[np.triu_indices(len(noises), 1)]))


def weights(found: Mapping[str, float]) -> dict[str, float]:
    """Inverse variances, scaled to a mean of 1 inside each category, to three digits."""
    scaled: dict[str, float] = {}
    for letter in sorted({code[0] for code in found}):
        inverse = {code: 1 / value for code, value in found.items() if code[0] == letter}
        mean = sum(inverse.values()) / len(inverse)
        scaled |= {code: float(f"{value / mean:.3g}") for code, value in inverse.items()}
    return scaled


def main() -> None:
    """Print the weights of every packaged suite."""
    found: dict[str, float] = {}
    for folder in FOLDERS:
        found |= variances(folder)
    of_all = weights(found)
    for name in SUITES:
        print(f"# {name}: python -m benchmarks.precision_weights")
        print("[precision_weights]")
        for code in suite_named(name).tasks:
            print(f"{code} = {of_all[code]:g}")
        print()


if __name__ == "__main__":
    main()
