"""``pytest --real NAME=DIR``: the published counts and the contract on whole data sets of anybody who has them.

Without the option these tests are skipped. A phantom tree is refused: it proves nothing of real data.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from etab import datasets
from etab.datasets.base import Source
from etab.datasets.integrity.check import check
from etab.testing.datasets import check_dataset
from tests.conftest import GIVEN
from tests.real_counts import COUNTS, wanted_of

CANONICAL = True
ROOT = Path(__file__).resolve().parents[2]
SAID = pytest.mark.filterwarnings(
    "ignore::etab.errors.EtabWarning"
)  # a copy without its appendix says so; it is read
NAMED = "--real {0}=DIR was not given: the whole {0} is not at hand"


@pytest.fixture
def whole(name: str, request: pytest.FixtureRequest) -> Source:
    """The data set named by --real; a skip where it was not, a failure where it is a phantom."""
    given = request.config.stash[GIVEN]
    if name not in given:
        pytest.skip(NAMED.format(name))
    source = datasets.source(name, given[name])
    if source.phantom:
        pytest.fail(f"{source.root} is phantom data: --real is for data as published")
    return source


@SAID
@pytest.mark.parametrize("name", COUNTS)
def test_published_counts(name: str, whole: Source) -> None:
    assert COUNTS[name][0](whole) == wanted_of(name, whole)


@SAID
@pytest.mark.parametrize("name", COUNTS)
def test_contract(name: str, whole: Source) -> None:
    check_dataset(type(whole), whole.root)


@SAID
@pytest.mark.parametrize("name", COUNTS)
def test_nothing_is_missing_damaged_or_doubled(name: str, whole: Source) -> None:
    report = check(name, whole.root)
    assert report.ok, report.render()


# --- the option itself ---


def ask(*words: object, tests: str = "test_published_counts") -> tuple[int, str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rsfE",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        "tests/datasets/test_real_sets.py",
        "-k",
        f"{tests} and not option",
        *map(str, words),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, env=env)
    return run.returncode, run.stdout + run.stderr


@pytest.mark.slow
def test_option_left_out_skips_with_the_reason() -> None:
    code, said = ask()
    assert code == 0
    assert f"{len(COUNTS)} skipped" in said
    assert NAMED.format("tmed") in said


@pytest.mark.slow
def test_option_refuses_phantoms(phantom_tree: Callable[..., Path]) -> None:
    root = phantom_tree(["tmed", "unity"])
    code, said = ask("--real", f"tmed={root / 'tmed'}", "--real", f"unity={root / 'unity'}")
    assert code == 1
    assert said.count("is phantom data: --real is for data as published") >= 2
    assert f"{len(COUNTS) - 2} skipped" in said
    assert "2 errors" in said


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("camus=/no/such/folder", "/no/such/folder is not a folder"),
        pytest.param("camus", "wanted NAME=DIR", marks=pytest.mark.slow),
        pytest.param("camuss=/", "no data set is called 'camuss'", marks=pytest.mark.slow),
    ],
)
def test_option_misspelt_is_a_usage_error(word: str, said: str) -> None:
    code, out = ask("--real", word)
    assert code == 4
    assert said in out


@pytest.mark.real
def test_option_on_the_real_camus(real_data: Path) -> None:
    code, said = ask("--real", f"camus={real_data / 'camus'}", tests="camus")
    assert code == 0, said
    assert "3 passed" in said
    code, said = ask("--real", f"circor={real_data / 'circor'}", tests="test_published_counts")
    assert code == 1, "a part of the release is not the release"
