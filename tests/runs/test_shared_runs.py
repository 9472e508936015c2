"""Several runs of one plan share its cells, and a cell that fails ends alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import typer

from etab.cli.status import status_command
from etab.errors import (
    EtabWarning,
    FeaturesLostError,
    StorageError,
    UndefinedError,
    UnsupportedOptionError,
)
from etab.heads.base import Memo
from etab.results import load_results
from etab.runs import execute as executing
from etab.runs import executors
from etab.runs import sweep as sweeping
from etab.runs.events import Event
from etab.runs.execute import claim_path, execute
from etab.runs.executors import local, serial
from etab.runs.failed_cells import failed_cells
from etab.runs.record import brief, path_of_run
from etab.runs.run import Run, Settings, plan
from etab.runs.sweep import Done, sweep
from etab.storage import claims
from etab.storage.claims import Holder, take_claim
from tests import made


@pytest.fixture(scope="module")
def camus(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


@pytest.fixture
def settings(camus: Path, tmp_path: Path) -> Settings:
    return Settings(root=camus, results=tmp_path / "results")


RUNS = plan("b0-A4-C", ["image_stats"], protocols=("cv3", "cv2"), head="knn")


@pytest.mark.slow
def test_a_cell_that_another_run_computes_comes_last_and_is_computed_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = RUNS[1]
    assert elsewhere.protocol_name == "cv2"  # the first one in the order of the cells
    claim = take_claim(claim_path(elsewhere, settings))
    assert claim is not None
    real = executing.compute
    computed: list[str] = []

    def compute(run: Any, *rest: Any) -> Any:
        computed.append(run.protocol_name)
        return real(run, *rest)

    def wait() -> None:
        # The other run computes the cell and ends.
        assert computed == ["cv3"]
        claim.release()
        list(execute([elsewhere], settings))

    monkeypatch.setattr(executing, "compute", compute)
    monkeypatch.setattr(executing, "_wait", wait)
    results = list(execute(RUNS, settings))
    assert computed == ["cv3", "cv2"]
    assert [cell.protocol for cell in results] == ["cv3", "cv2"]
    assert len(load_results(settings.results)) == len(RUNS)


@pytest.mark.slow
def test_features_that_another_run_computes_come_last(settings: Settings) -> None:
    """Otherwise all runs of a plan wait for the features of one backbone at a time."""
    runs = plan("b0-A4-C", ["image_stats", "pixel_pca"], protocols=("cv2",), head="knn")
    claim = take_claim(executing.features_claim(runs[0], settings))
    assert claim is not None
    backbones: list[str] = []
    for cell in execute(runs, settings):
        backbones.append(cell.backbone)
        claim.release()
    assert backbones == ["pixel_pca", "image_stats"]
    assert not list((settings.results / executing.CLAIMS).iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory")])
def test_a_cell_that_fails_ends_alone(
    error: Exception, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = executing.compute

    def compute(run: Any, *rest: Any) -> Any:
        if run.protocol_name == "cv3":
            raise error
        return real(run, *rest)

    monkeypatch.setattr(executing, "compute", compute)
    events: list[Event] = []
    results = serial(RUNS, settings, events.append)
    assert [cell.protocol for cell in results] == ["cv2"]
    (failed,) = [event for event in events if event.kind == "failed"]
    assert failed.runs == 1
    assert failed.error.startswith(f"{RUNS[0].task} (cv3): {type(error).__name__}")


@pytest.mark.slow
def test_features_that_are_deleted_meanwhile_are_computed_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = executing.compute
    lost = [FeaturesLostError("map0.npy was deleted while it was in use.")]

    def compute(*rest: Any) -> Any:
        if lost:
            raise lost.pop()
        return real(*rest)

    monkeypatch.setattr(executing, "compute", compute)
    assert len(list(execute(RUNS, settings))) == len(RUNS)


def test_a_results_folder_that_cannot_be_written_is_refused_before_any_work(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.results.touch()
    monkeypatch.setattr(executors, "local", lambda *_, **__: pytest.fail("work has begun"))
    with pytest.raises(StorageError, match="Nothing was computed"):
        sweep(RUNS, settings, workers=1, watch=lambda _: nullcontext(print))


def test_a_cache_that_cannot_be_written_is_told_before_any_work(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What it holds can be read, so that the run goes on."""
    (tmp_path / "cache").touch()
    monkeypatch.setattr(executors, "local", lambda *_, **__: [])
    settings = replace(settings, cache=tmp_path / "cache")
    with pytest.warns(EtabWarning, match=r"Nothing can be written to .*cache.* not hold yet"):
        sweep(RUNS, settings, workers=1, watch=lambda _: nullcontext(print))


