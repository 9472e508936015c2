"""Logistic regressions on inner products of rows: several training sets and penalties together.

Newton's method. The linear system of a step is solved by conjugate gradients in the inner product
that the kernel defines, so that an iteration takes one product with the kernel for all fits
together. The longest axes of the kernel, computed once from a few random directions, keep the
number of iterations small: along them, the curvature differs most from that of the penalty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from etab.heads.pooled.inner_products import Products
from etab.heads.pooled.linalg import probabilities
from etab.types import Array, FloatArray, IntArray

_STEPS = 30
_HALVINGS = 30
# Steps of Newton's method along a line, and how often its length it may be followed.
_STEPS_ALONG = 2
_FARTHEST = 10.0
_LEAST_CURVATURE = 1e-8
"""Smallest mean curvature of the losses: predicted probabilities may be 0 or 1 up to rounding."""

_FIRST_ACCURACY = 0.1
"""Part of the gradient that the first linear systems may leave."""

_LAST_ACCURACY = 1e-4
"""The same of later ones, whose gradients have fewer digits."""

_TOO_ROUGH = 1e-2
"""Part of the expected decrease that a step in single precision has to bring, and that it may leave.
Otherwise systems are solved in the precision of the fits."""

_DIVERGED = 1e3
"""Times the gradient, at which the steps of a system follow rounding errors."""


@dataclass(frozen=True, slots=True)
class Precision:
    """When fits end.

    Attributes:
        decrease: Expected decrease of the mean log-loss at which the last Newton step was taken.
        remaining: Expected decrease at which no further step is taken.
        iterations: Largest number of conjugate gradients of a step.
    """

    decrease: float
    remaining: float
    iterations: int


SEARCH = Precision(decrease=1e-6, remaining=1e-9, iterations=40)
"""Enough to choose a penalty by."""

FINAL = Precision(decrease=1e-15, remaining=1e-17, iterations=500)
"""Logits to about 1e-8."""


@dataclass(frozen=True, slots=True)
class Fits:
    """Logistic regressions: the log-loss of some rows, and a penalty on the length of the weights.

    Attributes:
        products: Inner products of n rows.
        y: (n, 1, c) classes; c = 1 is the second of two classes.
        counted: (n, m, 1) 1 for the training rows of each of m fits, and 0 for others.
        penalties: (m,) on the sum of the log-losses, above 0.
    """

    products: Products
    y: FloatArray
    counted: FloatArray
    penalties: FloatArray

    @classmethod
    def of(
        cls, products: Products, y: FloatArray, sets: list[IntArray], penalties: FloatArray
    ) -> Fits:
        """Take the fits on some sets of rows.

        Args:
            products: Inner products of n rows.
            y: (n, c) classes of all rows.
            sets: The training rows of each fit.
            penalties: (sets,) twice the cost of a unit of squared length of the weights.
        """
        kind = products.inner.matrix.dtype
        counted = np.zeros((len(y), len(sets), 1), dtype=kind)
        for number, rows in enumerate(sets):
            counted[rows, number] = 1
        return cls(products, y[:, None].astype(kind), counted, np.asarray(penalties))

    def at(self, penalties: FloatArray) -> Fits:
        """The same fits with other penalties (m,)."""
        return replace(self, penalties=penalties)

    def single(self, products: Products) -> Fits:
        """The same fits in float32, with these inner products."""
        kind = np.float32
        return Fits(products, self.y.astype(kind), self.counted.astype(kind), self.penalties)

    @property
    def numbers(self) -> FloatArray:
        """(m,) number of training rows."""
        return np.asarray(self.counted.sum(axis=(0, 2), dtype=np.float64))

    @property
    def widths(self) -> FloatArray:
        """(1, m, 1) penalties in the precision of the inner products."""
        return np.asarray(self.penalties.astype(self.y.dtype)[None, :, None])

    def nothing(self) -> Solution:
        """The fits whose weights are 0: the shares of the classes."""
        numbers = self.counted.sum(axis=0)
        shares = (self.counted * self.y).sum(axis=0) / numbers
        bounded = np.clip(shares, 1e-6, 1 - 1e-6)
        is_binary = self.y.shape[2] == 1
        intercepts = np.log(bounded / (1 - bounded)) if is_binary else np.log(bounded)
        n, m, _ = self.counted.shape
        dual = np.zeros((n, m, self.y.shape[2]), dtype=self.y.dtype)
        return Solution(dual, dual, intercepts)

    def mean_curvature(self, solution: Solution) -> FloatArray:
        """(m,) mean curvature of the losses of training rows; 1 where classes are as likely."""
        p = probabilities(solution.logits)
        classes = max(p.shape[2], 2)
        of_rows = (p * (1 - p)).mean(axis=2, keepdims=True) * self.counted
        most = (classes - 1) / classes**2
        return np.asarray(of_rows.sum(axis=(0, 2), dtype=np.float64) / self.numbers / most)

    def losses(self, solution: Solution) -> FloatArray:
        """(m,) sum of the log-losses, and half the penalty times the squared length."""
        logits = solution.logits
        if logits.shape[2] == 1:
            rows = np.logaddexp(0, logits) - self.y * logits
        else:
            shifted = logits - logits.max(axis=2, keepdims=True)
            total = np.log(np.exp(shifted).sum(axis=2, keepdims=True))
            rows = self.y * (total - shifted)
        of_rows = (rows * self.counted).sum(axis=(0, 2), dtype=np.float64)
        return np.asarray(of_rows + self.penalties / 2 * _inner(solution.dual, solution.products))


@dataclass(frozen=True, slots=True)
class Solution:
    """Fits as weights of rows.

    Attributes:
        dual: (n, m, c) coefficients of the rows.
        products: (n, m, c) the inner products times these.
        intercepts: (m, c).
    """

    dual: FloatArray
    products: FloatArray
    intercepts: FloatArray

    @property
    def logits(self) -> FloatArray:
        """(n, m, c) logits of all rows."""
        return self.products + self.intercepts

    def double(self, products: Products) -> Solution:
        """The same in float64, with these inner products."""
        dual = self.dual.astype(np.float64)
        return Solution(dual, products(dual), self.intercepts.astype(np.float64))

    def since(self, before: Solution) -> Solution:
        """What has changed since another solution."""
        return Solution(
            self.dual - before.dual,
            self.products - before.products,
            self.intercepts - before.intercepts,
        )

    def along(self, step: Solution, lengths: FloatArray) -> Solution:
        """Go along a step by a length (m,) for each fit."""
        far = lengths.astype(self.dual.dtype)[:, None]
        return Solution(
            self.dual + far * step.dual,
            self.products + far * step.products,
            self.intercepts + far * step.intercepts,
        )


def solve(
    fits: Fits, start: Solution, precision: Precision, rough: Products | None = None
) -> Solution:
    """Minimise the losses of all fits.

    Args:
        fits: The fits.
        start: Where to start; ``fits.nothing()``, or the solution for similar penalties.
        precision: When to end.
        rough: The inner products in single precision, to solve the linear systems with. Losses and
            gradients are those of ``fits``, so that the solution is the same. None solves the
            systems with the inner products of ``fits``.

    Returns:
        The solution.

    Example:
        >>> from etab.heads.pooled.inner_products import InnerProducts
        >>> x = np.array([[-1.5], [-0.5], [0.5], [1.5]])
        >>> y = np.array([[0.0], [0.0], [1.0], [1.0]])
        >>> products = Products.of(InnerProducts(x, are_rows=True))
        >>> fits = Fits.of(products, y, [np.arange(4)], np.array([0.4]))
        >>> solve(fits, fits.nothing(), FINAL).logits.ravel().round(3).tolist()
        [-2.262, -0.754, 0.754, 2.262]
    """
    point, reached = _better(fits, start)
    numbers = fits.numbers
    moves = np.ones(len(reached), dtype=bool)
    before = np.inf
    for _ in range(_STEPS):
        system = _System.of(fits, point)
        scaled = system.scaled(system.gradient, system.gradient_of_intercepts)
        # A fit that is done stays: further steps would follow its rounding errors.
        remaining = scaled.size / numbers
        moves &= remaining >= precision.remaining
        if not moves.any():
            break
        largest = float(remaining[moves].max())
        if largest > _TOO_ROUGH * before:
            rough = None
        before = largest
        accuracy = _accuracy(largest, precision)
        if rough is None:
            step = _newton_step(system, scaled, moves, accuracy, precision)
        else:
            single = system.single(rough)
            scaled = single.scaled(single.gradient, single.gradient_of_intercepts)
            step = _newton_step(single, scaled, moves, accuracy, precision).double(fits.products)
        decrease = _length(step, system.gradient, system.gradient_of_intercepts)
        if rough is not None and not (decrease > _TOO_ROUGH * scaled.size)[moves].all():
            rough = None
            continue
        point, reached = _downhill(fits, point, step, decrease, reached)
        moves &= decrease / numbers >= precision.decrease
        if not moves.any():
            break
    return point


def extrapolated(fits: Fits, point: Solution, before: Solution) -> Solution:
    """Go on from one solution through the next, as far as it lowers the losses.

    Nothing is multiplied by the inner products: those of both solutions are known.

    Args:
        fits: The fits, with the penalties that come next.
        point: The solution for the last penalties.
        before: The solution for the penalties before those.
    """
    step = point.since(before)
    lengths = np.zeros(len(fits.penalties))
    reached = point
    for _ in range(_STEPS_ALONG):
        system = _System.of(fits, reached)
        slope = _length(step, system.gradient, system.gradient_of_intercepts)
        curvature = _length(step, *system.times(step))
        smallest = float(np.finfo(point.dual.dtype).tiny)
        lengths = np.clip(lengths + slope / np.maximum(curvature, smallest), 0.0, _FARTHEST)
        reached = point.along(step, lengths)
    return reached


def _accuracy(decrease: float, precision: Precision) -> float:
    """Part of the gradient that a linear system may leave.

    Newton's step leaves less than the square of the expected decrease, and what remains at the end
    need not be smaller than the precision wants.
    """
    wanted = max(np.sqrt(decrease) / 2, np.sqrt(precision.remaining / decrease))
    return float(np.clip(wanted, _LAST_ACCURACY, _FIRST_ACCURACY))


@dataclass(frozen=True, slots=True)
class _System:
    """The linear system of a Newton step: the gradient, and the curvature of the losses."""

    fits: Fits
    p: FloatArray
    gradient: FloatArray
    gradient_of_intercepts: FloatArray
    curvature: FloatArray
    scale: FloatArray
    scale_of_rest: FloatArray
    scale_of_intercepts: FloatArray

    @classmethod
    def of(cls, fits: Fits, point: Solution) -> _System:
        """The system at a point, with the scales of the axes."""
        p = probabilities(point.logits)
        curvature = p * (1 - p) * fits.counted
        errors = (fits.y - p) * fits.counted
        mean = np.maximum(curvature.mean(axis=(0, 2), dtype=np.float64), _LEAST_CURVATURE)
        spread = fits.products.spread.astype(np.float64)[:, None]
        of_rest = 1 / (fits.penalties + mean * fits.products.rest)
        of_axes = 1 / (fits.penalties + mean * spread) - of_rest
        kind = p.dtype
        return cls(
            fits,
            p,
            errors - fits.widths * point.dual,
            errors.sum(axis=0),
            curvature,
            of_axes.astype(kind)[:, :, None],
            of_rest.astype(kind)[None, :, None],
            1 / np.maximum(curvature.sum(axis=0), _LEAST_CURVATURE),
        )

    def single(self, products: Products) -> _System:
        """The same in float32, with these inner products."""
        kind = np.float32
        return _System(
            self.fits.single(products),
            self.p.astype(kind),
            self.gradient.astype(kind),
            self.gradient_of_intercepts.astype(kind),
            self.curvature.astype(kind),
            self.scale.astype(kind),
            self.scale_of_rest.astype(kind),
            self.scale_of_intercepts.astype(kind),
        )

    def scaled(self, dual: FloatArray, intercepts: FloatArray) -> _Scaled:
        """Divide a gradient by the curvature, as if that were the same for all rows."""
        axes = self.fits.products.axes
        n, m, c = dual.shape
        along = (axes.T @ dual.reshape(n, -1)).reshape(-1, m, c)
        turned = along * self.scale
        near = (axes @ turned.reshape(len(turned), -1)).reshape(n, m, c)
        near += self.scale_of_rest * dual
        divided = intercepts * self.scale_of_intercepts
        spread = self.fits.products.spread[:, None, None]
        of_axes = spread * (turned + self.scale_of_rest * along)
        rest = _inner(dual, dual) - _inner(along, along)
        size = _inner(of_axes, along) + (divided * intercepts).sum(axis=1, dtype=np.float64)
        size += rest * self.scale_of_rest[0, :, 0] * self.fits.products.rest
        return _Scaled(near, divided, size)

    def times(self, step: Solution) -> tuple[FloatArray, FloatArray]:
        """The curvature times a step, along the dual coefficients and the intercepts."""
        moved = step.logits
        if moved.shape[2] == 1:
            change = self.curvature * moved
        else:
            mean = (self.p * moved).sum(axis=2, keepdims=True)
            change = self.p * (moved - mean) * self.fits.counted
        return self.fits.widths * step.dual + change, change.sum(axis=0)


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A gradient divided by the curvature.

    Attributes:
        dual: (n, m, c).
        intercepts: (m, c).
        size: (m,) about the inner product of the two, without its multiplication.
    """

    dual: FloatArray
    intercepts: FloatArray
    size: FloatArray

    def solution(self, products: Products) -> Solution:
        """The same with its inner products."""
        return Solution(self.dual, products(self.dual), self.intercepts)


