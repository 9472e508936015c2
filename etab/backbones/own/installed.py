"""Names of backbones that installed packages bring: the entry points of ``etab.backbones``.

A package lists them in its pyproject.toml::

    [project.entry-points."etab.backbones"]
    my_encoder = "my_package.encoders:my_encoder"

The object is a card (as from ``etab.backbone``), a function without arguments that returns one, or
a function that is registered by ``@backbones.register(card)``. It is imported when the backbone is
first used.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points

from etab.backbones.base import BackboneCard
from etab.backbones.registered import BACKBONES
from etab.errors import EtabError, UnsupportedOptionError

GROUP = "etab.backbones"
"""Name of the group of entry points."""

_BROUGHT: dict[str, str] = {}  # entry points that were used in this process, by name
_MADE: dict[str, BackboneCard] = {}  # their cards, by entry point: a function is tried once


def installed() -> list[str]:
    """List the names of backbones that installed packages bring; no package is imported.

    A name that etab itself registers is left out, because it stands for etab's backbone.

    Returns:
        The names, sorted.
    """
    names = {point.name for point in entry_points(group=GROUP)}
    return sorted(name for name in names if name not in BACKBONES)


def hidden_by(names: Collection[str]) -> dict[str, str]:
    """Find the entry points that are not used, because another backbone has their name.

    Args:
        names: Names of the backbones that etab itself brings.

    Returns:
        A sentence for each such entry point, by its name.
    """
    return {
        point.name: f"{_package(point)} brings a backbone of this name, which is not used: the "
        "name is that of a backbone of etab. Rename its entry point."
        for point in entry_points(group=GROUP)
        if point.name in names
    }


def installed_card(name: str) -> BackboneCard | None:
    """Make the card of a backbone that an installed package brings.

    Args:
        name: The name of the entry point.

    Returns:
        The card; None where no package brings the name.

    Raises:
        UnsupportedOptionError: Two packages bring the name, the object cannot be imported, or it
            gives no card of that name.
    """
    points = list(entry_points(group=GROUP, name=name))
    if not points:
        return None
    made = _MADE.get(points[0].value)
    if len(points) == 1 and made is not None:
        return made
    packages = sorted({_package(point) for point in points})
    if len(packages) > 1:
        raise UnsupportedOptionError(
            f"Several installed packages bring a backbone called {name}: {', '.join(packages)}. "
            "Uninstall all but one of them."
        )
    where = f"{name}, the entry point {points[0].value!r} of {packages[0]}"
    try:
        thing = points[0].load()
        made = thing() if _is_maker(name, thing) else thing
    except (EtabError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the package may be of any author, and call sys.exit
        raise UnsupportedOptionError(
            f"{where}, cannot be used: {type(error).__name__}: {error}"
        ) from error
    if name in BACKBONES:  # the decorator registered it while it was imported
        _BROUGHT[name] = points[0].value
        return BACKBONES[name].make(name, None)
    if not isinstance(made, BackboneCard):
        raise UnsupportedOptionError(
            f"{where}, gives {type(made).__name__}; wanted a card, as from etab.backbone(...), "
            "or a function without arguments that returns one."
        )
    if made.name != name:
        raise UnsupportedOptionError(
            f"{where}, gives a card called {made.name!r}. "
            "Give the entry point and the card one name."
        )
    _BROUGHT[name] = points[0].value
    _MADE[points[0].value] = made
    return made


def is_installed(card: BackboneCard) -> bool:
    """Tell whether another process finds a backbone by its name, in the package that brought it.

    Args:
        card: A card.

    Returns:
        True if ``installed_card`` has made this card in this process.
    """
    value = _BROUGHT.get(card.name)
    if value is None:
        return False
    if card.name in BACKBONES:
        return BACKBONES[card.name].make(card.name, None) == card
    return _MADE.get(value) == card


def _package(point: EntryPoint) -> str:
    """Name and version of the package of an entry point."""
    if point.dist is None:
        return point.value
    return f"{point.dist.name} {point.dist.version}"


def _is_maker(name: str, thing: object) -> bool:
    """Whether an object is a function without arguments that makes the card."""
    return name not in BACKBONES and callable(thing) and not isinstance(thing, BackboneCard)
