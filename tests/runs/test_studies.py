"""Aortic stenosis of studies through a run: two probes on training images, thresholds from inner parts, studies scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.datasets import source
from etab.errors import ResultError, UndefinedError
from etab.features.frames import annotated_frames, task_rows
from etab.heads.base import FoldFit
from etab.metrics import diagnosis
from etab.results import Result
from etab.runs import studies
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.splits import row_splits
from etab.tasks.aggregate import reduce
from etab.tasks.menu import TASKS, find
from etab.tasks.rows import Rows
from etab.types import Kind, RowSplit

CODES = ["d1-AL-T", "d2-AL-T"]


@pytest.fixture(scope="module")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["tmed"], patients=36, seed=2) / "tmed"


@pytest.fixture(scope="module")
def done(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, list[Result]]:
    folder = tmp_path_factory.mktemp("done")
    settings = Settings(root=tree, results=folder / "results", cache=folder / "cache")
    cells = plan(CODES, ["image_stats"], protocols=("cv",), n_fold=3, head="logistic")
    return settings, list(execute(cells, settings))


def test_they_wait_for_the_data() -> None:
    assert all(TASKS[code].version == 0 for code in CODES)
    assert not {t.code for t in find("d")} & set(CODES)


@pytest.mark.slow
def test_a_line_a_study(done: tuple[Settings, list[Result]], tree: Path) -> None:
    settings, results = done
    records = source("tmed", tree).records()
    all_studies = {r.meta["study"] for r in records}
    assert len(results) == 2
    for found in results:
        table = found.predictions(settings.results)
        assert set(table.items) == all_studies
        assert len(table.items) == len(set(table.items)) == found.n_test
        assert all(
            item.startswith(f"{patient}s")
            for item, patient in zip(table.items, table.patients, strict=True)
        )
        assert found.n_patients == len(set(table.patients)) < found.n_test
        assert set(table.columns) - {"truth", "used"} == (
            {"score"} if found.task == "d2-AL-T" else {"score_0", "score_1", "score_2"}
        )
        assert found.metric == "balanced_accuracy"
        assert all(
            {"relevance", "entropy", "view features", "features"} <= set(f["choice"])
            for f in found.folds
        )
        places = dict[str, set[str]]()
        for patient, fold in zip(table.patients, table.folds, strict=True):
            places.setdefault(patient, set()).add(fold)
        assert all(len(folds) == 1 for folds in places.values())


def test_the_upstream_variant_is_beside_it() -> None:
    columns = {
        "truth": np.array([0.0, 1, 0, 1]),
        "score": np.array([0.1, 0.9, 0.9, 0.2]),
        "used": np.array([3.0, 1, 2, 0]),
    }
    assert studies.upstream(Kind.BINARY, columns) == {studies.UPSTREAM: pytest.approx(0.75)}
    assert studies.upstream(Kind.BINARY, {**columns, "used": np.array([1.0, 0, 1, 0])}) == {}
    without = {name: columns[name] for name in ("truth", "score")}
    assert studies.upstream(Kind.BINARY, without) == {}


@pytest.mark.slow
def test_results_hold_the_upstream_variant(done: tuple[Settings, list[Result]]) -> None:
    settings, results = done
    for found in results:
        table = found.predictions(settings.results)
        upstream = studies.upstream(table.kind, table.columns)
        assert found.metrics.get(studies.UPSTREAM) == upstream.get(studies.UPSTREAM)
    assert any(studies.UPSTREAM in found.metrics for found in results)


class _Probes:
    """Probes that know every answer of the rows they are asked for, and note what they are fitted on."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.splits = rows, list[tuple[str, RowSplit]]()

    def __call__(self, target: str, answers: Any, splits: Sequence[RowSplit]) -> list[FoldFit]:
        self.splits += [(target, split) for split in splits]
        n = 5 if target == "view" else 3
        return [
            FoldFit(0.88 * np.eye(n)[np.asarray(answers)[s.test]] + 0.12 / n, {"features": "x"})
            for s in splits
        ]


def _rows(tree: Path) -> tuple[Rows, Any]:
    opened = source("tmed", tree)
    rows = task_rows(TASKS["d1-AL-T"], opened, annotated_frames(opened))
    return rows, studies.view_answers(opened, rows)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["cv", "official"])
def test_no_probe_sees_what_its_thresholds_or_scores_are_of(protocol: str, tree: Path) -> None:
    rows, views = _rows(tree)
    splits = row_splits(rows.patients, rows.parts, protocol=protocol, n_fold=4)
    probes = _Probes(rows)
    fits = probes("AS", rows.answers, splits)
    table, _ = studies.diagnosed(TASKS["d1-AL-T"], rows, views, splits, fits, probes)
    answers = np.stack([table.columns[f"score_{k}"] for k in range(3)], axis=1).argmax(axis=1)
    assert (answers == table.columns["truth"]).all()
    for _, split in probes.splits:
        assert not set(rows.patients[split.train]) & set(rows.patients[split.test])
        assert all(set(part) <= set(split.train) for part in split.inner)
        assert len(split.inner) > 0
    inner = [s for name, s in probes.splits if name == "view"][len(splits) :]
    outer = splits[0]
    mine = [s for s in inner if set(s.train) <= set(outer.train)]
    assert set(np.concatenate([s.test for s in mine])) >= set(np.concatenate(outer.inner))
    assert all(set(outer.test).isdisjoint(s.train) for s in mine)


def test_thresholds_come_from_inner_parts_alone(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, views = _rows(tree)
    splits = row_splits(rows.patients, rows.parts, protocol="cv", n_fold=4)
    seen = list[set[str]]()
    choose = diagnosis.choose_thresholds

    def watch(some: Sequence[str], *args: Any, **more: Any) -> diagnosis.Thresholds:
        seen.append(set(some))
        return choose(some, *args, **more)

    monkeypatch.setattr(diagnosis, "choose_thresholds", watch)
    probes = _Probes(rows)
    studies.diagnosed(
        TASKS["d1-AL-T"], rows, views, splits, probes("AS", rows.answers, splits), probes
    )
    units = np.asarray(rows.units)
    assert seen == [set(units[s.train]) for s in splits]
    assert all(some.isdisjoint(units[s.test]) for some, s in zip(seen, splits, strict=True))


def test_a_class_that_no_inner_study_has_is_no_crash(tree: Path) -> None:
    rows, views = _rows(tree)
    kept = Rows(
        **{n: getattr(rows, n) for n in Rows.__slots__}
        | {"answers": np.where(rows.answers == 2, 1, rows.answers)}
    )
    splits = row_splits(kept.patients, kept.parts, protocol="cv", n_fold=3)
    probes = _Probes(kept)
    with pytest.raises(UndefinedError, match="none of class 2"):
        studies.diagnosed(
            TASKS["d1-AL-T"], kept, views, splits, probes("AS", kept.answers, splits), probes
        )


def test_the_rule_alone_is_refused() -> None:
    with pytest.raises(ResultError, match="second probe"):
        reduce("relevance", {"truth": np.zeros(1), "score": np.zeros(1)}, ["a"], ["r"])


@pytest.mark.slow
def test_same_run_same_bytes(done: tuple[Settings, list[Result]], tmp_path: Path) -> None:
    settings, results = done
    again = Settings(root=settings.root, results=tmp_path, cache=settings.cache)
    cells = plan(["d1-AL-T"], ["image_stats"], protocols=("cv",), n_fold=3, head="logistic")
    (found,) = execute(cells, again)
    assert found.identity() in {r.identity() for r in results}
