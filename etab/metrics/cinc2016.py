"""The official scores of CinC 2016 (Liu et al., Physiol. Meas. 37(12), 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError
from etab.metrics.forms import Sums, Units, combined_sums, mean_of, ratio
from etab.types import Array, FloatArray, IntArray

ABNORMAL, UNSURE, NORMAL = 1, 0, -1


@dataclass(frozen=True, slots=True)
class Weights2016:
    """Shares of clean and of noisy records among the abnormal and among the normal ones.

    Scores divide each pair by its sum.
    """

    abnormal_clean: float
    abnormal_noisy: float
    normal_clean: float
    normal_noisy: float


TRAINING_2016 = Weights2016(572 / 665, 93 / 665, 2302 / 2488, 186 / 2488)


VALIDATION_2016 = Weights2016(119 / 151, 32 / 151, 142 / 150, 8 / 150)


@dataclass(frozen=True, slots=True)
class Score2016:
    """Modified sensitivity, specificity and their mean, in 0 to 1, with the weights used.

    A number is None where it does not exist: the sensitivity without abnormal records, the
    specificity without normal ones, and the mean without either.
    """

    se: float | None
    sp: float | None
    macc: float | None
    weights: Weights2016 | None = None


def _check_2016(truth: Array, answers: Array) -> tuple[IntArray, IntArray]:
    truth = np.asarray(truth)
    answers = np.asarray(answers)
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
    if not len(truth):
        raise UndefinedError("CinC 2016 needs normal or abnormal records, got none.")
    return truth.astype(np.int64), answers.astype(np.int64)


def phase1_share(
    right: Array,
    unsure: Array,
    of_class: Array,
    units: Units,
) -> Sums:
    """Prepare the sensitivity (or specificity) of the first phase: unsure is half right.

    Args:
        right: (n,) bool, the answer is that of the reference.
        unsure: (n,) bool.
        of_class: (n,) bool, the abnormal rows for the sensitivity, the normal ones for the
            specificity.
        units: The unit of each of the n rows.

    Returns:
        The form; its values are in 0 to 1, NaN where the class has no weight.
    """
    return mean_of(np.where(unsure, 0.5, right), units, of_class)


def official_share(
    right: Array,
    unsure: Array,
    of_class: Array,
    clean: Array,
    shares: tuple[float, float],
    units: Units,
) -> Sums:
    """Prepare the sensitivity (or specificity) of the official phase.

    An unsure answer is right on a noisy record and wrong on a clean one. Clean and noisy records of
    the class are scored apart; a stratum without records is left out and the other one counts in
    full.

    Args:
        right, unsure, of_class: as in ``phase1_share``.
        clean: (n,) bool, the signal quality of the reference.
        shares: How much the clean and the noisy records of the class count.
        units: The unit of each of the n rows.

    Returns:
        The form; its values are in 0 to 1, NaN where the class has no weight.
    """
    of_clean = mean_of(right, units, of_class & clean)
    of_noisy = mean_of(right | unsure, units, of_class & ~clean)

    def weighted_mean(values: Sequence[FloatArray]) -> FloatArray:
        total = np.zeros(len(values[0]))
        points = np.zeros(len(values[0]))
        for share, value in zip(shares, values, strict=True):
            total += share * np.isfinite(value)
            points += share * np.nan_to_num(value)
        return ratio(points, total)

    return combined_sums([of_clean, of_noisy], weighted_mean)


def cinc2016_phase1(truth: Array, answers: Array) -> Score2016:
    """Score by the rule of the first phase: an unsure answer is half right.

    Source: ``score2016Challenge.m`` of the Challenge.

    Args:
        truth: (n,) of 1 (abnormal) and -1 (normal).
        answers: (n,) of 1, -1, and 0 for unsure.

    Raises:
        UndefinedError: For other labels, another number of answers, or no records.

    Example:
        >>> import numpy as np
        >>> cinc2016_phase1(np.array([1, 1, -1, -1]), np.array([1, 0, -1, 1])).macc
        0.625
    """
    truth, answers = _check_2016(truth, answers)
    right = answers == truth
    unsure = answers == UNSURE
    records = Units.single_rows(len(truth))
    se = _existing(phase1_share(right, unsure, truth == ABNORMAL, records))
    sp = _existing(phase1_share(right, unsure, truth == NORMAL, records))
    return Score2016(se, sp, _mean_of_both(se, sp))


def _existing(form: Sums) -> float | None:
    """The value with each record counted once; None for NaN."""
    value = form.value()
    return None if np.isnan(value) else value


def _mean_of_both(se: float | None, sp: float | None) -> float | None:
    if se is None or sp is None:
        return None
    return (se + sp) / 2


def cinc2016(
    truth: Array,
    answers: Array,
    clean: Array,
    weights: Weights2016 | None = None,
) -> Score2016:
    """Score by the official rule: unsure is right on a noisy record and wrong on a clean one.

    Args:
        truth: (n,) of 1 (abnormal) and -1 (normal).
        answers: (n,) of 1, -1, and 0 for unsure.
        clean: (n,) bool, the signal quality of the reference.
        weights: How much clean and noisy records count. None: their shares among these records.

    Raises:
        UndefinedError: For other labels, another number of answers, no records, or weights that
            leave no record of a class.

    Example:
        >>> import numpy as np
        >>> truth = np.array([1, 1, -1, -1])
        >>> cinc2016(truth, np.array([1, 0, -1, 0]), np.array([True, False, True, True])).macc
        0.75
    """
    truth, answers = _check_2016(truth, answers)
    clean = np.asarray(clean)
    if clean.shape != truth.shape or not np.isin(clean, (0, 1)).all():
        raise UndefinedError(
            f"CinC 2016 needs the quality of every record, true or false; got {clean.shape} values."
        )
    clean = clean.astype(bool)
    weights = shares_2016(truth, clean) if weights is None else weights
    of_abnormal = (weights.abnormal_clean, weights.abnormal_noisy)
    of_normal = (weights.normal_clean, weights.normal_noisy)
    se, used_abnormal = _official(truth == ABNORMAL, clean, truth, answers, of_abnormal)
    sp, used_normal = _official(truth == NORMAL, clean, truth, answers, of_normal)
    used = Weights2016(*used_abnormal, *used_normal)
    return Score2016(se, sp, _mean_of_both(se, sp), used)


def shares_2016(truth: Array, clean: Array) -> Weights2016:
    """Shares of clean and noisy records among the abnormal and among the normal ones of a set.

    Args:
        truth: (n,) of 1 (abnormal) and -1 (normal).
        clean: (n,) bool.

    Returns:
        The shares; zeros for a class without records.
    """
    abnormal = _pair(clean[truth == ABNORMAL])
    normal = _pair(clean[truth == NORMAL])
    return Weights2016(*abnormal, *normal)


def _pair(clean: Array) -> tuple[float, float]:
    """Shares of the clean and of the noisy records; zeros for no records."""
    if not len(clean):
        return 0.0, 0.0
    share = float(clean.mean())
    return share, 1 - share


def _official(
    of_class: Array,
    clean: Array,
    truth: Array,
    answers: Array,
    shares: tuple[float, float],
) -> tuple[float | None, tuple[float, float]]:
    """Share of right answers over the two strata of one class, with the weights that were used.

    A class without records has no share: None, and weights of zero.
    """
    if min(shares) < 0 or not np.isfinite(shares).all():
        raise UndefinedError(f"The weights of CinC 2016 are shares, 0 or more; got {shares}.")
    if not of_class.any():
        return None, (0.0, 0.0)
    strata = (of_class & clean, of_class & ~clean)
    used = [w if rows.any() else 0.0 for w, rows in zip(shares, strata, strict=True)]
    total = sum(used)
    if total <= 0:
        raise UndefinedError(
            f"The weights {shares} leave no record of one class to score. Give other weights."
        )
    records = Units.single_rows(len(truth))
    right = answers == truth
    score = official_share(right, answers == UNSURE, of_class, clean, shares, records)
    return score.value(), (used[0] / total, used[1] / total)
