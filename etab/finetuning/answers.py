"""From the scores of a network to the answers of rows: means, thresholds and rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from etab.finetuning.plan import THRESHOLDS
from etab.tasks.thresholds import Rule
from etab.types import Array, FloatArray, IntArray


def means_of_rows(scores: FloatArray, owners: IntArray) -> FloatArray:
    """Average the scores of the inputs of each row.

    Args:
        scores: Scores (m, ...) of the inputs.
        owners: The row (m,) of each input, ascending.

    Returns:
        Scores (n, ...) of the rows.

    Example:
        >>> means_of_rows(np.array([[1.0], [3.0], [5.0]]), np.array([0, 0, 1])).tolist()
        [[2.0], [5.0]]
    """
    by_row = np.split(scores, np.flatnonzero(np.diff(owners)) + 1)
    return np.stack([of_row.mean(axis=0) for of_row in by_row])


def rule_of(choice: Mapping[str, Any]) -> Rule:
    """Return the rule that a split has chosen.

    Args:
        choice: What the split has chosen: a "threshold" or "factors".
    """
    return Rule(threshold=choice.get("threshold", 0.5), factors=tuple(choice.get("factors", ())))


def best_threshold(scores: FloatArray, truth: Array) -> float:
    """Choose the threshold of masks with the best mean Dice; the lowest of equals.

    Args:
        scores: Scores (n, g, g) of the pixels.
        truth: The drawn masks (n, g, g), boolean.

    Returns:
        One of ``etab.finetuning.plan.THRESHOLDS``.
    """
    means = [_mean_dice(scores >= threshold, truth) for threshold in THRESHOLDS]
    return THRESHOLDS[int(np.argmax(means))]


def _mean_dice(predicted: Array, truth: Array) -> float:
    """Compute the mean Dice of masks (n, g, g)."""
    both = (predicted & truth).sum(axis=(1, 2))
    total = predicted.sum(axis=(1, 2)) + truth.sum(axis=(1, 2))
    dice = 2 * both / np.maximum(total, 1)
    return float(dice.mean())
