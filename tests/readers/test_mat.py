"""Cell arrays of MATLAB files: what scipy reads is read alike, and damage is an error and never the end of the process."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.matlab
from scipy.io import loadmat, savemat

from etab.datasets.cinc2016_states import read_state_ans
from etab.errors import CorruptFileError, EtabError, LayoutError
from etab.readers import mat
from etab.readers.mat import read_cells

WORDS = ("S1", "systole", "S2", "diastole")


def marks(n: int = 40, kind: type[Any] = np.uint32) -> np.ndarray:
    cells = np.empty((n, 2), dtype=object)
    for i in range(n):
        word = np.empty((1, 1), dtype=object)
        word[0, 0] = WORDS[i % 4]
        cells[i] = [np.array([[1 + 400 * i]], dtype=kind), word]
    return cells


def plain(value: Any) -> Any:
    """Cells, numbers and text as nested lists, whichever reader they come from."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return "".join(value.ravel().tolist())
    if isinstance(value, np.ndarray):
        return (
            [plain(v) for v in value.ravel().tolist()] if value.dtype == object else value.tolist()
        )
    return value


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [np.int16, np.uint32, np.int64, np.float32, np.float64])
def test_scipy_and_this_reader_agree(tmp_path: Path, packed: bool, kind: type[Any]) -> None:
    path = tmp_path / "a.mat"
    cells = marks(12, kind)
    cells[3, 0], cells[4, 1], cells[5, 1] = (
        np.zeros((0, 0)),
        "a word",
        np.empty((0, 0), dtype=object),
    )
    savemat(path, {"other": np.eye(3), "state_ans": cells, "last": 1}, do_compression=packed)
    theirs = loadmat(path)["state_ans"]
    ours = read_cells(path, "state_ans")
    assert ours.shape == theirs.shape
    assert plain(ours) == plain(theirs)


WRITTEN_BY_MATLAB = sorted(
    (Path(scipy.io.matlab.__file__).parent / "tests" / "data").glob("test*cell*[67].*.mat")
)


@pytest.mark.skipif(not WRITTEN_BY_MATLAB, reason="scipy is installed without its test files")
def test_files_that_matlab_itself_wrote() -> None:
    agreed = 0
    for path in WRITTEN_BY_MATLAB:
        for name, value in loadmat(path).items():
            if isinstance(value, np.ndarray) and value.dtype == object:
                assert plain(read_cells(path, name)) == plain(value), (path.name, name)
                agreed += 1
    assert agreed > 5


def test_columns_and_rows_are_not_exchanged(tmp_path: Path) -> None:
    cells = np.empty((2, 3), dtype=object)
    for i in range(6):
        cells[i // 3, i % 3] = np.arange(6.0).reshape(2, 3) + i
    savemat(tmp_path / "a.mat", {"x": cells})
    ours = read_cells(tmp_path / "a.mat", "x")
    np.testing.assert_array_equal(ours[1, 0], cells[1, 0])
    np.testing.assert_array_equal(ours[0, 2], cells[0, 2])


def test_big_endian_files(tmp_path: Path) -> None:
    def element(kind: int, body: bytes) -> bytes:
        return struct.pack(">II", kind, len(body)) + body + bytes(-len(body) % 8)

    def matrix(kind: int, shape: tuple[int, int], name: bytes, *values: bytes) -> bytes:
        flags = element(6, struct.pack(">II", kind, 0))
        return element(
            14, flags + element(5, struct.pack(">2i", *shape)) + element(1, name) + b"".join(values)
        )

    word = matrix(4, (1, 2), b"", element(17, "S1".encode("utf-16-be")))
    number = matrix(6, (1, 1), b"", element(9, struct.pack(">d", 7.0)))
    body = matrix(1, (1, 2), b"state_ans", number, word)
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 5.0".ljust(124) + struct.pack(">H", 0x0100) + b"MI" + body)
    assert plain(read_cells(path, "state_ans")) == [[[7.0]], "S1"]


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_bytes_are_errors_or_the_same_marks(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"state_ans": marks()}, do_compression=packed)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    errors = 0
    for _ in range(600):
        damaged = bytearray(whole)
        for at in generator.integers(124, len(whole), generator.integers(1, 4)):
            damaged[at] = generator.integers(256)
        path.write_bytes(
            damaged[: generator.integers(100, len(whole) + 1)] if errors % 3 == 0 else damaged
        )
        try:
            rows = read_state_ans(path, 16400)
        except EtabError:
            errors += 1
        else:
            assert all(0 <= start <= end for start, end, _ in rows)
    assert errors > 200