def test_processes_without_a_folder_for_temporary_files_are_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ended with a traceback and the word "Stopped"."""

    def fail() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    runs = plan("b0-A4-C", ["image_stats", "pixel_pca"], protocols=("cv2",), head="knn")
    with pytest.raises(StorageError, match=r"No usable temporary .*set TMPDIR"):
        local(runs, settings, print, workers=2)


def test_temporary_files_of_killed_runs_are_removed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [
        settings.results / "camus" / "tmpab12_cd3.part",
        settings.results / executing.CLAIMS / f"{'0' * 64}.{'1' * 16}.takeover",
        settings.results / executing.CLAIMS / f".{'0' * 16}.clock",
    ]
    young = settings.results / "tmpab12_cd4.part"
    foreign = settings.results / "notes.part"
    for path in [*left, young, foreign]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for path in [*left, foreign]:
        os.utime(path, (1.0, 1.0))
    monkeypatch.setattr(executors, "local", lambda *_, **__: [])
    sweep(RUNS, settings, workers=1, watch=lambda _: nullcontext(print))
    assert not [path for path in left if path.exists()]
    assert young.exists()
    assert foreign.exists()


def test_claims_of_killed_runs_are_removed_from_a_finished_plan(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed after it has saved a cell leaves the claim of a finished cell."""
    code = (
        "import os, sys; from pathlib import Path; from etab.storage.claims import take_claim; "
        "take_claim(Path(sys.argv[1])); os._exit(0)"
    )
    dead = claim_path(RUNS[0], settings)
    subprocess.run([sys.executable, "-c", code, str(dead)], check=True)
    living = take_claim(claim_path(RUNS[1], settings))
    assert living is not None
    stored = made.result(made.predictions("b0-A4-C"), "b0-A4-C", "image_stats")
    monkeypatch.setattr(sweeping, "finished", lambda *_: stored)
    sweep(RUNS, settings, workers=1, watch=lambda _: nullcontext(print))
    assert not dead.exists()
    assert living.is_held()
    living.release()


