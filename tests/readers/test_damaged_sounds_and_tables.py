"""Deliberate damage over the formats of stills, heart sounds, tables and weights, under the limits of ``test_damaged_files``."""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab import phantom
from etab.backbones.weights import index as weights
from etab.datasets.cinc2016_layout import read_appendix, read_reference, read_withdrawn
from etab.datasets.cinc2016_states import read_state_ans
from etab.datasets.circor_layout import read_patient, read_states
from etab.datasets.integrity.listed import read_sums
from etab.datasets.lvh import LvhSource
from etab.datasets.tmed import TmedSource
from etab.datasets.unity import UnitySource
from etab.errors import CorruptFileError
from etab.readers.audio import read_wav
from etab.readers.parquet import ParquetFile
from etab.readers.physionet import read_dat, read_wfdb_header
from etab.readers.still import read_still, still_info
from etab.readers.table import read_table
from tests.damage import Damage, Subject, attempt, cases, everything_of, put, put_behind, swap
from tests.trees import sounds, tmed

RATE = 2000


# --- files ---


def _png(folder: Path) -> Path:
    tmed.image(folder, "a.png")
    return folder / "a.png"


def _wav(folder: Path) -> Path:
    body = np.random.default_rng(0).integers(-9000, 9000, 900).astype("<i2").tobytes()
    return sounds.wav(folder / "a.wav", body=body)


def _float(folder: Path) -> Path:
    return sounds.float_wav(folder / "a.wav", np.random.default_rng(0).standard_normal(400) / 9)


def _header(folder: Path) -> Path:
    text = "a0001 2 2000 900\r\na0001.wav 16+44 1 16 0 0 0 0 PCG\r\na0001.dat 16 1000 16 0 5 99 0 ECG\r\n# Normal\r\n"
    (folder / "a0001.hea").write_bytes(text.encode())
    (folder / "a0001.dat").write_bytes(np.arange(900, dtype="<i2").tobytes())
    return folder / "a0001.hea"


def _dat(folder: Path) -> Path:
    return _header(folder).with_suffix(".dat")


def _signals(path: Path) -> list[Any]:
    header = read_wfdb_header(path.with_suffix(".hea"))
    return [header.n, header.rate, read_dat(path.with_suffix(".dat"), header, "ECG").tolist()]


def _tsv(folder: Path) -> Path:
    rows = [
        "0\t0.5\t0",
        *(f"{0.5 + 0.2 * k:.6g}\t{0.7 + 0.2 * k:.6g}\t{k % 4 + 1}" for k in range(40)),
        "8.5\t9\t0",
    ]
    (folder / "1_AV.tsv").write_text("\n".join(rows) + "\n")
    return folder / "1_AV.tsv"


def _mat(compressed: bool) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        from scipy.io import savemat

        cells = np.empty((40, 2), dtype=object)
        for i in range(40):
            word: Any = np.empty((1, 1), dtype=object)
            word[0, 0] = ("S1", "systole", "S2", "diastole")[i % 4]
            cells[i, 0], cells[i, 1] = np.array([[1 + 400 * i]], dtype=np.uint32), word
        savemat(folder / "a0001_StateAns.mat", {"state_ans": cells}, do_compression=compressed)
        return folder / "a0001_StateAns.mat"

    return build


def _patient(folder: Path) -> Path:
    text = (
        "13918 2 4000\nAV 13918_AV.hea 13918_AV.wav 13918_AV.tsv\nPV 13918_PV.hea 13918_PV.wav 13918_PV.tsv\n"
        "#Age: Child\n#Sex: Female\n#Height: 98.0\n#Weight: 15.9\n#Murmur: Present\n#Murmur locations: AV+PV\n"
        "#Systolic murmur timing: Holosystolic\n#Outcome: Abnormal\n#Campaign: CC2015\n#Additional ID: nan\n"
    )
    (folder / "13918.txt").write_text(text)
    return folder / "13918.txt"


def _facts(path: Path) -> list[Any]:
    patient = read_patient(path)
    assert all(np.isfinite(v) for v in patient.meta.values() if isinstance(v, float))
    return [patient.id, patient.recordings, patient.meta]


