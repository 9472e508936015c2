"""The numbers from which a page computes intervals and ranks again under other weights.

The variance of a score, and of a difference of two scores, is a squared length of a weighted sum of
vectors, one for each backbone and task (``etab.metrics.inference``). The page gets these vectors.
A board with many cells gets their strongest directions only, and the squared length of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from etab.errors import UndefinedError
from etab.leaderboard.board import Board
from etab.leaderboard.noise import Group, Noise, task_noises
from etab.leaderboard.pairs import ERROR
from etab.leaderboard.people import patients_of
from etab.metrics.design import FoldDesign
from etab.metrics.inference import OF_DIVISIONS, Precision
from etab.site.packing import packed
from etab.tasks.codes import parse_code
from etab.tasks.menu import TASKS
from etab.types import Array, FloatArray

# Numbers that the vectors of all cells may take together: 1.8 MB, 2.4 MB as text.
MOST_NUMBERS = 900_000
# Pairs of rows times directions of all groups: what a page multiplies for each new ranking.
_MOST_PRODUCTS = 14_000_000
_FEWEST_DIRECTIONS = 16
_CDF_STEP = 0.02
_CDF_END = 10.0
_STEPS_PER_DOUBLING = 12

# Noise of each cell that has one, by backbone and task code.
Noises = Mapping[str, Mapping[str, Noise]]


@dataclass(frozen=True, slots=True)
class Reduced:
    """Vectors in few directions.

    Attributes:
        coordinates: (cells, directions).
        rest: (cells,) squared length of what the directions leave out.
    """

    coordinates: FloatArray
    rest: FloatArray


def reduced(vectors: FloatArray, most: int) -> Reduced:
    """Project vectors on the directions in which they are longest.

    Args:
        vectors: (cells, length).
        most: Most directions to keep.

    Returns:
        The coordinates, and the squared lengths of what is left out: 0 where ``most`` suffices.

    Example:
        >>> short = reduced(np.array([[3.0, 4.0], [6.0, 8.0]]), most=1)
        >>> np.abs(short.coordinates).round(3).tolist(), short.rest.round(3).tolist()
        ([[5.0], [10.0]], [0.0, 0.0])
    """
    cells, length = vectors.shape
    if cells <= length:
        gram = vectors @ vectors.T
    else:
        gram = vectors.T @ vectors
    values, directions = np.linalg.eigh(gram)
    strongest = np.argsort(values)[::-1][:most]
    if cells <= length:
        lengths = np.sqrt(np.maximum(values[strongest], 0.0))
        coordinates = directions[:, strongest] * lengths
    else:
        coordinates = vectors @ directions[:, strongest]
    rest = np.square(vectors).sum(axis=1) - np.square(coordinates).sum(axis=1)
    return Reduced(np.asarray(coordinates), np.maximum(rest, 0.0))


def noise_facts(board: Board, most_numbers: int = MOST_NUMBERS) -> dict[str, Any]:
    """Collect what the weights of a page act on.

    Args:
        board: The board, with its tables.
        most_numbers: Numbers that the vectors of all cells may take together.

    Returns:
        Plain values: ``rows`` (backbones, in the order of the arrays), ``exact`` (whether nothing
        is left out), ``groups`` (tasks with the same patients and folds, with their vectors) and
        ``t`` (tables of Student's t by degrees of freedom). ``rows`` is empty if no cell of the
        board has noise.
    """
    noises = _all_noises(board)
    rows = [row.backbone for row in board.rows if noises[row.backbone]]
    members: dict[Group, list[str]] = {}
    for code in board.suite.tasks:
        for noise in _of_task(code, rows, noises)[:1]:
            members.setdefault(next(iter(noise.parts)), []).append(code)
    cells = max(1, len(rows) * len(board.suite.tasks))
    pairs = max(2, len(rows) * (len(rows) - 1) // 2)
    # Two sets of directions: of means over repeats, and of what repeats differ by.
    by_size = most_numbers // cells // 2
    by_time = _MOST_PRODUCTS // pairs // max(1, len(members)) // 2
    most = max(_FEWEST_DIRECTIONS, min(by_size, by_time))
    groups = [
        _group_facts(group, codes, rows, noises, most) for group, codes in sorted(members.items())
    ]
    degrees = sorted({degree for group in groups for degree in group["degrees"]})
    return {
        "rows": rows,
        "exact": all(group["exact"] for group in groups),
        "groups": groups,
        "t": {str(int(degree)): _t_tables(degree, pairs) for degree in degrees},
    }


def _all_noises(board: Board) -> dict[str, dict[str, Noise]]:
    """The noise of every cell, also of backbones without a rank and of tasks without weight."""
    orders = patients_of(board)
    order_of = {code: orders.get(parse_code(code).test_dataset) for code in board.suite.tasks}
    noises: dict[str, dict[str, Noise]] = {}
    for row in board.rows:
        known = board.noises.get(row.backbone, {})
        noises[row.backbone] = {}
        for code in board.suite.tasks:
            table = board.tables.get((row.backbone, code))
            if table is None:
                continue
            noise = known.get(code)
            order = order_of[code]
            if noise is None or order is None or _length(noise) != len(order):
                try:
                    noise = task_noises({code: row.cells[code]}, {code: table}, TASKS, orders)[code]
                except UndefinedError:
                    continue  # such a cell cannot be ranked, and the page lists it without a rank
            noises[row.backbone][code] = noise
    return noises


def _part(noise: Noise) -> Precision:
    """The only part of the noise of one task: that of its dataset and protocol."""
    return next(iter(noise.parts.values()))


def _length(noise: Noise) -> int:
    return int(_part(noise).people.shape[1])


def _of_task(code: str, rows: Sequence[str], noises: Noises) -> list[Noise]:
    return [noises[backbone][code] for backbone in rows if code in noises[backbone]]


def _group_facts(
    group: Group, codes: Sequence[str], rows: Sequence[str], noises: Noises, most: int
) -> dict[str, Any]:
    first = _part(_of_task(codes[0], rows, noises)[0])
    repeats, length = first.people.shape
    means = np.zeros((len(rows), len(codes), length))
    spreads = np.zeros((len(rows), len(codes), repeats * length))
    present = np.zeros((len(rows), len(codes)), dtype=bool)
    for i, backbone in enumerate(rows):
        for j, code in enumerate(codes):
            noise = noises[backbone].get(code)
            if noise is None:
                continue
            part = _part(noise)
            present[i, j] = True
            means[i, j] = part.people.mean(axis=0)
            spreads[i, j] = ((part.people - means[i, j]) / np.sqrt(repeats)).ravel()
    of_tasks = [_of_task(code, rows, noises) for code in codes]
    longest = max(means[present].shape[1], spreads[present].shape[1])
    return {
        "exact": most >= min(longest, int(present.sum())),
        "dataset": group[0],
        "tasks": list(codes),
        "value_factors": _factors(codes, rows, noises, _of_value),
        "difference_factors": _factors(codes, rows, noises, _of_difference),
        "divisions": OF_DIVISIONS * repeats / (repeats - 1) if repeats > 1 else 0.0,
        "added": _added(codes, rows, noises),
        "degrees": [min(noise.degrees for noise in of_task) for of_task in of_tasks],
        "present": present.astype(int).tolist(),
        "mean": _reduced_facts(means, present, most),
        "spread": _reduced_facts(spreads, present, most),
    }


def _added(codes: Sequence[str], rows: Sequence[str], noises: Noises) -> list[list[float]]:
    """The least variance added to the variance of each backbone and task; 0 without a cell."""
    lines: list[list[float]] = []
    for backbone in rows:
        found = [noises[backbone].get(code) for code in codes]
        lines.append([_part(noise).added if noise else 0.0 for noise in found])
    return lines


def _of_value(design: FoldDesign) -> float:
    return design.value_factor


def _of_difference(design: FoldDesign) -> float:
    return design.difference_factor


def _factors(
    codes: Sequence[str],
    rows: Sequence[str],
    noises: Noises,
    factor: Callable[[FoldDesign], float],
) -> list[list[float | None]]:
    """Factor of the training draw on a variance, by backbone and task; None without a cell."""
    factors: list[list[float | None]] = []
    for backbone in rows:
        found = [noises[backbone].get(code) for code in codes]
        factors.append([factor(_part(noise).design) if noise else None for noise in found])
    return factors


def _reduced_facts(vectors: FloatArray, present: Array, most: int) -> dict[str, Any]:
    """Vectors (rows, tasks, length) of the cells that are present, in few directions."""
    short = reduced(vectors[present], most)
    longest = np.abs(short.coordinates).max(axis=0, initial=0.0)
    used = np.flatnonzero(longest > 1e-6 * longest.max(initial=0.0))
    coordinates = np.zeros((*present.shape, len(used)))
    rest = np.zeros(present.shape)
    coordinates[present] = short.coordinates[:, used]
    rest[present] = short.rest
    return {"coordinates": packed(coordinates), "rest": packed(rest)}


def _t_tables(degrees: float, pairs: int) -> dict[str, Any]:
    """Student's t as tables that a page interpolates.

    ``half`` is the factor of a 95 % interval; ``cdf`` the distribution on a grid; ``critical`` the
    size of t that Holm's correction needs for each number of remaining pairs.
    """
    grid = np.arange(0.0, _CDF_END + _CDF_STEP / 2, _CDF_STEP)
    doublings = np.log2(pairs)
    steps = max(2, int(np.ceil(doublings * _STEPS_PER_DOUBLING)) + 1)
    remaining = np.exp2(np.linspace(0.0, doublings, steps))
    critical = stdtrit(degrees, 1 - ERROR / 2 / remaining)
    return {
        "half": float(stdtrit(degrees, 0.975)),
        "step": _CDF_STEP,
        "cdf": [round(float(p), 7) for p in stdtr(degrees, grid)],
        "doublings": float(doublings),
        "critical": [round(float(t), 6) for t in critical],
    }
