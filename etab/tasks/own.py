"""A user's own data as datasets with tasks: one for each label of a description, or target of a class."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

from etab.datasets.base import SOURCES, Source
from etab.datasets.own.classes import (
    class_of_file,
    describe_class,
    description_text,
    installed_class,
    installed_classes,
    is_class_file,
    unused_targets,
)
from etab.datasets.own.description import Description, read_description
from etab.datasets.own.registered import (
    DescribedRecordings,
    described_source,
    is_own,
    own_source,
)
from etab.datasets.own.remarks import label_remarks
from etab.datasets.own.shipped import refuse_shipped_name
from etab.datasets.own.source import OwnRecordings
from etab.datasets.own.table import read_own_table
from etab.datasets.paths import dataset_folder
from etab.errors import DataNotFoundError, EtabError, UnsupportedOptionError
from etab.files import read_text_file
from etab.storage.atomic import write_atomically
from etab.tasks.codes import BOARD_REPEATS
from etab.tasks.menu import TASKS
from etab.tasks.own_labels import own_tasks

DESCRIPTION = "data.toml"
"""Name of the description beside the results of a user's own table."""

_CODE = re.compile(r"[a-f]\d-[A-Z]{2}-[A-Z]|[a-f]\d-[A-Z]\d-[A-Z]")


def use_own_data(data: Path | str | type[Source], root: Path | str | None = None) -> Description:
    """Register a user's own data as a dataset, with a task for each label.

    Args:
        data: The description of a table such as ``clinic.toml``; a Python file with a Source class
            such as ``my_echo.py`` (or ``my_echo.py:MyEchoSource``), whose code is run; or the
            class itself.
        root: Folder of the data, for a class; None for the documented places. A description names
            its folder itself.

    Returns:
        The description. ``etab.evaluate(..., tasks=description.name, root=description.folder)``
        then scores an encoder on it.

    Raises:
        DataNotFoundError: There is no such file, or no folder of the data of a class.
        LayoutError: The description or the card of the class cannot be used.
        UnknownNameError: It is the name of public data that etab describes.
        UnsupportedOptionError: Its name or letter belongs to a dataset of etab, or the file cannot
            be run.
    """
    if isinstance(data, type):
        return _use_class(data, f"{data.__module__}:{data.__name__}", root)
    path = Path(data)
    if is_class_file(path):
        kind = class_of_file(path)
        return _use_class(kind, f"{path.name.partition(':')[0]}:{kind.__name__}", root)
    refuse_shipped_name(str(data))
    description = read_description(path)
    if description.source:
        raise UnsupportedOptionError(
            f"{path} is what boards know of {description.source}, a class of your own, and runs "
            "no code. Name the file of the class: --data FILE.py --root FOLDER."
        )
    own_source(description)
    _use_tasks(description)
    return description


def _use_class(kind: type[Source], where: str, root: Path | str | None) -> Description:
    """Register a class, and a task for each target of its card."""
    card = getattr(kind, "card", None)
    name = str(getattr(card, "name", ""))
    described = describe_class(kind, where, Path())
    _hold(name, kind)
    _use_tasks(described)
    return replace(described, folder=dataset_folder(name, root))


def _hold(name: str, kind: type[Source]) -> None:
    """Register a class in place of another user's class; a class of etab keeps its place."""
    if name not in SOURCES or SOURCES[name] is not kind:
        SOURCES.remove(name)
        SOURCES.add(name, kind)


def _use_tasks(description: Description) -> None:
    """Put the tasks of a description in the place of those that its name had before."""
    for code in [code for code, task in TASKS.items() if task.dataset == description.name]:
        TASKS.remove(code)
    for task in own_tasks(description):
        TASKS.add(task.code, task)


def use_installed(words: Iterable[str]) -> None:
    """Register the datasets of installed packages, and of new files of etab, that words name.

    Args:
        words: Names of datasets, or codes of tasks ("b0-A4-Y"), as a user wrote them; others are
            passed over.

    Raises:
        UnsupportedOptionError: The package that a word names cannot be used.
    """
    wanted = set(words)
    if wanted <= {*TASKS, *(task.dataset for task in TASKS.values())}:
        return
    brought = set(installed_classes())
    named = {name for name in (*SOURCES, *brought) if name in wanted and not _has_tasks(name)}
    letters = {word[-1] for word in wanted if _CODE.fullmatch(word) and word not in TASKS}
    if letters:
        named |= {name for name in brought if not _has_tasks(name) and _letter(name) in letters}
    use_card_tasks(named)
    for name in sorted(named):
        if name in SOURCES and not is_own(SOURCES[name]):
            continue
        if name in brought:
            kind, where = installed_class(name)
        else:
            kind = SOURCES[name]
            where = f"{kind.__module__}:{kind.__name__}"
        _hold(name, kind)
        _use_tasks(describe_class(kind, where, Path()))


def _has_tasks(dataset: str) -> bool:
    """Whether tasks of a dataset can be run: a description alone knows no class."""
    if dataset in SOURCES and issubclass(SOURCES[dataset], DescribedRecordings):
        return False
    return any(task.dataset == dataset for task in TASKS.values())


