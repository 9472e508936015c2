"""The phantom cohort: made patients whose truth is known exactly, in the published layouts of the
datasets.

Everything that comes from it says phantom: a marker file in each tree, and a mark inside the files
themselves.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from etab.errors import StorageError, UnsupportedOptionError
from etab.registry import unknown
from etab.storage.listing import visible

__all__ = ["NAMES", "write", "write_sounds"]

NAMES = ("camus", "echonet", "tmed", "lvh", "pediatric", "unity", "circor", "cinc2016", "ted")
WITH_EXTRA = ("circor_hf",)  # needs packages of the extra "parquet"; written where it is named
FIRST = ("camus", "echonet")
SOUNDS = 12
Steps = Callable[[Path], Iterator[int]]


def write(
    folder: Path,
    *,
    patients: int = 60,
    seed: int = 0,
    size: int = 160,
    progress: Callable[[int, int], None] | None = None,
    names: Sequence[str] = FIRST,
) -> None:
    """Write ``folder/camus`` and ``folder/echonet``, or the trees in ``names``; the same seed gives
    the same bytes.

    patients: made patients in each tree, 10 or more. size: side of the CAMUS pictures in pixels
        (160 mm).
    names: which of ``NAMES`` or ``WITH_EXTRA``; "ted" is CAMUS as full cycles. Raises
    UnknownNameError for another, UnsupportedOptionError for too few patients or a folder that holds
    real data, StorageError when it cannot be written.
    """
    writers = _writers(patients, seed, size)
    for name in names:
        if name not in writers:
            raise unknown("phantom tree", name, writers)
    if patients < 10:
        raise UnsupportedOptionError(
            f"A phantom cohort needs at least 10 patients for its splits; got {patients}."
        )
    for tree in (folder / name for name in names):
        if visible(tree) and not (tree / "PHANTOM").is_file():
            raise UnsupportedOptionError(
                f"{tree} holds files that are not a phantom; choose an empty folder."
            )
    try:
        for offset, name in enumerate(names):
            for done in writers[name](folder / name):
                if progress:
                    progress(offset * patients + done, len(names) * patients)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{folder} could not be written: {error.strerror}. Free some space or choose another "
            "place."
        ) from error


def _writers(patients: int, seed: int, size: int) -> Mapping[str, Steps]:
    """The writer of each tree, in the order of ``NAMES``."""
    from etab.phantom.lvh import write_lvh
    from etab.phantom.pediatric import write_pediatric
    from etab.phantom.sound_parquet import write_circor_parquet
    from etab.phantom.sound_trees import write_cinc2016, write_circor
    from etab.phantom.ted import write_ted
    from etab.phantom.tmed import write_tmed
    from etab.phantom.trees import write_camus, write_echonet
    from etab.phantom.unity import write_unity

    return {
        "camus": lambda tree: write_camus(tree, patients, seed, size),
        "echonet": lambda tree: write_echonet(tree, patients, seed),
        "tmed": lambda tree: write_tmed(tree, patients, seed),
        "lvh": lambda tree: write_lvh(tree, patients, seed),
        "pediatric": lambda tree: write_pediatric(tree, patients, seed),
        "unity": lambda tree: write_unity(tree, patients, seed),
        "circor": lambda tree: write_circor(_emptied(tree), max(patients, SOUNDS), seed),
        "cinc2016": lambda tree: write_cinc2016(_emptied(tree), max(patients, SOUNDS), seed),
        "ted": lambda tree: write_ted(tree, patients, seed, size),
        "circor_hf": lambda tree: write_circor_parquet(_emptied(tree), max(patients, SOUNDS), seed),
    }


def _emptied(tree: Path) -> Path:
    if tree.is_dir():
        shutil.rmtree(tree)
    return tree


def write_sounds(
    folder: Path,
    *,
    patients: int = 60,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``folder/circor`` and ``folder/cinc2016``: made heart sounds; the same seed gives the
    same bytes.

    patients: made patients in each tree, 12 or more (two of each of the six databases of cinc2016).
    A phantom that is already there is replaced. Raises UnsupportedOptionError for too few patients
    or a folder that holds real data, StorageError when it cannot be written.
    """
    if patients < SOUNDS:
        raise UnsupportedOptionError(
            f"Phantom heart sounds need at least {SOUNDS} patients; got {patients}."
        )
    write(folder, patients=patients, seed=seed, progress=progress, names=("circor", "cinc2016"))
