"""Subgroups of a cell: by facts of patients and by the place of each row, with intervals that hold together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import etab
from etab.cli.main import app
from etab.errors import ResultError
from etab.metrics.columns import ScoredRows
from etab.results import Predictions, Result
from etab.runs import subgroups
from etab.runs.subgroups import patient_groups, subgroups_of
from etab.types import Kind
from tests.leaderboard.admission.folders import edit


@pytest.fixture(scope="module")
def root(phantom_tree: Callable[..., Path]) -> Path:
    root = phantom_tree(["camus"], patients=12) / "camus"
    patients = sorted((root / "database_nifti").iterdir())
    for i, patient in enumerate(patients):
        for info in patient.glob("Info_*.cfg"):
            lines = [line for line in info.read_text().splitlines() if "FrameRate" not in line]
            info.write_text("\n".join([*lines, f"FrameRate: {30 if i < 4 else 80}"]) + "\n")
    return root


@pytest.fixture
def results(root: Path, tmp_path: Path) -> Path:
    etab.evaluate("image_stats", tasks="b0-A4-C", root=root, results=tmp_path / "results")
    return tmp_path / "results"


def the_result(results: Path) -> Result:
    (path,) = results.rglob("*.json")
    return Result.load(path)


def test_groups_follow_from_the_facts_of_the_data(root: Path, results: Path) -> None:
    result = the_result(results)
    groups = subgroups_of(result, results, patient_groups("camus", root))
    n_of = {row.name: row.n for row in groups.rows}
    assert n_of["frame rate: below 45"] == 4
    assert n_of["frame rate: above 60"] == 8
    assert n_of["sex: male"] + n_of["sex: female"] == 12
    assert groups.worst is None  # no group has 50 patients
    table = result.predictions(results)
    slow = np.isin(table.patients, sorted(set(table.patients))[:4])
    (row,) = [row for row in groups.rows if row.name == "frame rate: below 45"]
    error = np.abs(table.columns["score"] - table.columns["truth"])[slow]
    assert row.value == pytest.approx(error.mean())
    assert row.low is not None
    assert row.high is not None
    assert row.low <= row.value <= row.high


def test_facts_of_pictures_are_those_of_the_view(root: Path, results: Path) -> None:
    """The 2-chamber recordings of eight patients are slow, the 4-chamber ones of four."""
    groups = patient_groups("camus", root)
    rates = dict(groups.pictures["frame rate"])
    for i, patient in enumerate(sorted(groups.by_view["frame rate"]["A4C"])):
        rates[f"{patient}_2CH"] = "below 45" if i < 8 else "above 60"
    mixed = replace(groups, pictures={**groups.pictures, "frame rate": rates})
    n_of = {row.name: row.n for row in subgroups_of(the_result(results), results, mixed).rows}
    assert n_of["frame rate: below 45"] == 4


def test_facts_of_another_view_are_named(root: Path, results: Path) -> None:
    """A copy of CAMUS tells the image quality and the frame rate of the 2-chamber view alone."""
    groups = patient_groups("camus", root)
    known = {key: group for key, group in groups.pictures["frame rate"].items() if "2CH" in key}
    of_view = {"A2C": groups.by_view["frame rate"]["A2C"]}
    copy = replace(groups, pictures={"frame rate": known}, by_view={"frame rate": of_view})
    names = {row.name for row in subgroups_of(the_result(results), results, copy).rows}
    assert "frame rate of A2C: below 45" in names
    assert "frame rate: below 45" not in names


def test_a_group_of_fifty_may_be_the_worst(
    root: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etab.metrics.clinical.SMALLEST_GROUP", 8)
    groups = subgroups_of(the_result(results), results, patient_groups("camus", root))
    assert groups.worst is not None
    assert groups.worst.n >= 8
    large = [row.value for row in groups.rows if row.n >= 8 and row.value is not None]
    assert groups.worst.value == max(large)


def test_another_copy_of_the_data_has_groups_and_is_named(root: Path, results: Path) -> None:
    groups = patient_groups("camus", root)
    known = subgroups_of(the_result(results), results, groups)
    (path,) = results.rglob("*.json")
    edit(path, data_digest="e" * 64)
    table = subgroups_of(the_result(results), results, groups)
    assert table.rows == known.rows
    assert known.note == ""
    assert f"({'e' * 12})" in table.note
    assert groups.digest[:12] in table.note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: replace(table, items=tuple(f"{item}x" for item in table.items)), "no row"),
        (lambda table: replace(table, patients=("other", *table.patients[1:])), "in the result"),
        (
            lambda table: replace(
                table, columns={**table.columns, "truth": table.columns["truth"] + 1}
            ),
            "the reference value of",
        ),
    ],
)
def test_other_data_have_no_groups(
    root: Path,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Predictions], Predictions],
    message: str,
) -> None:
    result = replace(the_result(results), data_digest="e" * 64)
    table = change(result.predictions(results))
    monkeypatch.setattr(Result, "predictions", lambda *_: table)
    with pytest.raises(ResultError, match=f"other data than those at hand: .*{message}"):
        subgroups_of(result, results, patient_groups("camus", root))


def test_places_are_of_rows() -> None:
    table = Predictions(
        Kind.BINARY,
        ("9979_AV", "9979_PV_2#3", "9980_AV"),
        ("9979", "9979", "9980"),
        ("fold0",) * 3,
        {"truth": np.array([0.0, 1.0, 1.0]), "score": np.array([0.1, 0.8, 0.7])},
    )
    groups = subgroups._of_rows(table)
    assert groups == {"place": {"9979_AV": "AV", "9979_PV_2#3": "PV", "9980_AV": "AV"}}
    assert len(ScoredRows.of(table)) == 3


def test_one_place_is_no_factor() -> None:
    table = Predictions(
        Kind.VALUE, ("1_AV", "2_AV"), ("1", "2"), ("f",) * 2, {"truth": [1, 2], "score": [1, 2]}
    )
    assert subgroups._of_rows(table) == {}


def test_the_command_shows_them(root: Path, results: Path) -> None:
    arguments = ["results", str(results), "--clinical", "--json", "--root", str(root)]
    shown = json.loads(CliRunner().invoke(app, arguments).output)
    names = [row["name"] for row in shown["b0-A4-C image_stats cv5x5 stack s0"]]
    assert "mae, frame rate: below 45" in names
    assert "bias, EF < 40" in names
