"""Windows are cut from recordings and put together in batches, as the input of a backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.datasets.base import SoundSource
from etab.errors import UnsupportedOptionError
from etab.features.fit import require_squash
from etab.features.kept_sounds import sound_at
from etab.features.overlap import ahead
from etab.features.store import precision_facts
from etab.sounds.mel import PICTURE, picture
from etab.sounds.windows import cut
from etab.types import Array, FloatArray, IntArray, Record

_VERSION = 1
WindowKey = tuple[Record, float, float]


def window_settings(card: BackboneCard, precision: str) -> dict[str, Any]:
    """Collect the facts that decide the features of a window beyond the weights and the data.

    Args:
        card: The backbone.
        precision: "fp32" or "bf16".
    """
    facts: dict[str, Any] = {
        "sound_features_version": _VERSION,
        "backbone_version": card.version,
        "backbone": card.name,
        "modality": card.modality,
        **precision_facts(precision),
        "layers": list(card.layers),
    }
    if card.modality == "image":
        require_squash(card)
        front = {
            "mel": PICTURE.facts(),
            "size": card.size,
            "mean": list(card.mean),
            "std": list(card.std),
        }
        return {**facts, **front}
    return {**facts, "rate": card.rate}


def reading_order(keys: Sequence[WindowKey]) -> IntArray:
    """Sort windows by length, then by recording, so that batches are alike and files read once.

    Args:
        keys: The windows: (record, start in s, length in s).

    Returns:
        The position of each window in ``keys`` (windows,), in the order of reading.
    """
    number: dict[str, int] = {}
    for record, _, _ in keys:
        number.setdefault(record.id, len(number))

    def priority(i: int) -> tuple[float, int, int]:
        record, _, length = keys[i]
        return length, number[record.id], i

    return np.array(sorted(range(len(keys)), key=priority))


class _Cutter:
    """Cuts windows at one rate (None: the recording's); holds the last recording in memory."""

    def __init__(self, source: SoundSource, rate: int | None) -> None:
        self.source = source
        self.rate = rate
        self._last: tuple[str, FloatArray, int] = ("", np.zeros(0, np.float32), 0)

    def _sound(self, record: Record) -> tuple[FloatArray, int]:
        if self._last[0] != record.id:
            self._last = (record.id, *sound_at(self.source, record, self.rate))
        return self._last[1:]

    def __call__(self, key: WindowKey) -> tuple[FloatArray, int]:
        """Cut a window: its samples (n,), float32, and their rate in Hz."""
        record, start, length = key
        sound, rate = self._sound(record)
        first = round(start * rate)
        n = max(1, round(length * rate))
        if first >= len(sound):
            raise UnsupportedOptionError(
                f"A window of {record.id} starts at {start:g} s; the recording lasts "
                f"{len(sound) / rate:.2f} s."
            )
        return np.ascontiguousarray(cut(sound, first, n, padding=False), dtype=np.float32), rate


def _item(cutter: _Cutter, size: int | None, key: WindowKey) -> Array:
    """Make the input of a backbone: the waveform of a window, or its picture (grey, uint8)."""
    window, rate = cutter(key)
    if size is None:
        return window
    return np.round(picture(window, rate, (size, size)) * 255).astype(np.uint8)


def window_groups(keys: Sequence[WindowKey], card: BackboneCard, n: int) -> list[list[WindowKey]]:
    """Divide windows into batches.

    Args:
        keys: The windows in the order of reading: (record, start in s, length in s).
        card: The backbone, of waveforms or of pictures.
        n: Largest number of windows in a batch.
    """
    pictures = card.modality == "image"
    groups: list[list[WindowKey]] = []
    for key in keys:
        is_full = not groups or len(groups[-1]) == n
        # Pictures have one size whatever the length of the window; waveforms do not.
        if is_full or (not pictures and groups[-1][0][2] != key[2]):
            groups.append([])
        groups[-1].append(key)
    return groups


def window_batches(
    source: SoundSource, keys: Sequence[WindowKey], card: BackboneCard, n: int
) -> Iterator[Array]:
    """Yield batches of windows of one length, reading one batch ahead.

    Args:
        source: A source of sound.
        keys: The windows in the order of reading: (record, start in s, length in s).
        card: The backbone, of waveforms or of pictures.
        n: Largest number of windows in a batch.

    Returns:
        Waveforms (windows, samples), float32, or pictures (windows, side, side), uint8.

    Raises:
        UnsupportedOptionError: A window starts behind the end of its recording.
        UndefinedError: Samples are not finite.
        CorruptFileError: A recording is damaged.
    """
    pictures = card.modality == "image"
    rate = None if pictures else card.rate
    size = card.size if pictures else None
    make = partial(_item, _Cutter(source, rate), size)
    groups = window_groups(keys, card, n)
    return ahead(groups, lambda group: np.stack([make(key) for key in group]))
