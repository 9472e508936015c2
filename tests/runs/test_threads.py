"""A cell is fitted with one thread of linear algebra, and the setting of the user is put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etab.heads.base import HEADS
from etab.heads.pooled.probes import Ridge
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from tests.storage.test_machine import threads, threads_of_user


@pytest.mark.parametrize("uses_torch", [False, True])
def test_threads_of_a_fit_that_fails(
    uses_torch: bool,
    tmp_path: Path,
    phantom_tree: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, int]] = []

    def cross_fit(*_: Any, **__: Any) -> None:
        seen.append(threads())
        raise ArithmeticError("the fit fails")

    monkeypatch.setattr(Ridge, "cross_fit", cross_fit)
    monkeypatch.setattr(Ridge, "uses_torch", uses_torch)
    root = phantom_tree(["camus"]) / "camus"
    settings = Settings(root=root, results=tmp_path / "results", cache=tmp_path / "cache")
    runs = plan("b0-A4-C", ["image_stats"], protocols=("cv2",), head="ridge")
    with threads_of_user(blas=2, torch=2):
        with pytest.raises(ArithmeticError, match="the fit fails"):
            list(execute(runs, settings))
        assert threads() == (2, 2)
    assert seen == [(1, 2 if uses_torch else 1)]


def test_only_heads_that_train_a_network_have_the_threads_of_torch() -> None:
    without = {name for name, head in HEADS.items() if not head.uses_torch}
    assert without == {
        *("ridge", "ridge_loo", "logistic", "knn", "trivial", "stack"),
        *("logistic_balanced", "logistic_exact"),
        *("linear_seg", "mask_logistic"),
        *("hsmm", "hsmm_wavelet"),
    }
