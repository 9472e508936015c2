"""A predictor that knows only its training answers has exactly the lower anchor, on every task and protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from etab import heads
from etab.datasets import SOURCES
from etab.errors import SplitError, UndefinedError
from etab.heads.base import Memo
from etab.legacy.task_scores import task_score
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.results import Predictions, Result, load_results
from etab.runs import cell
from etab.runs.data import Data
from etab.runs.run import Run, Settings
from etab.runs.tables import laid_out
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.types import Array, Features, FloatArray, Kind

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ANSWERED = (Kind.BINARY, Kind.CLASSES, Kind.VALUE)
# Another release of a data set has no made data of its own, and few made people for every class.
MADE = [task for task in TASKS.values() if not task.dataset.startswith("circor_hf")]
CODES = [task.code for task in MADE if task.kind in ANSWERED]
PATIENTS = {"bmdhs": 60, "cinc2016": 60, "circor": 60, "tmed": 60}


@pytest.fixture(scope="module")
def data_of(phantom_tree: Callable[..., Path]) -> Callable[[str], Data]:
    @cache
    def data(dataset: str) -> Data:
        tree = phantom_tree([dataset], patients=PATIENTS.get(dataset, 24), size=96)
        return Data(Settings(root=tree / dataset))

    return data


@pytest.fixture(scope="module")
def real_camus(real_data: Path) -> Data:
    return Data(Settings(root=real_data / "camus"))


def _tables(task: Task, data: Data) -> list[tuple[str, Predictions]]:
    """The table of the trivial head by every protocol that the made data allow."""
    tables = []
    rows = data.rows(task)
    for protocol in ("official", "cv3", "cv3x2", "lodo"):
        if protocol.rstrip("x0123456789") not in task.protocols:
            continue
        run = Run(task.code, "image_stats", "trivial", protocol)
        try:
            splits = cell._splits(run, rows)
            work = cell._Work(run, heads.head("trivial"), rows, Features({}), splits, Memo())
            tables.append((protocol, work.answers(data)[1]))
        except (SplitError, UndefinedError):
            assert protocol == "official"  # a small test part may lack a class
    return tables


def test_every_task_is_asked_what_knowing_nothing_is_worth() -> None:
    """Other releases of a data set have the metric and the anchors of its own tasks."""
    asked = {task.code for task in MADE if task.kind in (*ANSWERED, Kind.STATES, Kind.MASK)}
    others = {task.code: task for task in TASKS.values() if task.code not in asked}
    assert {task.dataset for task in others.values()} == {"circor_hf", "circor_hf_processed"}
    for code, task in others.items():
        if (task.metric, task.low, task.high) != ("auroc", 0.5, 1.0):
            like = TASKS[f"{code[:-1]}D"]
            assert (task.metric, task.low) == (like.metric, like.low), code


@pytest.mark.slow
@pytest.mark.parametrize("code", CODES)
def test_knowing_nothing_is_worth_the_anchor(code: str, data_of: Callable[[str], Data]) -> None:
    task = TASKS[code]
    tables = _tables(task, data_of(task.dataset))
    assert {"cv3", "cv3x2"} <= {protocol for protocol, _ in tables}
    for protocol, table in tables:
        rows = ScoredRows.of(table)
        if task.kind is Kind.VALUE:
            _check_value(task, table)
            continue
        try:
            values = {name: METRICS[name].value(rows) for name in ("auroc", "balanced_accuracy")}
        except UndefinedError:
            # A small test part may lack a class, and the phantom of MIMIC-IV-ECHO lacks two views.
            assert protocol == "official" or code == "c2-AL-M"
            continue
        assert values["auroc"] == pytest.approx(0.5, abs=1e-9), protocol
        _check_decided(task, table)
        if task.metric == "auroc":
            assert task.anchored(values["auroc"]) == pytest.approx(0, abs=1e-9)
        if "group" in rows.columns:
            assert METRICS["macro_auroc"].value(rows) == pytest.approx(0.5, abs=1e-9), protocol
        of_2022 = (
            task_score(task, table.columns, np.array(table.patients), np.array(table.folds))
            if protocol == "cv3"
            else None
        )
        if of_2022 is not None and task.metric_2022.endswith("auroc"):
            assert of_2022.value == pytest.approx(0.5, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("code", [t.code for t in MADE if t.kind is Kind.STATES])
def test_the_commonest_state_for_every_moment_is_worth_the_anchor(
    code: str, data_of: Callable[[str], Data]
) -> None:
    task = TASKS[code]
    rows = data_of(task.dataset).rows(task)
    order = np.arange(len(rows.items))
    annotated = np.concatenate([answer[answer >= 0] for answer in rows.answers])
    commonest = np.bincount(annotated).argmax()
    states = [np.full(len(answer), commonest) for answer in rows.answers]
    _, _, columns = laid_out(task, rows, (), order, [states])
    patients = np.array([str(patient) for patient in rows.patients])
    value = METRICS[task.metric](columns, patients, task.kind)
    assert value == pytest.approx(task.low, abs=1e-12)
    assert task.anchored(value) == pytest.approx(0, abs=1e-12)


def _overlap(n: int, size: int) -> FloatArray:
    """(size, n): the share of each of n pixels in each of ``size`` cells of a line."""
    edges = np.arange(size + 1) * n / size
    ends = np.minimum(edges[1:, None], np.arange(1, n + 1))
    return np.asarray(np.maximum(ends - np.maximum(edges[:-1, None], np.arange(n)), 0) * size / n)


def _between(n: int, size: int) -> FloatArray:
    """(n, size): how n pixels are interpolated between the centres of ``size`` cells."""
    centres = np.clip((np.arange(n) + 0.5) * size / n - 0.5, 0, size - 1)
    return np.asarray(np.maximum(1 - np.abs(centres[:, None] - np.arange(size)), 0))


def _of_one_mask(guess: Array, truth: Array) -> float:
    both = guess.sum() + truth.sum()
    return float(2 * (guess & truth).sum() / both) if both else 1.0


def _worth_of_the_mean_mask(
    masks: Sequence[Array], table: Predictions, items: Sequence[str]
) -> Array:
    """Least and greatest Dice (2,) of the mean mask of the other folds, on 56 x 56 cells, at 0.5.

    The two differ by pixels where just half of the training masks are.
    """
    place = {item: i for i, item in enumerate(items)}
    on_cells = []
    for mask in masks:
        down, across = (_overlap(n, 56) for n in mask.shape)
        on_cells.append(down @ mask @ across.T)
    folds = np.array(table.folds)
    repeats = np.array(table.repeats)
    worth: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for fold, repeat in sorted(set(zip(table.folds, table.repeats, strict=True))):
        others = np.flatnonzero((repeats == repeat) & (folds != fold))
        mean = np.mean([on_cells[place[table.items[i]]] for i in others], axis=0)
        for i in np.flatnonzero((repeats == repeat) & (folds == fold)):
            truth = masks[place[table.items[i]]]
            up, along = (_between(n, 56) for n in truth.shape)
            guess = up @ mean @ along.T
            ends = [_of_one_mask(guess >= level, truth) for level in (0.5 - 1e-5, 0.5 + 1e-5)]
            worth.setdefault((repeat, table.patients[i]), []).append((min(ends), max(ends)))
    return np.mean([np.mean(of_rows, axis=0) for of_rows in worth.values()], axis=0)


MASKS = [task.code for task in MADE if task.kind is Kind.MASK]


@pytest.mark.slow
@pytest.mark.parametrize("code", MASKS)
def test_the_mean_mask_for_every_frame_is_worth_the_anchor(
    code: str, data_of: Callable[[str], Data]
) -> None:
    """The anchor of a mask is the Dice of the mean mask of the other patients, whatever the frame."""
    task = TASKS[code]
    data = data_of(task.dataset)
    rows = data.rows(task)
    tables = {protocol: table for protocol, table in _tables(task, data) if protocol != "official"}
    assert set(tables) == {"cv3", "cv3x2"}
    for protocol, table in tables.items():
        low, high = _worth_of_the_mean_mask(rows.answers, table, rows.items)
        value = METRICS["dice"].value(ScoredRows.of(table))
        assert low - 1e-7 <= value <= high + 1e-7, protocol  # tables hold seven digits
        assert high - low < 0.05  # or the bounds would say little


@pytest.mark.real
@pytest.mark.parametrize("code", [code for code in MASKS if code.endswith("-C")])
def test_the_mean_mask_of_real_patients_has_the_anchor(code: str, real_camus: Data) -> None:
    task = TASKS[code]
    rows = real_camus.rows(task)
    splits = cell._splits(Run(code, "image_stats", "trivial", "cv5"), rows)
    target = SOURCES[task.dataset].card.target(task.target)
    rng = np.random.default_rng(0)
    fits = heads.head("trivial").cross_fit(
        Features({}), rows.answers, rows.patients, splits, target, rng=rng
    )
    worth: dict[str, list[float]] = {}
    for split, fit in zip(splits, fits, strict=True):
        for i, guess in zip(split.test, fit.predictions, strict=True):
            patient = str(rows.patients[i])
            worth.setdefault(patient, []).append(_of_one_mask(guess, rows.answers[i]))
    value = float(np.mean([np.mean(of_rows) for of_rows in worth.values()]))
    assert value == pytest.approx(task.low, abs=5.1e-4)  # anchors are rounded to three digits
    assert task.anchored(value) == pytest.approx(0, abs=2e-3)


def _published_constants() -> list[tuple[str, Result]]:
    """The cells of `constant` on the published boards of heart sounds, by the heads of the boards."""
    cells = []
    for folder in ("results_sounds_full", "results_sounds"):
        for result in load_results(BENCHMARKS / folder):
            is_board = result.head == TASKS[result.task].head
            if result.backbone == "constant" and is_board:
                cells.append((folder, result))
    return cells


# Everybody Present, everybody Abnormal, by the official code on the 46 ids of the small part.
_OF_46 = {"f1-AL-D": 0.6716, "f2-AL-D": 15444.7826}


def test_the_constant_of_the_published_boards_has_the_anchor() -> None:
    cells = _published_constants()
    seen = {(folder, result.task, result.protocol) for folder, result in cells}
    for folder in ("results_sounds_full", "results_sounds"):
        for code in ("e1-AL-D", "f0-PH-N", "f1-AL-D", "f2-AL-D"):
            assert (folder, code, "cv5x5") in seen
        assert (folder, "f0-PH-N", "lodo") in seen
    for folder, result in cells:
        if "auroc" in result.metrics:
            assert result.metrics["auroc"] == pytest.approx(0.5, abs=1e-12)
        anchor = TASKS[result.task].low
        if result.task == "e0-AL-D":
            continue  # its row has the heart rate and the durations, as the anchor's source says
        if result.task == "e1-AL-D":
            # the median depends on the division into folds, and the small part has other people
            tolerance = 0.01 if folder == "results_sounds_full" else 2.0
        else:
            tolerance = 5.1e-5  # anchors are rounded to four digits
            if folder == "results_sounds":
                anchor = _OF_46.get(result.task, anchor)
        assert result.value == pytest.approx(anchor, abs=tolerance), (folder, result.task)


def _check_value(task: Task, table: Predictions) -> None:
    """The metric of a value is that of the training median, as the anchor is defined."""
    truth = table.columns["truth"]
    folds = np.array(table.folds)
    repeats = np.array(table.repeats)
    if task.aggregate or set(folds) == {"official"}:
        return
    errors = []
    for i in range(len(truth)):
        train = truth[(repeats == repeats[i]) & (folds != folds[i])]
        errors.append(abs(np.median(train) - truth[i]))
    error = METRICS["mae"].value(ScoredRows.of(table))
    assert error == pytest.approx(np.mean(errors), abs=1e-5)


def _check_decided(task: Task, table: Predictions) -> None:
    """One class for everybody has recall 1 on its own class and 0 on the others, in each fold."""
    n = METRICS["balanced_accuracy"]
    rows = ScoredRows.of(table)
    for fold in rows.of_folds():
        part = rows.select(fold)
        try:
            value = n.value(part)
        except UndefinedError:
            continue
        assert value == pytest.approx(1 / part.n_classes, abs=1e-9)
