"""Timing of heart beats and the search for their states: what a fitted hidden semi-Markov model
needs to answer.

After Springer, Tarassenko and Clifford (IEEE TBME 63(4):822-832, 2016) and Schmidt et al. (Physiol.
Meas. 31:513-529, 2010): S1, systole, S2, diastole follow each other; how long each lasts comes from
the heart rate and the systolic interval of the recording, both read off the autocorrelation of one
of its envelopes (``beat_envelope``); how well a frame fits a state comes from a logistic regression
on envelopes at 50 Hz; an extended Viterbi search, in which the first and the last state may reach
beyond the recording, finds the best sequence. ``etab.heads.states.hsmm`` fits such models.
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

RATES = (40.0, 200.0)
HOMOMORPHIC = "homomorphic"
WAVELET = "wavelet"
# The envelopes that a heart rate can be read from, by their column.
BEATS: Mapping[str, int] = MappingProxyType(
    {kind: KINDS.index(kind) for kind in (HOMOMORPHIC, WAVELET)}
)
# Of the wavelet envelope: what is added before the logarithm, and the smoothing in frames.
_SOFT = 0.1
_SMOOTH = 1.0
_NEVER = -np.inf
BATCH = 64
"""Recordings that are searched together."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What the autocorrelation says of a recording, in seconds: a whole beat, and S1 to S2, onset
    to onset.
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
            f"{column}. "
            f"Pass the envelopes {', '.join(KINDS)} first."
        )
    envelope = np.asarray(envelopes[:, column], dtype=np.float64)
    if beat == HOMOMORPHIC:
        return envelope
    from scipy.ndimage import gaussian_filter1d

    logarithm = np.log(envelope - envelope.min() + _SOFT)
    return np.asarray(gaussian_filter1d(logarithm, _SMOOTH))


