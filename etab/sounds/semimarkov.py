"""A hidden semi-Markov model of heart sounds: timing of beats, emissions, and prediction of states.

S1, systole, S2 and diastole follow each other.

* Durations come from the heart rate and the systolic interval of the recording. Both are peaks of
  the autocorrelation of one of its envelopes (``beat_envelope``).
* The likelihood of a frame in a state comes from a logistic regression on envelopes at 50 Hz.
* An extended Viterbi search finds the best sequence (``etab.sounds.state_search``). In it the first
  and the last state may reach beyond the recording.

``etab.heads.states.hsmm`` fits such models.

Sources:
    Schmidt et al., Physiol. Meas. 31:513-529 (2010).
    Springer, Tarassenko and Clifford, IEEE TBME 63(4):822-832 (2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.sounds.envelopes import KINDS, SHORTEST
from etab.sounds.state_search import STATE_COUNT as STATE_COUNT
from etab.sounds.state_search import viterbi as viterbi
from etab.sounds.state_search import viterbi_of_all as viterbi_of_all
from etab.sounds.states import STATE_RATE
from etab.types import FloatArray, IntArray

# Lowest and highest heart rate in beats per minute.
HEART_RATES = (40.0, 200.0)
HOMOMORPHIC = "homomorphic"
WAVELET = "wavelet"
# The envelopes that a heart rate can be read from, by their column.
BEATS: Mapping[str, int] = MappingProxyType(
    {kind: KINDS.index(kind) for kind in (HOMOMORPHIC, WAVELET)}
)
# Of the wavelet envelope: the constant added before the logarithm, and the smoothing in frames.
_SOFT = 0.1
_SMOOTH = 1.0
_NEVER = -np.inf
BATCH = 64
"""Recordings that are searched together."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations in the beat of a recording, from its autocorrelation.

    Attributes:
        period: Time from one S1 onset to the next in seconds.
        systole: Time from S1 onset to S2 onset in seconds.
    """

    period: float
    systole: float


def beat_envelope(envelopes: FloatArray, beat: str = HOMOMORPHIC) -> FloatArray:
    """Select the envelope that the heart rate of a recording is read from.

    The wavelet envelope is taken as a smoothed logarithm: loud clicks then weigh little, and quiet
    beats weigh enough. On the annotated recordings of CirCor it gives the heart rate more often
    than the homomorphic envelope does (``python -m benchmarks.heart_rate``).

    Args:
        envelopes: (n, k) at 50 Hz, the first columns in the order of
            ``etab.sounds.envelopes.KINDS``.
        beat: ``"homomorphic"`` or ``"wavelet"``.

    Returns:
        (n,) float64.

    Raises:
        UnsupportedOptionError: If ``beat`` is unknown, or the envelopes lack its column.

    Example:
        >>> beat_envelope(np.arange(8.0).reshape(2, 4))
        array([0., 4.])
    """
    if beat not in BEATS:
        raise UnsupportedOptionError(f"beat is {beat!r}; possible: {', '.join(BEATS)}.")
    column = BEATS[beat]
    if envelopes.ndim != 2 or envelopes.shape[1] <= column:
        raise UnsupportedOptionError(
            f"A series of shape {envelopes.shape} has no {beat} envelope, which is column "
            f"{column}. Pass the envelopes {', '.join(KINDS)} first."
        )
    envelope = np.asarray(envelopes[:, column], dtype=np.float64)
    if beat == HOMOMORPHIC:
        return envelope
    from scipy.ndimage import gaussian_filter1d

    logarithm = np.log(envelope - envelope.min() + _SOFT)
    return np.asarray(gaussian_filter1d(logarithm, _SMOOTH))


def autocorrelation(envelope: FloatArray) -> FloatArray:
    """Compute the autocorrelation of an envelope less its mean.

    Args:
        envelope: (n,) frames.

    Returns:
        (n,) by lag, 1 at lag 0. It is not corrected for the shrinking overlap.

    Raises:
        UndefinedError: The envelope is constant.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    x = np.asarray(envelope, dtype=np.float64)
    x = x - x.mean()
    n = len(x)
    power = float(x @ x)
    if power <= 0:
        raise UndefinedError(
            "This envelope is flat: it has no heart rate. Leave the recording out."
        )
    size = next_fast_len(2 * n, real=True)
    spectrum = np.abs(rfft(x, size)) ** 2
    products = irfft(spectrum, size)[:n]
    return np.asarray(products / power)


