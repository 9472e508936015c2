"""Commands that compute no features start without the libraries that do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "benchmarks" / "results" / "camus"
HEAVY = ("torch", "torchvision", "timm", "pandas", "cv2", "SimpleITK", "nibabel", "scipy.stats")
FITTING = ("scipy.optimize", "scipy.special", "scipy.sparse")
LIBRARIES = (*HEAVY, *FITTING, "numpy", "scipy", "matplotlib")

CODE = """
import json, sys
sys.argv = ["etab", *json.loads(sys.argv[1])]
from etab.cli.main import main
try:
    main()
except SystemExit as end:
    code = end.code
loaded = [name for name in json.loads(LIBRARIES) if name in sys.modules]
print(json.dumps({"code": code, "loaded": loaded}))
"""


def loaded_by(words: Sequence[str]) -> set[str]:
    """The large libraries that a command imports, in a process of its own."""
    code = CODE.replace("LIBRARIES", repr(json.dumps(LIBRARIES)))
    run = subprocess.run(
        [sys.executable, "-c", code, json.dumps(words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stderr
    end = json.loads(run.stdout.splitlines()[-1])
    assert end["code"] == 0, run.stderr
    return set(end["loaded"])


@pytest.mark.parametrize(
    "words", [["--help"], ["version"], ["run", "--help"], ["convert", "--help"]]
)
def test_help_imports_no_library_of_numbers(words: list[str]) -> None:
    assert loaded_by(words) == set()


@pytest.mark.parametrize("what", ["tasks", "backbones", "metrics", "datasets"])
def test_lists_import_nothing_heavy(what: str) -> None:
    assert not loaded_by(["list", what]) & {*HEAVY, *FITTING}


def test_the_board_of_a_finished_folder_imports_nothing_heavy(tmp_path: Path) -> None:
    for task in sorted(PUBLISHED.iterdir()):
        for backbone in ("image_stats", "pixel_pca"):
            if (task / backbone).is_dir():
                shutil.copytree(task / backbone, tmp_path / "camus" / task.name / backbone)
    words = ["leaderboard", str(tmp_path), "--suite", "camus"]
    assert not loaded_by(words) & set(HEAVY)
