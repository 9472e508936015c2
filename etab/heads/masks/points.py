"""The points of feature maps that the linear mask probes are fitted on.

Every map is resampled to a common grid of 28 x 28 points. A row contributes one point in eight; the
choice depends on the number of the row, so that eight rows cover all points.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import numpy as np
import scipy

from etab.errors import not_finite
from etab.storage.memory import Spill
from etab.types import Array, FloatArray, IntArray

# Points on a side of the common grid.
GRID = 28
POOLINGS = ("point", "mean3x3")
# Rows that cover all points of the grid together.
PHASES = 8
# Number of maps that are read at once.
MAPS_AT_ONCE = 8
# Cosine waves along a side, and the number of their products without the constant.
_WAVES = 6
POSITIONS = _WAVES**2 - 1


@cache
def lattice(phase: int) -> IntArray:
    """Find the points that rows of a phase contribute: flat indexes into the grid, one in eight."""
    rows, columns = np.mgrid[0:GRID, 0:GRID]
    phases = (rows + 2 * (columns // 4) + 4 * columns) % PHASES
    is_of_phase = phases == phase
    return np.flatnonzero(is_of_phase.ravel())


@lru_cache(maxsize=1)
def positions() -> FloatArray:
    """Encode the positions of grid points as cosine waves over the frame: (points, 35).

    These are the lowest 6 x 6 waves without the constant. A smooth atlas is linear in them, so that
    no backbone gains from maps that leak position.
    """
    line = (np.arange(GRID) + 0.5) / GRID
    frequencies = np.arange(_WAVES)[:, None]
    waves = np.cos(np.pi * frequencies * line)
    products = np.einsum("ay,bx->yxab", waves, waves)
    of_points = products.reshape(GRID * GRID, -1)
    return np.asarray(of_points[:, 1:], dtype=np.float32)


@lru_cache(maxsize=1)
def positions_of_lattices() -> FloatArray:
    """``positions`` of the points of each phase: (phases, points, 35)."""
    return np.stack([positions()[lattice(phase)] for phase in range(PHASES)])


def axis_weights(size: int) -> FloatArray:
    """Compute the matrix (GRID, size) that resamples an axis linearly between pixel centres."""
    points = np.arange(GRID)
    positions_on_axis = np.clip((points + 0.5) * size / GRID - 0.5, 0, size - 1)
    low = np.minimum(positions_on_axis.astype(int), max(size - 2, 0))
    high = np.minimum(low + 1, size - 1)
    share = positions_on_axis - low
    out = np.zeros((GRID, size), dtype=np.float32)
    out[points, low] += 1 - share
    out[points, high] += share
    return out


def smooth(scores: FloatArray) -> FloatArray:
    """Average over the 3 x 3 neighbourhood in the last two axes, with edges repeated.

    Args:
        scores: (..., h, w).

    Returns:
        (..., h, w).
    """
    leading = [(0, 0)] * (scores.ndim - 2)
    padded = np.pad(scores, [*leading, (1, 1), (1, 1)], mode="edge")
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    return np.asarray(sums / 9)


def _operator(h: int, w: int, pooling: str, phase: int) -> FloatArray:
    """Linear map (points, h * w) from a feature map to the lattice of a phase, smoothed."""
    # One map for each point of the feature map, 1 there and 0 elsewhere.
    maps = np.eye(h * w, dtype=np.float32).reshape(h * w, h, w)
    if pooling == "mean3x3":
        maps = smooth(maps)
    resampled = axis_weights(h) @ maps @ axis_weights(w).T
    of_grid = resampled.reshape(h * w, -1)
    return np.asarray(of_grid[:, lattice(phase)].T)


@dataclass(frozen=True, slots=True)
class Points:
    """Features of the lattice points of every row.

    Attributes:
        values: (n, points, channels) float16, without positions.
        layers: The channels of each map.
        scratch: Memory that ``rows`` reuses.
    """

    values: Spill
    layers: tuple[slice, ...]
    scratch: list[FloatArray] = field(default_factory=list, compare=False)

    def rows(self, index: IntArray) -> FloatArray:
        """Fill the design matrix of some rows; the next call reuses its memory.

        Args:
            index: The rows.

        Returns:
            (rows * points, channels + positions) float32.
        """
        n = len(index)
        points = self.values.shape[1]
        width = self.values.shape[2]
        if not self.scratch or len(self.scratch[0]) < n:
            self.scratch[:] = [np.empty((n, points, width + POSITIONS), dtype=np.float32)]
        x = self.scratch[0][:n]
        self.values.widened(index, x[:, :, :width])
        x[:, :, width:] = positions_of_lattices()[index % PHASES]
        return x.reshape(n * points, -1)

    def weighed(self, index: IntArray, y: FloatArray) -> FloatArray:
        """Sum the design over the points of some rows, weighted by a label.

        A structure covers a part of the frame: only points where the label is not 0 are read.

        Args:
            index: The rows.
            y: (rows, points) label.

        Returns:
            (channels + positions,).
        """
        row, point = np.nonzero(y)
        share = y[row, point]
        half = self.values[index[row], point]
        single = widen(half, np.empty(half.shape, dtype=np.float32))
        channels = share @ single
        of_positions = share @ positions_of_lattices()[index[row] % PHASES, point]
        return np.concatenate([channels, of_positions])


def _narrow(values: FloatArray, out: Array) -> None:
    """Store single precision as float16."""
    import torch

    torch.from_numpy(out).copy_(torch.from_numpy(values))


def widen(half: Array, out: FloatArray, *, turned: bool = False) -> FloatArray:
    """Convert float16 values to single precision; torch is many times faster at this than NumPy.

    Args:
        half: The values; other types are converted to float16 first.
        out: Where the result is stored, float32.
        turned: Whether the last two axes are exchanged.

    Returns:
        ``out``.
    """
    import torch

    if half.dtype != np.float16:
        half = half.astype(np.float16)
    values = torch.from_numpy(half)
    if turned:
        values = values.transpose(-1, -2).contiguous()
    torch.from_numpy(out).copy_(values)
    return out


def sample_points(maps: Sequence[Any], budget: int) -> dict[str, Points]:
    """Read every map once and store the lattice points of each row, for each pooling.

    Args:
        maps: Maps (n, channels, h, w), which may be views of files.
        budget: Bytes that may be stored in memory; more is stored on disk.

    Returns:
        The points of each pooling.
    """
    edges = np.concatenate([[0], np.cumsum([m.shape[1] for m in maps])])
    layers = tuple(slice(int(first), int(end)) for first, end in itertools.pairwise(edges))
    width = int(edges[-1])
    n = len(maps[0])
    points = len(lattice(0))
    path = getattr(maps[0], "path", None)
    folder = None if path is None else path.parent.parent
    stores = []
    for _ in POOLINGS:
        store = Spill((n, points, width), budget=budget // len(POOLINGS), folder=folder)
        stores.append(store)
    operators = [_operators(m.shape[2], m.shape[3]) for m in maps]
    for start in range(0, n, MAPS_AT_ONCE):
        rows = min(MAPS_AT_ONCE, n - start)
        blocks = np.empty((len(POOLINGS), rows, points, width), dtype=np.float16)
        for level, m in enumerate(maps):
            half = np.asarray(m[start : start + MAPS_AT_ONCE])
            n_maps, channels, *_ = half.shape
            half = half.reshape(n_maps, channels, -1)
            turned = np.empty((n_maps, half.shape[2], channels), dtype=np.float32)
            block = widen(half, turned, turned=True)
            _refuse_bad(block, level, start)
            for i, frame in enumerate(block):
                phase = (start + i) % PHASES
                of_poolings = operators[level][phase] @ frame
                for k, out in enumerate(blocks):
                    of_pooling = of_poolings[k * points : (k + 1) * points]
                    _narrow(of_pooling, out[i, :, layers[level]])
        for store, block in zip(stores, blocks, strict=True):
            store.put(start, block)
    pairs = zip(POOLINGS, stores, strict=True)
    return {pooling: Points(store, layers) for pooling, store in pairs}


def _operators(h: int, w: int) -> list[Any]:
    """For each phase, the operators of all poolings one above the other, as a sparse matrix."""
    operators = []
    for phase in range(PHASES):
        of_poolings = [_operator(h, w, pooling, phase) for pooling in POOLINGS]
        operators.append(scipy.sparse.csr_array(np.vstack(of_poolings)))
    return operators


def _refuse_bad(block: FloatArray, level: int, start: int) -> None:
    """Raise UnsupportedOptionError for values that are not finite."""
    if not np.isfinite(block).all():
        raise not_finite(f"Feature map {level} of the rows {start} to {start + len(block) - 1}")
