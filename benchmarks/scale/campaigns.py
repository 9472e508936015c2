"""A campaign of kills: what is killed, in which phase it was, and what must hold afterwards."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.scale.victims import VICTIMS
from etab.features.entries import SHARDS, entry_damage, remove_litter
from etab.features.shards import SIZE_VARIABLE
from etab.runs.execute import CLAIMS
from etab.storage.claims import read_claim, remove_abandoned
from etab.storage.litter import remove_temporary_files
from etab.storage.machine import allowed_cores

PHASES = ("features", "merging", "fitting", "writing", "outside")
BACKBONES = ("image_stats", "pixel_pca")
"""Backbones of the plan, which take little time."""

PATIENTS = 16
"""Patients of the cohort: 64 frames, which are two shards of each backbone."""

_SHARD_SIZE = 32  # one batch


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is killed, and how.

    Attributes:
        executor: Name of the executor.
        workers: Number of processes that compute at once.
        moments: "time" for random moments, "writes" for random writes, "both" for either.
        victim: One of the words of ``VICTIMS``.
        kills: Number of kills in the middle of work.
        seed: Seed of the moments.
        forks: Whether local workers and jobs of SLURM are forks of the command, which has imported
            everything. They are new processes of Python otherwise, as those of users are, and take
            longer to start.

    Raises:
        ValueError: If the executor has no such victim, or cannot have so many workers.
    """

    executor: str
    workers: int
    moments: str
    victim: str
    kills: int
    seed: int
    forks: bool = False

    def __post_init__(self) -> None:
        known = VICTIMS[self.executor]
        if self.victim not in known:
            raise ValueError(
                f"{self.executor} has no {self.victim!r} to kill. Known: {', '.join(known)}."
            )
        # SLURM starts a job for each backbone, and does not count those at work on one machine.
        possible = (len(BACKBONES),) if self.executor == "slurm" else range(1, len(BACKBONES) + 1)
        if self.workers not in possible:
            raise ValueError(
                f"{self.workers} workers of {self.executor}: the plan has {len(BACKBONES)} "
                f"backbones, each of which is computed by one process. Possible: "
                f"{', '.join(map(str, possible))}."
            )
        if self.forks and self.executor == "ray":
            raise ValueError(f"{self.executor} starts its processes itself: they are no forks.")
        if (self.executor, self.workers, self.victim) == ("local", 1, "worker"):
            raise ValueError(
                "With one local worker the child of the command computes: kill the child."
            )

    def command(self, folder: Path, data: Path) -> list[str]:
        """Write the command of the plan, from the word ``run``.

        Args:
            folder: Where results and features go.
            data: Folder of the phantom cohort.
        """
        words = [
            *("run", "--tasks", "a0-A4-C,b0-A4-C,d0-A4-C", "--backbones", ",".join(BACKBONES)),
            *("--head", "ridge,logistic,mask_logistic", "--protocol", "cv2,cv3"),
            *("--root", str(data / "camus"), "--precision", "fp32"),
            *("--results", str(folder / "results"), "--cache", str(folder / "cache")),
            "--retry-failed",
        ]
        if self.executor == "local":
            return [*words, "--workers", str(self.workers)]
        words += ["--executor", self.executor]
        if self.executor == "ray":  # a cluster of this machine has all of its cores
            words += ["--executor-option", f"cpus={allowed_cores() / self.workers}"]
        if self.executor == "slurm":
            words += ["--executor-option", "cluster=local", "--executor-option", "minutes=60"]
        return words

    def environment(self) -> dict[str, str]:
        """Return the environment variables of the plan: small shards."""
        return {SIZE_VARIABLE: str(_SHARD_SIZE), "OMP_NUM_THREADS": "1"}

    def n_stopped(self) -> int:
        """Return the largest number of processes whose work a kill ends.

        Where a local worker is killed, its pool ends the other ones. Jobs of SLURM live on without
        the command that submitted them.
        """
        if self.outlives():
            return 0
        ends_alone = self.victim == "worker" and self.executor != "local"
        return 1 if ends_alone else self.workers

    def outlives(self) -> bool:
        """Whether the processes at work outlive the victim and finish their work."""
        return (self.executor, self.victim) == ("slurm", "parent")


