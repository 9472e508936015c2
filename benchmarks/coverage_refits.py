"""Replicates for coverage: a new cohort each, with etab's own heads refitted on it.

A replicate is a cohort of made people, twelve made backbones, four tasks and one protocol. It keeps
the predictions of every fit and the exact value of every fit on new people. Whatever is then
computed (intervals, tests, ranks) needs no further fit. Replicates are stored in a folder, one file
each, so that a run that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.coverage_world import (
    TASKS,
    Encoder,
    Fit,
    World,
    embed,
    fit_probe,
    made_cohort,
    made_encoder,
    made_world,
    population,
    questions,
    splits_of_frames,
    splits_of_people,
)
from etab.types import FloatArray, IntArray, RowSplit

EQUAL = (0.6,) * 12
GRADED = (0.6,) * 4 + (0.75,) * 4 + (1.0,) * 4


@dataclass(frozen=True)
class Setting:
    """How many people there are, how they are split, and how good the backbones are.

    Attributes:
        name: Its name in the table.
        protocol: ``"cv"`` or ``"official"``.
        train: People to train on under ``"official"``; all people under ``"cv"``.
        test: Test people under ``"official"``; 0 under ``"cv"``.
        repeats: Draws of the folds.
        noises: Noise of each backbone; equal noise means equally good.
    """

    name: str
    protocol: str
    train: int
    test: int
    repeats: int
    noises: tuple[float, ...] = EQUAL

    @property
    def people(self) -> int:
        """Number of people in all."""
        return self.train + self.test

    @property
    def n_fold(self) -> int:
        """Fits of each repeat."""
        return 5 if self.protocol == "cv" else 1

    def splits(self, repeat: int) -> list[RowSplit]:
        """The splits of people of one repeat."""
        return splits_of_people(self.people, self.protocol, self.train, repeat)


@dataclass(frozen=True)
class Replicate:
    """The predictions of all probes on one cohort.

    Attributes:
        truth: Answers of the rows by task, (rows,); two rows a person for ``dice`` and ``phase``.
        predictions: (backbones, repeats, rows) by task; NaN for people who are not tested.
        fitted: (tasks, backbones, repeats, folds) exact values of the fits on new people.
    """

    truth: dict[str, FloatArray]
    predictions: dict[str, FloatArray]
    fitted: FloatArray

    def save(self, path: Path) -> None:
        """Write the replicate as one file."""
        arrays: dict[str, Any] = {"fitted": self.fitted}
        for name in TASKS:
            arrays[f"truth_{name}"] = self.truth[name]
            arrays[f"predictions_{name}"] = self.predictions[name].astype(np.float32)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, **arrays)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Replicate:
        """Read a replicate."""
        with np.load(path) as arrays:
            truth = {name: arrays[f"truth_{name}"] for name in TASKS}
            predictions = {name: arrays[f"predictions_{name}"].astype(np.float64) for name in TASKS}
            return cls(truth, predictions, arrays["fitted"])


def refit(setting: Setting, seed: int) -> Replicate:
    """Draw a cohort and backbones, and fit every probe.

    Args:
        setting: The setting.
        seed: Seed of the cohort and of the backbones.

    Returns:
        The replicate.
    """
    rng = np.random.default_rng(seed)
    world = made_world(rng)
    cohort = made_cohort(setting.people, world, rng)
    tasks = questions(cohort)
    encoders = [made_encoder(noise, rng) for noise in setting.noises]
    features = [embed(cohort, encoder, rng) for encoder in encoders]
    people = [setting.splits(repeat) for repeat in range(setting.repeats)]
    frames = [splits_of_frames(splits) for splits in people]
    shape = (len(encoders), setting.repeats)
    fitted = np.zeros((len(TASKS), *shape, setting.n_fold))
    predictions: dict[str, FloatArray] = {
        name: np.full((*shape, len(task.answers)), np.nan) for name, task in tasks.items()
    }
    for b, encoder in enumerate(encoders):
        memos: dict[bool, dict[object, object]] = {True: {}, False: {}}
        for t, name in enumerate(TASKS):
            task = tasks[name]
            for r in range(setting.repeats):
                splits = frames[r] if task.frames else people[r]
                fits = fit_probe(task, features[b], splits, memos[task.frames])
                fitted[t, b, r] = _values(name, fits, encoder, world, task.frames)
                for fit in fits:
                    predictions[name][b, r, fit.test] = fit.predictions
    truth: dict[str, FloatArray] = {
        name: np.asarray(task.answers, dtype=np.float64) for name, task in tasks.items()
    }
    return Replicate(truth, predictions, fitted)


def _values(
    name: str, fits: Sequence[Fit], encoder: Encoder, world: World, frames: bool
) -> list[float]:
    values = []
    for fit in fits:
        people = len(fit.test) // 2 if frames else len(fit.test)
        values.append(population(name, fit, encoder, world, people))
    return values


def replicates(setting: Setting, seeds: Sequence[int], folder: Path | None) -> list[Replicate]:
    """Make replicates, or read those that ``folder`` already holds.

    Args:
        setting: The setting.
        seeds: One seed for each replicate.
        folder: Where replicates are kept; None keeps none.

    Returns:
        The replicates, in the order of the seeds.
    """
    made = []
    for seed in seeds:
        path = None if folder is None else folder / setting.name / f"{seed:05d}.npz"
        if path is not None and path.exists():
            made.append(Replicate.load(path))
            continue
        replicate = refit(setting, seed)
        if path is not None:
            replicate.save(path)
        made.append(replicate)
    return made


def fold_of_people(setting: Setting) -> IntArray:
    """(repeats, people) the fold of each person; -1 where they are not tested."""
    fold = np.full((setting.repeats, setting.people), -1)
    for repeat in range(setting.repeats):
        for k, split in enumerate(setting.splits(repeat)):
            fold[repeat, split.test] = k
    return fold
