"""The cores that a process may use: those of its affinity, its container's quota and its SLURM job."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import scipy.linalg  # noqa: F401  # its library of linear algebra has threads of its own
import threadpoolctl

from etab.errors import UnsupportedOptionError
from etab.storage import machine
from etab.storage.machine import allowed_cores, one_thread, one_thread_of_numpy


def threads() -> tuple[int, int]:
    """Threads of linear algebra, the most of any library, and threads of torch."""
    import torch

    libraries = threadpoolctl.threadpool_info()
    blas = [of["num_threads"] for of in libraries if of["user_api"] == "blas"]
    return max(blas), torch.get_num_threads()


@contextlib.contextmanager
def threads_of_user(*, blas: int, torch: int) -> Iterator[None]:
    """Settings as a user has made them; those of the process are put back."""
    from torch import get_num_threads, set_num_threads

    before = get_num_threads()
    with threadpoolctl.threadpool_limits(limits=blas, user_api="blas"):
        set_num_threads(torch)
        try:
            yield
        finally:
            set_num_threads(before)


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def test_the_affinity_counts_and_not_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert allowed_cores(tmp_path) == 8


def test_without_affinity_the_machine_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "process_cpu_count", raising=False)  # it asks for the affinity, too
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert allowed_cores(tmp_path) == 6


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("5000 100000\n", 1),
        ("max 100000\n", 8),
        ("", 8),
        ("nonsense\n", 8),
        ("100000 0\n", 8),
    ],
)
def test_the_quota_of_a_container(tmp_path: Path, text: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert allowed_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 8)])
def test_the_quota_of_an_older_container(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert allowed_cores(tmp_path) == cores


@pytest.mark.parametrize(("granted", "cores"), [("3", 3), ("0", 1), ("99", 8), ("two", 8)])
def test_the_cores_of_a_slurm_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, granted: str, cores: int
) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", granted)
    assert allowed_cores(tmp_path) == cores


def test_the_quota_of_the_own_group_of_a_job(tmp_path: Path) -> None:
    """systemd and SLURM limit a group below the root; the root itself has no quota."""
    own = tmp_path / "cgroup"
    own.write_text("0::/system.slice/job_7/step_0\n")
    group = tmp_path / "system.slice" / "job_7"
    (group / "step_0").mkdir(parents=True)
    (group / "cpu.max").write_text("300000 100000\n")
    (group / "step_0" / "cpu.max").write_text("max 100000\n")
    assert allowed_cores(tmp_path, own) == 3


def test_the_quota_of_the_own_group_in_version_1(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n")
    group = tmp_path / "cpu,cpuacct" / "docker" / "1"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("150000")
    (group / "cpu.cfs_period_us").write_text("100000")
    assert allowed_cores(tmp_path, own) == 2


def test_torch_starts_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = torch.get_num_threads()
    monkeypatch.setattr(machine, "allowed_cores", lambda: 1)
    try:
        torch.set_num_threads(2)
        machine.limit_threads()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("torch_too", [False, True])
def test_one_thread_inside_and_the_setting_of_the_user_after(torch_too: bool) -> None:
    seen: list[tuple[int, int]] = []

    def fit() -> None:
        with one_thread(torch_too=torch_too):
            seen.append(threads())
            with one_thread(torch_too=True):
                seen.append(threads())
            seen.append(threads())
            raise ArithmeticError

    with threads_of_user(blas=2, torch=3):
        with pytest.raises(ArithmeticError):
            fit()
        assert threads() == (2, 3)
    outer = (1, 1 if torch_too else 3)
    assert seen == [outer, (1, 1), outer]


def test_numpy_alone_has_one_thread_inside_and_the_setting_of_the_user_after() -> None:
    def fit() -> None:
        with one_thread_of_numpy():
            assert threads() == (1, 3)
            raise ArithmeticError

    with threads_of_user(blas=2, torch=3):
        with pytest.raises(ArithmeticError):
            fit()
        assert threads() == (2, 3)


def test_python_threads_that_overlap_leave_the_setting_of_the_user() -> None:
    """The first to enter leaves first: what the second puts back must not be the first's limit."""
    entered, left = threading.Event(), threading.Event()
    seen: list[int] = []

    def second() -> None:
        with one_thread(torch_too=True):
            entered.set()
            left.wait(60)
            seen.append(threads()[1])

    with threads_of_user(blas=2, torch=3):
        thread = threading.Thread(target=second)
        with one_thread(torch_too=True):
            thread.start()
            assert entered.wait(60)
        left.set()
        thread.join()
        assert threads() == (2, 3)
    assert seen == [1]


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("gpu", "no device of this name"),
        ("", "no device of this name"),
        ("CPU", "no device of this name"),
        ("cuda:x", "no device of this name"),
        ("cpu:3", "one device"),
        ("meta", "cannot compute"),
        ("cuda", "no CUDA GPU"),
        ("cuda:7", "no CUDA GPU"),
        ("mps", "no Apple GPU"),
        ("xpu", "cannot compute"),
    ],
)
def test_a_device_that_is_absent(monkeypatch: pytest.MonkeyPatch, device: str, reason: str) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UnsupportedOptionError, match=reason):
        machine.require_device(device)


def test_a_gpu_beyond_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    machine.require_device("cuda")
    machine.require_device("cuda:1")
    with pytest.raises(UnsupportedOptionError, match="2 GPUs, cuda:0 to cuda:1"):
        machine.require_device("cuda:7")


def test_a_process_that_hangs_ends_with_its_parent() -> None:
    """Inside a pattern that never returns to Python, where no thread of it can look."""
    hangs = (
        "import re, signal; from etab.storage.machine import killed_with_parent; "
        "signal.alarm(120); killed_with_parent(); print('x', flush=True); "
        "re.match('(a+)+$', 'a' * 60 + 'b')"
    )
    starts = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], "
        "stdout=subprocess.PIPE); child.stdout.read(2); print(child.pid, flush=True)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", starts, hangs], capture_output=True, text=True, check=True
    )
    number = int(ended.stdout)
    status = Path(f"/proc/{number}/stat")
    deadline = time.monotonic() + 60
    with contextlib.suppress(OSError):  # there is no such process any longer
        while status.read_text().split()[2] != "Z":
            if time.monotonic() > deadline:
                os.kill(number, signal.SIGKILL)
                pytest.fail("the process goes on")
            time.sleep(0.02)


def test_instructions_tell_apart_what_one_model_name_hides(tmp_path: Path) -> None:
    """A virtual machine shows the model of its host, and not always all its instructions."""
    texts = []
    for flags in ("fpu sse4_2 avx avx2 fma", "fpu sse4_2 avx avx2 fma avx512f avx512_bf16"):
        info = tmp_path / "cpuinfo"
        info.write_text(
            f"cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t: {flags}\n"
        )
        texts.append(machine.instructions(info))
    assert texts == ["25 17 avx avx2 fma", "25 17 avx avx2 avx512_bf16 avx512f fma"]
    assert machine.instructions(tmp_path / "absent") == platform.machine()