def _letter(name: str) -> str:
    """The letter of a dataset that a package brings; "" where the package cannot be used."""
    try:
        return installed_class(name)[0].card.code
    except EtabError:
        return ""


def use_card_tasks(names: Iterable[str]) -> None:
    """Register tasks of datasets of etab that have none in the menu, one for each target of the card.

    Args:
        names: Names of datasets; others are passed over. No code from outside etab is run.
    """
    for name in names:
        if name in SOURCES and not is_own(SOURCES[name]) and not _has_tasks(name):
            kind = SOURCES[name]
            _use_tasks(describe_class(kind, f"{kind.__module__}:{kind.__name__}", Path()))


def use_results(folder: Path, left_out: Callable[[str], None] | None = None) -> list[Description]:
    """Register the datasets of results: those of a user, and those of etab that have no tasks in the menu.

    Args:
        folder: Folder of results; ``etab run --data`` leaves the description there. Code of a
            class is not run.
        left_out: Called with the reason against each description that cannot be used, whose results
            then have no task; None raises the first reason.

    Returns:
        The descriptions, by name.

    Raises:
        EtabError: A description cannot be used, and ``left_out`` is None.
    """
    use_card_tasks(sorted(path.name for path in folder.glob("*/")))  # none of an unreadable folder
    used = []
    for path in sorted(folder.glob(f"*/{DESCRIPTION}")):
        try:
            used.append(_use_described(path))
        except EtabError as error:
            if left_out is None:
                raise
            left_out(str(error))
    return used


def _use_described(path: Path) -> Description:
    """Register the data that a description beside results describes, and their tasks."""
    description = read_description(path)
    if description.source:
        described_source(description)
    else:
        own_source(description)
    _use_tasks(description)
    return description


def folder_of_data(where: Path, datasets: Collection[str]) -> Path:
    """Find the data that results were made on; a user's own table is registered where it lies.

    Args:
        where: Folder of data, or the description of a table such as ``clinic.toml``. The folder of
            a table holds its description.
        datasets: Names of the datasets of the results.

    Returns:
        The folder that recordings are read from.

    Raises:
        DataNotFoundError: If there is no description of a table that results were made on.
        LayoutError: If the description cannot be used.
    """
    own = [name for name in datasets if issubclass(SOURCES[name], OwnRecordings)]
    if not own or where.suffix == ".json":
        return where
    if where.is_file():
        described = {read_description(where).name: where}
    else:
        described = _described(where)
    for name in own:
        if name in described:
            return use_own_data(described[name]).folder
    raise DataNotFoundError(
        f"{where} is not a description of {own[0]} and holds none. Name the file that "
        "`etab run --data` was given, such as clinic.toml."
    )


def _described(folder: Path) -> dict[str, Path]:
    """The descriptions in a folder, by the name of the data; other files are passed over."""
    described: dict[str, Path] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            described[read_description(path).name] = path
        except EtabError:
            continue
    return described


def own_protocols(description: Description, n_fold: int = 5, *, few: bool = False) -> list[str]:
    """Choose the protocols that a table is run with where none is named.

    Args:
        description: The description; its table is read.
        n_fold: Number of folds.
        few: Whether few labelled patients are drawn; patients are then divided into folds once.

    Returns:
        Folds of patients, repeated as on the boards, and the split of the table where it names
        training and test patients.
    """
    repeated = f"cv{n_fold}" if few else f"cv{n_fold}x{BOARD_REPEATS}"
    return [repeated, "official"] if has_split(description) else [repeated]


def has_split(description: Description) -> bool:
    """Whether a table or class gives every recording a part of a split with training and test patients."""
    if description.source:
        source = SOURCES[description.name](description.folder).lenient()
        parts = {record.split for record in source.records()}
    else:
        parts = {row.split for row in read_own_table(description).rows}
    return {"train", "test"} <= parts and "" not in parts


def own_notes(description: Description) -> list[str]:
    """Describe what a reader of results on a table should know: rare classes, names that are alike.

    Args:
        description: The description; its table is read.

    Returns:
        A sentence for each.
    """
    if description.source:
        return unused_targets(SOURCES[description.name])
    table = read_own_table(description)
    return [*table.notes, *label_remarks(description, table.rows)]


def keep_description(description: Description, results: Path, *, replace: bool = True) -> None:
    """Write the description of a table beside its results, for boards and lists.

    Args:
        description: The description.
        results: Folder of results.
        replace: Whether a description that is there already is replaced. A run that is refused
            leaves the one that its results were made with.
    """
    path = results / description.name / DESCRIPTION
    if replace or not path.exists():
        is_class = bool(description.source)
        text = description_text(description) if is_class else read_text_file(description.path)
        write_atomically(path, text)


def keep_brought(codes: Iterable[str], results: Path) -> None:
    """Write the descriptions of datasets of installed packages beside their results.

    Args:
        codes: Codes of the tasks that were run.
        results: Folder of results.
    """
    for name in sorted({TASKS[code].dataset for code in codes}):
        kind = SOURCES[name]
        if is_own(kind) and not issubclass(kind, OwnRecordings):
            where = f"{kind.__module__}:{kind.__name__}"
            keep_description(describe_class(kind, where, Path()), results)
