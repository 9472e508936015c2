"""Results under the name and the weights of a published backbone, and rules that know the test rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from etab.leaderboard.admission.admit import admit
from etab.leaderboard.admission.canonical import (
    is_published_cell,
    known_backbones,
    published_cell,
)
from etab.leaderboard.admission.submission import check_submission
from etab.leaderboard.suites import Suite
from etab.metrics.columns import ScoredRows
from etab.results import Result
from etab.results.merge import merge_folders
from etab.tasks import thresholds
from etab.tasks.menu import TASKS
from tests.leaderboard.admission import folders
from tests.leaderboard.admission.folders import STRANGER, edit, load, save, stranger, with_columns

CODE = "b0-A4-C"
BORROWED = "mobilenetv2"
EF = Suite(name="ef", version=1, tasks=(CODE,))


def borrowed(folder: Path, share: float) -> Path:
    """The published cell of a backbone with a share of the truth in it; the record follows."""
    folders.camus_folder(folder)
    result, table = load(folder, CODE, BORROWED)
    score = (1 - share) * table.columns["score"] + share * table.columns["truth"]
    return save(folder, result, with_columns(table, {**table.columns, "score": score}))


@pytest.mark.slow
def test_better_predictions_under_a_published_name_are_marked_and_not_accepted(
    tmp_path: Path,
) -> None:
    """They state the weights of the published backbone, too, so that nothing else tells them apart."""
    path = borrowed(tmp_path, 0.1)
    assert not is_published_cell(Result.load(path))
    reasons = [f.reason for f in admit(tmp_path, TASKS, lambda result: True).flagged]
    assert any("; that of the published mobilenetv2 is 7." in reason for reason in reasons), reasons
    submission = check_submission(tmp_path, EF, protocol="cv5")
    assert not submission.accepted
    assert [f.backbone for f in submission.refused] == [BORROWED]
    assert "Hand in backbones of your own alone" in submission.refused[0].reason


@pytest.mark.slow
@pytest.mark.parametrize("head", ["knn", "stack"])
def test_a_second_head_of_a_published_backbone_is_not_handed_in(head: str, tmp_path: Path) -> None:
    folders.camus_folder(tmp_path)
    assert check_submission(tmp_path, EF, protocol="cv5").accepted
    result, table = load(tmp_path, CODE, BORROWED)
    score = 0.5 * (table.columns["score"] + table.columns["truth"])
    path = save(tmp_path, result, with_columns(table, {**table.columns, "score": score}), head=head)
    (finding,) = check_submission(tmp_path, EF, protocol="cv5").refused
    assert finding.path == path
    assert f"this result of it by the head {head} is not" in finding.reason
    # A backbone of one's own may have as many heads as one likes.
    result, table = load(tmp_path, CODE)
    path.unlink()
    save(tmp_path, result, table, head=head)
    shutil.rmtree(tmp_path / "camus" / CODE / BORROWED)
    refused = check_submission(tmp_path, EF, protocol="cv5").refused
    assert not any("is published" in finding.reason for finding in refused)


@pytest.mark.slow
def test_a_borrowed_name_protects_no_copy(tmp_path: Path) -> None:
    """Predictions of one published backbone under the name and the weights of another one."""
    folders.camus_folder(tmp_path)
    result, _ = load(tmp_path, CODE, BORROWED)
    _, other = load(tmp_path, CODE, "efficientnet_lite0")
    save(tmp_path, result, other)
    reasons = [f.reason for f in admit(tmp_path, TASKS, lambda result: True).flagged]
    assert any("its predictions are those of efficientnet_lite0" in r for r in reasons), reasons


@pytest.mark.slow
def test_a_published_cell_computed_again_elsewhere_has_no_mark(tmp_path: Path) -> None:
    """Another machine moves the last digits."""
    path = borrowed(tmp_path, 1e-4)
    assert not is_published_cell(Result.load(path))
    admission = admit(tmp_path, TASKS, lambda result: True)
    assert admission.findings == ()


def test_the_package_knows_every_published_cell() -> None:
    folder = folders.PUBLISHED / "results"
    paths = sorted(folder.rglob("*.json"))[::40]
    assert len(paths) > 10
    for path in paths:
        result = Result.load(path)
        known = published_cell(result)
        assert known is not None
        assert is_published_cell(result)
        assert known.value == pytest.approx(result.value, rel=1e-6)


@pytest.mark.slow
def test_a_forged_copy_does_not_take_a_published_cell_from_a_joint_board(tmp_path: Path) -> None:
    """In whatever order the folders are named; between two unknown ones nobody can choose."""
    ours = tmp_path / "ours"
    theirs = tmp_path / "theirs"
    folders.camus_folder(ours)
    borrowed(theirs, 0.3)
    for number, order in enumerate(((ours, theirs), (theirs, ours))):
        joined = tmp_path / f"joined{number}"
        merged = merge_folders(order, joined, is_known=is_published_cell)
        result, _ = load(joined, CODE, BORROWED)
        assert is_published_cell(result)
        (reason,) = merged.refused
        assert "is another result of a published cell" in reason
        assert f"the published one in {ours} is used" in reason
    neither = merge_folders((ours, theirs), tmp_path / "neither")
    assert "neither is used" in neither.refused[0]


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folders.sounds_folder(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("code", folders.SOUND_TASKS)
def test_rules_that_were_chosen_on_the_test_rows_are_marked(code: str, sounds: Path) -> None:
    result, table = load(sounds, code)
    answer = np.zeros(len(table.items))
    folds = []
    for fold in result.folds:
        rows = np.flatnonzero(np.array(table.folds) == fold["name"])
        columns = ScoredRows.of(table).select(rows).columns
        rule = thresholds.best_rule(TASKS[code], columns)
        answer[rows] = rule(columns)
        folds.append({**fold, "choice": rule.facts()})
    path = save(sounds, result, with_columns(table, {**table.columns, "answer": answer}))
    of_folds = {fold["name"]: fold["choice"] for fold in folds}
    stated = json.loads(path.read_text())["folds"]
    edit(path, folds=[{**fold, "choice": of_folds[fold["name"]]} for fold in stated])
    admission = admit(sounds, TASKS, lambda result: True)
    assert admission.refused == ()
    reasons = [f.reason for f in admission.flagged if f.backbone == STRANGER]
    assert any("no other rule would decide the test rows better" in r for r in reasons), reasons


@pytest.mark.slow
def test_rules_of_training_rows_have_no_mark(sounds: Path) -> None:
    for code in folders.SOUND_TASKS:
        assert stranger(sounds, code).exists()
    shutil.rmtree(sounds / "circor" / "f1-AL-D" / "mel_stats")
    admission = admit(sounds, TASKS, lambda result: True)
    assert [str(f) for f in admission.flagged if f.backbone == STRANGER] == []


def remarks_of(folder: Path, name: str, **changes: object) -> list[str]:
    """What is marked of a stranger's cell under another name and other facts."""
    folders._rename(folders.PUBLISHED / "results", folder, CODE, "vits14_saliency")
    result, table = load(folder, CODE)
    shutil.rmtree(folder)
    save(folder, result, table, backbone=name, **changes)
    return [f.reason for f in admit(folder, TASKS, lambda result: True).flagged]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv2@448",
        "mobilenetv2@448+crop",
        "mobilenetv2@448+",
        "mobilenetv2@4@4",
        "pixel_pca@112",
    ],
)
def test_a_published_backbone_at_another_size_has_its_weights(name: str, tmp_path: Path) -> None:
    """The size of the input is a factor of a result, and changes no weights."""
    (reason,) = remarks_of(tmp_path / "forged", name)
    stem = name.partition("@")[0]
    weights = known_backbones()[stem].weights_sha256
    assert reason == (
        f"its weights_sha256 begins with {folders.SHA[:12]}; that of the published {stem} begins "
        f"with {weights[:12]}"
    )
    assert not check_submission(tmp_path / "forged", EF, protocol="cv5").accepted
    refused = check_submission(tmp_path / "forged", EF, protocol="cv5").refused
    assert f"{name} is the name of a published backbone with other weights" in str(refused)
    settings = {"family": known_backbones()[stem].kind}
    assert remarks_of(tmp_path / "honest", name, weights_sha256=weights, settings=settings) == []


def test_weights_that_depend_on_the_size_are_not_compared(tmp_path: Path) -> None:
    """An embedding of positions is resampled to the size of the input."""
    assert remarks_of(tmp_path, "vits14_saliency@448") == []


def test_one_backbone_at_two_sizes_is_no_copy_of_itself(tmp_path: Path) -> None:
    folders._rename(folders.PUBLISHED / "results", tmp_path, CODE, "vits14_saliency")
    result, table = load(tmp_path, CODE)
    noise = np.random.default_rng(0).standard_normal(len(table.items))
    columns = {**table.columns, "score": table.columns["score"] + 9 * noise}
    save(tmp_path, result, with_columns(table, columns), backbone=f"{STRANGER}@448")
    reasons = [f.reason for f in admit(tmp_path, TASKS, lambda result: True).flagged]
    assert not any("its weights are those of" in reason for reason in reasons), reasons
