"""Probes with few labels beside a constant: how often a probe is worse than the training median.

``python -m benchmarks.few_labels RESULTS [RESULTS ...] --trivial RESULTS > benchmarks/few_labels.md`` reads
folders that ``etab run --fractions`` wrote, and one of the head ``trivial`` on the same draws, whose prediction
is the median of its training patients. Each folder of the first kind is of one head.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from etab.results import Result, load_results
from etab.tasks.menu import TASKS
from etab.tasks.protocols import parse

_ROUNDING = 1e-9

Values = Mapping[tuple[str, str, float], float]
"""The mean over the draws by task, backbone and share of the labels in percent."""


def values_of(results: Sequence[Result]) -> Values:
    """Average the values of all draws.

    Args:
        results: Results of one head.

    Returns:
        The means.
    """
    draws: dict[tuple[str, str, float], list[float]] = {}
    for result in results:
        percent = parse(result.protocol).percent or 100.0
        draws.setdefault((result.task, result.backbone, percent), []).append(result.value)
    return {key: float(np.mean(values)) for key, values in draws.items()}


def row_of(
    head: str, percent: float, values: Values, constant: Mapping[tuple[str, float], float]
) -> str:
    """Write how the backbones of a head compare with the constant at one share of the labels.

    Args:
        head: Name of the head.
        percent: Share of the labels.
        values: The means of the head.
        constant: Mean of the constant by task and share.

    Returns:
        A line of the table.
    """
    better = []
    for (task, _, of), value in values.items():
        if of == percent:
            better.append(TASKS[task].better * (value - constant[task, of]))
    gains = np.array(better)
    worse = int((gains < -_ROUNDING).sum())
    return (
        f"| {percent:g} % | {head} | {worse} of {len(gains)} | {gains.mean():+.2f} | {gains.min():+.2f} "
        f"| {gains.max():+.2f} |"
    )


def page(by_head: Mapping[str, Values], trivial: Values) -> str:
    """Write the table.

    Args:
        by_head: The means of each head.
        trivial: Those of the head ``trivial``, of any one backbone.

    Returns:
        Markdown.
    """
    constant = {(task, percent): value for (task, _, percent), value in trivial.items()}
    tasks = sorted({task for values in by_head.values() for task, _, _ in values})
    lines = [
        "# Few labels: probes beside the training median",
        "",
        f"Real CAMUS, the authors' split, three draws of the training patients; {', '.join(tasks)}. Made by "
        "`python -m benchmarks.few_labels`; the commands are in `benchmarks/README.md`. A cell is a backbone "
        "and a task, its value the mean over the draws. Gain: by how much the mean absolute error is smaller "
        "than that of the median of the same training patients, in percentage points of EF.",
        "",
        "| labels | head | cells worse than the median | mean gain | smallest | largest |",
        "|---|---|---|---|---|---|",
    ]
    for percent in sorted({percent for _, percent in constant}):
        for head, values in by_head.items():
            lines.append(row_of(head, percent, values, constant))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the folders and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="a folder for each head")
    parser.add_argument(
        "--trivial", type=Path, required=True, help="the folder of the head trivial"
    )
    asked = parser.parse_args(arguments)
    trivial = load_results(asked.trivial)
    tasks = {result.task for result in trivial}
    by_head: dict[str, Values] = {}
    for folder in asked.results:
        found = [result for result in load_results(folder) if result.task in tasks]
        by_head[found[0].head] = values_of(found)
    print(page(by_head, values_of(trivial)))


if __name__ == "__main__":
    main()
