"""Units of a plan in processes elsewhere: tasks of Ray, jobs of SLURM, and what becomes of lost ones."""

from __future__ import annotations

import _thread
import contextlib
import importlib.util
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from etab.errors import ClusterError, MissingPackageError, UnsupportedOptionError
from etab.results import load_results
from etab.runs import executors, ray_cluster, slurm, unit_progress, units
from etab.runs.choose_executor import named_executor
from etab.runs.data import Data
from etab.runs.events import Event
from etab.runs.execute import CLAIMS, claim_path, execute
from etab.runs.executors import LocalWorkers
from etab.runs.failed_cells import failed_cells
from etab.runs.failures import is_interruption
from etab.runs.run import Settings, plan
from etab.runs.sweep import sweep
from etab.runs.units import Outcome, Unit, run_unit, run_units
from etab.storage.claims import read_claim
from tests.commands import SETTINGS

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='needs pip install "etab-bench[ray]"'
)
needs_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason='needs pip install "etab-bench[slurm]"'
)
# Ray gives its workers the lowest priority: beside other work they would never begin.
_RAY = {"RAY_worker_niceness": "0"}
BACKBONES = "random/efficientnet_lite0,pixel_pca"
RUNS = plan("b0-A4-C", ["image_stats"], protocols=("cv3", "cv2"), head="knn")


@pytest.fixture(scope="module")
def camus(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dask", [], "No executor is called 'dask'. Known: local, ray, slurm"),
        ("ray", ["adress=auto"], "has no option 'adress'. Known: address, cpus, gpus"),
        ("ray", ["gpus=half"], "a number, 0 or more"),
        ("slurm", ["minutes=1.5"], "a whole number, 0 or more"),
        ("slurm", ["cpus"], "a whole number, 0 or more"),
        ("local", ["memory_gb=nan"], "a number, 0 or more"),
    ],
)
def test_options_that_do_not_fit_an_executor_are_refused(
    name: str, options: list[str], message: str
) -> None:
    with pytest.raises(UnsupportedOptionError, match=message):
        named_executor(name, options)


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_an_executor_is_refused_before_anything_is_read(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings(root=tmp_path / "no data", results=tmp_path / "results")
    executor = named_executor(name)

    def start() -> None:
        sweep(RUNS, settings, workers=0, watch=lambda _: nullcontext(print), executor=executor)

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=rf'pip install "etab-bench\[{name}\]"'):
        start()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    with pytest.raises(UnsupportedOptionError, match="needs --precision fp32"):
        start()
    with pytest.raises(UnsupportedOptionError, match="--workers counts processes"):
        named_executor(name, workers=2)
    assert not list(tmp_path.iterdir())


def test_memory_limits_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "available_memory", lambda: 10e9)
    assert named_executor("local", ["memory_gb=3"], workers=8) == LocalWorkers(8, 3.0)
    assert LocalWorkers(8, 3.0).count("cpu") == 3
    assert LocalWorkers(8, 30.0).count("cpu") == 1
    assert LocalWorkers(8).count("cpu") == 8


def test_each_gpu_has_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert executors.devices_of("cuda") == ["cuda:0", "cuda:1"]
    assert LocalWorkers().count("cuda") == 2
    assert LocalWorkers().count("cuda:1") == 1


class _Clock:
    """A clock that moves when somebody sleeps or asks the file system, which takes 50 ms."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asking = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def path_of_run(self, *_: Any) -> Path:
        self.now += 0.05
        self.asking += 0.05
        return Path("no result")


class _Waiting:
    """Units that end after ten minutes without a result."""

    def __init__(self, clock: _Clock) -> None:
        self.clock = clock
        self.units: list[Unit] = []

    def add(self, units: Sequence[Unit]) -> None:
        self.units += units

    def ended(self) -> list[tuple[int, Outcome]]:
        return [(unit.number, Outcome()) for unit in self.units if self.clock.now > 600]

    def stop(self) -> None:
        pass


def test_looking_for_results_takes_a_small_part_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A look asks a shared file system for each cell, of which there may be tens of thousands."""
    clock = _Clock()
    monkeypatch.setattr(units, "time", clock)
    monkeypatch.setattr(units, "pause", clock.sleep)
    monkeypatch.setattr(units, "path_of_run", clock.path_of_run)
    cells = [replace(RUNS[0], seed=seed) for seed in range(100)]
    jobs = _Waiting(clock)
    assert run_units(cells, Settings(), jobs, print, Data(Settings())) == []
    assert clock.asking < 0.08 * clock.now


