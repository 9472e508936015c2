"""Several folders of results as one."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etab.errors import DataNotFoundError, ResultError, StorageError
from etab.files import LARGEST, read_json_file
from etab.results.folder import read_results
from etab.results.record import Result
from etab.storage.atomic import copy_atomically
from etab.storage.listing import is_hidden, walked

# Endings of the files of a cell; the first is its record, the next two its table of predictions.
_RECORD = ".json"
_TABLES = (".csv", ".csv.gz")
_BESIDE = (".states.csv", ".masks.npz", ".masks-sample.npz")
_ENDINGS = (*_BESIDE, _RECORD, *_TABLES)
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged results of several folders.

    Attributes:
        holders: Names of the folders that hold results of a backbone, by its name.
        refused: A reason for each cell or file that was not copied.
    """

    holders: Mapping[str, tuple[str, ...]]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Copy:
    """The files of a cell in one folder, by their endings."""

    folder: Path
    files: Mapping[str, Path]

    @property
    def record(self) -> Path:
        return self.files[_RECORD]


def folder_names(folders: Sequence[Path]) -> dict[Path, str]:
    """Name each folder by its last part, and by as many more as distinguish it from the others.

    Args:
        folders: Folders, each once.

    Returns:
        Names by folder.

    Example:
        >>> list(folder_names([Path("/data/a/results"), Path("b/results"), Path("c")]).values())
        ['a/results', 'b/results', 'c']
    """
    return {folder: _shortest_name(folder, folders) for folder in folders}


def _shortest_name(folder: Path, folders: Sequence[Path]) -> str:
    """The fewest last parts of a path that no other folder ends with; else the whole path."""
    others = [other for other in folders if other != folder]
    for count in range(1, len(folder.parts) + 1):
        end = folder.parts[-count:]
        if all(other.parts[-count:] != end for other in others):
            return Path(*end).as_posix()
    return folder.as_posix()


def merge_folders(
    folders: Sequence[Path],
    target: Path,
    behind: Path | None = None,
    is_known: Callable[[Result], bool] = lambda _: False,
) -> Merged:
    """Copy the cells of several folders of results into one.

    A cell that two folders hold with the same predictions is one cell, however its table is packed
    and whenever it was computed. Where the files of one folder cannot be read, those of another
    count. A result on patients is used before one on a phantom. A cell with different predictions
    in two folders is not copied: it is not clear which of them is meant. Where the predictions of one
    are known as published ones, that one is used, so that no other folder takes it from a board.

    Args:
        folders: Folders of results.
        target: An empty folder.
        behind: A further folder, named "published", whose cells count only where no
            other folder has them. If it holds results of patients, results on phantoms in the
            other folders are not copied: they are not results of the same cells.
        is_known: Whether the predictions of a result are those that were published.

    Returns:
        Who holds what, and what was not copied.

    Raises:
        DataNotFoundError: If a folder does not exist.
        ResultError: If two folders describe different tables of users under one name.
    """
    all_folders = [*folders, behind] if behind else list(folders)
    names = folder_names(folders)
    if behind:
        names[behind] = "published"
    of_patients = behind is not None and bool(read_results(behind).results)
    if behind is not None and phantom_results([behind]):
        of_patients = False
    refused: list[str] = []
    copies: dict[Path, list[_Copy]] = {}
    results: dict[Path, list[Result]] = {}
    for folder in all_folders:
        if not folder.is_dir():
            raise DataNotFoundError(f"There is no folder {folder}.")
        files = _regular_files(folder, refused)
        _copy_descriptions(folder, files, target)
        cells = _cells(folder, files)
        aside = _phantom_cells(cells) if of_patients else set()
        for cell, copy in cells.items():
            if cell not in aside:
                copies.setdefault(cell, []).append(copy)
        held = read_results(folder).results
        results[folder] = [result for result in held if not (of_patients and result.phantom)]
    phantoms: set[Path] = set()  # records in whose place those of patients are used
    for of_cell in copies.values():
        of_people = _of_patients(of_cell)
        for copy in of_cell:
            if copy not in of_people:
                phantoms.add(copy.record)
                refused.append(
                    f"{copy.record} is of a phantom; the same cell of patients in "
                    f"{of_people[0].folder} is used"
                )
        for copy in _chosen(of_people, behind, is_known, refused):
            try:
                _add_files(copy, target)
            except ResultError as error:
                refused.append(str(error))
    holders: dict[str, tuple[str, ...]] = {}
    for folder, of_folder in results.items():
        counted = {one.backbone for one in of_folder if one.path(folder) not in phantoms}
        for backbone in sorted(counted):
            holders[backbone] = (*holders.get(backbone, ()), names[folder])
    return Merged(holders, tuple(refused))


def phantom_results(folders: Sequence[Path]) -> list[Result]:
    """List the results on phantoms of several folders.

    Args:
        folders: Folders of results.
    """
    return [
        result for folder in folders for result in read_results(folder).results if result.phantom
    ]


def _regular_files(folder: Path, refused: list[str]) -> list[Path]:
    """The visible ordinary files below a folder; a reason for results that are something else."""
    files: list[Path] = []
    for path in _visible_paths(folder, refused):
        status = path.lstat()
        reason = ""
        if stat.S_ISLNK(status.st_mode):
            reason = "it is a link; results are regular files, so copy what it points to"
        elif not stat.S_ISREG(status.st_mode):
            reason = "it is a folder, pipe or device; results are regular files"
        elif status.st_size > LARGEST:
            reason = f"it is larger than {LARGEST >> 20} MiB"
        if not reason:
            files.append(path)
        elif _ending(path) or path.is_dir():
            refused.append(f"{path}: {reason}")
    return files


