"""The finished and the missing cells of a plan, with an estimate of time, memory and disk.

Estimates come from what was measured: the times that finished cells record, and the times and sizes
that cached features record. What was never measured is unknown, unless a few rows are embedded to
measure it.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from etab.backbones.base import BackboneCard
from etab.errors import ResultError
from etab.features.base import Embedding, input_of
from etab.features.budget import CachedEntry, cached_entries
from etab.features.store import features_folder
from etab.results.folder import read_results
from etab.runs.data import Data
from etab.runs.execute import claim_path, failure_of, feature_group, finished
from etab.runs.run import Run, Settings, reads_maps
from etab.runs.whole_tables import kept_tables
from etab.storage.claims import read_claim
from etab.tasks.menu import TASKS
from etab.types import Features

_SAMPLE = 16
"""Rows that are embedded to measure a backbone."""


@dataclass(frozen=True, slots=True)
class Need:
    """The work that one backbone still needs.

    Attributes:
        backbone: Its name.
        cells: Number of cells to compute.
        seconds: Time of the fits in s; None where no such cell was measured.
        rows: Number of frames, clips or windows to embed; those in the cache do not count.
        embed_seconds: Time of embedding them in s; None where it was not measured.
        disk: Bytes that their features take in the cache; None where it was not measured.
        memory: Bytes of the pooled features of all rows, which a fit holds; None likewise.
    """

    backbone: str
    cells: int
    seconds: float | None
    rows: int
    embed_seconds: float | None
    disk: float | None
    memory: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The state of a plan.

    Attributes:
        done: Number of finished cells.
        at_work: Number of cells that a living process computes.
        given_up: Number of cells that failed and are not tried again unless it is asked for.
        needs: What each backbone still needs, in the order of the plan.
        conflicts: Results that would not come out today, each in a sentence.
    """

    done: int
    at_work: int
    given_up: int
    needs: tuple[Need, ...]
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rate:
    """The time, disk and memory that a row of a backbone takes."""

    seconds: float | None
    disk: float
    memory: float


def forecast(
    runs: Sequence[Run], settings: Settings, data: Data, *, measure: bool = False
) -> Forecast:
    """Look at a plan without running it.

    Args:
        runs: The plan.
        settings: How it is to be run.
        data: The data of the plan.
        measure: Whether to embed a few rows with backbones that were never measured.

    Returns:
        What is done, and what each backbone still needs.
    """
    done = at_work = given_up = 0
    conflicts: list[str] = []
    missing: list[Run] = []
    with kept_tables(settings, writes=False):
        for run in runs:
            try:
                stored = finished(run, settings, data)
            except ResultError as error:
                conflicts.append(str(error))
                continue
            record = failure_of(run, settings, data)
            holder = read_claim(claim_path(run, settings))
            if stored is not None:
                done += 1
            elif record is not None and record.is_given_up:
                given_up += 1
            else:
                missing.append(run)
                at_work += holder is not None and not holder.is_dead()
    if not missing:  # then nobody needs the times of all results, which are read for it
        return Forecast(done, at_work, given_up, (), tuple(conflicts))
    seconds_of = _fit_times(settings)
    by_backbone = sorted(missing, key=lambda run: run.backbone)
    needs = {
        name: _need(list(cells), settings, data, seconds_of, measure)
        for name, cells in groupby(by_backbone, key=lambda run: run.backbone)
    }
    in_order = [needs[name] for name in dict.fromkeys(run.backbone for run in missing)]
    return Forecast(done, at_work, given_up, tuple(in_order), tuple(conflicts))


def _fit_times(settings: Settings) -> Callable[[Run], float | None]:
    """How long a cell takes: the median of finished cells of its task and head, or of its head."""
    alike: dict[tuple[str, ...], list[float]] = {}
    for cell in read_results(settings.results).results:
        seconds = cell.provenance.get("seconds")
        if isinstance(seconds, int | float):
            alike.setdefault((cell.head, cell.protocol, cell.task), []).append(seconds)
            alike.setdefault((cell.head, cell.protocol), []).append(seconds)
            alike.setdefault((cell.head,), []).append(seconds)

    def seconds_of(run: Run) -> float | None:
        names = (run.head_name, run.protocol_name, run.task)
        for n_names in (3, 2, 1):
            if names[:n_names] in alike:
                return statistics.median(alike[names[:n_names]])
        return None

    return seconds_of


