"""Fingerprints of frames and of sounds: two copies of one recording have nearly the same one.

A fingerprint is a vector of length 1, and the product of two is their correlation. It survives
re-encoding, another size or sampling rate, another gain, a shift by one pixel and small changes of
grey levels. The thresholds lie in the gaps that ``python -m benchmarks.alike`` measures on real
data (``benchmarks/alike.md``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from etab.types import Array, FloatArray

FINGERPRINT_VERSION = 7
ALIKE_FRAMES = 0.87
"""Frames of two recordings that correlate more are copies, or frames of one heart beat."""
ALIKE_SOUNDS = 0.85
"""Sounds that correlate more are copies of one recording."""

_GRID = 32
_FINE = 0.7  # standard deviation of the finer blur, in cells of the grid
_COARSE = 2.0  # that of the coarser blur
_AT_ONCE = 50  # frames that are blurred together; OpenCV allows 128 channels
BANDS = 8
_LOWEST = 25.0  # Hz
_HIGHEST = 400.0  # Hz
_WINDOW = 0.1  # seconds of each analysed piece
HOP = 0.05  # seconds from one piece to the next
SECONDS = 10.0  # of a recording
STEPS = round(SECONDS / HOP)
_FEWEST_STEPS = 20  # a second of sound; shorter recordings are alike by chance
_FLOOR = 1e-4  # of the mean power


def frame_print(frame: Array) -> FloatArray:
    """Compute the fingerprint of a frame.

    The frame is reduced to 32 x 32 cells. Structures coarser than two cells are removed, because
    the sector and the overall brightness are alike in all patients.

    Args:
        frame: (h, w) uint8.

    Returns:
        (1024,) float32 of length 1; zeros for a frame of one grey level.
    """
    return np.asarray(frame_prints([frame])[0])


def frame_prints(frames: Iterable[Array]) -> FloatArray:
    """Compute the fingerprints of frames, as ``frame_print`` does.

    Args:
        frames: One frame or more, each (h, w) uint8.

    Returns:
        (n, 1024) float32.
    """
    cells = [_cells(frame) for frame in frames]
    parts = [_details(cells[start : start + _AT_ONCE]) for start in range(0, len(cells), _AT_ONCE)]
    details = np.concatenate(parts)
    details -= details.mean(axis=1, keepdims=True)
    return unit_rows(details)


def _cells(frame: Array) -> Array:
    """A frame reduced to (32, 32) uint8."""
    import cv2

    return np.asarray(cv2.resize(frame, (_GRID, _GRID), interpolation=cv2.INTER_AREA))


def _details(cells: Sequence[Array]) -> FloatArray:
    """The fine structures (n, 1024) of frames, whose cells are blurred as channels of one picture."""
    import cv2

    together = np.stack(cells, axis=-1).astype(np.float32)
    fine = cv2.GaussianBlur(together, (0, 0), _FINE)
    coarse = cv2.GaussianBlur(together, (0, 0), _COARSE)
    return np.ascontiguousarray((fine - coarse).reshape(_GRID * _GRID, -1).T)


def mirrored(prints: FloatArray) -> FloatArray:
    """The fingerprints of frames whose left and right are exchanged.

    Args:
        prints: (n, 1024) fingerprints of frames.

    Returns:
        (n, 1024) fingerprints.
    """
    return prints.reshape(-1, _GRID, _GRID)[:, :, ::-1].reshape(len(prints), -1)


def sound_print(samples: FloatArray, rate: int) -> FloatArray:
    """Compute the fingerprint of a recording of sound.

    It is the logarithmic power in eight bands from 25 to 400 Hz every 50 ms of the first ten
    seconds. The mean of each band is removed, and with it the gain.

    Args:
        samples: (n,) float.
        rate: Samples a second, 800 or more.

    Returns:
        (1600,) float32; zeros for a recording that is silent or shorter than a second.
    """
    empty = np.zeros(STEPS * BANDS, dtype=np.float32)
    width = round(_WINDOW * rate)
    steps = min(STEPS, int((len(samples) - width) / (HOP * rate)))
    if steps < _FEWEST_STEPS:
        return empty
    starts = np.round(np.arange(steps) * HOP * rate).astype(np.int64)
    indexes = starts[:, None] + np.arange(width)
    pieces = samples[indexes] * np.hanning(width)
    spectra = np.fft.rfft(pieces, axis=1)
    power = np.square(np.abs(spectra))
    edges = np.geomspace(_LOWEST, _HIGHEST, BANDS + 1)
    frequencies = np.fft.rfftfreq(width, 1 / rate)
    band_of = np.digitize(frequencies, edges) - 1
    bands = np.stack([power[:, band_of == b].sum(axis=1) for b in range(BANDS)], axis=1)
    mean = bands.mean()
    if mean <= 0:
        return empty
    levels = np.log(bands / mean + _FLOOR)
    whole = np.zeros((STEPS, BANDS), dtype=np.float32)
    whole[:steps] = levels - levels.mean(axis=0)
    return np.asarray(unit_rows(whole.reshape(1, -1))[0])


def unit_rows(values: FloatArray) -> FloatArray:
    """Scale each row to length 1; a row shorter than 1e-6 becomes zeros.

    Args:
        values: (n, d).

    Returns:
        (n, d) float32.
    """
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    divisors = np.where(lengths > 1e-6, lengths, np.inf)
    return np.asarray(values / divisors, dtype=np.float32)
