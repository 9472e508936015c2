"""Logistic regression on the points of feature maps, for many penalties and training sets at once.

A fit minimises the mean log-loss of the mask shares over the training points, plus half the penalty
times the squared weights of the standardised channels; the intercept is not penalised. All fits
read the points together. The minimiser is L-BFGS. It moves in coordinates in which the channels are
nearly uncorrelated over all points, which takes the factor of one matrix, whatever the number of
fits. Where a minimum lies does not depend on these coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from etab.heads.masks.fields import Field
from etab.heads.masks.minimiser import Evaluated, Memory, minimising
from etab.heads.masks.passes import Fitting, Request, Sums, side_by_side
from etab.types import FloatArray, IntArray

# The largest curvature of the log-loss of a point: steps by it do not overshoot.
_LARGEST = 0.25
# A fit whose penalty is so many times another says nothing of the steps of that one.
_UNLIKE = 100.0
# Rates of the structure beyond which a training set counts as empty or full.
_CONSTANT = 1e-6


@dataclass(frozen=True, slots=True)
class Problem:
    """One fit.

    Attributes:
        rows: The rows that it is trained on, ascending.
        penalty: The penalty on standardised weights.
    """

    rows: tuple[int, ...]
    penalty: float


@dataclass(frozen=True, slots=True)
class LogisticFits:
    """Fits on raw channels, in the order of their problems.

    Attributes:
        weights: (channels + positions, problems).
        intercepts: (problems,).
        penalties: (problems,) the penalties that they were fitted with.
        gaps: (problems,) estimates of how far each penalised loss is above its minimum.
        memory: The last steps of the minimiser.
        losses: (n, problems) mean log-loss of each row that was read.
        dice: (n, problems) Dice of the points of each row that was read; zeros where no level was
            given.
    """

    weights: FloatArray
    intercepts: FloatArray
    penalties: FloatArray
    gaps: FloatArray
    memory: Memory
    losses: FloatArray
    dice: FloatArray

    @classmethod
    def joined(cls, fits: Sequence[LogisticFits]) -> LogisticFits:
        """Put several fits side by side."""
        return cls(
            np.concatenate([fit.weights for fit in fits], axis=1),
            np.concatenate([fit.intercepts for fit in fits]),
            np.concatenate([fit.penalties for fit in fits]),
            np.concatenate([fit.gaps for fit in fits]),
            Memory.joined([fit.memory for fit in fits]),
            np.concatenate([fit.losses for fit in fits], axis=1),
            np.concatenate([fit.dice for fit in fits], axis=1),
        )

    def pick(self, which: Sequence[int]) -> LogisticFits:
        """Select fits by index.

        Args:
            which: Indexes of fits.

        Returns:
            These fits, in the order of ``which``.
        """
        index = list(which)
        return LogisticFits(
            self.weights[:, index],
            self.intercepts[index],
            self.penalties[index],
            self.gaps[index],
            self.memory.pick(index),
            self.losses[:, index],
            self.dice[:, index],
        )


def rates_alone(width: int, y: FloatArray, problems: Sequence[Problem]) -> LogisticFits:
    """Make the fits that know the rate of the structure alone, where a minimiser may start.

    Args:
        width: Channels and positions together.
        y: (n, points) share of the structure at each point, in [0, 1].
        problems: What is fitted.
    """
    count = len(problems)
    rates = np.array([_rate(y, problem) for problem in problems])
    penalties = np.array([problem.penalty for problem in problems])
    rates = np.clip(rates, _CONSTANT, 1 - _CONSTANT)
    return LogisticFits(
        weights=np.zeros((width, count)),
        intercepts=scipy.special.logit(rates),
        penalties=penalties,
        gaps=np.full(count, np.inf),
        memory=Memory(_LARGEST + penalties),
        losses=np.zeros((len(y), count), dtype=np.float32),
        dice=np.zeros((len(y), count), dtype=np.float32),
    )


def fit_logistic(
    field: Field,
    y: FloatArray,
    problems: Sequence[Problem],
    start: LogisticFits,
    *,
    rows: IntArray | None = None,
    tolerance: float = 1e-5,
    passes: int = 30,
) -> LogisticFits:
    """Fit all problems together.

    Args:
        field: The points of all rows.
        y: (n, points) share of the structure at each point, in [0, 1].
        problems: What to fit.
        start: The initial fit of each problem, which must not depend on labels outside its training
            set.
        rows: The rows that are read, ascending; None for those that any problem is trained on.
        tolerance: A fit ends when its penalised loss is about this close to the minimum.
        passes: Largest number of passes over the points.

    Returns:
        The fits. The fit is constant where a training set lacks the structure or is full of it.
    """
    if rows is None:
        rows = np.unique(np.concatenate([p.rows for p in problems]))
    fitting = fitting_logistic(
        field, y, problems, start, rows=rows, tolerance=tolerance, passes=passes
    )
    return side_by_side([fitting])[0]


def fitting_logistic(
    field: Field,
    y: FloatArray,
    problems: Sequence[Problem],
    start: LogisticFits,
    *,
    rows: IntArray,
    tolerance: float,
    passes: int,
    level: float | None = None,
) -> Fitting[LogisticFits]:
    """``fit_logistic`` as a fit that may run beside others, with the same arguments and result.

    With ``level``, the fits have the Dice of the points of rows, cut at these log odds.
    """
    coordinates = _Coordinates(field, problems)
    objective = _Objective(field, y, rows, problems, coordinates, level)
    steps = minimising(
        coordinates.of(start),
        coordinates.memory(start),
        tolerance=tolerance,
        passes=passes,
    )
    asked = next(steps)
    while True:
        sums = yield objective.request(*asked)
        try:
            asked = steps.send(objective.answer(sums, *asked))
        except StopIteration as end:
            minima = end.value
            break
    every = np.arange(len(problems))
    weights, intercepts = coordinates.raw(minima.points, every)
    fits = LogisticFits(
        weights,
        intercepts,
        coordinates.penalties,
        minima.gaps,
        minima.memory,
        *minima.notes,
    )
    for i, problem in enumerate(problems):
        _settle_constant(fits, i, _rate(y, problem))
    return fits


def _rate(y: FloatArray, problem: Problem) -> float:
    """Mean share of the structure over a training set."""
    return float(y[list(problem.rows)].mean(dtype=np.float64))


def _settle_constant(fits: LogisticFits, i: int, rate: float) -> None:
    """Make a fit constant where its training set has one class: the likelihood has no maximum."""
    if _CONSTANT < rate < 1 - _CONSTANT:
        return
    fits.weights[:, i] = 0
    fits.intercepts[i] = scipy.special.logit(np.clip(rate, _CONSTANT, 1 - _CONSTANT))
    fits.gaps[i] = 0


class _Coordinates:
    """Weights of uncorrelated channels, and intercepts: (channels + positions + 1, problems)."""

    def __init__(self, field: Field, problems: Sequence[Problem]) -> None:
        self.field = field
        self.penalties = np.array([p.penalty for p in problems])
        scales = {p.rows: field.scale(p.rows) for p in problems}
        self.centres = np.stack([scales[p.rows][0] for p in problems], axis=1)
        self.deviations = np.stack([scales[p.rows][1] for p in problems], axis=1)

    def of(self, fits: LogisticFits) -> FloatArray:
        """Convert fits on raw channels to coordinates."""
        shift = np.einsum("dk,dk->k", self.centres, fits.weights)
        finite = np.where(np.isfinite(self.deviations), self.deviations, 0)
        standard = fits.weights * finite
        point = np.vstack([standard, fits.intercepts + shift])
        point[:-1] = self.field.factor.T @ standard
        return point

    def memory(self, fits: LogisticFits) -> Memory:
        """What is remembered of fits with other penalties, as with those of the problems."""
        ratios = self.penalties / fits.penalties
        if max(ratios.max(), 1 / ratios.min()) > _UNLIKE:
            return Memory(_LARGEST + self.penalties)
        more = self.penalties - fits.penalties

        def changes(which: IntArray, steps: FloatArray) -> FloatArray:
            of_weights = self.slopes(self.standard(steps))
            return more[which] * np.vstack([of_weights, np.zeros(len(which))])

        return fits.memory.with_more(changes)

    def standard(self, point: FloatArray) -> FloatArray:
        """Convert the coordinates of some problems to weights of standardised channels."""
        return self._solved(point[:-1], turned=True)

    def raw(self, point: FloatArray, which: IntArray) -> tuple[FloatArray, FloatArray]:
        """Convert the coordinates of some problems to weights and intercepts on raw channels."""
        return self.of_standard(self.standard(point), point[-1], which)

    def of_standard(
        self, standard: FloatArray, shifted: FloatArray, which: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Convert standardised weights, and intercepts at the centres, to those on raw channels."""
        weights = standard / self.deviations[:, which]
        shift = np.einsum("dk,dk->k", self.centres[:, which], weights)
        return weights, shifted - shift

    def standard_slopes(self, first: FloatArray, total: FloatArray, which: IntArray) -> FloatArray:
        """Slopes along standardised weights, from sums of residuals with raw channels and alone."""
        return np.asarray((first - self.centres[:, which] * total) / self.deviations[:, which])

    def slopes(self, standard: FloatArray) -> FloatArray:
        """Convert slopes along standardised weights to slopes along the coordinates."""
        return self._solved(standard, turned=False)

    def _solved(self, y: FloatArray, *, turned: bool) -> FloatArray:
        """Solve L x = y with the factor L of the field, or L' x = y."""
        factor = self.field.factor
        return np.asarray(scipy.linalg.blas.dtrsm(1.0, factor, y, lower=1, trans_a=int(turned)))


