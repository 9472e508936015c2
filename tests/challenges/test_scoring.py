"""etab evaluate: entries of both challenges scored, and refused whole where anything is wrong with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from etab.challenges.scoring import (
    evaluate_cinc2016,
    evaluate_circor2022,
    read_answers,
    read_output,
)
from etab.datasets.circor_layout import read_patient
from etab.errors import (
    CorruptFileError,
    DataNotFoundError,
    EntryError,
    LayoutError,
    UnsupportedOptionError,
)
from etab.metrics.cinc2016 import TRAINING_2016, Weights2016
from etab.sounds.states import MURMUR, OUTCOME
from tests.commands import etab

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["circor", "cinc2016"], seed=7)


def labels(folder: Path) -> dict[str, int]:
    rows = [line.split(",") for line in (folder / "REFERENCE.csv").read_text().splitlines()]
    return {name: int(label) for name, label in rows}


def answers(path: Path, rows: dict[str, int]) -> Path:
    path.write_text("".join(f"{name},{value}\n" for name, value in rows.items()))
    return path


# --- CinC 2016 ---


def test_perfect_and_unsure_entries(made: Path, tmp_path: Path) -> None:
    folder = made / "cinc2016" / "validation"
    truth = labels(folder)
    entry = evaluate_cinc2016(answers(tmp_path / "a.txt", truth), folder)
    assert (entry.score.se, entry.score.sp, entry.score.macc) == (1, 1, 1)
    assert (entry.records, entry.abnormal) == (12, 6)
    assert entry.quality == "of every record", (
        "the quality of the copies is that of the training recordings"
    )
    unsure = evaluate_cinc2016(answers(tmp_path / "a.txt", dict.fromkeys(truth, 0)), folder)
    assert unsure.score.macc == pytest.approx(
        (unsure.score.weights.abnormal_noisy + unsure.score.weights.normal_noisy) / 2
    )
    assert unsure.unsure == 12
    half = evaluate_cinc2016(
        answers(tmp_path / "a.txt", dict.fromkeys(truth, 0)), folder, rule="phase1"
    )
    assert half.score.macc == 0.5


def test_whole_release_and_weights(made: Path, tmp_path: Path) -> None:
    root = made / "cinc2016"
    truth = {k: v for letter in "abcdef" for k, v in labels(root / f"training-{letter}").items()}
    wrong = dict(truth)
    noisy = next(
        line.split(",")[0]
        for f in sorted(root.glob("training-?/REFERENCE-SQI.csv"))
        for line in f.read_text().splitlines()
        if line.endswith("1,0")
    )
    wrong[noisy] = -truth[noisy]
    path = answers(tmp_path / "a.txt", wrong)
    own, training = evaluate_cinc2016(path, root), evaluate_cinc2016(path, root, weights="training")
    assert own.records == 26
    assert own.score.macc < 1
    assert training.score.weights == TRAINING_2016
    given = evaluate_cinc2016(path, root, weights=Weights2016(1, 0, 1, 0))
    assert given.score.macc == 1, "a weight of 0 for noisy records leaves them out of the score"


def test_without_quality_all_is_clean_and_that_is_said(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "cinc2016" / "validation" / "REFERENCE.csv", tmp_path)
    truth = labels(tmp_path)
    entry = evaluate_cinc2016(answers(tmp_path / "a.txt", truth), tmp_path)
    assert entry.quality == "unknown of 12 of 12 records, read as clean"
    assert entry.score.weights == Weights2016(1.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[:-2], "2 without an answer: "),
        (lambda rows: [*rows, "z0001,1"], "1 unknown to .*: z0001"),
        (lambda rows: [*rows, rows[0]], "1 answered twice: "),
        (
            lambda rows: [*rows[:-1], rows[-1].split(",")[0] + ",2"],
            "1 not 'record,1', 'record,-1' or 'record,0': line 12",
        ),
        (lambda rows: [*rows[:-1], rows[-1].split(",")[0]], "line 12"),
        (lambda rows: [*rows[:-1], rows[-1] + ",1"], "line 12"),
        (lambda rows: [], "12 without an answer: .*and 7 more"),
    ],
)
def test_answers_are_refused_whole(made: Path, tmp_path: Path, change, said: str) -> None:
    folder = made / "cinc2016" / "validation"
    path = tmp_path / "answers.txt"
    path.write_text("\n".join(change((folder / "REFERENCE.csv").read_text().splitlines())))
    with pytest.raises(
        EntryError, match=rf"answers\.txt is not scored\. .*{said}.*no row is dropped"
    ):
        evaluate_cinc2016(path, folder)


def test_numbers_saved_by_other_programs_are_numbers(tmp_path: Path) -> None:
    answers = tmp_path / "answers.txt"
    answers.write_text("a0001,1.0\na0002,-1.00\na0003,+1\na0004,0.\n")
    assert read_answers(answers) == {"a0001": 1, "a0002": -1, "a0003": 1, "a0004": 0}
    output = tmp_path / "2530.csv"
    names = ("Present", "Unknown", "Absent", "Abnormal", "Normal")
    output.write_text(f"#2530\n{','.join(names)}\n1.00,0.,FALSE,1e0,f\n.5,5e-1,0,1,+0.25\n")
    identifier, row = read_output(output)
    assert identifier == "2530"
    assert [row[name] for name in names] == [
        (True, 0.5),
        (False, 0.5),
        (False, 0.0),
        (True, 1.0),
        (False, 0.25),
    ]


def test_what_cannot_be_scored_against(made: Path, tmp_path: Path) -> None:
    folder = made / "cinc2016" / "validation"
    path = answers(tmp_path / "a.txt", labels(folder))
    with pytest.raises(DataNotFoundError, match=r"b\.txt is not a file"):
        evaluate_cinc2016(tmp_path / "b.txt", folder)
    with pytest.raises(DataNotFoundError, match="nowhere is not a folder"):
        evaluate_cinc2016(path, tmp_path / "nowhere")
    with pytest.raises(LayoutError, match=r"neither REFERENCE\.csv nor training-a/"):
        evaluate_cinc2016(path, tmp_path)
    for options, said in (
        ({"rule": "best"}, "rule is 'best'"),
        ({"weights": "mine"}, "weights are 'mine'"),
        ({"rule": "phase1", "weights": "training"}, "has no weights"),
    ):
        with pytest.raises(UnsupportedOptionError, match=said):
            evaluate_cinc2016(path, folder, **options)


# --- Challenge 2022 ---


def outputs(folder: Path, tree: Path, seed: int = 0) -> Path:
    """A random entry with reordered classes."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for path in sorted((tree / "training_data").glob("*.txt")):
        m, o = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(2))
        chosen, order = [*(m == m.max()), *(o == o.max())], rng.permutation(5)
        rows = ([*MURMUR, *OUTCOME], [int(c) for c in chosen], [*m, *o])
        lines = [",".join(str(row[i]) for i in order) for row in rows]
        (folder / f"{path.stem}.csv").write_text("\n".join([f"#{path.stem}", *lines]) + "\n")
    return folder


