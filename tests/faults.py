"""Deliberate faults: each is planted alone, and the tests it names must turn red.

``python -m tests.faults`` plants all of them, ``python -m tests.faults NAME ...`` some. A fault whose text is no longer
in its file, or whose tests stay green, fails the run. The lists live in ``tests/planted/``, one file a part.
"""

from __future__ import annotations

import importlib
import pkgutil
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


def collect() -> list[Fault]:
    """Gather the faults of every part, refusing a name used twice."""
    import tests.planted as planted

    faults: list[Fault] = []
    for info in pkgutil.iter_modules(planted.__path__):
        faults += importlib.import_module(f"tests.planted.{info.name}").FAULTS
    names = [f.name for f in faults]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"two faults share a name: {twice}")
    return faults


def plant(fault: Fault, workdir: Path) -> str:
    """Plant one fault in a copy of the project and run its tests: '' when caught, else what went wrong."""
    place = workdir / fault.name.replace("/", "_").replace(" ", "_")
    shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(".git", "__pycache__", "results", ".*_cache"))
    path = place / fault.file
    text = path.read_text()
    if fault.old not in text:
        return f"stale: {fault.file} no longer holds the text to replace"
    path.write_text(text.replace(fault.old, fault.new, 1))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *fault.tests]
    run = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=600)
    shutil.rmtree(place, ignore_errors=True)
    if run.returncode == 0:
        return "NOT CAUGHT: the tests stayed green"
    if run.returncode != 1:
        return f"pytest ended with {run.returncode}: {run.stdout[-400:]}"
    return ""


def main(names: list[str]) -> int:
    """Plant the named faults, or all; print one line each; 0 only when every one was caught."""
    faults = [f for f in collect() if not names or f.name in names]
    bad = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        for fault, said in zip(faults, pool.map(lambda f: plant(f, Path(folder)), faults), strict=True):
            bad += bool(said)
            sys.stdout.write(f"{'red ' if not said else 'MISS'} {fault.name}{': ' + said if said else ''}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(faults) - bad} of {len(faults)} planted faults turn the suite red\n")
    return 1 if bad or not faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
