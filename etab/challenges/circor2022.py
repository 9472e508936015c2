"""Runs an entry of the Challenge 2022: train_model.py and run_model.py, cross-validated or on a hold-out folder.

``train_model.py DATA MODEL`` and ``run_model.py MODEL DATA OUTPUTS`` as the challenge called them. What is to be answered
is given as the hidden data were: recordings and demographics, a .txt without what it says of murmurs and of the outcome,
no .tsv and no table. Folds are of people: ids that ``Additional ID`` joins are never on both sides.

Limits by default are those of the challenge: 72 h for training, 24 h for running, 52 GB of memory, 50 GB of disk.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etab.challenges.cinc2016 import require_trust, resume_at
from etab.challenges.limits import Limits, run
from etab.challenges.scoring import Entry2022, evaluate_circor2022, read_output
from etab.challenges.unpack import fingerprint, unpack
from etab.datasets.circor import CircorSource
from etab.errors import EntryError, SplitError, UnsupportedOptionError
from etab.splits import folds
from etab.types import Record

SCRIPTS = ("train_model.py", "run_model.py")
TRAIN, RUN = Limits(72 * 3600, 52 * 1024, 50 * 1024), Limits(24 * 3600, 52 * 1024, 50 * 1024)
_SAYS = ("#Murmur", "#Most audible", "#Systolic", "#Diastolic", "#Outcome")
_LONGEST = 1 << 16
Progress = Callable[[int, int], None]
Patients = Mapping[str, Sequence[Record]]


@dataclass(frozen=True, slots=True)
class Run2022:
    """An entry trained and run: how its patients were split, the folder of its outputs, and its scores."""

    entry: str
    sha256: str
    protocol: str
    patients: int
    people: int
    outputs: str
    score: Entry2022

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return asdict(self)

    def render(self) -> str:
        """A few lines for a terminal."""
        head = f"{self.entry}: {self.protocol}, {self.patients} patients ({self.people} people) answered"
        return f"{head}; outputs in {self.outputs}\n{self.score.render()}"


@dataclass(frozen=True, slots=True)
class _Job:
    """What every fold needs: the unpacked entry, a folder to work in, the interpreter and both limits."""

    base: Path
    work: Path
    python: str
    train: Limits
    run: Limits


def run_circor2022(
    entry: Path,
    data: Path,
    out: Path,
    *,
    trust: bool = False,
    hold_out: Path | None = None,
    n_fold: int = 5,
    seed: int = 0,
    train: Limits = TRAIN,
    answer: Limits = RUN,
    python: str = sys.executable,
    progress: Progress | None = None,
) -> Run2022:
    """Train an entry (folder, .zip, .tar.gz) and score its outputs on people it was not trained on.

    data: CirCor as published. hold_out: another such folder to answer after training on all of ``data``; without it
    ``n_fold`` folds of people. out: a folder for outputs/ID.csv, which grows with every fold; a run that was stopped
    goes on there. Raises UnsupportedOptionError without ``trust``, EntryError for an entry that is not of this form,
    that fails, or that leaves patients without an output, SplitError where a person is on both sides.
    """
    require_trust(trust)
    source = CircorSource(data)
    other = CircorSource(hold_out) if hold_out else None
    known, asked = _patients(source), _patients(other) if other else _patients(source)
    parts = _parts(known, asked, hold_out, n_fold, seed)
    with tempfile.TemporaryDirectory(prefix="etab-entry-") as scratch:
        work = Path(scratch)
        base = _checked(entry, unpack(entry, work / "entry"))
        sha256 = fingerprint(base)
        resume_at(
            out,
            {
                "form": "circor2022",
                "entry_sha256": sha256,
                "data": source.digest(),
                "n_fold": len(parts),
                "seed": seed,
                "hold_out": other.digest() if other else None,
            },
        )
        job = _Job(base, work, python, train, answer)
        for k, (learn, test) in enumerate(parts):
            if not all((out / "outputs" / f"{name}.csv").is_file() for name in test):
                _fold(
                    job,
                    source,
                    other or source,
                    {n: known[n] for n in learn},
                    {n: asked[n] for n in test},
                    out,
                )
            if progress:
                progress(k + 1, len(parts))
    score = evaluate_circor2022(out / "outputs", (other or source).folder)
    people = {records[0].patient for records in asked.values()}
    protocol = (
        f"trained on {len(known)} patients, hold-out"
        if other
        else f"{n_fold}-fold cross-validation by person"
    )
    return Run2022(
        entry.name, sha256, protocol, len(asked), len(people), str(out / "outputs"), score
    )


def _patients(source: CircorSource) -> dict[str, list[Record]]:
    """Recordings by the challenge's own id."""
    found: dict[str, list[Record]] = {}
    for record in source.records():
        found.setdefault(str(record.meta["id"]), []).append(record)
    return found


