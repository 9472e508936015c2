"""Copies of frames with another outline: framed in one grey level, letterboxed, or cropped.

The fingerprint of a frame follows its outline, so that such a copy does not correlate with the
frame that it was made from. Frames are therefore compared without their uniform border, and each is
cropped in many ways and compared with all others again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from etab.datasets.integrity.fingerprints import ALIKE_FRAMES, frame_print, unit_rows
from etab.types import Array, FloatArray, IntArray

SIDE = 128
"""Rows and columns of a picture that is kept."""

_LEVELS = 16  # grey levels by which a pixel differs from a uniform border
_SHARE = 0.02  # of the pixels of a row or column, which is then no border
_FEWEST = 0.25  # of the rows and columns: what is left of a picture
_ALL_SIDES = (2, 3, 5, 6, 8, 10, 11, 13)  # rows and columns cut off, up to a tenth of the picture
_SOME_SIDES = (3, 6, 10, 13)
_PROJECTED = 128  # numbers of a fingerprint that all pairs are compared by
_NEARLY = 0.07  # by which these may correlate less than the whole fingerprints
_BLOCK = 1000  # rows of the table of correlations at once

Crop = tuple[int, int, int, int]
"""Rows cut off above and below, columns cut off on the left and on the right."""


def kept_picture(frame: Array) -> Array:
    """Keep a frame without its uniform border.

    Args:
        frame: (h, w) uint8.

    Returns:
        (128, 128) uint8. A frame of which less than a quarter would be left keeps its border.

    Example:
        >>> picture = np.random.default_rng(0).integers(30, 255, (128, 128), dtype=np.uint8)
        >>> np.array_equal(kept_picture(np.pad(picture, 20)), picture)
        True
    """
    import cv2

    border = np.median([frame[0, 0], frame[0, -1], frame[-1, 0], frame[-1, -1]])
    content = np.abs(frame.astype(np.int16) - np.int16(border)) > _LEVELS
    rows = np.flatnonzero(content.mean(axis=1) > _SHARE)
    columns = np.flatnonzero(content.mean(axis=0) > _SHARE)
    kept = frame
    if min(len(rows) / frame.shape[0], len(columns) / frame.shape[1]) >= _FEWEST:
        kept = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    picture = cv2.resize(np.ascontiguousarray(kept), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(picture)


def outline_copies(pictures: Sequence[Array], people: IntArray) -> Iterator[tuple[int, int, float]]:
    """Find the pictures of two people that are one picture with another outline.

    Args:
        pictures: n pictures of ``kept_picture``.
        people: (n,) number of the person of each.

    Yields:
        Numbers of two pictures, of which the second is the first one or a part of it, and the
        correlation of their fingerprints. A pair can come more than once.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> whole = [np.kron(rng.integers(0, 255, (16, 16)), np.ones((14, 14))) for _ in range(8)]
        >>> frames = [frame.astype(np.uint8) for frame in whole]
        >>> pictures = [kept_picture(frame) for frame in [*frames, frames[3][9:-9, 9:-9]]]
        >>> {(i, j) for i, j, _ in outline_copies(pictures, np.arange(9))}
        {(3, 8)}
    """
    if not len(pictures):
        return
    prints = _prints(pictures, (0, 0, 0, 0))
    shared = prints.mean(axis=0)
    whole = unit_rows(prints - shared)
    projection = _projection(whole.shape[1])
    short = unit_rows(whole @ projection)
    for crop in _crops():
        cropped = unit_rows(_prints(pictures, crop) - shared)
        short_cropped = unit_rows(cropped @ projection)
        for start in range(0, len(cropped), _BLOCK):
            table = short_cropped[start : start + _BLOCK] @ short.T
            first, second = np.nonzero(table >= ALIKE_FRAMES - _NEARLY)
            first += start
            others = people[first] != people[second]
            first, second = first[others], second[others]
            correlations = np.einsum("ij,ij->i", cropped[first], whole[second])
            for k in np.flatnonzero(correlations >= ALIKE_FRAMES):
                yield int(first[k]), int(second[k]), float(correlations[k])


def _crops() -> list[Crop]:
    """No crop, crops of all sides alike, of two opposite sides, and of one side."""
    crops = [(0, 0, 0, 0), *((n, n, n, n) for n in _ALL_SIDES)]
    for n in _SOME_SIDES:
        crops += [(n, n, 0, 0), (0, 0, n, n)]
        crops += [(n, 0, 0, 0), (0, n, 0, 0), (0, 0, n, 0), (0, 0, 0, n)]
    return crops


def _prints(pictures: Sequence[Array], crop: Crop) -> FloatArray:
    """Fingerprints (n, 1024) of what a crop leaves of each picture."""
    top, bottom, left, right = crop
    rows, columns = slice(top, SIDE - bottom), slice(left, SIDE - right)
    left_over = [np.ascontiguousarray(picture[rows, columns]) for picture in pictures]
    return np.stack([frame_print(picture) for picture in left_over])


def _projection(width: int) -> FloatArray:
    """Random directions (width, 128), always the same: they keep correlations up to a few hundredths."""
    directions = np.random.default_rng(0).standard_normal((width, _PROJECTED))
    return np.asarray(directions, dtype=np.float32)