@dataclass(slots=True)
class Counts:
    """What became of the starts of a campaign, as far as it has come.

    Attributes:
        phases: Number of kills in each phase.
        starts: Number of starts.
        ended: Number of starts that ended by themselves.
        plans: Number of plans that were resumed to their end.
        results: Number of results and tables of one plan.
        entries: Number of cached entries of one plan.
        shards: Number of shards that were computed, in all plans.
        lost_shards: Number of shards that were begun and not finished.
        cells: Number of cells that were computed, in all plans.
        lost_cells: Number of cells that were begun and not finished.
        whole: Processor time of the undisturbed plan in s, of the processes that compute.
        faults: What was wrong.
    """

    phases: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    ended: int = 0
    plans: int = 0
    results: int = 0
    entries: int = 0
    shards: int = 0
    lost_shards: int = 0
    cells: int = 0
    lost_cells: int = 0
    whole: float = 0.0
    faults: list[str] = field(default_factory=list)

    def at_work(self) -> int:
        """Number of kills in the middle of work."""
        return sum(self.phases[name] for name in PHASES if name != "outside")

    def facts(self) -> dict[str, Any]:
        """Return everything for a file of JSON."""
        return {**asdict(self), "phases": dict(self.phases)}

    @staticmethod
    def of(facts: dict[str, Any]) -> Counts:
        """Make counts from what ``facts`` returned.

        Args:
            facts: The content of the file.
        """
        return Counts(**{**facts, "phases": Counter(facts["phases"])})


def claims(folder: Path) -> dict[str, Path]:
    """Find the claims of cells and entries; the text of each holds random digits.

    Args:
        folder: Where the killed runs write.
    """
    texts: dict[str, Path] = {}
    of_cells = files_below(folder / "results" / CLAIMS)
    of_entries = [path for path in files_below(folder / "cache") if path.suffix == ".claim"]
    for path in [*of_cells, *of_entries]:
        try:
            text = path.read_text()
        except OSError:
            continue  # it was released just now
        if text.endswith("}"):  # else it is being written
            texts[text] = path
    return texts


def files_below(folder: Path) -> list[Path]:
    """List the files below a folder, in which other processes make and delete folders meanwhile.

    Args:
        folder: The folder, which may be absent.
    """
    return [Path(place) / name for place, _, names in os.walk(folder) for name in names]


def holders_of(paths: Iterable[Path]) -> list[int]:
    """List the processes that hold claims.

    Args:
        paths: The claims.
    """
    holders = [read_claim(path) for path in paths]
    return sorted({holder.pid for holder in holders if holder is not None})


def phase(folder: Path, new_claims: dict[str, Path]) -> str:
    """Name what a run was doing when it was killed.

    Args:
        folder: Where it wrote.
        new_claims: The claims that it had taken.
    """
    paths = list(new_claims.values())
    entries = [path for path in paths if path.suffix == ".claim"]
    if any(path.parent.suffix == SHARDS for path in entries):
        return "features"
    if any(any(path.parent.glob(f"{path.stem}.*{SHARDS}")) for path in entries):
        return "merging"
    if entries or any(path.name.startswith("features-") for path in paths):
        return "features"
    if not paths:
        return "outside"
    parts = [path for path in files_below(folder / "results") if path.suffix == ".part"]
    begun = max(map(_touched, paths))
    return "writing" if any(_touched(path) >= begun for path in parts) else "fitting"


