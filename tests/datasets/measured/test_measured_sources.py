"""What EchoNet-LVH, EchoNet-Pediatric and Unity Imaging have in common: the contract, options, tasks and runs."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from etab import phantom
from etab.datasets import SOURCES, source
from etab.datasets.dataset import Dataset
from etab.datasets.integrity.check import check
from etab.errors import (
    DataNotFoundError,
    EtabError,
    LayoutError,
    SplitError,
    UnknownNameError,
    UnsupportedOptionError,
)
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.tasks.menu import TASKS, find
from etab.testing.datasets import check_dataset
from tests.trees.measured import (
    message_of_absence,
    write_tree,
)

NAMES = ("lvh", "pediatric", "unity")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "pediatric" else n for n in NAMES]
)
def test_contract(trees: dict[str, Path], name: str) -> None:
    check_dataset(SOURCES[name], trees[name])


@pytest.mark.parametrize("name", NAMES)
def test_every_single_deletion_is_named(copy: dict[str, Path], name: str, tmp_path: Path) -> None:
    root = SOURCES[name](copy[name]).root
    needed = 0
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        raw = path.read_bytes()
        path.unlink()
        said = message_of_absence(name, root)
        path.write_bytes(raw)
        needed += said is not None
        assert said is None or path.name in said, f"without {path.name}: {said}"
    assert needed > 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match="it is empty"):
        SOURCES[name](tmp_path / "empty")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "pediatric" else n for n in NAMES]
)
def test_same_seed_same_bytes(trees: dict[str, Path], name: str, tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        h = hashlib.sha256()
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            h.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
        return h.hexdigest()

    assert digest(write_tree(name, tmp_path / "b", 3)) == digest(
        write_tree(name, tmp_path / "c", 3)
    )
    assert digest(tmp_path / "b") != digest(write_tree(name, tmp_path / "d", 3, seed=4))


@pytest.mark.parametrize("name", NAMES)
def test_the_marks_inside_are_enough(copy: dict[str, Path], name: str) -> None:
    assert SOURCES[name](copy[name]).phantom
    (copy[name] / "PHANTOM").unlink()
    assert SOURCES[name](copy[name]).phantom


@pytest.mark.parametrize("name", NAMES)
def test_check_finds_nothing_wrong_and_says_what_was_left_out(
    trees: dict[str, Path], name: str
) -> None:
    report = check(name, trees[name])
    assert report.ok, report.render()
    assert report.found["frames"] > 30
    assert report.remarks, "every phantom tree has quirks that a person should hear of"
    assert "remarks: " in report.render()


@pytest.mark.parametrize(
    ("name", "target", "options", "error", "said"),
    [
        ("unity", "view", {"video": True}, UnsupportedOptionError, "stills without a sequence"),
        ("unity", "view", {"view": "A4C"}, UnsupportedOptionError, "use view=None"),
        (
            "unity",
            "keypoints",
            {"view": "PSAX"},
            UnsupportedOptionError,
            "unity has no view 'PSAX'",
        ),
        (
            "pediatric",
            "EF",
            {"video": True, "fps": 10},
            UnsupportedOptionError,
            "recordings without a rate",
        ),
        (
            "pediatric",
            "ES/ED",
            {"video": True, "clip_l": 2},
            UnsupportedOptionError,
            "cannot hold both ED and ES",
        ),
        ("lvh", "IVSd", {"video": True, "fps": 60}, UnsupportedOptionError, "cannot give fps=60"),
        ("lvh", "EF", {}, UnknownNameError, "No target of lvh is called 'EF'"),
        ("lvh", "IVSs", {"split": "test"}, SplitError, "no recording with an answer"),
    ],
)
def test_options_that_cannot_act(
    trees: dict[str, Path],
    name: str,
    target: str,
    options: dict[str, Any],
    error: type[EtabError],
    said: str,
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        Dataset(name, target, root=trees[name], **options)


def test_options_that_act(trees: dict[str, Path]) -> None:
    views = [Dataset("pediatric", "LV_seg", view=v, root=trees["pediatric"]) for v in ("A4", "PS")]
    assert [len(v) for v in views] == [16, 15]
    x, y = Dataset(
        "pediatric", "EF", video=True, clip_l=5, frame_l=40, frame_w=30, root=trees["pediatric"]
    )[0]
    assert x.shape == (5, 3, 40, 30)
    assert isinstance(y, float)
    slow = Dataset("lvh", "IVSd", video=True, clip_l=4, fps=10, root=trees["lvh"])
    fast = Dataset("lvh", "IVSd", video=True, clip_l=4, fps=25, root=trees["lvh"])
    assert not torch.equal(slow[0][0], fast[0][0])
    assert {y for _, y in Dataset("unity", "view", root=trees["unity"], frame_l=8, frame_w=8)} == {
        0,
        1,
        2,
        3,
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_something_else(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(LayoutError, match="as published"):
        SOURCES[name](tmp_path)
    with pytest.raises(DataNotFoundError, match="gone is not a folder"):
        SOURCES[name](tmp_path / "gone")


def test_tasks_without_measured_anchors_are_run_by_name_only() -> None:
    waiting = {
        t.code for t in TASKS.values() if t.version == 0 and t.dataset in NAMES and not t.extra
    }
    assert {
        "b3-PL-L",
        "b4-PL-L",
        "b5-PL-L",
        "b1-PL-L",
        "a0-A4-P",
        "b0-PS-P",
        "c3-AL-P",
        "c2-AL-U",
    } < waiting
    assert not waiting & {t.code for t in find(None)}
    assert not waiting & {t.code for word in "abcd" for t in find(word)}
    assert {t.code for t in find(["lvh", "pediatric", "unity"])} == waiting
    assert [t.code for t in find("b3-PL-L")] == ["b3-PL-L"]
    assert all("version 0" in TASKS[code].anchors.low_source for code in waiting)
    assert TASKS["b5-PL-L"].low == pytest.approx(0.83 * np.sqrt(2 / np.pi), abs=5e-4)


@pytest.mark.parametrize(
    ("codes", "rows"),
    [("b3-PL-L,b1-PL-L", (8, 14)), ("a0-PS-P,c3-AL-P", (14, 14)), ("c2-AL-U", (62,))],
)
def test_a_run_ends_with_a_result(
    trees: dict[str, Path], tmp_path: Path, codes: str, rows: tuple[int, ...]
) -> None:
    runs = plan(codes, ["image_stats"], protocols=("cv",), n_fold=3)
    root = trees[runs[0].row.dataset]
    results = list(execute(runs, Settings(root=root, results=tmp_path)))
    assert sorted(r.n_test for r in results) == sorted(rows)
    for r in results:
        assert r.phantom
        assert r.task_version == 0
        assert r.low <= r.value <= r.high
        table = r.predictions(tmp_path)
        assert len(set(zip(table.patients, table.folds, strict=True))) == len(set(table.patients))


def test_trees_by_name(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    phantom.write(
        tmp_path,
        patients=10,
        names=("unity",),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (10, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["unity"]
    assert source("unity", tmp_path / "unity").phantom
    with pytest.raises(UnknownNameError, match="No phantom tree is called 'unty'"):
        phantom.write(tmp_path, patients=10, names=("unty",))
    (tmp_path / "lvh").mkdir()
    (tmp_path / "lvh" / "real.txt").write_text("x")
    with pytest.raises(UnsupportedOptionError, match="not a phantom"):
        phantom.write(tmp_path, patients=10, names=("lvh",))
