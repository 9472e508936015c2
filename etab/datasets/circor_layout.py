"""Files of CirCor DigiScope: .txt of a patient, table of all patients, .tsv of states."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from etab.errors import CorruptFileError, LayoutError
from etab.files import is_file
from etab.readers.table import (
    Row,
    is_blank,
    is_numbered_header,
    parse_number,
    parse_whole,
    plain_identifier,
    read_rows,
)
from etab.readers.text import read_text
from etab.sounds.states import MURMUR, OUTCOME, OVERLAP_LIMIT, Interval, check_intervals
from etab.storage.text import counted

CIRCOR_RATE = 4000
CIRCOR_PLACES = ("AV", "PV", "TV", "MV", "Phc")
# Published tsv files that go back and list a stretch again, by the sha256 of their rows.
_LISTED_TWICE = (
    "84fcf4255a073bc14c9bb8edaad2c75d5a3acc2b4e28b98cd9034f0a88e672cd",  # 50690_TV
    "f49eb8aeb2401321b9813a149fad17b671af8b1ec50fbae74da46f1641e3f566",  # 50690_MV_2
)
_STATE_HEADERS = (
    ("start", "end", "state"),
    ("start", "end", "label"),
    ("start", "stop", "state"),
)
ATTRIBUTES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "grade": (
        "Systolic murmur grading",
        "grade of the systolic murmur",
        ("I/VI", "II/VI", "III/VI"),
    ),
    "timing": (
        "Systolic murmur timing",
        "timing of the systolic murmur",
        ("Early-systolic", "Mid-systolic", "Late-systolic", "Holosystolic"),
    ),
    "shape": (
        "Systolic murmur shape",
        "shape of the systolic murmur",
        ("Crescendo", "Decrescendo", "Diamond", "Plateau"),
    ),
    "pitch": ("Systolic murmur pitch", "pitch of the systolic murmur", ("Low", "Medium", "High")),
    "quality": (
        "Systolic murmur quality",
        "quality of the systolic murmur",
        ("Blowing", "Harsh", "Musical"),
    ),
}


def rows_by_patient(table: Path, rows: Iterable[Row]) -> dict[str, Row]:
    """Index the rows of training_data.csv by patient id.

    Args:
        table: The file, for messages.
        rows: Its rows.

    Returns:
        Rows by id.

    Raises:
        CorruptFileError: A patient is listed twice.
    """
    by_patient: dict[str, Row] = {}
    for row in rows:
        name = plain_identifier(row["Patient ID"])
        if name in by_patient:
            raise CorruptFileError(f"{table} lists {name} twice. Restore it as published.")
        by_patient[name] = row
    return by_patient


def unreadable_remarks(facts: Sequence[str]) -> tuple[str, ...]:
    """Summarise the optional facts that are left out because they are not numbers.

    Args:
        facts: A description of each such fact.

    Returns:
        One sentence, or nothing.
    """
    if not facts:
        return ()
    one = "height or weight is not a number and is"
    several = "heights or weights are not numbers and are"
    return (f"{counted(len(facts), one, several)} left out, first {facts[0]}",)


class Patient:
    """The content of one patient's .txt.

    Attributes:
        id: The id that the challenge uses.
        recordings: (place, files by role) of each recording.
        facts: The facts as written.
        meta: The labels and facts in a usable form.
        unreadable: Heights and weights that are not numbers.
    """

    def __init__(
        self,
        path: Path,
        recordings: list[tuple[str, dict[str, str]]],
        facts: dict[str, str],
    ) -> None:
        """Check the labels.

        Raises:
            CorruptFileError: A label is not in the vocabulary.
        """
        self.id = path.stem
        self.recordings = recordings
        self.facts = facts = _plain_facts(facts)
        self.unreadable: list[str] = []
        self.meta: dict[str, Any] = {
            "murmur": _word(path, facts, "Murmur", MURMUR),
            "outcome": _word(path, facts, "Outcome", OUTCOME),
            "murmur_locations": tuple(
                p for p in facts.get("Murmur locations", "nan").split("+") if p != "nan"
            ),
        }
        # Attributes are checked by label_of, so that a wrong one concerns the tasks that ask for it
        # alone.
        for name, (key, _, _) in ATTRIBUTES.items():
            if facts.get(key, "nan") != "nan":
                self.meta[name] = facts[key]
        for name, key in (
            ("age", "Age"),
            ("sex", "Sex"),
            ("campaign", "Campaign"),
            ("additional_id", "Additional ID"),
            ("pregnant", "Pregnancy status"),
            ("most_audible", "Most audible location"),
        ):
            if facts.get(key, "nan") != "nan":
                self.meta[name] = facts[key]
        for name, key in (("height", "Height"), ("weight", "Weight")):
            value = parse_number(facts.get(key))
            if value is not None:
                self.meta[name] = value
            elif not is_blank(facts.get(key)):
                self.unreadable.append(f"{key} {facts[key]!r} in {path}")


def read_patient(path: Path) -> Patient:
    """Read a patient's .txt, with the line ends of Unix or Windows.

    Args:
        path: The file.

    Returns:
        The patient.

    Raises:
        LayoutError: The file is missing.
        CorruptFileError: The file cannot be read; the message names the fault.
    """
    lines = read_text(path).splitlines()
    head = lines[0].split() if lines else []
    if (
        len(head) != 3
        or head[0] != path.stem
        or not re.fullmatch("[0-9]{1,6}", head[1])
        or head[2] != str(CIRCOR_RATE)
    ):
        raise CorruptFileError(
            f"{path} starts with {' '.join(head)!r}; wanted '{path.stem} <recordings> "
            f"{CIRCOR_RATE}'. Download it again."
        )
    rows = [line.split() for line in lines[1:] if line.strip() and not line.startswith("#")]
    if len(rows) != int(head[1]) or any(
        len(row) != 4 or row[0] not in CIRCOR_PLACES for row in rows
    ):
        raise CorruptFileError(
            f"{path} promises {head[1]} recordings and lists {len(rows)}, or one of them is not a "
            "place, header, audio and states. Download it again."
        )
    facts = dict(line[1:].partition(": ")[::2] for line in lines if line.startswith("#"))
    facts = {key.rstrip(":").strip(): value.strip() or "nan" for key, value in facts.items()}
    recordings = [
        (
            row[0],
            dict(zip(("header", "audio", "states"), row[1:], strict=True)),
        )
        for row in rows
    ]
    if len({files["audio"] for _, files in recordings}) < len(recordings):
        raise CorruptFileError(f"{path} lists a recording twice. Restore it as published.")
    return Patient(path, recordings, facts)


def persons(additional: Mapping[str, str]) -> dict[str, str]:
    """Map each id to its person.

    Ids that ``Additional ID`` joins, directly or through other ids, are one person.

    Args:
        additional: ``Additional ID`` by id; "nan" for none.

    Returns:
        The lowest id of the person, by id.

    Example:
        >>> persons({"3": "nan", "5": "3", "9": "5"})
        {'3': '3', '5': '3', '9': '3'}
    """
    home: dict[str, str] = {}

    def lowest(name: str) -> str:
        while home.get(name, name) != name:
            name = home[name]
        return name

    for name, additional_id in additional.items():
        for identifier in (name, additional_id) if additional_id != "nan" else (name,):
            home.setdefault(identifier, identifier)
        a = lowest(name)
        b = lowest(additional_id if additional_id != "nan" else name)
        low, high = sorted((a, b), key=lambda i: (len(i), i))
        home[high] = low
    return {name: lowest(name) for name in additional}


def read_states(path: Path) -> tuple[Interval, ...]:
    """Read a .tsv of states.

    Args:
        path: The file.

    Returns:
        (start in s, end in s, state index) of its annotated rows.

    Raises:
        LayoutError: The file is missing.
        CorruptFileError: A row is not two times and a state of 0 to 4, runs backwards, or overlaps
            the row above.
    """
    lines = _lines_of_states(path)
    rows: list[Interval] = []
    for number, cells in enumerate(lines, start=1):
        row = _state_row(path, number, cells)
        if row[0] != row[1]:
            rows.append(row)
    if _digest_of_rows(lines) in _LISTED_TWICE:
        rows = _once(rows)
    check_intervals(path, rows)
    return tuple((start, end, state - 1) for start, end, state in rows if state > 0)


def _lines_of_states(path: Path) -> list[list[str]]:
    """The cells of each row of a .tsv, without the header that other programs add."""
    if not is_file(path):
        raise LayoutError(
            f"{path} is missing. Restore it, or leave out the tasks that need states."
        )
    lines = [" ".join(cells).split() for cells in read_rows(path)]
    if not lines:
        raise CorruptFileError(f"{path} is an empty file. Download it again.")
    if tuple(word.lower() for word in lines[0]) in _STATE_HEADERS:
        return lines[1:]
    # The line "0 1 2" of pandas reads like a row; it cannot be one where the next row begins before
    # second 1.
    if len(lines) > 1 and is_numbered_header(lines[0]):
        next_start = parse_number(lines[1][0])
        if next_start is not None and next_start < 1 - OVERLAP_LIMIT:
            return lines[1:]
    return lines


def _state_row(
    path: Path,
    number: int,
    cells: Sequence[str],
) -> Interval:
    """Parse one row: start in s, end in s, and the published state 0 to 4.

    A row without length may have any whole number as its state.
    """
    values = [parse_number(cell) for cell in cells[:2]]
    state = parse_whole(cells[2]) if len(cells) > 2 else None
    if len(values) < 2 or values[0] is None or values[1] is None or state is None:
        text = " ".join(cells)[:80]
        raise CorruptFileError(
            f"{path}, row {number}: {text!r} is not a start, an end and a state."
        )
    start = values[0]
    end = values[1]
    if start != end and (state not in range(5) or len(cells) != 3):
        raise CorruptFileError(
            f"{path}, row {number}: state {list(cells[2:5])}; wanted 0 to 4. Restore it as "
            "published."
        )
    return start, end, state


def _digest_of_rows(lines: Iterable[Sequence[str]]) -> str:
    """sha256 of rows with numbers written as published: 0 and 0.3555, also where 0.0 was saved."""
    text = "\n".join("\t".join(_as_published(cell) for cell in cells) for cells in lines)
    return sha256(text.encode()).hexdigest()


def _as_published(cell: str) -> str:
    number = parse_whole(cell)
    if number is not None:
        return str(number)
    return repr(parse_number(cell))


def _once(rows: Sequence[Interval]) -> list[Interval]:
    """Drop the rows that repeat a stretch which earlier rows have covered."""
    unique_rows: list[Interval] = []
    for row in rows:
        if not unique_rows or row[0] >= unique_rows[-1][1] - OVERLAP_LIMIT:
            unique_rows.append(row)
    return unique_rows


def _word(
    path: Path,
    facts: Mapping[str, str],
    key: str,
    classes: Sequence[str],
) -> str:
    word = facts.get(key, "nan")
    if word not in classes:
        raise CorruptFileError(
            f"{path} says {key} {word!r}; possible: {', '.join(classes)}. Restore it as published."
        )
    return word


def _plain_facts(facts: Mapping[str, str]) -> dict[str, str]:
    """Facts with "nan" for every blank and the other id of a person as published."""
    plain = {key: "nan" if is_blank(value) else value.strip() for key, value in facts.items()}
    if "Additional ID" in plain:
        plain["Additional ID"] = plain_identifier(plain["Additional ID"])
    return plain
