"""L-BFGS for several smooth functions at once, each with its own steps."""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np

from etab.types import Array, FloatArray, IntArray

__all__ = ["Evaluate", "Steps", "minimise", "minimising"]

# Pairs of steps and slopes that L-BFGS remembers.
_MEMORY = 10
# Share of the predicted descent that a step must give (Armijo).
_SUFFICIENT = 1e-4
_SMALLEST_STEP = 2.0**-12

# Values (k,) and slopes (d, k) of the functions with the given indexes (k,), at points (d, k).
Evaluate = Callable[[FloatArray, IntArray], tuple[FloatArray, FloatArray]]
# Yields points and the indexes of their functions, is sent values and slopes, and returns the result.
Steps = Generator[
    tuple[FloatArray, IntArray], tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]
]


def minimise(
    evaluate: Evaluate,
    precondition: Callable[[FloatArray], FloatArray],
    start: FloatArray,
    *,
    tolerance: float,
    passes: int,
) -> tuple[FloatArray, FloatArray]:
    """Minimise several smooth functions by L-BFGS, a trial of each in every pass.

    Args:
        evaluate: Returns the values and slopes of the functions with the given indexes.
        precondition: Divides slopes (d, k) by a positive curvature of each function.
        start: (d, k), where each function starts.
        tolerance: A function is finished when half of slope times step is below this.
        passes: At most this many evaluations of each function.

    Returns:
        The points (d, k), and (k,) half of slope times step of each function at the end: about how
        far its value is above the minimum.

    Source:
        Nocedal and Wright, Numerical Optimization, 2nd edition (2006), algorithms 3.1 and 7.4.
    """
    steps = minimising(precondition, start, tolerance=tolerance, passes=passes)
    asked = next(steps)
    while True:
        try:
            asked = steps.send(evaluate(*asked))
        except StopIteration as end:
            found: tuple[FloatArray, FloatArray] = end.value
            return found


def minimising(
    precondition: Callable[[FloatArray], FloatArray],
    start: FloatArray,
    *,
    tolerance: float,
    passes: int,
) -> Steps:
    """``minimise`` for a caller that evaluates the functions itself, beside others.

    Args:
        precondition: Divides slopes (d, k) by a positive curvature of each function.
        start: (d, k), where each function starts.
        tolerance: A function is finished when half of slope times step is below this.
        passes: At most this many evaluations of each function.

    Yields:
        Points (d, k) and the indexes (k,) of the functions whose values and slopes are to be sent.

    Returns:
        What ``minimise`` returns.
    """
    point = start.copy()
    count = point.shape[1]
    value, slope = yield point, np.arange(count)
    memory = _Memory(precondition)
    direction = memory.direction(slope)
    length = np.ones(count)
    for _ in range(passes - 1):
        descent = -np.einsum("dk,dk->k", slope, direction)
        is_open = descent / 2 > tolerance
        active = np.flatnonzero(is_open & (length >= _SMALLEST_STEP))
        if not len(active):
            break
        step = length[active] * direction[:, active]
        trial = point[:, active] + step
        trial_value, trial_slope = yield trial, active
        enough = value[active] - _SUFFICIENT * length[active] * descent[active]
        good = trial_value <= enough
        better = active[good]
        steps = trial[:, good] - point[:, better]
        changes = trial_slope[:, good] - slope[:, better]
        memory.add(better, steps, changes)
        point[:, better] = trial[:, good]
        value[better] = trial_value[good]
        slope[:, better] = trial_slope[:, good]
        length[active] /= 2
        length[better] = 1
        direction = memory.direction(slope)
    return point, -np.einsum("dk,dk->k", slope, direction) / 2


class _Memory:
    """The last steps of several minimisations, and how their slopes changed."""

    def __init__(self, precondition: Callable[[FloatArray], FloatArray]) -> None:
        self.precondition = precondition
        self.pairs: list[tuple[Array, Array, Array]] = []

    def add(
        self,
        which: IntArray,
        steps: FloatArray,
        changes: FloatArray,
    ) -> None:
        """Remember a step of some of the functions.

        Args:
            which: Indexes of the functions.
            steps: (d, which) changes of the points.
            changes: (d, which) changes of the slopes.
        """
        products = np.einsum("dk,dk->k", steps, changes)
        curved = products > 1e-14
        self.pairs.append((which[curved], steps[:, curved], changes[:, curved]))
        del self.pairs[:-_MEMORY]

    def direction(self, slope: FloatArray) -> FloatArray:
        """Compute steps downhill (d, k) by the two loops of L-BFGS (algorithm 7.4)."""
        out = slope.copy()
        shares = []
        for which, steps, changes in reversed(self.pairs):
            products = np.einsum("dk,dk->k", steps, changes)
            share = np.einsum("dk,dk->k", steps, out[:, which]) / products
            out[:, which] -= share * changes
            shares.append(share)
        out = self.precondition(out)
        oldest_first = zip(self.pairs, reversed(shares), strict=True)
        for (which, steps, changes), share in oldest_first:
            products = np.einsum("dk,dk->k", steps, changes)
            back = np.einsum("dk,dk->k", changes, out[:, which]) / products
            out[:, which] += (share - back) * steps
        return -out
