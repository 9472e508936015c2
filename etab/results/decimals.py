"""Many decimal numbers from their texts at once, each exactly as ``float`` reads it.

A number of at most 15 digits is a whole number over a power of ten, both of which a float64 holds
exactly, so that their quotient is rounded once, as ``float`` rounds (Clinger, PLDI 1990). The whole
numbers of thousands of fields are a few sums over the bytes of the text. What is written in another
way, such as 1e-05, is read by ``float`` itself.
"""

from __future__ import annotations

import numpy as np

from etab.types import FloatArray, IntArray

_MOST_DIGITS = 15
_LONGEST = 18  # bytes of a number: the sums of its digits are whole numbers of 64 bits
_POWERS = 10 ** np.arange(_LONGEST + 1, dtype=np.int64)
_EXACT_POWERS = _POWERS.astype(np.float64)  # floats up to 10 ** 22 are exact


def decimals(text: str) -> FloatArray:
    """Read the numbers of a text.

    Args:
        text: ASCII text of numbers with a comma or a line break between them.

    Returns:
        (n,) the numbers.

    Raises:
        ValueError: For a field that is no number.

    Example:
        >>> decimals("0.5,-12\\n1e-05").tolist()
        [0.5, -12.0, 1e-05]
    """
    signs = np.frombuffer(f"{text},".encode("ascii"), dtype=np.uint8)
    ends = np.flatnonzero((signs == ord(",")) | (signs == ord("\n")))
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    if int(lengths.max()) > _LONGEST:
        return np.array(list(map(float, text.replace("\n", ",").split(","))))
    points = np.flatnonzero(signs == ord("."))
    of_point = _fields_of(points, starts, ends)
    n_points = np.bincount(of_point, minlength=len(ends))
    decimal_places = np.zeros(len(ends), dtype=np.int64)
    decimal_places[of_point] = ends[of_point] - points - 1
    is_negative = signs[starts] == ord("-")
    is_digit = (signs - ord("0")) <= 9  # bytes below "0" become large ones
    n_digits = np.add.reduceat(is_digit.view(np.uint8), starts)
    is_plain = (n_digits == lengths - n_points - is_negative) & (n_points <= 1)
    is_plain &= (n_digits >= 1) & (n_digits <= _MOST_DIGITS)

    # The digits with a 0 in the place of the point; the end of a field counts 0.
    digits = (signs & 15) * is_digit
    place = np.repeat(ends - 1, lengths + 1) - np.arange(len(signs))
    with_point = np.add.reduceat(_POWERS[place] * digits, starts)
    whole, fraction = np.divmod(with_point, _POWERS[decimal_places + (n_points > 0)])
    numbers = (whole * _POWERS[decimal_places] + fraction) / _EXACT_POWERS[decimal_places]
    numbers = np.where(is_negative, -numbers, numbers)
    for field in np.flatnonzero(~is_plain).tolist():
        numbers[field] = float(text[starts[field] : ends[field]])
    return numbers


def _fields_of(points: IntArray, starts: IntArray, ends: IntArray) -> IntArray:
    """The field of each point; most tables have one in every field."""
    if len(points) == len(ends) and ((starts <= points) & (points < ends)).all():
        return np.arange(len(ends))
    return np.asarray(np.searchsorted(ends, points))
