"""Rows of several views: the order of the blocks, views that are absent, and the tasks on them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import etab
from etab import datasets, heads
from etab.datasets.base import Source
from etab.errors import EtabError, IncompatibleError, LayoutError, UnsupportedOptionError
from etab.features.base import input_of
from etab.features.tokens import row_tokens
from etab.finetuning.plan import not_tunable
from etab.runs.execute import execute
from etab.runs.run import Run, Settings
from etab.tasks.base import Task
from etab.tasks.menu import TASKS, find
from etab.tasks.own import use_own_data
from etab.tasks.rows import ABSENT, Rows, absent_note
from etab.training.loop import Recipe
from etab.types import Answer, Array, Features
from tests.datasets import own_tables

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
    assert (rows.frames[row] == ABSENT).tolist() == [absent == 0, absent == 1] * 2
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


SEVERAL = {"d1-V4-T": "tmed", "f1-P4-D": "circor", "b0-V2-R": "echorisk"}


@pytest.fixture(scope="module")
def trees(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(sorted(SEVERAL.values()))


def open_source(trees: Path, code: str) -> Source:
    return datasets.source(SEVERAL[code], trees / SEVERAL[code])


def by_hand(task: Task, single: Rows, view_of: dict[str, str], values: Array) -> dict[str, Array]:
    """The mean over everything that a unit has of each view, unit by unit; NaN where nothing is."""
    wanted: dict[str, Array] = {}
    for unit in set(single.units):
        blocks = []
        for view in task.views:
            keys = [
                key
                for row, record in enumerate(single.records)
                if single.units[row] == unit and view_of[record] == view
                for key in range(single.frames[row, 0], single.frames[row, -1] + 1)
            ]
            blocks.append(values[keys].mean(axis=0) if keys else np.full(values.shape[1], np.nan))
        wanted[unit] = np.stack(blocks)
    return wanted


@pytest.mark.parametrize("code", SEVERAL)
def test_each_view_is_the_mean_of_its_recordings(trees: Path, code: str) -> None:
    task = TASKS[code]
    source = open_source(trees, code)
    # One unit keeps a single view, so that every phantom has a view that is absent.
    first = next(r for r in source.records() if r.view == task.views[-1])
    source.keep([r for r in source.records() if r.patient != first.patient or r.view == first.view])
    form = input_of(task)
    keys = form.keys(task, source)
    rows = form.rows(task, source, keys)
    assert rows.views == task.views
    assert len(set(rows.units)) == len(rows.units)
    n = int(rows.frames.max()) + 1
    values = np.random.default_rng(0).normal(size=(n, 3))
    picked = form.pick(Features({"layer/mean": values}), rows, maps=False, sequences=False)
    single = input_of(task.one_view).rows(task.one_view, source, keys)
    view_of = {record.id: record.view for record in source.records()}
    wanted = by_hand(task, single, view_of, values)
    assert set(rows.units) == set(wanted)
    absent = 0
    for row, unit in enumerate(rows.units):
        blocks = wanted[unit]
        is_absent = np.isnan(blocks).any(axis=1)
        absent += bool(is_absent.any())
        blocks[is_absent] = blocks[~is_absent].mean(axis=0)
        np.testing.assert_allclose(picked.pooled["layer/mean"][row], blocks.ravel())
    assert absent
    assert f"{absent} of {len(rows.units)} rows lack a view (" in absent_note(code, rows)


@pytest.mark.parametrize("code", SEVERAL)
def test_tokens_of_a_view_that_is_absent_are_masked(trees: Path, code: str) -> None:
    task = TASKS[code]
    source = open_source(trees, code)
    first = next(r for r in source.records() if r.view == task.views[-1])
    source.keep([r for r in source.records() if r.patient != first.patient or r.view == first.view])
    rows = input_of(task).rows(task, source, input_of(task).keys(task, source))
    n = int(rows.frames.max()) + 1
    number = np.arange(n, dtype=np.float32)
    features = Features(
        {"layer/mean": np.stack([number, number], axis=1)},
        maps=(np.broadcast_to(number[:, None, None, None], (n, 2, 2, 3)).astype(np.float16),),
        sequences={"layer": np.broadcast_to(number[:, None, None], (n, 5, 2)).astype(np.float16)},
    )
    (tokens,) = row_tokens(task, features, rows).sequences.values()
    of_rows = np.asarray(tokens[np.arange(len(rows.items))])
    each = {"tmed": 6, "circor": 1, "echorisk": 5}[task.dataset]
    assert of_rows.shape == (len(rows.items), rows.frames.shape[1] * each, 2)
    of_keys = of_rows.reshape(len(rows.items), -1, each, 2)
    assert (np.isnan(of_keys) == (rows.frames == ABSENT)[..., None, None]).all()
    seen = np.where(np.isnan(of_keys), ABSENT, of_keys)
    assert (seen == rows.frames[..., None, None]).all()
    # The columns of a view have the same places in every row.
    only = rows.units.index(str(first.meta.get("study", first.meta.get("id", first.patient))))
    blocks = np.asarray(rows.blocks)
    assert np.isnan(of_keys[only][blocks != len(task.views) - 1]).all()


@pytest.mark.parametrize(
    ("code", "backbone"), [("d2-V4-T", "image_stats"), ("f2-P4-D", "mel_stats")]
)
def test_a_cell_of_several_views_tells_what_is_absent(
    trees: Path, tmp_path: Path, code: str, backbone: str
) -> None:
    root = trees / TASKS[code].dataset
    (result,) = execute(
        [Run(code, backbone, protocol="cv", n_fold=2)], Settings(root=root, results=tmp_path)
    )
    assert np.isfinite(result.value)
    notes = result.settings.get("notes", [])
    # Every study of the phantom of TMED-2 has its four views.
    assert any("lack a view" in note for note in notes) == (code == "f2-P4-D")


@pytest.mark.slow
@pytest.mark.parametrize("code", ["f2-P4-D", "d3-V2-R"])
def test_an_attentive_probe_reads_several_views(
    trees: Path, tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: Any = heads.HEADS["attentive_1"]
    recipe = Recipe(epochs=2, batch=8, patience=2)
    few = ((1e-3, 1e-2),)
    monkeypatch.setitem(heads.HEADS._items, "attentive_1", lambda: kind(recipe, searched=few))
    backbone = "mel_stats" if code.endswith("D") else "image_stats"
    run = Run(code, backbone, protocol="cv", n_fold=2, head="attentive_1")
    (result,) = execute([run], Settings(root=trees / TASKS[code].dataset, results=tmp_path))
    assert np.isfinite(result.value)


def test_a_study_of_several_patients_is_left_out(
    trees: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "d1-V4-T"
    source = open_source(trees, code)
    records = source.records()
    study = records[0].meta["study"]
    other = next(r for r in records if r.meta["study"] != study and r.view == "PLAX")
    moved = replace(other, meta={**other.meta, "study": study})
    changed = [moved if r.id == other.id else r for r in records]
    monkeypatch.setattr(source, "records", lambda: changed)
    task = TASKS[code]
    rows = input_of(task).rows(task, source, input_of(task).keys(task, source))
    assert study not in rows.units
    assert re.search("several patients|views differ", dict(rows.missing)[study])


def two_views(folder: Path, **label: str) -> Path:
    """A table of patients with a picture of two views; every third patient lacks the second."""
    rows = []
    for row in own_tables.pictures(folder / "A4C"):
        rows.append(
            {**row, "file": f"A4C/{row['file']}", "id": f"{row['patient']}_4", "view": "A4C"}
        )
        if int(row["patient"][1:]) % 3:
            rows.append({**rows[-1], "id": f"{row['patient']}_2", "view": "A2C"})
            picture = own_tables.frame(float(row["EF"]), int(row["patient"][1:]) + 1000)
            rows[-1]["file"] = f"{row['patient']}_2.png"
            cv2.imwrite(str(folder / rows[-1]["file"]), picture)
    own_tables.write_table(folder, rows)
    keys = {"kind": "value", "input": "views:answer", **label}
    lines = "\n".join(f'{key} = "{value}"' for key, value in keys.items())
    return own_tables.describe(folder, f'[labels.EF]\n{lines}\nviews = ["A2C", "A4C"]')


@pytest.mark.usefixtures("forget_own_data")
def test_a_table_of_ones_own_lays_its_views_side_by_side(tmp_path: Path) -> None:
    path = two_views(tmp_path / "data")
    score = etab.evaluate("image_stats", data=path, protocol="cv3")
    assert [row["task"] for row in score.tasks] == ["b0-V2-Z"]
    assert score.tasks[0]["value"] > 0.9
    description = use_own_data(path)
    source = datasets.source(description.name, description.folder)
    task = TASKS["b0-V2-Z"]
    rows = input_of(task).rows(task, source, input_of(task).keys(task, source))
    assert len(rows.items) == own_tables.PATIENTS
    assert absent_note(task.code, rows).startswith("b0-V2-Z: 14 of 40 rows lack a view (A2C 14).")


@pytest.mark.slow
@pytest.mark.usefixtures("forget_own_data")
@pytest.mark.parametrize("inputs", ["views:answer", "answer"])
def test_an_attentive_probe_reads_pictures_of_data_without_masks(
    tmp_path: Path, inputs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens are feature maps, which were computed for datasets with masks alone."""
    kind: Any = heads.HEADS["attentive_1"]
    recipe = Recipe(epochs=2, batch=8, patience=2)
    few = ((1e-3, 1e-2),)
    monkeypatch.setitem(heads.HEADS._items, "attentive_1", lambda: kind(recipe, searched=few))
    path = two_views(tmp_path / "data", head="attentive_1", input=inputs)
    score = etab.evaluate("image_stats", data=path, protocol="cv2")
    assert score.results[0].head == "attentive_1"
    lacking = "14 of 40 rows lack a view (A2C 14). Attentive heads mask it"
    notes = " ".join(score.results[0].settings["notes"])
    assert (lacking in notes) == (inputs == "views:answer")


@pytest.mark.slow
@pytest.mark.usefixtures("forget_own_data")
def test_rows_of_studies_need_studies(tmp_path: Path) -> None:
    path = two_views(tmp_path / "data", per="study")
    with pytest.raises(EtabError, match=r"names no study.*Name the column of studies"):
        etab.evaluate("image_stats", data=path, protocol="cv3")


@pytest.mark.usefixtures("forget_own_data")
@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("aggregate", "mean", "one row for each patient; leave aggregate = 'mean' out"),
        ("per", "recording", "holds several recordings; per is"),
        ("input", "views:recording", "not for pictures"),
    ],
)
def test_keys_that_do_not_fit_several_views_are_refused(
    tmp_path: Path, key: str, value: str, match: str
) -> None:
    label = {"per": "patient", key: value}
    with pytest.raises(LayoutError, match=match):
        use_own_data(two_views(tmp_path, **label))


def test_rows_of_several_views_are_not_crossed(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(TASK, code="b0-AX-R")
    monkeypatch.setitem(TASKS._items, other.code, other)
    with pytest.raises(UnsupportedOptionError, match="hold different views"):
        TASKS["b0-AX-R>C"]
