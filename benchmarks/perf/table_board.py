"""Processor time of a leaderboard of made results, every number of them computed again."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.perf.board import made_board
from benchmarks.perf.rows import Row
from benchmarks.perf.table_start import cpu_seconds

BACKBONES = 30
N_TASKS = 10
PATIENTS = 500


def rows() -> Iterator[Row]:
    """Time a board of 300 cells; the full size is ``python -m benchmarks.perf.board``."""
    board = made_board(BACKBONES, N_TASKS, PATIENTS)
    imports = cpu_seconds([sys.executable, "-c", "import etab.leaderboard"])
    yield Row(
        task=f"board of {BACKBONES} backbones x {N_TASKS} tasks, {PATIENTS} patients, "
        f"{board.megabytes:.0f} MB",
        ours=board.seconds,
        peer_name="",
        peer=None,
        limit_name="importing etab.leaderboard",
        limit=imports,
        agreement=f"{board.ranked} backbones ranked",
    )
