"""The two folder layouts of CAMUS, and its Info_*.cfg files."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from etab.datasets.absent import files_absent
from etab.datasets.paths import find_folder
from etab.errors import CorruptFileError, LayoutError, SplitError
from etab.readers.table import parse_number
from etab.readers.text import read_text
from etab.storage.listing import visible, visible_names

CHAMBERS = {"A2C": "2CH", "A4C": "4CH"}
_SPLITS = {
    "training": "train",
    "validation": "val",
    "testing": "test",
}
_NEEDED_FACTS = ("ED", "ES", "EF", "LVef")
_PICTURE = re.compile(r"_([24]CH)_(ED|ES|sequence|half_sequence)\.(nii|nii\.gz|mhd)")
_PATIENT = re.compile(r"patient\d+")
_WANTED = (
    "the folder that contains database_nifti/ and database_split/ (or training/ and testing/ of "
    "the older release, or database/ of TED)"
)


@dataclass(frozen=True, slots=True)
class CamusLayout:
    """The root of a CAMUS tree and its release.

    Attributes:
        root: The folder with the trees of patients.
        nifti: Whether it is the NIfTI release (database_nifti/), not the older one (.mhd).
        ted: Whether it is TED: full cycles of 98 patients in four-chamber view, with an outline
            in every frame (database/, .mhd).
    """

    root: Path
    nifti: bool
    ted: bool = False

    @staticmethod
    def find(root: Path) -> CamusLayout:
        """Find the tree from its folder, the folder above it, or one of its own folders.

        Args:
            root: The folder that was passed.

        Raises:
            DataNotFoundError: ``root`` is not a folder.
            LayoutError: No tree, or more than one, can be meant; the message says what to pass.
        """
        near = [root, root / "CAMUS_public", root / "camus"]
        if root.name in ("database_nifti", "database_split", "training", "testing", "database"):
            near.append(root.absolute().parent)
        path = find_folder(
            root,
            title="CAMUS",
            wanted=_WANTED,
            near=near,
            holds=lambda path: _layout(path) is not None,
            lacks=lambda: _why(root),
        )
        layout = _layout(path)
        if layout is None:
            raise LayoutError(f"{path} changed while it was read. Try again.")
        return layout

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of patients, relative to the root."""
        if self.nifti:
            return ("database_nifti",)
        if self.ted:
            return ("database",)
        return ("training", "testing")

    def patients(
        self, absent: Callable[[str, str], None] | None = None
    ) -> list[tuple[str, str, str, frozenset[str]]]:
        """List the patients by name.

        Args:
            absent: Called with the name and split of each listed patient without a folder. None
                makes such a patient an error.

        Returns:
            (name, folder relative to the root, split, names of the files in the folder) each.

        Raises:
            LayoutError: A split file, or the folder of a listed patient, is missing.
            SplitError: A patient is listed in two split files.
        """
        listed = self._listed() if self.nifti else {}
        rows = []
        for part in self.folders:
            for folder in visible(self.root / part, "patient*"):
                if folder.is_dir() and _PATIENT.fullmatch(folder.name):
                    split = listed.get(folder.name, "") if self.nifti else _SPLITS.get(part, "")
                    path = f"{part}/{folder.name}"
                    rows.append((folder.name, path, split, visible_names(folder)))
        lost = sorted(set(listed) - {row[0] for row in rows})
        if lost and absent is None:
            raise files_absent(
                [self.root / "database_nifti" / name for name in lost],
                "patient",
                "database_split lists",
            )
        if absent is not None:
            for name in lost:
                absent(name, listed[name])
        return sorted(rows, key=lambda row: row[0])

    def other_folders(self) -> tuple[str, ...]:
        """List folders named like a patient that are none, such as "patient0001 copy"."""
        names = []
        for part in self.folders:
            for folder in visible(self.root / part, "patient*"):
                if folder.is_dir() and not _PATIENT.fullmatch(folder.name):
                    names.append(f"{part}/{folder.name}")
        return tuple(names)

    def split_files(self) -> tuple[str, ...]:
        """List the split files, relative to the root.

        There are none in the older release, or if the folder was left out.
        """
        if not (self.nifti and (self.root / "database_split").is_dir()):
            return ()
        return tuple(f"database_split/subgroup_{name}.txt" for name in _SPLITS)

    def files(
        self,
        patient: str,
        folder: str,
        chamber: str,
        present: frozenset[str],
    ) -> dict[str, str]:
        """Map the roles of one recording to files: the required ones, and the others that exist.

        The older release has no masks for testing patients. If there is a sequence, the stills may
        be absent.

        Args:
            patient: The name of the patient.
            folder: The patient's folder, relative to the root.
            chamber: "2CH" or "4CH".
            present: The names of the files in the folder.

        Returns:
            Roles ("ED", "ES_gt", "sequence", "info", ...) to files relative to the root.
        """
        if self.ted:
            return self._cycle(f"{patient}_{chamber}", folder, present)
        end = "" if self.nifti else ".mhd"
        middle = "half_sequence" if self.nifti else "sequence"
        names = {
            "sequence": middle,
            "sequence_gt": f"{middle}_gt",
        }
        names |= {
            "ED": "ED",
            "ES": "ES",
            "ED_gt": "ED_gt",
            "ES_gt": "ES_gt",
        }
        file_of = {}
        for role, name in names.items():
            file_of[role] = _with_suffix(f"{patient}_{chamber}_{name}", end, present)
        required: set[str] = set()
        if file_of["sequence"] not in present:
            required |= {"ED", "ES"}
        has_masks = self.nifti or folder.startswith("training")
        if has_masks and file_of["sequence_gt"] not in present:
            required |= {"ED_gt", "ES_gt"}
        files = {}
        for role, name in file_of.items():
            if name in present or role in required:
                files[role] = f"{folder}/{name}"
        if not self.nifti:
            files |= self._pixels(files, present)
        other = "4CH" if chamber == "2CH" else "2CH"
        for role, letters in (("info", chamber), ("info_other", other)):
            name = f"Info_{letters}.cfg"
            if name in present:
                files[role] = f"{folder}/{name}"
        return files

    def _cycle(
        self,
        name: str,
        folder: str,
        present: frozenset[str],
    ) -> dict[str, str]:
        """Map the roles of one full cycle of TED to files; a second cycle ("_cut") is not read.

        The sequence and its outlines are required.
        """
        files = {
            "sequence": f"{folder}/{name}_sequence.mhd",
            "sequence_gt": f"{folder}/{name}_sequence_gt.mhd",
        }
        info = {"info": f"{folder}/{name}_info.cfg"} if f"{name}_info.cfg" in present else {}
        return files | self._pixels(files, present) | info

    def _pixels(self, files: Mapping[str, str], present: frozenset[str]) -> dict[str, str]:
        """Map a role to the pixel file beside each .mhd, so that digests cover it."""
        pixels = {}
        for role, name in files.items():
            for end in ("raw", "zraw"):
                path = Path(name).with_suffix(f".{end}")
                if path.name in present:
                    pixels[f"{role}_{end}"] = str(path)
        return pixels

    def _listed(self) -> dict[str, str]:
        """Map the patients of the split files to their split."""
        home: dict[str, str] = {}
        for name in self.split_files():
            path = self.root / name
            if not path.is_file():
                raise LayoutError(
                    f"{path} is missing. Restore the three files of database_split/, or remove "
                    "the folder."
                )
            split = _SPLITS[path.stem.removeprefix("subgroup_")]
            for patient in read_text(path).split():
                if home.setdefault(patient, split) != split:
                    raise SplitError(
                        f"Patient {patient} is listed as {home[patient]!r} and, in {path}, as "
                        f"{split!r}: scores would be of patients seen in training. Restore the "
                        "split files as published."
                    )
        return home


