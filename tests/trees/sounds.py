"""Small trees of heart sounds, cut from the phantom ones, and single WAV files of every wrong sort."""

from __future__ import annotations

import csv
import shutil
import struct
from pathlib import Path

import numpy as np


def small_circor(source: Path, root: Path, rows: tuple[int, ...] = (1, 2, 4)) -> Path:
    """Keep the patients at these places of the table: the two ids of one person, and the repeated place."""
    (root / "training_data").mkdir(parents=True)
    shutil.copy(source / "PHANTOM", root)
    with (source / "training_data.csv").open(newline="") as file:
        table = list(csv.reader(file))
    kept = [table[0], *(table[1 + k] for k in rows)]
    with (root / "training_data.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(kept)
    for row in kept[1:]:
        for path in (source / "training_data").glob(f"{row[0]}[._]*"):
            shutil.copy(path, root / "training_data")
    return root


def small_cinc2016(source: Path, root: Path) -> Path:
    """Databases a and c alone, with everything that speaks of them."""
    for letter in "ac":
        shutil.copytree(source / f"training-{letter}", root / f"training-{letter}")
        shutil.copytree(
            source / "annotations/updated" / f"training-{letter}",
            root / "annotations/updated" / f"training-{letter}",
        )
        name = f"annotations/hand_corrected/training-{letter}_StateAns"
        shutil.copytree(source / name, root / name)
    (root / "validation").mkdir()
    for path in source.glob("validation/[ac]*.wav"):
        shutil.copy(path, root / "validation")
    for name in ("validation/REFERENCE.csv", "validation/RECORDS"):
        lines = (source / name).read_text().splitlines(keepends=True)
        (root / name).write_text("".join(line for line in lines if line[0] in "ac"))
    shutil.copy(source / "annotations/Online_Appendix_training_set.csv", root / "annotations")
    shutil.copy(source / "PHANTOM", root)
    return root


def wav(
    path: Path,
    *,
    rate: int = 4000,
    channels: int = 1,
    bits: int = 16,
    kind: int = 1,
    n: int = 400,
    body: bytes | None = None,
    promised: int | None = None,
    before: bytes = b"",
) -> Path:
    """A WAV file by hand: ``before`` are chunks ahead of the data, ``promised`` the length its header states."""
    body = bytes(n * channels * bits // 8) if body is None else body
    size = len(body) if promised is None else promised
    fmt = struct.pack(
        "<HHIIHH", kind, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits
    )
    chunks = (
        b"WAVEfmt "
        + struct.pack("<I", len(fmt))
        + fmt
        + before
        + b"data"
        + struct.pack("<I", size)
        + body
    )
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    return path


def float_wav(path: Path, samples: np.ndarray, rate: int = 4000) -> Path:
    return wav(path, rate=rate, bits=32, kind=3, body=samples.astype("<f4").tobytes())
