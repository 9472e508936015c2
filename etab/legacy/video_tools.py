"""Clips as GIFs, by the names of the first ETAB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.legacy.visualization import as_tensor, to_display
from etab.plots.echo import write_gif

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["create_echo_clip"]


def create_echo_clip(
    frames: Tensor,
    name: str,
    *,
    fps: float = 20.0,
    normalized: bool = True,
    folder: Path | str = "echo_clips",
) -> Path:
    """Write a sample of a Dataset as a GIF.

    The time of a frame is rounded to the nearest centisecond, at least 20 ms.

    Args:
        frames: A clip (clip_l, 3, h, w), or one frame (3, h, w), which becomes a one-frame GIF.
        name: Name of the file, with or without ".gif".
        fps: Frames per second.
        normalized: Whether the sample was made with normalize=True; it is not guessed from values.
        folder: Folder of the file.

    Returns:
        The path of the file.

    Raises:
        UnsupportedOptionError: The frames have another shape, or the name contains a folder.
    """
    frames = as_tensor("frames", frames)
    clip = frames[None] if frames.ndim == 3 else frames
    if clip.ndim != 4 or clip.shape[1] != 3 or not len(clip):
        raise UnsupportedOptionError(
            "create_echo_clip takes frames (clip_l, 3, h, w) or one frame (3, h, w); "
            f"got {tuple(frames.shape)}."
        )
    if Path(name).name != name:
        raise UnsupportedOptionError(
            f"{name!r} is not a plain file name; name another folder with folder=."
        )
    images = []
    for frame in clip:
        unit = to_display(frame, normalized=normalized)
        images.append(np.rint(unit * 255).astype(np.uint8))
    stem = name.removesuffix(".gif")
    return write_gif(images, Path(folder) / f"{stem}.gif", fps=fps)
