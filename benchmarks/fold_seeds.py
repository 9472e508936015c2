"""How far each cell of a board depends on the draw of its folds.

``python -m benchmarks.fold_seeds FOLDER ... > benchmarks/fold_seeds_sounds.json``, with the folders ``benchmarks/results_sounds_full``
and ``benchmarks/results_places``, divides the predictions of every cell with repeated folds by the seed of the division, and
computes the metric of the task for each. The page of heart sounds shows the standard deviation of one seed; boards show the same
as a badge.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.results import Result, load_results
from etab.tasks.protocols import parse


def key_of(result: Result) -> str:
    """Name a cell in the file of values."""
    return f"{result.task} {result.protocol} {result.head} {result.backbone} s{result.seed}"


def values_by_seed(result: Result, folder: Path) -> list[float]:
    """Compute the metric of a cell for each division into folds.

    Args:
        result: A cell with repeated folds.
        folder: The folder of its results.

    Returns:
        A value for each seed, in their order.
    """
    table = ScoredRows.of(result.predictions(folder))
    metric = METRICS[result.metric]
    return [metric.value(table.select(part)) for part in table.of_repeats()]


def cells(folder: Path) -> Iterator[tuple[str, list[float]]]:
    """Yield the key and the values of every cell of a folder that has repeated folds.

    Args:
        folder: A folder of results.
    """
    for result in load_results(folder):
        if parse(result.protocol).repeats > 1 and not result.bad:
            yield key_of(result), values_by_seed(result, folder)


def main() -> None:
    """Print the values of the cells of the folders that the command line names."""
    values: dict[str, list[float]] = {}
    for folder in sys.argv[1:]:
        values |= dict(cells(Path(folder)))
    values = dict(sorted(values.items()))
    sys.stdout.write(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
