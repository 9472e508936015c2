"""The labels of a description: what a section ``[labels.NAME]`` may say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from etab.echo.views import canonical
from etab.errors import LayoutError, UnknownNameError
from etab.registry import unknown
from etab.types import Cut, Kind, Target

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

# What a class says of its labels; their options are the other keys.
_SAID_BY_CLASS = (
    "kind",
    "column",
    "classes",
    "unit",
    "range",
    "frames",
    "pixel",
    "value",
    "below",
)
KINDS_OF_LABELS: Mapping[str, Kind] = {
    "value": Kind.VALUE,
    "classes": Kind.CLASSES,
    "mask": Kind.MASK,
    "states": Kind.STATES,
}
"""Kinds by the words of a description."""
LABEL_KINDS: Mapping[Kind, str] = {
    **{kind: word for word, kind in KINDS_OF_LABELS.items()},
    Kind.BINARY: "classes",
}
"""What a description calls the kinds that a label may have."""

MOST_LABELS = 10
"""Most labels of one category in a description: codes of tasks have one digit for it."""

_LABEL_KEYS: Mapping[str, Any] = {
    "kind": str,
    "column": str,
    "title": str,
    "unit": str,
    "classes": list,
    "value": str,
    "below": int | float,
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


def category_of(kind: Kind, name: str, *, sound: bool) -> str:
    """The letter of the category of a label, as in the codes of tasks.

    Args:
        kind: Kind of the label.
        name: Its name.
        sound: Whether the recordings are sounds.

    Example:
        >>> category_of(Kind.VALUE, "EF", sound=False)
        'b'
    """
    if kind is Kind.MASK:
        return "a"
    if kind is Kind.STATES:
        return "e"
    if name == "view":
        return "c"
    if kind is Kind.VALUE:
        return "e" if sound else "b"
    return "f" if sound else "d"


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
        cut: The label with the value that two classes are cut from, and where: the second class
            holds what lies below it. None where classes are not cut from a value.
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
    # Digests of data hold the text of a label, and those of labels without a cut stay as they were.
    cut: Cut | None = field(default=None, repr=False)


def target_label(where: str, target: Target, options: Mapping[str, Any]) -> Label:
    """Make the label for a target of a user's class.

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
    for key in _SAID_BY_CLASS:
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
    return replace(label, kind=target.kind, cut=target.cut)


def check_cuts(where: str, labels: Sequence[Label]) -> None:
    """Check that classes are cut from values that their recordings have.

    Args:
        where: What has the labels, for messages.
        labels: The labels.

    Raises:
        LayoutError: A label is cut from one that is not a value, or that other views have.
    """
    values = {label.name: label for label in labels if label.kind is Kind.VALUE}
    for label in labels:
        if label.cut is None:
            continue
        value = values.get(label.cut.target)
        if value is None:
            raise LayoutError(
                f"{where}: {label.name} is cut from {label.cut.target!r}; wanted a label with "
                f'kind = "value": {", ".join(values) or "there is none"}.'
            )
        if value.views and not (label.views and set(label.views) <= set(value.views)):
            raise LayoutError(
                f"{where}: {label.name} is cut from {value.name}, which is for "
                f"{_list(value.views)} alone, and {label.name} is for {_list(label.views)}. Give "
                "both the same views."
            )


def _list(views: Sequence[str]) -> str:
    return ", ".join(views) or "every view"


def read_labels(path: Path, table: Any, *, of_files: bool) -> tuple[Label, ...]:
    """Read the labels of a description.

    Args:
        path: The description, for messages.
        table: What it says under ``labels``.
        of_files: Whether a table lists files, so that names of labels have no slash.

    Returns:
        The labels, in order.

    Raises:
        LayoutError: There is no label, or a value is not what its key needs.
        UnknownNameError: A key or view does not exist.
    """
    if table is not None and not isinstance(table, dict):
        raise LayoutError(
            f"{path}: labels is {table!r}; wanted a section for each label, such as [labels.EF]."
        )
    if not table:
        raise LayoutError(
            f'{path} has no label. Add a section such as [labels.EF] with kind = "value".'
        )
    labels = []
    for name, section in table.items():
        where = f"{path}, [labels.{name}]"
        if not name.strip():
            raise LayoutError(f"{path}: a label has no name; wanted one, such as [labels.EF].")
        if "/" in name and of_files:  # it is a part of the names of the files of masks
            raise LayoutError(
                f"{where}: the name of a label must not contain a slash; write "
                f"{name.replace('/', '_')!r}."
            )
        labels.append(_label(where, name, section))
    check_cuts(str(path), labels)
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
    if word is None:
        raise LayoutError(f"{where}: kind is missing; possible: {', '.join(KINDS_OF_LABELS)}.")
    if word not in KINDS_OF_LABELS:
        raise LayoutError(f"{where}: kind is {word!r}; possible: {', '.join(KINDS_OF_LABELS)}.")
    if section.get("input", "answer") not in _INPUTS:
        raise LayoutError(
            f"{where}: input is {section['input']!r}; possible: {', '.join(_INPUTS)}."
        )
    if section.get("per", "") not in ("", "recording", "study", "patient"):
        raise LayoutError(
            f"{where}: per is {section['per']!r}; possible: recording, study, patient."
        )
    kind = KINDS_OF_LABELS[word]
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
        cut=_cut(where, section, kind),
    )


def _cut(where: str, section: Mapping[str, Any], kind: Kind) -> Cut | None:
    """Where two classes are cut from a value; None where the section names no value."""
    value = section.get("value")
    below = section.get("below")
    if value is None and below is None:
        return None
    if value is None or below is None:
        raise LayoutError(
            f'{where}: value and below belong together: value = "EF" and below = 50 mean that '
            "the second class holds every EF below 50."
        )
    if kind is not Kind.BINARY:
        raise LayoutError(f"{where}: value and below are for two classes; leave them out.")
    if not math.isfinite(below):
        raise LayoutError(f"{where}: below is {below!r}; wanted a finite number.")
    return Cut(value, float(below))


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


_WORDS: Mapping[Any, str] = {
    str: "text in quotes",
    list: "list in brackets",
    int: "whole number",
    int | float: "number",
}


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
