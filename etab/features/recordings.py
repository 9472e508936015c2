"""Layers of a backbone over a whole recording at 50 Hz, for tasks with a state at every moment.

How a layer is computed depends on the input of the backbone:

* Waveforms: the backbone reads the whole recording at once. Its steps have known times and are
  interpolated linearly at the times of the states.
* Pictures: the backbone reads the log-mel picture of the whole recording (0 dB is its loudest
  point), PIXEL s a column, in square tiles that overlap by a quarter. Its maps are averaged over
  frequency; of the columns of each tile, those up to the middle of an overlap are used.
* Records: controls that describe a recording as a whole have the same value at every moment.

A layer with more than WIDTH channels is projected to WIDTH by a fixed random matrix. Each channel
is then standardised over the recording, as envelopes are, because the loudness of a recording does
not depend on its states. Nothing here is learned. The features also hold the four envelopes
of the recording, off which heads read the heart rate, for every backbone the same.

On disk: float16, 100 bytes a channel and second, at most three layers of a network. CirCor (3,163
recordings, 20 hours) takes up to 2.8 GB a backbone; recordings are computed one by one and read
back as slices of a file.
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
from etab.features.base import Embedding, register
from etab.features.entries import Computed, Report
from etab.features.store import EntryKeys, FeatureStore, FrameFeatures, ahead
from etab.features.windows import WindowKey, Windows, sound_precision
from etab.sounds.envelopes import KINDS, envelopes
from etab.sounds.mel import log_mel
from etab.sounds.states import STATE_RATE
from etab.sounds.windows import resample
from etab.tasks.base import Task
from etab.types import Array, Features, FloatArray, Kind, Record

VERSION = 1
WIDTH = 128
PIXEL = 0.01
MEL_STEP = 0.016
BEAT = "beat"
_STILL = 1e-5
Layers = dict[str, Array]


@register("recording")
class Recordings(Windows):
    """Whole recordings, by the mean over their windows or, for tasks of states, as series over
    time.
    """

    def embed(
        self,
        task: Task,
        source: Source,
        keys: Sequence[WindowKey],
        card: BackboneCard,
        how: Embedding,
    ) -> FrameFeatures:
        """Layers over time where the task needs them; else features of every window."""
        if not layered(task, card):
            return super().embed(task, source, keys, card, how)
        return recording_series(
            source,
            keys,
            card,
            cache=how.cache,
            device=how.device,
            precision=how.precision,
            batch_size=how.batch_size,
            progress=how.progress,
            data_digest=how.data_digest,
        )

    def facts(self, task: Task, card: BackboneCard) -> dict[str, Any]:
        """As for windows, and the version of layers over time."""
        version = {"series_version": VERSION} if layered(task, card) else {}
        return {**version, **super().facts(task, card)}


def layered(task: Task, card: BackboneCard) -> bool:
    """Whether a task needs layers over time: it is of states, and the backbone has no own series."""
    return task.kind is Kind.STATES and card.series is None and card.over_time


def frames_of(n: int, rate: float) -> int:
    """Count the states of ``n`` samples at ``rate`` Hz: one at 0, 20, 40, ... ms."""
    return math.ceil(n * STATE_RATE / rate - 1e-9)


def at_states(times: FloatArray, values: Array, k: int) -> FloatArray:
    """Interpolate values (steps, d), at rising ``times`` in s, at the times of ``k`` states.

    Linear between two steps; before the first and after the last one they hold.
    """
    place = np.interp(np.arange(k) / STATE_RATE, times, np.arange(len(times)))
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, len(times) - 1)
    part = (place - low)[:, None].astype(np.float32)
    x = np.asarray(values, dtype=np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is named by who asked
        return np.asarray(x[low] * (1 - part) + x[high] * part)


def narrowed(values: Array) -> FloatArray:
    """Project values (steps, d) to (steps, WIDTH) where d is larger.

    The projection is random and fixed, and preserves distances approximately.
    """
    x = np.asarray(values, dtype=np.float32)
    d = x.shape[1]
    if d <= WIDTH:
        return x
    turn = np.random.default_rng([d, WIDTH]).normal(size=(d, WIDTH)) / math.sqrt(WIDTH)
    return np.asarray(x @ turn.astype(np.float32))


def levelled(values: FloatArray) -> FloatArray:
    """Standardise each channel of a series (k, d); a channel that never changes becomes 0."""
    x = np.asarray(values, dtype=np.float64)
    mean = x.mean(axis=0)
    spread = x.std(axis=0)
    moves = spread > _STILL * np.maximum(np.abs(mean), 1e-6)
    return np.asarray(
        (x - mean) * np.where(moves, 1 / np.where(moves, spread, 1.0), 0.0), dtype=np.float32
    )


def series_settings(card: BackboneCard, precision: str) -> dict[str, Any]:
    """What decides a series beyond the weights and the data."""
    facts: dict[str, Any] = {
        "series_version": VERSION,
        "envelopes": list(KINDS),
        "backbone_version": card.version,
        "backbone": card.name,
        "modality": card.modality,
        "precision": precision,
        "width": WIDTH,
    }
    if card.modality == "image":
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
    progress: Report | None = None,
    data_digest: str | None = None,
) -> FrameFeatures:
    """Series of the recordings that windows are of, or read back.

    ``features.series`` holds the envelopes (k, 4) by recording, ``features.sequences`` by
    layer and recording the
    series (k, d): k states at 50 Hz. Raises UnsupportedOptionError for a source without sound, a
    backbone without layers over time, and no recording; UndefinedError for a sound that is flat,
    not finite or too short; WeightsError, CorruptFileError, StorageError.
    """
    if not isinstance(source, SoundSource):
        raise UnsupportedOptionError(f"{source.card.name} holds no sound: it has no series.")
    if not card.over_time or card.series:
        raise UnsupportedOptionError(
            f"{card.name} has no layers over time for etab.features.recordings to put at 50 Hz."
        )
    records = list({record.id: record for record, _, _ in keys}.values())
    if not records:
        raise UnsupportedOptionError("No recording was asked for.")
    is_constant = card.modality == "record"
    kind = "fp32" if is_constant else sound_precision(precision, card, device)
    n = batch_size or (16 if device == "cpu" else 64)

    def compute(backbone: Any, folder: Path | None) -> Computed:
        if is_constant:
            return _Series.of(_held(source, records))
        read_layers = partial(_layers, card, backbone.to(device, kind), device, n)
        collected = _Series(folder)
        collected.add_all(_each(source, records, read_layers, progress))
        return collected

    return FeatureStore(None if is_constant else cache).get(
        card,
        series_settings(card, kind),
        EntryKeys(([record.id for record in records],)),
        compute,
        data_digest=data_digest or source.digest(),
        load=load_series,
    )


@dataclass(frozen=True, slots=True)
class _Heard:
    """The sound of a recording, its rate in Hz, its number of states k, and its envelopes (k, 4)."""

    record: Record
    samples: FloatArray
    rate: int
    k: int
    beat: FloatArray


def _hear(source: SoundSource, record: Record) -> _Heard:
    samples, rate = source.wave(record)
    beat = envelopes(samples, rate, name=record.id)
    return _Heard(record, samples, rate, frames_of(len(samples), rate), beat.astype(np.float32))


def _layers(card: BackboneCard, backbone: Any, device: str, batch: int, heard: _Heard) -> Layers:
    """Layers (k, d) of one recording; nothing of another one is at hand."""
    pictures = card.modality == "image"
    found = (
        _of_pictures(card, backbone, device, batch, heard)
        if pictures
        else _of_waves(card, backbone, device, heard)
    )
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise UndefinedError(
                f"{card.name}: layer {name} of {heard.record.id} is not finite. Leave the record out."
            )
    return found


def _of_waves(card: BackboneCard, backbone: Any, device: str, heard: _Heard) -> Layers:
    import torch

    sound = resample(heard.samples, heard.rate, int(card.rate or heard.rate))
    x = torch.from_numpy(np.ascontiguousarray(sound, dtype=np.float32)).to(device)
    found: Mapping[str, Course] = backbone.course(x)
    return {
        name: at_states(c.first + c.hop * np.arange(len(c.values)), narrowed(c.values), heard.k)
        for name, c in found.items()
    }


def tiles(heard_pixels: int, size: int) -> list[int]:
    """Return the first columns of square tiles that cover a picture, three quarters of a tile
    apart.
    """
    last = max(heard_pixels - size, 0)
    return [*range(0, last, max(1, 3 * size // 4)), last]


def recording_picture(samples: FloatArray, rate: int, size: int) -> Array:
    """Draw the log-mel picture of a recording, uint8 (size, columns).

    Column i is centred at i * PIXEL seconds.

    At least ``size`` columns: silence follows a shorter recording.
    """
    import cv2

    mel = log_mel(samples, rate)
    columns = max(1, math.ceil(len(samples) / rate / PIXEL))
    place = np.arange(columns) * PIXEL / MEL_STEP
    low = np.minimum(place.astype(np.int64), mel.shape[1] - 1)
    high = np.minimum(low + 1, mel.shape[1] - 1)
    part = (place - np.floor(place)).astype(np.float32)
    wide = np.ascontiguousarray(mel[:, low] * (1 - part) + mel[:, high] * part)
    tall = cv2.resize(
        wide, (columns, size), interpolation=cv2.INTER_AREA if size < len(mel) else cv2.INTER_LINEAR
    )
    grey = np.round(np.clip(tall, 0, 1) * 255).astype(np.uint8).reshape(size, columns)
    return np.pad(grey, ((0, 0), (0, max(0, size - columns))))


def _of_pictures(
    card: BackboneCard, backbone: Any, device: str, batch: int, heard: _Heard
) -> Layers:
    import torch

    whole = recording_picture(heard.samples, heard.rate, card.size)
    starts = tiles(whole.shape[1], card.size)
    shown = np.stack([whole[:, s : s + card.size] for s in starts])
    parts: dict[str, list[Array]] = {}
    for at in range(0, len(shown), batch):
        for name, values in _columns(
            card, backbone, torch.from_numpy(shown[at : at + batch]).to(device)
        ).items():
            parts.setdefault(name, []).append(values.float().cpu().numpy())
    return {
        name: at_states(*_joined(np.concatenate(rows), starts, card.size), heard.k)
        for name, rows in parts.items()
    }


def _columns(card: BackboneCard, backbone: Any, x: Any) -> Mapping[str, Any]:
    """Compute columns (n, w, d) by layer, by the backbone's own ``columns`` or from its maps."""
    own = getattr(backbone, "columns", None)
    if own is not None:
        return dict(own(x))
    found = {
        f"map{i}": grid.float().mean(dim=2).transpose(1, 2)
        for i, grid in enumerate(backbone(x).maps)
    }
    if not found:
        raise UnsupportedOptionError(
            f"{card.name} gives no feature maps, so no layers over time: leave e0 out."
        )
    return found


