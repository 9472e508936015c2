"""Made data of both challenges, one tree a module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from etab.challenges import cinc2016, circor2022
from etab.challenges.sandbox import NONE
from etab.challenges.scoring import read_references


@pytest.fixture(scope="module")
def made(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["circor", "cinc2016"], seed=7)


@pytest.fixture(scope="module")
def truth(made: Path) -> dict[str, int]:
    return {
        name: row.label
        for name, row in read_references(made / "cinc2016" / "validation")[0].items()
    }


@pytest.fixture(autouse=True)
def without_sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of tests tell what they see by files outside of their folder, which a sandbox forbids.

    Tests with the mark "sandbox" run them in the sandbox of this machine, if it has one.
    """
    if request.node.get_closest_marker("sandbox") is None:
        for module in (cinc2016, circor2022):
            monkeypatch.setattr(module, "sandbox_name", lambda _: NONE)
