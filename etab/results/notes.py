"""Limits on the notes of a result, and how a board combines the notes of several results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LONGEST_NOTE = 1000
"""Largest number of characters of a note."""

MOST_NOTES = 20
"""Largest number of notes of a result."""


def bounded_notes(notes: Sequence[str]) -> list[str]:
    """Shorten long notes, and replace surplus notes by their number.

    Args:
        notes: The notes; their number and their lengths are not limited.

    Returns:
        At most ``MOST_NOTES`` notes of at most ``LONGEST_NOTE`` characters.

    Example:
        >>> [len(note) for note in bounded_notes(["a" * 2000])]
        [1000]
        >>> bounded_notes([str(i) for i in range(25)])[-1]
        'and 6 more notes'
    """
    kept = list(notes)
    if len(kept) > MOST_NOTES:
        rest = len(kept) - (MOST_NOTES - 1)
        kept = [*kept[: MOST_NOTES - 1], f"and {rest} more notes"]
    return [
        note if len(note) <= LONGEST_NOTE else f"{note[: LONGEST_NOTE - 3]}..." for note in kept
    ]


_ALIKE = "Recordings of different patients that are alike (correlation of fingerprints): "
_ALIKE_END = ". They may be copies, or one person under two ids."
_MORE = re.compile(r" and (?:at least )?(\d+) more$")
_NAMED_PAIRS = 5


def alike_sentence(pairs: Sequence[str]) -> str:
    """Write the note that names recordings of different patients that are alike.

    Args:
        pairs: Each pair in words, "a and b (0.99)"; the first five are named.

    Example:
        >>> alike_sentence(["a and b (0.99)"])
        'Recordings of different patients that are alike (correlation of fingerprints): \
a and b (0.99). They may be copies, or one person under two ids.'
    """
    rest = len(pairs) - _NAMED_PAIRS
    more = f" and {rest} more" if rest > 0 else ""
    return f"{_ALIKE}{', '.join(pairs[:_NAMED_PAIRS])}{more}{_ALIKE_END}"


def joined_notes(notes: Iterable[str]) -> list[str]:
    """Combine the notes of several results, without repetition.

    Each result names the pairs of similar recordings among its own rows. These notes become one
    note, in which each pair occurs once.

    Args:
        notes: Notes of results.

    Returns:
        The notes in the order in which they first occur.

    Example:
        >>> first = alike_sentence(["a and b (0.99)"])
        >>> second = alike_sentence(["c and d (0.98)", "a and b (0.99)"])
        >>> joined_notes([first, "Another note.", second])[0] == alike_sentence(
        ...     ["a and b (0.99)", "c and d (0.98)"]
        ... )
        True
    """
    different = list(dict.fromkeys(notes))
    alike = [note for note in different if _is_alike(note)]
    if len(alike) < 2:
        return different
    first = different.index(alike[0])
    others = [note for note in different if note not in alike]
    return [*others[:first], _joined_pairs(alike), *others[first:]]


def _is_alike(note: str) -> bool:
    return note.startswith(_ALIKE) and note.endswith(_ALIKE_END)


def _joined_pairs(notes: Sequence[str]) -> str:
    """Combine several notes on similar recordings into one."""
    pairs: dict[str, None] = {}
    most = 0
    are_all_named = True
    for note in notes:
        listed = note.removeprefix(_ALIKE).removesuffix(_ALIKE_END)
        beyond = _MORE.search(listed)
        named = re.split(r"(?<=\)), ", _MORE.sub("", listed))
        pairs.update(dict.fromkeys(named))
        most = max(most, len(named) + (int(beyond[1]) if beyond else 0))
        are_all_named = are_all_named and beyond is None
    if are_all_named:
        return alike_sentence(list(pairs))
    # It is unknown how many of the pairs that are not named occur in several notes.
    shown = list(pairs)[:_NAMED_PAIRS]
    rest = max(most, len(pairs)) - len(shown)
    return f"{_ALIKE}{', '.join(shown)} and at least {rest} more{_ALIKE_END}"