def autocorrelation(envelope: FloatArray) -> FloatArray:
    """Autocorrelation (n,) of an envelope (n,) less its mean: 1 at lag 0, not corrected for the
    shrinking overlap.
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
    return np.asarray(irfft(np.abs(rfft(x, size)) ** 2, size)[:n] / power)


def heart_timings(
    envelope: FloatArray,
    *,
    candidates: int = 1,
    rates: tuple[float, float] = RATES,
) -> tuple[Timing, ...]:
    """The likeliest beats of an envelope (n,) at 50 Hz (see ``beat_envelope``), the best first; at
    least one, at most ``candidates``.

    A beat is a peak of the autocorrelation between the lags of ``rates`` (beats per minute), the
    highest first; the systolic interval is the highest peak from 0.2 s (or, for fast hearts, a
    quarter of the beat) to 0.55 of the beat. Where there is no peak the highest value counts.
    Raises UndefinedError for a flat or too short envelope.
    """
    low, high = rates
    if not 0 < low < high or candidates < 1:
        raise UnsupportedOptionError(
            f"rates {rates}, candidates {candidates}; wanted 0 < low < high, and one or more."
        )
    if len(envelope) < SHORTEST * STATE_RATE:
        raise UndefinedError(
            f"{len(envelope) / STATE_RATE:.2f} s of envelope; a heart rate needs {SHORTEST:g} s. "
            "Leave the recording out."
        )
    curve = autocorrelation(envelope)
    last = min(60 * STATE_RATE / low, len(curve) - 2)
    lags = _peaks(curve, 60 * STATE_RATE / high, last)[:candidates]
    found = []
    for lag in lags:
        first = min(0.2 * STATE_RATE, 0.3 * lag)
        found.append(
            Timing(lag / STATE_RATE, _peaks(curve, max(first, 2.0), 0.55 * lag)[0] / STATE_RATE)
        )
    return tuple(found)


def _peaks(curve: FloatArray, first: float, last: float) -> list[float]:
    """Lags of the local maxima in [first, last] to a fraction of a frame, the highest first; or of
    the highest value.
    """
    a = max(1, int(np.ceil(first)))
    b = min(len(curve) - 2, int(np.floor(last)))
    b = max(a, b)
    lags = np.arange(a, b + 1)
    inside = curve[lags]
    tops = lags[(inside >= curve[lags - 1]) & (inside > curve[lags + 1])]
    if len(tops) == 0:
        return [float(lags[inside.argmax()])]
    tops = tops[np.argsort(-curve[tops], kind="stable")]
    left = curve[tops - 1]
    middle = curve[tops]
    right = curve[tops + 1]
    bend = left - 2 * middle + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
    return [float(t) for t in tops + np.clip(shift, -0.5, 0.5)]


@dataclass(frozen=True, slots=True)
class Spreads:
    """Durations learned from training: mean and standard deviation of S1 and S2 in seconds, and of
    how far systole and diastole lie from what the timing of their recording promises; ``offset`` is
    the mean of that for systole.
    """

    s1: tuple[float, float] = (0.122, 0.022)
    s2: tuple[float, float] = (0.092, 0.022)
    systole: float = 0.025
    diastole: float = 0.07
    offset: float = 0.0


def duration_table(timing: Timing, spreads: Spreads) -> FloatArray:
    """Log-probability (4, longest) that a state lasts 1, 2, ... frames: normal distributions, cut
    at 3 deviations.

    Systole is the systolic interval less S1, diastole the rest of the beat. ``spreads.diastole`` is
    relative to the diastole's length and at least 2 frames.
    """
    one = spreads.s1
    two = spreads.s2
    systole = max(timing.systole + spreads.offset - one[0], 0.06)
    diastole = max(timing.period - timing.systole - spreads.offset - two[0], 0.08)
    means = np.array([one[0], systole, two[0], diastole]) * STATE_RATE
    widths = (
        np.array(
            [one[1], spreads.systole, two[1], max(spreads.diastole * diastole, 2 / STATE_RATE)]
        )
        * STATE_RATE
    )
    widths = np.maximum(widths, 0.5)
    longest = int(np.ceil((means + 3 * widths).max()))
    frames = np.arange(1, longest + 1)
    away = (frames - means[:, None]) / widths[:, None]
    table = np.where((np.abs(away) <= 3) & (frames >= 2), -0.5 * away**2, _NEVER)
    return np.asarray(table - np.log(np.exp(table).sum(axis=1, keepdims=True)))


@dataclass(frozen=True, slots=True)
class HeartSoundModel:
    """A fitted model: ``predict`` gives the states of an unseen recording at 50 Hz.

    ``mean``, ``weights`` (features, 4) and ``intercept`` (4,) turn frames into log-probabilities of
    states, ``prior`` (4,) holds the logarithm of how often training had each. ``context``: frames
    that are read on either side. ``beat``: the envelope that the heart rate is read from.
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
        """Log-likelihood (n, 4) of each frame, up to a constant a frame: log P(state | frame) - log
        P(state).
        """
        logits = (
            state_features(envelopes, self.context) - self.mean
        ) @ self.weights + self.intercept
        logits -= logits.max(axis=1, keepdims=True)
        return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)) - self.prior)

    def predict(self, envelopes: FloatArray, timings: Sequence[Timing] | None = None) -> IntArray:
        """States (n,) 0 to 3 of envelopes (n, k) at 50 Hz as ``etab.sounds.envelopes.envelopes``
        makes them, homomorphic first.

        timings: hypotheses of the beat, by default those of the recording itself. Raises
        UndefinedError for recordings that are flat, not finite, or shorter than 2 s or than a
        single state.
        """
        width = len(self.mean) // (2 * self.context + 1) // 2
        check_envelopes(envelopes, width)
        if timings is None:
            timings = heart_timings(
                beat_envelope(envelopes, self.beat),
                candidates=self.candidates,
                rates=self.rates,
            )
        tables = [duration_table(timing, self.spreads) for timing in timings]
        return viterbi(self.emission(envelopes), tables)[0]

    def predict_all(self, envelopes: Sequence[FloatArray]) -> list[IntArray]:
        """States of several recordings, as ``predict`` gives them; several are searched together.

        Args:
            envelopes: For each recording, (n_i, k) at 50 Hz.

        Returns:
            For each recording, its states (n_i,).

        Raises:
            UndefinedError: As ``predict`` does.
        """
        states: dict[int, IntArray] = {}
        width = len(self.mean) // (2 * self.context + 1) // 2
        # Recordings of a batch have about the same length, so that little is searched in vain.
        order = sorted(range(len(envelopes)), key=lambda i: len(envelopes[i]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            emissions = []
            tables = []
            for i in batch:
                check_envelopes(envelopes[i], width)
                timings = heart_timings(
                    beat_envelope(envelopes[i], self.beat),
                    candidates=self.candidates,
                    rates=self.rates,
                )
                tables.append([duration_table(timing, self.spreads) for timing in timings])
                emissions.append(self.emission(envelopes[i]))
            for i, path in zip(batch, viterbi_of_all(emissions, tables), strict=True):
                states[i] = path[0]
        return [states[i] for i in range(len(envelopes))]


def check_envelopes(envelopes: FloatArray, width: int | None = None) -> None:
    """Raise UndefinedError unless envelopes are (n, width), finite, not flat, 2 s or longer."""
    if envelopes.ndim != 2 or (width is not None and envelopes.shape[1] != width):
        raise UndefinedError(
            f"Envelopes of shape {envelopes.shape}; wanted (n, {width or 'k'}) at {STATE_RATE} Hz."
        )
    if len(envelopes) < SHORTEST * STATE_RATE:
        raise UndefinedError(
            f"{len(envelopes) / STATE_RATE:.2f} s of envelopes; the model needs {SHORTEST:g} s. "
            "Leave the recording out."
        )
    if not np.isfinite(envelopes).all():
        raise UndefinedError("These envelopes hold values that are not finite. Make them again.")
    if float(np.ptp(envelopes[:, 0])) == 0:
        raise UndefinedError(
            "These envelopes are flat: there is nothing to hear. Leave the recording out."
        )


def state_features(envelopes: FloatArray, context: int) -> FloatArray:
    """What the regression sees of each frame: envelopes and their soft logarithm, at ``context``
    frames around it.

    envelopes (n, k) -> (n, 2 k (2 context + 1)); beyond the ends the first and last frame are
    repeated.
    """
    x = np.asarray(envelopes, dtype=np.float64)
    x = np.hstack([x, np.log(x - x.min(axis=0) + 0.1)])
    padded = np.pad(x, ((context, context), (0, 0)), mode="edge")
    return np.hstack([padded[i : i + len(x)] for i in range(2 * context + 1)])
