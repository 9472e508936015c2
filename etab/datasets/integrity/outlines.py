"""Copies of frames with another outline: framed in one grey level, letterboxed, cropped, or turned.

The fingerprint of a frame follows its outline, so that such a copy does not correlate with the
frame that it was made from. Frames are therefore compared without their uniform border, and each is
cropped, flipped, turned and tilted in many ways and compared with all others again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product

import numpy as np

from etab.datasets.integrity.fingerprints import (
    ALIKE_FRAMES,
    frame_prints,
    mirrored,
    unit_rows,
)
from etab.storage.machine import allowed_cores, one_thread_of_numpy
from etab.types import Array, FloatArray, IntArray

SIDE = 128
"""Rows and columns of a picture that is kept."""

_LEVELS = 16  # grey levels by which a pixel differs from a uniform border
_SHARE = 0.02  # of the pixels of a row or column, which is then no border
_FEWEST = 0.25  # of the rows and columns: what is left of a picture
_ALL_SIDES = (2, 3, 5, 6, 8, 10, 11, 13)  # rows and columns cut off, up to a tenth of the picture
_SOME_SIDES = (3, 6, 10, 13)
_TILTS = (-9, -6, -3, 3, 6, 9)  # degrees
_AXES = 63  # numbers of a fingerprint that all pairs are compared by, beside its rest
_STEPS = 3  # in which the axes are found
_ROUNDING = 1e-3  # by which a bound may be too small
_PART = 250  # pictures of which a thread computes one look at once
_BLOCK = 1000  # columns of the table of bounds at once

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

    height, width = frame.shape
    border = int(_level(frame))
    content = ((frame > border + _LEVELS) | (frame < border - _LEVELS)).view(np.uint8)
    in_rows = cv2.reduce(content, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() / width
    in_columns = cv2.reduce(content, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() / height
    rows = np.flatnonzero(in_rows > _SHARE)
    columns = np.flatnonzero(in_columns > _SHARE)
    kept = frame
    if min(len(rows) / height, len(columns) / width) >= _FEWEST:
        kept = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(cv2.resize(kept, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def _level(frame: Array) -> float:
    """The median grey level of the four corners."""
    corners = sorted(int(frame[row, column]) for row in (0, -1) for column in (0, -1))
    return (corners[1] + corners[2]) / 2


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
    starts = range(0, len(pictures), _PART)
    # Each thread makes its own products; the threads of OpenBLAS would wait for each other.
    with one_thread_of_numpy(), ThreadPoolExecutor(allowed_cores()) as pool:
        prints = pool.map(lambda start: frame_prints(pictures[start : start + _PART]), starts)
        compared = _compared(np.concatenate(list(prints)), counts, people)
        parts = product([*_crops(), *_turns()], starts)
        for found in pool.map(lambda part: compared.alike(pictures, *part), parts):
            yield from found


@dataclass(frozen=True, slots=True)
class _Compared:
    """What looks are compared with: each picture as it is, and as a mirror shows it.

    Attributes:
        shared: (1024,) what the fingerprints of all pictures share.
        sides: (2 n, 1024) fingerprints without it, of length 1: n of the pictures as they are,
            and n of their mirror images.
        axes: (1024, 63) directions at right angles to each other, in which those differ most.
        short: (2 n, 64) what ``_shortened`` keeps of them.
        people: (n,) number of the person of each picture.
    """

    shared: FloatArray
    sides: FloatArray
    axes: FloatArray
    short: FloatArray
    people: IntArray

    def alike(
        self, pictures: Sequence[Array], look: Look, start: int
    ) -> list[tuple[int, int, float]]:
        """Compare a look of 250 pictures with all pictures of others.

        Args:
            pictures: n pictures.
            look: What a copy would show of each.
            start: Number of the first of the 250.

        Returns:
            Numbers of two pictures and the correlation of their fingerprints.
        """
        n = len(self.people)
        changed = unit_rows(frame_prints(map(look, pictures[start : start + _PART])) - self.shared)
        found: list[tuple[int, int, float]] = []
        for rows, sides in self._likely(_shortened(changed, self.axes)):
            first, second = start + rows, sides % n
            others = self.people[first] != self.people[second]
            correlations = np.einsum("ij,ij->i", changed[rows[others]], self.sides[sides[others]])
            alike = correlations >= ALIKE_FRAMES
            pairs = (first[others][alike], second[others][alike], correlations[alike])
            found += zip(*(values.tolist() for values in pairs), strict=True)
        return found

    def _likely(self, short: FloatArray) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield numbers of shortened rows and of the sides with which they may be alike."""
        for start in range(0, len(self.short), _BLOCK):
            bounds = short @ self.short[start : start + _BLOCK].T
            # NumPy searches a flat table faster than one of two dimensions.
            likely = np.flatnonzero(bounds >= ALIKE_FRAMES - _ROUNDING)
            for k in range(0, len(likely), _BLOCK):  # few at once, were all alike
                rows, columns = np.divmod(likely[k : k + _BLOCK], bounds.shape[1])
                yield rows, start + columns


def _compared(prints: FloatArray, counts: IntArray, people: IntArray) -> _Compared:
    """Prepare the fingerprints (n, 1024) of pictures, each of which is there ``counts`` times."""
    shared = np.average(prints, axis=0, weights=counts).astype(prints.dtype)
    sides = np.concatenate([unit_rows(side - shared) for side in (prints, mirrored(prints))])
    axes = _main_axes(sides)
    return _Compared(shared, sides, axes, _shortened(sides, axes), people)


def _main_axes(rows: FloatArray) -> FloatArray:
    """About the first principal components of rows (n, d), as orthonormal columns (d, 63)."""
    axes = np.random.default_rng(0).standard_normal((rows.shape[1], _AXES)).astype(rows.dtype)
    for _ in range(_STEPS):
        axes = np.linalg.qr(rows.T @ (rows @ axes))[0]
    return axes


def _shortened(rows: FloatArray, axes: FloatArray) -> FloatArray:
    """Shorten rows (n, d) to (n, 64), whose products are no smaller than those of the rows.

    A row is kept along the axes, with the length of what is left of it. What is left of two rows
    has a product of at most that of the two lengths.
    """
    along = rows @ axes
    left = np.square(rows).sum(axis=1) - np.square(along).sum(axis=1)
    return np.column_stack([along, np.sqrt(np.maximum(left, 0))])


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
    turned = cv2.warpAffine(picture, turn, (SIDE, SIDE), borderValue=_level(picture))
    return kept_picture(np.asarray(turned))
