"""Many strangers who agree with each other: they put no published result aside."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from etab.leaderboard.admission.admit import admit
from etab.storage.atomic import slug
from etab.tasks.menu import TASKS
from tests.leaderboard.admission import folders
from tests.leaderboard.admission.folders import (
    CAMUS_TASKS,
    HONEST,
    STRANGER,
    load,
    save,
    with_columns,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Honest results of four backbones."""
    folders.camus_folder(tmp_path / "results")
    return tmp_path / "results"


def standing(folder: Path) -> dict[str, set[str]]:
    """The tasks of each backbone whose results stand."""
    tasks: dict[str, set[str]] = {}
    for result in admit(folder, TASKS, lambda result: True).results:
        tasks.setdefault(result.backbone, set()).add(result.task)
    return tasks


EVERYBODY = {name: set(CAMUS_TASKS) for name in (*HONEST, STRANGER)}


@pytest.mark.parametrize("facts", [{}, {"data_digest": "e" * 64}], ids=["rows", "data"])
def test_a_known_release_is_not_outvoted(facts: dict[str, str], folder: Path) -> None:
    result, table = load(folder, "b0-A4-C")
    for i in range(9):
        forged = with_columns(table, {**table.columns, "truth": table.columns["score"] + i})
        save(folder, result, forged, backbone=f"crowd{i}", weights_sha256=f"{i}" * 64, **facts)
    assert standing(folder) == EVERYBODY


@pytest.mark.parametrize(
    "change",
    [
        {"n_train": 7},
        {"head": "knn"},
        {"missing": [["a", "gone"]]},
        {"settings": {"head_version": 77}},
        {"settings": {"decide": "balanced"}},
    ],
    ids=str,
)
def test_published_results_are_not_outvoted(change: dict[str, Any], folder: Path) -> None:
    result, table = load(folder, "b0-A4-C")
    changes = {**change}
    if "settings" in change:
        changes["settings"] = {**result.settings, **change["settings"]}
    for i in range(9):
        save(folder, result, table, backbone=f"crowd{i}", weights_sha256=f"{i}" * 64, **changes)
    assert standing(folder) == EVERYBODY


def test_cells_under_a_published_name_do_not_take_it(folder: Path) -> None:
    for code in CAMUS_TASKS[:3]:
        shutil.rmtree(folder / "camus" / slug(code) / "mobilenetv2")
        result, table = load(folder, code)
        save(folder, result, table, backbone="mobilenetv2", weights_sha256="9" * 64)
    assert standing(folder)["mobilenetv2"] == {CAMUS_TASKS[3]}
