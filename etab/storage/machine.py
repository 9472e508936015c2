"""The device, threads and cores of the machine that this process may use."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import functools
import math
import os
import platform
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from etab.errors import UnsupportedOptionError

_PARENT_DEATH_SIGNAL = 1  # number of an option of prctl(2)
_CGROUPS = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_CPUINFO = Path("/proc/cpuinfo")
_VECTORS = re.compile(r"avx|fma|f16c|amx|asimd|sve|neon")
_LONGEST_INSTRUCTIONS = 300  # characters


def signal_name(number: int) -> str:
    """Name a signal that ended a process.

    Args:
        number: Its number.

    Returns:
        Its name; words with the number where the system has no name for it.

    Example:
        >>> signal_name(11), signal_name(200)
        ('SIGSEGV', 'signal 200')
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def name_crashes() -> None:
    """Let code that crashes this process be named on stderr; does nothing where there is none."""
    # A process without stderr has None, or a stream that is not a file.
    with contextlib.suppress(RuntimeError, AttributeError, ValueError, OSError):
        if not faulthandler.is_enabled():
            faulthandler.enable()


def stop_signals() -> list[int]:
    """List the signals that ask this process to stop: SIGTERM, Ctrl-C, and the end of its terminal.

    Jobs in the background of a shell ignore Ctrl-C, which is meant for another program, and `nohup`
    ignores the end of the terminal (SIGHUP): both stay ignored.

    Example:
        >>> signal.SIGTERM in stop_signals()
        True
    """
    numbers: list[int] = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        numbers.append(signal.SIGHUP)
    return numbers


def leave_terminal_to_parent() -> None:
    """Ignore Ctrl-C and the end of the terminal in this process.

    A terminal signals every process of a command. The parent stops the work, and this process with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def killed_with_parent() -> None:
    """Let the system kill this process when its parent has ended; does nothing outside Linux.

    That holds also inside code that never returns to Python. The parent is the thread that started
    this process.
    """
    if sys.platform.startswith("linux"):
        prctl = ctypes.CDLL(None).prctl
        prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def require_device(device: str) -> None:
    """Refuse a device that torch cannot compute on here, before any work is done.

    Args:
        device: A name of torch: "cpu", "cuda", "cuda:1", "mps", ...

    Raises:
        UnsupportedOptionError: If torch knows no such device, or this machine has none.

    Example:
        >>> require_device("cpu")
    """
    # "cpu" needs no check, and so no import of torch.
    reason = "" if device == "cpu" else _device_problem(device)
    if reason:
        raise UnsupportedOptionError(
            f"device {device!r}: {reason} Take cpu, or a device that `etab doctor` lists."
        )


def _device_problem(device: str) -> str:
    """Explain why torch cannot compute on a device; "" where it can."""
    import torch

    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError):
        return "torch knows no device of this name."
    index = parsed.index or 0
    if parsed.type == "cpu":
        return "" if index == 0 else "the processor is one device, cpu."
    if parsed.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            return "torch finds no CUDA GPU on this machine."
        if index < count:
            return ""
        return f"this machine has {count} GPUs, cuda:0 to cuda:{count - 1}."
    if parsed.type == "mps" and not torch.backends.mps.is_available():
        return "torch finds no Apple GPU on this machine."
    try:
        torch.zeros(1, device=parsed).cpu()
    except Exception as error:  # each kind of device has errors of its own
        first_line = (str(error).splitlines() or ["no message"])[0]
        return f"torch cannot compute on it here ({type(error).__name__}: {first_line[:120]})."
    return ""


def devices_of(device: str) -> list[str]:
    """List the devices that worker processes share.

    Args:
        device: A name of torch.

    Returns:
        Every GPU of this machine for "cuda", where there are several; otherwise the device alone.

    Example:
        >>> devices_of("cpu"), devices_of("cuda:1")
        (['cpu'], ['cuda:1'])
    """
    if device != "cuda":
        return [device]
    import torch

    count = torch.cuda.device_count()
    return [f"cuda:{number}" for number in range(count)] if count > 1 else [device]


def available_memory(meminfo: Path = _MEMINFO) -> float:
    """Read how many bytes of memory are free for new processes.

    Args:
        meminfo: File in which Linux says so.

    Returns:
        The bytes; infinite where the system does not say.

    Example:
        >>> available_memory() > 0
        True
    """
    words = _words(meminfo)
    if "MemAvailable:" not in words:
        return math.inf
    return 1024.0 * int(words[words.index("MemAvailable:") + 1])


def killed_for_memory(
    cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUPS, of_machine: Path = Path("/proc/vmstat")
) -> int:
    """Count the processes that Linux has ended because memory ran out.

    Those of the control groups of this process are counted, where these are stated, and those of the
    whole machine otherwise.

    Args:
        cgroups: Folder of the control groups.
        own: File that lists the control groups of this process.
        of_machine: File in which Linux counts those of the machine.

    Returns:
        The number since the system started; 0 where it does not say.

    Example:
        >>> killed_for_memory() >= 0
        True
    """
    counts = []
    for folder in _folders(cgroups, own, "memory"):
        counts += _counted(folder / "memory.events") + _counted(folder / "memory.oom_control")
    return sum(counts or _counted(of_machine))


def _counted(path: Path) -> list[int]:
    """The number after the word oom_kill in a file of the system, if it is there."""
    words = _words(path)
    return [int(words[words.index("oom_kill") + 1])] if "oom_kill" in words else []


def processor() -> str:
    """Name the processor by its model, or by its architecture where the system does not name it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def instructions(cpuinfo: Path = _CPUINFO) -> str:
    """Name the instructions by which numerical libraries choose their code.

    A virtual machine may hide some of them from its guests under one and the same model name. The last
    digits of a sum depend on the code, so the model alone does not identify a machine.

    Args:
        cpuinfo: File in which Linux describes the processor.

    Returns:
        Family and model by number, and the names of the vector instructions in their order; the
        architecture where the system does not name them.

    Example:
        >>> instructions() != ""
        True
    """
    facts: dict[str, str] = {}
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    words = (facts.get("flags") or facts.get("Features") or "").split()
    vectors = sorted(word for word in words if _VECTORS.match(word))
    if not vectors:
        return platform.machine()
    numbers = [facts[name] for name in ("cpu family", "model") if name in facts]
    return " ".join([*numbers, *vectors])[:_LONGEST_INSTRUCTIONS]


