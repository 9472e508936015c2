"""No test reaches the network, changes the working directory, or touches a global generator."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

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


@pytest.fixture(scope="session")
def phantom_tree(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that gives a new folder of phantom trees.

    Each tree is written once in a session and then copied, so a test may change its copy.
    """
    written: dict[tuple[str, int, int, int], Path] = {}

    def tree(names: Sequence[str], patients: int, seed: int = 0, size: int = 160) -> Path:
        from etab import phantom

        copy = tmp_path_factory.mktemp("phantom")
        for name in names:
            key = (name, patients, seed, size)
            if key not in written:
                folder = tmp_path_factory.mktemp("written")
                phantom.write(folder, patients=patients, seed=seed, size=size, names=(name,))
                written[key] = folder / name
            shutil.copytree(written[key], copy / name)
        return copy

    return tree


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
    cwd, rng = Path.cwd(), str(np.random.get_state())
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(socket.socket, "connect", _refuse)
    yield
    monkeypatch.undo()
    assert Path.cwd() == cwd, "the test changed the working directory"
    assert str(np.random.get_state()) == rng, "the test used numpy's global generator"


def _refuse(self: socket.socket, address: object) -> None:
    if self.family == socket.AF_UNIX:
        return _connect(self, address)  # type: ignore[arg-type]
    raise OSError(f"tests do not reach the network ({address})")


_connect = socket.socket.connect