class _Slow:
    """A unit whose process embeds 32 of 64 frames between two looks, and ends before it is done."""

    def __init__(self, clock: _Clock) -> None:
        self.clock = clock
        self.units: list[Unit] = []

    def add(self, units: Sequence[Unit]) -> None:
        self.units += units

    def ended(self) -> list[tuple[int, Outcome]]:
        (unit,) = self.units
        if self.clock.now > 10:
            return [(unit.number, Outcome())]
        unit.progress().write(0 if self.clock.now < 3 else 32, 64)
        return []

    def stop(self) -> None:
        pass


def test_the_features_of_a_unit_elsewhere_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock()
    monkeypatch.setattr(units, "time", clock)
    monkeypatch.setattr(units, "pause", clock.sleep)
    settings = Settings(results=tmp_path)
    events: list[Event] = []
    assert run_units(RUNS[:1], settings, _Slow(clock), events.append, Data(settings)) == []
    seen = [(event.kind, event.backbone, event.done, event.total) for event in events]
    assert seen == [("frames", "image_stats", done, 64) for done in (0, 32, 64)]
    assert not list((tmp_path / unit_progress.FOLDER).iterdir())


def test_a_unit_writes_the_progress_of_its_features(camus: Path, tmp_path: Path) -> None:
    settings = Settings(root=camus, results=tmp_path / "results", cache=tmp_path / "cache")
    unit = Unit(0, tuple(replace(run, card=None) for run in RUNS[:1]), settings, name="ab" * 8)
    assert run_unit(unit) == Outcome()
    done, total = unit.progress().read() or (0, 0)
    assert done == total > 0


class _Here:
    """Runs units in this process; the first one loses its process at its second cell."""

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.started: list[list[str]] = []

    def add(self, units: Sequence[Unit]) -> None:
        self.units += units
        self.started += [[run.protocol_name for run in unit.runs] for unit in units]

    def ended(self) -> list[tuple[int, Outcome]]:
        unit = self.units.pop(0)
        if len(self.started) > 1:
            return [(unit.number, run_unit(unit))]
        assert run_unit(replace(unit, runs=unit.runs[:1])) == Outcome()
        code = (
            "import os, sys; from pathlib import Path; from etab.storage.claims import take_claim; "
            "take_claim(Path(sys.argv[1])); os._exit(0)"
        )
        path = claim_path(unit.runs[1], unit.settings)
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
        return [(unit.number, Outcome(killed="its node was lost."))]

    def stop(self) -> None:
        assert not self.units


@pytest.mark.slow
def test_a_lost_process_costs_the_cell_at_work(camus: Path, tmp_path: Path) -> None:
    runs = plan("b0-A4-C", ["image_stats"], protocols=("cv3", "cv2", "cv4"), head="knn")
    settings = Settings(root=camus, results=tmp_path)
    events: list[Event] = []
    jobs = _Here()
    results = run_units(runs, settings, jobs, events.append, Data(settings))
    assert jobs.started == [["cv3", "cv2", "cv4"], ["cv4"]]
    assert [cell.protocol for cell in results] == ["cv3", "cv4"]
    kinds = [event.kind for event in events if event.kind != "frames"]
    assert kinds == ["cell", "failed", "cell"]
    (failed,) = failed_cells(tmp_path)
    assert [failed.kind, failed.words] == ["killed", "its node was lost."]


@pytest.mark.slow
def test_a_unit_never_raises(camus: Path, tmp_path: Path) -> None:
    settings = Settings(root=tmp_path / "absent", results=tmp_path / "results")
    ((words, n_cells),) = run_unit(Unit(0, tuple(RUNS), settings)).failures
    assert n_cells == len(RUNS)
    assert "absent" in words


def _claims(results: Path, cache: Path) -> list[int]:
    """Numbers of the processes that hold claims of features or cells."""
    paths = [*cache.glob("features/*/*.claim"), *(results / CLAIMS).glob("*")]
    holders = [read_claim(path) for path in paths]
    return [holder.pid for holder in holders if holder is not None]