def _parts(
    known: Patients, asked: Patients, hold_out: Path | None, n_fold: int, seed: int
) -> list[tuple[list[str], list[str]]]:
    """(ids to train on, ids to answer) of each fold."""
    person = {name: records[0].patient for name, records in known.items()}
    if hold_out:
        theirs = {name: _ids(name, records) for name, records in asked.items()}
        mine = {other for name, records in known.items() for other in _ids(name, records)}
        both = sorted(name for name, ids in theirs.items() if ids & mine)
        if both:
            raise SplitError(
                f"{len(both)} patients of {hold_out} are also trained on, or are the same person as one who is: "
                f"{', '.join(both[:5])}. Take them out of one of the folders."
            )
        return [(list(known), list(asked))]
    place = folds(list(person.values()), n_fold, seed)
    return [
        ([n for n in known if place[person[n]] != k], [n for n in known if place[person[n]] == k])
        for k in range(n_fold)
    ]


def _ids(name: str, records: Sequence[Record]) -> set[str]:
    """Every id under which the person of a patient is known."""
    return {name, records[0].patient, str(records[0].meta.get("additional_id", name))}


def _checked(entry: Path, base: Path) -> Path:
    missing = [name for name in SCRIPTS if not (base / name).is_file()]
    if missing:
        raise EntryError(
            f"{entry} is no entry of the Challenge 2022: {', '.join(missing)} missing at its top."
        )
    return base


def _fold(
    job: _Job, source: CircorSource, other: CircorSource, learn: Patients, test: Patients, out: Path
) -> None:
    """Train on ``learn``, answer ``test``, and keep the outputs once all of them are whole."""
    place = job.work / "fold"
    shutil.rmtree(place, ignore_errors=True)
    try:
        model, outputs, home = place / "model", place / "outputs", place / "home"
        for folder in (model, outputs, home):
            folder.mkdir(parents=True)
        _lay_out(source, learn, place / "training_data", hidden=False)
        shutil.copytree(job.base, place / "entry", symlinks=True)
        _call(job, "train_model.py", [place / "training_data", model], job.train, place)
        shutil.rmtree(place / "training_data")
        _lay_out(other, test, place / "test_data", hidden=True)
        _call(job, "run_model.py", [model, place / "test_data", outputs], job.run, place)
        _keep(outputs, test, out / "outputs")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _call(job: _Job, script: str, folders: Sequence[Path], limits: Limits, place: Path) -> None:
    command = [job.python, script, *map(str, folders)]
    ended = run(command, place / "entry", limits, home=place / "home", watched=place)
    if ended.why:
        raise EntryError(f"{script} {ended.said()}")


def _lay_out(source: CircorSource, patients: Patients, folder: Path, *, hidden: bool) -> None:
    """Copy patients; ``hidden`` as the hidden data were: no states, and a .txt that says nothing of what is asked."""
    folder.mkdir()
    for name, records in patients.items():
        for record in records:
            for role in ("audio", "header") if hidden else ("audio", "header", "states"):
                shutil.copyfile(
                    source.root / record.files[role], folder / Path(record.files[role]).name
                )
        lines = (
            (source.root / records[0].files["patient"])
            .read_text(encoding="utf-8")
            .splitlines(keepends=True)
        )
        kept = [line for line in lines if not (hidden and line.startswith(_SAYS))]
        (folder / f"{name}.txt").write_text("".join(kept), encoding="utf-8")


def _keep(made: Path, test: Collection[str], outputs: Path) -> None:
    """Check the outputs of a fold and move them; raises EntryError naming what is missing or unknown."""
    files = {path.stem: path for path in sorted(made.glob("*.csv"))}
    missing, unknown = sorted(set(test) - set(files)), sorted(set(files) - set(test))
    if missing or unknown:
        raise EntryError(
            f"run_model.py left {len(missing)} patients without an output ({', '.join(missing[:5])}) and wrote "
            f"{len(unknown)} of nobody it was asked for ({', '.join(unknown[:5])})."
        )
    for name, path in files.items():
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LONGEST:
            raise EntryError(
                f"run_model.py wrote {name}.csv as no plain file of at most {_LONGEST:,} bytes."
            )
        read_output(path)
    outputs.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        shutil.copyfile(path, outputs / f"{name}.csv")


def check_python(python: str) -> str:
    """The interpreter to run an entry with; raises UnsupportedOptionError where there is none of that name."""
    found = shutil.which(python)
    if found is None:
        raise UnsupportedOptionError(
            f"There is no interpreter {python!r}. Name one, for instance --python python3."
        )
    return found
