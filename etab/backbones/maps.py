"""What is kept of a feature map: its means, and the map itself in half precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Largest absolute value of a stored feature map; float16 ends at 65,504.
LARGEST = 6e4

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
