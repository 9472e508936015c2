"""Mel bands and log-mel pictures of windows of sound, the input of networks and probes.

All log-mel parameters are defined here. There are two kinds of bands. Those of ``HEART`` and
``PICTURE`` (25 to 800 or 1000 Hz) are made for heart sounds. Those of ``slaney_bank`` are the bands
that networks of speech and music were trained on, and their adapters use the same. Nothing here
reads files or needs torch. Envelopes are in ``etab.sounds.envelopes``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.types import FloatArray

# Slaney's scale: hertz a mel below 1000 Hz, and the logarithmic step a mel above.
_SLOPE = 200 / 3
_BREAK_HZ = 1000.0
_LOG_STEP = float(np.log(6.4) / 27)
_BREAK_MEL = _BREAK_HZ / _SLOPE

# The default bands of heart sounds: their number, and their lowest and highest edge in Hz.
MEL_BANDS = 64
MEL_LOW = 25.0
MEL_HIGH = 1000.0


@dataclass(frozen=True, slots=True)
class Mel:
    """Parameters of a log-mel front end.

    Attributes:
        bands: Number of bands.
        low: Lowest edge in Hz.
        high: Highest edge in Hz.
        window: Length of a window in seconds.
        hop: Time from one window to the next in seconds.
        floor_db: The floor is this many dB below the reference.
    """

    bands: int = 40
    low: float = 25.0
    high: float = 800.0
    window: float = 0.064
    hop: float = 0.016
    floor_db: float = 100.0

    def facts(self) -> dict[str, float]:
        """Return the parameters by name, for the key of features computed with them."""
        return asdict(self)


HEART = Mel()
PICTURE = Mel(
    bands=MEL_BANDS,
    low=MEL_LOW,
    high=MEL_HIGH,
    floor_db=80.0,
)


def log_mel_bands(
    samples: FloatArray,
    rate: int,
    mel: Mel = HEART,
) -> FloatArray:
    """Compute the log-mel bands of a window, relative to full scale.

    0 dB is the power of a full-scale constant. Loudness is kept: subtract it where it is not
    wanted.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        mel: Bands, windows and floor.

    Returns:
        (bands, ceil(n / hop)) float32 in dB, low bands first, at least ``-mel.floor_db``.

    Raises:
        UnsupportedOptionError: The sound is empty or not (n,), or its rate is too low for the
            bands.

    Example:
        >>> log_mel_bands(np.zeros(2000), 2000).shape
        (40, 63)
    """
    if samples.ndim != 1 or not len(samples):
        raise UnsupportedOptionError(
            f"A window has shape {samples.shape}; wanted one channel, (n,), of some length."
        )
    power = mel_power(
        samples,
        rate,
        bands=mel.bands,
        low=mel.low,
        high=mel.high,
        window=mel.window,
        hop=mel.hop,
    )
    length = max(8, round(mel.window * rate))
    whole = np.square(_hann(length).sum())
    floor = 10 ** (-mel.floor_db / 10)
    decibel = 10 * np.log10(np.maximum(power / whole, floor))
    return np.asarray(decibel, dtype=np.float32)


def _hann(length: int) -> FloatArray:
    """The periodic Hann window (length,)."""
    return np.asarray(np.hanning(length + 1)[:-1])


def picture(
    samples: FloatArray,
    rate: int,
    size: tuple[int, int],
) -> FloatArray:
    """Make the log-mel picture of a window at a size, as ``log_mel`` resized.

    The picture is resized as frames are: by area to shrink, linearly to enlarge.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        size: (rows, columns).

    Returns:
        (rows, columns) float32 in [0, 1], high bands on top.
    """
    import cv2

    mel = log_mel(samples, rate)
    rows, columns = size
    shrinks = rows * columns < mel.size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(mel, (columns, rows), interpolation=method)
    return np.asarray(np.clip(resized, 0, 1), dtype=np.float32)


def slaney_hz(mels: FloatArray) -> FloatArray:
    """Convert positions on Slaney's mel scale to Hz.

    The scale is linear up to 1000 Hz, with 3 mel every 200 Hz, and logarithmic above.

    Args:
        mels: Positions, an array of any shape.
    """
    mels = np.asarray(mels, dtype=np.float64)
    start = _BREAK_MEL
    linear = _SLOPE * mels
    logarithmic = _BREAK_HZ * np.exp(_LOG_STEP * (mels - start))
    return np.asarray(np.where(mels < start, linear, logarithmic))


def slaney_mel(hertz: float) -> float:
    """Convert a frequency to its position on Slaney's mel scale.

    Args:
        hertz: Frequency in Hz, 0 or more.
    """
    if hertz < _BREAK_HZ:
        return hertz / _SLOPE
    log_ratio = float(np.log(hertz / _BREAK_HZ))
    return _BREAK_MEL + log_ratio / _LOG_STEP


def slaney_bank(
    rate: int,
    n_fft: int,
    bands: int,
    *,
    low: float = 0.0,
    high: float | None = None,
) -> FloatArray:
    """Make triangular filters of unit area per Hz on Slaney's mel scale.

    Most audio libraries use this scale and norm by default, so most networks of speech and music
    were trained on it.

    Args:
        rate: Samples per second.
        n_fft: Length of the Fourier transform in samples.
        bands: Number of filters.
        low: Lowest edge in Hz.
        high: Highest edge in Hz; None for half the rate.

    Returns:
        (bands, n_fft // 2 + 1) float32.

    Source:
        Slaney, Auditory Toolbox, version 2, Interval Research 1998-010 (1998).
    """
    highest = rate / 2 if high is None else high
    mels = np.linspace(slaney_mel(low), slaney_mel(highest), bands + 2)
    edges = slaney_hz(mels)
    bank = _triangles(edges, rate, n_fft)
    return np.asarray(bank * (2 / (edges[2:] - edges[:-2]))[:, None], dtype=np.float32)


def _triangles(edges: FloatArray, rate: int, n_fft: int) -> FloatArray:
    """Triangles (bands, n_fft // 2 + 1) of height 1, from their edges in Hz (bands + 2,)."""
    frequencies = np.fft.rfftfreq(n_fft, 1 / rate)
    widths = np.diff(edges)
    rise = (frequencies - edges[:-2, None]) / widths[:-1, None]
    fall = (edges[2:, None] - frequencies) / widths[1:, None]
    return np.clip(np.minimum(rise, fall), 0, None)


def mel_bank(
    rate: int,
    n_fft: int,
    *,
    bands: int = MEL_BANDS,
    low: float = MEL_LOW,
    high: float = MEL_HIGH,
) -> FloatArray:
    """Make triangular mel filters whose weights sum to 1.

    Args:
        rate: Samples per second.
        n_fft: Length of the Fourier transform in samples.
        bands: Number of filters.
        low: Lowest edge in Hz.
        high: Highest edge in Hz; lowered to half the rate where it is above.

    Returns:
        (bands, n_fft // 2 + 1) float32.

    Raises:
        UnsupportedOptionError: Half the rate is not above ``low``.
    """
    top = min(high, rate / 2)
    if top <= low:
        raise UnsupportedOptionError(
            f"At {rate} Hz there is no sound above {low:g} Hz to picture; use a higher fps."
        )
    mels = np.linspace(np.log1p(low / 700), np.log1p(top / 700), bands + 2)
    edges = 700 * (np.exp(mels) - 1)
    frequencies = np.fft.rfftfreq(n_fft, 1 / rate)
    bank = _triangles(edges, rate, n_fft)
    empty = np.flatnonzero(bank.sum(axis=1) == 0)
    # A band narrower than the spacing of frequencies takes the nearest one.
    for row in empty:
        centre = edges[row + 1]
        nearest = np.abs(frequencies - centre).argmin()
        bank[row, nearest] = 1.0
    sums = bank.sum(axis=1, keepdims=True)
    return np.asarray(bank / sums, dtype=np.float32)


def mel_power(
    samples: FloatArray,
    rate: int,
    *,
    bands: int = MEL_BANDS,
    low: float = MEL_LOW,
    high: float = MEL_HIGH,
    window: float = 0.064,
    hop: float = 0.016,
) -> FloatArray:
    """Compute the power of a sound in mel bands.

    Hann windows are centred at 0, ``hop``, 2 ``hop``, ... s. Outside the sound there are zeros.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        bands: Number of bands.
        low: Lowest edge in Hz.
        high: Highest edge in Hz; lowered to half the rate where it is above.
        window: Length of a window in seconds.
        hop: Time from one window to the next in seconds.

    Returns:
        (bands, ceil(n / hop)) float32, low bands first.

    Raises:
        UnsupportedOptionError: Half the rate is not above ``low``.
    """
    length = max(8, round(window * rate))
    step = max(1, round(hop * rate))
    n_fft = 1 << (2 * length - 1).bit_length()
    padded = np.pad(samples, (length // 2, length), mode="constant")
    starts = np.arange(0, len(samples), step)
    taper = _hann(length).astype(np.float32)
    every_window = np.lib.stride_tricks.sliding_window_view(padded, length)
    windows = every_window[starts] * taper
    power = np.abs(np.fft.rfft(windows, n_fft, axis=1)) ** 2
    bank = mel_bank(
        rate,
        n_fft,
        bands=bands,
        low=low,
        high=high,
    )
    of_windows = power @ bank.T
    return np.asarray(of_windows.T, dtype=np.float32)


def log_mel(
    samples: FloatArray,
    rate: int,
    *,
    floor_db: float = 80.0,
) -> FloatArray:
    """Make the log-mel picture of a window, relative to its loudest point.

    Windows last 64 ms and follow each other every 16 ms; bands reach from 25 to 1000 Hz.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        floor_db: dB below the loudest point that become 0.

    Returns:
        (64, time) float32 in [0, 1], high bands on top. 1 is the loudest point; a silent window is
        0 throughout.
    """
    mel = mel_power(samples, rate)[::-1]
    peak = float(mel.max())
    if peak <= 0:
        return np.zeros(mel.shape, dtype=np.float32)
    floor = 10 ** (-floor_db / 10)
    decibel = 10 * np.log10(np.maximum(mel / peak, floor))
    return np.asarray(np.clip(decibel / floor_db + 1, 0, 1), dtype=np.float32)
