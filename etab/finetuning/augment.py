"""Augments frames and windows of sound as another recording of the same heart would differ.

Importing this module needs torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

AUGMENTATIONS = ("none", "clinical")
_TILT = math.radians(10)
_ZOOM = 0.12  # share of the depth
_STRETCH = 0.06  # share of the width
_SHIFT = 0.06  # share of the side
_GAMMA = 0.45  # logarithm of the exponent
_GAIN = 0.25  # logarithm of the factor
_SLOPE = 0.25  # of the gain, from the middle to the edge of the depth
_SPECKLE = 0.35
_LOUDER = 0.05  # share of the range of 80 dB
_BACKGROUND = 0.25  # share of the range of 80 dB
_BLANK = 8  # a blank covers up to an eighth of the bands, or of the time


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

    def draw(k: int) -> Tensor:
        """Draw k numbers from -1 to 1 for each row."""
        return torch.rand(n, k, device=frames.device) * 2 - 1

    maps = _affine_maps(draw(5))
    moved = _move(frames.flatten(1, 2), maps)
    masks = None if masks is None else _move(masks, maps)

    gamma, gain, slope, grain = draw(4).view(n, 4, 1, 1, 1).unbind(1)
    height = frames.shape[-2]
    depth = torch.linspace(-1, 1, height, device=frames.device).view(1, 1, -1, 1)
    noise = torch.randn_like(moved)
    speckle = functional.avg_pool2d(noise, 3, 1, 1)
    exponent = (_GAMMA * gamma).exp()
    depth_gain = 1 + _SLOPE * slope * depth
    light = (_GAIN * gain).exp() * depth_gain
    speckled = 1 + _SPECKLE * grain.abs() * speckle
    changed = moved.clamp_min(0) ** exponent * light * speckled
    return changed.clamp(0, 1).reshape(frames.shape), masks


def other_room(windows: Tensor) -> Tensor:
    """Draw another plausible recording of each log-mel window, with torch's generator.

    The level changes by up to 4 dB, a constant background reaches up to a quarter of the range, and
    one stretch of bands and one of time, each at most an eighth, are silent.

    Args:
        windows: Log-mel pictures (n, 1, h, w) in [0, 1].

    Returns:
        Pictures of the same shape.
    """
    n = len(windows)
    height, width = windows.shape[-2:]
    chances = torch.rand(n, 2, device=windows.device)[:, :, None, None, None]
    level = _LOUDER * (2 * chances[:, 0] - 1)
    background = _BACKGROUND * chances[:, 1]
    changed = torch.maximum(windows + level, background)
    silent_bands = _stretch(n, height, windows.device)[:, None, :, None]
    silent_time = _stretch(n, width, windows.device)[:, None, None, :]
    silent = silent_bands | silent_time
    return (changed * ~silent).clamp(0, 1)


def _stretch(n: int, length: int, device: torch.device) -> Tensor:
    """Draw one stretch (n, length) of up to an eighth of the length for each row."""
    chances = torch.rand(n, 2, device=device)
    size = chances[:, :1] * length / _BLANK
    first = chances[:, 1:] * (length - size)
    position = torch.arange(length, device=device)[None]
    return (position >= first) & (position < first + size)


def _affine_maps(u: Tensor) -> Tensor:
    """Make affine maps (n, 2, 3) from output points to input points.

    Args:
        u: (n, 5) numbers from -1 to 1: tilt, zoom, stretch, and the shifts in x and y.
    """
    tilt = _TILT * u[:, 0]
    zoom = (_ZOOM * u[:, 1]).exp()
    stretch = (_STRETCH * u[:, 2]).exp()
    shift = 2 * _SHIFT * u[:, 3:5]
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
    turned_apex = (turn * apex).sum(dim=2)
    moved = apex - turned_apex + shift
    return torch.cat([turn, moved[:, :, None]], dim=2)


def _move(planes: Tensor, maps: Tensor) -> Tensor:
    """Resample planes (n, c, h, w) by the affine map of each row."""
    grid = functional.affine_grid(maps, list(planes.shape), align_corners=False)
    return functional.grid_sample(planes, grid, align_corners=False)
