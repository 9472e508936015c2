"""Run an entry of the Challenge 2022, cross-validated or on a hold-out folder.

An entry is trained by ``train_model.py DATA MODEL`` and run by ``run_model.py MODEL DATA OUTPUTS``,
as the challenge called them. Test patients are given as the hidden data were: recordings and
demographics, a ``.txt`` without murmurs and outcome, no ``.tsv`` and no table. Folds are of people:
two ids that ``Additional ID`` joins are never on both sides.

The default limits are those of the challenge: 72 h of training, 24 h of running, 52 GB of memory
and 50 GB of disk.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etab.challenges.limits import Limits, remove_all, run_limited, scratch_folder
from etab.challenges.safety import require_trust, resume_at, sandbox_note
from etab.challenges.sandbox import NONE, sandbox_name
from etab.challenges.scoring import Entry2022, evaluate_circor2022, read_output
from etab.challenges.unpack import fingerprint, unpack_entry
from etab.datasets.circor import CircorSource
from etab.errors import EntryError, SplitError, UnsupportedOptionError
from etab.readers.text import read_text
from etab.splits import folds
from etab.storage.text import counted
from etab.types import Record

SCRIPTS = ("train_model.py", "run_model.py")
TRAIN_LIMITS = Limits(
    seconds=72 * 3600,
    memory=52 * 1024,
    disk=50 * 1024,
)
RUN_LIMITS = Limits(
    seconds=24 * 3600,
    memory=52 * 1024,
    disk=50 * 1024,
)

# How the lines of a patient's .txt begin that state what is to be predicted.
_ANSWER_LINES = ("#Murmur", "#Most audible", "#Systolic", "#Diastolic", "#Outcome")
_LARGEST_OUTPUT = 1 << 16

Patients = Mapping[str, Sequence[Record]]


@dataclass(frozen=True, slots=True)
class Run2022:
    """An entry of the Challenge 2022 that was trained, run and scored.

    Attributes:
        entry: Name of the entry.
        sha256: Digest of its files.
        protocol: How patients were split, in words.
        patients: Number of patient ids that were answered.
        people: Number of people; one person may have several ids.
        outputs: Folder of the outputs.
        score: The official scores.
        sandbox: Name of the sandbox that the entry ran in, "bubblewrap" or "none".
        ranked: Whether a board may rank the scores: never, for the program is not ours.
    """

    entry: str
    sha256: str
    protocol: str
    patients: int
    people: int
    outputs: str
    score: Entry2022
    sandbox: str = NONE
    ranked: bool = False

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)

    def render(self) -> str:
        """The run in a few lines of text."""
        answered = f"{self.patients} patients ({self.people} people) answered"
        return (
            f"{self.entry}: {self.protocol}, {answered}; outputs in {self.outputs}\n"
            f"{self.score.render()}\n{sandbox_note(self.sandbox)}"
        )


@dataclass(frozen=True, slots=True)
class _Job:
    """The parts that every fold needs: unpacked entry, interpreter, limits and sandbox."""

    base: Path
    python: str
    train: Limits
    run: Limits
    sandbox: str
    hidden: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Cohort:
    """One folder of CirCor, and its recordings by patient id."""

    source: CircorSource
    patients: Patients

    @classmethod
    def read(cls, folder: Path) -> _Cohort:
        source = CircorSource(folder)
        patients: dict[str, list[Record]] = {}
        for record in source.records():
            patients.setdefault(str(record.meta["id"]), []).append(record)
        return cls(source, patients)

    def part(self, names: Sequence[str]) -> Patients:
        return {name: self.patients[name] for name in names}


def run_circor2022(
    entry: Path,
    data: Path,
    out: Path,
    *,
    trust: bool = False,
    hold_out: Path | None = None,
    n_fold: int = 5,
    seed: int = 0,
    train: Limits = TRAIN_LIMITS,
    answer: Limits = RUN_LIMITS,
    python: str = sys.executable,
    progress: Callable[[int, int], None] | None = None,
    use_sandbox: bool = True,
) -> Run2022:
    """Train an entry and score its outputs for people it was not trained on.

    Args:
        entry: The entry: a folder, ``.zip`` or ``.tar.gz``.
        data: CirCor as published.
        out: Folder for ``outputs/ID.csv``. It grows with every fold; a run that was stopped goes
            on there.
        trust: Must be True: the entry is someone else's program and runs with your rights.
        hold_out: Another folder of CirCor. The entry is then trained on all of ``data`` and run on
            this folder, without folds.
        n_fold: Number of folds of people, 2 or more, where there is no ``hold_out``.
        seed: Seed of the folds.
        train: Limits of ``train_model.py``.
        answer: Limits of ``run_model.py``.
        python: Interpreter for both scripts.
        progress: Called with the number of finished folds and of all folds.
        use_sandbox: Whether the entry runs in a sandbox where this machine has one.

    Returns:
        How patients were split, where the outputs are, and the official scores.

    Raises:
        UnsupportedOptionError: If ``trust`` is False.
        EntryError: If the entry has another form, a script fails, patients are without an output,
            or ``out`` holds another run.
        SplitError: If a person is both trained on and in ``hold_out``.

    Source:
        https://physionetchallenges.org/2022/
    """
    require_trust(trust)
    known = _Cohort.read(data)
    test = _Cohort.read(hold_out) if hold_out else known
    parts = _hold_out(known, test) if hold_out else _people_folds(known.patients, n_fold, seed)
    with scratch_folder("etab-entry-") as scratch:
        base = _unpack_checked(entry, scratch / "entry")
        sha256 = fingerprint(base)
        sandbox = sandbox_name(use_sandbox)
        facts = {
            "form": "circor2022",
            "entry_sha256": sha256,
            "data": known.source.digest(),
            "n_fold": len(parts),
            "seed": seed,
            "hold_out": test.source.digest() if hold_out else None,
            "sandbox": sandbox,
        }
        resume_at(out, facts)
        hidden = (known.source.root, test.source.root, out)
        job = _Job(base, python, train, answer, sandbox, hidden)
        for done, (train_ids, test_ids) in enumerate(parts, start=1):
            if not _all_answered(test_ids, out):
                _run_fold(job, known, train_ids, test, test_ids, out)
            if progress:
                progress(done, len(parts))
    protocol = f"{n_fold}-fold cross-validation by person"
    if hold_out:
        protocol = f"trained on {len(known.patients)} patients, hold-out"
    return Run2022(
        entry=entry.name,
        sha256=sha256,
        protocol=protocol,
        patients=len(test.patients),
        people=len({records[0].patient for records in test.patients.values()}),
        outputs=str(out / "outputs"),
        score=evaluate_circor2022(out / "outputs", test.source.folder),
        sandbox=sandbox,
    )


def _hold_out(known: _Cohort, test: _Cohort) -> list[tuple[list[str], list[str]]]:
    """One split: train on all patients of one folder, test on all of the other."""
    trained: set[str] = set()
    for name, records in known.patients.items():
        trained |= _every_id(name, records)
    shared = sorted(
        name for name, records in test.patients.items() if _every_id(name, records) & trained
    )
    if shared:
        raise SplitError(
            f"{test.source.root} shares {counted(len(shared), 'patient')} with the training "
            "data, under "
            f"the same id or another: {', '.join(shared[:5])}. Take them out of one of the folders."
        )
    return [(list(known.patients), list(test.patients))]


def _every_id(name: str, records: Sequence[Record]) -> set[str]:
    """Every id under which the person of a patient is known."""
    return {name, records[0].patient, str(records[0].meta.get("additional_id", name))}


def _people_folds(
    patients: Patients,
    n_fold: int,
    seed: int,
) -> list[tuple[list[str], list[str]]]:
    """The ids to train on and to test on, for each fold of people."""
    person = {name: records[0].patient for name, records in patients.items()}
    fold_of = folds(list(person.values()), n_fold, seed)
    parts: list[tuple[list[str], list[str]]] = []
    for fold in range(n_fold):
        test_ids = [name for name in patients if fold_of[person[name]] == fold]
        train_ids = [name for name in patients if fold_of[person[name]] != fold]
        parts.append((train_ids, test_ids))
    return parts


def _unpack_checked(entry: Path, folder: Path) -> Path:
    base = unpack_entry(entry, folder)
    missing = [name for name in SCRIPTS if not (base / name).is_file()]
    if missing:
        raise EntryError(
            f"{entry} is not an entry of the Challenge 2022: {', '.join(missing)} missing at its "
            "top."
        )
    return base


def _all_answered(names: Sequence[str], out: Path) -> bool:
    return all((out / "outputs" / f"{name}.csv").is_file() for name in names)


def _run_fold(
    job: _Job,
    known: _Cohort,
    train_ids: Sequence[str],
    test: _Cohort,
    test_ids: Sequence[str],
    out: Path,
) -> None:
    """Train on some patients, predict others, and keep the outputs once all of them are whole.

    A fold has a scratch folder of its own, apart from the unpacked entry, so that nothing is kept
    between folds.
    """
    with scratch_folder("etab-fold-") as work:
        model = work / "model"
        outputs = work / "outputs"
        training_data = work / "training_data"
        test_data = work / "test_data"
        for folder in (model, outputs, work / "home"):
            folder.mkdir(parents=True)
        _copy_patients(known.source, known.part(train_ids), training_data, hidden=False)
        shutil.copytree(job.base, work / "entry", symlinks=True)
        _call(job, "train_model.py", [training_data, model], job.train, work)
        # The test data are laid out only now, so that training never sees them.
        remove_all(training_data)
        if os.path.lexists(test_data):
            raise EntryError("train_model.py made a folder test_data beside its own. Change it.")
        _copy_patients(test.source, test.part(test_ids), test_data, hidden=True)
        _call(job, "run_model.py", [model, test_data, outputs], job.run, work)
        _copy_checked_outputs(outputs, test_ids, out / "outputs")


def _call(
    job: _Job,
    script: str,
    folders: Sequence[Path],
    limits: Limits,
    work: Path,
) -> None:
    command = [job.python, script, *map(str, folders)]
    ended = run_limited(
        command,
        work / "entry",
        limits,
        home=work / "home",
        watched=work,
        sandbox=job.sandbox,
        hidden=job.hidden,
    )
    if ended.why:
        raise EntryError(f"{script} {ended.explain()}")
    # A link in the place of a folder would lead what is copied next to any place of the machine.
    for folder in folders:
        if folder.is_symlink() or not folder.is_dir():
            raise EntryError(f"{script} removed the folder {folder.name}, or put a link there.")


def _copy_patients(
    source: CircorSource,
    patients: Patients,
    folder: Path,
    *,
    hidden: bool,
) -> None:
    """Copy patients into a folder.

    With ``hidden``, they look like the hidden data: no states, and no line of a ``.txt`` that
    states what is to be predicted.
    """
    folder.mkdir()
    roles = ("audio", "header") if hidden else ("audio", "header", "states")
    for name, records in patients.items():
        for record in records:
            for role in roles:
                path = source.root / record.files[role]
                shutil.copyfile(path, folder / path.name)
        text = read_text(source.root / records[0].files["patient"])
        lines = text.splitlines(keepends=True)
        if hidden:
            lines = [line for line in lines if not line.startswith(_ANSWER_LINES)]
        (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")


def _copy_checked_outputs(
    written: Path,
    names: Collection[str],
    outputs: Path,
) -> None:
    """Check the outputs of a fold, all of them, and then copy them.

    Raises:
        EntryError: If a patient is without an output, an output is of nobody in the fold, or a
            file is not what the challenge asks for.
    """
    files = {path.stem: path for path in sorted(written.glob("*.csv"))}
    missing = sorted(set(names) - set(files))
    unknown = sorted(set(files) - set(names))
    if missing or unknown:
        raise EntryError(
            f"run_model.py left {counted(len(missing), 'patient')} without an output "
            f"({', '.join(missing[:5])}) and wrote {len(unknown)} for patients it was not asked "
            f"about ({', '.join(unknown[:5])})."
        )
    for name, path in files.items():
        regular = path.is_file() and not path.is_symlink()
        if not regular or path.stat().st_size > _LARGEST_OUTPUT:
            raise EntryError(
                f"run_model.py wrote {name}.csv, which is not a plain file of at most "
                f"{_LARGEST_OUTPUT:,} bytes."
            )
        read_output(path)
    outputs.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        shutil.copyfile(path, outputs / f"{name}.csv")


def find_python(python: str) -> str:
    """Find the interpreter to run an entry with.

    Args:
        python: Name or path of a program, such as ``"python3"``.

    Returns:
        Its path.

    Raises:
        UnsupportedOptionError: If there is no such program.
    """
    path = shutil.which(python)
    if path is None:
        raise UnsupportedOptionError(
            f"There is no interpreter {python!r}. Name one, for instance --python python3."
        )
    return path