@pytest.mark.parametrize("shape", [(2**31 - 1, 2**31 - 1), (2_000_000, 2), (-1, 2), (7, 3), (0, 2)])
def test_shapes_that_the_file_does_not_hold(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"state_ans": marks(7)})
    raw, pair = path.read_bytes(), struct.pack("<2i", 7, 2)
    assert raw.count(pair) == 1
    path.write_bytes(raw.replace(pair, struct.pack("<2i", *shape)))
    with pytest.raises(CorruptFileError, match=r"shape|claims"):
        read_cells(path, "state_ans")


def test_a_small_file_that_unpacks_to_a_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"state_ans": marks(7)})
    head = path.read_bytes()[:128]
    bomb = zlib.compress(bytes(1 << 22))
    path.write_bytes(head + struct.pack("<II", 15, len(bomb)) + bomb)
    monkeypatch.setattr(mat, "LARGEST_MAT", 1 << 20)
    with pytest.raises(CorruptFileError, match="cut short or too large"):
        read_cells(path, "state_ans")
    path.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(CorruptFileError, match="more than 1048576"):
        read_cells(path, "state_ans")


def test_cells_inside_cells_without_end(tmp_path: Path) -> None:
    deep: Any = np.array([[1.0]])
    for _ in range(30):
        cell = np.empty((1, 1), dtype=object)
        cell[0, 0] = deep
        deep = cell
    savemat(tmp_path / "a.mat", {"state_ans": deep})
    with pytest.raises(CorruptFileError, match="16 deep"):
        read_cells(tmp_path / "a.mat", "state_ans")


@pytest.mark.parametrize("sample", [math.nan, math.inf, -math.inf, 1.5, -3.0, 1e300])
def test_samples_that_are_no_sample(tmp_path: Path, sample: float) -> None:
    cells = marks(4)
    cells[1, 0] = np.array([[sample]])
    savemat(tmp_path / "a.mat", {"state_ans": cells})
    with pytest.raises(CorruptFileError, match=r"mark 2: sample .*; wanted a whole number"):
        read_state_ans(tmp_path / "a.mat", 16400)


def test_other_files_say_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    with pytest.raises(LayoutError, match=r"a\.mat is missing"):
        read_cells(path, "state_ans")
    savemat(path, {"state_ans": np.eye(2)})
    with pytest.raises(CorruptFileError, match="state_ans is not a cell array"):
        read_cells(path, "state_ans")
    savemat(path, {"state_ans": np.eye(2)}, format="4")
    with pytest.raises(
        CorruptFileError, match=r"not a MATLAB file of version 6 or 7|less than a header"
    ):
        read_cells(path, "state_ans")
    path.write_bytes(b"MATLAB 7.3".ljust(124) + b"\x00\x02IM" + bytes(512))
    with pytest.raises(CorruptFileError, match=r"version 7.3; save it again with -v7"):
        read_cells(path, "state_ans")
    savemat(path, {"state_ans": {"a": 1}})
    with pytest.raises(CorruptFileError, match="state_ans is not a cell array"):
        read_cells(path, "state_ans")
    path.unlink()
    path.mkdir()
    with pytest.raises(CorruptFileError, match="is a folder; wanted an ordinary file"):
        read_cells(path, "state_ans")


def test_an_element_that_claims_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"state_ans": marks(7)})
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(CorruptFileError, match=r"claims \d+ bytes and \d+ are left"):
        read_cells(path, "state_ans")
