"""The whole board of CAMUS, or of heart sounds: cold, from cached features, and finished, each against its limit.

``python -m benchmarks.perf.sweep --root CAMUS`` (``--board sounds --root DIR --write benchmarks/perf/sweep_sounds.json`` for
DIR/circor and DIR/cinc2016, one after the other) runs ``etab run`` three times in a folder of its own (thrown away
afterwards), with the time and the memory of the whole process tree (proportional set size, so that pages shared between
workers count once), and writes ``benchmarks/perf/sweep.json``. Status 1 if a limit is passed. Linux only: memory is read
from /proc. Borrowed processors are not equally quick at every hour: ``reference_ms`` of each run is the time of one fixed
piece of linear algebra just before it. ``--from-cache DIR`` runs the last two again, from features that are there, and
leaves the cold figure in the file as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etab.tasks.codes import BOARD_PROTOCOL

STAGES = ("cold", "cached features", "finished")
SOUND_NETS = ("musicnn_msd", "music_vgg_msd", "resemblyzer", "speech_embedding", "silero_vad")
SOUND_BACKBONES = (
    "constant",
    "database_only",
    "demographics",
    "envelopes",
    "timing_features",
    "mel_stats",
    "mel_pca",
    "image_stats",
    "pixel_pca",
    "efficientnet_lite0",
    "mobilenetv2",
    "random/efficientnet_lite0",
    "random/mobilenetv2",
    *SOUND_NETS,
    *(f"random/{name}" for name in SOUND_NETS),
    "crepe_tiny",
)


@dataclass(frozen=True)
class Board:
    """Limits in seconds of each stage and in GB (None: only told), and what ``etab run`` is given for each data set."""

    seconds: tuple[float, float, float]
    gb: float | None
    commands: tuple[tuple[str, ...], ...]

    def limits(self) -> dict[str, float]:
        """Limit in seconds by stage."""
        return dict(zip(STAGES, self.seconds, strict=True))


BOARDS = {
    "camus": Board((15 * 60.0, 4 * 60.0, 2.0), 6.0, (("--root", "{root}"),)),
    "sounds": Board(
        (15 * 60.0, 3 * 60.0, 20.0),
        None,
        tuple(
            ("--root", "{root}/" + name, "--tasks", name, "--backbones", ",".join(SOUND_BACKBONES))
            for name in ("circor", "cinc2016")
        ),
    ),
}


def tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from tree(int(child))


def memory(pid: int) -> int:
    """Proportional set size of a process tree in bytes."""
    total = 0
    for each in tree(pid):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total * 1024


def resident(pid: int) -> int:
    """Resident pages of a process tree in bytes, those shared counted in each: cheap to ask for."""
    total = 0
    for each in tree(pid):
        try:
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1])
        except OSError:
            continue
    return total * os.sysconf("SC_PAGE_SIZE")


def measured(command: list[str]) -> dict[str, float]:
    """Wall time in seconds and peak memory in GB of one command; raises where it fails."""
    speed = reference()
    started, peak, high = time.perf_counter(), 0, 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            now = resident(process.pid)
            if (
                now > 1.02 * high
            ):  # the proportional size walks every page and holds the workers up: asked at new heights
                high, peak = now, max(peak, memory(process.pid))
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ended with status {process.returncode}")
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "peak_gb": round(peak / 1e9, 2),
        "reference_ms": speed,
    }


def reference() -> float:
    """Milliseconds of a fixed piece of work on one thread: the best of ten reductions of a 1500 x 1500 matrix."""
    import numpy as np
    from scipy.linalg import lapack
    from threadpoolctl import threadpool_limits

    x = np.random.default_rng(0).normal(size=(1500, 1500)).astype(np.float32)
    matrix, best = np.asfortranarray(x @ x.T / 1500), float("inf")
    with threadpool_limits(1):
        for _ in range(10):
            started = time.perf_counter()
            lapack.ssytrd(matrix, lower=1, lwork=64 * 1500)
            best = min(best, time.perf_counter() - started)
    return round(best * 1000, 1)


def machine() -> dict[str, object]:
    """What the figures depend on."""
    info = Path("/proc/cpuinfo").read_text()
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in info.splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "bf16": "avx512_bf16" in info or "amx_bf16" in info,
        "python": platform.python_version(),
    }


def stage(commands: Sequence[list[str]]) -> dict[str, Any]:
    """Commands one after the other: their time together, the highest peak, and how quick the machine was before them."""
    each = [measured(command) for command in commands]
    return {
        "seconds": round(sum(m["seconds"] for m in each), 1),
        "peak_gb": max(m["peak_gb"] for m in each),
        "reference_ms": each[0]["reference_ms"],
        "protocol": BOARD_PROTOCOL,
    }


def asked() -> argparse.Namespace:
    """The options, refused where they do not go together."""
    parser = argparse.ArgumentParser(description="time the whole board")
    parser.add_argument("--root", required=True)
    parser.add_argument("--board", choices=sorted(BOARDS), default="camus")
    parser.add_argument("--write", type=Path, default=Path("benchmarks/perf/sweep.json"))
    parser.add_argument(
        "--keep", type=Path, help="leave the results of the cached run in this folder"
    )
    parser.add_argument(
        "--keep-cache", type=Path, help="leave the feature cache in this folder, which must be new"
    )
    parser.add_argument(
        "--from-cache", type=Path, help="a feature cache that is there: leaves the cold run out"
    )
    found = parser.parse_args()
    if found.from_cache and (
        found.keep_cache or not found.from_cache.is_dir() or not found.write.is_file()
    ):
        parser.error(
            f"--from-cache takes a folder, goes without --keep-cache, and adds to {found.write}, which must be there"
        )
    if found.keep_cache and found.keep_cache.exists():
        parser.error(f"{found.keep_cache} is there already: a cold run needs a new cache")
    return found


def main() -> None:
    """Measure the three runs and hold them against the limits."""
    said = asked()
    board = BOARDS[said.board]
    with tempfile.TemporaryDirectory() as folder:
        cache = str(said.from_cache or said.keep_cache or f"{folder}/cache")
        second = str(said.keep or f"{folder}/second")
        found = {}
        if said.from_cache:
            found["cold"] = json.loads(said.write.read_text())["measured"]["cold"]
        for name, results in zip(STAGES, (f"{folder}/first", second, second), strict=True):
            if name in found:
                continue
            found[name] = stage(
                [
                    [
                        sys.executable,
                        "-m",
                        "etab",
                        "run",
                        *(word.format(root=said.root) for word in words),
                        "--cache",
                        cache,
                        "--results",
                        results,
                    ]
                    for words in board.commands
                ]
            )
    late = [
        n
        for n, m in found.items()
        if m["seconds"] > board.limits()[n] or m["peak_gb"] > (board.gb or float("inf"))
    ]
    for name, m in found.items():
        share = m["seconds"] / board.limits()[name]
        print(
            f"{name:<16} {m['seconds']:7.1f} s = {share:.2f} of its limit; peak {m['peak_gb']:.2f} GB of {board.gb or 'any'}"
        )
    report = {
        "machine": machine(),
        "limits": {**board.limits(), "peak_gb": board.gb},
        "measured": found,
    }
    said.write.write_text(json.dumps(report, indent=1) + "\n")
    sys.exit(1 if late else 0)


if __name__ == "__main__":
    main()
