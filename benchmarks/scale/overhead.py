"""Overhead of a plan of many small cells: what a run takes beyond fitting and scoring them.

``python -m benchmarks.scale.overhead FOLDER --cells 2000`` computes cells of one backbone with many
divisions into folds in one process, and adds up the time that is spent in the cells themselves. It
then looks at the finished plan again, in this process and in a new one with its start. With
``--workers 2``, two backbones are computed in two processes, and the log and the records tell the
times. ``--json FILE`` adds the numbers to a file. 2,000 cells take about four minutes of a machine
on which nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from etab import phantom
from etab.results import load_results
from etab.runs.run import Run, Settings, plan
from etab.runs.run_log import read_lines
from etab.runs.sweep import sweep

_PROTOCOLS = tuple(f"cv{n}" for n in range(2, 10))


def many(n_cells: int, backbones: Sequence[str] = ("image_stats",)) -> list[Run]:
    """Plan small cells: the ejection fraction, under many divisions into folds.

    Args:
        n_cells: How many.
        backbones: Names of the backbones.
    """
    runs: list[Run] = []
    seed = 0
    while len(runs) < n_cells:
        runs += plan("b0-A4-C", list(backbones), protocols=_PROTOCOLS, seed=seed)
        seed += 1
    return runs[:n_cells]


def measure(runs: list[Run], settings: Settings, workers: int) -> dict[str, Any]:
    """Run a plan, and look at it again when it is finished.

    Args:
        runs: The cells.
        settings: How they are run.
        workers: Number of processes.

    Returns:
        The times in s, the memory in bytes, the overhead in percent of fitting and scoring, and
        how many processes wanted to run at the start.
    """
    load = os.getloadavg()[0]
    clock, _ = _swept(runs, settings, workers)
    lines = read_lines(settings.results)
    cells = [line for line in lines if line["event"].startswith("cell_")]
    ended = [line for line in cells if line["event"] == "cell_ended"]
    spans = sum(_span(cells, pid) for pid in {line["pid"] for line in cells})
    fits = sum(float(result.provenance["seconds"]) for result in load_results(settings.results))
    again, processor = _swept(runs, settings, workers)
    return {
        "cells": len(runs),
        "workers": workers,
        "clock": round(clock, 1),
        "before": round(_moment(cells[0]) - _moment(lines[0]), 1),
        "cell": round(fits / len(runs), 4),
        "overhead": round(100 * (spans / fits - 1), 2),
        "finished_plan": round(again, 2),
        "processor_of_plan": round(processor, 2),
        "memory_first": ended[len(ended) // 10]["peak_memory"],
        "memory_last": ended[-1]["peak_memory"],
        "load": round(load, 1),
    }


def _swept(runs: list[Run], settings: Settings, workers: int) -> tuple[float, float]:
    clock = time.perf_counter()
    processor = time.process_time()
    sweep(runs, settings, workers=workers, watch=lambda _: nullcontext(lambda _: None))
    return time.perf_counter() - clock, time.process_time() - processor


def _span(lines: list[dict[str, Any]], pid: int) -> float:
    """Seconds from the first start to the last end of a cell in a process."""
    moments = [_moment(line) for line in lines if line["pid"] == pid]
    return max(moments) - min(moments)


def _moment(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()


def main() -> None:
    """Measure, and print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file of measurements, to which these are added")
    parser.add_argument("--finished", action="store_true", help="look at a finished plan, no more")
    options = parser.parse_args()
    results = options.folder / f"results-{options.cells}-{options.workers}"
    data = options.folder / "data"
    settings = Settings(root=data / "camus", results=results, cache=options.folder / "cache")
    backbones = ("image_stats", "pixel_pca")[: options.workers]
    runs = many(options.cells, backbones)
    if options.finished:
        _swept(runs, settings, options.workers)
        return
    if results.exists():
        parser.error(f"{results} exists; name a new folder.")
    if not data.exists():
        phantom.write(data, patients=20, names=("camus",))
    measured = measure(runs, settings, options.workers)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", __spec__.name, *sys.argv[1:], "--finished"], check=True)
    measured["finished_command"] = round(time.perf_counter() - began, 2)
    print(json.dumps(measured, indent=1))
    if options.json:
        known = json.loads(options.json.read_text()) if options.json.exists() else []
        options.json.write_text(json.dumps([*known, measured], indent=1) + "\n")


if __name__ == "__main__":
    main()
