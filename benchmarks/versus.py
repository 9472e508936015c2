"""Pretrained backbones against the pixel-PCA control and against their random twins, paired.

``python -m benchmarks.versus benchmarks/results`` prints, for each task, the best pretrained backbone minus pixel_pca, and
each pretrained backbone minus its random twin (Holm-corrected over the twins of a task). p is given for these probes on new
patients, and for the encoders, with new training patients too. Differences are in the metric's own unit,
signed so that positive means better.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from etab.leaderboard.designs import design_of
from etab.metrics.columns import ScoredRows
from etab.metrics.inference import PairedTest, paired_test
from etab.metrics.uncertainty import holm
from etab.results import Result, load_results
from etab.tasks.codes import BOARD_PROTOCOL
from etab.tasks.menu import TASKS

CONTROL = "pixel_pca"


def tests_of(a: Result, b: Result, folder: Path) -> tuple[PairedTest, PairedTest]:
    """Test the probes of two cells on new patients, and their encoders with new training patients too."""
    one = ScoredRows.of(a.predictions(folder))
    two = ScoredRows.of(b.predictions(folder))
    if one.patients.tolist() != two.patients.tolist():
        raise ValueError(f"{a.task}: {a.backbone} and {b.backbone} predicted different rows")
    design = design_of(a, a.predictions(folder))
    return paired_test(a.metric, one, two), paired_test(a.metric, one, two, design)


def against_control(task: str, cells: Mapping[str, Result], folder: Path) -> bool:
    """Print one row; say whether the best pretrained backbone is ahead."""
    better = TASKS[task].better
    names = [
        n for n in cells if not n.startswith("random/") and cells[n].settings["family"] != "control"
    ]
    best = max(names, key=lambda n: better * cells[n].value)
    probes, encoders = tests_of(cells[best], cells[CONTROL], folder)
    ahead = better * encoders.difference > 0
    ends = sorted([better * encoders.low, better * encoders.high])
    print(
        f"{task}  {best:<20} {cells[best].value:8.3f}  {CONTROL} {cells[CONTROL].value:8.3f}  "
        f"{better * encoders.difference:+.4f} [{ends[0]:+.4f}, {ends[1]:+.4f}]  "
        f"p encoders {encoders.p:.4f}, probes {probes.p:.4f}  {'ahead' if ahead else 'BEHIND'}"
    )
    return ahead


def against_twins(task: str, cells: Mapping[str, Result], folder: Path) -> None:
    """Print each pretrained backbone against its twin."""
    names = [n for n in cells if f"random/{n}" in cells]
    tests = [tests_of(cells[n], cells[f"random/{n}"], folder) for n in names]
    better = TASKS[task].better
    probes = holm([test.p for test, _ in tests])
    encoders = holm([test.p for _, test in tests])
    for i, name in enumerate(names):
        difference = better * tests[i][0].difference
        mark = "ahead" if difference > 0 else "BEHIND"
        print(
            f"{task}  {name:<20} minus its random twin {difference:+.4f}  Holm p encoders "
            f"{encoders[i]:.4f}, probes {probes[i]:.4f}  {mark}"
        )


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "benchmarks/results")
    board: dict[str, dict[str, Result]] = {}
    for cell in load_results(folder):
        if cell.protocol == BOARD_PROTOCOL:
            board.setdefault(cell.task, {})[cell.backbone] = cell
    ahead = [against_control(t, board[t], folder) for t in TASKS if t in board]
    print(
        f"the best pretrained backbone is ahead of {CONTROL} on {sum(ahead)} of {len(ahead)} tasks\n"
    )
    for task in TASKS:
        if task in board:
            against_twins(task, board[task], folder)


if __name__ == "__main__":
    main()
