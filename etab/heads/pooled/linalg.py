"""Closed forms that the probes share: centred kernels, ridge for all penalties at once, batched
logistic regression.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from etab.errors import UnsupportedOptionError, not_finite
from etab.heads.pooled.large import WideBasis
from etab.types import Array, Features, FloatArray, IntArray

PENALTIES: tuple[float, ...] = tuple(float(p) for p in np.logspace(-4, 2.75, 10))

_TOGETHER = 1024
"""Rows that are checked, or computed in a logistic regression of several classes, together."""


def check_features(features: Features) -> None:
    """Refuse features that are empty or not finite, naming the key and the first bad row."""
    if not features.pooled:
        raise UnsupportedOptionError(
            "These features have no pooled layers; a probe on pooled features needs some."
        )
    for key, values in features.pooled.items():
        bad = np.zeros(len(values), dtype=bool)
        for start in range(0, len(values), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            bad[part] = ~np.isfinite(values[part]).all(axis=1)
        if bad.any():
            raise not_finite(f"Row {int(np.argmax(bad))} of the features {key!r}")


def gram(x: Array) -> FloatArray:
    """Inner products of all rows, in float64 after a shift and a scale that change no fit."""
    z = np.array(x, dtype=np.float64)
    z -= z.mean(axis=0)
    out = z @ z.T
    out /= max(float(np.trace(out)) / max(len(z), 1), 1e-30)
    return np.asarray(out)


@dataclass(frozen=True, slots=True)
class Basis:
    """Principal axes of the training rows in kernel form.

    ``spread`` (r,) are the squared lengths along the axes, ``vectors`` (n, r) the axes in terms of
    training rows.
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

    def first(self, components: int | None) -> Basis:
        """Only the longest axes; all of them for None."""
        if components is None or components >= len(self.spread):
            return self
        return replace(self, spread=self.spread[:components], vectors=self.vectors[:, :components])

    def project(self, kernel: FloatArray, rows: IntArray) -> FloatArray:
        """Compute the coordinates of other rows, centred by the training rows.

        Args:
            kernel: (n, n) inner products of all rows.
            rows: (m,) the rows.

        Returns:
            (m, r).
        """
        k = kernel[np.ix_(rows, self.rows)]
        k = k - k.mean(axis=1, keepdims=True) - self.column_means + self.grand_mean
        return np.asarray(k.astype(self.vectors.dtype) @ self.vectors) / np.sqrt(self.spread)

    def along(self, y: FloatArray) -> FloatArray:
        """Inner product of each axis with a value of each training row: (r,)."""
        return np.asarray(self.train.T @ y.astype(self.spread.dtype))

    def predict(self, kernel: FloatArray, rows: IntArray, path: FloatArray) -> FloatArray:
        """Predict rows from coefficients in the basis.

        Args:
            kernel: (n, n) inner products of all rows.
            rows: (m,) the rows.
            path: (r, ...) coefficients.

        Returns:
            (m, ...).
        """
        return np.asarray(self.project(kernel, rows) @ path)


def basis(
    kernel: FloatArray, rows: IntArray, x: Array | None = None, *, single: bool = False
) -> Basis:
    """Centre the kernel of the training rows and take its axes, the longest first.

    ``x`` are the features that the kernel was made of: where they are narrower than the rows are
    many, the axes come from the smaller matrix, with the same result. ``single`` takes the axes in
    single precision, in half the time: good enough to choose a penalty by.
    """
    k = kernel[np.ix_(rows, rows)]
    means = k.mean(axis=0)
    grand = float(k.mean())
    if x is not None and 2 * x.shape[1] < len(rows):
        spread, axes = _narrow_axes(k, np.asarray(x[rows], dtype=np.float64))
    else:
        k -= means
        k -= means[:, None] - grand
        centred = k.astype(np.float32) if single else k
        spread, axes = symmetric_axes(centred)
    floor = max(float(spread[-1]), 1e-30) * (1e-6 if single else 1e-9)
    keep = np.flatnonzero(spread > floor)[::-1]
    return Basis(rows, spread[keep], axes[:, keep], means, grand)


