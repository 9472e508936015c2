"""Logistic regression on the points of feature maps, for many penalties and training sets at once.

A fit minimises the mean log-loss of the mask shares over the training points, plus half the penalty
times the squared weights of the standardised channels; the intercept is not penalised. All fits
read the points together. The minimiser is L-BFGS. Its preconditioner is the curvature at the
calibrated least-squares fit, which saves the first, inefficient steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from etab.heads.masks.minimiser import minimising
from etab.heads.masks.moments import (
    Design,
    Moments,
    PartTable,
    blocks,
    constant_channels,
    standardised,
)
from etab.heads.masks.passes import Fitting, Request, Sums, side_by_side
from etab.heads.pooled.linalg import Tridiagonal
from etab.types import FloatArray, IntArray

# Least-squares penalty of the fit that starts the minimiser, as an index into MASK_PENALTIES.
_START = 1
# Rows, evenly spread over a training set, whose points give the curvature.
_CURVATURE_ROWS = 400
# Points with less curvature than this are replaced by their mean over all channels.
_FLAT = 0.005
# Share of the mean curvature that is added for all channels alike. The curvature at the start is
# too small where predictions still change, and steps by it alone overshoot on rare structures.
_EVEN = 1.0
# Rates of the structure beyond which a training set counts as empty or full.
_CONSTANT = 1e-6


@dataclass(frozen=True, slots=True)
class Problem:
    """One fit: the parts it is trained on, and its penalty on standardised weights."""

    parts: tuple[int, ...]
    penalty: float


@dataclass(frozen=True, slots=True)
class LogisticFits:
    """Fits on raw channels, in the order of their problems.

    Attributes:
        weights: (channels + positions, problems).
        intercepts: (problems,).
        gaps: (problems,) estimates of how far each penalised loss is above its minimum.
    """

    weights: FloatArray
    intercepts: FloatArray
    gaps: FloatArray

    @classmethod
    def joined(cls, fits: Sequence[LogisticFits]) -> LogisticFits:
        """Put several fits side by side."""
        return cls(
            np.concatenate([fit.weights for fit in fits], axis=1),
            np.concatenate([fit.intercepts for fit in fits]),
            np.concatenate([fit.gaps for fit in fits]),
        )

    def pick(self, which: Sequence[int]) -> LogisticFits:
        """Select fits by index.

        Args:
            which: Indexes of fits.

        Returns:
            These fits, in the order of ``which``.
        """
        index = list(which)
        return LogisticFits(self.weights[:, index], self.intercepts[index], self.gaps[index])


def fit_logistic(
    design: Design,
    y: FloatArray,
    problems: Sequence[Problem],
    start: LogisticFits,
    *,
    scales: Mapping[tuple[int, ...], FitScale] | None = None,
    tolerance: float = 1e-5,
    passes: int = 30,
) -> LogisticFits:
    """Fit all problems together.

    Args:
        design: The points and parts of all rows.
        y: (n, points) share of the structure at each point, in [0, 1].
        problems: What to fit.
        start: The initial fit of each problem, which must not depend on rows outside its training
            set.
        scales: The scale of each training set, by its parts; None computes them from ``start``.
        tolerance: A fit ends when its penalised loss is about this close to the minimum.
        passes: Largest number of passes over the points.

    Returns:
        The fits. The fit is constant where a training set lacks the structure or is full of it.
    """
    fitting = fitting_logistic(
        design, y, problems, start, scales=scales, tolerance=tolerance, passes=passes
    )
    return side_by_side([fitting])[0]


def fitting_logistic(
    design: Design,
    y: FloatArray,
    problems: Sequence[Problem],
    start: LogisticFits,
    *,
    scales: Mapping[tuple[int, ...], FitScale] | None,
    tolerance: float,
    passes: int,
) -> Fitting[LogisticFits]:
    """``fit_logistic`` as a fit that may run beside others, with the same arguments and result."""
    if scales is None:
        scales = scales_of(design, y, problems, start)
    coordinates = _Coordinates([scales[p.parts] for p in problems], problems)
    objective = _Objective(design, y, problems, coordinates)
    steps = minimising(
        coordinates.precondition,
        coordinates.standardise(start),
        tolerance=tolerance,
        passes=passes,
    )
    asked = next(steps)
    while True:
        sums = yield objective.request(*asked)
        try:
            asked = steps.send(objective.answer(sums, *asked))
        except StopIteration as end:
            point, gaps = end.value
            break
    weights, intercepts = coordinates.raw(point, np.arange(len(problems)))
    fits = LogisticFits(weights, intercepts, gaps)
    for i, problem in enumerate(problems):
        _settle_constant(fits, i, _rate(design, y, problem.parts))
    return fits


def scales_of(
    design: Design,
    y: FloatArray,
    problems: Sequence[Problem],
    start: LogisticFits,
) -> dict[tuple[int, ...], FitScale]:
    """Compute the scale of every training set of some problems.

    Args:
        design: The points and parts of all rows.
        y: (n, points) share of the structure at each point, in [0, 1].
        problems: The fits.
        start: The initial fit of each problem.

    Returns:
        The scales, by the parts of the training set.
    """
    return {
        problem.parts: FitScale.of(design, y, problem.parts, start, i)
        for i, problem in _first(problems)
    }


def _first(problems: Sequence[Problem]) -> list[tuple[int, Problem]]:
    """The first problem of each training set, with its index."""
    seen: dict[tuple[int, ...], tuple[int, Problem]] = {}
    for i, problem in enumerate(problems):
        seen.setdefault(problem.parts, (i, problem))
    return list(seen.values())


def _rows(design: Design, parts: tuple[int, ...]) -> IntArray:
    return np.flatnonzero(np.isin(design.parts, parts))


def _rate(design: Design, y: FloatArray, parts: tuple[int, ...]) -> float:
    """Mean share of the structure over a training set."""
    return float(y[_rows(design, parts)].mean(dtype=np.float64))


def _settle_constant(fits: LogisticFits, i: int, rate: float) -> None:
    """Make a fit constant where its training set has one class: the likelihood has no maximum."""
    if _CONSTANT < rate < 1 - _CONSTANT:
        return
    fits.weights[:, i] = 0
    fits.intercepts[i] = scipy.special.logit(np.clip(rate, _CONSTANT, 1 - _CONSTANT))
    fits.gaps[i] = 0


def least_squares_start(
    design: Design,
    labels: PartTable,
    y: FloatArray,
    problems: Sequence[Problem],
) -> LogisticFits:
    """Fit the training sets of some problems by least squares, calibrated as log odds.

    Args:
        design: The points and parts of all rows.
        labels: The sums of ``y`` (``Design.label``).
        y: (n, points) share of the structure at each point, in [0, 1].
        problems: The problems, whose training sets are fitted.
    """
    weights = np.zeros((design.width, len(problems)))
    intercepts = np.zeros(len(problems))
    option = list(design.options())[-1]
    for _, problem in _first(problems):
        _, path, _ = design.solve(problem.parts, option, labels)
        raw = path[:, _START]
        rows = _rows(design, problem.parts)
        scores = _scores(design, rows, raw)
        slope, shift = calibrate(scores, y[rows].ravel())
        for i, other in enumerate(problems):
            if other.parts == problem.parts:
                weights[:, i] = slope * raw
                intercepts[i] = shift
    return LogisticFits(weights, intercepts, np.full(len(problems), np.inf))


def _scores(
    design: Design,
    rows: IntArray,
    weights: FloatArray,
) -> FloatArray:
    """Linear scores of all points of some rows, (rows * points,)."""
    single = weights.astype(np.float32)
    scores = [design.points.rows(block) @ single for block in blocks(rows)]
    return np.concatenate(scores)


def calibrate(
    scores: FloatArray,
    y: FloatArray,
    steps: int = 12,
) -> tuple[float, float]:
    """Fit the slope and shift that turn scores into log odds, by Newton's method.

    A ridge of 1e-6 on both keeps the system regular where scores or labels are constant.

    Args:
        scores: (n,) scores.
        y: (n,) labels in [0, 1].
        steps: Number of Newton steps.

    Returns:
        (slope, shift).
    """
    scale = float(scores.std()) or 1.0
    centre = float(scores.mean())
    z = ((scores - centre) / scale).astype(np.float64)
    x = np.stack([z, np.ones_like(z)])
    rate = np.clip(float(y.mean(dtype=np.float64)), _CONSTANT, 1 - _CONSTANT)
    theta = np.array([0.0, scipy.special.logit(rate)])
    for _ in range(steps):
        p = scipy.special.expit(theta @ x)
        gradient = x @ (p - y) / len(z) + 1e-6 * theta
        curvature = (x * (p * (1 - p))) @ x.T / len(z) + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        largest = max(float(np.abs(step).max()), 1e-12)
        # A step of more than 3 in log odds overshoots.
        theta = theta - step * min(1.0, 3.0 / largest)
    slope = float(theta[0]) / scale
    shift = float(theta[1]) - slope * centre
    return slope, shift


@dataclass(frozen=True, slots=True)
class FitScale:
    """The scale of the fits of one training set.

    Attributes:
        centre: (channels,) mean weighted by curvature, so that weights and intercept do not
            interact there.
        deviation: (channels,) deviation of the unweighted points, which the penalty refers to;
            infinite for constant channels.
        curvature: Curvature of the loss in the standardised weights.
        flatness: Curvature of the loss in the intercept.
    """

    centre: FloatArray
    deviation: FloatArray
    curvature: Tridiagonal
    flatness: float

    @classmethod
    def of(
        cls,
        design: Design,
        y: FloatArray,
        parts: tuple[int, ...],
        start: LogisticFits,
        i: int,
    ) -> FitScale:
        """Compute the scale of a training set.

        Args:
            design: The points and parts of all rows.
            y: (n, points) share of the structure at each point, in [0, 1].
            parts: The parts of the training set.
            start: Initial fits.
            i: Index of the fit in ``start`` at which the curvature is taken.
        """
        total = design.total(parts)
        mean = total.first / total.n
        deviation, correlations = standardised(total.second, total.n, mean)
        # No weight: divided by this deviation, the slope and the weight of the channel are 0.
        deviation[constant_channels(mean, deviation)] = np.inf
        rows = _rows(design, parts)
        every = max(1, -(-len(rows) // _CURVATURE_ROWS))
        steep, flat, n = _curved_moments(
            design,
            rows[::every],
            start.weights[:, i],
            float(start.intercepts[i]),
        )
        centre = steep.first / steep.n if steep.n > 0 else mean
        curved_deviation, curved = standardised(steep.second, max(steep.n, 1e-12), centre)
        ratio = (curved_deviation / deviation).astype(np.float32)
        curved *= (steep.n / n) * ratio[:, None] * ratio
        even = flat + _EVEN * (steep.n / n + flat)
        curved += np.float32(even) * correlations
        return cls(centre, deviation, Tridiagonal.of(curved), steep.n / n + even)

    def moved(self, design: Design, parts: tuple[int, ...]) -> FitScale:
        """Compute the scale of a larger training set, with the curvature of this one.

        The curvature only shapes the steps of the minimiser: that of a similar set is good enough.

        Args:
            design: The points and parts of all rows.
            parts: The larger training set, which contains the one of this scale.
        """
        total = design.total(parts)
        mean = total.first / total.n
        variance = np.diag(total.second) / total.n - np.square(mean)
        deviation = np.sqrt(np.maximum(variance, 1e-12))
        deviation[constant_channels(mean, deviation)] = np.inf
        return replace(self, deviation=deviation)


def _curved_moments(
    design: Design,
    rows: IntArray,
    weights: FloatArray,
    intercept: float,
) -> tuple[Moments, float, int]:
    """Moments of the points of some rows, weighted by the curvature of their log-loss.

    Returns:
        The moments of the points that are not flat, the mean curvature of the flat ones over all
        points, and the number of points.
    """
    width = design.width
    single = weights.astype(np.float32)
    mass = 0.0
    flat = 0.0
    n = 0
    first = np.zeros(width)
    second = np.zeros((width, width), dtype=np.float32, order="F")
    for block in blocks(rows):
        x = design.points.rows(block)
        p = scipy.special.expit(x @ single + intercept)
        curvature = p * (1 - p)
        steep = np.flatnonzero(curvature > _FLAT)
        share = curvature[steep].astype(np.float32)
        n += len(x)
        mass += float(share.sum(dtype=np.float64))
        flat += float(curvature.sum(dtype=np.float64))
        chosen = x[steep]
        first += chosen.T @ share
        chosen *= np.sqrt(share)[:, None]
        second = scipy.linalg.blas.ssyrk(
            1.0,
            chosen.T,
            beta=1.0,
            c=second,
            lower=1,
            overwrite_c=1,
        )
    return Moments(mass, first, second.T), (flat - mass) / n, n


class _Coordinates:
    """Standardised weights and intercepts (channels + positions + 1, problems)."""

    def __init__(self, scales: Sequence[FitScale], problems: Sequence[Problem]) -> None:
        self.scales = scales
        self.centres = np.stack([s.centre for s in scales], axis=1)
        self.deviations = np.stack([s.deviation for s in scales], axis=1)
        self.penalties = np.array([p.penalty for p in problems])

    def standardise(self, fits: LogisticFits) -> FloatArray:
        """Convert fits on raw channels to coordinates."""
        shift = np.einsum("dk,dk->k", self.centres, fits.weights)
        finite = np.where(np.isfinite(self.deviations), self.deviations, 0)
        return np.vstack([fits.weights * finite, fits.intercepts + shift])

    def raw(self, point: FloatArray, which: IntArray) -> tuple[FloatArray, FloatArray]:
        """Convert the coordinates of some problems to weights and intercepts on raw channels."""
        weights = point[:-1] / self.deviations[:, which]
        shift = np.einsum("dk,dk->k", self.centres[:, which], weights)
        return weights, point[-1] - shift

    def slopes(
        self,
        first: FloatArray,
        total: FloatArray,
        which: IntArray,
    ) -> FloatArray:
        """Slopes from sums of residuals: with the raw channels (``first``), and alone."""
        inner = (first - self.centres[:, which] * total) / self.deviations[:, which]
        return np.vstack([inner, total])

    def precondition(self, slope: FloatArray) -> FloatArray:
        """Slopes divided by the curvature of each problem."""
        out = np.empty_like(slope)
        for scale in {id(s): s for s in self.scales}.values():
            columns = [k for k, s in enumerate(self.scales) if s is scale]
            shifts = self.penalties[columns].tolist()
            out[:-1, columns] = scale.curvature.solve(slope[:-1, columns], shifts)
            out[-1, columns] = slope[-1, columns] / max(scale.flatness, 1e-12)
        return out


class _Objective:
    """Penalised mean log-loss of several problems, and its slope, from one pass over the points."""

    def __init__(
        self,
        design: Design,
        y: FloatArray,
        problems: Sequence[Problem],
        coordinates: _Coordinates,
    ) -> None:
        self.design = design
        self.y = y.astype(np.float32)
        self.coordinates = coordinates
        named = sorted({k for p in problems for k in p.parts})
        self.trains = {k: np.array([k in p.parts for p in problems]) for k in named}
        sizes = {k: np.count_nonzero(design.parts == k) * y.shape[1] for k in named}
        self.sizes = np.array([sum(sizes[k] for k in p.parts) for p in problems], dtype=float)

    def request(self, point: FloatArray, which: IntArray) -> Request:
        """Ask for the sums of the problems ``which``, columns of ``point``."""
        weights, intercepts = self.coordinates.raw(point, which)
        columns = {k: np.flatnonzero(trains[which]) for k, trains in self.trains.items()}
        return Request(self.design, self.y, columns, weights, intercepts)

    def answer(
        self, sums: Sums, point: FloatArray, which: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Compute losses (which,) and slopes from the sums of these problems."""
        n = self.sizes[which]
        penalties = self.coordinates.penalties[which]
        slope = self.coordinates.slopes(sums.first / n, sums.total / n, which)
        slope[:-1] += penalties * point[:-1]
        return sums.loss / n + 0.5 * penalties * np.square(point[:-1]).sum(axis=0), slope
