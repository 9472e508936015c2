"""Time and memory of a leaderboard with many backbones and tasks.

``python -m benchmarks.perf.board`` writes 300 made backbones x 30 tasks of 500 patients each into a
folder that is removed afterwards (some minutes), ranks it in a process of its own, and prints
processor seconds and peak memory against the limits. Status 1 if a limit is passed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import UndefinedError
from etab.metrics import METRICS, evaluate_rows
from etab.metrics.columns import ScoredRows
from etab.metrics.intervals import intervals_together
from etab.results import Predictions, Result
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.types import Array, Kind

BACKBONES = 300
N_TASKS = 30
PATIENTS = 500
SECONDS = 20.0
MEGABYTES = 500.0
PROTOCOL = "cv5"
KINDS = (Kind.VALUE, Kind.BINARY, Kind.MASK)

_RANK = """
import resource, sys
from pathlib import Path
from etab.leaderboard.ranking import rank_folder
board = rank_folder(Path(sys.argv[1]), sys.argv[2], protocol=sys.argv[3])
used = resource.getrusage(resource.RUSAGE_SELF)
# ru_maxrss would count the memory of the process that started this one, too.
status = Path("/proc/self/status").read_text().split()
peak = int(status[status.index("VmHWM:") + 1])
ranked = sum(row.rank_low is not None for row in board.rows)
print(used.ru_utime + used.ru_stime, peak / 1000, ranked, sep=",")
"""


@dataclass(frozen=True)
class Measured:
    """What ranking a folder took.

    Attributes:
        seconds: Processor time of the whole process.
        megabytes: Its peak of resident memory.
        ranked: Backbones with a rank.
    """

    seconds: float
    megabytes: float
    ranked: int


def made_tasks(n: int) -> list[Task]:
    """The first n tasks of values, of two classes and of masks on one dataset each."""
    tasks = [task for task in TASKS.values() if task.kind in KINDS and not task.fit_on]
    return [task for task in tasks if not task.aggregate][:n]


def write(folder: Path, backbones: int, tasks: list[Task], patients: int) -> Path:
    """Write results of made backbones, and a suite of their tasks.

    Args:
        folder: An empty folder.
        backbones: Number of backbones.
        tasks: The tasks.
        patients: Number of patients of each task, with one row each.

    Returns:
        The suite, a file.
    """
    for index, task in enumerate(tasks):
        truth = _truth(task, patients, np.random.default_rng(index))
        _write_task(folder / "results", task, truth, backbones)
    codes = json.dumps([task.code for task in tasks])
    suite = folder / "made.toml"
    suite.write_text(f'name = "made"\nversion = 1\ntitle = "Made"\ntasks = {codes}\n')
    return suite


def _truth(task: Task, n: int, rng: np.random.Generator) -> Array:
    if task.kind is Kind.BINARY:
        return (rng.random(n) < 0.3).astype(np.float64)
    return np.round(rng.normal(55, 12, n), 1)


def _write_task(folder: Path, task: Task, truth: Array, backbones: int) -> None:
    """Write the cells of one task; their intervals are computed together, as a board checks them."""
    tables = [_made_table(task, truth, number) for number in range(backbones)]
    metrics = [evaluate_rows(ScoredRows.of(table)) for table in tables]
    values = [of_cell[task.metric] for of_cell in metrics]
    cells = list(zip(values, tables, strict=True))
    intervals = intervals_together(task.code, task.metric, 0, cells)
    for number, table in enumerate(tables):
        interval = intervals[number]
        if isinstance(interval, UndefinedError):
            raise interval
        result = Result(
            **_facts(task, f"made{number:03d}", len(truth)),
            value=values[number],
            low=interval.low,
            high=interval.high,
            metrics=metrics[number],
            folds=list(_folds(task, ScoredRows.of(table))),
            predictions_sha256=table.sha256(),
        )
        result.save(folder, table)


def _made_table(task: Task, truth: Array, number: int) -> Predictions:
    """Predictions of a backbone: its number decides its skill and its noise."""
    rng = np.random.default_rng([number, *task.code.encode()])
    skill = number % 17 / 17
    columns = _columns(task.kind, truth, skill, rng)
    patients = tuple(f"patient{i:04d}" for i in range(len(truth)))
    folds = tuple(f"fold{i % 5}" for i in range(len(truth)))
    return Predictions(task.kind, patients, patients, folds, columns)


def _columns(kind: Kind, truth: Array, skill: float, rng: np.random.Generator) -> dict[str, Array]:
    """Predictions of a backbone whose skill is a number from 0 to 1."""
    if kind is Kind.MASK:
        dice = np.clip(rng.normal(0.7 + 0.2 * skill, 0.05, len(truth)), 0.01, 0.99)
        errors = {"hd95": 20 * (1 - dice), "msd": 6 * (1 - dice)}
        return {"dice": dice, "jaccard": dice / (2 - dice), **errors}
    score = truth + rng.normal(0, 6 + 4 * skill, len(truth))
    if kind is Kind.BINARY:
        score = 1 / (1 + np.exp(-rng.normal((1 + skill) * (2 * truth - 1), 2)))
    return {"truth": truth, "score": score}


def _facts(task: Task, backbone: str, n: int) -> dict[str, Any]:
    """Fields of a record that do not depend on its predictions."""
    digest = f"{int(backbone.removeprefix('made')):064x}"
    return {
        "task": task.code,
        "task_version": task.version,
        "backbone": backbone,
        "head": task.head,
        "protocol": PROTOCOL,
        "seed": 0,
        "dataset": task.dataset,
        "phantom": True,
        "metric": task.metric,
        "level": 0.95,
        "interval": "bootstrap over patients",
        "nested": None,
        "n_train": 4 * n // 5,
        "n_test": n,
        "n_patients": n,
        "weights_sha256": digest,
        "data_digest": "d" * 64,
        "features_key": "made",
        "settings": {"precision": "fp32", "size": 224},
        "missing": [],
        "anchor_low": task.low,
        "anchor_high": task.high,
    }


def _folds(task: Task, rows: ScoredRows) -> Iterator[dict[str, Any]]:
    for index, part in enumerate(rows.of_folds()):
        value = METRICS[task.metric].value(rows.select(part))
        yield {"name": f"fold{index}", "value": value, "n_test": len(part), "choice": {}}


def measured(folder: Path, suite: Path) -> Measured:
    """Rank a folder in a process of its own."""
    command = [sys.executable, "-c", _RANK, str(folder / "results"), str(suite), PROTOCOL]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, megabytes, ranked = run.stdout.strip().split(",")
    return Measured(float(seconds), float(megabytes), int(ranked))


def made_board(backbones: int, n_tasks: int, patients: int) -> Measured:
    """Write made results, rank them, and remove them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        suite = write(folder, backbones, made_tasks(n_tasks), patients)
        return measured(folder, suite)


def main() -> None:
    """Measure a board and hold it against the limits of the full size."""
    parser = argparse.ArgumentParser(description="time a leaderboard of made results")
    parser.add_argument("--backbones", type=int, default=BACKBONES)
    parser.add_argument("--tasks", type=int, default=N_TASKS)
    parser.add_argument("--patients", type=int, default=PATIENTS)
    options = parser.parse_args()
    board = made_board(options.backbones, options.tasks, options.patients)
    print(
        f"{options.backbones} backbones x {options.tasks} tasks, {options.patients} patients: "
        f"{board.ranked} ranked, {board.seconds:.1f} s of {SECONDS:g} s, "
        f"{board.megabytes:.0f} MB of {MEGABYTES:g} MB"
    )
    sys.exit(1 if board.seconds > SECONDS or board.megabytes > MEGABYTES else 0)


if __name__ == "__main__":
    main()
