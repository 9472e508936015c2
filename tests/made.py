"""Made results for the tests of results, boards and pages. All of them are phantom unless a test says otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import UndefinedError
from etab.leaderboard.suites import Suite
from etab.metrics import basic as metrics
from etab.metrics.columns import ScoredRows
from etab.metrics.intervals import interval_of
from etab.results import Predictions, Result
from etab.tasks.base import Task
from etab.tasks.codes import BOARD_PROTOCOL
from etab.tasks.menu import TASKS, find
from etab.types import Kind

ALL = tuple(t.code for t in find("camus"))
SMALL = ("a0-A4-C", "b0-A4-C", "b1-A4-C", "d0-A4-C")


def suite(codes: Iterable[str] = SMALL, **more: Any) -> Suite:
    return Suite(**{"name": "made", "version": 1, "tasks": tuple(codes), **more})


def _clip(values: Any) -> Any:
    return np.clip(values, 0.01, 0.99)


def columns(task: Task, skill: float, n: int, noise: int) -> dict[str, Any]:
    """Columns of ``n`` patients, two rows each for frames; the truth is the same for every skill."""
    truth_rng, rng = (
        np.random.default_rng([n, *task.code.encode()]),
        np.random.default_rng([noise, *task.code.encode()]),
    )
    rows = 2 * n if task.inputs == "frame" else n
    if task.kind is Kind.MASK:
        dice = _clip(
            0.6
            + 0.35 * skill
            + 0.05 * truth_rng.standard_normal(rows)
            + 0.02 * rng.standard_normal(rows)
        )
        return {
            "dice": dice,
            "jaccard": dice / (2 - dice),
            "hd95": 20 * (1 - dice),
            "msd": 6 * (1 - dice),
        }
    if task.kind is Kind.VALUE:
        truth = 55 + 12 * truth_rng.standard_normal(rows)
        return {"truth": truth, "score": 55 + skill * (truth - 55) + 4 * rng.standard_normal(rows)}
    truth = truth_rng.integers(0, 2, rows).astype(float)
    p = _clip(0.5 + 0.35 * skill * (2 * truth - 1) + 0.2 * rng.standard_normal(rows))
    return (
        {"truth": truth, "score": p}
        if task.kind is Kind.BINARY
        else {"truth": truth, "score_0": 1 - p, "score_1": p}
    )


def predictions(code: str, skill: float = 0.8, *, n: int = 60, noise: int = 1) -> Predictions:
    task = TASKS[code]
    cols = columns(task, skill, n, noise)
    rows = len(next(iter(cols.values())))
    patients = tuple(f"patient{i % n:04d}" for i in range(rows))
    items = tuple(f"{p}_{task.views[0]}#{i // n}" for i, p in enumerate(patients))
    return Predictions(
        task.kind, items, patients, tuple(f"fold{i % n % 5}" for i in range(rows)), cols
    )


def folds(table: Predictions, task: Task) -> list[dict[str, Any]]:
    names = np.array(table.folds)
    parts = []
    for name in dict.fromkeys(table.folds):
        rows = names == name
        columns = {key: column[rows] for key, column in table.columns.items()}
        values = metrics.evaluate(task.kind, columns, np.array(table.patients)[rows])
        parts.append(
            {
                "name": name,
                "value": values.get(task.metric),
                "n_test": int(rows.sum()),
                "choice": {"layer": "last", "penalty": 0.1},
            }
        )
    return parts


def _interval(table: Predictions, task: Task, value: float) -> tuple[float, float]:
    try:
        interval = interval_of(task.code, task.metric, 0, table)
    except UndefinedError:  # too few patients for an interval
        return value, value
    return interval.low, interval.high


def result(
    table: Predictions, code: str = "a0-A4-C", backbone: str = "cnn", **changes: Any
) -> Result:
    task = TASKS[code]
    scored = metrics.evaluate_rows(ScoredRows.of(table))
    value = scored[task.metric]
    low, high = _interval(table, task, value)
    facts: Mapping[str, Any] = {
        "task": code,
        "task_version": task.version,
        "backbone": backbone,
        "head": task.head,
        "protocol": BOARD_PROTOCOL,
        "seed": 0,
        "dataset": "camus",
        "phantom": True,
        "metric": task.metric,
        "value": value,
        "low": low,
        "high": high,
        "level": 0.95,
        "interval": "bootstrap over patients",
        "metrics": scored,
        "folds": folds(table, task),
        "nested": None,
        "n_train": 96,
        "n_test": len(table.items),
        "n_patients": len(set(table.patients)),
        "weights_sha256": hashlib.sha256(backbone.encode()).hexdigest(),
        "data_digest": "cd" * 32,
        "features_key": "ef" * 32,
        "settings": {
            "family": "cnn",
            "precision": "fp32",
            "size": 224,
            "interpolation": "bilinear",
        },
        "missing": [],
        "predictions_sha256": table.sha256(),
        "anchor_low": task.low,
        "anchor_high": task.high,
        "provenance": {
            "pretraining": "imagenet-1k",
            "etab": "0",
            "commit": "",
            "started": "2026-01-01T00:00:00+00:00",
            "seconds": 1.5,
        },
    }
    return Result(**{**facts, **changes})


def save(
    folder: Path,
    code: str,
    backbone: str,
    skill: float = 0.8,
    *,
    n: int = 60,
    noise: int = 1,
    **changes: Any,
) -> Result:
    table = predictions(code, skill, n=n, noise=noise)
    made = result(table, code, backbone, **changes)
    made.save(folder, table)
    return made


def board(
    folder: Path,
    skills: Mapping[str, float],
    codes: Iterable[str] = SMALL,
    *,
    n: int = 60,
    **changes: Any,
) -> list[Result]:
    """Save a whole board: every backbone of ``skills`` on every task, with its own noise."""
    out = []
    for backbone, skill in skills.items():
        noise = sum(backbone.encode())
        family = "control" if backbone in ("image_stats", "pixel_pca") else "cnn"
        for code in codes:
            settings = {
                "family": family,
                "precision": "fp32",
                "size": 224,
                "interpolation": "bilinear",
            }
            out.append(
                save(folder, code, backbone, skill, n=n, noise=noise, settings=settings, **changes)
            )
    return out


def changed(made: Result, **changes: Any) -> Result:
    return replace(made, **changes)
