"""Source classes that users write: of a Python file, or of an installed package by an entry point.

A package lists its classes in its pyproject.toml::

    [project.entry-points."etab.datasets"]
    my_echo = "my_package.my_echo:MyEchoSource"

A class may say how its labels are used, by the keys of a description (docs/own_data.md)::

    labels = {"EF": {"input": "clip", "clip": [16, 2]}}
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from etab.datasets.base import SOURCES, Card, Source
from etab.datasets.own.description import Description, check_name
from etab.datasets.own.labels import LABEL_KINDS, Label, check_cuts, target_label
from etab.datasets.own.registered import OWN_MODULE, is_own, require_free
from etab.echo.views import CANONICAL, PLACES
from etab.errors import DataNotFoundError, EtabError, LayoutError, UnsupportedOptionError

GROUP = "etab.datasets"
"""Name of the group of entry points."""

_FILE = re.compile(r"(?P<file>.*\.py)(?::(?P<name>\w+))?", re.DOTALL)
_PHASES = "ES/ED"
_NO_VIEW = ("PCG", "unknown")


def is_class_file(path: Path) -> bool:
    """Whether a path names a Python file, or a class of it: ``my_echo.py:MyEchoSource``."""
    return _FILE.fullmatch(str(path)) is not None


def class_of_file(path: Path) -> type[Source]:
    """Load the Source class of a Python file. The code of the file is run.

    Args:
        path: The file, or the file and the name of the class: ``my_echo.py:MyEchoSource``.

    Returns:
        The class.

    Raises:
        DataNotFoundError: There is no such file.
        UnsupportedOptionError: The file cannot be run, or has no class or several ones.
    """
    match = _FILE.fullmatch(str(path))
    file = Path(match["file"] if match else path).expanduser().absolute()
    if not file.is_file():
        raise DataNotFoundError(
            f"There is no file {file}. `etab new dataset NAME` writes one with a Source class."
        )
    module = _run(file)
    found: dict[str, type[Source]] = {
        kind.__name__: kind
        for kind in vars(module).values()
        if _is_source(kind) and kind.__module__ == module.__name__ and not inspect.isabstract(kind)
    }
    wanted = match["name"] if match else None
    if wanted is not None and wanted in found:
        return found[wanted]
    if wanted is None and len(found) == 1:
        return next(iter(found.values()))
    names = ", ".join(found) or "no class that defines all of a Source"
    raise UnsupportedOptionError(
        f"{file} has {names}; wanted {wanted or 'one class'}. Name one as {file.name}:CLASS; "
        "docs/adding/dataset.md shows what a class defines."
    )


def _run(file: Path) -> ModuleType:
    """Run a Python file as a module of its own, which may import what lies beside it.

    Its folder comes last in the path afterwards, for imports in the methods of the class.
    """
    folder = str(file.parent)
    name = f"{OWN_MODULE}{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UnsupportedOptionError(f"{file} cannot be run as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, folder)
    try:
        with _own_names_free():
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # code of any author, which may call sys.exit
        raise UnsupportedOptionError(
            f"{file} cannot be run: {type(error).__name__}: {error}"
        ) from error
    finally:
        with suppress(ValueError):  # the file may have taken it out
            sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)
    return module


@contextmanager
def _own_names_free() -> Iterator[None]:
    """Free the names of a user's own data, so that a class that is run again can register."""
    held = {name: kind for name, kind in SOURCES.items() if is_own(kind)}
    for name in held:
        SOURCES.remove(name)
    try:
        yield
    finally:
        for name, kind in held.items():
            if name not in SOURCES:
                SOURCES.add(name, kind)


def _is_source(thing: object) -> TypeGuard[type[Source]]:
    return isinstance(thing, type) and issubclass(thing, Source)


