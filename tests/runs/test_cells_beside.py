"""Cells that differ in their answers alone are fitted at the same time, with the same results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from etab.heads.base import FoldFit
from etab.heads.masks import passes
from etab.heads.masks.logistic import MaskLogistic
from etab.results import Result
from etab.runs.data import Data
from etab.runs.execute import execute
from etab.runs.run import Run, Settings, plan

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


@pytest.mark.parametrize("fault", ["fit", "rows"])
def test_a_cell_does_not_fail_for_one_beside_it(
    fault: str, tmp_path: Path, phantom_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where their common fit fails, nor where a class of the user's own cannot list its rows."""
    beside: list[int] = []

    def cross_fit(
        self: Any, features: Any, answers: Any, patients: Any, splits: Any, *_: Any, **more: Any
    ) -> list[FoldFit]:
        beside.append(len(more["memo"].beside))
        if more["memo"].beside:
            raise ValueError("the other structure")
        return [FoldFit([answers[i] for i in split.test]) for split in splits]

    monkeypatch.setattr(MaskLogistic, "cross_fit", cross_fit)
    if fault == "rows":
        real = Data.rows_of_people

        def rows_of_people(self: Data, task: Any, protocol: str) -> Any:
            if task.code == CODES[1]:
                raise ValueError("the rows of the other structure")
            return real(self, task, protocol)

        monkeypatch.setattr(Data, "rows_of_people", rows_of_people)
    root = phantom_tree(["camus"]) / "camus"
    settings = Settings(root=root, results=tmp_path / "results", cache=tmp_path / "cache")
    runs = [
        run
        for code in CODES
        for run in plan(code, ["image_stats"], protocols=("cv2",), head="mask_logistic")
    ]
    failed: list[Run] = []
    cells = list(execute(runs, settings, failed=lambda run, _: failed.append(run)))
    expected = {"fit": ([1, 0, 0], CODES), "rows": ([0], CODES[:1])}[fault]
    assert (beside, tuple(cell.task for cell in cells)) == expected
    assert len(failed) == len(CODES) - len(cells)
