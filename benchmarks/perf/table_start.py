"""Processor time of commands that compute no features, beside the import of torch alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.perf.rows import Row
from etab.tasks.codes import BOARD_PROTOCOL

RESULTS = Path(__file__).resolve().parents[1] / "results"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_TIMED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)
"""


def cpu_seconds(command: list[str], rounds: int = 3) -> float:
    """The least processor time of a command with its children, in seconds."""
    return measured(command, rounds)[0]


def measured(
    command: list[str],
    rounds: int = 3,
    cache: str = "",
    threads: str | None = None,
) -> tuple[float, float]:
    """The least processor time of a command in seconds, and its peak of memory in MB.

    Args:
        command: The command.
        rounds: How often it is run.
        cache: Folder of the user's cache for the command; empty for the usual one.
        threads: Threads of linear algebra in the environment; "" for an environment that says
            nothing of threads, None for that of this process.
    """
    environment = {**os.environ, "ETAB_CACHE": cache} if cache else dict(os.environ)
    if threads is not None:
        for name in _THREADS:
            environment.pop(name, None)
            if threads:
                environment[name] = threads
    words = [sys.executable, "-c", _TIMED, *command]
    times = []
    peaks = []
    for _ in range(rounds):
        run = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
        seconds, megabytes = run.stdout.split()
        times.append(float(seconds))
        peaks.append(float(megabytes))
    return min(times), max(peaks)


def rows() -> Iterator[Row]:
    """Time help, a list, the published board, and a run whose cells are finished."""
    torch = cpu_seconds([sys.executable, "-c", "import torch"])
    python = cpu_seconds([sys.executable, "-c", "import typer, rich.table"])
    etab = [sys.executable, "-m", "etab"]
    commands = {
        "`etab --help`": [*etab, "--help"],
        "`etab list tasks`": [*etab, "list", "tasks"],
    }
    for title, command in commands.items():
        yield _row(title, cpu_seconds(command), torch, python)
    board = [
        *(*etab, "leaderboard", str(RESULTS)),
        *("--suite", "camus", "--protocol", BOARD_PROTOCOL),
    ]
    with tempfile.TemporaryDirectory() as cache:
        # The first command leaves the board in the cache that the second one reads.
        for options, words in ((["--recompute"], "every number computed again"), ([], "unchanged")):
            seconds, peak = measured([*board, *options], cache=cache)
            title = (
                "`etab leaderboard` of the published CAMUS board, 156 cells, "
                f"{words}, {peak:.0f} MB"
            )
            yield _row(title, seconds, torch, python)
    with tempfile.TemporaryDirectory() as folder:
        yield _row("`etab run` of four finished cells", _finished(folder), torch, python)


def _row(title: str, seconds: float, torch: float, python: float) -> Row:
    return Row(
        task=title,
        ours=seconds,
        peer_name="`import torch` alone",
        peer=torch,
        limit_name="`import typer, rich.table`",
        limit=python,
    )


def _finished(folder: str) -> float:
    """Run four cells on a phantom, then time the same command again."""
    etab = [sys.executable, "-m", "etab"]
    made = f"{folder}/made"
    phantom = [*etab, "data", "phantom", made, "--patients", "20"]
    subprocess.run(phantom, check=True, capture_output=True)
    run = [
        *(*etab, "run", "--root", f"{made}/camus", "--tasks", "b0-A4-C,b1-A4-C"),
        *("--backbones", "image_stats,pixel_pca", "--protocol", "official"),
        *("--results", f"{folder}/results", "--cache", f"{folder}/cache", "--workers", "1"),
    ]
    subprocess.run(run, check=True, capture_output=True)
    return cpu_seconds(run)
