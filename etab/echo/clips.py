"""The frames of a clip, and the size of a frame: functions of numbers, without files or torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.types import Array, IntArray


def frame_grid(
    n: int,
    *,
    native: float | None,
    fps: float | None,
) -> IntArray:
    """Resample the frames of a recording to another rate: the nearest frame at each tick.

    If the recording is slower than ``fps``, frames are repeated to keep the time scale.

    Args:
        n: The number of frames of the recording.
        native: Its frames per second; None if unknown.
        fps: The wanted frames per second, above 0; None keeps every frame.

    Returns:
        Frame numbers from 0 to ``n - 1``.

    Raises:
        UnsupportedOptionError: ``fps`` is not above 0, or the native rate is unknown.

    Example:
        >>> frame_grid(7, native=50.0, fps=25.0).tolist()
        [0, 2, 4, 6]
    """
    if fps is None:
        return np.arange(n)
    if fps <= 0:
        raise UnsupportedOptionError(f"fps is {fps:g}; frames per second are above 0.")
    if native is None:
        raise UnsupportedOptionError(
            f"The frame rate of this recording is unknown; it cannot give {fps:g}. Use fps=None."
        )
    last_tick = np.floor((n - 1) * fps / native + 1e-9).astype(int)
    ticks = np.arange(last_tick + 1)
    nearest = np.rint(ticks * (native / fps)).astype(int)
    return nearest.clip(0, n - 1)


def window(
    grid: IntArray,
    clip_l: int,
    *,
    start: int = 0,
) -> IntArray:
    """Cut a clip out of a recording; a shorter recording is repeated from its beginning.

    Args:
        grid: The frame numbers of the recording.
        clip_l: The length of the clip in frames, at least 1.
        start: The index in ``grid`` at which the clip starts, moved so that the clip fits.

    Returns:
        Frame numbers (clip_l,).

    Raises:
        UnsupportedOptionError: ``clip_l`` is below 1.

    Example:
        >>> window(np.arange(3), 5).tolist()
        [0, 1, 2, 0, 1]
    """
    if clip_l < 1:
        raise UnsupportedOptionError(f"clip_l is {clip_l}; a clip has at least 1 frame.")
    n = len(grid)
    last_start = max(n - clip_l, 0)
    start = min(max(start, 0), last_start)
    indices = np.arange(start, start + clip_l) % n
    return grid[indices]


def place_clip(
    grid: IntArray,
    clip_l: int,
    marked: Sequence[int],
) -> tuple[IntArray, dict[int, int]]:
    """Cut the clip that contains the most of the ``marked`` frames.

    Each marked frame replaces its nearest neighbour on the grid, so that an image and its
    annotation always belong to the same frame. If two marked frames have the same neighbour, the
    nearer one replaces it. Without marked frames the clip starts at frame 0.

    Args:
        grid: The frame numbers of the recording.
        clip_l: The length of the clip in frames.
        marked: The annotated frames.

    Returns:
        (frame numbers (clip_l,), {marked frame: its index in the clip}).

    Example:
        >>> place_clip(np.arange(0, 20, 2), 4, [7])
        (array([2, 4, 7, 8]), {7: 2})
    """
    by_distance = sorted(marked, key=lambda f: (int(np.abs(grid - f).min()), f))
    marked_by_index: dict[int, int] = {}
    for frame in by_distance:
        nearest = int(np.abs(grid - frame).argmin())
        marked_by_index.setdefault(nearest, frame)
    snapped = grid.copy()
    for index, frame in marked_by_index.items():
        snapped[index] = frame
    start = _start(sorted(marked_by_index), clip_l, len(grid))
    inside = {}
    for index, frame in sorted(marked_by_index.items()):
        if start <= index < start + clip_l:
            inside[frame] = index - start
    return window(snapped, clip_l, start=start), inside


def _start(indexes: Sequence[int], clip_l: int, n: int) -> int:
    """Return the start of the earliest window with the most ``indexes``, which are in its middle.

    Args:
        indexes: Sorted positions in the recording.
        clip_l: The length of the window.
        n: The length of the recording.
    """
    if not indexes or n <= clip_l:
        return 0
    counts = []
    for i in indexes:
        counts.append(sum(i <= other < i + clip_l for other in indexes))
    first = indexes[int(np.argmax(counts))]
    last = max(other for other in indexes if first <= other < first + clip_l)
    centred = (first + last + 1 - clip_l) // 2
    return min(max(centred, 0), n - clip_l)


def fitted_size(
    height: int,
    width: int,
    *,
    out: tuple[int, int],
    padding: bool,
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Compute how to fit a frame into a size.

    Args:
        height: Rows of the frame.
        width: Columns of the frame.
        out: Rows and columns of the wanted size.
        padding: Whether to keep the aspect ratio and centre the frame among zeros; otherwise the
            frame is stretched.

    Returns:
        ((rows, columns) to resize the frame to, (top, left) of it inside ``out``).

    Example:
        >>> fitted_size(100, 200, out=(64, 64), padding=True)
        ((32, 64), (16, 0))
    """
    if not padding:
        return out, (0, 0)
    out_rows, out_columns = out
    scale = min(out_rows / height, out_columns / width)
    rows = max(1, round(height * scale))
    rows = min(rows, out_rows)
    columns = max(1, round(width * scale))
    columns = min(columns, out_columns)
    top = (out_rows - rows) // 2
    left = (out_columns - columns) // 2
    return (rows, columns), (top, left)


