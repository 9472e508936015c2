"""How much the draw of the training patients moves a value, on real CAMUS.

``python -m benchmarks.training_draw --root CAMUS --cache DIR [--seeds 12] [--keep FILE]`` divides the
patients into two training groups of 200 and a test group of 100, at random, and fits ``stack`` on
each training group alone. Both fits are tested on the same people. Half of the squared difference of
their values, less the part that test patients make, is the variance of the training draw. It is
given as a share of what the formula of Nadeau and Bengio assumes: the variance of one patient over
the number of training patients. The same is done for the difference of two backbones. Classes that are
cut from a value are fitted by it, as on the board. The table is written to
``benchmarks/training_draw.md``; ``--keep`` keeps the cells.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.probes import features_of_tasks, fitted_words
from etab import datasets, heads
from etab.cli.cache import default_cache
from etab.heads.base import Memo
from etab.metrics.base import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.design import FoldDesign
from etab.metrics.inference import precision_of
from etab.runs.data import Data
from etab.runs.run import Settings
from etab.splits import folds, inner_parts
from etab.tasks.menu import TASKS
from etab.tasks.rows import Rows
from etab.tasks.strata import strata_of
from etab.types import Array, Features, FloatArray, Kind, RowSplit

PAGE = Path(__file__).with_name("training_draw.md")
BACKBONES = (
    "image_stats",
    "efficientnet_lite0",
    "random/mobilenetv2",
    "mobilenetv2",
    "pixel_pca",
    "hed_vgg16",
)
CODES = ("b0-A4-C", "b1-A4-C", "c0-AX-C", "d0-A4-C")
ONE_SPLIT = FoldDesign(n_fold=1, repeats=1, test_share=0.0)
RESAMPLES = 2000


@dataclass(frozen=True)
class Cell:
    """A backbone on both training groups of one division.

    Attributes:
        backbone: Name of the backbone.
        task: Code of the task.
        seed: Seed of the division.
        n_train: People of a training group.
        values: Value of each fit.
        people: By how much each test patient moves the value of each fit (``Precision.people``).
        fitted_on: The target that was fitted where classes are cut from its values; empty where the
            classes themselves were, as in cells of before.
    """

    backbone: str
    task: str
    seed: int
    n_train: int
    values: list[float]
    people: list[list[float]]
    fitted_on: str = ""


def divided(rows: Rows, kind: Kind, seed: int) -> list[RowSplit]:
    """Two splits with disjoint training people and the same test people."""
    patients = np.asarray(rows.patients, dtype=object)
    fold_of = folds(patients.tolist(), 5, seed, strata_of(rows.patients, rows.answers, kind))
    fold = np.array([fold_of[patient] for patient in patients])
    splits = []
    for group in (0, 1):
        train = np.flatnonzero(fold // 2 == group)
        inner = inner_parts(patients, train, seed)
        splits.append(RowSplit(train, inner, np.flatnonzero(fold == 4), f"group{group}"))
    return splits


def cell_of(
    backbone: str,
    code: str,
    seed: int,
    rows: Rows,
    features: Features,
    cut_values: FloatArray | None,
) -> Cell:
    """Fit both training groups; ``cut_values`` (n,) are what the classes of the rows are cut from."""
    task = TASKS[code]
    target = datasets.card("camus").target(task.target)
    splits = divided(rows, task.kind, seed)
    metric = "mae" if task.kind is Kind.VALUE else "auroc"
    values = []
    people = []
    for split in splits:
        rng = np.random.default_rng(seed)
        memo = Memo()
        memo.cut_values = cut_values
        (fit,) = heads.head("stack").cross_fit(
            features, rows.answers, rows.patients, [split], target, rng=rng, memo=memo
        )
        table = _scored(task.kind, rows, split, fit.predictions)
        values.append(METRICS[metric].value(table))
        part = precision_of(metric, table, np.unique(table.patients), ONE_SPLIT)
        people.append(part.people[0].tolist())
    n_train = len(set(rows.patients[splits[0].train].tolist()))
    fitted_on = target.cut.target if target.cut is not None else ""
    return Cell(backbone, code, seed, n_train, values, people, fitted_on)


def _scored(kind: Kind, rows: Rows, split: RowSplit, predictions: Array) -> ScoredRows:
    scores = np.asarray(predictions, dtype=np.float64)
    if scores.ndim == 2:
        scores = scores[:, 1]
    columns = {"truth": np.asarray(rows.answers, dtype=np.float64)[split.test], "score": scores}
    patients = np.asarray(rows.patients)[split.test].astype(str)
    scale = Kind.VALUE if kind is Kind.VALUE else Kind.BINARY
    return ScoredRows(scale, columns, patients)


def measured(
    root: Path | None, cache: Path, seeds: Sequence[int], done: Sequence[Cell]
) -> Iterator[Cell]:
    """Fit every cell that is not done yet."""
    finished = {(cell.backbone, cell.task, cell.seed) for cell in done}
    data = Data(Settings(root=root, cache=cache))
    values_of = {code: data.values_of_classes(TASKS[code]) for code in CODES}
    for name, code, rows, features in features_of_tasks(root, cache, BACKBONES, CODES):
        for seed in seeds:
            if (name, code, seed) not in finished:
                yield cell_of(name, code, seed, rows, features, values_of[code])


def share(values: FloatArray, people: FloatArray, n_train: int) -> tuple[float, float]:
    """Training variance of one division, and what the formula assumes of it.

    Args:
        values: (2,) value of each fit.
        people: (2, people) by how much each test patient moves it.
        n_train: People of a training group.

    Returns:
        The variance of the training draw, without the part of the test patients (it can be
        negative by chance), and the variance of one patient over ``n_train``.
    """
    of_test = float(np.square(people[0] - people[1]).sum())
    of_draw = ((values[0] - values[1]) ** 2 - of_test) / 2
    of_one_patient = float(np.square(people).sum(axis=1).mean()) * people.shape[1]
    return of_draw, of_one_patient / n_train


def shares_of(cells: Sequence[Cell]) -> tuple[FloatArray, FloatArray]:
    """``share`` of every cell, and of every pair of backbones in a division: (n, 2) each."""
    alone = []
    pairs = []
    for seed in sorted({cell.seed for cell in cells}):
        division = [cell for cell in cells if cell.seed == seed]
        for cell in division:
            alone.append(share(np.array(cell.values), np.array(cell.people), cell.n_train))
        for one, other in combinations(division, 2):
            values = np.array(one.values) - np.array(other.values)
            people = np.array(one.people) - np.array(other.people)
            pairs.append(share(values, people, one.n_train))
    return np.array(alone), np.array(pairs)


def ratio(cells: Sequence[Cell], of_pairs: bool) -> tuple[float, float]:
    """Training variance over the assumed one, with its standard error over divisions."""
    by_seed = {}
    for seed in sorted({cell.seed for cell in cells}):
        division = [cell for cell in cells if cell.seed == seed]
        alone, pairs = shares_of(division)
        by_seed[seed] = (pairs if of_pairs else alone).sum(axis=0)
    sums = np.array(list(by_seed.values()))
    rng = np.random.default_rng(0)
    drawn = sums[rng.integers(len(sums), size=(RESAMPLES, len(sums)))].sum(axis=1)
    whole = sums.sum(axis=0)
    return float(whole[0] / whole[1]), float(np.std(drawn[:, 0] / drawn[:, 1]))


def page(cells: Sequence[Cell]) -> str:
    """The table of all tasks."""
    n_seeds = len({cell.seed for cell in cells})
    names = ", ".join(name for name in BACKBONES if any(c.backbone == name for c in cells))
    lines = [
        "# The draw of the training patients, on real CAMUS",
        "",
        "Made by `python -m benchmarks.training_draw`, which says what is measured: the variance of a value over draws of",
        "the training patients, as a share of what n_test/n_train assumes of it (1: a training patient moves a value as much as",
        f"a test patient does). 200 training people, 100 test people, {n_seeds} divisions; in brackets the standard error over",
        f"divisions. Backbones: {names}.",
        "",
        "| task | of a value | of a difference of two backbones |",
        "|---|---|---|",
    ]
    for code in CODES:
        of_task = [cell for cell in cells if cell.task == code]
        alone, error = ratio(of_task, of_pairs=False)
        pairs, error_of_pairs = ratio(of_task, of_pairs=True)
        title = (
            f"{code}: {TASKS[code].title}{fitted_words(code, [cell.fitted_on for cell in of_task])}"
        )
        lines.append(
            f"| {title} | {alone:.2f} ({error:.2f}) | {pairs:.2f} ({error_of_pairs:.2f}) |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description="the variance of the training draw on CAMUS")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seeds", type=int, default=12, help="number of divisions")
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    cells: list[Cell] = []
    if asked.keep and asked.keep.exists():
        cells = [Cell(**json.loads(line)) for line in asked.keep.read_text().splitlines()]
    cache = asked.cache or default_cache()
    for cell in measured(asked.root, cache, range(asked.seeds), list(cells)):
        cells.append(cell)
        if asked.keep:
            with asked.keep.open("a") as file:
                file.write(json.dumps(asdict(cell)) + "\n")
        print(cell.backbone, cell.task, cell.seed, cell.values, flush=True)
    PAGE.write_text(page(cells))


if __name__ == "__main__":
    main()
