"""The phantom cohort: synthetic patients, in the published layouts of the datasets.

The true masks, volumes and labels are known exactly. Phantom data are always recognisable: each
tree has a marker file, and each file a mark in its metadata.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from etab.errors import StorageError, UnsupportedOptionError
from etab.options import path_option, whole_number
from etab.registry import unknown
from etab.storage.listing import visible

__all__ = ["BY_NAME", "NAMES", "people", "require_names", "write", "write_sounds"]

NAMES = (
    "camus",
    "echonet",
    "tmed",
    "lvh",
    "pediatric",
    "unity",
    "unitylv",
    "circor",
    "cinc2016",
    "bmdhs",
    "ted",
)
BY_NAME = ("circor_hf", "echorisk", "mimic_echo", "echoxflow")
"""Trees that need an extra (parquet, dicom, zarr): they are written only if they are named."""

_DEFAULT = ("camus", "echonet")
_FEWEST = 10
_SIDES = (16, 2048)
_SOUNDS = ("circor", "cinc2016", "circor_hf")
_FEWEST_SOUNDS = 12  # two patients in each of the six databases of cinc2016
_Writer = Callable[[Path], Iterator[int]]  # yields the number of patients written


def write(
    folder: Path | str,
    *,
    patients: int = 60,
    seed: int = 0,
    size: int = 160,
    progress: Callable[[int, int], None] | None = None,
    names: Sequence[str] = _DEFAULT,
) -> None:
    """Write phantom trees, one folder per dataset; the same seed gives the same bytes.

    Args:
        folder: Where to write; the tree of a dataset is ``folder/NAME``.
        patients: Patients in each tree, 10 or more.
        seed: The seed of all patients.
        size: The side of the CAMUS images in pixels, 16 to 2048; they cover 160 mm.
        progress: Called with (patients written, patients in all) after each patient.
        names: Datasets of ``NAMES``, or of ``BY_NAME``, which need an extra: "circor_hf" (CirCor
            as Parquet) ``parquet``, "echoxflow" ``zarr``, the others ``dicom``. "ted" is CAMUS as
            full cycles.

    Raises:
        UnknownNameError: There is no phantom of this name.
        UnsupportedOptionError: There are too few patients, another option is out of range, or a
            folder holds real data.
        StorageError: The folder cannot be written.
        MissingPackageError: A tree of ``BY_NAME`` without its packages.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder), patients=10, size=32, names=["camus"])
        ...     sorted(path.name for path in (Path(folder) / "camus").iterdir())
        ['PHANTOM', 'database_nifti', 'database_split']
    """
    folder = path_option("folder", folder)
    require_names(names)
    patients = whole_number("patients", patients, _FEWEST, unit="for the splits of a cohort")
    seed = whole_number("seed", seed, 0)
    size = whole_number("size", size, *_SIDES, "px")
    writers = _writers(patients, seed, size)
    for tree in (folder / name for name in names):
        if visible(tree) and not (tree / "PHANTOM").is_file():
            raise UnsupportedOptionError(
                f"{tree} holds files that are not a phantom; choose an empty folder."
            )
    total = sum(people(name, patients) for name in names)
    earlier = 0
    try:
        for name in names:
            for done in writers[name](folder / name):
                if progress:
                    progress(earlier + done, total)
            earlier += people(name, patients)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{folder} could not be written: {error.strerror}. Free some space, or choose another "
            "folder."
        ) from error


def people(name: str, patients: int) -> int:
    """Count the patients that ``write`` writes to a tree.

    Args:
        name: A tree of ``NAMES`` or ``BY_NAME``.
        patients: The number that is asked for.

    Returns:
        That number; of heart sounds 12 or more.

    Example:
        >>> people("camus", 10), people("circor", 10)
        (10, 12)
    """
    return max(patients, _FEWEST_SOUNDS) if name in _SOUNDS else patients


def require_names(names: Iterable[str]) -> None:
    """Check names of phantom trees.

    Args:
        names: Names of ``NAMES``, or of ``BY_NAME``.

    Raises:
        UnknownNameError: There is no such tree; the error suggests a similar one.
        UnsupportedOptionError: It is not a list of names.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise UnsupportedOptionError(f"names is {names!r}; wanted a list, such as ['camus'].")
    known = (*NAMES, *BY_NAME)
    for name in names:
        if name not in known:
            raise unknown("phantom tree", name, known)


