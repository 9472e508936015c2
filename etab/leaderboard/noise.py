"""The noise of tasks, of categories and of scores, over patients and over training draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etab.leaderboard.comparable import Tables
from etab.leaderboard.designs import design_of
from etab.leaderboard.suites import Tasks
from etab.metrics.columns import ScoredRows
from etab.metrics.inference import (
    Precision,
    combined,
    half_widths,
    paired_patient_variances,
    paired_variances,
    precisions_of,
)
from etab.metrics.shared import frozen
from etab.results import Predictions, Result
from etab.tasks.base import Task
from etab.tasks.codes import parse_code
from etab.types import Array, FloatArray

# Tasks of one group have the same patients in the same folds: dataset and protocol.
Group = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a weighted mean of anchored metrics.

    Attributes:
        parts: What the noise of each group of tasks is computed from, in units of the score.
    """

    parts: Mapping[Group, Precision]

    @property
    def patient_variance(self) -> float:
        """Variance over test patients, the probes given."""
        variances = {group: part.patient_variance for group, part in self.parts.items()}
        return float(_of_all_groups(variances))

    @property
    def encoder_variance(self) -> float:
        """Variance over test patients and over draws of the training patients."""
        variances = {group: part.encoder_variance for group, part in self.parts.items()}
        return float(_of_all_groups(variances))

    @property
    def degrees(self) -> float:
        """Degrees of freedom: those of the group with the fewest patients."""
        return min(part.degrees for part in self.parts.values())

    @property
    def half_width(self) -> float:
        """Half width of the 95 % interval over patients and training draws."""
        return float(half_widths(np.array(self.encoder_variance), self.degrees))

    def by_patient(self) -> dict[str, FloatArray]:
        """By how much each patient moves the mean: (patients,) by dataset."""
        moved: dict[str, FloatArray] = {}
        for (dataset, _), part in self.parts.items():
            of_part = part.people.mean(axis=0)
            moved[dataset] = moved.get(dataset, np.zeros(len(of_part))) + of_part
        return moved


def _of_all_groups(variances: Mapping[Group, FloatArray | float]) -> FloatArray:
    """Variance of a sum over groups.

    Datasets are of different people: their variances add. Groups of one dataset share people, but
    not folds: their standard deviations add, which is the most that their sum can vary.
    """
    deviations: dict[str, FloatArray] = {}
    for (dataset, _), variance in variances.items():
        deviations[dataset] = deviations.get(dataset, np.zeros(1)) + np.sqrt(variance)
    total = sum(np.square(deviation) for deviation in deviations.values())
    return np.squeeze(np.asarray(total, dtype=np.float64))


def task_noises(
    cells: Mapping[str, Result],
    tables: Mapping[str, Predictions],
    tasks: Tasks,
    orders: Mapping[str, Array],
) -> dict[str, Noise]:
    """Measure the noise of the anchored metric of each task of one backbone.

    Args:
        cells: Results by task code.
        tables: Their predictions by task code.
        tasks: Tasks by code.
        orders: Sorted patients of each dataset.

    Returns:
        The noise by task code.

    Raises:
        UndefinedError: Where a metric does not exist without one of the patients.
    """
    return {
        code: noises_of_task(tasks[code], [cells[code]], [table], orders)[0]
        for code, table in tables.items()
    }


def noises_of_task(
    task: Task,
    cells: Sequence[Result],
    tables: Sequence[Predictions],
    orders: Mapping[str, Array],
) -> list[Noise]:
    """Measure the noise of the anchored metric of a task of several backbones.

    Args:
        task: The task.
        cells: Its results.
        tables: Their predictions.
        orders: Sorted patients of each dataset.

    Returns:
        The noise of each result.

    Raises:
        UndefinedError: Where a metric does not exist without one of the patients.
    """
    dataset = parse_code(task.code).test_dataset
    designs = [design_of(cell, table) for cell, table in zip(cells, tables, strict=True)]
    rows = [ScoredRows.of(table) for table in tables]
    parts = precisions_of(task.metric, rows, orders[dataset], designs)
    scale = 1 / (task.high - task.low)
    return [
        Noise({(dataset, cell.protocol): combined([part], [scale])})
        for cell, part in zip(cells, parts, strict=True)
    ]


def mixed(noises: Mapping[str, Noise], shares: Mapping[str, float]) -> Noise:
    """Noise of a weighted sum over tasks.

    Args:
        noises: Noise by task code.
        shares: Weight of each task in the sum.

    Returns:
        The noise of the sum.
    """
    members: dict[Group, list[tuple[Precision, float]]] = {}
    for code, share in shares.items():
        for group, part in noises[code].parts.items():
            members.setdefault(group, []).append((part, share))
    parts: dict[Group, Precision] = {}
    for group, pairs in members.items():
        parts[group] = combined([part for part, _ in pairs], [share for _, share in pairs])
    return Noise(parts)


def difference_variances(noises: Sequence[Noise]) -> FloatArray:
    """Variance of the difference of every pair, over patients and over training draws.

    Args:
        noises: Noise of n scores on the same tasks.

    Returns:
        (n, n), 0 on the diagonal.
    """
    variances: dict[Group, FloatArray | float] = {}
    for group in noises[0].parts:
        variances[group] = paired_variances([noise.parts[group] for noise in noises])
    return np.reshape(_of_all_groups(variances), (len(noises), len(noises)))


def difference_patient_variances(noises: Sequence[Noise]) -> FloatArray:
    """Variance of the difference of every pair over test patients, the probes given: (n, n)."""
    variances: dict[Group, FloatArray | float] = {}
    for group in noises[0].parts:
        variances[group] = paired_patient_variances([noise.parts[group] for noise in noises])
    return np.reshape(_of_all_groups(variances), (len(noises), len(noises)))


def patient_orders(codes: Sequence[str], backbone: str, tables: Tables) -> dict[str, Array]:
    """Sorted patients of each dataset, over all tasks.

    Args:
        codes: Codes of the tasks.
        backbone: One of the backbones; all have been checked to have the same rows.
        tables: Predictions by backbone and task code.

    Returns:
        (patients,) names by dataset.
    """
    patients: dict[str, set[str]] = {}
    for code in codes:
        dataset = parse_code(code).test_dataset
        patients.setdefault(dataset, set()).update(tables[backbone, code].patients)
    return {dataset: frozen(np.array(sorted(names))) for dataset, names in patients.items()}
