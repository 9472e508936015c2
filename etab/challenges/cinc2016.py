"""Run an entry of CinC 2016 as the challenge did, compare it with its shipped answers, score it.

``setup.sh`` is run once and ``next.sh`` for each record. Each record is answered in the entry's
folder as setup.sh left it, with the record's ``.wav`` beside it, without labels. The answers that
the entry ships are taken out before anything runs. After each record the folder and ``HOME`` are
made again, at the same path, so that nothing is kept between records. An entry is a program of
somebody else that runs with your rights; ``etab.challenges.limits`` says what the limits are worth.

The rules of 2016 name no limits. Those of 2014, the last ones written out in full, are the
defaults: five minutes for setup.sh, 40 s for a record, 2 GB of memory and 1 GB of disk
(https://physionetchallenges.org/2014/sandbox).
"""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etab.challenges.limits import Ended, Limits, remove_all, run_limited, scratch_folder
from etab.challenges.safety import require_trust, resume_at, sandbox_note
from etab.challenges.sandbox import NONE, sandbox_name
from etab.challenges.scoring import (
    RULES,
    Entry2016,
    read_answers,
    read_references,
    score_cinc2016,
)
from etab.challenges.unpack import fingerprint, unpack_entry
from etab.datasets.cinc2016_layout import Reference
from etab.errors import EntryError, EtabError, LayoutError
from etab.files import read_file, read_text_file
from etab.readers.audio import wav_info
from etab.storage.atomic import write_atomically

REQUIRED = ("setup.sh", "next.sh", "answers.txt", "AUTHORS.txt", "LICENSE.txt")
SETUP_LIMITS = Limits(seconds=300, memory=2048)
RECORD_LIMITS = Limits(seconds=40, memory=2048)

_LARGEST_ANSWER = 1 << 16
_LOG_HEADER = ("record", "answer", "seconds", "why")
_UNSURE = 0


