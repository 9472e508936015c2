"""Windows of sound and their rate: pure functions that read no files and need no torch."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.types import FloatArray

# Lowest and highest rate in Hz that a sound may be resampled to.
RATE_LIMITS = (100, 192_000)


def check_rate(fps: float | None) -> int | None:
    """Check the option ``fps`` of a dataset of sound.

    Args:
        fps: A rate in whole Hz, or None to keep the rate of each recording.

    Returns:
        The rate as a whole number, or None.

    Raises:
        UnsupportedOptionError: ``fps`` is not a whole number within ``RATE_LIMITS``.

    Example:
        >>> check_rate(2000.0)
        2000
    """
    low, high = RATE_LIMITS
    if fps is None:
        return None
    is_number = isinstance(fps, int | float) and not isinstance(fps, bool)
    if not is_number or not low <= fps <= high or fps != int(fps):
        raise UnsupportedOptionError(
            f"fps is {fps!r}; for sound: {low} to {high} Hz, whole, or None for the rate of each "
            "recording."
        )
    return int(fps)


def check_band(rate: int, low: float, high: float) -> None:
    """Refuse a band of frequencies that a sound does not have.

    Args:
        rate: Samples per second.
        low: Lower edge of the band in Hz.
        high: Upper edge of the band in Hz.

    Raises:
        UnsupportedOptionError: Unless 0 < low < high < rate / 2.
    """
    if not 0 < low < high < rate / 2:
        raise UnsupportedOptionError(
            f"A band from {low:g} to {high:g} Hz at {rate} Hz; wanted 0 < low < high < "
            f"{rate / 2:g}."
        )


def resample(samples: FloatArray, rate: int, wanted: int) -> FloatArray:
    """Bring a sound to another rate.

    A zero-phase polyphase low-pass at half the lower of the two rates prevents aliasing.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        wanted: Samples per second of the result.

    Returns:
        (ceil(n wanted / rate),) float32; ``samples`` itself where the rates are equal.
    """
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    ratio = Fraction(wanted, rate)
    resampled = resample_poly(samples, ratio.numerator, ratio.denominator, padtype="line")
    return np.asarray(resampled, dtype=np.float32)


def cut(
    samples: FloatArray,
    start: int,
    n: int,
    *,
    padding: bool,
) -> FloatArray:
    """Cut a window out of a sound.

    Args:
        samples: The sound.
        start: First sample of the window.
        n: Length of the window in samples.
        padding: What follows the end of the sound: zeros, or else the sound again from its
            beginning.

    Returns:
        (n,) samples.
    """
    window = samples[start : start + n]
    missing = n - len(window)
    if not missing:
        return window
    if padding:
        return np.pad(window, (0, missing))
    repeated = (start + np.arange(n)) % len(samples)
    return samples[repeated]
