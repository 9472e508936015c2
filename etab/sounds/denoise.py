"""What turns the split ``original`` of the parquet CirCor into its split ``processed``: band-pass,
then wavelet shrinkage.

By the notebook of the people who published that set: a causal Butterworth filter of order 2, then
the Haar wavelet to level 5 with soft thresholds. The cut-offs of the upload itself are not stated;
25 and 400 Hz are those of their paper.
"""

from __future__ import annotations

import numpy as np

from etab.errors import MissingPackageError, UnsupportedOptionError
from etab.types import FloatArray


def processed(
    samples: FloatArray,
    rate: int,
    *,
    low: float = 25.0,
    high: float = 400.0,
    wavelet: str = "haar",
    level: int = 5,
) -> FloatArray:
    """Band-pass from ``low`` to ``high`` Hz, then ``shrink``: (n,) -> (n,) float32.

    Raises as ``causal_band`` and ``shrink``.
    """
    return shrink(
        causal_band(samples, rate, low=low, high=high),
        wavelet=wavelet,
        level=level,
    ).astype(np.float32)


def causal_band(
    samples: FloatArray,
    rate: int,
    *,
    low: float = 25.0,
    high: float = 400.0,
) -> FloatArray:
    """Butterworth of order 2, high-pass then low-pass, forwards only (it delays): (n,) -> (n,)
    float64.

    ``etab.sounds.envelopes.band_pass`` is the one without delay. Raises UnsupportedOptionError
    unless 0 < low < high < rate / 2.
    """
    from scipy.signal import butter, sosfilt

    if not 0 < low < high < rate / 2:
        raise UnsupportedOptionError(
            f"A band from {low:g} to {high:g} Hz at {rate} Hz; wanted 0 < low < high < "
            f"{rate / 2:g}."
        )
    sections = np.concatenate(
        [
            butter(2, low, "high", fs=rate, output="sos"),
            butter(2, high, "low", fs=rate, output="sos"),
        ]
    )
    return np.asarray(sosfilt(sections, np.asarray(samples, dtype=np.float64)))


def shrink(
    samples: FloatArray,
    *,
    wavelet: str = "haar",
    level: int = 5,
) -> FloatArray:
    """Soft universal threshold on the wavelet details: (n,) -> (n,) float64.

    The threshold is sigma sqrt(2 ln n), sigma the median magnitude of the finest detail over
    0.6745; the approximation stays. Raises UnsupportedOptionError for an unknown wavelet or a level
    that n samples do not have, and MissingPackageError without PyWavelets.
    """
    try:
        import pywt
    except ImportError as error:
        raise MissingPackageError(
            'PyWavelets is not installed: pip install "etab-bench[parquet]".'
        ) from error
    if wavelet not in pywt.wavelist(kind="discrete"):
        raise UnsupportedOptionError(
            f"wavelet is {wavelet!r}; possible are the discrete ones of PyWavelets: haar, db4, ..."
        )
    n = len(samples)
    most = pywt.dwt_max_level(n, wavelet) if n > 1 else 0
    if not 1 <= level <= most:
        raise UnsupportedOptionError(
            f"level is {level}; {n} samples have levels 1 to {most} of {wavelet}."
        )
    coarse, *details = pywt.wavedec(np.asarray(samples, dtype=np.float64), wavelet, level=level)
    limit = np.median(np.abs(details[-1])) / 0.6745 * np.sqrt(2 * np.log(n))
    kept = [np.sign(d) * np.maximum(np.abs(d) - limit, 0.0) for d in details]
    return np.asarray(pywt.waverec([coarse, *kept], wavelet)[:n])
