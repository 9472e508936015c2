"""etab: the cardiac representation benchmark. Public names load when first used; importing does nothing else."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.3.0"

_HOME = {
    "Dataset": "etab.datasets",
    "ETAB_dataset": "etab.datasets",
    "evaluate": "etab.api",
    "Score": "etab.api",
    "Run": "etab.runs",
    "Result": "etab.results",
    "Suite": "etab.leaderboard",
    "rank": "etab.leaderboard",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(
            f"module 'etab' has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
