"""Code of other people may end its process: that ends its own cells, and is recorded in words."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import queue
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.managers import SyncManager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import etab
from etab.cli import main as command
from etab.cli import supervised
from etab.cli.words import say
from etab.errors import EtabWarning, UnsupportedOptionError
from etab.results import load_results
from etab.runs import executors, lost_processes
from etab.runs.data import Data
from etab.runs.events import Event, pass_on, send_warnings
from etab.runs.execute import CLAIMS, claim_path, features_claim
from etab.runs.failed_cells import failed_cells
from etab.runs.failures import TerminatedError, is_interruption
from etab.runs.lost_processes import how_it_ended, hung, left_at_work, record_killed
from etab.runs.run import Run, Settings, is_named, plan
from etab.runs.run_log import last_hour, read_lines
from etab.storage.claims import Holder, take_claim
from etab.storage.machine import killed_for_memory
from etab.storage.watchdog import (
    ended_without_progress,
    note_of,
    progressed,
    remove_empty_notes,
    where_it_hung,
)
from tests.commands import ROOT, etab_process
from tests.commands import etab as etab_command

MODULE = """
import ctypes, os, re, sys, time
import etab

class Odd(BaseException):
    pass

def segv():
    ctypes.string_at(0)

def leave():
    os._exit(0)

def stop():
    raise KeyboardInterrupt

def odd():
    raise Odd("odd")

def hang():  # inside code that never returns to Python
    re.match("(a+)+$", "a" * 60 + "b")

def full():
    kept = []
    while True:
        kept.append(bytearray(1 << 26))

def mean(end):
    def mean(x):
        if (x[:, :, 0, :6] == x[:, :, 0, :1]).all():  # a frame of the data, whose corner is black, and no trial
            end()
        return x.mean((2, 3))
    return mean

def card(name, end):
    return lambda: etab.backbone(mean(end), name=name, version="1", input=etab.Frames(size=32))

ends_segv, ends_leave, ends_stop, ends_odd, ends_hang, ends_full = [
    card(f"ends_{end.__name__}", end) for end in (segv, leave, stop, odd, hang, full)
]

def ends_at_once():
    sys.exit(0)
