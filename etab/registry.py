"""Names to things: a miss says what was meant and lists what there is; a second holder of a name is
an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from etab.errors import UnknownNameError, UnsupportedOptionError

_T = TypeVar("_T")


# A longer list of known names is not printed: only the nearest ones are.
_LISTED = 40
# Characters of an unknown name that a message shows.
_LONGEST_SHOWN = 200
_NEAREST = 5
# Similarity from which a name is suggested; below it, names have little in common.
_SIMILAR = 0.6


def unknown(
    what: str, name: object, known: Iterable[str], *, listing: str = ""
) -> UnknownNameError:
    """Build the error for a name nobody holds: what was meant, what there is.

    Args:
        what: The word for such a thing, such as "dataset".
        name: The name that was looked up.
        known: All names.
        listing: The command that lists all names, for a list that is too long to print.

    Returns:
        The error. It lists all names, or the nearest ones where there are more than 40.
    """
    names = sorted(set(known))
    close = nearest(str(name)[:_LONGEST_SHOWN], names)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    if len(names) <= _LISTED:
        listed = f" Known: {', '.join(names) or 'none'}."
    else:
        similar = f" Similar: {', '.join(close)}." if len(close) > 1 else ""
        command = f"; `{listing}` lists them" if listing else ""
        listed = f"{similar} There are {len(names)}{command}."
    shown = repr(name)
    if len(shown) > _LONGEST_SHOWN:
        shown = f"{shown[:_LONGEST_SHOWN]}..."
    return UnknownNameError(f"No {what} is called {shown}.{hint}{listed}")


def nearest(name: str, known: Iterable[str], cutoff: float = _SIMILAR) -> list[str]:
    """Find the known names that are most similar to a name, the most similar one first.

    Args:
        name: The name.
        known: All names.
        cutoff: Least similarity, 0 to 1.

    Returns:
        Up to five names.

    Example:
        >>> nearest("resnet19", ["resnet18", "birdnet"])
        ['resnet18']
    """
    lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), list(lower), n=_NEAREST, cutoff=cutoff)
    return [lower[other] for other in close]


class Registry(Generic[_T]):
    """An ordered mapping of names to things of one sort; ``what`` is the field's word for that
    sort.
    """

    def __init__(self, what: str) -> None:
        """Make an empty registry of ``what`` ("dataset", "head", ...)."""
        self.what = what
        self._items: dict[str, _T] = {}

    def add(self, name: str, item: _T) -> _T:
        """Register ``item``; raises UnsupportedOptionError when the name is taken by something
        else.
        """
        if name in self._items and self._items[name] is not item:
            raise UnsupportedOptionError(
                f"The {self.what} name {name!r} is taken; choose another name."
            )
        self._items[name] = item
        return item

    def register(self, name: str) -> Callable[[_T], _T]:
        """Register by decorator."""
        return lambda item: self.add(name, item)

    def remove(self, name: str) -> None:
        """Forget a name (tests and notebooks that redefine a cell)."""
        self._items.pop(name, None)

    def __getitem__(self, name: str) -> _T:
        """Look a name up; raises UnknownNameError with a suggestion."""
        try:
            return self._items[name]
        except (KeyError, TypeError):
            raise unknown(self.what, name, self._items) from None

    def __contains__(self, name: object) -> bool:
        """Say whether the name is held."""
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        """Iterate over names in the order of registration."""
        return iter(self._items)

    def __len__(self) -> int:
        """Count the names."""
        return len(self._items)

    def items(self) -> Iterable[tuple[str, _T]]:
        """Names with their things."""
        return self._items.items()

    def values(self) -> Iterable[_T]:
        """The things."""
        return self._items.values()
