"""Records computed anew from stored predictions: what moves, what does not, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from etab.cli.main import app
from etab.errors import ResultError
from etab.results import Result, load_results
from etab.runs.rescore import rescore

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "benchmarks" / "results"
CELLS = ("b0-A4-C", "d0-A4-C", "a0-A4-C")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few published cells of one backbone."""
    for task in CELLS:
        place = Path("camus") / task / "image_stats"
        (tmp_path / "results" / place).mkdir(parents=True)
        for protocol in ("cv5", "official"):
            for head in ("linear_seg", "logistic", "ridge"):
                for path in (STORED / place).glob(f"{protocol}-{head}-*"):
                    shutil.copy(path, tmp_path / "results" / place)
    return tmp_path / "results"


def _edit(folder: Path, task: str, protocol: str, **changes: Any) -> Path:
    (path,) = (folder / "camus" / task / "image_stats").glob(f"{protocol}-*.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, **changes}, indent=1) + "\n")
    return path


def test_published_records_follow_from_their_predictions(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    records = rescore(folder)
    assert len(records) == 6
    assert [record.moved for record in records] == [()] * 6
    assert before == {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


@pytest.mark.parametrize(
    ("task", "changes", "number"),
    [
        ("b0-A4-C", {"value": 1.0}, "value"),
        ("b0-A4-C", {"low": 1.0}, "low"),
        ("d0-A4-C", {"high": 0.99}, "high"),
        ("d0-A4-C", {"task_version": 1}, "task version"),
        ("a0-A4-C", {"anchor_low": 0.1}, "anchor low"),
        ("a0-A4-C", {"n_test": 3}, "test rows"),
        ("a0-A4-C", {"metrics": {"dice": 0.5, "made up": 1.0}}, "made up"),
    ],
)
def test_an_edited_number_is_put_right(
    folder: Path, task: str, changes: dict[str, Any], number: str
) -> None:
    wanted = {r.path(folder): r for r in load_results(folder)}
    path = _edit(folder, task, "cv5", **changes)
    edited = path.read_bytes()
    (checked,) = [r for r in rescore(folder, check=True) if r.moved]
    assert path.read_bytes() == edited
    assert number in [moved.number for moved in checked.moved]
    rescore(folder)
    restored = Result.load(path)
    original = wanted[path]
    assert restored.metrics == pytest.approx(original.metrics, abs=1e-12)
    for name in ("value", "low", "high", "task_version", "anchor_low", "n_test"):
        assert getattr(restored, name) == pytest.approx(getattr(original, name)), name
    assert Result.load(path).provenance["rescored"]
    assert not any(record.moved for record in rescore(folder))


def test_numbers_that_agree_keep_their_last_digits(folder: Path) -> None:
    before = {r.path(folder): r for r in load_results(folder)}
    for path, record in before.items():
        path.write_text(record.to_json().replace('"task_version": ', '"task_version": 9'))
    rescore(folder)
    assert {r.path(folder): r.identity() for r in load_results(folder)} == {
        path: record.identity() for path, record in before.items()
    }


def test_an_edited_fold_is_put_right(folder: Path) -> None:
    (path,) = (folder / "camus" / "d0-A4-C" / "image_stats").glob("cv5-*.json")
    before = Result.load(path)
    folds = [{**fold, "value": 0.123} for fold in before.folds]
    _edit(folder, "d0-A4-C", "cv5", folds=folds)
    (moved,) = [record.moved for record in rescore(folder) if record.moved]
    assert [m.number for m in moved] == [f"auroc of fold{k}" for k in range(5)]
    assert Result.load(path).folds == before.folds


def test_other_metrics_tables_and_folds_are_refused(folder: Path) -> None:
    _edit(folder, "b0-A4-C", "cv5", metric="rmse")
    with pytest.raises(ResultError, match=r"scored by rmse .* wants mae"):
        rescore(folder)
    path = _edit(folder, "b0-A4-C", "cv5", metric="mae")
    record = json.loads(path.read_text())
    _edit(folder, "b0-A4-C", "cv5", folds=[{**record["folds"][0], "name": "fold9"}])
    with pytest.raises(ResultError, match="lists the split fold9"):
        rescore(folder)
    path.with_suffix(".csv").write_text("changed")
    with pytest.raises(ResultError, match="sha256 differs"):
        rescore(folder)


def test_the_command_checks_then_writes(folder: Path) -> None:
    _edit(folder, "d0-A4-C", "cv5", value=0.6)
    runner = CliRunner()
    ran = runner.invoke(app, ["rescore", str(folder), "--check", "--every"])
    assert ran.exit_code == 1
    assert "1 of 6 records differ from their predictions" in ran.output
    assert "0.6000" in ran.output
    assert runner.invoke(app, ["rescore", str(folder)]).exit_code == 0
    ran = runner.invoke(app, ["rescore", str(folder), "--check"])
    assert (ran.exit_code, "0 of 6 records differ" in ran.output) == (0, True)
    ran = runner.invoke(app, ["rescore", str(folder / "none")])
    assert "holds no result files" in str(ran.exception)


def test_it_needs_numpy_alone(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from etab.runs.rescore import rescore; "
        f"rescore(Path({str(folder)!r}), check=True); "
        "print([m for m in ('torch', 'cv2', 'pandas', 'skimage') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [("rescore", "--check"), ("results", "--clinical")])
def test_one_damaged_file_takes_nothing_from_the_others(
    command: tuple[str, ...], folder: Path
) -> None:
    """A record that cannot be read, and a record whose table is lost, are named; the rest is shown."""
    record = _edit(folder, "b0-A4-C", "cv5", seed=False)
    table = next((folder / "camus" / "d0-A4-C" / "image_stats").glob("cv5-*.csv"))
    table.write_text("")
    shown = CliRunner().invoke(app, [command[0], str(folder), *command[1:]])
    assert "official" in shown.output or "0 of 4 records differ" in shown.output
    assert str(record) in shown.output
    assert str(table.with_suffix("")) in shown.output
    assert shown.exit_code == (1 if command[0] == "rescore" else 0)
