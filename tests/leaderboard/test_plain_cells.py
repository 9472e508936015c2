"""Single cells whose test rows allow one metric and not another."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from etab.errors import ResultError
from etab.leaderboard.comparable import checked_predictions
from etab.leaderboard.plain import folder_cells
from etab.results import Predictions
from etab.tasks.menu import TASKS
from etab.types import Kind
from tests import made
from tests.commands import ROOT
from tests.leaderboard.admission.folders import edit

PUBLISHED = ROOT / "benchmarks/results/camus/b0-A4-C/image_stats"
CODE = "f1-AL-D"
PEOPLE = 12


def test_a_cell_without_a_class_is_listed_and_not_ranked(tmp_path: Path) -> None:
    """Nobody in the test rows has an unknown murmur, so that there is no AUROC of 2022."""
    truth = np.arange(PEOPLE) % 2 * 2
    scores = np.eye(3)[truth] * 0.6 + 0.2
    columns = {"truth": truth, "answer": truth, "outcome": truth // 2}
    columns |= {f"score_{k}": scores[:, k] / scores.sum(1) for k in range(3)}
    people = tuple(f"p{number}" for number in range(PEOPLE))
    table = Predictions(Kind.CLASSES, people, people, ("fold0",) * PEOPLE, columns)
    result = made.result(table, CODE, dataset="circor")
    assert TASKS[CODE].metric_2022 not in result.metrics
    result.save(tmp_path, table)
    cells = folder_cells(tmp_path)
    assert [cell.task for cell in cells.results] == [CODE]
    assert not cells.problems
    with pytest.raises(ResultError, match=r"auroc cannot be computed.* of class 2\. Move"):
        checked_predictions(result, TASKS[CODE], tmp_path)


@pytest.mark.parametrize("metric", ["no_metric", "auroc", "dice", "rmse", "macc_2016"])
@pytest.mark.parametrize("code", ["b0-A4-C", "b0-A4-Z"])
def test_a_record_of_another_metric_is_put_aside_alone(
    code: str, metric: str, tmp_path: Path
) -> None:
    """One such file ended the whole table with an error that named no file."""
    source = PUBLISHED / "cv5-ridge-s0.json"
    for place, changes in (("image_stats", {}), ("mine", {"metric": metric, "task": code})):
        path = tmp_path / "camus" / changes.get("task", "b0-A4-C") / place / source.name
        path.parent.mkdir(parents=True)
        for suffix in (".json", ".csv"):
            shutil.copy(source.with_suffix(suffix), path.with_suffix(suffix))
        edit(path, backbone=place, **changes)
    cells = folder_cells(tmp_path)
    assert [cell.backbone for cell in cells.results] == ["image_stats"]
    (problem,) = cells.problems
    assert str(path) in problem
