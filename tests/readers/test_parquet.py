"""Parquet files: footers that pyarrow does not survive, and few bytes that unpack to gigabytes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.datasets.own.cells import read_table_cells
from etab.errors import CorruptFileError
from etab.readers import parquet
from etab.readers.parquet import ParquetFile
from etab.readers.parquet_footer import read_row_groups
from tests.damage import Subject, limits
from tests.fuzz import BROUGHT, read_damaged
from tests.fuzz_written import WRITTEN

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def _tables() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    n = 300
    texts = [f"patient {i % 40}" for i in range(n)]
    return {
        "numbers": pa.table({"x": rng.normal(size=n), "y": np.arange(n), "z": rng.random(n) > 0.5}),
        "texts": pa.table({"a": texts, "b": [None, *texts[1:]], "c": [t.encode() for t in texts]}),
        "nested": pa.table(
            {
                "list": [[float(k)] * (i % 5) for i, k in enumerate(rng.normal(size=n))],
                "struct": [{"bytes": t.encode(), "path": t} for t in texts],
                "map": pa.array([[(t, 1)] for t in texts], pa.map_(pa.string(), pa.int32())),
            }
        ),
        "no rows": pa.table({"a": pa.array([], pa.string())}),
        "no columns": pa.table({}),
        "many columns": pa.table({f"x{i}": np.arange(3.0) for i in range(500)}),
    }


TABLES = _tables()


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("compression", ["snappy", "none"])
def test_a_footer_says_what_pyarrow_says(name: str, compression: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(TABLES[name], path, compression=compression, row_group_size=70)
    theirs = pq.ParquetFile(path).metadata
    with path.open("rb") as file:
        ours = read_row_groups(file, path.stat().st_size)
    assert [group.n_rows for group in ours] == [
        theirs.row_group(i).num_rows for i in range(theirs.num_row_groups)
    ]
    for i, group in enumerate(ours):
        columns = [theirs.row_group(i).column(k) for k in range(theirs.num_columns)]
        assert [(c.path, c.n_values, c.n_bytes) for c in group.columns] == [
            (c.path_in_schema, c.num_values, c.total_uncompressed_size) for c in columns
        ]
        assert [c.holds_texts for c in group.columns] == [
            c.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY") for c in columns
        ]
    assert ParquetFile(path, ()).read_all().equals(TABLES[name])


_SUBJECTS = {subject.name: subject for subject in [*BROUGHT, *WRITTEN]}
KINDS = ("own parquet", "vectors .parquet", "circor_hf original-00000-of-00001.parquet")


def _each_byte(subject: Subject, folder: Path, stride: int, sender: Any) -> None:
    """Read a file with each byte of its footer changed in turn; send what went wrong."""
    path = subject.build(folder)
    raw = path.read_bytes()
    start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    for at in range(start, len(raw) - 8, stride):
        for value in (0, raw[at] ^ 1, raw[at] ^ 16, 255):
            sender.send(f"byte {at} is {value}")
            event = read_damaged(subject, path, raw[:at] + bytes([value]) + raw[at + 1 :])
            if event:
                sender.send(event)
                return
    sender.send("")


def _last(subject: Subject, folder: Path, stride: int) -> str:
    """The last that a child process said that reads footers with a changed byte; "" where all is well."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_each_byte, args=(subject, folder, stride, sender))
    child.start()
    sender.close()
    said = "nothing"
    while True:
        try:
            said = receiver.recv()
        except EOFError:
            break
    child.join()
    return said


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stride"), [(KINDS[0], 5), (KINDS[1], 7), (KINDS[2], 151)])
def test_no_byte_of_a_footer_ends_the_process(name: str, stride: int, tmp_path: Path) -> None:
    """pyarrow ends it for some: where it makes the facts of a column, no error is let through."""
    assert _last(_SUBJECTS[name], tmp_path, stride) == ""


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


