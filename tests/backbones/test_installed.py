"""Names that an installed package brings: on the command line, in lists, and its faults."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from etab import backbones, phantom
from etab.errors import UnknownNameError, UnsupportedOptionError

MODULE = """
import etab
from etab import backbones
from etab.backbones.image.controls import ImageStats

def halves(x):
    return x.mean((1, 3))[:, ::8]

def my_encoder():
    return etab.backbone(halves, name="my_encoder", input=etab.Frames(size=32))

@backbones.register(backbones.BackboneCard("my_registered", "registered", learned=False))
def load(card):
    return ImageStats(card)

def wrong():
    return 3

def misnamed():
    return etab.backbone(halves, name="other", input=etab.Frames(size=32))

def failing():
    raise RuntimeError("no licence file")
"""
ENTRIES = """[etab.backbones]
my_encoder = {module}:my_encoder
my_registered = {module}:load
my_wrong = {module}:wrong
my_misnamed = {module}:misnamed
my_failing = {module}:failing
my_absent = {module}:nothing_of_this_name
image_stats = {module}:my_encoder
"""


def wheel(folder: Path, name: str) -> Path:
    """Write a wheel of one module and its entry points."""
    info = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", MODULE)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tag)
        archive.writestr(f"{info}/entry_points.txt", ENTRIES.format(module=name))
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    command += ["--target", str(folder), str(wheel(folder.parent, "etab_made_encoders"))]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def on_path(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(site))
    return site


def etab_command(site: Path, *arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-m", "etab", *arguments], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_name_of_a_package_runs_on_the_command_line(site: Path, tmp_path: Path) -> None:
    phantom.write(tmp_path, patients=12, size=64, names=("camus",))
    results = tmp_path / "results"
    etab_command(
        site,
        *("run", "--tasks", "b0-A4-C", "--backbones", "my_encoder", "--protocol", "cv3"),
        *("--root", str(tmp_path / "camus"), "--results", str(results)),
    )
    texts = [path.read_text() for path in results.rglob("*.json")]
    assert len(texts) == 1
    assert '"my_encoder"' in texts[0]
    assert "my_encoder" in etab_command(site, "list", "backbones")


def test_cards_registered_and_made(on_path: Path) -> None:
    assert backbones.card("my_encoder").layers == ("out",)
    try:
        assert backbones.card("my_registered").title == "registered"
    finally:
        backbones.BACKBONES.remove("my_registered")


def test_names_of_packages_are_listed_without_importing_them(on_path: Path) -> None:
    assert "my_encoder" in backbones.installed()
    assert "image_stats" not in backbones.installed()
    assert backbones.card("image_stats").source == "etab"


def test_a_name_of_etab_is_kept_and_the_package_is_told(on_path: Path) -> None:
    from etab.cli.listing import backbones_table

    assert list(backbones.hidden()) == ["image_stats"]
    assert (
        "etab_made_encoders 1.0 brings a backbone of this name, which is not used"
        in (backbones.hidden()["image_stats"])
    )
    try:
        cells = [cell for row in backbones_table().rows for cell in row]
    finally:
        backbones.BACKBONES.remove("my_registered")
    assert backbones.hidden()["image_stats"] in cells


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("my_wrong", r"gives int; wanted a card"),
        ("my_misnamed", r"gives a card called 'other'"),
        ("my_failing", r"etab_made_encoders 1.0, cannot be used: RuntimeError: no licence file"),
        ("my_absent", r"cannot be used: AttributeError"),
        ("random/my_encoder", r"has no random twin"),
    ],
)
def test_a_faulty_entry_names_its_package(on_path: Path, name: str, match: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=match):
        backbones.card(name)
    backbones.BACKBONES.remove("my_registered")


def test_two_packages_with_one_name_are_refused(
    on_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(wheel(tmp_path, "etab_made_twice")) as archive:
        archive.extractall(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        UnsupportedOptionError, match=r"etab_made_encoders 1.0, etab_made_twice 1.0"
    ):
        backbones.card("my_encoder")


def test_a_name_of_nobody_is_still_unknown() -> None:
    with pytest.raises(UnknownNameError, match="my_encodr"):
        backbones.card("my_encodr")
