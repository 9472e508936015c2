"""Files that the package needs at run time, in a wheel or in a checkout of the repository."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from etab.errors import DataNotFoundError
from etab.registry import unknown


def _places(name: str) -> list[Path]:
    packaged = Path(str(resources.files("etab"))) / "_data" / name
    return [packaged, Path(__file__).resolve().parents[2] / name]


def text(name: str) -> str:
    """Read a packaged text file such as "checkpoints/index.toml"; raises with what there is beside it."""
    for place in _places(name):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    wanted = Path(name)
    there = {
        p.stem
        for place in _places(name)
        if place.parent.is_dir()
        for p in place.parent.glob(f"*{wanted.suffix}")
    }
    if there:
        raise unknown(f"file in {wanted.parent}", wanted.stem, there)
    raise DataNotFoundError(f"The packaged file {name} is missing: reinstall etab-bench.")
