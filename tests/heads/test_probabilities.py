"""Probabilities of heads: the logistic function where float64 can hold it, and an order that is never lost."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from etab import heads
from etab.finetuning.network import class_probabilities as used_by_networks
from etab.heads import probabilities
from etab.heads.probabilities import class_probabilities, probability
from etab.types import Features, Kind, RowSplit, Target


def test_examples_run() -> None:
    assert doctest.testmod(probabilities).attempted > 3
    assert doctest.testmod(probabilities).failed == 0


def test_the_logistic_function_but_for_rounding() -> None:
    z = np.linspace(-60, 60, 2001)
    assert probability(z) == pytest.approx(1 / (1 + np.exp(-z)), abs=2e-11)
    assert probability(z[z < 25]) == pytest.approx(1 / (1 + np.exp(-z[z < 25])), rel=1e-13)


@pytest.mark.parametrize("where", [-2000, -800, -710, -40, 0, 17, 24, 36, 40, 100, 500])
def test_log_odds_that_differ_give_probabilities_that_differ(where: float) -> None:
    z = where + np.linspace(0, 10, 7)
    p = probability(z)
    assert (np.diff(p) > 0).all()
    assert p[0] > 0
    assert p[-1] < 1


def test_infinite_log_odds_are_certain() -> None:
    assert probability(np.array([-np.inf, np.inf])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("shift", [0, 30, 60])
def test_every_class_keeps_its_order(shift: float) -> None:
    z = np.random.default_rng(0).normal(0, 1, (50, 4))
    z[:, 2] += shift
    p = class_probabilities(z)
    assert p.sum(axis=1) == pytest.approx(np.ones(50), abs=1e-10)
    assert len(np.unique(p[:, 2])) == 50
    assert used_by_networks is class_probabilities
    if not shift:
        softmax = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        assert p == pytest.approx(softmax, rel=1e-13)


@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.CLASSES])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_probe_that_is_certain_still_ranks(kind: Kind, side: int, classes: int) -> None:
    if kind is Kind.BINARY and classes == 3:
        return
    rng = np.random.default_rng(0)
    answers = np.arange(60) % classes
    x = np.eye(classes)[answers] @ rng.normal(size=(classes, 3)) * 3
    x += rng.normal(0, 0.01, x.shape)
    far = np.linspace(50, 60, 20)[:, None] * side * (x[answers == 1][0] - x[answers == 0][0])
    rows = np.concatenate([x, x.mean(axis=0) + far])
    answers = np.concatenate([answers, np.arange(20) % classes])
    train = np.arange(60)
    inner = (train[:15], train[15:30], train[30:45], train[45:])
    split = RowSplit(train, inner, np.arange(60, 80), "f")
    names = ("a", "b", "c")[:classes]
    (fit,) = heads.head("logistic").cross_fit(
        Features({"x/mean": rows}),
        answers,
        np.arange(80).astype(str),
        [split],
        Target("t", kind, classes=names),
        rng=rng,
    )
    second = fit.predictions if kind is Kind.BINARY else fit.predictions[:, 1]
    if kind is Kind.BINARY or classes == 2:
        assert (np.diff(second) * side > 0).all()
    else:
        assert len(np.unique(second)) == 20
