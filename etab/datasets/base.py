"""Card and Source, which a new dataset defines; ``etab.datasets.dataset`` adds the options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from etab.errors import CorruptFileError, LayoutError, UnsupportedOptionError
from etab.files import exists
from etab.registry import Registry, unknown
from etab.storage.digests import combine, digests
from etab.types import Answer, Array, FloatArray, Record, Target

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Fault:
    """A recording that is left out because it cannot be read.

    Attributes:
        id: The identifier of the recording.
        reason: What is wrong with it, as a sentence.
        patient: The patient; "" if unknown.
        view: The view; "" if unknown.
        split: The part of the authors' split; "" if unknown.
    """

    id: str
    reason: str
    patient: str = ""
    view: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """The facts of one dataset; code, documents and tests all read them here.

    Attributes:
        name: The name used by ``Dataset`` and in options, such as "camus".
        title: The published name.
        code: The letter in task codes.
        modality: "echo" or "sound".
        views: The views of its recordings.
        targets: Its reference values.
        licence: The terms of use.
        citation: The publication.
        access: How to obtain the data.
        fps: The frame rate of all recordings; None if it differs or is unknown.
        counts: The number of patients, recordings and members of each split part of a whole copy.
        last_seen_real: The date of the last run on real data; "" for never.
        unit: What an id of a patient stands for: "patient", or "recording" or "examination" where
            the release names no patients, so that each of them counts as one.
    """

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
    unit: str = "patient"

    def target(self, name: str) -> Target:
        """Look a target up by its name.

        Raises:
            UnknownNameError: The dataset has no such target; the message lists its targets.
        """
        for target in self.targets:
            if target.name == name:
                return target
        raise unknown(f"target of {self.name}", name, [t.name for t in self.targets])


class Source(ABC):
    """One dataset in its published layout, independent of options, backbones and tasks.

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
        """Take the folder as published; only what identifies the layout is read.

        Args:
            root: The folder.
        """
        self.root = root

    def lenient(self) -> Self:
        """From now on, leave out recordings whose file is missing or unreadable, and note them."""
        self.faults = [] if self.faults is None else self.faults
        return self

    def leave_out(self, faults: Sequence[Fault]) -> None:
        """Remove recordings from the list of recordings, and note their faults.

        Args:
            faults: A fault per recording.

        Raises:
            UnsupportedOptionError: ``lenient`` was not called.
        """
        if self.faults is None:
            raise UnsupportedOptionError(
                f"{self.card.name} lists every recording; call lenient() first."
            )
        left_out = {fault.id for fault in faults}
        self._records = tuple(record for record in self.records() if record.id not in left_out)
        self.faults += faults

    def keep(self, records: Sequence[Record]) -> None:
        """Restrict the list of recordings.

        Args:
            records: The recordings that remain.
        """
        ids = {record.id for record in records}
        self._records = tuple(record for record in self.records() if record.id in ids)

    def _give_up(self, fault: Fault, error: Exception) -> None:
        """Note a recording that cannot be listed; raises ``error`` if the source is not lenient."""
        if self.faults is None:
            raise error
        self.faults.append(fault)

    def _listed(
        self,
        items: Iterable[Item],
        make: Callable[[Item], Record],
        known: Callable[[Item], Fault],
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
        lost: set[str] = set()
        for record in listed:
            missing = [path for path in self._paths(record) if not exists(path)]
            if missing:
                reason = f"{missing[-1]} is missing."
                lost.add(record.id)
                self.faults.append(
                    Fault(record.id, reason, record.patient, record.view, record.split)
                )
        return [record for record in listed if record.id not in lost]

    def _paths(self, record: Record) -> list[Path]:
        """Return the paths of the files of a recording."""
        return [self.root / name for name in record.files.values()]

    @property
    @abstractmethod
    def phantom(self) -> bool:
        """Whether a marker file, or a mark inside the files, identifies the tree as a phantom."""

    @abstractmethod
    def records(self) -> Sequence[Record]:
        """List every recording, in a stable order.

        Raises:
            LayoutError: A published file is missing; the message names it.
        """

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
        """Count the frames of a recording.

        Args:
            record: A recording of this source.
        """

    @abstractmethod
    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the authors' reference values of a recording, in frame order.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Frame numbers; values of other frames are left out and their files not read. Values
                of the whole recording are always returned.

        Returns:
            The values; empty where the authors give none.
        """

    def annotated(self, record: Record, target: Target) -> tuple[int | None, ...]:
        """List the frames with a reference value; override it if reading the values is slow.

        Args:
            record: A recording of this source.
            target: A target of the card.

        Returns:
            Frame numbers in order, or None for a value of the whole recording.
        """
        return tuple(answer.at for answer in self.answers(record, target))

    def spacing(self, record: Record) -> tuple[float, float] | None:
        """Return the height and width in mm of a pixel of ``frames(record)``; None if unknown."""
        return None

    def still(self, record: Record) -> bool:
        """Whether the frames are separate images, from which no clip can be cut.

        Args:
            record: A recording of this source.
        """
        return False

    def phases(self, record: Record) -> tuple[int, int] | None:
        """Return the (ED, ES) frames, from 0, if the authors name both, else None.

        Args:
            record: A recording of this source.
        """
        if not any(target.name == "ES/ED" for target in self.card.targets):
            return None
        frame_of_phase: dict[int, int | None] = {}
        for answer in self.answers(record, self.card.target("ES/ED")):
            frame_of_phase[int(answer.value)] = answer.at
        ed = frame_of_phase.get(0)
        es = frame_of_phase.get(1)
        return None if ed is None or es is None else (ed, es)

    def notes(self) -> Sequence[str]:
        """Return remarks for every result, such as recordings left out or unknown patients."""
        return ()

    def shared_files(self) -> Sequence[str]:
        """Return the tables that hold answers of many recordings, relative to the root."""
        return ()

    def published(self) -> Mapping[str, int]:
        """Return the published counts, for ``etab data check``; empty if the authors give none."""
        return self.card.counts

    def tally(self) -> Mapping[str, int]:
        """Count further things for ``etab data check``, beyond patients, recordings and parts."""
        return {}

    def check_command(self) -> str:
        """Return the command that lists what is wrong with this copy."""
        return f"etab data check {self.card.name}"

    def canonical(self) -> str:
        """Name the canonical split (``configs/splits``) that this copy must agree with, or ""."""
        return self.card.name

    def units(self) -> Mapping[str, str]:
        """Map each unit of the canonical split (a patient) to its part of the authors' split."""
        return {record.patient: record.split for record in self.records()}

    def remarks(self) -> Sequence[str]:
        """Return remarks on this copy that are not faults, for ``etab data check``."""
        return ()

    def digest(self) -> str:
        """Compute the sha256 of all recordings: splits, and names and contents of their files."""
        records = self.records()
        names: list[str] = []
        rows = []
        for record in records:
            names += record.files.values()
            files = str(sorted(record.files.items()))
            facts = (record.id, record.patient, record.view, record.split, str(record.fps), files)
            rows.append(facts)
        return combine(rows, digests(self.root, [*names, *self.shared_files()]))


class SoundSource(Source):
    """A dataset of heart sounds: ``wave`` replaces ``frames``, and ``fps`` is the rate in Hz.

    The value of the target "states" is an int8 array (k,) at 50 Hz: an index of the target's
    classes at each k / 50 s, or -1 if that moment is not annotated. Files of states are read on
    demand, so that ``annotated`` may list a recording whose file turns out to have none.
    """

    @abstractmethod
    def wave(self, record: Record) -> tuple[FloatArray, int]:
        """Read a recording.

        Args:
            record: A recording of this source.

        Returns:
            (samples (n,) float32 from -1 to 1, their rate in Hz).

        Raises:
            LayoutError: The file is missing.
            CorruptFileError: The file cannot be read.
        """

    @abstractmethod
    def n_samples(self, record: Record) -> int:
        """Count the samples of a recording, from its header.

        Args:
            record: A recording of this source.
        """

    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """Refuse to read frames.

        Args:
            record: A recording of this source.
            at: Frame numbers; not used.

        Raises:
            UnsupportedOptionError: Always; a sound has no frames.
        """
        raise UnsupportedOptionError(
            f"{self.card.name} holds sound: {record.id} has no frames. Use wave(record)."
        )

    def n_frames(self, record: Record) -> int:
        """Refuse to count frames.

        Args:
            record: A recording of this source.

        Raises:
            UnsupportedOptionError: Always; a sound has no frames.
        """
        raise UnsupportedOptionError(
            f"{self.card.name} holds sound: {record.id} has no frames. Use n_samples(record)."
        )


SOURCES: Registry[type[Source]] = Registry("dataset")
