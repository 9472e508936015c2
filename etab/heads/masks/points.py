"""The points of feature maps that the linear segmentation probe is fitted on.

Every map is resampled to a common grid of 28 x 28 points. A row contributes one point in eight;
which ones depends on its number, so that all points are covered by eight rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import numpy as np
from scipy import sparse

from etab.errors import UnsupportedOptionError
from etab.storage.memory import Spill
from etab.types import Array, FloatArray, IntArray

GRID = 28
POOLINGS = ("point", "mean3x3")
PHASES = 8
# Number of maps that are read at once.
MAPS_AT_ONCE = 8
_WAVES = 6
POSITIONS = _WAVES**2 - 1


@cache
def lattice(phase: int) -> IntArray:
    """The points (flat indexes into the grid) that rows of this phase contribute to the moments:
    one in eight.
    """
    rows, cols = np.mgrid[0:GRID, 0:GRID]
    return np.flatnonzero(((rows + 2 * (cols // 4) + 4 * cols) % PHASES == phase).ravel())


@lru_cache(maxsize=1)
def positions() -> FloatArray:
    """Where a grid point is, as the lowest 6 x 6 cosine waves over the frame without the constant:
    (points, 35).

    A smooth atlas is linear in them, so that no backbone is scored on whether its maps leak
    position.
    """
    line = (np.arange(GRID) + 0.5) / GRID
    waves = np.cos(np.pi * np.arange(_WAVES)[:, None] * line)
    both = np.einsum("ay,bx->yxab", waves, waves).reshape(GRID * GRID, -1)
    return np.asarray(both[:, 1:], dtype=np.float32)


@lru_cache(maxsize=1)
def positions_of_lattices() -> FloatArray:
    """``positions`` of the points of each phase: (phases, points, 35)."""
    return np.stack([positions()[lattice(phase)] for phase in range(PHASES)])


def axis_weights(size: int) -> FloatArray:
    """Linear resampling (GRID, size) between pixel centres, as image libraries do it."""
    at = np.clip((np.arange(GRID) + 0.5) * size / GRID - 0.5, 0, size - 1)
    low = np.minimum(at.astype(int), max(size - 2, 0))
    out = np.zeros((GRID, size), dtype=np.float32)
    out[np.arange(GRID), low] += 1 - (at - low)
    out[np.arange(GRID), np.minimum(low + 1, size - 1)] += at - low
    return out


def smooth(scores: FloatArray) -> FloatArray:
    """Mean over the 3x3 neighbourhood of the last two axes, edges repeated."""
    p = np.pad(scores, [(0, 0)] * (scores.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    rows = p[..., :-2, :] + p[..., 1:-1, :] + p[..., 2:, :]
    return np.asarray((rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9)


def _operator(
    h: int,
    w: int,
    pooling: str,
    phase: int,
) -> FloatArray:
    """Linear map (points, h * w) from a feature map to the lattice of a phase, smoothed."""
    eye = np.eye(h * w, dtype=np.float32).reshape(h * w, h, w)
    maps = smooth(eye) if pooling == "mean3x3" else eye
    return np.asarray(
        (axis_weights(h) @ maps @ axis_weights(w).T).reshape(h * w, -1)[:, lattice(phase)].T
    )


@dataclass(frozen=True, slots=True)
class Points:
    """Features of the lattice points of every row: (n, points, channels) float16, without
    positions.
    """

    values: Spill
    layers: tuple[slice, ...]
    scratch: list[FloatArray] = field(default_factory=list, compare=False)

    def rows(self, index: IntArray) -> FloatArray:
        """Design matrix of some rows: (rows * points, channels + positions), until the next call
        takes its memory.
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
        """Sum over the points of some rows of y (rows, points) times the design there: (channels +
        positions,).

        A structure covers a part of the frame: only points where y is not 0 are read.
        """
        row, point = np.nonzero(y)
        share = y[row, point]
        some = self.values[index[row], point]
        channels = share @ widen(some, np.empty(some.shape, dtype=np.float32))
        return np.concatenate(
            [channels, share @ positions_of_lattices()[index[row] % PHASES, point]]
        )


def _narrow(values: FloatArray, out: Array) -> None:
    """Store single precision as float16."""
    import torch

    torch.from_numpy(out).copy_(torch.from_numpy(values))


def widen(
    half: Array,
    out: FloatArray,
    *,
    turned: bool = False,
) -> FloatArray:
    """Put float16 values into single precision ``out``: torch does it many times faster than NumPy.

    ``turned``: the last two axes are exchanged on the way.
    """
    import torch

    if half.dtype != np.float16:
        half = half.astype(np.float16)
    values = torch.from_numpy(half)
    torch.from_numpy(out).copy_(values.transpose(-1, -2).contiguous() if turned else values)
    return out


def sample_points(maps: Sequence[Any], budget: int) -> dict[str, Points]:
    """Read every map once and keep the lattice points of each row, for each pooling: in memory
    under ``budget`` bytes.
    """
    edges = np.concatenate([[0], np.cumsum([m.shape[1] for m in maps])])
    layers = tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(edges))
    n = len(maps[0])
    points = len(lattice(0))
    path = getattr(maps[0], "path", None)
    kept = [
        Spill(
            (n, points, int(edges[-1])),
            budget=budget // len(POOLINGS),
            folder=path and path.parent.parent,
        )
        for _ in POOLINGS
    ]
    operators = [
        [
            sparse.csr_array(
                np.vstack([_operator(m.shape[2], m.shape[3], p, phase) for p in POOLINGS])
            )
            for phase in range(PHASES)
        ]
        for m in maps
    ]
    for start in range(0, n, MAPS_AT_ONCE):
        blocks = np.empty(
            (len(POOLINGS), min(MAPS_AT_ONCE, n - start), points, int(edges[-1])), dtype=np.float16
        )
        for level, m in enumerate(maps):
            half = np.asarray(m[start : start + MAPS_AT_ONCE])
            half = half.reshape(*half.shape[:2], -1)
            block = widen(
                half, np.empty(half.shape[:1] + half.shape[:0:-1], dtype=np.float32), turned=True
            )
            _refuse_bad(block, level, start)
            for i, frame in enumerate(block):
                at = operators[level][(start + i) % PHASES] @ frame
                for k, out in enumerate(blocks):
                    _narrow(at[k * points : (k + 1) * points], out[i, :, layers[level]])
        for values, some in zip(kept, blocks, strict=True):
            values.put(start, some)
    return {pooling: Points(values, layers) for pooling, values in zip(POOLINGS, kept, strict=True)}


def _refuse_bad(block: FloatArray, level: int, start: int) -> None:
    if not np.isfinite(block).all():
        raise UnsupportedOptionError(
            f"Feature map {level} holds values that are not finite (rows {start} to "
            f"{start + len(block)}). "
            "The backbone overflows on this input: try --precision fp32."
        )
