"""Runs an entry of CinC 2016 as the challenge did: setup.sh once, next.sh for each record, answers compared and scored.

An entry is code of somebody else that runs with your rights; ``etab.challenges.limits`` says what the limits are worth. It is
run only where the caller says ``trust=True``. Each record is answered in a fresh copy of the entry's folder as setup.sh
left it, with that record's .wav beside it, without labels and without the answers that the entry ships.

The rules of 2016 name no quotas; those of 2014, the last written out in full, are the defaults: five minutes for
setup.sh, 40 s a record, 2 GB of memory and 1 GB of disk (physionetchallenges.org/2014/sandbox).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etab.challenges.limits import Ended, Limits, run
from etab.challenges.scoring import Entry2016, read_answers, read_references, score_cinc2016
from etab.challenges.unpack import fingerprint, unpack
from etab.datasets.cinc2016_layout import Reference
from etab.errors import EntryError, EtabError, LayoutError, UnsupportedOptionError
from etab.readers.audio import wav_info
from etab.storage.atomic import write_atomically

REQUIRED = ("setup.sh", "next.sh", "answers.txt", "AUTHORS.txt", "LICENSE.txt")
SETUP, RECORD = Limits(300, 2048), Limits(40, 2048)
WARNING = (
    "An entry is a program of somebody else. It runs with your rights: it can read, change and delete your files and "
    "use the network. The limits of time and memory are no sandbox."
)
_LONGEST_ANSWER = 1 << 16
_COLUMNS = ("record", "answer", "seconds", "why")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Answered:
    """What happened to one record: the answer (1, -1, 0; None where there is none), the seconds, why it failed."""

    answer: int | None
    seconds: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Run2016:
    """An entry run on a part of the data.

    failures: why, by record; these count as unsure in the scores, as a missing answer did in the challenge.
    differences: every record where the answer is not the one the entry ships. unshipped: records that its answers.txt
    leaves out; elsewhere: how many of its answers are of records that are not in this part. scores: by rule; empty for
    a dry run.
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

    @property
    def ok(self) -> bool:
        """Whether every record was answered, and as the entry says."""
        return not (self.failures or self.differences or self.unshipped)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, with ``ok``."""
        return {**asdict(self), "ok": self.ok}

    def render(self) -> str:
        """Some lines for a terminal; every difference is listed."""
        lines = [
            f"{self.entry}: {self.records} records of {self.part}, the slowest in {self.slowest:.1f} s"
        ]
        for title, rows in (
            ("without an answer", [f"{k} {v}" for k, v in self.failures.items()]),
            ("that differ from the answers.txt it ships", list(self.differences)),
            ("that the answers.txt it ships leaves out", list(self.unshipped)),
        ):
            lines += [f"  {len(rows)} {title}" + (":" if rows else "")]
            lines += [f"    {row}" for row in rows]
        if self.elsewhere:
            lines.append(f"  {self.elsewhere} shipped answers are of records that are not here")
        if self.failures and self.scores:
            lines.append("  records without an answer count as unsure, as in the challenge")
        lines += [score.render() for score in self.scores.values()]
        if self.dry_run:
            lines.append("  the entry holds DRYRUN: it is checked, and not scored")
        return "\n".join([*lines, "ok" if self.ok else "not ok"])


def require_trust(trust: bool) -> None:
    """Raise UnsupportedOptionError unless the caller takes the entry's code on trust."""
    if not trust:
        raise UnsupportedOptionError(
            f"{WARNING} Read it, run it in a container or virtual machine if you do not know "
            "its authors, and say --trust (trust=True) to go on."
        )


def run_cinc2016(
    entry: Path,
    data: Path,
    out: Path,
    *,
    trust: bool = False,
    part: str = "validation",
    setup: Limits = SETUP,
    record: Limits = RECORD,
    progress: Progress | None = None,
) -> Run2016:
    """Run an entry (folder, .zip, .tar.gz) on the records of ``data/part`` and score it by both rules.

    data: the release; copies of ``validation`` that are absent are taken from the training folders. out: a folder for
    answers.txt and records.csv, which grow with every record: a run that was stopped goes on there, records that
    failed are tried again. Raises UnsupportedOptionError without ``trust``, EntryError for an entry that is not of this
    form, whose setup.sh fails, or where ``out`` is of another run, LayoutError where the data are not there.
    """
    require_trust(trust)
    labels, quality = read_references(data / part)
    sounds = {name: _sound(data, part, name) for name in sorted(labels)}
    with tempfile.TemporaryDirectory(prefix="etab-entry-") as scratch:
        work = Path(scratch)
        home = work / "home"
        home.mkdir()
        base = unpack(entry, work / "entry")
        shipped = check_form(entry, base)
        facts = {
            "form": "cinc2016",
            "entry_sha256": fingerprint(base),
            "part": part,
            "data_sha256": _digest(sounds),
        }
        resume_at(out, facts)
        found = {
            name: row
            for name, row in _read_log(out).items()
            if name in sounds and row.answer is not None
        }
        if set(found) != set(sounds):
            _set_up(entry, base, setup, home)
            _answer_all(base, sounds, out, found, record, home, progress)
        dry = (base / "DRYRUN").exists()
    return _report(entry, facts["entry_sha256"], part, found, shipped, labels, quality, dry)


def check_form(entry: Path, base: Path) -> dict[str, int]:
    """Check that an unpacked entry has every file of the rules; returns the answers it ships.

    Raises EntryError naming the files that are missing, or the lines of answers.txt that are no answers.
    """
    missing = [name for name in REQUIRED if not (base / name).is_file()]
    if missing:
        below = [
            p.name for p in sorted(base.iterdir()) if p.is_dir() and (p / missing[0]).is_file()
        ]
        hint = f" They are in {below[0]}/: pack what is in that folder." if below else ""
        raise EntryError(
            f"{entry} is no entry of CinC 2016: {', '.join(missing)} missing at its top.{hint}"
        )
    return read_answers(base / "answers.txt")


