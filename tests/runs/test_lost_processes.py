"""Code of other people may end its process: that ends its own cells, and is recorded in words."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import etab
from etab.cli import main as command
from etab.cli.words import say
from etab.errors import UnsupportedOptionError
from etab.results import load_results
from etab.runs import lost_processes
from etab.runs.execute import features_claim
from etab.runs.failed_cells import failed_cells
from etab.runs.failures import TerminatedError, is_interruption
from etab.runs.lost_processes import how_it_ended, left_at_work
from etab.runs.run import Run, Settings, is_named, plan
from tests.commands import ROOT, etab_process
from tests.commands import etab as etab_command

MODULE = """
import ctypes, os, sys, time
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

def mean(end):
    def mean(x):
        if (x[:, :, 0, :4] == x[:, :, 0, :1]).all():  # a frame of the data, whose corner is black, and no trial
            end()
        return x.mean((2, 3))
    return mean

def card(name, end):
    return lambda: etab.backbone(mean(end), name=name, version="1", input=etab.Frames(size=32))

ends_segv, ends_leave, ends_stop, ends_odd = [
    card(f"ends_{end.__name__}", end) for end in (segv, leave, stop, odd)
]

def ends_at_once():
    sys.exit(0)
"""
NAMES = ("ends_segv", "ends_leave", "ends_stop", "ends_odd", "ends_at_once")


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
    sentence = how_it_ended(code)
    assert re.search(words, sentence)
    assert "Its finished cells are saved" in sentence
    assert "--retry-failed" in sentence


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
        *("run", "--tasks", "b0-A4-C", "--protocol", "cv3", "--head", "knn", "--workers", "2"),
        *("--backbones", ",".join([*NAMES[:4], "image_stats"]), "--root", camus),
        *("--results", "results", "--cache", tmp_path / "cache"),
        cwd=tmp_path,
        PYTHONPATH=f"{ROOT}{os.pathsep}{package}",
    )
    assert ended.returncode == 1, ended.stderr
    assert [cell.backbone for cell in load_results(tmp_path / "results")] == ["image_stats"]
    failed = {cell.backbone: cell for cell in failed_cells(tmp_path / "results")}
    words = {
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
