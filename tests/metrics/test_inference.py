"""Two estimands in closed form: patients with all their rows and repeats, and training draws on top of them."""

from __future__ import annotations

import inspect
import math
from dataclasses import astuple, replace

import numpy as np
import pytest
from scipy import stats as scipy_stats

from etab.errors import UndefinedError
from etab.metrics import inference, least
from etab.metrics.base import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.design import FoldDesign
from etab.metrics.forms import RowsOnly, Units
from etab.metrics.inference import Precision, paired_test, precision_of
from etab.metrics.intervals import interval_of_encoder
from etab.testing.metrics import sample
from etab.types import Kind

FIVE = FoldDesign(n_fold=5, repeats=1, test_share=0.25)
ONE = FoldDesign(n_fold=1, repeats=1, test_share=0.5)


def rows_of(
    errors: np.ndarray,
    patients: np.ndarray,
    folds: np.ndarray | None = None,
    repeats: np.ndarray | None = None,
) -> ScoredRows:
    """A table whose MAE is the mean of ``errors``."""
    columns = {"truth": np.zeros(len(errors)), "score": np.asarray(errors, dtype=float)}
    return ScoredRows(Kind.VALUE, columns, patients, folds, repeats)


def cross_validated(
    n: int, repeats: int, rng: np.random.Generator, *, per_patient: int = 1
) -> ScoredRows:
    """Errors of n patients in five folds, several times."""
    names = np.repeat([f"p{i:03d}" for i in range(n)], per_patient)
    errors, folds, numbers = [], [], []
    for repeat in range(repeats):
        order = rng.permutation(n) % 5
        errors.append(np.abs(rng.normal(5, 2, n * per_patient)))
        folds.append(np.repeat([f"fold{k}" for k in order], per_patient))
        numbers.append(np.full(n * per_patient, repeat))
    return rows_of(
        np.concatenate(errors),
        np.tile(names, repeats),
        np.concatenate(folds),
        np.concatenate(numbers),
    )


def precision(rows: ScoredRows, design: FoldDesign) -> Precision:
    return precision_of("mae", rows, np.unique(rows.patients), design)


def test_the_variance_of_a_mean_is_that_of_textbooks() -> None:
    errors = np.abs(np.random.default_rng(0).normal(5, 2, 40))
    part = precision(rows_of(errors, np.arange(40).astype(str)), ONE)
    assert part.patient_variance == pytest.approx(errors.var(ddof=1) / 40)
    assert part.degrees == 39


@pytest.mark.parametrize("kind", [Kind.MASK, Kind.VALUE, Kind.BINARY, Kind.CLASSES])
def test_ten_copies_of_every_row_are_no_more_patients(kind: Kind) -> None:
    metric = {Kind.MASK: "dice", Kind.VALUE: "mae"}.get(kind, "auroc")
    columns, patients = sample(kind, np.random.default_rng(1))
    order = np.unique(patients)
    many = {name: np.repeat(values, 10) for name, values in columns.items()}
    one = precision_of(metric, ScoredRows(kind, columns, patients), order, ONE)
    ten = precision_of(metric, ScoredRows(kind, many, np.repeat(patients, 10)), order, ONE)
    assert ten.patient_variance == pytest.approx(one.patient_variance, rel=1e-9)
    assert ten.encoder_variance == pytest.approx(one.encoder_variance, rel=1e-9)


def test_repeats_of_the_same_predictions_are_no_more_patients() -> None:
    once = cross_validated(50, 1, np.random.default_rng(2))
    four = rows_of(
        np.tile(once["score"], 4),
        np.tile(once.patients, 4),
        np.tile(once.folds, 4),
        np.repeat(np.arange(4), 50),
    )
    design = replace(FIVE, repeats=4)
    assert precision(four, design).patient_variance == pytest.approx(
        precision(once, FIVE).patient_variance
    )


def test_repeats_with_noise_of_their_own_are_averaged() -> None:
    rows = cross_validated(60, 8, np.random.default_rng(3))
    single = precision(rows.select(rows.repeats == 0), FIVE).patient_variance
    assert precision(rows, replace(FIVE, repeats=8)).patient_variance < single / 4


