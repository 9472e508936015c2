"""Measurements of a piece of work: time, memory, and energy if the machine reports it."""

from __future__ import annotations

import functools
import importlib.util
import resource
import sys
import time
from pathlib import Path
from typing import Any

_RAPL = Path("/sys/class/powercap")
_STATUS = Path("/proc/self/status")


class Meter:
    """Measures a piece of work, from the making of this object on.

    Energy is what the whole machine has taken meanwhile, with all that runs beside the work.

    Attributes:
        device: Where the backbones compute. The energy of GPUs is read for "cuda" alone.

    Example:
        >>> sorted(Meter("cpu").facts())[-2:]
        ['peak_memory', 'seconds']
    """

    def __init__(self, device: str, rapl: Path = _RAPL) -> None:
        self.device = device
        self._rapl = rapl
        self._began = time.perf_counter()
        self._counters = self._read()

    def facts(self) -> dict[str, float]:
        """Return what the work has taken.

        Returns:
            "seconds" of the clock; "peak_memory", the largest resident memory of the process in
            bytes since it started; and, where the machine has such counters that this user may
            read, "cpu_energy" and "gpu_energy" in J.
        """
        taken: dict[str, float] = {
            "seconds": round(time.perf_counter() - self._began, 3),
            "peak_memory": peak_memory(),
        }
        now = self._read()
        for kind in ("cpu_energy", "gpu_energy"):
            names = [name for name in self._counters if name[0] == kind and name in now]
            if names:
                joules = [_difference(self._counters[name], now[name]) for name in names]
                taken[kind] = round(sum(joules), 3)
        return taken

    def _read(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Read each counter: its value in J, and the value at which it begins again."""
        counters = {
            ("cpu_energy", name): value for name, value in _cpu_counters(self._rapl).items()
        }
        if self.device.startswith("cuda"):
            counters |= {("gpu_energy", name): value for name, value in _gpu_counters().items()}
        return counters


def _difference(before: tuple[float, float], after: tuple[float, float]) -> float:
    """How far a counter has moved; it may have begun again once."""
    moved = after[0] - before[0]
    return moved if moved >= 0 else moved + after[1]


def peak_memory(status: Path = _STATUS) -> int:
    """Read the largest resident memory of this process in bytes since it started.

    Args:
        status: File in which Linux says so.
    """
    try:
        words = status.read_text().split()
        return 1024 * int(words[words.index("VmHWM:") + 1])
    except (OSError, ValueError):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _cpu_counters(rapl: Path) -> dict[str, tuple[float, float]]:
    """The counters of the processor packages; none where the system has or shows none."""
    counters: dict[str, tuple[float, float]] = {}
    for folder in sorted(rapl.glob("intel-rapl:*")):  # AMD processors have this name as well
        try:
            if (folder / "name").read_text().startswith("package"):
                value = int((folder / "energy_uj").read_text()) / 1e6
                largest = int((folder / "max_energy_range_uj").read_text()) / 1e6
                counters[folder.name] = (value, largest)
        except (OSError, ValueError):
            continue  # as a rule, root alone may read them
    return counters


@functools.cache
def _nvml() -> Any:
    """The module of NVML, at work; None where there is none."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no driver
        return None
    return pynvml


def _gpu_counters() -> dict[str, tuple[float, float]]:
    """The counters of all GPUs; none without NVML."""
    nvml = _nvml()
    counters: dict[str, tuple[float, float]] = {}
    if nvml is None:
        return counters
    for number in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(number)
            joules = nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
        except Exception:  # an older GPU has no counter
            continue
        counters[str(number)] = (joules, 0.0)
    return counters
