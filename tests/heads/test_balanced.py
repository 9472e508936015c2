"""Logistic regression in balance: neither shares nor databases are learned from their frequency."""

from __future__ import annotations

import numpy as np
import pytest

from etab import heads
from etab.heads.base import Memo
from etab.heads.pooled.balanced import balanced_weights
from etab.splits import row_splits
from etab.types import Array, Features, IntArray, Kind, Target

ABNORMAL = Target("abnormal", Kind.BINARY, "", ("normal", "abnormal"))
SHARES = {"a": 0.85, "b": 0.15, "c": 0.8, "d": 0.1}


def confounded(seed: int) -> tuple[Features, IntArray, Array]:
    """Four databases: one column marks those with many abnormal rows, another one the disease.

    The marker of a left-out database says nothing of its own rows.
    """
    rng = np.random.default_rng(seed)
    groups = np.repeat(list(SHARES), 150)
    share = np.array([SHARES[str(name)] for name in groups])
    classes = (rng.random(len(groups)) < share).astype(np.int64)
    marker = np.where(share > 0.5, 1.0, -1.0) + 0.3 * rng.standard_normal(len(groups))
    disease = classes - 0.5 + 0.8 * rng.standard_normal(len(groups))
    # One column has a million times the deviation of the others: each is measured by itself.
    noise = 1e6 * rng.standard_normal(len(groups))
    x = np.stack([marker, disease, noise], axis=1).astype(np.float32)
    return Features({"x": x}), classes, groups


def macro_macc(name: str, seed: int, with_groups: bool) -> float:
    """Mean over left-out databases of the mean of sensitivity and specificity at 0.5."""
    features, classes, groups = confounded(seed)
    people = np.arange(len(classes)).astype(str)
    splits = row_splits(people, people, protocol="lodo", groups=groups)
    memo = Memo()
    memo.groups = groups if with_groups else None
    rng = np.random.default_rng(0)
    fits = heads.head(name).cross_fit(
        features, classes, people, splits, ABNORMAL, rng=rng, memo=memo
    )
    values = []
    for split, fit in zip(splits, fits, strict=True):
        truth = classes[split.test]
        answers = np.asarray(fit.predictions) >= 0.5
        values.append((answers[truth == 1].mean() + (~answers[truth == 0]).mean()) / 2)
    return float(np.mean(values))


@pytest.mark.parametrize("seed", range(4))
def test_a_left_out_database_is_not_taken_for_its_marker(seed: int) -> None:
    in_balance = macro_macc("logistic_balanced", seed, with_groups=True)
    assert in_balance > 0.65
    assert in_balance > macro_macc("logistic_balanced", seed, with_groups=False) + 0.05
    assert in_balance > macro_macc("logistic", seed, with_groups=True) + 0.05


def test_weights_of_classes_and_of_databases_in_a_class_are_equal() -> None:
    _, classes, groups = confounded(0)
    weights = balanced_weights(classes, groups)
    sums = {
        (one, name): weights[(classes == one) & (groups == name)].sum()
        for one in (0, 1)
        for name in SHARES
    }
    assert np.ptp(list(sums.values())) == pytest.approx(0, abs=1e-9)
    assert weights.mean() == pytest.approx(1)


def test_the_solution_is_scikit_learns() -> None:
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    from etab.heads.pooled.balanced import _solved

    rng = np.random.default_rng(0)
    z = rng.standard_normal((200, 3))
    classes = rng.integers(0, 3, 200)
    weights = balanced_weights(classes, np.zeros(200))
    theta = _solved(z, np.eye(3)[classes], weights / 200, 0.01, np.zeros(12)).reshape(4, 3)
    reference = linear.LogisticRegression(C=1 / (0.01 * 200), max_iter=5000, tol=1e-8)
    reference.fit(z, classes, sample_weight=weights)
    logits = z @ theta[:3] + theta[3]
    mine = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert mine == pytest.approx(reference.predict_proba(z), abs=1e-3)
