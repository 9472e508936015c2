"""Resampled sounds and envelopes that are kept in memory for several backbones.

A process computes the features of one backbone after another from the same source. Most networks
of sound read 16 kHz, and every series over time holds the same envelopes. Resampling and envelopes
take as long as a small network. So they are computed once for each recording and kept in memory up
to ``BUDGET``. What does not fit is computed again. The kept arrays disappear with their source.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np

from etab.datasets.base import SoundSource
from etab.errors import UndefinedError
from etab.sounds.envelopes import envelopes
from etab.sounds.windows import resample
from etab.types import FloatArray, Record

BUDGET = 256 << 20
"""Bytes that are kept of one source at most."""


class KeptSounds:
    """Arrays that were computed from the recordings of a source, by name.

    Attributes:
        size: Bytes of all arrays together.
    """

    def __init__(self) -> None:
        self.size = 0
        self._arrays: dict[tuple[str, str], FloatArray] = {}

    def get(self, record: Record, name: str, compute: Callable[[], FloatArray]) -> FloatArray:
        """Return an array, computed now unless it was kept.

        Args:
            record: The recording.
            name: What the array holds.
            compute: Computes it.

        Returns:
            The array; it cannot be written to where it is kept.
        """
        key = (record.id, name)
        if key in self._arrays:
            return self._arrays[key]
        array = compute()
        # All recordings are read in turn: once the budget is spent, the first ones stay, because
        # replacing them would leave nothing that the next backbone finds.
        if self.size + array.nbytes <= BUDGET:
            array.flags.writeable = False
            self._arrays[key] = array
            self.size += array.nbytes
        return array


_KEPT: WeakKeyDictionary[SoundSource, KeptSounds] = WeakKeyDictionary()


def kept_sounds(source: SoundSource) -> KeptSounds:
    """Return what is kept of a source in this process.

    Args:
        source: A source of sound.
    """
    return _KEPT.setdefault(source, KeptSounds())


def sound_at(source: SoundSource, record: Record, rate: int | None) -> tuple[FloatArray, int]:
    """Read a recording at a rate.

    Args:
        source: The source of the recording.
        record: The recording.
        rate: Samples a second; None for the rate of the recording.

    Returns:
        (samples (n,), their rate).

    Raises:
        UndefinedError: Samples are not finite.
        CorruptFileError: The recording is damaged.
    """
    if rate is None:
        return _finite(source, record)

    def resampled() -> FloatArray:
        samples, native = _finite(source, record)
        found = resample(samples, native, rate)
        return found.copy() if found is samples else found

    return kept_sounds(source).get(record, f"{rate} Hz", resampled), rate


def envelopes_of(source: SoundSource, record: Record, samples: FloatArray, rate: int) -> FloatArray:
    """Compute the envelopes of a recording at 50 Hz.

    Args:
        source: The source of the recording.
        record: The recording.
        samples: Its sound (n,).
        rate: Samples a second.

    Returns:
        (k, 4) float32, in the order of ``etab.sounds.envelopes.KINDS``.

    Raises:
        UndefinedError: The sound is flat, not finite or too short.
    """

    def computed() -> FloatArray:
        return envelopes(samples, rate, name=record.id).astype(np.float32)

    return kept_sounds(source).get(record, "envelopes", computed)


def _finite(source: SoundSource, record: Record) -> tuple[FloatArray, int]:
    samples, rate = source.wave(record)
    if not np.isfinite(samples).all():
        raise UndefinedError(f"{record.id} holds samples that are not finite. Leave it out.")
    return samples, rate