@pytest.mark.parametrize("repeats", [1, 5])
def test_the_noise_of_an_encoder_is_that_of_one_division(repeats: int) -> None:
    """By hand: the mean variance over patients within a repeat, times the factor of the design."""
    rows = cross_validated(50, repeats, np.random.default_rng(4), per_patient=2)
    errors = rows["score"].reshape(repeats, 50, 2).mean(axis=2)
    variance = (errors.var(axis=1, ddof=1) / 50).mean()
    # Patients are predicted anew in each repeat: what that moves is more than the measured share.
    away = (errors - errors.mean(axis=1, keepdims=True)) / np.sqrt(50 * 49)
    shown = 1.25 * away.var(axis=0, ddof=1).sum() if repeats > 1 else 0.0
    part = precision(rows, replace(FIVE, repeats=repeats))
    # One division adds what the draw of its folds moves; repeats average that away.
    more = 0.15 if repeats == 1 else 0.0
    wanted = variance + max(variance * 1.25 * (0.12 + more), shown)
    assert part.encoder_variance == pytest.approx(wanted)
    assert part.encoder_difference_variance == pytest.approx(variance * (1 + 1.25 * (0.3 + more)))
    assert part.encoder_variance >= 1.06 * part.patient_variance


def test_predictions_that_change_from_fit_to_fit_are_noise_of_the_encoder() -> None:
    steady = cross_validated(60, 1, np.random.default_rng(3))
    rng = np.random.default_rng(4)
    names = [np.tile(values, 5) for values in (steady.patients, steady.folds)]
    variances = []
    for size in (0.0, 2.0):
        errors = np.tile(steady["score"], 5) + size * rng.standard_normal(300)
        rows = rows_of(errors, *names, np.repeat(np.arange(5), 60))
        part = precision(rows, replace(FIVE, repeats=5))
        variances.append(part.encoder_variance / part.patient_variance)
    assert variances[0] == pytest.approx(1.15)
    assert variances[1] > 1.5


def test_what_divisions_differ_by_is_added_where_it_is_more_than_the_measured_share() -> None:
    """By hand: 1.25 times the variance of each patient's part over the divisions, summed."""
    rng = np.random.default_rng(9)
    fixed = rng.normal(size=40)
    for size in (0.05, 1.5):
        moves = fixed + size * rng.normal(size=(5, 40))
        part = Precision(moves, replace(FIVE, repeats=5), 40)
        within = np.square(moves).sum(axis=1).mean()
        shown = sum(np.var(moves[:, i], ddof=1) for i in range(40))
        assert part.division_variance == pytest.approx(shown)
        wanted = max(1.15 * within, within + 1.25 * shown)
        assert part.encoder_variance == pytest.approx(wanted)
        assert (part.encoder_variance > 1.151 * within) == (size > 1)
        assert part.encoder_difference_variance == pytest.approx(1.375 * within)
    assert Precision(fixed[None], FIVE, 40).division_variance == 0


@pytest.mark.parametrize("value", [0.5, 0.66, 0.95, 0.999])
def test_the_interval_of_an_area_stays_between_0_and_1_without_being_cut(value: float) -> None:
    low, high = interval_of_encoder("auroc", value, 1.5 * value * (1 - value))
    assert 0 < low < value < high < 1
    odds = [share / (1 - share) for share in (low, value, high)]
    assert odds[1] / odds[0] == pytest.approx(odds[2] / odds[1])
    # Where the interval is narrow it is Student's.
    close = interval_of_encoder("auroc", value, 1e-6)
    assert close == pytest.approx((value - 1e-6, value + 1e-6), abs=1e-8)


def test_the_interval_of_an_area_does_not_hold_nearly_every_area() -> None:
    """Of fifty people, one is out of order in one of five divisions: the area is 0.99."""
    answers = np.repeat([1.0, 0.0], [15, 35])
    folds = np.concatenate([np.arange(15) % 5, np.arange(35) % 5]).astype(str)
    scores = np.tile(answers, (5, 1))
    scores[0, 0] = -1
    columns = {"truth": np.tile(answers, 5), "score": scores.ravel()}
    names = np.tile(np.arange(50).astype(str), 5)
    rows = ScoredRows(Kind.BINARY, columns, names, np.tile(folds, 5), np.repeat(np.arange(5), 50))
    value = METRICS["auroc"].value(rows)
    part = precision_of("auroc", rows, np.unique(names), replace(FIVE, repeats=5))
    half = float(inference.half_widths(np.array(part.encoder_variance), part.degrees))
    low, high = interval_of_encoder("auroc", value, half)
    assert 0.97 < value < 1
    assert low == pytest.approx(value - 3 * half)
    assert value < high <= 1


