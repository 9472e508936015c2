"""Writes phantom patients in the published layouts of CAMUS (NIfTI) and EchoNet-Dynamic."""

from __future__ import annotations

import csv
import gzip
import io
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import StorageError
from etab.phantom.anatomy import Heart, Shape, draw_heart
from etab.phantom.sector import DEPTH, Scanner, draw_scanner, frame, mask, to_pixels
from etab.types import Array

MARK = "phantom"
NOTICE = (
    "This tree is PHANTOM data: synthetic echocardiograms, not patients. "
    "It must never enter a real leaderboard.\n"
)
_CAMUS_FRAMES = 8
_ECHONET_SIZE = 112
_ECHONET_FPS = 50


def split_of(i: int) -> str:
    """Return the split of patient ``i`` (from 0) in phantom trees.

    Of every ten patients one is in TEST, one in VAL and eight in TRAIN.
    """
    return {0: "TEST", 1: "VAL"}.get(i % 10, "TRAIN")


def _nifti(array: Array, spacing: float) -> bytes:
    """Encode an (h, w) or (t, h, w) array as CAMUS stores it: gzipped float32 NIfTI (x, y[, t]).

    The bytes are the same in every run.
    """
    import nibabel

    data = array.astype(np.float32)
    if data.ndim == 3:
        data = np.moveaxis(data, 0, -1)
    data = np.swapaxes(np.ascontiguousarray(data), 0, 1)
    affine = np.diag([-spacing, -spacing, 1, 1])
    image: Any = nibabel.Nifti1Image(data, affine)  # type: ignore[no-untyped-call]
    image.header["descrip"] = MARK.encode()
    image.header.set_xyzt_units("mm", "sec")
    out = io.BytesIO()
    with gzip.GzipFile(
        fileobj=out,
        mode="wb",
        mtime=0,
        compresslevel=4,
    ) as zipped:
        zipped.write(image.to_bytes())
    return out.getvalue()


def _cycle(n: int) -> list[float]:
    """Compute the contraction in ``n`` frames from ED (0) to ES (1)."""
    contractions = []
    for i in range(n):
        angle = np.pi * i / (n - 1)
        contractions.append(float((1 - np.cos(angle)) / 2))
    return contractions