def heart_timings(
    envelope: FloatArray,
    *,
    candidates: int = 1,
    rates: tuple[float, float] = HEART_RATES,
) -> tuple[Timing, ...]:
    """Find the most likely timings of the beat in an envelope.

    The period of a beat is a peak of the autocorrelation between the lags of ``rates``. The
    systolic interval is the highest peak from 0.2 s (or 0.3 of the period for fast hearts) to 0.55
    of the period. Where there is no peak, the highest value is taken.

    Args:
        envelope: (n,) at 50 Hz, from ``beat_envelope``.
        candidates: Largest number of timings to return.
        rates: Lowest and highest heart rate in beats per minute.

    Returns:
        At least one timing and at most ``candidates``, the highest peak first.

    Raises:
        UndefinedError: The envelope is constant or shorter than 2 s.
        UnsupportedOptionError: ``candidates`` or ``rates`` is out of its range.

    Example:
        >>> seconds = np.arange(500) / 50
        >>> timing, = heart_timings(np.cos(2 * np.pi * seconds / 0.8))
        >>> round(timing.period, 2)
        0.8
    """
    low, high = rates
    if not 0 < low < high or candidates < 1:
        raise UnsupportedOptionError(
            f"rates {rates}, candidates {candidates}; wanted 0 < low < high, and one or more."
        )
    if len(envelope) < SHORTEST * STATE_RATE:
        seconds = len(envelope) / STATE_RATE
        raise UndefinedError(
            f"{seconds:.2f} s of envelope; a heart rate needs {SHORTEST:g} s. "
            "Leave the recording out."
        )
    curve = autocorrelation(envelope)
    shortest = 60 * STATE_RATE / high
    longest = min(60 * STATE_RATE / low, len(curve) - 2)
    periods = _peaks(curve, shortest, longest)
    timings = []
    for period in periods[:candidates]:
        first = min(0.2 * STATE_RATE, 0.3 * period)
        systole = _peaks(curve, max(first, 2.0), 0.55 * period)[0]
        timing = Timing(period / STATE_RATE, systole / STATE_RATE)
        timings.append(timing)
    return tuple(timings)


def _peaks(curve: FloatArray, first: float, last: float) -> list[float]:
    """Lags of the local maxima in [first, last], the highest first.

    Lags are in frames, with a fraction from the parabola through three points. Without a local
    maximum the lag of the highest value is returned.
    """
    smallest = max(1, int(np.ceil(first)))
    largest = min(len(curve) - 2, int(np.floor(last)))
    largest = max(smallest, largest)
    lags = np.arange(smallest, largest + 1)
    inside = curve[lags]
    is_top = (inside >= curve[lags - 1]) & (inside > curve[lags + 1])
    tops = lags[is_top]
    if len(tops) == 0:
        highest = inside.argmax()
        return [float(lags[highest])]
    descending = np.argsort(-curve[tops], kind="stable")
    tops = tops[descending]
    left = curve[tops - 1]
    middle = curve[tops]
    right = curve[tops + 1]
    bend = left - 2 * middle + right
    is_bent = bend < 0
    divisor = np.where(is_bent, bend, -1.0)
    shift = np.where(is_bent, 0.5 * (left - right) / divisor, 0.0)
    exact = tops + np.clip(shift, -0.5, 0.5)
    return [float(lag) for lag in exact]


