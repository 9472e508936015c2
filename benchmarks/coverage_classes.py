"""Coverage of single metrics and false verdicts, over many cohorts, with ``stack`` refitted.

The cohorts are those of ``benchmarks/coverage_world.py``, with two equal backbones each, one row a
person, and folds as on a board (stratified by class, or by values). Every fit also predicts people
who are in no split, which gives the exact value. For balanced accuracy classes are in balance, as
on a board. The metrics of ``CHOSEN`` are of answers by a threshold that is chosen on training folds
(``etab.tasks.thresholds``).

``python -m benchmarks.coverage_classes [--areas N] [--values N] [--balanced N] [--chosen N]
[--n 50,100,450,1276] [--first SEED] [--keep FILE]`` writes ``benchmarks/coverage_classes.md``.
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
from benchmarks.coverage_summary import with_error
from benchmarks.coverage_world import embed, made_cohort, made_encoder, made_world, questions
from etab import heads
from etab.heads.base import Memo
from etab.metrics.base import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.design import FoldDesign
from etab.metrics.inference import (
    Precision,
    combined,
    half_widths,
    precision_of,
    two_sided_p,
)
from etab.metrics.intervals import interval_of_encoder
from etab.splits import inner_fits
from etab.tasks import thresholds
from etab.tasks.menu import TASKS
from etab.tasks.protocols import parse
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit

PAGE = Path(__file__).with_name("coverage_classes.md")
TRAINED = 450
"""Training people of the one split, whose test people are ``ONE_SPLIT``."""
ONE_SPLIT = 1276
DESIGN = FoldDesign(n_fold=5, repeats=5, test_share=0.25)
ONE_DIVISION = FoldDesign(n_fold=5, repeats=1, test_share=0.25)
NOISES = (0.6, 0.6)
"""Noise of the two backbones of a cohort: the same, so that every verdict between them is false."""
NEW = 400
"""People in no split, on whom every fit of a cohort is measured."""
VALUES = ("r2", "mae")
CHOSEN = ("macc", "weighted_accuracy", "f_measure", "cost")
"""Metrics of answers by a threshold that is best on training folds by the metric itself."""
FALSE = 0.05
"""A p below this is a verdict."""


@dataclass(frozen=True)
class Found:
    """One cohort: values of its backbones, the exact ones of their fits, and what is stated.

    Attributes:
        values: (backbones,) the metric, the mean over divisions.
        fitted: (backbones,) the mean over the fits on new people.
        variances: (backbones,) stated variance of the encoder.
        intervals: (backbones, 2) ends of the interval of the encoder.
        plain: (backbones, 2) its ends without the least variance.
        of_one: (backbones, 2) its ends around the value of the first division alone; empty for one
            split.
        p: Of the difference of the two encoders.
    """

    values: list[float]
    fitted: list[float]
    variances: list[float]
    intervals: list[list[float]]
    plain: list[list[float]]
    of_one: list[list[float]]
    p: float


@dataclass(frozen=True)
class Fits:
    """The fits of all divisions of one cohort.

    Attributes:
        kind: Kind of the answers.
        answers: (people,) the answer of each; those of the cohort come first, then new people.
        names: (people,) names.
        known: Number of people of the cohort.
        splits: The splits of all divisions. Test rows are of the cohort alone.
        scores: Scores of the test rows of each split, then of the new people, by backbone.
        inner: Scores of the fits within the training rows of the splits, by backbone; empty where
            nothing is chosen.
    """

    kind: Kind
    answers: Array
    names: Array
    known: int
    splits: list[RowSplit]
    scores: list[list[FloatArray]]
    inner: list[list[FloatArray]]


def is_one_split(n: int) -> bool:
    """Whether so many people are tested by one split, and not by ``cv5x5``."""
    return n == ONE_SPLIT


@lru_cache(maxsize=1)
def fits_of(n: int, seed: int, question: str, balanced: bool, chosen: bool) -> Fits:
    """Draw a cohort and its backbones, and fit ``stack`` for every fold of every division.

    Args:
        n: Number of test people; ``TRAINED`` others train the one split of ``ONE_SPLIT``.
        seed: Seed of the cohort and of the backbones.
        question: "cm" for two classes, "mae" for values.
        balanced: Whether classes are in balance.
        chosen: Whether thresholds will be chosen.

    Returns:
        The fits.
    """
    rng = np.random.default_rng(seed)
    world = made_world(rng)
    known = n + TRAINED if is_one_split(n) else n
    everybody = made_cohort(known + NEW, world, rng)
    task = questions(everybody)[question]
    answers = np.asarray(task.answers)
    names = np.array([f"p{i:05d}" for i in range(len(answers))])
    new = np.arange(known, len(answers))
    parts = np.where(np.arange(known) < TRAINED, "train", "test")
    protocol = parse("official" if is_one_split(n) else "cv5x5")
    splits = protocol.splits(names[:known], parts, answers[:known], task.target.kind, seed=0)
    asked = [replace(split, test=np.concatenate([split.test, new])) for split in splits]
    found = Fits(task.target.kind, answers, names, known, splits, [], [])
    for noise in NOISES:
        layers = embed(everybody, made_encoder(noise, rng), rng)
        features = Features(
            {name: x.reshape(len(answers), -1) for name, x in layers.items()}, frames=2
        )
        memo = Memo(balanced=balanced)

        def scores_of(
            of: Sequence[RowSplit], features: Features = features, memo: Memo = memo
        ) -> list[FloatArray]:
            fits = heads.head("stack").cross_fit(
                features, answers, names, of, task.target, rng=np.random.default_rng(0), memo=memo
            )
            return [np.asarray(fit.predictions, dtype=np.float64) for fit in fits]

        found.scores.append(scores_of(asked))
        found.inner.append(scores_of(inner_fits(splits, names)[0]) if chosen else [])
    return found


def found_in(metric: str, n: int, seed: int) -> Found:
    """Measure a metric on a made cohort.

    Args:
        metric: "auroc", "balanced_accuracy", for which classes are in balance, or one of
            ``VALUES`` and ``CHOSEN``.
        n: Number of test people.
        seed: Seed of the cohort and of the backbones.

    Returns:
        What a board states of it, beside the truth.
    """
    question = "mae" if metric in VALUES else "cm"
    fits = fits_of(n, seed, question, metric == "balanced_accuracy", metric in CHOSEN)
    found = Found([], [], [], [], [], [], 1.0)
    parts: list[Precision] = []
    design = FoldDesign.of_split(n, TRAINED) if is_one_split(n) else DESIGN
    for backbone in range(len(NOISES)):
        rows, exact = _tested(metric, fits, backbone)
        value = METRICS[metric].value(rows)
        part = _noise(metric, rows, design)
        parts.append(part)
        found.values.append(value)
        found.fitted.append(exact)
        found.variances.append(part.encoder_variance)
        found.intervals.append(_interval(metric, value, part))
        found.plain.append(_interval(metric, value, replace(part, added=0.0)))
        if not is_one_split(n):
            once = rows.select(np.flatnonzero(rows.repeats == 0))
            of_once = _noise(metric, once, ONE_DIVISION)
            found.of_one.append(_interval(metric, METRICS[metric].value(once), of_once))
    between = combined(parts, [1, -1])
    variance = np.array(between.encoder_difference_variance)
    p = two_sided_p(np.array(found.values[0] - found.values[1]), variance, between.degrees)
    return replace(found, p=float(p))


def _noise(metric: str, rows: ScoredRows, design: FoldDesign) -> Precision:
    return precision_of(metric, rows, np.unique(rows.patients), design)


def _interval(metric: str, value: float, part: Precision) -> list[float]:
    """The ends of the interval of an encoder, as a board computes them."""
    half = float(half_widths(np.array(part.encoder_variance), part.degrees))
    return list(interval_of_encoder(metric, value, half))


def _tested(metric: str, fits: Fits, backbone: int) -> tuple[ScoredRows, float]:
    """The prediction table of a backbone, and the mean value of its fits on new people."""
    new = np.arange(fits.known, len(fits.answers))
    rules = _rules(metric, fits, backbone)
    parts: list[tuple[Array, dict[str, FloatArray], str, int]] = []
    exact = []
    for split, rule, scores in zip(fits.splits, rules, fits.scores[backbone], strict=True):
        own = len(split.test)
        of_test = _columns(fits, split.test, scores[:own], rule)
        parts.append((split.test, of_test, split.name, split.repeat))
        of_new = _rows(fits, [(new, _columns(fits, new, scores[own:], rule), "new", 0)])
        exact.append(METRICS[metric].value(of_new))
    return _rows(fits, parts), float(np.mean(exact))


def _rules(metric: str, fits: Fits, backbone: int) -> list[thresholds.Rule]:
    """The rule of each split: 0.5, or what is best on the training rows."""
    if metric not in CHOSEN:
        return [thresholds.Rule()] * len(fits.splits)
    return thresholds.choose(
        replace(TASKS["f2-AL-D"], metric=metric),
        fits.splits,
        fits.names,
        lambda _: fits.inner[backbone],
        lambda rows, scores: _columns(fits, rows, scores, None),
    )


def _columns(
    fits: Fits, rows: IntArray, scores: FloatArray, rule: thresholds.Rule | None
) -> dict[str, FloatArray]:
    """The columns of some rows, with the answers of a rule."""
    truth = fits.answers[rows].astype(np.float64)
    if fits.kind is Kind.VALUE:
        return {"truth": truth, "score": scores}
    columns = {"truth": truth, "outcome": truth, "score": scores}
    return columns if rule is None else {**columns, "answer": rule(columns)}


def _rows(fits: Fits, parts: list[tuple[Array, dict[str, FloatArray], str, int]]) -> ScoredRows:
    """The prediction table of (rows, columns, fold, repeat) of several fits."""
    tested = np.concatenate([rows for rows, _, _, _ in parts])
    columns = {
        name: np.concatenate([of_part[name] for _, of_part, _, _ in parts]) for name in parts[0][1]
    }
    folds = np.concatenate([np.full(len(rows), fold) for rows, _, fold, _ in parts])
    repeats = np.concatenate([np.full(len(rows), repeat) for rows, _, _, repeat in parts])
    return ScoredRows(fits.kind, columns, fits.names[tested], folds, repeats)


def row_of(n: int, found: list[Found]) -> str:
    """The line of one number of people."""
    exact = float(np.mean([one.fitted for one in found]))
    errors = np.array([one.values for one in found]) - exact
    stated = np.sqrt(np.mean([one.variances for one in found]))
    covered = [_covered([one.intervals for one in found], exact)]
    covered.append(_covered([one.plain for one in found], exact))
    of_one = "-" if is_one_split(n) else _covered([one.of_one for one in found], exact)
    false = with_error(np.array([one.p < FALSE for one in found]))
    digits = 3 if exact < 100 else 0
    title = f"{n:,}, one split" if is_one_split(n) else f"{n}"
    return (
        f"| {title} ({len(found)}) | {' | '.join(covered)} | {of_one} | {false} | "
        f"{exact:.{digits}f} | {errors.mean():+.{digits}f} | "
        f"{np.sqrt(np.square(errors).mean()):.{digits}f} | {stated:.{digits}f} |"
    )


def _covered(intervals: Sequence[Sequence[Sequence[float]]], exact: float) -> str:
    """How often intervals (cohorts, backbones, 2) hold a value, with the error of so many cohorts."""
    ends = np.array(intervals)
    return with_error(((ends[..., 0] <= exact) & (exact <= ends[..., 1])).mean(axis=1))


HEADER = [
    "| test people (cohorts) | covered, this encoder % | without least % | one division % | told apart % | exact value | "
    "mean error | SD | standard error |",
    "|---|---|---|---|---|---|---|---|---|",
]
WORDS = """
Simulated: no patient is in it. One row a person, with the head `stack` refitted on every cohort, under `cv5x5` with folds as on a
board, or by one split with 450 training people. Two equal backbones a cohort.

