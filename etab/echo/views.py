"""Names of echo views and of places of auscultation, and the aliases of each name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from etab.errors import UnsupportedOptionError
from etab.registry import unknown

CANONICAL = ("A2C", "A3C", "A4C", "PLAX", "PSAX", "other", "unknown")
PLACES = ("AV", "PV", "TV", "MV", "Phc", "PCG")

_ALIASES = {
    "A2C": ("AP2CH", "AP2C", "A2CH", "A2", "2CH"),
    "A3C": ("AP3CH", "AP3C", "A3CH", "A3", "3CH"),
    "A4C": ("AP4CH", "AP4C", "A4CH", "A4", "4CH"),
    "PLAX": ("PL",),
    "PSAX": ("PS", "PSAX AoV"),
    "other": ("A4CorA2CorOther",),
    "unknown": (),
    "AV": ("aortic",),
    "PV": ("pulmonary",),
    "TV": ("tricuspid",),
    "MV": ("mitral",),
    "Phc": ("PH",),
    "PCG": (),
}


VIEW_TITLES = MappingProxyType(
    {
        "A2C": "apical two-chamber view",
        "A3C": "apical three-chamber view",
        "A4C": "apical four-chamber view",
        "PLAX": "parasternal long-axis view",
        "PSAX": "parasternal short-axis view",
        "AV": "aortic area",
        "PV": "pulmonary area",
        "TV": "tricuspid area",
        "MV": "mitral area",
        "Phc": "another place on the chest",
        "PCG": "place not stated",
    }
)
"""Views and places of auscultation in words, by their canonical name."""


def aliases() -> dict[str, str]:
    """Map every accepted name, in upper case, to its canonical name."""
    names = {}
    for view in (*CANONICAL, *PLACES):
        for alias in (view, *_ALIASES[view]):
            names[alias.upper()] = view
    return names


def canonical(name: str) -> str:
    """Return the canonical name of a view.

    Args:
        name: Any name in use, in upper or lower case.

    Raises:
        UnknownNameError: No view has this name; the message suggests a similar one.

    Example:
        >>> canonical("AP4CH")
        'A4C'
    """
    view = aliases().get(str(name).upper())
    if view is None:
        raise unknown("view", name, aliases())
    return view


# Two letters of a task code that are also an alias of a single view.
_SINGLE = ("A2", "A3", "A4", "PL", "PS", "AV", "PV", "TV", "MV")

_NAMED = tuple(view for view in (*CANONICAL, *PLACES) if view not in ("unknown", "PCG"))

SIDE_BY_SIDE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "V2": ("A2C", "A4C"),
        "V4": ("PLAX", "PSAX", "A2C", "A4C"),
        "P4": ("AV", "PV", "TV", "MV"),
    }
)
"""The codes of views, or places, that tasks lay side by side in one row."""

# The views of the two letters of a task code.
VIEW_CODES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{code: (canonical(code),) for code in _SINGLE},
        "AX": ("A2C", "A3C", "A4C"),
        "PX": ("PLAX", "PSAX"),
        "AL": _NAMED,
        "PH": ("Phc", "PCG"),
        **SIDE_BY_SIDE,
    }
)


def among(
    name: str | None,
    views: Sequence[str],
    *,
    what: str,
) -> tuple[str, ...]:
    """Select views by name.

    Args:
        name: Any name of a view; None for all ``views``.
        views: The canonical names of the views to select from.
        what: The owner of the views, for messages.

    Returns:
        Canonical names.

    Raises:
        UnknownNameError: No view has this name.
        UnsupportedOptionError: The view is not one of ``views``.

    Example:
        >>> among("2ch", ["A2C", "A4C"], what="CAMUS")
        ('A2C',)
    """
    if name is None:
        return tuple(views)
    view = canonical(name)
    if view not in views:
        raise UnsupportedOptionError(
            f"{what} has no view {name!r} ({view}). Possible: {', '.join(views)}, or view=None."
        )
    return (view,)
