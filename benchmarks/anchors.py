"""Lower anchors of the CAMUS tasks: what a predictor that knows only the training answers reaches.

``python -m benchmarks.anchors --root CAMUS`` prints, for each task, the value of the mean training mask (a0-a2) or of the
training median (b0) under 5-fold cross-validation of patients, seed 0. ``etab/tasks.py`` holds these numbers, rounded to
three digits and frozen with the task's version.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from etab.runs import Settings, execute, plan
from etab.types import Kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=None)
    root = parser.parse_args().root
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(root=root, results=Path(folder))
        runs = [r for r in plan("camus", ["image_stats"], protocols=("cv5",), head="trivial")]
        for result in execute([r for r in runs if r.row.kind in (Kind.MASK, Kind.VALUE)], settings):
            print(f"{result.task}  {result.metric}  {result.value:.4f}  ({result.n_patients} patients)")


if __name__ == "__main__":
    main()
