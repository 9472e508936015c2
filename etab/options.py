"""Checks of options that are given from Python. The command line checks its own by their types.

Each one raises ``UnsupportedOptionError`` with the option, what was wanted and what came.
"""

from __future__ import annotations

import math
import operator
import os
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Any

from etab.errors import UnsupportedOptionError

LARGEST_WHOLE = 2**63 - 1
"""The greatest whole number of a seed or a count; files and tables of others hold no greater one."""


def whole_number(what: str, value: Any, low: int, high: int | None = None, unit: str = "") -> int:
    """Check an option that is a whole number. Those of NumPy count, True and False do not.

    Args:
        what: The option, as it is written.
        value: What it was given.
        low: The least number.
        high: The greatest number; None where there is none.
        unit: What is counted, for the error.

    Returns:
        The number.

    Raises:
        UnsupportedOptionError: It is not a whole number, or is out of range.

    Example:
        >>> import numpy as np
        >>> whole_number("clip_l", np.int64(16), 1, 64, "frames")
        16
    """
    number = None
    if not isinstance(value, bool):
        with suppress(TypeError):
            number = operator.index(value)
    if number is None or number < low or (high is not None and number > high):
        possible = f"{low} or more" if high is None else f"{low} to {high}"
        of_unit = f" {unit}" if unit else ""
        raise UnsupportedOptionError(
            f"{what} is {_short(value)}; wanted a whole number, {possible}{of_unit}."
        )
    return number


def is_finite_number(value: object) -> bool:
    """Whether a value is a finite number, and neither True nor False.

    Args:
        value: Anything.

    Example:
        >>> is_finite_number(2), is_finite_number(10**400), is_finite_number("2")
        (True, False, False)
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number with more than 308 digits
        return False


def finite_number(what: str, value: object) -> float:
    """Check an option that is a number.

    Args:
        what: The option, as it is written.
        value: What it was given.

    Returns:
        The number.

    Raises:
        UnsupportedOptionError: It is not a number, is NaN or infinite.

    Example:
        >>> finite_number("train_frac", 0.5)
        0.5
    """
    if not is_finite_number(value):
        raise UnsupportedOptionError(f"{what} is {_short(value)}; wanted a finite number.")
    return float(value)  # type: ignore[arg-type]


def require_flag(what: str, value: object) -> None:
    """Refuse an option that is neither True nor False.

    Args:
        what: The option, as it is written.
        value: What it was given.

    Raises:
        UnsupportedOptionError: It is something else.
    """
    if not isinstance(value, bool):
        raise UnsupportedOptionError(f"{what} is {_short(value)}; possible: True, False.")


def path_option(what: str, value: object) -> Path:
    """Check an option that names a folder or a file, which need not exist.

    Args:
        what: The option, as it is written.
        value: What it was given.

    Returns:
        The path.

    Raises:
        UnsupportedOptionError: It is not a path, or is one that no file can have.

    Example:
        >>> path_option("root", "data/camus").name
        'camus'
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str):
        kind = type(value).__name__
        raise UnsupportedOptionError(f"{what} is {_short(value)}, {kind}; wanted a path.")
    if "\0" in path:
        raise UnsupportedOptionError(
            f"{what} is {_short(value)}; wanted a path: no file's name has a zero byte."
        )
    return Path(path)


def _short(value: object) -> str:
    """An option as it is written, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
