"""Deliberate faults: each is planted alone, and the tests it names must turn red.

``python -m tests.faults`` plants all of them, ``python -m tests.faults NAME ...`` some, by name or by part (a file of
``tests/planted/``). ``python -m tests.faults --changed [BASE]`` plants those in the files that differ from BASE (a git
revision; by default the commit where this branch left main). A fault whose text is no longer in its file, or whose
tests stay green, fails the run.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PASSED = 0  # exit statuses of pytest
_FAILED = 1
_NONE_COLLECTED = 5


@dataclass(frozen=True)
class Fault:
    """Replace ``old`` by ``new`` in ``file``: at least one of ``tests`` (pytest node ids or files) must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def collect(wanted: list[str]) -> list[Fault]:
    """Gather the faults of the parts or names wanted, or all; refuses a name used twice, and one that is not there."""
    import tests.planted as planted

    parts = {
        info.name: importlib.import_module(f"tests.planted.{info.name}").FAULTS
        for info in pkgutil.iter_modules(planted.__path__)
    }
    places = [(part, fault) for part, faults in parts.items() for fault in faults]
    names = [fault.name for _, fault in places]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"two faults share a name: {twice}")
    unknown = sorted(set(wanted) - set(names) - set(parts))
    if unknown:
        raise ValueError(f"no fault or part is called {unknown}; parts: {', '.join(parts)}")
    return [fault for part, fault in places if not wanted or part in wanted or fault.name in wanted]


def changed_files(base: str | None = None) -> set[str]:
    """Name the files that differ from a revision, committed or not, and those that git does not know yet.

    Args:
        base: a git revision; None is the commit where this branch left main.

    Returns:
        Paths relative to the project's root.

    Raises:
        ValueError: git does not know the revision.
    """
    if base is None:
        base = _git("merge-base", "main", "HEAD").strip()
    differing = _git("diff", "--name-only", "--no-renames", base, "--")
    untracked = _git("ls-files", "--others", "--exclude-standard")
    return {*differing.splitlines(), *untracked.splitlines()}


def _git(*words: str) -> str:
    run = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        raise ValueError(
            f"git {' '.join(words)}: {run.stderr.strip()}; name a revision: --changed REVISION"
        )
    return run.stdout


def locate(old: str, text: str) -> tuple[int, int] | None:
    """Find where ``old`` stands in ``text``, however the formatter broke its lines.

    The exact text is preferred. Otherwise white space and the commas that the formatter adds before a closing bracket
    are ignored.

    Returns:
        The first and the last position (exclusive), or None where ``text`` does not hold ``old``.
    """
    start = text.find(old)
    if start >= 0:
        return start, start + len(old)
    lexemes = re.findall(r"\w+|[^\w\s]", old)
    pattern = r"\s*".join(
        r",?\s*" + re.escape(lexeme) if lexeme in ")]}" else re.escape(lexeme) for lexeme in lexemes
    )
    match = re.search(pattern, text)
    return match.span() if match else None


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Names that a copy of the project does without; ``results`` of the project's root alone."""
    ignored = shutil.ignore_patterns(".git", "__pycache__", ".*_cache")(folder, names)
    return ignored | ({"results"} if Path(folder) == ROOT else set())


def _selections(tests: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Which of the tests run, in turn, until one fails.

    Tests that are named one by one run whether they are slow or not. Of a whole file the default
    tests run, and only where all of them pass the slow ones too.
    """
    with_slow = ("-m", "slow or not slow")
    if all("::" in test for test in tests) or "-m" in tests:
        return (with_slow,)
    return ((), with_slow)


def plant(fault: Fault, workdir: Path) -> str:
    """Plant one fault in a copy of the project and run its tests: '' when caught, else what went wrong."""
    place = workdir / fault.name.replace("/", "_").replace(" ", "_")
    shutil.copytree(ROOT, place, ignore=_left_out)
    path = place / fault.file
    text = path.read_text()
    span = locate(fault.old, text)
    if span is None:
        return f"stale: {fault.file} no longer holds the text to replace"
    start, end = span
    path.write_text(text[:start] + fault.new + text[end:])
    for selection in _selections(fault.tests):
        run = _run_tests(place, (*selection, *fault.tests))
        if run.returncode not in (_PASSED, _NONE_COLLECTED):
            break
    shutil.rmtree(place, ignore_errors=True)
    if run.returncode == _PASSED:
        return "NOT CAUGHT: the tests stayed green"
    if run.returncode != _FAILED:
        return f"pytest ended with {run.returncode}: {run.stdout[-400:]}"
    return ""


def _run_tests(place: Path, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n", "0"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}  # two faults at a time share the cores
    return subprocess.run(
        [*command, *words], cwd=place, env=env, capture_output=True, text=True, timeout=600
    )


def main(words: list[str]) -> int:
    """Plant the named faults, those of changed files, or all; print a line each; 0 only when every one was caught."""
    if words[:1] == ["--changed"]:
        if len(words) > 2:
            raise ValueError(f"--changed takes at most one revision, got {words[1:]}")
        files = changed_files(*words[1:])
        faults = [fault for fault in collect([]) if fault.file in files]
        if not faults:
            sys.stdout.write("no fault is planted in a changed file\n")
            return 0
    else:
        faults = collect(words)
    missed = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        problems = pool.map(lambda fault: plant(fault, Path(folder)), faults)
        for fault, problem in zip(faults, problems, strict=True):
            if problem:
                missed += 1
                sys.stdout.write(f"MISS {fault.name}: {problem}\n")
            else:
                sys.stdout.write(f"red  {fault.name}\n")
            sys.stdout.flush()
    caught = len(faults) - missed
    sys.stdout.write(f"{caught} of {len(faults)} planted faults turn the suite red\n")
    return 1 if missed or not faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
