"""The two folder layouts of CAMUS, and its Info_*.cfg files."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from etab.datasets.paths import find_folder
from etab.errors import CorruptFileError, LayoutError, SplitError
from etab.readers.table import parse_number
from etab.readers.text import read_text
from etab.storage.listing import visible, visible_names

CHAMBERS = {"A2C": "2CH", "A4C": "4CH"}
_SPLITS = {"training": "train", "validation": "val", "testing": "test"}
_NEEDED_FACTS = ("ED", "ES", "EF", "LVef")
_PICTURE = re.compile(r"_([24]CH)_(ED|ES|sequence|half_sequence)\.(nii|nii\.gz|mhd)")
_PATIENT = re.compile(r"patient\d+")
_WANTED = (
    "the folder that contains database_nifti/ and database_split/ (or training/ and testing/ of "
    "the older release, or "
    "database/ of TED)"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a CAMUS tree begins and which release it is: ``nifti`` True for database_nifti, False
    for .mhd.

    ``ted``: the full cycles of 98 patients, 4-chamber view alone, each frame outlined (database/,
    .mhd).
    """

    root: Path
    nifti: bool
    ted: bool = False

    @staticmethod
    def find(root: Path) -> Layout:
        """Find the tree from its folder, the folder above it, or one of its own folders.

        Raises DataNotFoundError for no folder, LayoutError saying what to pass where it is not
        clear what is meant.
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
        return (
            ("database_nifti",)
            if self.nifti
            else ("database",)
            if self.ted
            else ("training", "testing")
        )

    def patients(
        self, absent: Callable[[str, str], None] | None = None
    ) -> list[tuple[str, str, str, frozenset[str]]]:
        """Each patient by name: (name, folder relative to the root, split, names of the files in
        it).

        ``absent`` is told the name and split of a listed patient without a folder; without it that
        is an error.

        Raises LayoutError for a missing split file or a listed patient without a folder, SplitError
        for a patient listed in two split files.
        """
        listed = self._listed() if self.nifti else {}
        rows = []
        for part in self.folders:
            for folder in visible(self.root / part, "patient*"):
                if folder.is_dir() and _PATIENT.fullmatch(folder.name):
                    split = listed.get(folder.name, "") if self.nifti else _SPLITS.get(part, "")
                    rows.append(
                        (
                            folder.name,
                            f"{part}/{folder.name}",
                            split,
                            visible_names(folder),
                        )
                    )
        lost = sorted(set(listed) - {row[0] for row in rows})
        for name in lost if absent is not None else ():
            absent(name, listed[name])  # type: ignore[misc]
        if lost and absent is None:
            raise LayoutError.of(
                f"{self.root / 'database_nifti' / lost[0]} is missing, with {len(lost) - 1} more "
                "patients that "
                "database_split lists. Restore them; without them the scores are of other "
                "patients.",
                [str(self.root / "database_nifti" / name) for name in lost],
            )
        return sorted(rows, key=lambda row: row[0])

    def split_files(self) -> tuple[str, ...]:
        """The split files, relative to the root; none in the older release or where the folder was
        left out.
        """
        if not (self.nifti and (self.root / "database_split").is_dir()):
            return ()
        return tuple(f"database_split/subgroup_{name}.txt" for name in _SPLITS)

    def files(
        self, patient: str, folder: str, chamber: str, present: frozenset[str]
    ) -> dict[str, str]:
        """Roles of one recording to files: what the release must have, and of sequences what is
        there.

        The older release has no masks for testing patients. Where there is a sequence, a still may
        be absent.
        """
        if self.ted:
            return self._cycle(f"{patient}_{chamber}", folder, present)
        end = "" if self.nifti else ".mhd"
        middle = "half_sequence" if self.nifti else "sequence"
        names = {"sequence": middle, "sequence_gt": f"{middle}_gt"}
        names |= {"ED": "ED", "ES": "ES", "ED_gt": "ED_gt", "ES_gt": "ES_gt"}
        names_of_roles = {
            role: _pick(f"{patient}_{chamber}_{name}", end, present) for role, name in names.items()
        }
        must = {"ED", "ES"} if names_of_roles["sequence"] not in present else set()
        if self.nifti or folder.startswith("training"):
            must |= {"ED_gt", "ES_gt"} if names_of_roles["sequence_gt"] not in present else set()
        files = {
            role: f"{folder}/{name}"
            for role, name in names_of_roles.items()
            if name in present or role in must
        }
        if not self.nifti:
            files |= self._pixels(files, present)
        infos = {"info": chamber, "info_other": "4CH" if chamber == "2CH" else "2CH"}
        cfgs = {role: f"Info_{c}.cfg" for role, c in infos.items()}
        return files | {role: f"{folder}/{name}" for role, name in cfgs.items() if name in present}

    def _cycle(self, name: str, folder: str, present: frozenset[str]) -> dict[str, str]:
        """Roles of one full cycle of TED, which must have its sequence and outlines; second ones
        ("_cut") are not read.
        """
        files = {
            "sequence": f"{folder}/{name}_sequence.mhd",
            "sequence_gt": f"{folder}/{name}_sequence_gt.mhd",
        }
        info = {"info": f"{folder}/{name}_info.cfg"} if f"{name}_info.cfg" in present else {}
        return files | self._pixels(files, present) | info

    def _pixels(self, files: Mapping[str, str], present: frozenset[str]) -> dict[str, str]:
        """The pixel file beside each .mhd, so that a digest covers it."""
        pairs = ((role, Path(name), end) for role, name in files.items() for end in ("raw", "zraw"))
        beside = {f"{role}_{end}": str(path.with_suffix(f".{end}")) for role, path, end in pairs}
        return {role: name for role, name in beside.items() if Path(name).name in present}

    def _listed(self) -> dict[str, str]:
        """Patients of the split files to their split."""
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
                        f"{split!r}: scores would "
                        "be of patients seen in training. Restore the split files as published."
                    )
        return home


def _layout(path: Path) -> Layout | None:
    if next((path / "database_nifti").glob("patient*"), None):
        return Layout(path, True)
    if next((path / "training").glob("patient*"), None):
        return Layout(path, False)
    if next((path / "database").glob("patient*/*_sequence.mhd"), None):
        return Layout(path, False, True)
    return None


def _why(root: Path) -> str:
    if _PATIENT.fullmatch(root.name):
        return (
            f"it is the folder of one patient, and {root.absolute().parent.parent} may be what is "
            "meant"
        )
    if next(root.glob("patient*"), None):
        return (
            "it holds patients directly, so it is the folder database_nifti/ or training/ under "
            "another name"
        )
    return "neither database_nifti/ nor training/ holds a patient"


def _pick(stem: str, end: str, present: frozenset[str]) -> str:
    if end:
        return stem + end
    return (
        stem + ".nii"
        if stem + ".nii" in present and stem + ".nii.gz" not in present
        else stem + ".nii.gz"
    )


def pictured(patient: str, names: Collection[str]) -> set[str]:
    """The chambers ("2CH", "4CH") of which a patient's folder holds any picture."""
    own = (name.removeprefix(patient) for name in names if name.startswith(patient))
    matches = (_PICTURE.fullmatch(rest) for rest in own)
    return {match[1] for match in matches if match is not None}


def read_cfg(path: Path) -> dict[str, str]:
    """The ``Key: value`` lines of an Info file; other lines are left out.

    Raises:
        LayoutError: There is no such file.
        CorruptFileError: It is no text, or a line of a fact that answers rest on (ED, ES, EF) has
        no colon.
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


def cfg_number(path: Path, cfg: Mapping[str, str], key: str, low: float, high: float) -> float:
    """A number of an Info file between ``low`` and ``high``; raises CorruptFileError for anything
    else.
    """
    value = parse_number(cfg[key])
    if value is None or not low <= value <= high:
        raise CorruptFileError(
            f"{path} says {key} is {cfg[key]!r}; wanted a number from {low:g} to {high:g}."
        )
    return value
