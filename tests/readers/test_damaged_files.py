"""Deliberate damage over every format that is read: a clear error of etab that names the file, or a right reading.

Never another error, a hang over 5 s, or 1 GiB of memory. What cannot be seen in principle (a flipped bit in raw pixels or in
a digit of a table: those formats carry no checksum) must still read as what the format promises; ``Source.digest`` and
``etab data check`` see it. Formats with checksums (gzip, the caches, predictions) must give the very same or say so.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import struct
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.datasets.camus import CamusSource
from etab.datasets.dicom import DicomSource
from etab.datasets.echonet import EchoNetSource
from etab.errors import EtabError
from etab.features import batches, entries
from etab.readers.dicom import dicom_info, read_dicom
from etab.readers.video import read_video, video_info
from etab.readers.volume import grey, read_volume, volume_info
from etab.results import Result
from etab.storage.clipcache import ClipCache, base_key, clip_key
from tests import made
from tests.damage import (
    MEMORY,
    Damage,
    Late,
    Subject,
    attempt,
    cases,
    everything_of,
    limits,
    put,
    put_behind,
    swap,
)
from tests.trees import camus, dicom, echonet

pytest.importorskip("pydicom", reason="pydicom is not installed")
av = pytest.importorskip("av", reason="PyAV is not installed")


# --- readings ---


def _grey(frames: np.ndarray) -> np.ndarray:
    assert frames.dtype == np.uint8
    assert frames.ndim == 3
    return frames


def _video(path: Path) -> np.ndarray:
    info, frames = video_info(path), _grey(read_video(path))
    assert frames.shape == (info.n_frames, info.height, info.width)
    assert np.array_equal(read_video(path, [info.n_frames - 1])[0], frames[-1])
    return frames


def _volume(path: Path) -> np.ndarray:
    path = path.with_suffix(".mhd") if path.suffix == ".raw" else path
    volume = read_volume(path)
    assert volume_info(path).shape == volume.data.shape
    return _grey(grey(path, volume.data))


def _dicom(path: Path) -> np.ndarray:
    info, frames = dicom_info(path), _grey(read_dicom(path))
    assert frames.shape == (info.n_frames, info.rows, info.columns)
    return frames


KEYS = [clip_key(base_key("corrupt"), str(i), [], np.arange(3)) for i in range(4)]


def _clip(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (3, 20, 25)).astype(np.uint8)


def _clips(path: Path) -> list[Any]:
    cache = ClipCache(path.parent)
    return [cache.get(key, lambda i=i: _clip(i)).tolist() for i, key in enumerate(KEYS)]  # type: ignore[misc]


def _features(path: Path) -> list[Any] | None:
    found = entries.read_entry(path.parent)
    return (
        None
        if found is None
        else [found.pooled["last/mean"].tolist(), np.asarray(found.maps[0]).tolist()]
    )


def _result(path: Path) -> str:
    found = Result.load(path)
    assert np.isfinite([found.value, found.low, found.high]).all()
    return str(found.predictions(path.parents[3]).sha256())


# --- trees ---


def _avi(folder: Path) -> Path:
    echonet.write_avi(folder / "v.avi", [echonet.frame(0, k) for k in range(12)], 50)
    return folder / "v.avi"


def _mp4(folder: Path) -> Path:
    # Of this file alone: one that a forked process finds in its parent has lost its threads.
    converter = av.video.reformatter.VideoReformatter()
    with av.open(str(folder / "v.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width = stream.height = 48
        stream.pix_fmt = "yuv420p"
        for k in range(12):
            picture = av.VideoFrame.from_ndarray(echonet.frame(0, k), format="gray")
            file.mux(stream.encode(converter.reformat(picture, format="yuv420p")))
        file.mux(stream.encode(None))
    return folder / "v.mp4"


def _nifti(name: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        camus.write_nifti(
            folder / name, np.stack([camus.picture("patient0001", "4CH", s) for s in (0, 1)])
        )
        return folder / name

    return build


def _mhd(end: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        camus.write_mhd(folder / "a.mhd", camus.picture("patient0001", "4CH", 0))
        return folder / f"a.{end}"

    return build


def _in_tree(write: Callable[[Path], Path], name: str) -> Callable[[Path], Path]:
    return lambda folder: write(folder / "tree") / name


def _object(kind: str) -> Callable[[Path], Path]:
    return lambda folder: dicom.save(dicom.kind(kind, n=3), folder / "a.dcm")


def _part(folder: Path) -> Path:
    _clips(folder / "c" / "x")
    return next((folder / "c").glob("*.clips"))


def _entry(name: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        rng = np.random.default_rng(0)

        def compute(temp: Path) -> batches.Batches:
            grid = np.lib.format.open_memmap(temp / "map0.npy", "w+", np.float16, (4, 3, 5, 5))
            grid[:] = rng.standard_normal(grid.shape)
            grid.flush()
            collected = batches.Batches(4, temp)
            collected.pooled = {"last/mean": rng.standard_normal((4, 8)).astype(np.float32)}
            return collected

        entries.write_entry(folder / "entry", compute, entries.load_batches)
        return folder / "entry" / name

    return build


def _saved(end: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        return made.save(folder, "b0-A4-C", "cnn", n=12).path(folder).with_suffix(end)

    return build


def _predictions(path: Path) -> str:
    return _result(path.with_suffix(".json"))


CFG = "database_nifti/patient0001/Info_2CH.cfg"
SUBJECTS = [
    Subject("avi", _avi, _video),
    Subject("mp4", _mp4, _video),
    Subject("nii.gz", _nifti("a.nii.gz"), _volume, exact=True),
    Subject("nii", _nifti("a.nii"), _volume),
    Subject("mhd", _mhd("mhd"), _volume, names=("a.raw",)),
    Subject("raw", _mhd("raw"), _volume, names=("a.mhd",)),
    Subject("cfg", _in_tree(lambda r: camus.write(r, n=4), CFG), everything_of(CamusSource, 2)),
    Subject(
        "split",
        _in_tree(lambda r: camus.write(r, n=4), "database_split/subgroup_training.txt"),
        everything_of(CamusSource, 1),
        names=("database_nifti", "no patient", "subgroup_"),
    ),
    Subject(
        "list",
        _in_tree(echonet.write, "FileList.csv"),
        everything_of(EchoNetSource, 0),
        names=("Videos",),
    ),
    Subject(
        "traces", _in_tree(echonet.write, "VolumeTracings.csv"), everything_of(EchoNetSource, 0)
    ),
    Subject(
        "labels",
        _in_tree(dicom.write, "labels.csv"),
        everything_of(DicomSource, 0),
        names=("study", "lies in two"),
    ),
    *[
        Subject(f"dicom {kind}", _object(kind), _dicom)
        for kind in ("mono", "jpeg", "rle", "j2k_mono", "palette")
    ],
    Subject("clip cache", _part, _clips, exact=True),
    *[
        Subject(f"features {name}", _entry(name), _features, exact=True)
        for name in ("pooled.safetensors", "map0.npy", "entry.json")
    ],
    Subject("result", _saved(".json"), _result, names=("predictions belong beside their record",)),
    Subject("predictions", _saved(".csv"), _predictions, exact=True),
]


# --- damage ---


def _zipped(inner: Damage) -> Damage:
    return lambda raw, rng: gzip.compress(inner(gzip.decompress(raw), rng), mtime=0)


def _json(**changes: Any) -> Damage:
    return lambda raw, rng: json.dumps(json.loads(raw) | changes).encode()


def _tag(**changes: Any) -> Damage:
    """Other values of DICOM tags."""

    def damage(raw: bytes, rng: np.random.Generator) -> bytes:
        import io

        import pydicom

        ds = pydicom.dcmread(io.BytesIO(raw))
        for key, value in changes.items():
            setattr(ds, key, value)
        out = io.BytesIO()
        ds.save_as(out)
        return out.getvalue()

    return damage


NIFTI: dict[str, Damage] = {
    "terabytes": put(40, "<4h", 3, 30000, 30000, 30000),
    "no pixels": put(40, "<4h", 3, 0, 40, 2),
    "negative": put(40, "<4h", 3, -5, 40, 2),
    "seven axes": put(40, "<8h", 7, 56, 40, 2, 2, 2, 2, 2),
    "complex": put(70, "<2h", 32, 64),
    "a type of nobody": put(70, "<2h", 9999, 16),
    "pixels beyond the end": put(108, "<f", *[1e9]),
    "pixels at NaN": lambda raw, rng: raw[:108] + struct.pack("<f", float("nan")) + raw[112:],
    "spacing NaN": lambda raw, rng: raw[:80] + struct.pack("<f", float("nan")) + raw[84:],
    "slope NaN": lambda raw, rng: (
        raw[:112] + struct.pack("<2f", float("inf"), float("nan")) + raw[120:]
    ),
    "NaN pixels": lambda raw, rng: (
        raw[:352] + struct.pack("<f", float("nan")) * ((len(raw) - 352) // 4)
    ),
    "above white": lambda raw, rng: raw[:352] + struct.pack("<f", 1e9) * ((len(raw) - 352) // 4),
}
SPECIAL: dict[str, dict[str, Damage]] = {
    "avi": {
        "terabytes": put_behind(b"strf", 12, "<ii", 2_000_000, 2_000_000),
        "no size": put_behind(b"strf", 12, "<ii", 0, 0),
        "a billion frames": put_behind(b"strh", 40, "<I", 10**9),
        "a list beyond the end": put_behind(b"movi", -4, "<I", 0xFFFFFFF0),
        "lists in lists": lambda raw, rng: raw.replace(b"strl", b"hdrl").replace(b"JUNK", b"LIST"),
        "index to nowhere": put_behind(b"idx1", 8 + 16 * 3 + 8, "<II", 0xFFFFFF00, 0x7FFFFFFF),
        "index without end": put_behind(b"idx1", 4, "<I", 0x7FFFFFFF),
        "a JPEG of 65500 pixels": lambda raw, rng: put_behind(b"\xff\xc0", 5, ">HH", 65500, 65500)(
            raw, rng
        ),
        "another codec": swap("MJPG", "H264"),
        "no index": swap("idx1", "JUNK"),
    },
    "nii.gz": {
        **{name: _zipped(damage) for name, damage in NIFTI.items()},
        "a bomb": lambda raw, rng: gzip.compress(gzip.decompress(raw)[:352] + b"\0" * (1 << 24)),
        "a bomb of terabytes": _zipped(
            lambda raw, rng: put(40, "<4h", 3, 8000, 8000, 4)(raw, rng) + b"\0" * (1 << 22)
        ),
    },
    "nii": NIFTI,
    "mhd": {
        "terabytes": swap("DimSize = ", "DimSize = 99999999 99999999 9999 "),
        "negative": swap("DimSize = ", "DimSize = -"),
        "climbs out": swap("a.raw", "../../../../../../etc/passwd"),
        "absolute": swap("a.raw", "/etc/passwd"),
        "a pattern": swap("a.raw", "a%d.raw 1 99999999 1"),
        "a list": swap("a.raw", "LIST"),
        "another type": swap("MET_UCHAR", "MET_DOUBLE"),
        "a type of nobody": swap("MET_UCHAR", "MET_STRANGE"),
        "spacing NaN": swap("ElementSpacing = ", "ElementSpacing = nan "),
        "compressed": swap("CompressedData = False", "CompressedData = True"),
        "channels": lambda raw, rng: b"ElementNumberOfChannels = 999999999\n" + raw,
        "header beyond the end": lambda raw, rng: b"HeaderSize = 999999999\n" + raw,
        "header beyond any end": lambda raw, rng: b"HeaderSize = 99999999999999999\n" + raw,
        "header of 30 digits": lambda raw, rng: b"HeaderSize = " + b"9" * 30 + b"\n" + raw,
    },
    "cfg": {
        "EF NaN": swap("EF: ", "EF: nan #"),
        "EF infinite": swap("EF: ", "EF: inf"),
        "ED beyond": swap("ED: 1", "ED: 99999999999999999999"),
        "rate zero": swap("FrameRate: 50.0", "FrameRate: 0"),
        "rate NaN": swap("FrameRate: 50.0", "FrameRate: nan"),
        "ED no number": swap("ED: 1", "ED: one"),
        "not text": lambda raw, rng: b"\xff\xfe" + raw,
    },
    "split": {
        "climbs out": lambda raw, rng: raw + b"../../../etc\n",
        "nobody": lambda raw, rng: raw + b"patient9999\n",
        "not text": lambda raw, rng: b"\xff\xfe" + raw,
    },
    "list": {
        "climbs out": swap(echonet.names()[1], "../../../etc/passwd"),
        "absolute": swap(echonet.names()[1], "/etc/passwd"),
        "a folder": swap(echonet.names()[1], "."),
        "no name": swap(echonet.names()[1], ""),
        "NUL in a name": swap(echonet.names()[1], "0X\0"),
        "EF NaN": swap(",41.0,", ",nan,"),
        "EF infinite": swap(",41.0,", ",inf,"),
        "rate NaN": lambda raw, rng: raw.replace(b",50,", b",nan,", 1),
        "a cell of megabytes": lambda raw, rng: raw + b"x" * 200_000 + b",1,1,1,1,1,1,1,TRAIN\n",
        "an open quote": lambda raw, rng: raw + b'"' + b"x\n" * 100_000,
        "utf-16": lambda raw, rng: raw.decode().encode("utf-16"),
        "a short row": lambda raw, rng: raw + b"0X12\n",
    },
    "traces": {
        "NaN": swap(echonet.names()[0] + ".avi,24.0", echonet.names()[0] + ".avi,nan"),
        "infinite": swap(echonet.names()[0] + ".avi,24.0", echonet.names()[0] + ".avi,inf"),
        "far away": swap(echonet.names()[0] + ".avi,24.0", echonet.names()[0] + ".avi,1e300"),
        "terabytes away": lambda raw, rng: raw.replace(b",24.0,", b",99999999.0,"),
        "frame negative": lambda raw, rng: raw.replace(b",3\r\n", b",-3\r\n"),
        "frame huge": lambda raw, rng: raw.replace(b",3\r\n", b",999999999999999999999\r\n"),
        "one line only": lambda raw, rng: b"\n".join(raw.split(b"\n")[:2]),
        "utf-16": lambda raw, rng: raw.decode().encode("utf-16"),
    },
    "labels": {
        "climbs out": swap("study0/IM0", "../../../etc/passwd"),
        "absolute": swap("study0/IM0", "/etc/passwd"),
        "EF NaN": swap(",50", ",nan"),
        "a short row": lambda raw, rng: raw + b"study1\n",
        "not text": lambda raw, rng: b"\xff\xfe" + raw,
        "a cell of megabytes": lambda raw, rng: raw + b"x" * 200_000 + b",,,,\n",
    },
    "dicom mono": {
        "terabytes": _tag(Rows=65535, Columns=65535, NumberOfFrames=2_000_000_000),
        "a gigabyte": _tag(Rows=8000, Columns=8000, NumberOfFrames=17),
        "no rows": _tag(Rows=0),
        "frames no number": lambda raw, rng: raw.replace(b"IS\x02\x003 ", b"IS\x02\x00x ", 1),
        "float pixels": _tag(BitsAllocated=32),
        "more bits than there are": _tag(BitsStored=200),
        "signed": _tag(PixelRepresentation=1),
        "rate NaN": _tag(CineRate="1", FrameTime="0"),
        "16 bits": _tag(BitsAllocated=16),
    },
    "dicom jpeg": {
        "terabytes": _tag(Rows=65535, Columns=65535, NumberOfFrames=2_000_000_000),
        "more frames than there are": _tag(NumberOfFrames=3000),
        "another size": _tag(Rows=8000, Columns=8000),
        "another kind": _tag(PhotometricInterpretation="PALETTE COLOR"),
        "a JPEG of 65500 pixels": lambda raw, rng: put_behind(b"\xff\xc0", 5, ">HH", 65500, 65500)(
            raw, rng
        ),
        "monochrome": _tag(PhotometricInterpretation="MONOCHROME2", SamplesPerPixel=1),
    },
    "dicom rle": {
        "another size": _tag(Rows=8000, Columns=8000),
        "more samples": _tag(SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2"),
    },
    "dicom j2k_mono": {
        "terabytes": lambda raw, rng: put_behind(
            b"\xff\x4f\xff\x51", 8, ">II", 4_000_000_000, 4_000_000_000
        )(raw, rng),
        "another size": _tag(Rows=8000, Columns=8000),
        "components": lambda raw, rng: put_behind(b"\xff\x4f\xff\x51", 40, ">H", 16384)(raw, rng),
    },
    "dicom palette": {
        "a table of no length": _tag(RedPaletteColorLookupTableDescriptor=[0, 0, 16]),
        "a table of no bits": _tag(RedPaletteColorLookupTableDescriptor=[256, 0, 0]),
        "tables of two lengths": _tag(RedPaletteColorLookupTableData=b"\0" * 10),
    },
    "clip cache": {
        "terabytes": put(24, "<3I", 4_000_000_000, 4_000_000_000, 4_000_000_000),
        "more bytes": put(40, "<Q", 1 << 62),
    },
    "features entry.json": {
        "climbs out": lambda raw, rng: raw.replace(b"map0.npy", b"../../../../../../etc/passwd"),
        "lacks files": _json(files={}),
        "not an object": lambda raw, rng: b"[1, 2]",
        "files no object": _json(files=[1]),
        "deep": lambda raw, rng: b"[" * 100_000,
    },
    "features map0.npy": {
        "terabytes": lambda raw, rng: raw.replace(b"(4, 3, 5, 5), }", b"(9999999,9999)}"),
        "objects": lambda raw, rng: raw.replace(b"'<f2'", b"'|O' "),
    },
    "features pooled.safetensors": {
        "a header of terabytes": put(0, "<Q", 1 << 50),
    },
    "result": {
        "value NaN": _json(value=float("nan")),
        "value text": _json(value="0.9"),
        "climbs out": _json(task="../../../../etc/passwd"),
        "another schema": _json(schema=99),
        "more fields": _json(extra=1),
        "deep": lambda raw, rng: b"[" * 100_000,
        "a number of a million digits": lambda raw, rng: b'{"schema": 1' + b"0" * 1_000_000 + b"}",
        "utf-16": lambda raw, rng: raw.decode().encode("utf-16"),
        "a list": lambda raw, rng: b"[]",
    },
    "predictions": {
        "NaN": lambda raw, rng: raw.replace(b".", b"nan", 1),
        "a cell of megabytes": lambda raw, rng: raw + b"x" * 200_000,
    },
}


CASES = list(cases(SUBJECTS, SPECIAL))


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path, Any]]:
    """Each subject built once: (folder, file, what is read from it undamaged)."""
    built = {}
    for subject in SUBJECTS:
        folder = tmp_path_factory.mktemp("sound")
        path = subject.build(folder)
        built[subject.name] = folder, path, subject.read(path)
    return built


@pytest.mark.parametrize(("subject", "damage"), CASES)
def test_damage_is_named_or_read_right(
    subject: Subject, damage: Damage, trees: dict[str, tuple[Path, Path, Any]], tmp_path: Path
) -> None:
    attempt(subject, damage, trees[subject.name], tmp_path)


def test_every_format_has_its_damage() -> None:
    assert len({case.id for case in CASES}) == len(CASES) >= 600
    read = {case.id.rsplit("-", 1)[0] for case in CASES}
    videos = {"avi", "mp4", "dicom jpeg", "dicom rle", "dicom j2k_mono"}
    volumes = {"nii.gz", "mhd", "raw"}
    assert videos | volumes | {"cfg", "clip cache", "features map0.npy"} <= read


def test_the_limits_hold() -> None:
    with limits(), pytest.raises(MemoryError):
        bytearray(2 * MEMORY)
    with pytest.raises(Late):
        _wait(replace_seconds=0.05)


def _wait(replace_seconds: float) -> None:
    with limits():
        signal.setitimer(signal.ITIMER_REAL, replace_seconds)
        time.sleep(1)


@pytest.mark.parametrize("kind", ["avi", "nii.gz", "dicom mono"])
def test_a_folder_in_the_place_of_a_file(
    kind: str, trees: dict[str, tuple[Path, Path, Any]], tmp_path: Path
) -> None:
    subject = next(s for s in SUBJECTS if s.name == kind)
    path = tmp_path / trees[kind][1].name
    path.mkdir()
    with pytest.raises(EtabError, match=path.name):
        subject.read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("kind", ["nii.gz", "dicom mono", "avi"])
def test_a_pipe_in_the_place_of_a_file_does_not_hang(
    kind: str, trees: dict[str, tuple[Path, Path, Any]], tmp_path: Path
) -> None:
    subject = replace(next(s for s in SUBJECTS if s.name == kind))
    path = tmp_path / trees[kind][1].name
    os.mkfifo(path)
    with limits(), pytest.raises(EtabError, match=path.name):
        subject.read(path)


@pytest.mark.parametrize("end", ["mhd", "raw"])
def test_a_small_volume_takes_little_memory(end: str, tmp_path: Path) -> None:
    """Its pixels are read at their size, and not into room for the largest volume."""
    path = _mhd(end)(tmp_path)
    tracemalloc.start()
    try:
        _volume(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20
