"""Small files that claim gigabytes are refused before anything makes room for them."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from etab.backbones.own.vectors import read_vectors
from etab.backbones.weights.formats import read_weights
from etab.backbones.weights.index import load_state
from etab.datasets import mimic_tables
from etab.datasets.own.files import read_frames, read_mask
from etab.errors import CorruptFileError, WeightsError
from etab.readers import container
from etab.readers.codestream import picture_size
from etab.readers.dicom import read_dicom
from etab.readers.parquet import ParquetFile
from etab.readers.video import read_video
from etab.readers.zarr_store import ZarrStore
from tests.damage import limits
from tests.trees import dicom, echonet

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
    with limits(), pytest.raises(CorruptFileError, match="claims to unpack to 80,000"):
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
    with limits(), pytest.raises(CorruptFileError, match=r"leads out|not an ordinary file"):
        ZarrStore(path).array("x")


_BIG = 1 << 28


def _packed(codec: str, n_bytes: int) -> bytes:
    """A chunk of zeros, as each codec packs it."""
    numcodecs = pytest.importorskip("numcodecs")
    if codec == "blosc":
        return bytes(numcodecs.Blosc(typesize=8).encode(bytes(n_bytes)))
    if codec == "gzip":  # packing takes its time
        return bytes(numcodecs.GZip(1).encode(bytes(n_bytes >> 4)))
    return bytes(numcodecs.Zstd(1).encode(bytes(n_bytes)))


@pytest.mark.parametrize("codec", ["zstd", "blosc", "gzip"])
@pytest.mark.parametrize("is_zip", [False, True])
def test_a_chunk_that_unpacks_to_far_more_than_a_chunk(
    codec: str, is_zip: bool, tmp_path: Path
) -> None:
    zarr = pytest.importorskip("zarr")
    codecs = pytest.importorskip("zarr.codecs")
    path = tmp_path / "a.zarr"
    group = zarr.open_group(str(path), mode="w")
    compressor = getattr(codecs, f"{codec.title()}Codec")()
    array = group.create_array(
        "x", shape=(3000,), chunks=(1000,), dtype="f8", compressors=[compressor]
    )
    array[:] = np.arange(3000)
    assert ZarrStore(path).array("x").sum() == np.arange(3000).sum()
    (path / "x" / "c" / "1").write_bytes(_packed(codec, _BIG))
    if is_zip:
        with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(path).as_posix())
        path = tmp_path / "b.zip"
    with limits(), pytest.raises(CorruptFileError, match=r"the chunk x/c/1 claims .* wanted 8,000"):
        ZarrStore(path).array("x")


def test_a_chunk_that_does_not_tell_its_size(tmp_path: Path) -> None:
    """A frame of Zstandard as streams write it: the codec would unpack it to its end."""
    path = _store(tmp_path / "a.zarr", (10,), (10,))
    (chunk,) = (path / "x" / "c").iterdir()
    chunk.write_bytes(b"\x28\xb5\x2f\xfd\x00\x58" + bytes(20))
    with pytest.raises(CorruptFileError, match="does not state its size; wanted 80 bytes"):
        ZarrStore(path).array("x")


@pytest.mark.parametrize("location", ["end", "start"])
@pytest.mark.parametrize("codec", ["zstd", "blosc"])
def test_a_chunk_of_a_shard_that_unpacks_to_far_more(
    codec: str, location: str, tmp_path: Path
) -> None:
    zarr = pytest.importorskip("zarr")
    codecs = pytest.importorskip("zarr.codecs")
    path = tmp_path / "a.zarr"
    array = zarr.open_group(str(path), mode="w").create_array(
        "x",
        shape=(4000,),
        chunks=(1000,),
        shards={"shape": (2000,), "index_location": location},
        dtype="f8",
        compressors=[getattr(codecs, f"{codec.title()}Codec")()],
    )
    array[:] = np.arange(4000)
    assert ZarrStore(path).array("x").sum() == np.arange(4000).sum()
    packed = _packed(codec, _BIG)
    start = 0 if location == "end" else 36
    index = struct.pack("<4Q", start, len(packed), 2**64 - 1, 2**64 - 1)
    index += struct.pack("<I", int(pytest.importorskip("google_crc32c").value(index)))
    parts = (packed, index) if location == "end" else (index, packed)
    (path / "x" / "c" / "1").write_bytes(b"".join(parts))
    with limits(), pytest.raises(CorruptFileError, match=r"the chunk x/c/1 claims .* wanted 8,000"):
        ZarrStore(path).array("x")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"compressors": [("zstd", {}), ("zstd", {})]}, "packed by ZstdCodec and ZstdCodec"),
        ({"compressors": [("numcodecs.lzma", {})]}, "packed by LZMA; wanted one of zstd, blosc"),
        ({"compressors": [("zstd", {}), ("numcodecs.shuffle", {})]}, "ZstdCodec and Shuffle"),
        ({"index": "big"}, "the index of a shard is not in little-endian order"),
        # Newer versions of zarr refuse such an index themselves.
        ({"index": "gzip"}, r"index of a shard is packed by BytesCodec, GzipCodec|index_codecs"),
    ],
)
def test_chunks_that_are_packed_in_ways_whose_size_nobody_tells(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = _store(tmp_path / "a.zarr", (10,), (10,))
    head = path / "x" / "zarr.json"
    record = json.loads(head.read_text())
    if "compressors" in options:
        record["codecs"][1:] = [
            {"name": name, "configuration": facts} for name, facts in options["compressors"]
        ]
    else:
        index: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
        if options["index"] == "big":
            index[0]["configuration"]["endian"] = "big"
        else:
            index.append({"name": "gzip", "configuration": {"level": 1}})
        inner = {"chunk_shape": [10], "codecs": record["codecs"], "index_codecs": index}
        record["codecs"] = [{"name": "sharding_indexed", "configuration": inner}]
    head.write_text(json.dumps(record))
    with limits(), pytest.raises(CorruptFileError, match=said):
        ZarrStore(path).array("x")


class _Code:
    """What a pickle runs when it is read."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.made,)


