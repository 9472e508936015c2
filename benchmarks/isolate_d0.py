"""Why the best pretrained backbone is not ahead of pixel_pca on d0 (EF < 50, one view): three suspects, one table.

``python -m benchmarks.isolate_d0 --root CAMUS [--view A2] [--seeds 10]`` asks, on the row's own inputs and folds:

1. the draw of the folds: the row again with other fold seeds;
2. the label: the same features answer EF by ridge and the predicted EF, turned round, is scored as the row is, so that
   only the cut at 50 % is taken away from what the probe learns from;
3. the probe: ridge on the 0/1 label in place of logistic regression, which takes only the loss away.

Each line is the AUROC over out-of-fold predictions, mean and standard deviation over seeds, and the difference to
pixel_pca seed by seed. Features come from the cache of an earlier run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from etab import backbones, datasets, heads
from etab.cli.cache import default_cache
from etab.features.frames import annotated_frames, frame_features, row_features, task_rows
from etab.metrics import base
from etab.splits import row_splits
from etab.tasks.menu import TASKS
from etab.tasks.rows import Rows
from etab.types import Array, Features, FloatArray, Kind, Target

NAMES = (
    "efficientnet_lite0",
    "efficientnet_lite2",
    "mobilenetv2",
    "vits14_saliency",
    "hed_vgg16",
    "pixel_pca",
)
PROBES = (
    "logistic on EF < 50 (the row)",
    "ridge on EF, scored as EF < 50",
    "ridge on the 0/1 label",
)


def scored(features: Features, rows: Rows, ef: FloatArray, probe: str, seed: int) -> float:
    """AUROC of EF < 50 over the out-of-fold answers of one probe."""
    splits = row_splits(rows.patients, rows.parts, protocol="cv", n_fold=5, seed=seed)
    target = datasets.card("camus").target("CM")
    answers: Array = rows.answers
    if probe.startswith("ridge"):
        target = Target("EF", Kind.VALUE, unit="%")
        answers = -ef if "on EF" in probe else rows.answers.astype(np.float64)
    head = heads.head("ridge" if probe.startswith("ridge") else "logistic")
    fits = head.cross_fit(
        features, answers, rows.patients, splits, target, rng=np.random.default_rng(seed)
    )
    order = np.concatenate([s.test for s in splits])
    score = np.concatenate([np.asarray(f.predictions, dtype=np.float64) for f in fits])
    columns: Mapping[str, FloatArray] = {
        "truth": rows.answers[order].astype(np.float64),
        "score": score,
    }
    return base.METRICS["auroc"](columns, rows.patients[order])


def tables(
    root: Path | None, view: str, seeds: int, cache: Path
) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """For each probe, the AUROC of every backbone and seed."""
    source = datasets.source("camus", root)
    frames = annotated_frames(source)
    rows, ef_rows = (task_rows(TASKS[f"{code}-{view}-C"], source, frames) for code in ("d0", "b0"))
    if rows.items != ef_rows.items:
        raise SystemExit("d0 and b0 do not speak of the same rows here")
    features: dict[str, Features] = {}
    for name in NAMES:
        card = backbones.card(name)
        embedded = frame_features(source, frames, card, cache=cache)
        features[name] = row_features(embedded.features, rows, maps=False)
    for probe in PROBES:
        yield (
            probe,
            {
                n: [scored(f, rows, ef_rows.answers, probe, s) for s in range(seeds)]
                for n, f in features.items()
            },
        )


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(
        description="isolate why d0 is not won by a pretrained backbone"
    )
    parser.add_argument("--root", type=Path)
    parser.add_argument("--view", default="A2", choices=("A2", "A4"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cache", type=Path)
    asked = parser.parse_args()
    for probe, table in tables(asked.root, asked.view, asked.seeds, asked.cache or default_cache()):
        print(f"d0-{asked.view}-C, {probe}, {asked.seeds} fold seeds")
        pixels = np.array(table["pixel_pca"])
        for name, values in table.items():
            d = np.array(values) - pixels
            won = f"{int((d > 0).sum())}/{len(d)} seeds ahead" if name != "pixel_pca" else ""
            print(
                f"  {name:<20} {np.mean(values):.3f} (sd {np.std(values):.3f})  {d.mean():+.3f}  {won}"
            )


if __name__ == "__main__":
    main()