"""
FOREIGN = ("ends_segv", "ends_leave", "ends_stop", "ends_odd", "ends_hang", "ends_full")
NAMES = (*FOREIGN, "ends_at_once")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that brings backbones that end their process."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "made_to_end.py").write_text(MODULE)
    info = folder / "made_to_end-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made_to_end\nVersion: 1.0\n")
    lines = [f"{name} = made_to_end:{name}" for name in NAMES]
    (info / "entry_points.txt").write_text("\n".join(["[etab.backbones]", *lines, ""]))
    return folder


@pytest.fixture(scope="module")
def camus(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGKILL, "ended by the system, most often because memory ran out"),
        (-signal.SIGSEGV, r"crashed \(SIGSEGV\) in code of the backbone"),
        (-200, r"crashed \(signal 200\)"),
        (-signal.SIGTERM, "asked to stop"),
        (0, "ended itself with exit status 0"),
        (9, "exit status 9"),
    ],
)
def test_how_a_process_ended_is_told(code: int, words: str) -> None:
    end = how_it_ended(code)
    sentence = end.words
    assert end.kind == "killed"
    assert re.search(words, sentence)
    assert "Its finished cells are saved" in sentence
    assert "--retry-failed" in sentence


def test_a_process_that_the_system_ended_for_memory_is_told_apart(tmp_path: Path) -> None:
    """The system counts them, in the control groups of the process where it says so."""
    assert how_it_ended(-signal.SIGKILL, memory_ran_out=True).kind == "memory"
    assert how_it_ended(-signal.SIGSEGV, memory_ran_out=True).kind == "killed"
    own = tmp_path / "own"
    own.write_text("0::/job\n")
    machine = tmp_path / "vmstat"
    machine.write_text("oom_kill 7\n")
    assert killed_for_memory(tmp_path, own, machine) == 7
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "memory.events").write_text("oom 5\noom_kill 2\n")
    assert killed_for_memory(tmp_path, own, machine) == 2
    assert killed_for_memory(tmp_path, tmp_path / "absent", tmp_path / "absent") == 0


def test_where_a_process_hung_is_told_once(tmp_path: Path) -> None:
    """Its claim leads to the note that it left; the cells are recorded, and the note is deleted."""
    (run,) = plan("b0-A4-C", ["image_stats"], protocols=("cv3",))
    settings = Settings(results=tmp_path, timeout=5.0)
    assert hung([run], settings) is None
    claim = take_claim(claim_path(run, settings))
    assert claim is not None
    with ended_without_progress(tmp_path, 3600.0):
        note = note_of(tmp_path, claim.holder)
        assert hung([run], settings) is None
        assert note.exists()
        note.write_text(
            "{}\nTimeout (0:00:05)!\nThread 0x1 (most recent call first):\n"
            '  File "a/heart.py", line 1 in beat\nThread 0x2 (most recent call first):\n'
            '  File "a/net.py", line 12 in forward\n  File "b.py", line 3 in main\n'
        )
        end = hung([run], settings)
        assert hung([run], replace(settings, timeout=0.0)) is None
    assert end is not None
    assert end.kind == "timeout"
    assert "no progress for 5 s" in end.words
    assert "in forward (net.py line 12)" in end.words
    assert not note.exists()
    claim.release()


def test_notes_that_are_none_are_neither_waited_for_nor_believed(tmp_path: Path) -> None:
    """A folder of results may come from anybody."""
    holder = Holder.this_process()
    note = note_of(tmp_path, holder)
    note.parent.mkdir()
    os.mkfifo(note)
    (note.parent / "0123456789abcdef.hung").write_text("[" * 100_000)
    remove_empty_notes(tmp_path)
    assert where_it_hung(tmp_path, holder) is None


def test_a_time_without_end_is_no_limit(tmp_path: Path) -> None:
    with ended_without_progress(tmp_path, float("inf")):
        progressed()


def test_a_worker_sends_its_warnings_and_the_parent_shows_each_once() -> None:
    sent: queue.Queue[Event | None] = queue.Queue()
    heard: list[Event] = []
    before = warnings.showwarning
    try:
        send_warnings(sent)
        for _ in range(2):
            warnings.showwarning(EtabWarning("no appendix"), EtabWarning, "cinc2016.py", 433)
    finally:
        warnings.showwarning = before
    for event in (Event("failed", "a", error="no appendix"), None):
        sent.put(event)
    with pytest.warns(EtabWarning) as met:
        pass_on(sent, heard.append)
    assert [str(one.message) for one in met] == ["no appendix"]
    assert [event.kind for event in heard] == ["failed"]


def test_a_cell_that_fails_again_in_the_next_worker_counts_once() -> None:
    """A group whose worker was ended is run again, with the cells of it that had failed."""
    one, two = Path("a/one.json"), Path("a/two.json")
    sent: queue.Queue[Event | None] = queue.Queue()
    for event in (
        Event("failed", "a", error="boom", runs=1, cells=(one,)),
        Event("failed", "a", error="boom", runs=1, cells=(one,)),
        Event("failed", "a", error="gone", runs=2, cells=(one, two)),
        None,
    ):
        sent.put(event)
    heard: list[Event] = []
    pass_on(sent, heard.append)
    assert [(event.error, event.runs, event.cells) for event in heard] == [
        ("boom", 1, (one,)),
        ("gone", 1, (two,)),
    ]


def test_a_signal_that_comes_twice_at_once_is_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster tells every process of a job, and the parent of etab run passes it on."""
    times = iter([10.0, 10.5, 20.0, 20.5, 22.0])
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(command, "_ASKED", {})
    with pytest.raises(TerminatedError):
        command._end(signal.SIGTERM, None)
    command._end(signal.SIGTERM, None)
    with pytest.raises(TerminatedError):
        command._interrupt(signal.SIGINT, None)
    command._interrupt(signal.SIGINT, None)
    with pytest.raises(TerminatedError):
        command._interrupt(signal.SIGINT, None)


def test_a_fault_of_the_display_is_not_taken_for_the_end_of_the_workers() -> None:
    def refuse(_: Event) -> None:
        raise OSError(28, "No space left on device")

    sent: queue.Queue[Event | None] = queue.Queue()
    sent.put(Event("failed", "a"))
    with pytest.raises(OSError, match="No space left"):
        pass_on(sent, refuse)


def test_the_queue_of_the_workers_outlives_a_signal_to_the_whole_group() -> None:
    """timeout, SLURM and docker send SIGTERM to every process at once; the run then still tells."""
    manager = SyncManager(ctx=multiprocessing.get_context("spawn"))
    with executors._started(manager):
        told = manager.Queue()
        os.kill(manager._process.pid, signal.SIGTERM)
        told.put("stopped")
        assert told.get(timeout=10) == "stopped"


