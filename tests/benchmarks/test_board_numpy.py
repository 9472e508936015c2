"""A board computed again with numpy alone."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks import board_numpy
from etab.metrics.columns import ScoredRows
from etab.metrics.design import FoldDesign
from etab.metrics.inference import precision_of
from etab.types import Kind
from tests.commands import ROOT, etab
from tests.leaderboard.admission.folders import CAMUS_TASKS, camus_folder


@pytest.mark.parametrize("degrees", [3.0, 49.0, 498.0])
@pytest.mark.parametrize("t", [0.0, 0.3, 2.1, 9.0])
def test_the_tail_of_student_is_that_of_scipy(degrees: float, t: float) -> None:
    wanted = 2 * stats.t.sf(t, degrees)
    assert board_numpy.two_sided(t, degrees) == pytest.approx(wanted, rel=1e-10)
    half = board_numpy.half_width(4.0, degrees)
    assert half == pytest.approx(2 * stats.t.ppf(0.975, degrees), rel=1e-12)


def _board(tmp_path: Path) -> list[str]:
    """Arguments of the script for a board of four backbones."""
    results = tmp_path / "results"
    camus_folder(results)
    suite = tmp_path / "few.toml"
    codes = ", ".join(f'"{code}"' for code in CAMUS_TASKS)
    suite.write_text(f'name = "few"\nversion = 1\ntasks = [{codes}]\n')
    board = tmp_path / "board.json"
    options = ("--suite", suite, "--protocol", "cv5", "--numbers", board)
    etab("leaderboard", results, *options)
    return [str(results), str(suite), str(board)]


@pytest.mark.slow
def test_a_board_is_what_numpy_alone_computes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = _board(tmp_path)
    assert board_numpy.main(arguments) == 0
    assert " 0 different" in capsys.readouterr().out
    path = Path(arguments[2])
    board = json.loads(path.read_text())
    forged = (
        ("rows", 0, "encoder_low"),
        ("rows", 1, "etab2022"),
        ("rows", 2, "categories", "a"),
        ("p_better", 0, 1),
        ("probe_half", 1, 0),
        ("separation", "found"),
        ("reliability", "b0-A4-C", "noise_share"),
    )
    for place in forged:
        holder = board_numpy.at(board, place[:-1])
        holder[place[-1]] += 1e-6
    path.write_text(json.dumps(board))
    assert board_numpy.main(arguments) == 1
    told = capsys.readouterr().out
    assert f"{len(forged)} different" in told
    for place in forged:
        assert " ".join(map(str, place)) in told


@pytest.mark.slow
def test_a_task_by_a_protocol_of_its_own_is_computed_by_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """f0 counts with one database left out, on a board of five divisions into folds."""
    board = tmp_path / "board.json"
    suite = ROOT / "configs" / "suites" / "sounds.toml"
    results = ROOT / "benchmarks" / "results_sounds_full"
    lines = tmp_path / "board.csv"
    etab("leaderboard", results, "--suite", "sounds", "--numbers", board, "--csv", lines)
    with lines.open(newline="") as stream:
        named = {row["task"]: row["protocol"] for row in csv.DictReader(stream)}
    assert (named["f0-PH-N"], named["e0-AL-D"]) == ("lodo", "cv5x5")
    cells = json.loads(board.read_text())["rows"][0]["cells"]
    assert cells["f0-PH-N"]["protocol"] == "lodo"
    assert cells["e0-AL-D"]["protocol"] == "cv5x5"
    assert board_numpy.main([str(results), str(suite), str(board)]) == 0
    assert " 0 different" in capsys.readouterr().out


@pytest.mark.parametrize("metric", ["r2", "balanced_accuracy", "macc"])
@pytest.mark.parametrize("design", [FoldDesign(5, 3, 0.25), FoldDesign.of_split(60, 300)])
def test_a_least_variance_is_what_etab_adds(metric: str, design: FoldDesign) -> None:
    """Answers that hardly depend on the patient, as an encoder that knows nothing gives them."""
    rng = np.random.default_rng(1)
    n = 60 * design.repeats
    kind = Kind.VALUE if metric == "r2" else Kind.BINARY
    truth = np.tile(rng.integers(0, 2, 60), design.repeats) * 1.0
    answers = (rng.random(n) < 0.1) * 1.0
    columns = {"truth": truth, "score": answers}
    if kind is Kind.BINARY:
        columns |= {"answer": answers, "outcome": truth}
    patients = np.tile(np.array([f"p{i:02d}" for i in range(60)]), design.repeats)
    repeats = np.arange(design.repeats).repeat(60)
    folds = np.full(n, "fold0")
    part = precision_of(
        metric, ScoredRows(kind, columns, patients, folds, repeats), np.unique(patients), design
    )
    table = board_numpy.Table(str(kind), patients, folds, repeats.astype(str), columns)
    factors = (design.value_factor, design.decision_factor, design.fixed_decision_factor)
    added = board_numpy.added_variance(metric, table, part.people, factors)
    assert added == pytest.approx(part.added, rel=1e-9)
    assert added > 0


def test_other_numbers_of_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert board_numpy.main(["results"]) == 2
    assert "usage" in capsys.readouterr().err


def test_the_script_shares_no_code_with_etab() -> None:
    text = Path(board_numpy.__file__).read_text()
    assert not re.search(r"^\s*(import|from) (etab|scipy|pandas)", text, re.MULTILINE)
