"""The command line: in this process, or as a process of its own where that is what a test is about."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Ended:
    """What a command left behind, named as subprocess names it."""

    returncode: int
    stdout: str
    stderr: str


def etab(*words: object, cwd: Path = ROOT, **env: str) -> Ended:
    """Run ``etab WORDS`` in this process: the interpreter and torch need not be started again."""
    from etab.cli.main import main

    out = io.StringIO()
    err = io.StringIO()
    code = 0
    with _surroundings(["etab", *map(str, words)], cwd, {**SETTINGS, **env}, out, err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
    return Ended(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _surroundings(
    argv: list[str], cwd: Path, env: dict[str, str], out: io.StringIO, err: io.StringIO
) -> Iterator[None]:
    """What a process of its own would have, undone at the end."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, "argv", argv))
        stack.enter_context(mock.patch.dict(os.environ, env))
        stack.enter_context(contextlib.chdir(cwd))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("default")  # a warning is printed, not raised as in other tests
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        yield


def etab_process(*words: object, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``etab WORDS`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "etab", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, **SETTINGS, **env},
    )