def symmetric_axes(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues, the smallest first, and vectors of a symmetric matrix whose memory may be used.

    LAPACK by divide and conquer, as ``scipy.linalg.eigh`` calls it, without the copies: most
    matrices here are small.
    """
    solve = scipy.linalg.lapack.ssyevd if matrix.dtype == np.float32 else scipy.linalg.lapack.dsyevd
    values, vectors, status = solve(np.ascontiguousarray(matrix).T, lower=1, overwrite_a=1)
    if status:
        raise UnsupportedOptionError(
            f"The kernel of these features ({len(matrix)} rows) has no axes: LAPACK gave up with "
            f"{status}. They hold values far too large; try --precision fp32."
        )
    return values, vectors


def mean_square(kernel: FloatArray, rows: IntArray) -> float:
    """Mean squared length of the centred rows, from their kernel."""
    times = np.bincount(rows, minlength=len(kernel)).astype(kernel.dtype)
    return float((np.diag(kernel) @ times - times @ (kernel @ times) / len(rows)) / len(rows))


def _narrow_axes(k: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Axes of the centred rows from their covariance; the scale of ``gram`` is recovered from the
    kernel's trace.
    """
    z = x - x.mean(axis=0)
    total = float(np.trace(k) - k.sum() / len(k))
    z *= np.sqrt(max(total, 1e-30) / max(float(np.square(z).sum()), 1e-30))
    values, vectors = symmetric_axes(z.T @ z)
    values = np.maximum(values, 0)
    return values, (z @ vectors) / np.sqrt(np.maximum(values, 1e-30))


@dataclass(frozen=True, slots=True)
class Tridiagonal:
    """A symmetric matrix as Q T Q', T tridiagonal: systems with any multiple of the identity added
    cost next to nothing.

    A third of the time of an eigendecomposition, and closer to the truth in single precision. The
    matrix is a covariance: an eigenvalue ``lowest`` below 0 is rounding.
    """

    reflectors: Array
    scales: Array
    diagonal: FloatArray
    beside: FloatArray
    lowest: float

    @classmethod
    def of(cls, matrix: Array) -> Tridiagonal:
        """Reduce a single-precision matrix (n, n), whose memory may be used."""
        work = int(scipy.linalg.lapack.ssytrd_lwork(len(matrix), lower=1)[0])
        found, diagonal, beside, scales, status = scipy.linalg.lapack.ssytrd(
            matrix.T, lower=1, lwork=work, overwrite_a=1
        )
        if status or not np.isfinite(diagonal).all():
            raise UnsupportedOptionError(
                f"The moments of these features ({len(matrix)} channels) cannot be reduced: "
                "they hold values that are not finite. Try --precision fp32."
            )
        wide = diagonal.astype(np.float64)
        off = beside.astype(np.float64)
        lowest = scipy.linalg.eigvalsh_tridiagonal(
            wide, off, select="i", select_range=(0, 0), check_finite=False
        )[0]
        return cls(np.asfortranarray(found[1:, :-1]), scales, wide, off, float(lowest))

    def solve(self, y: FloatArray, shifts: Sequence[float]) -> FloatArray:
        """Solve (matrix + shift I) x = y for each shift > 0.

        Args:
            y: (n,), or (n, shifts) with a right-hand side for each shift.
            shifts: The shifts.

        Returns:
            (n, shifts) solutions.

        A shift is at least twice what rounding has put below 0, so that no system is near to
        singular by it.
        """
        n = len(self.diagonal)
        turned = self._turn(y.reshape(n, -1), "T").astype(np.float64)
        turned = np.broadcast_to(turned, (n, len(shifts)))
        bands = np.zeros((3, n))
        out = np.empty((n, len(shifts)))
        bands[0, 1:] = bands[2, :-1] = self.beside
        for k, shift in enumerate(shifts):
            bands[1] = self.diagonal + max(shift, -2 * self.lowest)
            out[:, k] = scipy.linalg.solve_banded((1, 1), bands, turned[:, k], check_finite=False)
        return self._turn(out, "N").astype(np.float64)

    def _turn(self, x: FloatArray, how: str) -> Array:
        """Q x, or Q' x for "T"."""
        out = np.array(x, dtype=np.float32, order="F")
        if len(out) > 1:
            out[1:] = scipy.linalg.lapack.sormqr(
                "L", how, self.reflectors, self.scales, out[1:], 64 * out.shape[1]
            )[0]
        return out


def ridge_path(fit: Basis | WideBasis, y: FloatArray) -> tuple[FloatArray, float]:
    """Compute the ridge coefficients of every penalty.

    A penalty is relative to the mean squared length of an axis, so that one grid serves every
    backbone.

    Args:
        fit: The basis of the training rows.
        y: (n,) values of the training rows.

    Returns:
        (coefficients, intercept): (r, penalties) in the basis, and the mean of ``y``.
    """
    mean = float(y.mean())
    penalties = (np.asarray(PENALTIES) * fit.spread.sum() / len(y)).astype(fit.spread.dtype)
    along = fit.along(y - mean)
    return along[:, None] / (fit.spread[:, None] + penalties), mean


def logistic_path(
    z: FloatArray,
    onehot: FloatArray,
    weights: FloatArray,
    penalties: Sequence[float] | FloatArray,
    *,
    iterations: int,
    tolerance: float = 1e-7,
) -> tuple[FloatArray, FloatArray]:
    """Fit several L2-penalised (multinomial) logistic regressions on the same rows together.

    The method is accelerated majorisation: Boehning's curvature bounds the step along each axis,
    and the momentum restarts where the objective rises. Numbers have the precision of ``z``.

    Args:
        z: (n, r) features with orthogonal columns.
        onehot: (n, c) classes; c = 1 for two classes.
        weights: (n, p), 1 for the rows of problem p and 0 for others.
        penalties: (p,) on the mean log-loss.
        iterations: Largest number of iterations.
        tolerance: Scaled change of the coefficients at which the fits end.

    Returns:
        (coefficients, intercepts): (p, r, c) and (p, c).

    Source:
        Boehning, Ann. Inst. Stat. Math. 44:197-200 (1992).
    """
    kind, n_rows = z.dtype, weights.sum(axis=0)
    r, p, c = z.shape[1], weights.shape[1], onehot.shape[1]
    bound = 0.25 if c == 1 else 0.5
    slopes = _slopes_of_two if c == 1 else _slopes_of_classes
    penalty = np.asarray(penalties, dtype=kind)[None, :, None]
    squares = sum(
        np.square(z[first : first + _TOGETHER]).sum(axis=0, dtype=np.float64)
        for first in range(0, len(z), _TOGETHER)
    )
    curvature = (bound * np.asarray(squares)[:, None] / n_rows).astype(kind)[..., None] + penalty
    share, y = (weights / n_rows).astype(kind)[:, :, None], onehot.astype(kind)[:, None]
    w = v = np.zeros((r, p, c), dtype=kind)
    b = vb = np.zeros((p, c), dtype=kind)
    momentum, scale = np.ones(p), np.sqrt(curvature)
    active, final, final_b = (
        np.arange(p),
        np.zeros((p, r, c), dtype=kind),
        np.zeros((p, c), dtype=kind),
    )
    for i in range(iterations):
        slope, slope_b = slopes(z, v, vb, share, y)
        slope = slope + penalty * v
        new, new_b = v - slope / curvature, vb - slope_b / bound
        step, step_b = new - w, new_b - b
        turn = (step * slope).sum(axis=(0, 2)) + (step_b * slope_b).sum(axis=1) > 0
        faster = np.where(turn, 1.0, (1 + np.sqrt(1 + 4 * momentum**2)) / 2)
        beta = np.where(turn, 0.0, (momentum - 1) / faster).astype(kind)
        v, vb = new + beta[:, None] * step, new_b + beta[:, None] * step_b
        w, b, momentum = new, new_b, faster
        moved = (
            np.abs(step * scale).max(axis=(0, 2), initial=0.0) >= tolerance
            if i % 5 == 4
            else momentum > 0
        )
        if moved.all():
            continue
        final[active[~moved]], final_b[active[~moved]] = w[:, ~moved].transpose(1, 0, 2), b[~moved]
        active, momentum = active[moved], momentum[moved]
        w, v, b, vb = w[:, moved], v[:, moved], b[moved], vb[moved]
        penalty, curvature, scale, share = (a[:, moved] for a in (penalty, curvature, scale, share))
        if not len(active):
            break
    final[active], final_b[active] = w.transpose(1, 0, 2), b
    return final, final_b


def _slopes_of_two(
    z: FloatArray, v: FloatArray, vb: FloatArray, share: FloatArray, y: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Slopes (r, p, 1) and (p, 1) of the mean log-losses at coefficients v and intercepts vb."""
    residual = probabilities((z @ v[:, :, 0])[:, :, None] + vb)
    residual -= y
    residual *= share
    return (z.T @ residual[:, :, 0])[:, :, None], residual.sum(axis=0)


def _slopes_of_classes(
    z: FloatArray, v: FloatArray, vb: FloatArray, share: FloatArray, y: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Slopes (r, p, c) and (p, c) for several classes: the rows of a class lie side by side.

    Steps along rows are several times faster than steps across few classes. A product with the
    few columns of one problem is faster than one with the columns of some problems together. Rows
    are taken in parts that stay in the cache of a core, so that both products read them from memory
    once.
    """
    r, p, c = v.shape
    columns = np.ascontiguousarray(v.transpose(1, 0, 2))
    intercepts = vb.T[:, :, None]
    slope = np.zeros((p, c, r), dtype=z.dtype)
    slope_b = np.zeros((c, p), dtype=z.dtype)
    for first in range(0, len(z), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        residual = np.ascontiguousarray((z[part] @ columns).transpose(2, 0, 1))
        residual += intercepts
        residual -= residual.max(axis=0)
        np.exp(residual, out=residual)
        residual /= residual.sum(axis=0)
        residual -= np.ascontiguousarray(y[part].T)
        residual *= np.ascontiguousarray(share[part, :, 0].T)
        slope += residual.transpose(1, 0, 2) @ z[part]
        slope_b += residual.sum(axis=2)
    return slope.transpose(2, 0, 1), slope_b.T


@dataclass(frozen=True, slots=True)
class DualLogistic:
    """A logistic regression as coefficients of the training rows.

    Attributes:
        rows: (n,) training rows.
        means: (n,) means of their inner products with each of them.
        dual: (n, c) coefficients of the centred training rows.
        intercepts: (c,).
    """

    rows: IntArray
    means: FloatArray
    dual: FloatArray
    intercepts: FloatArray

    @classmethod
    def fit(
        cls,
        kernel: FloatArray,
        rows: IntArray,
        onehot: FloatArray,
        penalty: float,
        *,
        iterations: int,
        tolerance: float = 1e-7,
    ) -> DualLogistic:
        """Fit as ``logistic_path`` does, without the axes of the rows.

        The steps are those of ``logistic_path``. A step along the axes is a system with the kernel,
        whose Cholesky factor takes a small part of the time of the axes.

        Args:
            kernel: (all, all) inner products of all rows.
            rows: (n,) training rows.
            onehot: (n, c) classes of these rows; c = 1 for two classes.
            penalty: Penalty on the mean log-loss, above 0.
            iterations: Largest number of iterations.
            tolerance: Length of the scaled change of the coefficients at which the fit ends, which
                is no less than the largest change that ``logistic_path`` ends at.
        """
        inside = kernel[np.ix_(rows, rows)]
        means = inside.mean(axis=0)
        inside -= means
        inside -= means[:, None] - means.mean()
        bound = 0.25 if onehot.shape[1] == 1 else 0.5
        system = inside * (bound / len(rows))
        system.flat[:: len(rows) + 1] += penalty
        factor = scipy.linalg.cho_factor(system.T, lower=True, overwrite_a=True, check_finite=False)
        # Coefficients and their products with the kernel: of the last point, and of the next start.
        point = start = np.zeros(onehot.shape)
        of_point = of_start = np.zeros(onehot.shape)
        b = start_b = np.zeros(onehot.shape[1])
        momentum = 1.0
        for i in range(iterations):
            residual = (probabilities(of_start + start_b) - onehot) / len(rows)
            slope = residual + penalty * start
            slope_b = residual.sum(axis=0)
            new = start - scipy.linalg.cho_solve(factor, slope, check_finite=False)
            new_b = start_b - slope_b / bound
            of_new = inside @ new
            step, step_b, of_step = new - point, new_b - b, of_new - of_point
            rises = float((of_step * slope).sum() + (step_b * slope_b).sum()) > 0
            faster = 1.0 if rises else (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            beta = 0.0 if rises else (momentum - 1) / faster
            start, of_start = new + beta * step, of_new + beta * of_step
            start_b = new_b + beta * step_b
            point, of_point, b, momentum = new, of_new, new_b, faster
            square = bound / len(rows) * np.square(of_step).sum() + penalty * (step * of_step).sum()
            if i % 5 == 4 and np.sqrt(max(float(square), 0.0)) < tolerance:
                break
        return cls(rows, means, point, b)

    def logits(self, kernel: FloatArray, rows: IntArray) -> FloatArray:
        """Predict rows.

        Args:
            kernel: (all, all) inner products of all rows.
            rows: (m,) the rows.

        Returns:
            (m, c).
        """
        across = kernel[np.ix_(rows, self.rows)]
        across = across - across.mean(axis=1, keepdims=True) - self.means + self.means.mean()
        return np.asarray(across @ self.dual + self.intercepts)


def probabilities(logits: FloatArray) -> FloatArray:
    """Turn logits (..., c) into probabilities: sigmoid for c = 1, softmax otherwise.

    Classes are few: numpy takes a third of the time where it goes through all rows of a class at
    once instead of the classes of each row.
    """
    if logits.shape[-1] == 1:
        return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
    highest = functools.reduce(np.maximum, np.moveaxis(logits, -1, 0))
    shifted = np.exp(logits - highest[..., None])
    total = functools.reduce(np.add, np.moveaxis(shifted, -1, 0))
    shifted /= total[..., None]
    return np.asarray(shifted)
