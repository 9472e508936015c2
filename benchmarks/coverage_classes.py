"""Coverage of AUROC and balanced accuracy over many cohorts, with the head ``stack`` refitted.

The cohorts are those of ``benchmarks/coverage_world.py``, with one backbone each, one row a person,
and folds that are stratified by class, as on a board. Every fit also predicts people who are in no
split, which gives the exact value. For balanced accuracy classes are in balance, as on a board.

``python -m benchmarks.coverage_classes [--auroc N] [--balanced N] [--n 50,100,450] [--first SEED]
[--keep FILE]`` writes ``benchmarks/coverage_classes.md``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
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
from etab.splits import row_splits
from etab.types import Array, Features, FloatArray, Kind, RowSplit

PAGE = Path(__file__).with_name("coverage_classes.md")
DESIGN = FoldDesign(n_fold=5, repeats=5, test_share=0.25)
NOISE = 0.6
NEW = 400
"""People in no split, on whom every fit of a cohort is measured."""


@dataclass(frozen=True)
class Found:
    """One cohort: its value, the exact one of its fits, and the interval of the encoder.

    Attributes:
        value: The metric, the mean over divisions.
        fitted: The mean over its fits on new people.
        variance: Stated variance of the encoder.
        low: Lower end of the interval.
        high: Upper end.
    """

    value: float
    fitted: float
    variance: float
    low: float
    high: float


def found_in(metric: str, n: int, seed: int) -> Found:
    """Draw a cohort and a backbone, and fit ``stack`` for every fold of every division.

    Args:
        metric: "auroc", or "balanced_accuracy", for which classes are in balance.
        n: Number of people.
        seed: Seed of the cohort and of the backbone.

    Returns:
        What a board states of it, beside the truth.
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
    parts: list[tuple[Array, FloatArray, int, int]] = []
    fitted = []
    for repeat in range(DESIGN.repeats):
        known = names[:n]
        splits = row_splits(known, np.full(n, "test"), protocol="cv", seed=repeat, strata=strata)
        new = np.arange(n, len(answers))
        asked = [RowSplit(s.train, s.inner, np.concatenate([s.test, new]), s.name) for s in splits]
        fits = heads.head("stack").cross_fit(
            features,
            answers,
            names,
            asked,
            task.target,
            rng=np.random.default_rng(0),
            memo=Memo(balanced=metric == "balanced_accuracy"),
        )
        for fold, (split, fit) in enumerate(zip(splits, fits, strict=True)):
            scores = np.asarray(fit.predictions, dtype=np.float64)
            own = len(split.test)
            parts.append((split.test, scores[:own], fold, repeat))
            of_new = _rows(answers, names, [(new, scores[own:], 0, 0)])
            fitted.append(METRICS[metric].value(of_new))
    rows = _rows(answers, names, parts)
    value = METRICS[metric].value(rows)
    part = precision_of(metric, rows, np.unique(rows.patients), DESIGN)
    half = float(half_widths(np.array(part.encoder_variance), part.degrees))
    low, high = interval_of_encoder(metric, value, half)
    return Found(value, float(np.mean(fitted)), part.encoder_variance, low, high)


def _rows(
    answers: Array, names: Array, parts: list[tuple[Array, FloatArray, int, int]]
) -> ScoredRows:
    """The prediction table of (rows, scores, fold, repeat) of several fits."""
    tested = np.concatenate([rows for rows, _, _, _ in parts])
    scores = np.concatenate([scores for _, scores, _, _ in parts])
    folds = np.concatenate([np.full(len(rows), f"fold{fold}") for rows, _, fold, _ in parts])
    repeats = np.concatenate([np.full(len(rows), repeat) for rows, _, _, repeat in parts])
    columns = {"truth": answers[tested].astype(np.float64), "score": scores}
    return ScoredRows(Kind.BINARY, columns, names[tested], folds, repeats)


