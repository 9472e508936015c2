"""Boards of several folders of results."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etab.errors import DataNotFoundError, ResultError, StorageError
from etab.results.merge import folder_names, merge_folders, phantom_results
from tests import made
from tests.commands import etab

CODE = "b0-A4-C"


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to write a file beyond a size: a write stops in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def no_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site of made results draws no phantom: that takes long, and these results are of none."""
    monkeypatch.setattr("etab.site.phantom_data._MOST_PATIENTS", 0)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    one = tmp_path / "mine"
    other = tmp_path / "theirs"
    made.save(one, CODE, "first", 0.9)
    made.save(one, CODE, "both", 0.5)
    made.save(other, CODE, "both", 0.5)
    made.save(other, CODE, "second", 0.2, noise=3)
    return one, other


def test_each_backbone_is_of_its_folders(two: tuple[Path, Path], tmp_path: Path) -> None:
    holders = merge_folders(two, tmp_path / "all").holders
    assert holders == {
        "both": ("mine", "theirs"),
        "first": ("mine",),
        "second": ("theirs",),
    }


def test_a_cell_computed_again_with_the_same_predictions_is_one_cell(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    (record,) = two[1].rglob("both/*.json")
    content = json.loads(record.read_text())
    content["provenance"]["seconds"] = 77.0
    record.write_text(json.dumps(content))
    merged = merge_folders(two, tmp_path / "all")
    assert "both" in merged.holders
    assert merged.refused == ()


def _record(folder: Path, backbone: str) -> Path:
    (path,) = folder.rglob(f"{backbone}/*.json")
    return path


def _edited(backbone: str, **changes: object) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        path = _record(folder, backbone)
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def _packed(folder: Path) -> None:
    table = _record(folder, "both").with_suffix(".csv")
    table.with_suffix(".csv.gz").write_bytes(gzip.compress(table.read_bytes()))
    table.unlink()


def _as_link(folder: Path) -> None:
    path = _record(folder, "second")
    path.rename(folder.parent / "elsewhere.json")
    path.symlink_to(folder.parent / "elsewhere.json")


def _as_pipe(folder: Path) -> None:
    path = _record(folder, "second")
    path.unlink()
    os.mkfifo(path)


def _as_folder(folder: Path) -> None:
    path = _record(folder, "second")
    path.unlink()
    path.mkdir()


def _linked_folder(folder: Path) -> None:
    (folder / "camus").rename(folder.parent / "camus")
    (folder / "camus").symlink_to(folder.parent / "camus")


def _hole(folder: Path) -> None:
    path = folder / "camus" / "hole.json"
    path.touch()
    os.truncate(path, 2 << 30)


# What is done to the second of two folders, the cells that are then merged, and the reason.
ALL = {"first", "both", "second"}
KINDS: dict[str, tuple[Callable[[Path], object], set[str], str]] = {
    "another value": (_edited("both", value=1.0), ALL - {"both"}, "one cell (value)"),
    "other weights": (
        _edited("both", weights_sha256="f" * 64),
        ALL - {"both"},
        "one cell (weights_sha256); neither is used",
    ),
    "another version of the task": (
        _edited("both", task_version=9),
        ALL - {"both"},
        "task_version",
    ),
    "a damaged record": (lambda f: _record(f, "both").write_text("{"), ALL, "mine is used"),
    "a damaged table": (
        lambda f: _record(f, "both").with_suffix(".csv").write_text("x"),
        ALL,
        "sha256 differs",
    ),
    "a lost table": (lambda f: _record(f, "both").with_suffix(".csv").unlink(), ALL, "is missing"),
    "a table that is packed": (_packed, ALL, ""),
    "another file of the same name": (lambda f: (f / "README.md").write_text("b"), ALL, ""),
    "a link": (_as_link, ALL - {"second"}, "it is a link"),
    "a pipe": (_as_pipe, ALL - {"second"}, "folder, pipe or device"),
    "a folder": (_as_folder, ALL - {"second"}, "folder, pipe or device"),
    "a link to a folder": (_linked_folder, ALL - {"second"}, "it is a link"),
    "a file of two gigabytes": (_hole, ALL, "larger than 256 MiB"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_merged_is_named_and_the_rest_is_merged(
    kind: str, two: tuple[Path, Path], tmp_path: Path
) -> None:
    change, cells, reason = KINDS[kind]
    (two[0] / "README.md").write_text("a")
    change(two[1])
    merged = merge_folders(two, tmp_path / "all")
    assert {path.parent.name for path in (tmp_path / "all").rglob("*.json")} == cells
    tables = [path.parent.name for path in (tmp_path / "all").rglob("*.csv*")]
    assert sorted(tables) == sorted(cells)
    assert len(merged.refused) == (1 if reason else 0)
    assert reason in "".join(merged.refused)


def test_a_damaged_cell_of_the_first_folder_is_that_of_the_second(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    _record(two[0], "both").write_text("{")
    merged = merge_folders(two, tmp_path / "all")
    assert _record(tmp_path / "all", "both").read_bytes() == _record(two[1], "both").read_bytes()
    assert f"The same cell in {two[1]} is used" in merged.refused[0]


def test_different_descriptions_of_own_tables_are_refused(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    for folder in two:
        (folder / "clinic").mkdir()
        (folder / "clinic/data.toml").write_text(f'name = "{folder.name}"')
    with pytest.raises(ResultError, match="describe different data"):
        merge_folders(two, tmp_path / "all")


def test_the_board_names_what_two_folders_contradict(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    _edited("both", value=1.0)(two[1])
    board = tmp_path / "board.md"
    ended = etab("leaderboard", *two, "--tasks", CODE, "--markdown", board)
    assert ended.returncode == 0, ended.stderr
    text = board.read_text()
    assert f"SET ASIDE: 1 result file is not part of this board: {_record(two[0], 'both')}" in text
    assert "different results of one cell (value)" in text


def test_a_folder_behind_the_others_fills_what_they_lack(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = two
    (path,) = other.rglob("both/*.json")
    path.write_text("another")
    holders = merge_folders([one], tmp_path / "all", behind=other).holders
    (copy,) = (tmp_path / "all").rglob("both/*.json")
    assert copy.read_text() != "another"
    assert holders["second"] == ("published",)


def mark(folder: Path, *, phantom: bool) -> None:
    """State whether the results of a folder are of a phantom."""
    for record in folder.rglob("*.json"):
        record.write_text(json.dumps({**json.loads(record.read_text()), "phantom": phantom}))


@pytest.mark.parametrize("phantoms", [0, 1])
def test_a_phantom_takes_no_result_of_patients_away(
    phantoms: int, two: tuple[Path, Path], tmp_path: Path
) -> None:
    """Whichever folder is named first: the cell of patients is used, and the other is named."""
    for k, folder in enumerate(two):
        mark(folder, phantom=k == phantoms)
    merged = merge_folders(two, tmp_path / "all")
    (copy,) = (tmp_path / "all").rglob("both/*.json")
    assert json.loads(copy.read_text())["phantom"] is False
    assert merged.holders["both"] == (two[1 - phantoms].name,)
    assert len(merged.refused) == 1
    assert "both" in merged.refused[0]
    assert f"of patients in {two[1 - phantoms]} is used" in merged.refused[0]


def test_results_on_phantoms_never_replace_published_ones(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = two
    mark(one, phantom=True)
    mark(other, phantom=False)
    merged = tmp_path / "all"
    merge_folders([one], merged, behind=other)
    assert {path.parent.name for path in merged.rglob("*.json")} == {"both", "second"}
    (copy,) = merged.rglob("both/*.json")
    assert json.loads(copy.read_text())["phantom"] is False
    assert {result.backbone for result in phantom_results([one, other])} == {"first", "both"}
    merged = merge_folders([one], tmp_path / "phantoms", behind=one)
    assert merged.holders, "phantoms behind phantoms"


def test_a_copy_that_stops_halfway_is_no_file(two: tuple[Path, Path], tmp_path: Path) -> None:
    merged = tmp_path / "all"
    (table,) = two[0].rglob("both/*.csv")
    with (
        files_of_at_most(table.stat().st_size // 2),
        pytest.raises(StorageError, match="not be wr"),
    ):
        merge_folders(two, merged)
    assert not [path for path in merged.rglob("*") if path.is_file()]
    assert merge_folders(two, merged), "the folder is of use for the next merge"


def test_a_file_that_cannot_be_copied_is_named(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("etab.storage.atomic.read_file", refused)
    reasons = merge_folders(two, tmp_path / "all").refused
    assert len(reasons) == 4, "one of two backbones is in both folders"
    assert all("cannot be copied: Permission denied" in reason for reason in reasons)


def test_folders_that_end_alike_are_named_by_what_differs(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "x" / "results", tmp_path / "b" / "x" / "results", Path("results")]
    assert list(folder_names(folders).values()) == ["a/x/results", "b/x/results", "results"]
    with pytest.raises(DataNotFoundError, match="There is no folder"):
        merge_folders([tmp_path / "a"], tmp_path / "all")


@pytest.mark.usefixtures("no_tree")
def test_the_command_merges_folders_and_names_them(two: tuple[Path, Path], tmp_path: Path) -> None:
    board = etab("leaderboard", *two, "--tasks", CODE, "--html", tmp_path / "site")
    assert board.returncode == 0, board.stderr
    assert "Merged from the folders mine (2 of the backbones), theirs (2 of" in " ".join(
        board.stdout.split()
    )
    facts = json.loads((tmp_path / "site/data/board.json").read_text())
    folders = {row["backbone"]: row["folders"] for row in facts["rows"]}
    assert folders["both"] == ["mine", "theirs"]
    twice = etab("leaderboard", two[0], two[0], "--tasks", CODE)
    assert twice.returncode != 0
    assert "named twice" in twice.stderr


@pytest.mark.usefixtures("no_tree")
def test_a_folder_without_results_is_told(two: tuple[Path, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    board = tmp_path / "board.md"
    ended = etab("leaderboard", *two, empty, "--tasks", CODE, "--markdown", board)
    assert ended.returncode == 0, ended.stderr
    assert f"No result of {empty} is on this board" in ended.stderr
    ended = etab("leaderboard", empty, "--markdown", board)
    assert ended.returncode == 2
    assert f"No result files in {empty}" in ended.stderr


def test_a_name_of_two_networks_is_set_aside_where_its_file_lies(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = two
    made.save(other, "b1-A4-C", "first", 0.9, weights_sha256="f" * 64)
    tasks = f"{CODE},b1-A4-C"
    board = tmp_path / "board.md"
    ended = etab("leaderboard", one, other, "--tasks", tasks, "--markdown", board)
    assert ended.returncode == 0, ended.stderr
    (note,) = [line for line in board.read_text().splitlines() if "SET ASIDE" in line]
    assert str(one) in note or str(other) in note
    assert "etab-board-" not in note
