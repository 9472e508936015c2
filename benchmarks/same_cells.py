"""Whether cells computed today have the published values.

``python -m benchmarks.same_cells PUBLISHED DIR`` compares every cell of DIR, a results folder made by ``etab run``,
with the cell of the same task, backbone, head, protocol and seed in PUBLISHED: its value, its interval, every further
metric and the value of every fold. It prints one line for each cell that differs by more than ``--tolerance`` (1e-9)
and ends with status 1 if there is one, or if the two folders have no cell in common.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from etab.results import Result, load_results

CellName = tuple[str, str, str, str, int]


def name_of(cell: Result) -> CellName:
    """Return what two results of one cell have in common."""
    return cell.task, cell.backbone, cell.head, cell.protocol, cell.seed


def numbers_of(cell: Result) -> Iterator[tuple[str, float]]:
    """Yield each number of a cell with its name: value, interval, metrics and folds."""
    yield "value", cell.value
    yield "low", cell.low
    yield "high", cell.high
    for metric, value in cell.metrics.items():
        yield metric, float(value)
    for fold in cell.folds:
        yield f"{cell.metric} of {fold['name']}", float(fold["value"])


def largest_difference(one: Result, other: Result) -> tuple[float, str]:
    """Return the largest absolute difference between two results of one cell, and the number it is in.

    Numbers that only one of the two has count as infinitely different.
    """
    first = dict(numbers_of(one))
    second = dict(numbers_of(other))
    differences = [
        (abs(first[name] - second[name]), name)
        if name in first and name in second
        else (float("inf"), name)
        for name in {**first, **second}
    ]
    return max(differences)


def main() -> int:
    """Compare two folders; 0 when every common cell has the published values."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("published", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-9)
    options = parser.parse_args()
    published = {name_of(cell): cell for cell in load_results(options.published)}
    common = 0
    different = 0
    for cell in load_results(options.folder):
        reference = published.get(name_of(cell))
        if reference is None:
            continue
        common += 1
        difference, number = largest_difference(reference, cell)
        if difference > options.tolerance:
            different += 1
            print(
                f"{cell.task} {cell.backbone} {cell.protocol}: {number} differs by {difference:.3g}"
            )
    print(f"{common} cells in common, {different} differ by more than {options.tolerance:g}")
    return 1 if different or not common else 0


if __name__ == "__main__":
    sys.exit(main())
