"""All records under a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from etab.errors import ResultError
from etab.results.record import Result
from etab.storage.listing import is_hidden, walked


@dataclass(frozen=True, slots=True)
class ResultFiles:
    """The records under a folder.

    Attributes:
        results: The records that could be read, in the order of their paths.
        problems: One reason for each file that cannot be used.
    """

    results: tuple[Result, ...]
    problems: tuple[str, ...]


def read_results(folder: Path) -> ResultFiles:
    """Read every record under a folder and say which files cannot be used.

    Hidden files are never records.

    Args:
        folder: A folder of results; an absent one holds none.

    Returns:
        The records, and the reasons against the files that cannot be read or lie where another
        cell belongs.
    """
    results: list[Result] = []
    problems: list[str] = []
    for item in each_result(folder):
        if isinstance(item, Result):
            results.append(item)
        else:
            problems.append(item)
    return ResultFiles(tuple(results), tuple(problems))


def each_result(folder: Path) -> Iterator[Result | str]:
    """Read every record under a folder, and hold one of them at a time.

    Args:
        folder: A folder of results; an absent one holds none.

    Yields:
        A record, or the reason against a folder that cannot be listed, or a file that cannot be
        read or lies where another cell belongs.
    """
    paths, unlisted = _records(folder)
    yield from unlisted
    for path in paths:
        try:
            result = Result.load(path)
        except ResultError as error:
            yield str(error)
            continue
        if result.path(folder) == path:
            yield result
        else:
            yield (
                f"{path} holds {result.task} with {result.backbone}, which belongs at "
                f"{result.path(folder)}: name the folder that contains {result.dataset}/, or move "
                "the file."
            )


def _records(folder: Path) -> tuple[list[Path], list[str]]:
    """The visible paths below a folder that end in .json, and the folders that cannot be listed."""
    unlisted: list[str] = []
    paths: list[Path] = []
    for place, folders, files in walked(folder, unlisted):
        folders[:] = [name for name in folders if not is_hidden(name)]
        names = [name for name in [*folders, *files] if name.endswith(".json")]
        paths += [Path(place, name) for name in names if not is_hidden(name)]
    return sorted(paths), unlisted


def load_results(folder: Path) -> list[Result]:
    """Read every record under a folder, sorted by path.

    Args:
        folder: A folder of results; an absent one holds none.

    Returns:
        The records.

    Raises:
        ResultError: If any file cannot be read or lies where another cell belongs; the error
            lists all of them.
    """
    files = read_results(folder)
    if files.problems:
        total = len(files.problems) + len(files.results)
        raise ResultError(
            f"{len(files.problems)} of {total} files: " + " Also: ".join(files.problems)
        )
    return list(files.results)
