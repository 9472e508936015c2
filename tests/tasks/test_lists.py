"""Published lists of folds: their files, what is refused, what is told, and the same values as a named split."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from etab.cli.listing import TABLES
from etab.datasets.integrity.canonical import load as canonical_split
from etab.errors import CorruptFileError, DataNotFoundError, SplitError
from etab.finetuning.plan import plan as finetuning_plan
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.tasks import lists
from etab.tasks.lists import SHIPPED, list_key, list_notes, list_splits, listed_folds, read_lists
from etab.tasks.menu import TASKS
from etab.tasks.protocol_rows import splits_of
from etab.tasks.protocols import chosen, parse
from etab.tasks.rows import Rows
from etab.types import Kind

LISTS = Path(__file__).resolve().parents[2] / "configs" / "lists"
FOLD = {"train": ["p0", "p1", "p2"], "val": ["p3"], "test": ["p4", "p5"]}


def rows_of(patients: list[str], records: list[str] | None = None) -> Rows:
    names = tuple(records or [f"{patient}_4CH" for patient in patients])
    n = len(patients)
    return Rows(
        items=names,
        patients=np.array(patients),
        parts=np.array([""] * n),
        frames=np.arange(n)[:, None],
        answers=np.arange(n, dtype=float),
        spacing=(None,) * n,
        missing=(),
        records=names,
        units=names,
    )


def write_json(path: Path, *folds: dict[str, list[str]]) -> Path:
    named = [{"name": f"f{i}", **fold} for i, fold in enumerate(folds, start=1)]
    path.write_text(json.dumps({"folds": named}))
    return path


def write_csv(path: Path, fold: dict[str, list[str]]) -> Path:
    lines = [f"f1,{name},{part}" for part, names in fold.items() for name in names]
    path.write_text("\n".join(["fold,id,part", *lines]) + "\n")
    return path


def write_folder(path: Path, fold: dict[str, list[str]], name: str = "f1") -> Path:
    path.mkdir(exist_ok=True)
    words = {"train": "training", "val": "validation", "test": "testing"}
    for part, names in fold.items():
        (path / f"{name}_{words[part]}.txt").write_text("\n".join(names) + "\n")
    return path


def test_three_forms_of_a_file_are_one_list(tmp_path: Path) -> None:
    forms = [
        write_json(tmp_path / "x.json", FOLD),
        write_csv(tmp_path / "x.csv", FOLD),
        write_folder(tmp_path / "x", FOLD),
    ]
    keys = {list_key(str(form)) for form in forms}
    assert len(keys) == 1
    (key,) = keys
    assert parse(f"lists:{tmp_path / 'x.csv'}").name == f"lists:{key}"
    assert parse(f"lists:{key}").name == f"lists:{key}"
    (split,) = list_splits(key, rows_of([f"p{i}" for i in range(7)]), 0)
    assert split.train.tolist() == [0, 1, 2, 3]
    assert [part.tolist() for part in split.inner] == [[3]]
    assert split.test.tolist() == [4, 5]
    assert chosen(TASKS["b0-A4-C"], [f"lists:{key}"], 5) == [f"lists:{key}"]


def test_folds_of_a_folder_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write_folder(tmp_path / "s", FOLD, f"subGroup{number}")
    names = [fold.name for fold in read_lists(tmp_path / "s")]
    assert names == ["subGroup1", "subGroup2", "subGroup10"]


def test_another_list_has_another_name(tmp_path: Path) -> None:
    first = list_key(str(write_json(tmp_path / "x.json", FOLD)))
    other = list_key(str(write_json(tmp_path / "x.json", {**FOLD, "test": ["p4"]})))
    assert first != other
    assert first.partition("@")[0] == other.partition("@")[0] == "x"


@pytest.mark.parametrize(
    ("fold", "problem"),
    [
        ({**FOLD, "test": ["p4", "p0"]}, "p0 lies in train and in test of the fold f1"),
        ({**FOLD, "val": ["p4"]}, "p4 lies in val and in test"),
        ({"train": ["p0"]}, "has no test ids"),
        ({"test": ["p0"]}, "has no train ids"),
    ],
)
def test_lists_that_leak_or_lack_a_part_are_refused(
    fold: dict[str, list[str]], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(SplitError, match=problem):
        list_key(str(write_json(tmp_path / "x.json", fold)))
    with pytest.raises(SplitError, match=problem):
        list_key(str(write_csv(tmp_path / "x.csv", fold)))


def test_the_lists_of_etab_are_listed() -> None:
    rows = TABLES["lists"]().rows
    assert [row[0] for row in rows] == [f"lists:{name}" for name in SHIPPED]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not a JSON file"),
        ("{}", 'has no "folds"'),
        ('{"folds": [{"train": "p1"}]}', "holds no lists of ids"),
    ],
)
def test_files_that_are_no_lists_are_named(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(CorruptFileError, match=problem):
        list_key(str(path))


def test_other_slips_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="There is no list of folds"):
        list_key(str(tmp_path / "none.json"))
    with pytest.raises(DataNotFoundError, match="names no list of folds"):
        list_key("")
    for header in ("id,part", "exam_id,five_fold_split"):
        (tmp_path / "empty.csv").write_text(f"{header}\n")
        with pytest.raises(CorruptFileError, match="holds no rows"):
            list_key(str(tmp_path / "empty.csv"))
    with pytest.raises(CorruptFileError, match="holds no lists: wanted <name>_training"):
        list_key(str(tmp_path))
    (tmp_path / "x.csv").write_text("id,part\np1,train\np2,exam\n")
    with pytest.raises(CorruptFileError, match="line 3: part is 'exam'"):
        list_key(str(tmp_path / "x.csv"))
    (tmp_path / "x.csv").write_text("id,part\np1,train\n ,test\np2,test\n")
    with pytest.raises(CorruptFileError, match="line 3: the id is blank"):
        list_key(str(tmp_path / "x.csv"))
    (tmp_path / "x.csv").write_text('part,id\ntrain,p1\ntest,"p2\ntest,p3\ntrain,"p4\n')
    with pytest.raises(CorruptFileError, match=r"line 3: the id .* has several lines"):
        list_key(str(tmp_path / "x.csv"))
    key = list_key(str(write_json(tmp_path / "x.json", FOLD)))
    with pytest.raises(
        SplitError, match=r"no row is in the train part.*ids of the data are like q0"
    ):
        list_splits(key, rows_of(["q0", "q1"]), 0)
    path = tmp_path / "y.json"
    path.write_text(json.dumps({"folds": [{**FOLD, "name": "a"}, {**FOLD, "name": "a"}]}))
    with pytest.raises(CorruptFileError, match="2 folds are called 'a'"):
        list_key(str(path))
    twice = list_key(str(write_json(path, FOLD, FOLD)))
    with pytest.raises(SplitError, match="p4 is tested in two folds"):
        list_splits(twice, rows_of([f"p{i}" for i in range(6)]), 0)
    with pytest.raises(DataNotFoundError, match="are not at hand"):
        list_splits("gone@0123456789ab", rows_of(["p0"]), 0)
    with pytest.raises(DataNotFoundError, match="There is no list of folds"):
        finetuning_plan("a0", ["random/efficientnet_lite0"], protocol="lists:x.json")


def test_endings_narrow_the_folds_of_a_list(tmp_path: Path) -> None:
    fold = {"train": [f"p{i}" for i in range(8)], "test": ["p8", "p9"]}
    file = write_json(tmp_path / "x-10pct-d0.json", fold)
    few = parse(f"lists:{file}-50pct-d1")
    assert few.name == f"lists:{list_key(str(file))}-50pct-d1"
    assert parse(few.name) == few
    (split,) = splits_of(few.name, 0, rows_of([f"p{i}" for i in range(10)]), Kind.VALUE)
    assert (len(split.train), split.test.tolist()) == (4, [8, 9])
    tuned = parse(f"{few.name}-partial2-from:a0-A4-C")
    assert (tuned.listed, tuned.tuning, tuned.source) == (few.listed, "partial2", "a0-A4-C")
    (planned,) = finetuning_plan("a0-A4-C", ["random/efficientnet_lite0"], protocol=f"lists:{file}")
    assert planned.protocol == f"lists:{few.listed}-finetune"


def test_lists_of_recordings_tell_the_people_they_divide(tmp_path: Path) -> None:
    fold = {"train": ["a_1", "b_1"], "val": [], "test": ["a_2", "c_1"]}
    key = list_key(str(write_json(tmp_path / "x.json", fold)))
    rows = rows_of(["a", "a", "b", "c", "d"], ["a_1", "a_2", "b_1", "c_1", "d_1"])
    (split,) = list_splits(key, rows, 0)
    assert split.train.tolist() == [0, 2]
    assert split.test.tolist() == [1, 3]
    assert [part.tolist() for part in split.inner] == [[0], [2]]
    notes = " ".join(list_notes(key, rows))
    assert "1 person is in training and test of a fold" in notes
    assert "2 of 4 patients are tested in no fold" in notes


def test_ids_that_recordings_begin_with_are_found(tmp_path: Path) -> None:
    fold = {"train": ["11", "12", "14"], "val": [], "test": ["13", "99"]}
    key = list_key(str(write_json(tmp_path / "x.json", fold)))
    records = ["11_AV", "12_AV", "14_AV", "13_AV"]
    rows = rows_of(["11", "11", "14", "11"], records)  # 11, 12 and 13 are one person
    (split,) = list_splits(key, rows, 0)
    assert split.test.tolist() == [3]
    notes = " ".join(list_notes(key, rows))
    assert "1 person is in training and test" in notes
    assert "1 of 5 listed ids have no row" in notes


@pytest.mark.slow
def test_a_list_of_the_official_split_gives_its_values(
    phantom_tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = phantom_tree(["camus"], patients=20) / "camus"
    words = {"train": "training", "val": "validation", "test": "testing"}
    fold = {
        part: (root / "database_split" / f"subgroup_{word}.txt").read_text().split()
        for part, word in words.items()
    }
    protocol = f"lists:{write_json(tmp_path / 'official.json', fold)}"
    settings = Settings(root=root, results=tmp_path / "r")
    cells = execute(plan("b0-A4-C", ["image_stats"], protocols=(protocol, "official")), settings)
    listed, official = sorted(cells, key=lambda cell: cell.protocol)
    assert listed.protocol.startswith("lists:official@")
    assert listed.value == pytest.approx(official.value, abs=1e-9)
    assert "tested in no fold" in " ".join(listed.settings["notes"])


@pytest.mark.parametrize(
    ("name", "sizes", "dataset"),
    [
        ("leclerc", (400, 50, 50), "camus"),
        *((f"walker{number}", (611, 95, 236), "circor") for number in (1, 2, 3)),
    ],
)
def test_lists_of_etab_are_whole(name: str, sizes: tuple[int, ...], dataset: str) -> None:
    key = list_key(name)
    folds = listed_folds(key)
    published = canonical_split(dataset).places
    for fold in folds:
        parts = [fold.parts[part] for part in ("train", "val", "test")]
        assert tuple(len(ids) for ids in parts) == sizes
        assert len(frozenset().union(*parts)) == sum(sizes)
        assert frozenset().union(*parts) <= set(published)
    tested = [patient for fold in folds for patient in fold.parts["test"]]
    assert len(set(tested)) == len(tested)


def test_a_list_of_etab_is_found_again_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = list_key("leclerc")
    monkeypatch.setattr(lists, "_read", {})
    assert len(listed_folds(key)) == 10
    with pytest.raises(DataNotFoundError, match="not at hand"):
        listed_folds("leclerc@000000000000")
    assert set(SHIPPED) == {path.stem for path in LISTS.glob("*.json")}


@pytest.mark.parametrize(("name", "divided"), [("walker1", 42), ("walker2", 47), ("walker3", 40)])
def test_the_lists_of_circor_divide_people(name: str, divided: int) -> None:
    (fold,) = listed_folds(list_key(name))
    ids_of: dict[str, list[str]] = {}
    for patient, person in canonical_split("circor").places.items():
        ids_of.setdefault(person, []).append(patient)
    pairs = [ids for ids in ids_of.values() if len(ids) > 1]
    part_of = {patient: part for part, ids in fold.parts.items() for patient in ids}
    apart = [ids for ids in pairs if len({part_of[patient] for patient in ids}) > 1]
    assert len(pairs) == 70
    assert len(apart) == divided
