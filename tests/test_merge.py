"""Boards of several folders of results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etab.errors import DataNotFoundError, ResultError
from etab.results.merge import folder_names, merge_folders, phantom_results
from tests import made
from tests.commands import etab

CODE = "b0-A4-C"


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
    holders = merge_folders(two, tmp_path / "all")
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
    assert "both" in merge_folders(two, tmp_path / "all")


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_different_files_of_one_cell_are_refused(
    two: tuple[Path, Path], tmp_path: Path, ending: str
) -> None:
    (path,) = two[1].rglob(f"both/*.{ending}")
    path.write_text(path.read_text().replace("5", "6"))
    with pytest.raises(ResultError, match="different files of one cell"):
        merge_folders(two, tmp_path / "all")


def test_a_folder_behind_the_others_fills_what_they_lack(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = two
    (path,) = other.rglob("both/*.json")
    path.write_text("another")
    holders = merge_folders([one], tmp_path / "all", behind=other)
    (copy,) = (tmp_path / "all").rglob("both/*.json")
    assert copy.read_text() != "another"
    assert holders["second"] == ("published",)


def test_results_on_phantoms_never_replace_published_ones(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = two
    for folder, phantom in ((one, True), (other, False)):
        for record in folder.rglob("*.json"):
            record.write_text(json.dumps({**json.loads(record.read_text()), "phantom": phantom}))
    merged = tmp_path / "all"
    merge_folders([one], merged, behind=other)
    assert {path.parent.name for path in merged.rglob("*.json")} == {"both", "second"}
    (copy,) = merged.rglob("both/*.json")
    assert json.loads(copy.read_text())["phantom"] is False
    assert {result.backbone for result in phantom_results([one, other])} == {"first", "both"}
    assert merge_folders([one], tmp_path / "phantoms", behind=one), "phantoms behind phantoms"


def test_folders_that_end_alike_keep_their_paths(tmp_path: Path) -> None:
    names = folder_names([tmp_path / "a" / "results", tmp_path / "b" / "results"])
    assert len(set(names.values())) == 2
    with pytest.raises(DataNotFoundError, match="There is no folder"):
        merge_folders([tmp_path / "a"], tmp_path / "all")


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


def test_a_folder_without_results_is_told(two: tuple[Path, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    site = tmp_path / "site"
    ended = etab("leaderboard", *two, empty, "--tasks", CODE, "--html", site)
    assert ended.returncode == 0, ended.stderr
    assert f"No result of {empty} is on this board" in ended.stderr
    ended = etab("leaderboard", empty, "--html", site)
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
