"""The command ``etab cache``: where features are stored, and how much space they take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from etab.cli.options import CacheOption
from etab.cli.words import say
from etab.storage.text import counted
from etab.storage.user_cache import user_cache

_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def default_cache() -> Path:
    """The folder for cached features: ETAB_CACHE, or ``~/.cache/etab``."""
    return user_cache()


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
    action: Annotated[
        str,
        typer.Argument(
            help="ls lists the entries and the time that each took to compute; gc deletes entries "
            "until the rest fits --budget; verify is the same as --verify."
        ),
    ] = "",
    of: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="The cache folder, the same as --cache."),
    ] = None,
    cache: CacheOption = None,
    budget: Annotated[
        str | None,
        typer.Option(help="With gc: the size to keep, such as 50GB or 1.5TB."),
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
        typer.Option("--clean", help="Delete what killed runs left unfinished."),
    ] = False,
) -> None:
    """Show the size of the feature cache, or delete features.

    Features of four tasks of CAMUS take about 0.2 GB for a network with maps, and four times that
    for pixels. `etab cache gc --budget 50GB` deletes entries until the rest fits: first
    those that are quickest to compute again for each byte that they free.
    """
    from etab.features.budget import cached_entries, delete_entry, unfinished_entries

    _check(action, budget)
    folder = _folder(of, cache)
    if budget is not None:
        _evict(folder, budget)
    entries = cached_entries(folder)
    for entry in entries:
        words = [f"{size_words(entry.size):>10}"]
        if action == "ls":
            words.append("       ?" if entry.seconds is None else f"{entry.seconds:>6.0f} s")
        say("  ".join([*words, str(entry.path.relative_to(folder))]))
    unfinished = unfinished_entries(folder)
    for entry in unfinished:
        say(f"{size_words(entry.size):>10}  unfinished: {entry.path.relative_to(folder)}")
    size = sum(entry.size for entry in [*entries, *unfinished])
    say(f"{size_words(size)} of features in {folder}.")
    if clean:
        from etab.features.entries import remove_litter

        n_removed = len(remove_litter(folder))
        say(f"Deleted {n_removed} unfinished entries, claims and temporary files.")
    paths = [entry.path for entry in entries]
    of_shards = [entry.path for entry in unfinished]
    n_damaged = 0
    if verify or action == "verify":
        n_damaged = _damaged(paths) + _damaged_shards(of_shards)
    if clear:
        n_deleted = sum(map(delete_entry, paths))
        n_unfinished = counted(sum(map(delete_entry, of_shards)), "unfinished one")
        say(f"Deleted {counted(n_deleted, 'entry', 'entries')} and {n_unfinished}.")
    if n_damaged:
        raise typer.Exit(1)


def _folder(of: Path | None, cache: Path | None) -> Path:
    """The folder that a command names, as an argument or as an option."""
    from etab.errors import DataNotFoundError, UnsupportedOptionError

    if of is not None and cache is not None and of != cache:
        raise UnsupportedOptionError(f"The folder is {of} and --cache {cache}: name one of them.")
    if of is not None and not of.is_dir():
        raise DataNotFoundError(f"There is no folder {of}.")
    return of or cache or default_cache()


def _check(action: str, budget: str | None) -> None:
    """Refuse an unknown action, and a budget without its action."""
    from etab.errors import UnsupportedOptionError

    if action not in ("", "ls", "gc", "verify"):
        step = (
            f" A folder is named after it: etab cache ls {action}." if Path(action).is_dir() else ""
        )
        raise UnsupportedOptionError(
            f"No action is called {action!r}. Known: ls, gc, verify.{step}"
        )
    if (action == "gc") != (budget is not None):
        raise UnsupportedOptionError(
            "gc and --budget belong together: etab cache gc --budget 50GB."
        )


def _evict(folder: Path, budget: str) -> None:
    """Delete entries until the others fit a budget, and name them."""
    from etab.features.budget import cached_entries, evict, parse_size, unfinished_entries

    size = parse_size(budget)
    deleted = evict(folder, size)
    for entry in deleted:
        say(f"Deleted {size_words(entry.size)}: {entry.path.relative_to(folder)}")
    were = "entry was" if len(deleted) == 1 else "entries were"
    say(f"{len(deleted)} {were} deleted; what is deleted is computed again when it is needed.")
    left = sum(entry.size for entry in [*cached_entries(folder), *unfinished_entries(folder)])
    if left > size:
        say(
            f"{size_words(left)} stay: processes are at work on these entries, or have left their "
            "claims on another machine (--clean removes such claims)."
        )


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


def _damaged_shards(folders: list[Path]) -> int:
    """Name what is damaged in unfinished entries, and return how many there are."""
    from etab.features.merged import unfinished_damage

    count = 0
    for folder in folders:
        for damage in unfinished_damage(folder):
            count += 1
            say(f"{folder} is damaged ({damage}); these rows are computed again.")
    return count
