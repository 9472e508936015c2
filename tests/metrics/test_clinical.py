"""Clinical read-outs against their definitions, and against the figures of the published board."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from etab.cli.main import app
from etab.errors import UnsupportedOptionError
from etab.metrics import clinical
from etab.metrics.calibration import (
    calibration_intercept,
    calibration_slope,
    reliability_curve,
)
from etab.metrics.clinical import Readout, readouts, subgroups, worst_subgroup
from etab.metrics.columns import ScoredRows
from etab.results import load_results
from etab.types import Kind

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def made(kind: Kind, n: int = 300, seed: int = 0) -> ScoredRows:
    rng = np.random.default_rng(seed)
    if kind is Kind.VALUE:
        truth = rng.uniform(20, 70, n)
        score = 48 + 0.4 * (truth - 48) + rng.normal(0, 5, n)
    else:
        score = np.round(rng.uniform(0.02, 0.98, n), 2)
        truth = (rng.random(n) < score).astype(float)
    return ScoredRows(kind, {"truth": truth, "score": score}, np.arange(n).astype(str))


def by_name(rows: ScoredRows) -> dict[str, Readout]:
    return {row.name: row for row in readouts(rows, draws=200)}


def test_ejection_fraction_by_hand() -> None:
    rows = made(Kind.VALUE)
    truth, score = rows["truth"], rows["score"]
    found = by_name(rows)
    low = truth < 40
    assert found["bias, EF < 40"].value == pytest.approx((score - truth)[low].mean())
    assert found["bias, EF < 40"].n == low.sum()
    slope = np.polyfit(truth, score - truth, 1)[0]
    assert found["slope of error on truth"].value == pytest.approx(slope)
    assert found["EF < 40 called so"].value == pytest.approx((score[low] < 40).mean())
    assert found["EF >= 50 called lower"].value == pytest.approx((score[truth >= 50] < 50).mean())
    for row in found.values():
        assert row.low is not None
        assert row.low <= row.value <= row.high


@pytest.mark.parametrize("seed", range(3))
def test_classes_by_hand(seed: int) -> None:
    from sklearn.linear_model import LogisticRegression

    rows = made(Kind.BINARY, seed=seed)
    truth, score = rows["truth"], rows["score"]
    found = by_name(rows)
    assert found["Brier"].value == pytest.approx(np.mean((truth - score) ** 2))
    odds = np.log(score / (1 - score))[:, None]
    fit = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(odds, truth)
    assert found["calibration slope"].value == pytest.approx(fit.coef_[0, 0], abs=1e-4)
    shift = found["calibration intercept"].value
    assert (1 / (1 + np.exp(-odds[:, 0] - shift))).mean() == pytest.approx(truth.mean())
    best = 0.0
    for threshold in np.unique(score):
        called = score >= threshold
        if (~called)[truth == 0].mean() >= 0.9:
            best = max(best, called[truth == 1].mean())
    assert found["sensitivity at 90 % specificity"].value == pytest.approx(best)
    tenths = np.minimum((score * 10).astype(int), 9)
    gaps = [abs((score - truth)[tenths == k].sum()) for k in range(10)]
    assert found["ECE"].value == pytest.approx(sum(gaps) / len(score))
    curve = reliability_curve(rows)
    assert sum(n for _, _, n in curve) == len(score)


def test_a_weight_of_two_is_a_row_twice() -> None:
    for kind in (Kind.VALUE, Kind.BINARY):
        rows = made(kind, 60)
        counts = np.random.default_rng(1).integers(0, 3, 60)
        repeated = rows.select(np.repeat(np.arange(60), counts))
        for name, (function, *_) in clinical._numbers(rows, True, "").items():
            one = function(rows, counts[None].astype(float))
            other = function(repeated, np.ones((1, len(repeated))))
            np.testing.assert_allclose(one, other, rtol=1e-8, err_msg=name)


def test_what_does_not_exist_is_none() -> None:
    rows = made(Kind.BINARY, 30)
    columns = {**rows.columns, "truth": np.ones(30)}
    found = by_name(ScoredRows(Kind.BINARY, columns, rows.patients))
    assert found["sensitivity at 90 % specificity"].value is None
    columns = {"truth": np.full(5, 60.0), "score": np.full(5, 61.0)}
    high = by_name(ScoredRows(Kind.VALUE, columns, np.arange(5).astype(str)))
    assert high["bias, EF < 40"] == Readout("bias, EF < 40", None, None, None, 0)
    assert high["slope of error on truth"].value is None
    with pytest.raises(UnsupportedOptionError, match="got a table of mask with the columns dice"):
        readouts(ScoredRows(Kind.MASK, {"dice": np.ones(3)}, np.arange(3).astype(str)))


def test_masks_have_surface_distances() -> None:
    columns = {name: np.array([0.9, 0.7, 0.8]) for name in ("dice", "jaccard", "hd95", "msd")}
    columns["hd95"] = np.array([2.0, 4.0, 9.0])
    rows = ScoredRows(Kind.MASK, columns, np.array(["p1", "p1", "p2"]))
    values = {row.name: row.value for row in readouts(rows, draws=50)}
    assert values["95th percentile surface distance, mm"] == 6.0
    assert values["Dice"] == pytest.approx(0.8)


def test_volumes_have_a_bias_and_limits_and_no_ranges_of_ejection() -> None:
    columns = {"truth": np.array([100.0, 120.0]), "score": np.array([110.0, 126.0])}
    rows = ScoredRows(Kind.VALUE, columns, np.array(["p1", "p2"]))
    table = readouts(rows, ejection=False, draws=50)
    assert table[0].name == "bias"
    assert table[0].value == 8.0
    assert not any("EF" in row.name for row in table)


def test_several_classes_by_hand() -> None:
    columns = {
        "truth": np.array([0.0, 1.0, 2.0]),
        "score_0": np.array([0.9, 0.2, 0.3]),
        "score_1": np.array([0.1, 0.7, 0.6]),
        "score_2": np.array([0.0, 0.1, 0.1]),
    }
    rows = ScoredRows(Kind.CLASSES, columns, np.array(["p1", "p2", "p3"]))
    values = {row.name: row.value for row in readouts(rows, draws=50)}
    squares = [0.01 + 0.01, 0.04 + 0.09 + 0.01, 0.09 + 0.36 + 0.81]
    assert values["Brier over all classes"] == pytest.approx(np.mean(squares))
    assert values["ECE of the likeliest class"] == pytest.approx((0.1 + 0.3 + 0.6) / 3)


def test_repeats_are_averaged() -> None:
    rows = made(Kind.BINARY, 100)
    half = np.arange(100) < 50
    patients = np.concatenate([np.arange(50), np.arange(50)]).astype(str)
    twice = ScoredRows(Kind.BINARY, rows.columns, patients, repeats=1 - half.astype(int))
    parts = [by_name(rows.select(half)), by_name(rows.select(~half))]
    for name, row in by_name(twice).items():
        assert row.value == pytest.approx(np.mean([part[name].value for part in parts]))


def test_rows_of_several_divisions_are_counted_once() -> None:
    rows = made(Kind.VALUE)
    columns = {name: np.tile(values, 3) for name, values in rows.columns.items()}
    repeats = np.repeat(np.arange(3), len(rows))
    thrice = ScoredRows(Kind.VALUE, columns, np.tile(rows.patients, 3), repeats=repeats)
    once = by_name(rows)
    for name, row in by_name(thrice).items():
        assert row.n == once[name].n
        assert row.value == pytest.approx(once[name].value)


def test_simultaneous_intervals_are_wider_and_small_groups_are_never_the_worst() -> None:
    rows = made(Kind.VALUE)
    group_of = {str(i): "small" if i < 20 else "large" for i in range(300)}
    rows.columns["score"][:20] += 30
    alone = {row.name: row for row in subgroups("mae", rows, group_of, family=1, draws=500)}
    together = {row.name: row for row in subgroups("mae", rows, group_of, draws=500)}
    for name in ("small", "large"):
        assert together[name].value == alone[name].value
        assert together[name].low < alone[name].low
        assert together[name].high > alone[name].high
    worst = worst_subgroup("mae", list(together.values()))
    assert worst is not None
    assert (worst.name, worst.n) == ("large", 280)
    assert worst_subgroup("mae", [together["small"]]) is None


@pytest.mark.parametrize("p", [0.37, 0.61234, 1 / 3])
@pytest.mark.parametrize("spread", [0.0, 1e-9])
def test_probabilities_that_are_all_alike_have_no_calibration_slope(
    p: float, spread: float
) -> None:
    """Rounding is no slope: neither of the rows nor of any resample."""
    rng = np.random.default_rng(0)
    truth = (rng.random(50) < 0.4).astype(float)
    score = p + spread * rng.standard_normal(50)
    columns = {"truth": truth, "score": score}
    rows = ScoredRows(Kind.BINARY, columns, np.arange(50).astype(str))
    weights = rng.multinomial(50, np.full(50, 0.02), size=200).astype(float)
    assert np.isnan(calibration_slope(rows, weights)).all()
    assert np.isfinite(calibration_intercept(rows, weights)).all()


@pytest.mark.parametrize("n", [60, 500])
def test_a_calibration_error_lies_in_its_interval(n: int) -> None:
    """Resamples of calibrated scores have a larger error than the scores themselves."""
    rng = np.random.default_rng(0)
    score = rng.uniform(0.05, 0.95, n)
    truth = (rng.uniform(size=n) < score).astype(float)
    rows = ScoredRows(
        Kind.BINARY, {"truth": truth, "score": score}, np.array([f"p{i}" for i in range(n)])
    )
    (error,) = [row for row in readouts(rows, draws=300) if row.name == "ECE"]
    assert 0 <= error.low < error.value < error.high
    middle = (error.low + error.high) / 2
    assert middle - error.value == pytest.approx(0, abs=(error.high - error.low) / 8)


def test_the_published_board_reads_low_ejection_fractions_too_high() -> None:
    biases, called, errors, slopes = [], [], [], {}
    for cell in load_results(RESULTS):
        if cell.protocol != "cv5" or cell.task not in ("b0-A4-C", "d0-A4-C"):
            continue
        rows = ScoredRows.of(cell.predictions(RESULTS))
        found = {row.name: row for row in readouts(rows, draws=20)}
        if cell.task == "b0-A4-C":
            assert found["bias, EF < 40"].n == 158
            biases.append(found["bias, EF < 40"].value)
            called.append(found["EF < 40 called so"].value)
        else:
            errors.append(found["ECE"].value)
            slopes[cell.backbone] = round(found["calibration slope"].value, 2)
    assert (round(min(biases), 1), round(max(biases), 1)) == (8.7, 11.6)
    assert (round(min(called), 2), round(max(called), 2)) == (0.35, 0.58)
    assert 0.03 < min(errors) < max(errors) < 0.062
    assert (slopes["efficientnet_lite2"], slopes["efficientnet_lite0"]) == (0.70, 0.71)


def test_the_command(tmp_path: Path) -> None:
    folder = RESULTS / "camus" / "b0-A4-C" / "image_stats"
    target = tmp_path / "camus" / "b0-A4-C" / "image_stats"
    target.mkdir(parents=True)
    for path in folder.glob("cv5-*"):
        (target / path.name).write_bytes(path.read_bytes())
    shown = CliRunner().invoke(app, ["results", str(tmp_path), "--clinical", "--json"])
    assert shown.exit_code == 0, shown.output
    assert "bias, EF < 40" in shown.output
    assert CliRunner().invoke(app, ["results", str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(app, ["results", str(tmp_path / "none")]).exit_code != 0


@pytest.mark.slow
def test_outputs_state_the_unit_of_every_number(tmp_path: Path) -> None:
    folder = RESULTS / "camus" / "b0-A4-C" / "image_stats"
    target = tmp_path / "results" / "camus" / "b0-A4-C" / "image_stats"
    target.mkdir(parents=True)
    for path in folder.glob("cv5-*"):
        (target / path.name).write_bytes(path.read_bytes())
    results = str(tmp_path / "results")

    def output(*arguments: str) -> str:
        ended = CliRunner().invoke(app, [*arguments])
        assert ended.exit_code == 0, ended.output
        return str(ended.stdout)

    ((score,),) = json.loads(output("results", results, "--json")).values()
    assert (score["name"], score["unit"]) == ("mae", "% points")
    (numbers,) = json.loads(output("results", results, "--clinical", "--json")).values()
    units = {number["name"]: number["unit"] for number in numbers}
    assert units.pop("slope of error on truth") == ""
    shares = {name for name in units if "called" in name}
    assert {units.pop(name) for name in shares} == {""}
    assert set(units.values()) == {"% points"}  # biases and limits of agreement
    assert "% points" in output("results", results, "--clinical")
    single, board = tmp_path / "cells.csv", tmp_path / "board.json"
    assert "single cells" in output("leaderboard", results, "--csv", str(single))
    (line,) = csv.DictReader(io.StringIO(single.read_text()))
    assert (line["metric"], line["unit"]) == ("mae", "% points")
    output("leaderboard", results, "--tasks", "b0-A4-C", "--numbers", str(board))
    (row,) = json.loads(board.read_text())["rows"]
    assert row["cells"]["b0-A4-C"]["unit"] == "% points"
