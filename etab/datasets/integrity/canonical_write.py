"""Write a canonical split from the data as published: ``python -m
etab.datasets.integrity.canonical_write NAME [--root DIR]``.

NAME: one of ``etab.datasets.integrity.canonical.SPLIT_NAMES``. ``--root`` is the folder as ``etab
data check`` takes it; for circor and cinc2016 it may be a part of the release that holds the whole
table (``ALL_training_data.csv``, ``ALL_LABELS.csv``). For echonet and tmed, whose lists may not be
shared, the card's counts are written and no data are needed.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from etab.datasets import SOURCES
from etab.datasets.circor_layout import persons
from etab.datasets.integrity.canonical import SPLIT_NAMES, CanonicalSplit, fold_digest, people
from etab.errors import UnsupportedOptionError
from etab.splits import SPLIT_PARTS

_PIECES_OF_CINC2016 = (
    "d0018 d0051",
    "e00044 e00213 e00314 e00331 e00407 e00485 e00503 e00538 e00662 e00719 e00724 e00796 e00833 "
    "e00844 e00890 e00989 e00993 e01004 e01018 e01168 e01173 e01313 e01338 e01442 e01456 e01490 "
    "e01745 e01943",
    "e00178 e00830 e00854 e00866",
    "e00226 e00318 e00463 e01029 e01142 e01278 e01389 e01453",
    "e00469 e01202",
    "e01519 e01550 e01788",
)
"""Recordings that are pieces of one, a line for each (benchmarks/pieces.md)."""

SAME_PERSON: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # One 4-chamber end-diastolic frame is the same in every pixel; the other three correlate at
    # .986 to .992, frames of strangers at .854 or less (benchmarks/alike.md).
    "camus": (("patient0033", "patient0068"),),
    "cinc2016": tuple(tuple(pieces.split()) for pieces in _PIECES_OF_CINC2016),
}
"""Ids of one person by dataset, where the authors do not say so themselves."""

VERSIONS: Mapping[str, int] = {"cinc2016": 2}
"""Versions of splits that have changed since results were published."""

_COUNTED = ("echonet", "tmed")


def of_camus(root: Path) -> CanonicalSplit:
    """Build the split of CAMUS from the subgroup lists of the NIfTI release.

    Args:
        root: Folder of the data, as ``etab data check`` takes it.

    Returns:
        The split with a place for each patient.

    Raises:
        UnsupportedOptionError: ``root`` holds phantom data.
    """
    source = SOURCES["camus"](root)
    _refuse_phantom(source.phantom, root)
    places = dict(source.units())
    return _listed(
        "camus", "database_split/subgroup_*.txt of the NIfTI release", "patients", places
    )


def of_circor(root: Path) -> CanonicalSplit:
    """Build the split of CirCor: each id of the official table, with its person by Additional ID.

    Args:
        root: Folder with ``ALL_training_data.csv`` or ``training_data.csv``.

    Returns:
        The split with a person for each id.
    """
    full_table = root / "ALL_training_data.csv"
    table = full_table if full_table.is_file() else root / "training_data.csv"
    rows = _rows(table)
    places = persons({row["Patient ID"]: row["Additional ID"].strip() or "nan" for row in rows})
    return _listed("circor", "Additional ID of training_data.csv 1.0.3", "ids", places)


def of_cinc2016(root: Path) -> CanonicalSplit:
    """Build the split of CinC 2016: each training recording, with its database.

    Folds of people are left out because only the appendix names people.

    Args:
        root: Folder with ``ALL_LABELS.csv``.

    Returns:
        The split with a database for each recording.
    """
    rows = _rows(root / "ALL_LABELS.csv")
    places = {row["record"]: row["record"][0] for row in rows}
    split = _listed(
        "cinc2016", "REFERENCE.csv of training-a to training-f, 1.0.0", "recordings", places
    )
    return replace(split, folds="")


def counted(name: str) -> CanonicalSplit:
    """Build a split that has only the number of patients in each part, from the dataset's card.

    Args:
        name: Name of the dataset.

    Returns:
        The split without ``places``.
    """
    card = SOURCES[name].card
    counts = {part: card.counts[part] for part in SPLIT_PARTS}
    return CanonicalSplit(name, 1, f"numbers published of {card.title}", "patients", counts)


def toml(split: CanonicalSplit) -> str:
    """Format a split as the text of its file; units are sorted by name, ten a line.

    Args:
        split: A canonical split.

    Returns:
        TOML text.
    """
    lines = [
        f"# Written by `python -m etab.datasets.integrity.canonical_write {split.name}`; edited "
        "by hand it is refused.",
        *(
            f'{key} = "{value}"'
            for key, value in (
                ("name", split.name),
                ("source", split.source),
                ("unit", split.unit),
            )
        ),
        f"version = {split.version}",
        f'folds = "{split.folds}"',
        f'sha256 = "{split.sha256()}"',
        *_same_person_lines(split),
        "\n[counts]",
        *(f'"{part}" = {count}' for part, count in sorted(split.counts.items())),
        "\n[places]",
    ]
    units_of_part: dict[str, list[str]] = {}
    for unit, part in split.places.items():
        units_of_part.setdefault(part, []).append(unit)
    for part, units in sorted(units_of_part.items(), key=lambda pair: (len(pair[0]), pair[0])):
        rows = [
            ", ".join(f'"{unit}"' for unit in sorted(units)[i : i + 10])
            for i in range(0, len(units), 10)
        ]
        lines.append(
            f'"{part}" = [{rows[0]}]'
            if len(rows) == 1
            else f'"{part}" = [\n  ' + ",\n  ".join(rows) + ",\n]"
        )
    return "\n".join(lines) + "\n"


def _same_person_lines(split: CanonicalSplit) -> list[str]:
    """The line of ids that are one person; none where there are no such ids."""
    if not split.same_person:
        return []
    groups = ["[" + ", ".join(f'"{unit}"' for unit in group) + "]" for group in split.same_person]
    if len(groups) == 1:
        return [f"same_person = [{groups[0]}]"]
    return ["same_person = [", *(f"  {group}," for group in groups), "]"]


def _listed(
    name: str,
    source: str,
    unit: str,
    places: Mapping[str, str],
) -> CanonicalSplit:
    by_place = Counter(places.values())
    counts = {unit: len(places), "people": len(by_place)} if name == "circor" else dict(by_place)
    same_person = SAME_PERSON.get(name, ())
    version = VERSIONS.get(name, 1)
    split = CanonicalSplit(name, version, source, unit, counts, places, same_person=same_person)
    return replace(split, folds=fold_digest(people(split)))


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _refuse_phantom(phantom: bool, root: Path) -> None:
    if phantom:
        raise UnsupportedOptionError(
            f"{root} is phantom data; a canonical split is of real patients."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one file, then print its path and sha256.

    Args:
        arguments: Command-line arguments; None takes those of the process.

    Returns:
        Exit status 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m etab.datasets.integrity.canonical_write",
        description=__doc__,
    )
    parser.add_argument("name", choices=SPLIT_NAMES)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument(
        "--to",
        type=Path,
        default=Path("configs") / "splits",
    )
    parsed = parser.parse_args(arguments)
    makers = {
        "camus": of_camus,
        "circor": of_circor,
        "cinc2016": of_cinc2016,
    }
    split = counted(parsed.name) if parsed.name in _COUNTED else makers[parsed.name](parsed.root)
    parsed.to.mkdir(parents=True, exist_ok=True)
    path = parsed.to / f"{parsed.name}.toml"
    path.write_text(toml(split), encoding="utf-8")
    sys.stdout.write(
        f"{path}: {sum(split.counts.values())} {split.unit}, sha256 {split.sha256()}\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