@pytest.mark.parametrize("age", [3600.0, -3600.0])
def test_an_old_claim_of_another_machine_ends_with_a_run_that_has_watched_it(
    age: float,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`etab status` told it as work for ever, where no cell needed the claim."""
    path = settings.results / executing.CLAIMS / "features-elsewhere"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(asdict(replace(Holder.this_process("features"), boot="another"))))
    os.utime(path, (time.time() - age, time.time() - age))
    status_command_shown(
        settings, capsys, "no sign of life for 60" if age > 0 else "60 minutes ahead"
    )
    now = [1000.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])

    def local(*_: Any, **__: Any) -> list[Any]:
        assert path.exists()
        now[0] += claims.WATCHED + 1
        return []

    monkeypatch.setattr(executors, "local", local)
    sweep(RUNS, settings, workers=1, watch=lambda _: nullcontext(print))
    assert not path.exists()


def status_command_shown(
    settings: Settings, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    with pytest.raises(typer.Exit):
        status_command(settings.results)
    assert words in capsys.readouterr().out


def test_results_that_are_deleted_while_a_run_goes_on_are_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were saved, but no folder holds them any more."""
    stored = made.result(made.predictions("b0-A4-C"), "b0-A4-C", "image_stats")
    monkeypatch.setattr(executors, "local", lambda *_, **__: [stored])
    done = sweep(RUNS, settings, workers=1, watch=lambda _: nullcontext(print))
    assert (done.ran, done.failed) == ((), len(RUNS))
    ((name, why),) = done.failures
    assert name == "image_stats"
    assert why.startswith(f"1 finished cell can no longer be found in {settings.results}")


@pytest.mark.parametrize("text", ["", '{"task":', '{"schema": 0}', "[]", "5", "null"])
def test_a_file_that_is_no_result_costs_its_own_cell(
    text: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended the run before any other cell was computed."""
    damaged = path_of_run(RUNS[0], settings.results)
    damaged.parent.mkdir(parents=True)
    damaged.write_text(text)
    computed: list[Run] = []
    monkeypatch.setattr(executors, "local", lambda runs, *_, **__: computed.extend(runs) or [])
    done = sweep(RUNS, settings, workers=1, watch=lambda _: nullcontext(print))
    assert computed == RUNS[1:]
    name, why = done.failures[0]
    assert name == "image_stats"
    assert str(damaged) in why
    assert damaged.read_text() == text


def test_a_device_is_checked_before_the_data_are_opened(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "Data", lambda _: pytest.fail("data are opened"))
    absent = Settings(root=settings.root, results=settings.results, device="cuda:99")
    with pytest.raises(UnsupportedOptionError, match="cuda:99"):
        sweep(RUNS, absent, workers=1, watch=lambda _: nullcontext(print))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "attempts"), [(UndefinedError("one class"), 1), (MemoryError(), 3)]
)
def test_a_cell_that_fails_is_recorded_and_not_tried_for_ever(
    error: Exception,
    attempts: int,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tried: list[str] = []

    def compute(run: Any, *_: Any) -> Any:
        tried.append(run.task)
        raise error

    def once(**options: Any) -> Done:
        return sweep(RUNS[:1], settings, workers=1, watch=lambda _: nullcontext(_ignore), **options)

    monkeypatch.setattr(executing, "compute", compute)
    for _ in range(attempts + 2):
        done = once()
        assert [done.failed, len(done.failures)] == [1, 1]
    assert len(tried) == attempts
    assert "--retry-failed" in done.said()
    with pytest.raises(typer.Exit):
        status_command(settings.results)
    shown = capsys.readouterr().out
    assert "0 cells finished, 0 at work, 1 failed" in shown
    (cell,) = failed_cells(settings.results)
    assert cell.command in shown
    assert f"--tasks {RUNS[0].task} --backbones image_stats --protocol cv3" in cell.command
    monkeypatch.undo()
    assert once(retry_failed=True).failed == 0
    assert not failed_cells(settings.results)


@pytest.mark.slow
def test_fits_of_other_splits_are_forgotten(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the memory of a plan with many seeds grows with each of them."""
    kept: list[list[Any]] = []

    def compute(run: Any, embedded: Any, settings: Settings, data: Any, memos: Any, *_: Any) -> Any:
        memo = memos.setdefault("rows", Memo())
        memo["basis", run.protocol_name, run.head] = 1
        kept.append(sorted(name for _, *name in memo))
        raise UndefinedError("one class")

    monkeypatch.setattr(executing, "compute", compute)
    runs = plan("b0-A4-C", ["image_stats"], protocols=("cv3", "cv2"), head=["knn", "ridge"])
    assert not list(execute(runs, settings, failed=lambda *_: None))
    assert kept == [
        [["cv2", "knn"]],
        [["cv2", "knn"], ["cv2", "ridge"]],
        [["cv3", "knn"]],
        [["cv3", "knn"], ["cv3", "ridge"]],
    ]


def test_a_run_holds_summaries_of_its_cells(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tens of thousands of whole records would take gigabytes of memory."""
    stored = made.result(made.predictions("b0-A4-C"), "b0-A4-C", "image_stats")
    assert stored.folds
    monkeypatch.setattr(executors, "execute", lambda *_, **__: iter([stored]))
    assert serial(RUNS[:1], settings, _ignore) == [stored]
    for held in (*local(RUNS[:1], settings, _ignore, workers=1), brief(stored)):
        assert (held.value, held.missing, held.metrics) == (
            stored.value,
            stored.missing,
            stored.metrics,
        )
        assert [len(held.folds), len(held.settings), len(held.provenance)] == [0, 0, 0]


def _ignore(_: Event) -> None:
    """Listen to nothing."""


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 5, 10])
def test_runs_at_once_compute_every_cell_and_every_entry_once(
    n: int, camus: Path, tmp_path: Path
) -> None:
    code = """
import sys
from pathlib import Path
from etab.features import entries, store
from etab.runs import execute as executing
from etab.runs import executors
from etab.runs.record import brief
from etab.runs.run import Settings, plan

log = Path(sys.argv[2]) / "log"

def logged(word, call):
    def f(*rest, **more):
        with log.open("a") as file:
            file.write(word + "\\n")
        return call(*rest, **more)
    return f

executing.compute = logged("cell", executing.compute)
store.write_entry = logged("entry", store.write_entry)
settings = Settings(
    root=Path(sys.argv[1]), results=Path(sys.argv[2]) / "results", cache=Path(sys.argv[2]) / "cache"
)
runs = plan("b0-A4-C", ["image_stats", "pixel_pca"], protocols=("cv3", "cv2"), head="knn")
assert len(list(executing.execute(runs, settings))) == len(runs)
"""
    command = [sys.executable, "-c", code, str(camus), str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(n)]
    assert [process.wait(timeout=280) for process in processes] == [0] * n
    words = (tmp_path / "log").read_text().split()
    assert words.count("cell") == 2 * len(RUNS) == len(load_results(tmp_path / "results"))
    assert words.count("entry") == 2
    assert not list(tmp_path.rglob("*.claim"))
    assert not list(tmp_path.rglob("*.part"))
    assert not list((tmp_path / "results" / executing.CLAIMS).iterdir())


class Pool:
    """A pool that computes at once, and notes how it is ended."""

    _processes = None

    def __init__(self) -> None:
        self.ended: list[bool] = []

    def submit(self, work: Any, *_: Any) -> Future[list[Any]]:
        future: Future[list[Any]] = Future()
        future.set_result([work])
        return future

    def shutdown(self, wait: bool, cancel_futures: bool = False) -> None:
        self.ended.append(wait)


def test_a_worker_that_still_starts_is_waited_for() -> None:
    """It asks the manager for its device, and the manager ends after the pool."""
    pool: Any = Pool()
    results, unfinished, _ = executors._pooled(pool, [[]], Settings())
    assert (len(results), unfinished) == (1, [])
    assert pool.ended[0] is True
