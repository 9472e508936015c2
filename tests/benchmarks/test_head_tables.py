"""The tables of heads compare two different heads, and never cells of two versions of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import masks, probes
from etab import heads
from etab.tasks.menu import TASKS

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
