"""Pictures: outlines over frames, clips as GIFs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.types import Array

COLOURS = ((226, 61, 75), (64, 156, 255), (255, 196, 0))


def overlay(frame: Array, *masks: Array, alpha: float = 0.28) -> Array:
    """Draw masks over a grey frame: (h, w) uint8 and boolean (h, w) masks to (h, w, 3) uint8, each with its border."""
    import cv2

    out = np.repeat(np.asarray(frame, dtype=np.float32)[..., None], 3, axis=2)
    for mask, colour in zip(masks, COLOURS * len(masks), strict=False):
        if mask.shape != frame.shape:
            raise UnsupportedOptionError(
                f"The mask is {mask.shape}, the frame is {frame.shape}; give both one size."
            )
        shade = np.array(colour, dtype=np.float32)
        out[mask] = (1 - alpha) * out[mask] + alpha * shade
        rim = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        out[rim] = shade
    return np.asarray(np.rint(out), dtype=np.uint8)


def centiseconds(fps: float) -> int:
    """Frame time of a GIF: the nearest centisecond, at least 2 (players slow down below that)."""
    if not np.isfinite(fps) or fps <= 0:
        raise UnsupportedOptionError(f"fps is {fps}; wanted a number of frames a second above 0.")
    return max(2, int(100 / fps + 0.5))


def write_gif(frames: Sequence[Array], path: Path, *, fps: float) -> Path:
    """Write uint8 frames (h, w) or (h, w, 3) as a GIF that loops."""
    import imageio.v3 as iio

    path.parent.mkdir(parents=True, exist_ok=True)
    stack = np.stack([np.repeat(f[..., None], 3, axis=2) if f.ndim == 2 else f for f in frames])
    iio.imwrite(
        path, stack, extension=".gif", plugin="pillow", duration=10 * centiseconds(fps), loop=0
    )
    return path
