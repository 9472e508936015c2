"""Coverage with the head ``stack``, refitted on every made cohort.

``stack`` is the head of the boards, and no affine function of the features where it combines class
scores in logits. Its value on new people is therefore not computed in closed form, as
``benchmarks/coverage_world.py`` does for other heads. Every fit also predicts people who are in no
split, and is measured on them; each cohort has new ones. All tasks are fitted by ``stack``.

``python -m benchmarks.coverage_stack [--replicates N] [--first SEED] [--keep DIR]`` writes
``benchmarks/coverage_stack.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy

from benchmarks.coverage import HEADER, WORDS, coverage_rows, one_for_each
from benchmarks.coverage_refits import Replicate, Setting
from benchmarks.coverage_ridge import SETTINGS, TITLES, misses
from benchmarks.coverage_summary import SCORES, Summary, summary_of
from benchmarks.coverage_world import (
    TASKS,
    Task,
    embed,
    made_cohort,
    made_encoder,
    made_world,
    overlap,
    questions,
    splits_of_frames,
)
from etab import heads
from etab.metrics.basic import binary_auroc
from etab.types import Array, Features, FloatArray, RowSplit

PAGE = Path(__file__).with_name("coverage_stack.md")
NEW = 400
"""People in no split, on whom every fit of a cohort is measured."""
NOTES = f"""
Simulated: no patient is in it. The columns are those of [coverage_ridge.md](coverage_ridge.md). All four tasks are fitted by
`stack`, anew for every fold of every division of every cohort. The value of a fit on new people is measured on {NEW} people who are
in no split, and not computed in closed form: in the column of *these probes*, which compares single cohorts, this makes the
coverage smaller than it is. The form of the interval (docs/methods.md) was chosen on the cohorts of this page with 50 and 100 people;
[coverage_classes.md](coverage_classes.md) has AUROC on others.

