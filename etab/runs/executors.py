"""Run a plan in this process, or in worker processes that take one backbone at a time.

Every executor has the methods of ``Executor``; those of clusters are files of their own.

A backbone that fails is reported and the others go on; finished cells are on disk already.
"""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any, ClassVar, Protocol

from etab.backbones.computing import estimated_seconds
from etab.backbones.own.installed import is_installed
from etab.results import Result
from etab.runs.data import Data, use_data_of
from etab.runs.events import Event, Listener, pass_on, send_warnings
from etab.runs.execute import execute
from etab.runs.failures import describe_failure, is_interruption, stopped_by
from etab.runs.lost_processes import how_it_ended, hung, left_at_work, record_killed
from etab.runs.record import brief, path_of_run
from etab.runs.run import Run, Settings, is_named
from etab.runs.run_log import logged_warnings
from etab.storage.atomic import require_temporary_folder
from etab.storage.machine import (
    allowed_cores,
    available_memory,
    devices_of,
    killed_for_memory,
    killed_with_parent,
    leave_terminal_to_parent,
    name_crashes,
)
from etab.storage.memory import limit_memory
from etab.storage.watchdog import ended_without_progress, progressed

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Executor(Protocol):
    """Runs the cells of a plan, here or elsewhere. Results go to the shared folder of results.

    Attributes:
        name: Its name on the command line.
        is_here: Whether the cells are computed on this machine, so that its device is checked.
    """

    name: ClassVar[str]
    is_here: ClassVar[bool]

    def require_ready(self, settings: Settings) -> None:
        """Refuse a run that cannot be started, before anything is read."""
        ...

    def run(
        self, runs: Sequence[Run], settings: Settings, listen: Listener, data: Data
    ) -> list[Result]:
        """Run a plan.

        Args:
            runs: The plan.
            settings: How it is run.
            listen: Called with every event, also with each failure.
            data: The data of the plan.

        Returns:
            The finished cells.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """Runs a plan in this process, or in several processes of this machine.

    Attributes:
        workers: Number of processes; 0 for one for each core that this process may use or, with
            the device cuda, for each GPU.
        memory_gb: Memory in GB that a process may take. No more processes are started than fit in
            the memory that is free, and on a processor a cell that needs more fails: drivers of
            GPUs reserve far more than they use. 0 for no such limit.

    Example:
        >>> LocalWorkers(workers=2).count("cpu")
        2
    """

    name: ClassVar[str] = "local"
    is_here: ClassVar[bool] = True
    workers: int = 0
    memory_gb: float = 0.0

    def count(self, device: str) -> int:
        """Count the processes to start.

        Args:
            device: Where the backbones compute.
        """
        n_workers = self.workers or _fitting_workers(device)
        if not self.memory_gb:
            return n_workers
        return max(1, min(n_workers, int(available_memory() / (self.memory_gb * 1e9))))

    def require_ready(self, settings: Settings) -> None:
        """Accept every run: this machine needs no preparation.

        Args:
            settings: How the plan is to be run.
        """

    def run(
        self, runs: Sequence[Run], settings: Settings, listen: Listener, data: Data
    ) -> list[Result]:
        """Run a plan on this machine.

        Args:
            runs: The plan.
            settings: How it is run.
            listen: Called with every event.
            data: The data of the plan.

        Returns:
            The finished cells.

        Raises:
            UnsupportedOptionError: If a process takes more than ``memory_gb`` by itself.
        StorageError: If several processes find no folder for temporary files.
        """
        n_workers = self.count(settings.device)
        n_bytes = self.memory_gb * 1e9
        return local(runs, settings, listen, workers=n_workers, data=data, memory=n_bytes)


def _fitting_workers(device: str) -> int:
    """One process for each core, or for each GPU; one where a certain device is named."""
    if device == "cpu":
        return allowed_cores()
    return len(devices_of(device))


_events: Any = None  # of a worker process: where it sends events
_data: Any = None  # of a worker process: the data, opened once for all of its groups
_device = ""  # of a worker process: the device that it computes on
# Bytes that a worker process may take, until they are its limit; 0 for any number.
_memory = 0.0

_PATIENCE = 10.0  # seconds that stopped workers have for removing what is unfinished

_WIDE = 0.02  # hundreds of principal components are probed as long as a small network computes


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Group a plan by data and backbone, the longest first, so that workers end together.

    Every executor starts the groups in this order. No result depends on it.
    """
    by_backbone: dict[tuple[str, str], list[Run]] = {}
    crossing = any(
        run.row.fit_on for run in runs
    )  # they share features with cells of both datasets: one group then
    for run in runs:
        by_backbone.setdefault(("" if crossing else run.row.dataset, run.backbone), []).append(run)
    return sorted(by_backbone.values(), key=lambda group: -_cost(group[0]))


