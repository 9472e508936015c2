"""One person under two ids: listed, named, and counted once by protocols with repeated folds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from etab import datasets
from etab.datasets.integrity import canonical
from etab.datasets.integrity.check import check
from etab.results import Predictions, Result
from etab.runs.data import Data
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.tasks.menu import TASKS
from etab.tasks.protocols import splits_of
from tests.datasets.test_canonical_splits import write

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


@pytest.mark.parametrize("name", [n for n in canonical.SPLIT_NAMES if n != "camus"])
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
