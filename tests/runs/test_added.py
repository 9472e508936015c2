"""A stored result is of the code that made it: heads, metrics and sources of one name and other code are another cell."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from etab import datasets, heads
from etab.errors import ResultError
from etab.heads.base import HEADS, FoldFit, Head
from etab.metrics import METRICS
from etab.results import Result
from etab.runs.added import added_code
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.tasks.menu import TASKS
from etab.types import Kind

CODE = "b0-A4-C"


@pytest.fixture(scope="module")
def camus(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    yield
    HEADS.remove("shifted")


def _head(shift: float, lock: Any = None) -> type[Head]:
    class Shifted(Head):
        name: ClassVar[str] = "shifted"
        kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.VALUE})

        def cross_fit(self, features, answers, patients, splits, target, *, rng, memo=None):  # type: ignore[no-untyped-def]
            y = np.asarray(answers, dtype=float)
            guess = [y[s.train].mean() + shift + 0 * y[s.test] for s in splits]
            return [FoldFit(g, {"lock": str(lock is None)}) for g in guess]

    return Shifted


def _run(camus: Path, results: Path) -> Result:
    runs = plan(CODE, ["image_stats"], protocols=("cv5",), head="shifted")
    (result,) = execute(runs, Settings(root=camus, results=results))
    return result


def test_a_head_of_the_same_name_and_other_code_is_another_one(camus: Path, tmp_path: Path) -> None:
    HEADS.add("shifted", _head(0.0))
    first = _run(camus, tmp_path)
    HEADS.remove("shifted")
    HEADS.add("shifted", _head(0.0))
    assert _run(camus, tmp_path) == first
    HEADS.remove("shifted")
    HEADS.add("shifted", _head(9.0))
    with pytest.raises(ResultError, match=r"different.*code of the head"):
        _run(camus, tmp_path)
    assert _run(camus, tmp_path / "other").value != first.value


def test_a_head_whose_code_cannot_be_read_is_never_resumed(camus: Path, tmp_path: Path) -> None:
    HEADS.add("shifted", _head(0.0, threading.Lock()))
    _run(camus, tmp_path)
    with pytest.raises(ResultError, match=r"different.*code of the head"):
        _run(camus, tmp_path)


def test_a_metric_of_other_code_is_another_one(
    camus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, head = TASKS[CODE], heads.head("ridge")
    metric = METRICS[task.metric]
    assert added_code(task, head) == {}
    codes = set()
    for power in (1, 2):
        changed = replace(
            metric, form=None, weighted=lambda rows, weights, power=power: weights.sum(1) ** power
        )
        monkeypatch.setitem(METRICS._items, task.metric, changed)
        codes.add(added_code(task, head)["code of the metric"])
    assert len(codes) == 2


def test_a_source_of_other_code_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    task, head = TASKS[CODE], heads.head("ridge")

    class Camus(datasets.CamusSource):
        factor = 1

    monkeypatch.setitem(datasets.SOURCES._items, "camus", Camus)
    first = added_code(task, head)["code of the source"]
    monkeypatch.setattr(Camus, "factor", 2)
    assert added_code(task, head)["code of the source"] != first


@pytest.mark.parametrize("code", TASKS)
def test_nothing_is_said_of_what_etab_defines(code: str) -> None:
    task = TASKS[code]
    assert added_code(task, heads.head(task.head)) == {}
