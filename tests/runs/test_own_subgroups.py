"""Subgroups that a table of one's own names, and where its data lie when they are asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etab import datasets
from etab.errors import DataNotFoundError, LayoutError, UnsupportedOptionError
from etab.runs.subgroups import groups_of_source
from etab.tasks.own import folder_of_data, use_own_data
from tests.commands import etab
from tests.datasets.own_tables import describe, pictures, write_table

LABELS = '[labels.EF]\nkind = "value"'


def groups(folder: Path, columns: dict[str, list[str]], rows: int = 8) -> Any:
    """The groups of the patients of a table with these columns, named in its description."""
    table = pictures(folder, patients=rows)
    for name, cells in columns.items():
        for row, cell in zip(table, cells, strict=True):
            row[name] = cell
    if "patient" in columns:
        table = [{**row, "id": row["file"]} for row in table]
    write_table(folder, table)
    named = [name for name in columns if name != "patient"]
    described = use_own_data(describe(folder, f"subgroups = {json.dumps(named)}\n{LABELS}"))
    return groups_of_source(datasets.source(described.name, described.folder))


def test_columns_of_a_table_divide_its_patients(tmp_path: Path) -> None:
    columns = {
        "Sex": ["m", "F", "other", ""] * 2,
        "age": ["64.9", "65", "71", "nan"] * 2,
        "ward": ["north", " south "] * 4,
        "alike": ["one"] * 8,
    }
    factors = groups(tmp_path, columns).factors
    assert list(factors["sex"].values()) == ["male", "female", "other"] * 2
    assert list(factors["age"].values()) == ["below 65", "65 or more", "65 or more"] * 2
    assert list(factors["ward"].values()) == ["north", "south"] * 4
    assert "alike" not in factors  # one group divides nobody


def test_a_patient_in_two_groups_is_in_a_group_of_its_own(tmp_path: Path) -> None:
    patients = ["a", "a", "b", "b", "c", "c", "d", "d"]
    wards = ["north", "south", "north", "north", "south", "", "south", "south"]
    factors = groups(tmp_path, {"patient": patients, "ward": wards}).factors
    assert factors["ward"] == {"a": "north and south", "b": "north", "c": "south", "d": "south"}


def test_a_column_of_numbers_is_no_group(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOptionError, match="'weight' divides the patients into 20"):
        groups(tmp_path, {"weight": [str(50 + k) for k in range(20)]}, rows=20)


@pytest.mark.parametrize(
    ("subgroups", "message"),
    [
        ('["ward"]', "ward"),
        ('"sex"', "subgroups is 'sex'; wanted a list"),
        ("[1]", "wanted a list"),
    ],
)
def test_a_column_that_is_not_there_is_refused(
    tmp_path: Path, subgroups: str, message: str
) -> None:
    write_table(tmp_path, pictures(tmp_path, patients=4))
    path = describe(tmp_path, f"subgroups = {subgroups}\n{LABELS}")
    with pytest.raises(LayoutError, match=message):
        datasets.source("clinic", use_own_data(path).folder).records()


def test_groups_are_no_part_of_what_results_rest_on(tmp_path: Path) -> None:
    wards = {"ward": ["north", "south"] * 4}
    assert groups(tmp_path / "a", wards).digest == groups(tmp_path / "b", {}).digest


def test_the_data_of_a_board_are_named_by_description_or_folder(tmp_path: Path) -> None:
    write_table(tmp_path, pictures(tmp_path, patients=4))
    path = describe(tmp_path, LABELS)
    use_own_data(path)
    (tmp_path / "broken.toml").write_text("= no TOML")
    assert folder_of_data(path, {"clinic"}) == tmp_path
    assert folder_of_data(tmp_path, {"clinic"}) == tmp_path
    assert folder_of_data(Path("elsewhere"), {"camus"}) == Path("elsewhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFoundError, match="is not a description of clinic and holds none"):
        folder_of_data(tmp_path / "empty", {"clinic"})


@pytest.mark.slow
def test_a_board_of_ones_own_shows_its_own_subgroups(tmp_path: Path) -> None:
    table = pictures(tmp_path, patients=24)
    for k, row in enumerate(table):
        row["ward"] = ("north", "south", "west")[k % 3]
    write_table(tmp_path, table)
    data = describe(tmp_path, f'subgroups = ["ward"]\n{LABELS}')
    results = tmp_path / "results"
    site = tmp_path / "site"
    options = ("--backbones", "image_stats,pixel_pca", "--protocol", "cv2", "--results", results)
    etab("run", "--data", data, *options)
    for where in (data, tmp_path):
        ended = etab("leaderboard", results, "--html", site, "--subgroups", where)
        assert ended.returncode == 0, ended.stderr
        kept = json.loads((site / "data" / "subgroups.json").read_text())
        names = {group[0] for cell in kept["cells"] for group in cell["groups"]}
        assert names == {"ward: north", "ward: south", "ward: west"}
    ended = etab("results", results, "--clinical", "--json", "--root", data)
    assert "r2, ward: north" in ended.stdout
    (tmp_path / "other").mkdir()
    ended = etab("leaderboard", results, "--html", site, "--subgroups", tmp_path / "other")
    assert ended.returncode == 2
    assert "is not a description of clinic and holds none" in ended.stderr


def test_pregnancy_is_a_subgroup_where_the_data_tell_it(
    phantom_tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = tmp_path / "circor"
    shutil.copytree(phantom_tree(["circor"], patients=10) / "circor", root)
    first = min((root / "training_data").glob("*.txt"))
    text = first.read_text()
    assert "#Pregnancy status: False" in text
    first.write_text(text.replace("#Pregnancy status: False", "#Pregnancy status: True"))
    factors = groups_of_source(datasets.source("circor", root)).factors
    assert sorted(factors["pregnancy"].values()) == ["not pregnant"] * 9 + ["pregnant"]