@pytest.mark.parametrize(
    ("metric", "value", "wanted"),
    [("auroc", 1.0, (0.9, 1.0)), ("dice", 0.95, (0.85, 1.0)), ("mae", 0.05, (0.0, 0.15))],
)
def test_other_intervals_end_at_the_limits_of_the_metric(
    metric: str, value: float, wanted: tuple[float, float]
) -> None:
    assert interval_of_encoder(metric, value, 0.1) == pytest.approx(wanted)


def test_intervals_of_areas_cover_where_few_patients_are_nearly_all_in_order() -> None:
    """Fixed scores of 17 and 33 people with an AUROC of 0.95: Student's interval covers 84 %."""
    rng = np.random.default_rng(1)
    answers = np.repeat([1.0, 0.0], [17, 33])
    names = np.arange(50).astype(str)
    design = FoldDesign(n_fold=1, repeats=1, test_share=0.0)
    covered = []
    for _ in range(150):
        scores = rng.normal(size=50) + 1.6449 * np.sqrt(2) * answers
        rows = ScoredRows(Kind.BINARY, {"truth": answers, "score": scores}, names)
        part = precision_of("auroc", rows, np.unique(names), design)
        half = float(inference.half_widths(np.array(part.encoder_variance), 49))
        low, high = interval_of_encoder("auroc", METRICS["auroc"].value(rows), half)
        covered.append(low <= 0.95 <= high)
    assert 0.9 <= np.mean(covered) <= 0.98


def test_one_split_adds_the_measured_share_of_its_test_patients() -> None:
    errors = np.abs(np.random.default_rng(5).normal(5, 2, 30))
    part = precision(rows_of(errors, np.arange(30).astype(str)), ONE)
    assert part.encoder_variance == pytest.approx(1.06 * part.patient_variance)
    assert part.encoder_difference_variance == pytest.approx(1.15 * part.patient_variance)


def test_left_out_databases_count_as_much_as_nadeau_and_bengio_say() -> None:
    rows = cross_validated(50, 1, np.random.default_rng(6))
    databases = precision(rows, replace(FIVE, alike=False))
    wanted = 2.25 * databases.patient_variance
    assert databases.encoder_variance == pytest.approx(wanted)
    assert databases.encoder_difference_variance == pytest.approx(wanted)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_sum_has_the_largest_test_share_of_its_parts(order: tuple[int, int]) -> None:
    """Otherwise the first task of a group would decide the noise of all of them."""
    errors = np.abs(np.random.default_rng(5).normal(5, 2, 30))
    rows = rows_of(errors, np.arange(30).astype(str))
    parts = [precision(rows, replace(ONE, test_share=share)) for share in (0.1, 0.5)]
    whole = inference.combined([parts[i] for i in order], [0.5, 0.5])
    assert whole.encoder_variance == pytest.approx(1.06 * parts[0].patient_variance)


def test_shared_noise_cancels_in_a_difference() -> None:
    rows = cross_validated(50, 1, np.random.default_rng(7))
    shifted = rows_of(rows["score"] + 0.1, rows.patients, rows.folds)
    for design in (None, FIVE):
        test = paired_test("mae", shifted, rows, design)
        assert test.difference == pytest.approx(0.1)
        assert test.p < 1e-6
        assert test.high - test.low < 1e-6


def test_pairs_at_once_are_pairs_one_by_one() -> None:
    rng = np.random.default_rng(8)
    design = FoldDesign(n_fold=5, repeats=3, test_share=0.25)
    parts = [Precision(0.05 * rng.normal(size=(3, 20)), design, 20) for _ in range(4)]
    encoder = inference.paired_variances(parts)
    patients = inference.paired_patient_variances(parts)
    for i, one in enumerate(parts):
        for j, other in enumerate(parts):
            between = inference.combined([one, other], [1, -1])
            assert encoder[i, j] == pytest.approx(between.encoder_difference_variance)
            assert patients[i, j] == pytest.approx(between.patient_variance)


