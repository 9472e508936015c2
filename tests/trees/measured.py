"""Made trees of EchoNet-LVH, EchoNet-Pediatric and Unity Imaging, and ways to damage them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from etab.datasets import SOURCES, Source
from etab.datasets.integrity.check import check
from etab.errors import (
    DataNotFoundError,
    LayoutError,
    SplitError,
)
from etab.phantom.lvh import write_lvh
from etab.phantom.pediatric import write_pediatric
from etab.phantom.unity import write_unity
from etab.types import Record

WRITERS = {"lvh": write_lvh, "pediatric": write_pediatric, "unity": write_unity}
NESTED = Path("pediatric_echo_avi") / "pediatric_echo_avi"


def write_tree(name: str, root: Path, patients: int, seed: int = 2) -> Path:
    assert list(WRITERS[name](root, patients, seed)) == list(range(1, patients + 1))
    return root


class Trees(dict[str, Path]):
    """Trees by name, each made when it is first asked for."""

    def __init__(self, make: Callable[[str], Path]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, name: str) -> Path:
        self[name] = self.make(name)
        return self[name]


def recording_of(found: Source, index: int) -> Record:
    """The recording of phantom patient ``index``."""
    return found.records()[index]


def cut_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def read_cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_all(name: str, root: Path) -> None:
    found = SOURCES[name](root)
    for record in found.records():
        found.frames(record)
        for target in found.card.targets:
            found.answers(record, target)


def message_of_absence(name: str, root: Path) -> str | None:
    """What the source says is absent; None where it says nothing."""
    try:
        read_all(name, root)
    except (LayoutError, DataNotFoundError) as error:
        return str(error)
    return None


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def edit_row(path: Path, column: str, value: str) -> None:
    """Change a cell of the first row."""
    rows = read_cells(path)
    rows[0][column] = value
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def check_damage(name: str, root: Path, error: type[Exception], message: str) -> None:
    """Read a damaged tree: the error names the damage, and the check of the data lists it."""
    with pytest.raises(error, match=re.escape(message)):
        read_all(name, root)
    report = check(name, root)
    assert not report.ok
    if error is not LayoutError or message != "FileList.csv":
        rows = {LayoutError: report.missing, SplitError: report.leaks}.get(error, report.corrupt)
        assert rows
        assert any(message in row for row in [*rows, report.stopped]), report.render()
