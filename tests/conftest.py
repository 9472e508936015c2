"""No test reaches the network, changes the working directory, or touches a global generator."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # the workers share the cores: one thread each, said before a library asks
    os.environ.update(
        dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    )

import numpy as np
import pytest

REAL = Path(
    os.environ.get("ETAB_REAL_DATA")
    or Path(__file__).resolve().parents[1].parent / "shared" / "data"
)


GIVEN = pytest.StashKey[dict[str, Path]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a whole data set as published, for tests/datasets/test_real_sets.py; repeatable",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[GIVEN] = dict(_given(word) for word in config.getoption("--real"))


def _given(word: str) -> tuple[str, Path]:
    name, sign, folder = word.partition("=")
    if not sign:
        raise pytest.UsageError(f"--real {word}: wanted NAME=DIR, such as camus=/data/CAMUS_public")
    from tests.real_counts import COUNTS

    if name not in COUNTS:
        raise pytest.UsageError(
            f"--real {word}: no data set is called {name!r}; known: {', '.join(COUNTS)}"
        )
    if not Path(folder).expanduser().is_dir():
        raise pytest.UsageError(f"--real {word}: {folder} is not a folder")
    return name, Path(folder).expanduser().resolve()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, or a skip that says so."""
    if not (REAL / "camus" / "database_nifti").is_dir():
        pytest.skip(
            "no real data: ../shared/data/camus is absent (ETAB_REAL_DATA names another place)"
        )
    return REAL


SIZED = ("camus", "ted")  # the phantoms whose pictures have the size that is wanted


@pytest.fixture(scope="session")
def written_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that gives the folder of a name, written by the first test that needs it.

    The processes of pytest-xdist share the folders, so no test may change one.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the folder of the session; each worker has one below it
    shared = base / "written"
    shared.mkdir(exist_ok=True)

    def folder_of(name: str, write: Callable[[Path], object]) -> Path:
        folder = shared / name
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
            if not folder.is_dir():
                part = shared / f"{name}.part"
                write(part)
                part.rename(folder)
        return folder

    return folder_of


@pytest.fixture(scope="session")
def phantom_tree(
    tmp_path_factory: pytest.TempPathFactory, written_once: Callable[..., Path]
) -> Callable[..., Path]:
    """A function that gives a new folder of phantom trees, which a test may change.

    Each tree is written once and then copied; tests that take the defaults share the most.
    """
    from etab import phantom

    def tree(names: Sequence[str], patients: int = 12, seed: int = 0, size: int = 64) -> Path:
        copy = tmp_path_factory.mktemp("phantom")
        for name in names:
            options = {"patients": patients, "seed": seed, "size": size, "names": (name,)}
            key = f"{name}-{patients}-{seed}-{size if name in SIZED else 0}"
            folder = written_once(key, lambda part, how=options: phantom.write(part, **how))
            shutil.copytree(folder / name, copy / name)
        return copy

    return tree


def _without_own_data() -> Iterator[None]:
    """Remove the tasks and sources that are registered while the caller runs."""
    from etab.datasets.base import SOURCES
    from etab.tasks.menu import TASKS

    tasks = set(TASKS)
    sources = set(SOURCES)
    yield
    for code in set(TASKS) - tasks:
        TASKS.remove(code)
    for name in set(SOURCES) - sources:
        SOURCES.remove(name)


@pytest.fixture
def forget_own_data() -> Iterator[None]:
    """Other tests of the file list every task and dataset: remove those that a test registers."""
    yield from _without_own_data()


@pytest.fixture(scope="module", autouse=True)
def _forget_own_data_of_a_file() -> Iterator[None]:
    """Which tests ran before in the same process must not change what a beginning of a code means."""
    yield from _without_own_data()


@pytest.fixture(autouse=True)
def _guard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (
        "ETAB_DATA",
        "ETAB_PATHS",
        "ETAB_CAMUS_DIR",
        "ETAB_ECHONET_DIR",
        "ETAB_CLIP_CACHE",
    ):
        monkeypatch.delenv(name, raising=False)
    if not (getattr(request.module, "CANONICAL", False) or request.node.get_closest_marker("real")):
        # tiny trees borrow names of real patients without a phantom's mark; modules that say CANONICAL = True compare them
        monkeypatch.setattr("etab.datasets.integrity.canonical.SPLIT_NAMES", ())
    cwd, rng = Path.cwd(), _global_generator()
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(socket.socket, "connect", _refuse)
    yield
    monkeypatch.undo()
    assert Path.cwd() == cwd, "the test changed the working directory"
    assert _global_generator() == rng, "the test used numpy's global generator"


def _global_generator() -> tuple[object, ...]:
    """The state of numpy's global generator; its 624 words as bytes, which are quick to compare."""
    name, words, *rest = np.random.get_state()
    return name, words.tobytes(), *rest


def _refuse(self: socket.socket, address: object) -> None:
    if self.family == socket.AF_UNIX:
        return _connect(self, address)  # type: ignore[arg-type]
    raise OSError(f"tests do not reach the network ({address})")


_connect = socket.socket.connect


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        reason = "needs playwright and a chromium on PATH (Debian: apt install chromium)"
        if os.environ.get("ETAB_BROWSER_REQUIRED"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()
