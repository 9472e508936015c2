"""``etab new dataset NAME``: a reader of a new dataset, and its test on a small phantom.

The test passes as written. In a checkout of the project (a folder with ``etab/datasets/``) each
file goes where the project has such files; in any other folder they are written side by side.
"""

from __future__ import annotations

import contextlib
import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from etab.datasets import SOURCES, cards
from etab.errors import StorageError, UnsupportedOptionError
from etab.storage.atomic import write_atomically

_NAME = re.compile(r"^[a-z][a-z0-9_]{1,30}$")

_SOURCE = Template('''\
"""$title: what it is, in one line. Say here what differs from the description of its authors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from etab.datasets.base import SOURCES, Card, Source
from etab.datasets.traced import check_unique, number_between
from etab.errors import CorruptFileError, DataNotFoundError, LayoutError, UnsupportedOptionError
from etab.readers.still import read_still, still_info
from etab.readers.table import read_table
from etab.splits import SPLIT_PARTS, check_leaks
from etab.types import Answer, Array, Kind, Record, Target

_TABLE = "list.csv"
_COLUMNS = ("name", "patient", "split", "EF")

_CARD = Card(
    name="$name",
    title="$title",
    code="$letter",
    modality="echo",
    views=("A4C",),
    targets=(Target("EF", Kind.VALUE, unit="%", description="left ventricular ejection fraction"),),
    licence="the licence, in a few words",
    citation="authors, journal, year, doi",
    access="where to get it, and what to sign",
)


@SOURCES.register("$name")
class ${kind}Source(Source):
    """$title as published: a folder with list.csv and stills/."""

    card: ClassVar[Card] = _CARD

    def __init__(self, root: Path) -> None:
        """Find the table.

        Args:
            root: The folder as published.

        Raises:
            DataNotFoundError: If there is no such folder.
            LayoutError: If the folder has no table.
        """
        super().__init__(Path(root))
        table = self.root / _TABLE
        if not self.root.is_dir():
            raise DataNotFoundError(f"{root} is not a folder. Pass the one that has {_TABLE}.")
        if not table.is_file():
            raise LayoutError(f"{table} is missing. Pass the folder that has it and stills/.")
        self._records: tuple[Record, ...] | None = None

    @property
    def phantom(self) -> bool:
        """Whether the data are a phantom: a marker file or the text of a picture says so."""
        if (self.root / "PHANTOM").is_file():
            return True
        for record in self.records():
            texts = still_info(self.root / record.files["still"]).text.values()
            if any("phantom" in text for text in texts):
                return True
        return False

    def records(self) -> Sequence[Record]:
        """All rows of the table, in its order.

        Raises:
            CorruptFileError: If the table is damaged.
            SplitError: If a patient is in two parts of the split.
        """
        if self._records is None:
            table = self.root / _TABLE
            rows = read_table(table, _COLUMNS, ragged=True)
            records = [_record(table, row) for row in rows]
            check_unique(table, records)
            check_leaks(records)
            self._records = tuple(records)
        return self._records

    def n_frames(self, record: Record) -> int:
        """One: every recording is a picture."""
        return 1

    def still(self, record: Record) -> bool:
        """True: there are no clips."""
        return True

    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """Read the picture.

        Args:
            record: A record of this dataset.
            at: Indexes of frames, of which there is only 0; None reads it once.

        Returns:
            Grey frames, uint8 of shape (k, h, w).

        Raises:
            UnsupportedOptionError: If a frame other than 0 is asked for.
            LayoutError: If the picture is missing.
            CorruptFileError: If the picture is damaged.
        """
        wanted = [0] if at is None else [int(index) for index in at]
        if any(index != 0 for index in wanted):
            raise UnsupportedOptionError(f"{record.id} has one frame, 0; asked for {wanted}.")
        picture = read_still(self.root / record.files["still"])
        return picture[None].repeat(len(wanted), axis=0)

    def answers(
        self, record: Record, target: Target, at: Collection[int] | None = None
    ) -> tuple[Answer, ...]:
        """The reference values of the authors.

        Args:
            record: A record of this dataset.
            target: A target of the card.
            at: Indexes of frames; values of the whole recording are returned whatever they are.

        Returns:
            One value, the EF in percent.
        """
        self.card.target(target.name)
        answers = [Answer(float(record.meta["EF"]))]
        return tuple(a for a in answers if at is None or a.at is None or a.at in at)

    def shared_files(self) -> Sequence[str]:
        """Files that belong to no single recording: the table."""
        return (_TABLE,)


def _record(table: Path, row: Mapping[str, str]) -> Record:
    name = row["name"].strip()
    split = row["split"].strip()
    if split not in SPLIT_PARTS:
        raise CorruptFileError(f"{table}: {name} has split {split!r}; wanted train, val or test.")
    return Record(
        id=name,
        patient=row["patient"].strip(),
        view="A4C",
        split=split,
        fps=None,
        files={"still": f"stills/{name}.png"},
        meta={"EF": number_between(table, row, "EF", 0, 100, name="name")},
    )
''')

