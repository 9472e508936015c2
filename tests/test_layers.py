"""Imports point down, siblings do not meet, importing does nothing, scoring stays light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "etab"

# One row a package: imports go from a floor to a lower one, and packages of one floor never meet.
FLOORS: dict[int, tuple[str, ...]] = {
    0: ("errors",),
    1: ("types", "registry", "precisions", "files"),
    2: ("readers", "sounds", "storage", "training", "splits"),
    3: ("echo", "plots", "results"),
    4: ("datasets", "backbones", "heads", "metrics", "phantom"),
    5: ("tasks",),
    6: ("features", "leaderboard", "challenges"),
    7: ("runs", "site"),
    8: ("finetuning", "testing"),
    9: ("api", "legacy", "cli"),
    10: ("scores", "benchmarks", "baselines", "utils", "__main__", "__init__"),
}
LAYERS = {package: floor for floor, packages in FLOORS.items() for package in packages}
LIGHT = (
    "etab.metrics.basic",
    "etab.metrics.uncertainty",
    "etab.results",
    "etab.leaderboard.ranking",
    "etab.tasks.menu",
)
HEAVY = ("torch", "torchvision", "timm", "cv2", "pandas", "SimpleITK", "nibabel")


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


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


def statements(function: ast.FunctionDef) -> int:
    """Statements in a function, those of functions inside it included, without its docstring."""
    count = sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1
    return count - (ast.get_docstring(function) is not None)


def test_functions_stay_short() -> None:
    counts = {
        f"{path.relative_to(PACKAGE)}:{node.name}": statements(node)
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: n for name, n in counts.items() if n > 40} == {}


def imported_files(path: Path, files: dict[str, Path]) -> set[str]:
    """Modules of etab that a file imports, also those inside functions; not those for type checkers alone."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(full & set(files) or {node.module or ""})
    return found & set(files)


def test_no_file_imports_itself_in_a_circle() -> None:
    files = {
        str(path.relative_to(ROOT).with_suffix(""))
        .replace("/", ".")
        .removesuffix(".__init__"): path
        for path in sources()
    }
    graph = {module: imported_files(path, files) - {module} for module, path in files.items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"these files import each other: {' -> '.join(error.args[1])}")


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
        "etab.cli.main",
        "etab.results, etab.leaderboard.ranking, etab.metrics.uncertainty, etab.metrics.basic, etab.tasks.menu, etab.errors",
        "etab.datasets, etab.heads, etab.phantom, etab.splits, etab.readers.video, etab.readers.volume",
    ],
)
def test_importing_does_nothing(modules: str) -> None:
    assert json.loads(fresh(AUDIT.replace("MODULES", modules))) == []


def test_importing_the_heavy_side_keeps_seeds_and_directory() -> None:
    out = fresh(
        "import torch, numpy as np, os; a = torch.get_rng_state(); b = str(np.random.get_state()); c = os.getcwd()\n"
        "import etab.runs.cell, etab.api, etab.runs.executors, etab.legacy.data_tools, etab.datasets.dataset\n"
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
    loaded = fresh("import sys, etab, etab.cli.main; print(' '.join(sys.modules))").split()
    assert not set(HEAVY) & set(loaded)


def test_every_public_name_imports() -> None:
    out = fresh(
        "import etab; print(all(getattr(etab, n) is not None for n in etab.__all__)); print(dir(etab))"
    )
    assert out.startswith("True")