def _newton_step(
    system: _System, scaled: _Scaled, moves: Array, accuracy: float, precision: Precision
) -> Solution:
    """Solve the linear system to some accuracy, starting from its scaled gradient."""
    left = system.gradient
    left_of_intercepts = system.gradient_of_intercepts
    step = Solution(np.zeros_like(left), np.zeros_like(left), np.zeros_like(left_of_intercepts))
    wanted = accuracy**2 * scaled.size
    direction = scaled.solution(system.fits.products)
    length = _length(direction, left, left_of_intercepts)
    smallest = float(np.finfo(left.dtype).tiny)
    goes_on = moves & (scaled.size > 0)
    most = _DIVERGED * scaled.size
    for _ in range(precision.iterations):
        change, change_of_intercepts = system.times(direction)
        curvature = _length(direction, change, change_of_intercepts)
        # Both are above 0 but for rounding errors, which no step follows.
        goes_on &= (curvature > smallest) & (length > smallest)
        far = np.where(goes_on, length / np.maximum(curvature, smallest), 0.0)
        step = step.along(direction, far)
        shorter = far.astype(left.dtype)[:, None]
        left = left - shorter * change
        left_of_intercepts = left_of_intercepts - shorter * change_of_intercepts
        scaled = system.scaled(left, left_of_intercepts)
        goes_on &= (scaled.size > wanted) & (scaled.size < most)
        if not goes_on.any():
            break
        conjugate = scaled.solution(system.fits.products)
        before = length
        length = _length(conjugate, left, left_of_intercepts)
        ratio = np.where(goes_on, length / np.maximum(before, smallest), 0.0)
        direction = conjugate.along(direction, ratio)
    return step


