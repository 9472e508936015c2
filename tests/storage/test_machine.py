"""The cores that a process may use: those of its affinity, its container's quota and its SLURM job."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from etab.errors import UnsupportedOptionError
from etab.storage import machine
from etab.storage.machine import allowed_cores


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
