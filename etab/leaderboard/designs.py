"""How the patients of a cell were divided into training and test."""

from __future__ import annotations

from functools import lru_cache

from etab.metrics.design import FoldDesign
from etab.results import Predictions, Result
from etab.tasks.codes import parse_code
from etab.tasks.protocols import Protocol, parse
from etab.types import Kind

UNKNOWN_SHARE = 1.0
"""Test share where a record does not say how many patients were trained on: wider than most."""


def design_of(cell: Result, table: Predictions) -> FoldDesign:
    """Read off how the patients of a cell were divided into training and test.

    Args:
        cell: The result.
        table: Its predictions.

    Returns:
        The design. Its test share has one unit on both sides. Databases that are left out one at
        a time are not alike.
    """
    protocol = parse(cell.protocol)
    n_fold = _n_distinct(table.folds)
    code = parse_code(cell.task)
    within = code.dataset == code.test_dataset
    if within and protocol.sort in ("cv", "lodo"):
        share = _share_of_rotation(protocol, table)
    else:
        share = _share_of_parts(cell, table)
    return FoldDesign(
        n_fold=n_fold,
        repeats=table.n_repeats,
        test_share=share,
        alike=protocol.sort != "lodo",
    )


def _share_of_rotation(protocol: Protocol, table: Predictions) -> float:
    """Test patients over training patients where each fit trains on the patients of all others.

    Rows do not count here: a task may train on recordings and test people. A table in which every
    patient is in every fold says nothing about the training.
    """
    fits = _n_distinct(table.repeats, table.folds)
    tested = _tests_of_people(table)
    others = fits * _n_distinct(table.patients) - tested
    if others <= 0:
        return UNKNOWN_SHARE
    if protocol.percent:
        return tested / (others * protocol.percent / 100)
    if protocol.shots:
        return tested / (fits * protocol.shots * _n_classes(table))
    return tested / others


def _tests_of_people(table: Predictions) -> int:
    """Number of test patients, summed over the fits."""
    return _n_distinct(table.repeats, table.folds, table.patients)


@lru_cache(maxsize=256)
def _n_distinct(*columns: tuple[object, ...]) -> int:
    """Number of different rows of some columns, counted once for the tables of all backbones."""
    return len(set(zip(*columns, strict=True)))


def _n_classes(table: Predictions) -> int:
    """Number of classes of which shots are drawn; 1 where a patient has rows of several classes."""
    if table.kind not in (Kind.BINARY, Kind.CLASSES):
        return 1
    truth = table.columns["truth"]
    class_of: dict[str, float] = {}
    for patient, answer in zip(table.patients, truth.tolist(), strict=True):
        if class_of.setdefault(patient, answer) != answer:
            return 1
    return len(set(class_of.values()))


def _share_of_parts(cell: Result, table: Predictions) -> float:
    """Test share of published parts and lists, and of training on another dataset.

    Training patients are in no table. A row of the table is a row of training, unless the task
    combines rows: the record then holds the number of training patients.
    """
    fits = len(set(zip(table.repeats, table.folds, strict=True)))
    if cell.n_train_patients:
        return _tests_of_people(table) / fits / cell.n_train_patients
    if cell.settings.get("aggregate"):
        return UNKNOWN_SHARE
    return len(table.items) / fits / cell.n_train