@pytest.mark.parametrize("filters", [["pickle"], ["vlen-utf8", "pickle"]])
def test_a_store_runs_no_code_of_others(filters: list[str], tmp_path: Path) -> None:
    """Stores of version 2 may name `pickle` as a filter, which would run what a chunk says."""
    pytest.importorskip("zarr")
    path = tmp_path / "a.zarr"
    (path / "x").mkdir(parents=True)
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    head = {
        **{"zarr_format": 2, "shape": [10], "chunks": [10], "dtype": "|O", "fill_value": None},
        **{"order": "C", "compressor": None, "filters": [{"id": name} for name in filters]},
    }
    (path / "x" / ".zarray").write_text(json.dumps(head))
    (path / "x" / "0").write_bytes(pickle.dumps(_Code(tmp_path / "made")))
    with pytest.raises(CorruptFileError, match=r"No Zarr data type|its values are objects"):
        ZarrStore(path).array("x")
    assert not (tmp_path / "made").exists()


# --- videos ---


def _one_frame_many_times(path: Path, side: int, n: int) -> None:
    """An index of ``n`` rows, all of which lead to one JPEG."""
    echonet.write_avi(path, [np.full((side, side), 90, np.uint8)], 50)
    raw = path.read_bytes()
    at = raw.rindex(b"idx1")
    rows = raw[at + 8 : at + 24] * n
    raw = raw[:at] + b"idx1" + struct.pack("<I", len(rows)) + rows
    path.write_bytes(raw[:4] + struct.pack("<I", len(raw) - 8) + raw[8:])


