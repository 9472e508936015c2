"""SIGKILL at random moments: the resumed run must end with the results of an undisturbed one.

``python -m benchmarks.scale.kills FOLDER --executor local --workers 2 --kills 200`` writes a
phantom cohort, runs a plan on it undisturbed, and runs the plan again while it is killed. It is
killed at random moments of the processor time of its workers, from their first claims on, or at
random files that are synced, renamed or removed (``--moments``). Each kill takes the whole run, or
one process of it (``--victim``).

The records (without their times) and the tables of predictions must then be equal byte for byte,
every cached entry must be as it was written, no finished shard, entry or record may ever have been
made twice, a kill may lose one shard or one cell of each process, and nothing unfinished may remain.
The same command goes on with a campaign that was stopped. ``--json FILE`` writes the counts to a row
of a file, of which ``benchmarks.scale.page`` writes the table, whenever a plan has ended and was
compared: a campaign that is stopped early has counted what it did.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm  # noqa: F401  # every process of the plan needs it

from benchmarks.scale import processes
from benchmarks.scale.at_writes import sitecustomize
from benchmarks.scale.campaigns import (
    BACKBONES,
    PATIENTS,
    PHASES,
    Campaign,
    Counts,
    Notes,
    claims,
    contents,
    final_faults,
    holders_of,
    phase,
    written,
)
from benchmarks.scale.victims import GOES_ON, REQUESTS, VICTIMS, find_victim, is_worker
from etab import phantom
from etab.features.entries import SHARDS
from etab.runs.sweep import sweep  # noqa: F401  # likewise

TRIES = 10
"""Starts of the plan, for each kill that is asked for, after which the benchmark gives up."""

WRITES = 60
"""Largest number of the write at which a process is killed."""

PATIENCE = 120.0
"""Seconds after which every process of a run must have ended whose parent was killed."""

SAVING = "while the next cell is fitted"
"""When small cells are saved by the code that is killed."""

STARTED = {"local": "parent and child", "ray": "one process", "slurm": "one process"}
"""The processes of the command itself, by executor; others compute for Ray and SLURM."""

_PAUSE = 0.02  # seconds between two looks at a run


class Killer:
    """Runs the plan of a campaign again and again, and kills it."""

    def __init__(self, campaign: Campaign, folder: Path, rows: Path | None = None) -> None:
        self.campaign = campaign
        self.folder = folder
        self.rows = rows
        self.data = folder / "data"
        self.random = random.Random(campaign.seed)
        self.counts = Counts()
        self._kills_of_start = 0

    def prepare(self) -> None:
        """Write the cohort, run the plan undisturbed, and time it."""
        phantom.write(self.data, patients=PATIENTS, names=("camus",))
        reference = self.folder / "reference"
        self._run_to_end(reference)
        warm = self.folder / "warm"
        self._run_to_end(warm)
        self.counts.faults += final_faults(warm, reference, self._notes(warm))
        self.counts.results = len(contents(reference / "results"))
        self.counts.entries = len(list((reference / "cache").rglob("entry.json")))
        self._save()

    def go_on(self) -> None:
        """Read how far a campaign has come that was stopped."""
        self.counts = Counts.of(json.loads(self._state().read_text()))

    def run(self) -> None:
        """Kill plans until there are enough kills."""
        while not self._is_done():
            folder = self.folder / f"killed-{self.counts.plans}"
            while not self._is_done() and not self._start(folder):
                self._save()
            noted = self._notes(folder)
            self._kills_of_start = 0
            self._run_to_end(folder)
            notes = self._notes(folder)
            self._count_lost(noted, notes)
            self.counts.faults += final_faults(folder, self.folder / "reference", notes)
            self.counts.plans += 1
            self.counts.shards += sum(SHARDS in name for name in notes.finished)
            self.counts.cells += notes.ended_cells
            shutil.rmtree(folder)
            self._save()
            if self.rows is not None:
                keep_row(self.rows, {**asdict(self.campaign), **self.counts.facts()})
            now = time.strftime("%H:%M:%S")
            sys.stdout.write(f"{now} {json.dumps(self.counts.facts())}\n")
            sys.stdout.flush()

    def _state(self) -> Path:
        return self.folder / "campaign.json"

    def _save(self) -> None:
        part = self._state().with_suffix(".part")
        part.write_text(json.dumps(self.counts.facts(), indent=1))
        part.replace(self._state())

    def _notes_file(self, folder: Path) -> Path:
        return self.folder / f"{folder.name}.notes"

    def _notes(self, folder: Path) -> Notes:
        return Notes.read(folder, self._notes_file(folder))

    def _is_done(self) -> bool:
        enough = self.counts.at_work() >= self.campaign.kills
        return enough or self.counts.starts >= TRIES * self.campaign.kills

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables that let every process of the plan note what it begins and finishes.

        Args:
            folder: Where the plan writes.
        """
        here = str(Path(sitecustomize.__file__).parent)
        paths = [here, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        return {
            **self.campaign.environment(),
            sitecustomize.FOLDER: str(folder.resolve()),
            sitecustomize.COUNTS: str(self._notes_file(folder)),
            "PYTHONPATH": os.pathsep.join(paths),
        }

    def _run_to_end(self, folder: Path) -> None:
        """Run the plan to its end, and time the processes that compute."""
        with _scratch() as scratch:
            run = _Start(self, folder, scratch)
            while run.status is None:
                run.look()
                self.counts.whole = max(self.counts.whole, run.clock.read(run.holders))
                time.sleep(_PAUSE)
            processes.kill_all(run.pid)  # daemons of Ray end a moment later by themselves
        if run.status:
            code = os.waitstatus_to_exitcode(run.status)
            raise RuntimeError(f"the plan in {folder} ended with {code}: {run.said()}")

    def _start(self, folder: Path) -> bool:
        """Start the plan and kill it; return whether it ended by itself."""
        self.counts.starts += 1
        self._kills_of_start = 0
        self.random = random.Random(f"{self.campaign.seed} {self.counts.starts}")
        finished = written(folder)
        noted = self._notes(folder)
        with _scratch() as scratch:
            run = _Start(self, folder, scratch, self._write_number(folder))
            while self._kill(run) and self.campaign.victim in GOES_ON and not self._is_done():
                self._save()
            ended = run.status is not None and not os.WIFSIGNALED(run.status)
            if not self.campaign.outlives():
                processes.kill_all(run.pid)
        self._compare(folder, finished)
        # The last kill of a campaign ends a run that would go on, with all of its processes.
        n_more = self.campaign.workers if run.status is None else 0
        self._count_lost(noted, self._notes(folder), n_more)
        self.counts.ended += ended
        return ended

    def _left(self, folder: Path) -> float:
        """The part of the plan that is not finished."""
        return 1 - len(contents(folder / "results")) / self.counts.results

    def _write_number(self, folder: Path) -> int:
        """The number of the write at which this start is killed; 0 for a moment in time."""
        moments = self.campaign.moments
        if moments == "both":
            moments = self.random.choice(("time", "writes"))
        most = max(1, round(WRITES * self._left(folder)))
        return self.random.randint(1, most) if moments == "writes" else 0

    def _kill(self, run: _Start) -> bool:
        """Wait for the moment, and kill; return whether there was anything left to kill."""
        stopped = self._wait(run)
        if run.status is not None:
            return False
        kind = self.campaign.victim
        if kind == "run":
            processes.kill_all(run.pid)
            run.look()
            self._count_kill(phase(run.folder, run.claims))
            return True
        # The command or its child may have stopped, at the record of a cell that failed.
        takes_stopped = kind == "worker" and stopped and is_worker(stopped, run.pid)
        victim = stopped if takes_stopped else None
        victim = victim or find_victim(kind, run.pid, run.holders, self.random)
        if victim is None:
            self.counts.phases["outside"] += 1
        else:
            processes.kill(victim, signal.SIGSTOP)  # what it does now is what it is killed at
            run.look()
            at_work = victim if kind == "worker" else 0
            self._count_kill(phase(run.folder, run.claims_of(at_work)))
            processes.kill(victim, REQUESTS.get(kind, signal.SIGKILL))
            processes.kill(victim, signal.SIGCONT)
            run.forget(at_work)
        if stopped and stopped != victim:
            processes.kill(stopped, signal.SIGCONT)
        if kind in GOES_ON:
            run.let_another_stop()
        else:
            self._see_it_end(run)
        return True

    def _see_it_end(self, run: _Start) -> None:
        """See that a run whose command was ended leaves no process, and how it ends if asked to."""
        if self.campaign.outlives():
            os.waitpid(run.pid, 0)
            return
        ends = time.monotonic() + PATIENCE
        alive = processes.below(os.getpid())
        # Its main thread may have ended, and count as dead, while other threads still end.
        while (alive or run.status is None) and time.monotonic() < ends:
            run.look()
            time.sleep(_PAUSE)
            alive = processes.below(os.getpid())
        processes.bury()
        if alive:
            names = "; ".join(processes.command_of(pid)[:100] for pid in alive)
            self.counts.faults.append(f"alive though the command was ended: {names}")
        elif self.campaign.victim in REQUESTS:
            self.counts.faults += run.faults_of_end(REQUESTS[self.campaign.victim])

    def _wait(self, run: _Start) -> int | None:
        """Wait for a random moment, or until a process stops at a write.

        The time is that of the processor, and begins when a process has claimed its work: starting
        processes takes longer than the plan, and other work on the machine takes a share.

        Returns:
            The process that has stopped; None where none has.
        """
        seconds = self.random.uniform(0.0, 0.05 + self._left(run.folder) * self.counts.whole)
        begun = None
        while run.status is None:
            run.look()
            now = run.clock.read(run.holders)
            if run.stops_at_write:
                stopped = run.stopped()
                if stopped:
                    return stopped
            elif run.holders or begun is not None:
                begun = now if begun is None else begun
                if now - begun >= seconds:
                    return None
            time.sleep(_PAUSE)
        return None

    def _count_kill(self, name: str) -> None:
        self.counts.phases[name] += 1
        self._kills_of_start += 1

    def _compare(self, folder: Path, finished: dict[str, tuple[int, int]]) -> None:
        """Note every finished file that was lost or written again."""
        now = written(folder)
        for name, facts in finished.items():
            if name not in now:
                if f"{SHARDS}/" in name:
                    continue  # it was copied into its entry
                self.counts.faults.append(f"{folder / name} was lost")
            elif now[name] != facts:
                self.counts.faults.append(f"{folder / name} was written twice")

    def _count_lost(self, before: Notes, after: Notes, n_more: int = 0) -> None:
        """Count the work that a start lost.

        At most one shard of a process, or the cell at work and the one on its way to the disk.

        Args:
            before: What the start found.
            after: What it left.
            n_more: Number of processes that were ended beside those of its kills.
        """
        shards = after.lost_shards() - before.lost_shards()
        cells = after.lost_cells() - before.lost_cells()
        self.counts.lost_shards += shards
        self.counts.lost_cells += cells
        if self.campaign.outlives() and self._kills_of_start:
            return  # what is at work goes on; it is counted when the plan has ended
        most = self._kills_of_start * self.campaign.n_stopped() + n_more
        if shards > most or cells > 2 * most:
            self.counts.faults.append(f"{shards} shards and {cells} cells lost in {most} kills")


class _Start:
    """One start of the plan, which is looked at again and again.

    Attributes:
        folder: Where it writes.
        pid: Number of the command ``etab run``.
        stops_at_write: Whether a process is to stop at a write.
        status: How the command ended; None while it runs.
        claims: The claims that are held since this start, or the last kill.
        holders: The processes that hold them.
        clock: The processor time of the processes at work.
    """

    def __init__(
        self, killer: Killer, folder: Path, scratch: dict[str, str], write: int = 0
    ) -> None:
        self.folder = folder
        self.stops_at_write = bool(write)
        self.status: int | None = None
        self.claims: dict[str, Path] = {}
        self.holders: list[int] = []
        self.clock = processes.WorkClock()
        self._at_start = set(claims(folder))
        self._before = set(self._at_start)
        self._output = killer.folder / "said"
        # Another one for each start: processes that outlive a start stop no more.
        self._stop_file = killer.folder / f"stopped-{killer.counts.starts}"
        self._stop_file.unlink(missing_ok=True)
        environment = scratch | killer.environment(folder)
        if write:
            environment[sitecustomize.NUMBER] = str(write)
            environment[sitecustomize.STOPPED] = str(self._stop_file)
        words = killer.campaign.command(folder, killer.data)
        forks = killer.campaign.forks
        self.pid = processes.start(words, environment, self._output, forks=forks)

    def look(self) -> None:
        """See whether the run has ended, and which claims are held."""
        with contextlib.suppress(ChildProcessError):  # it was killed and buried
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.status = status
        found = claims(self.folder)
        self.claims = {text: path for text, path in found.items() if text not in self._before}
        holders = holders_of(self.claims.values())
        self.holders = [pid for pid in holders if processes.is_alive(pid)]

    def claims_of(self, pid: int) -> dict[str, Path]:
        """The claims of a process, or of all processes where it is 0."""
        return {
            text: path
            for text, path in self.claims.items()
            if not pid or json.loads(text)["pid"] == pid
        }

    def stopped(self) -> int | None:
        """The process that has stopped at a write; None where none has."""
        text = self._stop_file.read_text() if self._stop_file.exists() else ""
        return int(text) if text.endswith("\n") else None

    def forget(self, pid: int) -> None:
        """Look at the claims of a process no more that was killed, or at no claim where it is 0."""
        self._before |= set(self.claims_of(pid))

    def let_another_stop(self) -> None:
        """Let the next process stop that comes to its write."""
        self._stop_file.unlink(missing_ok=True)

    def faults_of_end(self, request: signal.Signals) -> list[str]:
        """What is wrong with the end of a run that was asked to end by a signal."""
        wrong: list[str] = []
        if self.status is None or os.waitstatus_to_exitcode(self.status) not in (0, 128 + request):
            wrong.append(f"{request.name}: the run ended with {self.status}")
        if self.status and "Finished work is saved" not in self.said():
            wrong.append(f"{request.name}: the run says {self.said()!r}")
        left = [path for text, path in claims(self.folder).items() if text not in self._at_start]
        left += self.folder.rglob("*.part")
        return wrong + [f"{request.name}: {path} is left" for path in left]

    def said(self) -> str:
        """The last lines that the command has written."""
        return " | ".join(self._output.read_text(errors="replace").splitlines()[-8:])


@contextlib.contextmanager
def _scratch() -> Iterator[dict[str, str]]:
    """Environment variables for a run, with a folder for the files of Ray that ends with it."""
    folder = tempfile.mkdtemp(prefix="ray")  # paths of sockets must be short
    try:
        # Ray would give its workers the lowest priority.
        yield {"RAY_TMPDIR": folder, "RAY_worker_niceness": "0"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep_row(file: Path, row: dict[str, Any]) -> None:
    """Write what a campaign has counted to its row of a file; another campaign has another row.

    The number of kills that is asked for may grow from one start of the command to the next: the
    row keeps the number that was counted.

    Args:
        file: The file of campaigns, which may be absent.
        row: The campaign and its counts.
    """
    named = ("executor", "workers", "moments", "victim", "seed", "forks", "command")
    row = {**row, "kills": sum(row["phases"].values()) - row["phases"].get("outside", 0)}
    row["saving"] = SAVING
    row["command"] = STARTED[row["executor"]]
    known = json.loads(file.read_text()) if file.exists() else []
    others = [one for one in known if any(one.get(name) != row[name] for name in named)]
    part = file.with_suffix(".part")
    part.write_text(json.dumps([*others, row], indent=1) + "\n")
    part.replace(file)


def summary(campaign: Campaign, counts: Counts) -> str:
    """Describe a campaign in a few lines.

    Args:
        campaign: What was killed.
        counts: What became of it.
    """
    phases = ", ".join(f"{counts.phases[name]} {name}" for name in PHASES)
    lines = [
        f"{campaign.executor}, {campaign.workers} workers, kills at {campaign.moments} of "
        f"{campaign.victim}: {counts.at_work()} of {campaign.kills} kills at work ({phases}) "
        f"in {counts.starts} starts, {counts.ended} of which ended by themselves; {counts.plans} "
        f"plans of {counts.whole:.1f} s of the processor resumed to their end, "
        f"{counts.lost_shards} shards and {counts.lost_cells} cells lost: "
        f"{len(counts.faults)} faults.",
        *counts.faults,
    ]
    return "\n".join(lines)


def main() -> None:
    """Kill a plan as often as asked, resume it, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--executor", choices=("local", "ray", "slurm"), default="local")
    parser.add_argument("--workers", type=int, default=len(BACKBONES))
    parser.add_argument("--moments", choices=("time", "writes", "both"), default="both")
    parser.add_argument(
        "--victim",
        choices=sorted({name for names in VICTIMS.values() for name in names}),
        default="run",
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--forks", action="store_true", help="workers and jobs import nothing again"
    )
    parser.add_argument("--json", type=Path, help="file of campaigns, to which this one is added")
    options = parser.parse_args()
    try:
        campaign = Campaign(
            options.executor,
            options.workers,
            options.moments,
            options.victim,
            options.kills,
            options.seed,
            options.forks,
        )
    except ValueError as error:
        parser.error(str(error))
    processes.adopt_orphans()
    killer = Killer(campaign, options.folder.absolute(), options.json)
    if (options.folder / "campaign.json").exists():
        killer.go_on()
    elif options.folder.exists() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty; name a new folder.")
    else:
        killer.prepare()
    killer.run()
    counts = killer.counts
    sys.stdout.write(summary(campaign, counts) + "\n")
    sys.exit(1 if counts.faults or counts.at_work() < campaign.kills else 0)


if __name__ == "__main__":
    main()
