"""Envelopes of a heart sound at 50 Hz: homomorphic, Hilbert, power from 40 to 60 Hz, wavelet.

Frame i is at i / 50 s, where ``etab.sounds.states.states_at`` gives the state. Every envelope is
computed at 1000 Hz, after a zero-phase Butterworth band-pass and the removal of spikes. The
functions are pure and read no files.

Sources:
    Schmidt et al., Physiol. Meas. 31:513-529 (2010): the removal of spikes.
    Springer, Tarassenko and Clifford, IEEE TBME 63(4):822-832 (2016): the four envelopes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.sounds.states import STATE_RATE
from etab.sounds.windows import check_band, resample
from etab.types import FloatArray

# Rate in Hz at which envelopes are computed.
RATE = 1000
# Shortest recording in seconds.
SHORTEST = 2.0
# Edges of the band-pass in Hz.
BAND = (25.0, 400.0)
# Number of bands of ``band_levels``.
BANDS = 16
# Windows of ``band_power`` in ms, and of ``band_levels`` in samples at 1000 Hz.
_PSD_WINDOW = 25
_BAND_WINDOW = 50
_FFT_LENGTH = 256
# Samples at 1000 Hz from one frame at 50 Hz to the next.
_HOP = RATE // STATE_RATE
# Share of the largest magnitude or power below which values are clipped before a logarithm.
_QUIET = 1e-6


def band_pass(
    samples: FloatArray,
    rate: int,
    low: float = BAND[0],
    high: float = BAND[1],
) -> FloatArray:
    """Filter a sound with a Butterworth band-pass of order 2, forwards and backwards.

    The filter has zero phase: nothing moves in time.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        low: Lower edge in Hz.
        high: Upper edge in Hz.

    Returns:
        (n,) float64.

    Raises:
        UnsupportedOptionError: Unless 0 < low < high < rate / 2.
    """
    from scipy.signal import butter, sosfiltfilt

    check_band(rate, low, high)
    low_pass = butter(2, high, "low", fs=rate, output="sos")
    high_pass = butter(2, low, "high", fs=rate, output="sos")
    sections = np.concatenate([low_pass, high_pass])
    return np.asarray(sosfiltfilt(sections, np.asarray(samples, dtype=np.float64)))


def remove_spikes(
    samples: FloatArray,
    rate: int,
    *,
    window: float = 0.5,
    factor: float = 3.0,
) -> FloatArray:
    """Set loud spikes, such as knocks on the microphone, to 0.

    The sound is divided into windows. While the largest magnitude of any window exceeds ``factor``
    times the median of these maxima, the samples between the zero crossings around that maximum
    become 0. A last piece that is shorter than a window stays as it is.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        window: Length of a window in seconds.
        factor: Largest allowed ratio of a window's maximum to the median of the maxima.

    Returns:
        (n,) float64.

    Source:
        Schmidt et al., Physiol. Meas. 31:513-529 (2010).
    """
    out = np.array(samples, dtype=np.float64)
    length = max(1, round(window * rate))
    n_windows = len(out) // length
    if n_windows == 0:
        return out
    # Views of ``out``: a change of a row changes the sound.
    rows = out[: n_windows * length].reshape(n_windows, length)
    largest = np.abs(rows).max(axis=1)
    for _ in range(len(out)):
        worst = int(largest.argmax())
        limit = factor * np.median(largest)
        if largest[worst] <= limit or largest[worst] == 0:
            break
        row = rows[worst]
        first, last = _around_peak(row)
        row[first:last] = 0.0
        largest[worst] = np.abs(row).max()
    return out


def _around_peak(row: FloatArray) -> tuple[int, int]:
    """The samples from the zero crossing before the largest magnitude to the one after it."""
    peak = int(np.abs(row).argmax())
    is_negative = np.signbit(row)
    crossings = np.flatnonzero(np.diff(is_negative))
    following = int(np.searchsorted(crossings, peak))
    first = 0
    if following:
        first = int(crossings[following - 1]) + 1
    last = len(row)
    if following < len(crossings):
        last = int(crossings[following]) + 1
    return first, last


def magnitude(samples: FloatArray) -> FloatArray:
    """Compute the magnitude of the analytic signal.

    Args:
        samples: (n,) sound.

    Returns:
        (n,). A tone of amplitude a gives a, except near the ends.
    """
    from scipy.fft import next_fast_len
    from scipy.signal import hilbert

    n = len(samples)
    padded_length = next_fast_len(n)
    analytic = hilbert(samples, padded_length)
    return np.asarray(np.abs(analytic[:n]))


def homomorphic(
    samples: FloatArray,
    rate: int = RATE,
    cutoff: float = 8.0,
) -> FloatArray:
    """Compute the homomorphic envelope: the exponential of the low-passed logarithm of magnitude.

    The low-pass is a zero-phase Butterworth filter of order 1. Magnitudes below a millionth of the
    largest are raised to it, so that digital silence has a logarithm.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        cutoff: Edge of the low-pass in Hz.

    Returns:
        (n,) float64.
    """
    return _homomorphic(magnitude(samples), rate, cutoff)


def band_power(
    samples: FloatArray,
    rate: int = RATE,
    low: float = 40.0,
    high: float = 60.0,
) -> FloatArray:
    """Compute the mean power in a band at 50 Hz.

    Hamming windows of 25 ms are centred at 0, 20, 40, ... ms; the band is sampled every hertz.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        low: Lower edge of the band in Hz.
        high: Upper edge of the band in Hz, included.

    Returns:
        (ceil(50 n / rate),). A tone of amplitude a inside the band gives about a^2 / 4.
    """
    length = max(4, round(_PSD_WINDOW * rate / 1000))
    n_frames = _frame_count(len(samples), rate)
    starts = np.round(np.arange(n_frames) * rate / STATE_RATE).astype(np.int64)
    sound = np.asarray(samples, dtype=np.float64)
    padded = np.pad(sound, (length // 2, length))
    windows = np.lib.stride_tricks.sliding_window_view(padded, length)[starts]
    taper = np.hamming(length)
    taper = taper / taper.sum()
    seconds = np.arange(length) / rate
    hertz = np.arange(low, high + 0.5)
    phase = 2 * np.pi * np.outer(seconds, hertz)
    waves = taper[:, None] * np.hstack([np.cos(phase), np.sin(phase)])
    energy = np.square(windows @ waves).sum(axis=1)
    return np.asarray(2 * energy / len(hertz) / 2)


def _frame_count(n_samples: int, rate: float) -> int:
    """Number of frames at 50 Hz in a sound; the last one may be shorter than 20 ms."""
    return math.ceil(n_samples * STATE_RATE / rate - 1e-9)


@lru_cache
def spline_wavelet(level: int = 3) -> FloatArray:
    """Filter of one detail of the reverse biorthogonal spline wavelet 3.9, without decimation.

    The low-pass is (1, 3, 3, 1) / 8. The high-pass is the dual filter with 9 vanishing moments.
    Both come from their closed forms.

    Args:
        level: Level of the detail, 1 to 8. Level 3 at 1000 Hz is about 62 to 125 Hz.

    Returns:
        (m,) taps of unit energy.

    Raises:
        UnsupportedOptionError: ``level`` is out of its range.

    Source:
        Cohen, Daubechies and Feauveau, Comm. Pure Appl. Math. 45:485-560 (1992).

    Example:
        >>> taps = spline_wavelet(3)
        >>> round(float(taps @ taps), 6)
        1.0
    """
    if not 1 <= level <= 8:
        raise UnsupportedOptionError(f"level is {level}; possible: 1 to 8.")
    low = np.array([1.0, 3.0, 3.0, 1.0]) / 8
    whole = np.array([1.0])
    for step in range(level - 1):
        whole = np.convolve(whole, _spread(low, 1 << step))
    high = _dual_high_pass()
    whole = np.convolve(whole, _spread(high, 1 << (level - 1)))
    energy = np.square(whole).sum()
    return np.asarray(whole / np.sqrt(energy))


def _dual_high_pass() -> FloatArray:
    """The dual filter (20,) with 9 vanishing moments."""
    second_difference = np.array([-0.25, 0.5, -0.25])
    mean_of_two = np.array([0.5, 0.5])
    dual = np.zeros(11)
    bump = np.array([1.0])
    for k in range(6):
        dual[5 - k : 6 + k] += math.comb(5 + k, k) * bump
        bump = np.convolve(bump, second_difference)
    for _ in range(9):
        dual = np.convolve(dual, mean_of_two)
    signs = (-1.0) ** np.arange(len(dual))
    return np.asarray(dual * signs)


def wavelet(samples: FloatArray, level: int = 3) -> FloatArray:
    """Compute the magnitude of a wavelet detail; nothing moves by more than half a sample.

    Args:
        samples: (n,) sound.
        level: Level of the detail, as in ``spline_wavelet``.

    Returns:
        (n,) float64.
    """
    from scipy.signal import fftconvolve

    taps = spline_wavelet(level)
    half = len(taps) // 2
    full = fftconvolve(np.asarray(samples, dtype=np.float64), taps)
    return np.asarray(np.abs(full[half : half + len(samples)]))


def _spread(taps: FloatArray, step: int) -> FloatArray:
    """A filter with ``step - 1`` zeros between its taps."""
    length = step * (len(taps) - 1) + 1
    out = np.zeros(length)
    out[::step] = taps
    return out


def _homomorphic(size: FloatArray, rate: int, cutoff: float) -> FloatArray:
    """The homomorphic envelope of magnitudes (n,)."""
    from scipy.signal import butter, sosfiltfilt

    floor = max(float(size.max(initial=0.0)) * _QUIET, 1e-30)
    smooth = butter(1, cutoff, "low", fs=rate, output="sos")
    return np.asarray(np.exp(sosfiltfilt(smooth, np.log(np.maximum(size, floor)))))


def _to_frames(envelope: FloatArray) -> FloatArray:
    """An envelope at 50 Hz, from 1000 Hz."""
    from scipy.signal import resample_poly

    return np.asarray(resample_poly(envelope, 1, _HOP, padtype="line"))


# Each maker takes the sound and its magnitude at 1000 Hz.
_MAKERS: Mapping[str, Callable[[FloatArray, FloatArray], FloatArray]] = MappingProxyType(
    {
        "homomorphic": lambda _, size: _to_frames(_homomorphic(size, RATE, 8.0)),
        "hilbert": lambda _, size: _to_frames(size),
        "psd": lambda sound, _: band_power(sound),
        "wavelet": lambda sound, _: _to_frames(wavelet(sound)),
    }
)
KINDS = tuple(_MAKERS)


def check_sound(
    samples: FloatArray,
    rate: int,
    name: str = "This recording",
) -> None:
    """Check that a sound is long enough for envelopes and a heart rate.

    Args:
        samples: The sound.
        rate: Samples per second.
        name: Name of the recording in errors.

    Raises:
        UndefinedError: The sound is not (n,), not finite, constant, or shorter than 2 s.
    """
    if samples.ndim != 1:
        raise UndefinedError(
            f"{name} has shape {samples.shape}; wanted one channel, (n,). Pass the channels one by "
            "one."
        )
    if len(samples) < SHORTEST * rate:
        seconds = len(samples) / rate
        raise UndefinedError(
            f"{name} lasts {seconds:.2f} s; envelopes and the heart rate need "
            f"{SHORTEST:g} s. Leave it out."
        )
    if not np.isfinite(samples).all():
        raise UndefinedError(f"{name} holds samples that are not finite. Read it again.")
    if float(np.ptp(samples)) == 0:
        constant = float(samples[0])
        raise UndefinedError(
            f"{name} is flat: every sample is {constant:g}, so it holds no sound. Leave it out."
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
    """Compute envelopes of a sound at 50 Hz, each with mean 0 and standard deviation 1.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        kinds: Names among ``KINDS``, in the order of the columns.
        band: Edges of the band-pass in Hz; None for no band-pass. The upper edge is lowered to
            0.45 times the rate of the recording where it is above.
        spikes: Whether spikes are removed.
        name: Name of the recording in errors.

    Returns:
        (ceil(50 n / rate), len(kinds)) float64.

    Raises:
        UndefinedError: As ``check_sound``.
        UnsupportedOptionError: A kind is unknown, or no kind is given.

    Example:
        >>> import numpy as np
        >>> seconds = np.arange(3 * 2000) / 2000
        >>> beats = np.exp(-200 * (seconds % 0.8) ** 2) * np.sin(2 * np.pi * 60 * seconds)
        >>> envelopes(beats, 2000).shape
        (150, 4)
    """
    samples = np.asarray(samples)
    check_sound(samples, rate, name)
    unknown = [kind for kind in kinds if kind not in _MAKERS]
    if unknown or not kinds:
        refused = unknown[0] if unknown else kinds
        raise UnsupportedOptionError(f"No envelope {refused!r}; possible: {', '.join(KINDS)}.")
    sound = _centred(samples, rate)
    if band is not None:
        low, high = band
        sound = band_pass(sound, RATE, low, min(high, 0.45 * rate))
    if spikes:
        sound = remove_spikes(sound, RATE)
    size = magnitude(sound)
    columns = [_MAKERS[kind](sound, size) for kind in kinds]
    return _standardised(np.stack(columns, axis=1))


def _centred(samples: FloatArray, rate: int) -> FloatArray:
    """A sound at 1000 Hz with mean 0, float64."""
    resampled = resample(samples, rate, RATE)
    sound = np.asarray(resampled, dtype=np.float64)
    return np.asarray(sound - sound.mean())


def _standardised(columns: FloatArray) -> FloatArray:
    """Columns less their mean, over their standard deviation; constant columns become 0."""
    deviations = columns.std(axis=0)
    scales = np.where(deviations > 0, deviations, 1.0)
    return np.asarray((columns - columns.mean(axis=0)) / scales)


def band_levels(
    samples: FloatArray,
    rate: int,
    *,
    bands: int = BANDS,
    name: str = "This recording",
) -> FloatArray:
    """Compute the log power in triangular bands from 25 to 400 Hz, at 50 Hz.

    The sound is brought to 1000 Hz, band-passed and freed of spikes as for ``envelopes``. Hann
    windows of 50 ms are centred at i / 50 s. Bands overlap, and their centres are evenly spaced in
    hertz. Power below a millionth of the largest is raised to it. Each band has mean 0 and standard
    deviation 1.

    Args:
        samples: (n,) sound.
        rate: Samples per second.
        bands: Number of bands.
        name: Name of the recording in errors.

    Returns:
        (ceil(50 n / rate), bands) float64, low bands first.

    Raises:
        UndefinedError: As ``check_sound``.
    """
    samples = np.asarray(samples)
    check_sound(samples, rate, name)
    low, high = BAND
    sound = band_pass(_centred(samples, rate), RATE, low, min(high, 0.45 * rate))
    sound = remove_spikes(sound, RATE)
    n_frames = _frame_count(len(samples), rate)
    padded = np.pad(sound, (_BAND_WINDOW // 2, _BAND_WINDOW + _HOP))
    every_window = np.lib.stride_tricks.sliding_window_view(padded, _BAND_WINDOW)
    windows = every_window[::_HOP][:n_frames]
    spectrum = np.fft.rfft(windows * np.hanning(_BAND_WINDOW), _FFT_LENGTH, axis=1)
    power = np.abs(spectrum) ** 2
    level = power @ _triangles(bands)
    floor = max(float(level.max()) * _QUIET, 1e-30)
    return _standardised(np.log(np.maximum(level, floor)))


def _triangles(bands: int) -> FloatArray:
    """Triangular filters (frequencies, bands) with evenly spaced centres."""
    edges = np.linspace(BAND[0], BAND[1], bands + 2)
    step = edges[1] - edges[0]
    centres = edges[None, 1:-1]
    frequencies = np.fft.rfftfreq(_FFT_LENGTH, 1 / RATE)
    near = 1 - np.abs(frequencies[:, None] - centres) / step
    return np.asarray(np.maximum(near, 0.0))
