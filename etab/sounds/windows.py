"""Windows of sound, their rate, their states at 50 Hz, and their log-mel picture: pure functions,
no files, no torch.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.types import FloatArray

RATE_LIMITS = (100, 192_000)


def check_rate(fps: float | None) -> int | None:
    """The rate in whole Hz that ``fps`` asks for, None for a recording's own; raises
    UnsupportedOptionError.
    """
    low, high = RATE_LIMITS
    if fps is None:
        return None
    if (
        isinstance(fps, bool)
        or not isinstance(fps, int | float)
        or fps != int(fps)
        or not low <= fps <= high
    ):
        raise UnsupportedOptionError(
            f"fps is {fps!r}; for sound: {low} to {high} Hz, whole, or None for the own rate."
        )
    return int(fps)


def resample(samples: FloatArray, rate: int, wanted: int) -> FloatArray:
    """Sound at another rate, through a zero-phase low-pass (polyphase) filter at the lower of the
    two Nyquist rates.
    """
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    ratio = Fraction(wanted, rate)
    made = resample_poly(samples, ratio.numerator, ratio.denominator, padtype="line")
    return np.asarray(made, dtype=np.float32)


def cut(
    samples: FloatArray,
    start: int,
    n: int,
    *,
    padding: bool,
) -> FloatArray:
    """``n`` samples from ``start`` on; beyond the end zeros (``padding``), or the recording again
    from its beginning.
    """
    there = samples[start : start + n]
    if len(there) == n:
        return there
    if padding:
        return np.pad(there, (0, n - len(there)))
    return samples[(start + np.arange(n)) % len(samples)]
