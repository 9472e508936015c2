"""Calibration: how far predicted probabilities agree with what happens.

Source:
    Van Calster et al., BMC Medicine 17:230 (2019).
"""

from __future__ import annotations

import numpy as np
import scipy

from etab.metrics.base import ratio, weighted_mean
from etab.metrics.columns import ScoredRows, class_scores
from etab.types import FloatArray, IntArray, Kind

# Number of bins of the calibration error.
_BINS = 10
# Steps of Newton's method, which converges in fewer than ten.
_STEPS = 25
# A larger last step means that the likelihood has no maximum.
_SETTLED = 1e-6
# After a step below it, the next ones change no digit.
_FINISHED = 1e-10
# Log-odds with a smaller standard deviation are alike: what they differ by is rounding.
_LEAST_SPREAD = 1e-6
# Smallest distance of a probability from 0 and 1, so that its log-odds are finite.
_CLOSEST = 1e-6


def brier(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Mean squared difference of probability and class.

    Args:
        rows: The prediction table.
        weights: (draws, n) weights of the rows, 0 or more.

    Returns:
        (draws,) values, NaN where the number does not exist.
    """
    differences = rows["score"] - rows["truth"]
    return weighted_mean(np.square(differences), weights)


def calibration_error(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Expected calibration error: mean distance of probability and share over ten equal bins.

    Args:
        rows: The prediction table.
        weights: (draws, n) weights of the rows, 0 or more.

    Returns:
        (draws,) values, NaN where the number does not exist.
    """
    bins = _bin_of_row(rows)
    surplus = rows["score"] - rows["truth"]
    distances = []
    for k in range(_BINS):
        of_bin = surplus * (bins == k)
        distances.append(np.abs(weights @ of_bin))
    return ratio(np.sum(distances, axis=0), weights.sum(axis=1))


def _bin_of_row(rows: ScoredRows) -> IntArray:
    """The bin (n,) of the probability of each row, from 0."""
    bins = (rows["score"] * _BINS).astype(np.int64)
    return np.minimum(bins, _BINS - 1)


def brier_of_classes(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Mean over rows of the sum over classes of the squared difference of probability and class.

    Args:
        rows: The prediction table.
        weights: (draws, n) weights of the rows, 0 or more.

    Returns:
        (draws,) values, NaN where the number does not exist.
    """
    scores = class_scores(rows.kind, rows.columns)
    classes = np.arange(scores.shape[1])
    truth = classes == rows["truth"].astype(np.int64)[:, None]
    of_rows = np.square(scores - truth).sum(axis=1)
    return weighted_mean(of_rows, weights)


def calibration_error_of_classes(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Expected calibration error of the most probable class.

    Its probability is compared with the share of rows in which it is the true class.

    Args:
        rows: The prediction table.
        weights: (draws, n) weights of the rows, 0 or more.

    Returns:
        (draws,) values, NaN where the number does not exist.
    """
    scores = class_scores(rows.kind, rows.columns)
    is_right = scores.argmax(axis=1) == rows["truth"].astype(np.int64)
    columns = {
        "score": scores.max(axis=1),
        "truth": is_right.astype(np.float64),
    }
    return calibration_error(ScoredRows(Kind.BINARY, columns, rows.patients), weights)


def calibration_slope(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Slope of a logistic regression on the log-odds, below 1 for too extreme probabilities.

    It does not exist where the log-odds separate the classes, or are all alike.

    Args:
        rows: The prediction table.
        weights: (draws, n) weights of the rows, 0 or more.

    Returns:
        (draws,) values, NaN where the number does not exist.
    """
    odds = _log_odds(rows["score"])
    intercept = np.zeros(len(weights))
    slope = np.ones(len(weights))
    step = np.full(len(weights), np.inf)
    moving = np.flatnonzero(_spread(odds, weights) > _LEAST_SPREAD)
    for _ in range(_STEPS):
        p = scipy.special.expit(intercept[moving, None] + slope[moving, None] * odds)
        missing = weights[moving] * (rows["truth"] - p)
        variance = weights[moving] * p * (1 - p)
        a = variance.sum(axis=1)
        b = variance @ odds
        c = variance @ np.square(odds)
        gradient_0 = missing.sum(axis=1)
        gradient_1 = missing @ odds
        determinant = a * c - b * b
        step_0 = _limited(ratio(c * gradient_0 - b * gradient_1, determinant))
        step_1 = _limited(ratio(a * gradient_1 - b * gradient_0, determinant))
        intercept[moving] += step_0
        slope[moving] += step_1
        step[moving] = step_1
        moving = moving[np.maximum(np.abs(step_0), np.abs(step_1)) > _FINISHED]
        if not len(moving):
            break
    return np.where(np.abs(step) < _SETTLED, slope, np.nan)


def _spread(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Standard deviation (draws,) of values (n,) under weights (draws, n)."""
    centred = values - weighted_mean(values, weights)[:, None]
    total = weights.sum(axis=1)
    return np.asarray(np.sqrt(ratio((weights * np.square(centred)).sum(axis=1), total)))


def calibration_intercept(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Calibration in the large: the constant to add to the log-odds, with their slope fixed at 1.

    It does not exist for rows of one class.

    Args:
        rows: The prediction table.
        weights: (draws, n) weights of the rows, 0 or more.

    Returns:
        (draws,) values, NaN where the number does not exist.
    """
    odds = _log_odds(rows["score"])
    intercept = np.zeros(len(weights))
    step = np.full(len(weights), np.inf)
    moving = np.arange(len(weights))
    for _ in range(_STEPS):
        p = scipy.special.expit(intercept[moving, None] + odds)
        variance = (weights[moving] * p * (1 - p)).sum(axis=1)
        missing = (weights[moving] * (rows["truth"] - p)).sum(axis=1)
        step[moving] = _limited(ratio(missing, variance))
        intercept[moving] += step[moving]
        moving = moving[np.abs(step[moving]) > _FINISHED]
        if not len(moving):
            break
    return np.where(np.abs(step) < _SETTLED, intercept, np.nan)


def _limited(step: FloatArray) -> FloatArray:
    """A step of Newton's method, at most 1: far from the solution a whole step goes too far."""
    return np.asarray(np.clip(step, -1.0, 1.0))


def reliability_curve(rows: ScoredRows) -> list[tuple[float, float, int]]:
    """Compute the reliability curve of probabilities in ten equal bins.

    Args:
        rows: The prediction table of two classes.

    Returns:
        (mean probability, share of the class, number of rows) of each bin that has rows.
    """
    bins = _bin_of_row(rows)
    curve = []
    for k in np.unique(bins):
        of_bin = bins == k
        mean = float(rows["score"][of_bin].mean())
        share = float(rows["truth"][of_bin].mean())
        curve.append((mean, share, int(of_bin.sum())))
    return curve


def _log_odds(score: FloatArray) -> FloatArray:
    p = np.clip(score, _CLOSEST, 1 - _CLOSEST)
    return np.asarray(np.log(p / (1 - p)))