def write_camus(
    root: Path,
    patients: int,
    seed: int,
    size: int,
) -> Iterator[int]:
    """Write a CAMUS tree, and yield the number of patients written after each.

    Args:
        root: The folder to write to.
        patients: The number of patients.
        seed: The same seed gives the same bytes.
        size: The side of the images in pixels.
    """
    base = root / "database_nifti"
    split = root / "database_split"
    split.mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    names = [f"patient{i + 1:04d}" for i in range(patients)]
    order = np.random.default_rng([seed, 7]).permutation(patients)
    n_test = max(1, patients // 10)
    first_training = 2 * n_test
    parts = {
        "testing": order[:n_test],
        "validation": order[n_test:first_training],
        "training": order[first_training:],
    }
    for part, members in parts.items():
        lines = [f"{names[i]}\n" for i in sorted(members)]
        (split / f"subgroup_{part}.txt").write_text("".join(lines))
    for i, name in enumerate(names):
        _camus_patient(
            base / name,
            name,
            np.random.default_rng([seed, 1, i]),
            size,
        )
        yield i + 1


def _camus_patient(
    folder: Path,
    name: str,
    rng: np.random.Generator,
    size: int,
) -> None:
    """Write both views of a patient: the ED and ES frames, the half cycle, masks and facts."""
    folder.mkdir(parents=True, exist_ok=True)
    heart = draw_heart(rng)
    age = int(rng.integers(18, 93))
    sex = "MF"[int(rng.integers(2))]
    for view, letters in enumerate(("2CH", "4CH")):
        scanner = draw_scanner(rng)
        shapes = [heart.shape(view, c) for c in _cycle(_CAMUS_FRAMES)]
        frames = np.stack([frame(s, scanner, size, rng) for s in shapes])
        masks = np.stack([mask(s, size) for s in shapes])
        files = {
            "ED": frames[0],
            "ED_gt": masks[0],
            "ES": frames[-1],
            "ES_gt": masks[-1],
            "half_sequence": frames,
            "half_sequence_gt": masks,
        }
        for role, array in files.items():
            path = folder / f"{name}_{letters}_{role}.nii.gz"
            path.write_bytes(_nifti(array, DEPTH / size))
        facts = {
            "ED": 1,
            "ES": _CAMUS_FRAMES,
            "NbFrame": _CAMUS_FRAMES,
            "Sex": sex,
            "Age": age,
            "ImageQuality": scanner.quality,
            "EF": round(heart.ef),
            "FrameRate": 25.0,
            "Phantom": "yes",
        }
        lines = [f"{key}: {value}\n" for key, value in facts.items()]
        (folder / f"Info_{letters}.cfg").write_text("".join(lines))


def write_echonet(
    root: Path,
    patients: int,
    seed: int,
) -> Iterator[int]:
    """Write an EchoNet-Dynamic tree, and yield the number of patients written after each.

    Quirks: the last video has no tracings, and in a few videos ES is traced before ED.

    Args:
        root: The folder to write to.
        patients: The number of patients, each with one video.
        seed: The same seed gives the same bytes.
    """
    (root / "Videos").mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    listed: list[list[object]] = []
    traced: list[list[object]] = []
    for i in range(patients):
        rng = np.random.default_rng([seed, 2, i])
        name = draw_video_name(rng)
        heart = draw_heart(rng)
        scanner = draw_scanner(rng)
        es_first = i % 50 == 7
        frames, ed, es, shapes = _beats(heart, scanner, rng, es_first=es_first)
        write_avi(root / "Videos" / f"{name}.avi", frames)
        systolic = heart.volume(1.0)
        diastolic = heart.volume(0.0)
        ejected = diastolic - systolic
        ef = 100 * ejected / diastolic
        video_facts = [_ECHONET_SIZE, _ECHONET_SIZE, _ECHONET_FPS, len(frames)]
        listed.append([name, ef, systolic, diastolic, *video_facts, split_of(i)])
        if i != patients - 1:
            for number in sorted((ed, es)):
                lines = to_pixels(shapes[number].trace(), _ECHONET_SIZE)
                for line in lines:
                    ends = [f"{coordinate:.6f}" for coordinate in line]
                    traced.append([f"{name}.avi", *ends, number])
        yield i + 1
    write_table(
        root / "FileList.csv",
        "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split",
        listed,
    )
    write_table(root / "VolumeTracings.csv", "FileName,X1,Y1,X2,Y2,Frame", traced)


def draw_video_name(rng: np.random.Generator) -> str:
    """Draw a file name like those of EchoNet: "0X" and the hexadecimal digits of a large number.

    Args:
        rng: The source of randomness; one number is drawn.
    """
    number = int(rng.integers(1 << 60, (1 << 63) - 1))
    return f"0X{number:X}"


def _beats(
    heart: Heart,
    scanner: Scanner,
    rng: np.random.Generator,
    *,
    es_first: bool,
) -> tuple[list[Array], int, int, list[Shape]]:
    """Draw a beat and a half at 50 fps.

    Returns:
        (frames, the traced ED frame, the traced ES frame, the shape in each frame).
    """
    beat = int(rng.integers(32, 46))
    start = beat // 3 if es_first else -int(rng.integers(2, 6))
    n = beat + beat // 2
    contractions = beat_contractions(n, beat, start)
    shapes = [heart.shape(1, contraction) for contraction in contractions]
    frames = [frame(shape, scanner, _ECHONET_SIZE, rng) for shape in shapes]
    ed = (-start) % beat
    if es_first:
        es = max(range(ed), key=lambda i: contractions[i])
    else:
        # The frame of the strongest contraction; of several, the one next to the ED frame.
        others = [i for i in range(n) if i != ed]
        es = min(others, key=lambda i: (-contractions[i], abs(i - ed)))
    return frames, ed, es, shapes


def contraction_at(share: float) -> float:
    """Compute the contraction (0 ED, 1 ES) at a share of a beat; systole is the first third.

    Args:
        share: The position in the beat, from 0 to 1.

    Example:
        >>> [contraction_at(share) for share in (0, 1 / 3, 1)]
        [0.0, 1.0, 0.0]
    """
    if share < 1 / 3:
        systolic_angle = 3 * np.pi * share
        return float((1 - np.cos(systolic_angle)) / 2)
    relaxed = min((share - 1 / 3) / 0.5, 1)
    diastolic_angle = np.pi * relaxed
    return float((1 + np.cos(diastolic_angle)) / 2)


def beat_contractions(n: int, beat: int, start: int) -> list[float]:
    """Compute the contraction in each frame of a clip.

    Args:
        n: The number of frames of the clip.
        beat: The number of frames of a beat.
        start: The position of the first frame in its beat, in frames; negative before ED.

    Returns:
        ``n`` contractions from 0 (ED) to 1 (ES).

    Example:
        >>> [round(contraction, 2) for contraction in beat_contractions(4, beat=3, start=0)]
        [0.0, 1.0, 0.25, 0.0]
    """
    contractions = []
    for i in range(n):
        position = (i + start) % beat
        contractions.append(contraction_at(position / beat))
    return contractions


def write_avi(
    path: Path,
    frames: list[Array],
    fps: float = _ECHONET_FPS,
) -> None:
    """Write an MJPG AVI like those of the releases, with an INFO chunk that marks it as a phantom.

    Args:
        path: The file to write.
        frames: (h, w) uint8 each.
        fps: Frames per second.

    Raises:
        StorageError: The file cannot be opened for writing.
    """
    import cv2

    height, width = frames[0].shape
    size = (width, height)
    codec = cv2.VideoWriter_fourcc(*"MJPG")  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(path), codec, fps, size)
    if not writer.isOpened():
        raise StorageError(
            f"{path} could not be opened for writing; check that the folder exists and has room."
        )
    for picture in frames:
        writer.write(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    writer.release()
    text = MARK.encode() + b"\0"
    padding = b"\0" * (len(text) % 2)
    chunk = b"INFOICMT" + _little_endian(len(text)) + text + padding
    data = path.read_bytes() + b"LIST" + _little_endian(len(chunk)) + chunk
    # Bytes 4 to 8 of a RIFF file hold the number of bytes that follow them.
    length = _little_endian(len(data) - 8)
    path.write_bytes(data[:4] + length + data[8:])


def _little_endian(number: int) -> bytes:
    """Encode a number as four bytes, the lowest first."""
    return struct.pack("<I", number)


def write_table(
    path: Path,
    header: str,
    rows: Sequence[Sequence[object]],
) -> None:
    """Write a CSV table.

    Args:
        path: The file to write.
        header: The names of the columns, separated by commas.
        rows: The cells of each row.
    """
    with path.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(rows)
