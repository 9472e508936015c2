"""Weights of candidates, from predictions that were made without the rows that they are for.

Weights are 0 or more. Weights of 0 leave the constant, which is the median of the training answers
or the shares of the training classes. A prior pulls all weights towards 0. It counts as much as a
fixed number of rows, so that with few labels the combination is close to the constant, and with
many the prior hardly acts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from etab.types import FloatArray

PRIOR = 0.3
"""Strength of the prior: the sum of the weights has a standard deviation of 1 / sqrt(PRIOR)."""

CONSTANT = 1e-9
"""Predictions that differ by less than this part of their size are equal."""


@dataclass(frozen=True, slots=True)
class ValueWeights:
    """A linear combination of predicted values.

    Attributes:
        constant: The prediction where every weight is 0, in the target's unit.
        weights: (candidates,) 0 or more.
    """

    constant: float
    weights: FloatArray

    @classmethod
    def fit(cls, predictions: FloatArray, y: FloatArray) -> ValueWeights:
        """Minimise squared errors.

        Args:
            predictions: (n, candidates), made without the rows that they are for.
            y: (n,) true values.

        Returns:
            The weights.
        """
        constant = float(np.median(y))
        if not predictions.shape[1]:
            return cls(constant, np.zeros(0))
        away = predictions - constant
        answer = y - constant
        strength = PRIOR * away.shape[1] * float(np.square(answer).mean())
        prior = max(strength, 1e-30) * np.eye(away.shape[1])
        try:
            factor = np.linalg.cholesky(away.T @ away + prior)
        except np.linalg.LinAlgError:
            # Predictions that are multiples of each other: the same problem, without squaring.
            rows = np.concatenate([away, np.sqrt(prior)])
            wanted = np.concatenate([answer, np.zeros(len(prior))])
            return cls(constant, np.asarray(scipy.optimize.nnls(rows, wanted)[0]))
        right = np.linalg.solve(factor, away.T @ answer)
        return cls(constant, np.asarray(scipy.optimize.nnls(factor.T, right)[0]))

    def __call__(self, predictions: FloatArray) -> FloatArray:
        """Combine predictions (m, candidates) to values (m,)."""
        return np.asarray(self.constant + (predictions - self.constant) @ self.weights)


@dataclass(frozen=True, slots=True)
class ClassWeights:
    """A combination of class scores in logits, with one weight a candidate for all classes.

    Attributes:
        shares: (c,) share of each class in the training rows; c = 1 is the second of two classes.
        weights: (candidates,) 0 or more.
        intercepts: (c,) logits where every weight is 0.
    """

    shares: FloatArray
    weights: FloatArray
    intercepts: FloatArray

    @classmethod
    def fit(
        cls,
        scores: FloatArray,
        onehot: FloatArray,
        importance: FloatArray,
    ) -> ClassWeights:
        """Minimise the log-loss.

        Args:
            scores: (n, candidates, c) least-squares predictions of ``onehot``, made without the
                rows that they are for.
            onehot: (n, c) true classes; c = 1 is the second of two classes.
            importance: (n,) how much each row counts, 1 on average.

        Returns:
            The weights.
        """
        shares = importance @ onehot / importance.sum()
        if not scores.shape[1]:
            return cls(np.asarray(shares), np.zeros(0), _logits(shares))
        away = _away(scores, shares)
        k = away.shape[1]

        def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
            weights = parameters[:k]
            logits = np.einsum("nkc,k->nc", away, weights) + parameters[k:]
            value, slope = _log_loss(logits, onehot, importance)
            prior = PRIOR * k
            slope_of_weights = np.einsum("nkc,nc->k", away, slope) + prior * weights
            whole = value + 0.5 * prior * float(weights @ weights)
            return whole / n, np.concatenate([slope_of_weights, slope.sum(axis=0)]) / n

        n = len(onehot)
        start = np.concatenate([np.full(k, 1 / k), _logits(shares)])
        bounds = [(0.0, None)] * k + [(-30.0, 30.0)] * len(shares)
        fitted = scipy.optimize.minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={
                "maxiter": 500,
                "ftol": 1e-12,
                "gtol": 1e-7,
            },
        ).x
        weights = fitted[:k]
        # Without a weight the best intercepts are known. Those of the search are off by its
        # tolerance, differently in every split, and a threshold could lie between two of them.
        intercepts = fitted[k:] if weights.any() else _logits(shares)
        return cls(np.asarray(shares), weights, intercepts)

    def __call__(self, scores: FloatArray) -> FloatArray:
        """Combine scores (m, candidates, c) to logits (m, c)."""
        away = _away(scores, self.shares)
        return np.asarray(np.einsum("nkc,k->nc", away, self.weights) + self.intercepts)


@dataclass(frozen=True, slots=True)
class BelowCut:
    """The probability that a value lies below a cut, from a prediction of the value.

    Attributes:
        mean: Mean of the predictions that it was fitted on, in the unit of the value.
        slope: Change of the class indicator with the prediction; it counts where it is below 0.
        classes: The logistic function of the resulting score.
    """

    mean: float
    slope: float
    classes: ClassWeights

    @classmethod
    def fit(cls, predicted: FloatArray, below: FloatArray, importance: FloatArray) -> BelowCut:
        """Minimise the log-loss of the probability, which never rises with the prediction.

        Args:
            predicted: (n,) predicted values, made without the rows that they are for.
            below: (n,) 1 where the true value is below the cut, else 0.
            importance: (n,) how much each row counts, 1 on average.

        Returns:
            The fit. Where predictions do not fall from the upper to the lower class, it is the share
            of the lower class for every row.
        """
        mean = float(np.average(predicted, weights=importance))
        away = predicted - mean
        slope = 0.0
        if np.ptp(predicted) > CONSTANT * float(np.abs(predicted).max()):
            products = float(importance @ (away * below))
            slope = products / float(importance @ np.square(away))
        used = 1 if slope < 0 else 0
        share = np.average(below, weights=importance)
        scores = (share + slope * away)[:, None, None]
        return cls(mean, slope, ClassWeights.fit(scores[:, :used], below[:, None], importance))

    def __call__(self, predicted: FloatArray) -> FloatArray:
        """Turn predicted values (m,) into logits (m, 1)."""
        used = len(self.classes.weights)
        scores = (self.classes.shares + self.slope * (predicted - self.mean)[:, None])[:, :, None]
        return self.classes(scores[:, :used])


def _away(scores: FloatArray, shares: FloatArray) -> FloatArray:
    """Distances of scores from the constant, in units of a logit near the shares."""
    slope = max(float((shares * (1 - shares)).mean()), 1e-6)
    return np.asarray((scores - shares) / slope)


def _logits(shares: FloatArray) -> FloatArray:
    """Logits of class shares."""
    bounded = np.clip(shares, 1e-6, 1 - 1e-6)
    if len(bounded) == 1:
        return np.asarray(np.log(bounded / (1 - bounded)))
    return np.asarray(np.log(bounded))


def _log_loss(
    logits: FloatArray,
    onehot: FloatArray,
    importance: FloatArray,
) -> tuple[float, FloatArray]:
    """Sum of the log-loss, and its slope (n, c) along the logits."""
    if logits.shape[1] == 1:
        losses = np.logaddexp(0, logits) - onehot * logits
        slope = scipy.special.expit(logits) - onehot
    else:
        losses = -onehot * scipy.special.log_softmax(logits, axis=1)
        slope = scipy.special.softmax(logits, axis=1) - onehot
    return float(importance @ losses.sum(axis=1)), slope * importance[:, None]
