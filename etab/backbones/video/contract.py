"""What networks of clips are fed: which frames of a recording, how each is fitted, on which scale.
Numbers and pictures only.

The contracts of published networks are those of their own code; tests/backbones/test_video.py
states each once more and compares the tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.types import Array, IntArray

SHORT = ("zeros", "hold", "loop", "fewer")
FITTINGS = ("squash", "zoom", "centre", "pillow")


@dataclass(frozen=True, slots=True)
class ClipContract:
    """The input of a network of clips.

    frames   time steps that the network sees
    period   the network sees one native frame in so many
    size     side of the square picture in pixels
    fitting  "squash": resized to the square; "zoom": cut to a square in the middle, a tenth cut off
             on each side, cubic; "centre": resized to 8/7 of the size (256 for 224), the middle cut
             out; "pillow": Pillow's bilinear
    short    what follows the end of a recording: "hold" its last frame; "loop" it again from its
             beginning; "zeros" after normalisation; "fewer": nothing, the frames there are are
             averaged
    unit     pixels are divided by it before ``mean`` is taken off and ``std`` divided by: 255, or 1
             for the 0-255 scale
    """

    frames: int
    period: int = 1
    size: int = 224
    fitting: str = "squash"
    short: str = "hold"
    unit: float = 255.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if (
            self.frames < 1
            or self.period < 1
            or self.short not in SHORT
            or self.fitting not in FITTINGS
        ):
            raise UnsupportedOptionError(
                f"A contract of {self.frames} frames, one in {self.period}, {self.fitting!r}, {self.short!r}; wanted 1 or "
                f"more, 1 or more, one of {', '.join(FITTINGS)}, and one of {', '.join(SHORT)}."
            )

    @property
    def span(self) -> int:
        """Native frames from the first to the last that the network sees."""
        return (self.frames - 1) * self.period + 1

    def __str__(self) -> str:
        """Say it in a few words, as tables do."""
        every = "every frame" if self.period == 1 else f"one frame in {self.period}"
        return f"{self.frames} x {self.size} px, {every}"

    def numbers(self, n: int, start: int = 0) -> tuple[IntArray, Array]:
        """Frame numbers (frames,) that the network sees of ``n`` from ``start`` on, and which of
        them are there.

        A frame that is not there has the number of the last one that is. Raises
        UnsupportedOptionError without frames.
        """
        if not 0 <= start < n:
            raise UnsupportedOptionError(
                f"A clip begins at frame {start} of {n}; wanted 0 to {n - 1}."
            )
        wanted = start + np.arange(self.frames) * self.period
        if self.short == "loop":
            return start + (wanted - start) % (n - start), np.ones(self.frames, dtype=bool)
        there = wanted < n
        last = n - 1 if self.short == "hold" else int(wanted[there][-1])
        return np.where(there, wanted, last), there | (self.short == "hold")

    def fit(self, frames: Array) -> Array:
        """Fit uint8 frames (n, h, w) to (n, size, size)."""
        if frames.ndim != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
            raise UnsupportedOptionError(
                f"A clip is uint8 of shape (frames, h, w); got {frames.dtype} of shape {tuple(frames.shape)}."
            )
        one = {"squash": _squash, "zoom": _zoom, "centre": _centre, "pillow": _pillow}[self.fitting]
        return np.stack([one(frame, self.size) for frame in frames])

    def prepare(self, frames: Array, start: int = 0) -> tuple[Array, Array]:
        """A whole recording, uint8 (n, h, w), to what the backbone takes: uint8 (frames, size,
        size), and which are there.

        ``start`` is the first native frame of the clip.
        """
        numbers, there = self.numbers(len(frames), start)
        seen, back = np.unique(numbers, return_inverse=True)
        return self.fit(frames[seen])[back], there

    def tensor(self, x: Any, there: Any = None) -> Any:
        """uint8 torch tensor (n, frames, size, size) to the network's float32 input (n, 3, frames,
        size, size).

        ``there`` (n, frames) says which frames are there; None: all. Only the rule "zeros" has use
        for it here.
        """
        import torch

        mean = torch.tensor(self.mean, device=x.device).view(1, -1, 1, 1, 1)
        std = torch.tensor(self.std, device=x.device).view(1, -1, 1, 1, 1)
        f = (x.to(torch.float32) / self.unit)[:, None].expand(-1, len(self.mean), -1, -1, -1)
        f = (f - mean) / std
        if there is not None and self.short == "zeros":
            f = f * there.to(f)[:, None, :, None, None]
        return f


def _squash(frame: Array, size: int) -> Array:
    """Squash to a square as single frames are: area when shrinking, linear when enlarging."""
    import cv2

    if frame.shape == (size, size):
        return frame
    shrink = frame.shape[0] >= size and frame.shape[1] >= size
    return np.asarray(
        cv2.resize(
            frame, (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        )
    )


def _zoom(frame: Array, size: int) -> Array:
    """Cut the middle square, then a tenth of it on each side, and resize with cubic interpolation.

    Half of an odd excess is rounded to the even number of pixels, and a tenth is rounded down. It
    is resized as a picture in colour, whose arithmetic differs by a grey level here and there from
    that of a single channel.
    """
    import cv2

    h, w = frame.shape
    cut = round(abs(h - w) / 2)
    square = frame[cut : h - cut] if h > w else frame[:, cut : w - cut]
    top, left = (int(side * 0.1) for side in square.shape)
    inner = square[top : square.shape[0] - top, left : square.shape[1] - left]
    return np.asarray(
        cv2.resize(cv2.merge([inner] * 3), (size, size), interpolation=cv2.INTER_CUBIC)[..., 0]
    )


def _centre(frame: Array, size: int) -> Array:
    """Squash to 8/7 of the size by area, and cut out the middle."""
    import cv2

    side = size * 8 // 7
    corner = (side - size) // 2
    whole = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(whole[corner : corner + size, corner : corner + size])


def _pillow(frame: Array, size: int) -> Array:
    """Squash to a square by Pillow's bilinear filter, which averages when shrinking."""
    from PIL import Image

    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))
