"""Small cells are saved while the next ones are fitted: in order, with their claims, and with errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from etab.errors import StorageError
from etab.results import Result
from etab.runs import saver
from etab.runs.execute import CLAIMS, claim_path, execute
from etab.runs.run import Run, Settings, plan
from etab.runs.run_log import read_lines
from etab.runs.saver import Saver


@pytest.fixture
def settings(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, phantom_tree: Callable[..., Path]
) -> Settings:
    cache = tmp_path_factory.getbasetemp() / "saver_cache"
    return Settings(
        root=phantom_tree(["camus"]) / "camus", results=tmp_path / "results", cache=cache
    )


@pytest.fixture
def runs() -> list[Run]:
    return plan("b0-A4-C", ["image_stats"], protocols=("cv2", "cv3", "cv4"), head="ridge")


@pytest.mark.parametrize(("seconds", "is_at_once"), [(0.1, False), (5.0, True)])
def test_a_long_cell_is_saved_at_once(seconds: float, is_at_once: bool) -> None:
    with Saver() as one:
        # The thread that saves a cell stands for the cell.
        saved: list[Any] = list(one.save(seconds, threading.current_thread))  # type: ignore[arg-type]
        later: list[Any] = list(one.finished())
    assert bool(saved) == is_at_once
    assert [thread is threading.current_thread() for thread in [*saved, *later]] == [is_at_once]


@pytest.mark.parametrize("small", [0.0, 60.0])
def test_every_cell_is_saved_before_it_is_reported(
    small: float, settings: Settings, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "SMALL", small)
    names = []
    for result in execute(runs, settings):
        assert result.path(settings.results).exists()
        names.append(result.protocol)
    assert sorted(names) == ["cv2", "cv3", "cv4"]
    assert not list((settings.results / CLAIMS).glob("*"))
    ends = [line for line in read_lines(settings.results) if line["event"] == "cell_ended"]
    assert [line["outcome"] for line in ends] == ["finished"] * 3


@pytest.mark.parametrize("small", [0.0, 60.0])
def test_a_full_disk_ends_the_group_and_leaves_no_claim(
    small: float, settings: Settings, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "SMALL", small)
    save = Result.save

    def full(self: Result, *args: Any, **options: Any) -> Path:
        if self.protocol == "cv3":
            raise StorageError("No space left on device")
        return save(self, *args, **options)

    monkeypatch.setattr(Result, "save", full)
    saved: list[str] = []
    cells = execute(runs, settings, failed=lambda *_: None)
    with pytest.raises(StorageError, match="No space left"):
        saved.extend(result.protocol for result in cells)
    assert "cv3" not in saved
    assert not list((settings.results / CLAIMS).glob("*"))
    assert not list(settings.results.rglob("cv3*"))
    monkeypatch.setattr(Result, "save", save)
    assert len(list(execute(runs, settings))) == 3


def test_a_full_disk_hides_no_cell_that_was_saved(
    settings: Settings, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell before, which is saved beside the fit, counted as failed although it was there."""
    monkeypatch.setattr(saver, "SMALL", 60.0)
    save = Result.save

    def full(self: Result, *args: Any, **options: Any) -> Path:
        if self.protocol == "cv3":
            raise StorageError("No space left on device")
        saver.SMALL = 0.0  # the next cell is a long one, which is saved at once
        return save(self, *args, **options)

    monkeypatch.setattr(Result, "save", full)
    saved: list[str] = []
    with pytest.raises(StorageError, match="No space left"):
        saved.extend(result.protocol for result in execute(runs, settings))
    assert saved == ["cv2"]


def test_a_run_that_is_stopped_saves_the_cell_that_it_has_finished(
    settings: Settings, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "SMALL", 60.0)
    with closing(cast(Generator[Result, None, None], execute(runs, settings))) as cells:
        next(cells)
    assert len(list(settings.results.rglob("*.json"))) == 2
    assert not list((settings.results / CLAIMS).glob("*"))


def test_a_cell_is_claimed_until_it_is_saved(
    settings: Settings, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "SMALL", 60.0)
    save = Result.save
    is_claimed: list[bool] = []

    def noted(self: Result, *args: Any, **options: Any) -> Path:
        run = next(run for run in runs if run.protocol_name == self.protocol)
        is_claimed.append(claim_path(run, settings).exists())
        return save(self, *args, **options)

    monkeypatch.setattr(Result, "save", noted)
    assert len(list(execute(runs, settings))) == 3
    assert is_claimed == [True] * 3
