"""One person under two ids: listed, named, and counted once by protocols with repeated folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etab import datasets
from etab.datasets.integrity import canonical
from etab.datasets.integrity.check import check
from etab.errors import ResultError
from etab.results import Predictions, Result
from etab.runs.data import Data
from etab.runs.execute import execute
from etab.runs.reproduce import reproduce
from etab.runs.run import Settings, plan
from etab.tasks.menu import TASKS
from etab.tasks.protocol_rows import splits_of
from tests.datasets.test_canonical_splits import write
from tests.trees.sounds import wav

CANONICAL = True  # these data are compared with the canonical split
PAIR = ("patient0033", "patient0068")
TRAINED = ("patient0001", "patient0002", "patient0003", "patient0004", *PAIR, "patient0070")
PARTS = {
    **dict.fromkeys(TRAINED, "training"),
    "patient0200": "validation",
    "patient0206": "validation",
    "patient0027": "testing",
}


def test_camus_lists_the_pair() -> None:
    assert canonical.load("camus").same_person == (PAIR,)


def test_cinc2016_lists_the_pieces_of_six_recordings() -> None:
    split = canonical.load("cinc2016")
    assert split.version == 2
    assert [len(group) for group in split.same_person] == [2, 28, 4, 8, 2, 3]
    names = [name for group in split.same_person for name in group]
    assert len(set(names)) == len(names) == 47
    assert set(names) <= set(split.places)


@pytest.mark.parametrize("name", ["circor", "echonet", "tmed"])
def test_other_splits_keep_their_digest(name: str) -> None:
    assert canonical.load(name).same_person == ()


@pytest.mark.parametrize("absent", PAIR)
def test_an_id_without_the_other_stays_as_it_is(tmp_path: Path, absent: str) -> None:
    parts = {name: part for name, part in PARTS.items() if name != absent}
    source = datasets.source("camus", write(tmp_path, parts))
    assert canonical.same_people(source) == {}
    assert list(source.notes()) == []


def test_phantom_patients_of_these_names_are_two(phantom_tree: Callable[..., Path]) -> None:
    """Two made patients get the names of the pair, in their files and in the lists."""
    root = phantom_tree(["camus"]) / "camus"
    for old, new in zip(("patient0005", "patient0006"), PAIR, strict=True):
        for path in [*root.rglob(f"{old}_*"), root / "database_nifti" / old]:
            path.rename(path.with_name(path.name.replace(old, new)))
        for listed in root.glob("database_split/*.txt"):
            listed.write_text(listed.read_text().replace(old, new))
    source = datasets.source("camus", root)
    assert set(PAIR) <= {record.patient for record in source.records()}
    assert canonical.same_people(source) == {}


def test_data_check_names_the_pair(tmp_path: Path) -> None:
    report = check("camus", write(tmp_path, PARTS))
    named = [remark for remark in report.remarks if all(name in remark for name in PAIR)]
    assert len(named) == 1, report.render()
    assert "one person under 2 ids" in named[0]


def test_repeated_folds_count_people(tmp_path: Path) -> None:
    data = Data(Settings(root=write(tmp_path, PARTS)))
    for code in ("b0-A4-C", "a0-A4-C", "b1-A4-C"):
        task = TASKS[code]
        rows = data.rows_of_people(task, "cv2x2")
        assert rows.items == data.rows(task).items
        assert rows.n_patients == len(PARTS) - 1
        both = [i for i, record in enumerate(rows.records) if record[:11] in PAIR]
        for split in splits_of("cv2x2", 0, rows, task.kind):
            assert len(set(both) & set(split.test.tolist())) in (0, len(both))


@pytest.mark.parametrize("protocol", ["official", "cv5", "cv2", "cv5-5shot-d0"])
def test_published_protocols_keep_the_published_ids(tmp_path: Path, protocol: str) -> None:
    data = Data(Settings(root=write(tmp_path, PARTS)))
    task = TASKS["b0-A4-C"]
    assert data.rows_of_people(task, protocol) is data.rows(task)


@pytest.mark.parametrize(("protocol", "people"), [("cv2", 10), ("cv2x2", 9)])
def test_a_result_carries_the_note_and_resamples_people(
    tmp_path: Path, protocol: str, people: int
) -> None:
    settings = Settings(root=write(tmp_path / "data", PARTS), results=tmp_path / "results")
    runs = plan("b0-A4-C", ["image_stats"], protocols=[protocol])
    (result,) = execute(runs, settings)
    assert isinstance(result, Result)
    assert any("patient0033 and patient0068 are one" in n for n in result.settings["notes"])
    table: Predictions = result.predictions(settings.results)
    assert result.n_patients == len(set(table.patients)) == people


# --- heart sounds: units are recordings ---

PIECES = ("e00226", "e00318", "e00463")
SOUNDS = (*PIECES, "e00469", "e00002", "e00003", "e00004", "e00005", "e00006")
unknown_patients = pytest.mark.filterwarnings("ignore:.*Patients are unknown")


def list_people(
    monkeypatch: pytest.MonkeyPatch, *groups: tuple[str, ...], version: int = 2
) -> None:
    """Let the canonical split of CinC 2016 list these recordings as of one person each."""
    split = replace(canonical.load("cinc2016"), same_person=groups, version=version)
    monkeypatch.setattr(canonical, "load", lambda name: split)


def cinc2016(root: Path, subjects: Mapping[str, str] | None = None) -> Path:
    """A tiny unmarked CinC 2016 of recordings that really exist, every other one abnormal."""
    folder = root / "training-e"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for i, name in enumerate(SOUNDS):
        body = rng.integers(-9000, 9000, 12_000).astype("<i2").tobytes()
        wav(folder / f"{name}.wav", rate=2000, body=body)
        rows.append(f"{name},{1 if i % 2 else -1}\n")
    (folder / "REFERENCE.csv").write_text("".join(rows))
    if subjects is not None:
        (root / "annotations").mkdir()
        lines = ["Challenge record name,Class,Original record name,# Raw record"]
        lines += [f"{n},{1 if i % 2 else -1},e1,{subjects[n]}" for i, n in enumerate(SOUNDS)]
        table = root / "annotations" / "Online_Appendix_training_set.csv"
        table.write_text("\n".join(lines) + "\n")
    return root


@unknown_patients
def test_pieces_of_one_recording_are_one_patient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_people(monkeypatch, PIECES)
    root = cinc2016(tmp_path)
    source = datasets.source("cinc2016", root)
    assert canonical.same_people(source) == dict.fromkeys(PIECES, PIECES[0])
    (note,) = [note for note in source.notes() if "one person" in note]
    assert note.startswith("e00226, e00318 and e00463 are one person under 3 ids.")
    assert "lodo and cv5 keep them apart" in note
    data, task = Data(Settings(root=root)), TASKS["f0-PH-N"]
    assert data.rows_of_people(task, "lodo") is data.rows(task)
    rows = data.rows_of_people(task, "cv2x2")
    assert rows.n_patients == len(SOUNDS) - 2
    pieces = {i for i, record in enumerate(rows.records) if record in PIECES}
    for split in splits_of("cv2x2", 0, rows, task.kind):
        assert len(pieces & set(split.test.tolist())) in (0, 3)


def test_subjects_of_pieces_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces whose subjects the appendix names join these subjects; one subject is no group."""
    list_people(monkeypatch, PIECES)
    subjects = {name: str(i) for i, name in enumerate(SOUNDS)}
    source = datasets.source("cinc2016", cinc2016(tmp_path / "two", subjects))
    patient_of = {record.id: record.patient for record in source.records()}
    joined = {patient_of[name] for name in PIECES}
    assert len(joined) == 3
    assert canonical.same_people(source) == dict.fromkeys(joined, min(joined))
    one = datasets.source("cinc2016", cinc2016(tmp_path / "one", dict.fromkeys(SOUNDS, "9")))
    assert canonical.same_people(one) == {}


