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
    """Read a packaged text file.

    Args:
        name: Path of the file, such as "checkpoints/index.toml".

    Raises:
        UnknownNameError: There is no such file; the message lists the files beside it.
        DataNotFoundError: There is no such file and none beside it.
    """
    for path in _places(name):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    wanted = Path(name)
    others: set[str] = set()
    for path in _places(name):
        if path.parent.is_dir():
            others.update(other.stem for other in path.parent.glob(f"*{wanted.suffix}"))
    if others:
        raise unknown(f"file in {wanted.parent}", wanted.stem, others)
    raise DataNotFoundError(f"The packaged file {name} is missing: reinstall etab-bench.")


def folder(name: str) -> Path | None:
    """Find a folder of the package or the checkout, such as "benchmarks/results".

    Args:
        name: Path of the folder, relative to the checkout.

    Returns:
        The folder, or None where this installation does not have it.
    """
    for path in _places(name):
        if path.is_dir():
            return path
    return None
