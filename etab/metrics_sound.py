"""The official scores of heart sounds, one pure function each: CinC 2016, Challenge 2022, and segmentation.

CinC 2016: Liu et al., Physiol. Meas. 37(12), 2016, and the Challenge's pages. Challenge 2022: Reyna et al., PLOS
Digital Health 2(9), 2023, and its evaluation code (commit e5540fb). Segmentation: Schmidt et al., Physiol. Meas.
31(4), 2010; Springer et al., IEEE TBME 63(4), 2016. What does not exist is raised, never returned as 0 or NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.types import Array, FloatArray, IntArray

ABNORMAL, UNSURE, NORMAL = 1, 0, -1
MURMUR = ("Present", "Unknown", "Absent")
OUTCOME = ("Abnormal", "Normal")
STATES = ("S1", "systole", "S2", "diastole")
STATE_RATE = 50
UNANNOTATED = -1


# --- CinC 2016 ---


@dataclass(frozen=True, slots=True)
class Weights2016:
    """Shares of clean and of noisy records among the abnormal and among the normal; each pair is made to sum to 1."""

    abnormal_clean: float
    abnormal_noisy: float
    normal_clean: float
    normal_noisy: float


TRAINING_2016 = Weights2016(572 / 665, 93 / 665, 2302 / 2488, 186 / 2488)
VALIDATION_2016 = Weights2016(119 / 151, 32 / 151, 142 / 150, 8 / 150)


@dataclass(frozen=True, slots=True)
class Score2016:
    """Modified sensitivity, specificity and their mean, each from 0 to 1, with the weights that were used."""

    se: float
    sp: float
    macc: float
    weights: Weights2016 | None = None


def _check_2016(truth: Array, answers: Array) -> tuple[IntArray, IntArray]:
    truth, answers = np.asarray(truth), np.asarray(answers)
    if truth.shape != answers.shape or truth.ndim != 1:
        raise UndefinedError(
            f"CinC 2016 needs one answer a record, got {answers.shape} for {truth.shape}."
        )
    for name, values, allowed in (
        ("truth", truth, (NORMAL, ABNORMAL)),
        ("answers", answers, (NORMAL, UNSURE, ABNORMAL)),
    ):
        odd = values[~np.isin(values, allowed)]
        if len(odd):
            raise UndefinedError(
                f"CinC 2016 {name} are {', '.join(map(str, allowed))}; got {odd[0]!r}."
            )
    for value, name in ((ABNORMAL, "abnormal"), (NORMAL, "normal")):
        if not (truth == value).any():
            raise UndefinedError(f"CinC 2016 needs normal and abnormal records, got no {name} one.")
    return truth.astype(np.int64), answers.astype(np.int64)


def cinc2016_phase1(truth: Array, answers: Array) -> Score2016:
    """Score by the rule of the first phase (``score2016Challenge.m``): an unsure answer is half right.

    truth: (n,) of 1 abnormal, -1 normal. answers: (n,) of 1, -1, and 0 for unsure.
    """
    truth, answers = _check_2016(truth, answers)
    right = np.where(answers == UNSURE, 0.5, answers == truth)
    se, sp = float(right[truth == ABNORMAL].mean()), float(right[truth == NORMAL].mean())
    return Score2016(se, sp, (se + sp) / 2)


def cinc2016(
    truth: Array, answers: Array, clean: Array, weights: Weights2016 | None = None
) -> Score2016:
    """Score by the rule of the official phase: unsure is right on a noisy record and wrong on a clean one.

    truth, answers: as ``cinc2016_phase1``. clean: (n,) bool, the signal quality of the reference. weights: None takes
    the shares of these records themselves. A stratum without records is left out and the other one counts in full.
    """
    truth, answers = _check_2016(truth, answers)
    clean = np.asarray(clean)
    if clean.shape != truth.shape or not np.isin(clean, (0, 1)).all():
        raise UndefinedError(
            f"CinC 2016 needs the quality of every record, true or false; got {clean.shape} values."
        )
    clean = clean.astype(bool)
    weights = shares_2016(truth, clean) if weights is None else weights
    se, a = _weighted(
        truth == ABNORMAL,
        clean,
        answers == truth,
        answers == UNSURE,
        (weights.abnormal_clean, weights.abnormal_noisy),
    )
    sp, b = _weighted(
        truth == NORMAL,
        clean,
        answers == truth,
        answers == UNSURE,
        (weights.normal_clean, weights.normal_noisy),
    )
    return Score2016(se, sp, (se + sp) / 2, Weights2016(*a, *b))


def shares_2016(truth: Array, clean: Array) -> Weights2016:
    """The weights of a set: shares of clean and noisy among its abnormal and among its normal records."""
    a, n = float(clean[truth == ABNORMAL].mean()), float(clean[truth == NORMAL].mean())
    return Weights2016(a, 1 - a, n, 1 - n)


def _weighted(
    mine: Array, clean: Array, right: Array, unsure: Array, weights: tuple[float, float]
) -> tuple[float, tuple[float, float]]:
    """Share of right answers over the two strata of one class, with the weights that were used."""
    if min(weights) < 0 or not np.isfinite(weights).all():
        raise UndefinedError(f"The weights of CinC 2016 are shares, 0 or more; got {weights}.")
    strata = (mine & clean, mine & ~clean)
    used = [w if rows.any() else 0.0 for w, rows in zip(weights, strata, strict=True)]
    total = sum(used)
    if total <= 0:
        raise UndefinedError(
            f"The weights {weights} leave no record of one class to score. Give other weights."
        )
    hits = (right[strata[0]], right[strata[1]] | unsure[strata[1]])
    score = sum(w * float(h.mean()) for w, h in zip(used, hits, strict=True) if w > 0) / total
    return float(score), (used[0] / total, used[1] / total)


# --- Challenge 2022 ---


@dataclass(frozen=True, slots=True)
class Score2022:
    """Every number of the Challenge 2022 for one of its two questions.

    ``weighted_accuracy`` ranks murmurs (higher is better), ``cost`` ranks outcomes (mean per patient, lower is
    better). The per-class tuples are in the order of ``classes``, None where a class has no such number.
    """

    classes: tuple[str, ...]
    auroc: float
    auprc: float
    f_measure: float
    accuracy: float
    weighted_accuracy: float
    cost: float
    auroc_classes: tuple[float | None, ...]
    auprc_classes: tuple[float | None, ...]
    f_measure_classes: tuple[float | None, ...]
    accuracy_classes: tuple[float | None, ...]


def enforce_positives(chosen: Array, positive: int = 0) -> Array:
    """Rows (n, k) of 0 and 1 with none or several active classes become class ``positive`` alone."""
    out = np.asarray(chosen).astype(bool).copy()
    odd = out.sum(axis=1) != 1
    out[odd] = False
    out[odd, positive] = True
    return out


def confusion(labels: Array, outputs: Array) -> IntArray:
    """Counts with a row for each class *answered* and a column for each true one; both (n, k) with one active class."""
    return np.asarray(outputs, dtype=np.int64).T @ np.asarray(labels, dtype=np.int64)


def weighted_accuracy(labels: Array, outputs: Array, weights: Sequence[float]) -> float:
    """Accuracy with each true class counted ``weights`` times: 5, 3, 1 for murmurs and 5, 1 for outcomes."""
    counts = confusion(labels, outputs) * np.asarray(weights, dtype=np.float64)
    if counts.sum() == 0:
        raise UndefinedError("Weighted accuracy of no patients does not exist.")
    return float(np.trace(counts) / counts.sum())


def cost_2022(abnormal: Array, referred: Array) -> float:
    """Mean cost per patient. abnormal: (n,) bool, the true *outcome*; referred: (n,) bool, the positive answers."""
    abnormal, referred = np.asarray(abnormal, dtype=bool), np.asarray(referred, dtype=bool)
    n = len(abnormal)
    if n == 0 or len(referred) != n:
        raise UndefinedError(
            f"The cost needs patients with an answer each, got {n} and {len(referred)}."
        )
    share = int(referred.sum()) / n
    expert = (25 + 397 * share - 1718 * share**2 + 11296 * share**4) * n
    treated, missed = int((referred & abnormal).sum()), int((~referred & abnormal).sum())
    return float((10 * n + expert + 10_000 * treated + 50_000 * missed) / n)


def roc_pr_2022(truth: Array, score: FloatArray) -> tuple[float | None, float | None]:
    """(AUROC by trapezoids, AUPRC by steps) over distinct scores, as the official code; None where one is undefined."""
    truth = np.asarray(truth, dtype=bool)
    values, inverse = np.unique(-np.asarray(score, dtype=np.float64), return_inverse=True)
    hits = np.concatenate(
        [[0], np.cumsum(np.bincount(inverse, weights=truth, minlength=len(values)))]
    )
    seen = np.concatenate([[0], np.cumsum(np.bincount(inverse, minlength=len(values)))])
    positive, negative = hits[-1], seen[-1] - hits[-1]
    if positive == 0:
        return None, None
    tpr = hits / positive
    auprc = float((np.diff(tpr) * hits[1:] / seen[1:]).sum())
    if negative == 0:
        return None, auprc
    tnr = 1 - (seen - hits) / negative
    return float((0.5 * np.diff(tpr) * (tnr[1:] + tnr[:-1])).sum()), auprc


def _macro(name: str, values: Sequence[float | None]) -> float:
    there = [v for v in values if v is not None]
    if not there:
        raise UndefinedError(f"{name} does not exist for any class of these patients.")
    return float(np.mean(there))


def _score_2022(
    classes: tuple[str, ...],
    weights: Sequence[float],
    labels: Array,
    outputs: Array,
    scores: FloatArray,
    cost: float,
) -> Score2022:
    counts = confusion(labels, outputs)
    curves = [roc_pr_2022(labels[:, k], scores[:, k]) for k in range(len(classes))]
    rows, columns, hits = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    f = tuple(
        float(2 * h / (r + c)) if r + c else None
        for h, r, c in zip(hits, rows, columns, strict=True)
    )
    recall = tuple(float(h / c) if c else None for h, c in zip(hits, columns, strict=True))
    auroc, auprc = tuple(a for a, _ in curves), tuple(p for _, p in curves)
    return Score2022(
        classes,
        _macro("AUROC", auroc),
        _macro("AUPRC", auprc),
        _macro("F-measure", f),
        float(hits.sum() / counts.sum()),
        weighted_accuracy(labels, outputs, weights),
        cost,
        auroc,
        auprc,
        f,
        recall,
    )


def challenge2022(
    murmur: Array,
    outcome: Array,
    murmur_chosen: Array,
    outcome_chosen: Array,
    murmur_scores: FloatArray,
    outcome_scores: FloatArray,
) -> tuple[Score2022, Score2022]:
    """Score an entry as the official code does: (murmur, outcome).

    murmur, outcome: one-hot truth (n, 3) in the order of MURMUR and (n, 2) in the order of OUTCOME; a row without one
    active class counts as Present or Abnormal. ``_chosen``: the answers, likewise. ``_scores``: any finite numbers.
    Both costs are of the true *outcome*; Unknown is referred to the expert as Present is.
    """
    parts = (murmur, outcome, murmur_chosen, outcome_chosen, murmur_scores, outcome_scores)
    shapes = [np.shape(part) for part in parts]
    n = len(murmur)
    if n == 0 or shapes != [(n, 3), (n, 2)] * 3:
        raise UndefinedError(
            f"Challenge 2022 needs (n, 3) murmurs and (n, 2) outcomes with n > 0, got {shapes}."
        )
    if not all(np.isfinite(np.asarray(part, dtype=np.float64)).all() for part in parts):
        raise UndefinedError("Challenge 2022 needs finite labels and scores.")
    murmur, outcome, murmur_chosen, outcome_chosen = map(enforce_positives, parts[:4])
    sick = outcome[:, 0]
    heard = _score_2022(
        MURMUR,
        (5, 3, 1),
        murmur,
        murmur_chosen,
        np.asarray(murmur_scores, dtype=np.float64),
        cost_2022(sick, ~murmur_chosen[:, 2]),
    )
    ill = _score_2022(
        OUTCOME,
        (5, 1),
        outcome,
        outcome_chosen,
        np.asarray(outcome_scores, dtype=np.float64),
        cost_2022(sick, outcome_chosen[:, 0]),
    )
    return heard, ill


# --- segmentation ---


@dataclass(frozen=True, slots=True)
class SegmentationScore:
    """Sensitivity, positive predictive value and F1 of S1 and S2 together, with the counts behind them."""

    se: float
    ppv: float
    f1: float
    true_events: int
    predicted_events: int


def runs(states: Array) -> IntArray:
    """Stretches of one state: rows (state, first frame, last frame), in order."""
    states = np.asarray(states)
    edges = [0, *(np.flatnonzero(np.diff(states)) + 1).tolist(), len(states)]
    return np.array(
        [(int(states[a]), a, b - 1) for a, b in pairwise(edges) if b > a], dtype=np.int64
    ).reshape(-1, 3)


def _check_states(truth: Array, predicted: Array) -> tuple[IntArray, IntArray]:
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise UndefinedError(
            f"States are (n,) at {STATE_RATE} Hz, truth {truth.shape}, prediction {predicted.shape}."
        )
    if (
        not np.isin(truth, (UNANNOTATED, 0, 1, 2, 3)).all()
        or not np.isin(predicted, (UNANNOTATED, 0, 1, 2, 3)).all()
    ):
        raise UndefinedError(
            f"States are 0 to 3 ({', '.join(STATES)}), and -1 where there is none."
        )
    if not (truth >= 0).any():
        raise UndefinedError("No frame is annotated: there is nothing to score.")
    return truth.astype(np.int64), predicted.astype(np.int64)


def frame_accuracy(truth: Array, predicted: Array) -> float:
    """Share of the *annotated* frames with the right state; (n,) of 0..3, -1 where unannotated. -1 answers are wrong."""
    truth, predicted = _check_states(truth, predicted)
    there = truth >= 0
    return float((truth[there] == predicted[there]).mean())


def segmentation(
    truth: Array, predicted: Array, *, tolerance_ms: int = 60, one_to_one: bool = False
) -> SegmentationScore:
    """Find S1 and S2 by their centres, at 50 Hz, both sounds pooled.

    truth, predicted: (n,) of 0..3, -1 where there is none. A stretch of S1 or S2 is an event at its centre; centres are
    compared in whole half-frames, so that a distance of exactly the tolerance always counts. A predicted event is right
    where a true one of the *same* state lies within ``tolerance_ms`` (60 and 100 are in use), a true one is found where
    a predicted one does: two counts, as Schmidt and the MNN code have them. ``one_to_one`` pairs each event once, in
    time order, as Springer counts. Predicted events centred on unannotated frames are not counted against anybody, but
    may find a true event just inside. No prediction at all has PPV 0. Raises UndefinedError without a true event.
    """
    truth, predicted = _check_states(truth, predicted)
    if (tolerance_ms * STATE_RATE * 2) % 1000:
        raise UnsupportedOptionError(
            f"tolerance_ms is {tolerance_ms}; at {STATE_RATE} Hz it is a multiple of 10."
        )
    reach = tolerance_ms * STATE_RATE * 2 // 1000
    found = events = right = claimed = 0
    for sound in (0, 2):
        true, mine = _centres(truth, sound), _centres(predicted, sound)
        counted = truth[mine // 2] >= 0
        pairs = _pairs(true, mine, reach) if one_to_one else _near(true, mine, reach)
        found, right = found + int(pairs[0].sum()), right + int((pairs[1] & counted).sum())
        events, claimed = events + len(true), claimed + int(counted.sum())
    if events == 0:
        raise UndefinedError("No S1 or S2 is annotated: sensitivity does not exist.")
    se, ppv = found / events, right / claimed if claimed else 0.0
    return SegmentationScore(
        se, ppv, 2 * se * ppv / (se + ppv) if se + ppv else 0.0, events, claimed
    )


def _centres(states: IntArray, sound: int) -> IntArray:
    """Centres of the stretches of a sound in half-frames (first + last frame)."""
    found = runs(states)
    mine = found[found[:, 0] == sound]
    return np.asarray(mine[:, 1] + mine[:, 2])


def _near(true: IntArray, mine: IntArray, reach: int) -> tuple[Array, Array]:
    """Which true events have a prediction in reach, and which predictions a true event."""
    near = np.abs(true[:, None] - mine[None, :]) <= reach
    return near.any(axis=1), near.any(axis=0)


def _pairs(true: IntArray, mine: IntArray, reach: int) -> tuple[Array, Array]:
    """The same with each event used once: earliest with earliest, the largest number of pairs there is."""
    found, right = np.zeros(len(true), dtype=bool), np.zeros(len(mine), dtype=bool)
    i = j = 0
    while i < len(true) and j < len(mine):
        if abs(int(true[i]) - int(mine[j])) <= reach:
            found[i] = right[j] = True
            i, j = i + 1, j + 1
        elif true[i] < mine[j]:
            i += 1
        else:
            j += 1
    return found, right
