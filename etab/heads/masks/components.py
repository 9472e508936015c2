"""The largest connected components of many small masks at once.

A row of a mask is one integer, a bit for each column, so that one operation serves a row of every
mask. From a run of pixels in its widest row, the component there is followed up and down the rows
until it no longer grows. It is the largest if all other pixels are fewer; the few masks where they
are not are labelled one by one.
"""

from __future__ import annotations

import numpy as np

from etab.echo.surface import largest
from etab.types import Array

# Columns that a mask may have: one bit stays free for the carry of an addition.
_COLUMNS = 63
# Distances by which pixels spread to lower bits: together they cross a whole row.
_STEPS = tuple(np.uint64(1 << k) for k in range(6))
_ONE = np.uint64(1)
# Masks and the factor by which bits are counted.
_BITS_OF_PAIRS = np.uint64(0x5555555555555555)
_BITS_OF_FOURS = np.uint64(0x3333333333333333)
_BITS_OF_EIGHTS = np.uint64(0x0F0F0F0F0F0F0F0F)
_SUM_OF_EIGHTS = np.uint64(0x0101010101010101)


def packed(masks: Array) -> Array:
    """Pack the rows of masks into integers.

    Args:
        masks: Boolean (..., h, w), w at most 63.

    Returns:
        (..., h) uint64, the last column in the lowest bit.

    Example:
        >>> packed(np.array([[False, True, True], [True, False, False]])).tolist()
        [3, 4]
    """
    *shape, columns = masks.shape
    if columns > _COLUMNS:
        raise ValueError(f"A row of {columns} pixels; at most {_COLUMNS} fit.")
    wide = np.zeros((*shape, 64), dtype=bool)
    wide[..., 64 - columns :] = masks
    rows = np.packbits(wide, axis=-1).view(">u8")
    return rows[..., 0].astype(np.uint64)


def unpacked(rows: Array, columns: int) -> Array:
    """The masks (..., h, columns) of what ``packed`` has made of them."""
    octets = np.ascontiguousarray(rows).astype(">u8")[..., None].view(np.uint8)
    return np.unpackbits(octets, axis=-1)[..., 64 - columns :].astype(bool)


def pixels_of(rows: Array) -> Array:
    """Count the pixels of packed rows: the number of bits that are set in each.

    Args:
        rows: (...) uint64, see ``packed``.

    Returns:
        (...) int64.

    Source:
        Warren, Hacker's Delight, 2nd edition (2012), figure 5-2.

    Example:
        >>> pixels_of(np.array([0, 5, 2**63 - 1], dtype=np.uint64)).tolist()
        [0, 2, 63]
    """
    pairs = rows - ((rows >> _ONE) & _BITS_OF_PAIRS)
    fours = (pairs & _BITS_OF_FOURS) + ((pairs >> _STEPS[1]) & _BITS_OF_FOURS)
    eights = (fours + (fours >> _STEPS[2])) & _BITS_OF_EIGHTS
    counts = (eights * _SUM_OF_EIGHTS) >> np.uint64(56)
    return np.asarray(counts.astype(np.int64))


def largest_of_each(rows: Array, columns: int) -> Array:
    """Keep the largest component of each mask, as ``etab.echo.surface.largest`` does.

    Args:
        rows: (n, h) masks, see ``packed``.
        columns: Their columns.

    Returns:
        (n, h) the components, packed; empty where a mask is empty.
    """
    by_row = np.ascontiguousarray(rows.T)
    sizes = pixels_of(by_row)
    widest = sizes.argmax(axis=0)
    found = np.zeros_like(by_row)
    masks = np.arange(by_row.shape[1])
    start = by_row[widest, masks]
    # The lowest pixel of the widest row; 0 where a mask is empty.
    found[widest, masks] = start & (~start + _ONE)
    _follow(by_row, found)
    inside = pixels_of(found).sum(axis=0)
    outside = sizes.sum(axis=0) - inside
    out = np.ascontiguousarray(found.T)
    for i in np.flatnonzero((outside > 0) & (outside >= inside)):
        out[i] = packed(largest(unpacked(rows[i], columns)))
    return out


def _follow(by_row: Array, found: Array) -> None:
    """Let pixels of ``found`` (h, n) spread within ``by_row`` until nothing changes."""
    reach = [by_row]
    for step in _STEPS[:-1]:
        # Pixels from which this many neighbours on the side of higher bits are inside.
        reach.append(reach[-1] & (reach[-1] >> step))
    height = len(by_row)
    down = range(height)
    up = range(height - 1, -1, -1)
    while True:
        before = found.copy()
        for order in (down, up):
            last = np.zeros_like(found[0])
            for y in order:
                last = _along(by_row[y], found[y] | (last & by_row[y]), [r[y] for r in reach])
                found[y] = last
        if np.array_equal(before, found):
            return


def _along(row: Array, seeds: Array, reach: list[Array]) -> Array:
    """The runs of a row that hold a seed."""
    # The carry of the sum clears every pixel from the lowest seed to the higher end of its run.
    out = row & (~(row + seeds) | seeds)
    for step, inside in zip(_STEPS, reach, strict=True):
        out = out | (inside & (out >> step))
    return out
