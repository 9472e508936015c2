"""Rows of several views: the order of the frames, views that are absent, and the biplane task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab import datasets
from etab.datasets.base import Source
from etab.errors import IncompatibleError, LayoutError
from etab.features.base import input_of
from etab.features.studies import ABSENT_FRAME
from etab.finetuning.plan import not_tunable
from etab.runs.execute import execute
from etab.runs.run import Run, Settings
from etab.tasks.menu import TASKS, find
from etab.types import Answer, Features

TASK = TASKS["b0-AX-C"]


@pytest.fixture
def source(phantom_tree: Callable[..., Path]) -> Source:
    return datasets.source("camus", phantom_tree(["camus"]) / "camus")


def numbered(n: int) -> Features:
    """Features whose two columns hold the number of the frame, and 100 more."""
    number = np.arange(n, dtype=np.float32)
    return Features({"layer/mean": np.stack([number, number + 100], axis=1)}, frames=1)


def test_a_row_holds_ed_of_both_views_then_es_of_both(source: Source) -> None:
    form = input_of(TASK)
    keys = form.keys(TASK, source)
    rows = form.rows(TASK, source, keys)
    assert len(rows.items) == rows.n_patients
    for row, patient in enumerate(rows.patients):
        shown = [keys[i] for i in rows.frames[row]]
        assert {record.patient for record, _ in shown} == {patient}
        assert [record.view for record, _ in shown] == ["A2C", "A4C", "A2C", "A4C"]
        for column, phase in ((0, 0), (1, 0), (2, 1), (3, 1)):
            record, number = shown[column]
            phases = source.phases(record)
            assert phases is not None
            assert phases[phase] == number
    picked = form.pick(numbered(len(keys)), rows, maps=True, sequences=True)
    wanted = np.stack([rows.frames, rows.frames + 100], axis=2).reshape(len(rows.items), -1)
    np.testing.assert_array_equal(picked.pooled["layer/mean"], wanted)
    assert picked.frames == 2


def test_the_answers_are_those_of_one_view(source: Source) -> None:
    one_view = TASKS["b0-A4-C"]
    both = input_of(TASK).rows(TASK, source, input_of(TASK).keys(TASK, source))
    single = input_of(one_view).rows(one_view, source, input_of(one_view).keys(one_view, source))
    assert dict(zip(both.patients, both.answers, strict=True)) == dict(
        zip(single.patients, single.answers, strict=True)
    )


@pytest.mark.parametrize("view", ["A2C", "A4C"])
def test_the_present_view_stands_for_an_absent_one(source: Source, view: str) -> None:
    patient = source.records()[0].patient
    source.keep([r for r in source.records() if (r.patient, r.view) != (patient, view)])
    form = input_of(TASK)
    keys = form.keys(TASK, source)
    rows = form.rows(TASK, source, keys)
    row = rows.patients.tolist().index(patient)
    absent = ["A2C", "A4C"].index(view)
    assert (rows.frames[row] == ABSENT_FRAME).tolist() == [absent == 0, absent == 1] * 2
    assert view not in rows.items[row]
    values = form.pick(numbered(len(keys)), rows, maps=False, sequences=False)
    blocks = values.pooled["layer/mean"][row].reshape(4, 2)
    np.testing.assert_array_equal(blocks[absent], blocks[1 - absent])
    np.testing.assert_array_equal(blocks[2 + absent], blocks[3 - absent])


def test_views_that_differ_in_their_answer_are_named(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = source.records()[0].patient
    of_class = type(source).answers

    def differing(self: Source, record: Any, target: Any, frames: Any = None) -> Any:
        if target.name == "EF" and (record.patient, record.view) == (patient, "A2C"):
            return (Answer(11.0),)
        return of_class(self, record, target, frames)

    monkeypatch.setattr(type(source), "answers", differing)
    form = input_of(TASK)
    rows = form.rows(TASK, source, form.keys(TASK, source))
    assert patient not in rows.patients
    reason = dict(rows.missing)[patient]
    assert reason.startswith("the views differ in EF: 11, ")


def test_no_row_names_the_reason(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    form = input_of(TASK)
    keys = form.keys(TASK, source)
    monkeypatch.setattr(type(source), "answers", lambda *_: ())
    with pytest.raises(LayoutError, match=r"no row for b0-AX-C \(EF, A2C, A4C\).*etab data check"):
        form.rows(TASK, source, keys)


def test_the_task_is_selected_only_by_its_code() -> None:
    for word in (None, "camus", "b", "b0", "b0-A"):
        assert TASK not in find(word)
    assert find("b0-AX-C") == [TASK]
    assert "one view" in not_tunable(TASK)


def test_a_cell_of_the_phantom(source: Source, tmp_path: Path) -> None:
    settings = Settings(root=source.root, results=tmp_path)
    run = Run("b0-AX-C", "image_stats", protocol="cv", n_fold=3)
    (result,) = execute([run], settings)
    assert result.task == "b0-AX-C"
    assert np.isfinite(result.value)


def test_data_without_phases_are_refused() -> None:
    card = datasets.SOURCES["tmed"].card
    with pytest.raises(IncompatibleError, match="tmed marks no ED and ES frames"):
        input_of(TASK).check(TASK, card)