def _layout(path: Path) -> CamusLayout | None:
    """Return the layout of a folder, or None if it is not a CAMUS tree."""
    if next((path / "database_nifti").glob("patient*"), None):
        return CamusLayout(path, True)
    if next((path / "training").glob("patient*"), None):
        return CamusLayout(path, False)
    if next((path / "database").glob("patient*/*_sequence.mhd"), None):
        return CamusLayout(path, False, True)
    return None


def _why(root: Path) -> str:
    """Explain, for an error message, why a folder is not a CAMUS tree."""
    if _PATIENT.fullmatch(root.name):
        above = root.absolute().parent.parent
        return f"it is the folder of one patient, and {above} may be what is meant"
    if next(root.glob("patient*"), None):
        return (
            "it holds patients directly, so it is the folder database_nifti/ or training/ under "
            "another name"
        )
    return "neither database_nifti/ nor training/ holds a patient"


def _with_suffix(stem: str, end: str, present: frozenset[str]) -> str:
    """Add ``end`` to a name; without one, add .nii if only that file exists, else .nii.gz."""
    if end:
        return stem + end
    only_unpacked = f"{stem}.nii" in present and f"{stem}.nii.gz" not in present
    return f"{stem}.nii" if only_unpacked else f"{stem}.nii.gz"


def pictured(patient: str, names: Collection[str]) -> set[str]:
    """Find the chambers of which a patient's folder holds any image.

    Args:
        patient: The name of the patient.
        names: The names of the files in the folder.

    Returns:
        A subset of {"2CH", "4CH"}.
    """
    endings = (name.removeprefix(patient) for name in names if name.startswith(patient))
    matches = (_PICTURE.fullmatch(ending) for ending in endings)
    return {match[1] for match in matches if match is not None}


def read_cfg(path: Path) -> dict[str, str]:
    """Read the ``Key: value`` lines of an Info file; other lines are left out.

    Args:
        path: The file.

    Raises:
        LayoutError: There is no such file.
        CorruptFileError: It is not text, or a line of a required fact (ED, ES, EF) has no colon.
    """
    lines = read_text(path).splitlines()
    cfg: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon:
            cfg[key.strip()] = value.strip()
        elif line.split()[:1] and line.split()[0] in _NEEDED_FACTS:
            raise CorruptFileError(
                f"{path} has the line {line!r}; wanted 'Key: value'. Restore it as published."
            )
    return cfg


def cfg_number(
    path: Path,
    cfg: Mapping[str, str],
    key: str,
    low: float,
    high: float,
) -> float:
    """Read a number of an Info file.

    Args:
        path: The file, for messages.
        cfg: Its keys and values.
        key: The key to read.
        low: The smallest value that is possible.
        high: The largest value that is possible.

    Raises:
        CorruptFileError: The value is not a number, or out of range.
    """
    value = parse_number(cfg[key])
    if value is None or not low <= value <= high:
        raise CorruptFileError(
            f"{path} says {key} is {cfg[key]!r}; wanted a number from {low:g} to {high:g}."
        )
    return value
