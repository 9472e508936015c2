"""Which frames make a clip, and how a frame is fitted to a size: pure functions of numbers, no
files, no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.types import Array, IntArray


def frame_grid(n: int, *, native: float | None, fps: float | None) -> IntArray:
    """Frame numbers that turn ``n`` frames at ``native`` frames/s into ``fps``: the nearest frame
    at each tick.

    fps None keeps every frame. A recording slower than ``fps`` repeats frames, so that time stays
    true; whether that is wanted is for the caller to say. Raises UnsupportedOptionError where the
    rate is unknown or not above 0.
    """
    if fps is None:
        return np.arange(n)
    if fps <= 0:
        raise UnsupportedOptionError(f"fps is {fps:g}; frames per second are above 0.")
    if native is None:
        raise UnsupportedOptionError(
            f"The frame rate of this recording is unknown; it cannot give {fps:g}. Use fps=None."
        )
    ticks = np.floor((n - 1) * fps / native + 1e-9).astype(int) + 1
    return np.rint(np.arange(ticks) * (native / fps)).astype(int).clip(0, n - 1)


def window(grid: IntArray, clip_l: int, *, start: int = 0) -> IntArray:
    """Cut ``clip_l`` entries of ``grid`` from ``start`` on; a shorter recording is repeated from
    its beginning.
    """
    if clip_l < 1:
        raise UnsupportedOptionError(f"clip_l is {clip_l}; a clip has at least 1 frame.")
    start = 0 if len(grid) <= clip_l else min(max(start, 0), len(grid) - clip_l)
    return grid[(np.arange(clip_l) + start) % len(grid)]


def place_clip(
    grid: IntArray, clip_l: int, marked: Sequence[int]
) -> tuple[IntArray, dict[int, int]]:
    """Cut a clip that holds as many of the ``marked`` frames as can be, and say where they are in
    it.

    Returns the clip's frame numbers (clip_l,) and {marked frame: index in the clip}. Each marked
    frame takes the place of its nearest neighbour on the grid, so a picture and its annotation are
    always of the very same frame; where two marked frames fall on one place the nearer one keeps
    it. Without marked frames the clip starts at frame 0.
    """
    places: dict[int, int] = {}
    for frame in sorted(marked, key=lambda f: (int(np.abs(grid - f).min()), f)):
        places.setdefault(int(np.abs(grid - frame).argmin()), frame)
    snapped = grid.copy()
    for place_, frame in places.items():
        snapped[place_] = frame
    start = _start(sorted(places), clip_l, len(grid))
    inside = {f: p - start for p, f in sorted(places.items()) if start <= p < start + clip_l}
    return window(snapped, clip_l, start=start), inside


def _start(places: Sequence[int], clip_l: int, n: int) -> int:
    """Where the window begins: it holds the most places it can, the earliest such window, places in
    its middle.
    """
    if not places or n <= clip_l:
        return 0
    counts = [sum(p <= q < p + clip_l for q in places) for p in places]
    first = places[int(np.argmax(counts))]
    last = max(q for q in places if first <= q < first + clip_l)
    return min(max((first + last + 1 - clip_l) // 2, 0), n - clip_l)


def fitted_size(
    height: int, width: int, *, out: tuple[int, int], padding: bool
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size (rows, columns) to resize a frame to and the (top, left) of it inside ``out``.

    With padding the aspect is kept and zeros fill the rest, the frame centred; without it the frame
    is squashed.
    """
    if not padding:
        return out, (0, 0)
    scale = min(out[0] / height, out[1] / width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    size = (min(size[0], out[0]), min(size[1], out[1]))
    return size, ((out[0] - size[0]) // 2, (out[1] - size[1]) // 2)


def pad(frame: Array, *, out: tuple[int, int], corner: tuple[int, int]) -> Array:
    """Put a frame (h, w) into zeros of size ``out`` with its top left at ``corner``."""
    if frame.shape == tuple(out):
        return frame
    canvas = np.zeros(out, dtype=frame.dtype)
    canvas[corner[0] : corner[0] + frame.shape[0], corner[1] : corner[1] + frame.shape[1]] = frame
    return canvas


@dataclass(frozen=True, slots=True)
class Sampling:
    """How clips are cut: ``length`` frames, every ``period``th one, clips beginning ``step`` frames
    apart.

    ``length`` 0 is the whole recording. Where a recording is shorter than a clip it is repeated
    from its beginning.
    """

    length: int
    period: int = 1
    step: int = 0

    @property
    def span(self) -> int:
        """Frames from the first to the last of a clip."""
        return (self.length - 1) * self.period + 1

    def __str__(self) -> str:
        """Name it as feature keys and settings of results do."""
        every = "every frame" if self.period == 1 else f"one frame in {self.period}"
        if not self.length:
            return f"the whole recording, {every}"
        apart = f", clips {self.step} frames apart" if self.step else ""
        return f"{self.length} frames, {every}{apart}"

    def clip(self, n: int, start: int = 0) -> IntArray:
        """Frame numbers of the clip that begins at ``start`` in a recording of ``n`` frames."""
        grid = np.arange(0, n, self.period)
        if not self.length or n < self.span:
            return window(grid, self.length or len(grid))
        return min(max(start, 0), n - self.span) + np.arange(self.length) * self.period

    def middle(self, n: int) -> int:
        """Where the clip in the middle of ``n`` frames begins."""
        return max(n - self.span, 0) // 2 if self.length else 0

    def starts(self, n: int) -> list[int]:
        """Where every clip of ``n`` frames begins: 0 and then ``step`` apart, as long as a whole
        clip fits.
        """
        return list(range(0, max(n - self.span, 0) + 1, self.step or 1)) if self.length else [0]

    def around(self, n: int, moments: Sequence[int]) -> list[int]:
        """Where clips begin that have these moments in their middle, as far as ``n`` frames allow;
        each start once.
        """
        last = max(n - self.span, 0) if self.length else 0
        return sorted({min(max(moment - (self.span + 1) // 2, 0), last) for moment in moments})
