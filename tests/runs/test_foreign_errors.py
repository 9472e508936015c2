"""An error of somebody else's network ends its backbone and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from etab import backbones
from etab.backbones import base
from etab.errors import EtabError, UnsupportedOptionError
from etab.results import load_results
from etab.runs import executors
from etab.runs.events import Event
from etab.runs.executors import local, serial
from etab.runs.failures import describe_failure
from etab.runs.run import Run, Settings, plan
from etab.runs.sweep import sweep
from tests.commands import etab as etab_command


class CustomError(Exception):
    """An error that cannot be pickled: its constructor takes two arguments."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(what)


class Unspeakable(BaseException):
    """An error that is no Exception."""


class UnreadableError(Exception):
    """An error whose own text fails."""

    def __str__(self) -> str:
        raise ValueError("no text")


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
    Unspeakable(),
    UnreadableError(),
]


@pytest.fixture(scope="module")
def camus(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


def _failing(error: BaseException) -> base.BackboneCard:
    def forward(frames: torch.Tensor) -> torch.Tensor:
        raise error

    return backbones.from_callable("callable/failing", forward)


def _events(runs: list[Run], camus: Path, results: Path) -> list[Event]:
    events: list[Event] = []
    serial(runs, Settings(root=camus, results=results), events.append)
    return events


# Those that a process could treat in a way of its own; the others are errors like any.
SPECIAL = (
    OSError,
    MemoryError,
    StopIteration,
    SystemExit,
    CustomError,
    Unspeakable,
    UnreadableError,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [e if isinstance(e, SPECIAL) else pytest.param(e, marks=pytest.mark.slow) for e in ERRORS],
    ids=lambda e: type(e).__name__,
)
def test_the_others_go_on(error: BaseException, camus: Path, tmp_path: Path) -> None:
    runs = plan("b0-A4-C", [_failing(error), "image_stats"], protocols=("cv",))
    events = _events(runs, camus, tmp_path)
    failed = [event for event in events if event.kind == "failed"]
    assert [event.backbone for event in failed] == ["callable/failing"]
    assert type(error).__name__ in failed[0].error
    if not isinstance(error, StopIteration):  # Python itself turns that one into another
        assert "test_foreign_errors.py" in failed[0].error
    assert [cell.backbone for cell in load_results(tmp_path)] == ["image_stats"]


def test_a_backbone_that_fails_counts_its_cells(camus: Path, tmp_path: Path) -> None:
    runs = plan("b0-A4-C", [_failing(RuntimeError("boom"))], protocols=("cv2", "cv3"))
    settings = Settings(root=camus, results=tmp_path)
    done = sweep(runs, settings, workers=1, watch=lambda _: nullcontext(lambda _: None))
    head, failure = done.said().splitlines()
    assert head.endswith("2 failed.")
    assert failure.startswith("  callable/failing, 2 cells: RuntimeError: boom")


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


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps", "gpu", "", "meta"])
def test_an_absent_device_is_refused_before_any_work(
    device: str, monkeypatch: pytest.MonkeyPatch, camus: Path, tmp_path: Path
) -> None:
    import etab
    from etab.finetuning import cells
    from etab.finetuning import plan as tuning

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    settings = Settings(root=camus, results=tmp_path, device=device)
    trainings = tuning.plan("a0-A4-C", ["mobilenetv2"])
    with pytest.raises(UnsupportedOptionError, match=f"device '{device}'"):
        next(cells.trainings(trainings, settings))
    with pytest.raises(UnsupportedOptionError, match=f"device '{device}'"):
        etab.evaluate("image_stats", tasks="b0-A4-C", root=camus, device=device)
    runs = plan("b0-A4-C", ["image_stats"])
    with pytest.raises(UnsupportedOptionError, match=f"device '{device}'"):
        sweep(runs, settings, workers=1, watch=lambda _: nullcontext(print))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--device", "cuda:99", "device 'cuda:99'"),
        ("--executor", "dask", "No executor is called 'dask'"),
        ("--executor-option", "gpus=0.5", "the executor local has no option 'gpus'"),
    ],
)
def test_own_data_are_not_read_where_the_run_cannot_be(
    option: str, value: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("raise AssertionError('it is read')\n")
    words = ("run", "--data", "mine.py", "--root", tmp_path, "--backbones", "image_stats")
    ended = etab_command(*words, option, value, cwd=tmp_path)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


@pytest.mark.parametrize("precision", ["fp16", "float16", "", "FP32", "bfloat16"])
def test_an_unknown_precision_is_refused_before_any_work(
    precision: str, camus: Path, tmp_path: Path
) -> None:
    import etab
    from etab.finetuning import cells
    from etab.finetuning import plan as tuning

    settings = Settings(root=camus, results=tmp_path, precision=precision)
    with pytest.raises(UnsupportedOptionError, match="Known: auto, fastest, fp32, bf16"):
        next(cells.trainings(tuning.plan("a0-A4-C", ["mobilenetv2"]), settings))
    with pytest.raises(UnsupportedOptionError, match="Known: auto, fastest, fp32, bf16"):
        etab.evaluate("image_stats", tasks="b0-A4-C", root=camus, precision=precision)


def test_a_training_that_fails_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, camus: Path, tmp_path: Path
) -> None:
    from etab.finetuning import cells
    from etab.finetuning import plan as tuning

    def execute(training: tuning.Tuning, *_: Any, **__: Any) -> list[Any]:
        if training.backbone == "mobilenetv2":
            raise IndexError("list index out of range")
        return [training.backbone]

    monkeypatch.setattr(cells, "execute", execute)
    plans = tuning.plan("a0-A4-C", ["mobilenetv2", "efficientnet_lite0"])
    failures: list[tuple[str, str]] = []
    settings = Settings(root=camus, results=tmp_path)
    done = list(cells.trainings(plans, settings, failed=lambda *pair: failures.append(pair)))
    assert done == ["efficientnet_lite0"]
    assert failures[0][0].startswith("mobilenetv2 ")
    assert "IndexError: list index out of range (raised in execute" in failures[0][1]


def test_a_stored_result_of_a_backbone_that_no_longer_loads(
    monkeypatch: pytest.MonkeyPatch, camus: Path, tmp_path: Path
) -> None:
    """Looking for finished cells must not end the sweep either."""

    def twice(frames: torch.Tensor) -> torch.Tensor:
        return frames.flatten(1)[:, ::1000]

    runs = plan("b0-A4-C", [backbones.from_callable("callable/twice", twice)], protocols=("cv",))
    assert [event.kind for event in _events(runs, camus, tmp_path)][-1] == "cell"

    def load() -> Any:
        raise AttributeError("gone")

    broken = replace(runs[0], card=replace(runs[0].backbone_card, load=load))
    settings = Settings(root=camus, results=tmp_path)
    done = sweep([broken], settings, workers=1, watch=lambda _: nullcontext(print))
    assert [name for name, _ in done.failures] == ["callable/twice"]
    assert "AttributeError: gone" in done.failures[0][1]


def _killed_on_pixel_pca(group: list[Run], settings: Settings) -> list[Any]:
    if group[0].backbone == "pixel_pca":
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does where memory runs out
    return list(executors._watched(group, settings, executors._data, executors._events.put))


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


@pytest.mark.parametrize("text", ["\x1b[31mred\x1b[0m", "\x1b[2Jred", "r\x00e\x07d"])
def test_control_characters_of_a_message_do_not_reach_the_terminal(text: str) -> None:
    message = describe_failure(RuntimeError(text))
    assert message.startswith("RuntimeError: red. ")
