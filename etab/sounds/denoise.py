"""The processing of the split ``processed`` of the parquet CirCor: band-pass, wavelet shrinkage.

The steps follow the notebook of that set's authors: a causal Butterworth filter of order 2, then
the Haar wavelet to level 5 with soft thresholds. The upload does not state its cut-offs; 25 and
400 Hz are the cut-offs of the authors' paper.
"""

from __future__ import annotations

import numpy as np

from etab.errors import MissingPackageError, UnsupportedOptionError
from etab.sounds.windows import check_band
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
    """Apply ``causal_band``, then ``shrink``.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        low: Lower edge of the band in Hz.
        high: Upper edge of the band in Hz.
        wavelet: Name of a discrete wavelet of PyWavelets.
        level: Number of levels of the wavelet decomposition.

    Returns:
        (n,) float32.

    Raises:
        UnsupportedOptionError: As ``causal_band`` and ``shrink``.
        MissingPackageError: PyWavelets is not installed.
    """
    band = causal_band(samples, rate, low=low, high=high)
    shrunk = shrink(band, wavelet=wavelet, level=level)
    return shrunk.astype(np.float32)


def causal_band(
    samples: FloatArray,
    rate: int,
    *,
    low: float = 25.0,
    high: float = 400.0,
) -> FloatArray:
    """Filter a sound with a Butterworth high-pass and low-pass of order 2, forwards only.

    The filter delays the sound; ``etab.sounds.envelopes.band_pass`` does not.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        low: Lower edge of the band in Hz.
        high: Upper edge of the band in Hz.

    Returns:
        (n,) float64.

    Raises:
        UnsupportedOptionError: Unless 0 < low < high < rate / 2.
    """
    from scipy.signal import butter, sosfilt

    check_band(rate, low, high)
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
    """Apply the soft universal threshold to the wavelet details of a sound.

    The threshold is sigma sqrt(2 ln n), where sigma is the median magnitude of the finest detail
    over 0.6745. The approximation stays as it is.

    Args:
        samples: (n,) sound.
        wavelet: Name of a discrete wavelet of PyWavelets.
        level: Number of levels of the decomposition.

    Returns:
        (n,) float64.

    Raises:
        UnsupportedOptionError: The wavelet is unknown, or n samples do not have this level.
        MissingPackageError: PyWavelets is not installed.

    Source:
        Donoho, IEEE Trans. Inf. Theory 41(3):613-627 (1995).
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
    sound = np.asarray(samples, dtype=np.float64)
    coarse, *details = pywt.wavedec(sound, wavelet, level=level)
    finest = details[-1]
    limit = np.median(np.abs(finest)) / 0.6745 * np.sqrt(2 * np.log(n))
    shrunk = [np.sign(d) * np.maximum(np.abs(d) - limit, 0.0) for d in details]
    rebuilt = pywt.waverec([coarse, *shrunk], wavelet)
    return np.asarray(rebuilt[:n])
