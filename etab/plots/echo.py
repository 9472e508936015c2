"""Pictures of echocardiograms: masks over frames, and clips as GIFs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.types import Array

MASK_COLOURS = (
    (226, 61, 75),
    (64, 156, 255),
    (255, 196, 0),
)


def overlay(
    frame: Array,
    *masks: Array,
    alpha: float = 0.28,
) -> Array:
    """Draw masks over a frame, each in its own colour with an opaque border.

    Args:
        frame: Grey frame, uint8 of shape (h, w).
        *masks: Boolean masks of the same shape.
        alpha: Opacity of the inside of a mask, from 0 to 1.

    Returns:
        Image, uint8 of shape (h, w, 3).

    Raises:
        UnsupportedOptionError: If a mask has another shape than the frame.

    Example:
        >>> mask = np.zeros((8, 8), dtype=bool)
        >>> mask[2:6, 2:6] = True
        >>> picture = overlay(np.zeros((8, 8), dtype=np.uint8), mask)
        >>> picture[2, 2].tolist(), picture[0, 0].tolist()
        ([226, 61, 75], [0, 0, 0])
    """
    import cv2

    picture = np.repeat(np.asarray(frame, dtype=np.float32)[..., None], 3, axis=2)
    colours = MASK_COLOURS * len(masks)
    for mask, colour in zip(masks, colours, strict=False):
        if mask.shape != frame.shape:
            raise UnsupportedOptionError(
                f"The mask is {mask.shape}, the frame is {frame.shape}; give both one size."
            )
        shade = np.array(colour, dtype=np.float32)
        picture[mask] = (1 - alpha) * picture[mask] + alpha * shade
        kernel = np.ones((3, 3), np.uint8)
        inside = cv2.erode(mask.astype(np.uint8), kernel).astype(bool)
        picture[mask & ~inside] = shade
    return np.asarray(np.rint(picture), dtype=np.uint8)


def centiseconds(fps: float) -> int:
    """Compute how long a GIF shows each frame.

    Args:
        fps: Frames per second, above 0.

    Returns:
        The nearest number of centiseconds, at least 2: many players slow down below 2.

    Raises:
        UnsupportedOptionError: If ``fps`` is not a finite number above 0.

    Example:
        >>> centiseconds(50)
        2
    """
    if not np.isfinite(fps) or fps <= 0:
        raise UnsupportedOptionError(f"fps is {fps}; wanted frames per second above 0.")
    return max(2, int(100 / fps + 0.5))


def write_gif(
    frames: Sequence[Array],
    path: Path,
    *,
    fps: float,
) -> Path:
    """Write frames as a GIF that loops.

    Args:
        frames: Frames of one size, uint8 of shape (h, w) or (h, w, 3).
        path: Where to write the GIF.
        fps: Frames per second, above 0.

    Returns:
        The path.

    Raises:
        UnsupportedOptionError: If ``fps`` is not a finite number above 0.
    """
    import imageio.v3 as iio

    colour_frames: list[Array] = []
    for frame in frames:
        is_grey = frame.ndim == 2
        colour_frames.append(np.repeat(frame[..., None], 3, axis=2) if is_grey else frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(
        path,
        np.stack(colour_frames),
        extension=".gif",
        plugin="pillow",
        duration=10 * centiseconds(fps),
        loop=0,
    )
    return path
