"""Writes phantom patients in the layout of EchoRisk: a manifest and DICOM cines for each part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from etab.phantom.anatomy import draw_heart
from etab.phantom.objects import ObjectNames, apical_frames, write_object
from etab.phantom.trees import NOTICE, split_of, write_table

_HEADER = "patient_id,timepoint,video_a4c,video_a2c,lvef,lv_dysfunction,cardiotoxicity"
_COLUMN_VIEWS = ("A4C", "A2C")
_TIMES = (("T1",), ("T1", "T2"), ("T1", "T3", "T5"))

# Patients with a quirk, by their index.
_ONE_VIEW = 2
_NO_VIEW = 3
_NO_LABEL = 4


def write_echorisk(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write the tree, and yield the number of patients written after each.

    The parts are train/, val/ and test/, the last one without labels, as the organisers strip them.
    Quirks by patient: 2 has one view only, 3 has no cine of either view, 4 has no label
    of ejection fraction. Cardiotoxicity is repeated in the rows of later examinations.

    Args:
        root: The folder to write to.
        patients: The number of patients.
        seed: The same seed gives the same bytes.
    """
    root.mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    rows: dict[str, list[list[object]]] = {"train": [], "val": [], "test": []}
    for i in range(patients):
        part = split_of(i).lower()
        rows[part] += _write_patient(root / part / "videos", i, seed)
        yield i + 1
    for part, listed in rows.items():
        header = _HEADER
        if part == "test":
            header = ",".join(_HEADER.split(",")[:4])
            listed = [row[:4] for row in listed]
        (root / part).mkdir(exist_ok=True)
        write_table(root / part / "manifest.csv", header, listed)


def _write_patient(videos: Path, i: int, seed: int) -> list[list[object]]:
    """Write the cines of patient ``i``; return the rows of the manifest."""
    rng = np.random.default_rng([seed, 11, i])
    patient = f"ECHORISK_{i + 1:04d}"
    heart = draw_heart(rng)
    toxic = int(heart.ef < 50 or i % 3 == 0)
    rows: list[list[object]] = []
    for number, time in enumerate(_TIMES[i % len(_TIMES)]):
        cells: list[object] = [patient, time]
        for view in _COLUMN_VIEWS:
            if i == _NO_VIEW or (i == _ONE_VIEW and view == "A2C"):
                cells.append("")
                continue
            path = f"{patient}/{time}/{patient}_{time}_{view}.dcm"
            names = ObjectNames(patient, 10 * (i + 1) + number + 1, 1 + len(cells))
            write_object(videos / path, apical_frames(heart, view, rng), names)
            cells.append(path)
        ef = "" if i == _NO_LABEL else f"{heart.ef - number:.1f}"
        rows.append([*cells, ef, int(heart.ef < 55), toxic])
    return rows
