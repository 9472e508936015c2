"""Hidden files are never data, whatever their names end with."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

from etab.results import read_results
from etab.storage.listing import is_hidden, unread_links, visible, visible_files, visible_names
from etab.storage.litter import remove_temporary_files

HIDDEN = (
    "._a.wav",
    ".DS_Store",
    "Thumbs.db",
    "thumbs.DB",
    "desktop.ini",
    "__MACOSX/a.wav",
    "a/.git/b.wav",
    "@eaDir/a.wav",
)


@pytest.mark.parametrize("name", HIDDEN)
def test_names_of_operating_systems_are_hidden(name: str) -> None:
    assert is_hidden(name)
    assert is_hidden(Path(name))


@pytest.mark.parametrize("name", ["a.wav", "a/b.wav", "../a.wav", "./a.wav", "_a.wav", "a._wav"])
def test_names_of_data_are_not_hidden(name: str) -> None:
    assert not is_hidden(name)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_listings_leave_hidden_files_out(tmp_path: Path, hidden: str) -> None:
    root = tmp_path / ".a hidden folder above does not matter"
    for name in ("b/c.wav", "a.wav", hidden):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    found = [path.relative_to(root).as_posix() for path in visible_files(root)]
    assert found == ["a.wav", "b/c.wav"]
    assert visible_files(root, ".mp4") == []
    folders = {"a", "b"} if hidden.startswith("a/") else {"b"}
    assert visible_names(root) == {"a.wav"} | folders
    assert visible(root, "*.wav") == [root / "a.wav"]
    assert visible(root, "*/*.wav") == [root / "b" / "c.wav"]


def test_a_folder_that_cannot_exist_holds_nothing(tmp_path: Path) -> None:
    """A damaged table may name it: a name of 5,000 letters."""
    assert visible(tmp_path / ("9" * 5000)) == []
    assert visible_names(tmp_path / ("9" * 5000)) == frozenset()


def test_an_absent_folder_holds_nothing(tmp_path: Path) -> None:
    assert visible(tmp_path / "none") == []
    assert visible_files(tmp_path / "none") == []
    assert visible_names(tmp_path / "none") == frozenset()


def test_folders_may_be_deeper_than_python_nests_calls(tmp_path: Path) -> None:
    depth = 100
    deepest = tmp_path.joinpath(*"d" * depth)
    deepest.mkdir(parents=True)
    (deepest / "a.json").write_text("{}")
    (deepest / "link").symlink_to(tmp_path)
    (deepest / "tmpabcdefgh.part").write_text("")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + depth // 2)
    try:
        assert visible_files(tmp_path, ".json") == [deepest / "a.json"]
        assert unread_links(tmp_path) == [deepest / "link"]
        assert len(read_results(tmp_path).problems) == 1
        assert remove_temporary_files(tmp_path, older_than=-60) == [deepest / "tmpabcdefgh.part"]
    finally:
        sys.setrecursionlimit(limit)
