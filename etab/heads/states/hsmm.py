"""Training of the duration-dependent hidden semi-Markov model of heart sounds.

Emissions are logistic regressions. The fitted model, its timing and its search are in
``etab.sounds.semimarkov``; this module exports their names as well.

Sources:
    Schmidt et al., Physiol. Meas. 31:513-529 (2010).
    Springer, Tarassenko and Clifford, IEEE TBME 63(4):822-832 (2016).
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence

import numpy as np

from etab.errors import SplitError, UndefinedError
from etab.heads.pooled.linalg import logistic_path
from etab.heads.states.beats import RecordingBeats, stretches
from etab.sounds.semimarkov import (
    HEART_RATES,
    HOMOMORPHIC,
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
from etab.types import Array, FloatArray, IntArray, RowSplit

__all__ = [
    "HEART_RATES",
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
    rates: tuple[float, float] = HEART_RATES,
    beat: str = HOMOMORPHIC,
) -> HeartSoundModel:
    """Learn emissions and durations from training recordings.

    Args:
        envelopes: (n_i, k) of each recording at 50 Hz, homomorphic first.
        states: (n_i,) of each recording, 0 to 3; -1 where not annotated, which is not learned from.
        context: Number of frames on either side that a frame is classified with.
        candidates: Largest number of timings that the fitted model searches with.
        rates: Lowest and highest heart rate in beats per minute.
        beat: Name of the envelope that heart rates are read from, as for ``beat_envelope``.

    Raises:
        UndefinedError: Envelopes and states differ in length, or a state is never annotated.
    """
    beats = RecordingBeats(envelopes, states, candidates, rates, beat)
    return _fit_on(beats, range(len(envelopes)), context)


def _fit_on(beats: RecordingBeats, rows: Sequence[int] | IntArray, context: int) -> HeartSoundModel:
    """Learn emissions and durations from some of the recordings."""
    envelopes = [beats.envelopes[i] for i in rows]
    states = [beats.states[i] for i in rows]
    for i, (x, y) in enumerate(zip(envelopes, states, strict=True)):
        check_envelopes(x)
        if len(x) != len(y):
            raise UndefinedError(
                f"Recording {i} has {len(x)} frames of envelopes and {len(y)} of states. Align "
                "them."
            )
    if not len(envelopes):
        raise UndefinedError("No recording to learn from. Pass some.")
    features = []
    for envelope, answer in zip(envelopes, states, strict=True):
        of_recording = state_features(envelope, context)
        features.append(of_recording[answer >= 0])
    x = np.concatenate(features)
    y = np.concatenate([s[s >= 0] for s in states]).astype(np.int64)
    counts = np.bincount(y, minlength=STATE_COUNT)
    if len(counts) > STATE_COUNT or (counts == 0).any():
        raise UndefinedError(
            f"Frames of S1, systole, S2, diastole in training: {counts.tolist()}; wanted some of "
            "each."
        )
    mean, weights, intercept = _regress(x, y)
    prior = np.log(counts / counts.sum())
    return HeartSoundModel(
        mean,
        weights,
        intercept,
        prior,
        beats.spreads(rows),
        context,
        beats.candidates,
        beats.rates,
        beats.beat,
    )


def _regress(x: FloatArray, y: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Multinomial logistic regression, fitted on whitened columns.

    Returns:
        (mean, weights, intercept) for the columns before whitening.
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
    of_columns = turn @ weights[0].astype(np.float64)
    return mean, of_columns, intercept[0].astype(np.float64)


def learn_spreads(
    envelopes: Sequence[FloatArray],
    states: Sequence[IntArray],
    rates: tuple[float, float] = HEART_RATES,
    beat: str = HOMOMORPHIC,
) -> Spreads:
    """Learn the durations of states from training recordings.

    Only states between annotated neighbours count: others are cut. Systole and diastole are
    compared with the timing of their recording, only in recordings whose period is right to a
    tenth. Where any state has fewer than 10 durations, the values of Springer et al. are kept.

    Args:
        envelopes: (n_i, k) of each recording at 50 Hz.
        states: (n_i,) of each recording, -1 where not annotated.
        rates: Lowest and highest heart rate in beats per minute.
        beat: Name of the envelope that heart rates are read from.
    """
    beats = RecordingBeats(envelopes, states, rates=rates, beat=beat)
    return beats.spreads(range(len(envelopes)))


def cross_segment(
    envelopes: Sequence[FloatArray],
    states: Sequence[IntArray],
    patients: Array,
    splits: Sequence[RowSplit],
    *,
    context: int = 0,
    candidates: int = 1,
    beat: str = HOMOMORPHIC,
    timings: MutableMapping[int, tuple[Timing, ...]] | None = None,
) -> Iterator[tuple[RowSplit, list[IntArray]]]:
    """Fit on the training recordings of each split and segment its test recordings.

    Args:
        envelopes: (n_i, k) of each recording at 50 Hz.
        states: (n_i,) of each recording, -1 where not annotated.
        patients: (n,) the patient of each recording.
        splits: The recordings to train on and those to predict.
        context: Number of frames on either side that a frame is classified with.
        candidates: Largest number of timings to search with.
        beat: Name of the envelope that heart rates are read from.
        timings: Timings of recordings with the same candidates and beat that earlier calls on
            these envelopes found; more are added. None starts without any.

    Yields:
        (split, states): the states of the test recordings, in their order.

    Raises:
        SplitError: A patient is in training and in test; the message names them.
    """
    beats = RecordingBeats(envelopes, states, candidates, beat=beat)
    if timings is not None:
        beats.known = timings
    for split in splits:
        refuse_shared_people(patients, split)
        train = split.train
        model = _fit_on(beats, train, context)
        yield (
            split,
            model.predict_all(
                [envelopes[i] for i in split.test],
                [beats.timings(i) for i in split.test.tolist()],
            ),
        )


def refuse_shared_people(patients: Array, split: RowSplit) -> None:
    """Check that no patient is in training and in test.

    Args:
        patients: (n,) the patient of each recording.
        split: The split of recordings.

    Raises:
        SplitError: A patient is in both; the message names them.
    """
    people = np.asarray(patients)
    in_training = set(people[split.train].tolist())
    in_test = set(people[split.test].tolist())
    both = sorted(in_training & in_test)
    if both:
        raise SplitError(
            f"{split.name}: {both[0]} is in training and in test. Split by person (Additional ID)."
        )