def test_an_index_that_leads_to_one_frame_a_thousand_times(tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    _one_frame_many_times(path, 2048, 1000)
    assert path.stat().st_size < 1 << 18
    with limits(), pytest.raises(CorruptFileError, match=r"v\.avi: 1000 frames of 2048 x 2048"):
        read_video(path)
    with limits():
        assert read_video(path, [0, 999]).shape == (2, 2048, 2048)


def test_frames_of_a_codec_are_limited_in_number_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codec keeps many frames in memory at once."""
    path = tmp_path / "v.avi"
    echonet.write_avi(path, [np.full((64, 64), 90, np.uint8)] * 5, 50, "MPEG")
    assert read_video(path).shape == (5, 64, 64)
    monkeypatch.setattr(container, "MAX_CLIP_BYTES", 4 * 64 * 64)
    with pytest.raises(CorruptFileError, match="5 frames of 64 x 64 pixels are more than"):
        read_video(path)
    assert read_video(path, [1, 2, 3, 4]).shape == (4, 64, 64)
    monkeypatch.setattr(container, "_MAX_PIXELS", 64 * 63)
    with pytest.raises(CorruptFileError, match="claims frames of 64 x 64"):
        read_video(path, [1])


# --- DICOM, tables and weights that are packed ---


@pytest.mark.parametrize("head", ["preamble", "mark", "nothing"])
@pytest.mark.parametrize("long_fact", [False, True])
def test_a_deflated_object_is_not_unpacked(
    head: str, long_fact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pydicom unpacks all of it before a single element is read, however large it becomes."""
    pytest.importorskip("pydicom")
    path = tmp_path / "a.dcm"
    uid = b"1.2.840.10008.1.2.1.99"
    meta = b"\x02\0\x01\0OB\0\0" + struct.pack("<I", 20_000) + bytes(20_000) if long_fact else b""
    meta += b"\x02\0\x10\0UI" + struct.pack("<H", len(uid)) + uid
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(1 << 22)) + packer.flush()
    start = {"preamble": bytes(128) + b"DICM", "mark": b"DICM", "nothing": b""}[head]
    path.write_bytes(start + meta + bomb)

    def refuse(*_: object) -> bytes:
        raise AssertionError("it is unpacked")

    monkeypatch.setattr("pydicom.filereader.zlib.decompress", refuse)
    with pytest.raises(CorruptFileError, match=r"a\.dcm cannot be read: it is deflated as a whole"):
        read_dicom(path)
    monkeypatch.undo()
    dicom.save(dicom.kind("mono", n=2), path)
    assert len(read_dicom(path)) == 2


def test_a_packed_table_with_a_line_without_end(tmp_path: Path) -> None:
    path = tmp_path / "structured-measurement.csv.gz"
    head = b"measurement_id,measurement,result\n"
    path.write_bytes(gzip.compress(head + bytes(1 << 26), 1))
    with limits(), pytest.raises(CorruptFileError, match="a line of 131,072 characters or more"):
        list(mimic_tables._lines(path))


def test_weights_that_unpack_to_far_more_than_they_are(tmp_path: Path) -> None:
    import torch

    torch.save({"w": torch.ones(3)}, tmp_path / "w.pth")
    assert load_state(tmp_path / "w.pth")["w"].tolist() == [1, 1, 1]
    with zipfile.ZipFile(tmp_path / "w.pth", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data/9", bytes(65 << 20))
    with limits(), pytest.raises(WeightsError, match=r"w\.pth claims to unpack to 68,15"):
        load_state(tmp_path / "w.pth")


def test_a_matrix_of_which_nothing_is_stored(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("block1/layers/conv2d/vars")
        group.create_dataset("0", (1 << 34,), "f8", chunks=(1024,))
        group["1"] = np.ones(2)
    assert (tmp_path / "w.h5").stat().st_size < 1 << 14
    with limits(), pytest.raises(WeightsError, match="claims the shape"):
        read_weights(tmp_path / "w.h5", "keras-h5")
