"""Memory at any size: a million frames into the store, and 100,000 rows through the fits.

``python -m benchmarks.scale.memory FOLDER --json benchmarks/scale/memory.json`` writes made features
of a million frames (``--width`` values each, 0.5 GB) through the store, shard by shard, reads them
back, and fits probes on 100,000 rows of them in three folds. Each step runs in a process of its own,
whose largest resident memory is compared with the budget of the step; a step above its budget makes
the command fail. FOLDER needs 1 GB, and the features are deleted at the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab import backbones, heads
from etab.features.batches import Batches
from etab.features.shards import SHARD, EmbedRows, Shards, shard_edges
from etab.features.store import EntryKeys, FeatureStore
from etab.runs.meters import peak_memory
from etab.splits import row_splits
from etab.types import Array, Features, Kind, Target

FOLDS = 3

BUDGETS = {
    "write": 800,
    "read": 1300,
    "ridge": 1500,
    "logistic": 1500,
    "stack": 2500,
}
"""Largest resident memory of each step in MB, of which about 580 are libraries."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step has taken.

    Attributes:
        what: Name of the step.
        rows: Number of rows.
        width: Values of a row.
        seconds: Time of the clock.
        processor: Time of the processor in s.
        before: Largest resident memory before the step in bytes.
        memory: Largest resident memory at its end in bytes.
        budget: Memory that it may take, in bytes.
    """

    what: str
    rows: int
    width: int
    seconds: float
    processor: float
    before: int
    memory: int
    budget: int


def made_rows(first: int, last: int, width: int) -> Array:
    """Make features of some rows, whichever shard they belong to.

    Args:
        first: The first row.
        last: The last row, exclusive.
        width: Values of a row.

    Returns:
        Values (rows, width), float32.
    """
    rows = np.random.default_rng(first).standard_normal((last - first, width), dtype=np.float32)
    return rows * np.arange(1, width + 1, dtype=np.float32) ** -0.5


def entry_of(cache: Path, n_rows: int, width: int) -> Features:
    """Write an entry through the store, or read it.

    Args:
        cache: Folder of the cache.
        n_rows: Number of rows.
        width: Values of a row.
    """

    def prepare(_: Any) -> EmbedRows:
        def embed(folder: Path | None, first: int, last: int) -> Batches:
            batches = Batches(last - first, folder)
            batches.pooled = {"made/mean": made_rows(first, last, width)}
            batches.at = last - first
            return batches

        return embed

    sizes = [min(SHARD, n_rows - first) for first in range(0, n_rows, SHARD)]
    shards = Shards(shard_edges(sizes, SHARD), prepare)
    card = backbones.card("image_stats")
    keys = EntryKeys((n_rows, width))
    store = FeatureStore(cache)
    embedded = store.get(card, {}, keys, shards.compute, data_digest="made", shards=shards)
    return embedded.features


def _write(cache: Path, n_frames: int, width: int, _: int) -> None:
    entry_of(cache, n_frames, width)


def _read(cache: Path, n_frames: int, width: int, _: int) -> None:
    """Sum every row up, as a fit from moments does."""
    rows = entry_of(cache, n_frames, width).pooled["made/mean"]
    for first in range(0, len(rows), SHARD):
        rows[first : first + SHARD].sum(dtype=np.float64)


def _fit(name: str) -> Callable[[Path, int, int, int], None]:
    def fit(cache: Path, n_frames: int, width: int, n_rows: int) -> None:
        rows = entry_of(cache, n_frames, width).pooled["made/mean"][:n_rows]
        rng = np.random.default_rng(0)
        value = rows[:, 0] + 0.5 * rng.standard_normal(n_rows)
        is_classes = name == "logistic"
        kind = Kind.BINARY if is_classes else Kind.VALUE
        target = Target("made", kind, classes=("no", "yes") if is_classes else ())
        answers = (value > 0).astype(int) if is_classes else value
        patients = np.array([f"p{i // 10}" for i in range(n_rows)])
        splits = row_splits(patients, np.full(n_rows, "train"), protocol="cv", n_fold=FOLDS)
        features = Features({"made/mean": rows})
        heads.head(name).cross_fit(features, answers, patients, splits, target, rng=rng)

    return fit


STEPS: dict[str, Callable[[Path, int, int, int], None]] = {
    "write": _write,
    "read": _read,
    **{name: _fit(name) for name in ("ridge", "logistic", "stack")},
}


def _measure(name: str, sizes: tuple[Path, int, int, int], sender: Any) -> None:
    before = peak_memory()
    clock = time.perf_counter()
    processor = time.process_time()
    STEPS[name](*sizes)
    seconds = time.perf_counter() - clock
    sender.send((seconds, time.process_time() - processor, before, peak_memory()))


def measured(name: str, cache: Path, n_frames: int, width: int, n_rows: int) -> Step:
    """Run a step in a new process.

    Args:
        name: Name of the step.
        cache: Folder of the cache.
        n_frames: Rows of the entry.
        width: Values of a row.
        n_rows: Rows of a fit.

    Raises:
        RuntimeError: If the step fails.
    """
    context = mp.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(name, (cache, n_frames, width, n_rows), sender))
    child.start()
    sender.close()
    try:
        seconds, processor, before, memory = receiver.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"{name} ended with {child.exitcode}") from None
    child.join()
    rows = n_frames if name in ("write", "read") else n_rows
    budget = BUDGETS[name] * 1_000_000
    return Step(name, rows, width, round(seconds, 1), round(processor, 1), before, memory, budget)


def main() -> None:
    """Measure every step, and compare it with its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cache = options.folder / "cache"
    steps: list[Step] = []
    try:
        for name in options.steps.split(","):
            step = measured(name, cache, options.frames, options.width, options.rows)
            steps.append(step)
            print(step, flush=True)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(step) for step in steps], indent=1) + "\n")
    sys.exit(any(step.memory > step.budget for step in steps))


if __name__ == "__main__":
    main()