@pytest.mark.parametrize("apart", [1.0, 1e-6, 1e-12, 0.0])
def test_close_values_keep_the_digits_of_their_difference(apart: float) -> None:
    rng = np.random.default_rng(11)
    base = rng.normal(size=(2, 30))
    people = [base, base + apart * rng.normal(size=(2, 30)), rng.normal(size=(2, 30))]
    design = FoldDesign(n_fold=5, repeats=2, test_share=0.25)
    parts = [Precision(of_one, design, 30) for of_one in people]
    variances = inference.paired_patient_variances(parts)
    for i, one in enumerate(people):
        for j, other in enumerate(people):
            expected = np.square(one.mean(axis=0) - other.mean(axis=0)).sum()
            assert variances[i, j] == pytest.approx(expected, rel=1e-9, abs=1e-40)


def test_classes_are_tested_like_two_classes() -> None:
    """The same probabilities give the same test, whichever of the two kinds a table is of."""
    rng = np.random.default_rng(9)
    truth = rng.integers(0, 2, 80).astype(float)
    patients = np.arange(80).astype(str)
    pairs = []
    for kind in (Kind.BINARY, Kind.CLASSES):
        tables = []
        for noise in (1.0, 3.0):
            p = 1 / (1 + np.exp(-(2 * truth - 1 + noise * np.sin(np.arange(80) * noise))))
            scores = {"score": p} if kind is Kind.BINARY else {"score_0": 1 - p, "score_1": p}
            tables.append(ScoredRows(kind, {"truth": truth, **scores}, patients))
        pairs.append(paired_test("auroc", *tables))
    assert astuple(pairs[0]) == pytest.approx(astuple(pairs[1]))


@pytest.mark.parametrize("kind", [Kind.MASK, Kind.VALUE, Kind.BINARY, Kind.CLASSES])
def test_a_paired_test_keeps_its_size_and_finds_a_gap(kind: Kind) -> None:
    metric = {Kind.MASK: "dice", Kind.VALUE: "mae"}.get(kind, "auroc")
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        a, patients = sample(kind, rng)
        b, _ = sample(kind, rng)
        if "truth" in a:
            a, b = _regraded(kind, a, rng), _regraded(kind, a, rng)
        p.append(
            paired_test(metric, ScoredRows(kind, a, patients), ScoredRows(kind, b, patients)).p
        )
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.1
    better, patients = sample(kind, np.random.default_rng(1), error=0.2)
    worse, _ = sample(kind, np.random.default_rng(1), error=1.5)
    test = paired_test(
        metric, ScoredRows(kind, better, patients), ScoredRows(kind, worse, patients)
    )
    assert test.p < 0.05
    assert test.difference * METRICS[metric].better > 0