def _joined(columns: Array, starts: Sequence[int], size: int) -> tuple[FloatArray, FloatArray]:
    """Join the columns (tiles, w, d) of tiles: times (steps,) in s and values (steps, d).

    Each tile is used up to the middle of its overlaps.
    """
    stride = size / columns.shape[1]
    middle = stride * (np.arange(columns.shape[1]) + 0.5) - 0.5
    edges = [-math.inf, *((a + b + size) / 2 for a, b in pairwise(starts)), math.inf]
    times = []
    values = []
    for i, start in enumerate(starts):
        own = start + middle
        kept = (own >= edges[i]) & (own < edges[i + 1])
        times.append(own[kept] * PIXEL)
        values.append(narrowed(columns[i][kept]))
    return np.concatenate(times), np.concatenate(values)


def _held(source: SoundSource, records: Sequence[Record]) -> dict[str, Layers]:
    """A series (k, 1) that never changes, as levelled: zeros. Not cached."""
    beats = {record.id: _hear(source, record).beat for record in records}
    return {BEAT: beats, "facts": {name: np.zeros((len(x), 1)) for name, x in beats.items()}}


def _each(
    source: SoundSource, records: Sequence[Record], hear: Any, progress: Report | None
) -> Iterator[tuple[Record, Layers]]:
    """Yield recordings with their envelopes (float32) and layers (float16), reading one ahead."""
    following: Iterator[Any] = ahead(records, partial(_hear, source))  # type: ignore[arg-type]
    for i, heard in enumerate(following):
        found = {name: levelled(x).astype(np.float16) for name, x in hear(heard).items()}
        if progress:
            progress(i + 1, len(records))
        yield heard.record, {BEAT: heard.beat, **found}


