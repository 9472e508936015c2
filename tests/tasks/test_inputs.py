"""What the rows of a task are made of: a closed vocabulary, checked against the data before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab import backbones, datasets
from etab.backbones.base import BackboneCard
from etab.datasets.base import Source
from etab.errors import IncompatibleError, LayoutError, UnknownNameError
from etab.features.base import INPUTS, Embedding, Input, input_of
from etab.features.frames import frame_features, row_features
from etab.features.store import FrameFeatures
from etab.runs.execute import execute
from etab.runs.run import Run, Settings, plan
from etab.tasks.base import Task
from etab.tasks.inputs import ROW_INPUTS, RowInput
from etab.tasks.menu import TASKS
from etab.tasks.rows import Rows, stack
from etab.types import Features, Kind


@pytest.fixture(scope="module")
def trees(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus", "tmed", "circor"])


@pytest.mark.parametrize("name", ["EDD", "ed", "ES+ED", "", "frames", None])
def test_an_unknown_input_is_refused_when_the_task_is_made(name: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"No input of tasks.*ED\+ES"):
        replace(TASKS["b0-A4-C"], inputs=name)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda t: t.code)
def test_every_task_of_the_menu_has_an_input_that_its_data_can_give(task: Task) -> None:
    form = input_of(task)
    form.check(task, datasets.SOURCES[task.dataset].card)
    assert ROW_INPUTS[task.inputs].modality == task.modality


def test_every_name_has_a_class_and_every_class_a_name() -> None:
    for name, row in ROW_INPUTS.items():
        task = next(t for t in TASKS.values() if bool(t.clip) == row.clip)
        assert isinstance(input_of(replace(task, inputs=name)), Input)
    assert set(INPUTS) == set(ROW_INPUTS)


@pytest.mark.parametrize("inputs", ["ED", "ED+ES", "frame"])
def test_phases_are_asked_only_of_data_that_mark_them(
    inputs: str, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = replace(TASKS["d1-PX-T"], code="d9-PX-T", inputs=inputs)
    message = r"d9-PX-T: its rows are .*tmed marks no ED and ES frames.*inputs=\"answer\""
    monkeypatch.setitem(TASKS._items, task.code, task)
    with pytest.raises(IncompatibleError, match=message):
        Run(task.code, "image_stats").check()
    source = datasets.source("tmed", trees / "tmed")
    form = input_of(task)
    with pytest.raises(IncompatibleError, match=message):
        form.rows(task, source, form.keys(task, source))
    run = Run(task.code, "image_stats")
    settings = Settings(root=trees / "tmed", results=tmp_path)
    with pytest.raises(IncompatibleError, match=message):
        list(execute([run], settings))


@pytest.mark.parametrize(("code", "inputs"), [("b0-A4-C", "recording"), ("e1-AL-D", "frame")])
def test_sounds_and_pictures_are_not_taken_for_each_other(code: str, inputs: str) -> None:
    task = replace(TASKS[code], inputs=inputs)
    with pytest.raises(IncompatibleError, match=r"holds (echo|sound). Take one of: "):
        input_of(task).check(task, datasets.SOURCES[task.dataset].card)


def test_data_without_a_single_frame_are_named(
    trees: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = datasets.source("camus", trees / "camus")
    monkeypatch.setattr(type(source), "answers", lambda *_: [])
    task = TASKS["b0-A4-C"]
    with pytest.raises(LayoutError, match=r"gives no frame for b0-A4-C.*etab data check camus"):
        input_of(task).keys(task, source)


class FirstFrame(Input):
    """A new kind of input, as a user adds it: the first frame of a recording."""

    def keys(self, task: Task, source: Source) -> list[Any]:
        return [(record, 0) for record in source.records() if record.view in task.views]

    def rows(self, task: Task, source: Source, keys: Sequence[Any]) -> Rows:
        target = source.card.target(task.target)
        records = [record for record, _ in keys]
        values = [source.answers(record, target)[0].value for record in records]
        names = tuple(record.id for record in records)
        return Rows(
            items=names,
            patients=np.array([record.patient for record in records]),
            parts=np.array([record.split for record in records]),
            frames=np.arange(len(records))[:, None],
            answers=stack(target.kind, values),
            spacing=(None,) * len(records),
            missing=(),
            records=names,
            units=names,
        )

    def embed(
        self, task: Task, source: Source, keys: Any, card: BackboneCard, how: Embedding
    ) -> FrameFeatures:
        return frame_features(source, keys, card, cache=how.cache, data_digest=how.data_digest)

    def pick(self, features: Features, rows: Rows, *, maps: bool, sequences: bool) -> Features:
        return row_features(features, rows, maps=maps, sequences=sequences)


def test_a_new_input_is_one_class_and_one_row(
    trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ROW_INPUTS.add("first", RowInput("first", "the first frame of a recording", "image", __name__))
    INPUTS.add("first", FirstFrame())
    try:
        task = replace(TASKS["b0-A4-C"], code="b9-A4-C", inputs="first", kind=Kind.VALUE)
        monkeypatch.setitem(TASKS._items, task.code, task)
        settings = Settings(root=trees / "camus", results=tmp_path)
        runs = plan(task.code, [backbones.card("image_stats")], protocols=("cv5",))
        (result,) = execute(runs, settings)
        assert (result.task, result.n_patients) == ("b9-A4-C", 12)
    finally:
        ROW_INPUTS.remove("first")
        INPUTS.remove("first")
