"""The diagnosis of a study: golden values worked out by hand, thresholds from validation only."""

from __future__ import annotations

import math

import numpy as np
import pytest

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.metrics.diagnosis import (
    Thresholds,
    choose_thresholds,
    diagnose,
    entropy,
    relevance,
    study_balanced_accuracy,
    study_truth,
    upstream_view_accuracy,
)

# Study a: a sure PLAX, a PSAX at 0.9, an apical image. Study b: apical images alone.
STUDIES = ["a", "a", "a", "b", "b"]
VIEWS = np.array(
    [
        [1, 0, 0, 0, 0],
        [0, 0.9, 0.1, 0, 0],
        [0.1, 0, 0.9, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0.2, 0.8, 0, 0],
    ]
)
DIAGNOSES = np.array(
    [[0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.9, 0.1, 0.0], [0.6, 0.2, 0.2], [0.2, 0.4, 0.4]]
)


def test_relevance_and_entropy() -> None:
    assert relevance(VIEWS) == pytest.approx([1, 0.9, 0.1, 0, 0.2])
    assert relevance(VIEWS, (2,)) == pytest.approx([0, 0.1, 0.9, 1, 0.8])
    nat = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert entropy(VIEWS) == pytest.approx(
        [0, nat, nat, 0, -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))]
    )
    assert entropy(np.full((1, 5), 0.2)) == pytest.approx([math.log(5)])


def test_golden_values() -> None:
    """Worked by hand: a is (1.0 x image 1 + 0.9 x image 2) / 1.9; b has no image that qualifies, so the plain mean."""
    found = diagnose(STUDIES, VIEWS, DIAGNOSES, Thresholds(0.8, 1.6))
    assert found.keys == ("a", "b")
    assert found.used.tolist() == [2, 0]
    assert found.scores[0] == pytest.approx([0.29 / 1.9, 0.68 / 1.9, 0.93 / 1.9])
    assert found.scores[1] == pytest.approx([0.4, 0.3, 0.3])
    assert found.answers.tolist() == [2, 0]


def test_each_threshold_acts() -> None:
    strict = diagnose(STUDIES, VIEWS, DIAGNOSES, Thresholds(0.95, 1.6))
    assert strict.used.tolist() == [1, 0]
    assert strict.scores[0] == pytest.approx([0.2, 0.5, 0.3])
    sure = diagnose(STUDIES, VIEWS, DIAGNOSES, Thresholds(0.8, 0.3))
    assert sure.used.tolist() == [1, 0]
    assert diagnose(STUDIES, VIEWS, DIAGNOSES, Thresholds(0.9, 1.6)).used.tolist() == [2, 0], (
        "at least, not above"
    )
    plain = diagnose(STUDIES, VIEWS, DIAGNOSES)
    assert plain.scores[0] == pytest.approx([0.4, 0.8 / 3, 1 / 3])
    assert plain.used.tolist() == [0, 0]


def test_the_order_of_images_does_not_matter() -> None:
    order = [3, 1, 4, 0, 2]
    found = diagnose(
        [STUDIES[i] for i in order], VIEWS[order], DIAGNOSES[order], Thresholds(0.8, 1.6)
    )
    assert found.keys == ("b", "a")
    assert found.scores[1] == pytest.approx([0.29 / 1.9, 0.68 / 1.9, 0.93 / 1.9])


def test_balanced_accuracy_and_the_upstream_variant() -> None:
    """Recalls by hand: PLAX 2/2, PSAX 1/2, A2C 0/1, A4C 1/1, other 1/4."""
    truth = np.array([0, 0, 1, 1, 2, 3, 4, 4, 4, 4])
    answers = np.array([0, 0, 1, 0, 3, 3, 4, 0, 1, 2])
    assert study_balanced_accuracy(truth, answers, 5) == pytest.approx((1 + 0.5 + 0 + 1 + 0.25) / 5)
    assert upstream_view_accuracy(truth, answers, 5) == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    with pytest.raises(UndefinedError, match="got none of class 4"):
        upstream_view_accuracy(truth[:6], answers[:6], 5)


def cohort(seed: int, n: int = 60) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Studies of 8 images: the relevant ones know the diagnosis, the sureness of their view says how well."""
    rng = np.random.default_rng(seed)
    grades = np.arange(n) % 3
    studies, views, p, truth = [], [], [], []
    for i in range(n):
        for _ in range(8):
            r = float(rng.uniform(0.5, 1))
            knows = float(r > 0.9) * 0.8
            studies.append(f"s{i}")
            views.append([r, 0, 1 - r, 0, 0])
            p.append((1 - knows) * rng.dirichlet(np.ones(3)) + knows * np.eye(3)[grades[i]])
            truth.append(grades[i])
    return studies, np.array(views), np.array(p), np.array(truth)


def test_thresholds_are_the_best_and_the_strictest_of_equals() -> None:
    studies, views, p, truth = cohort(0)
    at = choose_thresholds(studies, views, p, truth)
    right = study_truth(studies, truth)

    def value(t: Thresholds) -> float:
        return study_balanced_accuracy(right, diagnose(studies, views, p, t).answers, 3)

    grid = [
        Thresholds(r, e)
        for r in np.round(np.linspace(0.8, 0.99, 20), 2)
        for e in np.round(np.linspace(0, 1.6, 17), 1)
    ]
    best = max(map(value, grid))
    assert value(at) == pytest.approx(best)
    equal = [t for t in grid if value(t) > best - 1e-9]
    assert at.relevance == max(t.relevance for t in equal)
    assert at.entropy == min(t.entropy for t in equal if t.relevance == at.relevance)
    assert value(at) > value(Thresholds(2.0, 0.0)) + 0.1, "better than the plain mean"


def test_refusals() -> None:
    with pytest.raises(UndefinedError, match="Study a has two diagnoses"):
        study_truth(["b", "a", "a"], np.array([1, 0, 2]))
    with pytest.raises(UndefinedError, match="no image at all"):
        diagnose([], np.zeros((0, 5)), np.zeros((0, 3)))
    for views, message in (
        (VIEWS[:3], "wanted one row for each of 5 images"),
        (VIEWS - 1, "not probabilities"),
        (VIEWS * np.nan, "not probabilities"),
        (VIEWS * 0, "not probabilities"),
    ):
        with pytest.raises(UnsupportedOptionError, match=message):
            diagnose(STUDIES, views, DIAGNOSES)
    studies, views, p, truth = cohort(2, 6)
    with pytest.raises(UndefinedError, match="got none of class 2"):
        choose_thresholds(studies[:16], views[:16], p[:16], truth[:16])
