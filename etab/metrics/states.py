"""Scores of heart-sound segmentation: states frame by frame, and S1 and S2 as events.

Sources: Schmidt et al., Physiol. Meas. 31(4), 2010; Springer et al., IEEE TBME 63(4), 2016.
What does not exist is raised as UndefinedError, never returned as 0 or NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.sounds.states import STATE_RATE, STATES, UNANNOTATED, runs
from etab.types import Array, IntArray


@dataclass(frozen=True, slots=True)
class SegmentationScore:
    """Sensitivity, positive predictive value and F1 of S1 and S2, with the counts behind them."""

    se: float
    ppv: float
    f1: float
    true_events: int
    predicted_events: int


@dataclass(frozen=True, slots=True)
class EventTiming:
    """How far off the sounds are that a prediction has found.

    Attributes:
        found: Number of true sounds with a predicted one of the same kind within the tolerance.
        error_ms: Mean distance of the nearest prediction to each of these, in ms; 0 without any.
        late_ms: Mean of the distance with its sign, above 0 where predictions are late.
    """

    found: int
    error_ms: float
    late_ms: float


def _check_states(truth: Array, predicted: Array) -> tuple[IntArray, IntArray]:
    truth = np.asarray(truth)
    predicted = np.asarray(predicted)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise UndefinedError(
            f"States are (n,) at {STATE_RATE} Hz, truth {truth.shape}, "
            f"prediction {predicted.shape}."
        )
    if not (_are_states(truth) and _are_states(predicted)):
        raise UndefinedError(
            f"States are 0 to 3 ({', '.join(STATES)}), and -1 where there is none."
        )
    if not (truth >= 0).any():
        raise UndefinedError("No frame is annotated: there is nothing to score.")
    return truth.astype(np.int64), predicted.astype(np.int64)


def _are_states(values: Array) -> bool:
    """Whether all values are states 0 to 3, or -1 where there is none."""
    if values.dtype.kind in "iu":  # several times faster than looking each value up
        return bool(((values >= UNANNOTATED) & (values < len(STATES))).all())
    return bool(np.isin(values, (UNANNOTATED, *range(len(STATES)))).all())


def frame_accuracy(truth: Array, predicted: Array) -> float:
    """Share of the *annotated* frames with the right state.

    Args:
        truth: (n,) states 0 to 3, -1 where unannotated.
        predicted: (n,) states; -1 is wrong wherever the truth is annotated.

    Raises:
        UndefinedError: Where no frame is annotated, or the shapes differ.

    Example:
        >>> import numpy as np
        >>> frame_accuracy(np.array([-1, 0, 0, 1]), np.array([3, 0, 1, 1])).__round__(3)
        0.667
    """
    truth, predicted = _check_states(truth, predicted)
    annotated = truth >= 0
    return float((truth[annotated] == predicted[annotated]).mean())


def segmentation(
    truth: Array,
    predicted: Array,
    *,
    tolerance_ms: int = 60,
    one_to_one: bool = False,
) -> SegmentationScore:
    """Find S1 and S2 by their centres, at 50 Hz, both sounds pooled.

    truth, predicted: (n,) of 0..3, -1 where there is none. A stretch of S1 or S2 is an event at its
    centre; centres are compared in whole half-frames, so that a distance of exactly the tolerance
    always counts. A predicted event is right where a true one of the *same* state lies within
    ``tolerance_ms`` (60 and 100 are in use), a true one is found where a predicted one does: two
    counts, as Schmidt and the MNN code have them. ``one_to_one`` pairs each event once, in time
    order, as Springer counts. Predicted events centred on unannotated frames are not counted
    against anybody, but may find a true event just inside. No prediction at all has PPV 0. Raises
    UndefinedError without a true event.
    """
    truth, predicted = _check_states(truth, predicted)
    if (tolerance_ms * STATE_RATE * 2) % 1000:
        raise UnsupportedOptionError(
            f"tolerance_ms is {tolerance_ms}; at {STATE_RATE} Hz it is a multiple of 10."
        )
    reach = tolerance_ms * STATE_RATE * 2 // 1000
    detected = 0
    events = 0
    right = 0
    claimed = 0
    for sound in (0, 2):
        true = _centres(truth, sound)
        predicted_events = _centres(predicted, sound)
        counted = truth[predicted_events // 2] >= 0
        pairs = (
            _pairs(true, predicted_events, reach)
            if one_to_one
            else _near(true, predicted_events, reach)
        )
        detected += int(pairs[0].sum())
        right += int((pairs[1] & counted).sum())
        events += len(true)
        claimed += int(counted.sum())
    if events == 0:
        raise UndefinedError("No S1 or S2 is annotated: sensitivity does not exist.")
    se = detected / events
    ppv = right / claimed if claimed else 0.0
    return SegmentationScore(
        se, ppv, 2 * se * ppv / (se + ppv) if se + ppv else 0.0, events, claimed
    )


def event_timing(
    truth: Array,
    predicted: Array,
    sound: int,
    *,
    tolerance_ms: int = 100,
) -> EventTiming:
    """Measure the timing error of the first or the second heart sound.

    Args:
        truth: (n,) states 0 to 3 at 50 Hz, -1 where unannotated.
        predicted: (n,) states.
        sound: ``etab.sounds.states.S1`` or ``S2``.
        tolerance_ms: A true sound counts as found where the centre of a predicted one is within
            this distance of its own centre.

    Returns:
        The errors of the sounds that were found.

    Raises:
        UndefinedError: If no frame is annotated, or the shapes differ.

    Example:
        >>> import numpy as np
        >>> truth = np.array([3, 0, 0, 1, 1, 2, 3, 3])
        >>> event_timing(truth, np.array([3, 3, 0, 0, 1, 2, 3, 3]), sound=0)
        EventTiming(found=1, error_ms=20.0, late_ms=20.0)
    """
    truth, predicted = _check_states(truth, predicted)
    true = _centres(truth, sound)
    claimed = _centres(predicted, sound)
    if not len(true) or not len(claimed):
        return EventTiming(0, 0.0, 0.0)
    late = claimed[None, :] - true[:, None]
    nearest = np.abs(late).argmin(axis=1)
    late_ms = late[np.arange(len(true)), nearest] * (500 / STATE_RATE)
    late_ms = late_ms[np.abs(late_ms) <= tolerance_ms]
    if not len(late_ms):
        return EventTiming(0, 0.0, 0.0)
    return EventTiming(len(late_ms), float(np.abs(late_ms).mean()), float(late_ms.mean()))


def _centres(states: IntArray, sound: int) -> IntArray:
    """Centres of the stretches of a sound in half-frames (first + last frame)."""
    stretches = runs(states)
    of_sound = stretches[stretches[:, 0] == sound]
    return np.asarray(of_sound[:, 1] + of_sound[:, 2])


def _near(
    true: IntArray,
    predicted_events: IntArray,
    reach: int,
) -> tuple[Array, Array]:
    """Which true events have a prediction in reach, and which predictions a true event."""
    near = np.abs(true[:, None] - predicted_events[None, :]) <= reach
    return near.any(axis=1), near.any(axis=0)


def _pairs(
    true: IntArray,
    predicted_events: IntArray,
    reach: int,
) -> tuple[Array, Array]:
    """``_near`` with each event used once: the largest number of pairs, earliest first."""
    detected = np.zeros(len(true), dtype=bool)
    right = np.zeros(len(predicted_events), dtype=bool)
    i = 0
    j = 0
    while i < len(true) and j < len(predicted_events):
        if abs(int(true[i]) - int(predicted_events[j])) <= reach:
            detected[i] = True
            right[j] = True
            i = i + 1
            j = j + 1
        elif true[i] < predicted_events[j]:
            i += 1
        else:
            j += 1
    return detected, right
