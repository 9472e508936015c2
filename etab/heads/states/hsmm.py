"""The duration-dependent hidden semi-Markov model of heart sounds with logistic-regression
emissions: its training.

After Springer, Tarassenko and Clifford (IEEE TBME 63(4):822-832, 2016) and Schmidt et al. (Physiol.
Meas. 31:513-529, 2010). The fitted model, its timing and its search are in
``etab.sounds.semimarkov``; their names are here as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from etab.errors import SplitError, UndefinedError
from etab.heads.pooled.linalg import logistic_path
from etab.sounds.semimarkov import (
    HOMOMORPHIC,
    RATES,
    STATE_COUNT,
    HeartSoundModel,
    Spreads,
    Timing,
    autocorrelation,
    beat_envelope,
    check_envelopes,
    duration_table,
    heart_timings,
    state_features,
    viterbi,
)
from etab.sounds.states import DIASTOLE, S1, S2, STATE_RATE, SYSTOLE, runs
from etab.types import Array, FloatArray, IntArray, RowSplit

__all__ = [
    "RATES",
    "STATE_COUNT",
    "HeartSoundModel",
    "Spreads",
    "Timing",
    "autocorrelation",
    "beat_envelope",
    "check_envelopes",
    "cross_segment",
    "duration_table",
    "fit_hsmm",
    "state_features",
    "heart_timings",
    "learn_spreads",
    "refuse_shared_people",
    "stretches",
    "viterbi",
]

_PENALTY = 1e-4
_ITERATIONS = 300


def fit_hsmm(
    envelopes: Sequence[FloatArray],
    states: Sequence[IntArray],
    *,
    context: int = 0,
    candidates: int = 1,
    rates: tuple[float, float] = RATES,
    beat: str = HOMOMORPHIC,
) -> HeartSoundModel:
    """Learn emissions and durations from training recordings.

    envelopes: (n_i, k) at 50 Hz, homomorphic first; states: (n_i,) of 0 to 3, -1 where unannotated
    (not learned from); beat: the envelope that heart rates are read from, as for
    ``beat_envelope``. Raises UndefinedError where they differ in length, or a state is never
    annotated.
    """
    for i, (x, y) in enumerate(zip(envelopes, states, strict=True)):
        check_envelopes(x)
        if len(x) != len(y):
            raise UndefinedError(
                f"Recording {i} has {len(x)} frames of envelopes and {len(y)} of states. Align "
                "them."
            )
    if not len(envelopes):
        raise UndefinedError("No recording to learn from. Pass some.")
    x = np.concatenate(
        [state_features(e, context)[s >= 0] for e, s in zip(envelopes, states, strict=True)]
    )
    y = np.concatenate([s[s >= 0] for s in states]).astype(np.int64)
    counts = np.bincount(y, minlength=STATE_COUNT)
    if len(counts) > STATE_COUNT or (counts == 0).any():
        raise UndefinedError(
            f"Frames of S1, systole, S2, diastole in training: {counts.tolist()}; wanted some of "
            "each."
        )
    mean, weights, intercept = _regress(x, y)
    spreads = learn_spreads(envelopes, states, rates, beat)
    prior = np.log(counts / counts.sum())
    return HeartSoundModel(
        mean, weights, intercept, prior, spreads, context, candidates, rates, beat
    )


def _regress(x: FloatArray, y: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Multinomial logistic regression on whitened columns: (mean, weights, intercept) for the
    columns as they are.
    """
    from scipy.linalg import eigh

    mean = x.mean(axis=0)
    spread, axes = eigh(np.cov(x - mean, rowvar=False))
    keep = spread > spread[-1] * 1e-8
    turn = axes[:, keep] / np.sqrt(spread[keep])
    z = ((x - mean) @ turn).astype(np.float32)
    weights, intercept = logistic_path(
        z,
        np.eye(STATE_COUNT)[y],
        np.ones((len(y), 1)),
        (_PENALTY,),
        iterations=_ITERATIONS,
        tolerance=1e-4,
    )
    return mean, turn @ weights[0].astype(np.float64), intercept[0].astype(np.float64)