@dataclass(frozen=True, slots=True)
class AnsweredRecord:
    """The outcome of one record.

    Attributes:
        answer: 1 abnormal, -1 normal, 0 unsure; None where there is no answer.
        seconds: Time that next.sh took.
        why: Why there is no answer; empty where there is one.
    """

    answer: int | None
    seconds: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Run2016:
    """An entry of CinC 2016 that was run on a part of the data.

    Attributes:
        entry: Name of the entry.
        sha256: Digest of its files.
        part: Name of the part, such as ``"validation"``.
        records: Number of records of the part.
        failures: Reasons by record, for records without an answer. They count as unsure in the
            scores, as a missing answer did in the challenge.
        differences: One line for each record whose answer is not the one that the entry ships.
        unshipped: Records that the answers.txt of the entry leaves out.
        elsewhere: Number of shipped answers for records that are not in this part.
        dry_run: Whether the entry holds a file DRYRUN: it is then checked and not scored.
        slowest: Time of the slowest record in seconds.
        quality: Where the signal quality is from, in words.
        scores: Scores by rule; empty for a dry run.
        sandbox: Name of the sandbox that the entry ran in, "bubblewrap" or "none".
        ranked: Whether a board may rank the scores: never, for the program is not ours.
    """

    entry: str
    sha256: str
    part: str
    records: int
    failures: Mapping[str, str]
    differences: tuple[str, ...]
    unshipped: tuple[str, ...]
    elsewhere: int
    dry_run: bool
    slowest: float
    quality: str
    scores: Mapping[str, Entry2016]
    sandbox: str = NONE
    ranked: bool = False

    @property
    def ok(self) -> bool:
        """Whether every record has an answer, and the one that the entry ships."""
        return not (self.failures or self.differences or self.unshipped)

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain values, and ``ok``."""
        return {**asdict(self), "ok": self.ok}

    def render(self) -> str:
        """The run in some lines of text; every difference is listed."""
        slowest = f"the slowest in {self.slowest:.1f} s"
        failures = [f"{record} {why}" for record, why in self.failures.items()]
        lines = [f"{self.entry}: {self.records} records of {self.part}, {slowest}"]
        lines += _listed("without an answer", failures)
        lines += _listed("that differ from the answers.txt it ships", self.differences)
        lines += _listed("that the answers.txt it ships leaves out", self.unshipped)
        if self.elsewhere:
            lines.append(f"  {self.elsewhere} shipped answers are of records that are not here")
        if self.failures and self.scores:
            lines.append("  records without an answer count as unsure, as in the challenge")
        lines += [score.render() for score in self.scores.values()]
        if self.dry_run:
            lines.append("  the entry holds DRYRUN: it is checked, and not scored")
        if self.scores:
            lines.append(sandbox_note(self.sandbox))
        lines.append("no problems found" if self.ok else "problems found: see above")
        return "\n".join(lines)


def _listed(title: str, rows: tuple[str, ...] | list[str]) -> list[str]:
    colon = ":" if rows else ""
    return [f"  {len(rows)} {title}{colon}", *[f"    {row}" for row in rows]]


def run_cinc2016(
    entry: Path,
    data: Path,
    out: Path,
    *,
    trust: bool = False,
    part: str = "validation",
    setup: Limits = SETUP_LIMITS,
    record: Limits = RECORD_LIMITS,
    progress: Callable[[int, int], None] | None = None,
    use_sandbox: bool = True,
) -> Run2016:
    """Run an entry on the records of a part of the data and score it by both rules.

    Args:
        entry: The entry: a folder, ``.zip`` or ``.tar.gz``.
        data: The release. Recordings of ``validation`` that are absent are taken from the training
            folders, of which they are copies.
        out: Folder for answers.txt and records.csv. They grow with every record: a run that was
            stopped goes on there, and records that failed are tried again.
        trust: Must be True: the entry is someone else's program and runs with your rights.
        part: Folder of the release whose records are answered.
        setup: Limits of setup.sh.
        record: Limits of next.sh for one record.
        progress: Called with the number of answered records and of all records.
        use_sandbox: Whether the entry runs in a sandbox where this machine has one.

    Returns:
        The answers compared with those that the entry ships, and the scores.

    Raises:
        UnsupportedOptionError: If ``trust`` is False.
        EntryError: If the entry has another form, its setup.sh fails, or ``out`` holds another run.
        LayoutError: If labels or recordings are missing.

    Source:
        https://physionetchallenges.org/2016/
    """
    require_trust(trust)
    labels, quality = read_references(data / part)
    sounds = {name: _sound(data, part, name) for name in sorted(labels)}
    with (
        scratch_folder("etab-entry-") as scratch,
        scratch_folder("etab-ready-") as ready,
    ):
        sandbox = sandbox_name(use_sandbox)
        work = _Work(scratch / "work", ready / "work", sandbox, (data, out))
        work.home.mkdir(parents=True)
        base = unpack_entry(entry, work.base)
        shipped = check_form(entry, base)
        sha256 = fingerprint(base)
        dry_run = (base / "DRYRUN").exists()
        facts = {
            "form": "cinc2016",
            "entry_sha256": sha256,
            "part": part,
            "data_sha256": _digest(sounds),
            "sandbox": sandbox,
        }
        resume_at(out, facts)
        records = {
            name: row
            for name, row in _read_log(out).items()
            if name in sounds and row.answer is not None
        }
        if set(records) != set(sounds):
            _set_up(entry, work, setup)
            _answer_all(work, sounds, out, records, record, progress)
    answers = {name: row.answer for name, row in records.items()}
    return Run2016(
        entry=entry.name,
        sha256=sha256,
        part=part,
        records=len(labels),
        failures={n: row.why for n, row in sorted(records.items()) if row.answer is None},
        differences=_differences(answers, shipped),
        unshipped=tuple(sorted(set(labels) - set(shipped))),
        elsewhere=len(set(shipped) - set(labels)),
        dry_run=dry_run,
        slowest=max((row.seconds for row in records.values()), default=0.0),
        quality=quality,
        scores={} if dry_run else _scores(labels, answers, quality),
        sandbox=sandbox,
    )


def check_form(entry: Path, base: Path) -> dict[str, int]:
    """Check that an unpacked entry has every file that the rules ask for.

    Args:
        entry: The entry as it was given, for messages.
        base: The folder it was unpacked to.

    Returns:
        The answers that the entry ships, by record.

    Raises:
        EntryError: If files are missing, or lines of answers.txt are not answers.
    """
    missing = [name for name in REQUIRED if not (base / name).is_file()]
    if missing:
        hint = ""
        for folder in sorted(base.iterdir()):
            if folder.is_dir() and (folder / missing[0]).is_file():
                hint = f" They are in {folder.name}/: pack what is in that folder."
                break
        raise EntryError(
            f"{entry} is not an entry of CinC 2016: {', '.join(missing)} missing at its top.{hint}"
        )
    return read_answers(base / "answers.txt")


def _sound(data: Path, part: str, name: str) -> Path:
    for path in (data / part / f"{name}.wav", data / f"training-{name[0]}" / f"{name}.wav"):
        if path.is_file():
            wav_info(path)
            return path
    raise LayoutError(
        f"{data / part / (name + '.wav')} is missing, and no training folder has it. Restore one "
        "of them."
    )


def _digest(sounds: Mapping[str, Path]) -> str:
    lines = [
        f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for name, path in sounds.items()
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Work:
    """Where an entry runs, and how that place looks before each record.

    Attributes:
        folder: The folder of the entry and its HOME.
        ready: A copy of ``folder`` as setup.sh left it, at a path that the entry is never given.
        sandbox: Name of the sandbox that the entry runs in.
        hidden: Folders that the entry must not see in a sandbox.
    """

    folder: Path
    ready: Path
    sandbox: str
    hidden: tuple[Path, ...]

    def run(self, words: list[str], limits: Limits) -> Ended:
        """Run a script of the entry in its folder."""
        return run_limited(
            ["/bin/bash", *words],
            self.base,
            limits,
            home=self.home,
            watched=self.folder,
            sandbox=self.sandbox,
            hidden=self.hidden,
        )

    @property
    def base(self) -> Path:
        """The folder of the entry."""
        return self.folder / "entry"

    @property
    def home(self) -> Path:
        """The folder that is HOME."""
        return self.folder / "home"

    def keep(self) -> None:
        """Copy the folder as it is now; raises EntryError where it holds pipes or the like."""
        try:
            shutil.copytree(self.folder, self.ready, symlinks=True)
        except (OSError, RecursionError) as error:
            raise EntryError(
                "setup.sh left files that cannot be copied for each record: "
                f"{str(error)[:200]}. Change the entry so that it leaves plain files."
            ) from error

    def restore(self) -> None:
        """Restore the folder as it was copied; raises EntryError where files cannot be removed."""
        remove_all(self.folder)
        shutil.copytree(self.ready, self.folder, symlinks=True)


def _set_up(entry: Path, work: _Work, limits: Limits) -> None:
    """Run setup.sh, without the answers that the entry ships."""
    _remove(work.base / "answers.txt")
    ended = work.run(["./setup.sh"], limits)
    if ended.why:
        raise EntryError(f"setup.sh of {entry} {ended.explain()}")
    work.keep()


def _answer_all(
    work: _Work,
    sounds: Mapping[str, Path],
    out: Path,
    records: dict[str, AnsweredRecord],
    limits: Limits,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Answer the records without an answer; each one is added to ``records`` and ``out``."""
    waiting = [name for name in sounds if name not in records]
    for name in waiting:
        records[name] = _answer(work, name, sounds[name], limits)
        _write_log(out, records)
        if progress:
            progress(len(records), len(sounds))


