"""``etab new dataset NAME``: a source, a phantom tree and a test that pass the contract as written, to be edited.

In a checkout of the project (a folder with ``etab/datasets/``) the files go where the project has such files; in any
other folder they lie side by side.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from etab.datasets import SOURCES
from etab.errors import StorageError, UnsupportedOptionError

_NAME = re.compile(r"^[a-z][a-z0-9_]{1,30}$")

_SOURCE = Template('''\
"""$title: what it is, in one line. What differs from what its authors say goes here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from etab.datasets.base import SOURCES, Card, Source
from etab.datasets.traced import check_unique, number
from etab.errors import CorruptFileError, DataNotFoundError, LayoutError, UnsupportedOptionError
from etab.readers.still import read_still, still_info
from etab.readers.table import read_table
from etab.splits import PARTS, check_leaks
from etab.types import Answer, Array, Kind, Record, Target

TABLE = "list.csv"

_CARD = Card(
    name="$name",
    title="$title",
    code="$letter",
    modality="echo",
    views=("A4C",),
    targets=(Target("EF", Kind.VALUE, unit="%", description="ejection fraction of the left ventricle"),),
    licence="the licence, in a few words",
    citation="authors, journal, year, doi",
    access="where it is had, and what one has to sign",
)


@SOURCES.register("$name")
class ${kind}Source(Source):
    """$title as published, from the folder that holds list.csv and stills/."""

    card: ClassVar[Card] = _CARD

    def __init__(self, root: Path) -> None:
        """Find the table; raises DataNotFoundError or LayoutError saying which folder to pass."""
        super().__init__(Path(root))
        if not self.root.is_dir():
            raise DataNotFoundError(f"{self.root} is not a folder. Pass the one that contains {TABLE}.")
        if not (self.root / TABLE).is_file():
            raise LayoutError(f"{self.root / TABLE} is missing. Pass the folder that contains it and stills/.")
        self._records: tuple[Record, ...] | None = None

    @property
    def phantom(self) -> bool:
        """Whether anything in the tree says phantom: the marker file, or a text chunk of a picture."""
        stills = (self.root / record.files["still"] for record in self.records())
        texts = (" ".join(still_info(path).text.values()) for path in stills)
        return (self.root / "PHANTOM").is_file() or any("phantom" in text for text in texts)

    def records(self) -> Sequence[Record]:
        """Every row of the table in its order; raises CorruptFileError, SplitError for a patient in two parts."""
        if self._records is None:
            table = self.root / TABLE
            rows = read_table(table, ("name", "patient", "split", "EF"), ragged=True)
            found = [_record(table, row) for row in rows]
            check_unique(table, found)
            check_leaks(found)
            self._records = tuple(found)
        return self._records

    def n_frames(self, record: Record) -> int:  # noqa: ARG002
        """One: a recording is a picture."""
        return 1

    def still(self, record: Record) -> bool:  # noqa: ARG002
        """Always: there are no clips."""
        return True

    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """The picture, grey, as (k, h, w) uint8; raises UnsupportedOptionError for any frame but 0."""
        wanted = [0] if at is None else [int(i) for i in at]
        if any(i != 0 for i in wanted):
            raise UnsupportedOptionError(f"{record.id} is one picture, frame 0; asked for {wanted}.")
        return read_still(self.root / record.files["still"])[None].repeat(len(wanted), axis=0)

    def answers(self, record: Record, target: Target, at: Collection[int] | None = None) -> tuple[Answer, ...]:
        """What the authors say; an answer about the whole recording is given whatever ``at`` is."""
        self.card.target(target.name)
        found = [Answer(float(record.meta["EF"]))]
        return tuple(answer for answer in found if at is None or answer.at is None or answer.at in at)

    def shared_files(self) -> Sequence[str]:
        """The table."""
        return (TABLE,)


def _record(table: Path, row: Mapping[str, str]) -> Record:
    name, patient, part = (row[key].strip() for key in ("name", "patient", "split"))
    if part not in PARTS:
        raise CorruptFileError(f"{table}: {name} is in split {part!r}; wanted train, val or test.")
    meta = {"EF": number(table, row, "EF", 0, 100, name="name")}
    return Record(name, patient, "A4C", part, None, {"still": f"stills/{name}.png"}, meta)
''')

_TREE = Template('''\
"""Writes a small made tree in the published layout of $title; put the real column names and quirks here."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SPLITS = ("train", "train", "train", "val", "test", "test")


def picture(i: int) -> np.ndarray:
    """A disc whose size follows the EF of recording ``i``."""
    rows, columns = np.mgrid[:40, :48]
    inside = (rows - 20) ** 2 + (columns - 24) ** 2 < (6 + i) ** 2
    return np.where(inside, 20, 130 + 5 * i).astype(np.uint8)


def ef(i: int) -> float:
    """The EF of recording ``i``."""
    return 35.0 + 6 * i


def write(root: Path) -> Path:
    """Write the tree; everything in it says phantom."""
    (root / "stills").mkdir(parents=True)
    (root / "PHANTOM").write_text("made data, not patients\\n")
    mark = PngInfo()
    mark.add_text("Comment", "phantom")
    with (root / "list.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["name", "patient", "split", "EF"])
        for i, split in enumerate(SPLITS):
            Image.fromarray(picture(i)).save(root / "stills" / f"r{i}.png", pnginfo=mark)
            table.writerow([f"r{i}", f"p{i}", split, ef(i)])
    return root
''')

_TEST = Template('''\
"""$title: the contract on its made tree, the facts of one recording, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

