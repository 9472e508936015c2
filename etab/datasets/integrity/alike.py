"""Recordings of different patients that are the same, or nearly: copies under two names.

The result is stored by the digest of the data, so that only the first run on a dataset reads the
data for this purpose.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from xxhash import xxh3_128

from etab.datasets.base import SoundSource, Source
from etab.datasets.integrity.canonical import same_people, split_digest
from etab.datasets.integrity.cuts import cut_copies, kept_samples
from etab.datasets.integrity.fingerprints import (
    ALIKE_FRAMES,
    ALIKE_SOUNDS,
    FINGERPRINT_VERSION,
    frame_prints,
    mirrored,
    sound_print,
    unit_rows,
)
from etab.datasets.integrity.outlines import kept_picture, outline_copies
from etab.datasets.integrity.stretches import Marks, marks_of, shared_stretches
from etab.errors import CorruptFileError, LayoutError, StorageError
from etab.files import read_json_file, record_of
from etab.results.notes import alike_sentence
from etab.storage.atomic import slug, write_atomically
from etab.types import Array, FloatArray, Record

_BLOCK = 1000  # rows of the table of correlations at once
_MOST_OF_ONE = 8  # frames of a recording that are compared
_FEWEST_OF_ONE = 3
_MOST_FRAMES = 25_000  # of a dataset


@dataclass(frozen=True, slots=True)
class Alike:
    """Two recordings of different patients that are alike.

    Attributes:
        first: Id of one recording.
        second: Id of the other.
        correlation: The largest correlation of their fingerprints.
        exact: Whether every compared frame, or every sample, is equal.
    """

    first: str
    second: str
    correlation: float
    exact: bool


@dataclass(slots=True)
class Fingerprints:
    """The fingerprints of the recordings of a dataset, one recording after another."""

    sound: bool
    ids: list[str] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    prints: list[FloatArray] = field(default_factory=list)
    contents: dict[bytes, list[tuple[str, str]]] = field(default_factory=dict)
    samples: list[FloatArray] = field(default_factory=list)
    pictures: list[Array] = field(default_factory=list)
    pictured: list[tuple[str, str]] = field(default_factory=list)
    marks: list[Marks] = field(default_factory=list)

    def add(self, record: Record, signal: Array, rate: int = 0) -> None:
        """Add a recording.

        Args:
            record: The recording.
            signal: The frames (k, h, w) that ``compared_frames`` chooses, or all samples (n,).
            rate: Samples a second of a sound.
        """
        if signal.size == 0 or signal.min() == signal.max():
            return  # blank recordings are alike without being copies
        layout = repr((signal.shape, signal.dtype.str))
        content = xxh3_128(layout.encode())
        content.update(np.ascontiguousarray(signal).data.cast("B"))
        owner = (record.id, record.patient)
        self.contents.setdefault(content.digest(), []).append(owner)
        if self.sound:
            rows = [sound_print(signal, rate)]
            self.samples.append(kept_samples(signal, rate))
            self.marks.append(marks_of(signal))
        else:
            shown = [
                frame for frame in signal if frame.min() != frame.max()
            ]  # clips may start black
            rows = list(frame_prints(shown))
            self.pictures += [kept_picture(frame) for frame in shown[:1]]
            self.pictured += [owner for _ in shown[:1]]
        for row in rows:
            self.ids.append(record.id)
            self.patients.append(record.patient)
            self.prints.append(row)

    def copies(self) -> list[Alike]:
        """List the pairs of different patients whose content is equal."""
        pairs = []
        for owners in self.contents.values():
            first, first_patient = owners[0]
            for second, second_patient in owners[1:]:
                if second_patient != first_patient:
                    pairs.append(Alike(first, second, 1.0, True))
        return pairs

    def pairs(self) -> list[Alike]:
        """List the pairs of different patients that are equal or nearly so, the closest first."""
        pairs = {(pair.first, pair.second): pair for pair in self.copies()}
        for (first, second), correlation in self.correlations(self.threshold).items():
            pairs.setdefault((first, second), Alike(first, second, correlation, False))
        found = {**self.cuts(), **dict.fromkeys(self.stretches(), 1.0), **self.outlines()}
        for (first, second), correlation in found.items():
            if (second, first) not in pairs:
                pairs.setdefault((first, second), Alike(first, second, correlation, False))
        return sorted(pairs.values(), key=lambda pair: (-pair.correlation, pair.first, pair.second))

    def cuts(self) -> dict[tuple[str, str], float]:
        """Find the sounds of different patients that are one recording, cut differently.

        Returns:
            The correlation of the samples that both hold, by the ids of the two recordings.
        """
        if not self.sound or not self.prints:
            return {}
        _, person = np.unique(self.patients, return_inverse=True)
        found = cut_copies(np.stack(self.prints), person, self.samples)
        return {(self.ids[i], self.ids[j]): round(c, 4) for i, j, c in found}

    def outlines(self) -> dict[tuple[str, str], float]:
        """Find the recordings of different patients whose first frames differ in their outline.

        Returns:
            The largest correlation of their fingerprints, by the ids of the two recordings.
        """
        _, person = np.unique([patient for _, patient in self.pictured], return_inverse=True)
        largest: dict[tuple[str, str], float] = {}
        for i, j, correlation in outline_copies(self.pictures, person):
            first, second = sorted((i, j))
            pair = (self.pictured[first][0], self.pictured[second][0])
            largest[pair] = max(largest.get(pair, -1.0), round(correlation, 4))
        return largest

    def stretches(self) -> list[tuple[str, str]]:
        """Find the sounds of different patients that share a stretch sample by sample.

        Returns:
            The ids of each two recordings, as they were added.
        """
        _, person = np.unique(self.patients, return_inverse=True)
        return [(self.ids[i], self.ids[j]) for i, j in shared_stretches(self.marks, person)]

    @property
    def threshold(self) -> float:
        """The correlation from which recordings of this kind count as alike."""
        return ALIKE_SOUNDS if self.sound else ALIKE_FRAMES

    def correlations(self, threshold: float) -> dict[tuple[str, str], float]:
        """Find the pairs of recordings of different patients that correlate.

        Args:
            threshold: The correlation from which a pair is listed.

        Returns:
            The largest correlation of their frames by the ids of two recordings, as they were
            added.
        """
        if not self.prints:
            return {}
        rows, reflected = self._comparable()
        _, person = np.unique(self.patients, return_inverse=True)
        largest: dict[tuple[str, str], float] = {}
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            table = rows[block] @ rows[start:].T
            if reflected is not None:
                table = np.maximum(table, reflected[block] @ rows[start:].T)
            others = person[start : start + _BLOCK, None] != person[None, start:]
            upper = np.triu(np.ones(table.shape, dtype=bool), 1)
            alike = (table >= threshold) & others & upper
            for i, j in np.argwhere(alike):
                pair = (self.ids[start + i], self.ids[start + j])
                correlation = round(float(table[i, j]), 4)
                largest[pair] = max(largest.get(pair, -1.0), correlation)
        return largest

    def _comparable(self) -> tuple[FloatArray, FloatArray | None]:
        """All fingerprints (n, d), and those of the frames as a mirror shows them; None of sounds.

        Those of frames are without what all frames of the dataset share.
        """
        rows = np.stack(self.prints)
        if self.sound:
            return rows, None
        shared = rows.mean(axis=0)
        return unit_rows(rows - shared), unit_rows(mirrored(rows) - shared)


def frames_of_each(recordings: int) -> int:
    """Number of frames of each recording that are compared with those of all others.

    Args:
        recordings: Number of recordings of the dataset; fewer frames of each are taken of many.

    Returns:
        3 to 8.

    Example:
        >>> frames_of_each(500), frames_of_each(10_000)
        (8, 3)
    """
    of_one = _MOST_FRAMES // max(recordings, 1)
    return min(max(of_one, _FEWEST_OF_ONE), _MOST_OF_ONE)


def compared_frames(source: Source, record: Record, most: int = _MOST_OF_ONE) -> list[int]:
    """Choose the frames of a recording to compare.

    A copy may begin at another moment of the heart beat, so that frames from all over a recording
    are compared.

    Args:
        source: The source of the recording.
        record: The recording.
        most: Number of frames to choose, 3 or more.

    Returns:
        Frame numbers, from 0: end-diastole and end-systole where the authors name them, and frames
        at equal distances from the first to the last.

    Raises:
        CorruptFileError: End-diastole or end-systole is a frame that the recording does not have.
    """
    n = source.n_frames(record)
    phases = sorted(source.phases(record) or ())
    if phases and phases[-1] >= n:
        raise CorruptFileError(
            f"{record.id}: end-diastole or end-systole is frame {phases[-1]}, and the recording has "
            f"{n} frames, numbered from 0. Correct the frame number."
        )
    if n <= most:
        return list(range(n))
    n_spread = most - len(phases)
    if phases and n_spread < 2:
        return phases
    spread = np.linspace(0, n - 1, n_spread).round().astype(int).tolist()
    return sorted({*phases, *spread})


def alike_recordings(source: Source) -> tuple[Alike, ...]:
    """Read a dataset and list its recordings of different patients that are alike.

    A recording that cannot be read is left out: whoever needs it reports it. Pictures of phantoms
    are all alike, so that only equal recordings are listed there.

    Args:
        source: The dataset.

    Returns:
        The pairs, the closest first.
    """
    prints = Fingerprints(isinstance(source, SoundSource))
    records = source.records()
    most = frames_of_each(len(records))
    for record in records:
        try:
            if isinstance(source, SoundSource):
                samples, rate = source.wave(record)
                prints.add(record, samples, rate)
            else:
                prints.add(record, source.frames(record, compared_frames(source, record, most)))
        except (CorruptFileError, LayoutError):
            continue
    return tuple(prints.copies() if source.phantom else prints.pairs())


def known_alike(source: Source, digest: str, cache: Path | None) -> tuple[Alike, ...]:
    """Near-duplicates that ``same_person`` of the canonical split does not explain.

    They are stored, so that a later run reads no recording for them.

    Args:
        source: The dataset.
        digest: The digest of its data.
        cache: Folder of the cache; None stores nothing.
    """
    if cache is None:
        return tuple(unlisted(source, alike_recordings(source)))
    path = kept_pairs_path(source, digest, cache)
    try:
        stored = read_json_file(path)
        return tuple(record_of(Alike, pair) for pair in stored)
    except (OSError, ValueError, TypeError):
        pairs = tuple(unlisted(source, alike_recordings(source)))
    text = json.dumps([asdict(pair) for pair in pairs], indent=1)
    with suppress(StorageError):  # a cache that cannot be written only costs time
        write_atomically(path, text + "\n")
    return pairs


def kept_pairs_path(source: Source, digest: str, cache: Path) -> Path:
    """The file that stores what ``known_alike`` found, named by all that it follows from.

    Args:
        source: The dataset.
        digest: The digest of its data.
        cache: Folder of the cache.
    """
    split = split_digest(source.canonical())[:16]
    # Not .json: a cache may lie inside a folder of results, whose records end in .json.
    name = f"{slug(source.card.name)}-{digest}-{split}-v{FINGERPRINT_VERSION}.pairs"
    return cache / "alike" / name


def unlisted(source: Source, pairs: Sequence[Alike]) -> list[Alike]:
    """Select the near-duplicates that ``same_person`` of the canonical split does not explain.

    Args:
        source: The source of the recordings.
        pairs: All near-duplicates.
    """
    person_of = same_people(source)
    patient_of = {record.id: record.patient for record in source.records()}
    selected = []
    for pair in pairs:
        first = patient_of.get(pair.first, pair.first)
        second = patient_of.get(pair.second, pair.second)
        if person_of.get(first, first) != person_of.get(second, second):
            selected.append(pair)
    return selected


def alike_note(pairs: Sequence[Alike]) -> tuple[str, ...]:
    """Write the sentence of a result that names recordings of different patients that are alike.

    Args:
        pairs: The pairs; the first five are named.

    Returns:
        The sentence, or nothing without pairs.
    """
    if not pairs:
        return ()
    return (alike_sentence([f"{p.first} and {p.second} ({p.correlation:.2f})" for p in pairs]),)