def _visible_paths(folder: Path, refused: list[str]) -> Iterator[Path]:
    """Every visible file below a folder, sorted, and folders that are links or named as records."""
    for place, folders, files in walked(folder, refused):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted([*files, *folders]):
            path = Path(place, name)
            is_entered = name in folders and not path.is_symlink() and not _ending(path)
            if not is_hidden(name) and not is_entered:
                yield path


def _ending(path: Path) -> str:
    """The ending that makes a file part of a cell; empty for other files."""
    return next((ending for ending in _ENDINGS if path.name.endswith(ending)), "")


def _cells(folder: Path, files: Sequence[Path]) -> dict[Path, _Copy]:
    """The files of a folder by cell; what lies beside no record is part of none."""
    by_cell: dict[Path, dict[str, Path]] = {}
    for path in files:
        ending = _ending(path)
        if ending:
            part = path.relative_to(folder)
            cell = part.with_name(part.name.removesuffix(ending))
            by_cell.setdefault(cell, {})[ending] = path
    return {cell: _Copy(folder, found) for cell, found in by_cell.items() if _RECORD in found}


def _phantom_cells(cells: Mapping[Path, _Copy]) -> set[Path]:
    """The cells whose record names data that are a phantom."""
    return {cell for cell, copy in cells.items() if _facts(copy.record).get("phantom") is True}


def _of_patients(copies: Sequence[_Copy]) -> list[_Copy]:
    """The copies of a cell without phantoms, where one is of patients; else all of them."""
    if len(copies) == 1:
        return list(copies)
    stated = {copy.folder: _facts(copy.record).get("phantom") for copy in copies}
    if False not in stated.values():
        return list(copies)
    return [copy for copy in copies if stated[copy.folder] is not True]


def _chosen(
    copies: Sequence[_Copy],
    behind: Path | None,
    is_known: Callable[[Result], bool],
    refused: list[str],
) -> list[_Copy]:
    """The copies of a cell whose files are used, the first one before the others."""
    if len(copies) == 1:
        return list(copies)
    reasons = {copy.folder: _unreadable(copy) for copy in copies}
    sound = [copy for copy in copies if not reasons[copy.folder]]
    damaged = [copy for copy in copies if reasons[copy.folder]]
    if not sound:
        # The checks of the board say what is wrong with the first one.
        refused += [f"{copy.record}: {reasons[copy.folder]}" for copy in damaged[1:]]
        return [copies[0]]
    refused += [
        f"{copy.record}: {reasons[copy.folder]}. The same cell in {sound[0].folder} is used"
        for copy in damaged
    ]
    if sound[0].folder != behind:
        sound = [copy for copy in sound if copy.folder != behind]
    known = [copy for copy in sound if is_known(Result.load(copy.record))]
    first, *others = known or sound
    for other in others:
        differing = _differing(first.record, other.record)
        if differing:
            refused.append(
                f"{first.record} and {other.record} are different results of one cell "
                f"({differing}); neither is used. Remove one of them, or give the backbone of one "
                "folder another name and run it again"
            )
            return []
    for other in sound:
        differing = "" if other in (known or sound) else _differing(first.record, other.record)
        if differing:
            refused.append(
                f"{other.record} is another result of a published cell ({differing}); the "
                f"published one in {first.folder} is used"
            )
    return known or sound


def _unreadable(copy: _Copy) -> str:
    """Why a record or its predictions cannot be used; empty where both can."""
    try:
        Result.load(copy.record).predictions(copy.folder)
    except ResultError as error:
        words = str(error).removeprefix(f"{copy.record}: ").removeprefix(f"{copy.record} ")
        return words.rstrip(".")
    return ""


def _differing(first: Path, other: Path) -> str:
    """The facts in which two records differ, beside when and where they were computed."""
    facts = _facts(first)
    of_other = _facts(other)
    names = [name for name in {**facts, **of_other} if facts.get(name) != of_other.get(name)]
    more = ", ..." if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def _facts(path: Path) -> Mapping[str, object]:
    """A record without its provenance; empty where it cannot be read."""
    try:
        content = read_json_file(path)
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    content.pop("provenance", None)
    return content


def _add_files(copy: _Copy, target: Path) -> None:
    """Copy the files of a cell; of a further copy, only what is not there yet."""
    place = target / copy.record.relative_to(copy.folder).parent
    has_record = (place / copy.record.name).exists()
    for ending, path in copy.files.items():
        is_needed = ending in _BESIDE if has_record else True
        if is_needed and not (place / path.name).exists():
            _copy_file(path, place / path.name)


def _copy_file(path: Path, copy: Path) -> None:
    """Copy a file as a whole; raises ResultError where it cannot be read."""
    try:
        copy_atomically(path, copy)
    except StorageError:
        raise  # it names the copy and says what the disk refused
    except OSError as error:
        raise ResultError(f"{path} cannot be copied: {error.strerror}") from error


def _copy_descriptions(folder: Path, files: Sequence[Path], target: Path) -> None:
    """Copy what describes the users' tables: the TOML files beside the tasks of a dataset."""
    for path in files:
        if path.suffix != ".toml":
            continue
        copy = target / path.relative_to(folder)
        if not copy.exists():
            _copy_file(path, copy)
        elif copy.read_bytes() != path.read_bytes():
            raise ResultError(
                f"{path} and the file of this name in another folder describe different data. Give "
                "the data of one folder another name and run its cells again."
            )
