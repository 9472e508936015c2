"""Writes a tiny EchoNet-Dynamic: MJPG AVIs, FileList.csv, VolumeTracings.csv, with the quirks of the real tables."""

from __future__ import annotations

import csv
import struct
from pathlib import Path

import cv2
import numpy as np

SIZE = 48
LENGTHS = (24, 30, 20, 26, 22, 28)
SPLITS = ("TRAIN", "TRAIN", "TRAIN", "VAL", "TEST", "TEST")
RATES = (50, 50, 30, 50, 80, 50)


def names() -> list[str]:
    return [f"0X{0x1002E8FBACD08477 + 7919 * i:X}" for i in range(len(LENGTHS))]


def ef(i: int) -> float:
    return 35.0 + 6 * i


def traced(i: int) -> tuple[int, int]:
    """The (ED, ES) frames; in video 1 ES comes first, as in about 1 % of the real ones. The last has no tracing."""
    return (12, 4) if i == 1 else (3, 11)


def radius(i: int, frame: int) -> float:
    ed, es = traced(i)
    return 14 - 5 * float(np.clip((frame - ed) / (es - ed), 0, 1))


def frame(i: int, k: int) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside = (rows - 24) ** 2 + (columns - 24) ** 2 < radius(i, k) ** 2
    return np.where(inside, 30, 120 + 10 * i + k % 7).astype(np.uint8)


def trace(i: int, k: int) -> list[tuple[float, float, float, float]]:
    """Row 0 the long axis, then discs from the apex to the mitral plane, as published."""
    r = radius(i, k)
    rows = [(24.0, 24 - r, 24.0, 24 + r)]
    for y in np.linspace(-r, r, 12):
        half = float(np.sqrt(max(r * r - y * y, 0)))
        rows.append((24 - half, 24 + y, 24 + half, 24 + y))
    return rows


def write_avi(path: Path, frames: list[np.ndarray], fps: float, fourcc: str = "MJPG") -> None:
    size = frames[0].shape[1], frames[0].shape[0]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), fps, size, True)
    assert writer.isOpened()
    for picture in frames:
        writer.write(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    writer.release()


def add_info(path: Path, text: str) -> None:
    """Append an INFO list with a comment to an AVI, as players write it."""
    comment = text.encode() + b"\0"
    comment += b"\0" * (len(comment) % 2)
    body = b"INFO" + b"ICMT" + struct.pack("<I", len(comment)) + comment
    data = path.read_bytes() + b"LIST" + struct.pack("<I", len(body)) + body
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])


def write(root: Path) -> Path:
    (root / "Videos").mkdir(parents=True)
    columns = [
        "FileName",
        "EF",
        "ESV",
        "EDV",
        "FrameHeight",
        "FrameWidth",
        "FPS",
        "NumberOfFrames",
        "Split",
    ]
    rows: list[list[object]] = []
    traces: list[list[object]] = []
    for i, name in enumerate(names()):
        write_avi(
            root / "Videos" / f"{name}.avi", [frame(i, k) for k in range(LENGTHS[i])], RATES[i]
        )
        last = i == len(LENGTHS) - 1
        side = 768 if last else SIZE  # the CSV's size is wrong where tracings are absent
        shown = f"{name}.avi" if i == 2 else name  # some copies keep the suffix
        rows.append([shown, ef(i), 100 - ef(i), 100.0, side, side, RATES[i], LENGTHS[i], SPLITS[i]])
        for k in () if last else sorted(traced(i)):
            traces += [[f"{name}.avi", *line, k] for line in trace(i, k)]
    for file, head, body in (
        ("FileList.csv", columns, rows),
        ("VolumeTracings.csv", ["FileName", "X1", "Y1", "X2", "Y2", "Frame"], traces),
    ):
        with (root / file).open("w", newline="") as out:
            csv.writer(out).writerows([head, *body])
    return root
