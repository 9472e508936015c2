"""`etab evaluate echorisk`: equal to the official scorer, and files that are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from etab.challenges.echorisk import RISK_TASKS, evaluate_echorisk
from etab.errors import (
    CorruptFileError,
    DataNotFoundError,
    EntryError,
    EtabError,
    UndefinedError,
    UnsupportedOptionError,
)
from etab.metrics.echorisk import cardiotoxicity_scores, dysfunction_scores

GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "echorisk.json").read_text())


def written(folder: Path, entry: dict[str, Any]) -> tuple[Path, Path]:
    """The predictions of an entry, in reverse order, and the reference values."""
    task = RISK_TASKS[entry["task"]]
    predictions, truth = folder / "predictions.csv", folder / "manifest.csv"
    exams = [f"ECHORISK_{i // 2:04d},T{i % 2 + 1}" for i in range(len(entry["truth"]))]
    rows = [f"{exam},{v!r}" for exam, v in zip(exams, entry["predictions"], strict=True)]
    predictions.write_text(
        "\n".join([f"patient_id,timepoint,{task.predicted}", *reversed(rows)]) + "\n"
    )
    rows = [f"{exam},a.dcm,{v!r}" for exam, v in zip(exams, entry["truth"], strict=True)]
    truth.write_text("\n".join([f"patient_id,timepoint,video_a4c,{task.truth}", *rows]) + "\n")
    return predictions, truth


def test_scores_are_those_of_the_official_scorer(tmp_path: Path) -> None:
    assert {entry["task"] for entry in GOLDENS["entries"]} == {1, 2, 3}
    for entry in GOLDENS["entries"]:
        scores = evaluate_echorisk(*written(tmp_path, entry), entry["task"]).scores
        assert set(scores) == set(entry["scores"])
        for name, value in entry["scores"].items():
            wanted = value if value is None else pytest.approx(value, abs=1e-12)
            assert scores[name] == wanted, (entry["task"], name)


@pytest.mark.parametrize("seed", range(12))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 60))
    truth = rng.integers(0, 2, n)
    truth[:2] = (0, 1)
    p = rng.uniform(size=n).round(seed % 3 + 1)
    fpr, tpr, _ = reference.roc_curve(truth, p)
    scores = {**dysfunction_scores(truth, p), **cardiotoxicity_scores(truth, p)}
    assert scores["auroc"] == pytest.approx(reference.roc_auc_score(truth, p))
    assert scores["auprc"] == pytest.approx(reference.average_precision_score(truth, p))
    assert scores["f1"] == pytest.approx(reference.f1_score(truth, p >= 0.5, zero_division=0))
    assert scores["brier"] == pytest.approx(reference.brier_score_loss(truth, p))
    assert scores["sensitivity_at_fpr_20"] == pytest.approx(tpr[fpr <= 0.2].max())
    assert scores["balanced_accuracy"] == pytest.approx(
        reference.balanced_accuracy_score(truth, p >= 0.5)
    )


@pytest.mark.parametrize("n", [2, 3, 10, 11, 25])
@pytest.mark.parametrize("step", [(1, 1), (0, 1), (1, 0), (2, 1)])
def test_equal_steps_of_the_curve_are_those_of_scikit_learn(n: int, step: tuple[int, int]) -> None:
    """Thresholds that all add as many positives and as many negatives, after a first one of both."""
    positives, negatives = step
    truth = np.concatenate([[1, 0], *[[1] * positives + [0] * negatives] * n, [1, 0]])
    p = np.concatenate([[0.9, 0.9], *[[0.8 - i / 100] * (positives + negatives) for i in range(n)]])
    p = np.concatenate([p, [0.1, 0.1]])
    fpr, tpr, _ = reference.roc_curve(truth, p)
    scores = {**dysfunction_scores(truth, p), **cardiotoxicity_scores(truth, p)}
    assert scores["sensitivity_at_90_specificity"] == pytest.approx(tpr[fpr <= 0.1].max())
    assert scores["sensitivity_at_fpr_10"] == pytest.approx(tpr[fpr <= 0.1].max())
    assert scores["sensitivity_at_fpr_20"] == pytest.approx(tpr[fpr <= 0.2].max())


HEAD = "patient_id,timepoint,lvef_pred\n"
TRUTH = "patient_id,timepoint,lvef\nA,T1,50\nA,T2,45\nB,T1,60\n"


@pytest.mark.parametrize(
    ("predictions", "words"),
    [
        ("A,T1,50\nB,T1,60\n", "1 examination without a prediction: A T2"),
        ("A,T1,50\nA,T2,45\nB,T1,60\nA,T1,50\n", "1 examination in more than one row: A T1"),
        ("A,T1,50\nA,T2,nan\nB,T1,100.5\n", "2 examinations with a lvef_pred that is not"),
        ("A,T1,-1\nA,T2,5\nB,T1,inf\n", "a number from 0 to 100: A T1, B T1"),
        (",T1,50\n", "3 examinations without a prediction: A T1"),
        ("A ,T1,50\nA,T2,45\nB,T1,60\n", "blanks around the patient_id or timepoint: A  T1"),
        (
            "A,T1,50\nA,T2,45\nB,T1,60\nC,T1,high\n",
            "without a reference value, with a lvef_pred in words",
        ),
        ("", "holds no examination"),
    ],
)
def test_entries_that_are_refused(tmp_path: Path, predictions: str, words: str) -> None:
    (tmp_path / "p.csv").write_text(HEAD + predictions)
    (tmp_path / "t.csv").write_text(TRUTH)
    with pytest.raises(EntryError, match=re.escape(words)):
        evaluate_echorisk(tmp_path / "p.csv", tmp_path / "t.csv", 1)


@pytest.mark.parametrize("head", [HEAD.replace(",", ";"), HEAD.replace(",", ", "), HEAD.upper()])
def test_a_header_that_the_official_scorer_refuses(tmp_path: Path, head: str) -> None:
    separator = ";" if ";" in head else ","
    rows = "A,T1,50\nA,T2,45\nB,T1,60\n".replace(",", separator)
    (tmp_path / "p.csv").write_text(head + rows)
    (tmp_path / "t.csv").write_text(TRUTH)
    with pytest.raises(EntryError, match="wanted patient_id,timepoint,lvef_pred, separated by com"):
        evaluate_echorisk(tmp_path / "p.csv", tmp_path / "t.csv", 1)


def test_answers_in_words_and_rows_without_a_key(tmp_path: Path) -> None:
    """As the official scorer: true and false throughout are 1 and 0, a row of nobody is extra."""
    truth = "patient_id,timepoint,lv_dysfunction\nA,T1,0\nB,T1,1\n"
    (tmp_path / "t.csv").write_text(truth)
    head = "patient_id,timepoint,dysfunction_pred\n"
    (tmp_path / "p.csv").write_text(f"{head}A,T1,False\nB,T1,TRUE\n")
    assert evaluate_echorisk(tmp_path / "p.csv", tmp_path / "t.csv", 2).scores["auroc"] == 1
    (tmp_path / "p.csv").write_text(f"{head}A,T1,.2\nB,T1,.3\n,T1,.5\n")
    assert evaluate_echorisk(tmp_path / "p.csv", tmp_path / "t.csv", 2).extra == 1
    (tmp_path / "p.csv").write_text(f"{head}A,T1,0.2\nB,T1,TRUE\n")
    with pytest.raises(EntryError, match="that is not a number from 0 to 1: B T1"):
        evaluate_echorisk(tmp_path / "p.csv", tmp_path / "t.csv", 2)


@pytest.mark.parametrize(
    ("truth", "error", "words"),
    [
        ("A,T1,0\nB,T1,0\n", UndefinedError, "All 2 examinations are negative"),
        ("A,T1,0\nB,T1,2\n", CorruptFileError, "lv_dysfunction that is not 0 or 1: B T1"),
        ("A,T1,0\nB,T1,\n", CorruptFileError, "lv_dysfunction that is not 0 or 1: B T1"),
        ("A,T1,0\nB,T1,1\nB,T1,1\n", CorruptFileError, "in more than one row: B T1"),
    ],
)
def test_reference_values_that_are_refused(
    tmp_path: Path, truth: str, error: type[EtabError], words: str
) -> None:
    (tmp_path / "p.csv").write_text("patient_id,timepoint,dysfunction_pred\nA,T1,0\nB,T1,1\n")
    (tmp_path / "t.csv").write_text("patient_id,timepoint,lv_dysfunction\n" + truth)
    with pytest.raises(error, match=re.escape(words)):
        evaluate_echorisk(tmp_path / "p.csv", tmp_path / "t.csv", 2)


def test_what_cannot_be_scored_is_named(tmp_path: Path) -> None:
    predictions, truth = written(tmp_path, GOLDENS["entries"][0])
    with pytest.raises(UnsupportedOptionError, match="task is 4; the tasks of EchoRisk are 1, 2"):
        evaluate_echorisk(predictions, truth, 4)
    with pytest.raises(DataNotFoundError, match="gone is not a file"):
        evaluate_echorisk(tmp_path / "gone", truth, 1)
    other = GOLDENS["entries"][0]["task"] % 3 + 1
    with pytest.raises(CorruptFileError, match="has no column"):
        evaluate_echorisk(predictions, truth, other)


def test_the_command_prints_the_official_names(tmp_path: Path) -> None:
    entry = next(e for e in GOLDENS["entries"] if e["task"] == 3)
    predictions, truth = written(tmp_path, entry)
    with predictions.open("a") as file:
        file.write("ECHORISK_9999,T1,0.5\n")
    words = ("--predictions", predictions, "--truth", truth, "--task", 3)
    shown = run_command(*words, "--json")
    assert json.loads(shown)["scores"].keys() == entry["scores"].keys()
    assert json.loads(shown)["extra"] == 1
    assert "1 prediction not counted: the examination has no reference value" in run_command(*words)


def run_command(*words: object) -> str:
    from typer.testing import CliRunner

    from etab.cli.evaluate import app

    result = CliRunner().invoke(app, ["echorisk", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout
