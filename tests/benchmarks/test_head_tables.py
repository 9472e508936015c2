"""The tables of heads compare two different heads, and never cells of two versions of one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import masks, probes
from etab import heads
from etab.tasks.menu import TASKS
from tests.commands import ROOT

NOW = {name: heads.HEADS[name].version for name in (masks.OLD, masks.NEW)}


def test_the_stacked_probe_is_compared_with_the_earlier_head_of_each_task() -> None:
    for code in probes.TASKS_SHOWN:
        task = TASKS[code]
        earlier = probes.ONE_LAYER[task.kind]
        assert earlier != probes.STACK
        cells = [
            probes.Cell("image_stats", code, head, 3, value, 1.0)
            for head, value in ((earlier, 1.0), (probes.STACK, 3.0))
        ]
        assert "+2.0000" in probes.page(cells, ["image_stats"], [3])


def cell(structure: str, head: str, **changes: Any) -> masks.Cell:
    made = {
        "backbone": "image_stats",
        "view": "A2",
        "structure": structure,
        "seed": None,
        "head": head,
        "version": NOW[head],
        "dice": 0.5,
        "seconds": 1.0,
        "choices": [],
    }
    return {**made, **changes}


def cells_of_view(view: str = "A2", **versions: int) -> list[masks.Cell]:
    return [
        cell(structure, head, view=view, version=versions.get(head, NOW[head]))
        for structure in masks.STRUCTURES.values()
        for head in NOW
    ]


@pytest.mark.parametrize("older", [masks.OLD, masks.NEW])
def test_cells_of_an_earlier_version_are_run_again(
    older: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [*cells_of_view("A2", **{older: NOW[older] - 1}), *cells_of_view("A4")]
    (tmp_path / "masks.json").write_text(json.dumps(stored))
    run: list[str] = []

    def fitted(
        root: Path | None, cache: Path, backbone: str, view: str, seed: int | None
    ) -> Iterator[masks.Cell]:
        run.append(view)
        yield from cells_of_view(view)

    monkeypatch.setattr(masks, "cells", fitted)
    assert "now" in masks.versions(stored)
    masks.main(["--backbones", "image_stats", "--out", str(tmp_path)])
    assert run == ["A2"]
    kept = json.loads((tmp_path / "masks.json").read_text())
    assert len(kept) == len(stored)
    assert all(masks.is_current(each) for each in kept)


def test_a_view_that_was_interrupted_is_not_finished() -> None:
    stored = cells_of_view()
    assert masks.finished(stored, "image_stats", "A2", None)
    assert not masks.finished(stored[:-1], "image_stats", "A2", None)
    assert not masks.finished(stored, "image_stats", "A2", 0)


def test_stored_results_replace_cells_of_an_earlier_version(tmp_path: Path) -> None:
    older = NOW[masks.NEW] - 1
    measured = cell("LV", masks.NEW, backbone="mobilenetv2", version=older, seconds=2.5)
    stale = cell("LV", masks.NEW, backbone="mobilenetv2", version=older, seed=0)
    (tmp_path / "masks.json").write_text(json.dumps([measured, stale]))
    published = ROOT / "benchmarks" / "results"
    results = tmp_path / "results"
    for head in NOW:
        for suffix in (".json", ".csv"):
            name = f"camus/a0-A2-C/mobilenetv2/official-{head}-s0{suffix}"
            (results / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(published / name, results / name)
    masks.main(["--results", str(results), "--out", str(tmp_path)])
    found = json.loads((tmp_path / "masks.json").read_text())
    assert {(each["head"], each["version"], each["seed"]) for each in found} == {
        (head, version, None) for head, version in NOW.items()
    }
    assert {each["seconds"] for each in found} == {None, 2.5}
    page = (tmp_path / "masks.md").read_text()
    assert "0.835 to 0.859" in page
    assert f"(seconds: {older})" in page