def _reference(folder: Path) -> Path:
    (folder / "REFERENCE.csv").write_text(
        "".join(f"a{i:04d},{1 - 2 * (i % 2)},{i % 3 % 2}\n" for i in range(1, 40))
    )
    return folder / "REFERENCE.csv"


def _appendix(folder: Path) -> Path:
    head = "Challenge record name,Database,Original record name,Diagnosis,Class (-1=normal 1=abnormal),Subject ID\n"
    rows = "".join(f"a{i:04d},training-a,C{i // 3}S{i % 3},Normal,-1,nan\n" for i in range(1, 40))
    (folder / "Online_Appendix_training_set.csv").write_text("\ufeff" + head + rows)
    return folder / "Online_Appendix_training_set.csv"


def _withdrawn(folder: Path) -> Path:
    (folder / "removed.txt").write_text("".join(f"e{i:05d}\n" for i in range(1, 88)))
    return folder / "removed.txt"


def _sums(folder: Path) -> Path:
    rows = (f"{i:064x} training_data/{i}.wav\n" for i in range(20))
    (folder / "SHA256SUMS.txt").write_text("".join(rows))
    return folder / "SHA256SUMS.txt"


def _parquet(folder: Path) -> Path:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    cells = [{"bytes": rng.bytes(300), "path": f"{i}_AV.wav"} for i in range(12)]
    labels = [rng.integers(0, 5, 150).tolist() for _ in range(12)]
    table = pa.table(
        {"filename": [f"{i}_AV.wav" for i in range(12)], "recording": cells, "labels": labels}
    )
    pq.write_table(table, folder / "a.parquet", row_group_size=5)
    return folder / "a.parquet"


def _columns(path: Path) -> list[Any]:
    file = ParquetFile(path, ("filename", "recording", "labels"))
    return [
        file.read(g, ["filename", "recording", "labels"]).to_pydict()
        for g in range(len(file.groups))
    ]


