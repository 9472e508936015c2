"""Where a number came from: versions, commit and machine kind. None of it enters the identity of a
result.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

from etab.storage.machine import instructions, processor

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "opencv-python-headless", "nibabel")


def _git(*words: str) -> str:
    top = Path(__file__).resolve().parents[2]
    if not (top / ".git").exists():
        return ""
    try:
        run = subprocess.run(
            ["git", "-C", str(top), *words], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


@lru_cache(maxsize=1)
def provenance(version: str) -> Mapping[str, str | bool]:
    """Collect versions, commit, dirty flag, Python and processor; empty commit outside a source
    checkout.

    Asked once a process, at its first result: what is imported stays, whatever happens to the
    checkout meanwhile.
    """
    commit = _git("rev-parse", "HEAD")
    facts: dict[str, str | bool] = {
        "etab": version,
        "commit": commit,
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")) if commit else False,
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": processor(),
        "instructions": instructions(),
        **{package: _version(package) for package in _PACKAGES},
    }
    return MappingProxyType(facts)