$imports


def test_contract(tmp_path: Path) -> None:
    check_dataset(${kind}Source, write(tmp_path / "tree"), scratch=tmp_path / "scratch")


def test_facts(tmp_path: Path) -> None:
    source = ${kind}Source(write(tmp_path / "tree"))
    record = source.records()[2]
    assert (record.patient, record.view, record.split) == ("p2", "A4C", "train")
    assert source.answers(record, source.card.target("EF"))[0].value == ef(2)
    assert np.array_equal(source.frames(record)[0], picture(2))
    assert check("$name", source.root).ok


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [("EF", "Ef", CorruptFileError), ("35.0", "135.0", CorruptFileError), ("p5,test", "p0,test", SplitError)],
)
def test_damaged_table(tmp_path: Path, old: str, new: str, error: type[Exception]) -> None:
    root = write(tmp_path / "tree")
    text = (root / "list.csv").read_text()
    assert old in text
    (root / "list.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(error):
        ${kind}Source(root).records()


def test_damaged_picture(tmp_path: Path) -> None:
    root = write(tmp_path / "tree")
    source = ${kind}Source(root)
    path = root / "stills" / "r0.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CorruptFileError, match="r0"):
        source.frames(source.records()[0])
    path.unlink()
    with pytest.raises(LayoutError, match="r0"):
        source.frames(source.records()[0])
''')


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What was written, and what is left to do by hand."""

    files: tuple[Path, ...]
    steps: tuple[str, ...]


def new_dataset(name: str, folder: Path, *, title: str = "", letter: str = "X") -> Scaffold:
    """Write source, tree and test of a new dataset; they pass as written.

    name: lower case, a Python name that no dataset has. letter: its letter in task codes. Raises
    UnsupportedOptionError for a name or letter that cannot be, or files that are there, StorageError when one cannot
    be written.
    """
    if not _NAME.match(name) or keyword.iskeyword(name) or name in SOURCES:
        raise UnsupportedOptionError(
            f"{name!r} cannot be a new dataset: wanted 2 to 31 of a-z, 0-9 and _, from a letter on, and none of "
            f"{', '.join(SOURCES)}."
        )
    if not re.fullmatch("[A-Z]", letter):
        raise UnsupportedOptionError(f"The letter is {letter!r}; wanted one of A to Z.")
    checkout = (folder / "etab" / "datasets").is_dir()
    places = _places(name, checkout)
    taken = [folder / place for place in places.values() if (folder / place).exists()]
    if taken:
        raise UnsupportedOptionError(f"{taken[0]} is there already; choose another name or folder.")
    modules = {role: place.removesuffix(".py").replace("/", ".") for role, place in places.items()}
    words = {
        "name": name,
        "title": title or name,
        "letter": letter,
        "source": modules["source"],
        "tree": modules["tree"],
        "kind": "".join(part.title() for part in name.split("_")),
    }
    words["imports"] = _imports(words, checkout)
    texts = {"source": _SOURCE, "tree": _TREE, "test": _TEST}
    try:
        for role, place in places.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_text(texts[role].substitute(words), encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{folder} could not be written: {error.strerror}. Choose another place."
        ) from error
    return Scaffold(
        tuple(folder / place for place in places.values()),
        tuple(_steps(places, checkout)),
    )


def _places(name: str, checkout: bool) -> dict[str, str]:
    if checkout:
        return {
            "source": f"etab/datasets/{name}.py",
            "tree": f"tests/trees/{name}.py",
            "test": f"tests/test_{name}.py",
        }
    return {"source": f"{name}.py", "tree": f"{name}_tree.py", "test": f"test_{name}.py"}


def _imports(words: dict[str, str], checkout: bool) -> str:
    """The imports of the test, in the order that the style wants."""
    ours = [
        "from etab.datasets.integrity.check import check",
        "from etab.errors import CorruptFileError, LayoutError, SplitError",
        "from etab.testing.datasets import check_dataset",
    ]
    made = [
        f"from {words['source']} import {words['kind']}Source",
        f"from {words['tree']} import ef, picture, write",
    ]
    return "\n".join(sorted([*ours, *made]) if checkout else [*ours, "", *made])


def _steps(places: dict[str, str], checkout: bool) -> Sequence[str]:
    run = [f"python -m pytest {places['test']}"]
    edit = [f"put the published layout into {places['tree']}, then read it in {places['source']}"]
    if not checkout:
        return [*run, *edit]
    return [
        *run,
        "import it in etab/datasets/__init__.py",
        *edit,
        "python -m benchmarks.pages.generate",
    ]
