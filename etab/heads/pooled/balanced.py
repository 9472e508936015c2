"""Logistic regression in which every class counts alike, and every database in its class.

Where one database is tested and the others are trained on, the share of a class and the database
are confounded: a database with many abnormal recordings makes everything that marks the database
look like a mark of disease. Here the rows of one class and database weigh 1 / (rows of that class
and database), and all pairs of a class the same, so neither shares nor databases can be learned
from their frequency.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any, ClassVar

import numpy as np

from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.pooled.probes import refuse_kind
from etab.heads.probabilities import class_probabilities
from etab.splits import without
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

BALANCED_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
_STILL = 1e-6
_ITERATIONS = 300


def balanced_weights(classes: IntArray, groups: Array) -> FloatArray:
    """Weigh rows so that classes count alike, and so do the groups within a class.

    Args:
        classes: (n,) class of each row.
        groups: (n,) group of each row, such as its database.

    Returns:
        (n,) weights with a mean of 1.

    Example:
        >>> balanced_weights(np.array([0, 0, 0, 1]), np.array(["a", "a", "b", "a"])).tolist()
        [0.5, 0.5, 1.0, 2.0]
    """
    weights = np.zeros(len(classes))
    for one_class in np.unique(classes):
        of_class = classes == one_class
        present = np.unique(groups[of_class])
        for group in present:
            rows = of_class & (groups == group)
            weights[rows] = 1 / (len(present) * rows.sum())
    return np.asarray(weights / weights.mean())


@HEADS.register("logistic_balanced")
class BalancedLogistic(Head):
    """L2 logistic regression on standardised features, with classes and databases in balance.

    Features and penalty are chosen by the balanced log-loss of the inner parts. Databases are those
    of ``memo.groups``; without them all rows are of one.
    """

    name: ClassVar[str] = "logistic_balanced"
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.BINARY, Kind.CLASSES})
    uses_torch: ClassVar[bool] = False
    balances: ClassVar[bool] = True

    def cross_fit(
        self,
        features: Features,
        answers: Any,
        patients: Array,
        splits: Sequence[RowSplit],
        target: Target,
        *,
        rng: np.random.Generator,
        memo: MutableMapping[Any, Any] | None = None,
    ) -> list[FoldFit]:
        """Choose, fit and predict for each split.

        Args:
            features: Features of all rows.
            answers: (n,) class indexes.
            patients: (n,) the patient of each row.
            splits: The rows to train on, the inner parts to choose by, and the rows to predict.
            target: What is predicted.
            rng: Source of random numbers.
            memo: Results without labels that calls on the same features and splits share.

        Returns:
            A fit for each split. Predictions are probabilities (n_test,) of the second of
            two classes, or (n_test, classes).
        """
        refuse_kind(self, target)
        classes = np.asarray(answers).astype(np.int64)
        groups = getattr(memo, "groups", None)
        if groups is None:
            groups = np.zeros(len(classes), dtype=np.int64)
        n_classes = max(len(target.classes), 2)
        data = _Data(classes, np.asarray(groups), n_classes)
        losses: dict[str, list[FloatArray]] = {}
        for key, x in features.pooled.items():
            losses[key] = _search(x, features.pca.get(key), data, splits)
        fits: list[FoldFit] = []
        for i, split in enumerate(splits):
            key = min(losses, key=lambda name: float(losses[name][i].min()))
            best = int(losses[key][i].argmin())
            x = features.pooled[key]
            (scores,) = _scores(
                x, features.pca.get(key), data, split.train, split.test, [BALANCED_PENALTIES[best]]
            )
            choice = {
                "features": key,
                "penalty": BALANCED_PENALTIES[best],
                "inner_log_loss": float(losses[key][i][best]),
            }
            is_binary = target.kind is Kind.BINARY
            fits.append(FoldFit(scores[:, 1] if is_binary else scores, choice))
        return fits


class _Data:
    """Classes (n,), groups (n,) and the number of classes."""

    def __init__(self, classes: IntArray, groups: Array, n_classes: int) -> None:
        self.classes = classes
        self.groups = groups
        self.n_classes = n_classes

    def weights(self, rows: IntArray) -> FloatArray:
        """Balanced weights of some rows."""
        return balanced_weights(self.classes[rows], self.groups[rows])


def _search(
    x: Array, components: int | None, data: _Data, splits: Sequence[RowSplit]
) -> list[FloatArray]:
    """For each split, the balanced log-loss (penalties,) over its inner parts.

    Leaving out parts j and k is one fit, whichever of them is the outer one.
    """
    everyone = np.arange(len(data.classes))
    known: dict[bytes, FloatArray] = {}
    losses: list[FloatArray] = []
    for split in splits:
        rows = np.concatenate(list(split.inner))
        weights = data.weights(rows)
        held: list[FloatArray] = []
        for part in split.inner:
            inside = np.sort(without(split.train, part))
            mark = inside.tobytes()
            if mark not in known:
                every = _scores(x, components, data, inside, everyone, BALANCED_PENALTIES)
                known[mark] = np.stack(every)
            right = known[mark][:, part, data.classes[part]]
            held.append(-np.log(np.clip(right, 1e-7, 1.0)))
        losses.append(np.concatenate(held, axis=1) @ weights / weights.sum())
    return losses


def _scores(
    x: Array,
    components: int | None,
    data: _Data,
    train: IntArray,
    rows: IntArray,
    penalties: Sequence[float],
) -> list[FloatArray]:
    """Probabilities (rows, classes) of a fit on ``train``, for each penalty."""
    z, shown = _standardised(np.asarray(x), components, train, rows)
    onehot = np.eye(data.n_classes)[data.classes[train]]
    weights = data.weights(train)
    theta = np.zeros((z.shape[1] + 1) * data.n_classes)
    out: dict[float, FloatArray] = {}
    # From the largest penalty down: each solution starts from the one before.
    for penalty in sorted(penalties, reverse=True):
        theta = _solved(z, onehot, weights / weights.sum(), penalty, theta)
        coefficients = theta.reshape(-1, data.n_classes)
        logits = shown @ coefficients[:-1] + coefficients[-1]
        out[penalty] = class_probabilities(logits)
    return [out[penalty] for penalty in penalties]


def _standardised(
    x: Array, components: int | None, train: IntArray, rows: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Columns (or principal components of the training rows), each with deviation 1 there."""
    fitted = x[train].astype(np.float64)
    shown = x[rows].astype(np.float64)
    mean = fitted.mean(axis=0)
    fitted = fitted - mean
    shown = shown - mean
    level = mean
    if components is not None:
        _, _, axes = np.linalg.svd(fitted, full_matrices=False)
        fitted = fitted @ axes[:components].T
        shown = shown @ axes[:components].T
        level = np.full(fitted.shape[1], float(fitted.std(axis=0).max(initial=0.0)))
    spread = fitted.std(axis=0)
    # Each column is measured by itself: some features are ratios without a bound.
    moves = spread > _STILL * np.maximum(np.abs(level), 1e-6)
    scale = np.where(moves, 1 / np.where(moves, spread, 1.0), 0.0)
    return fitted * scale, shown * scale


def _solved(
    z: FloatArray, onehot: FloatArray, weights: FloatArray, penalty: float, start: FloatArray
) -> FloatArray:
    """Minimise the weighted mean log-loss plus penalty / 2 times the squared coefficients.

    Args:
        z: (n, d) features.
        onehot: (n, c) classes.
        weights: (n,) with a sum of 1.
        penalty: Penalty of the coefficients; the intercepts have none.
        start: ((d + 1) c,) where the search starts; the last c numbers are the intercepts.

    Returns:
        ((d + 1) c,) the solution.
    """
    from scipy.optimize import minimize

    n_classes = onehot.shape[1]

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        coefficients = theta.reshape(-1, n_classes)
        logits = z @ coefficients[:-1] + coefficients[-1]
        logits -= logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        log_p = logits - total
        value = -float(weights @ (onehot * log_p).sum(axis=1))
        value += 0.5 * penalty * float(np.square(coefficients[:-1]).sum())
        residual = weights[:, None] * (np.exp(log_p) - onehot)
        slope = np.vstack([z.T @ residual + penalty * coefficients[:-1], residual.sum(axis=0)])
        return value, slope.ravel()

    options = {"maxiter": _ITERATIONS, "gtol": 1e-6, "ftol": 1e-10}
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x)
