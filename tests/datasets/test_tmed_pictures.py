"""The PNG files of TMED-2: damage, kinds and sizes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from etab.datasets import TmedSource
from etab.datasets.integrity.check import check
from etab.errors import (
    CorruptFileError,
    LayoutError,
)
from etab.readers.still import read_still, still_info
from tests.trees import tmed

# --- PNG files ---


@pytest.mark.parametrize("keep", [0, 5, 20, 40, 400, -5, -12])
def test_a_truncated_png_is_named(tmed_tree: Path, keep: int) -> None:
    path = tmed_tree / tmed.FULL / "12s1_0.png"
    path.write_bytes(path.read_bytes()[:keep])
    source = TmedSource(tmed_tree)
    record = next(r for r in source.records() if r.id == "12s1_0")
    with pytest.raises(CorruptFileError, match=r"12s1_0\.png is not a whole PNG picture"):
        source.frames(record)
    assert len(check("tmed", tmed_tree).corrupt) == 1


def test_a_png_without_its_last_chunk_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), tmed.picture("1s1_0.png"))
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(CorruptFileError, match="it ends early"):
        read_still(path)


def test_every_changed_byte_of_a_png_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), tmed.picture("1s1_0.png"))
    raw = path.read_bytes()
    for at in range(0, len(raw), 7):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :])
        with pytest.raises(CorruptFileError, match=r"a\.png is not a whole PNG picture"):
            read_still(path)


def test_png_kinds(tmp_path: Path) -> None:
    grey = tmed.picture("1s1_0.png")
    path = tmp_path / "a.png"
    for stored in (
        cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR),
        cv2.cvtColor(grey, cv2.COLOR_GRAY2BGRA),
        grey,
    ):
        cv2.imwrite(str(path), stored)
        assert np.array_equal(read_still(path), grey)
    info = still_info(path)
    assert (info.height, info.width, info.bits, info.text) == (40, 40, 8, {})
    cv2.imwrite(str(path), grey.astype(np.uint16) * 256)
    with pytest.raises(CorruptFileError, match="16 bits a channel; wanted 8"):
        read_still(path)
    path.write_bytes(b"\xff\xd8\xff\xe0 a JPEG")
    with pytest.raises(CorruptFileError, match="does not begin like one"):
        read_still(path)
    with pytest.raises(LayoutError, match=r"b\.png is missing"):
        read_still(tmp_path / "b.png")


def test_absurd_sizes_are_refused_before_decoding(tmp_path: Path) -> None:
    import struct
    import zlib

    head = b"IHDR" + struct.pack(">IIBBBBB", 1 << 30, 1 << 30, 8, 0, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    )
    with pytest.raises(CorruptFileError, match="claims 1073741824 x 1073741824 pixels"):
        read_still(path)
