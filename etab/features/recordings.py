"""Layers of a backbone over a whole recording at 50 Hz, for tasks with a state at each time.

How a layer is computed depends on the input of the backbone:

* Waveforms: the input is the whole recording. The steps of the backbone have known times and are
  interpolated linearly at the times of the states.
* Pictures: the input is the log-mel picture of the whole recording (0 dB is its loudest point),
  PIXEL s a column, in square tiles that overlap by a quarter. The backbone's maps are averaged over
  frequency; the columns of each tile are used up to the middle of an overlap.
* Records: controls that describe a recording as a whole have the same value at all times.

A layer with more than WIDTH channels is projected to WIDTH by a fixed random matrix. Each channel
is then standardised over the recording, as envelopes are, because the loudness of a recording does
not depend on its states. Nothing here is learned. The features also hold the four envelopes of the
recording, from which heads compute the heart rate; they are the same for every backbone.

On disk: float16, 100 bytes a channel and second, at most three layers of a network. CirCor (3,163
recordings, 20 hours) takes up to 2.8 GB a backbone, and twice that while its shards are joined.
Recordings are computed one by one and read as slices of a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard, Course
from etab.datasets.base import SoundSource, Source
from etab.errors import (
    UndefinedError,
    UnsupportedOptionError,
)
from etab.features.base import Embedding, register_input
from etab.features.batches import OnRows, progress_of_part
from etab.features.entries import Computed
from etab.features.fit import require_squash
from etab.features.kept_sounds import envelopes_of, sound_at
from etab.features.overlap import ahead
from etab.features.series_files import (
    BEAT,
    CollectedSeries,
    Layers,
    join_series,
    load_series,
)
from etab.features.shards import EmbedRows, Shards, shard_edges
from etab.features.store import (
    EntryKeys,
    FeatureStore,
    FrameFeatures,
    placed,
    precision_facts,
)
from etab.features.window_batches import WindowKey
from etab.features.windows import Windows, sound_precision
from etab.sounds.envelopes import KINDS
from etab.sounds.mel import log_mel
from etab.sounds.states import STATE_RATE
from etab.tasks.base import Task
from etab.types import Array, FloatArray, Kind, Record

SERIES_VERSION = 1
WIDTH = 128
PIXEL = 0.01
MEL_STEP = 0.016
TILES = 16
"""About the number of tiles of a recording, by which recordings are divided into shards."""

_STILL = 1e-5


@register_input("recording")
class Recordings(Windows):
    """Whole recordings: the mean over their windows or, for tasks of states, series over time."""

    def embed(
        self,
        task: Task,
        source: Source,
        keys: Sequence[WindowKey],
        card: BackboneCard,
        embedding: Embedding,
    ) -> FrameFeatures:
        """Compute layers over time if the task needs them; otherwise, embed every window.

        Args:
            task: The task.
            source: The source of the recordings.
            keys: The windows.
            card: The backbone.
            embedding: Where and how to compute.
        """
        if not layered(task, card):
            return super().embed(task, source, keys, card, embedding)
        return recording_series(
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

    def facts(self, task: Task, card: BackboneCard) -> dict[str, Any]:
        """Describe the windows of ``task`` for ``card``, and the version of layers over time."""
        version = {"series_version": SERIES_VERSION} if layered(task, card) else {}
        return {**version, **super().facts(task, card)}


def layered(task: Task, card: BackboneCard) -> bool:
    """Whether a task needs layers over time.

    It does if its target is a state at each time, and the backbone does not compute series itself.

    Args:
        task: The task.
        card: The backbone.
    """
    return task.kind is Kind.STATES and card.series is None and card.over_time


def state_count(n: int, rate: float) -> int:
    """Count the states of ``n`` samples at ``rate`` Hz: one at 0, 20, 40, ... ms.

    Args:
        n: Number of samples.
        rate: Samples a second.

    Example:
        >>> state_count(8000, 4000)
        100
    """
    return math.ceil(n * STATE_RATE / rate - 1e-9)


def at_states(times: FloatArray, values: Array, k: int) -> FloatArray:
    """Interpolate values at the times of states.

    The interpolation is linear between two steps. Before the first step and after the last one, the
    values are constant.

    Args:
        times: Times of the steps (steps,), in s, ascending.
        values: Values (steps, d).
        k: Number of states.

    Returns:
        The values at the states (k, d), float32.
    """
    position = np.interp(np.arange(k) / STATE_RATE, times, np.arange(len(times)))
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, len(times) - 1)
    part = (position - low)[:, None].astype(np.float32)
    x = np.asarray(values, dtype=np.float32)
    # The caller checks the result and names a layer that is not finite.
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(x[low] * (1 - part) + x[high] * part)


def narrowed(values: Array) -> FloatArray:
    """Project values (steps, d) to (steps, WIDTH) where d is larger.

    The projection is random and fixed, and preserves distances approximately.

    Args:
        values: Values (steps, d).
    """
    x = np.asarray(values, dtype=np.float32)
    d = x.shape[1]
    if d <= WIDTH:
        return x
    projection = np.random.default_rng([d, WIDTH]).normal(size=(d, WIDTH)) / math.sqrt(WIDTH)
    return np.asarray(x @ projection.astype(np.float32))


def levelled(values: FloatArray) -> FloatArray:
    """Standardise each channel of a series; a channel that never changes becomes 0.

    Args:
        values: A series (k, d).

    Returns:
        The series, float32, with mean 0 and standard deviation 1 in each channel that changes.
    """
    x = np.asarray(values, dtype=np.float64)
    mean = x.mean(axis=0)
    spread = x.std(axis=0)
    changes = spread > _STILL * np.maximum(np.abs(mean), 1e-6)
    scale = np.where(changes, 1 / np.where(changes, spread, 1.0), 0.0)
    return np.asarray((x - mean) * scale, dtype=np.float32)


def series_settings(card: BackboneCard, precision: str) -> dict[str, Any]:
    """Collect the facts that decide a series beyond the weights and the data.

    Args:
        card: The backbone.
        precision: "fp32" or "bf16".
    """
    facts: dict[str, Any] = {
        "series_version": SERIES_VERSION,
        "envelopes": list(KINDS),
        "backbone_version": card.version,
        "backbone": card.name,
        "modality": card.modality,
        **precision_facts(precision),
        "width": WIDTH,
    }
    if card.modality == "image":
        require_squash(card)
        return {
            **facts,
            "pixel": PIXEL,
            "size": card.size,
            "mean": list(card.mean),
            "std": list(card.std),
            "layers": list(card.layers),
        }
    return {**facts, "rate": card.rate, "layers": list(card.timed)}


def recording_series(
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
    """Compute the layers of recordings over time, or read them from the cache.

    Args:
        source: A source of sound.
        keys: Windows of the recordings: (record, start in s, length in s). Each recording is used
            as a whole, once.
        card: A backbone with layers over time.
        cache: Folder of the feature cache; None stores nothing.
        device: The device, as torch names it.
        precision: "auto", "fp32" or "bf16".
        batch_size: Tiles of a picture that are embedded at once; None is 16 on a processor, else
            64.
        progress: Called with (recordings done, recordings in all).
        data_digest: sha256 of the data; None computes it.

    Returns:
        Features with k states at 50 Hz: ``features.series`` maps a recording to its envelopes
        (k, 4), ``features.sequences`` a layer and a recording to its series (k, d).

    Raises:
        UnsupportedOptionError: The source has no sound, the backbone has no layers over time, or no
            recording is given.
        UndefinedError: A sound is flat, not finite or too short.
        WeightsError: The backbone cannot be loaded.
        CorruptFileError: A recording is damaged, or stored series cannot be read back.
        StorageError: The cache cannot be written.
    """
    if not isinstance(source, SoundSource):
        raise UnsupportedOptionError(f"{source.card.name} holds no sound: it has no series.")
    if not card.over_time or card.series:
        raise UnsupportedOptionError(
            f"{card.name} has no layers over time for etab.features.recordings to put at 50 Hz."
        )
    records = list({record.id: record for record, _, _ in keys}.values())
    if not records:
        raise UnsupportedOptionError("No recording was given; pass at least one window.")
    is_constant = card.modality == "record"
    kind = "fp32" if is_constant else sound_precision(precision, card, device)
    n = batch_size or (16 if device == "cpu" else 64)

    def compute(*_: Any) -> Computed:
        return CollectedSeries.of(_held(source, records))

    def prepare(backbone: Any) -> EmbedRows:
        read_layers = partial(_layers, card, placed(backbone, device, kind), device, n)

        def embed(folder: Path | None, first: int, last: int) -> Computed:
            collected = CollectedSeries(folder)
            part_progress = progress_of_part(progress, first, len(records))
            collected.add_all(_each(source, records[first:last], read_layers, part_progress))
            return collected

        return embed

    # Each recording is computed by itself, so that the shards are free to end anywhere.
    edges = shard_edges([1] * len(records), TILES)
    shards = Shards(edges, prepare, load=load_series, join=join_series)
    return FeatureStore(None if is_constant else cache).get(
        card,
        series_settings(card, kind),
        EntryKeys(([record.id for record in records],)),
        compute if is_constant else shards.compute,
        data_digest=data_digest or source.digest(),
        load=load_series,
        shards=None if is_constant else shards,
    )


@dataclass(frozen=True, slots=True)
class _Sound:
    """The sound of a recording.

    Attributes:
        record: The recording.
        samples: The waveform.
        rate: Samples a second.
        k: Number of states.
        beat: Envelopes (k, 4).
        source: The source of the recording.
    """

    record: Record
    samples: FloatArray
    rate: int
    k: int
    beat: FloatArray
    source: SoundSource


def _read_sound(source: SoundSource, record: Record) -> _Sound:
    samples, rate = source.wave(record)
    beat = envelopes_of(source, record, samples, rate)
    return _Sound(record, samples, rate, state_count(len(samples), rate), beat, source)


def _layers(card: BackboneCard, backbone: Any, device: str, batch: int, sound: _Sound) -> Layers:
    """Compute the layers (k, d) of one recording, independently of all others."""
    if card.modality == "image":
        layers = _of_pictures(card, backbone, device, batch, sound)
    else:
        layers = _of_waves(card, backbone, device, sound)
    for name, values in layers.items():
        if not np.isfinite(values).all():
            raise UndefinedError(
                f"{card.name}: layer {name} of {sound.record.id} is not finite. "
                "Leave the record out."
            )
    return layers


def _of_waves(card: BackboneCard, backbone: Any, device: str, sound: _Sound) -> Layers:
    import torch

    samples, _ = sound_at(sound.source, sound.record, card.rate)
    # A copy, because kept sounds cannot be written to.
    x = torch.from_numpy(np.array(samples, dtype=np.float32)).to(device)
    courses: Mapping[str, Course] = backbone.course(x)
    layers: Layers = {}
    for name, course in courses.items():
        times = course.first + course.hop * np.arange(len(course.values))
        layers[name] = at_states(times, narrowed(course.values), sound.k)
    return layers


def tiles(columns: int, size: int) -> list[int]:
    """List the first columns of square tiles that cover a picture, 3/4 of a tile apart.

    Args:
        columns: Width of the picture, in px.
        size: Width of a tile, in px.
    """
    last = max(columns - size, 0)
    return [*range(0, last, max(1, 3 * size // 4)), last]


def recording_picture(samples: FloatArray, rate: int, size: int) -> Array:
    """Draw the log-mel picture of a recording.

    Column i is centred at i * PIXEL seconds. A recording with fewer than ``size`` columns is
    padded with silence.

    Args:
        samples: The waveform.
        rate: Samples a second.
        size: Height of the picture, in px.

    Returns:
        The picture (size, columns), uint8.
    """
    import cv2

    mel = log_mel(samples, rate)
    columns = max(1, math.ceil(len(samples) / rate / PIXEL))
    position = np.arange(columns) * PIXEL / MEL_STEP
    low = np.minimum(position.astype(np.int64), mel.shape[1] - 1)
    high = np.minimum(low + 1, mel.shape[1] - 1)
    part = (position - np.floor(position)).astype(np.float32)
    wide = np.ascontiguousarray(mel[:, low] * (1 - part) + mel[:, high] * part)
    interpolation = cv2.INTER_AREA if size < len(mel) else cv2.INTER_LINEAR
    tall = cv2.resize(wide, (columns, size), interpolation=interpolation)
    grey = np.round(np.clip(tall, 0, 1) * 255).astype(np.uint8).reshape(size, columns)
    return np.pad(grey, ((0, 0), (0, max(0, size - columns))))


def _of_pictures(
    card: BackboneCard, backbone: Any, device: str, batch: int, sound: _Sound
) -> Layers:
    import torch

    whole = recording_picture(sound.samples, sound.rate, card.size)
    starts = tiles(whole.shape[1], card.size)
    pictures = np.stack([whole[:, s : s + card.size] for s in starts])
    parts: dict[str, list[Array]] = {}
    for first in range(0, len(pictures), batch):
        x = torch.from_numpy(pictures[first : first + batch]).to(device)
        for name, values in _columns(card, backbone, x).items():
            parts.setdefault(name, []).append(values.float().cpu().numpy())
    layers: Layers = {}
    for name, rows in parts.items():
        times, joined = _joined(np.concatenate(rows), starts, card.size)
        layers[name] = at_states(times, joined, sound.k)
    return layers


def _columns(card: BackboneCard, backbone: Any, x: Any) -> Mapping[str, Any]:
    """Compute the columns (n, w, d) of each layer, by ``backbone.columns`` or from its maps."""
    columns = getattr(backbone, "columns", None)
    if columns is not None:
        return dict(columns(x))
    layers = {
        f"map{i}": grid.float().mean(dim=2).transpose(1, 2)
        for i, grid in enumerate(backbone(x).maps)
    }
    if not layers:
        raise UnsupportedOptionError(
            f"{card.name} has no feature maps, so no layers over time: leave e0 out."
        )
    return layers


def _joined(columns: Array, starts: Sequence[int], size: int) -> tuple[FloatArray, FloatArray]:
    """Join the columns (tiles, w, d) of tiles.

    Each tile is used up to the middle of its overlaps.

    Returns:
        Times (steps,), in s, and values (steps, d).
    """
    stride = size / columns.shape[1]
    middle = stride * (np.arange(columns.shape[1]) + 0.5) - 0.5
    middles = [(a + b + size) / 2 for a, b in pairwise(starts)]
    edges = [-math.inf, *middles, math.inf]
    times = []
    values = []
    for i, start in enumerate(starts):
        centres = start + middle
        used = (centres >= edges[i]) & (centres < edges[i + 1])
        times.append(centres[used] * PIXEL)
        values.append(narrowed(columns[i][used]))
    return np.concatenate(times), np.concatenate(values)


def _held(source: SoundSource, records: Sequence[Record]) -> dict[str, Layers]:
    """Make series (k, 1) of zeros: a constant, once standardised. They are not cached."""
    beats = {record.id: _read_sound(source, record).beat for record in records}
    return {BEAT: beats, "facts": {name: np.zeros((len(x), 1)) for name, x in beats.items()}}


def _each(
    source: SoundSource, records: Sequence[Record], read_layers: Any, progress: OnRows | None
) -> Iterator[tuple[Record, Layers]]:
    """Yield recordings with envelopes (float32) and layers (float16), reading one ahead."""
    sounds: Iterator[Any] = ahead(records, partial(_read_sound, source))  # type: ignore[arg-type]
    for i, sound in enumerate(sounds):
        layers = {name: levelled(x).astype(np.float16) for name, x in read_layers(sound).items()}
        if progress:
            progress(i + 1, len(records))
        yield sound.record, {BEAT: sound.beat, **layers}
