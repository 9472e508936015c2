"""Where the beats of a clip are, from its pictures alone: the length of a beat, and its systoles.

The length is the lag at which the pictures look most like themselves. Of the two phases that differ
most, end-systole is the one with the higher mean grey level: the dark cavity is smallest there.
Where the authors outlined end-systole, that frame tells the phase instead.
"""

from __future__ import annotations

import numpy as np

from etab.types import Array, FloatArray, IntArray

VERSION = 1
SHORTEST_BEAT = 0.3  # s: 200 beats a minute
LONGEST_BEAT = 1.5  # s: 40 beats a minute
UNKNOWN_FPS = 50.0
_SIDE = 16
_LEVEL = 10


def beat_length(frames: Array, fps: float | None) -> int | None:
    """Frames a beat lasts, from uint8 frames (n, h, w): the highest peak of their autocorrelation
    over time.

    Lags from 0.3 s to 1.5 s that leave a quarter of the clip to compare are looked at; fps None
    counts as 50. None where the clip is too short for that or its autocorrelation has no peak.
    """
    likeness = frame_autocorrelation(_small(frames))
    rate = fps or UNKNOWN_FPS
    n = len(frames)
    low = max(2, round(SHORTEST_BEAT * rate))
    high = min(round(LONGEST_BEAT * rate), n - max(n // 4, 2))
    lags = [k for k in range(low, high) if likeness[k] >= max(likeness[k - 1], likeness[k + 1])]
    best = max(lags, key=lambda k: float(likeness[k]), default=None)
    return (
        best
        if best is not None and likeness[best] > likeness[low:best].min(initial=likeness[best])
        else None
    )


def frame_autocorrelation(signal: FloatArray) -> FloatArray:
    """Mean likeness of (n, d) moments that lie 0, 1, ... n - 1 apart: cosines after the mean over
    time is removed.
    """
    z = signal - signal.mean(axis=0)
    z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-9)
    return np.array([float((z[: len(z) - k] * z[k:]).sum(axis=1).mean()) for k in range(len(z))])


def systoles(frames: Array, fps: float | None, known: int | None = None) -> IntArray:
    """Frames of end-systole, one a beat, in order: whole beats from the ``known`` one, else by the
    rule above.

    frames: (n, h, w) uint8. Where no beat length is found: the known one alone, else the brightest
    frame.
    """
    length = beat_length(frames, fps)
    if length is None:
        return np.array([int(grey_level(frames).argmax()) if known is None else known])
    first = _systole(frames, length) if known is None else known % length
    return np.arange(first, len(frames), length)


def _systole(frames: Array, length: int) -> int:
    """The phase, in frames, of end-systole: of the two phases of the beat that differ most, the
    brighter one.
    """
    phase = np.arange(len(frames)) % length
    small = _small(frames)
    grey = grey_level(frames)
    pictures = _smooth(np.stack([small[phase == k].mean(axis=0) for k in range(length)]))
    levels = _smooth(np.array([grey[phase == k].mean() for k in range(length)])[:, None])[:, 0]
    apart = (
        np.square(pictures).sum(axis=1)[:, None]
        + np.square(pictures).sum(axis=1)
        - 2 * pictures @ pictures.T
    )
    ends = np.unravel_index(int(apart.argmax()), apart.shape)
    return int(max(ends, key=lambda k: (levels[k], -k)))


def grey_level(frames: Array) -> FloatArray:
    """Mean grey level (n,) of the pixels that exceed level 10 in any frame (the sector)."""
    sector = frames.max(axis=0) > _LEVEL
    return np.asarray(frames[:, sector].mean(axis=1) if sector.any() else np.zeros(len(frames)))


def _smooth(values: FloatArray) -> FloatArray:
    """Mean of three neighbours on a circle, along the first axis."""
    return np.asarray((np.roll(values, 1, axis=0) + values + np.roll(values, -1, axis=0)) / 3)


def _small(frames: Array) -> FloatArray:
    """The frames (n, h, w) as means of 16 x 16 blocks, (n, 256)."""
    rows, columns = (
        np.linspace(0, side, min(_SIDE, side) + 1).astype(int) for side in frames.shape[1:]
    )
    sums = np.add.reduceat(
        np.add.reduceat(frames, rows[:-1], axis=1, dtype=np.float64), columns[:-1], axis=2
    )
    return np.asarray((sums / np.outer(np.diff(rows), np.diff(columns))).reshape(len(frames), -1))
