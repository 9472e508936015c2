"""The scores of the EchoRisk challenge (MICCAI 2026), as its official scorer defines them.

Task 1 is the ejection fraction, task 2 dysfunction of the left ventricle (GLS of -16 % or weaker),
task 3 cardiotoxicity, predicted from the first examination. A row is an examination.

The sensitivity at a false positive rate is read from the corners of the ROC curve: of three points
in a row that lie at equal steps on one line, the scorer drops the middle one (as scikit-learn
draws the curve), and a dropped point is not an operating point.

Source:
    github.com/EchoRisk-MICCAI/echorisk-benchmark, docs/metrics.md, version 1.0.0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from etab.errors import UndefinedError
from etab.types import Array, FloatArray, IntArray

THRESHOLD = 0.5
"""Probability from which an examination counts as positive."""

RISK_RATES = (0.1, 0.2)
"""Rates of false positives at which the sensitivity is reported."""


def ejection_scores(truth: FloatArray, predicted: FloatArray) -> Mapping[str, float | None]:
    """Score task 1.

    Args:
        truth: (n,) ejection fractions in percent.
        predicted: (n,) predictions in percent.

    Returns:
        "mae" (which ranks), "rmse" and "pearson_r"; the latter is None if either is constant.

    Example:
        >>> scores = ejection_scores(np.array([50.0, 60.0]), np.array([52.0, 58.0]))
        >>> scores["mae"], scores["rmse"]
        (2.0, 2.0)
    """
    errors = predicted - truth
    return {
        "mae": float(np.mean(np.abs(errors))),
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "pearson_r": _correlation(truth, predicted),
    }


def dysfunction_scores(truth: IntArray, predicted: FloatArray) -> Mapping[str, float | None]:
    """Score task 2.

    Args:
        truth: (n,) 1 for dysfunction, else 0.
        predicted: (n,) probabilities of dysfunction.

    Returns:
        "auroc" (which ranks), "sensitivity_at_90_specificity", "balanced_accuracy", "auprc" and
        "f1"; the first three decide in this order.

    Raises:
        UndefinedError: The truth holds one class only.
    """
    false_positives, true_positives = _counts(truth, predicted)
    chosen = predicted >= THRESHOLD
    return {
        "auroc": _auroc(false_positives, true_positives),
        "sensitivity_at_90_specificity": _sensitivity(
            false_positives, true_positives, RISK_RATES[0]
        ),
        "balanced_accuracy": _balanced_accuracy(truth, chosen),
        "auprc": _average_precision(false_positives, true_positives),
        "f1": _f1(truth, chosen),
    }


def cardiotoxicity_scores(truth: IntArray, predicted: FloatArray) -> Mapping[str, float | None]:
    """Score task 3.

    Args:
        truth: (n,) 1 for cardiotoxicity, else 0.
        predicted: (n,) probabilities of cardiotoxicity.

    Returns:
        "auroc" (which ranks), "sensitivity_at_fpr_10", "sensitivity_at_fpr_20", "brier" and
        "balanced_accuracy".

    Raises:
        UndefinedError: The truth holds one class only.
    """
    false_positives, true_positives = _counts(truth, predicted)
    return {
        "auroc": _auroc(false_positives, true_positives),
        "sensitivity_at_fpr_10": _sensitivity(false_positives, true_positives, RISK_RATES[0]),
        "sensitivity_at_fpr_20": _sensitivity(false_positives, true_positives, RISK_RATES[1]),
        "brier": float(np.mean((predicted - truth) ** 2)),
        "balanced_accuracy": _balanced_accuracy(truth, predicted >= THRESHOLD),
    }


def _correlation(truth: FloatArray, predicted: FloatArray) -> float | None:
    """Compute Pearson's r; None if either is constant."""
    if len(truth) < 2 or np.ptp(truth) == 0 or np.ptp(predicted) == 0:
        return None
    if np.std(truth) == 0 or np.std(predicted) == 0:
        return None
    x = truth - truth.mean()
    y = predicted - predicted.mean()
    r = float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))
    return min(max(r, -1.0), 1.0)


def _counts(truth: IntArray, predicted: FloatArray) -> tuple[IntArray, IntArray]:
    """Count false and true positives at each threshold, from none to all; equal scores are one.

    Raises:
        UndefinedError: The truth holds one class only.
    """
    if not 0 < truth.sum() < len(truth):
        only = "positive" if truth.sum() else "negative"
        raise UndefinedError(
            f"All {len(truth)} examinations are {only}; AUROC needs both classes. Pass the labels "
            "of a part that has both."
        )
    order = np.argsort(-predicted, kind="stable")
    scores = predicted[order]
    positives = np.cumsum(truth[order])
    last_of_equal = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    true_positives = np.append(0, positives[last_of_equal])
    false_positives = np.append(0, 1 + last_of_equal - positives[last_of_equal])
    return false_positives, true_positives


def _auroc(false_positives: IntArray, true_positives: IntArray) -> float:
    """Compute the area under the ROC curve by trapezoids."""
    rates = true_positives / true_positives[-1]
    widths = np.diff(false_positives / false_positives[-1])
    heights = (rates[1:] + rates[:-1]) / 2
    return float(np.sum(widths * heights))


def _average_precision(false_positives: IntArray, true_positives: IntArray) -> float:
    """Sum the precision at each threshold over the steps of the recall."""
    hits = true_positives[1:]
    precision = hits / (hits + false_positives[1:])
    steps = np.diff(true_positives / true_positives[-1])
    return float(np.sum(steps * precision))


def _sensitivity(
    false_positives: IntArray,
    true_positives: IntArray,
    rate: float,
) -> float:
    """Find the largest sensitivity at a corner of the ROC curve within a false positive rate."""
    fpr, tpr = (
        counts[_corners(false_positives, true_positives)] / counts[-1]
        for counts in (false_positives, true_positives)
    )
    return float(tpr[fpr <= rate].max())


def _corners(false_positives: IntArray, true_positives: IntArray) -> Array:
    """Mark the points of the ROC curve that are not the middle of two equal steps.

    The step from (0, 0) to the first threshold is none of them: scikit-learn adds (0, 0) afterwards.
    """
    if len(false_positives) <= 3:
        return np.ones(len(false_positives), dtype=bool)
    bends = (np.diff(false_positives[1:], 2) != 0) | (np.diff(true_positives[1:], 2) != 0)
    return np.concatenate([[True, True], bends, [True]])


def _balanced_accuracy(truth: IntArray, chosen: Array) -> float:
    """Average the sensitivity and the specificity."""
    sensitivity = float(np.mean(chosen[truth == 1]))
    specificity = float(np.mean(~chosen[truth == 0]))
    return (sensitivity + specificity) / 2


def _f1(truth: IntArray, chosen: Array) -> float:
    """Compute the harmonic mean of precision and sensitivity; 0 if both are 0."""
    hits = int(np.sum(chosen & (truth == 1)))
    wrong = int(np.sum(chosen != (truth == 1)))
    return 2 * hits / (2 * hits + wrong) if hits else 0.0