def _answer(
    work: _Work,
    name: str,
    sound: Path,
    limits: Limits,
) -> AnsweredRecord:
    """Answer one record by ``next.sh RECORD``, in the folder as setup.sh left it."""
    work.restore()
    _remove(work.base / "answers.txt")
    _remove(work.base / sound.name)
    shutil.copyfile(sound, work.base / sound.name)
    ended = work.run(["./next.sh", name], limits)
    return _read_answer(work.base / "answers.txt", name, ended)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def _read_answer(path: Path, name: str, ended: Ended) -> AnsweredRecord:
    why = _no_answer(path, ended)
    if why:
        return AnsweredRecord(None, ended.seconds, why)
    try:
        answers = read_answers(path)
    except EtabError:
        beginning = read_file(path, _LARGEST_ANSWER).decode("utf-8", "replace")[:80]
        return AnsweredRecord(None, ended.seconds, f"wrote {beginning!r}, which is not an answer")
    if list(answers) != [name]:
        others = ", ".join(list(answers)[:5]) or "nothing"
        return AnsweredRecord(None, ended.seconds, f"answered {others} instead")
    return AnsweredRecord(answers[name], ended.seconds)


def _no_answer(path: Path, ended: Ended) -> str:
    """Why a record has no answers.txt that could be read; empty where it has one."""
    if ended.why:
        return ended.explain()
    # A link could lead to any file of the machine.
    if path.is_symlink() or not path.is_file():
        output = f": {ended.tail}" if ended.tail else ""
        return f"wrote no answers.txt{output}"
    size = path.stat().st_size
    if size > _LARGEST_ANSWER:
        return f"wrote {size:,} bytes of answers for one record"
    return ""


def _write_log(out: Path, records: Mapping[str, AnsweredRecord]) -> None:
    """Write answers.txt, with what is answered, and records.csv, with everything."""
    ordered = sorted(records.items())
    answers = [f"{name},{row.answer}\n" for name, row in ordered if row.answer is not None]
    write_atomically(out / "answers.txt", "".join(answers))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_LOG_HEADER)
    for name, row in ordered:
        answer = "" if row.answer is None else row.answer
        writer.writerow([name, answer, f"{row.seconds:.3f}", row.why])
    write_atomically(out / "records.csv", text.getvalue())


def _read_log(out: Path) -> dict[str, AnsweredRecord]:
    path = out / "records.csv"
    if not path.is_file():
        return {}
    records: dict[str, AnsweredRecord] = {}
    try:
        for row in csv.DictReader(io.StringIO(read_text_file(path))):
            answer = int(row["answer"]) if row["answer"] else None
            records[row["record"]] = AnsweredRecord(answer, float(row["seconds"]), row["why"])
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise EntryError(
            f"{path} is damaged ({error}). Move {out} away and run the entry again."
        ) from error
    return records


def _differences(answers: Mapping[str, int | None], shipped: Mapping[str, int]) -> tuple[str, ...]:
    lines: list[str] = []
    for name, answer in sorted(answers.items()):
        if answer is not None and name in shipped and answer != shipped[name]:
            lines.append(f"{name}: ships {shipped[name]}, gives {answer}")
    return tuple(lines)


def _scores(
    labels: Mapping[str, Reference],
    answers: Mapping[str, int | None],
    quality: str,
) -> dict[str, Entry2016]:
    counted = {name: _UNSURE if answer is None else answer for name, answer in answers.items()}
    return {rule: score_cinc2016(labels, counted, quality, rule=rule) for rule in RULES}
