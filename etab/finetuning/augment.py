"""Strong clinical augmentation of ultrasound frames: another plausible recording of the same heart.

Importing this module needs torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

AUGMENTATIONS = ("none", "clinical")
_TILT = math.radians(10)
_ZOOM = 0.12
_SHIFT = 0.06


def clinical(frames: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Draw another plausible recording of each row, with torch's generator.

    The probe is tilted by up to 10 degrees about the apex of the sector. Depth changes by up to
    12 %, and the position by up to 6 % of the side. Gain, gain over depth, contrast (gamma) and
    speckle change inside the sector only, since black pixels stay black. All frames of a row change
    alike, except for the speckle. Frames are not mirrored: left and right are anatomy.

    Args:
        frames: Frames (n, k, 1, h, w) in [0, 1].
        masks: Masks (n, c, g, g), moved with the frames; None without masks.

    Returns:
        Frames and masks of the same shapes.
    """
    n = len(frames)

    def draw(*shape: int) -> Tensor:
        return torch.rand(n, *shape, device=frames.device) * 2 - 1

    theta = _places(draw(5))
    moved = _move(frames.flatten(1, 2), theta)
    masks = None if masks is None else _move(masks, theta)
    gamma, gain, slope, grain = draw(4).unbind(1)
    column = (-1, 1, 1, 1)
    depth = torch.linspace(-1, 1, frames.shape[-2], device=frames.device).view(1, 1, -1, 1)
    speckle = functional.avg_pool2d(torch.randn_like(moved), 3, 1, 1)
    light = (0.25 * gain).exp().view(column) * (1 + 0.25 * slope.view(column) * depth)
    dirty = moved.clamp_min(0) ** (0.45 * gamma).exp().view(column)
    dirty = dirty * light * (1 + 0.35 * grain.abs().view(column) * speckle)
    return dirty.clamp(0, 1).reshape(frames.shape), masks


def _places(u: Tensor) -> Tensor:
    """Make affine maps (n, 2, 3) from output points to input points.

    ``u`` (n, 5) in [-1, 1] holds tilt, zoom, stretch and the two shifts.
    """
    tilt = _TILT * u[:, 0]
    zoom = (_ZOOM * u[:, 1]).exp()
    stretch = (0.06 * u[:, 2]).exp()
    cos = tilt.cos()
    sin = tilt.sin()
    entries = [
        cos * zoom * stretch,
        -sin * zoom,
        sin * zoom * stretch,
        cos * zoom,
    ]
    turn = torch.stack(entries, 1).view(-1, 2, 2)
    # The middle of the top of the frame; only the shift moves it.
    apex = torch.tensor([0.0, -1.0], device=u.device)
    moved = apex - (turn * apex).sum(dim=2) + 2 * _SHIFT * u[:, 3:5]
    return torch.cat([turn, moved[:, :, None]], dim=2)


def _move(planes: Tensor, theta: Tensor) -> Tensor:
    grid = functional.affine_grid(theta, list(planes.shape), align_corners=False)
    return functional.grid_sample(planes, grid, align_corners=False)
