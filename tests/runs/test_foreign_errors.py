"""An error of somebody else's network ends its backbone and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from etab import backbones, phantom
from etab.backbones import base
from etab.errors import EtabError
from etab.results import load_results
from etab.runs import executors
from etab.runs.executors import Event, local, serial
from etab.runs.run import Run, Settings, plan


class CustomError(Exception):
    """An error that cannot be pickled: its constructor takes two arguments."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(what)


ERRORS: list[BaseException] = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    TypeError("unexpected keyword argument"),
    IndexError("list index out of range"),
    KeyError("weight"),
    ZeroDivisionError("division by zero"),
    MemoryError(),
    AssertionError(),
    NotImplementedError("operator"),
    CustomError("odd", "here"),
    OSError("hub is not reachable"),
    StopIteration(),
    SystemExit(3),
]


@pytest.fixture(scope="module")
def camus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    phantom.write(folder, patients=12, names=("camus",))
    return folder / "camus"


def _failing(error: BaseException) -> base.BackboneCard:
    def forward(frames: torch.Tensor) -> torch.Tensor:
        raise error

    return backbones.from_callable("callable/failing", forward)


def _events(runs: list[Run], camus: Path, results: Path) -> list[Event]:
    events: list[Event] = []
    serial(runs, Settings(root=camus, results=results), events.append)
    return events


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_the_others_go_on(error: BaseException, camus: Path, tmp_path: Path) -> None:
    runs = plan("b0-A4-C", [_failing(error), "image_stats"], protocols=("cv",))
    events = _events(runs, camus, tmp_path)
    failed = [event for event in events if event.kind == "failed"]
    assert [event.backbone for event in failed] == ["callable/failing"]
    assert type(error).__name__ in failed[0].error
    if not isinstance(error, StopIteration):  # Python itself turns that one into another
        assert "test_foreign_errors.py" in failed[0].error
    assert [cell.backbone for cell in load_results(tmp_path)] == ["image_stats"]


def test_an_error_of_loading(monkeypatch: pytest.MonkeyPatch, camus: Path, tmp_path: Path) -> None:
    def load(self: Any) -> Any:
        raise AttributeError("module has no attribute 'vit_giant'")

    runs = plan("b0-A4-C", ["pixel_pca", "image_stats"], protocols=("cv",))
    monkeypatch.setattr(type(runs[0].backbone_card), "load", load)
    failed = [event for event in _events(runs, camus, tmp_path) if event.kind == "failed"]
    assert {event.backbone for event in failed} == {"pixel_pca", "image_stats"}
    assert all("AttributeError: module has no attribute" in event.error for event in failed)


def test_from_python_it_is_an_error_of_etab(camus: Path) -> None:
    import etab

    def forward(frames: torch.Tensor) -> torch.Tensor:
        return frames.flatten(1) @ torch.zeros(3, 2)

    with pytest.raises(EtabError, match=r"RuntimeError: mat1 and mat2"):
        etab.evaluate(forward, tasks="b0-A4-C", root=camus)


def _killed_on_pixel_pca(group: list[Run], settings: Settings) -> list[Any]:
    if group[0].backbone == "pixel_pca":
        os._exit(9)  # as the system ends a process that takes too much memory
    return list(executors._watched(group, settings, executors._events.put))


@pytest.mark.slow
def test_a_killed_worker_ends_its_own_backbone(
    monkeypatch: pytest.MonkeyPatch, camus: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(executors, "_work", _killed_on_pixel_pca)
    runs = plan("b0-A4-C", ["pixel_pca", "image_stats"], protocols=("cv",))
    events: list[Event] = []
    local(runs, Settings(root=camus, results=tmp_path), events.append, workers=2)
    failed = [event for event in events if event.kind == "failed"]
    assert [event.backbone for event in failed] == ["pixel_pca"]
    assert "ended by the system" in failed[0].error
    assert [cell.backbone for cell in load_results(tmp_path)] == ["image_stats"]
