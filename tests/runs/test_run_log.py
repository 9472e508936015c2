"""The log of runs: what it holds, how large it becomes, and what a machine tells of energy."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from etab.cli.status import status_command
from etab.errors import EtabWarning, StorageError
from etab.runs import execute as executing
from etab.runs import run_log
from etab.runs.failures import TerminatedError
from etab.runs.meters import Meter, peak_memory
from etab.runs.run import Settings, plan
from etab.runs.run_log import (
    last_hour,
    log_path,
    logged,
    logged_warnings,
    read_lines,
    require_log,
    write_line,
)
from etab.runs.sweep import sweep

RUNS = plan("b0-A4-C", ["image_stats"], protocols=("cv3", "cv2"), head="knn")


def _sweep(settings: Settings) -> None:
    sweep(RUNS, settings, workers=1, watch=lambda _: nullcontext(lambda _: None))


@pytest.mark.slow
@pytest.mark.parametrize("is_named", [False, True])
def test_a_run_logs_every_start_and_end(
    is_named: bool,
    phantom_tree: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = executing.compute

    def compute(run: Any, *rest: Any) -> Any:
        if run.protocol_name == "cv3":
            raise MemoryError
        return real(run, *rest)

    monkeypatch.setattr(executing, "compute", compute)
    log = tmp_path / "logs" / "run.jsonl" if is_named else None
    root = phantom_tree(["camus"]) / "camus"
    settings = Settings(root=root, results=tmp_path / "results", log=log)
    _sweep(settings)
    lines = read_lines(settings.results, log)
    events = [(line["event"], line.get("protocol")) for line in lines]
    # A small cell is saved, and its end logged, while the next one is fitted.
    assert events[:4] == [
        ("run_started", None),
        ("features_started", None),
        ("features_ended", None),
        ("cell_started", "cv2"),
    ]
    assert sorted(events[4:-1]) == [
        ("cell_ended", "cv2"),
        ("cell_ended", "cv3"),
        ("cell_started", "cv3"),
    ]
    assert events.index(("cell_started", "cv3")) < events.index(("cell_ended", "cv3"))
    assert events[-1] == ("run_ended", None)
    outcomes = {line["protocol"]: line for line in lines if line["event"] == "cell_ended"}
    assert outcomes["cv2"]["outcome"] == "finished"
    assert outcomes["cv2"]["seconds"] > 0
    assert outcomes["cv2"]["peak_memory"] > 1e7
    assert outcomes["cv3"]["outcome"] == "failed"
    assert "MemoryError" in outcomes["cv3"]["error"]
    assert lines[-1]["finished_cells"] == 1
    assert (settings.results / run_log.FOLDER).exists() != is_named
    with pytest.raises(typer.Exit):
        status_command(settings.results, log)
    shown = capsys.readouterr().out
    assert "In the last hour: 1 cell finished and 1 failed in 1 process" in shown


def test_an_interruption_is_logged_as_such(tmp_path: Path) -> None:
    settings = Settings(results=tmp_path)
    with pytest.raises(TerminatedError), logged(settings, "cell", task="b0-A4-C"):
        raise TerminatedError
    assert read_lines(tmp_path)[-1]["outcome"] == "stopped"


def test_a_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "LARGEST", 2000)
    settings = Settings(results=tmp_path)
    for number in range(100):
        write_line(settings, "cell_ended", number=number)
    folder = tmp_path / run_log.FOLDER
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5000
    assert read_lines(tmp_path)[-1]["number"] == 99


def test_old_logs_are_removed_above_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_log, "BUDGET", 250)
    folder = tmp_path / run_log.FOLDER
    folder.mkdir()
    for name, changed in (("oldest", 1), ("old", 2), ("older", 1.5), ("young", None)):
        path = folder / f"{name}.jsonl"
        path.write_text("x" * 100)
        if changed is not None:
            os.utime(path, (changed, changed))
    require_log(Settings(results=tmp_path))
    assert sorted(path.stem for path in folder.iterdir()) == ["old", "young"]


def test_lines_that_are_cut_or_of_another_schema_are_left_out(tmp_path: Path) -> None:
    settings = Settings(results=tmp_path)
    write_line(settings, "cell_ended", number=1)
    with log_path(settings).open("a") as file:
        file.write('{"schema": 99, "event": "x"}\n[1]\nnull\n{"schema": 1, "event": "cell_en')
    assert [line["number"] for line in read_lines(tmp_path)] == [1]


def test_a_log_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(results=tmp_path, log=tmp_path / "file" / "log")
    with pytest.raises(StorageError, match=r"Nothing was computed\. Name another file with --log"):
        require_log(settings)
    write_line(settings, "cell_ended")  # and a disk that fills up later ends no run


def test_a_log_on_a_full_disk_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file can be made there, and every line would be left out."""
    settings = Settings(results=tmp_path, log=tmp_path / "log")
    require_log(settings)
    monkeypatch.setattr(run_log.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(StorageError, match=r"No space left on device\. Nothing was computed"):
        require_log(settings)


def _package(folder: Path, joules: float) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text("package-0\n")
    (folder / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    (folder / "max_energy_range_uj").write_text(f"{int(1000e6)}\n")


def test_energy_is_read_where_the_machine_tells(tmp_path: Path) -> None:
    assert "cpu_energy" not in Meter("cpu", tmp_path).facts()
    _package(tmp_path / "intel-rapl:0", 990.0)
    _package(tmp_path / "intel-rapl:1", 10.0)
    (tmp_path / "intel-rapl:0:0").mkdir()
    (tmp_path / "intel-rapl:0:0" / "name").write_text("core\n")
    meter = Meter("cpu", tmp_path)
    _package(tmp_path / "intel-rapl:0", 20.0)  # it began again at 1000 J
    _package(tmp_path / "intel-rapl:1", 15.0)
    assert meter.facts()["cpu_energy"] == pytest.approx(30.0 + 5.0)


def test_peak_memory_is_read_without_proc(tmp_path: Path) -> None:
    assert peak_memory(tmp_path / "absent") == pytest.approx(peak_memory(), rel=0.5)


def test_only_the_last_hour_is_summed_up() -> None:
    old = {"event": "cell_ended", "outcome": "finished", "time": "2020-01-01T00:00:00+00:00"}
    assert last_hour([old]).finished == 0


def test_a_cell_that_is_tried_again_counts_once_in_the_last_hour() -> None:
    now = datetime.now(UTC).isoformat()
    tries = [("a", "failed"), ("a", "failed"), ("b", "failed"), ("b", "finished"), ("c", "failed")]
    lines = [
        {"event": "cell_ended", "task": task, "outcome": outcome, "time": now}
        for task, outcome in tries
    ]
    activity = last_hour(lines)
    assert [activity.finished, activity.failed] == [1, 2]


def test_a_warning_is_logged_once_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(results=tmp_path)
    shown: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", EtabWarning)
        monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
        with logged_warnings(settings):
            for _ in range(2):
                warnings.warn("a claim was not touched", EtabWarning, stacklevel=1)
    assert shown == 2 * ["a claim was not touched"]
    (line,) = read_lines(tmp_path)
    assert [line["event"], line["words"]] == ["warning", "a claim was not touched"]
