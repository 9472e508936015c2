"""SIGKILL at random moments: the resumed run must end with the results of an undisturbed one.

``python -m benchmarks.scale.kills FOLDER --executor local --workers 2 --kills 200`` writes a
phantom cohort, runs a plan on it undisturbed, and runs the plan again while it is killed. It is
killed at random moments of its processor time, or at random files that are synced, renamed or
removed (``--moments``). Each kill takes the whole run, or, with ``--processes one``, the process
that is at work.

The records (without their times) and the tables of predictions must then be equal byte for byte,
every cached entry must be as it was written, no finished shard, entry or record may ever have been
made twice, a kill may lose one shard or one cell of each process, and nothing unfinished may remain.
The same command goes on with a campaign that was stopped. ``--json FILE`` adds the counts to a file,
of which ``benchmarks.scale.page`` writes the table.
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

import timm  # noqa: F401  # every process of the plan needs it

from benchmarks.scale.at_writes import sitecustomize
from benchmarks.scale.campaigns import (
    PATIENTS,
    PHASES,
    Campaign,
    Counts,
    Notes,
    claims,
    contents,
    final_faults,
    phase,
    written,
)
from benchmarks.scale.processes import adopt_orphans, below, kill_all, processor_time, start
from etab import phantom
from etab.features.entries import SHARDS
from etab.runs.sweep import sweep  # noqa: F401  # likewise
from etab.storage.claims import read_claim

TRIES = 10
"""Starts of the plan, for each kill that is asked for, after which the benchmark gives up."""

WRITES = 60
"""Largest number of the write at which a process is killed."""


class Killer:
    """Runs the plan of a campaign again and again, and kills it."""

    def __init__(self, campaign: Campaign, folder: Path) -> None:
        self.campaign = campaign
        self.folder = folder
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
            self._run_to_end(folder)
            notes = self._notes(folder)
            self.counts.faults += final_faults(folder, self.folder / "reference", notes)
            self.counts.plans += 1
            self.counts.shards += sum(SHARDS in name for name in notes.finished)
            self.counts.cells += notes.ended_cells
            shutil.rmtree(folder)
            self._save()
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

    def _environment(self, folder: Path) -> dict[str, str]:
        """Variables that let every process of the plan note what it begins and finishes."""
        here = str(Path(sitecustomize.__file__).parent)
        paths = [here, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        return {
            **self.campaign.environment(),
            sitecustomize.FOLDER: str(folder.resolve()),
            sitecustomize.COUNTS: str(self._notes_file(folder)),
            "PYTHONPATH": os.pathsep.join(paths),
        }

    def _run_to_end(self, folder: Path) -> None:
        """Run the plan to its end, and time it from its first claim on."""
        with _scratch() as scratch:
            environment = scratch | self._environment(folder)
            pid = start(self.campaign.command(folder, self.data), environment)
            first_claim = None
            while True:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    break
                now = self._processor_time(pid)
                if first_claim is None and claims(folder):
                    first_claim = now
                if first_claim is not None:
                    self.counts.whole = max(self.counts.whole, now - first_claim)
                time.sleep(0.02)
            kill_all(pid)  # daemons of Ray end a moment later by themselves
        if status:
            code = os.waitstatus_to_exitcode(status)
            raise RuntimeError(f"the plan in {folder} ended with {code}")

    def _processor_time(self, pid: int) -> float:
        is_one = self.campaign.n_processes() == 1
        return processor_time([pid] if is_one else below(os.getpid()))

    def _start(self, folder: Path) -> bool:
        """Start the plan and kill it; return whether it ended by itself."""
        self.counts.starts += 1
        self._kills_of_start = 0
        self.random = random.Random(f"{self.campaign.seed} {self.counts.starts}")
        before = claims(folder)
        finished = written(folder)
        noted = self._notes(folder)
        moments = self.campaign.moments
        if moments == "both":
            moments = self.random.choice(("time", "writes"))
        with _scratch() as scratch:
            environment = scratch | self._environment(folder)
            if moments == "writes":
                environment[sitecustomize.NUMBER] = str(self.random.randint(1, WRITES))
            pid = start(self.campaign.command(folder, self.data), environment)
            ended = self._kill(pid, folder, before, moments)
        self._compare(folder, finished)
        self._count_lost(noted, self._notes(folder))
        self.counts.ended += ended
        return ended

    def _kill(self, pid: int, folder: Path, before: dict[str, Path], moments: str) -> bool:
        """Wait for the moment, and kill; return whether the run ended by itself."""
        known = dict(before)
        while True:
            status = self._wait(pid, folder, known, moments)
            new = {text: path for text, path in claims(folder).items() if text not in known}
            if status is not None and not os.WIFSIGNALED(status):
                kill_all(pid)
                return True
            if self.campaign.processes == "one" and status is None:
                self._kill_one(folder, new)
                known |= new
                continue
            kill_all(pid)
            new = {text: path for text, path in claims(folder).items() if text not in known}
            self._count_kill(phase(folder, new))
            return False

    def _count_kill(self, name: str) -> None:
        self.counts.phases[name] += 1
        self._kills_of_start += 1

    def _kill_one(self, folder: Path, new: dict[str, Path]) -> None:
        """Kill one process that is at work, if any is; the run goes on."""
        holders = [read_claim(path) for path in new.values()]
        pids = [holder.pid for holder in holders if holder is not None]
        alive = [pid for pid in pids if pid in below(os.getpid())]
        if not alive:
            self.counts.phases["outside"] += 1
            return
        self._count_kill(phase(folder, new))
        os.kill(self.random.choice(alive), signal.SIGKILL)

    def _wait(self, pid: int, folder: Path, known: dict[str, Path], moments: str) -> int | None:
        """Wait for a random moment; return the status of the run if it has ended before.

        The time is that of the processor, and begins when a process has claimed its work: starting
        processes takes longer than the plan, and other work on the machine takes a share.
        """
        left = 1 - len(contents(folder / "results")) / self.counts.results
        seconds = self.random.uniform(0.0, 0.05 + left * self.counts.whole)
        ends = None
        pause = 0.01 if self.campaign.n_processes() == 1 else 0.05
        while moments == "writes" or ends is None or self._processor_time(pid) < ends:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return status
            if moments == "time" and ends is None and claims(folder).keys() - known.keys():
                ends = self._processor_time(pid) + seconds
            time.sleep(pause)
        return None

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

    def _count_lost(self, before: Notes, after: Notes) -> None:
        """Count the work that a start lost.

        At most one shard of a process, or the cell at work and the one on its way to the disk.
        """
        shards = after.lost_shards() - before.lost_shards()
        cells = after.lost_cells() - before.lost_cells()
        self.counts.lost_shards += shards
        self.counts.lost_cells += cells
        most = self._kills_of_start * self.campaign.n_processes()
        if shards > most or cells > 2 * most:
            self.counts.faults.append(f"{shards} shards and {cells} cells lost in {most} kills")


@contextlib.contextmanager
def _scratch() -> Iterator[dict[str, str]]:
    """Environment variables for a run, with a folder for the files of Ray that ends with it."""
    folder = tempfile.mkdtemp(prefix="ray")  # paths of sockets must be short
    try:
        # Ray would give its workers the lowest priority.
        yield {"RAY_TMPDIR": folder, "RAY_worker_niceness": "0"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def summary(campaign: Campaign, counts: Counts) -> str:
    """Describe a campaign in a few lines.

    Args:
        campaign: What was killed.
        counts: What became of it.
    """
    phases = ", ".join(f"{counts.phases[name]} {name}" for name in PHASES)
    lines = [
        f"{campaign.executor}, {campaign.workers} workers, kills at {campaign.moments} of "
        f"{campaign.processes}: {counts.at_work()} of {campaign.kills} kills at work ({phases}) "
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
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--moments", choices=("time", "writes", "both"), default="both")
    parser.add_argument("--processes", choices=("all", "one"), default="all")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file of campaigns, to which this one is added")
    options = parser.parse_args()
    campaign = Campaign(
        options.executor,
        options.workers,
        options.moments,
        options.processes,
        options.kills,
        options.seed,
    )
    adopt_orphans()
    killer = Killer(campaign, options.folder.absolute())
    if (options.folder / "campaign.json").exists():
        killer.go_on()
    elif options.folder.exists() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty; name a new folder.")
    else:
        killer.prepare()
    killer.run()
    counts = killer.counts
    sys.stdout.write(summary(campaign, counts) + "\n")
    if options.json:
        known = json.loads(options.json.read_text()) if options.json.exists() else []
        known.append({**asdict(campaign), **counts.facts()})
        options.json.write_text(json.dumps(known, indent=1) + "\n")
    sys.exit(1 if counts.faults or counts.at_work() < campaign.kills else 0)


if __name__ == "__main__":
    main()
