"""A user's own data among the datasets: their cards, their names, and what boards know of them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from etab.datasets.base import SOURCES, Card, Source
from etab.datasets.own.description import Description
from etab.datasets.own.source import PHASES, OwnRecordings, OwnSounds
from etab.echo.views import CANONICAL, PLACES
from etab.errors import UnsupportedOptionError
from etab.sounds.states import STATES
from etab.types import Kind, Target

OWN_MODULE = "own_"
"""First letters of the module that a user's Python file is run as."""


def own_card(description: Description) -> Card:
    """Make the card of a user's own table.

    Args:
        description: The description.

    Returns:
        The card, with a target for each label, and one for ED and ES where columns name them.
    """
    targets = [
        Target(
            label.name,
            label.kind,
            unit=label.unit,
            classes=STATES if label.kind is Kind.STATES else label.classes,
            description=label.title or label.name,
            cut=label.cut,
        )
        for label in description.labels
    ]
    if not description.sound and not any(target.name == PHASES for target in targets):
        phases = Target(PHASES, Kind.BINARY, classes=("ED", "ES"), description="ED or ES frame")
        targets.append(phases)
    views = PLACES if description.sound else CANONICAL
    return Card(
        name=description.name,
        title=description.title,
        code=description.code,
        modality="sound" if description.sound else "echo",
        views=views,
        targets=tuple(targets),
        licence="your own data; nothing leaves the machine",
        citation="your own",
        access=f"described by {description.path.name}",
        unit=description.unit,
    )


class DescribedRecordings(Source):
    """Recordings that a user's class read, for boards of their results.

    Boards know them by the description beside the results, and never run the class.

    Attributes:
        description: What the class gave.
    """

    description: ClassVar[Description]

    def __new__(cls, root: Path) -> Self:
        """Refuse to open the recordings.

        Args:
            root: Their folder.

        Raises:
            UnsupportedOptionError: Always.
        """
        where = cls.description
        raise UnsupportedOptionError(
            f"{where.name} is read by {where.source}, a class of your own, which is run only where "
            f"its file is named: etab run --data FILE.py --root {root}. Boards and read-outs never "
            "run it: they have no clips and no subgroups of its patients."
        )


def described_source(description: Description) -> type[Source]:
    """Register what is known of recordings of a class, without running it.

    Args:
        description: The description that was kept beside results. Where the class itself is
            registered, it stays.

    Returns:
        The class in SOURCES.
    """
    if description.name in SOURCES and is_own(SOURCES[description.name]):
        return SOURCES[description.name]
    require_free(description)
    facts = {"card": own_card(description), "description": description, "__module__": __name__}
    return SOURCES.add(description.name, type("DescribedData", (DescribedRecordings,), facts))


def is_own(kind: type[Source]) -> bool:
    """Whether a dataset is the user's own: a table, or a class from outside etab."""
    if issubclass(kind, OwnRecordings | DescribedRecordings):
        return True
    return kind.__module__.partition(".")[0] != "etab"


def data_option(kind: type[Source]) -> str:
    """Say by which options of the command line a dataset is named.

    Args:
        kind: The class of the dataset.

    Returns:
        "--tasks ..." for a dataset of etab, "--data clinic.toml" for a user's own table,
        "--data my_echo.py --root FOLDER" for a class of a file, and "--tasks my_echo --root FOLDER"
        for a class of an installed package.
    """
    if issubclass(kind, OwnRecordings):
        return f"--data {kind.description.path.name}"
    if not is_own(kind):
        return "--tasks ..."
    if kind.__module__.startswith(OWN_MODULE):
        return f"--data {kind.__module__.removeprefix(OWN_MODULE)}.py --root FOLDER"
    return f"--tasks {kind.card.name} --root FOLDER"


def require_free(description: Description, kind: type[Source] | None = None) -> None:
    """Refuse a name or letter that another dataset has.

    Args:
        description: The user's data; registered data of the same name are replaced.
        kind: The class of the data, which may be registered already; None for a table.

    Raises:
        UnsupportedOptionError: The name is one of etab's, or the letter is another dataset's.
    """
    for name, other in SOURCES.items():
        if name == description.name and other is not kind and not is_own(other):
            raise UnsupportedOptionError(
                f"{description.path}: {name} is the name of a dataset of etab. Choose another name."
            )
        if other.card.code == description.code and name != description.name:
            raise UnsupportedOptionError(
                f"{description.path}: the letter {description.code!r} belongs to {name}. Choose "
                'another one: code = "Y".'
            )


def own_source(description: Description) -> type[Source]:
    """Make the class of a user's own table, and register it.

    Args:
        description: The description.

    Returns:
        A subclass of ``Source``, in SOURCES under the name of the description.

    Raises:
        UnsupportedOptionError: The name or the letter belongs to a dataset of etab.
    """
    base = OwnSounds if description.sound else OwnRecordings
    require_free(description)
    SOURCES.remove(description.name)
    facts = {
        "card": own_card(description),
        "description": description,
        # Without it, abc would be the module of the class, and the class would count as code of
        # the user that decides results.
        "__module__": __name__,
    }
    made = type("OwnData", (base,), facts)
    return SOURCES.add(description.name, made)