class _Series:
    """Collects the layers of recordings: in memory, or appended to a file a layer in a folder."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.held: dict[str, Layers] = {}
        self._files: dict[str, Any] = {}
        self._kinds: dict[str, tuple[str, int]] = {}
        self._lengths: list[tuple[str, int]] = []

    @classmethod
    def of(cls, held: Mapping[str, Layers]) -> _Series:
        """Series that are in memory already."""
        made = cls(None)
        made.held = dict(held)
        return made

    def add_all(self, layers: Iterator[tuple[Record, Layers]]) -> None:
        """Take the layers of each recording as they come."""
        try:
            for record, values in layers:
                for name, series in values.items():
                    self._add(record, name, series)
                self._lengths.append((record.id, len(values[BEAT])))
        finally:
            for file in self._files.values():
                file.close()

    def _add(self, record: Record, name: str, series: Array) -> None:
        if self.folder is None:
            self.held.setdefault(name, {})[record.id] = series
            return
        if name not in self._files:
            self._files[name] = (self.folder / f"series{len(self._files)}.bin").open("wb")
            self._kinds[name] = (series.dtype.str, series.shape[1])
        self._files[name].write(np.ascontiguousarray(series).tobytes())

    def features(self) -> Features:
        """The series in memory."""
        return _features(self.held)

    def write(self, folder: Path) -> dict[str, Any]:
        """The facts that are needed to read the files."""
        return {
            "series": [[name, *kind] for name, kind in self._kinds.items()],
            "lengths": [list(pair) for pair in self._lengths],
        }


def load_series(place: Path, entry: Mapping[str, Any]) -> Features:
    """An entry as slices of files that are read where they are used."""
    ends = np.cumsum([k for _, k in entry["lengths"]])
    held: dict[str, Layers] = {}
    for i, (name, kind, d) in enumerate(entry["series"]):
        whole = np.memmap(
            place / f"series{i}.bin", np.dtype(kind), "r", shape=(int(ends[-1]), int(d))
        )
        held[name] = {
            who: whole[end - k : end] for (who, k), end in zip(entry["lengths"], ends, strict=True)
        }
    return _features(held)


def _features(held: Mapping[str, Layers]) -> Features:
    layers = {name: values for name, values in held.items() if name != BEAT}
    return Features({}, sequences=layers, series=held[BEAT])