def _need(
    cells: list[Run],
    settings: Settings,
    data: Data,
    seconds_of: Callable[[Run], float | None],
    measure: bool,
) -> Need:
    """The work that the missing cells of one backbone need."""
    card = cells[0].backbone_card
    times = [seconds_of(run) for run in cells]
    entries = _entries_of(card, settings)
    rate = _rate(entries)
    counts: dict[tuple[Any, ...], list[int]] = {}
    for run in cells:
        group = feature_group(run)
        if group not in counts:
            counts[group] = [len(data.keys(TASKS[code])) for code in run.row.parts]
    if rate is None and measure:
        rate = _measured(cells, card, settings, data)
    stored = {entry.rows for entry in entries}
    rows = [n for parts in counts.values() for n in parts]
    n_new = sum(n for n in rows if n not in stored)
    return Need(
        card.name,
        len(cells),
        _total(times),
        n_new,
        _times(n_new, None if rate is None else rate.seconds),
        _times(n_new, None if rate is None else rate.disk),
        _times(max(rows), None if rate is None else rate.memory),
    )


def _total(values: Sequence[float | None]) -> float | None:
    """The sum; None where a value is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _times(n_rows: int, rate: float | None) -> float | None:
    if n_rows == 0:
        return 0.0
    return None if rate is None else n_rows * rate


def _entries_of(card: BackboneCard, settings: Settings) -> list[CachedEntry]:
    """The cached features of a backbone, whichever data they are of."""
    if settings.cache is None:
        return []
    return [entry for entry in cached_entries(features_folder(settings.cache, card)) if entry.rows]


def _rate(entries: Sequence[CachedEntry]) -> _Rate | None:
    """The cost of a row, from the largest entry, in which fixed costs weigh least."""
    if not entries:
        return None
    rows = float(entries[0].rows or 1)
    timed = [entry for entry in entries if entry.seconds is not None]
    seconds = None
    if timed:
        seconds = (timed[0].seconds or 0.0) / (timed[0].rows or 1)
    return _Rate(seconds, entries[0].size / rows, entries[0].pooled / rows)


def _measured(cells: list[Run], card: BackboneCard, settings: Settings, data: Data) -> _Rate | None:
    """Embed a few rows with a backbone; None where that fails, which a run will report."""
    task = TASKS[cells[0].row.parts[0]]
    embedding = Embedding(
        cache=None,
        device=settings.device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        progress=None,
        data_digest=data.digest(task.dataset),
        maps=any(reads_maps(run) for run in cells),
    )
    try:
        keys = data.keys(task)[:_SAMPLE]
        source = data.source(task.dataset)
        started = time.perf_counter()
        input_of(task).embed(task, source, keys[:1], card, embedding)  # loads the network
        loaded = time.perf_counter()
        features = input_of(task).embed(task, source, keys, card, embedding).features
        again = time.perf_counter() - loaded
    except Exception:  # whatever a network of other people raises
        return None
    seconds = max(again - (loaded - started), 0.0) / len(keys)
    return _Rate(seconds or again / len(keys), _stored_bytes(features), _pooled_bytes(features))


def _pooled_bytes(features: Features) -> float:
    arrays = features.pooled.values()
    return float(sum(array.nbytes / max(len(array), 1) for array in arrays))


def _stored_bytes(features: Features) -> float:
    """Bytes of a row in the cache: pooled features, and maps and sequences in half precision."""
    wide = [*features.maps, *features.sequences.values()]
    sizes = [2.0 * math.prod(array.shape[1:]) for array in wide]
    return _pooled_bytes(features) + float(sum(sizes))
