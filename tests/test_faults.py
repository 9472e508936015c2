"""Planted faults find their text and their tests; ``--changed`` plants those of changed files alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import faults
from tests.faults import Fault


def fault(name: str, file: str) -> Fault:
    return Fault(name, file, "old", "new", ("tests/test_faults.py",))


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace collecting and planting: the names of the faults that would have been planted."""
    names: list[str] = []
    both = [fault("one", "etab/results.py"), fault("two", "etab/splits.py")]

    def plant_all(faults: list[Fault], workers: int) -> Iterator[tuple[Fault, str, list[str]]]:
        for each in faults:
            names.append(each.name)
            yield each, "", []

    monkeypatch.setattr(faults, "collect", lambda wanted: both)
    monkeypatch.setattr(faults, "plant_all", plant_all)
    return names


def test_only_faults_of_changed_files_are_planted(
    planted: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bases: list[str] = []

    def changed(base: str = "") -> set[str]:
        bases.append(base)
        return {"etab/splits.py", "README.md"}

    monkeypatch.setattr(faults, "changed_files", changed)
    assert faults.main(["--changed", "v1"]) == 0
    assert planted == ["two"]
    assert bases == ["v1"]
    assert "1 of 1 planted faults" in capsys.readouterr().out


def test_nothing_changed_is_no_failure(
    planted: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(faults, "changed_files", lambda *base: {"README.md"})
    assert faults.main(["--changed"]) == 0
    assert planted == []
    assert "no fault is planted" in capsys.readouterr().out


def test_changed_takes_one_revision(planted: list[str]) -> None:
    with pytest.raises(ValueError, match="at most one revision"):
        faults.main(["--changed", "a", "b"])


def test_files_that_git_names() -> None:
    if not (faults.ROOT / ".git").exists():
        pytest.skip("no git checkout")
    with pytest.raises(ValueError, match="name a revision"):
        faults.changed_files("no-such-revision")


@pytest.mark.parametrize(
    ("tests", "passes"),
    [
        (("tests/test_a.py::test_one",), 1),
        (("tests/test_a.py",), 2),
        (("tests/test_a.py::test_one", "tests/test_b.py"), 2),
        (("tests/test_a.py", "-m", "slow"), 1),
    ],
)
def test_slow_tests_of_a_file_run_where_the_others_pass(
    tests: tuple[str, ...], passes: int
) -> None:
    selections = faults._selections(tests)
    assert len(selections) == passes
    assert selections[-1] == ("-m", "slow or not slow")
    assert selections[0] == (selections[-1] if passes == 1 else ())


def test_every_fault_finds_its_text() -> None:
    texts: dict[str, str] = {}
    lost = []
    for fault in faults.collect([]):
        path = faults.ROOT / fault.file
        if fault.file not in texts:
            texts[fault.file] = path.read_text() if path.is_file() else ""
        if faults.locate(fault.old, texts[fault.file]) is None:
            lost.append(f"{fault.name}: {fault.file}")
    assert lost == []


def test_every_fault_names_tests_that_exist() -> None:
    lost = []
    for fault in faults.collect([]):
        for test in fault.tests:
            file, _, function = test.partition("::")
            if not file.startswith("tests/"):
                continue  # an option of pytest
            path = faults.ROOT / file
            name = function.partition("[")[0].rpartition("::")[2]
            is_there = path.exists() and (not name or f"def {name}(" in path.read_text())
            if not is_there:
                lost.append(f"{fault.name}: {test}")
    assert lost == []


_MODULE = """
def double(x):
    return 2 * x


def half(x):
    return x / 2
"""
_TESTS = """
from etab.small import double, half


def test_double():
    assert double(2) == 4


def test_half():
    half(2)


def test_always_red():
    assert double(3) == 7
"""
_SCRIPT = """
from pathlib import Path
from tests import faults

faults.ROOT = Path({root!r})
wrong = ("return 2 * x", "return 3 * x")
planted = [
    faults.Fault("caught", "etab/small.py", *wrong, ("tests/test_small.py::test_double",)),
    faults.Fault("green", "etab/small.py", *wrong, ("tests/test_small.py::test_half",)),
    faults.Fault("stale", "etab/small.py", "return 9", "", ("tests/test_small.py",)),
    faults.Fault("again", "etab/small.py", *wrong, ("tests/test_small.py::test_double",)),
    faults.Fault("always", "etab/small.py", "x / 2", "x", ("tests/test_small.py::test_always_red",)),
]
failed = []
for fault, problem, tests in faults.plant_all(planted, 1):
    print(fault.name, problem or "red", *tests, sep="|")
    failed += tests
print("clean", *faults.failing_without_faults(sorted(set(failed))), sep="|")
"""


@pytest.mark.slow
def test_what_is_planted_decides_what_is_reported(tmp_path: Path) -> None:
    (tmp_path / "etab").mkdir()
    (tmp_path / "etab/__init__.py").touch()
    (tmp_path / "etab/small.py").write_text(_MODULE)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/__init__.py").touch()
    (tmp_path / "tests/test_small.py").write_text(_TESTS)
    run = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(root=str(tmp_path))],
        cwd=faults.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    *lines, last = run.stdout.splitlines()
    clean, _, reason = last.rpartition("|")
    assert reason.endswith("test_small.py:14: assert 6 == 7")
    assert [*lines, clean] == [
        "caught|red|tests/test_small.py::test_double",
        "green|NOT CAUGHT: the tests stayed green",
        "stale|stale: etab/small.py no longer holds the text to replace",
        "again|red|tests/test_small.py::test_double",
        "always|red|tests/test_small.py::test_always_red",
        "clean|tests/test_small.py::test_always_red",
    ]
    assert (tmp_path / "etab/small.py").read_text() == _MODULE


def test_the_summary_of_pytest_is_read() -> None:
    summary = (
        "FAILED tests/a.py::test_x[a - b] - AssertionError: no\n"
        "ERROR tests/b.py::test_y\nFAILED tests/a.py::test_x[a - b]\n1 failed\n"
    )
    assert faults.failed_tests(summary) == ["tests/a.py::test_x[a - b]", "tests/b.py::test_y"]