* *Covered*: how often the interval of an encoder holds the exact value; wanted is 93 to 97 %. ± is the error of so many cohorts (95 %
  of the time); the two backbones of a cohort count as one.
* *Without least*: the same without what a least variance adds (docs/methods.md).
* *One division*: of the value and the interval of the first of the five divisions alone (`cv5`).
* *Told apart*: how often the two equal backbones are told apart; wanted is at most 6 %.
* *SD*: how far values lie from the exact one; *standard error*: what intervals state.

No cohort of this page was looked at when the form of the intervals was chosen: for areas and R2 that was done on the cohorts with the
first seeds of [coverage_stack.md](coverage_stack.md), for decided classes on seeds below 400 of this
program, and for one split also on those from 60000 to 60299.
"""
TITLES = {
    "auroc": "## AUROC\n",
    "r2": "## R2\n",
    "mae": "## Mean absolute error\n",
    "balanced_accuracy": "## Balanced accuracy\n\nClasses are in balance, as on boards, and decided at 0.5.\n",
    "macc": "## Mean of sensitivity and specificity\n\nThis one and those below: decided by the threshold that is best "
    "by the metric on training folds.\n",
    "weighted_accuracy": "## Weighted accuracy\n",
    "f_measure": "## F-measure\n",
    "cost": "## Cost\n",
}
DECIDED = """
Where classes are decided, the variance over patients is at least that of answers which are right for each patient with the same
probability; that of R2 is at least (1 - R2)² / n. Where a fit gives nearly everybody the same answer, each class is nearly always right
or nearly always wrong, and R2 is near 0: the jackknife takes this for certainty. With a fixed threshold, a small change of a fit moves
the decisions for many people together, and a training patient counts half of a test patient (0.3 of one where the threshold is chosen).
"""


def page(by_metric: dict[str, dict[int, list[Found]]], command: str) -> str:
    """The page."""
    lines = ["# Coverage of single metrics, and false verdicts", "", f"Made by `{command}`.", WORDS]
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
    parser = argparse.ArgumentParser(description="coverage of single metrics")
    parser.add_argument("--areas", default="200", help="cohorts: a number, or one for each of --n")
    parser.add_argument("--values", default="200", help="the same for R2 and MAE")
    parser.add_argument("--balanced", default="200", help="the same for balanced accuracy")
    parser.add_argument("--chosen", default="100", help="the same for chosen thresholds")
    parser.add_argument("--n", default="50,100,450,1276", help="numbers of test people")
    parser.add_argument("--first", type=int, default=20000, help="the first seed")
    parser.add_argument("--keep", type=Path, help="a file that keeps cohorts")
    asked = parser.parse_args()
    numbers = [int(n) for n in asked.n.split(",")]
    groups = (
        (("auroc",), asked.areas),
        (VALUES, asked.values),
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
        f"python -m benchmarks.coverage_classes --n {asked.n} --areas {asked.areas} "
        f"--values {asked.values} --balanced {asked.balanced} --chosen {asked.chosen} "
        f"--first {asked.first}"
    )
    PAGE.write_text(page(by_metric, command))


if __name__ == "__main__":
    main()
