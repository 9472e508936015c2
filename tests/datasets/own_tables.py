"""Tables of one's own for tests: small folders, and named sources described as a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.io import wavfile

from etab import datasets
from etab.datasets.base import SOURCES
from etab.types import Array
from tests.trees import dicom as ultrasound

PATIENTS = 40


def write_table(folder: Path, rows: Sequence[Mapping[str, Any]], name: str = "clinic.csv") -> Path:
    path = folder / name
    columns = dict.fromkeys(key for row in rows for key in row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)
    return path


def describe(where: Path, labels: str, **options: Any) -> Path:
    lines = [f"{key} = {_toml(value)}" for key, value in options.items()]
    path = where / "clinic.toml"
    path.write_text('name = "clinic"\ntable = "clinic.csv"\n' + "\n".join([*lines, labels]) + "\n")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str | Path) else str(value)


def frame(brightness: float, seed: int, side: int = 32) -> Array:
    noise = np.random.default_rng(seed).normal(0, 6, (side, side))
    return np.clip(brightness + noise, 2, 250).astype(np.uint8)


def sick(patient: int) -> int:
    return patient % 2


def pictures(folder: Path, *suffixes: str, patients: int = PATIENTS) -> list[dict[str, Any]]:
    """One picture a patient; sick patients are bright, and EF falls with brightness.

    The formats of ``suffixes`` (PNG by default) take turns, each with two patients.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for patient in range(patients):
        brightness = 60 + 90 * sick(patient) + patient
        formats = suffixes or (".png",)
        name = f"p{patient:03d}{formats[patient // 2 % len(formats)]}"
        cv2.imwrite(str(folder / name), frame(brightness, patient))
        rows.append(
            {
                "file": name,
                "patient": f"p{patient:03d}",
                "EF": round(80 - brightness / 4, 2),
                "sick": ("no", "yes")[sick(patient)],
            }
        )
    return rows


