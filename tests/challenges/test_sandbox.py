"""Bubblewrap around entries: what a program sees, writes and leaves, and what a score then says."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from etab.challenges import sandbox
from etab.challenges.cinc2016 import run_cinc2016
from etab.challenges.limits import Limits, run_limited
from etab.challenges.safety import sandbox_note
from etab.challenges.sandbox import BUBBLEWRAP, NONE, sandbox_name, sandboxed
from tests.challenges.entries import QUICK, entry

needs_bubblewrap = pytest.mark.skipif(
    sandbox_name() == NONE, reason="needs bubblewrap, and a system that lets it work"
)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work" / "home").mkdir(parents=True)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "REFERENCE.csv").write_text("a0001,1")
    return tmp_path / "work"


def test_nothing_but_the_work_can_be_written_to(work: Path) -> None:
    words = sandboxed(["/bin/bash", "next.sh"], work, home=work / "home", writable=work)
    bound = [words[i + 1] for i, word in enumerate(words) if word == "--bind"]
    assert set(bound) == {str(work), str(work / "home")}
    assert "--unshare-all" in words
    assert "/" not in [words[i + 1] for i, word in enumerate(words) if word == "--ro-bind"]
    assert words[-3:] == ["--", "/bin/bash", "next.sh"]


def test_data_in_a_folder_of_programs_are_hidden(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", str(work.parent))
    data = work.parent / "labels"
    words = sandboxed(["true"], work, home=work / "home", writable=work, hidden=[data])
    assert words[words.index("--tmpfs") + 1] == str(data)
    assert words.index("--tmpfs") > words.index("--ro-bind")
    elsewhere = [Path("/data")]
    monkeypatch.delenv("VIRTUAL_ENV")
    monkeypatch.setenv("PATH", "/usr/bin")
    words = sandboxed(["true"], work, home=work / "home", writable=work, hidden=elsewhere)
    assert "--tmpfs" not in words


def test_an_interpreter_below_tmp_is_seen(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The /tmp of a program hides the /tmp of the system; what is shown of it is mounted later."""
    monkeypatch.setenv("VIRTUAL_ENV", str(work.parent))
    words = sandboxed(["true"], work, home=work / "home", writable=work)
    mounted = [words[i + 2] for i, word in enumerate(words) if word in ("--bind", "--ro-bind")]
    assert mounted.index("/tmp") < mounted.index(str(work.parent)) < mounted.index(str(work))


def test_versions_of_python_behind_a_script_are_seen(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyenv and asdf have a script called python3, which starts an interpreter beside it."""
    script = tmp_path / "versions" / "shims" / "python3"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.setenv("PATH", str(script.parent))
    words = sandboxed(["python3"], work, home=work / "home", writable=work)
    shown = [words[i + 1] for i, word in enumerate(words) if word == "--ro-bind"]
    assert str(tmp_path / "versions") in shown


def test_a_machine_without_bubblewrap_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sandbox_name() == NONE
    broken = tmp_path / "bwrap"  # as in a container that forbids namespaces
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert sandbox_name() == NONE
    broken.write_text("#!/bin/sh\nexit 0\n")
    sandbox._works.cache_clear()
    assert sandbox_name() == BUBBLEWRAP
    assert sandbox_name(wanted=False) == NONE
    sandbox._works.cache_clear()


def test_a_score_names_its_sandbox() -> None:
    assert "could have read the labels" in sandbox_note(NONE)
    assert all("never ranks" in sandbox_note(name) for name in (NONE, BUBBLEWRAP))


@pytest.mark.sandbox
def test_a_run_is_marked_with_its_sandbox(
    made: Path, tmp_path: Path, truth: dict[str, int]
) -> None:
    """Labels that the parent process or the folder of the data would give away stay unseen."""
    look = f"ls {made} >&2; tr '\\0' ' ' < /proc/$PPID/cmdline >&2; false"
    path = entry(tmp_path / "e", truth, look if sandbox_name() == BUBBLEWRAP else "")
    done = run_cinc2016(
        path, made / "cinc2016", tmp_path / "out", trust=True, setup=QUICK, record=QUICK
    )
    assert (done.sandbox, done.ranked) == (sandbox_name(), False)
    assert sandbox_note(sandbox_name()) in done.render()
    assert done.as_dict()["sandbox"] == sandbox_name()
    if sandbox_name() == BUBBLEWRAP:
        reasons = "".join(done.failures.values())
        assert "No such file or directory" in reasons
        assert "pytest" not in reasons.replace(str(made), "")


def _inside(work: Path, code: str, disk: int = 20) -> str:
    """Run code in the sandbox; return its output, or why it ended badly."""
    ended = run_limited(
        [sys.executable, "-c", code],
        work,
        Limits(20, 500, disk),
        home=work / "home",
        watched=work,
        sandbox=BUBBLEWRAP,
        hidden=[work.parent / "labels"],
    )
    return ended.why or ended.tail


@needs_bubblewrap
def test_an_entry_sees_neither_labels_nor_processes_nor_the_network(work: Path) -> None:
    labels = work.parent / "labels" / "REFERENCE.csv"
    code = f"""
import os, pathlib, socket
print(pathlib.Path({str(labels)!r}).exists())
print(b"etab" in b"".join(p.read_bytes() for p in pathlib.Path("/proc").glob("[0-9]*/environ")))
print(sorted(int(p.name) for p in pathlib.Path("/proc").glob("[0-9]*")))
print([name for _, name in socket.if_nameindex()])
"""
    shown = _inside(work, code).splitlines()
    assert shown[0] == "False"
    assert str(os.getpid()) not in shown[2].strip("[]").split(", ")
    assert shown[3] == "['lo']"


@needs_bubblewrap
def test_an_entry_writes_to_its_folder_alone_and_all_of_it_counts(work: Path) -> None:
    code = """
import pathlib
for path in ("/etc/x", "/x", "/dev/x", "/usr/x"):
    try:
        pathlib.Path(path).write_text("x")
        print(path)
    except OSError:
        pass
pathlib.Path("/tmp/x").write_text("x")
pathlib.Path("x").write_text("x")
"""
    assert _inside(work, code) == ""
    assert (work / "x").exists()
    assert (work / "home" / "x").exists()
    for folder in ("/tmp", "/dev/shm"):
        code = f"""
import pathlib, time
for i in range(6):
    pathlib.Path(f"{folder}/{len(folder)}-{{i}}").write_bytes(bytes(1 << 20))
time.sleep(10)
"""
        assert "after writing more than 4 MiB" in _inside(work, code, disk=4)


@needs_bubblewrap
def test_a_daemon_ends_with_its_sandbox(work: Path) -> None:
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for i in range(100):
            open("log", "a").write("x")
            time.sleep(0.05)
    os._exit(0)
time.sleep(0.5)
"""
    assert _inside(work, code) == ""
    size = (work / "log").stat().st_size
    time.sleep(0.4)
    assert (work / "log").stat().st_size == size > 0


@needs_bubblewrap
def test_an_interpreter_of_path_is_found_inside(work: Path) -> None:
    assert shutil.which("python3") is not None
    ended = run_limited(
        ["/bin/bash", "-c", "python3 -c 'print(1)'"],
        work,
        Limits(20, 500),
        home=work / "home",
        watched=work,
        sandbox=BUBBLEWRAP,
    )
    assert (ended.why, ended.tail) == ("", "1")
