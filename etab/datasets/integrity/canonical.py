"""Canonical splits: the published train, validation and test parts, in files of ``configs/splits``.

Each file carries its own sha256. It lists *units* (patients; for heart sounds ids or recordings)
and the place of each: a part of the authors' split, the person behind an id, or the database of a
recording. Local data are refused if a unit has another place, or is not in the list. Absent units
are reported, not refused. Where the lists may not be shared, only the number of patients in each
part is known. Phantom data are never compared.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from etab.datasets.base import Source
from etab.errors import CorruptFileError, SplitError
from etab.splits import folds
from etab.storage.resources import text

SPLIT_NAMES = ("camus", "cinc2016", "circor", "echonet", "tmed")
N_FOLD, SEED = 5, 0
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class CanonicalSplit:
    """The content of one file of ``configs/splits``.

    Attributes:
        name: Name of the dataset.
        version: Version of the split.
        source: Where the split comes from.
        unit: Plural noun for the units: "patients", "ids" or "recordings".
        counts: Number of units by place.
        places: Place of each unit; empty if only ``counts`` are known.
        folds: sha256 of the cross-validation folds (5 folds, seed 0) of all people; "" if the
            people are not listed.
        same_person: Groups of units that are one person under several ids, although the authors
            publish them as several: patients, or recordings where the units are recordings.
    """

    name: str
    version: int
    source: str
    unit: str
    counts: Mapping[str, int]
    places: Mapping[str, str] = field(default_factory=dict)
    folds: str = ""
    same_person: tuple[tuple[str, ...], ...] = ()

    def sha256(self) -> str:
        """Digest of everything but the digest itself, independent of the order in the file."""
        facts: list[object] = [
            self.name,
            self.version,
            self.source,
            self.unit,
            dict(self.counts),
            dict(self.places),
            self.folds,
        ]
        if self.same_person:
            facts.append(self.same_person)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SplitComparison:
    """The differences between local data and the canonical split.

    Attributes:
        moved: A sentence for each unit that has another place.
        unknown: A sentence for each local unit that the split does not list.
        missing: Names of the absent units, where names are known.
        lacking: Number of absent units.
        total: Number of published units.
    """

    moved: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    lacking: int = 0
    total: int = 0

    @property
    def agrees(self) -> bool:
        """Whether no unit has another place or is unknown; absent units do not count."""
        return not (self.moved or self.unknown)


@lru_cache(maxsize=len(SPLIT_NAMES))
def load(name: str) -> CanonicalSplit:
    """Load the canonical split of a dataset.

    Args:
        name: One of ``SPLIT_NAMES``.

    Returns:
        The split.

    Raises:
        UnknownNameError: There is no canonical split of this name.
        CorruptFileError: The file was changed after it was written.
    """
    file = f"configs/splits/{name}.toml"
    try:
        table: dict[str, Any] = tomllib.loads(text(file))
        places = {unit: part for part, units in table["places"].items() for unit in units}
        listed = sum(map(len, table["places"].values()))
        split = CanonicalSplit(
            table["name"],
            table["version"],
            table["source"],
            table["unit"],
            table["counts"],
            places,
            table["folds"],
            tuple(tuple(ids) for ids in table.get("same_person", [])),
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(
            f"{file} is not a canonical split ({error!r}). Restore it, or reinstall etab-bench."
        ) from error
    if split.sha256() != table.get("sha256") or listed != len(places):
        raise CorruptFileError(
            f"{file} was changed: its sha256 is {split.sha256()}, it says {table.get('sha256')}. "
            "Restore it, or reinstall "
            "etab-bench; scores on another split are other scores."
        )
    return split


def fold_digest(
    people: Sequence[str],
    n_fold: int = N_FOLD,
    seed: int = SEED,
) -> str:
    """Compute the sha256 of the assignment of people to folds.

    Args:
        people: Names of the people.
        n_fold: Number of folds.
        seed: Seed of the folds.

    Returns:
        64 hexadecimal digits.
    """
    rows = sorted(folds(people, n_fold, seed).items())
    return hashlib.sha256(
        "".join(f"{person} {fold}\n" for person, fold in rows).encode()
    ).hexdigest()


def people(split: CanonicalSplit) -> list[str]:
    """List the people that folds are made of.

    Args:
        split: A canonical split with ``places``.

    Returns:
        Sorted names: patients, or for CirCor the persons that the ids belong to.
    """
    return sorted(set(split.places.values() if split.name == "circor" else split.places))


def compare_split(source: Source) -> SplitComparison | None:
    """Compare a source with its canonical split, whether it is phantom data or not.

    Args:
        source: A source of a dataset.

    Returns:
        The differences, or None if the source has no canonical split.
    """
    if source.canonical() not in SPLIT_NAMES:
        return None
    split = load(source.canonical())
    units = source.units()
    if not split.places:
        return _counted(split, units)
    known = {unit: part for unit, part in units.items() if unit in split.places}
    moved = tuple(
        f"{unit}: {part} here, {split.places[unit]} in the canonical split"
        for unit, part in known.items()
        if part not in ("", split.places[unit])
    )
    unknown = tuple(
        f"{unit}: not among the {len(split.places)} that were published"
        for unit in units
        if unit not in known
    )
    missing = tuple(unit for unit in split.places if unit not in units)
    return SplitComparison(
        moved,
        unknown,
        missing,
        len(missing),
        len(split.places),
    )


def verify_split(source: Source) -> SplitComparison | None:
    """Refuse real data that disagree with their canonical split.

    Args:
        source: A source of a dataset.

    Returns:
        The comparison; None if there is no canonical split, or for phantom data that disagree.

    Raises:
        SplitError: Patients have another place or are unknown, or this installation makes folds
            that differ from the canonical ones.
    """
    comparison = compare_split(source)
    if comparison is None or (
        not comparison.agrees and source.phantom
    ):  # the second question may cost a look into every file
        return None
    if not comparison.agrees:
        rows = [*comparison.moved, *comparison.unknown]
        more = f"; and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        raise SplitError(
            f"{source.root} disagrees with the canonical split "
            f"configs/splits/{source.canonical()}.toml: "
            f"{'; '.join(rows[:_SHOWN])}{more}. Scores would be of other patients: restore the "
            "split files as published."
        )
    check_folds(source.canonical())
    return comparison


@lru_cache(maxsize=len(SPLIT_NAMES))
def check_folds(name: str) -> None:
    """Check that this installation makes the same folds of the same people as the recorded ones.

    Args:
        name: One of ``SPLIT_NAMES``.

    Raises:
        SplitError: The folds differ.
    """
    split = load(name)
    if split.folds and fold_digest(people(split)) != split.folds:
        raise SplitError(
            f"The {N_FOLD} folds of {name} come out otherwise than configs/splits/{name}.toml "
            "records: cross-validated "
            "scores could not be compared. Install the numpy that etab-bench asks for, and report "
            "this."
        )


def missing_note(source: Source) -> str:
    """Describe the published patients that real data lack.

    Args:
        source: A source of a dataset.

    Returns:
        A clause with the number and the first names; "" if nothing is missing.

    Raises:
        SplitError: The data disagree with the canonical split.
    """
    comparison = verify_split(source)
    if comparison is None or not comparison.lacking or source.phantom:
        return ""
    first = f", first {', '.join(comparison.missing[:_SHOWN])}" if comparison.missing else ""
    return (
        f"{comparison.lacking} of {comparison.total} published {load(source.canonical()).unit} are "
        f"not in {source.root}{first}"
    )


def same_people(source: Source) -> dict[str, str]:
    """Find the person of each id that shares a person with another id of these data.

    Args:
        source: A dataset. Phantom patients have the ids of real ones and are never merged.

    Returns:
        The person of each such patient: the first name among them. Empty where there is no such
        group.
    """
    if source.canonical() not in SPLIT_NAMES:
        return {}
    person_of: dict[str, str] = {}
    for group in load(source.canonical()).same_person:
        names = set(group)
        members = {r.patient for r in source.records() if r.patient in names or r.id in names}
        # A patient with recordings of two groups joins them.
        joined = {person_of[member] for member in members if member in person_of}
        members |= {patient for patient, person in person_of.items() if person in joined}
        if len(members) > 1:
            person_of |= dict.fromkeys(members, min(members))
    if person_of and source.phantom:
        return {}
    return person_of


def split_version(name: str) -> int:
    """The version of the canonical split of a dataset; 1 where it has none."""
    return load(name).version if name in SPLIT_NAMES else 1


def split_digest(name: str) -> str:
    """The digest of the canonical split of a dataset; "none" where it has none."""
    return load(name).sha256() if name in SPLIT_NAMES else "none"


def same_person_notes(source: Source, apart: str = "official and cv5") -> tuple[str, ...]:
    """Write a sentence for each person who has several ids in these data.

    Args:
        source: The source of the recordings.
        apart: The protocols of its tasks that keep the ids apart.
    """
    ids_of: dict[str, list[str]] = {}
    for patient, person in sorted(same_people(source).items()):
        ids_of.setdefault(person, []).append(patient)
    return tuple(
        f"{', '.join(ids[:-1])} and {ids[-1]} are one person under {len(ids)} ids. Protocols with "
        f"repeated folds (cv5x5) count them as one patient; {apart} keep them apart, as published."
        for ids in ids_of.values()
    )


def _counted(split: CanonicalSplit, units: Mapping[str, str]) -> SplitComparison:
    """Compare numbers only: a part that holds more patients than published is an error."""
    local_counts = Counter(units.values())
    moved = tuple(
        f"{count} {split.unit} in {part or 'no part'} here, {split.counts.get(part, 0)} in the "
        "canonical split"
        for part, count in local_counts.items()
        if part and count > split.counts.get(part, 0)
    )
    total = sum(split.counts.values())
    return SplitComparison(
        moved,
        lacking=max(total - len(units), 0),
        total=total,
    )
