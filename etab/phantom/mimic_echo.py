"""Writes phantom patients in the layout of MIMIC-IV-ECHO, with tables of ECHOVIEW and LVVol-A4C."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from etab.phantom.anatomy import Heart, draw_heart
from etab.phantom.objects import SIDE, ObjectNames, apical_frames, on_screen, write_object
from etab.phantom.parasternal import ThreeChamber, draw_long_axis, draw_short_axis
from etab.phantom.sector import Scannable, draw_scanner, frame
from etab.phantom.trees import NOTICE, beat_contractions, write_table
from etab.types import Array

# Labels as ECHOVIEW words them; "PSAX-AV" is a short axis, and no label is an object without a view.
_LABELS = ("A4C", "A2C", "PLAX", "Subcostal", "", "A3C", "PSAX-AV")
_TIME = "2150-01-01 10:00:00"
_FRAMES = 6

# Patients with a quirk, by their index.
_TWO_STUDIES = 2
_NO_MEASUREMENT = 3
_RESULT_IN_WORDS = 4
_TWO_RESULTS = 5

_HEADERS: Mapping[str, str] = {
    "echo-record-list.csv": "subject_id,study_id,acquisition_datetime,dicom_filepath",
    "echo-study-list.csv": "subject_id,study_id,study_datetime,measurement_id",
    "echoview.csv": "dicom_filepath,view",
    "FileList.csv": "patient_id,study_id,parent_dicom_path,LVEDV_A4C,LVESV_A4C,LVEF_A4C",
}
_MEASURED = "subject_id,measurement_id,measurement_datetime,test_type,measurement,result,unit"
_Tables = dict[str, list[list[object]]]


def write_mimic_echo(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write the tree, and yield the number of patients written after each.

    Quirks by patient: 2 has two studies, 3 has no measurement, the result of 4 is in words, 5 has
    two results that differ. The last study of the record list has no files, and one object of each
    study has no view.

    Args:
        root: The folder to write to.
        patients: The number of patients.
        seed: The same seed gives the same bytes.
    """
    root.mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    tables: _Tables = {name: [] for name in _HEADERS}
    measured: list[list[object]] = []
    for i in range(patients):
        rng = np.random.default_rng([seed, 12, i])
        subject = str(10_000_032 + 1_117 * i)
        heart = draw_heart(rng)
        for number in range(2 if i == _TWO_STUDIES else 1):
            study = str(94_106_240 + 10 * i + number)
            _write_study(root, tables, heart, (subject, study), rng)
            key = "" if i == _NO_MEASUREMENT else f"7{study}"
            tables["echo-study-list.csv"].append([subject, study, _TIME, key])
            for result in _results(i, heart.ef):
                row = [subject, key, _TIME, "TTE"]
                measured.append([*row, "lvef", result, "%"])
                measured.append([*row, "la_dimen", "3.9", "cm"])
        yield i + 1
    absent = "files/p10/p10999999/s99999999/99999999_0001.dcm"
    tables["echo-record-list.csv"].append(["10999999", "99999999", _TIME, absent])
    for name, rows in tables.items():
        write_table(root / name, _HEADERS[name], rows)
    _write_compressed(root / "structured-measurement.csv.gz", measured)


def _results(i: int, ef: float) -> list[str]:
    """List the results of patient ``i``."""
    if i == _NO_MEASUREMENT:
        return []
    if i == _RESULT_IN_WORDS:
        return ["hyperdynamic"]
    if i == _TWO_RESULTS:
        return [f"{ef:.0f}", f"{ef - 9:.0f}"]
    return [f"{ef:.0f}"]


def _write_study(
    root: Path,
    tables: _Tables,
    heart: Heart,
    numbers: tuple[str, str],
    rng: np.random.Generator,
) -> None:
    """Write the objects of a study (subject, study) and its rows of the tables."""
    subject, study = numbers
    for number, view in enumerate(_LABELS):
        path = f"files/p{subject[:2]}/p{subject}/s{study}/{study}_{number + 1:04d}.dcm"
        frames = _frames(heart, view or "A4C", rng)
        write_object(root / path, frames, ObjectNames(subject, int(study), number + 1))
        tables["echo-record-list.csv"].append([subject, study, _TIME, path])
        if view:
            tables["echoview.csv"].append([path, view])
        if view == "A4C":
            volumes = [f"{heart.volume(contraction):.2f}" for contraction in (0.0, 1.0)]
            row = [subject, study, path, *volumes, f"{heart.ef:.2f}"]
            tables["FileList.csv"].append(list(row))


def _frames(heart: Heart, view: str, rng: np.random.Generator) -> Sequence[Array]:
    """Draw a cine; a subcostal one is an upside-down long axis."""
    if view in ("A2C", "A4C"):
        return apical_frames(heart, view, rng, _FRAMES)
    scanner = draw_scanner(rng)
    contractions = beat_contractions(_FRAMES, _FRAMES, 0)
    shapes: Sequence[Scannable]
    if view == "A3C":
        shapes = [ThreeChamber(heart.shape(0, contraction)) for contraction in contractions]
    elif view == "PSAX-AV":
        shapes = draw_short_axis(rng, heart.ef, contractions)
    else:
        shapes = draw_long_axis(rng, contractions)
    frames = []
    for shape in shapes:
        picture = frame(shape, scanner, SIDE, rng)
        frames.append(on_screen(picture[::-1] if view == "Subcostal" else picture))
    return frames


def _write_compressed(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write a compressed table; the bytes are the same in every run."""
    lines = [_MEASURED, *(",".join(map(str, row)) for row in rows)]
    with path.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped:
        zipped.write(("\n".join(lines) + "\n").encode())
