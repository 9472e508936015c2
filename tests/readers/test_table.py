"""Tables that other programs saved again say what the published ones say."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etab.datasets import source
from etab.datasets.base import Source
from etab.datasets.circor_layout import read_states
from etab.errors import CorruptFileError, LayoutError
from etab.readers.table import (
    is_blank,
    parse_number,
    parse_whole,
    plain_identifier,
    read_rows,
    read_table,
    same_cell,
)

Cells = list[list[str]]
Change = Callable[[Cells], str]


@pytest.fixture(scope="module")
def trees(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["echonet", "pediatric", "lvh", "circor", "cinc2016"])


# --- ways in which programs save a table ---


def written(
    rows: Cells, delimiter: str = ",", end: str = "\n", quote: int = csv.QUOTE_MINIMAL
) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quote).writerows(rows)
    return out.getvalue()


def as_decimal(cell: str) -> str:
    return f"{cell}.0" if cell.lstrip("-").isdigit() else cell


def decimals(rows: Cells) -> Cells:
    return [[as_decimal(cell) for cell in cells] for cells in rows]


def blanks(rows: Cells) -> Cells:
    return [["" if cell == "nan" else cell for cell in cells] for cells in rows]


def indexed(rows: Cells) -> Cells:
    head, *below = rows
    return [["", *head], *([str(i), *cells] for i, cells in enumerate(below))]


def comma_decimals(rows: Cells) -> Cells:
    return [
        [c.replace(".", ",") if parse_number(c) is not None else c for c in cells] for cells in rows
    ]


SAVED: dict[str, Change] = {
    "decimal numbers": lambda rows: written(decimals(rows)),
    "blanks": lambda rows: written(blanks(rows)),
    "byte-order mark and CRLF": lambda rows: "\ufeff" + written(rows, end="\r\n"),
    "carriage returns": lambda rows: written(rows, end="\r"),
    "quotes": lambda rows: written(rows, quote=csv.QUOTE_ALL),
    "spaces": lambda rows: written([[f" {cell} " for cell in cells] for cells in rows]),
    "index column": lambda rows: written(indexed(rows)),
    "semicolons": lambda rows: written(rows, ";"),
    "semicolons and decimal commas": lambda rows: "sep=;\n" + written(comma_decimals(rows), ";"),
    "blank lines at the end": lambda rows: written([*rows, [""] * len(rows[0]), []]),
}


def rows_of_file(path: Path) -> Cells:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    return list(csv.reader(io.StringIO(path.read_text()), delimiter=delimiter))


def everything(data: Source, targets: tuple[str, ...]) -> list[Any]:
    facts: list[Any] = []
    for record in data.records():
        facts.append((record.id, record.patient, record.split, record.fps, record.meta))
        for name in targets:
            answers = data.answers(record, data.card.target(name))
            facts.append(
                [(a.at, str(getattr(a.value, "tolist", lambda a=a: a.value)())) for a in answers]
            )
    return facts


@pytest.mark.parametrize("how", SAVED)
@pytest.mark.parametrize(
    ("name", "tables", "targets"),
    [
        ("echonet", "*.csv", ("EF", "LV_seg")),
        ("pediatric", "**/*.csv", ("EF", "LV_seg")),
        ("lvh", "*.csv", ("keypoints", "LVIDd")),
        ("circor", "training_data.csv", ("murmur", "outcome")),
    ],
)
def test_tables_with_names_that_were_saved_again(
    trees: Path, tmp_path: Path, how: str, name: str, tables: str, targets: tuple[str, ...]
) -> None:
    root = shutil.copytree(trees / name, tmp_path / name)
    before = everything(source(name, root), targets)
    paths = list(root.glob(tables))
    assert paths
    for path in paths:
        path.write_text(SAVED[how](rows_of_file(path)), newline="")
    assert everything(source(name, root), targets) == before


HEADED: dict[str, Change] = {
    **{key: SAVED[key] for key in SAVED if key != "index column"},
    "pandas header": lambda rows: written([[str(i) for i in range(len(rows[0]))], *rows]),
    "pandas header and index": lambda rows: written(
        indexed([[str(i) for i in range(len(rows[0]))], *rows])
    ),
    "pandas header, index and decimals": lambda rows: written(
        indexed([[str(i) for i in range(len(rows[0]))], *decimals(rows)])
    ),
    "named": lambda rows: written([["record", "label", "quality"][: len(rows[0])], *rows]),
}


@pytest.mark.parametrize("how", HEADED)
def test_tables_without_names_that_were_saved_again(trees: Path, tmp_path: Path, how: str) -> None:
    root = shutil.copytree(trees / "cinc2016", tmp_path / "cinc2016")
    before = everything(source("cinc2016", root), ("abnormal", "quality"))
    paths = list(root.rglob("REFERENCE*.csv"))
    assert paths
    for path in paths:
        path.write_text(HEADED[how](rows_of_file(path)), newline="")
    assert everything(source("cinc2016", root), ("abnormal", "quality")) == before


@pytest.mark.parametrize(
    "how", ["decimal numbers", "blanks", "quotes", "byte-order mark and CRLF", "index column"]
)
def test_the_appendix_saved_again(trees: Path, tmp_path: Path, how: str) -> None:
    root = shutil.copytree(trees / "cinc2016", tmp_path / "cinc2016")
    before = everything(source("cinc2016", root), ("abnormal",))
    (path,) = root.rglob("Online_Appendix_training_set.csv")
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    path.write_text(SAVED[how](rows), newline="")
    assert everything(source("cinc2016", root), ("abnormal",)) == before


@pytest.mark.parametrize("how", [key for key in HEADED if key != "named"])
@pytest.mark.parametrize("delimiter", ["\t", None])
def test_states_saved_again(trees: Path, tmp_path: Path, how: str, delimiter: str | None) -> None:
    path = min((trees / "circor" / "training_data").glob("*.tsv"))
    copy = tmp_path / path.name
    text = HEADED[how](rows_of_file(path))
    if delimiter and "semicolons" not in how:
        text = text.replace(",", delimiter)
    copy.write_text(text, newline="")
    assert read_states(copy) == read_states(path)


def test_a_header_is_not_taken_for_a_state(tmp_path: Path) -> None:
    path = tmp_path / "1_AV.tsv"
    path.write_text("start\tend\tstate\n0.0\t0.5\t1.0\n")
    assert read_states(path) == ((0.0, 0.5, 0),)
    path.write_text("0\t1\t2\n1\t1.5\t3\n")
    assert read_states(path) == ((0.0, 1.0, 1), (1.0, 1.5, 2))


# --- cells ---


@pytest.mark.parametrize("text", ["46", " 46 ", "46.0", "46.", "4.6e1", "+46"])
def test_whole_numbers(text: str) -> None:
    assert parse_whole(text) == 46


@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "46.5", "4 6", "0x2E", "4_6", "46,0", "1e999", None]
)
def test_what_is_no_whole_number(text: str | None) -> None:
    assert parse_whole(text) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("16655.0", "16655", True),
        ("", "nan", True),
        ("NA", None, True),
        ("0.1", "0.10000000149", True),
        ("0.1", "0.1001", False),
        ("True", "TRUE", True),
        ("0", "", False),
        ("a", "b", False),
        ("1", "one", False),
    ],
)
def test_cells_are_compared_by_what_they_say(
    one: str | None, other: str | None, same: bool
) -> None:
    assert same_cell(one, other) is same
    assert same_cell(other, one) is same


def test_identifiers_and_blanks() -> None:
    assert plain_identifier(" 16655.0 ") == "16655"
    assert plain_identifier("0016") == "0016"
    assert plain_identifier("e00.5") == "e00.5"
    assert [is_blank(text) for text in ("", " NaN ", "<NA>", None, "0", "no")] == [True] * 4 + [
        False
    ] * 2


# --- tables that are refused ---


def test_tables_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with pytest.raises(LayoutError, match=r"t\.csv is missing"):
        read_table(path, ["a"])
    with pytest.raises(LayoutError, match=r"t\.csv is missing"):
        read_rows(path)
    path.write_text("a,b\n1\n")
    with pytest.raises(CorruptFileError, match="line 2: the row is not as long as the header"):
        read_table(path, ["a"])
    assert read_table(path, ["a"], ragged=True) == [{"a": "1", "b": ""}]
    path.write_text("a,a\n1,2\n")
    with pytest.raises(CorruptFileError, match="has the column 'a' twice"):
        read_table(path, ["a"])
    path.write_text("a;b\n1;2\n")
    with pytest.raises(CorruptFileError, match="has no column 'c'; it has 'a, b'"):
        read_table(path, ["a", "c"])
    path.write_bytes(b"\xfe\x00a")
    with pytest.raises(CorruptFileError, match="is not a table"):
        read_table(path, ["a"])


def test_a_table_in_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\tb\n1\t2\n", encoding="utf-16")
    assert read_table(path, ["a", "b"]) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("text", ['a,b\n1,"2\n3,4\n5,6\n', 'a,b\n1,2\n"3,4\n', 'a;b\n"1;2'])
@pytest.mark.parametrize("ragged", [False, True])
def test_a_cell_that_never_ends_is_told_and_swallows_no_rows(
    text: str, ragged: bool, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    line = text[: text.index('"')].count("\n") + 1
    with pytest.raises(CorruptFileError, match=rf"table\.csv, line {line}: a quotation mark opens"):
        read_table(path, ["a", "b"], ragged=ragged)
    with pytest.raises(CorruptFileError, match="a quotation mark opens a cell"):
        read_rows(path)


def test_cells_of_several_lines_that_end_are_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('a,b\n1,"two\nlines"\n3,"4"')
    assert read_table(path, ["a", "b"]) == [{"a": "1", "b": "two\nlines"}, {"a": "3", "b": "4"}]


def test_an_empty_table_is_called_empty(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    for text in ("", "\n", "\ufeff"):
        path.write_text(text)
        with pytest.raises(CorruptFileError, match="is empty: it has no line of column names"):
            read_table(path, ["a"])