def _weights(end: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        import torch
        from safetensors.torch import save_file

        made = torch.Generator().manual_seed(0)
        state = {
            "a.weight": torch.randn(8, 5, generator=made),
            "a.bias": torch.randn(8, generator=made),
        }
        path = folder / f"w.{end}"
        if end == "safetensors":
            save_file(state, path)
        else:
            torch.save(state, path)
        return path

    return build


def _state(path: Path) -> list[Any]:
    return [
        (name, tuple(v.shape), v.numpy().tobytes())
        for name, v in sorted(weights.load_state(path).items())
    ]


def _made(name: str, file: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        phantom.write(folder, patients=10, names=[name], size=32)
        return folder / name / file

    return build


def _labels(folder: Path) -> Path:
    return tmed.write(folder / "tmed") / "labels_per_image.csv"


def _fold(folder: Path) -> Path:
    return tmed.write(folder / "tmed") / "DEV479" / "TMED2_fold0_labeledpart.csv"


TREE_OF_TMED = (
    "labels_per_image.csv",
    "TMED2_fold0_labeledpart.csv",
    "_0.png",
    "_1.png",
    "_2.png",
    "_3.png",
    "_4.png",
)
SUBJECTS = [
    Subject("png", _png, lambda p: [still_info(p).text, read_still(p).tolist()], exact=True),
    Subject("wav", _wav, read_wav),
    Subject("float wav", _float, lambda p: np.isfinite(read_wav(p)[0]).all() or 1 / 0),
    Subject("hea", _header, _signals, names=("a0001.dat", "header of")),
    Subject("dat", _dat, _signals),
    Subject("tsv", _tsv, read_states),
    Subject("mat", _mat(compressed=False), lambda p: read_state_ans(p, 16400)),
    Subject("packed mat", _mat(compressed=True), lambda p: read_state_ans(p, 16400), exact=True),
    Subject("patient", _patient, _facts),
    Subject("reference", _reference, read_reference),
    Subject("appendix", _appendix, read_appendix),
    Subject("withdrawn", _withdrawn, read_withdrawn),
    Subject("sums", _sums, read_sums),
    Subject("table", _reference, lambda p: read_table(p, ["a0001"])),
    Subject("parquet", _parquet, _columns),
    Subject("safetensors", _weights("safetensors"), _state),
    Subject("pth", _weights("pth"), _state),
    Subject("tmed labels", _labels, everything_of(TmedSource, 0), names=TREE_OF_TMED),
    Subject("tmed fold", _fold, everything_of(TmedSource, 1), names=(*TREE_OF_TMED, "DEV479")),
    Subject(
        "unity",
        _made("unity", "labels/labels-train.json"),
        everything_of(UnitySource, 1),
        names=("01-", "labels-tune"),
    ),
    Subject(
        "lvh",
        _made("lvh", "MeasurementsList.csv"),
        everything_of(LvhSource, 0),
        names=("Batch", "0X"),
    ),
]


# --- damage of one format ---


def _chunk(kind: bytes, change: Damage) -> Damage:
    """Change the body of the first chunk of a kind and make its checksum right again."""

    def damage(raw: bytes, rng: np.random.Generator) -> bytes:
        at = raw.index(kind) - 4
        n = int.from_bytes(raw[at : at + 4], "big")
        body = change(raw[at + 8 : at + 8 + n], rng)
        crc = zlib.crc32(kind + body).to_bytes(4, "big")
        return raw[:at] + len(body).to_bytes(4, "big") + kind + body + crc + raw[at + 12 + n :]

    return damage


def _before(kind: bytes, new: bytes, body: bytes) -> Damage:
    """Put a sound chunk before the first one of a kind."""

    def damage(raw: bytes, rng: np.random.Generator) -> bytes:
        at = raw.index(kind) - 4
        whole = (
            len(body).to_bytes(4, "big") + new + body + zlib.crc32(new + body).to_bytes(4, "big")
        )
        return raw[:at] + whole + raw[at:]

    return damage


def _head(**changes: Any) -> Damage:
    """Other facts of the first tensor in the header of a safetensors file."""

    def damage(raw: bytes, rng: np.random.Generator) -> bytes:
        n = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + n])
        name = sorted(k for k in header if k != "__metadata__")[0]
        header[name] |= changes
        body = json.dumps(header).encode()
        return len(body).to_bytes(8, "little") + body + raw[8 + n :]

    return damage


def _pickled(raw: bytes, rng: np.random.Generator) -> bytes:
    return b"cos\nsystem\n(S'touch /tmp/never'\ntR."


def _json(change: Callable[[dict[str, Any]], Any]) -> Damage:
    def damage(raw: bytes, rng: np.random.Generator) -> bytes:
        whole = json.loads(raw)
        return json.dumps(change(whole) or whole).encode()

    return damage


def _moved(x: Any) -> Damage:
    """Another place for every point of the first picture that has one."""

    def change(whole: dict[str, Any]) -> None:
        for entry in whole.values():
            for label in entry["labels"].values():
                for one in label if isinstance(label, list) else [label]:
                    one |= {"x": x, "type": "point"}

    return _json(change)


