"""Copies of frames with another outline: framed in one grey level, letterboxed, cropped, or turned.

The fingerprint of a frame follows its outline, so that such a copy does not correlate with the
frame that it was made from. Frames are therefore compared without their uniform border, and each is
cropped, flipped, turned and tilted in many ways and compared with all others again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations, product

import numpy as np

from etab.datasets.integrity.fingerprints import (
    ALIKE_FRAMES,
    frame_prints,
    mirrored,
    unit_rows,
)
from etab.storage.machine import allowed_cores
from etab.types import Array, FloatArray, IntArray

SIDE = 128
"""Rows and columns of a picture that is kept."""

_LEVELS = 16  # grey levels by which a pixel differs from a uniform border
_SHARE = 0.02  # of the pixels of a row or column, which is then no border
_FEWEST = 0.25  # of the rows and columns: what is left of a picture
_ALL_SIDES = (2, 3, 5, 6, 8, 10, 11, 13)  # rows and columns cut off, up to a tenth of the picture
_SOME_SIDES = (3, 6, 10, 13)
_TILTS = (-9, -6, -3, 3, 6, 9)  # degrees
_PROJECTED = 128  # numbers of a fingerprint that all pairs are compared by
_NEARLY = 0.07  # by which these may correlate less than the whole fingerprints
_BLOCK = 250  # rows of the table of correlations at once
_PART = 250  # pictures whose fingerprints one thread computes at once

Look = Callable[[Array], Array]
"""Makes a view (128, 128) of a picture that a copy may show instead of all of it."""


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
        people: (n,) number of the person of each, 0 or more.

    Yields:
        Numbers of two pictures, of which the second is the first one, a part of it, or the first
        one flipped or turned, and the largest correlation of their fingerprints.

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
    # A picture that is there a hundred times would be compared ten thousand times in every look.
    members = _equal_pictures(pictures)
    owners = np.array([_one_person(people[rows], -1 - k) for k, rows in enumerate(members)])
    counts = np.array([len(rows) for rows in members])
    distinct = [pictures[rows[0]] for rows in members]
    largest = {(k, k): 1.0 for k, owner in enumerate(owners) if owner < 0}
    for i, j, correlation in _alike_in_a_look(distinct, counts, owners):
        largest[i, j] = max(largest.get((i, j), -1.0), correlation)
    for (i, j), correlation in largest.items():
        pairs = combinations(members[i], 2) if i == j else product(members[i], members[j])
        for first, second in pairs:
            if people[first] != people[second]:
                yield first, second, correlation


def _equal_pictures(pictures: Sequence[Array]) -> list[list[int]]:
    """The numbers of the pictures that are equal, for each distinct picture."""
    members: dict[bytes, list[int]] = {}
    for number, picture in enumerate(pictures):
        members.setdefault(picture.tobytes(), []).append(number)
    return list(members.values())


def _one_person(people: IntArray, several: int) -> int:
    """The person whom all rows are of; ``several`` where they are of more than one."""
    return int(people[0]) if (people == people[0]).all() else several


def _alike_in_a_look(
    pictures: Sequence[Array], counts: IntArray, people: IntArray
) -> Iterator[tuple[int, int, float]]:
    """Compare each look of each picture with all pictures of others, as they are and mirrored.

    Args:
        pictures: n different pictures.
        counts: (n,) how often each is there.
        people: (n,) number of the person of each.

    Yields:
        Numbers of two pictures and the correlation of their fingerprints, once for each look.
    """
    prints = _prints(pictures, np.asarray)
    shared = np.average(prints, axis=0, weights=counts).astype(prints.dtype)
    projection = _projection(prints.shape[1])
    # Each picture as it is, and as a mirror shows it.
    sides = [unit_rows(side - shared) for side in (prints, mirrored(prints))]
    short_sides = [unit_rows(side @ projection) for side in sides]
    for look in [*_crops(), *_turns()]:
        changed = unit_rows(_prints(pictures, look) - shared)
        short_changed = unit_rows(changed @ projection)
        for side, short in zip(sides, short_sides, strict=True):
            for start in range(0, len(changed), _BLOCK):
                table = short_changed[start : start + _BLOCK] @ short.T
                # NumPy searches a flat table faster than one of two dimensions.
                likely = np.flatnonzero(table >= ALIKE_FRAMES - _NEARLY)
                first, second = np.divmod(likely, table.shape[1])
                first += start
                others = people[first] != people[second]
                first, second = first[others], second[others]
                correlations = np.einsum("ij,ij->i", changed[first], side[second])
                for k in np.flatnonzero(correlations >= ALIKE_FRAMES):
                    yield int(first[k]), int(second[k]), float(correlations[k])


def _crops() -> list[Look]:
    """No crop, crops of all sides alike, of two opposite sides, and of one side."""
    sides = [(0, 0, 0, 0), *((n, n, n, n) for n in _ALL_SIDES)]
    for n in _SOME_SIDES:
        sides += [(n, n, 0, 0), (0, 0, n, n)]
        sides += [(n, 0, 0, 0), (0, n, 0, 0), (0, 0, n, 0), (0, 0, 0, n)]
    return [partial(_cropped, sides=of_crop) for of_crop in sides]


def _cropped(picture: Array, sides: tuple[int, int, int, int]) -> Array:
    """A picture without rows above and below, and without columns on the left and on the right."""
    top, bottom, left, right = sides
    return picture[top : SIDE - bottom, left : SIDE - right]


def _turns() -> list[Look]:
    """A picture turned by quarters of a circle, and tilted by a few degrees."""
    looks: list[Look] = [partial(np.rot90, k=quarters) for quarters in (1, 2, 3)]
    return [*looks, *(partial(_tilted, degrees=degrees) for degrees in _TILTS)]


def _tilted(picture: Array, degrees: float) -> Array:
    """A picture turned about its middle by a few degrees, without the border that this gives it."""
    import cv2

    turn = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), degrees, 1.0)
    level = float(np.median([picture[0, 0], picture[0, -1], picture[-1, 0], picture[-1, -1]]))
    turned = cv2.warpAffine(picture, turn, (SIDE, SIDE), borderValue=level)
    return kept_picture(np.asarray(turned))


def _prints(pictures: Sequence[Array], look: Look) -> FloatArray:
    """Fingerprints (n, 1024) of what a copy would show of each picture."""
    parts = [pictures[start : start + _PART] for start in range(0, len(pictures), _PART)]
    with ThreadPoolExecutor(allowed_cores()) as pool:
        prints = pool.map(lambda part: frame_prints(map(look, part)), parts)
    return np.concatenate(list(prints))


def _projection(width: int) -> FloatArray:
    """Random directions (width, 128), always the same: they keep correlations up to a few hundredths."""
    directions = np.random.default_rng(0).standard_normal((width, _PROJECTED))
    return np.asarray(directions, dtype=np.float32)
