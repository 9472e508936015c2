"""The phantom cohort: made patients whose truth is known exactly, in the published layouts of three datasets.

Everything that comes from it says phantom: a marker file in each tree, and a mark inside the files themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from etab.errors import StorageError, UnsupportedOptionError

__all__ = ["write"]


def write(
    folder: Path, *, patients: int = 60, seed: int = 0, size: int = 160,
    progress: Callable[[int, int], None] | None = None,
) -> None:  # fmt: skip
    """Write ``folder/camus``, ``folder/echonet`` and ``folder/tmed``; the same seed gives the same bytes.

    patients: made patients in each tree, 10 or more. size: side of the CAMUS pictures in pixels (160 mm).
    Raises UnsupportedOptionError for too few patients or a folder that holds real data, StorageError when it cannot
    be written.
    """
    from etab.phantom.tmed import write_tmed
    from etab.phantom.trees import write_camus, write_echonet

    if patients < 10:
        raise UnsupportedOptionError(f"A phantom cohort needs at least 10 patients for its splits; got {patients}.")
    for tree in (folder / "camus", folder / "echonet", folder / "tmed"):
        if tree.is_dir() and any(tree.iterdir()) and not (tree / "PHANTOM").is_file():
            raise UnsupportedOptionError(f"{tree} holds files that are not a phantom; choose an empty folder.")
    try:
        for offset, steps in enumerate((write_camus(folder / "camus", patients, seed, size),
                                        write_echonet(folder / "echonet", patients, seed),
                                        write_tmed(folder / "tmed", patients, seed))):  # fmt: skip
            for done in steps:
                if progress:
                    progress(offset * patients + done, 3 * patients)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{folder} could not be written: {error.strerror}. Free some space or choose another place."
        ) from error
