"""Numbers as text that a page turns back into arrays."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from etab.types import FloatArray

_LARGEST = 60000.0  # just below the largest float16


def packed(values: FloatArray) -> dict[str, Any]:
    """Pack an array as float16 in base64, scaled so that its largest entry uses the full range.

    Args:
        values: Array of any shape; NaN stays NaN.

    Returns:
        ``shape``, ``scale`` (what each number is multiplied by) and ``data``.

    Example:
        >>> pack = packed(np.array([[0.5, 1.0]]))
        >>> pack["shape"], unpacked(pack).round(3).tolist()
        ([1, 2], [[0.5, 1.0]])
    """
    array = np.asarray(values, dtype=np.float64)
    finite = np.abs(array[np.isfinite(array)])
    largest = float(finite.max(initial=0.0))
    scale = largest / _LARGEST if largest > 0 else 1.0
    halves = (array / scale).astype("<f2")
    data = base64.b64encode(halves.tobytes()).decode("ascii")
    return {"shape": list(array.shape), "scale": scale, "data": data}


def unpacked(pack: dict[str, Any]) -> FloatArray:
    """Read an array that ``packed`` wrote.

    Args:
        pack: What ``packed`` returned.

    Returns:
        The array, within 0.05 % of each entry.

    Example:
        >>> unpacked(packed(np.array([0.0, np.nan]))).tolist()
        [0.0, nan]
    """
    halves = np.frombuffer(base64.b64decode(pack["data"]), dtype="<f2")
    return np.asarray(halves.astype(np.float64).reshape(pack["shape"]) * pack["scale"])


def as_json(content: Any) -> str:
    """Write plain values as JSON in which no text can end a script element.

    Args:
        content: Plain JSON values without NaN.

    Returns:
        The JSON, with ``<``, ``>``, ``&`` and both line separators of Unicode escaped.

    Example:
        >>> as_json({"name": "</script>"})
        '{"name":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def as_script(name: str, content: Any) -> str:
    """Write plain values as a script that stores them under a name for the pages.

    Pages that are opened from a disk cannot read JSON files, but can load scripts. The values are
    parsed as JSON: a literal of the script would take the key ``__proto__`` for a prototype.

    Args:
        name: Key of the values in ``ETAB.data``.
        content: Plain JSON values without NaN.

    Returns:
        The script.

    Example:
        >>> as_script("board", [1])
        '"use strict";(window.ETAB??={}).data??={};ETAB.data["board"]=JSON.parse(\\'[1]\\');\\n'
    """
    head = '"use strict";(window.ETAB??={}).data??={};'
    text = as_json(content).replace("\\", "\\\\").replace("'", "\\'")
    return f"{head}ETAB.data[{as_json(name)}]=JSON.parse('{text}');\n"
