"""Measures of the source code of the package as a Markdown table: ``python -m benchmarks.house [--against REVISION]``.

Everything is counted from the text of ``etab/`` with Python's own parser; nothing is imported or run.

* Packages are the folders directly below ``etab/`` that hold Python files, the root itself not counted. An arrow leads
  from one package to another when any file of the first imports any file of the second. The floor of a package is 1
  when it imports no other package, and otherwise one more than the highest floor of those that it imports.
* Import circles are groups of files that import one another, directly or through others.
* A code line is neither blank, nor a comment alone, nor part of a docstring. The density is the number of expression and
  statement nodes divided by the number of code lines.
* A homonym is a public name that is defined at the top level of more than one file. The share is of definitions: a
  name that two files define counts twice.
"""

from __future__ import annotations

import argparse
import ast
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONG_FUNCTION = 40  # statements
WIDE_LINE = 100  # columns
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One parsed file: its dotted name (``etab.tasks.menu``), its text and its syntax tree."""

    name: str
    text: str
    tree: ast.Module


def modules(root: Path) -> list[Module]:
    """Parse every Python file of ``root/etab``, in the order of names."""
    parsed = []
    for path in sorted((root / "etab").rglob("*.py")):
        dotted = ".".join(path.relative_to(root).with_suffix("").parts)
        text = path.read_text(encoding="utf-8")
        parsed.append(Module(dotted.removesuffix(".__init__"), text, ast.parse(text)))
    if not parsed:
        raise FileNotFoundError(f"{root / 'etab'} holds no Python file; name a checkout of etab")
    return parsed


def imports(module: Module, known: set[str]) -> set[str]:
    """Names of the files of etab that a file imports, also inside functions; not those for type checkers alone."""
    for_types: set[int] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for_types.update(id(inner) for inner in ast.walk(node))
    names: set[str] = set()
    for node in ast.walk(module.tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & known
            names.update(submodules or {node.module or ""})
    return (names & known) - {module.name}


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Find the groups of nodes that reach one another; nodes on their own are not listed."""
    reach = {node: _reachable(node, graph) for node in graph}
    groups: list[set[str]] = []
    for node in graph:
        group = {other for other in reach[node] if node in reach[other]} | {node}
        if len(group) > 1 and group not in groups:
            groups.append(group)
    return groups


