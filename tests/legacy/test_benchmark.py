"""``ETABBenchmark``: one task, then another with the same backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from etab.datasets import source
from etab.errors import (
    EtabError,
    UnsupportedOptionError,
)
from etab.legacy.benchmark import ETABBenchmark, task_items
from etab.tasks.menu import TASKS
from tests.legacy.small import changed, state_of, tiny

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")


def test_a_benchmark_runs_switches_and_keeps_the_backbone(cohort: Path) -> None:
    task = ETABBenchmark(
        "CA40", 10, 8, 0.6, 0.2, 3e-3, 1, tiny(), "U-Net", root=cohort / "camus", side=32
    )
    assert (task.task_code, task.dataset_name, task.target_name, task.view_name) == (
        "a0-A4-C",
        "camus",
        "LV_seg",
        "A4",
    )
    with pytest.raises(UnsupportedOptionError, match="run"):
        task.evaluate()
    task.run(freeze_backbone=False, verbose=False)
    assert 0 <= task.evaluate() <= 1
    learned = state_of(task.model.backbone)
    task.switch_benchmark("b0-A2-C", n_epoch=2)
    assert (task.head, task.n_epoch, task.model.frames) == ("Linear", 2, 2)
    task.run(freeze_backbone=True, verbose=False)
    assert changed(learned, task.model.backbone) == []
    assert task.evaluate() > 0
    task.switch_benchmark("a1-A2-C", head="FPN", root=cohort / "camus")
    task.run(freeze_backbone=False, verbose=False)
    assert changed(learned, task.model.backbone)
    with pytest.raises(UnsupportedOptionError, match="backbone"):
        task.switch_benchmark("a0-A4-C", backbone="ResNet-18")
    with pytest.raises(UnsupportedOptionError, match="recordings"):
        ETABBenchmark("a0-A4-C", 999, backbone=tiny(), root=cohort / "camus", side=32).run(
            verbose=False
        )


@pytest.mark.parametrize(
    "wrong", [{"root": "nowhere"}, {"head": "Unet-ish"}], ids=["no data", "no such head"]
)
def test_a_switch_that_fails_leaves_the_benchmark_as_it_was(
    cohort: Path, wrong: dict[str, Any]
) -> None:
    task = ETABBenchmark(
        "a0-A4-C", 10, 8, 0.6, 0.2, 3e-3, 1, tiny(), "U-Net", root=cohort / "camus", side=32
    )
    before = {name: value for name, value in vars(task).items() if name != "model"}
    with pytest.raises(EtabError):
        task.switch_benchmark("b0-A2-C", n_epoch=7, **wrong)
    assert {name: value for name, value in vars(task).items() if name != "model"} == before
    task.run(verbose=False)
    assert 0 <= task.evaluate() <= 1


def test_the_rows_of_a_benchmark_are_those_of_the_menu(cohort: Path) -> None:
    from etab.features.frames import annotated_frames, task_rows

    opened = source("camus", cohort / "camus")
    for code, shape in (
        ("a0-A4-C", (3, 32, 32)),
        ("b0-A4-C", (2, 3, 32, 32)),
        ("c0-AX-C", (3, 32, 32)),
    ):
        items = task_items(TASKS[code], opened, side=32)
        rows = task_rows(TASKS[code], opened, annotated_frames(opened))
        assert items.patients == rows.patients.tolist()
        assert items[0][0].shape == shape
        if code[0] != "a":
            assert [items[i][1] for i in range(len(items))] == rows.answers.tolist()
