"""Processor time of one backbone on all tasks of CAMUS: five divisions now, one division before.

Both commands read features that are in the cache. Now: the heads ``stack`` and ``mask_logistic``,
five divisions into five folds. Before: ``ridge``, ``logistic`` and ``linear_seg``, one division.
CAMUS is found as ``etab run`` finds it (``ETAB_CAMUS_DIR``), or phantom patients stand for it;
``ETAB_PERF_CACHE`` names a folder whose features are used, where they are computed already.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.perf.rows import Row
from benchmarks.perf.table_features import camus_source
from benchmarks.perf.table_start import measured

BACKBONE = "efficientnet_lite0"
NOW = ("--protocol", "cv5x5")
BEFORE = ("--protocol", "cv5", "--head", "ridge,logistic,linear_seg")


def rows() -> Iterator[Row]:
    """Time both commands, each into an empty folder of results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = camus_source(folder / "made")
        data = "phantom patients" if source.phantom else "CAMUS"
        cache = os.environ.get("ETAB_PERF_CACHE", str(folder / "cache"))
        command = [
            *(sys.executable, "-m", "etab", "run", "--workers", "1"),
            *("--root", str(source.root), "--backbones", BACKBONE, "--cache", cache),
            *("--keep-masks", "none"),
        ]
        # The first command leaves the features in the cache.
        warm = [*command, "--tasks", "a0,b0,c0", "--protocol", "official"]
        warm += ["--results", str(folder / "warm")]
        subprocess.run(warm, check=True, stdout=subprocess.DEVNULL)
        command += ["--tasks", "camus"]
        ours, peak = measured([*command, *NOW, "--results", str(folder / "now")], rounds=1)
        before, _ = measured([*command, *BEFORE, "--results", str(folder / "before")], rounds=1)
    yield Row(
        task=f"{BACKBONE}, all tasks of {data} from cached features, cv5x5 with "
        f"`stack` and `mask_logistic`, {peak:.0f} MB",
        ours=ours,
        peer_name="cv5 with `ridge`, `logistic` and `linear_seg`",
        peer=before,
        limit_name="",
        limit=None,
        wanted=1.0,
        agreement="",
    )