def _sound(data: Path, part: str, name: str) -> Path:
    for path in (data / part / f"{name}.wav", data / f"training-{name[0]}" / f"{name}.wav"):
        if path.is_file():
            wav_info(path)
            return path
    raise LayoutError(
        f"{data / part / (name + '.wav')} is missing, and no training folder has it. Restore one of them."
    )


def _digest(sounds: Mapping[str, Path]) -> str:
    rows = [
        f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for name, path in sounds.items()
    ]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def resume_at(out: Path, facts: Mapping[str, Any]) -> None:
    """Make ``out`` the folder of this run; raises EntryError where it already is another run's."""
    path = out / "run.json"
    if path.is_file():
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise EntryError(
                f"{path} cannot be read: {error}. Choose another folder with --out."
            ) from error
        differ = [k for k in facts if not isinstance(there, dict) or there.get(k) != facts[k]]
        if differ and any(p.name != "run.json" for p in out.iterdir()):
            raise EntryError(
                f"{out} holds another run ({', '.join(differ)} differ). Choose another folder with --out, or "
                "move that one away."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise EntryError(f"{out} holds other files. Choose another folder with --out.")
    write_atomically(path, json.dumps(dict(facts), indent=1) + "\n")


def _set_up(entry: Path, base: Path, limits: Limits, home: Path) -> None:
    ended = run(["/bin/bash", "./setup.sh"], base, limits, home=home)
    if ended.why:
        raise EntryError(f"setup.sh of {entry} {ended.said()}")


def _answer_all(
    base: Path,
    sounds: Mapping[str, Path],
    out: Path,
    found: dict[str, Answered],
    limits: Limits,
    home: Path,
    progress: Progress | None,
) -> None:
    """Answer what is not answered yet; ``found`` and the files of ``out`` grow with every record."""
    waiting = [name for name in sounds if name not in found]
    for name in waiting:
        found[name] = _answer(base, name, sounds[name], limits, home)
        _write_log(out, found)
        if progress:
            progress(sum(n in found for n in sounds), len(sounds))


def _answer(base: Path, name: str, sound: Path, limits: Limits, home: Path) -> Answered:
    """One record in a copy of the entry, as ``next.sh RECORD``."""
    place = base.parent / "record"
    shutil.rmtree(place, ignore_errors=True)
    try:
        shutil.copytree(base, place, symlinks=True)
        _remove(place / "answers.txt")
        _remove(place / sound.name)
        shutil.copyfile(sound, place / sound.name)
        ended = run(["/bin/bash", "./next.sh", name], place, limits, home=home)
        return _read_answer(place / "answers.txt", name, ended)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def _read_answer(path: Path, name: str, ended: Ended) -> Answered:
    why = ended.said() if ended.why else ""
    if not why and (path.is_symlink() or not path.is_file()):
        why = f"wrote no answers.txt{': ' + ended.tail if ended.tail else ''}"
    if not why and path.stat().st_size > _LONGEST_ANSWER:
        why = f"wrote {path.stat().st_size:,} bytes of answers for one record"
    if why:
        return Answered(None, ended.seconds, why)
    try:
        given = read_answers(path)
    except EtabError:
        return Answered(
            None,
            ended.seconds,
            f"wrote {path.read_text(errors='replace')[:80]!r}, which is no answer",
        )
    if list(given) != [name]:
        return Answered(
            None, ended.seconds, f"answered {', '.join(list(given)[:5]) or 'nothing'} instead"
        )
    return Answered(given[name], ended.seconds)


def _write_log(out: Path, found: Mapping[str, Answered]) -> None:
    """answers.txt of what is answered, and records.csv of everything; each whole at any moment."""
    answered = {name: row for name, row in sorted(found.items()) if row.answer is not None}
    write_atomically(
        out / "answers.txt", "".join(f"{name},{row.answer}\n" for name, row in answered.items())
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for name, row in sorted(found.items()):
        writer.writerow(
            [name, "" if row.answer is None else row.answer, f"{row.seconds:.3f}", row.why]
        )
    write_atomically(out / "records.csv", text.getvalue())


def _read_log(out: Path) -> dict[str, Answered]:
    path = out / "records.csv"
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {
            r["record"]: Answered(
                int(r["answer"]) if r["answer"] else None, float(r["seconds"]), r["why"]
            )
            for r in rows
        }
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise EntryError(
            f"{path} is damaged ({error}). Move {out} away and run the entry again."
        ) from error


def _report(
    entry: Path,
    sha256: str,
    part: str,
    found: Mapping[str, Answered],
    shipped: Mapping[str, int],
    labels: Mapping[str, Reference],
    quality: str,
    dry: bool,
) -> Run2016:
    given = {name: row.answer for name, row in found.items()}
    differ = tuple(
        f"{name}: ships {shipped[name]}, gives {given[name]}"
        for name in sorted(labels)
        if name in shipped and given[name] not in (None, shipped[name])
    )
    counted = {name: 0 if answer is None else answer for name, answer in given.items()}
    scores = (
        {}
        if dry
        else {
            rule: score_cinc2016(labels, counted, quality, rule=rule)
            for rule in ("official", "phase1")
        }
    )
    return Run2016(
        entry.name,
        sha256,
        part,
        len(labels),
        {n: r.why for n, r in sorted(found.items()) if r.answer is None},
        differ,
        tuple(sorted(set(labels) - set(shipped))),
        len(set(shipped) - set(labels)),
        dry,
        max((r.seconds for r in found.values()), default=0.0),
        quality,
        scores,
    )
