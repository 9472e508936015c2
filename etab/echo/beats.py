"""Beats of a clip, estimated from its images alone: the length of a beat, and its systoles.

The length of a beat is the lag at which the autocorrelation of the images is highest. Of the two
phases that differ most, end-systole is the one with the higher mean grey level, because the dark
cavity is smallest then. If the authors outlined end-systole, that frame gives the phase instead.
"""

from __future__ import annotations

import numpy as np

from etab.types import Array, FloatArray, IntArray

SHORTEST_BEAT = 0.3  # s: 200 beats a minute
LONGEST_BEAT = 1.5  # s: 40 beats a minute
UNKNOWN_FPS = 50.0
_SIDE = 16
_LEVEL = 10


def beat_length(frames: Array, fps: float | None) -> int | None:
    """Estimate the length of a beat as the highest peak of the autocorrelation over time.

    Lags from 0.3 s to 1.5 s are compared, as far as they leave at least a quarter of the clip to
    compare.

    Args:
        frames: uint8 images (n, h, w).
        fps: Frames per second; None counts as 50.

    Returns:
        The length in frames, or None if the clip is too short or its autocorrelation has no peak.

    Example:
        A disc that grows and shrinks every 20 frames:

        >>> row, column = np.mgrid[:32, :32] - 16
        >>> radius = 8 + 4 * np.cos(2 * np.pi * np.arange(60) / 20)
        >>> frames = (np.hypot(row, column) < radius[:, None, None]) * np.uint8(200)
        >>> beat_length(frames, fps=25.0)
        20
    """
    correlation = frame_autocorrelation(_small(frames))
    rate = fps or UNKNOWN_FPS
    n = len(frames)
    compared = max(n // 4, 2)
    low = max(2, round(SHORTEST_BEAT * rate))
    high = min(round(LONGEST_BEAT * rate), n - compared)
    peaks = []
    for lag in range(low, high):
        before = correlation[lag - 1]
        after = correlation[lag + 1]
        if correlation[lag] >= max(before, after):
            peaks.append(lag)
    if not peaks:
        return None
    best = max(peaks, key=lambda lag: float(correlation[lag]))
    # Without a lower value at a shorter lag, this is not a peak.
    lowest_before = correlation[low:best].min(initial=correlation[best])
    return best if correlation[best] > lowest_before else None


def frame_autocorrelation(signal: FloatArray) -> FloatArray:
    """Compute the mean cosine of moments that are 0, 1, ... n - 1 steps apart.

    Args:
        signal: (n, d), one row per moment; the mean over time is removed first.

    Returns:
        (n,) values from -1 to 1.
    """
    centred = signal - signal.mean(axis=0)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.maximum(norms, 1e-9)
    n = len(unit)
    means = []
    for lag in range(n):
        earlier = unit[: n - lag]
        later = unit[lag:]
        cosines = (earlier * later).sum(axis=1)
        means.append(float(cosines.mean()))
    return np.array(means)


def systoles(
    frames: Array,
    fps: float | None,
    known: int | None = None,
) -> IntArray:
    """Estimate the frames of end-systole, one per beat.

    Args:
        frames: uint8 images (n, h, w).
        fps: Frames per second; None counts as 50.
        known: A frame of end-systole that is known; others are whole beats away from it.

    Returns:
        Frame numbers in order. If no beat length can be estimated: the known frame, or the frame
        with the highest grey level.
    """
    length = beat_length(frames, fps)
    if length is None:
        only = int(grey_level(frames).argmax()) if known is None else known
        return np.array([only])
    first = _systole(frames, length) if known is None else known % length
    return np.arange(first, len(frames), length)


def _systole(frames: Array, length: int) -> int:
    """Estimate the phase of end-systole in frames: the brighter of the two phases farthest apart.

    Args:
        frames: uint8 images (n, h, w).
        length: The length of a beat in frames.
    """
    phase = np.arange(len(frames)) % length
    small = _small(frames)
    grey = grey_level(frames)
    mean_images = []
    mean_levels = []
    for k in range(length):
        in_phase = phase == k
        mean_images.append(small[in_phase].mean(axis=0))
        mean_levels.append(grey[in_phase].mean())
    images = _smooth(np.stack(mean_images))
    levels = _smooth(np.array(mean_levels))

    # Squared distances between all pairs of phases.
    squares = np.square(images).sum(axis=1)
    products = 2 * images @ images.T
    distances = squares[:, None] + squares - products
    farthest = int(distances.argmax())
    ends = np.unravel_index(farthest, distances.shape)
    return int(max(ends, key=lambda k: (levels[k], -k)))


def grey_level(frames: Array) -> FloatArray:
    """Compute the mean grey level over the pixels that exceed level 10 in any frame.

    Args:
        frames: uint8 images (n, h, w).

    Returns:
        (n,) means from 0 to 255; 0 if no pixel exceeds level 10.
    """
    sector = frames.max(axis=0) > _LEVEL
    if not sector.any():
        return np.zeros(len(frames))
    return np.asarray(frames[:, sector].mean(axis=1))


def _smooth(values: FloatArray) -> FloatArray:
    """Average three neighbours on a circle, along the first axis."""
    previous = np.roll(values, 1, axis=0)
    following = np.roll(values, -1, axis=0)
    return np.asarray((previous + values + following) / 3)


def _small(frames: Array) -> FloatArray:
    """Reduce frames (n, h, w) to means of 16 x 16 blocks, (n, 256)."""
    rows = _block_edges(frames.shape[1])
    columns = _block_edges(frames.shape[2])
    row_sums = np.add.reduceat(frames, rows[:-1], axis=1, dtype=np.float64)
    sums = np.add.reduceat(row_sums, columns[:-1], axis=2)
    pixels = np.outer(np.diff(rows), np.diff(columns))
    means = sums / pixels
    return np.asarray(means.reshape(len(frames), -1))


def _block_edges(side: int) -> IntArray:
    """Return the edges of up to 16 blocks along a side of ``side`` pixels."""
    blocks = min(_SIDE, side)
    return np.linspace(0, side, blocks + 1).astype(int)
