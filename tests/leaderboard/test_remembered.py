"""A board is shown again without computing it only where nothing that it was made from has changed."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from etab.leaderboard import remembered
from etab.leaderboard.board import Board
from etab.leaderboard.ranking import rank
from etab.leaderboard.remembered import BoardMemory
from tests import made
from tests.commands import etab

Change = Callable[[Path], object]
CHOICES = {"suite": "made", "seed": 0}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Board]:
    """A folder with results, and their board."""
    folder = tmp_path_factory.mktemp("remembered")
    suite = made.suite(("b0-A4-C", "b1-A4-C"))
    results = made.board(folder / "results", {"strong": 0.9, "weak": 0.4})
    board = rank(results, suite, folder=folder / "results", draws=50)
    return folder, board


@pytest.fixture
def folder(known: tuple[Path, Board], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change; its path stays the one that the board was made at."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(known[0] / "results", "results")
    monkeypatch.setattr(remembered, "_FEWEST_SECONDS", 0.0)
    code = tmp_path / "code"
    code.mkdir()
    (code / "check.py").write_text("limit = 1\n")
    monkeypatch.setattr(remembered, "_PACKAGE", code)
    BoardMemory(Path("cache"), Path("results"), CHOICES).keep(known[1])
    return tmp_path


def read(choices: dict[str, object] | None = None) -> Board | None:
    return BoardMemory(Path("cache"), Path("results"), choices or CHOICES).read()


def kept_file() -> Path:
    (path,) = Path("cache/boards").iterdir()
    return path


def test_the_board_of_unchanged_files_is_read(folder: Path, known: tuple[Path, Board]) -> None:
    assert repr(read()) == repr(known[1])
    assert read({**CHOICES, "seed": 1}) is None
    assert read({**CHOICES, "text": "weights"}) is None


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.rglob(pattern))[0]


CHANGES: dict[str, Change] = {
    "a digit of a table": lambda folder: first(folder, "*.csv").write_text(
        first(folder, "*.csv").read_text().replace("1", "2", 1)
    ),
    "a blank in a record": lambda folder: first(folder, "*.json").write_text(
        first(folder, "*.json").read_text() + " "
    ),
    "a lost table": lambda folder: first(folder, "*.csv").unlink(),
    "a new file": lambda folder: (folder / "note.json").write_text("{}"),
    "a hidden file": lambda folder: (folder / ".note.json").write_text("{}"),
    "a file in a folder of compiled code": lambda folder: (
        (folder / "__pycache__").mkdir(),
        (folder / "__pycache__" / "note.json").write_text("{}"),
    ),
    "a folder": lambda folder: (folder / "folder.json").mkdir(),
    "a link": lambda folder: (folder / "link.json").symlink_to(first(folder, "*.csv")),
    "a link to a folder": lambda folder: (folder / "link").symlink_to("/tmp"),
    "a moved record": lambda folder: first(folder, "*.json").rename(folder / "moved.json"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_any_change_of_the_folder_computes_the_board_anew(folder: Path, change: Change) -> None:
    change(Path("results"))
    assert read() is None


def test_a_change_of_the_code_computes_the_board_anew(folder: Path) -> None:
    assert read() is not None
    (folder / "code" / "check.py").write_text("limit = 2\n")
    assert read() is None


def test_a_folder_that_changes_while_it_is_ranked_is_not_kept(
    folder: Path, known: tuple[Path, Board]
) -> None:
    memory = BoardMemory(Path("other"), Path("results"), CHOICES)
    CHANGES["a digit of a table"](Path("results"))
    memory.keep(known[1])
    assert not Path("other").exists()


def test_results_cannot_bring_their_board(folder: Path, known: tuple[Path, Board]) -> None:
    for cache in (Path("results"), Path("results/cache"), Path("results/../results/camus")):
        memory = BoardMemory(cache, Path("results"), CHOICES)
        memory.keep(known[1])
        assert memory.read() is None
        assert not (cache / "boards").exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707], ids=oct)
def test_a_cache_that_others_can_write_is_not_read(folder: Path, mode: int) -> None:
    Path("cache/boards").chmod(mode)
    assert read() is None


def test_a_cache_that_is_a_link_is_not_read(folder: Path) -> None:
    Path("cache/boards").rename("elsewhere")
    Path("cache/boards").symlink_to(folder / "elsewhere")
    assert read() is None


def test_a_damaged_board_is_not_read(folder: Path) -> None:
    path = kept_file()
    content = path.read_bytes()
    for damaged in (b"", content[:-1], content[:65], content.replace(b"strong", b"wrongs", 1)):
        path.write_bytes(damaged)
        assert read() is None


class Forged:
    """What runs a command where a file of it is read without care."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch forged",)


@pytest.mark.parametrize(
    "thing",
    [Forged(), [1, 2], Path("results"), made.suite()],
    ids=["a command", "a list", "a path", "a suite"],
)
def test_only_a_board_is_read(folder: Path, thing: object) -> None:
    body = pickle.dumps(thing)
    kept_file().write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    assert read() is None
    assert not Path("forged").exists()


def test_the_boards_read_longest_ago_are_removed(
    folder: Path, known: tuple[Path, Board], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "_MOST_BOARDS", 2)
    os.utime(kept_file(), (1, 1))
    for seed in (1, 2):
        BoardMemory(Path("cache"), Path("results"), {"seed": seed}).keep(known[1])
    assert read() is None
    assert repr(read({"seed": 1})) == repr(read({"seed": 2})) == repr(known[1])


def test_a_board_that_is_made_fast_is_not_kept(
    folder: Path, known: tuple[Path, Board], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "_FEWEST_SECONDS", 60.0)
    BoardMemory(Path("cache"), Path("results"), {"seed": 3}).keep(known[1])
    assert read({"seed": 3}) is None


def test_a_board_of_a_folder_with_a_link_is_not_kept(
    tmp_path: Path, known: tuple[Path, Board], folder: Path
) -> None:
    """What a link points to can change without a change of the folder."""
    outside = tmp_path / "outside.json"
    outside.write_text("{}")
    Path("results/link.json").symlink_to(outside)
    BoardMemory(Path("cache2"), Path("results"), CHOICES).keep(known[1])
    assert not Path("cache2/boards").exists()
    assert BoardMemory(Path("cache2"), Path("results"), CHOICES).read() is None


def test_folders_and_suites_that_cannot_be_read_are_told_by_the_command(tmp_path: Path) -> None:
    """They were errors of Python, raised where a board of before was looked for."""
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "b\udcfcro").mkdir()  # a name in Latin-1, from an older system
    suite = tmp_path / "large.toml"
    with suite.open("wb") as file:
        file.truncate(300 << 20)
    for words, said in (
        ((tmp_path / "circle",), "cannot be listed"),
        ((tmp_path / "circle", tmp_path), "circle"),
        ((tmp_path / "b\udcfcro",), "No result files in"),
        ((tmp_path, "--suite", suite), "larger than 256 MiB"),
    ):
        ended = etab("leaderboard", *words)
        assert [ended.returncode, said in ended.stderr] == [2, True], ended.stderr
