"""The phantom cohort: made patients whose truth is known exactly, in the published layouts of two datasets.

Everything that comes from it says phantom: a marker file in each tree, and a mark inside the files themselves.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from etab.errors import StorageError, UnsupportedOptionError

__all__ = ["write", "write_sounds"]


def write(
    folder: Path, *, patients: int = 60, seed: int = 0, size: int = 160,
    progress: Callable[[int, int], None] | None = None,
) -> None:  # fmt: skip
    """Write ``folder/camus`` and ``folder/echonet``; the same seed gives the same bytes.

    patients: made patients in each tree, 10 or more. size: side of the CAMUS pictures in pixels (160 mm).
    Raises UnsupportedOptionError for too few patients or a folder that holds real data, StorageError when it cannot
    be written.
    """
    from etab.phantom.trees import write_camus, write_echonet

    if patients < 10:
        raise UnsupportedOptionError(f"A phantom cohort needs at least 10 patients for its splits; got {patients}.")
    for tree in (folder / "camus", folder / "echonet"):
        if tree.is_dir() and any(tree.iterdir()) and not (tree / "PHANTOM").is_file():
            raise UnsupportedOptionError(f"{tree} holds files that are not a phantom; choose an empty folder.")
    try:
        for offset, steps in enumerate((write_camus(folder / "camus", patients, seed, size),
                                        write_echonet(folder / "echonet", patients, seed))):  # fmt: skip
            for done in steps:
                if progress:
                    progress(offset * patients + done, 2 * patients)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{folder} could not be written: {error.strerror}. Free some space or choose another place."
        ) from error


def write_sounds(
    folder: Path, *, patients: int = 60, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write ``folder/circor`` and ``folder/cinc2016``: made heart sounds; the same seed gives the same bytes.

    patients: made patients in each tree, 12 or more (two of each of the six databases of cinc2016). A phantom that is
    already there is replaced.
    Raises UnsupportedOptionError for too few patients or a folder that holds real data, StorageError when it cannot
    be written.
    """
    from etab.phantom.sound_trees import write_cinc2016, write_circor

    if patients < 12:
        raise UnsupportedOptionError(f"Phantom heart sounds need at least 12 patients; got {patients}.")
    trees = ((folder / "circor", write_circor), (folder / "cinc2016", write_cinc2016))
    for tree, _ in trees:
        if tree.is_dir() and any(tree.iterdir()) and not (tree / "PHANTOM").is_file():
            raise UnsupportedOptionError(f"{tree} holds files that are not a phantom; choose an empty folder.")
    try:
        for offset, (tree, steps) in enumerate(trees):
            if tree.is_dir():
                shutil.rmtree(tree)
            for done in steps(tree, patients, seed):
                if progress:
                    progress(offset * patients + done, 2 * patients)
    except OSError as error:
        raise StorageError(
            f"{folder} could not be written: {error.strerror}. Free some space or choose another place."
        ) from error