TABLES: dict[str, Damage] = {
    "utf-16": lambda raw, rng: raw.decode("utf-8-sig").encode("utf-16"),
    "not text": lambda raw, rng: b"\xff\xfe\xff" + raw,
    "a cell of megabytes": lambda raw, rng: raw + b"x" * 200_000 + b",1,1\n",
    "a long cell": lambda raw, rng: raw + b"x" * 100_000 + b",1,1\n",
    "an open quote": lambda raw, rng: raw + b'"' + b"x\n" * 100_000,
    "a short row": lambda raw, rng: raw + b"a\n",
    "NUL": lambda raw, rng: raw[: len(raw) // 2] + b"\0" + raw[len(raw) // 2 :],
}
TERA = b"\xff\xff\xff\x7f"
SPECIAL: dict[str, dict[str, Damage]] = {
    "png": {
        "terabytes": _chunk(b"IHDR", lambda b, rng: b"\x7f\xff\xff\xff\x7f\xff\xff\xff" + b[8:]),
        "no size": _chunk(b"IHDR", lambda b, rng: bytes(8) + b[8:]),
        "larger than its pixels": _chunk(
            b"IHDR", lambda b, rng: struct.pack(">II", 4000, 4000) + b[8:]
        ),
        "16 bits": _chunk(b"IHDR", lambda b, rng: b[:8] + b"\x10" + b[9:]),
        "a bomb beside its pixels": _before(
            b"IDAT", b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 26))
        ),
        "a chunk of terabytes": put_behind(b"IDAT", -4, ">I", 0x7FFFFFFF),
    },
    "wav": {
        "terabytes": put_behind(b"data", 4, "<I", 0xFFFFFFFF),
        "a list of terabytes": lambda raw, rng: raw.replace(b"data", b"LIST" + TERA + b"data", 1),
        "65535 channels": put_behind(b"fmt ", 10, "<H", 65535),
        "no channels": put_behind(b"fmt ", 10, "<H", 0),
        "64 bits": put_behind(b"fmt ", 22, "<H", 64),
        "a rate of 0": put_behind(b"fmt ", 12, "<I", 0),
        "a format of nobody": put_behind(b"fmt ", 8, "<H", 77),
    },
    "float wav": {
        "NaN": lambda raw, rng: raw[:-8] + struct.pack("<2f", float("nan"), 0.1),
        "infinite": lambda raw, rng: raw[:-4] + struct.pack("<f", float("inf")),
    },
    "hea": {
        "terabytes": swap(" 2000 900", " 2000 999999999999999"),
        "climbs out": swap("a0001.dat", "../../../../../../etc/passwd"),
        "another format": swap(" 16 1000", " 212 1000"),
        "gain NaN": swap(" 1000 16", " nan 16"),
        "gain zero": swap(" 1000 16", " 0 16"),
        "offset negative": swap("a0001.dat 16 ", "a0001.dat 16+-40 "),
        "rate NaN": swap(" 2000 900", " nan 900"),
        "a billion signals": swap("a0001 2", "a0001 1000000000"),
        **TABLES,
    },
    "tsv": {
        "NaN": swap("0.7\t", "nan\t"),
        "infinite": swap("9\t0", "inf\t0"),
        "terabytes": swap("8.5\t9\t0", "8.5\t99999999999999\t1"),
        "negative": swap("0\t0.5\t0", "-5\t0.5\t0"),
        "another state": swap("\t4", "\t77"),
        **TABLES,
    },
    "mat": {
        "terabytes": put_behind(struct.pack("<2i", 40, 2), 0, "<2i", 2_000_000_000, 2),
        "a billion cells": put_behind(struct.pack("<2i", 40, 2), 0, "<2i", 1_000_000_000, 1),
        "negative": put_behind(struct.pack("<2i", 40, 2), 0, "<2i", -40, 2),
        "another table": swap("state_ans", "state_xyz"),
        "another version": put(124, "<H", 0x0200),
    },
    "patient": {
        "climbs out": swap("13918_AV.wav", "../../../../etc/passwd"),
        "weight NaN": swap("15.9", "inf"),
        "another murmur": swap("Present", "Perhaps"),
        "a billion recordings": swap("13918 2", "13918 1000000000"),
        **TABLES,
    },
    "reference": {
        "another label": swap(",1,", ",7,"),
        "climbs out": swap("a0003", "../a0003"),
        **TABLES,
    },
    "appendix": {"another class": swap(",-1,", ",nan,"), **TABLES},
    "withdrawn": TABLES,
    "table": TABLES,
    "sums": {"climbs out": swap("training_data/3", "../../3"), **TABLES},
    "parquet": {
        "a footer of terabytes": lambda raw, rng: (
            raw[:-8] + struct.pack("<I", 0x7FFFFFFF) + b"PAR1"
        ),
        "a footer of nothing": lambda raw, rng: raw[:-8] + struct.pack("<I", 0) + b"PAR1",
        "another end": lambda raw, rng: raw[:-4] + b"PARE",
        "zeros in the footer": lambda raw, rng: raw[:-200] + bytes(150) + raw[-50:],
        "ones in the footer": lambda raw, rng: raw[:-400] + b"\xff" * 60 + raw[-340:],
    },
    "safetensors": {
        "a header of terabytes": put(0, "<Q", 1 << 50),
        "a tensor of terabytes": _head(shape=[1 << 40], data_offsets=[0, 1 << 42]),
        "beyond the end": _head(data_offsets=[0, 100_000]),
        "negative": _head(shape=[-8]),
        "another type": _head(dtype="F99"),
        "too few bytes": _head(data_offsets=[0, 4]),
    },
    "pth": {
        "code": _pickled,
        "a zip of nothing": lambda raw, rng: b"PK\x05\x06" + bytes(18),
    },
    "tmed labels": {
        "climbs out": swap("11s1_0.png", "../../../etc/passwd"),
        "another view": swap("PLAX", "PLAY"),
        **TABLES,
    },
    "tmed fold": {
        "climbs out": swap("11s1_0.png", "../../../etc/passwd"),
        "a folder climbs out": swap(tmed.FULL, "../../../../etc"),
        "absolute": swap(tmed.FULL, "/etc"),
        "another diagnosis": swap("no_AS", "some_AS"),
        **TABLES,
    },
    "unity": {
        "NaN": _moved("nan"),
        "infinite": _moved("1e999"),
        "far away": _moved("1e300"),
        "no text": _moved([1, 2]),
        "climbs out": _json(
            lambda w: {"01-../../../../etc/passwd-0001.png": next(iter(w.values()))}
        ),
        "a list": _json(lambda w: [1]),
        "deep": lambda raw, rng: b"[" * 100_000,
        "a number of a million digits": lambda raw, rng: b'{"a": 1' + b"0" * 1_000_000 + b"}",
        "utf-16": TABLES["utf-16"],
    },
    "lvh": {
        "not text": TABLES["not text"],
        "NUL": TABLES["NUL"],
        "an open quote": TABLES["an open quote"],
    },
}
CASES = list(cases(SUBJECTS, SPECIAL))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Subject], tuple[Path, Path, Any]]:
    """Build a subject when it is first asked for: (folder, file, what is read from it undamaged)."""
    kept: dict[str, tuple[Path, Path, Any]] = {}

    def build(subject: Subject) -> tuple[Path, Path, Any]:
        if subject.name not in kept:
            folder = tmp_path_factory.mktemp("sound")
            path = subject.build(folder)
            kept[subject.name] = folder, path, subject.read(path)
        return kept[subject.name]

    return build


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (OSError(errno.EIO, os.strerror(errno.EIO)), "Input/output error. Check the disk"),
        (OSError("Corrupt snappy compressed data."), "compressed data. Download it again"),
        ("ArrowCapacityError", "Download it again"),
        ("ArrowTypeError", "Download it again"),
    ],
    ids=["disk", "damage", "size", "type"],
)
def test_every_error_of_arrow_is_told_with_its_file(
    raised: OSError | str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = pytest.importorskip("pyarrow.lib")
    path = _parquet(tmp_path)
    file = ParquetFile(path, [])

    def fail(*_: Any, **__: Any) -> None:
        raise raised if isinstance(raised, OSError) else getattr(lib, raised)("x")

    monkeypatch.setattr("pyarrow.parquet.ParquetFile.read_row_groups", fail)
    with pytest.raises(CorruptFileError, match=r"a\.parquet cannot be read") as caught:
        file.read(0, [])
    assert words in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(("subject", "damage"), CASES)
def test_damage_is_named_or_read_right(
    subject: Subject,
    damage: Damage,
    built: Callable[[Subject], tuple[Path, Path, Any]],
    tmp_path: Path,
) -> None:
    attempt(subject, damage, built(subject), tmp_path)


def test_every_format_has_its_damage() -> None:
    assert len({case.id for case in CASES}) == len(CASES) >= 600
    read = {case.id.rsplit("-", 1)[0] for case in CASES}
    assert {"png", "wav", "tsv", "mat", "parquet", "safetensors"} <= read