def _regraded(
    kind: Kind, columns: dict[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    truth = columns["truth"]
    if kind is Kind.VALUE:
        return {"truth": truth, "score": truth + rng.normal(0, 8, len(truth))}
    if kind is Kind.BINARY:
        logits = truth * 2 - 1 + rng.normal(0, 1.5, len(truth))
        return {"truth": truth, "score": 1 / (1 + np.exp(-logits))}
    classes = sum(name.startswith("score_") for name in columns)
    logits = 1.5 * np.eye(classes)[truth.astype(int)] + rng.normal(0, 1.5, (len(truth), classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return {"truth": truth, **{f"score_{k}": p[:, k] for k in range(classes)}}


def test_no_draw_can_decide_a_test() -> None:
    for function in (paired_test, precision_of, inference.two_sided_p, inference.p_above):
        assert not {"rng", "seed", "n", "draws"} & set(inspect.signature(function).parameters)


def test_p_is_the_tail_of_student() -> None:
    p = inference.two_sided_p(np.array([1.0, -2.0, 0.0, 0.3]), np.array([1.0, 4.0, 0.0, 0.0]), 12)
    tail = 2 * scipy_stats.t.sf(1.0, 12)
    assert p == pytest.approx([tail, tail, 1.0, 0.0])
    above = inference.p_above(np.array([1.0, -1.0, 0.0, 0.3]), np.array([1.0, 1.0, 0.0, 0.0]), 12)
    assert above == pytest.approx([1 - tail / 2, tail / 2, 0.5, 1.0])


def test_what_has_no_noise_is_refused() -> None:
    columns = {"truth": np.r_[1.0, np.zeros(9)], "score": np.linspace(1, 0, 10)}
    rows = ScoredRows(Kind.BINARY, columns, np.array([f"p{i}" for i in range(10)]))
    with pytest.raises(
        UndefinedError, match=r"auroc does not exist without p0: .* too few patients"
    ):
        precision_of("auroc", rows, rows.patients, ONE)
    lonely = rows_of(np.ones(2), np.array(["a", "a"]))
    with pytest.raises(UndefinedError, match="at least two of them, got 1"):
        precision(lonely, ONE)


def test_a_fold_without_the_metric_is_left_out() -> None:
    rng = np.random.default_rng(10)
    truth = np.r_[np.zeros(12), np.ones(12), np.zeros(6)]
    folds = np.array([f"fold{k}" for k in [0, 1] * 12 + [2] * 6])
    columns = {"truth": truth, "score": rng.random(30)}
    rows = ScoredRows(Kind.BINARY, columns, np.arange(30).astype(str), folds)
    part = precision_of("auroc", rows, np.unique(rows.patients), FoldDesign(3, 1, 0.5))
    assert math.isfinite(part.encoder_variance)


DECIDED = sorted(name for name in METRICS if METRICS[name].of_decisions)


def answered(answers: np.ndarray, truth: np.ndarray, repeats: int = 1) -> ScoredRows:
    """Decided classes of one row a person, in several divisions that decide alike."""
    names = np.tile([f"p{i:03d}" for i in range(len(truth))], repeats)
    columns = {"truth": truth, "score": answers, "answer": answers, "outcome": truth}
    tiled = {name: np.tile(values, repeats).astype(float) for name, values in columns.items()}
    return ScoredRows(Kind.BINARY, tiled, names, None, np.repeat(np.arange(repeats), len(truth)))


def noise_of(metric: str, rows: ScoredRows, design: FoldDesign) -> Precision:
    return precision_of(metric, rows, np.unique(rows.patients), design)


def test_metrics_of_decisions_are_those_that_read_classes() -> None:
    named = {"balanced_accuracy", "macc", "macro_macc", "weighted_accuracy", "f_measure", "cost"}
    assert named <= set(DECIDED)
    assert not {"auroc", "auprc", "macro_auroc", "mae", "dice"} & set(DECIDED)


DECIDES = pytest.mark.parametrize(
    ("metric", "share"), [("balanced_accuracy", 0.5), ("macc", 0.3)], ids=["fixed", "chosen"]
)


@DECIDES
def test_a_constant_is_as_uncertain_as_a_coin(metric: str, share: float) -> None:
    """Every patient gets the same answer: no patient moves the value, and no interval is a point."""
    truth = np.repeat([0.0, 1.0], [35, 15])
    part = noise_of(metric, answered(np.zeros(50), truth, 5), replace(FIVE, repeats=5))
    coin = 0.25 * (1 / 35 + 1 / 15) / 4
    assert part.patient_variance == part.encoder_difference_variance == 0
    assert part.encoder_variance == pytest.approx((1 + 1.25 * share) * coin)


@DECIDES
def test_decisions_that_are_right_for_most_of_both_classes_keep_their_variance(
    metric: str, share: float
) -> None:
    """Sensitivity and specificity of 0.9. A fixed threshold has a larger training share."""
    truth = np.repeat([0.0, 1.0], 50)
    wrong = np.arange(100) % 10 == 0
    rows = answered(np.where(wrong, 1 - truth, truth), truth, 5)
    part = noise_of(metric, rows, replace(FIVE, repeats=5))
    assert part.patient_variance == pytest.approx(0.09 / 100, rel=0.04)  # the jackknife's is larger
    assert part.encoder_variance == pytest.approx((1 + 1.25 * share) * part.patient_variance)
    assert part.encoder_difference_variance == pytest.approx(1.375 * part.patient_variance)
    other = noise_of("auroc", rows, replace(FIVE, repeats=5))
    assert other.added == 0
    assert other.encoder_variance == pytest.approx(1.15 * other.patient_variance)


def test_a_least_variance_is_no_more_on_top_of_what_divisions_show() -> None:
    """Each division decides by chance: its patients vary by more than the least says."""
    truth = np.tile(np.repeat([0.0, 1.0], 50), 5)
    names = np.tile(np.arange(100).astype(str), 5)
    answers = np.random.default_rng(12).integers(0, 2, 500) * 1.0
    columns = {"truth": truth, "score": answers}
    rows = ScoredRows(Kind.BINARY, columns, names, None, np.repeat(np.arange(5), 100))
    part = noise_of("balanced_accuracy", rows, replace(FIVE, repeats=5))
    within = np.square(part.people).sum() / 5
    assert part.added == 0
    assert part.encoder_variance == pytest.approx(within + 1.25 * part.division_variance)


def test_the_r2_of_a_constant_is_not_certain() -> None:
    truth = np.random.default_rng(13).normal(55, 11, 50)
    columns = {"truth": np.tile(truth, 5), "score": np.full(250, truth.mean())}
    names = np.tile(np.arange(50).astype(str), 5)
    rows = ScoredRows(Kind.VALUE, columns, names, None, np.repeat(np.arange(5), 50))
    part = noise_of("r2", rows, replace(FIVE, repeats=5))
    assert part.patient_variance < 0.01 / 50
    assert part.encoder_variance == pytest.approx(1.15 / 50)
    assert noise_of("r2", rows.select(np.arange(50)), FIVE).encoder_variance == pytest.approx(
        (1 + 1.25 * 0.27) / 50
    )


def test_an_r2_that_explains_more_than_a_quarter_keeps_its_variance() -> None:
    rng = np.random.default_rng(14)
    score = rng.normal(size=400)
    columns = {"truth": score + 0.5 * rng.normal(size=400), "score": score}
    part = noise_of("r2", ScoredRows(Kind.VALUE, columns, np.arange(400).astype(str)), FIVE)
    assert part.added == 0
    assert least.least_variance("mae", ScoredRows(Kind.VALUE, columns, np.arange(400))) is None


def test_what_decisions_add_is_added_to_sums_by_the_square_of_the_weight() -> None:
    truth = np.repeat([0.0, 1.0], [35, 15])
    constant = noise_of("macc", answered(np.zeros(50), truth), FIVE)
    area = noise_of("auroc", answered(np.linspace(0, 1, 50), truth), FIVE)
    both = inference.combined([constant, area], [0.5, -2.0])
    assert constant.added > 0
    wanted = 0.25 * constant.added + 4 * area.encoder_variance
    assert both.encoder_variance == pytest.approx(wanted)
    # A difference of two backbones has its own share and nothing of this.
    assert both.encoder_difference_variance == pytest.approx(4 * area.encoder_difference_variance)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("metric", ["balanced_accuracy", "weighted_accuracy", "f_measure", "cost"])
def test_even_answers_are_those_of_patients_one_at_a_time(metric: str, classes: int) -> None:
    """By hand: all rows right, all wrong, and the rows of each person wrong."""
    rng = np.random.default_rng(classes)
    n = 40
    truth = np.arange(n) % classes * 1.0
    names = np.array([f"p{i // 2:02d}" for i in range(n)])
    outcome = rng.integers(0, 2, n) * 1.0

    def table(answers: np.ndarray) -> ScoredRows:
        columns = {"truth": truth, "answer": answers, "outcome": outcome}
        if classes == 2:
            return ScoredRows(Kind.BINARY, {**columns, "score": answers}, names)
        scores = {f"score_{k}": (answers == k) * 1.0 for k in range(classes)}
        return ScoredRows(Kind.CLASSES, {**columns, **scores}, names)

    value = METRICS[metric].value
    rows = table(rng.integers(0, classes, n) * 1.0)
    wrong = (truth + 1) % classes
    best, worst = value(table(truth)), value(table(wrong))
    moves = [
        value(table(np.where(names == name, wrong, truth))) - best for name in np.unique(names)
    ]
    wanted = 0.0
    if best != worst:
        p = np.clip((value(rows) - worst) / (best - worst), 0, 1)
        wanted = p * (1 - p) * np.square(moves).sum()
    assert least.variance_of_even_answers(metric, rows) == pytest.approx(wanted, rel=1e-9)


def test_a_metric_that_is_no_sum_has_the_same_even_answers() -> None:
    truth = np.repeat([0.0, 1.0, 0.0, 1.0], [7, 3, 3, 7])
    rows = answered(np.repeat([0.0, 1.0, 1.0, 0.0], [7, 3, 3, 7]), truth)
    form = METRICS["macc"].prepared(rows, Units.single_rows(20))
    alike = RowsOnly(lambda weights: form.draws(weights.T), Units.single_rows(20))
    sums, others = (least._values(of, 10) for of in (form, alike))
    assert sums.tolist() == pytest.approx(others.tolist(), rel=1e-12)
