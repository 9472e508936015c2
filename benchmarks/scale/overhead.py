"""Overhead of a plan of many small cells: what a run takes beyond fitting and scoring them.

``python -m benchmarks.scale.overhead FOLDER --cells 2000`` computes cells of one backbone with many
divisions into folds in one process, and adds up the time that is spent in the cells themselves. It
then looks at the finished plan again.
"""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from etab import phantom
from etab.runs import cell
from etab.runs import execute as executing
from etab.runs.run import Run, Settings, plan
from etab.runs.sweep import sweep

_PROTOCOLS = tuple(f"cv{n}" for n in range(2, 10))


def many(n_cells: int) -> list[Run]:
    """Plan small cells: the ejection fraction by one backbone, under many divisions into folds.

    Args:
        n_cells: How many.
    """
    runs: list[Run] = []
    seed = 0
    while len(runs) < n_cells:
        runs += plan("b0-A4-C", ["image_stats"], protocols=_PROTOCOLS, seed=seed)
        seed += 1
    return runs[:n_cells]


def main() -> None:
    """Measure, and print what the cells and the rest took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, default=2000)
    options = parser.parse_args()
    data = options.folder / "data"
    if not data.exists():
        phantom.write(data, patients=20, names=("camus",))
    settings = Settings(
        root=data / "camus", results=options.folder / "results", cache=options.folder / "cache"
    )
    runs = many(options.cells)
    real = cell.compute
    spent = [0.0, 0.0]  # clock and processor seconds inside of cells
    began: list[float] = []  # the same when the first cell begins: data and features are there

    def timed(*words: Any) -> Any:
        clock = time.perf_counter()
        processor = time.process_time()
        began.extend([clock, processor][len(began) :])
        try:
            return real(*words)
        finally:
            spent[0] += time.perf_counter() - clock
            spent[1] += time.process_time() - processor

    def swept() -> tuple[float, float, int]:
        clock = time.perf_counter()
        processor = time.process_time()
        done = sweep(runs, settings, workers=1, watch=lambda _: nullcontext(lambda _: None))
        seconds = time.perf_counter() - clock
        return seconds, time.process_time() - processor, len(done.ran)

    vars(executing)["compute"] = timed
    clock, processor, ran = swept()
    clock_of_cells = time.perf_counter() - began[0]
    processor_of_cells = time.process_time() - began[1]
    print(
        f"{ran} cells in {clock:.1f} s ({processor:.1f} s of the processor), of which "
        f"{clock - clock_of_cells:.1f} s ({processor - processor_of_cells:.1f} s) before the first "
        f"cell. From then on fitting and scoring took {spent[0]:.1f} s ({spent[1]:.1f} s), and the "
        f"rest {100 * (clock_of_cells / spent[0] - 1):.1f} % more of the clock, "
        f"{100 * (processor_of_cells / spent[1] - 1):.1f} % more of the processor."
    )
    clock, processor, _ = swept()
    print(f"The finished plan: {clock:.2f} s ({processor:.2f} s of the processor).")


if __name__ == "__main__":
    main()
