"""Slips of people and spreadsheets in tables of one's own: each is told, and no row is lost or changed in silence."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.datasets.own import remarks
from etab.datasets.own.check import check_own
from etab.datasets.own.description import read_description
from etab.datasets.own.draft import write_draft
from etab.datasets.own.registered import own_source
from etab.datasets.own.rows import OwnTable
from etab.datasets.own.table import read_own_table
from etab.errors import CorruptFileError, EtabError, LayoutError
from etab.tasks.inputs import ROW_INPUTS
from etab.tasks.own import own_notes
from tests.datasets import own_tables
from tests.datasets.own_tables import clips, describe, pictures, write_table

pytestmark = pytest.mark.usefixtures("forget_own_data")

LABELS = '[labels.EF]\nkind = "value"\n[labels.sick]\nkind = "classes"\nclasses = ["no", "yes"]\n'
ROWS = 6


def read(folder: Path, labels: str = LABELS) -> OwnTable:
    return read_own_table(read_description(describe(folder, labels)))


def lines_of(folder: Path) -> list[str]:
    """The lines of a table: header, then p000 to p005, with the columns file, patient, EF, sick."""
    write_table(folder, pictures(folder, patients=ROWS))
    return (folder / "clinic.csv").read_text().splitlines()


def write(folder: Path, lines: list[str], end: str = "\n") -> None:
    (folder / "clinic.csv").write_text("\n".join(lines) + end)


@pytest.mark.parametrize(
    ("line", "text", "reason", "usable"),
    [
        (3, "p002.png,p002,46,5,no", "more cells than columns", 5),
        (3, 'p002.png,"p002,46,no', "a quote that is not closed", 2),
        (6, "p005.png,p0", "a row that is cut", 5),
        (3, "p002.png,1.23457E+11,46,no", "a spoiled patient id", 5),
        (3, "p002.png,#REF!,46,no", "a spoiled patient id", 5),
        (3, "./p001.png,p001,,", "a recording listed twice", 5),
        (3, "x" * 5000 + ".png,p002,46,no", "no name of a file", 5),
        (3, "x\0.png,p002,46,no", "a missing file", 5),
        (3, '"p002\n.png",p002,46,no', "a line break in a cell", 5),
        (3, 'p002.png,"p002\np002",46,no', "a line break in a cell", 5),
    ],
)
def test_a_row_that_is_no_row_is_told(
    line: int, text: str, reason: str, usable: int, tmp_path: Path
) -> None:
    lines = lines_of(tmp_path)
    lines[line] = text
    write(tmp_path, lines, end="" if line == ROWS else "\n")
    table = read(tmp_path)
    assert [(problem.line, problem.reason) for problem in table.problems] == [(line + 1, reason)]
    assert len(table.rows) == usable


@pytest.mark.parametrize(
    ("line", "name", "step"),
    [
        ("", "beat.wav", "For a table of sounds, write sound = true in clinic.toml."),
        ("sound = true\n", "p002.png", "For a table of pictures, leave sound = true out of"),
    ],
)
def test_sounds_among_pictures_are_told_how_they_are_read(
    line: str, name: str, step: str, tmp_path: Path
) -> None:
    lines = lines_of(tmp_path)
    (tmp_path / "beat.wav").write_bytes(b"RIFF")
    write(tmp_path, [lines[0], f"{name},p002,46,no"])
    description = describe(tmp_path, LABELS)
    description.write_text(line + description.read_text())
    (problem,) = read_own_table(read_description(description)).problems
    assert step in problem.text


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    lines = lines_of(tmp_path)
    lines[5] = "p004.png,p004,high,no"
    write(tmp_path, ["sep=,", lines[0], "", ",,,", *lines[1:]])
    assert [problem.line for problem in read(tmp_path).problems] == [9]


def test_rows_without_their_last_cells_are_counted(tmp_path: Path) -> None:
    lines = lines_of(tmp_path)
    lines[2] = "p001.png,p001,50"
    write(tmp_path, lines)
    table = read(tmp_path)
    assert len(table.rows) == ROWS
    assert table.notes == (
        "1 row is shorter than the header, first line 3; missing cells count as blank.",
    )


@pytest.mark.parametrize(
    ("name", "there"),
    [("P002.PNG", "p002.png"), ("SUB\\p9.png", ""), ("Sub/p9.png", "")],
)
def test_a_missing_file_with_a_near_name_is_told(name: str, there: str, tmp_path: Path) -> None:
    lines = lines_of(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "p9.png").write_bytes((tmp_path / "p002.png").read_bytes())
    lines[3] = f"{name},p002,46,no"
    write(tmp_path, lines)
    (problem,) = read(tmp_path).problems
    assert (f"There is {there!r}" in problem.text) == bool(there)


def test_backslashes_are_read_as_slashes_and_told_once(tmp_path: Path) -> None:
    lines = lines_of(tmp_path)
    (tmp_path / "sub").mkdir()
    for number in range(1, len(lines)):
        name = lines[number].partition(",")[0]
        (tmp_path / name).rename(tmp_path / "sub" / name)
        lines[number] = f"sub\\{lines[number]}"
    write(tmp_path, lines)
    table = read(tmp_path)
    assert table.problems == ()
    assert {row.files["file0"].partition("/")[0] for row in table.rows} == {"sub"}
    assert table.notes == (
        f"{ROWS} names of files have backslashes, first line 2, which are read as slashes.",
    )


def test_a_file_with_a_backslash_in_its_name_is_itself(tmp_path: Path) -> None:
    lines = lines_of(tmp_path)
    (tmp_path / "p001.png").rename(tmp_path / "a\\p001.png")
    write(tmp_path, [line.replace("p001.png", "a\\p001.png") for line in lines])
    assert read(tmp_path).rows[1].files["file0"] == "a\\p001.png"
    assert read(tmp_path).notes == ()


@pytest.mark.parametrize(
    ("patients", "note"),
    [
        (("007", "7"), "patients 007 and 7 are counted as different"),
        (("P1", "p1"), "patients P1 and p1 are counted as different"),
        (("2024-01-05", "x"), "1 of 6 patients are dates, such as 2024-01-05"),
        (("02-Jan", "x"), "1 of 6 patients are dates, such as 02-Jan"),
        (("p10", "p100"), ""),
    ],
)
def test_patients_that_may_be_one_are_told(
    patients: tuple[str, str], note: str, tmp_path: Path
) -> None:
    rows = pictures(tmp_path, patients=ROWS)
    for row, patient in zip(rows, patients, strict=False):
        row["patient"] = patient
    write_table(tmp_path, rows)
    table = read(tmp_path)
    assert {row.patient for row in table.rows} >= set(patients)
    assert note in " ".join(table.notes)
    assert bool(table.notes) == bool(note)


def test_none_is_a_class_where_it_is_named_and_told_where_it_is_not(tmp_path: Path) -> None:
    rows = pictures(tmp_path, patients=ROWS)
    for number, row in enumerate(rows):
        row["sick"] = ("none", "mild", "severe")[number % 3]
    write_table(tmp_path, rows)
    labels = '[labels.sick]\nkind = "classes"\nclasses = ["none", "mild", "severe"]\n'
    assert [row.values["sick"] for row in read(tmp_path, labels).rows] == [0, 1, 2, 0, 1, 2]
    description = read_description(describe(tmp_path, labels.replace('"none", ', "")))
    notes = own_notes(description)
    assert "sick: 2 cells 'none' counted as unknown; add the word to classes" in " ".join(notes)
    (tmp_path / "clinic.toml").unlink()
    draft = write_draft(tmp_path)
    assert 'classes = ["mild", "none", "severe"]' in draft.description.read_text()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace(b"p001,", "Müller,".encode("latin-1")), "line 3 has the byte"),
        (lambda text: b"PK\x03\x04" + text, "workbook of a spreadsheet"),
        (lambda text: text.replace(b"sick", b"EF", 1), "the column 'EF' twice"),
        (lambda text: text.replace(b"file", b"FILE", 1), "'FILE' is written in another way"),
        (lambda text: b"", "is empty"),
        (lambda text: text[: text.index(b"\n") + 1], "has no rows"),
    ],
)
def test_a_file_that_is_no_table_is_told(
    change: Callable[[bytes], bytes], problem: str, tmp_path: Path
) -> None:
    lines_of(tmp_path)
    path = tmp_path / "clinic.csv"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(EtabError, match=problem):
        read(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_of_spreadsheets_are_read(encoding: str, tmp_path: Path) -> None:
    lines = [line.replace(".", ",").replace(",png", ".png") for line in _semicolons(tmp_path)]
    (tmp_path / "clinic.csv").write_bytes("\r\n".join(["sep=;", *lines, ""]).encode(encoding))
    description = describe(tmp_path, LABELS)
    description.write_bytes(b"\xef\xbb\xbf" + description.read_bytes())
    table = read_own_table(read_description(description))
    assert not table.problems
    assert table.rows[1].values["EF"] == 42.25


def _semicolons(folder: Path) -> list[str]:
    return [line.replace(",", ";") for line in lines_of(folder)]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([1e17 + 64 * i for i in range(ROWS)], "was shortened by a spreadsheet"),
        ([f"p{i}".encode() for i in range(ROWS)], ""),
        (np.arange(ROWS), ""),
        (np.arange(ROWS) * 1.0, ""),
    ],
)
def test_types_of_parquet(values: Any, problem: str, tmp_path: Path) -> None:
    table = read_own_table(read_description(_parquet(tmp_path, values)))
    assert problem in " ".join(row.text for row in table.problems)
    if not problem:
        assert {row.patient.removeprefix("p") for row in table.rows} == set("012345")


def _parquet(folder: Path, patients: Any) -> Path:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(pictures(folder, patients=ROWS))
    frame["patient"] = patients
    frame.to_parquet(folder / "clinic.parquet")
    path = describe(folder, LABELS)
    path.write_text(path.read_text().replace("clinic.csv", "clinic.parquet"))
    return path


def test_lists_in_a_cell_of_parquet_are_refused(tmp_path: Path) -> None:
    path = _parquet(tmp_path, [[f"p{i}"] for i in range(ROWS)])
    with pytest.raises(LayoutError, match="a cell of the column 'patient' is a list"):
        read_own_table(read_description(path))


def test_a_copy_of_another_patient_is_told(tmp_path: Path) -> None:
    lines_of(tmp_path)
    (tmp_path / "p004.png").write_bytes((tmp_path / "p001.png").read_bytes())
    report = check_own(read_description(describe(tmp_path, LABELS)))
    assert [problem.line for problem in report.problems] == [3, 6]
    assert "p001 of patient p001 equals p004 of patient p004, line 6" in report.render()


def test_another_study_or_group_is_other_data(tmp_path: Path) -> None:
    digests = set()
    for study in ("s1", "s2"):
        for group in ("g1", "g2"):
            rows = pictures(tmp_path, patients=ROWS)
            rows[0].update(study=study, group=group)
            write_table(tmp_path, rows)
            path = describe(tmp_path, LABELS)
            digests.add(own_source(read_description(path))(tmp_path).digest())
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "file,patient\nMüller.png,p1\n".encode("latin-1"), "is not a table in UTF-8"),
        ("a.csv", b"file,patient\nx000,p1\n", "no column holds names of the recordings"),
        ("a.xlsx", b"PK\x03\x04", "workbook of a spreadsheet"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_a_table_that_init_does_not_use_is_told(
    name: str, content: bytes, reason: str, tmp_path: Path
) -> None:
    pictures(tmp_path, patients=2)
    (tmp_path / name).write_bytes(content)
    assert f"{name} is not used: " in write_draft(tmp_path).render()
    assert reason in write_draft(tmp_path, tmp_path / "again.toml").render()


def test_a_damaged_parquet_file_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "clinic.parquet").write_bytes(b"PAR1" + b"\0" * 40 + b"PAR1")
    path = describe(tmp_path, LABELS)
    path.write_text(path.read_text().replace("clinic.csv", "clinic.parquet"))
    with pytest.raises(CorruptFileError, match="cannot be read as Parquet"):
        read_own_table(read_description(path))


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("clip", "input = 'clip' needs videos, and every recording is a still"),
        ("views:clip", "input = 'views:clip' needs videos"),
        ("ED", "input = 'ED' needs frames of end-diastole and end-systole, and no row names them"),
        ("answer", ""),
    ],
)
def test_an_input_that_no_recording_has_is_told(tmp_path: Path, word: str, told: str) -> None:
    write_table(tmp_path, pictures(tmp_path, patients=4))
    path = describe(tmp_path, f'[labels.EF]\nkind = "value"\ninput = "{word}"\nviews = ["A4C"]\n')
    notes = " ".join(check_own(read_description(path)).remarks)
    assert ("input = " in notes) == bool(told)
    assert told in notes


def test_inputs_of_videos_frames_and_several_views_are_those_of_tasks() -> None:
    several = {row.name for row in ROW_INPUTS.values() if row.several_views}
    assert set(remarks.INPUTS_OF_SEVERAL_VIEWS) == several
    rows = {row.name: row for row in ROW_INPUTS.values() if row.modality == "image"}
    assert set(remarks.INPUTS_OF_VIDEOS) == {name for name, row in rows.items() if row.clip}
    assert set(remarks.INPUTS_OF_FRAMES) == {name for name, row in rows.items() if row.phases}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_ends_of_lines_are_told_from_the_header(
    delimiter: str, end: str, tmp_path: Path
) -> None:
    lines = [line.replace(",", delimiter) for line in lines_of(tmp_path)]
    (tmp_path / "clinic.csv").write_bytes((end.join(lines) + end).encode("utf-8-sig"))
    assert len(read(tmp_path).rows) == ROWS


def test_a_line_above_the_header_is_told(tmp_path: Path) -> None:
    write(tmp_path, ["# exported on Monday", *lines_of(tmp_path)])
    with pytest.raises(LayoutError, match="Line 2 has it: remove the lines above"):
        read(tmp_path)


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_accents_are_read_however_they_are_stored(
    stored: str, written: str, tmp_path: Path
) -> None:
    lines = lines_of(tmp_path)
    name = "Müller – É.png"
    (tmp_path / "p002.png").rename(tmp_path / unicodedata.normalize(stored, name))
    lines[3] = f"{unicodedata.normalize(written, name)},p002,46,no"
    write(tmp_path, lines)
    assert len(read(tmp_path).rows) == ROWS


def test_a_name_with_a_semicolon_is_one_file_where_it_is_there(tmp_path: Path) -> None:
    lines = lines_of(tmp_path)
    (tmp_path / "p002.png").rename(tmp_path / "A4C;2.png")
    lines[3] = "A4C;2.png,p002,46,no"
    write(tmp_path, lines)
    assert [row.files for row in read(tmp_path).rows][2] == {"file0": "A4C;2.png"}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "is a folder; name the files in it"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.symlink_to(path.name), "is missing"),
    ],
)
def test_what_is_no_file_is_called_what_it_is(make: Any, said: str, tmp_path: Path) -> None:
    lines = lines_of(tmp_path)
    make(tmp_path / "odd.png")
    lines[3] = "odd.png,p002,46,no"
    write(tmp_path, lines)
    (problem,) = read(tmp_path).problems
    assert said in problem.text


def test_an_id_given_twice_is_not_called_a_file_listed_twice(tmp_path: Path) -> None:
    lines = [
        f"{line},{'id' if not number else 'r1'}" for number, line in enumerate(lines_of(tmp_path))
    ]
    write(tmp_path, lines)
    table = read(tmp_path)
    assert {problem.reason for problem in table.problems} == {"an id given twice"}
    assert "p001.png has the id 'r1', as line 2 has" in table.problems[0].text


def test_letters_that_are_not_seen_are_told(tmp_path: Path) -> None:
    lines = lines_of(tmp_path)
    lines[3] = "p002.png,p001\u200b,46,no"
    write(tmp_path, lines)
    assert "patients p001 and 'p001\\u200b' are counted as different" in " ".join(
        read(tmp_path).notes
    )


def test_a_split_that_leaves_recordings_out_is_told(tmp_path: Path) -> None:
    words = ["split", "train", "", *["test"] * ROWS]
    lines = [f"{line},{word}" for line, word in zip(lines_of(tmp_path), words, strict=False)]
    write(tmp_path, lines)
    notes = " ".join(own_notes(read_description(describe(tmp_path, LABELS))))
    assert f"split: 1 of {ROWS} recordings have no part" in notes


def test_folds_in_the_column_of_parts_name_the_protocol_that_runs_them(tmp_path: Path) -> None:
    lines = [f"{line},{number or 'split'}" for number, line in enumerate(lines_of(tmp_path))]
    write(tmp_path, lines)
    assert "--protocol lists:FILE" in read(tmp_path).problems[0].text


def test_rows_of_several_views_are_not_called_mixed(tmp_path: Path) -> None:
    lines = lines_of(tmp_path)
    views = ["view", *["A2C", "A4C"] * ROWS]
    write(tmp_path, [f"{line},{view}" for line, view in zip(lines, views, strict=False)])
    for word, told in (("views", False), ("answer", True)):
        text = f'[labels.EF]\nkind = "value"\ninput = "{word}"\n'
        notes = " ".join(own_notes(read_description(describe(tmp_path, text))))
        assert ("recordings of several views" in notes) == told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ed": 400}, "end-diastole or end-systole is frame 400, and the recording has 40 frames"),
        ({"mask_frames": "3;3"}, "mask_frames is '3;3'; wanted each frame once"),
    ],
)
def test_frames_that_no_recording_has_are_told_by_their_row(
    change: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_tables, "PATIENTS", 2)
    rows = clips(tmp_path)
    write_table(tmp_path, [{**rows[0], **change}, rows[1]])
    text = '[labels.LV]\nkind = "mask"\ncolumn = "mask"\nframes = "mask_frames"\n'
    (problem,) = check_own(read_description(describe(tmp_path, text))).problems
    assert problem.line == 2
    assert told in problem.text
