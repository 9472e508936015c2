"""Parts that the phantom trees of heart sounds share: their mark, WAV files and tables."""

from __future__ import annotations

import csv
import struct
from collections.abc import Sequence
from pathlib import Path

from etab.types import Array

SOUND_MARK = "phantom"
NOTICE = (
    "This tree is PHANTOM data: made heart sounds, not patients. "
    "It must never enter a real leaderboard.\n"
)


def wav_bytes(samples: Array, rate: int, mark: str = SOUND_MARK) -> bytes:
    """Encode a mono 16-bit WAV like those of the releases, with its samples from byte 44 on.

    Args:
        samples: (n,) values of int16.
        rate: Samples per second.
        mark: The text of the INFO chunk after the samples.
    """
    body = samples.astype("<i2").tobytes()
    padding = "\0" * (2 - len(mark) % 2)
    text = (mark + padding).encode()
    info = b"INFO" + _chunk(b"ICMT", text)
    layout = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    sound = _chunk(b"fmt ", layout) + _chunk(b"data", body)
    return _chunk(b"RIFF", b"WAVE" + sound + _chunk(b"LIST", info))


def _chunk(name: bytes, content: bytes) -> bytes:
    """Return a RIFF chunk: its name of four bytes, its length and its content."""
    return name + struct.pack("<I", len(content)) + content


def write_csv(path: Path, rows: Sequence[Sequence[object]], encoding: str = "utf-8") -> None:
    """Write rows of cells as a table with Unix line ends.

    Args:
        path: The file.
        rows: The cells, row by row.
        encoding: The encoding of the text.
    """
    with path.open("w", newline="", encoding=encoding) as out:
        csv.writer(out, lineterminator="\n").writerows(rows)
