"""Pretrained backbones against the pixel-PCA control and against their random twins, paired.

``python -m benchmarks.versus benchmarks/results`` prints, for each task, the best pretrained backbone minus pixel_pca over
the five folds (same folds, same inputs; Nadeau-Bengio corrected t) and over patients (permutation that swaps whole
patients), and each pretrained backbone minus its random twin over patients, Holm-corrected over the twins of a task.
Differences are in the metric's own unit, signed so that positive means better.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from etab.metrics import uncertainty as stats
from etab.results import Result, load_results
from etab.tasks.menu import TASKS

CONTROL = "pixel_pca"


def fold_values(cell: Result) -> list[float]:
    return [float(f["value"]) for f in cell.folds]


def over_patients(a: Result, b: Result, folder: Path) -> stats.PairedTest:
    one, two = a.predictions(folder), b.predictions(folder)
    if one.items != two.items:
        raise ValueError(f"{a.task}: {a.backbone} and {b.backbone} answered different rows")
    rng = np.random.default_rng(0)
    return stats.paired_test(
        a.metric, one.kind, one.columns, two.columns, np.array(one.patients), rng=rng, n=5000
    )


def against_control(task: str, cells: Mapping[str, Result], folder: Path) -> bool:
    """Print one row; say whether the best pretrained backbone is ahead on the mean of the folds."""
    better = TASKS[task].better
    names = [
        n for n in cells if not n.startswith("random/") and cells[n].settings["family"] != "control"
    ]
    best = max(names, key=lambda n: better * cells[n].value)
    d = [
        better * (a - b)
        for a, b in zip(fold_values(cells[best]), fold_values(cells[CONTROL]), strict=True)
    ]
    folds, patients = (
        stats.corrected_t(d, test_share=0.25),
        over_patients(cells[best], cells[CONTROL], folder),
    )
    wins = sum(x > 0 for x in d)
    mark = "ahead" if folds.difference > 0 else "BEHIND"
    said = f"{cells[best].value:8.3f}  {CONTROL} {cells[CONTROL].value:8.3f}  folds {folds.difference:+.4f}"
    span = f"[{folds.low:+.4f}, {folds.high:+.4f}] p {folds.p:.3f}, {wins}/5 won"
    print(
        f"{task}  {best:<20} {said} {span}; patients {better * patients.difference:+.4f} p {patients.p:.4f}  {mark}"
    )
    return folds.difference > 0


def against_twins(task: str, cells: Mapping[str, Result], folder: Path) -> None:
    """Print each pretrained backbone against its twin."""
    names = [n for n in cells if f"random/{n}" in cells]
    tests = [over_patients(cells[n], cells[f"random/{n}"], folder) for n in names]
    better = TASKS[task].better
    for name, test, p in zip(names, tests, stats.holm([t.p for t in tests]), strict=True):
        mark = "ahead" if better * test.difference > 0 else "BEHIND"
        print(
            f"{task}  {name:<20} minus its random twin {better * test.difference:+.4f}  Holm p {p:.4f}  {mark}"
        )


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "benchmarks/results")
    board: dict[str, dict[str, Result]] = {}
    for cell in load_results(folder):
        if cell.protocol == "cv5":
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
