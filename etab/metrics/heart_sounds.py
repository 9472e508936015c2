"""Metrics of heart sounds: the scores of CinC 2016, of the Challenge 2022, and of heart states.

Some read columns beyond truth and score, and exist only for tables that have them, so that no other
board gains or changes a number:

* ``answer``: the class decided, by a rule that was chosen on training folds only (0.5 of two
  classes: unsure),
* ``group``: the database of a recording, for means over databases,
* ``clean``: 1 where the reference calls the signal good, 0 where it calls it poor, -1 where it
  does not say,
* ``outcome``: 1 where the whole examination was abnormal; costs are of the outcome, whatever was
  predicted.

Classes are numbered as tasks number them: of murmurs 0 Present, 1 Unknown, 2 Absent; of outcomes 0
Normal, 1 Abnormal.
"""

from __future__ import annotations

import numpy as np

from etab.metrics.base import METRICS, Metric, metric_of_patients
from etab.metrics.basic import auroc
from etab.metrics.challenge2022 import class_f_measure, mean_cost
from etab.metrics.cinc2016 import TRAINING_2016, official_share, phase1_share
from etab.metrics.columns import ScoredRows
from etab.metrics.forms import Form, MakeForm, Sums, Units, mean_of, mean_of_forms
from etab.types import Array, Kind

__all__ = ["METRICS", "STATE_COLUMNS", "TIMING_COLUMNS"]

_MURMUR_WEIGHTS = (5.0, 3.0, 1.0)  # Present, Unknown, Absent
_OUTCOME_WEIGHTS = (1.0, 5.0)  # Normal, Abnormal
_REFERRED_BUT = 2  # Absent
_UNSURE = 0.5

_BINARY = (Kind.BINARY,)
_CLASSES = (Kind.BINARY, Kind.CLASSES)
_BOTH = "abnormal and normal rows"


def _phase1(rows: ScoredRows, units: Units, of_class: Array) -> Sums:
    answer = rows["answer"]
    return phase1_share(answer == rows["truth"], answer == _UNSURE, of_class, units)


def _phase1_mean(rows: ScoredRows, units: Units) -> Form:
    abnormal = rows["truth"] == 1
    of_abnormal = _phase1(rows, units, abnormal)
    of_normal = _phase1(rows, units, ~abnormal)
    return mean_of_forms([of_abnormal, of_normal])


def _official(rows: ScoredRows, units: Units, *, abnormal: bool) -> Sums:
    if abnormal:
        shares = (TRAINING_2016.abnormal_clean, TRAINING_2016.abnormal_noisy)
    else:
        shares = (TRAINING_2016.normal_clean, TRAINING_2016.normal_noisy)
    answer = rows["answer"]
    right = answer == rows["truth"]
    # Recordings without a mark of quality were withdrawn from the challenge and not scored.
    marked = rows["clean"] >= 0
    of_class = marked & ((rows["truth"] == 1) == abnormal)
    return official_share(right, answer == _UNSURE, of_class, rows["clean"] == 1, shares, units)


def _mean_over_databases(
    rows: ScoredRows,
    units: Units,
    make: MakeForm,
) -> Form:
    """Mean of a metric over databases; one without both classes has no value and is left out."""
    forms = []
    for name in np.unique(rows["group"]):
        of_database = rows["group"] == name
        forms.append(make(rows.select(of_database), units.select(of_database)))
    return mean_of_forms(forms, skip_undefined=True)


@metric_of_patients(
    "macro_macc",
    "MAcc (phase-1 rule), mean over databases",
    _BINARY,
    better=1,
    best=1.0,
    worst=0.0,
    needs=("answer", "group"),
    condition=_BOTH,
)
def macro_macc(rows: ScoredRows, units: Units) -> Form:
    """Mean over databases of ``macc``.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _mean_over_databases(rows, units, _phase1_mean)


@metric_of_patients(
    "macro_auroc",
    "AUROC, mean over databases",
    _BINARY,
    better=1,
    best=1.0,
    worst=0.0,
    needs=("group",),
    condition=f"{_BOTH} in one fold",
    within_folds=True,
)
def macro_auroc(rows: ScoredRows, units: Units) -> Form:
    """Mean over databases of the area under the ROC curve within folds.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _mean_over_databases(rows, units, auroc.prepared)


@metric_of_patients(
    "macc",
    "mean of Se and Sp (phase-1 rule)",
    _BINARY,
    better=1,
    best=1.0,
    worst=0.0,
    needs=("answer",),
    condition=_BOTH,
)
def macc(rows: ScoredRows, units: Units) -> Form:
    """Mean of sensitivity and specificity by the rule of the first phase of CinC 2016.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _phase1_mean(rows, units)


@metric_of_patients(
    "se",
    "sensitivity",
    _BINARY,
    better=1,
    best=1.0,
    worst=0.0,
    needs=("answer",),
    condition="abnormal rows",
)
def se(rows: ScoredRows, units: Units) -> Form:
    """Share of abnormal rows that are answered so; an unsure answer is half right.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _phase1(rows, units, rows["truth"] == 1)


@metric_of_patients(
    "sp",
    "specificity",
    _BINARY,
    better=1,
    best=1.0,
    worst=0.0,
    needs=("answer",),
    condition="normal rows",
)
def sp(rows: ScoredRows, units: Units) -> Form:
    """Share of normal rows that are answered so; an unsure answer is half right.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _phase1(rows, units, rows["truth"] != 1)


@metric_of_patients(
    "macc_2016",
    "MAcc (official rule, weights of the training set)",
    _BINARY,
    better=1,
    best=1.0,
    worst=0.0,
    needs=("answer", "clean"),
    condition=_BOTH,
)
def macc_2016(rows: ScoredRows, units: Units) -> Form:
    """Mean of sensitivity and specificity by the official rule of CinC 2016.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    of_abnormal = _official(rows, units, abnormal=True)
    of_normal = _official(rows, units, abnormal=False)
    return mean_of_forms([of_abnormal, of_normal])


