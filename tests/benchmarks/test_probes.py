"""The stacked probe beside the probes of one layer fits what the board fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.probes import STACK, Cell, measured, page
from etab.runs.data import Data

CODE = "d0-A4-C"


def cells(root: Path, cache: Path) -> dict[str, Cell]:
    found = measured(root, cache, ["image_stats"], [CODE], [0], [])
    return {cell.head: cell for cell in found}


@pytest.mark.slow
def test_classes_that_are_cut_from_a_value_are_fitted_by_it(
    phantom_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = phantom_tree(["camus"]) / "camus"
    by_value = cells(root, tmp_path)
    assert by_value[STACK].fitted_on == "EF"
    assert by_value["logistic"].fitted_on == ""
    assert f"## {CODE}" in page([*by_value.values()], ["image_stats"], [0])
    assert "(fitted by EF)" in page([*by_value.values()], ["image_stats"], [0])
    monkeypatch.setattr(Data, "values_of_classes", lambda self, task: None)
    by_class = cells(root, tmp_path)
    assert by_class["logistic"].value == by_value["logistic"].value
    assert by_class[STACK].value != by_value[STACK].value


def test_a_page_of_earlier_cells_says_that_classes_were_fitted() -> None:
    earlier = [Cell("image_stats", CODE, head, 3, 0.75, 1.0) for head in ("logistic", STACK)]
    assert "(fitted by the classes, as boards of before did)" in page(earlier, ["image_stats"], [3])
