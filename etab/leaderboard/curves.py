"""Label efficiency: how a value grows with the labelled patients, from the finished cells of a folder.

A point is one task, one backbone and one share (or number a class) of the training patients. Its value is the mean over
the draws; its interval mixes the draws and resamples of the test patients, so that it holds what another draw of labels
and another test cohort would give. Made by `etab run --fractions 2,5,10,25,50,100 --draws 3`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from etab.errors import DataNotFoundError, ResultError
from etab.metrics.base import METRICS
from etab.metrics.uncertainty import resample_weights, weighted
from etab.results import Predictions, Result, load_results
from etab.tasks.menu import TASKS
from etab.tasks.protocols import Protocol, parse
from etab.types import FloatArray

RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a curve.

    labels      "10 %" or "5 a class"
    rows        training rows, the mean over draws and folds
    percent     share of the training patients; 0 where ``shots`` patients a class are drawn instead
    draws       how many draws the value is the mean of
    low, high   95 % interval over draws and test patients
    """

    task: str
    backbone: str
    base: str
    labels: str
    percent: float
    shots: int
    draws: int
    rows: float
    metric: str
    value: float
    low: float
    high: float
    phantom: bool


def points(folder: Path, *, seed: int = 0) -> list[Point]:
    """Every point that the results in a folder give, by task, backbone and labels.

    Raises DataNotFoundError where the folder holds no cell with few labelled patients, and ResultError where phantom and
    real results, or results of different data, would lie on one curve.
    """
    cells: dict[tuple[object, ...], list[Result]] = {}
    results = load_results(folder)
    few = {
        (r.task, r.backbone, r.head, r.seed, _how(r).tuning, _how(r).source)
        for r in results
        if _how(r).few
    }
    for r in results:
        how = _how(r)
        key = (r.task, r.backbone, r.head, r.seed, how.tuning, how.source)
        if key in few:
            cells.setdefault(
                (*key, how.sort, how.n_fold, how.percent or 0.0, how.shots or 0), []
            ).append(r)
    if not cells:
        raise DataNotFoundError(
            f"{folder} holds no cell with few labelled patients. Make some with "
            f"`etab run --fractions 2,5,10,25,50,100 --draws 3 --results {folder}`."
        )
    _check(folder, [r for group in cells.values() for r in group])
    found = [_point(folder, group, seed) for group in cells.values()]
    return sorted(found, key=lambda p: (p.task, p.backbone, p.base, p.percent, p.shots))


def _how(result: Result) -> Protocol:
    return parse(result.protocol)


def _check(folder: Path, results: Sequence[Result]) -> None:
    if len({r.phantom for r in results}) > 1:
        raise ResultError(
            f"{folder} holds phantom and real results; curves of both never share a page. Part the folders."
        )
    digests: dict[str, str] = {}
    for r in results:
        if digests.setdefault(r.dataset, r.data_digest) != r.data_digest:
            raise ResultError(
                f"{folder} holds results of two versions of {r.dataset}: {r.task}, {r.backbone} differs."
            )


def _point(folder: Path, group: Sequence[Result], seed: int) -> Point:
    first, how = group[0], _how(group[0])
    rng = np.random.default_rng([seed, *first.task.encode()])
    resampled = [_resampled(r, r.predictions(folder), rng) for r in group]
    low, high = np.nanquantile(np.concatenate(resampled), [0.025, 0.975])
    labels = f"{how.shots} a class" if how.shots else f"{how.percent or 100:g} %"
    return Point(
        task=first.task,
        backbone=first.backbone,
        base=replace(how, percent=None, shots=None, draw=0).name,
        labels=labels,
        percent=0.0 if how.shots else how.percent or 100.0,
        shots=how.shots or 0,
        draws=len(group),
        rows=float(np.mean([r.n_train for r in group])),
        metric=first.metric,
        value=float(np.mean([r.value for r in group])),
        low=float(low),
        high=float(high),
        phantom=first.phantom,
    )


def _resampled(result: Result, table: Predictions, rng: np.random.Generator) -> FloatArray:
    patients = np.array(table.patients)
    order = np.unique(patients)
    weights = resample_weights(len(order), RESAMPLES, rng)
    return weighted(result.metric, table.kind, table.columns, patients, order, weights)


def csv_text(found: Sequence[Point]) -> str:
    """A line a point."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "task",
            "backbone",
            "protocol",
            "labels",
            "draws",
            "training_rows",
            "metric",
            "value",
            "low",
            "high",
            "phantom",
        ]
    )
    for p in found:
        writer.writerow(
            [
                p.task,
                p.backbone,
                p.base,
                p.labels,
                p.draws,
                f"{p.rows:g}",
                p.metric,
                f"{p.value:.6g}",
                f"{p.low:.6g}",
                f"{p.high:.6g}",
                "phantom" if p.phantom else "",
            ]
        )
    return out.getvalue()


def markdown(found: Sequence[Point], *, picture: str = "") -> str:
    """A table a task: backbones down, labels across, value with its interval; above them the ``picture`` named."""
    out = ["# Label efficiency", ""]
    if any(p.phantom for p in found):
        out += ["**Phantom data: made, not measured on patients.**", ""]
    out += [
        "Mean over the draws of labelled patients; the interval (95 %) is over draws and test patients.",
        "",
    ]
    out += (
        [f"![Value against the share of labelled training patients]({picture})", ""]
        if picture
        else []
    )
    for task in dict.fromkeys(p.task for p in found):
        mine = [p for p in found if p.task == task]
        for base in dict.fromkeys(p.base for p in mine):
            out += _table(task, base, [p for p in mine if p.base == base])
    return "\n".join(out)


def _table(task: str, base: str, mine: Sequence[Point]) -> list[str]:
    labels = list(dict.fromkeys(p.labels for p in sorted(mine, key=lambda p: (p.shots, p.percent))))
    title = TASKS[task].title if task in TASKS else task
    better = "higher" if METRICS[mine[0].metric].better > 0 else "lower"
    digits = 3 if max(abs(p.value) for p in mine) <= 1 else 2
    out = [
        f"## {task}: {title}",
        "",
        f"{METRICS[mine[0].metric].title}, {better} is better, {base}.",
        "",
    ]
    out += ["| backbone | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
    for backbone in dict.fromkeys(p.backbone for p in mine):
        at = {
            p.labels: f"{p.value:.{digits}f} [{p.low:.{digits}f}, {p.high:.{digits}f}]"
            for p in mine
            if p.backbone == backbone
        }
        out.append(
            f"| {backbone.replace('|', '/')} | "
            + " | ".join(at.get(label, "") for label in labels)
            + " |"
        )
    return [*out, ""]
