"""Memory at any size: a million frames into the store, and 100,000 rows through the fits.

``python -m benchmarks.scale.memory FOLDER --json benchmarks/scale/memory.json`` writes made features
of a million frames (``--width`` values each, 0.5 GB) through the store, shard by shard, reads them
back, and fits probes on 100,000 rows of them in three folds; then on 100,000 rows of ``--wide``
values, which a seeded sketch narrows first. Each step runs in a process of its own, whose largest
resident memory is compared with the budget of the step; a step above its budget makes the command
fail. FOLDER needs 1 GB, and the temporary folder 2 GB; both are freed at the end.
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
from etab.features.sketch import sketched
from etab.features.store import EntryKeys, FeatureStore
from etab.runs.meters import peak_memory
from etab.splits import row_splits
from etab.types import Array, Features, FloatArray, IntArray, Kind, Target

FOLDS = 3

BUDGETS = {
    "write": 800,
    "read": 1300,
    "ridge": 1500,
    "logistic": 1500,
    "stack": 2500,
    "sketch": 2800,
    "wide ridge": 4500,
    "wide logistic": 6500,
    "wide stack": 5500,
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
        error: Of features that were narrowed, the relative error of squared distances; 0 of others.
    """

    what: str
    rows: int
    width: int
    seconds: float
    processor: float
    before: int
    memory: int
    budget: int
    error: float = 0.0


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


class MadeRows:
    """Wide features that are made when they are read, as from a file that is larger than memory.

    Args:
        n_rows: Number of rows.
        width: Values of a row.
    """

    def __init__(self, n_rows: int, width: int) -> None:
        self.shape = (n_rows, width)
        self.axes = np.random.default_rng(0).standard_normal((64, width), dtype=np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        """Rows with a part that few axes hold, as those of networks, and noise."""
        numbers = np.arange(len(self))[rows]
        many = np.atleast_1d(numbers)
        out = self.coordinates(many) @ self.axes
        for place, number in zip(out, many, strict=True):
            noise = np.random.default_rng(int(number))
            place += noise.standard_normal(self.shape[1], dtype=np.float32)
        return out.reshape(*numbers.shape, self.shape[1])

    def coordinates(self, rows: IntArray) -> Array:
        """What the rows are along the axes (rows, 64): the same whenever they are read."""
        phases = np.outer(rows + 1.0, np.sqrt(np.arange(2.0, 66.0)))
        return np.sin(phases).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the steps are.

    Attributes:
        cache: Folder of the cache.
        frames: Rows of the entry.
        rows: Rows of a fit.
        width: Values of a row of the entry.
        wide: Values of a row of the wide features.
    """

    cache: Path
    frames: int
    rows: int
    width: int
    wide: int


def _write(sizes: Sizes) -> float:
    entry_of(sizes.cache, sizes.frames, sizes.width)
    return 0.0


def _read(sizes: Sizes) -> float:
    """Sum every row up, as a fit from moments does."""
    rows = entry_of(sizes.cache, sizes.frames, sizes.width).pooled["made/mean"]
    for first in range(0, len(rows), SHARD):
        rows[first : first + SHARD].sum(dtype=np.float64)
    return 0.0


def _fit_head(name: str, features: Features, signal: FloatArray) -> None:
    """Fit a head in folds of people with ten rows each."""
    rng = np.random.default_rng(0)
    value = signal + 0.5 * rng.standard_normal(len(signal))
    is_classes = name == "logistic"
    kind = Kind.BINARY if is_classes else Kind.VALUE
    target = Target("made", kind, classes=("no", "yes") if is_classes else ())
    answers = (value > 0).astype(int) if is_classes else value
    patients = np.array([f"p{i // 10}" for i in range(len(value))])
    splits = row_splits(patients, np.full(len(value), "train"), protocol="cv", n_fold=FOLDS)
    heads.head(name).cross_fit(features, answers, patients, splits, target, rng=rng)


def _fit(name: str) -> Callable[[Sizes], float]:
    def fit(sizes: Sizes) -> float:
        entry = entry_of(sizes.cache, sizes.frames, sizes.width)
        rows = entry.pooled["made/mean"][: sizes.rows]
        _fit_head(name, Features({"made/mean": rows}), rows[:, 0])
        return 0.0

    return fit


def _narrow(sizes: Sizes) -> tuple[Features, FloatArray, float]:
    """Wide features after the sketch, what answers follow, and the error of the sketch."""
    rows = MadeRows(sizes.rows, sizes.wide)
    everyone = np.arange(sizes.rows)
    values, facts = sketched([(rows, everyone)])
    return Features({"made/grid4": values}), rows.coordinates(everyone)[:, 0], facts["error"]


def _fit_wide(name: str) -> Callable[[Sizes], float]:
    def fit(sizes: Sizes) -> float:
        features, signal, error = _narrow(sizes)
        _fit_head(name, features, signal)
        return error

    return fit


_HEADS = ("ridge", "logistic", "stack")
STEPS: dict[str, Callable[[Sizes], float]] = {
    "write": _write,
    "read": _read,
    **{name: _fit(name) for name in _HEADS},
    "sketch": lambda sizes: _narrow(sizes)[2],
    **{f"wide {name}": _fit_wide(name) for name in _HEADS},
}


def _measure(name: str, sizes: Sizes, sender: Any) -> None:
    before = peak_memory()
    clock = time.perf_counter()
    processor = time.process_time()
    error = STEPS[name](sizes)
    seconds = time.perf_counter() - clock
    sender.send((seconds, time.process_time() - processor, before, peak_memory(), error))


def measured(name: str, sizes: Sizes) -> Step:
    """Run a step in a new process.

    Args:
        name: Name of the step.
        sizes: How large it is.

    Raises:
        RuntimeError: If the step fails.
    """
    context = mp.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(name, sizes, sender))
    child.start()
    sender.close()
    try:
        seconds, processor, before, memory, error = receiver.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"{name} ended with {child.exitcode}") from None
    child.join()
    rows = sizes.frames if name in ("write", "read") else sizes.rows
    width = sizes.wide if error else sizes.width
    times = round(seconds, 1), round(processor, 1)
    return Step(name, rows, width, *times, before, memory, BUDGETS[name] * 1_000_000, error)


def _with_rows_of_before(path: Path, steps: list[Step]) -> list[dict[str, Any]]:
    """The rows of these steps, and those of other steps that the file holds."""
    known = {row["what"]: row for row in json.loads(path.read_text())} if path.exists() else {}
    known.update({step.what: asdict(step) for step in steps})
    return [known[name] for name in STEPS if name in known]


def main() -> None:
    """Measure every step, and compare it with its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--wide", type=int, default=8192)
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cache = options.folder / "cache"
    sizes = Sizes(cache, options.frames, options.rows, options.width, options.wide)
    steps: list[Step] = []
    try:
        for name in options.steps.split(","):
            step = measured(name, sizes)
            steps.append(step)
            print(step, flush=True)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    if options.json:
        rows = _with_rows_of_before(options.json, steps)
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(any(step.memory > step.budget for step in steps))


if __name__ == "__main__":
    main()