def test_children_that_end_before_their_first_cell_end_the_run() -> None:
    """Each next one would end there, too. No disk is needed to know it."""
    code = """
import os, sys
from etab.cli import supervised

def main(earlier=None):
    print("a child", flush=True)
    os._exit(0)

supervised.main = main
supervised.tempfile = None
supervised._described = lambda *_: None
sys.argv = ["etab", "run"]
supervised.start()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "a child\na child\n", ended.stderr
    assert ended.returncode == 1
    assert "ended with status 0 again, and by none of its cells" in ended.stderr


@pytest.mark.parametrize(
    ("words", "is_supervised"),
    [
        ("run --workers 1", True),
        ("run --executor local", True),
        ("run --executor=ray", False),
        ("run --workers 1 --executor slurm", False),
        ("status run", False),
        ("", False),
    ],
)
def test_what_computes_on_this_machine_has_a_parent(words: str, is_supervised: bool) -> None:
    assert supervised._is_supervised(words.split()) is is_supervised


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "how", "status"),
    [
        ("os.kill(os.getpid(), 9)", "ended by SIGKILL again", 137),
        ("os._exit(0)", "ended with status 0 again", 1),
    ],
)
def test_code_that_ends_the_command_before_its_cells_ends_it_at_last(
    line: str, how: str, status: int, tmp_path: Path
) -> None:
    """It would end each further process, for ever."""
    (tmp_path / "mine.py").write_text(f"import os\n{line}\n")
    words = ("run", "--data", "mine.py", "--root", tmp_path, "--backbones", "image_stats")
    ended = etab_process(*words, cwd=tmp_path)
    assert ended.returncode == status
    assert how in ended.stderr
    assert "by none of its cells" in ended.stderr


def test_the_cells_of_an_ended_process_are_known_by_its_claims(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others go on in several workers: only these may be to blame."""
    settings = Settings()
    groups = [plan("b0-A4-C", [name], protocols=("cv3",)) for name in ("image_stats", "pixel_pca")]
    left = [features_claim(groups[1][0], settings)]
    monkeypatch.setattr(lost_processes, "is_abandoned", left.__contains__)
    assert left_at_work(groups, settings) == [groups[1]]
    left.clear()
    assert left_at_work(groups, settings) == groups


@pytest.mark.parametrize("is_in_features", [False, True])
def test_cells_that_were_killed_count_in_the_last_hour(
    is_in_features: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As failed, in the process that was at work on them, which cannot log it itself."""
    runs = plan("b0-A4-C", ["image_stats"], protocols=("cv2", "cv3"), head="knn")
    settings = Settings(results=tmp_path)
    claim = features_claim(runs[0], settings) if is_in_features else claim_path(runs[0], settings)
    assert take_claim(claim, "work") is not None
    holder = Holder.this_process()
    monkeypatch.setattr(Holder, "is_dead", lambda self: True)
    monkeypatch.setattr(lost_processes, "facts_of_cell", lambda *_: {})
    monkeypatch.setattr(lost_processes, "finished", lambda *_: None)
    monkeypatch.setattr(os, "getpid", lambda: holder.pid + 1)  # the process that looks at it later
    killed, _ = record_killed(runs, settings, Data(settings), how_it_ended(-9))
    lines = read_lines(tmp_path)
    assert last_hour(lines).failed == len(killed) == 1 + is_in_features
    assert {line["pid"] for line in lines} == {holder.pid}
    assert all("ended by the system" in line["error"] for line in lines)


def _other_handler(*_: object) -> None:
    """A handler of another program, which may raise KeyboardInterrupt itself."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("handler", "is_control_c"),
    [
        (signal.default_int_handler, True),
        (_other_handler, True),  # as of a notebook
        (signal.SIG_IGN, False),  # as in a worker process
        (command._interrupt, False),  # as in the command
    ],
)
def test_an_interruption_of_ones_own_is_told_from_control_c(
    handler: Callable[..., object], is_control_c: bool
) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        assert is_interruption(KeyboardInterrupt()) is is_control_c
        assert is_interruption(TerminatedError())
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_command_names_what_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """sys.exit of other code is no good end; the handlers of signals are put back."""

    def app(**_: object) -> None:
        raise SystemExit(0)

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(command, "app", app)
    ended = etab_command("list", "tasks")
    assert ended.returncode == 2
    assert "SystemExit: 0" in ended.stderr
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_fork_of_a_function_does_not_go_on_with_the_run() -> None:
    forks: list[int] = []

    def forking(x: torch.Tensor) -> torch.Tensor:
        forks.append(os.fork())
        return x.mean((2, 3))

    card = etab.backbone(forking, name="forking", version="1", input=etab.Frames(size=32))
    assert card.layers == ("out",)
    assert [os.waitpid(pid, 0)[1] for pid in forks] == [0] * len(forks)
    assert forks


