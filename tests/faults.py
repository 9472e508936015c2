"""Deliberate faults: each is planted alone, and the tests it names must turn red.

``python -m tests.faults`` plants all of them, ``python -m tests.faults NAME ...`` some, by name or by part (a file of
``tests/planted/``). ``python -m tests.faults --changed [BASE]`` plants those in the files that differ from BASE (a git
revision; by default the commit where this branch left main). ``--workers N`` plants N at a time (by default one per
core). A fault whose text is no longer in its file, or whose tests stay green, fails the run.

A test that fails without any fault would make its faults look caught. The tests that failed are therefore run once
more at the end, in a copy without faults, where each of them has to pass.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PASSED = 0  # exit statuses of pytest
_FAILED = 1
_NONE_COLLECTED = 5
_LIMIT_S = 900  # of the clock, for the tests of one fault
# Imported once, before the processes of the faults are forked: each of them would import these again.
_LIBRARIES = (
    "torch",
    "torchvision",
    "pandas",
    "scipy.stats",
    "scipy.io",
    "scipy.signal",
    "skimage.measure",
    "cv2",
    "safetensors.torch",
    "rich.progress",
    "pytest",
)


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


def _selections(tests: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Which of the tests run, in turn, until one fails.

    Tests that are named one by one run whether they are slow or not. Of a whole file the default
    tests run, and only where all of them pass the slow ones too.
    """
    with_slow = ("-m", "slow or not slow")
    if all("::" in test for test in tests) or "-m" in tests:
        return (with_slow,)
    return ((), with_slow)


@dataclass
class Copy:
    """A copy of the project in which one fault at a time is planted.

    Attributes:
        folder: the root of the copy.
        log: the file that receives the output of pytest.
    """

    folder: Path
    log: Path
    _saved: tuple[Path, str, os.stat_result] | None = field(default=None, repr=False)

    @classmethod
    def make(cls, parent: Path, name: str) -> Copy:
        """Copy what the tests read, without caches and version control."""
        shutil.copytree(ROOT, parent / name, ignore=_left_out)
        return cls(parent / name, parent / f"{name}.log")

    def plant(self, fault: Fault, stamp: int) -> bool:
        """Write the fault into its file; False where the file no longer holds the text to replace.

        Args:
            fault: the fault.
            stamp: the time of change to give the file, in seconds. Compiled modules are recognised by
                time and size, so no two faults may share a stamp.
        """
        path = self.folder / fault.file
        text = path.read_text()
        span = locate(fault.old, text)
        if span is None:
            return False
        start, end = span
        self._saved = (path, text, path.stat())
        path.write_text(text[:start] + fault.new + text[end:])
        os.utime(path, (stamp, stamp))
        return True

    def restore(self) -> None:
        """Remove the fault, and give the file the time of change that it had."""
        if self._saved is None:
            return
        path, text, status = self._saved
        path.write_text(text)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        self._saved = None


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Names that a copy of the project does without; ``results`` of the project's root alone."""
    ignored = shutil.ignore_patterns(".git", ".*_cache")(folder, names)
    return ignored | ({"results"} if Path(folder) == ROOT else set())


def run_tests(copy: Copy, selections: tuple[tuple[str, ...], ...]) -> int:
    """Run pytest in a copy for each selection until one fails; called in a process of its own.

    Returns:
        The exit status of pytest for the last selection that ran.
    """
    with copy.log.open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.chdir(copy.folder)
    os.environ.update(PYTHONPATH=str(copy.folder), OMP_NUM_THREADS="1")
    # The copy's modules are the ones under test, also those that this process has imported.
    others = [entry for entry in sys.path if entry and Path(entry).resolve() != ROOT]
    sys.path[:] = [str(copy.folder), *others]
    for name in list(sys.modules):
        if name.partition(".")[0] in ("benchmarks", "etab", "tests"):
            del sys.modules[name]
    importlib.invalidate_caches()
    import pytest

    status = _PASSED
    for words in selections:
        status = int(pytest.main(["-q", "-rfEs", "-p", "no:cacheprovider", "-n", "0", *words]))
        if status not in (_PASSED, _NONE_COLLECTED):
            break
    return status


