"""Notes of a result: how many there may be, and how long one may be."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_NOTE = 1000
"""Characters of a note."""

MOST_NOTES = 20
"""Notes of a result."""


def bounded_notes(notes: Sequence[str]) -> list[str]:
    """Cut notes that are too long, and count those that are too many.

    Args:
        notes: Any notes, as of a table whose names are long.

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
