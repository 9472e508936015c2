"""Cells of a board: one backbone on one task under one protocol."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etab.runs.run import Run, Settings, plan

__all__ = ["Run", "Settings", "plan"]

_HOME = {
    "Run": "etab.runs.run",
    "Settings": "etab.runs.run",
    "plan": "etab.runs.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(
            f"module 'etab.runs' has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    return getattr(importlib.import_module(_HOME[name]), name)