_TEST = Template('''\
"""$title: the contract on a small phantom, the facts of one recording, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

$imports

SPLITS = ("train", "train", "train", "val", "test", "test")


def picture(i: int) -> np.ndarray:
    """The picture of recording ``i``: a disc that grows with the EF, uint8 of shape (40, 48)."""
    rows, columns = np.mgrid[:40, :48]
    inside = (rows - 20) ** 2 + (columns - 24) ** 2 < (6 + i) ** 2
    return np.where(inside, 20, 130 + 5 * i).astype(np.uint8)


def ef(i: int) -> float:
    """The EF of recording ``i`` in percent."""
    return 35.0 + 6 * i


def write(root: Path) -> Path:
    """Write a phantom in the published layout, with its real columns and quirks."""
    (root / "stills").mkdir(parents=True)
    (root / "PHANTOM").write_text("phantom data, not of patients\\n")
    mark = PngInfo()
    mark.add_text("Comment", "phantom")
    with (root / "list.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["name", "patient", "split", "EF"])
        for i, split in enumerate(SPLITS):
            Image.fromarray(picture(i)).save(root / "stills" / f"r{i}.png", pnginfo=mark)
            table.writerow([f"r{i}", f"p{i}", split, ef(i)])
    return root


def test_contract(tmp_path: Path) -> None:
    root = write(tmp_path / "data")
    check_dataset(${kind}Source, root, scratch=tmp_path / "scratch")


def test_facts(tmp_path: Path) -> None:
    source = ${kind}Source(write(tmp_path / "data"))
    record = source.records()[2]
    assert (record.patient, record.view, record.split) == ("p2", "A4C", "train")
    assert source.answers(record, source.card.target("EF"))[0].value == ef(2)
    assert np.array_equal(source.frames(record)[0], picture(2))
    assert check("$name", source.root).ok


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("EF", "Ef", CorruptFileError),
        ("35.0", "135.0", CorruptFileError),
        ("p5,test", "p0,test", SplitError),
    ],
)
def test_damaged_table(tmp_path: Path, old: str, new: str, error: type[Exception]) -> None:
    root = write(tmp_path / "data")
    text = (root / "list.csv").read_text()
    assert old in text
    (root / "list.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(error):
        ${kind}Source(root).records()


def test_damaged_picture(tmp_path: Path) -> None:
    root = write(tmp_path / "data")
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
    """The files of a new dataset, and the steps that follow.

    Attributes:
        files: The files that were written.
        steps: What to do next, in order.
    """

    files: tuple[Path, ...]
    steps: tuple[str, ...]


def new_dataset(name: str, folder: Path, *, title: str = "", letter: str = "Y") -> Scaffold:
    """Write a reader of a new dataset and its test on a small phantom.

    Args:
        name: Name of the dataset: 2 to 31 of a-z, 0-9 and _, beginning with a letter, and neither
            a Python keyword nor the name of another dataset.
        folder: A checkout of the project, or any other folder.
        title: Name of the dataset in words; ``name`` where it is empty.
        letter: Letter of the dataset in task codes, A to Z.

    Returns:
        The files and the next steps. The test passes as written.

    Raises:
        UnsupportedOptionError: Name or letter cannot be used, or a file exists already.
        StorageError: A file cannot be written.
    """
    if not _NAME.match(name) or keyword.iskeyword(name) or name in SOURCES:
        raise UnsupportedOptionError(
            f"{name!r} cannot be a new dataset: wanted 2 to 31 of a-z, 0-9 and _, beginning with a "
            f"letter, and none of {', '.join(SOURCES)}."
        )
    if not re.fullmatch("[A-Z]", letter):
        raise UnsupportedOptionError(f"The letter is {letter!r}; wanted one of A to Z.")
    held = [card.name for card in cards().values() if card.code == letter]
    if held:
        raise UnsupportedOptionError(
            f"The letter {letter} belongs to {held[0]}; choose another one with --letter."
        )
    checkout = (folder / "etab" / "datasets").is_dir()
    files = _files(name, checkout)
    existing = [folder / file for file in files.values() if (folder / file).exists()]
    if existing:
        raise UnsupportedOptionError(
            f"{existing[0]} exists already; choose another name or folder."
        )
    modules = {role: file.removesuffix(".py").replace("/", ".") for role, file in files.items()}
    words = {
        "name": name,
        "title": title or name,
        "letter": letter,
        "source": modules["source"],
        "kind": "".join(part.title() for part in name.split("_")),
    }
    words["imports"] = _imports(words, checkout)
    texts = {"source": _SOURCE, "test": _TEST}
    try:
        for role, file in files.items():
            write_atomically(folder / file, texts[role].substitute(words))
    except StorageError:
        for file in files.values():  # else the same command would say that they exist already
            with contextlib.suppress(OSError):
                (folder / file).unlink(missing_ok=True)
        raise
    return Scaffold(
        tuple(folder / file for file in files.values()),
        tuple(_steps(files, checkout)),
    )


def _files(name: str, checkout: bool) -> dict[str, str]:
    if checkout:
        return {
            "source": f"etab/datasets/{name}.py",
            "test": f"tests/datasets/test_{name}.py",
        }
    return {"source": f"{name}.py", "test": f"test_{name}.py"}


def _imports(words: dict[str, str], checkout: bool) -> str:
    """Write the imports of the test in the order that ruff requires."""
    of_etab = [
        "from etab.datasets.integrity.check import check",
        "from etab.errors import CorruptFileError, LayoutError, SplitError",
        "from etab.testing.datasets import check_dataset",
    ]
    of_dataset = f"from {words['source']} import {words['kind']}Source"
    if checkout:
        return "\n".join(sorted([*of_etab, of_dataset]))
    return "\n".join([*of_etab, "", of_dataset])


def _steps(files: dict[str, str], checkout: bool) -> Sequence[str]:
    test = f"python -m pytest {files['test']}"
    edit = f"write the published layout in {files['test']}, then read it in {files['source']}"
    steps = [test, edit]
    if checkout:
        steps.append("python -m benchmarks.pages.generate")
    else:
        steps.append(f"etab data check {files['source']} --root FOLDER")
        steps.append(f"etab run --data {files['source']} --root FOLDER --backbones image_stats")
        steps.append(
            "a table of recordings runs without a class: etab data init FOLDER, then etab run "
            "--data FOLDER/NAME.toml"
        )
    return steps
