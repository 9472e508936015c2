"""The official scores of the Challenge of 2022 (Reyna et al., PLOS Digital Health 2(9), 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError
from etab.sounds.states import MURMUR, OUTCOME
from etab.types import Array, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Score2022:
    """Every number of the Challenge 2022 for one of its two questions.

    ``weighted_accuracy`` ranks murmurs (higher is better), ``cost`` ranks outcomes (mean per patient, lower is
    better). The per-class tuples are in the order of ``classes``, None where a class has no such number.
    """

    classes: tuple[str, ...]
    auroc: float
    auprc: float
    f_measure: float
    accuracy: float
    weighted_accuracy: float
    cost: float
    auroc_classes: tuple[float | None, ...]
    auprc_classes: tuple[float | None, ...]
    f_measure_classes: tuple[float | None, ...]
    accuracy_classes: tuple[float | None, ...]


def enforce_positives(chosen: Array, positive: int = 0) -> Array:
    """Rows (n, k) of 0 and 1 with none or several active classes become class ``positive`` alone."""
    out = np.asarray(chosen).astype(bool).copy()
    odd = out.sum(axis=1) != 1
    out[odd] = False
    out[odd, positive] = True
    return out


def confusion(labels: Array, outputs: Array) -> IntArray:
    """Counts with a row for each class *answered* and a column for each true one; both (n, k) with one active class."""
    return np.asarray(outputs, dtype=np.int64).T @ np.asarray(labels, dtype=np.int64)


def weighted_accuracy(labels: Array, outputs: Array, weights: Sequence[float]) -> float:
    """Accuracy with each true class counted ``weights`` times: 5, 3, 1 for murmurs and 5, 1 for outcomes."""
    counts = confusion(labels, outputs) * np.asarray(weights, dtype=np.float64)
    if counts.sum() == 0:
        raise UndefinedError("Weighted accuracy of no patients does not exist.")
    return float(np.trace(counts) / counts.sum())


def cost_2022(abnormal: Array, referred: Array) -> float:
    """Mean cost per patient. abnormal: (n,) bool, the true *outcome*; referred: (n,) bool, the positive answers."""
    abnormal, referred = np.asarray(abnormal, dtype=bool), np.asarray(referred, dtype=bool)
    n = len(abnormal)
    if n == 0 or len(referred) != n:
        raise UndefinedError(
            f"The cost needs patients with an answer each, got {n} and {len(referred)}."
        )
    share = int(referred.sum()) / n
    expert = (25 + 397 * share - 1718 * share**2 + 11296 * share**4) * n
    treated, missed = int((referred & abnormal).sum()), int((~referred & abnormal).sum())
    return float((10 * n + expert + 10_000 * treated + 50_000 * missed) / n)


def roc_pr_2022(truth: Array, score: FloatArray) -> tuple[float | None, float | None]:
    """(AUROC by trapezoids, AUPRC by steps) over distinct scores, as the official code; None where one is undefined."""
    truth = np.asarray(truth, dtype=bool)
    values, inverse = np.unique(-np.asarray(score, dtype=np.float64), return_inverse=True)
    hits = np.concatenate(
        [[0], np.cumsum(np.bincount(inverse, weights=truth, minlength=len(values)))]
    )
    seen = np.concatenate([[0], np.cumsum(np.bincount(inverse, minlength=len(values)))])
    positive, negative = hits[-1], seen[-1] - hits[-1]
    if positive == 0:
        return None, None
    tpr = hits / positive
    auprc = float((np.diff(tpr) * hits[1:] / seen[1:]).sum())
    if negative == 0:
        return None, auprc
    tnr = 1 - (seen - hits) / negative
    return float((0.5 * np.diff(tpr) * (tnr[1:] + tnr[:-1])).sum()), auprc


def _macro(name: str, values: Sequence[float | None]) -> float:
    there = [v for v in values if v is not None]
    if not there:
        raise UndefinedError(f"{name} does not exist for any class of these patients.")
    return float(np.mean(there))


def _score_2022(
    classes: tuple[str, ...],
    weights: Sequence[float],
    labels: Array,
    outputs: Array,
    scores: FloatArray,
    cost: float,
) -> Score2022:
    counts = confusion(labels, outputs)
    curves = [roc_pr_2022(labels[:, k], scores[:, k]) for k in range(len(classes))]
    rows, columns, hits = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    f = tuple(
        float(2 * h / (r + c)) if r + c else None
        for h, r, c in zip(hits, rows, columns, strict=True)
    )
    recall = tuple(float(h / c) if c else None for h, c in zip(hits, columns, strict=True))
    auroc, auprc = tuple(a for a, _ in curves), tuple(p for _, p in curves)
    return Score2022(
        classes,
        _macro("AUROC", auroc),
        _macro("AUPRC", auprc),
        _macro("F-measure", f),
        float(hits.sum() / counts.sum()),
        weighted_accuracy(labels, outputs, weights),
        cost,
        auroc,
        auprc,
        f,
        recall,
    )


def challenge2022(
    murmur: Array,
    outcome: Array,
    murmur_chosen: Array,
    outcome_chosen: Array,
    murmur_scores: FloatArray,
    outcome_scores: FloatArray,
) -> tuple[Score2022, Score2022]:
    """Score an entry as the official code does: (murmur, outcome).

    murmur, outcome: one-hot truth (n, 3) in the order of MURMUR and (n, 2) in the order of OUTCOME; a row without one
    active class counts as Present or Abnormal. ``_chosen``: the answers, likewise. ``_scores``: any finite numbers.
    Both costs are of the true *outcome*; Unknown is referred to the expert as Present is.
    """
    parts = (murmur, outcome, murmur_chosen, outcome_chosen, murmur_scores, outcome_scores)
    shapes = [np.shape(part) for part in parts]
    n = len(murmur)
    if n == 0 or shapes != [(n, 3), (n, 2)] * 3:
        raise UndefinedError(
            f"Challenge 2022 needs (n, 3) murmurs and (n, 2) outcomes with n > 0, got {shapes}."
        )
    if not all(np.isfinite(np.asarray(part, dtype=np.float64)).all() for part in parts):
        raise UndefinedError("Challenge 2022 needs finite labels and scores.")
    murmur, outcome, murmur_chosen, outcome_chosen = map(enforce_positives, parts[:4])
    sick = outcome[:, 0]
    heard = _score_2022(
        MURMUR,
        (5, 3, 1),
        murmur,
        murmur_chosen,
        np.asarray(murmur_scores, dtype=np.float64),
        cost_2022(sick, ~murmur_chosen[:, 2]),
    )
    ill = _score_2022(
        OUTCOME,
        (5, 1),
        outcome,
        outcome_chosen,
        np.asarray(outcome_scores, dtype=np.float64),
        cost_2022(sick, outcome_chosen[:, 0]),
    )
    return heard, ill
