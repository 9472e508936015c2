"""Imports point down, siblings do not meet, importing does nothing, scoring stays light."""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "etab"

# One row a package: imports go from a floor to a lower one, and packages of one floor never meet.
FLOORS: dict[int, tuple[str, ...]] = {
    0: ("errors",),
    1: ("types", "registry", "precisions", "files", "options"),
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


@dataclass(frozen=True)
class Module:
    """What the tests ask of a file of the package.

    Attributes:
        imported: Names that are imported: ``etab.a`` for ``import etab.a``, and both ``etab.a`` and
            ``etab.a.b`` for ``from etab.a import b``.
        at_run_time: The same for each import that is not for type checkers alone: the module in
            ``from etab.a import b`` (otherwise ""), and the other names.
        has_relative_import: Whether a name is imported relative to the file.
        has_star: Whether all names of a module are imported.
        asserts: Lines with an ``assert``.
        lengths: Each function with the number of its statements.
    """

    imported: frozenset[str]
    at_run_time: tuple[tuple[str, frozenset[str]], ...]
    has_relative_import: bool
    has_star: bool
    asserts: tuple[int, ...]
    lengths: tuple[tuple[str, int], ...]


def named_by(node: ast.Import | ast.ImportFrom) -> tuple[str, frozenset[str]]:
    if isinstance(node, ast.Import):
        return "", frozenset(alias.name for alias in node.names)
    return node.module or "", frozenset(f"{node.module}.{alias.name}" for alias in node.names)


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and any(
        isinstance(inner, ast.Name) and inner.id == "TYPE_CHECKING" for inner in ast.walk(node.test)
    )


def statements(function: ast.FunctionDef) -> int:
    """Statements in a function, those of functions inside it included, without its docstring."""
    count = sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1
    return count - (ast.get_docstring(function) is not None)


@functools.cache  # each file is parsed once for all tests
def module(path: Path) -> Module:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    blocks = [node for node in nodes if is_for_type_checkers(node)]
    for_types = {id(inner) for block in blocks for inner in ast.walk(block)}
    stated = [node for node in imports if isinstance(node, ast.ImportFrom)]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    return Module(
        imported=frozenset().union(*({base, *names} for base, names in map(named_by, imports))),
        at_run_time=tuple(named_by(node) for node in imports if id(node) not in for_types),
        has_relative_import=any(node.level for node in stated),
        has_star=any(alias.name == "*" for node in stated for alias in node.names),
        asserts=tuple(node.lineno for node in nodes if isinstance(node, ast.Assert)),
        lengths=tuple((node.name, statements(node)) for node in functions),
    )


def modules() -> dict[str, Module]:
    """The modules of the package by their files, such as ``cli/main.py``."""
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 20
    return {str(path.relative_to(PACKAGE)): module(path) for path in files}


def part(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


def test_every_part_has_a_layer() -> None:
    assert {part(name) for name in modules()} <= set(LAYERS), "add it to FLOORS"


def test_imports_point_down() -> None:
    upward = [
        f"{name} (layer {LAYERS[part(name)]}) imports {other}"
        for name, found in modules().items()
        for other in found.imported
        if other.startswith("etab.")
        and other.split(".")[1] != part(name)
        # a name of etab/__init__, such as __version__, has no layer
        and LAYERS.get(other.split(".")[1], -1) >= LAYERS[part(name)]
    ]
    assert upward == []


def test_no_star_no_relative_import_no_assert() -> None:
    found = modules()
    assert [name for name, facts in found.items() if facts.has_star] == []
    assert [name for name, facts in found.items() if facts.has_relative_import] == []
    asserting = {name: facts.asserts for name, facts in found.items() if facts.asserts}
    assert {name: at for name, at in asserting.items() if "testing" not in name.split("/")} == {}


def test_functions_stay_short() -> None:
    long = [
        f"{name}:{function} has {n} statements"
        for name, found in modules().items()
        for function, n in found.lengths
        if n > 40
    ]
    assert long == []


def test_no_file_imports_itself_in_a_circle() -> None:
    """Imports inside functions count; those for type checkers alone do not."""
    found = {
        f"etab/{name}".removesuffix(".py").replace("/", ".").removesuffix(".__init__"): facts
        for name, facts in modules().items()
    }
    graph: dict[str, set[str]] = {name: set() for name in found}
    for name, facts in found.items():
        for base, names in facts.at_run_time:
            graph[name] |= (names & set(found) or {base} & set(found)) - {name}
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


def test_the_heavy_side_and_every_public_name_import_and_change_nothing() -> None:
    out = fresh(
        "import torch, numpy as np, os; a = torch.get_rng_state(); b = str(np.random.get_state()); c = os.getcwd()\n"
        "import etab, etab.runs.cell, etab.api, etab.runs.executors, etab.legacy.data_tools, etab.datasets.dataset\n"
        "assert all(getattr(etab, n) is not None for n in etab.__all__); dir(etab)\n"
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
