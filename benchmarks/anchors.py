"""Lower anchors of the CAMUS tasks: what a predictor that knows only the training answers reaches.

``python -m benchmarks.anchors --root CAMUS`` prints, for each task, the value of the mean training mask (a0-a2) or of the
training median (b0) under 5-fold cross-validation of patients, seed 0. ``etab/tasks/menu.py`` holds these numbers, rounded to
three digits and frozen with the task's version. b6 (EF from clips) is asked as well: its patients and labels are those of
b0, so that a copy with half sequences must give the same numbers; one without them says so.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from etab.errors import LayoutError
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.types import Kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=None)
    root = parser.parse_args().root
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(root=root, results=Path(folder))
        for asked in ("camus", "b6-A2-C,b6-A4-C"):
            runs = list(plan(asked, ["image_stats"], protocols=("cv5",), head="trivial"))
            try:
                for result in execute(
                    [r for r in runs if r.row.kind in (Kind.MASK, Kind.VALUE)], settings
                ):
                    print(
                        f"{result.task}  {result.metric}  {result.value:.4f}  ({result.n_patients} patients)"
                    )
            except LayoutError as error:
                print(f"{asked}: {error}")


if __name__ == "__main__":
    main()
