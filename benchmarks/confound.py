"""The confound of CinC 2016: what random folds promise, and what a database never heard before keeps of it.

``python -m benchmarks.confound [--root CINC2016] [--backbone mel_stats] [--phantom 60] [--seed 0]``

The same features and head answer "abnormal?" twice: in five folds in which databases share training and test, and with
one database left out at a time. Beside them: how well the database itself is recognised in those folds, and what is
known of a recording by the letter of its database alone. ``--root`` is the real data, ``--phantom`` that many made
patients, whose stethoscope differs from database to database by construction; they are also answered with labels that
follow the database and nothing that can be heard in a patient: whatever folds then promise is the confound itself.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from etab import backbones, heads, phantom
from etab.datasets import Cinc2016Source
from etab.errors import EtabWarning
from etab.features.base import Embedding, input_of
from etab.metrics.basic import balanced_accuracy, binary_auroc
from etab.tasks.menu import TASKS
from etab.tasks.protocol_rows import splits_of
from etab.types import Features, Kind, RowSplit, Target

CODE = "f0-PH-N"
Labels = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Shown:
    """AUROC of one backbone: pooled folds, the mean over databases within those, and each database left out."""

    n: int
    pooled: float
    within: float
    left_out: dict[str, float]
    lodo: float
    recognised: float = float("nan")
    letter: float = float("nan")

    @property
    def macro(self) -> float:
        return _mean(self.left_out)


def by_letter(groups: np.ndarray) -> np.ndarray:
    """Labels (n,) that the database alone decides: every other one is abnormal."""
    names = sorted(set(groups.tolist()))
    return np.array([names.index(g) % 2 for g in groups])


def measure(
    root: Path,
    backbone: str,
    *,
    n_fold: int = 5,
    seed: int = 0,
    labels: Labels | None = None,
    beside: bool = True,
) -> Shown:
    """Answer f0 by both protocols; ``labels`` takes the place of the truth. ``beside``: the two lines beside it too."""
    task, head = TASKS[CODE], heads.head("logistic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EtabWarning)
        source = Cinc2016Source(root)
        form = input_of(task)
        keys = form.keys(task, source)
        rows = form.rows(task, source, keys)

    def heard(name: str) -> Features:
        how = Embedding(data_digest="")
        embedded = form.embed(task, source, keys, backbones.card(name), how)
        return form.pick(embedded.features, rows, maps=head.needs_maps, sequences=False)

    features, group = heard(backbone), np.asarray(rows.groups)
    truth = np.asarray(rows.answers) if labels is None else labels(group)
    folds, lodo = (splits_of(p, seed, rows, task.kind) for p in (f"cv{n_fold}", "lodo"))
    target = source.card.target(task.target)

    def answered(x: Features, y: np.ndarray, t: Target, splits: list[RowSplit]) -> np.ndarray:
        fits = head.cross_fit(x, y, rows.patients, splits, t, rng=np.random.default_rng(seed))
        parts = [np.asarray(f.predictions) for f in fits]
        out = np.empty((len(y), *parts[0].shape[1:]))
        for split, part in zip(splits, parts, strict=True):
            out[split.test] = part
        return out

    pooled, alone = (
        answered(features, truth, target, folds),
        answered(features, truth, target, lodo),
    )
    shown = Shown(
        len(truth),
        binary_auroc(truth, pooled),
        _mean(by_database(truth, pooled, group)),
        by_database(truth, alone, group),
        binary_auroc(truth, alone),
    )
    if not beside:
        return shown
    names = sorted(set(group.tolist()))
    which = np.array([names.index(g) for g in group])
    said = answered(features, which, Target("database", Kind.CLASSES, classes=tuple(names)), folds)
    table = {"truth": which.astype(float), **{f"score_{k}": said[:, k] for k in range(len(names))}}
    letter = binary_auroc(truth, answered(heard("database_only"), truth, target, folds))
    return replace(shown, recognised=balanced_accuracy(table, rows.patients), letter=letter)


def _mean(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values()))) if values else float("nan")


def by_database(truth: np.ndarray, score: np.ndarray, group: np.ndarray) -> dict[str, float]:
    """AUROC within each database that has both classes."""
    rows = {g: group == g for g in sorted(set(group.tolist()))}
    return {
        g: binary_auroc(truth[r], score[r]) for g, r in rows.items() if 0 < truth[r].sum() < r.sum()
    }


def lines(name: str, found: Shown) -> Iterator[str]:
    """What was found, in words."""
    yield f"{name}: {found.n} recordings"
    within = "" if np.isnan(found.within) else f", {found.within:.3f} mean within databases"
    yield f"  random folds of patients, databases shared   AUROC {found.pooled:.3f} pooled{within}"
    each = "".join(f", {g} {v:.3f}" for g, v in found.left_out.items())
    mean = "" if np.isnan(found.macro) else f", {found.macro:.3f} mean over databases{each}"
    yield f"  one database left out                        AUROC {found.lodo:.3f} pooled{mean}"
    yield f"  the database itself is recognised            balanced accuracy {found.recognised:.3f}"
    yield f"  the letter of the database alone             AUROC {found.letter:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path)
    parser.add_argument("--backbone", default="mel_stats")
    parser.add_argument("--phantom", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    if a.root is not None:
        print(
            "\n".join(lines(f"CinC 2016, {a.backbone}", measure(a.root, a.backbone, seed=a.seed)))
        )
    if a.phantom:
        with tempfile.TemporaryDirectory() as folder:
            phantom.write(Path(folder), patients=a.phantom, seed=a.seed, names=("cinc2016",))
            for words, labels in (
                ("as made", None),
                ("labels that follow the database alone", by_letter),
            ):
                found = measure(Path(folder) / "cinc2016", a.backbone, seed=a.seed, labels=labels)
                name = f"PHANTOM of CinC 2016, {a.phantom} made patients, {words}, {a.backbone}"
                print("\n".join(lines(name, found)))


if __name__ == "__main__":
    main()
