"""SIGKILL at random moments: the resumed run must end with the results of an undisturbed one.

``python -m benchmarks.scale.kills FOLDER --executor local --workers 2 --kills 200`` writes a
phantom cohort, runs a plan on it undisturbed, and runs the plan again while it is killed. It is
killed at random moments, and with ``--moments writes`` at random files that are synced, renamed or
removed. Each kill takes the whole run, or, with ``--processes one``, the process that is at work.

The records (without their times) and the tables of predictions must then be equal byte for byte,
every cached entry must be as it was written, no finished file may ever have been written again, and
nothing unfinished may remain. ``--json FILE`` adds the counts to a file, of which
``benchmarks.scale.page`` writes the table.
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
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import timm  # noqa: F401  # every process of the plan needs it

from benchmarks.scale.at_writes import sitecustomize
from benchmarks.scale.processes import adopt_orphans, below, kill_all, start
from etab import phantom
from etab.features.entries import entry_damage, remove_litter
from etab.runs.execute import CLAIMS
from etab.runs.sweep import sweep  # noqa: F401  # likewise
from etab.storage.claims import read_claim, remove_abandoned
from etab.storage.litter import remove_temporary_files

TRIES = 10
"""Starts of the plan, for each kill that is asked for, after which the benchmark gives up."""

BACKBONES = "image_stats,pixel_pca,random/efficientnet_lite0"
PHASES = ("features", "merging", "fitting", "writing", "outside")
WRITES = 60
"""Largest number of the write at which a process is killed."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is killed, and how.

    Attributes:
        executor: Name of the executor.
        workers: Number of worker processes of the executor "local".
        moments: "time" for random moments, "writes" for random writes.
        processes: "all" kills the whole run, "one" the process that is at work.
        kills: Number of kills in the middle of work.
        seed: Seed of the moments.
    """

    executor: str
    workers: int
    moments: str
    processes: str
    kills: int
    seed: int

    def command(self, folder: Path, data: Path) -> list[str]:
        """Write the command of the plan, from the word ``run``.

        Args:
            folder: Where results and features go.
            data: Folder of the phantom cohort.
        """
        words = [
            *("run", "--tasks", "a0-A4-C,b0-A4-C,d0-A4", "--backbones", BACKBONES),
            *("--protocol", "cv3,cv5", "--root", str(data / "camus"), "--precision", "fp32"),
            *("--results", str(folder / "results"), "--cache", str(folder / "cache")),
            "--retry-failed",
        ]
        if self.executor == "local":
            return [*words, "--workers", str(self.workers)]
        words += ["--executor", self.executor]
        if self.executor == "slurm":
            words += ["--executor-option", "cluster=local", "--executor-option", "minutes=60"]
        return words


@dataclass(slots=True)
class Counts:
    """What became of the starts of a campaign.

    Attributes:
        phases: Number of kills in each phase.
        starts: Number of starts.
        ended: Number of starts that ended by themselves.
        plans: Number of plans that were resumed to their end.
        results: Number of results and tables of one plan.
        entries: Number of cached entries of one plan.
        faults: What was wrong.
    """

    phases: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    ended: int = 0
    plans: int = 0
    results: int = 0
    entries: int = 0
    faults: list[str] = field(default_factory=list)

    def at_work(self) -> int:
        """Number of kills in the middle of work."""
        return sum(self.phases[name] for name in PHASES if name != "outside")


def claims(folder: Path) -> dict[str, Path]:
    """Find the claims of cells and entries; the text of each holds random digits.

    Args:
        folder: Where the killed runs write.
    """
    texts: dict[str, Path] = {}
    for path in [*(folder / "results" / CLAIMS).glob("*"), *(folder / "cache").rglob("*.claim")]:
        try:
            texts[path.read_text()] = path
        except OSError:
            continue  # it was released just now
    return texts


def phase(folder: Path, new_claims: dict[str, Path]) -> str:
    """Name what a run was doing when it was killed.

    Args:
        folder: Where it wrote.
        new_claims: The claims that it had taken.
    """
    works = [json.loads(text or "{}").get("work", "") for text in new_claims]
    if any(work.startswith("features") for work in works):
        # Shards whose rows were copied into the files of their entry leave such a note.
        is_merging = any((folder / "cache").glob("features/*/*.shards/*.merged"))
        return "merging" if is_merging else "features"
    if not new_claims:
        return "outside"
    newest = max(path.stat().st_mtime for path in new_claims.values())
    parts = [path for path in (folder / "results").rglob("*.part") if path.parent.name != CLAIMS]
    return "writing" if any(path.stat().st_mtime >= newest for path in parts) else "fitting"


def contents(results: Path) -> dict[str, str]:
    """Read the records without their times, and the tables, by their paths.

    Args:
        results: Folder of results.
    """
    texts: dict[str, str] = {}
    for path in sorted(results.rglob("*")):
        name = str(path.relative_to(results))
        if name.startswith(".") or path.suffix not in (".json", ".csv"):
            continue
        texts[name] = path.read_text()
        if path.suffix == ".json":
            record = json.loads(texts[name])
            record.pop("provenance")
            texts[name] = json.dumps(record)
    return texts


def written(folder: Path) -> dict[str, tuple[int, int]]:
    """Identify the finished files: records, and the notes that complete entries of the cache.

    Args:
        folder: Where the killed runs write.
    """
    files: dict[str, tuple[int, int]] = {}
    for path in [*(folder / "results").rglob("*.json"), *(folder / "cache").rglob("entry.json")]:
        name = str(path.relative_to(folder))
        if "/." not in name and ".part" not in name:
            facts = path.stat()
            files[name] = (facts.st_ino, facts.st_mtime_ns)
    return files


def final_faults(folder: Path, reference: Path) -> list[str]:
    """List what differs from the undisturbed run, and what was left behind.

    Args:
        folder: Where the killed runs wrote.
        reference: Where the undisturbed run wrote.
    """
    wrong: list[str] = []
    if contents(folder / "results") != contents(reference / "results"):
        wrong.append(f"{folder}: the results differ from those of the undisturbed run")
    entries = [path.parent for path in (folder / "cache").rglob("entry.json")]
    wrong += [f"{entry}: {entry_damage(entry)}" for entry in entries if entry_damage(entry)]
    wrong += [f"{path} is left" for path in (folder / "results" / ".failed").glob("*")]
    # What a killed process left in its last moment, such as the claim of a cell that it had just
    # saved, is removed by a later run: a day later, or a minute where it is a claim.
    remove_litter(folder / "cache", older_than=0.0)
    remove_temporary_files(folder / "results", older_than=0.0)
    remove_abandoned([*(folder / "results" / CLAIMS).glob("*")], pause=lambda _: None)
    wrong += [f"{path} is left" for path in (folder / "results" / CLAIMS).glob("*")]
    for pattern in ("*.part", "*.claim", "*.takeover", ".*.clock"):
        wrong += [f"{path} is left" for path in (folder / "cache").rglob(pattern)]
        wrong += [f"{path} is left" for path in (folder / "results").rglob(pattern)]
    return wrong


class Killer:
    """Runs the plan of a campaign again and again, and kills it."""

    def __init__(self, campaign: Campaign, folder: Path) -> None:
        self.campaign = campaign
        self.folder = folder
        self.data = folder / "data"
        self.random = random.Random(campaign.seed)
        self.counts = Counts()
        self.idle = 0.0
        self.whole = 0.0

    def prepare(self) -> None:
        """Write the cohort, run the plan undisturbed, and time it."""
        phantom.write(self.data, patients=12, names=("camus",))
        reference = self.folder / "reference"
        self._run_to_end(reference)
        warm = self.folder / "warm"
        self.whole = self._run_to_end(warm)
        self.idle = self._run_to_end(warm)  # every cell is finished
        self.counts.faults += final_faults(warm, reference)
        self.counts.results = len(contents(reference / "results"))
        self.counts.entries = len(list((reference / "cache").rglob("entry.json")))

    def run(self) -> None:
        """Kill plans until there are enough kills."""
        while not self._is_done():
            folder = self.folder / f"killed-{self.counts.plans}"
            while not self._is_done() and not self._start(folder):
                pass
            self._run_to_end(folder)
            self.counts.faults += final_faults(folder, self.folder / "reference")
            self.counts.plans += 1
            shutil.rmtree(folder)

    def _is_done(self) -> bool:
        enough = self.counts.at_work() >= self.campaign.kills
        return enough or self.counts.starts >= TRIES * self.campaign.kills

    def _run_to_end(self, folder: Path) -> float:
        """Run the plan to its end; return how long it takes in s."""
        began = time.monotonic()
        with _scratch() as environment:
            pid = start(self.campaign.command(folder, self.data), environment)
            status = os.waitpid(pid, 0)[1]
            kill_all(pid)  # daemons of Ray end a moment later by themselves
        if status:
            code = os.waitstatus_to_exitcode(status)
            raise RuntimeError(f"the plan in {folder} ended with {code}")
        return time.monotonic() - began

    def _start(self, folder: Path) -> bool:
        """Start the plan and kill it; return whether it ended by itself."""
        self.counts.starts += 1
        before = claims(folder)
        finished = written(folder)
        with _scratch() as environment:
            if self.campaign.moments == "writes":
                number = self.random.randint(1, WRITES)
                environment |= self._at_write(folder, number)
            pid = start(self.campaign.command(folder, self.data), environment)
            ended = self._kill(pid, folder, before)
        self._compare(folder, finished)
        self.counts.ended += ended
        return ended

    def _at_write(self, folder: Path, number: int) -> dict[str, str]:
        here = str(Path(sitecustomize.__file__).parent)
        paths = [here, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        return {
            sitecustomize.NUMBER: str(number),
            sitecustomize.FOLDER: str(folder.resolve()),
            "PYTHONPATH": os.pathsep.join(paths),
        }

    def _kill(self, pid: int, folder: Path, before: dict[str, Path]) -> bool:
        """Wait for the moment, and kill; return whether the run ended by itself."""
        known = dict(before)
        while True:
            status = self._wait(pid, folder, known)
            new = {text: path for text, path in claims(folder).items() if text not in known}
            if status is not None and not os.WIFSIGNALED(status):
                kill_all(pid)
                return True
            if self.campaign.processes == "one" and status is None:
                self._kill_one(folder, new)
                known |= new
                continue
            kill_all(pid)
            self.counts.phases[phase(folder, new)] += 1
            return False

    def _kill_one(self, folder: Path, new: dict[str, Path]) -> None:
        """Kill one process that is at work, if any is; the run goes on."""
        holders = [read_claim(path) for path in new.values()]
        pids = [holder.pid for holder in holders if holder is not None]
        alive = [pid for pid in pids if pid in below(os.getpid())]
        if not alive:
            self.counts.phases["outside"] += 1
            return
        self.counts.phases[phase(folder, new)] += 1
        os.kill(self.random.choice(alive), signal.SIGKILL)

    def _wait(self, pid: int, folder: Path, known: dict[str, Path]) -> int | None:
        """Wait for a random moment; return the status of the run if it has ended before.

        Where processes are started first, which takes longer than the plan, the time begins when
        the first of them has claimed its work.
        """
        left = 1 - len(contents(folder / "results")) / self.counts.results
        work = left * (self.whole - self.idle)
        seconds = self.random.uniform(0.7 * self.idle, self.idle + work)
        ends = time.monotonic() + seconds
        has_begun = self.campaign.executor == "local" and self.campaign.workers == 1
        while self.campaign.moments == "writes" or not has_begun or time.monotonic() < ends:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return status
            time.sleep(0.005 if has_begun else 0.05)
            if not has_begun and claims(folder).keys() - known.keys():
                has_begun = True
                ends = time.monotonic() + self.random.uniform(0.0, work / 2)
        return None

    def _compare(self, folder: Path, finished: dict[str, tuple[int, int]]) -> None:
        """Note every finished file that was lost or written again."""
        now = written(folder)
        for name, facts in finished.items():
            if name not in now:
                if ".shards/" in name:
                    continue  # it was copied into its entry
                self.counts.faults.append(f"{folder / name} was lost")
            elif now[name] != facts:
                self.counts.faults.append(f"{folder / name} was written twice")


@contextlib.contextmanager
def _scratch() -> Iterator[dict[str, str]]:
    """Environment variables for a run, with a folder for the files of Ray that ends with it."""
    folder = tempfile.mkdtemp(prefix="ray")  # paths of sockets must be short
    try:
        # Ray would give its workers the lowest priority.
        yield {"RAY_TMPDIR": folder, "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def summary(campaign: Campaign, counts: Counts, whole: float, idle: float) -> str:
    """Describe a campaign in a few lines.

    Args:
        campaign: What was killed.
        counts: What became of it.
        whole: Time of the undisturbed plan in s.
        idle: Time of the finished plan in s.
    """
    phases = ", ".join(f"{counts.phases[name]} {name}" for name in PHASES)
    lines = [
        f"{campaign.executor}, {campaign.workers} workers, kills at {campaign.moments} of "
        f"{campaign.processes}: {counts.at_work()} of {campaign.kills} kills at work ({phases}) "
        f"in {counts.starts} starts, {counts.ended} of which ended by themselves; {counts.plans} "
        f"plans of {whole:.0f} s ({idle:.0f} s without work) resumed to their end: "
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
    parser.add_argument("--moments", choices=("time", "writes"), default="time")
    parser.add_argument("--processes", choices=("all", "one"), default="all")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file of campaigns, to which this one is added")
    options = parser.parse_args()
    if options.folder.exists() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty; name a new folder.")
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
    killer.prepare()
    killer.run()
    counts = killer.counts
    sys.stdout.write(summary(campaign, counts, killer.whole, killer.idle) + "\n")
    if options.json:
        known = json.loads(options.json.read_text()) if options.json.exists() else []
        known.append(
            {
                **asdict(campaign),
                "phases": dict(counts.phases),
                "starts": counts.starts,
                "ended": counts.ended,
                "plans": counts.plans,
                "results": counts.results,
                "entries": counts.entries,
                "faults": counts.faults,
                "seconds": round(killer.whole, 1),
            }
        )
        options.json.write_text(json.dumps(known, indent=1) + "\n")
    sys.exit(1 if counts.faults or counts.at_work() < campaign.kills else 0)


if __name__ == "__main__":
    main()
