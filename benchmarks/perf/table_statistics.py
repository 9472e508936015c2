"""Speed of 10,000 resamples of 1,276 patients, beside loops over scikit-learn and torchmetrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.perf import peers
from benchmarks.perf.rows import Row, interleaved
from etab.metrics.columns import ScoredRows
from etab.metrics.uncertainty import resample_weights, weighted
from etab.types import Array, FloatArray, IntArray, Kind

PATIENTS = 1276
RESAMPLES = 10_000
LOOPED = 200  # resamples that a peer computes; its time is multiplied up to all of them

OfRows = Callable[[IntArray], float]
"""The metric of the rows with these indexes, which may repeat."""


@dataclass(frozen=True)
class Case:
    """A metric with a peer that computes it for the rows of one resample."""

    metric: str
    title: str
    peer_name: str
    table: ScoredRows
    peer: OfRows
    wanted: float | None


def rows() -> Iterator[Row]:
    """Time each metric, and the draw of the resamples that all of them share."""
    counts = resample_weights(PATIENTS, RESAMPLES, np.random.default_rng(0))
    drawn = np.ascontiguousarray(counts[:LOOPED])
    for case in cases():
        yield _row(case, counts, drawn)
    yield _draw_row()


def _row(case: Case, counts: IntArray, drawn: IntArray) -> Row:
    order, of_row = np.unique(case.table.patients, return_inverse=True)
    resamples = [_rows_of(of_row, one) for one in drawn]
    values: dict[str, FloatArray] = {}

    def ours() -> None:
        values["ours"] = weighted(case.metric, case.table, order, counts)

    def peer() -> None:
        values["peer"] = np.array([case.peer(index) for index in resamples])

    def limit() -> None:
        counts.sum(axis=1, dtype=np.int32)

    times = interleaved([ours, limit], rounds=5)
    loop = interleaved([peer], rounds=2, warm=False)[0] * RESAMPLES / LOOPED
    gap = float(np.abs(values["ours"][:LOOPED] - values["peer"]).max())
    return Row(
        task=f"{case.title}: {RESAMPLES:,} resamples of {PATIENTS:,} patients",
        ours=times[0],
        peer_name=case.peer_name,
        peer=loop,
        limit_name="reading the resamples once",
        limit=times[1],
        wanted=case.wanted,
        agreement=f"{LOOPED} resamples: largest difference {gap:.0e}",
    )


def _rows_of(of_row: IntArray, counts: IntArray) -> IntArray:
    """Indexes of the rows of a resample, each as often as its patient is drawn."""
    return np.repeat(np.arange(len(of_row)), counts[of_row])


def _draw_row() -> Row:
    chances = np.full(PATIENTS, 1 / PATIENTS)

    def ours() -> None:
        resample_weights(PATIENTS, RESAMPLES, np.random.default_rng(0))

    def peer() -> None:
        rng = np.random.default_rng(0)
        for _ in range(RESAMPLES):
            rng.choice(PATIENTS, PATIENTS)

    def limit() -> None:
        np.random.default_rng(0).multinomial(PATIENTS, chances, size=RESAMPLES)

    times = interleaved([ours, peer, limit], rounds=1, warm=False)
    return Row(
        task=f"drawing {RESAMPLES:,} resamples, once for all metrics, tasks and backbones",
        ours=times[0],
        peer_name="a loop over Generator.choice",
        peer=times[1],
        limit_name="Generator.multinomial alone",
        limit=times[2],
        agreement="other draws of the same distribution",
    )


def cases() -> Iterator[Case]:
    """The metrics with their peers, on a made table of one row (masks: two frames) a patient."""
    from sklearn import metrics as sk

    rng = np.random.default_rng(1)
    truth = (rng.random(PATIENTS) < 0.2).astype(np.float64)
    score = 1 / (1 + np.exp(-rng.normal(2 * truth - 1, 1.5)))
    names = np.array([f"p{i:04d}" for i in range(PATIENTS)])
    answer = (score >= 0.5).astype(np.float64)
    columns = {"truth": truth, "score": score, "answer": answer}
    classes = ScoredRows(Kind.BINARY, columns, names)
    loop = "loop over scikit-learn"
    yield Case(
        "auroc", "AUROC", loop, classes, lambda i: float(sk.roc_auc_score(truth[i], score[i])), 200
    )
    yield Case(
        "auprc",
        "AUPRC",
        loop,
        classes,
        lambda i: float(sk.average_precision_score(truth[i], score[i])),
        None,
    )
    yield Case(
        "balanced_accuracy",
        "balanced accuracy",
        loop,
        classes,
        lambda i: float(sk.balanced_accuracy_score(truth[i], answer[i])),
        400,
    )
    yield Case(
        "macc",
        "MAcc",
        loop,
        classes,
        lambda i: float(_macc(sk.recall_score, truth[i], answer[i])),
        400,
    )
    yield Case(
        "f_measure",
        "macro F",
        loop,
        classes,
        lambda i: float(sk.f1_score(truth[i], answer[i], average="macro")),
        400,
    )
    yield from _values(names, rng)
    yield from _masks(names, rng)
    yield from _torchmetrics(classes)


def _macc(recall: Callable[..., float], truth: Array, answer: Array) -> float:
    """Mean of sensitivity and specificity."""
    return (recall(truth, answer) + recall(truth, answer, pos_label=0)) / 2


def _values(names: Array, rng: np.random.Generator) -> Iterator[Case]:
    from sklearn import metrics as sk

    truth = rng.normal(55, 12, PATIENTS)
    score = truth + rng.normal(0, 7, PATIENTS)
    table = ScoredRows(Kind.VALUE, {"truth": truth, "score": score}, names)
    loop = "loop over scikit-learn"
    yield Case(
        "mae", "MAE", loop, table, lambda i: float(sk.mean_absolute_error(truth[i], score[i])), 400
    )
    yield Case("r2", "R2", loop, table, lambda i: float(sk.r2_score(truth[i], score[i])), 400)
    cardiobench = peers.cardiobench("evaluation/utils.py")
    if cardiobench is not None:
        yield Case(
            "mae",
            "MAE",
            "loop over CardioBench's regression_metrics, seven of them, to two decimals",
            table,
            lambda i: float(cardiobench.regression_metrics(truth[i], score[i])["MAE"]),
            None,
        )


def _masks(names: Array, rng: np.random.Generator) -> Iterator[Case]:
    """Dice of two frames a patient: the mean over patients of the mean over their frames."""
    import pandas as pd

    dice = rng.uniform(0.7, 0.97, 2 * PATIENTS)
    people = np.repeat(names, 2)
    table = ScoredRows(Kind.MASK, {"dice": dice}, people)

    def grouped(index: IntArray) -> float:
        # A patient who is drawn twice stands for two, whose frames have the same mean.
        frame = pd.DataFrame({"patient": people[index], "dice": dice[index]})
        by_patient = frame.groupby("patient")["dice"].agg(["mean", "size"])
        return float(np.average(by_patient["mean"], weights=by_patient["size"]))

    of_patient = dice.reshape(-1, 2).mean(axis=1)
    yield Case("dice", "mean Dice", "loop over pandas groupby", table, grouped, 400)
    yield Case(
        "dice",
        "mean Dice",
        "loop over numpy.mean of means of patients",
        table,
        lambda index: float(of_patient[index[::2] // 2].mean()),
        None,
    )


def _torchmetrics(classes: ScoredRows) -> Iterator[Case]:
    """The area under the ROC curve by torchmetrics, where it is installed."""
    try:
        from torchmetrics.functional.classification import binary_auroc
    except ImportError:
        return
    import torch

    truth = torch.from_numpy(classes["truth"].astype(np.int64))
    score = torch.from_numpy(classes["score"])

    def area(index: IntArray) -> float:
        chosen = torch.from_numpy(index)
        return float(binary_auroc(score[chosen], truth[chosen]))

    yield Case("auroc", "AUROC", "loop over torchmetrics", classes, area, None)
