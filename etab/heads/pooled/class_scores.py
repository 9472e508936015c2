"""Classes as the columns that probes fit, and logits as the scores that a kind of target wants.

Two classes are one column: the indicator, or the log-odds, of the second class.
"""

from __future__ import annotations

import numpy as np

from etab.heads.probabilities import class_probabilities, probability
from etab.types import Array, FloatArray, Kind, Target


def onehot(answers: Array, target: Target) -> FloatArray:
    """Turn class indexes into indicator columns.

    Args:
        answers: (n,) class indexes.
        target: The target, with its classes.

    Returns:
        (n, 1), the second class, where there are two classes; (n, classes) otherwise.

    Example:
        >>> two = Target("CM", Kind.BINARY, classes=("no", "yes"))
        >>> onehot(np.array([0, 1]), two).tolist()
        [[0.0], [1.0]]
    """
    y = np.asarray(answers).astype(np.int64)
    if len(target.classes) == 2:
        return y[:, None].astype(np.float64)
    return np.eye(len(target.classes))[y]


def as_scores(p: FloatArray, target: Target) -> FloatArray:
    """Shape probabilities as the kind of the target wants them.

    Args:
        p: (n, c) probabilities; c = 1 is the second of two classes.
        target: The target.

    Returns:
        (n,) for BINARY, (n, classes) for CLASSES.
    """
    if target.kind is Kind.BINARY:
        return p[:, 0]
    return np.concatenate([1 - p, p], axis=1) if p.shape[1] == 1 else p


def from_logits(logits: FloatArray, target: Target) -> FloatArray:
    """Turn logits into probabilities, shaped as the kind of the target wants them.

    Args:
        logits: (n, c); c = 1 is the log-odds of the second of two classes.
        target: The target.

    Returns:
        (n,) for BINARY, (n, classes) for CLASSES.
    """
    if target.kind is Kind.BINARY:
        return probability(logits[:, 0])
    if logits.shape[1] == 1:
        return probability(np.concatenate([-logits, logits], axis=1))
    return class_probabilities(logits)


def log_loss(p: FloatArray, columns: FloatArray) -> FloatArray:
    """Compute the mean log-loss over rows.

    Args:
        p: (..., n, c) probabilities; c = 1 is the second of two classes.
        columns: (n, c) true classes as ``onehot`` gives them.

    Returns:
        (...) losses, in nats.
    """
    q = np.clip(np.asarray(p, dtype=np.float64), 1e-7, 1 - 1e-7)
    rows = columns * np.log(q)
    if columns.shape[-1] == 1:
        rows = rows + (1 - columns) * np.log(1 - q)
    return np.asarray(-rows.sum(axis=-1).mean(axis=-1))