def fork_tests(copy: Copy, selections: tuple[tuple[str, ...], ...]) -> int:
    """Start ``run_tests`` in a forked process and a session of its own.

    Returns:
        The process id, which is also that of its process group.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setsid()
        status = run_tests(copy, selections)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def plant_all(faults: list[Fault], workers: int) -> Iterator[tuple[Fault, str, list[str]]]:
    """Plant faults one after the other in each of several copies, and run their tests.

    Args:
        faults: the faults.
        workers: how many are planted at a time.

    Yields:
        As each one ends: the fault, '' where it was caught or else what went wrong, and the tests
        that failed.
    """
    waiting = list(enumerate(faults))
    running: dict[int, tuple[Fault, Copy, float]] = {}
    stamp = int(time.time()) + 1
    with tempfile.TemporaryDirectory() as folder:
        idle = [Copy.make(Path(folder), f"copy{number}") for number in range(workers)]
        while waiting or running:
            while waiting and idle:
                number, fault = waiting.pop(0)
                copy = idle.pop()
                if not copy.plant(fault, stamp + number):
                    idle.append(copy)
                    yield fault, f"stale: {fault.file} no longer holds the text to replace", []
                    continue
                words = tuple(("-x", *words, *fault.tests) for words in _selections(fault.tests))
                pid = fork_tests(copy, words)
                running[pid] = (fault, copy, time.monotonic() + _LIMIT_S)
            for pid, status in _ended(running):
                fault, copy, _ = running.pop(pid)
                copy.restore()
                idle.append(copy)
                output = copy.log.read_text(errors="replace")
                yield fault, _problem(status, output), failed_tests(output)


def _ended(running: dict[int, tuple[Fault, Copy, float]]) -> Iterator[tuple[int, int]]:
    """Wait a moment; give the processes that have ended, with their exit status."""
    time.sleep(0.05)
    for pid, (_, _, deadline) in list(running.items()):
        if time.monotonic() > deadline:
            _kill_group(pid)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _kill_group(pid)
            yield pid, os.waitstatus_to_exitcode(status)


def _kill_group(pid: int) -> None:
    """End the processes that the tests of a fault left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _problem(status: int, output: str) -> str:
    """Say why a fault does not count as caught; '' where it does."""
    if status == _FAILED:
        return ""
    if status == _PASSED:
        skipped = re.findall(r"^SKIPPED .*$", output, re.MULTILINE)
        return "; ".join(["NOT CAUGHT: the tests stayed green", *skipped])
    return f"pytest ended with {status}: {output[-400:]}"


def failed_tests(output: str) -> list[str]:
    """List the node ids of the failures and errors that pytest's summary names."""
    names = r"(tests/\S+?\.py(?:::\w+)*(?:\[.*?\])?)"
    lines = re.findall(rf"^(?:FAILED|ERROR) {names}(?: - .*)?$", output, re.MULTILINE)
    return list(dict.fromkeys(lines))


def failing_without_faults(tests: list[str]) -> list[str]:
    """Run tests in a copy without any fault, and without a limit of time: a busy machine is no reason.

    Args:
        tests: node ids of pytest.

    Returns:
        Those that do not pass there, and why; or one line that says why pytest could not run them.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy.make(Path(folder), "clean")
        listing = Path(folder) / "tests.txt"
        listing.write_text("\n".join(tests) + "\n")
        words = ("-o", "timeout=0", "--tb=line", "-m", "slow or not slow", f"@{listing}")
        pid = fork_tests(copy, (words,))
        _, status = os.waitpid(pid, 0)
        output = copy.log.read_text(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    if code == _PASSED:
        return []
    named = failed_tests(output)
    return [*named, *reasons(output)] if named else [f"pytest ended with {code}: {output[-400:]}"]


def reasons(output: str) -> list[str]:
    """List the different lines in which pytest, with ``--tb=line``, says why tests failed."""
    return list(dict.fromkeys(re.findall(r"^\S+\.py:\d+: .+$", output, re.MULTILINE)))


def _wanted_faults(words: list[str]) -> list[Fault]:
    if words[:1] != ["--changed"]:
        return collect(words)
    if len(words) > 2:
        raise ValueError(f"--changed takes at most one revision, got {words[1:]}")
    files = changed_files(*words[1:])
    return [fault for fault in collect([]) if fault.file in files]


def _worker_count(words: list[str]) -> tuple[int, list[str]]:
    """Take ``--workers N`` out of the words."""
    if "--workers" not in words:
        return len(os.sched_getaffinity(0)), words
    position = words.index("--workers")
    count = words[position + 1] if position + 1 < len(words) else ""
    if not count.isdigit() or int(count) < 1:
        raise ValueError(f"--workers takes a whole number of at least 1, got {count!r}")
    return int(count), words[:position] + words[position + 2 :]


def main(words: list[str]) -> int:
    """Plant the named faults, those of changed files, or all; print a line each; 0 only when every one was caught."""
    workers, words = _worker_count(words)
    faults = _wanted_faults(words)
    if not faults:
        sys.stdout.write("no fault is planted in a changed file\n")
        return 0
    for name in _LIBRARIES:
        importlib.import_module(name)
    missed = 0
    failed: list[str] = []
    for fault, problem, tests in plant_all(faults, min(workers, len(faults))):
        missed += bool(problem)
        failed += tests
        first = f" ({tests[0]})" if tests else ""
        line = f"MISS {fault.name}: {problem}" if problem else f"red  {fault.name}{first}"
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(faults) - missed} of {len(faults)} planted faults turn the suite red\n")
    unreliable = failing_without_faults(sorted(set(failed))) if failed else []
    for test in unreliable:
        sys.stdout.write(f"RED WITHOUT A FAULT {test}\n")
    return 1 if missed or unreliable else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
