"""The official scores of heart sounds against their published golden values, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.metrics.challenge2022 import (
    Score2022,
    challenge2022,
    cost_2022,
    enforce_positives,
    roc_pr_2022,
)
from etab.metrics.cinc2016 import (
    TRAINING_2016,
    VALIDATION_2016,
    Weights2016,
    cinc2016,
    cinc2016_phase1,
    shares_2016,
)
from etab.metrics.states import frame_accuracy, segmentation

# (murmur, outcome) -> patients of the public 942
ALL = {"AN": 432, "AA": 263, "PA": 150, "PN": 29, "UA": 43, "UN": 25}


def entry(cells: dict[str, int], murmur: int, outcome: int) -> tuple[Score2022, Score2022]:
    """A constant answer on a cohort given by its counts."""
    rows = [pair for pair, n in cells.items() for _ in range(n)]
    truth_m, truth_o = (
        np.eye(3)[["PUA".index(r[0]) for r in rows]],
        np.eye(2)[["AN".index(r[1]) for r in rows]],
    )
    m, o = np.tile(np.eye(3)[murmur], (len(rows), 1)), np.tile(np.eye(2)[outcome], (len(rows), 1))
    return challenge2022(truth_m, truth_o, m, o, m, o)


GOLDEN = [
    (ALL, 0, 0, 0.4989, 0.1065, 0.8243, 14850.7643, 14850.7643),
    (ALL, 1, 0, 0.1137, 0.0449, 0.8243, 14850.7643, 14850.7643),
    (ALL, 2, 1, 0.3874, 0.2830, 0.1757, 24238.8217, 24238.8217),
]


@pytest.mark.parametrize(
    ("cells", "m", "o", "wacc", "f", "outcome_wacc", "cost", "outcome_cost"), GOLDEN
)
def test_constant_answers_have_the_official_scores(
    cells: dict[str, int],
    m: int,
    o: int,
    wacc: float,
    f: float,
    outcome_wacc: float,
    cost: float,
    outcome_cost: float,
) -> None:
    murmur, outcome = entry(cells, m, o)
    assert murmur.weighted_accuracy == pytest.approx(wacc, abs=5e-5)
    assert murmur.f_measure == pytest.approx(f, abs=5e-5)
    assert outcome.weighted_accuracy == pytest.approx(outcome_wacc, abs=5e-5)
    assert murmur.cost == pytest.approx(cost, abs=5e-5)
    assert outcome.cost == pytest.approx(outcome_cost, abs=5e-5)
    assert (murmur.auroc, outcome.auroc) == (0.5, 0.5)
    assert murmur.auprc == pytest.approx(1 / 3, abs=1e-12)
    assert outcome.auprc == pytest.approx(1 / 2, abs=1e-12)


def test_constant_answers_to_1e9_by_hand() -> None:
    present, absent = entry(ALL, 0, 0), entry(ALL, 2, 1)
    total = 5 * 179 + 3 * 68 + 695
    assert abs(present[0].weighted_accuracy - 5 * 179 / total) < 1e-9
    assert abs(entry(ALL, 1, 0)[0].weighted_accuracy - 3 * 68 / total) < 1e-9
    assert abs(absent[0].weighted_accuracy - 695 / total) < 1e-9
    assert abs(present[1].weighted_accuracy - 5 * 456 / (5 * 456 + 486)) < 1e-9
    assert abs(present[1].cost - (10 + (25 + 397 - 1718 + 11296) + 10_000 * 456 / 942)) < 1e-9
    assert abs(absent[1].cost - (10 + 25 + 50_000 * 456 / 942)) < 1e-9
    f = [2 * 179 / (942 + 179), 0, 0]
    assert abs(present[0].f_measure - sum(f) / 3) < 1e-9


def test_perfect_answers_on_942() -> None:
    rows = [pair for pair, n in ALL.items() for _ in range(n)]
    m, o = np.eye(3)[["PUA".index(r[0]) for r in rows]], np.eye(2)[["AN".index(r[1]) for r in rows]]
    murmur, outcome = challenge2022(m, o, m, o, m, o)
    assert (
        murmur.weighted_accuracy,
        murmur.auroc,
        murmur.auprc,
        murmur.f_measure,
        murmur.accuracy,
    ) == (1, 1, 1, 1, 1)
    assert outcome.cost == pytest.approx(5285.6333, abs=5e-5)
    assert murmur.cost == pytest.approx(16082.8674, abs=5e-5), (
        "the cost of murmurs is of the true outcome"
    )


@pytest.mark.real
def test_constant_answers_on_the_shared_46(real_data: Path) -> None:
    with (real_data / "circor" / "training_data.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells: dict[str, int] = {}
    for row in rows:
        cells[row["Murmur"][0] + row["Outcome"][0]] = (
            cells.get(row["Murmur"][0] + row["Outcome"][0], 0) + 1
        )
    assert sum(cells.values()) == 46
    for m, o, wacc, f, outcome_wacc, cost in (
        (0, 0, 0.6716, 0.1875, 0.8562, 15444.7826),
        (1, 0, 0.1791, 0.0988, 0.8562, 15444.7826),
        (2, 1, 0.1493, 0.2020, 0.1438, 27208.9130),
    ):
        murmur, outcome = entry(cells, m, o)
        assert murmur.weighted_accuracy == pytest.approx(wacc, abs=5e-5)
        assert murmur.f_measure == pytest.approx(f, abs=5e-5)
        assert outcome.weighted_accuracy == pytest.approx(outcome_wacc, abs=5e-5)
        assert murmur.cost == pytest.approx(cost, abs=5e-5)
        assert outcome.cost == pytest.approx(cost, abs=5e-5)


def test_positives_are_enforced() -> None:
    rows = np.array([[0, 0, 0], [1, 1, 0], [0, 1, 0], [1, 1, 1]])
    assert enforce_positives(rows).tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert rows[0].tolist() == [0, 0, 0], "the argument is left alone"


def test_curves_agree_with_scikit_learn_and_keep_absent_classes_out() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(0)
    for _ in range(20):
        truth, score = rng.random(40) < 0.3, rng.integers(0, 8, 40) / 8
        auroc, auprc = roc_pr_2022(truth, score)
        assert auroc == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
        assert auprc == pytest.approx(average_precision_score(truth, score), abs=1e-12)
    assert roc_pr_2022(np.zeros(5), np.arange(5.0)) == (None, None)
    assert roc_pr_2022(np.ones(5), np.arange(5.0)) == (None, 1.0)


def test_cost_of_nobody_is_refused() -> None:
    with pytest.raises(UndefinedError, match="cost needs patients"):
        cost_2022(np.zeros(0), np.zeros(0))
    with pytest.raises(UndefinedError, match=r"\(n, 3\) murmurs"):
        challenge2022(*(np.zeros((0, k)) for k in (3, 2, 3, 2, 3, 2)))
    good = [np.eye(3), np.eye(2)[[0, 1, 1]]] * 3
    good[4] = np.full((3, 3), np.nan)
    with pytest.raises(UndefinedError, match="finite"):
        challenge2022(*good)


# --- CinC 2016 ---


def cohort(ac: int, an: int, nc: int, nn: int) -> tuple[np.ndarray, np.ndarray]:
    truth = np.repeat([1, 1, -1, -1], [ac, an, nc, nn])
    return truth, np.repeat([True, False, True, False], [ac, an, nc, nn])


def test_official_rule_has_the_published_values() -> None:
    truth, clean = cohort(572, 93, 2302, 186)
    for answers, se, sp in (
        (truth, 1, 1),
        (0 * truth + 1, 1, 0),
        (0 * truth - 1, 0, 1),
        (0 * truth, 93 / 665, 186 / 2488),
    ):
        score = cinc2016(truth, answers, clean)
        assert score.se == pytest.approx(se, abs=1e-9)
        assert score.sp == pytest.approx(sp, abs=1e-9)
        assert score.macc == pytest.approx((se + sp) / 2, abs=1e-9)
    unsure = cinc2016(truth, 0 * truth, clean, TRAINING_2016)
    assert (round(unsure.se, 4), round(unsure.sp, 4), round(unsure.macc, 4)) == (
        0.1398,
        0.0748,
        0.1073,
    )
    assert shares_2016(truth, clean).abnormal_clean == pytest.approx(
        TRAINING_2016.abnormal_clean, abs=1e-12
    )
    assert [
        round(w, 4) for w in (VALIDATION_2016.abnormal_clean, VALIDATION_2016.normal_noisy)
    ] == [0.7881, 0.0533]


def test_unsure_is_right_on_noisy_records_only() -> None:
    truth = np.array([1, 1, 1, 1, -1, -1, -1, -1])
    clean = np.array([1, 1, 0, 0, 1, 1, 0, 0])
    answers = np.array([1, 0, 0, -1, 1, -1, 0, 0])
    score = cinc2016(truth, answers, clean)
    assert score.se == pytest.approx(0.5 * 1 / 2 + 0.5 * 1 / 2)
    assert score.sp == pytest.approx(0.5 * 1 / 2 + 0.5 * 1.0)


def test_weights_are_an_argument_and_empty_strata_are_dropped() -> None:
    truth, clean = np.array([1, 1, -1, -1]), np.array([1, 0, 1, 1])
    answers = np.array([1, -1, -1, 1])
    assert cinc2016(truth, answers, clean, Weights2016(0.9, 0.1, 0.9, 0.1)).se == pytest.approx(0.9)
    score = cinc2016(truth, answers, clean, Weights2016(0.9, 0.1, 0.9, 0.1))
    assert score.sp == pytest.approx(0.5)
    assert score.weights == Weights2016(0.9, 0.1, 1.0, 0.0)
    clear = cinc2016(truth, answers, np.ones(4))
    assert clear.macc == pytest.approx(0.5 * (0.5 + 0.5)), "all clean: balanced accuracy"


def test_first_phase_counts_unsure_half() -> None:
    truth = np.array([1, 1, -1, -1])
    assert cinc2016_phase1(truth, 0 * truth).macc == 0.5
    score = cinc2016_phase1(truth, np.array([1, 0, -1, 1]))
    assert (score.se, score.sp, score.macc) == (0.75, 0.5, 0.625)


@pytest.mark.parametrize(
    ("truth", "answers", "said"),
    [
        ([], [], "got none"),
        ([1, -1], [1, 2], "answers are -1, 0, 1; got"),
        ([1, 0], [1, 1], "truth are -1, 1; got"),
        ([1, -1], [1], "one answer a record"),
    ],
)
def test_2016_refuses(truth: list[int], answers: list[int], said: str) -> None:
    for rule in (lambda a, b: cinc2016_phase1(a, b), lambda a, b: cinc2016(a, b, np.ones(len(a)))):
        with pytest.raises(UndefinedError, match=said):
            rule(np.array(truth), np.array(answers))


@pytest.mark.parametrize("absent", [1, -1])
def test_2016_without_a_class_gives_the_score_of_the_other(absent: int) -> None:
    truth = np.full(4, -absent)
    answers = np.array([-absent, -absent, absent, 0])
    clean = np.array([1, 1, 1, 0])
    for score, share in (
        (cinc2016_phase1(truth, answers), 0.625),
        (cinc2016(truth, answers, clean), 0.75),
    ):
        defined, undefined = (score.sp, score.se) if absent == 1 else (score.se, score.sp)
        assert defined == pytest.approx(share)
        assert undefined is None
        assert score.macc is None


def test_2022_without_a_class_gives_the_scores_that_exist() -> None:
    """As the official script: nan for AUROC, numbers for the rest."""
    murmur = np.eye(3)[[2, 2, 2, 2]]
    outcome = np.eye(2)[[1, 1, 1, 1]]
    chosen = np.eye(3)[[2, 2, 0, 2]]
    of_murmur, of_outcome = challenge2022(murmur, outcome, chosen, outcome, chosen, outcome)
    assert of_murmur.auroc is None
    assert of_outcome.auroc is None
    assert of_murmur.weighted_accuracy == pytest.approx(0.75)
    assert of_murmur.auprc is not None
    assert of_outcome.accuracy == 1.0
    assert of_outcome.cost == pytest.approx(10 + 25)


# --- segmentation ---


def beats(n: int = 12, start: int = 0) -> np.ndarray:
    """Beats of 6 frames S1, 10 systole, 5 S2, 22 diastole."""
    return np.roll(np.tile(np.repeat([0, 1, 2, 3], [6, 10, 5, 22]), n), start)


@pytest.mark.parametrize(
    ("shift", "at60", "at100"), [(0, 1, 1), (2, 1, 1), (3, 1, 1), (4, 0, 1), (5, 0, 1), (6, 0, 0)]
)
def test_tolerances_are_whole_frames(shift: int, at60: int, at100: int) -> None:
    truth = beats()
    truth[:30] = truth[-30:] = -1
    moved = beats(start=shift)
    for tolerance, wanted in ((60, at60), (100, at100)):
        score = segmentation(truth, moved, tolerance_ms=tolerance)
        assert (score.se, score.ppv, score.f1) == (wanted, wanted, wanted), tolerance


def test_state_must_agree_and_centres_are_halves() -> None:
    truth = beats()
    swapped = np.array([2, 1, 0, 3])[truth]
    assert segmentation(truth, swapped).f1 == 0
    wide = truth.copy()
    for first in np.flatnonzero(np.diff(truth, prepend=3) == -3):
        wide[first + 6 : first + 13] = 0  # 7 frames longer: the centre moves by 3.5
    assert segmentation(truth, wide).se == pytest.approx(0.5)


def test_two_counts_and_one_to_one() -> None:
    truth = np.repeat([3, 0, 3], [20, 6, 20])
    twice = np.repeat([3, 0, 1, 0, 3], [20, 2, 2, 2, 20])
    both = segmentation(truth, twice)
    assert (both.se, both.ppv) == (1.0, 1.0), (
        "as Schmidt counts, both predictions are near the one sound"
    )
    once = segmentation(truth, twice, one_to_one=True)
    assert (once.se, once.ppv) == (1.0, 0.5)


def test_only_annotated_frames_count() -> None:
    truth = beats()
    predicted = truth.copy()
    truth[200:] = -1
    predicted[210:] = 0
    assert frame_accuracy(truth, predicted) == 1.0
    assert segmentation(truth, predicted).f1 == 1.0
    predicted[:100] = 1
    assert frame_accuracy(truth, predicted) == 0.5 + (truth[:100] == 1).sum() / 200


def test_segmentation_refuses() -> None:
    truth = beats()
    assert segmentation(truth, np.full_like(truth, 3)).ppv == 0.0
    with pytest.raises(UndefinedError, match="nothing to score"):
        frame_accuracy(np.full(9, -1), np.zeros(9))
    with pytest.raises(UndefinedError, match="No S1 or S2"):
        segmentation(np.full(9, 3), np.zeros(9))
    with pytest.raises(UndefinedError, match="0 to 3"):
        segmentation(truth + 1, truth)
    with pytest.raises(UndefinedError, match="prediction"):
        frame_accuracy(truth, truth[1:])
    with pytest.raises(UnsupportedOptionError, match="multiple of 10"):
        segmentation(truth, truth, tolerance_ms=45)
