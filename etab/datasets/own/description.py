"""The description of a table of one's own recordings: what ``clinic.toml`` may say."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etab.datasets.own.paths import plain_path
from etab.echo.views import canonical
from etab.errors import DataNotFoundError, LayoutError, UnknownNameError
from etab.files import read_toml_file
from etab.registry import unknown
from etab.types import Kind, Target

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

_INPUTS = (
    "answer",
    "ED",
    "ED+ES",
    "frame",
    "clip",
    "clips",
    "beats",
    "recording",
    "window",
    "views",
    "views:answer",
    "views:clip",
    "views:recording",
)

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
_KINDS = {
    "value": Kind.VALUE,
    "classes": Kind.CLASSES,
    "mask": Kind.MASK,
    "states": Kind.STATES,
}
LABEL_KINDS: Mapping[Kind, str] = {
    **{kind: word for word, kind in _KINDS.items()},
    Kind.BINARY: "classes",
}
"""What a description calls the kinds that a label may have."""

_LABEL_KEYS = {
    "kind": str,
    "column": str,
    "title": str,
    "unit": str,
    "classes": list,
    "range": list,
    "views": list,
    "input": str,
    "frames": str,
    "pixel": int,
    "per": str,
    "aggregate": str,
    "metric": str,
    "head": str,
    "anchors": list,
    "clip": list,
}


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a table: a task of its own.

    Attributes:
        name: Name of the label, the key of its section.
        kind: Kind of the label; two classes are BINARY.
        column: Column of the table that holds the label.
        title: What is predicted, in words.
        unit: Unit of a value.
        classes: Classes in order; the second of two is the positive one.
        range: Lowest and highest value that is allowed; None for any.
        views: Views whose recordings have the task; empty for every view.
        input: Rows of the task, one of _INPUTS; "" for the default of the recordings.
        frames: Column with the frame, or frames separated by ";", that the label describes.
        pixel: Value of the structure in a mask; None for every value above 0.
        per: What is scored as one: "", "recording", "study" or "patient".
        aggregate: Rule that combines the rows of what is scored as one.
        metric: Name of the metric; "" for the default of the kind.
        head: Name of the head; "" for the default of the kind.
        anchors: Values of the metric at 0 and 1 of the anchored scale; None for the defaults.
        clip: Frames of a clip and the step between them; None for the default.
    """

    name: str
    kind: Kind
    column: str
    title: str = ""
    unit: str = ""
    classes: tuple[str, ...] = ()
    range: tuple[float, float] | None = None
    views: tuple[str, ...] = ()
    input: str = ""
    frames: str = ""
    pixel: int | None = None
    per: str = ""
    aggregate: str = ""
    metric: str = ""
    head: str = ""
    anchors: tuple[float, float] | None = None
    clip: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """A table of one's own recordings, and what its labels are.

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
    except (OSError, ValueError) as error:
        raise LayoutError(
            f"{path} is not TOML: {error}. Texts are in quotes; paths have slashes and no backslashes."
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
        labels=_labels(path, content.get("labels"), of_files=not source),
        notes=_texts(path, "notes", content.get("notes", [])),
        subgroups=_texts(path, "subgroups", content.get("subgroups", [])),
        source=source,
        unit=unit,
    )


def check_name(where: str, name: object, code: object) -> None:
    """Check the name and the letter of data of one's own.

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


def target_label(where: str, target: Target, options: Mapping[str, Any]) -> Label:
    """Make the label of a target that a class of one's own gives.

    Args:
        where: The class, for messages.
        target: The target; its kind is one of ``LABEL_KINDS``.
        options: Keys of a label in a description, such as ``{"input": "clip"}``.

    Returns:
        The label, with the kind of the target.

    Raises:
        LayoutError: A value is not what its key needs.
        UnknownNameError: A key or view does not exist.
    """
    for key in ("kind", "column", "classes", "unit", "range", "frames", "pixel"):
        if key in options:
            raise LayoutError(
                f"{where}, labels[{target.name!r}]: {key} is said by the class; leave it out."
            )
    section: dict[str, Any] = {"kind": LABEL_KINDS[target.kind], "unit": target.unit}
    if target.kind in (Kind.BINARY, Kind.CLASSES):
        section["classes"] = list(target.classes)
    if target.description:
        section["title"] = target.description
    label = _label(f"{where}, labels[{target.name!r}]", target.name, {**section, **options})
    return replace(label, kind=target.kind)


