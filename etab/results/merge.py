"""Several folders of results as one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from etab.errors import DataNotFoundError, ResultError
from etab.files import read_json_file
from etab.results.folder import read_results
from etab.results.record import Result
from etab.storage.listing import is_hidden


def folder_names(folders: Sequence[Path]) -> dict[Path, str]:
    """Name each folder by its last part, or by its whole path where two end alike.

    Args:
        folders: Folders, each once.

    Returns:
        Names by folder.

    Example:
        >>> folder_names([Path("a/results"), Path("b/results"), Path("c")])[Path("a/results")]
        'a/results'
    """
    ends = [folder.name for folder in folders]
    names: dict[Path, str] = {}
    for folder in folders:
        is_unique = folder.name and ends.count(folder.name) == 1
        names[folder] = folder.name if is_unique else folder.as_posix()
    return names


def merge_folders(
    folders: Sequence[Path], target: Path, behind: Path | None = None
) -> dict[str, tuple[str, ...]]:
    """Copy the files of several folders of results into one.

    Args:
        folders: Folders of results. Two of them may hold the same cell if its predictions are the
            same; the first one counts.
        target: An empty folder.
        behind: A further folder, named "published", whose files count only where no
            other folder has them. If it holds results of patients, results on phantoms in the
            other folders are not copied: they are no results of the same cells.

    Returns:
        Names of the folders that hold results of a backbone, by its name.

    Raises:
        DataNotFoundError: If a folder does not exist.
        ResultError: If two folders hold different files of one cell.
    """
    all_folders = [*folders, behind] if behind else list(folders)
    names = folder_names(folders)
    if behind:
        names[behind] = "published"
    of_patients = behind is not None and bool(read_results(behind).results)
    if behind is not None and phantom_results([behind]):
        of_patients = False
    sources: dict[Path, Path] = {}
    holders: dict[str, tuple[str, ...]] = {}
    for folder in all_folders:
        if not folder.is_dir():
            raise DataNotFoundError(f"There is no folder {folder}.")
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        aside = _phantom_cells(files) if of_patients else set()
        for path in files:
            part = path.relative_to(folder)
            is_taken = folder == behind and part in sources
            if not is_hidden(part) and not is_taken and _cell(path) not in aside:
                _copy_once(path, part, target, sources)
        results = read_results(folder).results
        counted = [result for result in results if not (of_patients and result.phantom)]
        for backbone in sorted({result.backbone for result in counted}):
            holders[backbone] = (*holders.get(backbone, ()), names[folder])
    return holders


def phantom_results(folders: Sequence[Path]) -> list[Result]:
    """List the results on phantoms of several folders.

    Args:
        folders: Folders of results.
    """
    return [
        result for folder in folders for result in read_results(folder).results if result.phantom
    ]


def _cell(path: Path) -> Path:
    """The files of a cell share their name up to the first dot."""
    return path.parent / path.name.split(".")[0]


def _phantom_cells(files: Sequence[Path]) -> set[Path]:
    """The cells whose record names data that are a phantom."""
    cells = set()
    for path in files:
        if path.suffix == ".json" and _facts(path).get("phantom") is True:
            cells.add(_cell(path))
    return cells


def _copy_once(path: Path, part: Path, target: Path, sources: dict[Path, Path]) -> None:
    """Copy a file, unless another folder gave the same one."""
    first = sources.setdefault(part, path)
    if first == path:
        copy = target / part
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    elif not _is_same(first, path):
        raise ResultError(
            f"{first} and {path} are different files of one cell. Remove one of them, or give the "
            "backbone of one folder another name and run it again."
        )


def _is_same(one: Path, other: Path) -> bool:
    """Whether two files are equal, or records and masks of the same predictions."""
    if one.read_bytes() == other.read_bytes():
        return True
    if one.suffix == ".npz":
        return True  # packed by another version of zlib; the record states the digest of the masks
    facts = [_facts(path) for path in (one, other)]
    return bool(facts[0]) and facts[0] == facts[1]


def _facts(path: Path) -> Mapping[str, object]:
    """What makes two records the same: everything but when and where they were computed."""
    try:
        content = read_json_file(path)
    except (OSError, ValueError):
        return {}
    if path.suffix != ".json" or not isinstance(content, dict):
        return {}
    content.pop("provenance", None)
    return content
