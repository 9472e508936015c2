"""Cells that differ in their answers alone are fitted at the same time, with the same results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from etab.heads.masks import passes
from etab.results import Result
from etab.runs.execute import execute
from etab.runs.run import Settings, plan

CODES = ("a0-A2-C", "a2-A2-C")


@pytest.mark.slow
def test_structures_of_one_view_share_their_passes(
    tmp_path: Path, phantom_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = phantom_tree(["camus"]) / "camus"
    together: list[int] = []
    real = passes.sums_of

    def counted(requests: Sequence[passes.Request]) -> list[passes.Sums]:
        together.append(len(requests))
        return real(requests)

    monkeypatch.setattr(passes, "sums_of", counted)

    def cells(name: str, *codes: str) -> dict[str, Result]:
        settings = Settings(root=root, results=tmp_path / name, cache=tmp_path / "cache")
        runs: list[Any] = []
        for code in codes:
            runs += plan(code, ["image_stats"], protocols=("cv2",), head="mask_logistic")
        return {cell.task: cell for cell in execute(runs, settings)}

    alone = {code: cells(code, code)[code] for code in CODES}
    assert set(together) == {1}
    together.clear()
    beside = cells("both", *CODES)
    assert max(together) == 2
    for code in CODES:
        assert beside[code].value == pytest.approx(alone[code].value, abs=1e-3)
        assert beside[code].n_test == alone[code].n_test
