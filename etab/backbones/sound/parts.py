"""Parts of equal length that cover a recording of sound, and their steps on one time axis."""

from __future__ import annotations

import math

import numpy as np

from etab.backbones.base import Course
from etab.types import Array, FloatArray, IntArray

# Distance between two parts of a whole recording, in lengths of a part.
_STRIDE = 0.75


def covering_starts(samples: int, length: int) -> IntArray:
    """Start of the fewest parts that cover a window, at even distances.

    Args:
        samples: Samples of the window.
        length: Samples of a part.

    Returns:
        First sample of each part; 0 alone where the window is not longer than a part.

    Example:
        >>> covering_starts(50, 20).tolist()
        [0, 15, 30]
    """
    count = max(1, math.ceil(samples / length))
    last = max(0, samples - length)
    return np.linspace(0, last, count).round().astype(np.int64)


def window_parts(window: Array, length: int) -> Array:
    """Cut a window into parts; a window shorter than a part is repeated.

    Args:
        window: Waveform (samples,).
        length: Samples of a part.

    Returns:
        Parts (k, length).
    """
    if len(window) < length:
        return np.resize(window, length)[None]
    starts = covering_starts(len(window), length)
    parts = [window[start : start + length] for start in starts]
    return np.stack(parts)


def recording_starts(samples: int, length: int) -> IntArray:
    """Start of the parts of a whole recording; each overlaps the next by a quarter.

    Args:
        samples: Samples of the recording.
        length: Samples of a part.

    Returns:
        First sample of each part. The last part may reach beyond the end.
    """
    step = max(1, round(_STRIDE * length))
    rest = samples - length
    count = 1 + max(0, math.ceil(rest / step))
    return step * np.arange(count)


def recording_parts(recording: Array, length: int) -> Array:
    """Cut a whole recording into overlapping parts, with zeros after its end.

    Args:
        recording: Waveform (samples,).
        length: Samples of a part.

    Returns:
        Parts (k, length), one for each of ``recording_starts``.
    """
    starts = recording_starts(len(recording), length)
    padding = int(starts[-1]) + length
    filled = np.pad(recording, (0, padding))
    parts = [filled[start : start + length] for start in starts]
    return np.stack(parts)


def joined_course(
    steps: Array,
    starts: FloatArray,
    seconds: float,
    hop: float,
    first: float,
    end: float,
) -> Course:
    """Join the steps of overlapping parts to one series over the recording.

    Each part is used up to the middle of an overlap. Between the steps of two parts, the values
    are interpolated linearly where the steps do not coincide.

    Args:
        steps: Steps of the parts (parts, t, d).
        starts: Start of each part, in seconds.
        seconds: Length of a part, in seconds.
        hop: Time from one step to the next, in seconds.
        first: Time of the centre of step 0 of a part, in seconds.
        end: Length of the recording, in seconds.

    Returns:
        The series, with a step every ``hop`` seconds, up to the end of the recording.
    """
    centres = first + hop * np.arange(steps.shape[1])
    middles = (starts[1:] + starts[:-1] + seconds) / 2
    lower = np.concatenate([[-math.inf], middles])
    upper = np.concatenate([middles, [math.inf]])
    times: list[FloatArray] = []
    values: list[Array] = []
    for i, start in enumerate(starts):
        moments = start + centres
        # Steps after the end of a part are computed from padding.
        is_sound = centres < seconds
        is_of_part = (moments >= lower[i]) & (moments < upper[i])
        used = is_sound & is_of_part
        times.append(moments[used])
        values.append(steps[i][used])
    count = max(1, math.ceil((end - first) / hop))
    grid = first + hop * np.arange(count)
    series = _interpolated(np.concatenate(times), np.concatenate(values), grid)
    return Course(series, hop, first)


def _interpolated(
    times: FloatArray,
    values: Array,
    grid: FloatArray,
) -> Array:
    """Interpolate values (steps, d) linearly at the times of a grid."""
    position = np.interp(grid, times, np.arange(len(times)))
    low = np.floor(position + 1e-6).astype(np.int64)
    high = np.minimum(low + 1, len(times) - 1)
    part = np.clip(position - low, 0, 1)[:, None]
    between = values[low] * (1 - part) + values[high] * part
    return np.asarray(between, dtype=np.float32)
