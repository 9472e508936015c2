"""Frozen embeddings of windows of sound, cached and verified like the embeddings of frames.

The whole recording is resampled to the backbone's rate before windows are cut from it, so that no
filter is applied across the edge of a window. The input of a backbone of pictures is the log-mel
picture of the window, as ``Dataset`` makes it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.backbones.identity import identity
from etab.datasets.base import SoundSource, Source
from etab.errors import LayoutError, UnsupportedOptionError
from etab.features.base import Embedding, Input, register_input
from etab.features.batches import Batches, OnRows, embed_batches, progress_of_part
from etab.features.shards import EmbedRows, Shards, shard_edges
from etab.features.store import (
    EntryKeys,
    FeatureStore,
    FrameFeatures,
    placed,
    resolve_precision,
)
from etab.features.window_batches import (
    WindowKey,
    reading_order,
    window_batches,
    window_groups,
    window_settings,
)
from etab.precisions import AUTO, FASTEST
from etab.tasks.base import Task
from etab.tasks.rows import Rows
from etab.types import Array, Features, FloatArray, Kind, Record

DESCRIBED_VERSION = 1


def sound_precision(precision: str, card: BackboneCard, device: str) -> str:
    """Resolve a precision for sound: fp32 for waveforms, and as for frames with pictures.

    Args:
        precision: "auto", "fp32" or "bf16".
        card: The backbone.
        device: The device, as torch names it.

    Returns:
        "fp32" or "bf16".

    Raises:
        UnsupportedOptionError: The precision is unknown, or bf16 with a backbone of waveforms.
    """
    if card.modality == "image":
        return resolve_precision(precision, card, device)
    if precision not in (AUTO, FASTEST, "fp32"):
        raise UnsupportedOptionError(
            f"precision={precision!r}: {card.name} reads a waveform; possible: auto, fp32."
        )
    return "fp32"


def window_features(
    source: Source,
    keys: Sequence[WindowKey],
    card: BackboneCard,
    *,
    cache: Path | None = None,
    device: str = "cpu",
    precision: str = "auto",
    batch_size: int | None = None,
    progress: OnRows | None = None,
    data_digest: str | None = None,
) -> FrameFeatures:
    """Embed windows of sound, or read their features from the cache.

    A window that reaches beyond the end of its recording continues at the beginning.

    Args:
        source: A source of sound.
        keys: The windows: (record, start in s, length in s).
        card: The backbone, of waveforms or of pictures.
        cache: Folder of the feature cache; None stores nothing.
        device: The device, as torch names it.
        precision: "auto", "fp32" or "bf16".
        batch_size: Windows that are embedded at once; None is 32 on a processor, else 128.
        progress: Called with (windows done, windows in all).
        data_digest: sha256 of the data; None computes it.

    Returns:
        The features, one row for each key, in the order of the keys.

    Raises:
        UnsupportedOptionError: The source has no sound, the card does not read sound or does not
            compute in the precision, or a window has no length or lies outside its recording.
        UndefinedError: Samples are not finite.
        WeightsError: The backbone cannot be loaded.
        CorruptFileError: A recording is damaged, or stored features cannot be read back.
        StorageError: The cache cannot be written.
    """
    wave_source = _check(source, keys, card)
    kind = sound_precision(precision, card, device)
    n = batch_size or (32 if device == "cpu" else 128)
    order = reading_order(keys)

    ordered = [keys[i] for i in order]

    def prepare(backbone: Any) -> EmbedRows:
        prepared = placed(backbone, device, kind)

        def embed(folder: Path | None, first: int, last: int) -> Batches:
            parts = window_batches(wave_source, ordered[first:last], card, n)
            part_progress = progress_of_part(progress, first, len(keys))
            return embed_batches(
                prepared, parts, last - first, folder, device=device, progress=part_progress
            )

        return embed

    names = tuple(
        f"{record.id}\0{float(start)!r}\0{float(length)!r}\0" for record, start, length in keys
    )
    facts = window_settings(card, kind)
    digest = data_digest or source.digest()
    sizes = [len(group) for group in window_groups(ordered, card, n)]
    shards = Shards(shard_edges(sizes, n), prepare, order)
    return FeatureStore(cache).get(
        card, facts, EntryKeys((), names), shards.compute, data_digest=digest, shards=shards
    )


def _check(source: Source, keys: Sequence[WindowKey], card: BackboneCard) -> SoundSource:
    if not isinstance(source, SoundSource):
        raise UnsupportedOptionError(
            f"{source.card.name} holds no sound; call frame_features for its frames."
        )
    if card.modality not in ("sound", "image") or (card.modality == "sound" and not card.rate):
        raise UnsupportedOptionError(
            f"{card.name} reads {card.modality} at {card.rate} Hz; wanted sound, or pictures."
        )
    for record, start, length in keys:
        if not (np.isfinite(start) and np.isfinite(length) and start >= 0 and length > 0):
            raise UnsupportedOptionError(
                f"A window of {record.id} starts at {start} s and lasts {length} s."
            )
    if not keys:
        raise UnsupportedOptionError(
            "No window was given; pass at least one (record, start, length)."
        )
    return source


WINDOW = 5.0
"""Length of a window, in s."""

HOP = 5.0
"""Time from the start of a window to the start of the next one, in s."""

SHORTEST_WINDOW = 2.0
"""Length of the shortest recording that has windows, in s."""


def windows(source: SoundSource) -> list[WindowKey]:
    """List the windows of all recordings that are long enough for a beat.

    Args:
        source: A source of sound.

    Returns:
        One (record, start in s, length in s) for each window.
    """
    keys: list[WindowKey] = []
    for record in sorted(source.records(), key=lambda r: (r.view, r.id)):
        seconds = source.n_samples(record) / float(record.fps or 1)
        if seconds >= SHORTEST_WINDOW:
            keys += [(record, start, WINDOW) for start in window_starts(seconds)]
    return keys


def window_starts(seconds: float) -> list[float]:
    """Return the starts, in s, of the windows of a recording.

    A recording shorter than a window has one window, in which it is repeated. A last window ends
    with the recording if the regular ones leave out at least half a window.

    Args:
        seconds: Length of the recording, in s.

    Example:
        >>> window_starts(12.5)
        [0.0, 5.0, 7.5]
    """
    n = max(1, int((seconds - WINDOW + 1e-9) // HOP) + 1)
    regular = [HOP * i for i in range(n)]
    rest = seconds - (regular[-1] + WINDOW)
    if rest >= WINDOW / 2:
        return [*regular, seconds - WINDOW]
    return regular


@register_input("window")
class Windows(Input):
    """Windows of sound: each window is a row."""

    resolve = staticmethod(sound_precision)

    def keys(self, task: Task, source: Source) -> list[WindowKey]:
        """List every window of the recordings that are long enough.

        Args:
            task: A task on the dataset.
            source: The source of the recordings.
        """
        return windows(_sound_source(source))

    def rows(self, task: Task, source: Source, keys: Sequence[WindowKey]) -> Rows:
        """Build a row for each window, or for each recording from all its windows.

        Args:
            task: The task.
            source: The source of the recordings.
            keys: The windows, as ``keys`` lists them.
        """
        self.check(task, source.card)
        return sound_task_rows(task, _sound_source(source), keys)

    def embed(
        self,
        task: Task,
        source: Source,
        keys: Sequence[WindowKey],
        card: BackboneCard,
        embedding: Embedding,
    ) -> FrameFeatures:
        """Embed every window; for controls of records, describe the recordings.

        Args:
            task: The task.
            source: The source of the recordings.
            keys: The windows.
            card: The backbone.
            embedding: Where and how to compute.
        """
        if card.modality == "record":
            return described(source, keys, card, embedding.data_digest or source.digest())
        return window_features(
            source,
            keys,
            card,
            cache=embedding.cache,
            device=embedding.device,
            precision=embedding.precision,
            batch_size=embedding.batch_size,
            progress=embedding.progress,
            data_digest=embedding.data_digest,
        )

    def pick(self, features: Features, rows: Rows, *, maps: bool, sequences: bool) -> Features:
        """Average the windows of each row; pick series of whole recordings by recording.

        Args:
            features: The features of all windows.
            rows: The rows of the task.
            maps: Whether to return feature maps.
            sequences: Whether to return the features over time.
        """
        return sound_row_features(features, rows)

    def facts(self, task: Task, card: BackboneCard) -> dict[str, Any]:
        """Describe the windows of ``task`` for ``card``, and how they are combined into rows."""
        return {
            "rows": task.inputs,
            "window": [WINDOW, HOP, SHORTEST_WINDOW],
            "aggregate": task.aggregate,
        }


def described(
    source: Source, keys: Sequence[WindowKey], card: BackboneCard, data_digest: str
) -> FrameFeatures:
    """Describe recordings by a control that reads records. It is cheap, so never cached.

    Args:
        source: A source of sound.
        keys: The windows: (record, start in s, length in s).
        card: The control.
        data_digest: sha256 of the data.
    """
    started = time.perf_counter()
    backbone: Any = card.load()
    facts = {
        "inputs_version": DESCRIBED_VERSION,
        "backbone": card.name,
        "backbone_version": card.version,
        "precision": "fp32",
    }
    names = [(record.id, start, length) for record, start, length in keys]
    weights = identity(card, backbone)
    key = hashlib.sha256(
        json.dumps([facts, weights, data_digest, names], sort_keys=True).encode()
    ).hexdigest()
    features = backbone.describe(source, keys)
    seconds = time.perf_counter() - started
    return FrameFeatures(features, key, weights, data_digest, facts, False, seconds)


def _sound_source(source: Source) -> SoundSource:
    if not isinstance(source, SoundSource):
        raise UnsupportedOptionError(
            f"{source.card.name} has no sound: its source is not an etab.datasets.base.SoundSource."
        )
    return source


def sound_task_rows(task: Task, source: SoundSource, keys: Sequence[WindowKey]) -> Rows:
    """Build the rows of a task on sound.

    Args:
        task: The task. With ``inputs="window"`` each window is a row, with "recording" each
            recording.
        source: A source of sound.
        keys: The windows: (record, start in s, length in s); the windows of one recording follow
            one another.

    Returns:
        The rows; ``frames`` (rows, 2) are the first and the last window of each.

    Raises:
        LayoutError: The data hold no row at all.
    """
    target = source.card.target(task.target)
    window_range: dict[str, tuple[int, int]] = {}
    for i, (record, _, _) in enumerate(keys):
        first, _ = window_range.get(record.id, (i, i))
        window_range[record.id] = (first, i)
    chosen: list[tuple[Record, str, tuple[int, int], Any]] = []
    missing: list[tuple[str, str]] = []
    records = [record for record in source.records() if record.view in task.views]
    for record in sorted(records, key=lambda r: (r.view, r.id)):
        answers = source.answers(record, target)
        value = answers[0].value if answers else None
        if record.id not in window_range:
            missing.append((record.id, f"shorter than {SHORTEST_WINDOW:g} s"))
            continue
        if value is None or (target.kind is Kind.STATES and not _has_sounds(value)):
            missing.append((record.id, f"no {task.target} is given"))
            continue
        first, last = window_range[record.id]
        if task.inputs == "window":
            chosen += [
                (record, f"{record.id}#{keys[i][1]:g}", (i, i), value)
                for i in range(first, last + 1)
            ]
        else:
            chosen.append((record, record.id, (first, last), value))
    if not chosen:
        reason = missing[0][1] if missing else "no recording of that place"
        raise LayoutError(
            f"{source.root} has no row for {task.code} "
            f"({task.target}, {', '.join(task.views)}): {reason}. "
            f"Run `{source.check_command()}`."
        )
    return _rows(task, target.kind, chosen, missing)


def _rows(
    task: Task,
    kind: Kind,
    chosen: Sequence[tuple[Record, str, tuple[int, int], Any]],
    missing: list[tuple[str, str]],
) -> Rows:
    records = [r for r, _, _, _ in chosen]
    values = [v for _, _, _, v in chosen]
    items = tuple(item for _, item, _, _ in chosen)
    names = tuple(r.id for r in records)
    groups: tuple[str, ...] = ()
    if all("database" in r.meta for r in records):
        groups = tuple(str(r.meta["database"]) for r in records)
    return Rows(
        items=items,
        patients=np.array([r.patient for r in records]),
        parts=np.array([r.split for r in records]),
        frames=np.array([ends for _, _, ends, _ in chosen]),
        answers=values if kind is Kind.STATES else _numbers(kind, values),
        spacing=(None,) * len(chosen),
        missing=tuple(missing),
        records=names,
        units={
            "": items,
            "recording": names,
            "patient": tuple(str(r.meta.get("id", r.patient)) for r in records),
        }[task.unit],
        places=tuple(r.view for r in records),
        groups=groups,
        extras=_extras(records, groups),
    )


def _numbers(kind: Kind, values: list[Any]) -> Array:
    return np.asarray(values, dtype=np.float64 if kind is Kind.VALUE else np.int64)


def _has_sounds(states: Array) -> bool:
    """Whether any S1 or S2 is annotated; a recording without one has nothing to detect."""
    return bool(np.isin(states, (0, 2)).any())


COLUMNS_OF_RECORDS = ("group", "clean", "outcome")
"""Columns that some metrics of sounds need of every row, beside scores."""


def _extras(records: Sequence[Record], groups: Sequence[str]) -> dict[str, FloatArray]:
    """Collect database, signal quality and outcome of each row, where every row has them."""
    out: dict[str, FloatArray] = {}
    if groups:
        names = sorted(set(groups))
        out["group"] = np.array([names.index(g) for g in groups], dtype=np.float64)
    if any("good" in r.meta for r in records):
        out["clean"] = np.array([_quality(r) for r in records])
    if all("outcome" in r.meta for r in records):
        out["outcome"] = np.array([float(r.meta["outcome"] == "Abnormal") for r in records])
    return out


def _quality(record: Record) -> float:
    """1 for a recording that the reference calls clean, 0 for a noisy one, -1 without a mark."""
    if "good" not in record.meta:
        return -1.0
    return float(bool(record.meta["good"]))


def sound_row_features(features: Features, rows: Rows) -> Features:
    """Average the windows of each row, and pick series and layers by recording.

    Args:
        features: Features of windows; series and layers are indexed by recording.
        rows: The rows of a task.

    Returns:
        Features with one row for each row of the task.
    """
    first = rows.frames[:, 0]
    last = rows.frames[:, -1]
    pooled = {
        name: _averaged(np.asarray(values), first, last) for name, values in features.pooled.items()
    }
    series = None if features.series is None else _picked(features.series, rows.records)
    layers = {
        name: _picked(series_of, rows.records) for name, series_of in features.sequences.items()
    }
    return Features(pooled=pooled, pca=features.pca, sequences=layers, series=series)


def _averaged(values: Array, first: Array, last: Array) -> Array:
    if (first == last).all():
        return values[first]
    return np.stack([values[a : b + 1].mean(axis=0) for a, b in zip(first, last, strict=True)])


def _picked(series: Any, records: Sequence[str]) -> Array:
    """Collect the series (k, d) of each row's recording in an object array."""
    out = np.empty(len(records), dtype=object)
    for i, name in enumerate(records):
        out[i] = series[name]
    return out
