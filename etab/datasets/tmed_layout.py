"""The files of TMED-2 and TMED-1: names of folders, tables, columns and labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from etab.datasets.paths import find_folder
from etab.errors import (
    LayoutError,
)

LABEL_TABLE = "labels_per_image.csv"


NOT_PROVIDED = "Not_Provided"


@dataclass(frozen=True, slots=True)
class TmedRelease:
    """The differences between the two releases.

    Attributes:
        title: Name of the release.
        key: Pattern of image names, with the groups ``patient`` and ``study``.
        parts: Development sets, the default one first.
        tables: Paths that a fold file may have, in the order in which they are tried.
        splits: Columns with train, val or test; the one of the diagnosis first.
        folders: Folders of the images.
        views: View of etab by view label.
        severities: Grade of stenosis (0, 1, 2) by diagnosis label.
    """

    title: str
    key: re.Pattern[str]
    parts: tuple[str, ...]
    tables: tuple[str, ...]
    splits: tuple[str, ...]
    folders: tuple[str, ...]
    views: Mapping[str, str]
    severities: Mapping[str, int]


TMED2 = TmedRelease(
    title="TMED-2",
    key=re.compile(r"(?P<study>(?P<patient>\d+)s\d+)_\d+\.png"),
    parts=("DEV479", "DEV165", "DEV56"),
    tables=("{part}/TMED2_fold{fold}_labeledpart.csv", "TMED2_fold{fold}_labeledpart.csv"),
    splits=("diagnosis_classifier_split", "view_classifier_split"),
    folders=("view_and_diagnosis_labeled_set/labeled", "view_labeled_set/labeled"),
    views={
        "PLAX": "PLAX",
        "PSAX": "PSAX",
        "A2C": "A2C",
        "A4C": "A4C",
        "A4CorA2CorOther": "other",
    },
    severities={
        "no_AS": 0,
        "mild_AS": 1,
        "mildtomod_AS": 1,
        "moderate_AS": 2,
        "severe_AS": 2,
    },
)


TMED1 = TmedRelease(
    title="TMED-1",
    key=re.compile(r"(?P<study>(?P<patient>\d+))_\d+\.png"),
    parts=("TMED-156-52", "TMED-18-18"),
    tables=("{part}_fold{fold}.csv", "SplitImageLabelMapping/{part}_fold{fold}.csv"),
    splits=("split",),
    folders=("labeled", "partially_labeled"),
    views={
        "PLAX": "PLAX",
        "PSAX AoV": "PSAX",
        "Other": "other",
    },
    severities={
        "no_as": 0,
        "mild/moderate_as": 1,
        "severe_as": 2,
    },
)


def _holds(folder: Path, release: TmedRelease) -> bool:
    """Whether a folder has any table of this release."""
    names = [
        LABEL_TABLE,
        *(
            t.format(part=p, fold=k)
            for t in release.tables
            for p in release.parts
            for k in range(4)
        ),
    ]
    return any((folder / name).is_file() for name in names)


def find_release(root: Path, release: TmedRelease) -> tuple[Path, str | None]:
    """Find the data folder, and the development set if ``root`` is the folder of one.

    Args:
        root: The folder that was passed.
        release: The release to look for.

    Returns:
        (data folder, name of the development set or None).
    """
    wanted_folder = (
        f"the folder that contains {LABEL_TABLE}, the folders of fold files and "
        f"{release.folders[0]}/"
    )
    if (
        root.name in release.parts
        and not (root / LABEL_TABLE).is_file()
        and _holds(root.absolute().parent, release)
    ):
        return root.absolute().parent, root.name
    near = [root, root / "approved_users_only", root / release.title]
    near.append(root / release.title.replace("-", ""))
    folder = find_folder(
        root,
        title=release.title,
        wanted=wanted_folder,
        near=near,
        holds=lambda path: _holds(path, release),
        lacks=lambda: f"{root / LABEL_TABLE} is missing, and every fold file too",
    )
    return folder, None


def fold_table(
    root: Path,
    release: TmedRelease,
    part: str,
    fold: int,
    *,
    required: bool,
) -> Path | None:
    """Find the fold file.

    Args:
        root: Folder of the data.
        release: The release.
        part: Development set.
        fold: Number of the fold.
        required: Whether the caller named the development set.

    Returns:
        The file; None if the tree has no fold file at all and none is required. Then the split is
        unknown.

    Raises:
        LayoutError: The file is missing and required, or there are other fold files: a different
            split would test other patients.
    """
    places = [root / name.format(part=part, fold=fold) for name in release.tables]
    present = [path for path in places if path.is_file()]
    if present:
        return present[0]
    others = [
        p
        for p in release.parts
        for k in range(4)
        for t in release.tables
        if (root / t.format(part=p, fold=k)).is_file()
    ]
    if required or fold or others:
        alternatives = (
            f"; there are fold files of {', '.join(dict.fromkeys(others))}" if others else ""
        )
        raise LayoutError(
            f"{places[0]} is missing{alternatives}. Restore it, or pass the folder of another "
            "development set."
        )
    return None
