"""The entries of the feature cache: their sizes, the time to compute them, and a budget."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etab.errors import UnsupportedOptionError
from etab.features.entries import SHARDS
from etab.files import finite_number, open_regular, parse_json, read_json_file
from etab.storage.claims import read_claim

_UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


@dataclass(frozen=True, slots=True)
class CachedEntry:
    """An entry of the cache.

    Attributes:
        path: Its folder.
        size: Bytes of its files.
        seconds: Time that computing it took; None for entries that do not record it.
        rows: Number of frames, clips or windows; None if its files do not say.
        pooled: Bytes of its pooled features, which are held in memory while cells are fitted.
    """

    path: Path
    size: int
    seconds: float | None
    rows: int | None
    pooled: int


def folder_size(folder: Path) -> int:
    """Add up the sizes of the files below a folder.

    Args:
        folder: Any folder; an absent one holds nothing.

    Returns:
        The number of bytes.
    """
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it just now
            if path.is_file():
                total += path.lstat().st_size
    return total


def cached_entries(cache: Path) -> list[CachedEntry]:
    """List the complete entries of a cache, the largest first.

    An entry is a folder with the file entry.json, which only the cache writes.

    Args:
        cache: Folder of the cache.

    Example:
        >>> cached_entries(Path("no cache"))
        []
    """
    folders = [path.parent for path in cache.rglob("entry.json")]
    complete = [path for path in folders if path.suffix != ".part" and not _is_shard(path)]
    return sorted(map(_entry, sorted(complete)), key=lambda entry: -entry.size)


def unfinished_entries(cache: Path) -> list[CachedEntry]:
    """List the entries of which some shards are computed, the largest first.

    The time is that of the shards that are there.

    Args:
        cache: Folder of the cache.

    Example:
        >>> unfinished_entries(Path("no cache"))
        []
    """
    entries: list[CachedEntry] = []
    for folder in sorted(cache.rglob(f"*{SHARDS}")):
        if folder.is_dir():
            files = [*folder.glob("*/entry.json"), *folder.glob("*.merged")]
            times = [_seconds(path) for path in files]
            seconds = sum(time for time in times if time is not None)
            entries.append(CachedEntry(folder, folder_size(folder), seconds, None, 0))
    return sorted(entries, key=lambda entry: -entry.size)


def _is_shard(folder: Path) -> bool:
    return folder.parent.suffix == SHARDS


def _seconds(path: Path) -> float | None:
    """Read how long it took to compute what a file describes; None if it does not say."""
    try:
        seconds = finite_number(read_json_file(path)["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return seconds if seconds >= 0 else None


def _entry(folder: Path) -> CachedEntry:
    pooled = folder / "pooled.safetensors"
    n_bytes = pooled.stat().st_size if pooled.is_file() else 0
    seconds = _seconds(folder / "entry.json")
    return CachedEntry(folder, folder_size(folder), seconds, _rows(pooled), n_bytes)


def _rows(pooled: Path) -> int | None:
    """Read the number of rows from the header of a safetensors file; None if it does not say."""
    try:
        with open_regular(pooled) as file:
            length = int.from_bytes(file.read(8), "little")
            header = parse_json(file.read(min(length, 1 << 20)).decode())
        counts = [facts["shape"][0] for name, facts in header.items() if name != "__metadata__"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return counts[0] if counts and type(counts[0]) is int else None


def parse_size(text: str) -> int:
    """Read a number of bytes as people write it.

    Args:
        text: A number with a unit of 1,000: "50GB", "1.5 TB", "200".

    Returns:
        The number of bytes.

    Raises:
        UnsupportedOptionError: If it is not such a number.

    Example:
        >>> parse_size("1.5 GB")
        1500000000
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", text.strip().upper())
    unit = "" if match is None else match[2]
    if match is None or unit not in _UNITS:
        raise UnsupportedOptionError(
            f"{text!r} is not a size. Write a number and a unit: 500MB, 50GB, 1.5TB."
        )
    return int(float(match[1]) * _UNITS[unit])


def choose_evicted(entries: Sequence[CachedEntry], budget: int) -> list[CachedEntry]:
    """Choose the entries to delete, so that the others fit a budget.

    Those go first that take the least time to compute again for each byte that becomes free. Where
    no time is recorded, the median of the other entries stands for it; among equals the largest
    goes first.

    Args:
        entries: The entries.
        budget: Bytes that may stay.

    Returns:
        The entries to delete, in this order.
    """
    rates = [entry.seconds / entry.size for entry in entries if entry.seconds and entry.size]
    usual = statistics.median(rates) if rates else 0.0

    def order(entry: CachedEntry) -> tuple[float, int]:
        if entry.seconds is None or not entry.size:
            return usual, -entry.size
        return entry.seconds / entry.size, -entry.size

    total = sum(entry.size for entry in entries)
    evicted: list[CachedEntry] = []
    for entry in sorted(entries, key=order):
        if total <= budget:
            break
        evicted.append(entry)
        total -= entry.size
    return evicted


def evict(cache: Path, budget: int) -> list[CachedEntry]:
    """Delete entries until the others fit a budget; they are computed again when they are needed.

    An entry that a living process is about to write stays. A run that reads a deleted entry computes
    it again. Shards of unfinished entries count like entries.

    Args:
        cache: Folder of the cache.
        budget: Bytes that may stay.

    Returns:
        The entries that were deleted.
    """
    entries = cached_entries(cache) + unfinished_entries(cache)
    free = [entry for entry in entries if not _is_claimed(entry.path)]
    held = sum(entry.size for entry in entries) - sum(entry.size for entry in free)
    return [entry for entry in choose_evicted(free, budget - held) if delete_entry(entry.path)]


def delete_entry(folder: Path) -> bool:
    """Delete an entry or its shards. No process ever finds one half of it.

    Args:
        folder: The folder of the entry or of its shards.

    Returns:
        Whether it was there; another process may have deleted it.

    Raises:
        OSError: The cache cannot be written.
    """
    away = folder.with_name(f"{folder.name}.{secrets.token_hex(8)}.part")
    try:
        folder.rename(away)
    except FileNotFoundError:
        return False
    shutil.rmtree(away, ignore_errors=True)
    return True


def _is_claimed(folder: Path) -> bool:
    """Whether a living process computes an entry, or a shard of it."""
    name = folder.name.split(".")[0]
    holders = map(read_claim, [folder.with_name(f"{name}.claim"), *folder.glob("*.claim")])
    return any(holder is not None and not holder.is_dead() for holder in holders)
