"""The official scores of CinC 2016 (Liu et al., Physiol. Meas. 37(12), 2016)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError
from etab.types import Array, IntArray

ABNORMAL, UNSURE, NORMAL = 1, 0, -1


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
