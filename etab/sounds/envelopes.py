"""Envelopes of a heart sound at 50 Hz: homomorphic, Hilbert, power from 40 to 60 Hz, wavelet. Pure
functions, no files.

Frame i is at i / 50 s, where ``waves.states_at`` gives the state. Everything works at 1000 Hz,
after a zero-phase Butterworth band-pass and the spike removal of Schmidt et al. (Physiol. Meas.
31:513-529, 2010); the four envelopes are those of Springer, Tarassenko and Clifford (IEEE TBME
63(4):822-832, 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.sounds.states import STATE_RATE
from etab.sounds.windows import resample
from etab.types import FloatArray

RATE = 1000
SHORTEST = 2.0
BAND = (25.0, 400.0)
_PSD_WINDOW = 25
_QUIET = 1e-6
BANDS = 16
_BAND_WINDOW = 50


def band_pass(
    samples: FloatArray,
    rate: int,
    low: float = BAND[0],
    high: float = BAND[1],
) -> FloatArray:
    """Keep ``low`` to ``high`` Hz: Butterworth of order 2 forwards and backwards, so nothing moves
    in time.

    samples (n,) -> (n,) float64. Raises UnsupportedOptionError unless 0 < low < high < rate / 2.
    """
    from scipy.signal import butter, sosfiltfilt

    if not 0 < low < high < rate / 2:
        raise UnsupportedOptionError(
            f"A band from {low:g} to {high:g} Hz at {rate} Hz; wanted 0 < low < high < "
            f"{rate / 2:g}."
        )
    sections = np.concatenate(
        [
            butter(2, high, "low", fs=rate, output="sos"),
            butter(2, low, "high", fs=rate, output="sos"),
        ]
    )
    return np.asarray(sosfiltfilt(sections, np.asarray(samples, dtype=np.float64)))


def remove_spikes(
    samples: FloatArray,
    rate: int,
    *,
    window: float = 0.5,
    factor: float = 3.0,
) -> FloatArray:
    """Silence knocks, as Schmidt does: samples (n,) -> (n,) float64.

    While the largest magnitude of any ``window`` s exceeds ``factor`` times the median of all
    windows' largest, the stretch between the zero crossings around it becomes 0. A rest shorter
    than a window is left as it is.
    """
    out = np.array(samples, dtype=np.float64)
    length = max(1, round(window * rate))
    k = len(out) // length
    if k == 0:
        return out
    rows = out[: k * length].reshape(k, length)
    largest = np.abs(rows).max(axis=1)
    for _ in range(len(out)):
        worst = int(largest.argmax())
        if largest[worst] <= factor * np.median(largest) or largest[worst] == 0:
            break
        row = rows[worst]
        peak = int(np.abs(row).argmax())
        crossings = np.flatnonzero(np.diff(np.signbit(row)))
        place = int(np.searchsorted(crossings, peak))
        first = int(crossings[place - 1]) + 1 if place else 0
        last = int(crossings[place]) + 1 if place < len(crossings) else length
        row[first:last] = 0.0
        largest[worst] = np.abs(row).max()
    return out


def magnitude(samples: FloatArray) -> FloatArray:
    """Magnitude of the analytic signal, (n,) -> (n,): a tone of amplitude a gives a away from the
    ends.
    """
    from scipy.fft import next_fast_len
    from scipy.signal import hilbert

    n = len(samples)
    return np.asarray(np.abs(hilbert(samples, next_fast_len(n))[:n]))


def homomorphic(
    samples: FloatArray,
    rate: int = RATE,
    cutoff: float = 8.0,
) -> FloatArray:
    """Smooth magnitude (n,): the low-pass (Butterworth of order 1, zero phase) of its logarithm,
    raised again.

    Magnitudes below a millionth of the largest count as that, so that digital silence has a
    logarithm.
    """
    return _homomorphic(magnitude(samples), rate, cutoff)


def band_power(
    samples: FloatArray,
    rate: int = RATE,
    low: float = 40.0,
    high: float = 60.0,
) -> FloatArray:
    """Mean power from ``low`` to ``high`` Hz (grid of 1 Hz) in Hamming windows of 25 ms at 0, 20,
    40, ... ms.

    samples (n,) -> (ceil(50 n / rate),). A tone of amplitude a inside the band gives about a^2 / 4.
    """
    length = max(4, round(_PSD_WINDOW * rate / 1000))
    starts = np.round(
        np.arange(math.ceil(len(samples) * STATE_RATE / rate - 1e-9)) * rate / STATE_RATE
    ).astype(np.int64)
    padded = np.pad(np.asarray(samples, dtype=np.float64), (length // 2, length))
    windows = np.lib.stride_tricks.sliding_window_view(padded, length)[starts]
    taper = np.hamming(length)
    phase = 2 * np.pi * np.outer(np.arange(length) / rate, np.arange(low, high + 0.5))
    waves = (taper / taper.sum())[:, None] * np.hstack([np.cos(phase), np.sin(phase)])
    return np.asarray(2 * np.square(windows @ waves).sum(axis=1) / phase.shape[1] / 2)


@lru_cache
def spline_wavelet(level: int = 3) -> FloatArray:
    """Filter (m,) of the detail of ``level`` of the reverse biorthogonal spline wavelet 3.9,
    without decimation.

    Low-pass (1, 3, 3, 1) / 8; high-pass the dual filter of Cohen, Daubechies and Feauveau with 9
    vanishing moments, both from their closed forms. Level 3 at 1000 Hz is about 62 to 125 Hz. Unit
    energy.
    """
    if not 1 <= level <= 8:
        raise UnsupportedOptionError(f"level is {level}; possible: 1 to 8.")
    dual = np.zeros(11)
    for k in range(6):
        bump = np.array([1.0])
        for _ in range(k):
            bump = np.convolve(bump, np.array([-0.25, 0.5, -0.25]))
        dual[5 - k : 6 + k] += math.comb(5 + k, k) * bump
    for _ in range(9):
        dual = np.convolve(dual, np.array([0.5, 0.5]))
    high = dual * (-1.0) ** np.arange(len(dual))
    whole = np.array([1.0])
    for step in range(level - 1):
        whole = np.convolve(whole, _spread(np.array([1.0, 3.0, 3.0, 1.0]) / 8, 1 << step))
    whole = np.convolve(whole, _spread(high, 1 << (level - 1)))
    return np.asarray(whole / np.sqrt(np.square(whole).sum()))


def wavelet(samples: FloatArray, level: int = 3) -> FloatArray:
    """Magnitude (n,) of the wavelet detail of ``level``, in place: nothing moves in time by more
    than half a sample.
    """
    from scipy.signal import fftconvolve

    taps = spline_wavelet(level)
    half = len(taps) // 2
    full = fftconvolve(np.asarray(samples, dtype=np.float64), taps)
    return np.asarray(np.abs(full[half : half + len(samples)]))


def _spread(taps: FloatArray, step: int) -> FloatArray:
    out = np.zeros(step * (len(taps) - 1) + 1)
    out[::step] = taps
    return out


def _homomorphic(size: FloatArray, rate: int, cutoff: float) -> FloatArray:
    from scipy.signal import butter, sosfiltfilt

    floor = max(float(size.max(initial=0.0)) * _QUIET, 1e-30)
    smooth = butter(1, cutoff, "low", fs=rate, output="sos")
    return np.asarray(np.exp(sosfiltfilt(smooth, np.log(np.maximum(size, floor)))))


def _to_frames(envelope: FloatArray) -> FloatArray:
    from scipy.signal import resample_poly

    return np.asarray(resample_poly(envelope, 1, RATE // STATE_RATE, padtype="line"))


_MAKERS: Mapping[str, Callable[[FloatArray, FloatArray], FloatArray]] = MappingProxyType(
    {
        "homomorphic": lambda _, size: _to_frames(_homomorphic(size, RATE, 8.0)),
        "hilbert": lambda _, size: _to_frames(size),
        "psd": lambda x, _: band_power(x),
        "wavelet": lambda x, _: _to_frames(wavelet(x)),
    }
)
KINDS = tuple(_MAKERS)


def check_sound(
    samples: FloatArray,
    rate: int,
    name: str = "This recording",
) -> None:
    """Raise UndefinedError, by ``name``, for a sound that is not (n,), not finite, flat, or shorter
    than 2 s.
    """
    if samples.ndim != 1:
        raise UndefinedError(
            f"{name} has shape {samples.shape}; wanted one channel, (n,). Pass the channels one by "
            "one."
        )
    if len(samples) < SHORTEST * rate:
        raise UndefinedError(
            f"{name} lasts {len(samples) / rate:.2f} s; envelopes and the heart rate need "
            f"{SHORTEST:g} s. Leave it out."
        )
    if not np.isfinite(samples).all():
        raise UndefinedError(f"{name} holds samples that are not finite. Read it again.")
    if float(np.ptp(samples)) == 0:
        raise UndefinedError(
            f"{name} is flat: every sample is {float(samples[0]):g}, there is nothing to hear. "
            "Leave it out."
        )


def envelopes(
    samples: FloatArray,
    rate: int,
    *,
    kinds: Sequence[str] = KINDS,
    band: tuple[float, float] | None = BAND,
    spikes: bool = True,
    name: str = "This recording",
) -> FloatArray:
    """Envelopes of a sound at 50 Hz, each less its mean over its standard deviation.

    samples: (n,) at ``rate`` Hz. Returns (ceil(50 n / rate), len(kinds)) float64, columns in the
        order of ``kinds``.
    band: Hz of the band-pass, None for none; the high edge gives way to the Nyquist rate of the
    recording. spikes: whether knocks are removed. ``name`` is used in errors. Raises UndefinedError
    as ``check_sound`` does, and UnsupportedOptionError for an unknown kind or no kind.
    """
    samples = np.asarray(samples)
    check_sound(samples, rate, name)
    unknown = [kind for kind in kinds if kind not in _MAKERS]
    if unknown or not kinds:
        raise UnsupportedOptionError(
            f"No envelope {unknown[0] if unknown else kinds!r}; possible: {', '.join(KINDS)}."
        )
    sound: FloatArray = np.asarray(resample(samples, rate, RATE), dtype=np.float64)
    sound = sound - sound.mean()
    if band is not None:
        sound = band_pass(sound, RATE, band[0], min(band[1], 0.45 * rate))
    if spikes:
        sound = remove_spikes(sound, RATE)
    size = magnitude(sound)
    made = np.stack([_MAKERS[kind](sound, size) for kind in kinds], axis=1)
    spread = made.std(axis=0)
    return np.asarray((made - made.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def band_levels(
    samples: FloatArray,
    rate: int,
    *,
    bands: int = BANDS,
    name: str = "This recording",
) -> FloatArray:
    """Log power in overlapping triangular bands from 25 to 400 Hz, at 50 Hz, each less its mean
    over its deviation.

    samples (n,) at ``rate`` Hz -> (ceil(50 n / rate), bands) float64, low bands first. The sound is
    brought to 1000 Hz, band-passed and freed of knocks as for ``envelopes``; windows (Hann) last 50
    ms and lie around i / 50 s; centres are evenly spaced in hertz. Power a millionth of the largest
    and below counts as that. Raises as ``check_sound`` does.
    """
    check_sound(np.asarray(samples), rate, name)
    sound: FloatArray = np.asarray(resample(np.asarray(samples), rate, RATE), dtype=np.float64)
    sound = remove_spikes(
        band_pass(sound - sound.mean(), RATE, BAND[0], min(BAND[1], 0.45 * rate)), RATE
    )
    n = math.ceil(len(samples) * STATE_RATE / rate - 1e-9)
    padded = np.pad(sound, (_BAND_WINDOW // 2, _BAND_WINDOW + RATE // STATE_RATE))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _BAND_WINDOW)[:: RATE // STATE_RATE][
        :n
    ]
    power = np.abs(np.fft.rfft(windows * np.hanning(_BAND_WINDOW), 256, axis=1)) ** 2
    edges = np.linspace(BAND[0], BAND[1], bands + 2)
    step = edges[1] - edges[0]
    near = 1 - np.abs(np.fft.rfftfreq(256, 1 / RATE)[:, None] - edges[None, 1:-1]) / step
    level = power @ np.maximum(near, 0.0)
    level = np.log(np.maximum(level, max(float(level.max()) * _QUIET, 1e-30)))
    spread = level.std(axis=0)
    return np.asarray((level - level.mean(axis=0)) / np.where(spread > 0, spread, 1.0))
