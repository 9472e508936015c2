"""L-BFGS for several smooth functions at once, each with its own steps."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from etab.types import Array, FloatArray, IntArray

__all__ = ["Evaluate", "Memory", "Minima", "Steps", "minimise", "minimising"]

# Pairs of steps and slopes that L-BFGS remembers.
_MEMORY = 10
# Share of the predicted descent that a step must give (Armijo).
_SUFFICIENT = 1e-4
_SMALLEST_STEP = 2.0**-12


@dataclass(frozen=True, slots=True)
class Minima:
    """Where the minimisations of several functions have ended.

    Attributes:
        points: (d, k) the points.
        gaps: (k,) half of slope times step there: about how far each value is above its minimum.
        memory: The last steps.
        notes: (..., k) what was noted of each point when it was evaluated.
    """

    points: FloatArray
    gaps: FloatArray
    memory: Memory
    notes: FloatArray


# Values (k,), slopes (d, k) and notes (..., k) of the functions with the given indexes (k,), at
# points (d, k).
Evaluated = tuple[FloatArray, FloatArray, FloatArray]
Evaluate = Callable[[FloatArray, IntArray], Evaluated]
# Yields points and the indexes of their functions, is sent what was evaluated, returns the minima.
Steps = Generator[tuple[FloatArray, IntArray], Evaluated, Minima]


def minimise(
    evaluate: Evaluate,
    start: FloatArray,
    memory: Memory,
    *,
    tolerance: float,
    passes: int,
) -> Minima:
    """Minimise several smooth functions by L-BFGS, a trial of each in every pass.

    Args:
        evaluate: Returns the values, slopes and notes of the functions with the given indexes.
        start: (d, k), where each function starts.
        memory: What is known of the curvature of each function; it is added to.
        tolerance: A function is finished when half of slope times step is below this.
        passes: At most this many evaluations of each function.

    Returns:
        The minima.

    Source:
        Nocedal and Wright, Numerical Optimization, 2nd edition (2006), algorithms 3.1 and 7.4.
    """
    steps = minimising(start, memory, tolerance=tolerance, passes=passes)
    asked = next(steps)
    while True:
        try:
            asked = steps.send(evaluate(*asked))
        except StopIteration as end:
            found: Minima = end.value
            return found


def minimising(
    start: FloatArray,
    memory: Memory,
    *,
    tolerance: float,
    passes: int,
) -> Steps:
    """``minimise`` for a caller that evaluates the functions itself, beside others.

    Args:
        start: (d, k), where each function starts.
        memory: What is known of the curvature of each function; it is added to.
        tolerance: A function is finished when half of slope times step is below this.
        passes: At most this many evaluations of each function.

    Yields:
        Points (d, k) and the indexes (k,) of the functions whose values, slopes and notes are to be
        sent.

    Returns:
        What ``minimise`` returns.
    """
    point = start.copy()
    count = point.shape[1]
    value, slope, notes = yield point, np.arange(count)
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
        trial_value, trial_slope, trial_notes = yield trial, active
        enough = value[active] - _SUFFICIENT * length[active] * descent[active]
        good = trial_value <= enough
        better = active[good]
        steps = trial[:, good] - point[:, better]
        changes = trial_slope[:, good] - slope[:, better]
        memory.add(better, steps, changes)
        point[:, better] = trial[:, good]
        value[better] = trial_value[good]
        slope[:, better] = trial_slope[:, good]
        notes[..., better] = trial_notes[..., good]
        length[active] /= 2
        length[better] = 1
        direction = memory.direction(slope)
    gaps = -np.einsum("dk,dk->k", slope, direction) / 2
    return Minima(point, gaps, memory, notes)


class Memory:
    """The last steps of several minimisations, and how their slopes changed."""

    def __init__(self, curvatures: FloatArray) -> None:
        """Take about the curvature (k,) of each function, above 0."""
        self.curvatures = curvatures
        self.pairs: list[tuple[Array, Array, Array, Array]] = []

    def pick(self, which: Sequence[int]) -> Memory:
        """Make the memory of some functions, in the order of ``which``; one may come repeatedly."""
        index = np.asarray(which, dtype=np.int64)
        picked = Memory(self.curvatures[index])
        for of_pair, steps, changes, products in self.pairs:
            places = np.full(len(self.curvatures), -1)
            places[of_pair] = np.arange(len(of_pair))
            columns = places[index]
            known = np.flatnonzero(columns >= 0)
            columns = columns[known]
            pair = (known, steps[:, columns], changes[:, columns], products[columns])
            picked.pairs.append(pair)
        return picked

    @classmethod
    def joined(cls, memories: Sequence[Memory]) -> Memory:
        """Put the memories of several sets of functions side by side, the last steps together."""
        joined = cls(np.concatenate([memory.curvatures for memory in memories]))
        starts = np.cumsum([0] + [len(memory.curvatures) for memory in memories])
        for age in range(max(len(memory.pairs) for memory in memories), 0, -1):
            pairs = []
            for start, memory in zip(starts, memories, strict=False):
                if len(memory.pairs) >= age:
                    which, *numbers = memory.pairs[-age]
                    pairs.append((which + start, *numbers))
            parts = zip(*pairs, strict=True)
            which, steps, changes, products = (np.concatenate(part, axis=-1) for part in parts)
            joined.pairs.append((which, steps, changes, products))
        return joined

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
        steps, changes, products = steps[:, curved], changes[:, curved], products[curved]
        which = which[curved]
        self.pairs.append((which, steps, changes, products))
        self.curvatures[which] = np.einsum("dk,dk->k", changes, changes) / products
        del self.pairs[:-_MEMORY]

    def with_more(self, changes_of: Callable[[IntArray, FloatArray], FloatArray]) -> Memory:
        """Make the memory of functions to which a quadratic is added.

        Args:
            changes_of: By how much more the slopes of some functions (k,) change along steps (d, k).
        """
        changed = Memory(self.curvatures.copy())
        for which, steps, changes, _ in self.pairs:
            changed.add(which, steps, changes + changes_of(which, steps))
        return changed

    def direction(self, slope: FloatArray) -> FloatArray:
        """Compute steps downhill (d, k) by the two loops of L-BFGS (algorithm 7.4)."""
        out = slope.copy()
        shares = []
        for which, steps, changes, products in reversed(self.pairs):
            share = np.einsum("dk,dk->k", steps, out[:, which]) / products
            out[:, which] -= share * changes
            shares.append(share)
        out /= self.curvatures
        oldest_first = zip(self.pairs, reversed(shares), strict=True)
        for (which, steps, changes, products), share in oldest_first:
            back = np.einsum("dk,dk->k", changes, out[:, which]) / products
            out[:, which] += (share - back) * steps
        return -out