def _cost(run: Run) -> float:
    """How long a backbone takes beside others, in seconds for a picture or a second of sound."""
    card = run.backbone_card
    if card.name.endswith("_pca") and not card.learned:
        return _WIDE
    return estimated_seconds(card)


@contextlib.contextmanager
def _limited_threads(n: int) -> Iterator[None]:
    """Children started inside use n threads; the environment of this process is put back."""
    old = {k: os.environ.get(k) for k in _THREADS}
    os.environ.update({k: str(n) for k in _THREADS})
    try:
        yield
    finally:
        for key, value in old.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _start(queue: Any, devices: Any, threads: int, settings: Settings, memory: float) -> None:
    """Set a worker up: its queue, device, threads and data; a parent stops it, and no terminal."""
    import torch

    global _events, _data, _device, _memory
    name_crashes()
    _events = queue
    send_warnings(queue)
    _device = devices.get()
    use_data_of(settings)
    _data = Data(settings)
    torch.set_num_threads(threads)
    _memory = memory if _device == "cpu" else 0.0
    end_with_parent()
    leave_terminal_to_parent()


def end_with_parent() -> None:
    """Let this process end when its parent has ended, for whatever reason."""
    killed_with_parent()
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = mp.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(group: list[Run], settings: Settings) -> list[Result]:
    """Run one group in a worker process, and report every frame and cell to the parent."""
    global _memory
    with stopped_by(signal.SIGTERM):
        if _memory:
            limit_memory(_memory)
            _memory = 0.0
        return _summaries([group], replace(settings, device=_device), _data, _events.put)


def _watched(group: list[Run], settings: Settings, data: Data, tell: Listener) -> Iterator[Result]:
    name = group[0].backbone

    def frames(_: str, done: int, total: int) -> None:
        progressed()
        tell(Event("frames", name, done, total))

    # The cells that are neither finished nor reported as failed.
    left = {path_of_run(run, Path()): run for run in group}

    def failed(run: Run, error: BaseException) -> None:
        progressed()
        path = path_of_run(run, Path())
        left.pop(path, None)
        words = f"{run.task} ({run.protocol_name}): {describe_failure(error)}"
        tell(Event("failed", name, error=words, runs=1, cells=(path,)))

    try:
        watched = ended_without_progress(settings.results, settings.timeout)
        with logged_warnings(settings), watched:
            for result in execute(group, settings, data=data, progress=frames, failed=failed):
                progressed()
                left.pop(result.path(Path()), None)
                tell(Event("cell", name, result=brief(result)))
                yield result
    except BaseException as error:
        if is_interruption(error):
            raise
        words = describe_failure(error)
        tell(Event("failed", name, error=words, runs=len(left), cells=tuple(left)))


def _summaries(
    todo: Sequence[list[Run]], settings: Settings, data: Data, listen: Listener
) -> list[Result]:
    """Run groups in this process, and keep of each result what a table of the run shows."""
    return [brief(result) for group in todo for result in _watched(group, settings, data, listen)]


def serial(
    runs: Sequence[Run], settings: Settings, listen: Listener, data: Data | None = None
) -> list[Result]:
    """Run everything in this process.

    Args:
        runs: The plan.
        settings: How it is run.
        listen: Called with every event.
        data: The data of the plan; None opens them anew.

    Returns:
        The finished cells, whole as their files. Failures are reported to ``listen``.
    """
    settings = settings.needing(code for run in runs for code in run.row.parts)
    data = data or Data(settings)
    results: list[Result] = []
    for group in groups(runs):
        results += _watched(group, settings, data, listen)
    return results