FOOTERS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "claims 1 more bytes and 0 are left"),
    "without row groups": (b"\0", "lists no row groups"),
    "row groups of numbers": (b"\x49\x15\0\0", "a list of kind 5"),
    "a row group without rows": (b"\x49\x1c\0\0", "no number of rows"),
    "a negative number of rows": (b"\x49\x1c\x36\x01\0\0", "holds -1"),
    "a list that is longer than the file": (b"\x49\xfc" + _varint(1 << 40), "claims 1,099,511"),
    "a field twice": (b"\x49\x0c\x09\x08\x0c\0", "the field 4 twice"),
    "structures without end": (b"\x1c" * 100, "nested more than 32 deep"),
    "lists without end": (b"\x19" + b"\x19" * 100, "nested more than 32 deep"),
    "an unknown kind": (b"\x1d\0", "unknown kind 13"),
    "a number without end": (b"\x16" + b"\xff" * 11, "number without end"),
    "a column of another file": (b"\x49\x1c\x19\x1c\x18\x01a\0\x26\x02\0\0", "in another file"),
    "a column without facts": (b"\x49\x1c\x19\x1c\x26\0\0\x26\x02\0\0", "has no facts"),
}


def _with_footer(path: Path, footer: bytes, mark: bytes = b"PAR1") -> Path:
    path.write_bytes(b"PAR1" + bytes(64) + footer + len(footer).to_bytes(4, "little") + mark)
    return path


@pytest.mark.parametrize("name", FOOTERS)
def test_a_damaged_footer_is_named(name: str, tmp_path: Path) -> None:
    footer, words = FOOTERS[name]
    with limits(), pytest.raises(CorruptFileError, match=rf"a\.parquet cannot be read.*{words}"):
        ParquetFile(_with_footer(tmp_path / "a.parquet", footer), ())


def test_a_footer_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(CorruptFileError, match="it has 4 bytes"):
        ParquetFile(path, ())
    with pytest.raises(CorruptFileError, match="it is encrypted"):
        ParquetFile(_with_footer(path, b"\0", b"PARE"), ())
    path.write_bytes(b"PAR1" + b"\xff\xff\xff\xff" + b"PAR1")
    with pytest.raises(CorruptFileError, match="claims 4,294,967,295 bytes"):
        ParquetFile(path, ())


# --- a text that is stored once, and unpacked in each row ---


def _repeated(text: Any, n: int) -> Any:
    """An array of one text, which is held once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([text]))


_LONG = "x" * (1 << 20)
BOMBS: dict[str, Callable[[], Any]] = {
    "texts": lambda: _repeated(_LONG, 1200),
    "bytes": lambda: _repeated(_LONG.encode(), 1200),
    "fields": lambda: pa.StructArray.from_arrays([_repeated(_LONG.encode(), 1200)], ["bytes"]),
    "lists": lambda: pa.ListArray.from_arrays(np.arange(0, 1201, 300), _repeated(_LONG, 1200)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_text_in_each_row_is_not_unpacked(name: str, tmp_path: Path) -> None:
    """More than a gigabyte in some kilobytes; both ways to read a file refuse it."""
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"file": BOMBS[name]()}),
        path,
        store_schema=False,
        dictionary_pagesize_limit=1 << 24,
    )
    assert path.stat().st_size < 1 << 18
    file = ParquetFile(path, ("file",))
    for read in (file.read_all, lambda: file.read(0, ["file"])):
        with limits(), pytest.raises(CorruptFileError, match=r"a\.parquet claims to unpack to"):
            read()


def test_a_table_of_long_texts_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    letters = rng.integers(97, 123, (4000, 60), dtype=np.uint8)
    table = pa.table({"file": [row.tobytes().decode() for row in letters], "y": np.arange(4000)})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=1500)
    monkeypatch.setattr(parquet, "_AT_ONCE", 1 << 22)
    file = ParquetFile(path, ())
    assert file._rows_at_once(_groups(path), None) not in (None, 1500)
    assert file._rows_at_once(_groups(path), ["y"]) is None
    assert file.read_all().equals(table)
    assert file.read(2, ["y", "file"]).num_rows == 1000


def _groups(path: Path) -> Any:
    with path.open("rb") as file:
        return read_row_groups(file, path.stat().st_size)


def test_moments_that_python_does_not_know_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    far = pa.array([1 << 60], pa.timestamp("us"))
    pq.write_table(pa.table({"file": ["a"], "when": far.cast(pa.int64())}), path)
    assert len(read_table_cells(path, "file").rows) == 1
    pq.write_table(pa.table({"file": ["a"], "when": far}), path)
    with pytest.raises(CorruptFileError, match=r"t\.parquet cannot be read"):
        read_table_cells(path, "file")


def test_columns_of_several_values_are_told_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"file": ["a", "b"], "tags": [["x"], []]}), path)
    cells = read_table_cells(path, "file")
    assert cells.header == ("file", "tags")
    assert [row.cells["file"] for row in cells.rows] == ["a", "b"]
    assert cells.nested["tags"].startswith("list")