def learn_spreads(
    envelopes: Sequence[FloatArray],
    states: Sequence[IntArray],
    rates: tuple[float, float] = RATES,
    beat: str = HOMOMORPHIC,
    timings: Sequence[Timing] | None = None,
) -> Spreads:
    """Durations of S1 and S2, and how far systole and diastole stray from the timing of their
    recording.

    Only states between annotated neighbours count (others are cut), and for systole and diastole
    only recordings whose beat was read off right, to a tenth. What training is too small to say
    stays as Springer has it. ``timings`` are the beats of the recordings where they are known; by
    default they are read from the envelope ``beat``.
    """
    found: dict[int, list[float]] = {S1: [], SYSTOLE: [], S2: [], DIASTOLE: []}
    for i, (envelope, answer) in enumerate(zip(envelopes, states, strict=True)):
        lasts = {state: stretches(answer, state) for state in found}
        found[S1] += lasts[S1]
        found[S2] += lasts[S2]
        if any(not v for v in lasts.values()):
            continue
        if timings is None:
            timing = heart_timings(beat_envelope(envelope, beat), rates=rates)[0]
        else:
            timing = timings[i]
        period = sum(float(np.mean(v)) for v in lasts.values())
        if abs(period - timing.period) < 0.1 * period:
            onset = float(np.mean(lasts[S1]))
            found[SYSTOLE] += [onset + s - timing.systole for s in lasts[SYSTOLE]]
            expected = (
                timing.period - onset - float(np.mean(lasts[SYSTOLE])) - float(np.mean(lasts[S2]))
            )
            found[DIASTOLE] += [s / max(expected, 0.08) - 1 for s in lasts[DIASTOLE]]
    plain = Spreads()
    if min(len(v) for v in found.values()) < 10:
        return plain
    one, two = ((float(np.mean(found[s])), float(np.std(found[s]))) for s in (S1, S2))
    offset = float(np.median(found[SYSTOLE]))
    return Spreads(
        one, two, _robust(found[SYSTOLE]), max(plain.diastole, _robust(found[DIASTOLE])), offset
    )


def stretches(states: IntArray, state: int) -> list[float]:
    """Seconds of every whole stretch of a state: those between its two neighbours in the cycle."""
    found = runs(states)
    before = (state - 1) % STATE_COUNT
    after = (state + 1) % STATE_COUNT
    inner = (found[1:-1, 0] == state) & (found[:-2, 0] == before) & (found[2:, 0] == after)
    return [float(v) for v in (found[1:-1, 2] - found[1:-1, 1] + 1)[inner] / STATE_RATE]


def _robust(values: Sequence[float]) -> float:
    """Standard deviation by the median absolute deviation, which single misreadings do not move."""
    return float(1.4826 * np.median(np.abs(np.asarray(values) - np.median(values))))


def cross_segment(
    envelopes: Sequence[FloatArray],
    states: Sequence[IntArray],
    patients: Array,
    splits: Sequence[RowSplit],
    *,
    context: int = 0,
    candidates: int = 1,
    beat: str = HOMOMORPHIC,
) -> Iterator[tuple[RowSplit, list[IntArray]]]:
    """For each split, fit on its training recordings and give the states of its test recordings, in
    their order.

    patients (n,) names the person of each recording; raises SplitError naming one who is in
    training and in test.
    """
    for split in splits:
        refuse_shared_people(patients, split)
        train = split.train
        model = fit_hsmm(
            [envelopes[i] for i in train],
            [states[i] for i in train],
            context=context,
            candidates=candidates,
            beat=beat,
        )
        yield split, model.predict_all([envelopes[i] for i in split.test])


def refuse_shared_people(patients: Array, split: RowSplit) -> None:
    """Raise SplitError naming a person (``patients`` (n,)) who is in training and in test."""
    people = np.asarray(patients)
    both = sorted(set(people[split.train].tolist()) & set(people[split.test].tolist()))
    if both:
        raise SplitError(
            f"{split.name}: {both[0]} is in training and in test. Split by person (Additional ID)."
        )