def test_a_name_of_a_package_leads_to_its_function(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its function is tried once, and a worker process, a task of Ray or a job of SLURM finds it."""
    monkeypatch.syspath_prepend(str(package))
    run = Run("b0-A4-C", "ends_odd")
    assert run.backbone_card is run.backbone_card
    assert is_named(run)
    with pytest.raises(
        UnsupportedOptionError, match=r"ends_at_once.*cannot be used: SystemExit: 0"
    ):
        Run("b0-A4-C", "ends_at_once").backbone_card  # noqa: B018


def test_code_that_changes_the_folder_and_closes_the_output_does_no_harm(
    camus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results go where they were asked for; what is said goes to the errors."""
    monkeypatch.chdir(camus.parent)
    (tmp_path / "elsewhere").mkdir()

    def leaving(x: torch.Tensor) -> torch.Tensor:
        os.chdir(tmp_path / "elsewhere")
        return x.mean((2, 3))

    card = etab.backbone(leaving, name="leaving", version="1", input=etab.Frames(size=32))
    os.chdir(camus.parent)
    results = Path(os.path.relpath(tmp_path / "results"))
    tasks = {"tasks": "b0-A4-C", "protocol": "cv5"}
    score = etab.evaluate(card, root=Path("camus"), results=results, **tasks)
    assert [cell.task for cell in load_results(tmp_path / "results")] == ["b0-A4-C"]
    assert score.tasks
    out, err = io.StringIO(), io.StringIO()
    out.close()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        say("4 cells computed")
    assert err.getvalue() == "4 cells computed\n"


@pytest.mark.slow
def test_code_that_ends_its_process_ends_its_own_cells(
    package: Path, camus: Path, tmp_path: Path
) -> None:
    ended = etab_process(
        *("run", "--tasks", "b0-A4-C", "--protocol", "cv3", "--head", "knn"),
        *("--workers", "2", "--timeout", "20", "--executor-option", "memory_gb=2"),
        *("--backbones", ",".join([*FOREIGN, "image_stats"]), "--root", camus),
        *("--results", "results", "--cache", tmp_path / "cache"),
        cwd=tmp_path,
        PYTHONPATH=f"{ROOT}{os.pathsep}{package}",
    )
    assert ended.returncode == 1, ended.stderr
    assert [cell.backbone for cell in load_results(tmp_path / "results")] == ["image_stats"]
    failed = {cell.backbone: cell for cell in failed_cells(tmp_path / "results")}
    words = {
        "ends_hang": "no progress for 20 s (--timeout) and was ended; it was in match (",
        "ends_full": "MemoryError: no message (raised in full",
        "ends_segv": "crashed (SIGSEGV)",
        "ends_leave": "exit status 0",
        "ends_stop": "KeyboardInterrupt: no message (raised in stop",
        "ends_odd": "Odd: odd (raised in odd",
    }
    assert sorted(failed) == sorted(words)
    for name, text in words.items():
        assert text in failed[name].words
        assert f"--backbones {name} " in failed[name].command
        assert f"--results {tmp_path / 'results'} " in failed[name].command
        assert failed[name].words in ended.stdout
    assert "in segv" in ended.stderr  # where it crashed
    kinds = {name: cell.kind for name, cell in failed.items()}
    assert (kinds["ends_hang"], kinds["ends_full"], kinds["ends_segv"]) == (
        "timeout",
        "memory",
        "killed",
    )
    left = [path for path in tmp_path.rglob("*") if path.suffix in (".part", ".claim", ".hung")]
    assert [*left, *(tmp_path / "results" / CLAIMS).iterdir()] == []


@pytest.mark.slow
def test_code_that_ends_the_command_itself_ends_its_own_cells(
    package: Path, camus: Path, tmp_path: Path
) -> None:
    """With one worker the command computes: its parent goes on without the cells that end it."""
    ended = etab_process(
        *("run", "--tasks", "b0-A4-C", "--protocol", "cv3", "--head", "knn", "--workers", "1"),
        *("--backbones", "ends_leave,ends_segv,ends_hang,image_stats", "--root", camus),
        *("--retry-failed", "--timeout", "15"),
        *("--results", "results", "--cache", tmp_path / "cache"),
        cwd=tmp_path,
        PYTHONPATH=f"{ROOT}{os.pathsep}{package}",
    )
    assert ended.returncode == 1, ended.stderr
    assert [cell.backbone for cell in load_results(tmp_path / "results")] == ["image_stats"]
    failed = failed_cells(tmp_path / "results")
    assert [(cell.backbone, cell.kind, cell.attempts) for cell in failed] == [
        ("ends_hang", "timeout", 1),
        ("ends_leave", "killed", 1),
        ("ends_segv", "killed", 1),
    ]
    assert all(cell.words in ended.stdout for cell in failed)
    assert [*(tmp_path / "results" / CLAIMS).iterdir()] == []
