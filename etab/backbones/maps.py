"""The parts of a feature map that are stored: its means, and the map itself in half precision."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

# Largest absolute value of a stored feature map; float16 ends at 65,504.
LARGEST = 6e4

MOST_PREFIX = 8
"""Most tokens before the grid of a network whose patches are not known: Pixio has eight."""

# Cells along each side of the coarse grid of means.
CELLS = 4

# Frames whose maps are widened to float32 at a time: so few that the copies stay in fast memory.
_FRAMES = 2


def map_means(grid: Tensor) -> tuple[Tensor, Tensor]:
    """Average a feature map over all of it and over 4 x 4 cells, in float32.

    On a processor, maps of lower precision are widened a few frames at a time; the values are
    the same as of one copy of all frames.

    Args:
        grid: Feature maps (n, c, h, w) in any floating-point precision.

    Returns:
        The means (n, c), and the means of the cells (n, 16 c) with the cells of a channel side by
        side; both in float32.

    Example:
        >>> mean, cells = map_means(torch.arange(16.0).reshape(1, 1, 4, 4))
        >>> mean.tolist(), cells.shape
        ([[7.5]], torch.Size([1, 16]))
    """
    if grid.dtype == torch.float32 or grid.device.type != "cpu" or torch.compiler.is_compiling():
        return _means(grid.float())
    parts = [_means(few.float()) for few in torch.split(grid, _FRAMES)]
    means, cells = zip(*parts, strict=True)
    return torch.cat(means), torch.cat(cells)


def _means(wide: Tensor) -> tuple[Tensor, Tensor]:
    return wide.mean(dim=(2, 3)), nn.functional.adaptive_avg_pool2d(wide, CELLS).flatten(1)


def side_of_tokens(n_tokens: int, size: int) -> int:
    """Find the side of the square grid that tokens of a square picture lie on.

    Args:
        n_tokens: Number of tokens, with those before the grid.
        size: Side of the picture in pixels.

    Returns:
        The largest side whose cells are whole pixels and that leaves at most ``MOST_PREFIX`` tokens
        before the grid, and fewer than the grid has; 0 where there is none.

    Example:
        >>> side_of_tokens(197, 224), side_of_tokens(9, 32), side_of_tokens(32, 224)
        (14, 0, 0)
    """
    for side in range(math.isqrt(n_tokens), 1, -1):
        prefix = n_tokens - side * side
        if prefix <= MOST_PREFIX and prefix < side * side and size % side == 0:
            return side
    return 0


def map_of_tokens(tokens: Tensor, side: int) -> tuple[Tensor, Tensor | None]:
    """Lay tokens out as a map; class token, distillation token and registers precede the grid.

    Args:
        tokens: Tokens (n, t, c), of which the last ``side * side`` are the grid, row by row.
        side: Side of the grid.

    Returns:
        The map (n, c, side, side), and the first token (n, c) where any precedes the grid.

    Example:
        >>> grid, token = map_of_tokens(torch.arange(5.0).reshape(1, 5, 1), 2)
        >>> grid.tolist(), token.tolist()
        ([[[[1.0, 2.0], [3.0, 4.0]]]], [[0.0]])
    """
    prefix = tokens.shape[1] - side * side
    grid = tokens[:, prefix:].transpose(1, 2).reshape(len(tokens), -1, side, side)
    return grid, tokens[:, 0] if prefix else None


def stored_map(grid: Tensor) -> Tensor:
    """Convert feature maps to float16, with values beyond its range at its ends.

    Args:
        grid: Feature maps (n, c, h, w), or anything of another shape, in any precision.

    Returns:
        The same shape in float16; absolute values are at most ``LARGEST``.

    Example:
        >>> stored_map(torch.tensor([1.0, -1e9])).tolist()
        [1.0, -60000.0]
    """
    # LARGEST is a float16 itself, so that rounding first and limiting afterwards give the same.
    rounded = grid.to(torch.float16)
    # Values that are in float16 already are the input itself, which stays as it is.
    limited = rounded.clamp if rounded is grid else rounded.clamp_
    return limited(-LARGEST, LARGEST)


class KeptMaps:
    """Means and stored maps of a batch of maps with the channels last, filled part by part.

    Each frame is widened to float32, averaged and reordered while it is in fast memory. The means
    are sums in float32, in another order than those of ``map_means``.

    Attributes:
        mean: Means of the maps (n, c), float32.
        cells: Means of 4 x 4 cells (n, 16 c), as in ``map_means``.
        stored: The maps (n, c, h, w) as ``stored_map`` makes them, in C order.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Take memory for a batch of maps of the shape (n, h, w, c)."""
        n, h, w, c = shape
        self.mean = torch.empty(n, c)
        self.cells = torch.empty(n, c * CELLS * CELLS)
        self.stored = torch.empty(n, c, h, w, dtype=torch.float16)

    def put(self, first: int, maps: Tensor) -> None:
        """Keep the maps of some frames.

        Args:
            first: Number of the first frame in the batch.
            maps: The maps (k, h, w, c), float32 or bf16.

        Example:
            >>> kept = KeptMaps((1, 4, 4, 1))
            >>> kept.put(0, torch.arange(16.0).reshape(1, 4, 4, 1))
            >>> kept.mean.tolist(), kept.stored.shape
            ([[7.5]], torch.Size([1, 1, 4, 4]))
        """
        import cv2

        _, h, w, c = maps.shape
        wide = torch.empty(h, w, c)
        half = torch.empty(h * w, c, dtype=torch.float16)
        # OpenCV transposes matrices several times faster than torch; it knows no float16.
        rows = half.view(torch.int16).numpy()
        for i, frame in enumerate(maps, first):
            wide.copy_(frame)
            cells = _cell_means(wide)
            self.cells[i].view(c, CELLS * CELLS).copy_(cells.T)
            if h % CELLS or w % CELLS:
                self.mean[i] = wide.mean(dim=(0, 1))
            else:
                self.mean[i] = cells.mean(dim=0)
            # Limited before it is rounded: three times as fast as in float16, with the same result.
            half.copy_(wide.clamp_(-LARGEST, LARGEST).view(h * w, c))
            cv2.transpose(rows, self.stored[i].view(c, h * w).view(torch.int16).numpy())


def _cell_means(wide: Tensor) -> Tensor:
    """Average a map (h, w, c) over cells: (16, c), row after row of cells."""
    h, w, c = wide.shape
    if h % CELLS or w % CELLS:
        # The cells overlap, as those of ``adaptive_avg_pool2d``.
        return _weights(h, w) @ wide.view(h * w, c)
    of_rows = wide.view(CELLS, h // CELLS, w, c).sum(dim=1)
    sums = of_rows.view(CELLS, CELLS, w // CELLS, c).sum(dim=2)
    return sums.view(CELLS * CELLS, c).mul_(CELLS * CELLS / (h * w))


@lru_cache(maxsize=64)
def _weights(h: int, w: int) -> Tensor:
    """Weights (16, h w) of the places of a map in the means of cells."""
    return torch.from_numpy(np.kron(_axis(h), _axis(w)).astype(np.float32))


def _axis(n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Weights (4, n) of the places on one axis in the means of four cells."""
    weights = np.zeros((CELLS, n))
    for i in range(CELLS):
        start = i * n // CELLS
        end = -(-(i + 1) * n // CELLS)
        weights[i, start:end] = 1 / (end - start)
    return weights
