"""The input of networks of clips: which frames, how each is resized, and on which scale.

This file works on numbers and images alone. The contracts of published networks follow their
published code; tests/backbones/test_video.py repeats that code and compares the tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.types import Array, IntArray

SHORT = ("zeros", "black", "hold", "loop", "fewer")
PILLOW_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
FITTINGS = (
    "squash",
    "zoom",
    "centre",
    "pillow",
    *(f"pillow {name}" for name in PILLOW_FILTERS),
)


@dataclass(frozen=True, slots=True)
class ClipContract:
    """The input of a network of clips.

    Attributes:
        frames: Number of frames that the network reads.
        period: Distance between two of these frames, in native frames.
        size: Side of the square images in pixels.
        fitting: How a frame becomes a square. "squash": resized. "zoom": cut to the square in the
            middle, then a tenth cut off on each side, resized with cubic interpolation. "centre":
            resized to 8/7 of the size (256 for 224), then the middle cut out. "pillow": resized
            with Pillow's bilinear filter; "pillow bicubic": with another filter of Pillow.
        short: What follows the end of a recording. "hold": its last frame. "loop": the recording
            again from its beginning. "zeros": zeros after normalisation. "black": zeros before
            it. "fewer": nothing, the existing frames are averaged.
        unit: Divisor of the pixels before ``mean`` and ``std`` are applied: 255, or 1 where they
            are on the 0 to 255 scale.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        fps: Frames a second that the network reads; the nearest frames of the recording are taken.
            None for one frame in ``period``, whatever the rate of the recording.
    """

    frames: int
    period: int = 1
    size: int = 224
    fitting: str = "squash"
    short: str = "hold"
    unit: float = 255.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    # Keys of stored features hold the text of a contract; they list fps separately.
    fps: float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        counts_fit = self.frames >= 1 and self.period >= 1
        if not counts_fit or self.short not in SHORT or self.fitting not in FITTINGS:
            raise UnsupportedOptionError(
                f"A contract of {self.frames} frames, one in {self.period}, {self.fitting!r}, "
                f"{self.short!r}; wanted 1 or more, 1 or more, one of {', '.join(FITTINGS)}, "
                f"and one of {', '.join(SHORT)}."
            )

    @property
    def span(self) -> int:
        """Number of native frames from the first to the last that the network reads."""
        return (self.frames - 1) * self.period + 1

    def __str__(self) -> str:
        """Describe the input in a few words, for tables."""
        every = "every frame" if self.period == 1 else f"one frame in {self.period}"
        if self.fps is not None:
            every = f"{self.fps:g} frames a second"
        return f"{self.frames} x {self.size} px, {every}"

    def offsets(self, fps: float | None = None) -> IntArray:
        """List the distances of the frames from the first one, in native frames.

        Args:
            fps: Frames a second of the recording; needed where the contract has a rate.

        Returns:
            Whole numbers (frames,), ascending from 0.

        Raises:
            UnsupportedOptionError: The rate of the recording is needed and not known.

        Example:
            >>> ClipContract(4, fps=20).offsets(50).tolist()
            [0, 2, 5, 8]
        """
        if self.fps is None:
            return np.arange(self.frames) * self.period
        if not fps:
            raise UnsupportedOptionError(
                f"A clip of {self.fps:g} frames a second cannot be cut: the recording does not "
                "list its frame rate. Count frames instead (period=)."
            )
        return np.round(np.arange(self.frames) * (fps / self.fps)).astype(np.int64)

    def numbers(
        self,
        n: int,
        start: int = 0,
        fps: float | None = None,
    ) -> tuple[IntArray, Array]:
        """Choose the frames of a recording that the network reads.

        Args:
            n: Number of frames of the recording.
            start: First frame of the clip, 0 to n - 1.
            fps: Frames a second of the recording, as in ``offsets``.

        Returns:
            Frame numbers (frames,), and a boolean array (frames,) that is False beyond the end of
            the recording, where the number is that of the last frame that is read.

        Raises:
            UnsupportedOptionError: ``start`` is not a frame of the recording, or as ``offsets``.

        Example:
            >>> ClipContract(4, period=2, short="loop").numbers(5)[0].tolist()
            [0, 2, 4, 1]
        """
        if not 0 <= start < n:
            raise UnsupportedOptionError(
                f"A clip begins at frame {start} of {n}; wanted 0 to {n - 1}."
            )
        wanted = start + self.offsets(fps)
        if self.short == "loop":
            return start + (wanted - start) % (n - start), np.ones(self.frames, dtype=bool)
        exists = wanted < n
        if self.short == "hold":
            return np.where(exists, wanted, n - 1), np.ones(self.frames, dtype=bool)
        return np.where(exists, wanted, int(wanted[exists][-1])), exists

    def fit(self, frames: Array) -> Array:
        """Resize frames to the square of the network.

        Args:
            frames: uint8 (n, h, w).

        Returns:
            uint8 (n, size, size).

        Raises:
            UnsupportedOptionError: The frames have another type or shape, or there are none.
        """
        if frames.ndim != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
            raise UnsupportedOptionError(
                "A clip is uint8 of shape (frames, h, w); "
                f"got {frames.dtype} of shape {tuple(frames.shape)}."
            )
        resize = {
            "squash": _squash,
            "zoom": _zoom,
            "centre": _centre,
            "pillow": resize_by_pillow,
        }
        way, _, filter_name = self.fitting.partition(" ")
        if filter_name:
            return np.stack([resize_by_pillow(frame, self.size, filter_name) for frame in frames])
        return np.stack([resize[way](frame, self.size) for frame in frames])

    def prepare(
        self,
        frames: Array,
        start: int = 0,
        fps: float | None = None,
    ) -> tuple[Array, Array]:
        """Prepare a clip of a recording for the backbone.

        Args:
            frames: The whole recording, uint8 (n, h, w).
            start: First native frame of the clip.
            fps: Frames a second of the recording, as in ``offsets``.

        Returns:
            uint8 (frames, size, size), and a boolean array (frames,) as from ``numbers``.

        Raises:
            UnsupportedOptionError: As ``numbers`` and ``fit``.
        """
        numbers, exists = self.numbers(len(frames), start, fps)
        # A frame that occurs several times is resized once.
        unique, inverse = np.unique(numbers, return_inverse=True)
        return self.fit(frames[unique])[inverse], exists

    def tensor(self, x: Any, exists: Any = None) -> Any:
        """Convert prepared clips to the input of the network.

        Args:
            x: uint8 torch tensor (n, frames, size, size).
            exists: Boolean tensor (n, frames), False beyond the end of the recording; None where
                all frames exist. Only the rules "zeros" and "black" use it.

        Returns:
            float32 tensor (n, 3, frames, size, size), normalised by ``unit``, ``mean`` and ``std``.
        """
        import torch

        mean = torch.tensor(self.mean, device=x.device).view(1, -1, 1, 1, 1)
        std = torch.tensor(self.std, device=x.device).view(1, -1, 1, 1, 1)
        if exists is not None and self.short == "black":
            x = x * exists.to(x)[..., None, None]
        f = (x.to(torch.float32) / self.unit)[:, None].expand(-1, len(self.mean), -1, -1, -1)
        f = (f - mean) / std
        if exists is not None and self.short == "zeros":
            f = f * exists.to(f)[:, None, :, None, None]
        return f


def _squash(frame: Array, size: int) -> Array:
    """Resize to a square as single frames are: by area to shrink, linearly to enlarge."""
    import cv2

    if frame.shape == (size, size):
        return frame
    shrinks = frame.shape[0] >= size and frame.shape[1] >= size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (size, size), interpolation=method))


def _zoom(frame: Array, size: int) -> Array:
    """Cut out the middle square, cut off a tenth on each side, and resize with cubic interpolation.

    Half of an odd excess is rounded to the even number of pixels, and a tenth is rounded down. The
    image is resized in colour: the arithmetic for a single channel differs by a grey level in
    places.
    """
    import cv2

    h, w = frame.shape
    cut = round(abs(h - w) / 2)
    square = frame[cut : h - cut] if h > w else frame[:, cut : w - cut]
    top, left = (int(side * 0.1) for side in square.shape)
    inner = square[top : square.shape[0] - top, left : square.shape[1] - left]
    colour = cv2.merge([inner] * 3)
    return np.asarray(cv2.resize(colour, (size, size), interpolation=cv2.INTER_CUBIC)[..., 0])


def _centre(frame: Array, size: int) -> Array:
    """Resize to 8/7 of the size by area, and cut out the middle."""
    import cv2

    side = size * 8 // 7
    corner = (side - size) // 2
    whole = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(whole[corner : corner + size, corner : corner + size])


def resize_by_pillow(
    frame: Array,
    size: int | tuple[int, int],
    filter_name: str = "bilinear",
) -> Array:
    """Resize by a filter of Pillow, which averages when it shrinks.

    Args:
        frame: uint8 (h, w).
        size: Side of a square in pixels, or (height, width).
        filter_name: One of ``PILLOW_FILTERS``.

    Returns:
        uint8 (height, width).
    """
    from PIL import Image

    height, width = (size, size) if isinstance(size, int) else size

    method = Image.Resampling[filter_name.upper()]
    return np.array(Image.fromarray(frame).resize((width, height), method))