@dataclass(frozen=True, slots=True)
class Spreads:
    """Durations learned from training, in seconds.

    Attributes:
        s1: Mean and standard deviation of S1.
        s2: Mean and standard deviation of S2.
        systole: Standard deviation of systole around its expectation from the timing.
        diastole: Standard deviation of diastole around its expectation, as a share of it.
        offset: Mean difference of the systolic interval from that of the timing.
    """

    s1: tuple[float, float] = (0.122, 0.022)
    s2: tuple[float, float] = (0.092, 0.022)
    systole: float = 0.025
    diastole: float = 0.07
    offset: float = 0.0


def duration_table(timing: Timing, spreads: Spreads) -> FloatArray:
    """Compute the log-probabilities of the durations of the four states.

    Durations have normal distributions, cut at 3 standard deviations and below 2 frames. Systole is
    the systolic interval less S1, diastole the rest of the beat. The standard deviation of diastole
    is at least 2 frames.

    Args:
        timing: Timing of the beat of the recording.
        spreads: Durations learned from training.

    Returns:
        (4, longest): log-probability that a state lasts 1, 2, ... frames.

    Example:
        >>> table = duration_table(Timing(0.8, 0.3), Spreads())
        >>> np.exp(table).sum(axis=1).round(6).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    s1, s1_deviation = spreads.s1
    s2, s2_deviation = spreads.s2
    systole = max(timing.systole + spreads.offset - s1, 0.06)
    diastole = max(timing.period - timing.systole - spreads.offset - s2, 0.08)
    diastole_deviation = max(spreads.diastole * diastole, 2 / STATE_RATE)
    means = np.array([s1, systole, s2, diastole]) * STATE_RATE
    deviations = np.array([s1_deviation, spreads.systole, s2_deviation, diastole_deviation])
    widths = np.maximum(deviations * STATE_RATE, 0.5)
    longest = int(np.ceil((means + 3 * widths).max()))
    frames = np.arange(1, longest + 1)
    away = (frames - means[:, None]) / widths[:, None]
    is_possible = (np.abs(away) <= 3) & (frames >= 2)
    table = np.where(is_possible, -0.5 * away**2, _NEVER)
    sums = np.exp(table).sum(axis=1, keepdims=True)
    return np.asarray(table - np.log(sums))


@dataclass(frozen=True, slots=True)
class HeartSoundModel:
    """A fitted model; ``predict`` returns the states of an unseen recording at 50 Hz.

    Attributes:
        mean: (features,) mean of the features in training.
        weights: (features, 4) of the logistic regression.
        intercept: (4,) of the logistic regression.
        prior: (4,) logarithm of the share of each state in training.
        spreads: Durations learned from training.
        context: Number of frames on either side that a frame is classified with.
        candidates: Largest number of timings to search with.
        rates: Lowest and highest heart rate in beats per minute.
        beat: Name of the envelope that the heart rate is read from.
    """

    mean: FloatArray
    weights: FloatArray
    intercept: FloatArray
    prior: FloatArray
    spreads: Spreads
    context: int
    candidates: int
    rates: tuple[float, float]
    beat: str = HOMOMORPHIC

    def emission(self, envelopes: FloatArray) -> FloatArray:
        """Compute the log-likelihood of each frame, up to a constant for each frame.

        Args:
            envelopes: (n, k) at 50 Hz.

        Returns:
            (n, 4): log P(state | frame) - log P(state).
        """
        centred = state_features(envelopes, self.context) - self.mean
        logits = centred @ self.weights + self.intercept
        logits -= logits.max(axis=1, keepdims=True)
        sums = np.exp(logits).sum(axis=1, keepdims=True)
        return np.asarray(logits - np.log(sums) - self.prior)

    def predict(self, envelopes: FloatArray, timings: Sequence[Timing] | None = None) -> IntArray:
        """Predict the states of a recording.

        Args:
            envelopes: (n, k) at 50 Hz, as ``etab.sounds.envelopes.envelopes`` returns them.
            timings: Hypotheses of the beat; None for the timings of the recording itself.

        Returns:
            (n,) states, 0 to 3.

        Raises:
            UndefinedError: The envelopes are constant, not finite, or shorter than 2 s or than a
                single state.
        """
        check_envelopes(envelopes, self._width())
        if timings is None:
            timings = self._timings(envelopes)
        tables = [duration_table(timing, self.spreads) for timing in timings]
        states, _, _ = viterbi(self.emission(envelopes), tables)
        return states

    def _width(self) -> int:
        """Number of envelopes that the model was fitted on."""
        frames = 2 * self.context + 1
        return len(self.mean) // frames // 2

    def _timings(self, envelopes: FloatArray) -> tuple[Timing, ...]:
        """Hypotheses of the beat of a recording."""
        return heart_timings(
            beat_envelope(envelopes, self.beat),
            candidates=self.candidates,
            rates=self.rates,
        )

    def predict_all(
        self,
        envelopes: Sequence[FloatArray],
        timings: Sequence[Sequence[Timing]] | None = None,
    ) -> list[IntArray]:
        """Predict the states of several recordings, searched together in batches.

        Args:
            envelopes: For each recording, (n_i, k) at 50 Hz.
            timings: For each recording, its hypotheses of the beat; None for those that the model
                reads from the envelopes.

        Returns:
            For each recording, its states (n_i,).

        Raises:
            UndefinedError: As ``predict`` does.
        """
        states: dict[int, IntArray] = {}
        width = self._width()
        # Recordings of a batch have about the same length, so that few frames are searched in vain.
        order = sorted(range(len(envelopes)), key=lambda i: len(envelopes[i]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            emissions = []
            tables = []
            for i in batch:
                recording = envelopes[i]
                check_envelopes(recording, width)
                beats = self._timings(recording) if timings is None else timings[i]
                tables.append([duration_table(timing, self.spreads) for timing in beats])
                emissions.append(self.emission(recording))
            paths = viterbi_of_all(emissions, tables)
            for i, (path, _, _) in zip(batch, paths, strict=True):
                states[i] = path
        return [states[i] for i in range(len(envelopes))]


def check_envelopes(envelopes: FloatArray, width: int | None = None) -> None:
    """Check envelopes before a model is fitted or applied.

    Args:
        envelopes: (n, k) at 50 Hz.
        width: Number of envelopes that is wanted; None for any number.

    Raises:
        UndefinedError: The envelopes have another shape, are not finite, constant, or shorter than
            2 s.
    """
    if envelopes.ndim != 2 or (width is not None and envelopes.shape[1] != width):
        raise UndefinedError(
            f"Envelopes of shape {envelopes.shape}; wanted (n, {width or 'k'}) at {STATE_RATE} Hz."
        )
    if len(envelopes) < SHORTEST * STATE_RATE:
        seconds = len(envelopes) / STATE_RATE
        raise UndefinedError(
            f"{seconds:.2f} s of envelopes; the model needs {SHORTEST:g} s. "
            "Leave the recording out."
        )
    if not np.isfinite(envelopes).all():
        raise UndefinedError("These envelopes hold values that are not finite. Make them again.")
    if float(np.ptp(envelopes[:, 0])) == 0:
        raise UndefinedError(
            "These envelopes are flat: they show no sound. Leave the recording out."
        )


def state_features(envelopes: FloatArray, context: int) -> FloatArray:
    """Compute the features of each frame for the logistic regression.

    The features are the envelopes and their soft logarithms in the frames around it. Beyond the
    ends the first and the last frame are repeated.

    Args:
        envelopes: (n, k) at 50 Hz.
        context: Number of frames on either side.

    Returns:
        (n, 2 k (2 context + 1)) float64.
    """
    x = np.asarray(envelopes, dtype=np.float64)
    logarithms = np.log(x - x.min(axis=0) + 0.1)
    x = np.hstack([x, logarithms])
    padded = np.pad(x, ((context, context), (0, 0)), mode="edge")
    shifted = [padded[i : i + len(x)] for i in range(2 * context + 1)]
    return np.hstack(shifted)
