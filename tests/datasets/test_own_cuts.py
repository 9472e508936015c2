"""Classes that are cut from a value: the description says it, every row agrees, `etab data init` finds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etab.datasets.base import SOURCES
from etab.datasets.own.check import check_own
from etab.datasets.own.classes import description_text
from etab.datasets.own.cuts import class_cut
from etab.datasets.own.description import read_description
from etab.datasets.own.draft import write_draft
from etab.datasets.own.registered import own_source
from etab.datasets.own.rows import OwnTable
from etab.datasets.own.table import read_own_table
from etab.errors import LayoutError
from etab.tasks.own import use_own_data
from etab.types import Cut
from tests.datasets.own_tables import describe, pictures, write_table

pytestmark = pytest.mark.usefixtures("forget_own_data")

EF = '[labels.EF]\nkind = "value"\nunit = "%"\n'
LOW = '[labels.low]\nkind = "classes"\nclasses = ["no", "yes"]\n'
CUT = 'value = "EF"\nbelow = 50\n'
ROWS = 12


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """One picture a patient, EF from 45 on in steps of 1, and whether it is below 50."""
    rows = pictures(folder, patients=ROWS)
    for number, row in enumerate(rows):
        row["EF"] = 45 + number
        row["low"] = "yes" if row["EF"] < 50 else "no"
    return rows


def table_of(
    folder: Path, change: Callable[[list[dict[str, Any]]], Any] = lambda rows: None
) -> OwnTable:
    rows = rows_of(folder)
    change(rows)
    write_table(folder, rows)
    return read_own_table(read_description(describe(folder, EF + LOW + CUT)))


def test_the_target_of_classes_that_are_cut_knows_the_value(tmp_path: Path) -> None:
    assert not table_of(tmp_path).problems
    use_own_data(tmp_path / "clinic.toml")
    targets = {target.name: target for target in SOURCES["clinic"].card.targets}
    assert targets["low"].cut == Cut("EF", 50.0)
    assert targets["EF"].cut is None


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"EF": 62}, "low is 'yes' and EF is 62; low is 'yes' where EF is below 50. Correct"),
        ({"EF": 50}, "low is 'yes' and EF is 50"),
        ({"low": "no"}, "low is 'no' and EF is 47"),
        ({"EF": ""}, "low is 'yes' and EF is blank; low is 'yes' where EF is below 50. Fill"),
        ({"low": ""}, ""),
        ({"low": "", "EF": ""}, ""),
        ({"EF": "49.999"}, ""),
    ],
)
def test_a_class_agrees_with_its_value(cells: dict[str, Any], said: str, tmp_path: Path) -> None:
    table = table_of(tmp_path, lambda rows: rows[2].update(cells))
    assert [problem.line for problem in table.problems] == ([4] if said else [])
    assert said in " ".join(problem.text for problem in table.problems)
    report = check_own(read_description(tmp_path / "clinic.toml"), quick=True)
    assert said in report.render()


def test_a_class_and_its_value_are_of_the_same_frames(tmp_path: Path) -> None:
    rows = [{**row, "f1": 0, "f2": 0} for row in rows_of(tmp_path)]
    rows[2]["f2"] = 3
    write_table(tmp_path, rows)
    labels = f'{EF}frames = "f1"\n{LOW}frames = "f2"\n{CUT}'
    (problem,) = read_own_table(read_description(describe(tmp_path, labels))).problems
    assert (problem.line, problem.reason) == (4, "low and EF of other frames")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (EF + LOW + 'value = "EF"\n', "value and below belong together"),
        (EF + LOW + "below = 50\n", "value and below belong together"),
        (EF + LOW + 'value = "EF"\nbelow = "50"\n', "below is '50'; wanted a number"),
        (EF + LOW + 'value = "EF"\nbelow = true\n', "below is True; wanted a number"),
        (EF + LOW + 'value = "EF"\nbelow = nan\n', "wanted a finite number"),
        (EF + LOW + 'value = "LVEF"\nbelow = 50\n', "from 'LVEF'; wanted a label with .*: EF"),
        (LOW + CUT, "there is none"),
        (EF + LOW + 'value = "low"\nbelow = 50\n', "from 'low'; wanted a label with"),
        (EF + CUT, "are for two classes; leave them out"),
        (EF + LOW.replace('"no"', '"mild", "no"') + CUT, "are for two classes"),
        (EF + 'views = ["A4C"]\n' + LOW + CUT, "EF, which is for A4C alone, and low is for every"),
    ],
)
def test_a_cut_that_cannot_act_is_refused(labels: str, said: str, tmp_path: Path) -> None:
    write_table(tmp_path, rows_of(tmp_path))
    with pytest.raises(LayoutError, match=said):
        read_description(describe(tmp_path, labels))


def test_the_digest_of_data_knows_the_cut_and_is_as_before_without_one(tmp_path: Path) -> None:
    write_table(tmp_path, rows_of(tmp_path))
    digests = set()
    for cut in ("", CUT, CUT.replace("50", "49.5")):
        description = read_description(describe(tmp_path, EF + LOW + cut))
        assert all("cut" not in repr(label) for label in description.labels)
        digests.add(own_source(description)(tmp_path).lenient().digest())
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("classes", "values", "cut"),
    [
        ("yes yes yes yes yes no no no no no", (41, 30, 49, 48, 45, 50, 55, 60, 62, 70), 50),
        ("0 0 0 0 0 1 1 1 1 1", (62, 50, 55, 70, 58, 49, 41, 30, 20, 33), 50),
        ("a a a a a b b b b b", (0.31, 0.2, 0.1, 0.2, 0.1, 0.34, 0.4, 0.5, 0.6, 0.9), 0.34),
        ("a a a a a b b b b b", (-9, -8, -7, -6, -5, -4, -3, -2, -1, 2), -4),
        ("a a a a a b b b b b", (41, 30, 49, 48, 50, 50, 55, 60, 62, 70), None),
        ("a a a a a b b b b b", (41, 30, 49, 48, 66, 50, 55, 60, 62, 70), None),
        ("a a a a a b b b b b", (41, 30, 49, 48, None, 50, 55, 60, 62, 70), None),
        ("a a a a b b b b b b", (41, 30, 49, 48, 51, 50, 55, 60, 62, 70), None),
        ("a a a a a b b b b c", (41, 30, 49, 48, 45, 50, 55, 60, 62, 70), None),
    ],
)
def test_a_cut_is_told_from_cells(
    classes: str, values: Sequence[float | None], cut: float | None
) -> None:
    found = class_cut(classes.split(), values)
    assert (None if found is None else found.at) == cut
    if found is not None:
        lowest = min(value for value in values if value is not None)
        assert found.below == classes.split()[list(values).index(lowest)]


@pytest.mark.parametrize("words", [("no", "yes"), ("yes", "no"), ("0", "1"), ("1", "0")])
def test_init_writes_the_cut_with_the_class_below_last(
    words: tuple[str, str], tmp_path: Path
) -> None:
    rows = rows_of(tmp_path)
    for row in rows:
        row["low"] = words[row["EF"] < 50]
    write_table(tmp_path, rows, "labels.csv")
    draft = write_draft(tmp_path, tmp_path / "drafted.toml")
    description = read_description(draft.description)
    label = next(label for label in description.labels if label.name == "low")
    assert label.classes == words
    assert label.cut == Cut("EF", 50.0)
    assert not read_own_table(description).problems
    assert f"low was taken for EF below 50 ({words[1]!r})" in draft.render()


def test_init_does_not_choose_between_two_values(tmp_path: Path) -> None:
    rows = [{**row, "ESV": 200 - row["EF"]} for row in rows_of(tmp_path)]
    write_table(tmp_path, rows, "labels.csv")
    draft = write_draft(tmp_path, tmp_path / "drafted.toml")
    assert all(label.cut is None for label in read_description(draft.description).labels)
    assert "low equals a cut of EF and of ESV" in draft.render()


def test_views_of_a_patient_have_one_value(tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    for number, row in enumerate(rows):
        row.update(patient=f"p{number // 2}", view=("A2C", "A4C")[number % 2], EF=30, low="yes")
    rows[3]["EF"] = 31
    write_table(tmp_path, rows)
    labels = f'{EF}{LOW}{CUT}input = "views:answer"\nviews = ["A2C", "A4C"]\n'
    problems = read_own_table(read_description(describe(tmp_path, labels))).problems
    assert [problem.line for problem in problems] == [4, 5]
    assert "patient p1 has EF 30 and 31 in its views" in problems[0].text


def test_the_description_of_a_class_keeps_a_cut_at_zero(tmp_path: Path) -> None:
    write_table(tmp_path, rows_of(tmp_path))
    text = EF + LOW + 'value = "EF"\nbelow = 0\n'
    description = read_description(describe(tmp_path, text))
    kept = replace(description, source="my_echo.py:MyEcho")
    path = tmp_path / "data.toml"
    path.write_text(description_text(kept))
    assert [label.cut for label in read_description(path).labels] == [None, Cut("EF", 0.0)]
