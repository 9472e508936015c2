"""The phantom data that results are of: beside the results, in the documented places, or made anew.

Phantom trees follow from their number of patients and a seed, so that the pages of a phantom board
have examples without a folder of data at hand. Every tree is compared with the digest that the
results state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from etab import datasets, phantom
from etab.datasets.base import Source
from etab.errors import EtabError
from etab.files import resolved
from etab.results import Result

# Numbers of patients of `etab demo` and of small trials; those of the results are tried first.
_USUAL_PATIENTS = (60, 20)
_MOST_PATIENTS = 200


def phantom_source(
    name: str,
    cells: Sequence[Result],
    results: Path,
    made: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Source | None:
    """Find or make the phantom tree of a dataset that some results are of.

    Args:
        name: Name of the dataset.
        cells: Results on the dataset, one or more.
        results: The folder of results.
        made: A folder in which a tree may be made. One that an earlier call made there is used.
        progress: Called with (patients made, patients in all) while a tree is made.

    Returns:
        The source, whose digest is that of the results; None if no tree has it.
    """
    digest = cells[0].data_digest
    for source in _at_hand(name, results):
        if source.phantom and source.digest() == digest:
            return source
    if name not in phantom.NAMES:
        return None
    stated = sorted({cell.n_patients for cell in cells}, reverse=True)
    if stated[0] > _MOST_PATIENTS:
        return None  # more than any tree that is tried here has, so that none has to be made
    # A task can lack some patients, and few lack many: the nearest numbers are tried first.
    numbers = {*stated, *_USUAL_PATIENTS}
    for patients in sorted(numbers, key=lambda number: (abs(number - stated[0]), number)):
        tree = made / str(patients) / name
        if not tree.is_dir():
            phantom.write(
                tree.parent,
                patients=max(patients, 12),
                seed=cells[0].seed,
                progress=progress,
                names=[name],
            )
        source = datasets.source(name, tree)
        if source.digest() == digest:
            return source
    return None


def _at_hand(name: str, results: Path) -> Iterator[Source]:
    """The trees of a dataset beside a folder of results and in the documented places."""
    beside = resolved(results).parent
    for root in (beside / "data" / name, beside / name, None):
        if root is not None and not root.is_dir():
            continue
        try:
            yield datasets.source(name, root)
        except EtabError:
            continue  # no tree, or another one: the next place may have it
