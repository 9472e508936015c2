"""What is in a dataset's folder, what is missing, and what is damaged: every file is read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from etab.datasets import SOURCES
from etab.datasets.base import SoundSource, Source
from etab.datasets.paths import folder
from etab.errors import CorruptFileError, EtabError, LayoutError, SplitError
from etab.types import Record

_SHOWN = 10


@dataclass(slots=True)
class Report:
    """Findings of ``check``. ``found`` counts patients, recordings, recordings a split, and frames or samples read.

    ``missing``, ``corrupt`` and ``leaks`` hold the messages of files that are absent, damaged, or of a patient in two
    splits; ``differs`` compares the counts with those published (phantom data is not compared). ``remarks`` are no
    faults: what the source left out of this copy, and why.
    """

    dataset: str
    root: str
    phantom: bool = False
    found: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is missing, damaged, leaking or of another size than published."""
        return not (self.missing or self.corrupt or self.leaks or self.differs)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, with ``ok``."""
        return {**asdict(self), "ok": self.ok}

    def render(self) -> str:
        """A few lines for a terminal."""
        kind = " (phantom)" if self.phantom else ""
        lines = [f"{self.dataset}{kind}: {self.root}"]
        lines += ["  " + ", ".join(f"{count} {what}" for what, count in self.found.items())] if self.found else []
        for title in ("missing", "corrupt", "leaks", "differs", "remarks"):
            rows = getattr(self, title)
            lines += [f"  {title}: {len(rows)}"] if rows else []
            lines += [f"    {row}" for row in rows[:_SHOWN]]
            lines += [f"    and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
        return "\n".join([*lines, "  ok" if self.ok else "  not ok"])


def check(name: str, root: Path | str | None = None, *, progress: Callable[[int, int], None] | None = None) -> Report:
    """Read every frame and answer of a dataset and report; ``progress(done, total)`` is called after each recording.

    Raises UnknownNameError for a name nobody holds and DataNotFoundError where there is no folder at all.
    """
    kind = SOURCES[name]
    path = folder(name, root)
    report = Report(name, str(path))
    try:
        source = kind(path)
        records = source.records()
    except EtabError as error:
        _file_under(report, error)
        return report
    frames = 0
    for done, record in enumerate(records, start=1):
        frames += _read(report, source, record)
        if progress is not None:
            progress(done, len(records))
    report.found = (
        _counts(records) | {"samples" if isinstance(source, SoundSource) else "frames": frames} | dict(source.tally())
    )
    _attempt(report, lambda: setattr(report, "phantom", source.phantom))
    _attempt(report, lambda: report.remarks.extend(source.remarks()))
    if not report.phantom:
        published = source.published()
        seen = report.found
        report.differs = [
            f"{seen.get(key, 0)} {key}; published: {count}"
            for key, count in published.items()
            if seen.get(key, 0) != count
        ]
    return report


def _counts(records: Sequence[Record]) -> dict[str, int]:
    splits = {record.patient: record.split or "no split" for record in records}
    return {"patients": len(splits), "recordings": len(records)} | dict(Counter(splits.values()))


def _read(report: Report, source: Source, record: Record) -> int:
    """Read one recording in full; returns the frames, or samples of sound, had."""
    counted: list[int] = []
    if isinstance(source, SoundSource):
        _attempt(report, lambda: counted.append(len(source.wave(record)[0])))
    else:
        _attempt(report, lambda: counted.append(len(source.frames(record))))
    for target in source.card.targets:
        _attempt(report, partial(source.answers, record, target))
    return sum(counted)


def _attempt(report: Report, action: Callable[[], object]) -> None:
    try:
        action()
    except (LayoutError, CorruptFileError, SplitError) as error:
        _file_under(report, error)


def _file_under(report: Report, error: EtabError) -> None:
    where = {LayoutError: report.missing, SplitError: report.leaks}.get(type(error), report.corrupt)
    if str(error) not in where:
        where.append(str(error))
