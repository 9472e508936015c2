"""Copies across the parts of a split: refused before a cell is run, and noted in its result."""

from __future__ import annotations

from collections.abc import Sequence

from etab.datasets.integrity.alike import Alike
from etab.errors import SplitError
from etab.types import RowSplit


def refuse_copies(
    task: str, records: Sequence[str], splits: Sequence[RowSplit], alike: Sequence[Alike]
) -> None:
    """Refuse splits that train on a recording and test a copy of it.

    Args:
        task: Code of the task, for the message.
        records: (n,) the recording of each row.
        splits: The splits, with indexes into the rows.
        alike: The recordings of the data that are alike; equal ones are refused.

    Raises:
        SplitError: If one of two equal recordings is trained on and the other is tested.
    """
    copies = [pair for pair in alike if pair.exact]
    if not copies:
        return
    for split in splits:
        trained = {str(records[row]) for row in split.train}
        tested = {str(records[row]) for row in split.test}
        for pair in copies:
            for first, second in ((pair.first, pair.second), (pair.second, pair.first)):
                if first in trained and second in tested:
                    raise SplitError(
                        f"{task}: {first} and {second} are equal recordings of two patients; "
                        f"{split.name or 'the split'} trains on the first and tests the second. "
                        "Remove the one that was not published (`etab data check` lists both)."
                    )


def within(records: Sequence[str], alike: Sequence[Alike]) -> list[Alike]:
    """Select the pairs of which both recordings have rows."""
    used = set(records)
    return [pair for pair in alike if {pair.first, pair.second} <= used]
