"""``etab new dataset``: what it writes passes its own test as written, in a folder and in a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etab.cli.scaffold import new_dataset
from etab.errors import StorageError, UnsupportedOptionError

ROOT = Path(__file__).resolve().parents[2]


def _run(folder: Path, *words: str, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_what_the_command_writes_passes_its_test(tmp_path: Path) -> None:
    made = _run(tmp_path, "etab", "new", "dataset", "my_echo", "--title", "My Echo")
    assert made.returncode == 0, made.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"my_echo.py", "test_my_echo.py"}
    assert "python -m pytest test_my_echo.py" in made.stdout
    run = _run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "test_my_echo.py")
    assert run.returncode == 0, run.stdout
    assert "6 passed" in run.stdout
    source = tmp_path / "my_echo.py"
    source.write_text(
        source.read_text().replace('"still": f"stills/{name}.png"', '"still": "stills/r0.png"')
    )
    assert (
        _run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "test_my_echo.py").returncode == 1
    )


@pytest.mark.slow
def test_in_a_checkout_it_has_its_style_too(tmp_path: Path) -> None:
    for name in ("etab", "tests", "docs", "pyproject.toml", "configs", "checkpoints"):
        there = ROOT / name
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(there, tmp_path / name, ignore=skip) if there.is_dir() else shutil.copy(
            there, tmp_path
        )
    made = new_dataset("my_echo", tmp_path, letter="Z")
    assert [str(p.relative_to(tmp_path)) for p in made.files] == [
        "etab/datasets/my_echo.py",
        "tests/datasets/test_my_echo.py",
    ]
    listed = _run(tmp_path, "etab", "list", "datasets", path=tmp_path)
    assert "my_echo" in listed.stdout, "a file of the folder is registered without an edit"
    for words in (
        (
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/datasets/test_my_echo.py",
            "tests/test_layers.py",
        ),
        ("ruff", "check", "etab", "tests"),
        ("ruff", "format", "--check", "etab", "tests"),
        ("mypy", "etab/datasets/my_echo.py"),
    ):
        run = _run(tmp_path, *words, path=tmp_path)
        assert run.returncode == 0, f"{words}: {run.stdout[-2000:]}{run.stderr[-500:]}"


@pytest.mark.parametrize("name", ["camus", "My_Echo", "a", "1st", "class", "a-b", "../x"])
def test_names_that_cannot_be(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOptionError, match="cannot be a new dataset"):
        new_dataset(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("mine")
    with pytest.raises(UnsupportedOptionError, match=r"test_mine\.py exists already"):
        new_dataset("mine", tmp_path)
    with pytest.raises(UnsupportedOptionError, match="one of A to Z"):
        new_dataset("other", tmp_path, letter="xy")
    with pytest.raises(StorageError, match="could not be written"):
        new_dataset("other", tmp_path / "test_mine.py" / "below")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]
