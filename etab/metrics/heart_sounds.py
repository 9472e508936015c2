"""The scores of heart sounds as metrics of the board, each with its form under weights of patients (for intervals).

A metric that needs columns beyond truth and score exists only for tasks whose tables have them, so that no other board
gains or changes a number:

answer   the class decided, by a rule that was chosen on training folds only (0.5 of two classes: unsure)
group    the database of a recording, for means over databases
clean    1 where the reference calls the signal good, 0 where it calls it poor
outcome  1 where the whole examination was abnormal: costs are of the outcome, whatever was asked
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from etab.errors import UndefinedError
from etab.metrics.base import METRICS, Columns, Metric
from etab.metrics.basic import binary_auroc
from etab.metrics.cinc2016 import TRAINING_2016
from etab.types import Array, FloatArray, Kind

__all__ = ["METRICS", "STATE_COLUMNS", "WEIGHTED"]

STATE_COLUMNS = ("f1_100", "se_100", "ppv_100", "f1_60", "se_60", "ppv_60", "frame_accuracy")
Weighted = Callable[[Columns, FloatArray], FloatArray]

_MURMUR_WEIGHTS = (5.0, 3.0, 1.0)  # Present, Unknown, Absent
_OUTCOME_WEIGHTS = (1.0, 5.0)  # Normal, Abnormal
_REFERRED_BUT = 2  # Absent
_WEIGHTED: dict[str, Weighted] = {}
WEIGHTED: Mapping[str, Weighted] = MappingProxyType(_WEIGHTED)


def _add(
    name: str,
    title: str,
    kinds: tuple[Kind, ...],
    needs: tuple[str, ...],
    better: int,
    function: Weighted,
    *,
    best: float = 1.0,
    worst: float = 0.0,
    unit: str = "",
    reached: bool = True,
) -> None:
    """Register a metric by its weighted form: the value is that of weights 1, and does not exist where that is NaN."""

    def value(columns: Columns, patients: Array) -> float:
        found = float(function(columns, np.ones((1, len(patients))))[0])
        if not np.isfinite(found):
            raise UndefinedError(
                f"{name} does not exist for these {len(patients)} rows: a class is missing."
            )
        return found

    METRICS.add(
        name,
        Metric(
            name,
            title,
            frozenset(kinds),
            better,
            best,
            worst,
            unit,
            value,
            frozenset(needs),
            reached,
        ),
    )
    _WEIGHTED[name] = function


def _ratio(a: FloatArray, b: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(b > 0, a / b, np.nan)


def _share(hit: Array, among: Array, w: FloatArray) -> FloatArray:
    """Weighted share of ``hit`` (n,) in 0..1 among the rows ``among``: one number a row of weights."""
    return _ratio(w @ (hit * among), w @ among.astype(np.float64))


def _right(columns: Columns) -> FloatArray:
    """How right each answer of two classes is: 1, 0, or 0.5 where it is unsure (the rule of the first phase)."""
    unsure = columns["answer"] == 0.5
    return np.where(unsure, 0.5, columns["answer"] == columns["truth"])


def _se(columns: Columns, w: FloatArray) -> FloatArray:
    return _share(_right(columns), columns["truth"] == 1, w)


def _sp(columns: Columns, w: FloatArray) -> FloatArray:
    return _share(_right(columns), columns["truth"] != 1, w)


def _macc(columns: Columns, w: FloatArray) -> FloatArray:
    return (_se(columns, w) + _sp(columns, w)) / 2


def _official(positive: bool) -> Weighted:
    """Se or Sp of the official phase of CinC 2016: unsure is right on a poor signal and wrong on a clean one."""
    shares = TRAINING_2016
    clean, poor = (
        (shares.abnormal_clean, shares.abnormal_noisy)
        if positive
        else (shares.normal_clean, shares.normal_noisy)
    )

    def function(columns: Columns, w: FloatArray) -> FloatArray:
        mine, good = (columns["truth"] == 1) == positive, columns["clean"] == 1
        right, unsure = columns["answer"] == columns["truth"], columns["answer"] == 0.5
        first, second = _share(right, mine & good, w), _share(right | unsure, mine & ~good, w)
        total = clean * np.isfinite(first) + poor * np.isfinite(second)
        return _ratio(clean * np.nan_to_num(first) + poor * np.nan_to_num(second), total)

    return function


def _macc_2016(columns: Columns, w: FloatArray) -> FloatArray:
    return (_official(True)(columns, w) + _official(False)(columns, w)) / 2


def _macro(function: Weighted) -> Weighted:
    """Mean over databases; one without both classes has no score and is left out."""

    def mean(columns: Columns, w: FloatArray) -> FloatArray:
        values = []
        for name in np.unique(columns["group"]):
            rows = columns["group"] == name
            values.append(function({k: v[rows] for k, v in columns.items()}, w[:, rows]))
        there = np.isfinite(values)
        return _ratio(np.nan_to_num(values).sum(axis=0), there.sum(axis=0).astype(np.float64))

    return mean


def _auroc(columns: Columns, w: FloatArray) -> FloatArray:
    """AUROC with ties counted half; rows of weight 0 do not take part."""
    truth, score = columns["truth"] == 1, columns["score"]
    if len(w) == 1 and (w == 1).all():
        return np.array(
            [np.nan if truth.all() or not truth.any() else binary_auroc(columns["truth"], score)]
        )
    wins = (score[truth][:, None] > score[~truth]) + 0.5 * (score[truth][:, None] == score[~truth])
    a, b = w[:, truth], w[:, ~truth]
    return _ratio(((a @ wins) * b).sum(axis=1), a.sum(axis=1) * b.sum(axis=1))


def _classes(columns: Columns) -> int:
    return 2 if "score" in columns else sum(name.startswith("score_") for name in columns)


def _weighted_accuracy(columns: Columns, w: FloatArray) -> FloatArray:
    scale = np.asarray(_OUTCOME_WEIGHTS if "score" in columns else _MURMUR_WEIGHTS)[
        columns["truth"].astype(int)
    ]
    return _share(columns["answer"] == columns["truth"], np.ones(len(scale), dtype=bool), w * scale)


def _f_measure(columns: Columns, w: FloatArray) -> FloatArray:
    """Macro F-measure; a class that is neither true nor answered has none and is left out, as in the official code."""
    parts = []
    for k in range(_classes(columns)):
        true, said = columns["truth"] == k, columns["answer"] == k
        parts.append(
            _ratio(2 * (w @ (true & said)), w @ true.astype(float) + w @ said.astype(float))
        )
    return _ratio(np.nan_to_num(parts).sum(axis=0), np.isfinite(parts).sum(axis=0).astype(float))


def _cost(columns: Columns, w: FloatArray) -> FloatArray:
    """Mean cost per patient of the Challenge 2022: the algorithm, the expert for whom it refers, treatment, errors."""
    referred = columns["answer"] == 1 if "score" in columns else columns["answer"] != _REFERRED_BUT
    sick, n = columns["outcome"] == 1, w.sum(axis=1)
    share = _ratio(w @ referred.astype(float), n)
    expert = 25 + 397 * share - 1718 * share**2 + 11296 * share**4
    treated, missed = _ratio(w @ (referred & sick), n), _ratio(w @ (~referred & sick), n)
    return 10 + expert + 10_000 * treated + 50_000 * missed


def _mean_of(name: str) -> Weighted:
    return lambda columns, w: _ratio(w @ columns[name], w.sum(axis=1))


_B, _C = (Kind.BINARY,), (Kind.BINARY, Kind.CLASSES)
_add(
    "macro_macc",
    "MAcc (phase-1 rule), mean over databases",
    _B,
    ("answer", "group"),
    1,
    _macro(_macc),
)
_add("macro_auroc", "AUROC, mean over databases", _B, ("group",), 1, _macro(_auroc))
_add("macc", "mean of Se and Sp (phase-1 rule)", _B, ("answer",), 1, _macc)
_add("se", "sensitivity", _B, ("answer",), 1, _se)
_add("sp", "specificity", _B, ("answer",), 1, _sp)
_add(
    "macc_2016",
    "MAcc (official rule, weights of the training set)",
    _B,
    ("answer", "clean"),
    1,
    _macc_2016,
)
_add("se_2016", "Se (official rule)", _B, ("answer", "clean"), 1, _official(True))
_add("sp_2016", "Sp (official rule)", _B, ("answer", "clean"), 1, _official(False))
_add(
    "weighted_accuracy",
    "weighted accuracy of the Challenge 2022",
    _C,
    ("answer", "outcome"),
    1,
    _weighted_accuracy,
)
_add("f_measure", "macro F-measure", _C, ("answer",), 1, _f_measure)
_add(
    "cost",
    "mean cost per patient of the Challenge 2022",
    _C,
    ("answer", "outcome"),
    -1,
    _cost,
    best=0.0,
    worst=np.inf,
    unit="",
    reached=False,
)
for _name, _words in zip(
    STATE_COLUMNS,
    (
        "F1 of S1 and S2 at 100 ms",
        "Se at 100 ms",
        "PPV at 100 ms",
        "F1 at 60 ms",
        "Se at 60 ms",
        "PPV at 60 ms",
        "accuracy over annotated frames",
    ),
    strict=True,
):
    _add(_name, _words, (Kind.STATES,), (_name,), 1, _mean_of(_name))
