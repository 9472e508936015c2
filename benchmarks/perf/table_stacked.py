"""Processor time of one backbone on all tasks of CAMUS: five divisions now, one division before.

All commands read features that are in the cache. Now: the heads ``stack`` and ``mask_logistic``,
five divisions into five folds. Before: ``ridge``, ``logistic`` and ``linear_seg``, one division.
Both have one thread. The first is run once more in an environment that says nothing of threads:
threads that wait for each other would multiply its processor time.
CAMUS is found as ``etab run`` finds it (``ETAB_CAMUS_DIR``), or phantom patients stand for it;
``ETAB_PERF_CACHE`` names a folder whose features are used, where they are computed already.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.perf.rows import Row
from benchmarks.perf.table_features import camus_source
from benchmarks.perf.table_start import measured
from etab import datasets

BACKBONE = "efficientnet_lite0"
NOW = ("--protocol", "cv5x5")
BEFORE = ("--protocol", "cv5", "--head", "ridge,logistic,linear_seg")


@contextlib.contextmanager
def camus_runs() -> Iterator[tuple[list[str], Path]]:
    """Make the command of a run on CAMUS from cached features, and an empty folder for results.

    Yields:
        (command, folder): ``etab run`` with the data and the cache, in one process; and the folder.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = os.environ.get("ETAB_PERF_CACHE", str(folder / "cache"))
        command = [
            *(sys.executable, "-m", "etab", "run", "--workers", "1", "--keep-masks", "none"),
            *("--root", str(camus_source(folder / "made").root), "--cache", cache),
        ]
        yield command, folder


def data_of(command: Sequence[str]) -> str:
    """Name the data of a run for a table: "CAMUS" or "phantom patients"."""
    root = Path(command[command.index("--root") + 1])
    return "phantom patients" if datasets.source("camus", root).phantom else "CAMUS"


def rows() -> Iterator[Row]:
    """Time both commands, each into an empty folder of results."""
    with camus_runs() as (command, folder):
        data = data_of(command)
        command += ["--backbones", BACKBONE]
        # The first command leaves the features in the cache.
        warm = [*command, "--tasks", "a0,b0,c0", "--protocol", "official"]
        warm += ["--results", str(folder / "warm")]
        subprocess.run(warm, check=True, stdout=subprocess.DEVNULL)
        command += ["--tasks", "camus"]
        now = [*command, *NOW, "--results"]
        ours, peak = measured([*now, str(folder / "now")], rounds=1, threads="1")
        free, _ = measured([*now, str(folder / "free")], rounds=1, threads="")
        old = [*command, *BEFORE, "--results", str(folder / "before")]
        before, _ = measured(old, rounds=1, threads="1")
    task = (
        f"{BACKBONE}, all tasks of {data} from cached features, cv5x5 with `stack` and "
        f"`mask_logistic`, {peak:.0f} MB"
    )
    yield Row(
        task=f"{task}, in one process that may have all threads",
        ours=free,
        peer_name="the same with `OMP_NUM_THREADS=1`",
        peer=ours,
        wanted=0.9,
    )
    yield Row(
        task=task,
        ours=ours,
        peer_name="cv5 with `ridge`, `logistic` and `linear_seg`",
        peer=before,
        wanted=1.0,
    )