def installed_classes() -> list[str]:
    """List the names of the datasets that installed packages bring; no package is imported."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def installed_cards() -> tuple[list[Card], dict[str, str]]:
    """Import the datasets that installed packages bring; a faulty one does not affect the others.

    Returns:
        (cards, faults): the cards in the order of their names, and a sentence for each dataset
        that cannot be used, by name.
    """
    made: list[Card] = []
    faults: dict[str, str] = {}
    for name in installed_classes():
        if name in SOURCES and not is_own(SOURCES[name]):
            faults[name] = "is not used: the name is that of a dataset of etab"
            continue
        try:
            kind, where = installed_class(name)
            describe_class(kind, where, Path())
            made.append(kind.card)
        except EtabError as error:
            faults[name] = f"cannot be used: {error}"
    return made, faults


def installed_class(name: str) -> tuple[type[Source], str]:
    """Import the Source class that an installed package brings.

    Args:
        name: The name of its entry point.

    Returns:
        (the class, where it is: "my_package.my_echo:MyEchoSource").

    Raises:
        UnsupportedOptionError: Two packages bring the name, or it leads to no Source class of
            that name.
    """
    points = {point.value: point for point in entry_points(group=GROUP, name=name)}
    if len(points) != 1:
        packages = ", ".join(sorted(_package(point) for point in points.values())) or "none"
        raise UnsupportedOptionError(
            f"One installed package may bring the dataset {name}; there is: {packages}."
        )
    value, point = next(iter(points.items()))
    where = f"{name}, the entry point {value!r} of {_package(point)}"
    try:
        with _own_names_free():
            kind = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the package may be of any author, and call sys.exit
        raise UnsupportedOptionError(
            f"{where}, cannot be used: {type(error).__name__}: {error}"
        ) from error
    if not _is_source(kind) or inspect.isabstract(kind):
        raise UnsupportedOptionError(f"{where}, is {kind!r}; wanted a class that defines a Source.")
    if getattr(kind, "card", None) is None or kind.card.name != name:
        held = getattr(getattr(kind, "card", None), "name", None)
        raise UnsupportedOptionError(
            f"{where}, has a card called {held!r}. Give the entry point and the card one name."
        )
    return kind, value


def _package(point: EntryPoint) -> str:
    """Name and version of the package of an entry point."""
    return point.value if point.dist is None else f"{point.dist.name} {point.dist.version}"


def describe_class(kind: type[Source], where: str, folder: Path) -> Description:
    """Describe the recordings of a class as a description of a table would.

    Args:
        kind: The class.
        where: Where it is, such as "my_echo.py:MyEchoSource".
        folder: Folder of the data.

    Returns:
        The description; each target of the card that a head can predict is a label.

    Raises:
        LayoutError: The card, or an option of a label, cannot be used.
        UnsupportedOptionError: Name or letter belong to another dataset.
    """
    card = getattr(kind, "card", None)
    if not isinstance(card, Card):
        raise LayoutError(f"{where} has no card; give it card = Card(name=..., ...).")
    check_name(where, card.name, card.code)
    if card.modality not in ("echo", "sound"):
        raise LayoutError(f"{where}: modality is {card.modality!r}; wanted 'echo' or 'sound'.")
    strange = sorted(set(card.views) - {*CANONICAL, *PLACES, *_NO_VIEW})
    if strange:
        raise LayoutError(
            f"{where}: the card has views that etab does not know: {', '.join(strange)}. `etab "
            'list views` lists them; "unknown" stands for any other.'
        )
    has_phases = any(target.name == _PHASES for target in card.targets)
    description = Description(
        path=Path(where),
        name=card.name,
        title=card.title,
        code=card.code,
        sound=card.modality == "sound",
        table=Path(where),
        folder=folder,
        columns={"ed": "ed", "es": "es"} if has_phases else {},
        labels=_labels(kind, card, where),
        source=where,
        unit=card.unit,
    )
    require_free(description, kind)
    return description


def _labels(kind: type[Source], card: Card, where: str) -> tuple[Label, ...]:
    options = getattr(kind, "labels", {})
    if not isinstance(options, Mapping):
        raise LayoutError(f'{where}: labels is {options!r}; wanted {{"EF": {{"input": "clip"}}}}.')
    for name in options:
        card.target(name)
    labels = []
    for target in card.targets:
        if target.kind in LABEL_KINDS:
            every_view = () if set(_NO_VIEW) & set(card.views) else card.views
            usual: dict[str, Any] = {"views": list(every_view)}
            if target.name == _PHASES:
                usual["input"] = "frame"
            labels.append(target_label(where, target, {**usual, **options.get(target.name, {})}))
    if not labels:
        raise LayoutError(f"{where}: no target of its card is a value, a class, a mask or states.")
    check_cuts(where, labels)
    return tuple(labels)


def unused_targets(kind: type[Source]) -> list[str]:
    """Say which targets of a class make no task."""
    return [
        f"{target.name} is of the kind {target.kind}, which makes no task of its own."
        for target in kind.card.targets
        if target.kind not in LABEL_KINDS
    ]


def description_text(description: Description) -> str:
    """Write the description of a class as TOML, for boards of its results."""
    lines = [
        "# What a class of your own gave. Boards read it; the class is never run from here.",
        *_lines(
            name=description.name,
            title=description.title,
            code=description.code,
            sound=description.sound,
            source=description.source,
        ),
    ]
    if description.unit != "patient":
        lines += _lines(unit=description.unit)
    if description.columns:
        lines += ["", "[columns]", *_lines(**description.columns)]
    for label in description.labels:
        facts: dict[str, Any] = {"kind": LABEL_KINDS[label.kind]}
        for key in ("title", "unit", "input", "per", "aggregate", "metric", "head"):
            facts[key] = getattr(label, key)
        for key in ("classes", "views", "anchors", "clip"):
            facts[key] = list(getattr(label, key) or ())
        if facts["kind"] != "classes":
            facts["classes"] = []
        lines += ["", f"[labels.{_quoted(label.name)}]"]
        lines += _lines(**{key: value for key, value in facts.items() if value})
        if label.cut is not None:
            lines += _lines(value=label.cut.target, below=label.cut.below)
    return "\n".join(lines) + "\n"


def _lines(**facts: Any) -> list[str]:
    return [f"{key} = {_quoted(value)}" for key, value in facts.items()]


def _quoted(value: Any) -> str:
    """A value of TOML: texts, booleans, numbers and lists are written as in JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
