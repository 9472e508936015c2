"""Tables as wards and their programs export them: each is read rightly, or told with the next step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from etab.cli.main import app
from etab.datasets.own import across
from etab.datasets.own.check import check_own
from etab.datasets.own.description import read_description
from etab.datasets.own.draft import write_draft
from etab.datasets.own.rows import OwnTable
from etab.datasets.own.table import read_own_table
from etab.errors import DataNotFoundError, LayoutError, UndefinedError
from etab.metrics import METRICS
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.tasks.own import use_own_data
from tests.datasets.own_tables import describe, pictures, sounds, write_table

pytestmark = pytest.mark.usefixtures("forget_own_data")

EF = '[labels.EF]\nkind = "value"\nunit = "%"\nrange = [0, 100]\n'
SICK = '[labels.sick]\nkind = "classes"\nclasses = ["no", "yes"]\n'
ROWS = 12


def table_of(folder: Path, change: Callable[[list[dict[str, Any]]], Any]) -> OwnTable:
    """A table of pictures with one slip."""
    rows = pictures(folder, patients=ROWS)
    change(rows)
    write_table(folder, rows)
    return read_own_table(read_description(describe(folder, EF + SICK)))


def put(number: int, **cells: Any) -> Callable[[list[dict[str, Any]]], Any]:
    return lambda rows: rows[number].update(cells)


@pytest.mark.parametrize(
    ("cell", "value"), [("55 %", 55.0), ("55%", 55.0), (" 55.5", 55.5), ("5.5e1", 55.0)]
)
def test_a_number_may_have_the_unit_of_its_label(cell: str, value: float, tmp_path: Path) -> None:
    table = table_of(tmp_path, put(2, EF=cell))
    assert table.rows[2].values["EF"] == value


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"EF": "46,5"}, "wanted a number with a decimal point, 46.5"),
        ({"EF": "55 bpm"}, "wanted a number alone, such as 55; write its unit once"),
        ({"EF": "#DIV/0!"}, "it is the error of a formula; write the value, or leave the cell"),
        ({"EF": "#REF!"}, "it is the error of a formula"),
        ({"EF": "1.200,5"}, "wanted a number without signs between thousands, 1200.5"),
        ({"EF": "55 ± 3"}, "wanted a number."),
        ({"view": "subcostal"}, "Write other for one of another kind."),
        ({"file": "“p002.png”"}, "There is 'p002.png': write the name so."),
        ({"file": "p002.png, p003.png"}, "separate several files by ;"),
        ({"EF": "50-55"}, "wanted a number."),
        ({"EF": ">55"}, "wanted a number."),
        ({"EF": "05. Mai"}, "wanted a number."),
        ({"patient": ""}, "write it in every row, also where cells were merged"),
        ({"file": "p002"}, "There is 'p002.png': write the name so."),
        ({"file": "old/p002.png"}, "There is 'p002.png': write the name so."),
        ({"file": "D:\\echo\\p002.png"}, "write paths relative to the folder"),
        ({"file": "\\\\server\\echo\\p002.png"}, "write paths relative to the folder"),
        ({"file": "study.zip"}, "Unpack it."),
        ({"file": "p002.pdf"}, "Convert it, or remove its row."),
    ],
)
def test_a_slip_is_told_with_the_next_step(
    cells: dict[str, str], said: str, tmp_path: Path
) -> None:
    for name in ("study.zip", "p002.pdf"):
        (tmp_path / name).touch()
    (problem,) = table_of(tmp_path, put(2, **cells)).problems
    assert said in problem.text


def test_a_file_in_another_folder_is_named_where_it_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "mai").mkdir()
    for name in ("one.png", "two.png"):
        (tmp_path / "mai" / name).touch()
    (tmp_path / "juni").mkdir()
    (tmp_path / "juni" / "two.png").touch()
    (one,) = table_of(tmp_path, put(2, file="one.png")).problems
    (two,) = table_of(tmp_path, put(2, file="two.png")).problems
    assert "There is 'mai/one.png'" in one.text
    assert "There is" not in two.text


def test_a_header_in_the_middle_is_told_as_one(tmp_path: Path) -> None:
    rows = pictures(tmp_path, patients=ROWS)
    rows.insert(6, {name: name for name in rows[0]})
    write_table(tmp_path, rows)
    (problem,) = read_own_table(read_description(describe(tmp_path, EF))).problems
    assert (problem.line, problem.reason) == (8, "the names of the columns again")


@pytest.mark.parametrize(
    ("name", "said"),
    [("E F", "'E F' is written in another way"), ("\u200bEF", "letters that are not seen")],
)
def test_names_of_columns_that_look_alike_are_told(name: str, said: str, tmp_path: Path) -> None:
    rows = pictures(tmp_path, patients=ROWS)
    write_table(tmp_path, [{name: row.pop("EF"), **row} for row in rows])
    with pytest.raises(LayoutError, match=said):
        read_own_table(read_description(describe(tmp_path, EF)))


@pytest.mark.parametrize("name", ["unknown", "Anonym", "?", "-", "p001"])
def test_patients_whom_nobody_knows_are_told(name: str, tmp_path: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[1]["patient"] = rows[2]["patient"] = name

    notes = " ".join(table_of(tmp_path, change).notes)
    said = f"2 recordings are of the patient {name!r} and count as one person"
    assert (said in notes) == (name != "p001")


@pytest.mark.parametrize("value", ["-1", "999", "555", "51"])
def test_values_far_from_all_others_are_told(value: str, tmp_path: Path) -> None:
    table_of(tmp_path, put(2, EF=value))
    labels = '[labels.EF]\nkind = "value"\n'
    remarks = " ".join(check_own(read_description(describe(tmp_path, labels))).remarks)
    assert (f"EF: {value} lies far from the other values" in remarks) == (value != "51")


def test_errors_of_formulas_that_count_as_unknown_are_told(tmp_path: Path) -> None:
    table = table_of(tmp_path, put(2, EF="#N/A"))
    assert "EF: the error of a formula, '#N/A', counts as unknown in 1 cell." in table.notes


def test_fractions_among_percentages_and_blank_labels_are_told(tmp_path: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[2]["EF"] = 0.55
        rows[3]["EF"] = ""

    table_of(tmp_path, change)
    remarks = " ".join(check_own(read_description(describe(tmp_path, EF))).remarks)
    assert f"the unit is %, and 1 of {ROWS - 1} values are between 0 and 1" in remarks
    assert f"EF: no value in 1 of {ROWS} recordings, which are not in its task." in remarks


@pytest.mark.parametrize(
    ("other", "lines"),
    [
        ({"EF": "", "sick": ""}, [7]),
        ({}, [7]),
        ({"EF": "12"}, [2, 7]),
        ({"patient": "another"}, [2, 7]),
        ({"view": "A2C"}, [2, 7]),
    ],
)
def test_two_rows_of_one_file_that_contradict_each_other_are_both_left_out(
    other: dict[str, str], lines: list[int], tmp_path: Path
) -> None:
    table = table_of(tmp_path, lambda rows: rows[5].update({**rows[0], "view": "", **other}))
    assert [problem.line for problem in table.problems] == lines
    assert len(table.rows) == ROWS - len(lines)


def test_lines_above_the_names_of_the_columns_are_told(tmp_path: Path) -> None:
    write_table(tmp_path, pictures(tmp_path, patients=ROWS))
    path = tmp_path / "clinic.csv"
    text = path.read_text().replace(",", ";")
    path.write_text("Echo list 2024;;;\nStation 3;;;\n" + text)
    description = read_description(describe(tmp_path, EF))
    with pytest.raises(LayoutError, match="Line 3 has it: remove the lines above"):
        read_own_table(description)
    (tmp_path / "clinic.toml").unlink()
    draft = write_draft(tmp_path, tmp_path / "again.toml")
    assert "its first line does not name every column; remove the lines above" in draft.render()


def test_two_bytes_a_letter_without_a_mark_are_told(tmp_path: Path) -> None:
    write_table(tmp_path, pictures(tmp_path, patients=ROWS))
    path = tmp_path / "clinic.csv"
    for encoding in ("utf-16-le", "utf-16-be"):
        text = path.read_bytes().replace(b"\0", b"").decode()
        path.write_bytes(text.encode(encoding))
        with pytest.raises(Exception, match="each of its letters has two bytes"):
            read_own_table(read_description(describe(tmp_path, EF)))


def export(folder: Path, header: str, cell: Callable[[int], str]) -> list[str]:
    """The lines of the description that `etab data init` writes for a table of one value."""
    pictures(folder, patients=ROWS)
    rows = "".join(f"p{i:03d}.png;p{i:03d};{cell(i)}\n" for i in range(ROWS))
    (folder / "export.csv").write_text(f"file;patient;{header}\n{rows}")
    return write_draft(folder).description.read_text().splitlines()


@pytest.mark.parametrize(
    ("header", "cell", "lines"),
    [
        ("EF (%)", "{}", ['title = "EF"', 'unit = "%"', "range = [0, 100]"]),
        ("LVEF", "{}", ['unit = "%"', "range = [0, 100]"]),
        ("EDV [ml]", "{}", ['title = "EDV"', 'unit = "ml"']),
        ("EDV", "{} ml", ['unit = "ml"']),
        ("HR, mean", "{}", []),
        ("age", "{}", []),
    ],
)
def test_init_knows_units_of_names_and_of_cells(
    header: str, cell: str, lines: list[str], tmp_path: Path
) -> None:
    written = export(tmp_path, header, lambda i: cell.format(40 + i))
    assert written[written.index('kind = "value"') + 1 :] == lines
    (description,) = tmp_path.glob("*.toml")
    table = read_own_table(read_description(description))
    assert [min(row.values.values()) for row in table.rows] == list(range(40, 40 + ROWS))


def test_init_describes_numbers_with_a_slip(tmp_path: Path) -> None:
    assert 'kind = "value"' in export(tmp_path, "EDV", lambda i: "n.b." if i == 3 else str(i))
    (description,) = tmp_path.glob("*.toml")
    (problem,) = read_own_table(read_description(description)).problems
    assert "EDV is 'n.b.'; wanted a number." in problem.text


def test_init_describes_decimal_commas_that_the_check_tells(tmp_path: Path) -> None:
    rows = [
        {**row, "EDV": f"{40 + i},5"} for i, row in enumerate(pictures(tmp_path, patients=ROWS))
    ]
    write_table(tmp_path, rows, "export.csv")
    draft = write_draft(tmp_path)
    problems = read_own_table(read_description(draft.description)).problems
    assert [problem.reason for problem in problems] == ["EDV is not a number"] * ROWS
    assert "40.5" in problems[0].text


def test_a_table_with_a_column_of_files_for_each_view_is_told(tmp_path: Path) -> None:
    rows = pictures(tmp_path, patients=ROWS)
    write_table(tmp_path, [{"file_A4C": row.pop("file"), "file_A2C": "", **row} for row in rows])
    with pytest.raises(LayoutError, match="Write one row for each recording, in place of file_A4C"):
        read_own_table(read_description(describe(tmp_path, EF)))


def test_paths_of_windows_in_a_description_are_read_or_told(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    rows = pictures(tmp_path, patients=ROWS)
    write_table(tmp_path / "lists", rows)
    path = describe(tmp_path, EF)
    path.write_text(path.read_text().replace('"clinic.csv"', r"'lists\clinic.csv'"))
    assert len(read_own_table(read_description(path)).rows) == ROWS
    path.write_text(path.read_text().replace(r"'lists\clinic.csv'", r'"C:\Users\clinic.csv"'))
    with pytest.raises(LayoutError, match="paths have slashes and no backslashes"):
        read_description(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p002.png", b"\xff\xd8\xff\xe0" + bytes(40), "By its content it is a JPEG picture"),
        ("p002.png", b"<!DOCTYPE html><html>", "By its content it is an HTML page"),
        ("p002.png", b"version https://git-lfs.github.com/spec/v1", "it is a Git LFS pointer"),
        ("p002.tif", b"\x89PNG\r\n\x1a\n", "By its content it is a PNG picture"),
        ("p002.avi", b"GIF89a" + bytes(40), "By its content it is a GIF picture"),
        ("p002.mp4", b"", "empty"),
    ],
)
def test_a_file_that_is_another_kind_is_called_what_it_is(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    table_of(tmp_path, put(2, file=name))
    (tmp_path / name).write_bytes(content)
    (problem,) = check_own(read_description(tmp_path / "clinic.toml")).problems
    assert said in problem.text
    assert "ownload it again" not in problem.text
    assert "as published" not in problem.text


def test_packed_folders_are_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "echo.zip").write_bytes(b"PK")
    with pytest.raises(DataNotFoundError, match="Unpack it, and name the folder"):
        write_draft(tmp_path / "echo.zip")
    with pytest.raises(LayoutError, match=r"Unpack echo\.zip\."):
        write_draft(tmp_path)


MURMUR = """[labels.murmur]
kind = "classes"
classes = ["Present", "Unknown", "Absent"]
metric = "weighted_accuracy"
[labels.outcome]
kind = "classes"
classes = ["Normal", "Abnormal"]
"""


def test_a_metric_of_outcomes_lists_the_rows_without_one(tmp_path: Path) -> None:
    rows = sounds(tmp_path)[:ROWS]
    for number, row in enumerate(rows):
        row["outcome"] = ("Normal", "Abnormal")[number % 2]
    rows[4]["outcome"] = ""
    write_table(tmp_path, rows)
    path = describe(tmp_path, MURMUR, sound=True)
    (problem,) = read_own_table(read_description(path)).problems
    assert (problem.line, problem.reason) == (6, "no outcome")
    assert "murmur is scored by weighted_accuracy, which needs the outcome" in problem.text
    answer = CliRunner().invoke(app, ["data", "check", str(path), "--quick"])
    assert answer.exit_code == 1
    assert "line 6: no outcome" in answer.stdout


def test_metrics_of_outcomes_are_those_that_need_one() -> None:
    needing = {name for name, metric in METRICS.items() if "outcome" in metric.needs}
    assert set(across.METRICS_OF_OUTCOMES) == needing


@pytest.mark.slow
def test_a_metric_without_its_column_is_refused_before_anything_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sounds(tmp_path)[:ROWS]
    for number, row in enumerate(rows):
        row["outcome"] = ("Normal", "Abnormal")[number % 2]
    write_table(tmp_path, rows)
    path = describe(tmp_path, MURMUR, sound=True)
    description = use_own_data(path)
    monkeypatch.setattr("etab.features.windows._extras", lambda records, groups: {})
    monkeypatch.setattr("etab.runs.cell._Work.answers", lambda work, data: pytest.fail("fitted"))
    settings = Settings(root=description.folder, results=tmp_path / "r", data=path)
    runs = plan("f0-AL-Z", ["mel_stats"], protocols=("cv",), n_fold=2)
    with pytest.raises(UndefinedError, match="weighted_accuracy needs outcome of every recording"):
        list(execute(runs, settings))


def test_parquet_of_other_programs_is_read_as_its_text(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(pictures(tmp_path, patients=ROWS))
    frame["sick"] = frame["sick"].astype("category")
    frame["age"] = pandas.array([None, *range(61, 60 + ROWS)], dtype="Int64")
    frame["dead"] = pandas.array([None, *(i % 2 == 0 for i in range(1, ROWS))], dtype="boolean")
    frame["EF"] = frame["EF"].astype("float32")
    frame["seen"] = pandas.date_range("2024-01-01", periods=ROWS)
    frame["tags"] = [["a", "b"]] * ROWS
    frame.to_parquet(tmp_path / "clinic.parquet")
    labels = (
        f'{EF}{SICK}[labels.age]\nkind = "value"\n'
        '[labels.dead]\nkind = "classes"\nclasses = ["false", "true"]\n'
    )
    path = describe(tmp_path, labels)
    path.write_text(path.read_text().replace("clinic.csv", "clinic.parquet"))
    table = read_own_table(read_description(path))
    assert not table.problems
    assert [row.values.get("age") for row in table.rows] == [None, *range(61, 60 + ROWS)]
    assert [row.values.get("dead") for row in table.rows][:4] == [None, 0, 1, 0]
    assert np.allclose([row.values["EF"] for row in table.rows], frame["EF"])
