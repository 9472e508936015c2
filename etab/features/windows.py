"""Frozen embeddings of windows of sound, cached and verified as those of frames are.

A window is cut from the whole recording after it has been brought to the backbone's rate, so that
no filter sees the edge of a window. A backbone of pictures is given the log-mel picture of the
window, as ``Dataset`` makes it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.backbones.identity import identity
from etab.datasets.base import SoundSource, Source
from etab.errors import LayoutError, UndefinedError, UnsupportedOptionError
from etab.features.base import Embedding, Input, register
from etab.features.entries import Batches, Report, embed_batches
from etab.features.store import (
    PRECISIONS,
    EntryKeys,
    FeatureStore,
    FrameFeatures,
    ahead,
    resolve_precision,
)
from etab.sounds.mel import PICTURE, picture
from etab.sounds.windows import cut, resample
from etab.tasks.base import Task
from etab.tasks.rows import Rows
from etab.types import Array, Features, FloatArray, IntArray, Kind, Record

VERSION = 1
DESCRIBED_VERSION = 1
WindowKey = tuple[Record, float, float]


def sound_precision(precision: str, card: BackboneCard, device: str) -> str:
    """Resolve a precision for sound: fp32 for waveforms, as on frames for pictures.

    Raises:
        UnsupportedOptionError: If the precision is unknown, or bf16 with a backbone of waveforms.
    """
    if card.modality == "image":
        return resolve_precision(precision, card, device)
    if precision not in PRECISIONS or precision == "bf16":
        raise UnsupportedOptionError(
            f"precision={precision!r}: {card.name} reads a waveform; possible: auto, fp32."
        )
    return "fp32"


def window_settings(card: BackboneCard, precision: str) -> dict[str, Any]:
    """What decides the features of a window beyond the weights and the data."""
    facts: dict[str, Any] = {
        "sound_features_version": VERSION,
        "backbone_version": card.version,
        "backbone": card.name,
        "modality": card.modality,
        "precision": precision,
        "layers": list(card.layers),
    }
    if card.modality == "image":
        front = {
            "mel": PICTURE.facts(),
            "size": card.size,
            "mean": list(card.mean),
            "std": list(card.std),
        }
        return {**facts, **front}
    return {**facts, "rate": card.rate}


def window_features(
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
    """Embed windows of sound, or read them back: one row for each (record, start in s, length in
    s), in their order.

    A window that reaches beyond the end goes on at the recording's beginning. Raises
    UnsupportedOptionError for a source without sound, a card that does not read sound, a precision
    that the card has not, and a window without length or outside its recording; UndefinedError for
    samples that are not finite; WeightsError, CorruptFileError, StorageError.
    """
    wave_source = _check(source, keys, card)
    kind = sound_precision(precision, card, device)
    n = batch_size or (32 if device == "cpu" else 128)
    order = _order(keys)

    def compute(backbone: Any, folder: Path | None) -> Batches:
        batches = _batches(wave_source, [keys[i] for i in order], card, n)
        return embed_batches(
            backbone.to(device, kind),
            batches,
            len(keys),
            folder,
            device=device,
            progress=progress,
            rows=order,
        )

    names = tuple(
        f"{record.id}\0{float(start)!r}\0{float(length)!r}\0" for record, start, length in keys
    )
    facts = window_settings(card, kind)
    digest = data_digest or source.digest()
    return FeatureStore(cache).get(card, facts, EntryKeys((), names), compute, data_digest=digest)


def _check(source: Source, keys: Sequence[WindowKey], card: BackboneCard) -> SoundSource:
    if not isinstance(source, SoundSource):
        raise UnsupportedOptionError(
            f"{source.card.name} holds no sound; ask frame_features for its frames."
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
        raise UnsupportedOptionError("No window was asked for.")
    return source


def _order(keys: Sequence[WindowKey]) -> IntArray:
    """Order of work: windows of one length together, and of those the ones of one recording."""
    first: dict[str, int] = {}
    for record, _, _ in keys:
        first.setdefault(record.id, len(first))
    return np.array(sorted(range(len(keys)), key=lambda i: (keys[i][2], first[keys[i][0].id], i)))


class _Cutter:
    """Cuts windows at one rate (None: that of the recording); keeps the last recording in memory."""

    def __init__(self, source: SoundSource, rate: int | None) -> None:
        self.source, self.rate = source, rate
        self._last: tuple[str, FloatArray, int] = ("", np.zeros(0, np.float32), 0)

    def _sound(self, record: Record) -> tuple[FloatArray, int]:
        if self._last[0] != record.id:
            samples, native = self.source.wave(record)
            if not np.isfinite(samples).all():
                raise UndefinedError(
                    f"{record.id} holds samples that are not finite. Leave it out."
                )
            rate = self.rate or native
            self._last = (record.id, resample(samples, native, rate), rate)
        return self._last[1:]

    def __call__(self, key: WindowKey) -> tuple[FloatArray, int]:
        """The window (n,) float32 and its rate in Hz."""
        record, start, length = key
        sound, rate = self._sound(record)
        first, n = round(start * rate), max(1, round(length * rate))
        if first >= len(sound):
            raise UnsupportedOptionError(
                f"A window of {record.id} starts at {start:g} s; the recording lasts {len(sound) / rate:.2f} s."
            )
        return np.ascontiguousarray(cut(sound, first, n, padding=False), dtype=np.float32), rate


def _item(cutter: _Cutter, size: int | None, key: WindowKey) -> Array:
    """What a backbone reads of one window: the waveform, or its picture as a grey uint8 frame."""
    window, rate = cutter(key)
    if size is None:
        return window
    return np.round(picture(window, rate, (size, size)) * 255).astype(np.uint8)


def _batches(
    source: SoundSource, keys: Sequence[WindowKey], card: BackboneCard, n: int
) -> Iterator[Array]:
    """Batches of windows of one length, the next one read while the last is embedded."""
    pictures = card.modality == "image"
    make = partial(
        _item, _Cutter(source, None if pictures else card.rate), card.size if pictures else None
    )
    lots: list[list[WindowKey]] = []
    for key in keys:
        if not lots or len(lots[-1]) == n or (not pictures and lots[-1][0][2] != key[2]):
            lots.append([])
        lots[-1].append(key)
    return ahead(lots, lambda lot: np.stack([make(key) for key in lot]))


WINDOW, HOP = 5.0, 5.0


SHORTEST = 2.0


def windows(source: SoundSource) -> list[WindowKey]:
    """List the windows of all recordings that are long enough for a beat.

    Each is (record, start in s, length in s).
    """
    keys: list[WindowKey] = []
    for record in sorted(source.records(), key=lambda r: (r.view, r.id)):
        seconds = source.n_samples(record) / float(record.fps or 1)
        if seconds >= SHORTEST:
            keys += [(record, start, WINDOW) for start in starts(seconds)]
    return keys


def starts(seconds: float) -> list[float]:
    """Return the starts, in s, of the windows of a recording.

    A recording shorter than a window has one window, in which it is repeated.
    """
    n = max(1, int((seconds - WINDOW + 1e-9) // HOP) + 1)
    found = [HOP * i for i in range(n)]
    rest = seconds - (found[-1] + WINDOW)
    return [*found, seconds - WINDOW] if rest >= WINDOW / 2 else found


@register("window")
class Windows(Input):
    """Windows of sound, each a row."""

    def keys(self, task: Task, source: Source) -> list[WindowKey]:
        """Every window of every recording that is long enough."""
        return windows(_sound_source(source))

    def rows(self, task: Task, source: Source, keys: Sequence[WindowKey]) -> Rows:
        """A row for each window, or for each recording by all its windows."""
        self.check(task, source.card)
        return sound_task_rows(task, _sound_source(source), keys)

    def embed(
        self,
        task: Task,
        source: Source,
        keys: Sequence[WindowKey],
        card: BackboneCard,
        how: Embedding,
    ) -> FrameFeatures:
        """Features of every window; for controls of records, facts of the recordings."""
        if card.modality == "record":
            return described(source, keys, card, how.data_digest or source.digest())
        return window_features(
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

    def pick(self, features: Features, rows: Rows, *, maps: bool, sequences: bool) -> Features:
        """The mean over the windows of each row; series of whole recordings by recording."""
        return sound_row_features(features, rows)

    def facts(self, task: Task, card: BackboneCard) -> dict[str, Any]:
        """The windows, and how rows are put together."""
        return {
            "rows": task.inputs,
            "window": [WINDOW, HOP, SHORTEST],
            "aggregate": task.aggregate,
        }

    def precision(self, precision: str, card: BackboneCard, device: str) -> str:
        """fp32 for backbones of waveforms."""
        return sound_precision(precision, card, device)


def described(
    source: Source, keys: Sequence[WindowKey], card: BackboneCard, data_digest: str
) -> FrameFeatures:
    """Features of controls that read records: cheap, so never cached."""
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
    """Build the rows of a task: a row a window ("window") or a recording ("recording"), as
    ``task.inputs`` says.

    ``frames`` are the first and the last window of a row. Raises LayoutError when the data hold
    none at all.
    """
    target = source.card.target(task.target)
    place: dict[str, tuple[int, int]] = {}
    for i, (record, _, _) in enumerate(keys):
        place[record.id] = (place.get(record.id, (i, i))[0], i)
    kept: list[tuple[Record, str, tuple[int, int], Any]] = []
    missing: list[tuple[str, str]] = []
    for record in sorted(
        (r for r in source.records() if r.view in task.views), key=lambda r: (r.view, r.id)
    ):
        found = source.answers(record, target)
        value = found[0].value if found else None
        if (
            record.id not in place
            or value is None
            or (target.kind is Kind.STATES and not _has_sounds(value))
        ):
            short = record.id not in place
            missing.append(
                (
                    record.id,
                    f"shorter than {SHORTEST:g} s" if short else f"no {task.target} is given",
                )
            )
            continue
        first, last = place[record.id]
        if task.inputs == "window":
            kept += [
                (record, f"{record.id}#{keys[i][1]:g}", (i, i), value)
                for i in range(first, last + 1)
            ]
        else:
            kept.append((record, record.id, (first, last), value))
    if not kept:
        raise LayoutError(
            f"{source.root} gives not one row for {task.code} ({task.target}, {', '.join(task.views)}): "
            f"{missing[0][1] if missing else 'no recording of that place'}. Run `etab data check {source.card.name}`."
        )
    return _rows(task, target.kind, kept, missing)


def _rows(
    task: Task,
    kind: Kind,
    kept: Sequence[tuple[Record, str, tuple[int, int], Any]],
    missing: list[tuple[str, str]],
) -> Rows:
    records = [r for r, _, _, _ in kept]
    values = [v for _, _, _, v in kept]
    items = tuple(item for _, item, _, _ in kept)
    names = tuple(r.id for r in records)
    groups = (
        tuple(str(r.meta["database"]) for r in records)
        if all("database" in r.meta for r in records)
        else ()
    )
    return Rows(
        items=items,
        patients=np.array([r.patient for r in records]),
        parts=np.array([r.split for r in records]),
        frames=np.array([at for _, _, at, _ in kept]),
        answers=values if kind is Kind.STATES else _numbers(kind, values),
        spacing=(None,) * len(kept),
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
    """Whether any S1 or S2 is annotated: without one there is nothing to find."""
    return bool(np.isin(states, (0, 2)).any())


def _extras(records: Sequence[Record], groups: Sequence[str]) -> dict[str, FloatArray]:
    """Database, signal quality and outcome of each row, where every row has them."""
    out: dict[str, FloatArray] = {}
    if groups:
        names = sorted(set(groups))
        out["group"] = np.array([names.index(g) for g in groups], dtype=np.float64)
    if all("good" in r.meta for r in records):
        out["clean"] = np.array([float(bool(r.meta["good"])) for r in records])
    if all("outcome" in r.meta for r in records):
        out["outcome"] = np.array([float(r.meta["outcome"] == "Abnormal") for r in records])
    return out


def sound_row_features(features: Features, rows: Rows) -> Features:
    """Average the windows of each row, and pick series and layers by recording."""
    first = rows.frames[:, 0]
    last = rows.frames[:, -1]
    pooled = {
        name: _averaged(np.asarray(values), first, last) for name, values in features.pooled.items()
    }
    series = None if features.series is None else _picked(features.series, rows.records)
    layers = {name: _picked(found, rows.records) for name, found in features.sequences.items()}
    return Features(pooled=pooled, pca=features.pca, sequences=layers, series=series)


def _averaged(values: Array, first: Array, last: Array) -> Array:
    if (first == last).all():
        return values[first]
    return np.stack([values[a : b + 1].mean(axis=0) for a, b in zip(first, last, strict=True)])


def _picked(series: Any, records: Sequence[str]) -> Array:
    """An object array of the series (k, d) of each row's recording."""
    out = np.empty(len(records), dtype=object)
    for i, name in enumerate(records):
        out[i] = series[name]
    return out
