"""Every example in a docstring is executed."""

from __future__ import annotations

import doctest
import importlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from etab import phantom

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(path for path in (ROOT / "etab").rglob("*.py") if ">>> " in path.read_text())


@pytest.fixture(autouse=True)
def _drawn_once(monkeypatch: pytest.MonkeyPatch, written_once: Callable[..., Path]) -> None:
    """Many examples write the same phantom: it is drawn by the first of them."""
    write = phantom.write

    def copied(folder: Path | str, *, names: Sequence[str], **options: int) -> None:
        chosen = {"patients": 60, "seed": 0, "size": 160, **options}
        key = "-".join(map(str, ["example", *names, *chosen.values()]))
        tree = written_once(key, lambda part: write(part, names=names, **chosen))
        shutil.copytree(tree, folder, dirs_exist_ok=True)

    monkeypatch.setattr(phantom, "write", copied)


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_give_what_they_show(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # examples may read the results of the repository
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_there_are_examples() -> None:
    assert any(path.match("etab/leaderboard/ranking.py") for path in EXAMPLES)
