"""Writes a tiny TMED-2 or TMED-1: real table headers, labels, image names and quirks; no real pixels."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

FULL = "view_and_diagnosis_labeled_set/labeled"
VIEWED = "view_labeled_set/labeled"
HEADER = "query_key,view_label,diagnosis_label,SourceFolder,view_classifier_split,diagnosis_classifier_split"
VIEWS = ("PLAX", "PSAX", "A2C", "A4C", "A4CorA2CorOther")
STUDIES = {
    "11s1": ("no_AS", "train"),
    "12s1": ("mild_AS", "train"),
    "13s1": ("moderate_AS", "train"),
    "13s2": ("mildtomod_AS", "train"),  # one patient with two studies, and two diagnoses
    "21s1": ("no_AS", "val"),
    "22s1": ("severe_AS", "val"),
    "31s2": ("no_AS", "test"),
    "32s1": ("mild_AS", "test"),
    "33s1": ("severe_AS", "test"),
}
OTHER_FOLD = {"train": "test", "val": "train", "test": "val"}


def picture(key: str, size: int = 40) -> np.ndarray:
    """Grey noise, different for each image, with zeros below as where the aspect was kept."""
    rng = np.random.default_rng([*key.encode()])
    out = rng.integers(30, 200, (size, size)).astype(np.uint8)
    out[3 * size // 4 :] = 0
    return out


def image(path: Path, key: str, size: int = 40) -> None:
    path.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path / key), picture(key, size))


def table(path: Path, header: str, rows: list[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(rows)


def images() -> list[tuple[str, str, str, str]]:
    """(key, view, diagnosis, part) of every fully labelled image, numbered from 0 in each study."""
    return [
        (f"{s}_{i}.png", view, label, part)
        for s, (label, part) in STUDIES.items()
        for i, view in enumerate(VIEWS)
    ]


def fold_rows(swap: dict[str, str] | None = None) -> list[tuple[str, ...]]:
    """Rows of a fold file; the view-labelled studies are there too, used for the view alone."""
    parts = swap or {p: p for p in OTHER_FOLD}
    rows: list[tuple[str, ...]] = [(k, v, d, FULL, parts[p], parts[p]) for k, v, d, p in images()]
    return [*rows, ("90s1_0.png", "PLAX", "Not_Provided", VIEWED, "train", "not_used")]


def write(root: Path, *, folders: bool = True, labels: bool = True) -> Path:
    """TMED-2: ``folders`` False puts the fold files beside the data, as the 2022 pages have it."""
    for key, *_ in images():
        image(root / FULL, key)
    image(root / FULL, "11s1_99.png")  # lies there and is in no table
    for key in ("90s1_0.png", "91s1_0.png"):
        image(root / VIEWED, key)
    if labels:
        viewed = [("90s1_0.png", "PLAX", "Not_Provided"), ("91s1_0.png", "A4C", "Not_Provided")]
        table(
            root / "labels_per_image.csv",
            "query_key,view_label,diagnosis_label",
            [r[:3] for r in images()] + viewed,
        )
    for part in ("DEV479", "DEV56") if folders else ("",):
        for fold, swap in ((0, None), (1, OTHER_FOLD)):
            rows = fold_rows(swap)
            if part == "DEV56":  # the smaller sets leave studies unlabelled
                rows = [
                    (*r[:4], "unlabeled", "unlabeled") if r[0].startswith("12s1") else r
                    for r in rows
                ]
            table(root / part / f"TMED2_fold{fold}_labeledpart.csv", HEADER, rows)
            unlabelled = (
                "11s1_7.png",
                "Not_Provided",
                "no_AS",
                FULL.replace("labeled/labeled", "labeled/unlabeled"),
            )
            table(
                root / part / f"TMED2_fold{fold}_unlabeledpart.csv",
                HEADER,
                [(*unlabelled, "unlabeled", "unlabeled")],
            )
    return root


def write_first(root: Path) -> Path:
    """TMED-1: 64 pixels, keys without a study, three views, one split column, rows without labels."""
    grades = {
        "11": ("no_as", "train"),
        "12": ("mild/moderate_as", "train"),
        "13": ("severe_as", "train"),
        "21": ("no_as", "val"),
        "31": ("severe_as", "test"),
        "32": ("no_as", "test"),
    }
    rows = [
        (f"{p}_{i}.png", v, grade, part)
        for p, (grade, part) in grades.items()
        for i, v in enumerate(("PLAX", "PSAX AoV", "Other"))
    ]
    for key, *_ in rows:
        image(root / "labeled", key, 64)
    image(root / "partially_labeled", "40_0.png", 64)
    loose = [("40_0.png", "", "severe_as", "Unlabeled"), ("50_0.png", "", "", "Unlabeled")]
    table(
        root / "labels_per_image.csv",
        "query_key,view_label,diagnosis_label",
        [r[:3] for r in [*rows, *loose]],
    )
    table(
        root / "TMED-156-52_fold0.csv",
        "query_key,view_label,diagnosis_label,split",
        [*rows, *loose],
    )
    return root
