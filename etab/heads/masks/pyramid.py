"""The feature maps of every row at the four levels that a decoder takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.types import IntArray

LEVELS = 4
# Rows that are read at once.
MAP_CHUNK = 32


def choose_levels(shapes: Sequence[tuple[int, ...]], grid: int) -> tuple[int, ...]:
    """Which map feeds each of the four levels (grid, grid/2, grid/4, grid/8 points a side).

    Maps of one size (a transformer) are spread over the levels, shallow to fine; else each level
    takes the map nearest in size, the deepest of equals. Sizes that no map has are made by
    resampling. ``shapes`` are (n, c, h, w).
    """
    sides = [float(np.sqrt(s[2] * s[3])) for s in shapes]
    if len(set(sides)) == 1:
        return tuple(int(i) for i in np.linspace(0, len(sides) - 1, LEVELS).round())
    far = [[abs(np.log2(side / (grid >> level))) for side in sides] for level in range(LEVELS)]
    return tuple(max(i for i, d in enumerate(row) if d == min(row)) for row in far)


def sides_of(
    name: str,
    shapes: Sequence[tuple[int, ...]],
    grid: int,
) -> tuple[int, ...]:
    """Points a side at which a decoder takes each level: grid, grid/2, grid/4 and grid/8.

    DPT wants tokens at their own resolution, which it changes by learned steps: maps of one size (a
    transformer) stay at the one of these four that is nearest theirs. ``shapes`` are (n, c, h, w).
    """
    pyramid = tuple(grid >> level for level in range(LEVELS))
    if name != "dpt" or len({tuple(s[2:]) for s in shapes}) > 1:
        return pyramid
    own = float(np.sqrt(shapes[0][2] * shapes[0][3]))
    return (min(pyramid, key=lambda side: abs(np.log2(own / side))),) * LEVELS


class Pyramid:
    """The maps of every row at the four levels: held in memory (float16) under ``budget`` bytes,
    else read as needed.

    ``sides`` of the levels, see ``sides_of``; None: grid, grid/2, grid/4, grid/8.
    """

    def __init__(
        self,
        maps: Sequence[Any],
        grid: int,
        budget: int,
        sides: Sequence[int] | None = None,
    ) -> None:
        """Choose the levels and read what fits."""
        self.maps, self.grid = maps, grid
        self.sides = tuple(sides or (grid >> level for level in range(LEVELS)))
        self.levels = choose_levels([m.shape for m in maps], grid)
        self.channels = tuple(int(maps[i].shape[1]) for i in self.levels)
        n = len(maps[0])
        size = sum(2 * n * c * side**2 for c, side in zip(self.channels, self.sides, strict=True))
        self.held: list[Any] | None = None
        if size <= budget:
            import torch

            held = [
                torch.empty((n, c, side, side), dtype=torch.float16)
                for c, side in zip(self.channels, self.sides, strict=True)
            ]
            for start in range(0, n, MAP_CHUNK):
                rows = np.arange(start, min(start + MAP_CHUNK, n))
                for level, block in zip(held, self._read(rows), strict=True):
                    level[start : start + len(rows)] = block
            self.held = held

    def rows(self, index: IntArray) -> list[Any]:
        """Float32 tensors (rows, channels, side, side) of the four levels."""
        import torch

        if self.held is None:
            return self._read(index)
        at = torch.as_tensor(np.asarray(index, dtype=np.int64))
        return [level[at].float() for level in self.held]

    def _read(self, index: IntArray) -> list[Any]:
        import torch

        from etab.heads.masks.networks import resize_map

        read = {
            i: torch.from_numpy(np.asarray(self.maps[i][index], dtype=np.float32))
            for i in set(self.levels)
        }
        for i, block in read.items():
            if not bool(torch.isfinite(block).all()):
                raise UnsupportedOptionError(
                    f"Feature map {i} holds values that are not finite (rows {index[0]} to "
                    f"{index[-1]}). "
                    "The backbone overflows on this input: try --precision fp32."
                )
        # halves in both cases, so that what fits in memory never changes a result
        return [
            resize_map(read[i], side).half().float()
            for i, side in zip(self.levels, self.sides, strict=True)
        ]

    def moments(self, rows: IntArray) -> list[tuple[Any, Any]]:
        """Mean and deviation (channels,) of each level over these rows."""
        import torch

        sums = [torch.zeros(2, c, dtype=torch.float64) for c in self.channels]
        for start in range(0, len(rows), MAP_CHUNK):
            for total, block in zip(sums, self.rows(rows[start : start + MAP_CHUNK]), strict=True):
                wide = block.double()
                total += torch.stack([wide.sum(dim=(0, 2, 3)), wide.square().sum(dim=(0, 2, 3))])
        out = []
        for side, total in zip(self.sides, sums, strict=True):
            mean, square = total / (len(rows) * side**2)
            out.append((mean.float(), (square - mean.square()).clamp_min(1e-8).sqrt().float()))
        return out


def refuse_maps(name: str, maps: Sequence[Any]) -> None:
    """Raise UnsupportedOptionError for features that no decoder can answer in pixels from."""
    if not maps:
        raise UnsupportedOptionError(
            f"The head {name!r} needs feature maps; these features have none. Take a backbone with "
            "maps (a convolutional "
            "network or a transformer with patch tokens), or a head on pooled embeddings."
        )
    shapes = ", ".join(str(tuple(m.shape[1:])) for m in maps)
    if any(len(m.shape) != 4 for m in maps):
        raise UnsupportedOptionError(
            f"The head {name!r} needs maps (channels, h, w) for each frame; got {shapes}."
        )
    if max(min(m.shape[2:]) for m in maps) < 4:
        raise UnsupportedOptionError(
            f"The head {name!r} needs a map of at least 4 x 4 points; the maps (channels, h, w) "
            f"are {shapes}. "
            "Take the backbone at a larger input size, or layers with a smaller stride."
        )


class LastRows:
    """A reader that keeps the last rows: networks that train together read the same rows."""

    def __init__(self, read: Callable[[IntArray], Any]) -> None:
        """Take the function that reads rows."""
        self.read = read
        self.key = b""
        self.last: Any = None

    def __call__(self, rows: IntArray) -> Any:
        """The content of these rows, read anew only where they are others than the last."""
        key = np.asarray(rows, dtype=np.int64).tobytes()
        if key != self.key or self.last is None:
            self.key = key
            self.last = self.read(rows)
        return self.last
