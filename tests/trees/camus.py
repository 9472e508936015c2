"""Writes a tiny CAMUS in either published layout: real file names, number types, axes and quirks; no real pixels."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK

SPACING = (0.4, 0.308)  # row, column in mm
SIZE = (40, 56)  # rows, columns
LABEL_ROWS = {1: (6, 20), 2: (3, 6), 3: (22, 30)}


def patients(n: int) -> list[str]:
    return [f"patient{i:04d}" for i in range(1, n + 1)]


def ef(patient: str) -> int:
    return 30 + 7 * (int(patient.removeprefix("patient")) % 6)


def picture(patient: str, view: str, phase: float) -> np.ndarray:
    """Rows x columns, brightest at the top (the probe), different for each patient, view and moment."""
    rng = np.random.default_rng(
        [int(patient.removeprefix("patient")), int(view[0]), round(10 * phase)]
    )
    noise = rng.integers(0, 40, SIZE)
    return (np.linspace(200, 20, SIZE[0])[:, None] + noise).round().astype(np.uint8)


def mask(view: str, phase: float) -> np.ndarray:
    """Labels 1 cavity, 2 wall (above it), 3 atrium (below it); the cavity is narrower at phase 1 (ES)."""
    out = np.zeros(SIZE, np.uint8)
    half = 14 - round(6 * phase) - (view == "2CH")
    for label, (top, bottom) in LABEL_ROWS.items():
        out[top:bottom, 28 - half : 28 + half] = label
    return out


def write_nifti(path: Path, frames: np.ndarray, description: str = "") -> None:
    """Store (k, rows, columns) or (rows, columns) as CAMUS does: float32, x first, spacing in pixdim."""
    stored = frames.astype(np.float32).T
    image = nib.Nifti1Image(stored, np.diag([-SPACING[1], -SPACING[0], 1, 1]))
    image.header["descrip"] = description.encode()
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def write_mhd(path: Path, frames: np.ndarray) -> None:
    """Store as the older release: (1, rows, columns) uint8 with the pixels beside the header."""
    image = SimpleITK.GetImageFromArray(frames if frames.ndim == 3 else frames[None])
    image.SetSpacing((SPACING[1], SPACING[0], 1.54))
    SimpleITK.WriteImage(image, str(path))


def _cfg(folder: Path, view: str, values: dict[str, object]) -> None:
    (folder / f"Info_{view}.cfg").write_text("".join(f"{k}: {v}\n" for k, v in values.items()))


def write(
    root: Path,
    *,
    n: int = 6,
    sequences: bool = False,
    length: int = 6,
    cfg_4ch: bool = True,
    reversed_2ch: str = "",
) -> Path:
    """The NIfTI release: database_nifti/, database_split/; ``reversed_2ch`` names a patient whose 2CH begins at ES."""
    for patient in patients(n):
        folder = root / "database_nifti" / patient
        folder.mkdir(parents=True)
        for view in ("2CH", "4CH"):
            back = view == "2CH" and patient == reversed_2ch
            for role, phase in (("ED", 0.0), ("ES", 1.0)):
                write_nifti(
                    folder / f"{patient}_{view}_{role}.nii.gz", picture(patient, view, phase)
                )
                write_nifti(folder / f"{patient}_{view}_{role}_gt.nii.gz", mask(view, phase))
            steps = np.linspace(1, 0, length) if back else np.linspace(0, 1, length)
            if sequences:
                frames = np.stack([picture(patient, view, s) for s in steps])
                write_nifti(folder / f"{patient}_{view}_half_sequence.nii.gz", frames)
                truth = np.stack([mask(view, s) for s in steps])
                write_nifti(folder / f"{patient}_{view}_half_sequence_gt.nii.gz", truth)
            if view == "2CH" or cfg_4ch:
                ed, es = (length, 1) if back else (1, length)
                facts = {
                    "ED": ed,
                    "ES": es,
                    "NbFrame": length,
                    "Sex": "F",
                    "Age": 60,
                    "ImageQuality": "Good",
                }
                _cfg(folder, view, facts | {"EF": ef(patient), "FrameRate": 50.0})
    names = patients(n)
    (root / "database_split").mkdir()
    parts = {
        "training": names[: n - 2],
        "validation": names[n - 2 : n - 1],
        "testing": names[n - 1 :],
    }
    for part, listed in parts.items():
        (root / "database_split" / f"subgroup_{part}.txt").write_text("\n".join(listed) + "\n")
    return root


def write_old(root: Path, *, n: int = 4, length: int = 5) -> Path:
    """The older release: training/ with masks and LVef, testing/ (the last patient) without either."""
    for patient in patients(n):
        test = patient == patients(n)[-1]
        folder = root / ("testing" if test else "training") / patient
        folder.mkdir(parents=True)
        for view in ("2CH", "4CH"):
            for role, phase in (("ED", 0.0), ("ES", 1.0)):
                write_mhd(folder / f"{patient}_{view}_{role}.mhd", picture(patient, view, phase))
                if not test:
                    write_mhd(folder / f"{patient}_{view}_{role}_gt.mhd", mask(view, phase))
            frames = np.stack([picture(patient, view, s) for s in np.linspace(0, 1, length)])
            write_mhd(folder / f"{patient}_{view}_sequence.mhd", frames)
            facts = {
                "ED": 1,
                "ES": length,
                "NbFrame": length,
                "Sex": "M",
                "Age": 51,
                "ImageQuality": "Poor",
            }
            labels = {"LVedv": 90.0, "LVesv": 50.0, "LVef": float(ef(patient))}
            _cfg(folder, view, facts if test else facts | labels)
    return root
