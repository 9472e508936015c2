"""Run a plan as an array of SLURM jobs, which submitit submits, requeues and reads."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from etab.errors import ClusterError, MissingPackageError
from etab.results import Result
from etab.runs.data import Data
from etab.runs.events import Listener
from etab.runs.failures import TerminatedError, stopped_by
from etab.runs.run import Run, Settings
from etab.runs.units import Outcome, Unit, require_same_precision, run_unit, run_units

FOLDER = ".slurm"
"""Folder of the scripts and logs of jobs, in a folder of results."""


@dataclass(frozen=True, slots=True)
class Slurm:
    """Runs each backbone as a job of SLURM.

    Attributes:
        partition: Partition of the jobs; "" for the default of the cluster.
        account: Account that the jobs are charged to; "" for the default.
        qos: Quality of service; "" for the default.
        minutes: Time limit of a job. A job that reaches it goes on in the queue again.
        cpus: Processor cores of a job.
        gpus: GPUs of a job; None is 0 for the device cpu, and 1 otherwise.
        memory_gb: Memory of a job in GB; 0 for the default of the cluster.
        parallel: Number of jobs that run at the same time.
        requeues: How often a job that reached its time limit goes on.
        cluster: "slurm", or "local" for processes on this machine, which tests use.

    Example:
        >>> Slurm(partition="gpu", minutes=120).requeues
        10
    """

    name: ClassVar[str] = "slurm"
    is_here: ClassVar[bool] = False
    partition: str = ""
    account: str = ""
    qos: str = ""
    minutes: int = 240
    cpus: int = 4
    gpus: int | None = None
    memory_gb: float = 0.0
    parallel: int = 64
    requeues: int = 10
    cluster: str = "slurm"

    def require_ready(self, settings: Settings) -> None:
        """Refuse a run that cannot be started, before anything is read.

        Args:
            settings: How the plan is to be run.

        Raises:
            MissingPackageError: If submitit is not installed.
            UnsupportedOptionError: If the precision is "auto".
            ClusterError: If this machine has no commands of SLURM.
        """
        if importlib.util.find_spec("submitit") is None:
            raise MissingPackageError(
                "--executor slurm needs submitit, which is not installed: pip install "
                '"etab-bench[slurm]".'
            )
        require_same_precision(settings, self.name)
        self._executor(settings)

    def run(
        self, runs: Sequence[Run], settings: Settings, listen: Listener, data: Data
    ) -> list[Result]:
        """Run a plan as an array of jobs.

        Ctrl-C cancels the jobs.

        Args:
            runs: The plan.
            settings: How it is run.
            listen: Called with every finished cell and every failure.
            data: The data of the plan.

        Returns:
            The finished cells.
        """
        return run_units(runs, settings, _Array(self._executor(settings)), listen, data)

    def _executor(self, settings: Settings) -> Any:
        import submitit

        gpus = self.gpus
        if gpus is None:
            gpus = 0 if settings.device == "cpu" else 1
        limits = {f"{self.cluster}_max_num_timeout": self.requeues}
        folder = settings.results.absolute() / FOLDER
        try:
            executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster, **limits)
            executor.update_parameters(**self._parameters(gpus))
        except Exception as error:  # submitit raises errors of several types
            raise ClusterError(
                f"--executor slurm cannot be used here: {error}. Start it where `sbatch` is found, "
                "and check its options."
            ) from error
        return executor

    def _parameters(self, gpus: int) -> dict[str, Any]:
        """The options of a job as submitit names them."""
        parameters: dict[str, Any] = {
            "name": "etab",
            "timeout_min": self.minutes,
            "cpus_per_task": self.cpus,
            "gpus_per_node": gpus,
            "slurm_array_parallelism": self.parallel,
        }
        if self.memory_gb:
            parameters["mem_gb"] = self.memory_gb
        for option in ("partition", "account", "qos"):
            if getattr(self, option):
                parameters[f"slurm_{option}"] = getattr(self, option)
        return parameters


class _Array:
    """The jobs of a plan."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.jobs: dict[int, Any] = {}
        self._new: list[Unit] = []

    def add(self, units: Sequence[Unit]) -> None:
        """Submit units with the next call of ``ended``, all of them as one array."""
        self._new += units

    def ended(self) -> list[tuple[int, Outcome]]:
        """Return the units whose jobs have ended since the last call."""
        if self._new:
            submitted = self.executor.map_array(SlurmJob(), self._new)
            numbers = [unit.number for unit in self._new]
            self.jobs.update(zip(numbers, submitted, strict=True))
            self._new = []
        numbers = [number for number, job in self.jobs.items() if job.done()]
        return [(number, _outcome(self.jobs.pop(number))) for number in numbers]

    def stop(self) -> None:
        """Cancel the jobs that have not ended."""
        for job in self.jobs.values():
            if not job.done():
                job.cancel()


class SlurmJob:
    """The work of a job. When SLURM takes its node away, the same unit is queued again."""

    def __call__(self, unit: Unit) -> Outcome:
        """Run a unit.

        The signal that SLURM sends before the time limit stops the cell at work, so that its claim
        is released. Submitit then queues the job again.

        Args:
            unit: The cells.

        Returns:
            What failed.
        """
        requeue: dict[int, Any] = {}
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            handler = signal.getsignal(number)
            if callable(handler):  # the handler of submitit
                requeue[number] = handler
        numbers = [signal.Signals(number) for number in requeue]
        try:
            with stopped_by(*numbers):
                return run_unit(unit)
        except TerminatedError:
            for handled, handler in requeue.items():
                handler(handled, None)
            raise

    def checkpoint(self, unit: Unit) -> Any:
        """Name what is queued again: the same unit. Its finished cells are read from the results.

        Args:
            unit: The cells.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, unit)


def _outcome(job: Any) -> Outcome:
    """The outcome of a job that has ended, however it ended."""
    try:
        outcome: Outcome = job.result()
        return outcome
    except Exception as error:  # submitit raises errors of several types
        first_line = (str(error).splitlines() or ["no message"])[0]
        return Outcome(
            kind="memory" if job.state.startswith("OUT_OF_ME") else "killed",
            killed=f"its SLURM job {job.job_id} was ended by the system ({type(error).__name__}: "
            f"{first_line[:200].rstrip('.')}); its log is {job.paths.stderr}. Its finished cells "
            "are saved. Give a job more memory (--executor-option memory_gb=...) or time "
            "(minutes=...), and run the same command with --retry-failed.",
        )
