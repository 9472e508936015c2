"""Signals, and a terminal that closes, stop a run as Ctrl-C does."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etab.runs.execute import CLAIMS
from etab.runs.failed_cells import failed_cells
from tests.commands import SETTINGS


@pytest.fixture(scope="module")
def camus(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


_SLOW = "pixel_pca,random/efficientnet_lite0"


def _begun(
    camus: Path,
    folder: Path,
    workers: int,
    backbones: str = _SLOW,
    hangup: signal.Handlers = signal.SIG_DFL,
    **streams: Any,
) -> subprocess.Popen[str]:
    """A run, in a group of processes of its own, that has begun to compute features.

    It inherits ``hangup`` for SIGHUP, whatever these tests inherited.
    """
    words = ["run", "--tasks", "b0-A4-C", "--backbones", backbones, "--head", "knn"]
    words += ["--protocol", "cv3"]
    words += ["--root", str(camus), "--results", str(folder / "results")]
    words += ["--cache", str(folder / "cache"), "--workers", str(workers)]
    before = signal.signal(signal.SIGHUP, hangup)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "etab", *words],
            text=True,
            env={**os.environ, **SETTINGS},
            start_new_session=True,
            **streams,
        )
    finally:
        signal.signal(signal.SIGHUP, before)
    ends = time.monotonic() + 120
    while (
        not list(folder.glob("cache/features/*/*.*.part"))
        and process.poll() is None
        and time.monotonic() < ends
    ):
        time.sleep(0.01)
    return process


def _assert_nothing_unfinished(folder: Path) -> None:
    assert not list(folder.rglob("*.part"))
    assert not list(folder.rglob("*.claim"))
    assert not list(folder.glob(f"results/{CLAIMS}/*"))
    assert not failed_cells(folder / "results")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("number", "tell"),
    [(signal.SIGTERM, os.kill), (signal.SIGHUP, os.kill), (signal.SIGHUP, os.killpg)],
    ids=["sigterm", "sighup", "sighup to all"],
)
def test_a_signal_stops_a_run_as_control_c_does(
    number: int, tell: Callable[[int, int], None], workers: int, camus: Path, tmp_path: Path
) -> None:
    """SLURM, Docker and shells send them: every process ends, and leaves neither claims nor parts."""
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = _begun(camus, tmp_path, workers, **streams)
    tell(process.pid, number)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 128 + number, shown
    assert "Stopped. Finished work is saved" in shown
    assert "Traceback" not in shown
    _assert_nothing_unfinished(tmp_path)


def _take_terminal() -> None:
    """Make standard input the terminal of this process, which the system then tells of its end."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_terminal_that_closes_stops_a_run(workers: int, camus: Path, tmp_path: Path) -> None:
    """What shows the progress may no longer write to it."""
    ours, theirs = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    process = _begun(camus, tmp_path, workers, **streams, preexec_fn=_take_terminal)
    os.close(theirs)
    os.close(ours)
    assert process.wait(timeout=60) == 128 + signal.SIGHUP
    _assert_nothing_unfinished(tmp_path)


@pytest.mark.slow
def test_a_run_under_nohup_outlives_its_terminal(camus: Path, tmp_path: Path) -> None:
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    backbones = "image_stats,pixel_pca"
    process = _begun(camus, tmp_path, 2, backbones, hangup=signal.SIG_IGN, **streams)
    os.killpg(process.pid, signal.SIGHUP)
    _, shown = process.communicate(timeout=280)
    assert process.returncode == 0, shown