class _Objective:
    """Penalised mean log-loss of several problems, and its slope, from one pass over the points."""

    def __init__(
        self,
        field: Field,
        y: FloatArray,
        rows: IntArray,
        problems: Sequence[Problem],
        coordinates: _Coordinates,
        level: float | None,
    ) -> None:
        self.field = field
        self.rows = rows
        self.level = level
        self.y = y.astype(np.float32)
        self.coordinates = coordinates
        self.trains = np.zeros((len(y), len(problems)), dtype=np.float32)
        for k, problem in enumerate(problems):
            self.trains[list(problem.rows), k] = 1
        self.sizes = self.trains.sum(axis=0, dtype=np.float64) * y.shape[1]
        self.standard: FloatArray = np.zeros((field.width, len(problems)))

    def request(self, point: FloatArray, which: IntArray) -> Request:
        """Ask for the sums of the problems ``which``, columns of ``point``."""
        self.standard = self.coordinates.standard(point)
        weights, intercepts = self.coordinates.of_standard(self.standard, point[-1], which)
        trains = self.trains[:, which]
        return Request(self.field, self.rows, self.y, trains, weights, intercepts, self.level)

    def answer(self, sums: Sums, point: FloatArray, which: IntArray) -> Evaluated:
        """Compute losses (which,), slopes, and losses and Dice of rows from the sums of these problems."""
        n = self.sizes[which]
        penalties = self.coordinates.penalties[which]
        slope = self.coordinates.standard_slopes(sums.first / n, sums.total / n, which)
        slope += penalties * self.standard
        loss = np.einsum("nk,nk->k", sums.loss, self.trains[:, which], dtype=np.float64) / n
        value = loss + 0.5 * penalties * np.square(self.standard).sum(axis=0)
        along = np.vstack([self.coordinates.slopes(slope), sums.total / n])
        return value, along, np.stack([sums.loss / self.y.shape[1], sums.dice])