## What misses the aim
"""
ERRORS = [
    "## Bias and width",
    "",
    "*Exact value*: the mean of all fits on new people. *Mean error*: what values are above it on average. *SD*: how far values lie",
    "from it (root of the mean square). *Standard error*: what the intervals state (root of the mean variance). All in anchored units.",
    "",
    "| setting (replicates) | what | exact value | mean error | SD | standard error |",
    "|---|---|---|---|---|---|",
]


def stack_replicate(setting: Setting, seed: int) -> Replicate:
    """Draw a cohort and backbones, and fit ``stack`` for every split.

    Args:
        setting: The setting.
        seed: Seed of the cohort and of the backbones.

    Returns:
        The replicate.
    """
    rng = np.random.default_rng(seed)
    world = made_world(rng)
    everybody = made_cohort(setting.people + NEW, world, rng)
    tasks = questions(everybody)
    encoders = [made_encoder(noise, rng) for noise in setting.noises]
    features = [embed(everybody, encoder, rng) for encoder in encoders]
    people = [setting.splits(repeat) for repeat in range(setting.repeats)]
    shape = (len(encoders), setting.repeats)
    fitted = np.zeros((len(TASKS), *shape, setting.n_fold))
    predictions: dict[str, FloatArray] = {}
    truth: dict[str, FloatArray] = {}
    for t, name in enumerate(TASKS):
        task = tasks[name]
        known = (2 if task.frames else 1) * setting.people
        truth[name] = np.asarray(task.answers[:known], dtype=np.float64)
        predictions[name] = np.full((*shape, known), np.nan)
        for b in range(len(encoders)):
            for r, of_people in enumerate(people):
                splits = splits_of_frames(of_people) if task.frames else of_people
                fits = _fitted(task, features[b], splits, known)
                for k, (own, of_new) in enumerate(fits):
                    predictions[name][b, r, splits[k].test] = own
                    answers = np.asarray(task.answers[known:])
                    tested = len(of_people[k].test)
                    fitted[t, b, r, k] = value_on_new(name, answers, of_new, tested)
    return Replicate(truth, predictions, fitted)


def _fitted(
    task: Task, features: dict[str, FloatArray], splits: list[RowSplit], known: int
) -> list[tuple[FloatArray, FloatArray]]:
    """Predictions of each split for its own test rows, and for the rows after ``known``."""
    rows: dict[str, Array] = {}
    for layer, values in features.items():
        rows[layer] = values.reshape(len(task.answers), -1)
    new = np.arange(known, len(task.answers))
    asked = [RowSplit(s.train, s.inner, np.concatenate([s.test, new]), s.name) for s in splits]
    fits = heads.head("stack").cross_fit(
        Features(rows, frames=1 if task.frames else 2),
        task.answers,
        np.arange(len(task.answers)).astype(str),
        asked,
        task.target,
        rng=np.random.default_rng(0),
        memo={},
    )
    made: list[tuple[FloatArray, FloatArray]] = []
    for split, fit in zip(splits, fits, strict=True):
        scores = np.asarray(fit.predictions, dtype=np.float64)
        made.append((scores[: len(split.test)], scores[len(split.test) :]))
    return made


def value_on_new(name: str, answers: Array, scores: FloatArray, people: int) -> float:
    """The metric of predictions for people who are in no split.

    Args:
        name: The task.
        answers: (rows,) of the new people.
        scores: (rows,) predictions.
        people: Number of test people in one fold. Two frames of one person are one in ``people`` of
            all pairs of AUROC there, and are easier to order than frames of two persons.

    Returns:
        The value that a fold of so many people is expected to have.
    """
    if name == "mae":
        return float(np.abs(scores - answers).mean())
    if name == "dice":
        return float(overlap(scores - answers).mean())
    value = binary_auroc(answers, scores)
    if name == "cm":
        return value
    first, second = scores.reshape(-1, 2).T
    within = float((second > first).mean() + 0.5 * (second == first).mean())
    between = (len(first) * value - within) / (len(first) - 1)
    return between + (within - between) / people


def error_rows(setting: Setting, found: Sequence[Summary]) -> list[str]:
    """Lines of the table of errors: the bias of values, their spread, and the one that is stated.

    Args:
        setting: The setting.
        found: Its summaries.

    Returns:
        A line for each score.
    """
    values = np.stack([summary.values for summary in found])
    exact = np.stack([summary.fitted for summary in found]).mean(axis=(0, 2))
    halves = np.stack([summary.encoder_half for summary in found])
    errors = values - exact[:, None]
    quantile = float(scipy.stats.t.ppf(0.975, (setting.test or setting.train) - 1))
    stated = np.sqrt(np.square(halves / quantile).mean(axis=(0, 2)))
    spread = np.sqrt(np.square(errors).mean(axis=(0, 2)))
    title = f"{TITLES[setting.name]} ({len(found)})"
    lines = []
    for s, name in enumerate(SCORES):
        lines.append(
            f"| {title} | {WORDS[name]} | {exact[s]:.3f} | {errors[:, s].mean():+.4f} | "
            f"{spread[s]:.4f} | {stated[s]:.4f} |"
        )
        title = f"({len(found)})"
    return lines


def page(found: dict[str, list[Summary]], command: str) -> str:
    """The page: what the intervals of each setting cover."""
    lines = [
        "# Coverage with the stacked probe",
        "",
        f"Made by `{command}`.",
        "",
        *HEADER,
    ]
    for name, summaries in found.items():
        lines += coverage_rows(TITLES[name], summaries)
    lines += [NOTES.rstrip("\n"), *misses(found), *ERRORS]
    for setting in SETTINGS:
        if setting.name in found:
            lines += error_rows(setting, found[setting.name])
    return "\n".join([*lines, ""])


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="coverage with the stacked probe")
    parser.add_argument("--replicates", default="400", help="a number, or one for each setting")
    parser.add_argument("--first", default="0", help="the first seed, or one for each setting")
    parser.add_argument("--keep", type=Path, help="a folder that keeps replicates")
    asked = parser.parse_args()
    counts = one_for_each(asked.replicates, SETTINGS)
    firsts = one_for_each(asked.first, SETTINGS)
    found = {}
    for setting, replicates, first in zip(SETTINGS, counts, firsts, strict=True):
        seeds = range(first, first + replicates)
        found[setting.name] = [
            summary_of(setting, seed, asked.keep, stack_replicate) for seed in seeds
        ]
    command = (
        f"python -m benchmarks.coverage_stack --replicates {asked.replicates} --first {asked.first}"
    )
    PAGE.write_text(page(found, command))


if __name__ == "__main__":
    main()