def pad(
    frame: Array,
    *,
    out: tuple[int, int],
    corner: tuple[int, int],
) -> Array:
    """Surround a frame with zeros.

    Args:
        frame: (h, w).
        out: Rows and columns of the result.
        corner: Row and column of the frame's top left corner in the result.

    Returns:
        The frame among zeros, in the shape ``out`` and the dtype of the frame.
    """
    if frame.shape == tuple(out):
        return frame
    canvas = np.zeros(out, dtype=frame.dtype)
    top, left = corner
    bottom = top + frame.shape[0]
    right = left + frame.shape[1]
    canvas[top:bottom, left:right] = frame
    return canvas


@dataclass(frozen=True, slots=True)
class Sampling:
    """A rule for cutting clips; a recording that is shorter than a clip is repeated.

    Attributes:
        length: Frames per clip; 0 for the whole recording.
        period: Every ``period``-th frame is taken.
        step: Frames from the start of one clip to the start of the next.

    Example:
        >>> sampling = Sampling(length=4, period=2, step=3)
        >>> sampling.starts(14)
        [0, 3, 6]
        >>> sampling.clip(14, start=3).tolist()
        [3, 5, 7, 9]
    """

    length: int
    period: int = 1
    step: int = 0

    @property
    def span(self) -> int:
        """The number of recorded frames from the first to the last frame of a clip."""
        return (self.length - 1) * self.period + 1

    def __str__(self) -> str:
        """Describe the rule as in feature keys and in the settings of results."""
        period = "every frame" if self.period == 1 else f"one frame in {self.period}"
        if not self.length:
            return f"the whole recording, {period}"
        distance = f", clips {self.step} frames apart" if self.step else ""
        return f"{self.length} frames, {period}{distance}"

    def clip(self, n: int, start: int = 0) -> IntArray:
        """Return the frame numbers of a clip.

        Args:
            n: The number of frames of the recording.
            start: The first frame, moved so that the clip fits.
        """
        grid = np.arange(0, n, self.period)
        if not self.length or n < self.span:
            return window(grid, self.length or len(grid))
        first = min(max(start, 0), self._last_start(n))
        return first + np.arange(self.length) * self.period

    def middle(self, n: int) -> int:
        """Return the start of the clip in the middle of ``n`` frames."""
        return self._last_start(n) // 2

    def starts(self, n: int) -> list[int]:
        """Return the starts of all clips of ``n`` frames: 0, then every ``step`` that fits."""
        last = self._last_start(n)
        return list(range(0, last + 1, self.step or 1))

    def _last_start(self, n: int) -> int:
        """Return the last frame at which a clip of ``n`` frames can start."""
        if not self.length:
            return 0
        return max(n - self.span, 0)

    def around(self, n: int, moments: Sequence[int]) -> list[int]:
        """Return the starts of clips around given moments, sorted and without repeats.

        Args:
            n: The number of frames of the recording.
            moments: The frames to have in the middle of a clip, as far as the recording allows.
        """
        last = self._last_start(n)
        starts = set()
        for moment in moments:
            start = moment - (self.span + 1) // 2
            starts.add(min(max(start, 0), last))
        return sorted(starts)
