"""The folder in which everything that can be computed again is kept for a user."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """Name the user's cache: the folder ETAB_CACHE, or ``~/.cache/etab``."""
    return Path(os.environ.get("ETAB_CACHE") or Path.home() / ".cache" / "etab")
