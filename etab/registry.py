"""Names to things: a miss says what was meant and lists what there is; a second holder of a name is
an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from etab.errors import UnknownNameError, UnsupportedOptionError

T = TypeVar("T")


def unknown(what: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """Build the error for a name nobody holds: what was meant, what there is."""
    names = sorted(known)
    lower = {n.lower(): n for n in names}
    close = difflib.get_close_matches(str(name).lower(), list(lower), n=1, cutoff=0.5)
    hint = f" Did you mean {lower[close[0]]!r}?" if close else ""
    return UnknownNameError(
        f"No {what} is called {name!r}.{hint} Known: {', '.join(names) or 'none'}."
    )


class Registry(Generic[T]):
    """An ordered mapping of names to things of one sort; ``what`` is the field's word for that
    sort.
    """

    def __init__(self, what: str) -> None:
        """Make an empty registry of ``what`` ("dataset", "head", ...)."""
        self.what = what
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> T:
        """Register ``item``; raises UnsupportedOptionError when the name is taken by something
        else.
        """
        if name in self._items and self._items[name] is not item:
            raise UnsupportedOptionError(
                f"The {self.what} name {name!r} is taken; choose another name."
            )
        self._items[name] = item
        return item

    def register(self, name: str) -> Callable[[T], T]:
        """Register by decorator."""
        return lambda item: self.add(name, item)

    def remove(self, name: str) -> None:
        """Forget a name (tests and notebooks that redefine a cell)."""
        self._items.pop(name, None)

    def __getitem__(self, name: str) -> T:
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

    def items(self) -> Iterable[tuple[str, T]]:
        """Names with their things."""
        return self._items.items()

    def values(self) -> Iterable[T]:
        """The things."""
        return self._items.values()