def _touched(path: Path) -> float:
    """When a file was written; 0 where it has been deleted."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def contents(results: Path) -> dict[str, str]:
    """Read the records without their times, and the tables, by their paths.

    Args:
        results: Folder of results.
    """
    texts: dict[str, str] = {}
    for path in sorted(files_below(results)):
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
    records = [path for path in files_below(folder / "results") if path.suffix == ".json"]
    entries = [path for path in files_below(folder / "cache") if path.name == "entry.json"]
    for path in [*records, *entries]:
        name = str(path.relative_to(folder))
        if "/." not in name and ".part" not in name:
            try:
                facts = path.stat()
            except OSError:
                continue  # a shard that was copied into its entry just now
            files[name] = (facts.st_ino, facts.st_mtime_ns)
    return files


@dataclass(frozen=True, slots=True)
class Notes:
    """What processes noted of the shards and cells that they began and finished.

    Attributes:
        begun_shards: How often each shard was begun.
        finished: How often each shard, entry and record was given its name.
        begun_cells: Number of cells that were begun.
        ended_cells: Number of cells that were finished.
    """

    begun_shards: Counter[str]
    finished: Counter[str]
    begun_cells: int
    ended_cells: int

    @staticmethod
    def read(folder: Path, notes: Path) -> Notes:
        """Read the notes and the log of a plan.

        Args:
            folder: Where the killed runs write.
            notes: The file of ``sitecustomize.COUNTS``.
        """
        names = notes.read_text().splitlines() if notes.exists() else []
        begun = [name.rsplit(".", 2)[0] for name in names if _is_begun_shard(name)]
        finished = [name for name in names if _is_finished(Path(name))]
        events = [
            json.loads(line)["event"]
            for path in (folder / "results" / ".log").glob("*")
            for line in path.read_text().splitlines()
            if line.endswith("}")
        ]
        return Notes(
            Counter(begun), Counter(finished), events.count("cell_started"), len(_records(finished))
        )

    def lost_shards(self) -> int:
        """Number of shards that were begun and not finished."""
        shards = [name for name in self.finished if SHARDS in name]
        return sum(self.begun_shards.values()) - sum(self.finished[name] for name in shards)

    def lost_cells(self) -> int:
        """Number of cells that were begun and not finished."""
        return self.begun_cells - self.ended_cells


def _is_begun_shard(name: str) -> bool:
    path = Path(name)
    return path.suffix == ".part" and path.parent.suffix == SHARDS


def _is_finished(path: Path) -> bool:
    """Whether a file or folder that was renamed is a shard, an entry or a record."""
    if path.suffix == ".part":
        return False  # a damaged entry that is moved away
    if path.parent.suffix == SHARDS:
        return not path.suffix
    if path.parent.parent.name == "features":
        return path.name != "weights.json"
    return path.suffix == ".json" and "/results/" in str(path) and "/." not in str(path)


def _records(finished: Sequence[str]) -> list[str]:
    return [name for name in finished if name.endswith(".json")]


def final_faults(folder: Path, reference: Path, notes: Notes) -> list[str]:
    """List what differs from the undisturbed run, what came twice, and what was left behind.

    Args:
        folder: Where the killed runs wrote.
        reference: Where the undisturbed run wrote.
        notes: What the killed runs noted.
    """
    wrong: list[str] = []
    if contents(folder / "results") != contents(reference / "results"):
        wrong.append(f"{folder}: the results differ from those of the undisturbed run")
    for name, times in notes.finished.items():
        if times > 1:
            wrong.append(f"{name} was finished {times} times")
    entries = [path.parent for path in (folder / "cache").rglob("entry.json")]
    wrong += [f"{entry}: {entry_damage(entry)}" for entry in entries if entry_damage(entry)]
    # What a killed process left in its last moment, such as the claim of a cell that it had just
    # saved or half of a record, is removed by a later run: a day later, or a minute where it is a claim.
    remove_litter(folder / "cache", older_than=0.0)
    remove_temporary_files(folder / "results", older_than=0.0)
    remove_abandoned([*(folder / "results" / CLAIMS).glob("*")], pause=lambda _: None)
    wrong += [f"{path} is left" for path in (folder / "results" / CLAIMS).glob("*")]
    wrong += [f"{path} is left" for path in (folder / "results" / ".failed").glob("*")]
    for pattern in ("*.part", "*.claim", "*.takeover", ".*.clock"):
        wrong += [f"{path} is left" for path in (folder / "cache").rglob(pattern)]
        wrong += [f"{path} is left" for path in (folder / "results").rglob(pattern)]
    return wrong