def clips(folder: Path) -> list[dict[str, Any]]:
    """One AVI clip of 40 frames a patient, with the masks of two frames as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for patient in range(PATIENTS):
        name = f"p{patient:03d}.avi"
        code = cv2.VideoWriter.fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(folder / name), code, 25, (64, 64))
        for number in range(40):
            grey = frame(60 + 90 * sick(patient), patient * 100 + number, 64)
            writer.write(np.repeat(grey[..., None], 3, axis=2))
        writer.release()
        masks = []
        for number in (3, 20):
            mask = np.zeros((64, 64), np.uint8)
            mask[16:48, 16 : 40 + number // 4] = 1
            masks.append(f"p{patient:03d}_{number}.png")
            cv2.imwrite(str(folder / masks[-1]), mask)
        rows.append(
            {
                "file": name,
                "patient": f"p{patient:03d}",
                "ed": 3,
                "es": 20,
                "mask": ";".join(masks),
                "mask_frames": "3;20",
                "sick": sick(patient),
            }
        )
    return rows


CLIP_SUFFIXES = (".mp4", ".mhd", ".nii.gz", ".dcm")


def film(patient: int, n_frames: int = 12) -> Array:
    """A moving sector (n, 96, 128); that of sick patients is brighter."""
    frames = ultrasound.grey(patient, n_frames)
    bright: Array = frames if sick(patient) else frames // 3
    return bright


def write_clip(path: Path, frames: Array) -> None:
    """Write a clip in the format of its suffix, 25 frames a second where the format gives them."""
    n_frames, height, width = frames.shape
    if path.suffix == ".mp4":
        code = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(path), code, 25, (width, height))
        for grey in frames:
            writer.write(np.repeat(grey[..., None], 3, axis=2))
        writer.release()
    elif path.suffix == ".mhd":
        import SimpleITK

        image = SimpleITK.GetImageFromArray(frames)
        image.SetSpacing((0.4, 0.5, 1.0))
        SimpleITK.WriteImage(image, str(path))
    elif path.suffix == ".dcm":
        pixels = ultrasound.fill(ultrasound.new("p", 1, 1, n_frames), frames, "MONOCHROME2")
        pixels.FrameTime = "40.0"
        pixels.save_as(path, enforce_file_format=True)
    else:
        import nibabel

        image = nibabel.Nifti1Image(frames.transpose(2, 1, 0), np.diag([-0.4, -0.5, 1, 1]))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, path)


def clips_of_formats(folder: Path, patients: int = 16) -> list[dict[str, Any]]:
    """One clip a patient, in MP4, MetaImage, NIfTI and DICOM by turns."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for patient in range(patients):
        suffix = CLIP_SUFFIXES[patient // 2 % len(CLIP_SUFFIXES)]
        name = f"p{patient:03d}{suffix}"
        write_clip(folder / name, film(patient))
        rows.append({"file": name, "patient": f"p{patient:03d}", "sick": sick(patient), "fps": 25})
    return rows


def sounds(folder: Path) -> list[dict[str, Any]]:
    """One sound of 4 s a patient at 2000 Hz, with its states; sick patients have a loud systole."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    t = np.arange(8000) / 2000
    for patient in range(PATIENTS):
        rng = np.random.default_rng(patient)
        phase = t % 0.8
        beat = np.exp(-((phase / 0.05) ** 2)) + np.exp(-(((phase - 0.3) / 0.05) ** 2))
        murmur = 0.5 * sick(patient) * ((phase > 0.1) & (phase < 0.25)) * rng.normal(size=len(t))
        wave = 0.4 * beat * np.sin(2 * np.pi * 60 * t) + 0.2 * murmur + rng.normal(0, 0.005, len(t))
        name = f"p{patient:03d}.wav"
        wavfile.write(folder / name, 2000, (wave * 30000).clip(-32000, 32000).astype(np.int16))
        lines = []
        for beat_number in range(5):
            start = beat_number * 0.8
            for state, (a, b) in enumerate(((0, 0.1), (0.1, 0.25), (0.25, 0.35), (0.35, 0.8)), 1):
                lines.append(f"{start + a:.3f}\t{start + b:.3f}\t{state}")
        states = f"p{patient:03d}.tsv"
        (folder / states).write_text("\n".join(lines) + "\n")
        rows.append(
            {
                "file": name,
                "patient": f"p{patient:03d}",
                "states": states,
                "murmur": ("Absent", "Present")[sick(patient)],
                "age": 20 + patient,
            }
        )
    return rows


CAMUS_LABELS = """
[columns]
ed = "ed"
es = "es"
[labels.LV_A4]
kind = "mask"
column = "mask"
pixel = 1
views = ["A4C"]
[labels.EF_A4]
kind = "value"
column = "EF"
unit = "%"
range = [0, 100]
views = ["A4C"]
metric = "mae"
[labels.CM_A4]
kind = "classes"
column = "CM"
classes = ["0", "1"]
value = "EF_A4"
below = 50
views = ["A4C"]
[labels.view]
kind = "classes"
classes = ["A2C", "A4C"]
input = "ED"
"""

# The tasks of CAMUS that these labels are, by the name of the label.
CAMUS_TASKS = {"LV_A4": "a0-A4-C", "EF_A4": "b0-A4-C", "CM_A4": "d0-A4-C", "view": "c0-AX-C"}


def camus_as_table(root: Path, folder: Path) -> Path:
    """Describe CAMUS as a table of one's own."""
    source = datasets.source("camus", root)
    card = source.card
    rows = []
    for record in source.records():
        files = record.files
        (ef,) = source.answers(record, card.target("EF"))
        (cm,) = source.answers(record, card.target("CM"))
        rows.append(
            {
                "id": record.id,
                "file": f"{files['ED']};{files['ES']}",
                "patient": record.patient,
                "view": record.view,
                "split": record.split,
                "ed": 0,
                "es": 1,
                "mask": f"{files['ED_gt']};{files['ES_gt']}",
                "EF": repr(float(ef.value)),
                "CM": int(cm.value),
            }
        )
    write_table(folder, rows)
    return describe(folder, CAMUS_LABELS, folder=source.root)


CIRCOR_LABELS = """
[labels.states]
kind = "states"
[labels.HR]
kind = "value"
unit = "bpm"
metric = "mae"
[labels.murmur]
kind = "classes"
classes = ["Present", "Unknown", "Absent"]
per = "study"
aggregate = "recordings"
metric = "weighted_accuracy"
[labels.outcome]
kind = "classes"
classes = ["Normal", "Abnormal"]
per = "study"
aggregate = "recordings"
metric = "cost"
"""

CIRCOR_TASKS = {
    "states": "e0-AL-D",
    "HR": "e1-AL-D",
    "murmur": "f1-AL-D",
    "outcome": "f2-AL-D",
}


def circor_as_table(root: Path, folder: Path) -> Path:
    """Describe CirCor as a table of one's own."""
    source = SOURCES["circor"](root)
    rows = []
    for record in source.records():
        rate = source.answers(record, source.card.target("HR"))
        rows.append(
            {
                "id": record.id,
                "file": record.files["audio"],
                "patient": record.patient,
                "study": record.meta["id"],
                "view": record.view,
                "states": record.files["states"],
                "HR": repr(float(rate[0].value)) if rate else "",
                "murmur": record.meta["murmur"],
                "outcome": record.meta["outcome"],
            }
        )
    write_table(folder, rows)
    return describe(folder, CIRCOR_LABELS, folder=source.root, sound=True)