class _Sweep:
    """``etab run`` in a process of its own, on an executor."""

    def __init__(self, camus: Path, folder: Path, *words: str, **env: str) -> None:
        self.results = folder / "results"
        self.cache = folder / "cache"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "etab", "run", "--tasks", "b0-A4-C,d0-A4-C"),
                *("--backbones", BACKBONES, "--protocol", "cv3", "--precision", "fp32"),
                *("--root", str(camus), "--results", str(self.results)),
                *("--cache", str(self.cache), *words),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **SETTINGS, **_RAY, "PYTHONPATH": os.pathsep.join(sys.path), **env},
        )

    def worker(self, nodes: Sequence[subprocess.Popen[bytes]] = ()) -> int:
        """Wait for a process at work, on one of these nodes; return its number."""
        wanted = {node.pid for node in nodes}
        for pids in self._at_work():
            for pid in pids:
                if not nodes or wanted & set(ancestors(pid)):
                    return pid
        pytest.fail("no process is at work")

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many processes are at work at the same time."""
        if not any(len(set(pids)) == count for pids in self._at_work()):
            pytest.fail(f"never were {count} processes at work at the same time")

    def _at_work(self) -> Iterator[list[int]]:
        """The processes at work, looked at again and again."""
        ends = time.monotonic() + 200
        while time.monotonic() < ends:
            if self.process.poll() is not None:
                pytest.fail(self.process.communicate()[0])
            yield _claims(self.results, self.cache)
            time.sleep(0.01)

    def check(self, camus: Path) -> None:
        """The command ended well, and its results are those of a run in one process."""
        shown = self.process.communicate(timeout=500)[0]
        assert self.process.returncode == 0, shown
        assert "4 cells computed" in shown
        runs = plan("b0-A4-C,d0-A4-C", BACKBONES.split(","), protocols=("cv3",))
        here = Settings(root=camus, results=self.results.with_name("here"), precision="fp32")
        expected = {(cell.task, cell.backbone): cell for cell in execute(runs, here)}
        cells = load_results(self.results)
        assert len(cells) == len(expected)
        for cell in cells:
            other = expected[cell.task, cell.backbone]
            assert cell.predictions_sha256 == other.predictions_sha256
        assert not failed_cells(self.results)
        assert not _claims(self.results, self.cache)


@pytest.mark.slow
@needs_submitit
def test_a_job_that_slurm_takes_back_is_queued_again(camus: Path, tmp_path: Path) -> None:
    run = _Sweep(camus, tmp_path, "--executor", "slurm", "--executor-option", "cluster=local")
    os.kill(run.worker(), signal.SIGUSR2)
    run.check(camus)
    logs = [path.read_text() for path in run.results.glob(f"{slurm.FOLDER}/*.out")]
    assert any("Requeued job" in text for text in logs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["slurm", "--executor-option", "cluster=local"], marks=needs_submitit),
        pytest.param(["ray"], marks=needs_ray),
    ],
    ids=["slurm", "ray"],
)
def test_sigterm_stops_the_units_of_a_run(words: list[str], camus: Path, tmp_path: Path) -> None:
    """It says how to go on, and the processes elsewhere release their claims and end."""
    run = _Sweep(camus, tmp_path, "--executor", *words)
    worker = run.worker()
    run.process.send_signal(signal.SIGTERM)
    shown = run.process.communicate(timeout=120)[0]
    assert run.process.returncode == 143, shown
    assert "Stopped. Finished work is saved" in shown
    # submitit's stand-in for SLURM shows its own interruption; the code of etab does not.
    assert "/etab/" not in shown
    ends = time.monotonic() + 60
    while ancestors(worker) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not ancestors(worker)
    assert not failed_cells(run.results)
    # submitit's stand-in for SLURM may kill a slow job before it has tidied up.
    if words == ["ray"]:
        assert not _claims(run.results, run.cache)
        assert not list(tmp_path.rglob("*.part"))
        assert not list((run.results / unit_progress.FOLDER).glob("*"))


def test_sigterm_in_a_task_of_ray_is_no_failure_of_its_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray's handler raises SystemExit. The cell is stopped as by Ctrl-C first, then Ray's turn comes."""
    seen: list[str] = []

    def run_unit(_: Unit) -> Outcome:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            seen.append("stopped" if is_interruption(error) else "recorded as failed")
            raise
        return Outcome()

    monkeypatch.setattr(ray_cluster, "run_unit", run_unit)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with pytest.raises(SystemExit):
            ray_cluster.run_task(Unit(0, (), Settings()))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["stopped"]