def _better(fits: Fits, start: Solution) -> tuple[Solution, FloatArray]:
    """A start and its losses; the shares of the classes for a fit whose losses are less there."""
    losses = fits.losses(start)
    nothing = fits.nothing()
    of_nothing = fits.losses(nothing)
    is_worse = losses > of_nothing
    if not is_worse.any():
        return start, losses
    worse = is_worse[:, None]
    point = Solution(
        np.where(worse, nothing.dual, start.dual),
        np.where(worse, nothing.products, start.products),
        np.where(worse, nothing.intercepts, start.intercepts),
    )
    return point, np.where(is_worse, of_nothing, losses)


def _downhill(
    fits: Fits, point: Solution, step: Solution, decrease: FloatArray, losses: FloatArray
) -> tuple[Solution, FloatArray]:
    """Take a step, halved for a fit as long as it leads uphill, and compute the losses."""
    lengths = np.ones(len(losses))
    rounding = 10 * float(np.finfo(point.dual.dtype).eps) * np.abs(losses)
    for _ in range(_HALVINGS):
        reached = point.along(step, lengths)
        of_reached = fits.losses(reached)
        uphill = of_reached > losses - 1e-4 * lengths * decrease + rounding
        if not uphill.any():
            break
        lengths = np.where(uphill, lengths / 2, lengths)
    return reached, of_reached


def _inner(one: FloatArray, other: FloatArray) -> FloatArray:
    """(m,) sums of products over rows and classes."""
    return np.asarray(np.einsum("nmc,nmc->m", one, other), dtype=np.float64)


def _length(step: Solution, dual: FloatArray, intercepts: FloatArray) -> FloatArray:
    """(m,) inner products of a step with dual coefficients and intercepts."""
    of_intercepts = (step.intercepts * intercepts).sum(axis=1, dtype=np.float64)
    return np.asarray(_inner(step.products, dual) + of_intercepts)
