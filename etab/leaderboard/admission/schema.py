"""The record of a result as a JSON Schema, for programs that write or read it without etab."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from etab.options import LARGEST_WHOLE
from etab.results import SCHEMA, Result
from etab.results.names import NAME

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NUMBERS = {
    "type": "object",
    "additionalProperties": {"type": "number"},
}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_PAIRS = {
    "type": "array",
    "items": {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 2,
        "maxItems": 2,
    },
}
_COUNT = {"type": "integer", "minimum": 0, "maximum": LARGEST_WHOLE}
_FOLDS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["name", "value", "n_test", "choice"],
        "properties": {
            "name": {"type": "string"},
            "value": {"type": ["number", "null"]},
            "n_test": _COUNT,
            "choice": {"type": "object"},
        },
    },
}
_BY_TYPE: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": _COUNT,
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "Mapping[str, float]": _NUMBERS,
    "Mapping[str, float] | None": {"anyOf": [_NUMBERS, {"type": "null"}]},
    "Mapping[str, Any]": {"type": "object"},
    "list[list[str]]": _PAIRS,
    "list[Mapping[str, Any]]": _FOLDS,
}
_BY_NAME: dict[str, dict[str, Any]] = {
    "schema": {"const": SCHEMA},
    "backbone": {"type": "string", "pattern": f"^{NAME.pattern}$"},
    "level": {"const": 0.95},
    "weights_sha256": _SHA256,
    "data_digest": _SHA256,
    "predictions_sha256": _SHA256,
}


def result_schema() -> dict[str, Any]:
    """Describe the record of a result.

    The schema covers what a single value can show. That values agree with each other, with the
    predictions and with the canonical tables is checked by ``etab submit check``.

    Returns:
        A JSON Schema of the 2020-12 dialect.

    Example:
        >>> result_schema()["properties"]["level"]
        {'const': 0.95}
    """
    properties = {f.name: _BY_NAME.get(f.name) or _BY_TYPE[str(f.type)] for f in fields(Result)}
    required = [
        f.name
        for f in fields(Result)
        if (f.default is MISSING and f.default_factory is MISSING) or f.name == "schema"
    ]
    return {
        "$schema": _DIALECT,
        "title": f"etab result, schema {SCHEMA}",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