def rewrite(folder: Path, line: int, change) -> str:
    path = min(folder.glob("*.csv"))
    rows = path.read_text().splitlines()
    rows[line] = change(rows[line])
    path.write_text("\n".join(rows) + "\n")
    return path.name


def test_an_entry_is_scored_as_the_rules_say(made: Path, tmp_path: Path) -> None:
    folder = outputs(tmp_path / "o", made / "circor")
    entry = evaluate_circor2022(folder, made / "circor")
    patients = {p.stem: read_patient(p) for p in (made / "circor" / "training_data").glob("*.txt")}
    right = total = 0
    for name, patient in patients.items():
        rows = [line.split(",") for line in (folder / f"{name}.csv").read_text().splitlines()[1:]]
        said = next(c for c, v in zip(rows[0], rows[1], strict=True) if v == "1" and c in MURMUR)
        weight = {"Present": 5, "Unknown": 3, "Absent": 1}[patient.facts["Murmur"]]
        total, right = total + weight, right + weight * (said == patient.facts["Murmur"])
    assert entry.murmur.weighted_accuracy == pytest.approx(right / total, abs=1e-12)
    assert (entry.patients, entry.repaired) == (12, 0)


def test_rows_without_one_class_are_read_as_positive_and_counted(
    made: Path, tmp_path: Path
) -> None:
    folder = outputs(tmp_path / "o", made / "circor")
    for path in folder.glob("*.csv"):
        rows = path.read_text().splitlines()
        rows[2] = "False,0,false,0.0,F"
        path.write_text("\n".join(rows))
    entry = evaluate_circor2022(folder, made / "circor" / "training_data")
    assert entry.repaired == 24
    assert entry.outcome.cost == entry.murmur.cost
    assert entry.murmur.accuracy_classes[0] == 1.0


