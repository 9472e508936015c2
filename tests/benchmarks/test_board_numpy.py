"""A board computed again with numpy alone."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from scipy import stats

from benchmarks import board_numpy
from tests.commands import ROOT, etab
from tests.leaderboard.admission.folders import CAMUS_TASKS, camus_folder


@pytest.mark.parametrize("degrees", [3.0, 49.0, 498.0])
@pytest.mark.parametrize("t", [0.0, 0.3, 2.1, 9.0])
def test_the_tail_of_student_is_that_of_scipy(degrees: float, t: float) -> None:
    wanted = 2 * stats.t.sf(t, degrees)
    assert board_numpy.two_sided(t, degrees) == pytest.approx(wanted, rel=1e-10)
    half = board_numpy.half_width(4.0, degrees)
    assert half == pytest.approx(2 * stats.t.ppf(0.975, degrees), rel=1e-12)


@pytest.mark.slow
def test_a_board_is_what_numpy_alone_computes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    camus_folder(results)
    suite = tmp_path / "few.toml"
    codes = ", ".join(f'"{code}"' for code in CAMUS_TASKS)
    suite.write_text(f'name = "few"\nversion = 1\ntasks = [{codes}]\n')
    board = tmp_path / "board.csv"
    etab("leaderboard", results, "--suite", suite, "--protocol", "cv5", "--csv", board)
    arguments = [str(results), str(suite), str(board)]
    assert board_numpy.main(arguments) == 0
    assert "0 different" in capsys.readouterr().out
    with board.open(newline="") as file:
        lines = list(csv.reader(file))
    column = lines[0].index("etab_encoder_low")
    lines[1][column] = str(float(lines[1][column]) + 1e-6)
    with board.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    assert board_numpy.main(arguments) == 1
    assert "1 different" in capsys.readouterr().out


@pytest.mark.slow
def test_a_task_by_a_protocol_of_its_own_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """f0 counts with one database left out, on a board of five divisions into folds."""
    board = tmp_path / "board.csv"
    suite = ROOT / "configs" / "suites" / "sounds.toml"
    results = ROOT / "benchmarks" / "results_sounds"
    etab("leaderboard", results, "--suite", "sounds", "--csv", board)
    with board.open(newline="") as file:
        protocols = {(line["task"], line["protocol"]) for line in csv.DictReader(file)}
    assert ("f0-PH-N", "lodo") in protocols
    assert ("e0-AL-D", "cv5x5") in protocols
    assert board_numpy.main([str(results), str(suite), str(board)]) == 0
    assert "0 different" in capsys.readouterr().out


def test_other_numbers_of_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert board_numpy.main(["results"]) == 2
    assert "usage" in capsys.readouterr().err


def test_the_script_shares_no_code_with_etab() -> None:
    text = Path(board_numpy.__file__).read_text()
    assert not re.search(r"^\s*(import|from) (etab|scipy|pandas)", text, re.MULTILINE)
