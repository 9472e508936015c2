"""Backbones that were pretrained on the data of a test: marked, and left out of the ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from etab.results import Result

SEEN = "PRETRAINED ON TEST DATA"
"""First words of the note by which a result lists such a pretraining."""


def seen_tasks(cells: Mapping[str, Result]) -> list[str]:
    """List the tasks whose test data are among the pretraining data of the backbone.

    Args:
        cells: Results of one backbone by task code.

    Returns:
        The codes, sorted.
    """
    codes = []
    for code, result in cells.items():
        notes = result.settings.get("notes", [])
        if isinstance(notes, list) and any(str(note).startswith(SEEN) for note in notes):
            codes.append(code)
    return sorted(codes)


def unseen(
    names: Sequence[str], cells: Mapping[str, Mapping[str, Result]], with_seen: bool
) -> list[str]:
    """Select the backbones that may be ranked.

    Args:
        names: Backbones with results for every task of the score.
        cells: Results by backbone and task code.
        with_seen: Whether backbones that were pretrained on test data are ranked too.

    Returns:
        The names, in the same order.
    """
    return [name for name in names if with_seen or not seen_tasks(cells[name])]


def seen_note(cells: Mapping[str, Mapping[str, Result]], with_seen: bool) -> list[str]:
    """Name the backbones that were pretrained on test data.

    Args:
        cells: Results by backbone and task code.
        with_seen: Whether they are ranked.

    Returns:
        A list of at most one sentence.
    """
    listed = []
    for name in sorted(cells):
        codes = seen_tasks(cells[name])
        if codes:
            listed.append(f"{name} ({', '.join(codes)})")
    if not listed:
        return []
    ending = "They are ranked because that was asked for."
    if not with_seen:
        ending = "They have no score and no rank; --with-seen ranks them."
    return [
        f"SEEN IN PRETRAINING: {'; '.join(listed)} were pretrained on data of the test. {ending}"
    ]
