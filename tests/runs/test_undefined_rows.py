"""Rows for which no metric exists are left out of a cell and named; they do not end it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from etab.datasets.integrity.check import check
from etab.errors import LayoutError
from etab.results import Result
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.runs.sweep import Done
from etab.tasks.rows import EMPTY_MASK, undefined_note, undefined_row
from etab.types import Kind
from tests import made

ATRIUM, TASK = 3, "a1-A4-C"


@pytest.fixture(scope="module")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    folder = phantom_tree(["camus"])
    for path in (folder / "camus").rglob("*half_sequence*"):
        path.unlink()
    return folder / "camus"


def without_atrium(root: Path, pattern: str) -> None:
    for path in root.rglob(pattern):
        image = nib.load(path)
        labels = np.asarray(image.dataobj).copy()
        labels[labels == ATRIUM] = 0
        nib.save(nib.Nifti1Image(labels, image.affine, image.header), path)


def cells(root: Path, results: Path, skip_bad: bool = False) -> list[Result]:
    settings = Settings(
        root=root, results=results, cache=results.parent / "cache", skip_bad=skip_bad
    )
    runs = plan([TASK], ["image_stats"], protocols=["cv"], n_fold=3)
    return list(execute(runs, settings))


@pytest.mark.slow
@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(
    ("pattern", "rows"),
    [("patient0003_4CH_ES_gt*", ["#1"]), ("patient0003_4CH_*_gt*", ["#0", "#1"])],
)
def test_an_empty_mask_is_left_out_and_named(
    tree: Path, tmp_path: Path, pattern: str, rows: list[str], skip_bad: bool
) -> None:
    root = shutil.copytree(tree, tmp_path / "camus")
    without_atrium(root, pattern)
    (found,) = cells(root, tmp_path / "results", skip_bad)
    names = [f"patient0003_4CH{end}" for end in rows]
    assert [name for name, reason in found.missing if reason == EMPTY_MASK] == names
    assert found.n_test == 24 - len(rows)
    assert found.bad == {}
    table = found.predictions(tmp_path / "results")
    assert set(names).isdisjoint(table.items)
    (note,) = found.settings["notes"]
    assert all(name in note for name in names)
    assert note in Done(0, (found,), ()).said()
    report = check("camus", root)
    assert all(
        any(name.split("#")[0] in line and "is empty" in line for line in report.remarks)
        for name in names
    )


def test_a_task_without_a_single_row_names_them(tree: Path, tmp_path: Path) -> None:
    root = shutil.copytree(tree, tmp_path / "camus")
    without_atrium(root, "*_gt.nii.gz")
    with pytest.raises(LayoutError, match=r"mask is empty.*\(patient0001_4CH#0, .* and 21 more\)"):
        cells(root, tmp_path / "results")


def test_whole_data_have_no_such_note(tree: Path, tmp_path: Path) -> None:
    (found,) = cells(tree, tmp_path / "results")
    assert EMPTY_MASK not in str(found.settings.get("notes"))
    assert undefined_note(TASK, [("a", "no EF is given")]) == ""


def test_many_rows_are_counted() -> None:
    note = undefined_note("a1", [(f"r{i}", EMPTY_MASK) for i in range(13)])
    assert "13 rows are left out" in note
    assert note.endswith("r9 and 3 more.")
    assert undefined_row(Kind.VALUE, 0.0) == ""


def test_what_was_done_is_said_in_words(tmp_path: Path) -> None:
    why = "f4-AL-B (cv3): too few patients of one class"
    failures = (("mel_stats", why), ("mel_stats", why), ("vgg", "no weights"))
    lines = Done(0, (), failures, 3).said().splitlines()
    assert lines == [
        "0 cells computed, 0 already finished, 3 failed.",
        f"  mel_stats, 2 cells: {why}",
        "  vgg: no weights",
    ]
    result = made.result(made.predictions("b0-A4-C"), "b0-A4-C")
    assert Done(1, (result,), ()).said() == "1 cell computed, 1 already finished, 0 failed."