def _writers(
    patients: int,
    seed: int,
    size: int,
) -> Mapping[str, _Writer]:
    """Map the name of each tree to its writer, in the order of ``NAMES`` and ``BY_NAME``."""
    from etab.phantom.bmdhs import write_bmdhs
    from etab.phantom.cinc2016_tree import write_cinc2016
    from etab.phantom.circor_tree import write_circor
    from etab.phantom.echorisk import write_echorisk
    from etab.phantom.echoxflow import write_echoxflow
    from etab.phantom.lvh import write_lvh
    from etab.phantom.mimic_echo import write_mimic_echo
    from etab.phantom.pediatric import write_pediatric
    from etab.phantom.sound_parquet import write_circor_parquet
    from etab.phantom.ted import write_ted
    from etab.phantom.tmed import write_tmed
    from etab.phantom.trees import write_camus, write_echonet
    from etab.phantom.unity import write_unity
    from etab.phantom.unitylv import write_unitylv

    sounds = people("cinc2016", patients)
    return {
        "camus": lambda tree: write_camus(tree, patients, seed, size),
        "echonet": lambda tree: write_echonet(tree, patients, seed),
        "tmed": lambda tree: write_tmed(tree, patients, seed),
        "lvh": lambda tree: write_lvh(tree, patients, seed),
        "pediatric": lambda tree: write_pediatric(tree, patients, seed),
        "unity": lambda tree: write_unity(tree, patients, seed),
        "unitylv": lambda tree: write_unitylv(_emptied(tree), patients, seed),
        "circor": lambda tree: write_circor(_emptied(tree), sounds, seed),
        "cinc2016": lambda tree: write_cinc2016(_emptied(tree), sounds, seed),
        "bmdhs": lambda tree: write_bmdhs(_emptied(tree), patients, seed),
        "ted": lambda tree: write_ted(tree, patients, seed, size),
        "circor_hf": lambda tree: write_circor_parquet(_emptied(tree), sounds, seed),
        "echorisk": lambda tree: write_echorisk(_emptied(tree), patients, seed),
        "echoxflow": lambda tree: write_echoxflow(_emptied(tree), patients, seed),
        "mimic_echo": lambda tree: write_mimic_echo(_emptied(tree), patients, seed),
    }


def _emptied(tree: Path) -> Path:
    """Delete an earlier phantom and return its folder."""
    if tree.is_dir():
        shutil.rmtree(tree)
    return tree


def write_sounds(
    folder: Path | str,
    *,
    patients: int = 60,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write phantom heart sounds to ``folder/circor`` and ``folder/cinc2016``.

    An earlier phantom in these folders is replaced. The same seed gives the same bytes.

    Args:
        folder: Where to write.
        patients: Patients in each tree, 12 or more (two for each database of cinc2016).
        seed: The seed of all patients.
        progress: Called with (patients written, patients in all) after each patient.

    Raises:
        UnsupportedOptionError: There are too few patients, or a folder holds real data.
        StorageError: The folder cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_sounds(Path(folder), patients=12)
        ...     len(list((Path(folder) / "circor" / "training_data").glob("*.txt")))
        12
    """
    if patients < _FEWEST_SOUNDS:
        raise UnsupportedOptionError(
            f"Phantom heart sounds need at least {_FEWEST_SOUNDS} patients; got {patients}."
        )
    write(
        folder,
        patients=patients,
        seed=seed,
        progress=progress,
        names=("circor", "cinc2016"),
    )
