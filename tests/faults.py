"""Deliberate faults: each is planted alone, and the tests it names must turn red.

``python -m tests.faults`` plants all of them, ``python -m tests.faults NAME ...`` some, by name or by part (a file of
``tests/planted/``). A fault whose text is no longer in its file, or whose tests stay green, fails the run.
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


def plant(fault: Fault, workdir: Path) -> str:
    """Plant one fault in a copy of the project and run its tests: '' when caught, else what went wrong."""
    place = workdir / fault.name.replace("/", "_").replace(" ", "_")
    shutil.copytree(
        ROOT, place, ignore=shutil.ignore_patterns(".git", "__pycache__", "results", ".*_cache")
    )
    path = place / fault.file
    text = path.read_text()
    span = locate(fault.old, text)
    if span is None:
        return f"stale: {fault.file} no longer holds the text to replace"
    start, end = span
    path.write_text(text[:start] + fault.new + text[end:])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        *fault.tests,
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}  # two faults at a time share the cores
    run = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=600)
    shutil.rmtree(place, ignore_errors=True)
    if run.returncode == 0:
        return "NOT CAUGHT: the tests stayed green"
    if run.returncode != 1:
        return f"pytest ended with {run.returncode}: {run.stdout[-400:]}"
    return ""


def main(names: list[str]) -> int:
    """Plant the named faults, or all; print one line each; 0 only when every one was caught."""
    faults = collect(names)
    bad = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        for fault, said in zip(
            faults, pool.map(lambda f: plant(f, Path(folder)), faults), strict=True
        ):
            bad += bool(said)
            sys.stdout.write(
                f"{'red ' if not said else 'MISS'} {fault.name}{': ' + said if said else ''}\n"
            )
            sys.stdout.flush()
    sys.stdout.write(f"{len(faults) - bad} of {len(faults)} planted faults turn the suite red\n")
    return 1 if bad or not faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