def _text(path: Path, content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value:
        came = "missing" if value is None else repr(value)
        raise LayoutError(f"{path}: {key} is {came}; wanted a text in quotes.")
    return value


def _texts(path: Path, key: str, texts: Any) -> tuple[str, ...]:
    """Read a list of texts: sentences that results carry, or names of columns."""
    is_list = isinstance(texts, list)
    if not is_list or not all(isinstance(item, str) and item.strip() for item in texts):
        raise LayoutError(f"{path}: {key} is {texts!r}; wanted a list of texts in quotes.")
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


def _labels(path: Path, table: Any, *, of_files: bool) -> tuple[Label, ...]:
    if not isinstance(table, dict) or not table:
        raise LayoutError(
            f'{path} has no label. Add a section such as [labels.EF] with kind = "value".'
        )
    labels = []
    for name, section in table.items():
        where = f"{path}, [labels.{name}]"
        if "/" in name and of_files:  # it is a part of the names of the files of masks
            raise LayoutError(
                f"{where}: the name of a label has no slash; write {name.replace('/', '_')!r}."
            )
        labels.append(_label(where, name, section))
    return tuple(labels)


def _label(where: str, name: str, section: Any) -> Label:
    if not isinstance(section, dict):
        raise LayoutError(f"{where} is {section!r}; wanted a section.")
    for key, value in section.items():
        if key not in _LABEL_KEYS:
            raise unknown(f"key of a label of {where}", key, _LABEL_KEYS)
        wanted = _LABEL_KEYS[key]
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise LayoutError(f"{where}: {key} is {value!r}; wanted a {_WORDS[wanted]}.")
    word = section.get("kind")
    if word not in _KINDS:
        raise LayoutError(f"{where}: kind is {word!r}; possible: {', '.join(_KINDS)}.")
    if section.get("input", "answer") not in _INPUTS:
        raise LayoutError(
            f"{where}: input is {section['input']!r}; possible: {', '.join(_INPUTS)}."
        )
    if section.get("per", "") not in ("", "recording", "study", "patient"):
        raise LayoutError(
            f"{where}: per is {section['per']!r}; possible: recording, study, patient."
        )
    kind = _KINDS[word]
    classes = tuple(str(item) for item in section.get("classes", ()))
    if name == "view":
        classes = _views(where, list(classes))
    if kind is Kind.CLASSES:
        _check_classes(where, classes)
        if len(classes) == 2 and name != "view":  # views have no positive class
            kind = Kind.BINARY
    elif classes and kind is not Kind.STATES:
        raise LayoutError(f'{where}: classes are for kind = "classes", not for {word!r}.')
    _refuse_idle_keys(where, section, kind)
    return Label(
        name=name,
        kind=kind,
        column=section.get("column", name),
        title=section.get("title", ""),
        unit=section.get("unit", ""),
        classes=classes,
        range=_pair(where, section, "range"),
        views=_views(where, section.get("views", [])),
        input=section.get("input", ""),
        frames=section.get("frames", ""),
        pixel=section.get("pixel"),
        per=section.get("per", ""),
        aggregate=section.get("aggregate", ""),
        metric=section.get("metric", ""),
        head=section.get("head", ""),
        anchors=_pair(where, section, "anchors"),
        clip=_whole_pair(where, section, "clip"),
    )


def _refuse_idle_keys(where: str, section: Mapping[str, Any], kind: Kind) -> None:
    """Refuse keys that act on labels of another kind, or only beside another key."""
    for key, of_kind in (("range", Kind.VALUE), ("pixel", Kind.MASK)):
        if key in section and kind is not of_kind:
            raise LayoutError(f"{where}: {key} is for kind = {of_kind.value!r}; leave it out.")
    if section.get("aggregate") and not section.get("per"):
        raise LayoutError(
            f'{where}: aggregate combines the rows of one unit; add per = "patient", "study" or '
            '"recording".'
        )


_WORDS = {str: "text in quotes", list: "list in brackets", int: "whole number"}


def _check_classes(where: str, classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise LayoutError(f"{where}: classes is {list(classes)}; wanted two classes or more.")
    if not all(name.strip() for name in classes):
        raise LayoutError(f"{where}: a class of {list(classes)} has no name; name each class.")
    if len(set(classes)) < len(classes):
        raise LayoutError(f"{where}: a class is named twice in {list(classes)}.")


def _pair(where: str, section: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """Two different numbers; None where the section does not have the key."""
    value = section.get(key)
    if value is None:
        return None
    are_numbers = all(_is_number(item) for item in value)
    if len(value) != 2 or not are_numbers or value[0] == value[1]:
        raise LayoutError(f"{where}: {key} is {value!r}; wanted two different numbers.")
    if key == "anchors" and not all(math.isfinite(item) for item in value):
        raise LayoutError(f"{where}: {key} is {value!r}; wanted two finite numbers.")
    return float(value[0]), float(value[1])


def _is_number(item: object) -> bool:
    """Whether a value of TOML is a number: true, false and nan are none."""
    if not isinstance(item, int | float) or isinstance(item, bool):
        return False
    return not math.isnan(item)


def _whole_pair(where: str, section: Mapping[str, Any], key: str) -> tuple[int, int] | None:
    value = section.get(key)
    if value is None:
        return None
    are_whole = all(_is_number(item) and isinstance(item, int) and item > 0 for item in value)
    if len(value) != 2 or not are_whole:
        raise LayoutError(f"{where}: {key} is {value!r}; wanted [frames, step], such as [16, 2].")
    return value[0], value[1]


def _views(where: str, names: list[Any]) -> tuple[str, ...]:
    try:
        return tuple(canonical(str(name)) for name in names)
    except UnknownNameError as error:
        raise LayoutError(f"{where}: {error}") from error