def local(
    runs: Sequence[Run],
    settings: Settings,
    listen: Listener,
    *,
    workers: int,
    data: Data | None = None,
    memory: float = 0.0,
) -> list[Result]:
    """Run a plan in worker processes, each of which takes one backbone at a time.

    Ctrl-C stops the workers and leaves every finished cell on disk.

    Args:
        runs: The plan.
        settings: How it is run.
        listen: Called with every event.
        workers: Number of processes; 1 runs everything in this one.
        data: The data of the plan, for what runs in this process; None opens them anew.
        memory: Bytes of memory that a worker may take; 0 for no limit. With a limit, there is a
            worker even where it is the only one.

    Returns:
        The finished cells, as ``etab.runs.record.brief`` makes them. What failed is told to
        ``listen``.

    Raises:
        StorageError: If several processes find no folder for temporary files.

    A backbone that an installed package brings has a worker even where it is the only one: its
    code may end its process.
    """
    settings = settings.needing(code for run in runs for code in run.row.parts)
    data = data or Data(settings)
    todo = groups(runs)
    is_foreign = any(is_installed(group[0].backbone_card) for group in todo)
    if not memory and (workers <= 1 or (len(todo) == 1 and not is_foreign)):
        return _summaries(todo, settings, data, listen)
    here = [g for g in todo if not is_named(g[0])]
    todo = [[replace(run, card=None) for run in g] for g in todo if g not in here]
    threads = max(1, allowed_cores() // workers)
    context = mp.get_context("spawn")
    if todo:
        require_temporary_folder()
    results = _summaries(here, settings, data, listen)
    if not todo:
        return results
    manager = SyncManager(ctx=context)
    with _limited_threads(threads), _started(manager):
        queue = manager.Queue()
        reader = threading.Thread(target=pass_on, args=(queue, listen), daemon=True)
        reader.start()

        def pool_of(size: int) -> ProcessPoolExecutor:
            devices = _handed_out(manager, settings.device, size)
            facts = (queue, devices, threads, settings, memory)
            return ProcessPoolExecutor(size, context, _start, facts)

        try:
            while todo:
                done, unfinished, _ = _pooled(pool_of(min(workers, len(todo))), todo, settings)
                results += done
                # When a worker ends, the pool ends all of them. Each group that one was at work on
                # gets a worker of its own now, so that only the one to blame fails.
                suspects = left_at_work(unfinished, settings)
                for group in suspects:
                    results += _alone(group, settings, data, listen, pool_of)
                todo = [group for group in unfinished if group not in suspects]
        finally:
            queue.put(None)
            reader.join(timeout=5)
    return results


def _alone(
    group: list[Run],
    settings: Settings,
    data: Data,
    listen: Listener,
    pool_of: Callable[[int], ProcessPoolExecutor],
) -> list[Result]:
    """Run a group in a worker of its own, without the cells that end the worker."""
    results: list[Result] = []
    left = group
    while left:
        end = hung(left, settings)  # beside the others: it need not hang twice
        if end is None:
            n_killed = killed_for_memory()
            done, unfinished, code = _pooled(pool_of(1), [left], settings)
            results += done
            if not unfinished:
                break
            end = how_it_ended(code, memory_ran_out=killed_for_memory() > n_killed)
        killed, words = record_killed(left, settings, data, end)
        listen(Event("failed", left[0].backbone, error=words, runs=len(killed)))
        left = [run for run in left if run not in killed] if killed else []
    return results


def _handed_out(manager: SyncManager, device: str, n_workers: int) -> Any:
    """A queue from which each worker takes the device that it computes on."""
    devices = manager.Queue()
    names = devices_of(device)
    for number in range(n_workers):
        devices.put(names[number % len(names)])
    return devices


def _stop(processes: Sequence[Any]) -> None:
    """Ask workers to stop, so that they remove their claims and unfinished files, and end them."""
    for process in processes:
        process.terminate()
    ends = time.monotonic() + _PATIENCE
    for process in processes:
        process.join(max(0.0, ends - time.monotonic()))
    for process in processes:
        if process.is_alive():  # it is busy in other code, or has another handler of the signal
            process.kill()
            process.join()


def _pooled(
    pool: ProcessPoolExecutor, todo: Sequence[list[Run]], settings: Settings
) -> tuple[list[Result], list[list[Run]], int]:
    """Run groups in a pool of workers, which ends with this call.

    Returns: The results of the groups that finished, the groups that did not because a worker
        ended, and the exit code of that worker, as multiprocessing gives it.
    """
    results: list[Result] = []
    unfinished: list[list[Run]] = []
    group_of = {pool.submit(_work, group, settings): group for group in todo}
    processes = list((pool._processes or {}).values())
    try:
        for future in as_completed(group_of):
            error = future.exception()
            if error is None:
                results += future.result()
            # The system ended the worker, or somebody asked this worker alone to stop.
            elif isinstance(error, BrokenProcessPool | KeyboardInterrupt):
                unfinished.append(group_of[future])
            else:
                raise error
        # A worker that still starts asks for its device, which is handed out until the pool ends.
        pool.shutdown(wait=True)
    except KeyboardInterrupt:
        _stop(processes)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    asked = -signal.SIGTERM  # the pool asks the other workers to end
    codes = [process.exitcode for process in processes if process.exitcode not in (None, asked)]
    return results, unfinished, next((code for code in codes if code), codes[0] if codes else asked)


def _start_tracker() -> None:
    """Start Python's tracker of semaphores, which ignores Ctrl-C, so that it ignores SIGHUP too."""
    with contextlib.suppress(ValueError, AttributeError):  # another thread; no such signal
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            resource_tracker.ensure_running()
        finally:
            signal.signal(signal.SIGHUP, before)


def _serve_to_the_end() -> None:
    """Let a manager's process end with its parent, and not by a signal to the whole group.

    Workers that are asked to stop, and this process, still report through its queue what they did.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leave_terminal_to_parent()
    end_with_parent()


@contextlib.contextmanager
def _started(manager: SyncManager) -> Iterator[None]:
    """A manager that ends with this process."""
    _start_tracker()
    manager.start(initializer=_serve_to_the_end)
    try:
        yield
    finally:
        manager.shutdown()
