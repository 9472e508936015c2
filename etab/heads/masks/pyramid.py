"""The feature maps of every row at the four levels that decoders take as input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from etab.errors import UnsupportedOptionError, not_finite
from etab.types import IntArray

LEVELS = 4
# Rows that are read at once.
MAP_CHUNK = 32


def choose_levels(shapes: Sequence[tuple[int, ...]], grid: int) -> tuple[int, ...]:
    """Choose the map of each of the four levels (grid, grid/2, grid/4, grid/8 points a side).

    Maps of one size (a transformer) are spread over the levels, the shallowest for the finest
    level. Otherwise each level takes the map nearest in size, the deepest of equally near ones.
    Missing sizes are made by resampling.

    Args:
        shapes: (n, c, h, w) of each map.
        grid: Points on a side of the finest level.

    Returns:
        Index of the map of each level.

    Example:
        >>> choose_levels([(9, 8, 14, 14)] * 4, 56)
        (0, 1, 2, 3)
    """
    sides = [float(np.sqrt(h * w)) for _, _, h, w in shapes]
    if len(set(sides)) == 1:
        spread = np.linspace(0, len(sides) - 1, LEVELS)
        return tuple(int(i) for i in spread.round())
    chosen = []
    for level in range(LEVELS):
        distances = [abs(np.log2(side / (grid >> level))) for side in sides]
        nearest = min(distances)
        deepest = max(i for i, distance in enumerate(distances) if distance == nearest)
        chosen.append(deepest)
    return tuple(chosen)


def sides_of(
    name: str,
    shapes: Sequence[tuple[int, ...]],
    grid: int,
) -> tuple[int, ...]:
    """Compute the points on a side of each level for a decoder.

    They are grid, grid/2, grid/4 and grid/8. DPT takes tokens at their own resolution, which it
    changes by learned steps: for it, maps of one size (a transformer) all have the one of these
    four sides that is nearest to theirs.

    Args:
        name: Name of the decoder.
        shapes: (n, c, h, w) of each map.
        grid: Points on a side of the finest level.
    """
    pyramid = tuple(grid >> level for level in range(LEVELS))
    sizes = {tuple(shape[2:]) for shape in shapes}
    if name != "dpt" or len(sizes) > 1:
        return pyramid
    h, w = shapes[0][2:]
    of_maps = float(np.sqrt(h * w))
    nearest = min(pyramid, key=lambda side: abs(np.log2(of_maps / side)))
    return (nearest,) * LEVELS


class Pyramid:
    """The maps of every row at the four levels.

    Args:
        maps: Maps (n, c, h, w), which may be views of files.
        grid: Points on a side of the finest level.
        budget: Maps of at most so many bytes are held in memory (float16); others are read as
            needed.
        sides: Points on a side of each level, see ``sides_of``; None for grid, grid/2, grid/4,
            grid/8.
    """

    def __init__(
        self,
        maps: Sequence[Any],
        grid: int,
        budget: int,
        sides: Sequence[int] | None = None,
    ) -> None:
        """Choose the levels and read the maps where they fit."""
        self.maps = maps
        self.grid = grid
        self.sides = tuple(sides or (grid >> level for level in range(LEVELS)))
        self.levels = choose_levels([m.shape for m in maps], grid)
        self.channels = tuple(int(maps[i].shape[1]) for i in self.levels)
        n = len(maps[0])
        shapes = [(n, c, side, side) for c, side in zip(self.channels, self.sides, strict=True)]
        bytes_needed = sum(2 * math.prod(shape) for shape in shapes)
        self.held: list[Any] | None = None
        if bytes_needed <= budget:
            self.held = self._read_all(shapes)

    def _read_all(self, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
        """The maps of every row at the four levels, as float16 tensors of these shapes."""
        import torch

        n = len(self.maps[0])
        held = [torch.empty(shape, dtype=torch.float16) for shape in shapes]
        for start in range(0, n, MAP_CHUNK):
            end = min(start + MAP_CHUNK, n)
            blocks = self._read(np.arange(start, end))
            for level, block in zip(held, blocks, strict=True):
                level[start:end] = block
        return held

    def rows(self, index: IntArray) -> list[Any]:
        """Read the maps of rows at the four levels.

        Args:
            index: The rows.

        Returns:
            Float32 tensors (rows, channels, side, side) of the levels.
        """
        import torch

        if self.held is None:
            return self._read(index)
        rows = torch.as_tensor(np.asarray(index, dtype=np.int64))
        return [level[rows].float() for level in self.held]

    def _read(self, index: IntArray) -> list[Any]:
        import torch

        from etab.heads.masks.networks import resize_map

        read = {}
        for i in set(self.levels):
            block = torch.from_numpy(np.asarray(self.maps[i][index], dtype=np.float32))
            if not bool(torch.isfinite(block).all()):
                raise not_finite(f"Feature map {i} of the rows {index[0]} to {index[-1]}")
            read[i] = block
        # Rounded to float16 in both cases, so that a result does not depend on the memory.
        return [
            resize_map(read[i], side).half().float()
            for i, side in zip(self.levels, self.sides, strict=True)
        ]

    def moments(self, rows: IntArray) -> list[tuple[Any, Any]]:
        """Compute the mean and deviation of each level over rows.

        Args:
            rows: The rows.

        Returns:
            (mean, deviation), each (channels,), of each level.
        """
        import torch

        # Sums of the values and of their squares.
        sums = [torch.zeros(2, c, dtype=torch.float64) for c in self.channels]
        for start in range(0, len(rows), MAP_CHUNK):
            blocks = self.rows(rows[start : start + MAP_CHUNK])
            for total, block in zip(sums, blocks, strict=True):
                wide = block.double()
                first = wide.sum(dim=(0, 2, 3))
                second = wide.square().sum(dim=(0, 2, 3))
                total += torch.stack([first, second])
        out = []
        for side, total in zip(self.sides, sums, strict=True):
            mean, square = total / (len(rows) * side**2)
            variance = (square - mean.square()).clamp_min(1e-8)
            out.append((mean.float(), variance.sqrt().float()))
        return out


def refuse_maps(name: str, maps: Sequence[Any]) -> None:
    """Check that a decoder can predict masks from feature maps.

    Args:
        name: Name of the head in errors.
        maps: The maps (n, c, h, w).

    Raises:
        UnsupportedOptionError: There are no maps, they have another shape, or all are smaller than
            4 x 4 points.
    """
    if not maps:
        raise UnsupportedOptionError(
            f"The head {name!r} needs feature maps; these features have none. Take a backbone with "
            "maps (a convolutional network or a transformer with patch tokens), or a head on "
            "pooled embeddings."
        )
    shapes = ", ".join(str(tuple(m.shape[1:])) for m in maps)
    if any(len(m.shape) != 4 for m in maps):
        raise UnsupportedOptionError(
            f"The head {name!r} needs maps (channels, h, w) for each frame; got {shapes}."
        )
    shorter_sides = [min(m.shape[2:]) for m in maps]
    if max(shorter_sides) < 4:
        raise UnsupportedOptionError(
            f"The head {name!r} needs a map of at least 4 x 4 points; the maps (channels, h, w) "
            f"are {shapes}. Take the backbone at a larger input size, or layers with a smaller "
            "stride."
        )


class LastRows:
    """A reader that stores the last rows: networks that train together read the same rows."""

    def __init__(self, read: Callable[[IntArray], Any]) -> None:
        """Take the function that reads rows."""
        self.read = read
        self.key = b""
        self.last: Any = None

    def __call__(self, rows: IntArray) -> Any:
        """Return the content of some rows; it is read again only where the rows differ."""
        key = np.asarray(rows, dtype=np.int64).tobytes()
        if key != self.key or self.last is None:
            self.key = key
            self.last = self.read(rows)
        return self.last
