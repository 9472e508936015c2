"""Source classes of one's own, in a file or an installed package: run, ranked and refused."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner
from typer.testing import Result as Ran

import etab
from etab.cli.listing import datasets_table
from etab.cli.main import app
from etab.datasets.base import SOURCES
from etab.datasets.own.classes import description_text
from etab.datasets.own.description import read_description
from etab.datasets.paths import dataset_folder
from etab.errors import (
    DataNotFoundError,
    EtabError,
    LayoutError,
    UnknownNameError,
    UnsupportedOptionError,
)
from etab.runs.data import tasks_at
from etab.tasks.menu import TASKS
from etab.tasks.own import (
    folder_of_data,
    own_tasks,
    use_card_tasks,
    use_own_data,
    use_results,
)
from tests.datasets.own_tables import pictures, write_table

pytestmark = pytest.mark.usefixtures("forget_own_data")

CODE = '''
"""Stills of a ward, with a table beside them."""

import csv

from etab.datasets.base import SOURCES, Card, Source
from etab.readers.still import read_still
from etab.types import Answer, Kind, Record, Target


@SOURCES.register("my_ward")
class MyWard(Source):
    card = Card(
        name="my_ward", title="My ward", code="Y", modality="echo", views=("A4C",),
        targets=(
            Target("EF", Kind.VALUE, unit="%"),
            Target("sick", Kind.BINARY, classes=("no", "yes"), description="ill or not"),
        ),
        licence="mine", citation="none", access="a folder",
    )
    labels = {"EF": {"metric": "mae", "anchors": [12.0, 0.0]}}

    @property
    def phantom(self):
        return False

    def records(self):
        with (self.root / "clinic.csv").open() as file:
            rows = list(csv.DictReader(file))
        return [Record(r["patient"], r["patient"], "A4C", files={"still": r["file"]}, meta=r) for r in rows]

    def frames(self, record, at=None):
        return read_still(self.root / record.files["still"])[None].repeat(len(at or [0]), axis=0)

    def n_frames(self, record):
        return 1

    def answers(self, record, target, at=None):
        value = record.meta[target.name]
        return (Answer(float(value) if target.name == "EF" else int(value == "yes")),)
'''


def call(*words: object) -> Ran:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of stills with a table, and the file of a class that reads it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    write_table(tmp_path / "data", pictures(tmp_path / "data", patients=12))
    (tmp_path / "my_ward.py").write_text(CODE)
    yield tmp_path
    for name in ("own_my_ward", "beside_ward"):
        sys.modules.pop(name, None)


@pytest.fixture
def package(ward: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with a package that brings the class by an entry point."""
    folder = ward / "site"
    made = folder / "ward_package-1.0.dist-info"
    made.mkdir(parents=True)
    (folder / "ward_package.py").write_text(CODE)
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: ward-package\nVersion: 1.0\n")
    (made / "entry_points.txt").write_text(
        "[etab.datasets]\nmy_ward = ward_package:MyWard\nmy_lost = ward_package:Nothing\n"
        "camus = ward_package:MyWard\nother_name = ward_package:MyWard\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    yield folder
    sys.modules.pop("ward_package", None)


def test_a_file_of_a_class_is_run_and_ranked_like_any_dataset(ward: Path) -> None:
    file, results = ward / "my_ward.py", ward / "results"
    done = call(
        *("run", "--data", file, "--root", ward / "data", "--backbones", "image_stats"),
        *("--protocol", "cv", "--n-fold", 2, "--workers", 1, "--results", results),
    )
    assert done.exit_code == 0, done.output
    assert "b0-A4-Y" in done.output
    assert "d0-A4-Y" in done.output
    assert "ill or not" in done.output
    board = call("leaderboard", results)
    assert board.exit_code == 0, board.output
    assert "My ward" in board.output
    record = json.loads(next(results.glob("my_ward/d0-A4-Y/**/*.json")).read_text())
    assert len(record["settings"]["code of the source"]) == 64
    file.write_text(CODE.replace('value == "yes"', 'value == "no"'))
    again = call(
        *("run", "--data", file, "--root", ward / "data", "--backbones", "image_stats"),
        *("--protocol", "cv", "--n-fold", 2, "--workers", 1, "--results", results),
    )
    assert again.exit_code == 1
    assert "made with different code of the source" in str(again.exception)


BESIDE = """
import csv

COLUMN = "patient"

def rows_of(path):
    with open(path) as file:
        return [{**row, "name": row[COLUMN]} for row in csv.DictReader(file)]
"""


@pytest.mark.parametrize("where", ["at the top", "in a method"])
def test_a_class_may_open_files_and_import_what_lies_beside_it(ward: Path, where: str) -> None:
    """Runs go on where they stopped, and code beside the class is code of the class."""
    (ward / "beside_ward.py").write_text(BESIDE)
    opened = """        with (self.root / "clinic.csv").open() as file:
            rows = list(csv.DictReader(file))
"""
    line = "from beside_ward import rows_of"
    read = '        rows = rows_of(self.root / "clinic.csv")\n'
    code = CODE.replace(opened, read if where == "at the top" else f"        {line}\n{read}")
    code = code.replace("import csv", line) if where == "at the top" else code
    (ward / "my_ward.py").write_text(code)
    words = ("run", "--data", ward / "my_ward.py", "--root", ward / "data", "--tasks", "d0-A4-Y")
    more = ("--backbones", "image_stats", "--protocol", "cv", "--n-fold", 2, "--workers", 1)
    to = ("--results", ward / "results", "--cache", ward / "cache")
    first, again = call(*words, *more, *to), call(*words, *more, *to)
    assert first.exit_code == again.exit_code == 0, (first.output, again.exception)
    assert "0 cells computed, 1 already finished" in again.output
    TASKS.remove("d0-A4-Y")
    SOURCES.remove("my_ward")
    assert "0 of 1 records differ" in call("rescore", ward / "results", "--check").output
    sys.modules.pop("beside_ward")
    (ward / "beside_ward.py").write_text(BESIDE.replace('"patient"', '"file"'))
    other = call(*words, *more, *to)
    assert "made with different code of the source" in str(other.exception)


@pytest.mark.parametrize(
    ("head", "match"),
    [
        ("attentive", r"The label EF of .*'attentive'"),
        ("logistic", r"label EF .*'logistic' cannot"),
    ],
)
def test_a_head_that_cannot_answer_is_told_by_the_check(ward: Path, head: str, match: str) -> None:
    (ward / "my_ward.py").write_text(CODE.replace('{"metric"', f'{{"head": "{head}", "metric"'))
    done = call("data", "check", ward / "my_ward.py", "--root", ward / "data", "--quick")
    assert re.search(match, str(done.exception))
    table = ward / "data" / "clinic.toml"
    label = f'kind = "value"\nhead = "{head}"\n'
    table.write_text(f'name = "clinic"\ntable = "clinic.csv"\n[labels.EF]\n{label}')
    done = call("data", "check", table, "--quick")
    assert re.search(match, str(done.exception))


def test_no_phantom_is_proposed_where_there_is_none(ward: Path) -> None:
    with pytest.raises(DataNotFoundError) as told:
        use_own_data(ward / "my_ward.py")
    assert "--root FOLDER" in str(told.value)
    assert "phantom" not in str(told.value)
    with pytest.raises(DataNotFoundError, match=r"`etab doctor` says where to get it, and how to"):
        dataset_folder("dicom")


@pytest.mark.slow
def test_the_class_is_the_same_from_python_and_gives_the_values_of_a_table(ward: Path) -> None:
    table = ward / "data" / "clinic.toml"
    table.write_text(
        'name = "clinic"\ntable = "clinic.csv"\n'
        '[labels.EF]\nkind = "value"\nunit = "%"\nmetric = "mae"\nviews = ["A4C"]\n'
        "anchors = [12.0, 0.0]\n"
        '[labels.sick]\nkind = "classes"\nclasses = ["no", "yes"]\nviews = ["A4C"]\n'
    )
    rows = (ward / "data" / "clinic.csv").read_text().splitlines()
    lines = [f"{rows[0]},view", *[f"{row},A4C" for row in rows[1:]]]
    (ward / "data" / "clinic.csv").write_text("\n".join(lines) + "\n")
    by_table = etab.evaluate("image_stats", data=table, protocol="cv2")
    by_file = etab.evaluate(
        "image_stats", data=ward / "my_ward.py", root=ward / "data", protocol="cv2"
    )
    kind = SOURCES["my_ward"]
    by_class = etab.evaluate("image_stats", data=kind, root=ward / "data", protocol="cv2")
    values = [[row["value"] for row in score.tasks] for score in (by_table, by_file, by_class)]
    assert values[1] == values[2]
    assert len(values[0]) == 2
    named = [TASKS[code] for code in ("b0-A4-Y", "d0-A4-Y")]
    assert [(task.metric, task.low) for task in named] == [("mae", 12.0), ("auroc", 0.5)]


def test_a_package_brings_a_name_to_the_command_line(package: Path, ward: Path) -> None:
    results = ward / "results"
    words = ("--root", ward / "data", "--backbones", "image_stats", "--results", results)
    few = ("--protocol", "cv", "--n-fold", 2, "--workers", 1)
    done = call("run", "--tasks", "my_ward", *words, *few)
    assert done.exit_code == 0, done.output
    assert call("data", "check", "my_ward", "--root", ward / "data", "--quick").exit_code == 0
    again = call("run", "--tasks", "d0-A4-Y", *words, *few)
    assert "0 cells computed, 1 already finished" in again.output
    rows = {row[0]: row[2] for row in datasets_table().rows}
    assert rows["my_ward"] == "My ward"
    assert rows["my_lost"].startswith(
        "a package brings it, and it cannot be used: my_lost, the entry"
    )
    assert "AttributeError" in rows["my_lost"]
    assert "a card called 'my_ward'" in rows["other_name"]
    assert SOURCES["camus"].card.title == "CAMUS"


@pytest.mark.slow
def test_a_result_on_data_of_a_package_is_computed_again_by_its_name(
    package: Path, ward: Path
) -> None:
    etab.evaluate(
        "image_stats", tasks="d0-A4-Y", root=ward / "data", protocol="cv2", results=ward / "results"
    )
    for code in [code for code, task in TASKS.items() if task.dataset == "my_ward"]:
        TASKS.remove(code)
    SOURCES.remove("my_ward")
    again = call("reproduce", min(ward.glob("results/**/*-s0.json")), "--root", ward / "data")
    assert "every prediction is equal" in again.output, again.exception


def test_another_process_finds_the_task_of_a_package_by_its_code(package: Path) -> None:
    code = "from etab.runs.data import tasks_at; print(tasks_at('d0-A4-Y', None), tasks_at('my_ward', None))"
    path = os.pathsep.join([str(package), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "['d0-A4-Y'] ['b0-A4-Y', 'd0-A4-Y']\n", done.stderr


def test_results_name_the_class_and_boards_do_not_run_it(ward: Path) -> None:
    described = use_own_data(ward / "my_ward.py", ward / "data")
    kept = ward / "results" / "my_ward" / "data.toml"
    kept.parent.mkdir(parents=True)
    kept.write_text(description_text(described))
    assert own_tasks(read_description(kept)) == own_tasks(described)
    for code in [code for code, task in TASKS.items() if task.dataset == "my_ward"]:
        TASKS.remove(code)
    SOURCES.remove("my_ward")
    (ward / "my_ward.py").write_text("raise RuntimeError('a board ran this')")
    use_results(ward / "results")
    assert TASKS["b0-A4-Y"].metric == "mae"
    with pytest.raises(UnsupportedOptionError, match=r"my_ward is read by my_ward\.py:MyWard"):
        etab.evaluate("image_stats", tasks="b0-A4-Y", root=ward / "data")
    with pytest.raises(UnsupportedOptionError, match=r"runs no code\. Name the file of the class"):
        use_own_data(kept)


def test_a_result_of_own_data_is_computed_again_where_the_data_are_named(ward: Path) -> None:
    table = ward / "data" / "clinic.toml"
    table.write_text('name = "clinic"\ntable = "clinic.csv"\n[labels.EF]\nkind = "value"\n')
    named = {
        "my_ward": ("--data", ward / "my_ward.py", "--root", ward / "data"),
        "clinic": ("--data", table),
    }
    for name, data in named.items():
        kept = ward / "results" / name
        where = {"data": data[1], "root": data[3] if len(data) > 2 else None}
        etab.evaluate("image_stats", protocol="cv2", results=kept, **where)
        for code in [code for code, task in TASKS.items() if task.dataset == name]:
            TASKS.remove(code)
        SOURCES.remove(name)
        path = min(kept.rglob("*-s0.json"))
        alone = call("reproduce", path)
        assert f"is of {name}, which is not a data set of etab" in str(alone.exception)
        assert "--data my_echo.py --root FOLDER" in str(alone.exception)
        again = call("reproduce", path, *data)
        assert "every prediction is equal" in again.output, again.exception


def test_missing_vectors_name_the_class_or_the_table(ward: Path) -> None:
    table = ward / "data" / "clinic.toml"
    table.write_text('name = "clinic"\ntable = "clinic.csv"\n[labels.EF]\nkind = "value"\n')
    file = ward / "v.npz"
    np.savez(file, keys=np.array(["x"]), vector=np.zeros((1, 2)))
    with pytest.raises(EtabError, match=r"keys --data my_ward\.py --root FOLDER --out"):
        etab.evaluate(f"vectors:{file}", data=ward / "my_ward.py", root=ward / "data")
    with pytest.raises(EtabError, match=r"keys --data clinic\.toml --out"):
        etab.evaluate(f"vectors:{file}", data=table)
    with pytest.raises(EtabError, match=r"or --data my_echo\.py --root FOLDER\)"):
        etab.evaluate(f"vectors:{ward / 'none.npz'}", data=table)


def test_a_file_may_be_edited_and_used_again(ward: Path) -> None:
    use_own_data(ward / "my_ward.py", ward / "data")
    (ward / "my_ward.py").write_text(CODE.replace('"mae"', '"r2"').replace("[12.0, 0.0]", "[0, 1]"))
    use_own_data(ward / "my_ward.py", ward / "data")
    assert TASKS["b0-A4-Y"].metric == "r2"


@pytest.mark.parametrize(
    ("old", "new", "error", "match"),
    [
        (
            "import csv",
            "raise RuntimeError('no licence')",
            UnsupportedOptionError,
            r"RuntimeError: no l",
        ),
        ("import csv", "import sys; sys.exit(3)", UnsupportedOptionError, r"SystemExit: 3"),
        ("import csv", "import not_there", UnsupportedOptionError, r"ModuleNotFoundError"),
        ("class MyWard(Source):", "class MyWard(Source:", UnsupportedOptionError, r"SyntaxError"),
        ("    def n_frames", "    def count", UnsupportedOptionError, r"no class that defines all"),
        ('code="Y"', 'code="C"', UnsupportedOptionError, r"'C' belongs to camus"),
        ('code="Y"', 'code="y"', LayoutError, r"code is 'y'"),
        ('name="my_ward"', 'name="My ward"', LayoutError, r"name is 'My ward'"),
        (
            'name="my_ward"',
            'name="camus"',
            UnsupportedOptionError,
            r"camus is the name of a dataset",
        ),
        ('modality="echo"', 'modality="mri"', LayoutError, r"modality is 'mri'"),
        (
            'views=("A4C",)',
            'views=("apical",)',
            LayoutError,
            r"views that etab does not know: apical",
        ),
        ("    labels = {", "    labels = 3  # {", LayoutError, r"labels is 3"),
        ('{"EF": {"metric"', '{"EV": {"metric"', UnknownNameError, r"'EV'"),
        ('"metric": "mae"', '"metrik": "mae"', UnknownNameError, r"'metrik'.*'metric'"),
        ('"metric": "mae"', '"metric": "dice"', LayoutError, r"metric dice is not for value"),
        ('"metric": "mae"', '"unit": "ml"', LayoutError, r"unit is said by the class"),
        ('"metric": "mae"', '"input": "recording"', LayoutError, r"not for pictures"),
    ],
)
def test_a_class_that_cannot_be_used_is_told(
    ward: Path, old: str, new: str, error: type[EtabError], match: str
) -> None:
    assert old in CODE
    (ward / "my_ward.py").write_text(
        CODE.replace('@SOURCES.register("my_ward")\n', "").replace(old, new, 1)
    )
    with pytest.raises(error, match=match):
        use_own_data(ward / "my_ward.py", ward / "data")


def test_what_is_no_file_or_folder_is_told(ward: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"There is no file .*your\.py"):
        use_own_data(ward / "your.py")
    with pytest.raises(DataNotFoundError, match="nowhere is not a folder"):
        use_own_data(ward / "my_ward.py", ward / "nowhere")
    with pytest.raises(UnsupportedOptionError, match=r"has MyWard; wanted Other"):
        use_own_data(f"{ward / 'my_ward.py'}:Other", ward / "data")


def test_results_of_a_dataset_of_etab_without_tasks_in_the_menu_are_known(tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    (tmp_path / "my_lost").mkdir()
    assert "b0-AL-F" not in TASKS
    use_results(tmp_path)
    assert TASKS["b0-AL-F"].dataset == "dicom"


def test_one_bad_description_stops_no_board(tmp_path: Path) -> None:
    """A run refuses it; boards name it, and what stands beside it is known."""
    for name, text in (("torn", "[[["), ("camus", 'name = "camus"'), ("dicom", "")):
        (tmp_path / name).mkdir()
        if text:
            (tmp_path / name / "data.toml").write_text(text)
    with pytest.raises(LayoutError):
        use_results(tmp_path)
    reasons: list[str] = []
    assert use_results(tmp_path, reasons.append) == []
    assert ["camus/data.toml" in reasons[0], "torn/data.toml" in reasons[1]] == [True, True]
    assert TASKS["b0-AL-F"].dataset == "dicom"


def test_an_installed_package_is_not_run_because_results_name_it(package: Path, ward: Path) -> None:
    with pytest.raises(UnknownNameError, match="my_ward"):
        folder_of_data(ward / "data", {"my_ward"})
    use_card_tasks(["my_ward", "camus", "../my_ward"])
    assert "ward_package" not in sys.modules
    assert "my_ward" not in SOURCES


def test_a_dataset_of_etab_without_tasks_has_those_of_its_targets() -> None:
    names = list(SOURCES)
    try:
        assert tasks_at("dicom", None) == ["c0-AL-F", "b0-AL-F"]
        assert list(SOURCES) == names
    finally:
        for code in ("c0-AL-F", "b0-AL-F"):
            TASKS.remove(code)
