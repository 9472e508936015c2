"""What this process may use of the machine it runs on."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def allowed_cores(cgroups: Path = _CGROUPS) -> int:
    """Count the processor cores that this process may use.

    A machine has more cores than a job is given by ``taskset``, by SLURM (``--cpus-per-task``) or by a
    container's quota. Starting a worker for each core of the machine would make them wait for each other.

    Args:
        cgroups: Folder of the control groups, in which Linux keeps a container's quota.

    Returns:
        The number of cores, 1 or more: the smallest of what the system, the quota and SLURM allow.

    Example:
        >>> allowed_cores() >= 1
        True
    """
    limits = [_cores_of_process()]
    quota = _quota(cgroups)
    if quota is not None:
        limits.append(quota)
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if granted.isdigit():
        limits.append(int(granted))
    return max(1, min(limits))


def _cores_of_process() -> int:
    """Count the cores that the scheduler of the system lets this process run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows bind no process to cores


def _quota(cgroups: Path) -> int | None:
    """Read how many cores' worth of time the control group grants; None without a quota."""
    try:
        version_2 = (cgroups / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        version_2 = []
    if version_2:
        return _whole_cores(version_2[0], version_2[-1])
    try:
        quota = (cgroups / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii")
        period = (cgroups / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return _whole_cores(quota, period)


def _whole_cores(quota: str, period: str) -> int | None:
    """Divide a quota by its period and round up; None where it is "max", negative or no number."""
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return math.ceil(share) if share > 0 else None
