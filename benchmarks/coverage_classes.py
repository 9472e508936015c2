"""Coverage of AUROC and of metrics of decided classes over many cohorts, with ``stack`` refitted.

The cohorts are those of ``benchmarks/coverage_world.py``, with one backbone each, one row a person,
and folds that are stratified by class, as on a board. Every fit also predicts people who are in no
split, which gives the exact value. For balanced accuracy classes are in balance, as on a board. The
others are of answers by a threshold that is chosen on training folds (``etab.runs.thresholds``).

``python -m benchmarks.coverage_classes [--auroc N] [--balanced N] [--chosen N] [--n 50,100,450]
[--first SEED] [--keep FILE]`` writes ``benchmarks/coverage_classes.md``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks.coverage import one_for_each
from benchmarks.coverage_world import embed, made_cohort, made_encoder, made_world, questions
from etab import heads
from etab.heads.base import Memo
from etab.metrics.base import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.inference import FoldDesign, half_widths, precision_of
from etab.metrics.intervals import interval_of_encoder
from etab.runs import thresholds
from etab.splits import inner_fits, row_splits
from etab.tasks.menu import TASKS
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit

PAGE = Path(__file__).with_name("coverage_classes.md")
DESIGN = FoldDesign(n_fold=5, repeats=5, test_share=0.25)
NOISE = 0.6
NEW = 400
"""People in no split, on whom every fit of a cohort is measured."""
CHOSEN = ("macc", "weighted_accuracy", "f_measure", "cost")
"""Metrics of answers by a threshold that is best on training folds by the metric itself."""


@dataclass(frozen=True)
class Found:
    """One cohort: its value, the exact one of its fits, and the interval of the encoder.

    Attributes:
        value: The metric, the mean over divisions.
        fitted: The mean over its fits on new people.
        variance: Stated variance of the encoder.
        low: Lower end of the interval.
        high: Upper end.
        plain_low: Lower end without what decided classes add.
        plain_high: Upper end without it.
    """

    value: float
    fitted: float
    variance: float
    low: float
    high: float
    plain_low: float
    plain_high: float


@dataclass(frozen=True)
class Fits:
    """The fits of all divisions of one cohort.

    Attributes:
        answers: (people,) the class of each; those of the cohort come first, then new people.
        names: (people,) names.
        splits: The splits of each division. Test rows are of the cohort alone.
        scores: Scores of the test rows of each split, then of the new people.
        inner: Fits within the training rows of each split, and their scores; empty where nothing is
            chosen.
    """

    answers: IntArray
    names: Array
    splits: list[list[RowSplit]]
    scores: list[list[FloatArray]]
    inner: list[list[FloatArray]]


@lru_cache(maxsize=1)
def fits_of(n: int, seed: int, balanced: bool, chosen: bool) -> Fits:
    """Draw a cohort and a backbone, and fit ``stack`` for every fold of every division.

    Args:
        n: Number of people.
        seed: Seed of the cohort and of the backbone.
        balanced: Whether classes are in balance.
        chosen: Whether thresholds will be chosen.

    Returns:
        The fits.
    """
    rng = np.random.default_rng(seed)
    world = made_world(rng)
    everybody = made_cohort(n + NEW, world, rng)
    task = questions(everybody)["cm"]
    answers = np.asarray(task.answers)
    layers = embed(everybody, made_encoder(NOISE, rng), rng)
    features = Features({name: x.reshape(len(answers), -1) for name, x in layers.items()}, frames=2)
    names = np.array([f"p{i:05d}" for i in range(len(answers))])
    strata = dict(zip(names.tolist(), answers.tolist(), strict=True))
    new = np.arange(n, len(answers))

    def scores_of(splits: Sequence[RowSplit], memo: Memo) -> list[FloatArray]:
        fits = heads.head("stack").cross_fit(
            features,
            answers,
            names,
            splits,
            task.target,
            rng=np.random.default_rng(0),
            memo=memo,
        )
        return [np.asarray(fit.predictions, dtype=np.float64) for fit in fits]

    found = Fits(answers, names, [], [], [])
    for repeat in range(DESIGN.repeats):
        known = names[:n]
        splits = row_splits(known, np.full(n, "test"), protocol="cv", seed=repeat, strata=strata)
        asked = [RowSplit(s.train, s.inner, np.concatenate([s.test, new]), s.name) for s in splits]
        memo = Memo(balanced=balanced)
        found.splits.append(list(splits))
        found.scores.append(scores_of(asked, memo))
        found.inner.append(scores_of(inner_fits(splits, names)[0], memo) if chosen else [])
    return found


def found_in(metric: str, n: int, seed: int) -> Found:
    """Measure a metric on a made cohort.

    Args:
        metric: "auroc", "balanced_accuracy", for which classes are in balance, or one of
            ``CHOSEN``.
        n: Number of people.
        seed: Seed of the cohort and of the backbone.

    Returns:
        What a board states of it, beside the truth.
    """
    fits = fits_of(n, seed, metric == "balanced_accuracy", metric in CHOSEN)
    new = np.arange(n, len(fits.answers))
    parts: list[tuple[Array, dict[str, FloatArray], int, int]] = []
    fitted = []
    for repeat, splits in enumerate(fits.splits):
        rules = _rules(metric, fits, repeat)
        for fold, (split, rule) in enumerate(zip(splits, rules, strict=True)):
            scores = fits.scores[repeat][fold]
            own = len(split.test)
            of_test = _columns(fits, split.test, scores[:own], rule)
            parts.append((split.test, of_test, fold, repeat))
            of_new = _rows(fits.names, [(new, _columns(fits, new, scores[own:], rule), 0, 0)])
            fitted.append(METRICS[metric].value(of_new))
    rows = _rows(fits.names, parts)
    value = METRICS[metric].value(rows)
    part = precision_of(metric, rows, np.unique(rows.patients), DESIGN)
    variances = np.array([part.encoder_variance, part.encoder_variance - part.of_decisions])
    halves = half_widths(variances, part.degrees).tolist()
    ends = [end for half in halves for end in interval_of_encoder(metric, value, half)]
    return Found(value, float(np.mean(fitted)), part.encoder_variance, *ends)


def _rules(metric: str, fits: Fits, repeat: int) -> list[thresholds.Rule]:
    """The rule of each split of a division: 0.5, or what is best on the training rows."""
    splits = fits.splits[repeat]
    if metric not in CHOSEN:
        return [thresholds.Rule()] * len(splits)
    return thresholds.choose(
        replace(TASKS["f2-AL-D"], metric=metric),
        splits,
        fits.names,
        lambda _: fits.inner[repeat],
        lambda rows, scores: _columns(fits, rows, scores, None),
    )


def _columns(
    fits: Fits, rows: IntArray, scores: FloatArray, rule: thresholds.Rule | None
) -> dict[str, FloatArray]:
    """The columns of some rows, with the answers of a rule."""
    truth = fits.answers[rows].astype(np.float64)
    columns = {"truth": truth, "outcome": truth, "score": scores}
    return columns if rule is None else {**columns, "answer": rule(columns)}


def _rows(names: Array, parts: list[tuple[Array, dict[str, FloatArray], int, int]]) -> ScoredRows:
    """The prediction table of (rows, columns, fold, repeat) of several fits."""
    tested = np.concatenate([rows for rows, _, _, _ in parts])
    columns = {
        name: np.concatenate([of_part[name] for _, of_part, _, _ in parts]) for name in parts[0][1]
    }
    folds = np.concatenate([np.full(len(rows), f"fold{fold}") for rows, _, fold, _ in parts])
    repeats = np.concatenate([np.full(len(rows), repeat) for rows, _, _, repeat in parts])
    return ScoredRows(Kind.BINARY, columns, names[tested], folds, repeats)


def row_of(n: int, found: list[Found]) -> str:
    """The line of one number of people."""
    exact = float(np.mean([one.fitted for one in found]))
    errors = np.array([one.value - exact for one in found])
    covered = 100 * np.mean([one.low <= exact <= one.high for one in found])
    plain = 100 * np.mean([one.plain_low <= exact <= one.plain_high for one in found])
    stated = np.sqrt(np.mean([one.variance for one in found]))
    error = 196 * np.sqrt(covered / 100 * (1 - covered / 100) / len(found))
    digits = 3 if exact < 10 else 0
    return (
        f"| {n} ({len(found)}) | {covered:.1f} ± {error:.1f} | {plain:.1f} | {exact:.{digits}f} | "
        f"{errors.mean():+.{digits}f} | {np.sqrt(np.square(errors).mean()):.{digits}f} | "
        f"{stated:.{digits}f} |"
    )


HEADER = [
    "| people (cohorts) | covered, this encoder % | as scores % | exact value | mean error | SD | standard error |",
    "|---|---|---|---|---|---|---|",
]
WORDS = """
Simulated: no patient is in it. One row a person under `cv5x5`, with the head `stack` refitted on every cohort, folds stratified by
class, and one backbone a cohort. Coverage has the error of so many cohorts (95 % of the time). *As scores*: what is covered without
what decided classes add. *SD*: how far values lie from the exact one; *standard error*: what intervals state. No cohort of this page
was looked at when the form of the interval was chosen: for areas that was done on the cohorts with the first seeds of
[coverage_stack.md](coverage_stack.md), for decided classes on the seeds below 400 of this program, with balanced accuracy
(`--first 0 --balanced 400,400,150`).
"""
TITLES = {
    "auroc": "## AUROC\n",
    "balanced_accuracy": "## Balanced accuracy\n\nClasses are in balance, as on boards, and decided at 0.5.\n",
    "macc": "## Mean of sensitivity and specificity\n\nThis one and those below: decided by the threshold that is best "
    "by the metric on training folds.\n",
    "weighted_accuracy": "## Weighted accuracy\n",
    "f_measure": "## F-measure\n",
    "cost": "## Cost\n",
}
DECIDED = """
Where classes are decided, the variance over patients is at least that of answers which are right for each patient with the same
probability, and a training patient moves a value by 0.3 of what a test patient does (docs/methods.md). Without both (*as scores*),
intervals of balanced accuracy are too narrow: a small change of a fit moves the decisions for many people together, and where a fit
gives nearly everybody the same answer, each class is nearly always right or nearly always wrong, which the jackknife takes for
certainty.
"""


def page(by_metric: dict[str, dict[int, list[Found]]], command: str) -> str:
    """The page."""
    lines = ["# Coverage of AUROC and of decided classes", "", f"Made by `{command}`.", WORDS]
    for metric, title in TITLES.items():
        rows = [row_of(n, found) for n, found in by_metric[metric].items() if found]
        if rows:
            lines += [title, *HEADER, *rows, ""]
    return "\n".join([*lines, DECIDED.lstrip("\n")])


def cohorts(
    metrics: Sequence[str], n: int, seeds: range, keep: Path | None
) -> dict[str, list[Found]]:
    """Make the cohorts of some seeds, or read those that a file keeps: by metric."""
    kept: dict[str, Found] = {}
    if keep and keep.exists():
        for line in keep.read_text().splitlines():
            name, facts = json.loads(line)
            kept[name] = Found(**facts)
    found: dict[str, list[Found]] = {metric: [] for metric in metrics}
    for seed in seeds:
        for metric in metrics:
            name = f"{metric} {n} {seed}"
            if name not in kept:
                kept[name] = found_in(metric, n, seed)
                if keep:
                    with keep.open("a") as file:
                        file.write(json.dumps([name, asdict(kept[name])]) + "\n")
            found[metric].append(kept[name])
    return found


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="coverage of AUROC and of decided classes")
    parser.add_argument("--auroc", default="200", help="cohorts: a number, or one for each of --n")
    parser.add_argument("--balanced", default="200", help="the same for balanced accuracy")
    parser.add_argument("--chosen", default="100", help="the same for chosen thresholds")
    parser.add_argument("--n", default="50,100,450", help="numbers of people")
    parser.add_argument("--first", type=int, default=20000, help="the first seed")
    parser.add_argument("--keep", type=Path, help="a file that keeps cohorts")
    asked = parser.parse_args()
    numbers = [int(n) for n in asked.n.split(",")]
    groups = (
        (("auroc",), asked.auroc),
        (("balanced_accuracy",), asked.balanced),
        (CHOSEN, asked.chosen),
    )
    by_metric: dict[str, dict[int, list[Found]]] = {metric: {} for metric in TITLES}
    for metrics, counts in groups:
        for n, count in zip(numbers, one_for_each(counts, numbers), strict=True):
            seeds = range(asked.first, asked.first + count)
            for metric, found in cohorts(metrics, n, seeds, asked.keep).items():
                by_metric[metric][n] = found
    command = (
        f"python -m benchmarks.coverage_classes --n {asked.n} --auroc {asked.auroc} "
        f"--balanced {asked.balanced} --chosen {asked.chosen} --first {asked.first}"
    )
    PAGE.write_text(page(by_metric, command))


if __name__ == "__main__":
    main()
