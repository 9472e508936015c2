"""What a window of sound becomes before a network or a probe sees it: mel bands, log-mel pictures.
No files, no torch.

The one home of the log-mel parameters. Two kinds of bands: those made for heart sounds (``HEART``,
``PICTURE``: 25 to 800 or 1000 Hz), and those that pretrained networks of speech and music were
trained on (``slaney_bank``), which their adapters take because a network only knows the picture it
was trained on. Envelopes are in ``etab.sounds.envelopes``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.types import FloatArray

_SLOPE = 200 / 3
_BREAK_HZ = 1000.0
_LOG_STEP = float(np.log(6.4) / 27)

MEL_BANDS, MEL_LOW, MEL_HIGH = 64, 25.0, 1000.0


@dataclass(frozen=True, slots=True)
class Mel:
    """Parameters of a log-mel front end: bands, their edges in Hz, window and hop in s, and the
    floor in dB.
    """

    bands: int = 40
    low: float = 25.0
    high: float = 800.0
    window: float = 0.064
    hop: float = 0.016
    floor_db: float = 100.0

    def facts(self) -> dict[str, float]:
        """The parameters by name, for the key of whatever was computed with them."""
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
    """Log-mel of a window, low bands first: (n,) at ``rate`` Hz -> (bands, ceil(n / hop)) float32,
    in dB.

    0 dB is the power of a full-scale constant; nothing is below ``-floor_db``. Loudness is kept:
    subtract it where it is not wanted. Raises UnsupportedOptionError for a sound that is not (n,),
    or too low a rate for the bands.
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
    whole = np.square(np.hanning(max(8, round(mel.window * rate)) + 1)[:-1].sum())
    return np.asarray(
        10 * np.log10(np.maximum(power / whole, 10 ** (-mel.floor_db / 10))), dtype=np.float32
    )


def picture(
    samples: FloatArray,
    rate: int,
    size: tuple[int, int],
) -> FloatArray:
    """Log-mel picture of a window at a size: (rows, columns) float32 in [0, 1], high bands on top;
    see ``waves.log_mel``.

    Area when shrinking, linear when enlarging, as frames are resized.
    """
    import cv2

    mel = log_mel(samples, rate)
    rows, columns = size
    shrinks = rows * columns < mel.size
    found = cv2.resize(
        mel, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    return np.asarray(np.clip(found, 0, 1), dtype=np.float32)


def slaney_hz(mels: FloatArray) -> FloatArray:
    """Frequency in Hz of places on Slaney's mel scale: linear (3 mel to 200 Hz) up to 1000 Hz,
    logarithmic above.
    """
    mels = np.asarray(mels, dtype=np.float64)
    start = _BREAK_HZ / _SLOPE
    return np.asarray(
        np.where(mels < start, _SLOPE * mels, _BREAK_HZ * np.exp(_LOG_STEP * (mels - start)))
    )


def slaney_mel(hertz: float) -> float:
    """Place of a frequency in Hz on Slaney's mel scale."""
    if hertz < _BREAK_HZ:
        return hertz / _SLOPE
    return _BREAK_HZ / _SLOPE + float(np.log(hertz / _BREAK_HZ)) / _LOG_STEP


def slaney_bank(
    rate: int,
    n_fft: int,
    bands: int,
    *,
    low: float = 0.0,
    high: float | None = None,
) -> FloatArray:
    """Triangular filters (bands, n_fft // 2 + 1) float32 of unit area per Hz on Slaney's mel scale.

    The scale and the norm of the Auditory Toolbox (Slaney, 1998), which most audio libraries
    default to and so most networks of speech and music were trained on. ``high`` None is half the
    rate.
    """
    edges = slaney_hz(
        np.linspace(slaney_mel(low), slaney_mel(rate / 2 if high is None else high), bands + 2)
    )
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    bank = np.clip(np.minimum(rise, fall), 0, None)
    return np.asarray(bank * (2 / (edges[2:] - edges[:-2]))[:, None], dtype=np.float32)


def mel_bank(
    rate: int,
    n_fft: int,
    *,
    bands: int = MEL_BANDS,
    low: float = MEL_LOW,
    high: float = MEL_HIGH,
) -> FloatArray:
    """Triangular mel filters (bands, n_fft // 2 + 1) from ``low`` to the lower of ``high`` and the
    Nyquist rate, in Hz.
    """
    top = min(high, rate / 2)
    if top <= low:
        raise UnsupportedOptionError(
            f"At {rate} Hz there is no sound above {low:g} Hz to picture; use a higher fps."
        )
    edges = 700 * (np.exp(np.linspace(np.log1p(low / 700), np.log1p(top / 700), bands + 2)) - 1)
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    bank = np.clip(np.minimum(rise, fall), 0, None)
    for row in np.flatnonzero(
        bank.sum(axis=1) == 0
    ):  # a band narrower than a bin takes the nearest one
        bank[row, np.abs(bins - edges[row + 1]).argmin()] = 1.0
    return np.asarray(bank / bank.sum(axis=1, keepdims=True), dtype=np.float32)


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
    """Power of a sound in mel bands, low bands first: (n,) -> (bands, ceil(n / hop)) float32.

    Hann windows of ``window`` s centred at 0, ``hop``, 2 ``hop`` ... s, zeros outside the sound;
    bands as ``mel_bank``.
    """
    length = max(8, round(window * rate))
    step = max(1, round(hop * rate))
    n_fft = 1 << (2 * length - 1).bit_length()
    padded = np.pad(samples, (length // 2, length), mode="constant")
    starts = np.arange(0, len(samples), step)
    taper = np.hanning(length + 1)[:-1].astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, length)[starts] * taper
    power = np.abs(np.fft.rfft(windows, n_fft, axis=1)) ** 2
    return np.asarray(
        (
            power
            @ mel_bank(
                rate,
                n_fft,
                bands=bands,
                low=low,
                high=high,
            ).T
        ).T,
        dtype=np.float32,
    )


def log_mel(
    samples: FloatArray,
    rate: int,
    *,
    floor_db: float = 80.0,
) -> FloatArray:
    """Log-mel picture (64 bands, time) in [0, 1]: windows of 64 ms every 16 ms, 25 to 1000 Hz, high
    bands on top.

    1 is the loudest point of the window, 0 is ``floor_db`` below it; a silent window is all 0.
    """
    mel = mel_power(samples, rate)[::-1]
    peak = float(mel.max())
    if peak <= 0:
        return np.zeros(mel.shape, dtype=np.float32)
    decibel = 10 * np.log10(np.maximum(mel / peak, 10 ** (-floor_db / 10)))
    return np.asarray(np.clip(decibel / floor_db + 1, 0, 1), dtype=np.float32)
