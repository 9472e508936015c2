"""Closed forms that the probes share: centred kernels, ridge for all penalties at once, batched logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from etab.errors import UnsupportedOptionError
from etab.types import Array, Features, FloatArray, IntArray

PENALTIES: tuple[float, ...] = tuple(float(p) for p in np.logspace(-4, 2.75, 10))


def check_features(features: Features) -> None:
    """Refuse features that are empty or not finite, naming the key and the first bad row."""
    if not features.pooled:
        raise UnsupportedOptionError("These features have no pooled layers; a probe on pooled features needs some.")
    for key, values in features.pooled.items():
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise UnsupportedOptionError(
                f"The features {key!r} hold values that are not finite (first in row {int(np.argmax(bad))}). "
                "The backbone overflows on this input: try --precision fp32."
            )


def gram(x: Array) -> FloatArray:
    """Inner products of all rows, in float64 after a shift and a common scale that change no fit."""
    z = np.asarray(x, dtype=np.float64)
    z = z - z.mean(axis=0)
    scale = np.sqrt(np.square(z).sum() / max(len(z), 1))
    return np.asarray(z @ z.T / max(scale**2, 1e-30))


@dataclass(frozen=True, slots=True)
class Basis:
    """Principal axes of the training rows in kernel form.

    ``spread`` (r,) are the squared lengths along the axes, ``vectors`` (n, r) the axes in terms of training rows.
    """

    rows: IntArray
    spread: FloatArray
    vectors: FloatArray
    column_means: FloatArray
    grand_mean: float

    @property
    def train(self) -> FloatArray:
        """The training rows in the basis, (n, r)."""
        return np.asarray(self.vectors * np.sqrt(self.spread))

    def project(self, kernel: FloatArray, rows: IntArray) -> FloatArray:
        """Coordinates (m, r) of other rows, centred by the training rows alone."""
        k = kernel[np.ix_(rows, self.rows)]
        k = k - k.mean(axis=1, keepdims=True) - self.column_means + self.grand_mean
        return np.asarray(k @ self.vectors) / np.sqrt(self.spread)


def basis(kernel: FloatArray, rows: IntArray, components: int | None = None) -> Basis:
    """Centre the kernel of the training rows and take its axes; only the first ``components`` where given."""
    k = kernel[np.ix_(rows, rows)]
    means, grand = k.mean(axis=0), float(k.mean())
    centred = k - means - means[:, None] + grand
    values, vectors = linalg.eigh(centred, driver="evd", check_finite=False, overwrite_a=True)
    keep = np.flatnonzero(values > max(values[-1], 1e-30) * 1e-9)[::-1][:components]
    spread, axes = values[keep], vectors[:, keep]
    return Basis(rows, spread, axes, means, grand)


def ridge_path(fit: Basis, y: FloatArray) -> tuple[FloatArray, float]:
    """Ridge coefficients (r, penalties) in the basis, and the intercept.

    A penalty is relative to the mean squared length of an axis, so that one grid serves every backbone.
    """
    mean = float(y.mean())
    penalties = np.asarray(PENALTIES) * fit.spread.sum() / len(y)
    along = fit.train.T @ (y - mean)
    return along[:, None] / (fit.spread[:, None] + penalties), mean


def leave_one_out(fit: Basis, y: FloatArray) -> FloatArray:
    """Absolute leave-one-out errors (n, penalties) of ridge, in closed form."""
    coefficients, mean = ridge_path(fit, y)
    penalties = np.asarray(PENALTIES) * fit.spread.sum() / len(y)
    shrink = fit.spread[:, None] / (fit.spread[:, None] + penalties)
    leverage = np.square(fit.vectors) @ shrink + 1 / len(y)
    residual = y[:, None] - mean - fit.train @ coefficients
    return np.asarray(np.abs(residual / np.maximum(1 - leverage, 1e-6)))


def logistic_path(
    z: FloatArray, onehot: FloatArray, weights: FloatArray, penalties: Sequence[float] | FloatArray, *, iterations: int
) -> tuple[FloatArray, FloatArray]:
    """L2-penalised (multinomial) logistic regressions that share their rows, all at once.

    z (n, r) with orthogonal columns; onehot (n, c), c = 1 for two classes; weights (n, p) 0/1: rows of problem p;
    penalties (p,) on the mean log-loss. Returns coefficients (p, r, c) and intercepts (p, c). Accelerated
    majorisation: the step of each axis is bounded by Boehning's curvature, momentum restarts where the objective turns.
    """
    n_rows = weights.sum(axis=0)
    p, r, c = weights.shape[1], z.shape[1], onehot.shape[1]
    bound = 0.25 if c == 1 else 0.5
    penalty = np.asarray(penalties, dtype=np.float64)
    curvature = bound * np.square(z).sum(axis=0)[None] * 1.0 / n_rows[:, None] + penalty[:, None]
    w, b = np.zeros((p, r, c)), np.zeros((p, c))
    v, vb, momentum = w, b, np.ones(p)
    share = (weights / n_rows).T[:, :, None]
    for _ in range(iterations):
        residual = share * (_probabilities(z, v, vb) - onehot[None])
        slope = _backward(z, residual) + penalty[:, None, None] * v
        slope_b = residual.sum(axis=1)
        new, new_b = v - slope / curvature[:, :, None], vb - slope_b / bound
        turn = ((new - w) * slope).sum(axis=(1, 2)) + ((new_b - b) * slope_b).sum(axis=1) > 0
        step = np.where(turn, 1.0, (1 + np.sqrt(1 + 4 * momentum**2)) / 2)
        beta = np.where(turn, 0.0, (momentum - 1) / step)
        v, vb = new + beta[:, None, None] * (new - w), new_b + beta[:, None] * (new_b - b)
        moved = np.abs(new - w).max(initial=0.0) * np.sqrt(curvature.max(initial=1.0))
        w, b, momentum = new, new_b, step
        if moved < 1e-7:
            break
    return w, b


def _probabilities(z: FloatArray, w: FloatArray, b: FloatArray) -> FloatArray:
    """Probabilities (p, n, c); for c = 1 that of the second class."""
    p, r, c = w.shape
    logits = (z @ w.transpose(1, 0, 2).reshape(r, p * c)).reshape(len(z), p, c).transpose(1, 0, 2) + b[:, None]
    return probabilities(logits)


def probabilities(logits: FloatArray) -> FloatArray:
    """Turn logits (..., c) into probabilities: sigmoid for c = 1, softmax otherwise."""
    if logits.shape[-1] == 1:
        return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def _backward(z: FloatArray, residual: FloatArray) -> FloatArray:
    p, n, c = residual.shape
    flat = residual.transpose(1, 0, 2).reshape(n, p * c)
    return np.asarray((z.T @ flat).reshape(z.shape[1], p, c).transpose(1, 0, 2))
