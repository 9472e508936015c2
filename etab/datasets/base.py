"""Card and Source: all that a new dataset writes. Dataset, which knows options, is in
``etab.datasets.dataset``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from etab.errors import CorruptFileError, LayoutError, UnsupportedOptionError
from etab.registry import Registry, unknown
from etab.storage.digests import combine, digests
from etab.types import Answer, Array, FloatArray, Record, Target

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Fault:
    """A recording that is left out because it cannot be read; unknown facts are ""."""

    id: str
    reason: str
    patient: str = ""
    view: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """The facts of one dataset: their one home. Code, docs and tests read them here."""

    name: str
    title: str
    code: str
    modality: str
    views: tuple[str, ...]
    targets: tuple[Target, ...]
    licence: str
    citation: str
    access: str
    fps: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    last_seen_real: str = ""

    def target(self, name: str) -> Target:
        """Look a target up by its name; raises UnknownNameError listing the dataset's targets."""
        for target in self.targets:
            if target.name == name:
                return target
        raise unknown(f"target of {self.name}", name, [t.name for t in self.targets])


class Source(ABC):
    """One dataset in its published layout: its files, and nothing of options, backbones or tasks.

    Attributes:
        root: The folder as published.
        card: The facts of the dataset.
        faults: Recordings that were left out. None, the default, makes a recording that cannot be
            listed an error; ``lenient`` makes it a list.
    """

    card: ClassVar[Card]
    faults: list[Fault] | None = None
    _records: Sequence[Record] | None = None

    def __init__(self, root: Path) -> None:
        """Point at the folder as published; reads nothing but what says which layout it is."""
        self.root = root

    def lenient(self) -> Self:
        """From now on, leave out and note recordings whose file is missing or unreadable."""
        self.faults = [] if self.faults is None else self.faults
        return self

    def leave_out(self, faults: Sequence[Fault]) -> None:
        """Drop these recordings from a list that was made; raises UnsupportedOptionError where
        ``lenient`` was not called.
        """
        if self.faults is None:
            raise UnsupportedOptionError(
                f"{self.card.name} lists every recording; call lenient() first."
            )
        gone = {fault.id for fault in faults}
        self._records = tuple(record for record in self.records() if record.id not in gone)
        self.faults += faults

    def keep(self, records: Sequence[Record]) -> None:
        """Restrict the list of recordings to these."""
        ids = {record.id for record in records}
        self._records = tuple(record for record in self.records() if record.id in ids)

    def _give_up(self, fault: Fault, error: Exception) -> None:
        """Note a recording that cannot be listed; raises ``error`` if the source is not lenient."""
        if self.faults is None:
            raise error
        self.faults.append(fault)

    def _listed(
        self, items: Iterable[Item], make: Callable[[Item], Record], known: Callable[[Item], Fault]
    ) -> list[Record]:
        """Build a record for each item; if ``make`` fails, ``known(item)`` describes the fault."""
        records = []
        for item in items:
            try:
                records.append(make(item))
            except (CorruptFileError, LayoutError) as error:
                self._give_up(replace(known(item), reason=str(error)), error)
        return records

    def _there(self, records: Iterable[Record]) -> list[Record]:
        """Select the records whose files all exist if the source is lenient, else all records."""
        listed = list(records)
        if self.faults is None:
            return listed
        lost = {
            r.id: name
            for r in listed
            for name in r.files.values()
            if not (self.root / name).exists()
        }
        self.faults += [
            Fault(r.id, f"{self.root / lost[r.id]} is missing.", r.patient, r.view, r.split)
            for r in listed
            if r.id in lost
        ]
        return [record for record in listed if record.id not in lost]

    @property
    @abstractmethod
    def phantom(self) -> bool:
        """Whether this tree is made data (marker file or marks inside the files)."""

    @abstractmethod
    def records(self) -> Sequence[Record]:
        """List every recording in a stable order; raises LayoutError naming a missing file."""

    @abstractmethod
    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """Read frames at their native rate and size.

        Args:
            record: A recording of this source.
            at: k frame numbers, from 0; None reads all.

        Returns:
            Grey frames (k, h, w) uint8.
        """

    @abstractmethod
    def n_frames(self, record: Record) -> int:
        """The number of frames of this recording."""

    @abstractmethod
    def answers(
        self, record: Record, target: Target, at: Collection[int] | None = None
    ) -> tuple[Answer, ...]:
        """The authors' reference values of a recording, in frame order.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Frame numbers; values of other frames are left out and their files not read. Values
                of the whole recording are always returned.

        Returns:
            The values; empty where the authors give none.
        """

    def annotated(self, record: Record, target: Target) -> tuple[int | None, ...]:
        """The ``at`` of every answer, in order; a source overrides it where the answers themselves
        cost time.
        """
        return tuple(answer.at for answer in self.answers(record, target))

    def spacing(self, record: Record) -> tuple[float, float] | None:
        """Pixel spacing (row, column) in mm of ``frames(record)``; None where unknown."""
        return None

    def still(self, record: Record) -> bool:
        """Whether the frames are single pictures without a common clock, so that no clip can be cut
        from them.
        """
        return False

    def phases(self, record: Record) -> tuple[int, int] | None:
        """The (ED, ES) frames, 0-based, where the authors name both; None otherwise."""
        if not any(t.name == "ES/ED" for t in self.card.targets):
            return None
        frames = {int(a.value): a.at for a in self.answers(record, self.card.target("ES/ED"))}
        ed = frames.get(0)
        es = frames.get(1)
        return None if ed is None or es is None else (ed, es)

    def notes(self) -> Sequence[str]:
        """Remarks that belong in every result: recordings left out, unknown patients."""
        return ()

    def shared_files(self) -> Sequence[str]:
        """Files, relative to the root, that decide the answers of many recordings (tables of labels
        and tracings).
        """
        return ()

    def published(self) -> Mapping[str, int]:
        """The counts that a whole copy has, for ``etab data check``; empty where the authors give
        none.
        """
        return self.card.counts

    def tally(self) -> Mapping[str, int]:
        """Further counts for ``etab data check``, beyond patients, recordings and split parts."""
        return {}

    def canonical(self) -> str:
        """The name of the canonical split (``configs/splits``) that this copy must agree with; ""
        where none applies.
        """
        return self.card.name

    def units(self) -> Mapping[str, str]:
        """What a canonical split lists, and where each belongs: patients to the parts of the
        authors' split.
        """
        return {record.patient: record.split for record in self.records()}

    def remarks(self) -> Sequence[str]:
        """Remarks for ``etab data check`` that are no faults, such as a file left out."""
        return ()

    def digest(self) -> str:
        """sha256 over recordings, splits, names and contents of everything that decides frames and
        answers.
        """
        records = self.records()
        names = [name for record in records for name in record.files.values()]
        rows = [
            (r.id, r.patient, r.view, r.split, str(r.fps), str(sorted(r.files.items())))
            for r in records
        ]
        return combine(rows, digests(self.root, [*names, *self.shared_files()]))


class SoundSource(Source):
    """A dataset of heart sounds: ``wave`` replaces ``frames``, and ``fps`` is the rate in Hz.

    The answer to "states" is an int8 array (k,) at 50 Hz, the state at k / 50 s: an index of the
    target's classes, -1 where nobody annotated it. Files of states are read when asked for, so that
    ``annotated`` may list a recording whose file then has none.
    """

    @abstractmethod
    def wave(self, record: Record) -> tuple[FloatArray, int]:
        """All samples (n,) float32 with full scale at 1, and their rate in Hz. Raises LayoutError,
        CorruptFileError.
        """

    @abstractmethod
    def n_samples(self, record: Record) -> int:
        """How many samples there are, from the header."""

    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """There are none; raises UnsupportedOptionError."""
        raise UnsupportedOptionError(
            f"{self.card.name} holds sound, {record.id} has no frames; ask for wave(record)."
        )

    def n_frames(self, record: Record) -> int:
        """There are none; raises UnsupportedOptionError."""
        raise UnsupportedOptionError(
            f"{self.card.name} holds sound, {record.id} has no frames; ask n_samples(record)."
        )


SOURCES: Registry[type[Source]] = Registry("dataset")