def test_a_patient_of_two_groups_joins_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = (("e00226", "e00002"), ("e00003", "e00004"), ("e00318", "e00005"))
    list_people(monkeypatch, *groups)
    subjects = {name: str(i) for i, name in enumerate(SOUNDS)} | dict.fromkeys(PIECES, "9")
    source = datasets.source("cinc2016", cinc2016(tmp_path, subjects))
    person_of = canonical.same_people(source)
    patient_of = {record.id: record.patient for record in source.records()}
    first = {person_of[patient_of[name]] for name in ("e00226", "e00002", "e00318", "e00005")}
    second = {person_of[patient_of[name]] for name in ("e00003", "e00004")}
    assert (len(first), len(second), len(first | second)) == (1, 1, 2)


@unknown_patients
def test_results_of_other_lists_are_not_taken_for_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds follow the list of people: its version is a fact of every result that it decides."""
    list_people(monkeypatch, PIECES)
    settings = Settings(root=cinc2016(tmp_path / "data"), results=tmp_path / "results")
    repeated = plan("f0-PH-N", ["database_only"], protocols=["cv2x2"])
    (result,) = execute(repeated, settings)
    assert isinstance(result, Result)
    assert result.settings["split_version"] == 2
    assert result.n_patients == len(SOUNDS) - 2
    (plain,) = execute(plan("f0-PH-N", ["database_only"], protocols=["cv2"]), settings)
    assert isinstance(plain, Result)
    assert "split_version" not in plain.settings
    path = result.path(settings.results)
    assert reproduce(path, root=settings.root).identical
    list_people(monkeypatch, PIECES, version=3)
    with pytest.raises(ResultError, match="different split version"):
        list(execute(repeated, settings))
    with pytest.raises(ResultError, match=r"its folds are of version 2 .* here of version 3"):
        reproduce(path, root=settings.root)


def test_results_on_camus_have_no_such_fact(tmp_path: Path) -> None:
    data = Data(Settings(root=write(tmp_path, PARTS)))
    assert data.split_version(TASKS["b0-A4-C"], "cv2x2") == 1