def limit_threads() -> None:
    """Let torch use no more threads than this process has cores.

    torch counts the cores of the machine or of the affinity mask; it does not read a container's
    quota.
    """
    import torch

    if torch.get_num_threads() > allowed_cores():
        torch.set_num_threads(allowed_cores())


@contextlib.contextmanager
def one_thread(*, torch_too: bool) -> Iterator[None]:
    """Compute linear algebra of NumPy and SciPy in one thread, and put the user's setting back.

    Probes make thousands of small products. The threads of OpenBLAS wait for each of them busily,
    beside the threads of torch on the same cores: many times the processor time, and a result that
    is no sooner there. Workers of a run have one thread each; here a process has it, too.

    Args:
        torch_too: Whether torch also computes in one thread. Networks are not trained so.

    Yields:
        Nothing.

    Example:
        >>> import torch
        >>> with one_thread(torch_too=True):
        ...     torch.get_num_threads()
        1
    """
    # SciPy loads its own library where it is first needed. One loaded later would not be limited.
    import scipy.linalg  # noqa: F401
    import torch
    from threadpoolctl import threadpool_limits

    # torch sets the threads of a Python thread where it is first asked there, not later.
    torch.get_num_threads()
    with threadpool_limits(limits=1, user_api=None if torch_too else "blas"):
        yield


@contextlib.contextmanager
def one_thread_of_numpy() -> Iterator[None]:
    """Compute linear algebra of NumPy in one thread, and put the user's setting back.

    For what reads neither torch nor SciPy's linear algebra: a board makes thousands of small
    products, and ``one_thread`` would import both.

    Yields:
        Nothing.

    Example:
        >>> import numpy as np
        >>> with one_thread_of_numpy():
        ...     (np.eye(2) @ np.ones(2)).tolist()
        [1.0, 1.0]
    """
    import numpy as np  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def allowed_cores(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> int:
    """Count the processor cores that this process may use.

    ``taskset``, SLURM (``--cpus-per-task``) or a container's quota may allow fewer cores than the
    machine has. With a worker for each core of the machine, workers would wait for each other.

    Args:
        cgroups: Folder of the control groups, in which Linux keeps a container's quota.
        own: File that lists the control groups of this process.

    Returns:
        The number of cores, 1 or more: the smallest of what the system, the quota and SLURM allow.

    Example:
        >>> allowed_cores() >= 1
        True
    """
    limits = [_cores_of_process()]
    limits += _quotas(cgroups, own)
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if granted.isdigit():
        limits.append(int(granted))
    return max(1, min(limits))


def _cores_of_process() -> int:
    """Count the cores that the scheduler of the system lets this process run on."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13; PYTHON_CPU_COUNT overrules it
        cores = os.process_cpu_count() or 1
    else:
        cores = os.cpu_count() or 1  # macOS and Windows bind no process to cores
    if hasattr(os, "sched_getaffinity"):
        bound = len(os.sched_getaffinity(0))
        return min(bound, cores) if hasattr(os, "process_cpu_count") else bound
    return cores


def _quotas(cgroups: Path, own: Path) -> Iterator[int]:
    """Yield how many cores' worth of time each control group above this process grants."""
    for folder in _folders(cgroups, own, "cpu"):
        version_2 = _words(folder / "cpu.max")
        if len(version_2) == 2:
            yield from _whole_cores(version_2[0], version_2[1])
        quota = _words(folder / "cpu.cfs_quota_us")
        period = _words(folder / "cpu.cfs_period_us")
        if quota and period:
            yield from _whole_cores(quota[0], period[0])


def _folders(cgroups: Path, own: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups of this process, each hierarchy from its root."""
    for root in (cgroups, cgroups / controller, cgroups / "cpu,cpuacct"):
        yield root
        for relative in _own_groups(own, controller):
            folder = root
            for part in relative:
                folder = folder / part
                yield folder


def _own_groups(own: Path, controller: str) -> list[list[str]]:
    """The control groups of this process, each as the names of its nested folders."""
    groups = []
    for line in _words(own):
        fields = line.split(":", 2)  # number, controllers ("" in version 2), path
        concerns = len(fields) == 3 and (not fields[1] or controller in fields[1].split(","))
        if concerns and ".." not in fields[2]:
            groups.append([part for part in fields[2].split("/") if part])
    return groups


def _words(path: Path) -> list[str]:
    """The words of a file of the system; none where it is absent or cannot be read."""
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []


def _whole_cores(quota: str, period: str) -> Iterator[int]:
    """Yield a quota divided by its period, rounded up; nothing if it is not a positive number."""
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return
    if share > 0:
        yield math.ceil(share)


@functools.cache
def processor_has_bf16() -> bool:
    """Whether the processor computes in bf16, by AVX512-BF16 or AMX; False where Linux says nothing."""
    if not _CPUINFO.exists():
        return False
    return re.search(r"amx_bf16|avx512_bf16", _CPUINFO.read_text()) is not None
