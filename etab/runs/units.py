"""Units of a plan that run in processes elsewhere: on a Ray cluster, or as jobs of SLURM.

A unit is the cells of one backbone. Its names and settings travel to the process, and an outcome in
words comes back. The results themselves, the failed cells and the progress are read from the folder
of results, which every process shares.
"""

from __future__ import annotations

import functools
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from etab.errors import UnsupportedOptionError
from etab.precisions import AUTO, FASTEST
from etab.results import Result
from etab.runs.data import Data, use_data_of
from etab.runs.events import Event, Listener
from etab.runs.execute import claim_path, finished
from etab.runs.executors import groups, serial
from etab.runs.failures import describe_failure, is_interruption
from etab.runs.lost_processes import End, hung, record_killed
from etab.runs.record import brief, path_of_run
from etab.runs.run import Run, Settings, is_named
from etab.runs.unit_progress import FrameProgress
from etab.storage.claims import STALE, WATCHED, is_abandoned
from etab.storage.pauses import pause

_POLL = 0.5  # seconds between two looks at the jobs and the results
_PACE = 20.0  # looks at all results begin at least so many times as far apart as one takes


@dataclass(frozen=True, slots=True)
class Unit:
    """The cells of one backbone, as they travel to another process.

    Attributes:
        number: Tells the units of a plan apart.
        runs: The cells, by names alone.
        settings: How they are run, with absolute paths.
        environment: Environment variables of etab that say where data are.
        name: Random digits, the name of the file of its progress; "" writes none.
    """

    number: int
    runs: tuple[Run, ...]
    settings: Settings
    environment: tuple[tuple[str, str], ...] = ()
    name: str = ""

    def progress(self) -> FrameProgress:
        """Return the progress of its features, which is empty as long as none is known."""
        return FrameProgress(self.settings.results, self.name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a unit.

    Attributes:
        failures: Why cells failed, and how many cells each reason concerns.
        killed: Why the system ended the process of the unit; "" if it came to its end.
        kind: The kind of that failure, as ``FailedCell`` names it.
    """

    failures: tuple[tuple[str, int], ...] = ()
    killed: str = ""
    kind: str = "killed"


class Jobs(Protocol):
    """Units at work in other processes."""

    def add(self, units: Sequence[Unit]) -> None:
        """Start units."""
        ...

    def ended(self) -> list[tuple[int, Outcome]]:
        """Return the units that have ended since the last call, by their numbers."""
        ...

    def stop(self) -> None:
        """Stop the units that are at work, if any."""
        ...


def run_unit(unit: Unit) -> Outcome:
    """Run a unit in this process. An exception of any type becomes a failure in words.

    Args:
        unit: The cells.

    Returns:
        What failed. Finished cells are in the folder of results.
    """
    before = hung(unit.runs, unit.settings)
    if before is not None:  # the cluster repeats a unit whose process has ended itself
        return Outcome(killed=before.words, kind=before.kind)
    failures: list[tuple[str, int]] = []
    progress = unit.progress()

    def listen(event: Event) -> None:
        if event.kind == "failed":
            failures.append((event.error, event.runs))
        elif event.kind == "frames" and unit.name:
            progress.write(event.done, event.total)

    try:
        os.environ.update(unit.environment)
        serial(unit.runs, unit.settings, listen, _opened(unit.settings))
    except BaseException as error:
        if is_interruption(error):
            raise
        failures.append((describe_failure(error), len(unit.runs)))
    return Outcome(tuple(failures))


@functools.lru_cache(maxsize=1)
def _opened(settings: Settings) -> Data:
    """The data of a plan, opened once in a process for all of its units."""
    use_data_of(settings)
    return Data(settings)


def require_same_precision(settings: Settings, executor: str) -> None:
    """Refuse a precision that each machine would choose for itself.

    Args:
        settings: How the plan is run.
        executor: Name of the executor, for the message.

    Raises:
        UnsupportedOptionError: If the precision is "auto" or "fastest".
    """
    if settings.precision in (AUTO, FASTEST):
        raise UnsupportedOptionError(
            f"--executor {executor} needs --precision fp32 or --precision bf16: with "
            f"{settings.precision}, each machine would choose the precision that suits its "
            "processor or GPU."
        )


def run_units(
    runs: Sequence[Run],
    settings: Settings,
    jobs: Jobs,
    listen: Listener,
    data: Data,
    environment: tuple[tuple[str, str], ...] = (),
) -> list[Result]:
    """Run a plan in units, and follow it in the folder of results.

    A backbone that only this process knows, such as a Python function, is run here.

    Args:
        runs: The plan.
        settings: How it is run.
        jobs: Starts the units elsewhere.
        listen: Called with every finished cell and every failure.
        data: The data of the plan.
        environment: Environment variables that the units need.

    Returns:
        The finished cells.
    """
    todo = groups(runs)
    here = [run for group in todo if not is_named(group[0]) for run in group]
    results = serial(here, settings, listen, data) if here else []
    groups_elsewhere = [group for group in todo if is_named(group[0])]
    plan = _Plan(settings, data, listen, jobs, environment)
    try:
        for group in groups_elsewhere:
            plan.add(group)
        while plan.units:
            plan.advance()
            if plan.units:
                pause(_POLL)
    finally:
        jobs.stop()
        for unit in plan.units.values():
            unit.progress().remove()
    return results + plan.results


class _Plan:
    """The units at work, and the cells that were finished so far."""

    def __init__(
        self,
        settings: Settings,
        data: Data,
        listen: Listener,
        jobs: Jobs,
        environment: tuple[tuple[str, str], ...],
    ) -> None:
        self.settings = settings
        self.data = data
        self.listen = listen
        self.jobs = jobs
        self.environment = environment
        self.units: dict[int, Unit] = {}
        self.results: list[Result] = []
        self._n_units = 0
        self._unseen: dict[Run, int] = {}  # cells without a result, with the number of their unit
        self._next_look = 0.0
        self._frames: dict[int, tuple[int, int]] = {}  # rows done and in all, as reported last

    def add(self, group: Sequence[Run]) -> None:
        """Start a group of cells as a unit."""
        by_name = tuple(replace(run, card=None) for run in group)
        settings = self.settings.absolute()
        name = secrets.token_hex(8)
        unit = Unit(self._n_units, by_name, settings, self.environment, name)
        self._n_units += 1
        self.units[unit.number] = unit
        self._unseen.update(dict.fromkeys(by_name, unit.number))
        self.jobs.add([unit])

    def advance(self) -> None:
        """Report what was finished, and what failed, since the last call."""
        ended = self.jobs.ended()
        # A unit that ended before this look has written all of its results.
        self._look({number for number, _ in ended})
        for number, outcome in ended:
            unit = self.units.pop(number)
            self._end_frames(unit)
            for words, n_cells in outcome.failures:
                self.listen(Event("failed", unit.runs[0].backbone, error=words, runs=n_cells))
            if outcome.killed:
                self._go_on(unit, End(outcome.kind, outcome.killed))

    def _look(self, ended: set[int]) -> None:
        """Look for results: those of units that have ended, and now and then all of them.

        A look asks the file system once for each cell, which may take seconds. No more than a
        twentieth of the time is spent on it.
        """
        began = time.monotonic()
        if began < self._next_look:
            self._report_finished([run for run, unit in self._unseen.items() if unit in ended])
            return
        self._report_finished(list(self._unseen))
        self._report_frames()
        took = time.monotonic() - began
        self._next_look = began + max(_POLL, _PACE * took)

    def _report_finished(self, runs: Sequence[Run]) -> None:
        for run in runs:
            if path_of_run(run, self.settings.results).exists():
                result = finished(run, self.settings, self.data)
                if result is not None:
                    self._unseen.pop(run)
                    self.results.append(brief(result))
                    self.listen(Event("cell", run.backbone, result=self.results[-1]))

    def _report_frames(self) -> None:
        """Report the features of every unit whose progress has changed."""
        for unit in self.units.values():
            frames = unit.progress().read()
            if frames is not None and frames != self._frames.get(unit.number):
                self._frames[unit.number] = frames
                done, total = frames
                self.listen(Event("frames", unit.runs[0].backbone, done=done, total=total))

    def _end_frames(self, unit: Unit) -> None:
        """Report the features of a unit as complete that has ended, if that was not seen."""
        unit.progress().remove()
        done, total = self._frames.pop(unit.number, (0, 0))
        if done < total:
            self.listen(Event("frames", unit.runs[0].backbone, done=total, total=total))

    def _go_on(self, unit: Unit, end: End) -> None:
        """Record the cells that ended a process, and start the others of its unit again."""
        unfinished = [run for run in unit.runs if run in self._unseen]
        if not unfinished:
            return
        _watch_claims([claim_path(run, self.settings) for run in unfinished])
        killed, words = record_killed(unfinished, self.settings, self.data, end)
        self.listen(Event("failed", unit.runs[0].backbone, error=words, runs=len(killed)))
        left = [run for run in unfinished if run not in killed]
        if killed and left:
            self.add(left)


def _watch_claims(paths: Sequence[Path]) -> None:
    """Wait until it is known whether the holders of claims have ended.

    Processes of this machine are looked up. A process of another machine has ended once its claim
    is not touched for a while.
    """
    ends = time.monotonic() + STALE + 2 * WATCHED
    while time.monotonic() < ends:
        held = [path for path in paths if path.exists() and not is_abandoned(path)]
        if not held:
            return
        pause(_POLL)


def etab_environment() -> tuple[tuple[str, str], ...]:
    """The environment variables of etab in this process."""
    names = sorted(name for name in os.environ if name.startswith("ETAB_"))
    return tuple((name, os.environ[name]) for name in names)
