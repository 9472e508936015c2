"""``etab submit check``: a folder is accepted, or every reason against it is named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from etab.cli.main import app
from etab.errors import DataNotFoundError
from etab.leaderboard.admission.admit import admit
from etab.leaderboard.admission.schema import result_schema
from etab.leaderboard.admission.submission import check_submission
from etab.leaderboard.suites import Suite
from etab.results.masks import masks_path
from etab.tasks.menu import TASKS
from tests import made
from tests.leaderboard.admission import folders
from tests.leaderboard.admission.folders import CAMUS_TASKS, STRANGER, edit_nested, stranger

FOUR = Suite(name="four", version=1, tasks=CAMUS_TASKS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folders.camus_folder(tmp_path / "results")
    folders.add_masks(tmp_path / "results")
    return tmp_path / "results"


def test_an_honest_folder_is_accepted(folder: Path) -> None:
    submission = check_submission(folder, FOUR, protocol="cv5")
    assert submission.accepted
    assert submission.complete == (*sorted(folders.HONEST), STRANGER)


def test_a_missing_task_is_named(folder: Path) -> None:
    stranger(folder, "c0-AX-C").unlink()
    submission = check_submission(folder, FOUR, protocol="cv5")
    assert not submission.accepted
    assert submission.missing == {STRANGER: ("c0-AX-C",)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "change", "words"),
    [
        ("provenance", {"host": "/home/jane/etab"}, "provenance.host holds a path of a machine"),
        ("settings", {"sha256": "C:\\Users\\jane\\w.pt"}, "settings.sha256 holds a path"),
        ("settings", {"notes": ["see /Users/jane/data"]}, "settings.notes holds a path"),
        ("settings", {"notes": ["x" * 5000]}, "its notes are more than"),
        ("settings", {"notes": ["x"] * 100}, "its notes are more than"),
        ("settings", {"notes": 5}, "its notes are '5'; wanted a list of strings"),
    ],
)
def test_what_only_the_published_board_refuses(
    field: str, change: dict[str, object], words: str, folder: Path
) -> None:
    edit_nested(stranger(folder), field, **change)
    submission = check_submission(folder, FOUR, protocol="cv5")
    assert not submission.accepted
    assert [words in finding.reason for finding in submission.refused] == [True]


def test_a_submission_brings_its_masks(folder: Path) -> None:
    masks_path(stranger(folder, "a0-A4-C"), "all").unlink()
    submission = check_submission(folder, FOUR, protocol="cv5")
    (finding,) = submission.refused
    assert finding.task == "a0-A4-C"
    assert "masks.npz is missing: a submission brings the predicted masks" in finding.reason


def test_a_web_address_is_no_path_of_a_machine(folder: Path) -> None:
    edit_nested(stranger(folder), "settings", notes=["weights: https://example.org/home/w.pt"])
    assert check_submission(folder, FOUR, protocol="cv5").accepted


def test_data_that_etab_does_not_know_are_not_published(folder: Path) -> None:
    for path in folder.rglob("*.json"):
        folders.edit(path, data_digest="e" * 64)
    reasons = {finding.reason for finding in check_submission(folder, FOUR, protocol="cv5").refused}
    assert len(reasons) == 1
    assert "not a release of camus" in reasons.pop()


def test_phantoms_are_not_published(tmp_path: Path) -> None:
    made.board(tmp_path, {"strong": 0.9})
    submission = check_submission(tmp_path, made.suite())
    assert not submission.accepted
    assert "phantom" in submission.refused[0].reason


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="holds no result of the suite four"):
        check_submission(tmp_path, FOUR, protocol="cv5")
    with pytest.raises(DataNotFoundError, match="there is no such folder"):
        check_submission(tmp_path / "mina", FOUR)


def test_results_by_another_protocol_are_named(folder: Path) -> None:
    with pytest.raises(
        DataNotFoundError, match=r"by the protocol cv5x5 .* results by cv5 \(seed 0\)"
    ):
        check_submission(folder, FOUR)


def test_the_command_says_accepted_or_why_not(folder: Path, tmp_path: Path) -> None:
    suite = tmp_path / "four.toml"
    suite.write_text(f'name = "four"\nversion = 1\ntasks = {json.dumps(list(CAMUS_TASKS))}\n')
    arguments = ["submit", "check", str(folder), "--suite", str(suite), "--protocol", "cv5"]
    accepted = CliRunner().invoke(app, arguments)
    assert accepted.exit_code == 0
    assert accepted.output.splitlines()[-1] == f"{folder}: accepted"
    folders.edit(stranger(folder), value=1.0)
    refused = CliRunner().invoke(app, [*arguments, "--json"])
    assert refused.exit_code == 1
    found = json.loads(refused.output)
    assert found["accepted"] is False
    assert found["missing"] == {STRANGER: ["b0-A4-C"]}
    assert "its predictions give" in found["findings"][0]["reason"]


def test_every_published_record_follows_the_schema() -> None:
    validator = jsonschema.Draft202012Validator(result_schema())
    records = sorted((folders.PUBLISHED / "results").rglob("*.json"))[::20]
    assert len(records) > 10
    for path in records:
        validator.validate(json.loads(path.read_text()))


@pytest.mark.parametrize(
    "change",
    [{"level": 0.5}, {"backbone": "a b"}, {"n_test": -1}, {"weights_sha256": "x"}, {"more": 1}],
)
def test_the_schema_refuses(change: dict[str, object], folder: Path) -> None:
    validator = jsonschema.Draft202012Validator(result_schema())
    record = json.loads(stranger(folder).read_text())
    assert validator.is_valid(record)
    assert not validator.is_valid({**record, **change})


# --- published cells, of which the repository keeps a sample of the masks ---

PUBLISHED = Path(__file__).resolve().parents[3] / "benchmarks"
ONE = Suite(name="one", version=1, tasks=("a0-A2-C",))
CELL = Path("camus/a0-A2-C/image_stats/official-mask_logistic-s0.json")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    copied = tmp_path / "published" / CELL
    copied.parent.mkdir(parents=True)
    for suffix in (".json", ".csv.gz", ".csv", ".masks-sample.npz"):
        source = (PUBLISHED / "results" / CELL).with_suffix(suffix)
        if source.exists():
            shutil.copy(source, copied.with_suffix(suffix))
    return tmp_path / "published"


def test_a_published_cell_keeps_the_sample_of_its_masks(published: Path) -> None:
    assert check_submission(published, ONE, protocol="official").accepted
    masks_path(published / CELL, "sample").unlink()
    (finding,) = check_submission(published, ONE, protocol="official").refused
    assert "masks-sample.npz is missing: a published cell keeps" in finding.reason


def test_a_published_cell_under_another_name_needs_all_masks(published: Path) -> None:
    (published / CELL).parent.rename(published / CELL.parent.parent / "mine")
    moved = published / CELL.parent.parent / "mine" / CELL.name
    folders.edit(moved, backbone="mine")
    (finding,) = check_submission(published, ONE, protocol="official").refused
    assert "masks.npz is missing: a submission brings the predicted masks" in finding.reason


@pytest.mark.slow
def test_a_published_control_without_a_task_that_it_cannot_have_is_accepted(
    tmp_path: Path,
) -> None:
    """The timing features are numbers of a recording: there is no e0 of them, and no rank."""
    two = Suite(name="two", version=1, tasks=("e0-AL-D", "f1-AL-D"))
    for cell in ("e0-AL-D/mel_stats", "f1-AL-D/mel_stats", "f1-AL-D/timing_features"):
        shutil.copytree(PUBLISHED / "results_sounds" / "circor" / cell, tmp_path / "circor" / cell)
    submission = check_submission(tmp_path, two)
    assert submission.accepted
    assert submission.lacking == {"timing_features": ("e0-AL-D",)}
    for path in (tmp_path / "circor/f1-AL-D/mel_stats").glob("cv5x5-*"):
        path.unlink()
    assert check_submission(tmp_path, two).missing == {"mel_stats": ("f1-AL-D",)}


def test_words_of_a_name_are_apart_on_a_board_of_ones_own_alone(tmp_path: Path) -> None:
    table = made.predictions("b0-A4-C")
    replace(made.result(table, "b0-A4-C"), backbone="my encoder").save(tmp_path, table)
    admission = admit(tmp_path, TASKS, lambda result: True)
    assert [result.backbone for result in admission.results] == ["my encoder"]
    suite = Suite(name="ef", version=1, tasks=("b0-A4-C",))
    submission = check_submission(tmp_path, suite, protocol=admission.results[0].protocol)
    assert any("'my encoder'; wanted 1 to 80" in found.reason for found in submission.refused)
