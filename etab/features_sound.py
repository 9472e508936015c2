"""Frozen embeddings of windows of sound, cached and verified as those of frames are.

A window is cut from the whole recording after it has been brought to the backbone's rate, so that no filter sees the
edge of a window. A backbone of pictures is given the log-mel picture of the window, as ``Dataset`` makes it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from etab import features as store
from etab.backbones.base import BackboneCard
from etab.datasets.base import SoundSource, Source
from etab.errors import UndefinedError, UnsupportedOptionError
from etab.features import FrameFeatures, Report
from etab.frontends import PICTURE, picture
from etab.types import Array, FloatArray, IntArray, Record
from etab.waves import cut, resample

VERSION = 1
WindowKey = tuple[Record, float, float]


def sound_precision(precision: str, card: BackboneCard, device: str) -> str:
    """What a precision means for sound: backbones of waveforms run in fp32, those of pictures as they do on frames.

    Raises UnsupportedOptionError for an unknown one, and where bf16 is asked of a waveform backbone.
    """
    if card.modality == "image":
        return store.resolve_precision(precision, card, device)
    if precision not in store.PRECISIONS or precision == "bf16":
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
    """Embed windows of sound, or read them back: one row for each (record, start in s, length in s), in their order.

    A window that reaches beyond the end goes on at the recording's beginning. Raises UnsupportedOptionError for a
    source without sound, a card that does not read sound, a precision that the card has not, and a window without
    length or outside its recording; UndefinedError for samples that are not finite; WeightsError, CorruptFileError,
    StorageError.
    """
    started = time.perf_counter()
    wave_source = _check(source, keys, card)
    kind = sound_precision(precision, card, device)
    data, settings = data_digest or source.digest(), window_settings(card, kind)
    known = store._known_digest(card, cache)
    if known is not None:
        key, folder = _place(card, settings, known, data, keys, cache)
        if (there := store._read(folder)) is not None:
            return FrameFeatures(
                there, key, known, data, settings, True, time.perf_counter() - started
            )
    backbone = card.load()
    weights = backbone.digest()
    store._remember_digest(card, cache, weights)
    key, folder = _place(card, settings, weights, data, keys, cache)
    if weights != known and (there := store._read(folder)) is not None:
        return FrameFeatures(
            there, key, weights, data, settings, True, time.perf_counter() - started
        )
    order = _order(keys)
    batches = _batches(
        wave_source, [keys[i] for i in order], card, batch_size or (32 if device == "cpu" else 128)
    )
    prepared = backbone.to(device, kind)  # type: ignore[attr-defined]
    found = store._compute(prepared, batches, len(keys), device, folder, progress, False, order)
    return FrameFeatures(found, key, weights, data, settings, False, time.perf_counter() - started)


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


def _place(
    card: BackboneCard,
    settings: Mapping[str, Any],
    weights: str,
    data: str,
    keys: Sequence[WindowKey],
    cache: Path | None,
) -> tuple[str, Path | None]:
    h = hashlib.sha256(json.dumps([settings, weights, data], sort_keys=True).encode())
    for record, start, length in keys:
        h.update(f"{record.id}\0{float(start)!r}\0{float(length)!r}\0".encode())
    key = h.hexdigest()
    return key, None if cache is None else cache / "features" / store._slug(card.name) / key


def _order(keys: Sequence[WindowKey]) -> IntArray:
    """Order of work: windows of one length together, and of those the ones of one recording."""
    first: dict[str, int] = {}
    for record, _, _ in keys:
        first.setdefault(record.id, len(first))
    return np.array(sorted(range(len(keys)), key=lambda i: (keys[i][2], first[keys[i][0].id], i)))


class _Cutter:
    """Cuts windows out of recordings at one rate (None: their own), remembering the last recording."""

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
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda lot: np.stack([make(k) for k in lot]), lots[0])
        for following in [*lots[1:], None]:
            batch = waiting.result()
            if following is not None:
                waiting = pool.submit(lambda lot: np.stack([make(k) for k in lot]), following)
            yield batch
