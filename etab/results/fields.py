"""Checks of the fields of a record."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import numpy as np

from etab.errors import ResultError
from etab.options import LARGEST_WHOLE

SCHEMA = 1
# A record names a list of folds by its key, with or without an ending; a file is none, so that no
# record makes a reader open one.
_LIST = "lists:"
_LIST_KEY = re.compile(r"lists:[A-Za-z0-9_.-]+@[0-9a-f]{12}(-[A-Za-z0-9.:-]+)?")
NESTED = ("metrics", "folds", "nested", "settings", "missing", "provenance", "bad", "masks")


def plain(value: Any, name: str) -> Any:
    """Convert a value to what JSON gives back.

    Args:
        value: Any value.
        name: The field that holds it, for the message.

    Raises:
        ResultError: For what JSON cannot hold.
    """
    # Most nested fields are empty, and folders hold tens of thousands of records.
    if value is None:
        return None
    if type(value) in (dict, list) and not value:
        return type(value)()
    try:
        return json.loads(json.dumps(value, allow_nan=False, default=_scalar))
    except (TypeError, ValueError) as error:
        raise ResultError(f"{name} cannot be written as JSON: {error}.") from error


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} {value!r} is not a JSON value")


def short(value: Any) -> str:
    """Show a value in an error message, in 60 characters at most."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: Any) -> bool:
    return _integer(value) and 0 <= value <= LARGEST_WHOLE


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of a record is a finite number that a float can hold; true and false are none."""
    if not (isinstance(value, float) or _integer(value)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(is_number(v) for v in value.values())


def _fold(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) - {"repeat"} == {"name", "value", "n_test", "choice"}
        and _count(value.get("repeat", 0))
        and isinstance(value["name"], str)
        and (value["value"] is None or is_number(value["value"]))
        and _count(value["n_test"])
        and isinstance(value["choice"], dict)
    )


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(p, list) and len(p) == 2 and all(isinstance(w, str) for w in p) for p in value
    )


def _left_out(value: Any) -> bool:
    if not isinstance(value, dict) or not value:
        return value == {}
    names = [value.get(key) for key in ("lost", "partly")]
    return (
        set(value) == {"recordings", "lost", "partly", "patients"}
        and _pairs(value["recordings"])
        and all(isinstance(ids, list) and all(isinstance(n, str) for n in ids) for ids in names)
        and _count(value["patients"])
    )


def _digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _masks(value: Any) -> bool:
    if value == {}:
        return True
    if not isinstance(value, dict) or set(value) != {"sha256", "sample"}:
        return False
    return (
        _digest(value["sha256"])
        and isinstance(value["sample"], list)
        and all(_sampled(row) for row in value["sample"])
    )


def _sampled(row: Any) -> bool:
    if not isinstance(row, list) or len(row) != 3:
        return False
    item, repeat, digest = row
    return isinstance(item, str) and _count(repeat) and _digest(digest)


_LONGEST_NAME = 255  # as of a file


def _named(value: Any) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no file or terminal can hold
        return False
    return True


def _protocol(value: Any) -> bool:
    if not _named(value):
        return False
    return not value.startswith(_LIST) or _LIST_KEY.fullmatch(value) is not None


Check = tuple[str, Callable[[Any], bool]]
"""The valid content of a field in words, and whether a value is valid."""
_BY_TYPE: Mapping[str, Check] = {
    "str": ("a string", lambda v: isinstance(v, str)),
    "int": (f"a whole number from 0 to {LARGEST_WHOLE}", _count),
    "float": ("a finite number", is_number),
    "bool": ("true or false", lambda v: isinstance(v, bool)),
    "Mapping[str, float]": ("finite numbers by name", _numbers),
    "Mapping[str, Any]": ("values by name", lambda v: isinstance(v, dict)),
}
_CHECKS: Mapping[str, Check] = {
    **dict.fromkeys(
        ("task", "backbone", "head", "dataset", "metric"),
        (f"a name of at most {_LONGEST_NAME} characters", _named),
    ),
    "protocol": ("a name; a list of folds is named lists:NAME@ and 12 digits, no file", _protocol),
    "level": ("a level between 0 and 1", lambda v: is_number(v) and 0 < v < 1),
    "folds": (
        "a list of {name, value, n_test, choice}, with or without repeat",
        lambda v: isinstance(v, list) and all(_fold(f) for f in v),
    ),
    "nested": (
        "null or {value, low, high}",
        lambda v: v is None or (_numbers(v) and set(v) == {"value", "low", "high"}),
    ),
    "missing": (
        "a list of [id, reason]",
        lambda v: _pairs(v),
    ),
    "bad": ("{recordings, lost, partly, patients}, or empty", _left_out),
    "masks": ("{sha256, sample: [item, repeat, sha256] of each}, or empty", _masks),
    "predictions_sha256": ("64 hexadecimal digits", _digest),
    "schema": (f"{SCHEMA}", lambda v: _integer(v) and v == SCHEMA),
}


def check_of(name: str, kind: str) -> Check:
    """Describe the valid content of a field, and check values of it.

    Args:
        name: Name of the field.
        kind: Its annotation, such as "Mapping[str, float]".
    """
    return _CHECKS.get(name) or _BY_TYPE[kind]