@pytest.mark.parametrize(
    ("line", "change", "said"),
    [
        (0, lambda r: "#1", "of another patient than its name says: "),
        (0, lambda r: "2530", "wanted four: '#ID'"),
        (
            1,
            lambda r: r.replace("Present", "Loud"),
            "wanted each of Present, Unknown, Absent, Abnormal, Normal once",
        ),
        (1, lambda r: r.replace("Absent", "Present"), "once"),
        (2, lambda r: "2,0,0,0,1", "is '2'; wanted 0 or 1"),
        (2, lambda r: "1,0,0,1", "wanted four"),
        (3, lambda r: "nan,0,0,0,1", "is 'nan'; wanted a finite number"),
        (3, lambda r: "0,0,high,0,1", "is 'high'; wanted a finite number"),
        (3, lambda r: "0,0,inf,0,1", "wanted a finite number"),
    ],
)
def test_outputs_are_refused(made: Path, tmp_path: Path, line: int, change, said: str) -> None:
    folder = outputs(tmp_path / "o", made / "circor")
    name = rewrite(folder, line, change)
    with pytest.raises(EntryError, match=said) as error:
        evaluate_circor2022(folder, made / "circor")
    assert name in str(error.value)


def test_missing_and_unknown_patients(made: Path, tmp_path: Path) -> None:
    folder = outputs(tmp_path / "o", made / "circor")
    min(folder.glob("*.csv")).rename(folder / "99999.csv")
    with pytest.raises(
        EntryError, match=r"1 without an output: \d+\. 1 unknown to .*: 99999\. Correct"
    ):
        evaluate_circor2022(folder, made / "circor")
    with pytest.raises(LayoutError, match="holds no patient"):
        evaluate_circor2022(folder, folder)
    with pytest.raises(DataNotFoundError, match="nowhere is not a folder"):
        evaluate_circor2022(tmp_path / "nowhere", made / "circor")
    (folder / "99999.csv").write_bytes(b"\xff\xfe")
    with pytest.raises((EntryError, CorruptFileError)):
        evaluate_circor2022(folder, made / "circor")


# --- commands ---


def test_commands(made: Path, tmp_path: Path) -> None:
    folder = made / "cinc2016" / "validation"
    path = answers(tmp_path / "answers.txt", labels(folder))
    run = etab("evaluate", "cinc2016", "--answers", path, "--reference", folder)
    assert run.returncode == 0, run.stderr
    assert "MAcc 1.0000" in run.stdout
    asked = ("--weights", "0.5,0.5,0.5,0.5", "--json")
    run = etab("evaluate", "cinc2016", "--answers", path, "--reference", folder, *asked)
    assert json.loads(run.stdout)["score"]["macc"] == 1
    path.write_text("a0001,1\n")
    run = etab("evaluate", "cinc2016", "--answers", path, "--reference", folder)
    assert run.returncode == 2
    assert "without an answer" in run.stderr
    entry = outputs(tmp_path / "o", made / "circor")
    run = etab("evaluate", "circor2022", "--outputs", entry, "--labels", made / "circor", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["patients"] == 12
