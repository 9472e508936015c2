"""Predictions of repeated folds that are somebody else's, of another task, or that no run writes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.leaderboard.admission.admit import admit
from etab.leaderboard.admission.submission import check_submission
from etab.leaderboard.suites import Suite
from etab.results import Predictions, Result
from etab.results.table_files import table_path
from etab.storage.atomic import slug
from etab.tasks.menu import TASKS
from tests.leaderboard.admission.folders import PUBLISHED, edit, with_columns

PUBLISHED_NAMES = ("mobilenetv2", "pixel_pca", "vits14_saliency")
Table = Predictions
Change = Callable[[Table], Table]


def _file(code: str, backbone: str) -> Path:
    (path,) = (PUBLISHED / "results" / "camus" / code / slug(backbone)).glob("cv5x5-stack-*.json")
    return path


def _published(code: str, backbone: str) -> Table:
    return Result.load(_file(code, backbone)).predictions(PUBLISHED / "results")


def _with_scores(table: Table, scores: Any) -> Table:
    columns = {**table.columns, "score": np.asarray(scores, dtype=float)}
    return with_columns(table, columns, repeats=table.repeats)


def _scores(change: Callable[[Any], Any]) -> Change:
    return lambda table: _with_scores(table, change(table.columns["score"]))


def _of_repeat(wanted: Callable[[int], int]) -> Change:
    """The prediction of every row from another division into folds."""

    def changed(table: Table) -> Table:
        rows = zip(table.items, table.repeats, strict=True)
        score = dict(zip(rows, table.columns["score"], strict=True))
        rows = zip(table.items, table.repeats, strict=True)
        return _with_scores(table, [score[item, wanted(repeat)] for item, repeat in rows])

    return changed


def _noise(size: float) -> Callable[[Any], Any]:
    return lambda scores: scores + size * np.random.default_rng(0).standard_normal(len(scores))


def _with_wild_rows(table: Table) -> Table:
    """A copy with noise in which every 400th prediction is far off."""
    scores = _noise(1e-3)(table.columns["score"])
    scores[::400] += 60
    return _with_scores(table, scores)


def _another_scale_in_each_fold(table: Table) -> Table:
    """A copy in which the order of the scores of a fold is kept, and that of all scores is not."""
    scores = np.array(table.columns["score"])
    folds = np.array(
        [f"{repeat} {fold}" for repeat, fold in zip(table.repeats, table.folds, strict=True)]
    )
    for number, fold in enumerate(np.unique(folds)):
        of_fold = folds == fold
        scores[of_fold] = scores[of_fold] ** (1 + number % 3) / (1 + number % 4)
    return _with_scores(table, scores)


def _rows_backwards(table: Table) -> Table:
    facts = {n: getattr(table, n)[::-1] for n in ("items", "patients", "folds", "repeats")}
    columns = {name: column[::-1] for name, column in table.columns.items()}
    return Predictions(table.kind, columns=columns, **facts)


def _mean_of_two(table: Table) -> Table:
    others = [_published("b0-A4-C", name).columns["score"] for name in PUBLISHED_NAMES[:2]]
    return _with_scores(table, np.mean(others, axis=0))


def _with_truth(table: Table) -> Table:
    mean = _mean_of_two(table).columns["score"]
    return _with_scores(table, 0.85 * mean + 0.15 * table.columns["truth"])


def _mean_of_two_with_noise(table: Table) -> Table:
    """Noise of 4 % of the spread of the predictions."""
    mean = _mean_of_two(table).columns["score"]
    return _with_scores(table, _noise(0.04 * np.std(mean))(mean))


def _centred_in_each_fold(table: Table) -> Table:
    """Predictions with the intercept that the test rows of each fold have."""
    scores = _noise(3)(table.columns["score"])
    rows_of: dict[tuple[int, str], list[int]] = {}
    for row, fold in enumerate(zip(table.repeats, table.folds, strict=True)):
        rows_of.setdefault(fold, []).append(row)
    for rows in rows_of.values():
        scores[rows] -= np.mean(scores[rows] - table.columns["truth"][rows])
    return _with_scores(table, scores)


def _patients_exchanged(table: Table) -> Table:
    """The predictions of the patients in another order, the same in all divisions."""
    order = np.random.default_rng(0).permutation(len(set(table.items)))
    new = np.array(table.columns["score"])
    for repeat in set(table.repeats):
        rows = np.flatnonzero(np.array(table.repeats) == repeat)
        by_item = rows[np.argsort(np.array(table.items)[rows])]
        new[by_item] = table.columns["score"][by_item[order]]
    return _with_scores(table, new)


def _of_other_view(table: Table) -> Table:
    other = _published("b0-A2-C", "vits14_saliency")
    rows = zip(other.patients, other.repeats, strict=True)
    score = dict(zip(rows, other.columns["score"], strict=True))
    rows = zip(table.patients, table.repeats, strict=True)
    return _with_scores(table, [score.get(row, 50.0) for row in rows])


COPY = "its predictions are those of mobilenetv2 (correlation"
SAME = "its predictions are the same in two or more divisions"
MARKED: dict[str, tuple[str, Change, str]] = {
    "a copy": ("mobilenetv2", lambda table: table, COPY),
    "a copy, last row first": ("mobilenetv2", _rows_backwards, COPY),
    "a copy with noise": ("mobilenetv2", _scores(_noise(0.1)), COPY),
    "a copy rounded": ("mobilenetv2", _scores(np.round), COPY),
    "a copy of other divisions": ("mobilenetv2", _of_repeat(lambda r: (r + 1) % 5), COPY),
    "a copy with a few wild rows": ("mobilenetv2", _with_wild_rows, COPY),
    "one division five times": ("vits14_saliency", _of_repeat(lambda r: 0), SAME),
    "one division twice": ("vits14_saliency", _of_repeat(lambda r: max(r, 1)), SAME),
    "rounded": ("vits14_saliency", _scores(lambda s: np.round(_noise(2)(s))), "more than 4 digits"),
    "a mean of two": ("vits14_saliency", _mean_of_two, "a mixture of those of the published"),
    "a mean of two with noise": (
        "vits14_saliency",
        _mean_of_two_with_noise,
        "a mixture of those of the published",
    ),
    "centred on test rows": (
        "vits14_saliency",
        _centred_in_each_fold,
        "the mean error is nearly 0 in each of 25 folds",
    ),
    "two published ones and the truth": (
        "mobilenetv2",
        _with_truth,
        "a mixture of published ones and the truth",
    ),
    "a copy of other patients": (
        "mobilenetv2",
        _patients_exchanged,
        "those of mobilenetv2 for other rows",
    ),
    "another task": (
        "vits14_saliency",
        _of_other_view,
        "its predictions are those of vits14_saliency for b0-A2-C",
    ),
}


def _hand_in(
    folder: Path, name: str, source: str, change: Change, code: str = "b0-A4-C", **facts: Any
) -> None:
    """Save a changed table under a name of its own; the record states what follows from it."""
    table = change(_published(code, source))
    path = folder / "camus" / code / slug(name) / "cv5x5-stack-s0.json"
    path.parent.mkdir(parents=True)
    shutil.copy(_file(code, source), path)
    text = table.to_csv()
    path.with_suffix(".csv").write_text(text)
    sha = hashlib.sha256(text.encode()).hexdigest()
    digest = hashlib.sha256(name.encode()).hexdigest()
    edit(path, **{"predictions_sha256": sha, "backbone": name, "weights_sha256": digest, **facts})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Published results of b0; what records state of their values is another test's subject."""
    for name in ("contradictions", "wrong_intervals"):
        nothing = (lambda cells: [[] for _ in cells]) if name[0] == "w" else (lambda *a, **k: [])
        monkeypatch.setattr(f"etab.leaderboard.admission.admit.{name}", nothing)
    for code in ("b0-A2-C", "b0-A4-C", "d0-A4-C"):
        for name in PUBLISHED_NAMES:
            record = _file(code, name)
            to = tmp_path / "results" / "camus" / code / slug(name)
            to.mkdir(parents=True)
            for path in (record, table_path(record)):
                shutil.copy(path, to)
    return tmp_path / "results"


def marks(folder: Path) -> dict[str, list[str]]:
    """The remarks about each backbone."""
    admission = admit(folder, TASKS, lambda result: True)
    assert admission.refused == ()
    found: dict[str, list[str]] = {}
    for finding in admission.flagged:
        found.setdefault(finding.backbone, []).append(finding.reason)
    return found


def test_published_results_have_no_mark(folder: Path) -> None:
    assert marks(folder) == {}


@pytest.mark.parametrize("kind", MARKED)
def test_the_copy_is_marked_and_not_the_published_backbone(kind: str, folder: Path) -> None:
    source, change, words = MARKED[kind]
    _hand_in(folder, "a-stranger", source, change)
    found = marks(folder)
    assert found.keys() == {"a-stranger"}
    assert any(words in reason for reason in found["a-stranger"]), found


def test_a_copy_with_another_scale_in_each_fold_is_marked(folder: Path) -> None:
    _hand_in(folder, "a-stranger", "mobilenetv2", _another_scale_in_each_fold, "d0-A4-C")
    found = marks(folder)
    assert found.keys() == {"a-stranger"}
    assert found["a-stranger"][0].startswith(COPY)


def test_of_two_strangers_with_the_same_predictions_both_are_marked(folder: Path) -> None:
    for name in ("one", "two"):
        _hand_in(folder, name, "vits14_saliency", _scores(_noise(3)))
    found = marks(folder)
    assert "those of two (correlation" in found["one"][0]
    assert "those of one (correlation" in found["two"][0]


def test_many_copies_are_one_remark(folder: Path) -> None:
    for number in range(9):
        _hand_in(folder, f"stranger{number}", "vits14_saliency", _scores(_noise(3)))
    for reasons in marks(folder).values():
        assert len(reasons) == 1
        assert reasons[0].endswith("and 5 more")


def test_two_names_of_one_network_are_marked(folder: Path) -> None:
    for number, name in enumerate(("one", "two"), start=3):
        _hand_in(folder, name, "vits14_saliency", _scores(_noise(number)), weights_sha256="ab" * 32)
    assert marks(folder) == {
        "one": ["its weights are those of two"],
        "two": ["its weights are those of one"],
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table, COPY),
        (
            lambda table: _with_scores(
                table, 0.85 * _noise(3)(table.columns["score"]) + 0.15 * table.columns["truth"]
            ),
            "or the truth was mixed in",
        ),
        (_scores(_noise(3)), ""),
    ],
    ids=["a copy", "15 % of the truth", "an honest one"],
)
def test_a_submission_alone_is_compared_with_the_published_results(
    change: Change, words: str, folder: Path
) -> None:
    shutil.rmtree(folder)
    _hand_in(folder, "a-stranger", "mobilenetv2", change)
    submission = check_submission(folder, Suite(name="ef", version=1, tasks=("b0-A4-C",)))
    assert submission.accepted
    reasons = [finding.reason for finding in submission.flagged]
    assert {finding.backbone for finding in submission.flagged} <= {"a-stranger"}
    assert any(words in reason for reason in reasons) if words else reasons == []