def row_of(n: int, found: list[Found]) -> str:
    """The line of one number of people."""
    exact = float(np.mean([one.fitted for one in found]))
    errors = np.array([one.value - exact for one in found])
    covered = 100 * np.mean([one.low <= exact <= one.high for one in found])
    stated = np.sqrt(np.mean([one.variance for one in found]))
    error = 196 * np.sqrt(covered / 100 * (1 - covered / 100) / len(found))
    return (
        f"| {n} ({len(found)}) | {covered:.1f} ± {error:.1f} | {exact:.3f} | {errors.mean():+.4f} | "
        f"{np.sqrt(np.square(errors).mean()):.4f} | {stated:.4f} |"
    )


HEADER = [
    "| people (cohorts) | covered, this encoder % | exact value | mean error | SD | standard error |",
    "|---|---|---|---|---|---|",
]
AUROC = """
Simulated: no patient is in it. One row a person under `cv5x5`, with the head `stack` refitted on every cohort, folds stratified by
class, and one backbone a cohort. Coverage has the error of so many cohorts (95 % of the time). *SD*: how far values lie from the
exact one; *standard error*: what intervals state. No cohort of this page was looked at when the form of the interval was chosen:
that was done on the cohorts with the first seeds of [coverage_stack.md](coverage_stack.md).

## AUROC
"""
BALANCED = """
## Balanced accuracy

Classes are in balance, as on boards.
"""
DECIDED = """
Values have hardly any bias, but intervals are too narrow: near a decision the same small change of a fit moves the decisions for
many people together, and in some cohorts every fit is the constant, whose balanced accuracy is 0.5 without any noise. No variance
over patients knows either. Boards say so of such tasks.
"""


def page(by_metric: dict[str, dict[int, list[Found]]], command: str) -> str:
    """The page."""
    lines = ["# Coverage of AUROC and of decided classes", "", f"Made by `{command}`."]
    for words, metric in ((AUROC, "auroc"), (BALANCED, "balanced_accuracy")):
        lines += [words, *HEADER, *(row_of(n, found) for n, found in by_metric[metric].items())]
    return "\n".join([*lines, DECIDED])


def cohorts(metric: str, n: int, seeds: range, keep: Path | None) -> list[Found]:
    """Make the cohorts of some seeds, or read those that a file keeps."""
    kept: dict[str, Found] = {}
    if keep and keep.exists():
        for line in keep.read_text().splitlines():
            name, facts = json.loads(line)
            kept[name] = Found(**facts)
    found = []
    for seed in seeds:
        name = f"{metric} {n} {seed}"
        if name not in kept:
            kept[name] = found_in(metric, n, seed)
            if keep:
                with keep.open("a") as file:
                    file.write(json.dumps([name, asdict(kept[name])]) + "\n")
        found.append(kept[name])
    return found


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="coverage of AUROC and of decided classes")
    parser.add_argument("--auroc", default="200", help="cohorts: a number, or one for each of --n")
    parser.add_argument("--balanced", default="60", help="the same for balanced accuracy")
    parser.add_argument("--n", default="50,100,450", help="numbers of people")
    parser.add_argument("--first", type=int, default=20000, help="the first seed")
    parser.add_argument("--keep", type=Path, help="a file that keeps cohorts")
    asked = parser.parse_args()
    numbers = [int(n) for n in asked.n.split(",")]
    by_metric: dict[str, dict[int, list[Found]]] = {}
    for metric, counts in (("auroc", asked.auroc), ("balanced_accuracy", asked.balanced)):
        by_metric[metric] = {}
        for n, count in zip(numbers, one_for_each(counts, numbers), strict=True):
            seeds = range(asked.first, asked.first + count)
            by_metric[metric][n] = cohorts(metric, n, seeds, asked.keep)
    command = (
        f"python -m benchmarks.coverage_classes --n {asked.n} --auroc {asked.auroc} "
        f"--balanced {asked.balanced} --first {asked.first}"
    )
    PAGE.write_text(page(by_metric, command))


if __name__ == "__main__":
    main()
