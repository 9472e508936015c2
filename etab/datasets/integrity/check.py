"""Check a dataset's folder for missing, damaged and altered files, duplicates and leaks.

Every file is read once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_128

from etab.datasets import SOURCES
from etab.datasets.base import SoundSource, Source
from etab.datasets.integrity.alike import (
    Fingerprints,
    compared_frames,
    frames_of_each,
    unlisted,
)
from etab.datasets.integrity.canonical import compare_split
from etab.datasets.integrity.listed import check_lists, damaged
from etab.datasets.paths import dataset_folder
from etab.errors import CorruptFileError, EtabError, LayoutError, SplitError
from etab.types import Answer, Array, Kind, Record

_SHOWN = 10
_ALIKE_ADVICE = "look at both; they may be copies, or one person under two ids"
CheckProgress = Callable[[int, int], None]


@dataclass(slots=True)
class FolderReport:
    """The result of ``check``.

    Each kind of fault is a list of sentences or paths. Remarks are not faults.

    Attributes:
        dataset: Name of the dataset.
        root: The folder.
        phantom: Whether the folder holds phantom data.
        found: Numbers of patients, recordings, recordings of each split, and frames or samples
            read.
        missing: Absent files that the tables, the lists of checksums or the lists of records name.
        corrupt: Files that cannot be read as the format that they claim to have.
        altered: Files whose checksum differs from the published one.
        leaks: Patients in two splits, and equal content in two splits.
        canonical: Patients with another place than in the canonical split, or not published at
            all; not checked for phantom data.
        duplicates: Recordings with exactly the same frames or samples.
        differs: Counts that differ from the published ones; not checked for phantom data.
        alike: Nearly equal recordings of different patients that no ``same_person`` list explains;
            no fault, but somebody must look at both.
        remarks: What the source left out of this copy, and why.
        stopped: Why the recordings could not be listed; then the files were only read one by one.
        seconds: Duration of the check.
    """

    dataset: str
    root: str
    phantom: bool = False
    found: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    canonical: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    alike: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    stopped: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether there is no fault of any kind."""
        return not self.stopped and not any(getattr(self, name) for name in FAULTS)

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, with ``ok``."""
        return {**asdict(self), "ok": self.ok}

    def render(self) -> str:
        """Format the report for a terminal: the counts, then each kind of fault with advice."""
        kind = " (phantom)" if self.phantom else ""
        lines = [f"{self.dataset}{kind}: {self.root}"]
        width = max((len(f"{count:,}") for count in self.found.values()), default=0)
        lines += [f"  {count:>{width},} {label}" for label, count in self.found.items()]
        # The reason may be one of the faults that are listed; it is one problem.
        is_below = any(self.stopped in getattr(self, name) for name in FAULTS)
        if self.stopped:
            reason = (
                "the rest cannot be read before this is corrected" if is_below else self.stopped
            )
            lines += ["", f"  stopped: {reason}"]
        for name, advice in (
            *FAULTS.items(),
            ("alike", _ALIKE_ADVICE),
            ("remarks", ""),
        ):
            rows = getattr(self, name)
            lines += ["", f"  {name}: {len(rows)}{advice and ' - ' + advice}"] if rows else []
            lines += [f"    {row}" for row in rows[:_SHOWN]]
            lines += (
                [f"    and {len(rows) - _SHOWN} more (--json lists all)"]
                if len(rows) > _SHOWN
                else []
            )
        # What stopped the check is among these: ``_listed`` puts it, or the files it is of, in a list.
        n_problems = sum(len(getattr(self, name)) for name in FAULTS)
        found = f"problems found: {n_problems}" if n_problems else "no problems found"
        return "\n".join([*lines, "", f"  {found} ({self.seconds:.1f} s)"])


FAULTS: Mapping[str, str] = {
    "missing": "restore them as published",
    "corrupt": "download these again, and correct those that you wrote yourself",
    "altered": "their checksums are not the published ones; download them again",
    "leaks": "scores would be of patients seen in training; restore the split files",
    "canonical": "restore the split files as published",
    "duplicates": "each is one recording under two names; keep the published one",
    "differs": "this copy is a part of the release, or another release",
}


def check(
    name: str,
    root: Path | str | None = None,
    *,
    progress: CheckProgress | None = None,
    quick: bool = False,
) -> FolderReport:
    """Read every frame and reference value of a dataset and report faults.

    Args:
        name: Name of the dataset.
        root: Folder of the data; None looks in the places that ``etab.datasets.paths`` lists.
        progress: Called with (done, total) after each recording.
        quick: Whether only tables, file names, splits and counts are checked, without reading
            frames, reference values or checksums.

    Returns:
        The report.

    Raises:
        UnknownNameError: There is no such dataset.
        DataNotFoundError: There is no folder of the data.
    """
    started = time.perf_counter()
    kind = SOURCES[name]
    report = FolderReport(name, str(dataset_folder(name, root)))
    source, records = _listed(report, kind)
    if source is not None:
        _examine(report, source, records, None if quick else progress or _silent)
    elif not quick:
        report.corrupt += [
            message for message in damaged(Path(report.root)) if message not in report.corrupt
        ]
    base = source.root if source is not None else Path(report.root)
    lists = check_lists(base, sums=not quick)
    report.missing += [
        path for path in lists.missing if not any(path in message for message in report.missing)
    ]
    report.altered += lists.altered
    report.remarks += lists.remarks
    report.seconds = round(time.perf_counter() - started, 3)
    return report


def _silent(done: int, total: int) -> None:
    """Ignore the progress."""


def _listed(report: FolderReport, kind: type[Source]) -> tuple[Source | None, Sequence[Record]]:
    """Open the source and list its recordings; on failure, note the reason in the report."""
    try:
        source = kind(Path(report.root))
        records = source.records()
        if not records:
            tables = ", ".join(source.shared_files()) or "its files"
            raise LayoutError(
                f"{source.root} lists no recording: {tables} may be empty. Restore it as published."
            )
        return source, records
    except EtabError as error:
        report.stopped = str(error)
        if isinstance(error, LayoutError) and error.missing:
            report.missing += error.missing
        else:
            _file_under(report, error)
        return None, ()


def _examine(
    report: FolderReport,
    source: Source,
    records: Sequence[Record],
    progress: CheckProgress | None,
) -> None:
    """Fill the report from a source; ``progress`` None leaves the content of recordings unread."""
    _attempt(report, lambda: setattr(report, "phantom", source.phantom))
    report.found = _counts(records)
    if progress is not None:
        report.found |= _read_all(report, source, records, progress)
    _attempt(report, lambda: report.found.update(source.tally()))
    _attempt(report, lambda: report.remarks.extend(source.remarks()))
    _attempt(report, lambda: report.remarks.extend(source.notes()))
    if report.phantom:
        return
    comparison = compare_split(source)
    if comparison is not None:
        report.canonical += [*comparison.moved, *comparison.unknown]
        if comparison.lacking:
            report.remarks.append(
                f"{comparison.lacking} of the {comparison.total} that the canonical split lists "
                "are not here"
            )
    report.differs = [
        f"{report.found[key]} {key}; published: {count}"
        for key, count in source.published().items()
        if report.found.setdefault(key, 0) != count
    ]


def _counts(records: Sequence[Record]) -> dict[str, int]:
    splits = {record.patient: record.split or "no split" for record in records}
    return {
        "patients": len(splits),
        "recordings": len(records),
    } | dict(Counter(splits.values()))


def _read_all(
    report: FolderReport,
    source: Source,
    records: Sequence[Record],
    progress: CheckProgress,
) -> dict[str, int]:
    """Read every recording in full; count frames or samples, and recordings with each target."""
    total = 0
    answered = Counter[str]()
    content = dict[bytes, Record]()
    prints = Fingerprints(isinstance(source, SoundSource))
    most = frames_of_each(len(records))
    for done, record in enumerate(records, start=1):
        signal = _signal(report, source, record)
        if signal is not None:
            total += len(signal)
            _same(report, record, content.setdefault(_content(signal), record))
            _attempt(report, partial(_take_print, prints, source, record, signal, most))
            if signal.size and signal.min() == signal.max():
                report.remarks.append(
                    f"{record.id} is blank: every value in it is {signal.flat[0]}"
                )
        for target in source.card.targets:
            answers: list[Answer] = []
            _attempt(report, partial(_extend, answers, source, record, target.name))
            answered[target.name] += bool(answers)
            if target.kind is Kind.MASK:
                report.remarks += _empty_masks(record, target.name, answers)
        progress(done, len(records))
    if not report.phantom:
        pairs = unlisted(source, [pair for pair in prints.pairs() if not pair.exact])
        report.alike += [f"{p.first} and {p.second}: {p.correlation:.3f}" for p in pairs]
    samples_or_frames = "samples" if isinstance(source, SoundSource) else "frames"
    return {samples_or_frames: total} | {
        f"recordings with {t.name}": answered[t.name] for t in source.card.targets
    }


def _take_print(
    prints: Fingerprints,
    source: Source,
    record: Record,
    signal: Array,
    most: int,
) -> None:
    """Take the fingerprint of a recording that was read in full, of a sound or of a few frames."""
    if isinstance(source, SoundSource):
        prints.add(record, signal, round(record.fps or source.card.fps or 0))
    else:
        prints.add(record, signal[compared_frames(source, record, most)])


def _empty_masks(
    record: Record,
    target: str,
    answers: Sequence[Answer],
) -> list[str]:
    return [
        f"{record.id}: the mask {target} of frame {answer.at} is empty; tasks leave that row out"
        for answer in answers
        if not np.any(answer.value)
    ]


def _extend(
    answers: list[Answer],
    source: Source,
    record: Record,
    target: str,
) -> None:
    answers.extend(source.answers(record, source.card.target(target)))


def _signal(
    report: FolderReport,
    source: Source,
    record: Record,
) -> Array | None:
    """Read the frames or samples of a recording; on failure, note the reason and return None."""
    signals: list[Array] = []
    if isinstance(source, SoundSource):
        _attempt(report, lambda: signals.append(source.wave(record)[0]))
    else:
        _attempt(report, lambda: signals.append(source.frames(record)))
    return signals[0] if signals else None


def _content(signal: Array) -> bytes:
    """Digest the decoded content and its shape: equal content stored differently is found."""
    digest = xxh3_128(repr((signal.shape, signal.dtype.str)).encode())
    digest.update(np.ascontiguousarray(signal).data.cast("B") if signal.size else b"")
    return digest.digest()


def _same(
    report: FolderReport,
    record: Record,
    first: Record,
) -> None:
    if first.id == record.id:
        return
    sentence = f"{first.id} and {record.id} hold the same"
    report.duplicates.append(
        f"{sentence}{'' if first.patient == record.patient else ', of two patients'}"
    )
    if first.split != record.split:
        report.leaks.append(
            f"{sentence}, in {first.split or 'no split'} and in {record.split or 'no split'}"
        )


def _attempt(report: FolderReport, action: Callable[[], object]) -> None:
    try:
        action()
    except (LayoutError, CorruptFileError, SplitError) as error:
        _file_under(report, error)


def _file_under(report: FolderReport, error: EtabError) -> None:
    where = {
        LayoutError: report.missing,
        SplitError: report.leaks,
    }.get(type(error), report.corrupt)
    if str(error) not in where:
        where.append(str(error))
