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
from etab.runs import execute as executing
from etab.runs.data import Data
from etab.runs.execute import claim_path, execute
from etab.runs.fit_claims import FitClaims
from etab.runs.run import Run, Settings, plan

CODES = ("a0-A2-C", "a2-A2-C")


def _runs(*codes: str) -> list[Run]:
    """The cells of structures of one view."""
    return [
        run
        for code in codes
        for run in plan(code, ["image_stats"], protocols=("cv2",), head="mask_logistic")
    ]


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


def test_each_cell_records_its_share_of_the_time(
    tmp_path: Path, phantom_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a plan of the later cells alone would seem to take no time."""

    def cross_fit(
        self: Any, features: Any, answers: Any, patients: Any, splits: Any, *_: Any, **more: Any
    ) -> list[FoldFit]:
        memo = more["memo"]
        made = ["first", "second"] if memo.beside else []
        memo.share_time("first" if made else "second", made, 500.0 * len(made))
        return [FoldFit([answers[i] for i in split.test]) for split in splits]

    monkeypatch.setattr(MaskLogistic, "cross_fit", cross_fit)
    root = phantom_tree(["camus"]) / "camus"
    settings = Settings(root=root, results=tmp_path / "results", cache=tmp_path / "cache")
    cells = list(execute(_runs(*CODES), settings))
    seconds = [cell.provenance["seconds"] for cell in cells]
    assert seconds == pytest.approx([-500.0, 500.0], abs=100.0)  # no time has really passed


def test_runs_of_one_plan_make_fits_beside_others_once(
    tmp_path: Path, phantom_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fits that another run makes are left to it, and those of this run are claimed."""
    root = phantom_tree(["camus"]) / "camus"
    settings = Settings(root=root, results=tmp_path / "results", cache=tmp_path / "cache")
    first, second, third = _runs("a0-A2-C", "a1-A2-C", "a2-A2-C")
    other_run = FitClaims(lambda run: claim_path(run, settings))
    steps: list[object] = []

    def cross_fit(
        self: Any, features: Any, answers: Any, patients: Any, splits: Any, *_: Any, **more: Any
    ) -> list[FoldFit]:
        steps.append(len(more["memo"].beside))
        if len(steps) == 1:
            assert not other_run.take(first)
            assert not other_run.take(third)
        return [FoldFit([answers[i] for i in split.test]) for split in splits]

    def wait() -> None:
        steps.append("waits")
        other_run.release(second)

    monkeypatch.setattr(MaskLogistic, "cross_fit", cross_fit)
    monkeypatch.setattr(executing, "_wait", wait)
    assert other_run.take(second)
    cells = list(execute([first, second, third], settings))
    assert [cell.task for cell in cells] == [first.task, third.task, second.task]
    assert steps == [1, 0, "waits", 0]
    assert not list((settings.results / executing.CLAIMS).iterdir())


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
    failed: list[Run] = []
    cells = list(execute(_runs(*CODES), settings, failed=lambda run, _: failed.append(run)))
    expected = {"fit": ([1, 0, 0], CODES), "rows": ([0], CODES[:1])}[fault]
    assert (beside, tuple(cell.task for cell in cells)) == expected
    assert len(failed) == len(CODES) - len(cells)
