"""Imports point down, siblings do not meet, importing does nothing, scoring stays light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "etab"

LAYERS: dict[str, float] = {
    "errors": 0,
    "types": 1,
    "registry": 1,
    "resources": 2,
    "provenance": 1,
    "memory": 1,
    "readers": 2,
    "clips": 2,
    "waves": 2,
    "envelopes": 2.5,
    "frontends": 2.5,
    "denoise": 2,
    "semimarkov": 2.7,
    "clipcache": 2,
    "spill": 2,
    "index": 2,
    "splits": 2,
    "aggregate": 2,
    "metrics": 2,
    "diagnosis": 2,
    "metrics_sound": 2,
    "metrics_heart": 2.5,
    "surface": 1.5,
    "volumes": 2,
    "augment": 2,
    "checkpoints": 1.5,
    "distributed": 1.5,
    "training": 2,
    "stats": 3,
    "datasets": 3,
    "backbones": 3,
    "heads": 3,
    "phantom": 3,
    "tasks": 4,
    "entries": 4,
    "challenge": 5,
    "challenge_circor": 6,
    "challenge_from": 5,
    "unpack": 2,
    "limited": 2,
    "results": 4,
    "features": 4,
    "wholeclips": 4.5,
    "features_sound": 4.5,
    "series": 4.8,
    "rows": 5,
    "sieve": 5.5,
    "studies": 5.5,
    "rows_sound": 5.2,
    "protocols": 5.4,
    "decisions": 5.4,
    "tables": 5.4,
    "inputs": 5.4,
    "opened": 5.6,
    "beats": 2,
    "clipfeatures": 4.5,
    "cliprows": 5.5,
    "cross": 5.5,
    "runs": 6,
    "executors": 7,
    "leaderboard": 5,
    "curves": 6,
    "plots_curves": 7,
    "site": 6,
    "plots": 4,
    "plots_sound": 4,
    "testing": 8,
    "api": 8,
    "listing": 8,
    "scaffold": 8,
    "doctor": 8,
    "finetune": 5.5,
    "tuned": 7,
    "tuned_network": 6,
    "cli_finetune": 9,
    "baselines": 7.5,
    "benchmarks": 8.5,
    "scores": 9,
    "utils": 8,
    "show": 9,
    "sweep": 8,
    "cli": 10,
    "cli_evaluate": 9,
    "cli_challenge": 9.5,
    "cli_convert": 9,
    "__main__": 11,
    "__init__": 11,
}
LIGHT = ("etab.metrics", "etab.stats", "etab.results", "etab.leaderboard", "etab.tasks")
HEAVY = ("torch", "torchvision", "timm", "cv2", "pandas", "SimpleITK", "nibabel")


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").removeprefix("_stats")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.update({node.module or "", *(f"{node.module}.{a.name}" for a in node.names)})
    return {name for name in found if name.startswith("etab.")}


def sources() -> list[Path]:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 20
    return files


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = part(path)
    assert own in LAYERS, f"{own} has no layer; add it to LAYERS"
    for name in imports(path):
        other = name.split(".")[1]
        if other not in LAYERS or other == own:  # a name of etab/__init__ such as __version__
            continue
        assert LAYERS[other] < LAYERS[own], (
            f"{path.name} (layer {LAYERS[own]}) imports etab.{other}"
        )


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_star_no_assert(path: Path) -> None:
    allowed = "testing" in path.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert all(a.name != "*" for a in node.names)
        assert allowed or not isinstance(node, ast.Assert), f"{path}:{node.lineno} asserts"


def test_files_and_functions_stay_short() -> None:
    long_files = [p.name for p in sources() if len(p.read_text().splitlines()) > 500]
    assert not long_files
    lengths = {
        f"{path.name}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: n for name, n in lengths.items() if n > 50} == {}
    assert sorted(lengths.values())[len(lengths) // 2] <= 12


def fresh(code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


AUDIT = """
import sys, os, random, warnings, json
import numpy as np
np.random.seed(3); before = np.random.get_state()[1].tolist()
cwd, env, filters = os.getcwd(), dict(os.environ), list(warnings.filters)
seen = []
def hook(event, args):
    if event in ("socket.connect", "subprocess.Popen", "os.system", "os.chdir", "os.mkdir", "os.remove", "os.rename"):
        seen.append((event, str(args)))
    if event == "open" and len(args) > 1 and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        if not str(args[0]).endswith(".pyc") and "__pycache__" not in str(args[0]): seen.append((event, str(args)))
sys.addaudithook(hook)
import etab, MODULES
after = list(seen)
assert os.getcwd() == cwd and dict(os.environ) == env
assert [f for f in warnings.filters if f not in filters and "etab" in str(f)] == []
assert np.random.get_state()[1].tolist() == before
print(json.dumps(after))
"""


@pytest.mark.parametrize(
    "modules",
    [
        "etab.cli",
        "etab.results, etab.leaderboard, etab.stats, etab.metrics, etab.tasks, etab.errors",
        "etab.datasets, etab.heads, etab.phantom, etab.splits, etab.readers.video, etab.readers.volume",
    ],
)
def test_importing_does_nothing(modules: str) -> None:
    assert json.loads(fresh(AUDIT.replace("MODULES", modules))) == []


def test_importing_the_heavy_side_keeps_seeds_and_directory() -> None:
    out = fresh(
        "import torch, numpy as np, os; a = torch.get_rng_state(); b = str(np.random.get_state()); c = os.getcwd()\n"
        "import etab.runs, etab.api, etab.executors, etab.utils.data_tools, etab.datasets.dataset\n"
        "print(bool((a == torch.get_rng_state()).all()) and b == str(np.random.get_state()) and c == os.getcwd())"
    )
    assert out.strip() == "True"


@pytest.mark.parametrize("module", LIGHT)
def test_scoring_stays_light(module: str) -> None:
    loaded = fresh(f"import sys, {module}; print(' '.join(sys.modules))").split()
    sides = [m for m in loaded if m.startswith(("etab.datasets", "etab.backbones", "etab.heads"))]
    assert not sides
    assert not set(HEAVY) & set(loaded)


def test_import_and_help_load_nothing_heavy() -> None:
    loaded = fresh("import sys, etab, etab.cli; print(' '.join(sys.modules))").split()
    assert not set(HEAVY) & set(loaded)


def test_every_public_name_imports() -> None:
    out = fresh(
        "import etab; print(all(getattr(etab, n) is not None for n in etab.__all__)); print(dir(etab))"
    )
    assert out.startswith("True")
