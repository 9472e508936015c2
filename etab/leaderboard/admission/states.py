"""Whether the predicted states beside a record can be those of its predictions."""

from __future__ import annotations

import os
from pathlib import Path

from etab.errors import ResultError
from etab.leaderboard.admission.files import unsafe
from etab.results import Predictions, Result
from etab.results.states import LARGEST_STATES, read_kept_states, states_path
from etab.types import Kind


def other_states(result: Result, table: Predictions, folder: Path) -> str:
    """Say why the predicted states of a cell cannot be those of its predictions.

    The file is read without the data: it must be whole, and hold states of rows of the table alone.
    Whether the states give the scores of their rows is known where the annotated ones are at hand.

    Args:
        result: The record.
        table: Its predictions.
        folder: The folder of results.

    Returns:
        The reason; empty where nothing is wrong, or there are no states.
    """
    path = states_path(result.path(folder))
    if not os.path.lexists(path):
        return ""
    if table.kind is not Kind.STATES:
        return f"it has states beside it; a cell of {table.kind} has none"
    reason = unsafe(path, LARGEST_STATES)
    if reason:
        return f"its states {path.name} must not be read: {reason}"
    try:
        kept = read_kept_states(path)
    except ResultError as error:
        return str(error).rstrip(".")
    strangers = kept.keys() - set(zip(table.items, table.repeats, strict=True))
    if strangers:
        item, repeat = min(strangers)
        return (
            f"its states {path.name} are of {item[:40]!r} in repeat {repeat}, of which there is no "
            "prediction"
        )
    return ""
