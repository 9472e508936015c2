"""Small files that claim gigabytes are refused before anything makes room for them."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from etab.backbones.own.vectors import read_vectors
from etab.datasets.own.files import read_frames, read_mask
from etab.errors import CorruptFileError
from etab.readers.codestream import picture_size
from etab.readers.parquet import ParquetFile
from etab.readers.zarr_store import ZarrStore
from tests.damage import limits

HUGE = 60_000


def _bmp(path: Path) -> None:
    sizes = struct.pack("<IiiHHIIiiII", 40, HUGE, HUGE, 1, 8, 1, 0, 0, 0, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + sizes + bytes(100))


def _jpg(path: Path) -> None:
    data = bytearray(cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", HUGE, HUGE)
    path.write_bytes(bytes(data))


def _tif(path: Path) -> None:
    data = bytearray(cv2.imencode(".tif", np.zeros((64, 64), np.uint8))[1].tobytes())
    directory = struct.unpack_from("<I", data, 4)[0]
    for i in range(struct.unpack_from("<H", data, directory)[0]):
        at = directory + 2 + 12 * i
        if struct.unpack_from("<H", data, at)[0] in (256, 257):
            struct.pack_into("<HII", data, at + 2, 4, 1, HUGE)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("make", [_bmp, _jpg, _tif])
def test_pictures_that_claim_gigabytes(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / f"a.{make.__name__[1:]}"
    make(path)
    assert picture_size(path.read_bytes()) == (HUGE, HUGE)
    with limits(), pytest.raises(CorruptFileError, match=f"claims {HUGE} x {HUGE} pixels"):
        read_frames(path)


@pytest.mark.parametrize("ending", [".jpg", ".tif", ".bmp"])
def test_the_size_of_a_sound_picture_is_found(ending: str, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / f"a{ending}"), np.full((30, 40), 90, np.uint8))
    assert picture_size((tmp_path / f"a{ending}").read_bytes()) == (30, 40)
    assert read_frames(tmp_path / f"a{ending}").shape == (1, 30, 40)


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_a_mask_that_ends_early_is_no_smaller_mask(kept: float, tmp_path: Path) -> None:
    """What a codec makes of half a PNG is a mask too: one without the lower half of the heart."""
    mask = np.random.default_rng(0).integers(0, 4, (60, 60)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    raw = (tmp_path / "m.png").read_bytes()
    (tmp_path / "m.png").write_bytes(raw[: int(kept * len(raw))])
    with pytest.raises(CorruptFileError, match=r"m\.png is not a whole PNG"):
        read_mask(tmp_path / "m.png", 3)


def test_a_mask_with_sixteen_bits_is_read(tmp_path: Path) -> None:
    mask = np.zeros((20, 20), np.uint16)
    mask[5:9] = 1000
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    assert read_mask(tmp_path / "m.png", 1000).sum() == 80


def _archive_of(path: Path, shape: tuple[int, int], n_bytes: int) -> None:
    header = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, facts)
    keys = io.BytesIO()
    np.save(keys, np.array(["a", "b"]))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("keys.npy", keys.getvalue())
        archive.writestr("x.npy", header.getvalue() + bytes(n_bytes))


def test_vectors_that_unpack_to_far_more_than_they_are(tmp_path: Path) -> None:
    _archive_of(tmp_path / "v.npz", (2, 9 << 20), 72 << 20)
    with limits(), pytest.raises(CorruptFileError, match="would unpack to 75,49"):
        read_vectors(tmp_path / "v.npz")
    _archive_of(tmp_path / "v.npz", (2, 1 << 38), 8)
    with limits(), pytest.raises(CorruptFileError, match=r"v\.npz cannot be read"):
        read_vectors(tmp_path / "v.npz")


def test_parquet_lists_of_gigabytes(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    values = pa.array(np.zeros(20_000_000, np.float32))
    lists = pa.FixedSizeListArray.from_arrays(values, 10_000_000)
    parquet.write_table(pa.table({"key": ["a", "b"], "x": lists}), tmp_path / "v.parquet")
    assert (tmp_path / "v.parquet").stat().st_size < 10_000
    with limits(), pytest.raises(CorruptFileError, match="would unpack to 80,000"):
        read_vectors(tmp_path / "v.parquet")
    with limits(), pytest.raises(CorruptFileError, match="claims to unpack to 80,000"):
        ParquetFile(tmp_path / "v.parquet", ("key",))


def _store(path: Path, shape: tuple[int, ...], chunks: tuple[int, ...]) -> Path:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="w")
    array = group.create_array("x", shape=shape, chunks=chunks, dtype="f8")
    if np.prod(shape) < 100:
        array[:] = 1
    return path


@pytest.mark.parametrize(
    ("shape", "chunks"), [((100_000, 100_000), (1000, 1000)), ((10,), (10**10,))]
)
def test_stores_that_claim_gigabytes(
    shape: tuple[int, ...], chunks: tuple[int, ...], tmp_path: Path
) -> None:
    pytest.importorskip("zarr")
    path = tmp_path / "a.zarr"
    _store(path, (10,), (10,))
    if chunks == (10**10,):
        text = (path / "x" / "zarr.json").read_text()
        (path / "x" / "zarr.json").write_text(text.replace("10", str(10**10), 2))
    else:
        _store(path, shape, chunks)
    with limits(), pytest.raises(CorruptFileError, match="the array x claims 80,000,000,000 bytes"):
        ZarrStore(path).array("x")


@pytest.mark.parametrize("name", ["c/0", "zarr.json"])
@pytest.mark.parametrize("target", ["pipe", "/dev/zero", "/etc/passwd"])
def test_stores_lead_nowhere_else(name: str, target: str, tmp_path: Path) -> None:
    path = _store(tmp_path / "a.zarr", (10,), (10,))
    assert ZarrStore(path).array("x").sum() == 10
    part = path / "x" / name
    part.unlink()
    if target == "pipe":
        os.mkfifo(part)
    else:
        part.symlink_to(target)
    with limits(), pytest.raises(CorruptFileError, match=r"leads out|no ordinary file"):
        ZarrStore(path).array("x")
