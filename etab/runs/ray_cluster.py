"""Run a plan on a Ray cluster, which starts units on its nodes and repeats those of lost nodes.

Ray runs in a child process. When the head of a cluster ends, Ray ends every process that is
connected to it; the child then is started again and connects to the new head.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing as mp
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

from etab.errors import ClusterError, MissingPackageError
from etab.results import Result
from etab.runs.data import Data
from etab.runs.events import Listener
from etab.runs.executors import end_with_parent
from etab.runs.failures import TerminatedError, stopped_by
from etab.runs.run import Run, Settings
from etab.runs.units import (
    Outcome,
    Unit,
    etab_environment,
    require_same_precision,
    run_unit,
    run_units,
)
from etab.storage.machine import allowed_cores, leave_terminal_to_parent
from etab.storage.pauses import pause

LOG = ".ray.log"
"""The folder of the reports of Ray itself, in a folder of results."""

_POLL = 0.5  # seconds between two looks at the tasks
_PATIENCE = 20.0  # seconds that the child has for leaving the cluster
_CHECK = 5.0  # seconds between two looks at the cluster
_HOLDS = 20.0  # seconds after which a connection counts as one that holds
_LOST = 20  # seconds without an answer of the head after which Ray gives it up


@dataclass(frozen=True, slots=True)
class RayCluster:
    """Runs each backbone as a task of Ray.

    Attributes:
        address: Address of a cluster, such as "10.0.0.1:6379", or "auto" for the cluster of this
            machine; "" starts a cluster on this machine for the time of the run.
        cpus: Processor cores of a task.
        gpus: GPUs of a task, or a fraction of one; None is 0 for the device cpu, and 1 otherwise.
        memory_gb: Memory in GB that a task reserves; 0 reserves none.
        retries: How often a task is repeated after its process or node was lost.
        wait: Seconds for which a cluster whose head was lost is waited for, or one without a node
            that is large enough for a task.

    Example:
        >>> RayCluster(address="auto", gpus=0.5).retries
        3
    """

    name: ClassVar[str] = "ray"
    is_here: ClassVar[bool] = False
    address: str = ""
    cpus: float = 1.0
    gpus: float | None = None
    memory_gb: float = 0.0
    retries: int = 3
    wait: float = 300.0

    def require_ready(self, settings: Settings) -> None:
        """Refuse a run that cannot be started, before anything is read.

        Args:
            settings: How the plan is to be run.

        Raises:
            MissingPackageError: If Ray is not installed.
            UnsupportedOptionError: If the precision is "auto".
        """
        if importlib.util.find_spec("ray") is None:
            raise MissingPackageError(
                '--executor ray needs Ray, which is not installed: pip install "etab-bench[ray]".'
            )
        require_same_precision(settings, self.name)

    def run(
        self, runs: Sequence[Run], settings: Settings, listen: Listener, data: Data
    ) -> list[Result]:
        """Run a plan on the cluster.

        Args:
            runs: The plan.
            settings: How it is run.
            listen: Called with every finished cell and every failure.
            data: The data of the plan.

        Returns:
            The finished cells.

        Raises:
            ClusterError: If the cluster cannot be reached, does not come back, has no node that is
                large enough for a task, or cannot reserve what a task is to have.
        """
        jobs = _Tasks(self, settings.device, settings.results / LOG)
        return run_units(runs, settings, jobs, listen, data, etab_environment())


@dataclass(frozen=True, slots=True)
class _NoRoom:
    """No node of the cluster could ever run a task.

    Attributes:
        wanted: What a task reserves, by the name of the resource.
        nodes: What each node that is alive has.
    """

    wanted: dict[str, float]
    nodes: list[dict[str, float]]

    @property
    def words(self) -> str:
        """The resources that are requested and those of the cluster, in words."""
        has = "; ".join(_resources(node) for node in self.nodes)
        return f"no node has {_resources(self.wanted)} (its nodes have: {has or 'none is alive'})"


@dataclass(frozen=True, slots=True)
class _Refused:
    """Ray refuses what a task is to reserve, such as 1.5 GPUs.

    Attributes:
        words: Its reason.
    """

    words: str


class _Tasks:
    """The tasks of a plan, and the child process that is connected to the cluster."""

    def __init__(self, options: RayCluster, device: str, log: Path) -> None:
        self.options = options
        self.device = device
        self.log = log
        self.waiting: dict[int, Unit] = {}
        self._child: Any = None
        self._connection: Any = None
        self._was_connected = False
        self._connected_at: float | None = None
        self._lost_at: float | None = None
        self._problem = ""

    def add(self, units: Sequence[Unit]) -> None:
        """Start units."""
        self.waiting.update({unit.number: unit for unit in units})
        if self._child is None:
            return
        with contextlib.suppress(OSError):  # the child has ended: the next one gets them
            self._connection.send(list(units))

    def ended(self) -> list[tuple[int, Outcome]]:
        """Return the units that have ended since the last call."""
        if self._child is None:
            self._start()
        outcomes: list[tuple[int, Outcome]] = []
        try:
            while self._connection.poll():
                number, outcome = self._connection.recv()
                if isinstance(outcome, _NoRoom):
                    self._refuse(outcome)
                elif isinstance(outcome, _Refused):
                    raise ClusterError(
                        f"Ray refuses the tasks of this run: {outcome.words}. Correct "
                        "--executor-option cpus=..., gpus=... or memory_gb=... Nothing was computed."
                    )
                elif number is None:
                    self._note(outcome)
                elif self.waiting.pop(number, None) is not None:
                    outcomes.append((number, outcome))
        except (EOFError, OSError):
            self._lose()
        return outcomes

    def stop(self) -> None:
        """Stop the tasks at work and leave the cluster."""
        if self._child is None:
            return
        self._connection.close()  # the child leaves the cluster and ends
        self._child.join(_PATIENCE)
        if self._child.is_alive():
            self._child.kill()
            self._child.join()
        self._child = None

    def _start(self) -> None:
        context = mp.get_context("spawn")
        self._connection, far_end = context.Pipe()
        self._child = context.Process(
            target=_serve, args=(far_end, self.options, self.device, self.log), name="ray"
        )
        self._child.start()
        far_end.close()
        self._connection.send(list(self.waiting.values()))

    def _note(self, problem: str) -> None:
        """Note that the child is connected, or why it cannot be."""
        self._problem = problem
        if not problem:
            self._was_connected = True
            self._connected_at = time.monotonic()

    def _refuse(self, room: _NoRoom) -> None:
        """End a run whose tasks would wait for ever."""
        raise ClusterError(
            f"The Ray cluster {self._name} has run no task for {self.options.wait:.0f} s, because "
            f"{room.words}. Start a node (`ray start --address ...`) or ask for less "
            "(--executor-option cpus=..., gpus=... or memory_gb=...). Finished cells are saved; "
            "the same command goes on from there."
        )

    @property
    def _name(self) -> str:
        return self.options.address or "of this machine"

    def _lose(self) -> None:
        """Start another child, unless there never was a cluster or it is lost for too long."""
        self.stop()
        now = time.monotonic()
        # A cluster whose connections end at once has not come back.
        has_held = self._connected_at is not None and now - self._connected_at > _HOLDS
        self._connected_at = None
        if self._lost_at is None or has_held:
            self._lost_at = now
        problem = self._problem or "its head does not answer"
        if not self._was_connected:
            raise ClusterError(
                f"The Ray cluster {self._name} cannot be used: {problem}. Start it with `ray start "
                "--head`, correct the address, or set RAY_AUTH_MODE=token if it wants a token. "
                f"Nothing was computed. What Ray reports is in {self.log}."
            )
        if now - self._lost_at > self.options.wait:
            raise ClusterError(
                f"The Ray cluster {self._name} was lost and has not come back for "
                f"{self.options.wait:.0f} s: {problem}. Finished cells are saved; the same command "
                "goes on from there."
            )
        pause(_POLL)


def _serve(connection: Connection, options: RayCluster, device: str, log: Path) -> None:
    """Submit units to the cluster and send their outcomes back, until the parent hangs up."""
    leave_terminal_to_parent()
    end_with_parent()
    with log.open("ab") as file:  # what Ray writes of lost nodes and heads
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to its makers
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(_LOST))
    os.environ["RAY_task_oom_retries"] = str(options.retries)  # noqa: SIM112  # Ray's spelling
    import ray

    try:
        _connect(ray, options)
    except Exception as error:  # a cluster has many ways of not being there
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        connection.send((None, first_line[:300].rstrip(".")))
        return
    with contextlib.suppress(EOFError, OSError):  # the parent has hung up
        connection.send((None, ""))
        _forward(ray, connection, options, device)
    with contextlib.suppress(Exception):
        ray.shutdown()


def _connect(ray: Any, options: RayCluster) -> None:
    """Connect to a cluster, or start one on this machine."""
    common = {"log_to_driver": False, "logging_level": "ERROR"}
    if options.address:
        ray.init(address=options.address, **common)
    else:
        ray.init(address="local", num_cpus=allowed_cores(), include_dashboard=False, **common)


def _forward(ray: Any, connection: Connection, options: RayCluster, device: str) -> None:
    """Pass units on to Ray, and outcomes back."""
    gpus = options.gpus
    if gpus is None:
        gpus = 0.0 if device == "cpu" else 1.0
    resources: dict[str, Any] = {"num_cpus": options.cpus, "num_gpus": gpus}
    if options.memory_gb:
        resources["memory"] = int(options.memory_gb * 1e9)
    at_work: dict[Any, int] = {}
    try:
        task = ray.remote(max_retries=options.retries, **resources)(run_task)
        _pass_on(ray, connection, task, at_work, _Room(ray, resources, options.wait))
    except (EOFError, OSError):  # the parent has hung up
        _stop_tasks(ray, list(at_work))
    except ValueError as error:  # Ray has rules of its own for what can be reserved
        words = " ".join(" ".join(map(str, error.args)).split())
        connection.send((None, _Refused(words.rstrip("."))))


class _Room:
    """Watches whether some node of a cluster is large enough for a task."""

    def __init__(self, ray: Any, task: dict[str, Any], wait: float) -> None:
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        self.wanted = {names[name]: float(value) for name, value in task.items() if value}
        self.wait = wait
        self._ray = ray
        self._last = time.monotonic()

    def missing(self) -> _NoRoom | None:
        """The resources that no node has had within the time to wait; None if a node has them."""
        alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        nodes = [{name: node.get(name, 0.0) for name in self.wanted} for node in alive]
        if any(all(node[name] >= self.wanted[name] for name in self.wanted) for node in nodes):
            self._last = time.monotonic()
        if time.monotonic() - self._last <= self.wait:
            return None
        return _NoRoom(self.wanted, nodes)


def _resources(amounts: dict[str, float]) -> str:
    """Amounts of resources in words."""
    words = {"CPU": "{:g} CPU", "GPU": "{:g} GPU", "memory": "{:.3g} GB of memory"}
    scale = {"memory": 1e-9}
    parts = [words[name].format(n * scale.get(name, 1.0)) for name, n in amounts.items()]
    return " and ".join(parts)


def _pass_on(
    ray: Any, connection: Connection, task: Any, at_work: dict[Any, int], room: _Room
) -> None:
    """Start a task for each unit that arrives, and send the outcome of each that ends."""
    node = ray.get_runtime_context().get_node_id()
    looked = time.monotonic()
    while True:
        if time.monotonic() - looked > _CHECK:
            if not _is_member(ray, node):
                os._exit(1)  # the parent connects to the cluster again
            if at_work and (missing := room.missing()):
                connection.send((None, missing))
            looked = time.monotonic()
        while connection.poll(0 if at_work else _POLL):
            for unit in connection.recv():
                at_work[task.remote(unit)] = unit.number
        if not at_work:
            continue
        done, _ = ray.wait(list(at_work), timeout=_POLL)
        for reference in done:
            connection.send((at_work.pop(reference), _outcome(ray, reference)))


def _stop_tasks(ray: Any, references: list[Any]) -> None:
    """Stop tasks as Ctrl-C does, and give them some seconds to release their claims."""
    for reference in references:
        ray.cancel(reference)
    if references:
        ray.wait(references, num_returns=len(references), timeout=_PATIENCE / 2)


def run_task(unit: Unit) -> Outcome:
    """Run a unit in a worker of Ray. SIGTERM stops the cell at work, which is not a failure of it.

    Ray's own handler raises ``SystemExit``, which would be recorded as a failure of the cell, and
    the worker would go on to the next cell. Ray stops the cell, too, when the run has ended.

    Args:
        unit: The cells.

    Returns:
        What failed.
    """
    try:
        with stopped_by(signal.SIGTERM), _heeding_ray():
            return run_unit(unit)
    except TerminatedError:
        # The handler of Ray is in its place again. It ends this worker, and Ray repeats the task.
        signal.raise_signal(signal.SIGTERM)
        raise


@contextlib.contextmanager
def _heeding_ray() -> Iterator[None]:
    """Let Ray stop a block: it cancels a task by Ctrl-C, which some workers ignore.

    Workers ignore it where the process did that started their cluster. That of ``etab run`` leaves
    Ctrl-C to its parent, and a shell script starts a process in the background so.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _is_member(ray: Any, node: str) -> bool:
    """Whether the node of this process still belongs to the cluster.

    It does not when the head was lost and a new one has taken its address: Ray connects to the new
    head without a word, which knows nothing of the tasks.
    """
    try:
        return any(other["NodeID"] == node and other["Alive"] for other in ray.nodes())
    except Exception:  # there is no head at the moment
        return False


def _outcome(ray: Any, reference: Any) -> Outcome:
    """The outcome of a task that has ended, however it ended."""
    try:
        outcome: Outcome = ray.get(reference)
        return outcome
    except ray.exceptions.RayError as error:
        first_line = (str(error).splitlines() or ["no message"])[0]
        ran_out = isinstance(error, ray.exceptions.OutOfMemoryError)
        return Outcome(
            kind="memory" if ran_out else "killed",
            killed=f"Ray lost the process or the node of its task ({type(error).__name__}: "
            f"{first_line[:200].rstrip('.')}). Its finished cells are saved. Give a task more "
            "memory (--executor-option memory_gb=...) and run the same command with "
            "--retry-failed.",
        )
