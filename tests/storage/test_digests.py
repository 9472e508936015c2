"""Digests of files are kept by what identifies a file without reading it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from etab.results.folder import read_results
from etab.runs.data import Data
from etab.runs.run import Settings
from etab.storage import digests as module
from etab.storage.digests import digests, kept_digests

NAMES = ("a.avi", "deep/b.avi", "absent.avi")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i, name in enumerate(NAMES[:2]):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([i]) * 10)
    return tmp_path / "data"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read; files count as settled however young they are."""
    names: list[str] = []
    real = module.file_sha256
    monkeypatch.setattr(module, "_YOUNG", -1)
    monkeypatch.setattr(module, "file_sha256", lambda path: names.append(path.name) or real(path))
    return names


def _found(root: Path, cache: Path | None) -> dict[str, str]:
    with kept_digests(cache):
        return digests(root, NAMES)


def _changed_within(path: Path, content: bytes) -> None:
    """Write other content of the same size, and give the file its old time of change."""
    before = path.stat()
    path.write_bytes(content)
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_files_that_have_not_changed_are_read_once(
    root: Path, tmp_path: Path, read: list[str]
) -> None:
    """By any process with this cache; without one, or outside the block, they are read again."""
    cache = tmp_path / "cache"
    first = _found(root, cache)
    assert sorted(read) == ["a.avi", "absent.avi", "b.avi"]
    read.clear()
    assert _found(root, cache) == first
    assert read == ["absent.avi"]
    assert first[NAMES[2]] == module.ABSENT
    for again in (_found(root, None), digests(root, NAMES)):
        assert again == first
    assert read.count("a.avi") == 2


def test_a_cache_inside_the_results_holds_no_records(
    root: Path, tmp_path: Path, read: list[str]
) -> None:
    """Every file of the results that ends in .json is read as a record."""
    _found(root, tmp_path / "results" / "cache")
    assert read
    assert [path.name for path in tmp_path.rglob("*.digests")]
    files = read_results(tmp_path / "results")
    assert files.problems == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"longer than before"),
        lambda path: _changed_within(path, b"x" * 10),
        lambda path: (
            path.with_name("new").write_bytes(b"y" * 10),
            path.with_name("new").replace(path),
        ),
    ],
    ids=["another size", "the same size and time", "another file of this name"],
)
def test_a_file_that_has_changed_is_read_again(
    change: Callable[[Path], object], root: Path, tmp_path: Path, read: list[str]
) -> None:
    before = _found(root, tmp_path / "cache")
    change(root / NAMES[0])
    after = _found(root, tmp_path / "cache")
    assert after[NAMES[0]] == hashlib.sha256((root / NAMES[0]).read_bytes()).hexdigest()
    assert after[NAMES[0]] != before[NAMES[0]]
    assert after[NAMES[1]] == before[NAMES[1]]


def test_a_file_of_just_now_is_not_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    """It may change again without another time."""
    monkeypatch.setattr(module, "_YOUNG", 1 << 62)
    for _ in range(2):
        _found(root, tmp_path / "cache")
    assert read.count("a.avi") == 2


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"a.avi": 5}', '{"a.avi": [1, 2, 3, 4, "no digest"]}']
)
def test_a_damaged_file_of_digests_is_made_again(
    text: str, root: Path, tmp_path: Path, read: list[str]
) -> None:
    cache = tmp_path / "cache"
    first = _found(root, cache)
    (kept,) = (cache / "digests").iterdir()
    kept.write_text(text)
    assert _found(root, cache) == first
    read.clear()
    assert _found(root, cache) == first
    assert read == ["absent.avi"]


def test_a_cache_that_cannot_be_written_is_no_fault(
    root: Path, tmp_path: Path, read: list[str]
) -> None:
    (tmp_path / "file").touch()
    assert _found(root, tmp_path / "file" / "cache") == _found(root, None)


def test_the_data_of_a_plan_are_digested_once_for_all_of_its_processes(
    phantom_tree: Callable[..., Path], tmp_path: Path, read: list[str]
) -> None:
    settings = Settings(root=phantom_tree(["camus"]) / "camus", cache=tmp_path / "cache")
    first = Data(settings, keeps_digests=False).digest("camus")  # as for etab plan
    assert read
    assert not (tmp_path / "cache").exists()
    assert Data(settings).digest("camus") == first
    read.clear()
    assert Data(settings).digest("camus") == first
    assert read == []
