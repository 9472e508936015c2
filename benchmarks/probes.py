"""The stacked probe beside the probes of one layer, on real CAMUS: every backbone, several fold seeds.

``python -m benchmarks.probes --root CAMUS --cache DIR [--backbones ...] [--seeds 3 4] [--tasks ...]
[--keep FILE]`` fits the earlier head of each task (``ridge`` or ``logistic`` on the one layer and pooling that is
best inside the training patients) and the head ``stack`` on the same class-stratified folds
of patients, and writes ``benchmarks/probes.md``. ``stack`` fits classes that are cut from a value by
this value, as on the board. Features come from the cache of an earlier run.

MAE is the mean over patients. AUROC is the share of the pairs of rows of both classes within a fold
that are ordered rightly. Both heads of a cell are timed one after the other, in processor seconds,
without anything that they could share with other tasks. ``--keep`` keeps the cells, so that a run
that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from etab import backbones, datasets, heads
from etab.cli.cache import default_cache
from etab.features.frames import annotated_frames, frame_features, row_features, task_rows
from etab.heads.base import FoldFit, Memo
from etab.metrics import binary_auroc
from etab.runs.data import Data
from etab.runs.run import Settings
from etab.splits import row_splits
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.tasks.rows import Rows
from etab.tasks.strata import strata_of
from etab.types import Features, FloatArray, Kind, RowSplit

PAGE = Path(__file__).with_name("probes.md")
PRETRAINED = (
    "vits14_saliency",
    "efficientnet_lite0",
    "efficientnet_lite2",
    "mobilenetv2",
    "hed_vgg16",
)
BACKBONES = (*PRETRAINED, *[f"random/{name}" for name in PRETRAINED], "pixel_pca", "image_stats")
ONE_LAYER = {Kind.VALUE: "ridge", Kind.BINARY: "logistic", Kind.CLASSES: "logistic"}
"""The heads of the tasks before ``stack`` became the head of them all."""
STACK = "stack"
TASKS_SHOWN = ("b0-A2-C", "b0-A4-C", "b1-A2-C", "b1-A4-C", "c0-AX-C", "d0-A2-C", "d0-A4-C")


@dataclass(frozen=True, slots=True)
class Cell:
    """What one head scores with one fold seed.

    Attributes:
        backbone: Name of the backbone.
        task: Code of the task.
        head: Name of the head.
        seed: Seed of the folds.
        value: MAE in percentage points of EF, or AUROC within folds.
        seconds: Processor seconds of all fits.
        fitted_on: The target that ``stack`` fitted where classes are cut from its values; empty where
            the classes themselves were fitted.
    """

    backbone: str
    task: str
    head: str
    seed: int
    value: float
    seconds: float
    fitted_on: str = ""


def score(task: Task, rows: Rows, splits: Sequence[RowSplit], fits: Sequence[FoldFit]) -> float:
    """MAE over all rows, or AUROC within folds, weighted by the pairs of each fold."""
    truth = np.asarray(rows.answers, dtype=np.float64)
    if task.kind is Kind.VALUE:
        errors = [
            np.abs(fit.predictions - truth[split.test])
            for split, fit in zip(splits, fits, strict=True)
        ]
        return float(np.concatenate(errors).mean())
    ordered = 0.0
    pairs = 0.0
    for split, fit in zip(splits, fits, strict=True):
        of_fold = truth[split.test]
        scores = fit.predictions if fit.predictions.ndim == 1 else fit.predictions[:, 1]
        n = float((of_fold == 1).sum() * (of_fold == 0).sum())
        ordered += n * binary_auroc(of_fold, scores)
        pairs += n
    return ordered / pairs


def cell_of(
    name: str,
    task: Task,
    head: str,
    seed: int,
    rows: Rows,
    features: Features,
    cut_values: FloatArray | None,
) -> Cell:
    """Fit one head with one fold seed; ``cut_values`` (n,) are what the classes of the rows are cut from."""
    splits = row_splits(
        rows.patients,
        rows.parts,
        protocol="cv",
        n_fold=5,
        seed=seed,
        strata=strata_of(rows.patients, rows.answers, task.kind),
    )
    target = datasets.card("camus").target(task.target)
    memo = Memo()
    memo.cut_values = cut_values
    started = time.process_time()
    fits = heads.head(head).cross_fit(
        features,
        rows.answers,
        rows.patients,
        splits,
        target,
        rng=np.random.default_rng(seed),
        memo=memo,
    )
    seconds = time.process_time() - started
    by_value = head == STACK and target.cut is not None
    fitted_on = target.cut.target if by_value and target.cut is not None else ""
    return Cell(name, task.code, head, seed, score(task, rows, splits, fits), seconds, fitted_on)


def features_of_tasks(
    root: Path | None, cache: Path, names: Sequence[str], codes: Sequence[str]
) -> Iterator[tuple[str, str, Rows, Features]]:
    """Embed CAMUS by one backbone after another, and take the rows of each task.

    Args:
        root: Folder of CAMUS; None for the documented places.
        cache: Folder of the features.
        names: Names of the backbones.
        codes: Codes of the tasks.

    Yields:
        The backbone, the task, its rows and their features.
    """
    source = datasets.source("camus", root)
    frames = annotated_frames(source)
    digest = source.digest()
    rows_of = {code: task_rows(TASKS[code], source, frames) for code in codes}
    for name in names:
        embedded = frame_features(
            source, frames, backbones.card(name), cache=cache, data_digest=digest
        ).features
        for code, rows in rows_of.items():
            yield name, code, rows, row_features(embedded, rows, maps=False)


def measured(
    root: Path | None,
    cache: Path,
    names: Sequence[str],
    codes: Sequence[str],
    seeds: Sequence[int],
    done: Sequence[Cell],
) -> Iterator[Cell]:
    """Fit every cell that is not done yet, one backbone after another."""
    finished = {(c.backbone, c.task, c.head, c.seed) for c in done}
    data = Data(Settings(root=root, cache=cache))
    values_of = {code: data.values_of_classes(TASKS[code]) for code in codes}
    for name, code, rows, features in features_of_tasks(root, cache, names, codes):
        for seed in seeds:
            for head in (ONE_LAYER[TASKS[code].kind], STACK):
                if (name, code, head, seed) not in finished:
                    yield cell_of(name, TASKS[code], head, seed, rows, features, values_of[code])


def fitted_words(code: str, fitted_on: Iterable[str]) -> str:
    """What was fitted for a task of classes that are cut from a value; empty for other tasks.

    Args:
        code: Code of the task.
        fitted_on: The target that was fitted for each cell; empty where the classes were.
    """
    if datasets.card("camus").target(TASKS[code].target).cut is None:
        return ""
    fitted = sorted({name or "the classes, as boards of before did" for name in fitted_on})
    return f" (fitted by {', '.join(fitted)})"


def page(cells: Sequence[Cell], names: Sequence[str], seeds: Sequence[int]) -> str:
    """Lay the cells out as Markdown."""
    lines = [
        "# The stacked probe beside the probes of one layer",
        "",
        f"Real CAMUS (500 patients), class-stratified five-fold cross-validation, fold seeds "
        f"{', '.join(map(str, seeds))}, which no choice in the design of the head was made on.",
        "Each entry: the earlier head of the task (`ridge` or `logistic`, on one layer) -> `stack`, "
        "mean over fold seeds, in brackets the standard deviation over fold seeds.",
        "Last column: processor time of `stack` over that of the earlier head. Command: "
        "`python -m benchmarks.probes --root CAMUS --cache DIR`.",
    ]
    for code in dict.fromkeys(cell.task for cell in cells):
        task = TASKS[code]
        metric = "MAE, percentage points, less is better"
        if task.kind is not Kind.VALUE:
            metric = "AUROC within folds, more is better"
        by = fitted_words(code, [c.fitted_on for c in cells if (c.task, c.head) == (code, STACK)])
        lines += ["", f"## {code}: {task.title} ({metric}){by}", ""]
        lines += ["| backbone | one layer | stack | change | time |", "|---|---|---|---|---|"]
        changes = []
        ratios = []
        for name in names:
            one_layer = ONE_LAYER[task.kind]
            old = [c for c in cells if (c.backbone, c.task, c.head) == (name, code, one_layer)]
            new = [c for c in cells if (c.backbone, c.task, c.head) == (name, code, STACK)]
            if not old or not new:
                continue
            changes.append(_mean(new) - _mean(old))
            ratios.append(sum(c.seconds for c in new) / sum(c.seconds for c in old))
            lines.append(
                f"| {name} | {_shown(old)} | {_shown(new)} | {changes[-1]:+.4f} | "
                f"{ratios[-1]:.2f} |"
            )
        absent = [n for n in names if all((c.backbone, c.task) != (n, code) for c in cells)]
        if absent:
            lines += ["", f"Not measured yet: {', '.join(absent)}."]
        elif changes:
            lines.append(f"| mean | | | {np.mean(changes):+.4f} | {np.mean(ratios):.2f} |")
    return "\n".join(lines) + "\n"


def _mean(cells: Sequence[Cell]) -> float:
    return float(np.mean([cell.value for cell in cells]))


def _shown(cells: Sequence[Cell]) -> str:
    digits = 3 if TASKS[cells[0].task].kind is Kind.VALUE else 4
    deviation = float(np.std([cell.value for cell in cells]))
    return f"{_mean(cells):.{digits}f} ({deviation:.{digits}f})"


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(
        description="compare the stacked probe with those of one layer"
    )
    parser.add_argument("--root", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS_SHOWN))
    parser.add_argument("--seeds", nargs="+", type=int, default=[3, 4])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    cells: list[Cell] = []
    if args.keep and args.keep.exists():
        cells = [Cell(**json.loads(line)) for line in args.keep.read_text().splitlines()]
    cache = args.cache or default_cache()
    for cell in measured(args.root, cache, args.backbones, args.tasks, args.seeds, list(cells)):
        cells.append(cell)
        if args.keep:
            with args.keep.open("a") as file:
                file.write(json.dumps(asdict(cell)) + "\n")
        print(f"{cell.backbone} {cell.task} {cell.head} {cell.seed} {cell.value:.4f}", flush=True)
    args.page.write_text(page(cells, args.backbones, args.seeds))


if __name__ == "__main__":
    main()
