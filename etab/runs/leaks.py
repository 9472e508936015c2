"""Copies across the parts of a split: refused before a cell is run, and noted in its result."""

from __future__ import annotations

from collections.abc import Sequence

from etab.backbones.base import BackboneCard
from etab.datasets.base import SOURCES, Source
from etab.datasets.integrity.alike import Alike
from etab.errors import SplitError
from etab.leaderboard.seen import SEEN
from etab.tasks.codes import release_of
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
                        "Remove the one that was not published (`etab data check` lists both), or "
                        "go on without both: --skip-bad (in Python: skip_bad=True)."
                    )


def seen_notes(source: Source, card: BackboneCard) -> tuple[str, ...]:
    """Say that a backbone was pretrained on the data that it is tested on.

    Args:
        source: The tested dataset. circor_hf and other forms of a release are that release.
        card: The card of the backbone. Its data are compared by the name of the release or its
            title, whatever their case and punctuation.

    Returns:
        A sentence for the result; empty where the card lists none of the data.
    """
    dataset = source.card.name
    release = SOURCES[release_of(dataset)].card if release_of(dataset) in SOURCES else source.card
    titles = {_plain(source.card.title), _plain(release.title)}
    tested = {*_forms(dataset), _plain(source.canonical()), *titles} - {""}
    seen = [name for name in card.pretraining_sets if _forms(name) & tested]
    if not seen:
        return ()
    return (
        f"{SEEN}: the card of {card.name} lists {seen[0]} among the data of its "
        "pretraining, so that test recordings may have been seen. Not to be compared with others.",
    )


def _forms(name: str) -> set[str]:
    """The name of a dataset, and that of its release where etab reads the dataset."""
    names = {_plain(name)}
    if name in SOURCES:
        names.add(_plain(release_of(name)))
    return names


def _plain(name: str) -> str:
    """A name without case and punctuation: cards write "CAMUS" or "EchoNet-Dynamic"."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def within(records: Sequence[str], alike: Sequence[Alike]) -> list[Alike]:
    """Select the pairs of which both recordings have rows.

    Args:
        records: The recordings that have rows.
        alike: Pairs of recordings with the same content.
    """
    used = set(records)
    return [pair for pair in alike if {pair.first, pair.second} <= used]