def _reachable(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting.extend(graph[node])
    return reached


def packages(graph: Mapping[str, set[str]], folders: set[str]) -> dict[str, set[str]]:
    """Map each package to the packages that its files import."""
    arrows: dict[str, set[str]] = {folder: set() for folder in folders}
    for name, imported in graph.items():
        own = _folder(name)
        if own in folders:
            arrows[own].update(_folder(other) for other in imported)
    return {own: (others & folders) - {own} for own, others in arrows.items()}


def _folder(name: str) -> str:
    return ".".join(name.split(".")[:2])


def floors(arrows: Mapping[str, set[str]]) -> int:
    """Count the floors of packages; packages that import one another share a floor."""
    group_of: dict[str, frozenset[str]] = {node: frozenset([node]) for node in arrows}
    for circle in circles(arrows):
        group_of.update(dict.fromkeys(circle, frozenset(circle)))
    heights: dict[frozenset[str], int] = {}

    def height(group: frozenset[str]) -> int:
        if group not in heights:
            below = {group_of[other] for node in group for other in arrows[node]} - {group}
            heights[group] = 1 + max((height(other) for other in below), default=0)
        return heights[group]

    return max((height(group) for group in group_of.values()), default=0)


def statements(function: Function) -> int:
    """Count the statements of a function, functions inside it included, without its docstring."""
    count = sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1
    return count - (ast.get_docstring(function) is not None)


def code_lines(module: Module) -> int:
    """Count the lines that are neither blank, nor a comment alone, nor part of a docstring."""
    documented: set[int] = set()
    for node in ast.walk(module.tree):
        if not isinstance(node, Function | ast.ClassDef | ast.Module):
            continue
        if ast.get_docstring(node) is not None:
            docstring = node.body[0]
            documented.update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    count = 0
    for number, line in enumerate(module.text.splitlines(), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#") and number not in documented:
            count += 1
    return count


def nodes(module: Module) -> int:
    """Count the expression and statement nodes of a file."""
    return sum(isinstance(node, ast.expr | ast.stmt) for node in ast.walk(module.tree))


def public_names(module: Module) -> set[str]:
    """Public names that a file defines at its top level: functions, classes and assigned names."""
    names: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, Function | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                names.update(n.id for n in ast.walk(target) if isinstance(n, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


def public_functions(module: Module) -> Iterator[Function]:
    """Public functions at the top level and public methods of public classes."""
    for node in module.tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, Function) and not inner.name.startswith("_"):
                    yield inner


def parameters(function: Function) -> list[ast.arg]:
    """The parameters of a function without ``self`` and ``cls``."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    return [a for a in every if a.arg not in ("self", "cls")]


def documents_all(function: Function, options: set[str]) -> bool:
    """Whether each parameter of a function is documented.

    Either the docstring holds the name of the parameter as a word, or the parameter is an option
    of the command line with a text of its own (``help=``).

    Args:
        function: The function.
        options: Names of annotations with such a text (``option_names``).
    """
    docstring = ast.get_docstring(function) or ""
    words = set("".join(c if c.isalnum() or c == "_" else " " for c in docstring).split())
    for parameter in parameters(function):
        annotation = parameter.annotation
        is_named_option = isinstance(annotation, ast.Name) and annotation.id in options
        if parameter.arg not in words and not is_named_option and not _has_help(annotation):
            return False
    return True


def option_names(module: Module) -> set[str]:
    """Names that a file gives to annotations of options with ``help=``."""
    names: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and _has_help(node.value):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


def _has_help(annotation: ast.expr | None) -> bool:
    """Whether an annotation holds a call with the argument ``help``."""
    if annotation is None:
        return False
    calls = [node for node in ast.walk(annotation) if isinstance(node, ast.Call)]
    return any(keyword.arg == "help" for call in calls for keyword in call.keywords)


def is_typed(function: Function) -> bool:
    """Whether every parameter and the returned value of a function have a type."""
    return function.returns is not None and all(a.annotation for a in parameters(function))


def _share(flags: Iterable[bool]) -> str:
    listed = list(flags)
    return f"{100 * sum(listed) / len(listed):.0f} %" if listed else "none"


def measures(root: Path) -> dict[str, str]:
    """Measure one checkout.

    Args:
        root: the folder that holds ``etab/``.

    Returns:
        The measures in the order of the table, as text.

    Raises:
        FileNotFoundError: ``root`` holds no package.
    """
    files = modules(root)
    return {**_house(files, root), **_size(files), **_words(files)}


def _house(files: list[Module], root: Path) -> dict[str, str]:
    known = {module.name for module in files}
    graph = {module.name: imports(module, known) for module in files}
    folders = {f"etab.{path.name}" for path in (root / "etab").iterdir() if any(path.rglob("*.py"))}
    arrows = packages(graph, folders)
    return {
        "packages": str(len(folders)),
        "floors": str(floors(arrows)),
        "arrows between packages": str(sum(map(len, arrows.values()))),
        "import circles between files": str(len(circles(graph))),
    }


def _size(files: list[Module]) -> dict[str, str]:
    every = [
        statements(node)
        for module in files
        for node in ast.walk(module.tree)
        if isinstance(node, Function)
    ]
    lines = [line for module in files for line in module.text.splitlines()]
    density = sum(map(nodes, files)) / sum(map(code_lines, files))
    return {
        "files": str(len(files)),
        "lines": f"{len(lines):,}",
        f"functions over {LONG_FUNCTION} statements": str(sum(n > LONG_FUNCTION for n in every)),
        "statements a function, median": f"{statistics.median(every):g}",
        "AST nodes a code line": f"{density:.2f}",
        "`fmt: skip`": str(sum("# fmt: skip" in line for line in lines)),
        f"lines beyond {WIDE_LINE} columns": str(sum(len(line) > WIDE_LINE for line in lines)),
    }


def _words(files: list[Module]) -> dict[str, str]:
    definitions = [name for module in files for name in public_names(module)]
    homes = Counter(definitions)
    functions = [f for module in files for f in public_functions(module)]
    with_parameters = [f for f in functions if len(parameters(f)) >= 2]
    options = {name for module in files for name in option_names(module)}
    examples = sum(
        line.strip().startswith(">>> ") for module in files for line in module.text.splitlines()
    )
    return {
        "public names defined in more than one file": _share(
            homes[name] > 1 for name in definitions
        ),
        "all parameters documented": _share(documents_all(f, options) for f in with_parameters),
        "doctest lines": str(examples),
        "public functions documented": _share(ast.get_docstring(f) is not None for f in functions),
        "public functions typed": _share(map(is_typed, functions)),
    }


def table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """Lay measures out as Markdown: a row a measure, a column a checkout."""
    rows = [["measure", *columns], ["---"] * (1 + len(columns))]
    for name in next(iter(columns.values())):
        rows.append([name, *(column[name] for column in columns.values())])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def extract(revision: str, folder: Path, repository: Path = ROOT) -> Path:
    """Write ``etab/`` of a git revision below ``folder``; raises ValueError for an unknown revision."""
    run = subprocess.run(
        ["git", "archive", "--format=tar", revision, "etab"], cwd=repository, capture_output=True
    )
    if run.returncode:
        raise ValueError(f"git archive {revision}: {run.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(run.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def main(words: list[str] | None = None) -> int:
    """Print the table of a checkout, beside that of another revision where one is named."""
    parser = argparse.ArgumentParser(description="Measures of the source code as Markdown.")
    parser.add_argument("checkout", nargs="?", type=Path, default=ROOT)
    parser.add_argument("--against", metavar="REVISION", help="a git revision to compare with")
    options = parser.parse_args(words)
    columns: dict[str, dict[str, str]] = {}
    if options.against:
        with tempfile.TemporaryDirectory() as folder:
            before = extract(options.against, Path(folder), options.checkout)
            columns[options.against] = measures(before)
    columns["now"] = measures(options.checkout)
    sys.stdout.write(table(columns))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