@metric_of_patients(
    "se_2016",
    "Se (official rule)",
    _BINARY,
    better=1,
    best=1.0,
    worst=0.0,
    needs=("answer", "clean"),
    condition="abnormal rows",
)
def se_2016(rows: ScoredRows, units: Units) -> Form:
    """Sensitivity by the official rule of CinC 2016, with the weights of the training set.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _official(rows, units, abnormal=True)


@metric_of_patients(
    "sp_2016",
    "Sp (official rule)",
    _BINARY,
    better=1,
    best=1.0,
    worst=0.0,
    needs=("answer", "clean"),
    condition="normal rows",
)
def sp_2016(rows: ScoredRows, units: Units) -> Form:
    """Specificity by the official rule of CinC 2016, with the weights of the training set.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _official(rows, units, abnormal=False)


@metric_of_patients(
    "weighted_accuracy",
    "weighted accuracy of the Challenge 2022",
    _CLASSES,
    better=1,
    best=1.0,
    worst=0.0,
    needs=("answer", "outcome"),
)
def weighted_accuracy(rows: ScoredRows, units: Units) -> Form:
    """Accuracy; a Present murmur counts 5, an Unknown one 3, an Abnormal outcome 5.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    by_class = _OUTCOME_WEIGHTS if rows.kind is Kind.BINARY else _MURMUR_WEIGHTS
    importance = np.asarray(by_class)[rows["truth"].astype(int)]
    return mean_of(rows["answer"] == rows["truth"], units, importance)


@metric_of_patients(
    "f_measure",
    "macro F-measure",
    _CLASSES,
    better=1,
    best=1.0,
    worst=0.0,
    needs=("answer",),
)
def f_measure(rows: ScoredRows, units: Units) -> Form:
    """Mean F-measure over the classes; one that is neither true nor answered is left out.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    parts: list[Form] = []
    for k in range(rows.n_classes):
        parts.append(class_f_measure(rows["truth"] == k, rows["answer"] == k, units))
    return mean_of_forms(parts, skip_undefined=True)


@metric_of_patients(
    "cost",
    "mean cost per patient of the Challenge 2022",
    _CLASSES,
    better=-1,
    best=0.0,
    worst=np.inf,
    needs=("answer", "outcome"),
    reached=False,
)
def cost(rows: ScoredRows, units: Units) -> Form:
    """Mean cost per patient: algorithm, expert for those referred, treatment, errors.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    if rows.kind is Kind.BINARY:
        referred = rows["answer"] == 1
    else:
        referred = rows["answer"] != _REFERRED_BUT
    return mean_cost(rows["outcome"] == 1, referred, units)


_STATE_TITLES = {
    "f1_100": "F1 of S1 and S2 at 100 ms, mean over people",
    "se_100": "Se at 100 ms, mean over people",
    "ppv_100": "PPV at 100 ms, mean over people",
    "f1_60": "F1 at 60 ms, mean over people",
    "se_60": "Se at 60 ms, mean over people",
    "ppv_60": "PPV at 60 ms, mean over people",
    "frame_accuracy": "accuracy over annotated frames, mean over people",
}
STATE_COLUMNS = tuple(_STATE_TITLES)
TIMING_COLUMNS = ("s1_found", "s1_error_ms", "s1_late_ms", "s2_found", "s2_error_ms", "s2_late_ms")
"""Columns of the timing of S1 and S2: how many were found, and the mean distance and lateness of
those. Results of the first version of the task lack them."""


def mean_over_people(
    rows: ScoredRows,
    name: str,
    among: Array,
    units: Units,
) -> Sums:
    """Prepare the mean over people of the mean of a column over their recordings.

    Args:
        rows: The table; a row is a recording.
        name: The column.
        among: (n,) bool, the recordings that have a value. A person without any is left out.
        units: The unit of each of the n rows.

    Returns:
        The form; its value is NaN where no person is left.

    Example:
        >>> columns = {"f1_100": np.array([0.5, 1.0, 1.0])}
        >>> rows = ScoredRows(Kind.STATES, columns, np.array(["p1", "p1", "p2"]))
        >>> people = Units(np.array([0, 0, 1]), 2)
        >>> mean_over_people(rows, "f1_100", np.ones(3, dtype=bool), people).value()
        0.875
    """
    _, person = np.unique(rows.patients, return_inverse=True)
    recordings = np.bincount(person, weights=among)
    share = np.where(among, 1 / np.maximum(recordings[person], 1), 0.0)
    return mean_of(rows[name], units, share)


def _mean_of_column(name: str) -> MakeForm:
    """The mean over people of a column that every recording has."""

    def mean(rows: ScoredRows, units: Units) -> Form:
        return mean_over_people(rows, name, np.ones(len(rows), dtype=bool), units)

    return mean


def _state_metric(name: str, title: str) -> Metric:
    return Metric(
        name,
        title,
        frozenset({Kind.STATES}),
        better=1,
        best=1.0,
        worst=0.0,
        needs=frozenset({name}),
        form=_mean_of_column(name),
    )


for _name, _title in _STATE_TITLES.items():
    METRICS.add(_name, _state_metric(_name, _title))
