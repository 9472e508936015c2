"""The description of a user's table of recordings: what ``clinic.toml`` may say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etab.datasets.own.labels import Label, read_labels
from etab.datasets.own.paths import plain_path
from etab.errors import DataNotFoundError, LayoutError
from etab.files import read_toml_file
from etab.registry import unknown

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_LETTER = re.compile(r"[A-Z]")

COLUMNS = (
    "file",
    "patient",
    "id",
    "view",
    "split",
    "fps",
    "spacing",
    "ed",
    "es",
    "study",
    "group",
)
"""What a column of the table can hold, beside labels."""

_KEYS = {
    "name",
    "title",
    "code",
    "sound",
    "source",
    "table",
    "folder",
    "columns",
    "labels",
    "notes",
    "subgroups",
    "unit",
}
_UNITS = ("patient", "recording", "examination")


@dataclass(frozen=True, slots=True)
class Description:
    """A user's table of recordings, and what its labels are.

    Attributes:
        path: The TOML file.
        name: Name of the data in tasks and results.
        title: Title of the data on boards.
        code: Letter of the data in task codes.
        sound: Whether the recordings are sounds.
        table: The table, one row for each recording; ``path`` where a class reads the recordings.
        folder: Folder that files in the table are relative to.
        columns: Names of the columns that are called something else than in COLUMNS.
        labels: The labels, each of which makes a task.
        notes: Sentences that every result on the data carries.
        subgroups: Columns that divide the patients into subgroups, such as "sex" or "scanner".
        source: The class that reads the recordings, such as "my_echo.py:MyEchoSource"; "" for a
            table.
        unit: What an id in the column of patients stands for: "patient", or "recording" or
            "examination" where nobody knows the patients.
    """

    path: Path
    name: str
    title: str
    code: str
    sound: bool
    table: Path
    folder: Path
    columns: Mapping[str, str]
    labels: tuple[Label, ...]
    notes: tuple[str, ...] = ()
    subgroups: tuple[str, ...] = ()
    source: str = ""
    unit: str = "patient"

    def column(self, role: str) -> str:
        """Name of the column that holds one of COLUMNS."""
        return self.columns.get(role, role)


def read_description(path: Path) -> Description:
    """Read a description.

    Args:
        path: A TOML file such as ``clinic.toml``.

    Returns:
        The description. The table itself is not read.

    Raises:
        DataNotFoundError: There is no such file.
        LayoutError: The text is not TOML, or a value is not what its key needs.
        UnknownNameError: A key or view does not exist.

    Example:
        >>> import tempfile
        >>> text = 'name = "clinic"\\ntable = "clinic.csv"\\n[labels.EF]\\nkind = "value"\\n'
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "clinic.toml"
        ...     _ = path.write_text(text)
        ...     description = read_description(path)
        >>> description.name, description.labels[0].kind.value
        ('clinic', 'value')
    """
    if not path.is_file():
        raise DataNotFoundError(
            f"There is no file {path}. `etab data init FOLDER` writes one for a folder of files."
        )
    try:
        content = read_toml_file(path)
    except UnicodeDecodeError as error:
        raise LayoutError(f"{path} is not in UTF-8. Save it again as UTF-8.") from error
    except (OSError, ValueError) as error:
        raise LayoutError(
            f"{path} is not TOML: {error}. Texts are in quotes; paths have slashes and no "
            "backslashes."
        ) from error
    for key in sorted(set(content) - _KEYS):
        raise unknown(f"key of {path}", key, _KEYS)
    name = _text(path, content, "name")
    code = content.get("code", "Z")
    check_name(str(path), name, code)
    sound = content.get("sound", False)
    if not isinstance(sound, bool):
        raise LayoutError(f"{path}: sound is {sound!r}; wanted true or false.")
    folder = content.get("folder", ".")
    if not isinstance(folder, str):
        raise LayoutError(f"{path}: folder is {folder!r}; wanted a path in quotes.")
    unit = content.get("unit", "patient")
    if unit not in _UNITS:
        raise LayoutError(f"{path}: unit is {unit!r}; possible: {', '.join(_UNITS)}.")
    source = _text(path, content, "source") if "source" in content else ""
    if source and "table" in content:
        raise LayoutError(f"{path}: recordings come from a table or from a source; leave one out.")
    table = Path(_text(path, content, "table")).expanduser() if not source else path.absolute()
    return Description(
        path=path,
        name=name,
        title=str(content.get("title", name)),
        code=code,
        sound=sound,
        table=path.parent / plain_path(path.parent, table.as_posix()),
        folder=path.parent / plain_path(path.parent, Path(folder).expanduser().as_posix()),
        columns=_columns(path, content.get("columns", {})),
        labels=read_labels(path, content.get("labels"), of_files=not source),
        notes=_texts(path, "notes", content.get("notes", [])),
        subgroups=_texts(path, "subgroups", content.get("subgroups", [])),
        source=source,
        unit=unit,
    )


def check_name(where: str, name: object, code: object) -> None:
    """Check the name and the letter of a user's own data.

    Args:
        where: What has them, for messages.
        name: The name in tasks and results.
        code: The letter in task codes.

    Raises:
        LayoutError: One of them cannot be used.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise LayoutError(
            f"{where}: name is {name!r}; wanted up to 31 small letters, digits and _, "
            "a letter first."
        )
    if not isinstance(code, str) or not _LETTER.fullmatch(code):
        raise LayoutError(f"{where}: code is {code!r}; wanted one capital letter.")


def _text(path: Path, content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value:
        came = "missing" if value is None else repr(value)
        raise LayoutError(f"{path}: {key} is {came}; wanted text in quotes.")
    return value


def _texts(path: Path, key: str, texts: Any) -> tuple[str, ...]:
    """Read a list of texts: sentences that results carry, or names of columns."""
    is_list = isinstance(texts, list)
    if not is_list or not all(isinstance(item, str) and item.strip() for item in texts):
        raise LayoutError(f"{path}: {key} is {texts!r}; wanted a list of strings in quotes.")
    return tuple(texts)


def _columns(path: Path, table: Any) -> dict[str, str]:
    if not isinstance(table, dict):
        raise LayoutError(f"{path}: columns is {table!r}; wanted a section [columns].")
    for key, value in table.items():
        if key not in COLUMNS:
            raise unknown(f"column of {path}", key, COLUMNS)
        if not isinstance(value, str) or not value:
            raise LayoutError(f"{path}: columns.{key} is {value!r}; wanted the name of a column.")
    return dict(table)