def test_ray_stops_a_task_where_ctrl_c_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of a cluster that a run has started ignore Ctrl-C, and Ray cancels tasks by it."""

    def run_unit(_: Unit) -> Outcome:
        _thread.interrupt_main()  # as a worker of Ray does when its task is cancelled
        time.sleep(0.01)
        return Outcome()

    monkeypatch.setattr(ray_cluster, "run_unit", run_unit)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt):
            ray_cluster.run_task(Unit(0, (), Settings()))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@needs_submitit
def test_slurm_is_refused_where_its_commands_are_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = Settings(results=tmp_path / "results", precision="fp32")
    with pytest.raises(ClusterError, match="Start it where `sbatch` is found"):
        slurm.Slurm().require_ready(settings)


class _Cluster:
    """A Ray cluster of processes of this machine."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        # Whoever connects needs the token, which the nodes and the command have.
        self.env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.folder = Path(tempfile.mkdtemp(prefix="ray"))  # paths of sockets must be short
        self.processes: list[subprocess.Popen[Any]] = []

    def start_head(self) -> subprocess.Popen[bytes]:
        words = ("--include-dashboard", "false", "--temp-dir", str(self.folder))
        return self._node("--head", "--port", str(self.port), "--num-cpus", "0", *words)

    def start_node(self, n_cpus: int = 1, n_gpus: int = 0) -> subprocess.Popen[bytes]:
        has = ("--num-cpus", str(n_cpus), "--num-gpus", str(n_gpus))
        return self._node("--address", self.address, *has)

    def _node(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a node and wait for its sockets: two that start at once choose the same names."""
        before = self._sockets()
        node = self._start(*words)
        ends = time.monotonic() + 120
        while time.monotonic() < ends:
            if len(self._sockets() - before) == 2:
                return node
            time.sleep(0.1)
        pytest.fail("the node does not start")

    def _sockets(self) -> set[Path]:
        """The sockets of all nodes: one of its store of objects, one of the node itself."""
        names = ("plasma_store", "raylet")
        folders = self.folder.glob("session_2*/sockets")
        return {path for folder in folders for name in names for path in folder.glob(f"{name}*")}

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
                *("--node-ip-address", "127.0.0.1", "--disable-usage-stats"),
                *("--object-store-memory", str(100 << 20), *words),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                **SETTINGS,
                **_RAY,
                "PYTHONPATH": os.pathsep.join(sys.path),
                **self.env,
            },
        )
        self.processes.append(process)
        return process

    def wait(self) -> None:
        """Wait until the head answers."""
        ends = time.monotonic() + 120
        while time.monotonic() < ends:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.2)
        pytest.fail("the head does not answer")

    def close(self) -> None:
        for process in self.processes:
            kill_node(process)
        shutil.rmtree(self.folder, ignore_errors=True)


def ancestors(pid: int) -> list[int]:
    """A process and those that started it, as /proc shows them."""
    found: list[int] = []
    while pid > 1:
        found.append(pid)
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return []
        pid = int(text.rpartition(")")[2].split()[1])
    return found


def kill_node(node: subprocess.Popen[Any]) -> None:
    """Kill all processes of a node, as a power cut does."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    for pid in [pid for pid in pids if node.pid in ancestors(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.wait()


@pytest.fixture
def cluster() -> Iterator[_Cluster]:
    cluster = _Cluster()
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.mark.slow
@pytest.mark.timeout(800)
@needs_ray
def test_a_node_of_a_cluster_is_lost(cluster: _Cluster, camus: Path, tmp_path: Path) -> None:
    cluster.start_head()
    cluster.wait()
    nodes = [cluster.start_node() for _ in range(2)]
    address = f"address={cluster.address}"
    words = ("--executor", "ray", "--executor-option", address)
    run = _Sweep(camus, tmp_path, *words, **cluster.env)
    cluster.processes.append(run.process)
    worker = run.worker(nodes)
    (lost,) = [node for node in nodes if node.pid in ancestors(worker)]
    kill_node(lost)
    run.check(camus)


@pytest.mark.slow
@pytest.mark.timeout(800)
@needs_ray
def test_the_head_of_a_cluster_is_lost_and_comes_back(
    cluster: _Cluster, camus: Path, tmp_path: Path
) -> None:
    head = cluster.start_head()
    cluster.wait()
    node = cluster.start_node()
    address = f"address={cluster.address}"
    words = ("--executor", "ray", "--executor-option", address)
    run = _Sweep(camus, tmp_path, *words, **cluster.env)
    cluster.processes.append(run.process)
    run.worker([node])
    kill_node(head)
    kill_node(node)
    cluster.start_head()
    cluster.wait()
    cluster.start_node()
    run.check(camus)


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_ray
def test_a_cluster_without_a_large_enough_node_is_named(
    cluster: _Cluster, camus: Path, tmp_path: Path
) -> None:
    """Its head has no cores: the run would wait for ever, without a word."""
    cluster.start_head()
    cluster.wait()
    words = ("--executor", "ray", "--executor-option", f"address={cluster.address}")
    run = _Sweep(camus, tmp_path, *words, "--executor-option", "wait=5", **cluster.env)
    cluster.processes.append(run.process)
    shown = " ".join(run.process.communicate(timeout=200)[0].split())
    assert run.process.returncode == 2, shown
    assert "has run no task for 5 s, because no node has 1 CPU (its nodes have: 0 CPU)" in shown
    assert "ray start --address" in shown


@pytest.mark.slow
@pytest.mark.timeout(800)
@needs_ray
def test_two_tasks_share_a_gpu(cluster: _Cluster, camus: Path, tmp_path: Path) -> None:
    """Ray counts GPUs as a node declares them: this one has none."""
    cluster.start_head()
    cluster.wait()
    cluster.start_node(n_cpus=2, n_gpus=1)
    options = (f"address={cluster.address}", "gpus=0.5")
    words = [word for option in options for word in ("--executor-option", option)]
    run = _Sweep(camus, tmp_path, "--executor", "ray", *words, **cluster.env)
    cluster.processes.append(run.process)
    run.wait_for_workers(2)
    run.check(camus)


def _refused(_: Any) -> None:
    raise ValueError("GPU resource quantities >1 must", " be whole numbers.")


@pytest.mark.parametrize("is_refused_at", ["the first task", "its options"])
def test_what_ray_cannot_reserve_ends_the_run_in_words(is_refused_at: str, tmp_path: Path) -> None:
    """The child was started again and again."""
    options = ray_cluster.RayCluster(gpus=1.5)
    tasks = ray_cluster._Tasks(options, "cpu", tmp_path / "log")
    near, far = multiprocessing.Pipe()
    tasks._child, tasks._connection = object(), near
    near.send([Unit(0, (), Settings())])
    task = SimpleNamespace(remote=_refused)
    ray = SimpleNamespace(
        remote=lambda **_: _refused,
        get_runtime_context=lambda: SimpleNamespace(get_node_id=lambda: "here"),
        nodes=lambda: [{"NodeID": "here", "Alive": True, "Resources": {"CPU": 1.0}}],
    )
    if is_refused_at == "the first task":
        ray.remote = lambda **_: lambda _: task
    ray_cluster._forward(ray, far, options, "cpu")
    with pytest.raises(ClusterError, match=r"must be whole numbers\. Correct --executor-option"):
        tasks.ended()


def test_a_cluster_whose_connections_end_at_once_is_given_up(tmp_path: Path) -> None:
    """Each connection began the time to wait again, so that such a run never ended."""
    tasks = ray_cluster._Tasks(ray_cluster.RayCluster(wait=0.2), "cpu", tmp_path / "log")

    def connect_and_end() -> None:
        near, far = multiprocessing.Pipe()
        child = SimpleNamespace(join=lambda _: None, is_alive=lambda: False)
        tasks._child, tasks._connection = child, near
        far.send((None, ""))
        far.close()

    tasks._start = connect_and_end  # type: ignore[method-assign]
    tasks.ended()  # the cluster is lost for the first time
    time.sleep(0.3)
    with pytest.raises(ClusterError, match="was lost and has not come back for 0 s"):
        tasks.ended()


@pytest.mark.slow
@needs_ray
@pytest.mark.parametrize("gpus", [1.5, 0.00001])
def test_gpus_that_ray_cannot_reserve_are_told(gpus: float, camus: Path, tmp_path: Path) -> None:
    settings = Settings(root=camus, results=tmp_path, precision="fp32")
    odd = ray_cluster.RayCluster(gpus=gpus)
    with pytest.raises(ClusterError, match=r"Ray refuses the tasks of this run: .* gpus="):
        sweep(RUNS, settings, workers=0, watch=lambda _: nullcontext(print), executor=odd)


@pytest.mark.slow
@needs_ray
def test_a_cluster_that_is_not_there_is_named(camus: Path, tmp_path: Path) -> None:
    settings = Settings(root=camus, results=tmp_path, precision="fp32")
    away = ray_cluster.RayCluster(address="127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:1 cannot be used"):
        sweep(RUNS, settings, workers=0, watch=lambda _: nullcontext(print), executor=away)
