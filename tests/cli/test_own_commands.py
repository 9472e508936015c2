"""Tables of one's own through finetune, curve and Python; pictures, saved folders and programs named for what they are."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner
from typer.testing import Result as Ran

import etab
from etab import backbones
from etab.cli import doctor
from etab.cli.main import app
from etab.errors import StorageError, UnsupportedOptionError, WeightsError
from etab.leaderboard.curves import CurvePoint
from etab.leaderboard.curves_plot import draw_curves
from etab.tasks.menu import TASKS
from etab.tasks.own import own_protocols, use_own_data
from tests.datasets.own_tables import describe, pictures, write_table

LABELS = '[labels.EF]\nkind = "value"\n[labels.sick]\nkind = "classes"\nclasses = ["no", "yes"]\n'


pytestmark = pytest.mark.usefixtures("forget_own_data")


def call(*words: object) -> Ran:
    return CliRunner().invoke(app, [str(word) for word in words])


def clinic(folder: Path, patients: int = 12) -> Path:
    write_table(folder, pictures(folder, patients=patients))
    return describe(folder, LABELS)


def test_own_tables_have_the_protocols_of_the_boards(tmp_path: Path) -> None:
    own = use_own_data(clinic(tmp_path))
    assert own_protocols(own) == ["cv5x5"]
    assert own_protocols(own, 3, few=True) == ["cv3"]
    rows = pictures(tmp_path, patients=12)
    for number, row in enumerate(rows):
        row["split"] = "test" if number < 4 else "train"
    write_table(tmp_path, rows)
    assert own_protocols(own) == ["cv5x5", "official"]


def test_a_description_is_named_in_python(tmp_path: Path) -> None:
    path = clinic(tmp_path)
    score = etab.evaluate("image_stats", data=path, tasks="d0-AL-Z", protocol="cv3")
    assert score.tasks[0]["value"] == 1.0
    with pytest.raises(UnsupportedOptionError, match="leave out root="):
        etab.evaluate("image_stats", data=path, root=tmp_path)


def test_curves_of_an_own_table(tmp_path: Path) -> None:
    results = tmp_path / "r"
    path = clinic(tmp_path / "data")
    words = ("--backbones", "image_stats", "--results", results, "--tasks", "d0-AL-Z")
    few = ("--shots", "2", "--draws", "1", "--n-fold", "2", "--cache", tmp_path / "c")
    ran = call("run", "--data", path, *words, *few, "--workers", 1)
    assert ran.exit_code == 0, ran.output
    TASKS.remove("d0-AL-Z")
    curve = call("curve", results)
    assert curve.exit_code == 0, curve.output
    assert "d0-AL-Z" in curve.stdout


@pytest.mark.slow
def test_an_own_table_is_fine_tuned(tmp_path: Path) -> None:
    path = clinic(tmp_path / "data")
    results = tmp_path / "r"
    words = ("--data", path, "--results", results, "--backbones", "random/efficientnet_lite0")
    short = ("--side", 32, "--epochs", 1, "--protocol", "cv2", "--tasks", "d0-AL-Z")
    ran = call("finetune", *words, *short)
    assert ran.exit_code == 0, ran.output
    assert "d0-AL-Z" in ran.stdout
    assert (results / "clinic" / "data.toml").is_file()
    again = call("finetune", *words, *short, "--root", tmp_path)
    assert "leave out --root" in str(again.exception)
    stopped = tmp_path / "r.training"
    assert stopped.is_dir()
    other = call("finetune", *words, *short[2:], "--side", 64, "--results", tmp_path / "s" / "r")
    assert other.exit_code == 0, other.output
    stopped.rename(tmp_path / "t.training")
    refused = call("finetune", *words, *short[2:], "--side", 64, "--results", tmp_path / "t")
    assert "side: 32 there, 64 here" in refused.output


def test_one_test_patient_is_refused_before_training(tmp_path: Path) -> None:
    rows = pictures(tmp_path, patients=12)
    for number, row in enumerate(rows):
        row["split"] = ("test", "val", "val")[number] if number < 3 else "train"
    write_table(tmp_path, rows)
    path = describe(tmp_path, LABELS)
    words = ("--data", path, "--backbones", "random/efficientnet_lite0", "--side", 32)
    ran = call("finetune", *words, "--tasks", "b0-AL-Z", "--results", tmp_path / "r")
    assert "tests 1 patient: an interval needs at least 2" in ran.output
    assert not (tmp_path / "r.training").exists()


def test_a_test_part_of_one_class_is_refused_before_training(tmp_path: Path) -> None:
    rows = pictures(tmp_path, patients=12)
    for number, row in enumerate(rows):
        row["split"] = ("test", "test", "val", "val")[number] if number < 4 else "train"
        row["sick"] = "no" if number < 2 else ("no", "yes")[number % 2]
    write_table(tmp_path, rows)
    path = describe(tmp_path, LABELS)
    words = ("--data", path, "--backbones", "random/efficientnet_lite0", "--side", 32)
    ran = call("finetune", *words, "--tasks", "d0-AL-Z", "--results", tmp_path / "r")
    assert "needs rows of every class in one fold; official-finetune tests only one" in ran.output
    assert not (tmp_path / "r.training").exists()


def test_clips_are_no_task_of_fine_tuning(tmp_path: Path) -> None:
    write_table(tmp_path, pictures(tmp_path, patients=12))
    text = '[labels.EF]\nkind = "value"\ninput = "clip"\n'
    words = ("--data", describe(tmp_path, text), "--results", tmp_path / "r")
    ran = call("finetune", *words)
    assert "fine-tuning needs single frames" in str(ran.exception)


def point() -> CurvePoint:
    words = ("b0-A4-C", "net", "official", "10 %")
    return CurvePoint(*words, 10.0, 0, 3, 40.0, "mae", 7.0, 6.0, 8.0, True)


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="could not be written"):
        draw_curves([point()], tmp_path / "file" / "curve.png", {})
    with pytest.raises(UnsupportedOptionError, match="wanted one of"):
        draw_curves([point()], tmp_path / "curve.xyz", {})
    assert draw_curves([point()], tmp_path / "curve.svg", {}).read_bytes()[:5] == b"<?xml"


def test_doctor_looks_at_every_extra_of_the_package() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"]) - {"docs", "perf", "test"}
    assert set(doctor._EXTRAS) == extras


@pytest.mark.parametrize("form", ["local:{}", "local:{}@timm/resnet18", "hf-hub:{}"])
def test_a_folder_of_transformers_is_called_by_its_form(form: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(WeightsError, match=f"Name it transformers/{tmp_path}"):
        backbones.card(form.format(tmp_path))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_program_is_no_file_of_weights(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "program.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(path)
    with pytest.raises(WeightsError, match=r"TorchScript program.*torch\.jit\.load"):
        backbones.card(f"local:{path}@timm/resnet10t").load()
