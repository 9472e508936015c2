"""The command ``etab cache``: where features are stored, and how much space they take."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from etab.cli.words import say

_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def default_cache() -> Path:
    """The folder for cached features: ETAB_CACHE, or ``~/.cache/etab``."""
    return Path(os.environ.get("ETAB_CACHE") or Path.home() / ".cache" / "etab")


def folder_size(folder: Path) -> int:
    """Add up the sizes of the files below a folder.

    Args:
        folder: Any folder; an absent one holds nothing.

    Returns:
        The number of bytes.
    """
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def size_words(size: int) -> str:
    """Write a number of bytes for people.

    Args:
        size: The number of bytes.

    Example:
        >>> size_words(3_200_000_000)
        '3.2 GB'
    """
    value = float(size)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def cache_command(
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for cached features. [default: ETAB_CACHE or ~/.cache/etab]"),
    ] = None,
    clear: Annotated[
        bool,
        typer.Option("--clear", help="Delete the features; they are computed again when needed."),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read every entry and name those that are damaged."),
    ] = False,
    clean: Annotated[
        bool,
        typer.Option("--clean", help="Delete what runs that were killed left unfinished."),
    ] = False,
) -> None:
    """Show the size of the feature cache, or delete the features.

    Features of four tasks of CAMUS take about 0.2 GB for a network with maps, and four times that
    for pixels.
    """
    folder = cache or default_cache()
    entries = _entries(folder)
    total = sum(size for _, size in entries)
    for path, size in entries:
        say(f"{size_words(size):>10}  {path.relative_to(folder)}")
    say(f"{size_words(total)} of features in {folder}.")
    if clean:
        from etab.features.entries import remove_litter

        say(f"Deleted {len(remove_litter(folder))} unfinished entries, claims and temporary files.")
    n_damaged = _damaged([path for path, _ in entries]) if verify else 0
    if clear:
        for path, _ in entries:
            shutil.rmtree(path)
        say(f"Deleted {len(entries)} entries.")
    if n_damaged:
        raise typer.Exit(1)


def _damaged(folders: list[Path]) -> int:
    """Name the damaged entries, and return their number."""
    from etab.features.entries import entry_damage

    count = 0
    for folder in folders:
        damage = entry_damage(folder)
        if damage:
            count += 1
            say(f"{folder} is damaged ({damage}); it is computed again when it is needed.")
    say(f"{len(folders) - count} of {len(folders)} entries are as they were written.")
    return count


def _entries(folder: Path) -> list[tuple[Path, int]]:
    """Every entry of the cache with its size, the largest first.

    An entry is a folder with the file entry.json, which only the cache writes.
    """
    folders = [path.parent for path in folder.rglob("entry.json")]
    folders = [path for path in folders if path.suffix != ".part"]
    sizes = [(path, folder_size(path)) for path in sorted(folders)]
    return sorted(sizes, key=lambda entry: -entry[1])
