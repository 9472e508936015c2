"""Published lists of folds in every command that takes a protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner
from typer.testing import Result as Ran

from etab.cli.main import app
from etab.results import read_results
from etab.tasks.protocols import parse
from tests.datasets.own_tables import describe, pictures, write_table

LABELS = '[labels.sick]\nkind = "classes"\nclasses = ["no", "yes"]\n'
PATIENTS = 16

pytestmark = pytest.mark.usefixtures("forget_own_data")


def call(*words: object) -> Ran:
    return CliRunner().invoke(app, [str(word) for word in words])


def clinic(folder: Path) -> tuple[Path, Path]:
    """A table of 16 patients, and a list of two folds of it."""
    write_table(folder, pictures(folder, patients=PATIENTS))
    names = [f"p{number:03d}" for number in range(PATIENTS)]
    folds = [
        {"name": "1", "train": names[8:], "test": names[:8]},
        {"name": "2", "train": names[:8], "test": names[8:]},
    ]
    path = folder / "two.json"
    path.write_text(json.dumps({"folds": folds}))
    return describe(folder, LABELS), path


def held(results: Path) -> set[str]:
    return {result.protocol for result in read_results(results).results}


@pytest.mark.slow
def test_few_labels_of_a_list_to_a_board_and_a_curve(tmp_path: Path) -> None:
    description, folds = clinic(tmp_path / "data")
    results = tmp_path / "r"
    protocol = f"lists:{folds}"
    words = ("--backbones", "image_stats", "--results", results, "--cache", tmp_path / "c")
    draws = ("--protocol", protocol, "--fractions", "50,100", "--shots", 2, "--draws", 1)
    ran = call("run", "--data", description, *words, *draws, "--workers", 1)
    assert ran.exit_code == 0, ran.output
    key = parse(protocol).name
    assert held(results) == {key, f"{key}-50pct-d0", f"{key}-2shot-d0"}
    drawn = next(r for r in read_results(results).results if r.protocol.endswith("shot-d0"))
    assert (drawn.n_train, drawn.n_test) == (4, PATIENTS)
    for given in (protocol, key, f"{protocol}-2shot-d0"):
        board = call("leaderboard", results, "--tasks", "d0-AL-Z", "--protocol", given)
        assert board.exit_code == 0, board.output
        assert "image_stats" in board.output
    curve = call("curve", results, "--csv", tmp_path / "curve.csv")
    assert curve.exit_code == 0, curve.output
    assert (tmp_path / "curve.csv").read_text().count(key) == 3


@pytest.mark.slow
def test_what_a_list_does_not_hold_is_told_beside_plain_cells(tmp_path: Path) -> None:
    description, folds = clinic(tmp_path / "data")
    content = json.loads(folds.read_text())
    content["folds"][0]["train"].append("somebody")
    folds.write_text(json.dumps(content))
    results = tmp_path / "r"
    run = ("--backbones", "image_stats", "--protocol", f"lists:{folds}", "--workers", 1)
    for words in (
        ("run", "--data", description, *run, "--results", results, "--cache", tmp_path / "c"),
        ("results", results),
    ):
        told = call(*words)
        assert told.exit_code == 0, told.output
        assert f"1 of {PATIENTS + 1} listed ids have no row." in told.stderr
        assert "listed ids" not in told.stdout


@pytest.mark.parametrize(
    ("ending", "problem"),
    [("-0pct-d0", "No protocol is called"), ("-1shot-d0", "2 or more"), ("", "no list of folds")],
)
@pytest.mark.parametrize("command", ["leaderboard", "run"])
def test_protocols_that_do_not_exist_are_named(
    command: str, ending: str, problem: str, tmp_path: Path
) -> None:
    description, folds = clinic(tmp_path / "data")
    file = folds if ending else folds.with_name("absent.csv")
    protocol = ("--protocol", f"lists:{file}{ending}")
    if command == "run":
        ran = call("run", "--data", description, *protocol, "--results", tmp_path / "r")
    else:
        (tmp_path / "r").mkdir()
        ran = call("leaderboard", tmp_path / "r", *protocol)
    assert ran.exit_code != 0
    assert problem in " ".join((ran.output + str(ran.exception)).split())


@pytest.mark.slow
def test_a_backbone_is_trained_on_the_folds_of_a_list(tmp_path: Path) -> None:
    description, folds = clinic(tmp_path / "data")
    results = tmp_path / "r"
    small = ("--epochs", 1, "--side", 32, "--batch", 8, "--backbones", "random/efficientnet_lite0")
    protocol = ("--protocol", f"lists:{folds}")
    ran = call("finetune", "--data", description, *small, *protocol, "--results", results)
    assert ran.exit_code == 0, ran.output
    (result,) = read_results(results).results
    assert result.protocol == f"{parse(protocol[1]).name}-finetune"
    table = result.predictions(results)
    assert sorted(set(table.folds)) == ["1", "2"]
    assert result.n_test == PATIENTS
