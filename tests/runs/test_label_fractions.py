"""Few labelled patients: who is drawn, what a run makes of it, and the curves over the finished cells."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from etab import heads
from etab.cli.main import app
from etab.errors import DataNotFoundError, IncompatibleError, UndefinedError
from etab.leaderboard import curves
from etab.leaderboard.curves_plot import draw_curves
from etab.results import load_results
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.tasks.protocols import drawn, parse
from etab.types import Array, Features, Kind, RowSplit, Target

PATIENTS = np.repeat([f"p{i:02d}" for i in range(60)], 2)
PARTS = np.array((["train"] * 40 + ["val"] * 10 + ["test"] * 10) * 1).repeat(2)
SICK = np.repeat(np.arange(60) % 3 == 0, 2).astype(int)
NAMES = ["official", "cv5", "cv10", "official-10pct-d0", "cv5-2.5pct-d3", "official-5shot-d12"]


def _splits(
    name: str, answers: Array = SICK, kind: Kind = Kind.BINARY, seed: int = 0
) -> list[RowSplit]:
    return parse(name).splits(PATIENTS, PARTS, answers, kind, seed)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_and_written_back(name: str) -> None:
    assert parse(name).name == name


@pytest.mark.parametrize(
    "name",
    [
        "best",
        "cv1",
        "official-0pct-d0",
        "official-100pct-d0",
        "cv5-1shot-d0",
        "cv5-2.5shot-d0",
        "official-10pct",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(IncompatibleError, match="No protocol is called"):
        parse(name)


def test_a_draw_is_part_of_a_larger_draw_and_tests_the_same_patients() -> None:
    small, large, whole = (
        _splits(n)[0] for n in ("official-20pct-d1", "official-50pct-d1", "official")
    )
    assert set(small.train) < set(large.train) < set(whole.train)
    assert (small.test == whole.test).all()
    assert len(set(PATIENTS[small.train])) == 10
    assert set(_splits("official-20pct-d2")[0].train) != set(small.train)
    assert set(_splits("official-20pct-d1", seed=1)[0].train) != set(small.train)


def test_inner_parts_are_drawn_patients_alone_each_in_one() -> None:
    for split in _splits("cv5-25pct-d0"):
        assert sorted(np.concatenate(split.inner)) == sorted(split.train)
        seen = [set(PATIENTS[part]) for part in split.inner]
        assert sum(map(len, seen)) == len(set.union(*seen))
        assert not set(PATIENTS[split.train]) & set(PATIENTS[split.test])


def test_a_draw_keeps_the_classes_and_each_inner_part_has_both() -> None:
    split = _splits("official-20pct-d0")[0]
    assert SICK[split.train].mean() == pytest.approx(0.3)
    assert all(set(SICK[part]) == {0, 1} for part in split.inner)


def test_shots_are_patients_of_each_class() -> None:
    split = _splits("official-4shot-d0")[0]
    chosen = {patient: SICK[patient == PATIENTS][0] for patient in PATIENTS[split.train]}
    assert sorted(chosen.values()) == [0] * 4 + [1] * 4


def test_patients_with_rows_of_both_classes_are_drawn_as_one_sort() -> None:
    phases = np.tile([0, 1], 60)
    assert len(set(PATIENTS[_splits("official-5shot-d0", phases)[0].train])) == 5


@pytest.mark.parametrize("name", ["official-2pct-d0", "official-40shot-d0"])
def test_a_draw_that_cannot_be_is_said(name: str) -> None:
    with pytest.raises(UndefinedError, match="training patients of the classes"):
        _splits(name)


def test_names_of_draws() -> None:
    assert drawn(["official"], [5, 100], [3], 2) == [
        "official-5pct-d0",
        "official-5pct-d1",
        "official",
        "official-3shot-d0",
        "official-3shot-d1",
    ]


def test_undrawn_rows_do_not_touch_the_answer() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 12)).astype(np.float32), rng.integers(0, 2, 200)
    x[:, 0] += 2 * y
    parts = tuple(np.arange(k, 30, 3) for k in range(3))
    split = RowSplit(np.arange(30), parts, np.arange(180, 200), "few")
    alone = RowSplit(np.arange(30), parts, np.arange(30, 50), "few")
    target = Target("CM", Kind.BINARY, classes=("no", "yes"))
    found = []
    for rows, s in ((np.arange(200), split), (np.r_[0:30, 180:200], alone)):
        features = Features({"last/mean": x[rows]})
        fit = heads.head("logistic").cross_fit(
            features, y[rows], rows.astype(str), [s], target, rng=rng
        )[0]
        found.append((fit.predictions, fit.choice["penalty"], fit.choice["inner_log_loss"]))
    assert found[0][0] == pytest.approx(found[1][0], abs=2e-3)
    assert found[0][1] == found[1][1]
    assert found[0][2] == pytest.approx(found[1][2], rel=1e-2)


@pytest.fixture(scope="module")
def folder(phantom_tree: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("few")
    root = phantom_tree(["camus"]) / "camus"
    settings = Settings(root=root, results=place / "results", cache=place / "cache")
    runs = plan(
        ["a0-A4-C", "b0-A4-C", "b1-A4-C"],
        ["image_stats"],
        protocols=drawn(["cv3"], [50, 75, 100], [], 2),
    )
    assert len(list(execute(runs, settings))) == len(runs) == 15
    return place / "results"


def test_a_run_with_few_patients_is_a_cell_like_any_other(folder: Path) -> None:
    found = {r.protocol: r for r in load_results(folder) if r.task == "a0-A4-C"}
    assert set(found) == {"cv3", "cv3-50pct-d0", "cv3-50pct-d1", "cv3-75pct-d0", "cv3-75pct-d1"}
    assert [found[p].n_train for p in ("cv3-50pct-d0", "cv3-75pct-d0", "cv3")] == [8, 12, 16]
    assert len({r.n_patients for r in found.values()}) == 1
    assert found["cv3-50pct-d0"].predictions_sha256 != found["cv3-50pct-d1"].predictions_sha256


def test_points_mix_draws_and_patients(folder: Path) -> None:
    found = [p for p in curves.curve_points(folder) if p.task == "b0-A4-C"]
    values = {r.protocol: r.value for r in load_results(folder) if r.task == "b0-A4-C"}
    assert [(p.labels, p.draws) for p in found] == [("50 %", 2), ("75 %", 2), ("100 %", 1)]
    assert found[0].value == pytest.approx((values["cv3-50pct-d0"] + values["cv3-50pct-d1"]) / 2)
    assert found[0].low <= min(values["cv3-50pct-d0"], values["cv3-50pct-d1"])
    assert found[0].high >= max(values["cv3-50pct-d0"], values["cv3-50pct-d1"])
    assert all(p.low < p.value < p.high and p.phantom for p in found)


def test_the_command_draws_and_says_phantom(folder: Path, tmp_path: Path) -> None:
    files = {ext: tmp_path / f"c.{ext}" for ext in ("png", "md", "csv")}
    words = [
        "curve",
        str(folder),
        "--picture",
        str(files["png"]),
        "--markdown",
        str(files["md"]),
        "--csv",
        str(files["csv"]),
    ]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    assert files["png"].read_bytes()[:4] == b"\x89PNG"
    assert "Phantom data" in files["md"].read_text()
    assert "](c.png)" in files["md"].read_text()
    assert re.search(r"\| 0\.\d{3} \[", files["md"].read_text())
    lines = files["csv"].read_text().splitlines()
    assert len(lines) == 10
    assert all(line.endswith(",phantom") for line in lines[1:])


def test_of_many_backbones_those_that_learned_have_bands(folder: Path, tmp_path: Path) -> None:
    found = curves.curve_points(folder)
    kinds = {
        "image_stats": "control",
        "pixel_pca": "control",
        "random/mobilenetv2": "random twin",
        "mobilenetv2": "pretrained",
        "callable/mine": "pretrained",
        "efficientnet_lite0": "pretrained",
        "hed_vgg16": "pretrained",
    }
    many = [replace(p, backbone=name, kind=kind) for p in found for name, kind in kinds.items()]
    bands = [
        draw_curves(some, tmp_path / "c.svg", {}).read_text().count("PolyCollection_")
        for some in (found, many)
    ]
    panels = len({p.task for p in found})
    assert bands == [panels * len({p.backbone for p in found}), panels * 4]


def test_the_pictures_axes_are_shares_and_values(folder: Path, tmp_path: Path) -> None:
    assert "<svg" in draw_curves(curves.curve_points(folder), tmp_path / "c.svg", {}).read_text()
    with pytest.raises(DataNotFoundError, match="nothing to draw"):
        draw_curves([], tmp_path / "c.png", {})


def test_a_folder_without_draws_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="--fractions 2,5,10,25,50,100"):
        curves.curve_points(tmp_path)
    with pytest.raises(DataNotFoundError, match="There is no folder"):
        curves.curve_points(tmp_path / "absent")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--draws", "3"], "--draws counts draws"),
        (["--fractions", "few"], "is not a list of numbers"),
        (["--fractions", "10,500"], "--fractions takes percentages above 0, up to 100; got 500."),
        (["--fractions", "0"], "--fractions takes percentages above 0"),
        (["--shots", "2.5"], "--shots takes whole numbers of patients"),
        (
            ["--shots", "inf"],
            "--shots takes whole numbers of patients of each class, 2 or more; got inf",
        ),
        (["--fractions", "nan"], "--fractions takes percentages above 0, up to 100; got nan"),
        (["--shots", "1"], "--shots takes whole numbers of patients of each class, 2 or more"),
    ],
)
def test_options_that_cannot_act_are_refused(words: list[str], said: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(
        app, ["run", "--backbones", "image_stats", "--results", str(tmp_path), *words]
    )
    assert ran.exit_code == 1 or ran.exit_code == 2
    assert said in " ".join(str(ran.exception or ran.output).split())
