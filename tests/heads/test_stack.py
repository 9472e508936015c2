"""The stacked probe: closed forms equal scikit-learn, weights are chosen inside, and a constant is
the answer where nothing helps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from etab import heads
from etab.heads.base import Memo
from etab.heads.pooled import kernel_fits, moment_fits, shared_fits, stack
from etab.heads.pooled.candidates import (
    LARGEST,
    candidates_of,
    inverse_deviations,
    sum_and_difference,
)
from etab.heads.pooled.combine import PRIOR, BelowCut, ClassWeights, ValueWeights
from etab.heads.pooled.kernel_fits import KernelFits, Prepared
from etab.heads.pooled.moment_fits import MomentFits
from etab.splits import row_splits
from etab.types import Array, Cut, Features, FloatArray, Kind, RowSplit, Target

N = 90
TRAIN = np.arange(N) % 5 != 0
VALUE = Target("EF", Kind.VALUE)
BINARY = Target("CM", Kind.BINARY, classes=("no", "yes"))
BELOW_50 = Target("CM", Kind.BINARY, classes=("no", "yes"), cut=Cut("EF", 50.0))
CLASSES = Target("view", Kind.CLASSES, classes=("a", "b", "c"))


def _awkward(kind: str) -> Array:
    """Features (N, 16) of each awkward kind; two frames of 8 columns side by side."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((N, 16))
    if kind == "rank-deficient":
        x = rng.standard_normal((N, 3)) @ rng.standard_normal((3, 16))
    if kind == "constant columns":
        x[:, [0, 3, 8, 11]] = [1000.1, 0.0, 1000.1, 0.0]
    if kind == "collinear":
        x[:, 1] = 2 * x[:, 0]
        x[:, 9] = 2 * x[:, 8]
    if kind == "badly scaled":
        x *= np.tile(np.logspace(-6, 6, 8), 2)
    if kind == "far from 0":
        x += 300
    return x.astype(np.float32)


def _columns(x: Array, train: Array, *, standardised: bool, frames: int) -> FloatArray:
    """What a candidate fits, by scikit-learn alone."""
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    z = np.asarray(x, dtype=np.float64)
    if standardised and frames == 2:
        z = sum_and_difference(z)
    scaler = preprocessing.StandardScaler(with_std=standardised).fit(z[train])
    z = scaler.transform(z)
    return np.clip(z, -LARGEST, LARGEST) if standardised else z


def _fits(way: str, x: Array, split: RowSplit, standardised: bool, frames: int) -> Any:
    parts = [np.searchsorted(split.train, part) for part in split.inner]
    if way == "moments":
        return MomentFits.of(
            x,
            split.train,
            split.test,
            parts,
            frames=frames,
            standardise=standardised,
            components=None,
        ), parts
    if standardised:
        prepared = Prepared.of(x, frames)
        return kernel_fits.standardised_fits(prepared, split.train, split.test), parts
    products = kernel_fits.raw_products(x)
    return KernelFits(*kernel_fits.centred(products, split.train, split.test)), parts


def _split() -> RowSplit:
    patients = np.array([f"p{i:02d}" for i in range(N)])
    return row_splits(patients, np.array(["train"] * N), protocol="cv", n_fold=4)[1]


@pytest.mark.parametrize("way", ["kernel", "moments"])
@pytest.mark.parametrize(("standardised", "frames"), [(False, 1), (True, 1), (True, 2)])
@pytest.mark.parametrize(
    "kind",
    ["plain", "rank-deficient", "constant columns", "collinear", "badly scaled", "far from 0"],
)
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_one_candidate_is_the_ridge_of_scikit_learn(
    way: str, standardised: bool, frames: int, kind: str, penalty: float
) -> None:
    """Refits equal scikit-learn to 1e-4 of the answers' deviation, left-out parts to 1e-2."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    x = _awkward(kind)
    split = _split()
    y = np.random.default_rng(5).normal(50, 10, N)
    fits, parts = _fits(way, x, split, standardised, frames)
    z = _columns(x, split.train, standardised=standardised, frames=frames)
    z = z - z[split.train].mean(axis=0)
    absolute = penalty * np.square(z[split.train]).sum() / len(split.train)
    ridge = linear_model.Ridge(alpha=absolute, solver="svd")
    known = y[split.train][:, None]
    ridge.fit(z[split.train], known)
    assert fits.predict(known, penalty) == pytest.approx(
        ridge.predict(z[split.test]).reshape(-1, 1), abs=1e-3
    )
    left_out = fits.left_out(known, parts, penalty)
    for part, rows in zip(parts, split.inner, strict=True):
        others = np.setdiff1d(split.train, rows)
        ridge.fit(z[others], y[others][:, None])
        assert left_out[part] == pytest.approx(ridge.predict(z[rows]).reshape(-1, 1), abs=0.1)


def _made(seed: int = 0, signal: float = 1.0) -> tuple[Features, FloatArray]:
    """A good narrow key, and two wide keys of noise that fit anything."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(N)
    good = signal * truth[:, None] + rng.standard_normal((N, 4))
    noise = {f"noise{k}/cls": rng.standard_normal((N, 300)).astype(np.float32) for k in range(3)}
    return Features({"good/cls": good.astype(np.float32), **noise}), 50 + 10 * truth


def _predict(
    features: Features, y: Any, target: Target, splits: list[RowSplit], memo: Any = None
) -> list[Any]:
    patients = np.array([f"p{i:02d}" for i in range(N)])
    return heads.head("stack").cross_fit(
        features, y, patients, splits, target, rng=np.random.default_rng(0), memo=memo
    )


def test_weights_come_from_predictions_that_were_left_out() -> None:
    features, y = _made()
    fit = _predict(features, y, VALUE, [_split()])[0]
    weights = {name: c["weight"] for name, c in fit.choice["candidates"].items()}
    good = sum(w for name, w in weights.items() if name.startswith("good"))
    assert good > 4 * (sum(weights.values()) - good)
    errors = np.abs(fit.predictions - y[_split().test])
    assert errors.mean() < 0.7 * np.abs(y[_split().test] - np.median(y)).mean()


@pytest.mark.parametrize("target", [VALUE, BINARY, CLASSES])
def test_without_information_the_answer_is_the_constant(target: Target) -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(50, 10, N) if target is VALUE else np.arange(N) % 3 % len(target.classes)
    features = Features({"flat/cls": np.ones((N, 30), np.float32)})
    split = _split()
    fit = _predict(features, y, target, [split])[0]
    if target is VALUE:
        assert fit.predictions == pytest.approx(np.median(y[split.train]), abs=1e-6)
        return
    shares = np.bincount(y[split.train], minlength=len(target.classes)) / len(split.train)
    expected = shares[1] if target is BINARY else shares
    assert np.abs(fit.predictions - expected).max() < 1e-3


def test_with_few_labels_and_no_signal_it_stays_near_the_median() -> None:
    stacked = []
    constant = []
    for seed in range(40):
        features, y = _made(seed, signal=0.0)
        rng = np.random.default_rng(seed)
        train = np.sort(rng.permutation(N)[:12])
        test = np.setdiff1d(np.arange(N), train)
        split = RowSplit(train, tuple(train[k::3] for k in range(3)), test)
        fit = _predict(features, y, VALUE, [split])[0]
        stacked.append(np.abs(fit.predictions - y[test]).mean())
        constant.append(np.abs(np.median(y[train]) - y[test]).mean())
    assert np.mean(stacked) < 1.04 * np.mean(constant)


@pytest.mark.parametrize("n", [3, 30, 3000])
def test_the_prior_counts_as_much_as_a_fixed_number_of_rows(n: int) -> None:
    y = np.linspace(-1, 1, n)
    fitted = ValueWeights.fit(np.stack([y, y], axis=1), y)
    assert fitted.weights.sum() == pytest.approx(n / (n + PRIOR), rel=1e-6)
    label = (y > 0).astype(float)[:, None]
    scores = np.stack([0.5 + 0.1 * y[:, None]] * 2, axis=1)
    assert ClassWeights.fit(scores, label, np.ones(n)).weights.sum() < 4 * np.sqrt(n / PRIOR)


def test_weights_are_never_negative() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(50, 10, 60)
    against = np.stack([100 - y, y + rng.normal(0, 5, 60)], axis=1)
    assert ValueWeights.fit(against, y).weights[0] == 0
    label = (y > 50).astype(float)[:, None]
    scores = np.stack([1 - label, 0.5 * label + 0.25 + rng.normal(0, 0.1, label.shape)], axis=1)
    fitted = ClassWeights.fit(scores, label, np.ones(60))
    assert fitted.weights[0] == 0
    assert fitted.weights[1] > 0


@pytest.mark.parametrize("width", [12, 200])
@pytest.mark.parametrize("frames", [1, 2])
def test_test_rows_decide_nothing_for_each_other(width: int, frames: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((N, width)).astype(np.float32)
    y = 50 + 10 * x[:, 0] + rng.standard_normal(N)
    split = _split()
    moved = x.copy()
    moved[split.test[::2]] = 1000 * moved[split.test[::2]] + 500
    before = _predict(Features({"a/cls": x}, frames=frames), y, VALUE, [split])[0]
    other = y.copy()
    other[split.test] = 0
    after = _predict(Features({"a/cls": moved}, frames=frames), other, VALUE, [split])[0]
    assert after.predictions[1::2] == pytest.approx(before.predictions[1::2], abs=1e-2)
    assert after.choice["candidates"].keys() == before.choice["candidates"].keys()


@pytest.mark.parametrize("width", [12, 200])
def test_a_column_that_hardly_varies_in_training_decides_no_prediction(width: int) -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal((N, width)).astype(np.float32)
    split = _split()
    y = 50 + 10 * x[:, 1] + rng.standard_normal(N)
    x[:, 0] = 1e-4 * y
    x[split.test[0], 0] = 30.0
    fit = _predict(Features({"a/cls": x}), y, VALUE, [split])[0]
    candidate = fit.choice["candidates"]["a/cls standardised"]
    fits, _ = _fits("moments" if width == 12 else "kernel", x, split, True, 1)
    predicted = fits.predict(y[split.train][:, None], candidate["penalty"])
    assert 0 < predicted[0, 0] < 150


def test_two_frames_are_offered_as_sum_and_difference() -> None:
    """A small difference between two large frames is found by the standardised candidate."""
    rng = np.random.default_rng(7)
    first = 30 * rng.standard_normal((N, 60))
    change = rng.standard_normal(N)
    second = first + 0.3 * change[:, None] * rng.standard_normal(60)
    x = np.concatenate([first, second], axis=1).astype(np.float32)
    y = 50 + 10 * change
    split = _split()
    errors = {}
    for frames in (1, 2):
        fit = _predict(Features({"a/cls": x}, frames=frames), y, VALUE, [split])[0]
        errors[frames] = np.abs(fit.predictions - y[split.test]).mean()
    assert errors[2] < 0.5 * errors[1]


def test_a_mean_beside_its_grid_is_left_out() -> None:
    x = np.zeros((4, 2))
    keys = ("s8/mean", "s8/grid4", "s16/mean", "b/cls", "b/mean/mean", "b/mean/mean+std")
    names = {candidate.key for candidate in candidates_of(Features(dict.fromkeys(keys, x)))}
    assert names == {"s8/grid4", "s16/mean", "b/cls", "b/mean/mean+std"}


@pytest.mark.parametrize("target", [VALUE, BINARY])
def test_a_shared_memo_changes_nothing(target: Target) -> None:
    features, y = _made()
    label = (y > 50).astype(int)
    answers = y if target is VALUE else label
    memo = Memo()
    _predict(features, 100 - y, VALUE, [_split()], memo)
    shared = _predict(features, answers, target, [_split()], memo)[0]
    alone = _predict(features, answers, target, [_split()])[0]
    assert np.array_equal(shared.predictions, alone.predictions)
    assert any(place[0] == "stack" for place in memo if isinstance(place, tuple))


def _predict_below_50(
    features: Features, y: FloatArray, splits: list[RowSplit], *, balanced: bool = False
) -> list[Any]:
    memo = Memo()
    memo.cut_values = y
    memo.balanced = balanced
    return _predict(features, (y < 50).astype(int), BELOW_50, splits, memo)


def test_classes_that_are_cut_from_a_value_are_ranked_as_by_the_value() -> None:
    """EF below 50 has the order of the answers for EF turned round, in every test fold."""
    features, y = _made()
    people = np.arange(N).astype(str)
    splits = row_splits(people, people, protocol="cv", seed=3)
    values = _predict(features, y, VALUE, splits)
    classes = _predict_below_50(features, y, splits)
    labels_alone = _predict(features, (y < 50).astype(int), BELOW_50, splits)
    for value, below, alone in zip(values, classes, labels_alone, strict=True):
        assert below.choice["fitted_on"] == "EF"
        assert (np.argsort(below.predictions) == np.argsort(-value.predictions)).all()
        assert "fitted_on" not in alone.choice
        assert (np.argsort(alone.predictions) != np.argsort(-value.predictions)).any()


def test_the_values_of_test_rows_decide_no_class() -> None:
    features, y = _made()
    split = _split()
    other = y.copy()
    other[split.test] = y[split.test][::-1]
    found = [_predict_below_50(features, values, [split])[0].predictions for values in (y, other)]
    assert np.array_equal(*found)


@pytest.mark.parametrize("balanced", [False, True])
def test_a_constant_says_the_share_of_a_class_that_is_cut(balanced: bool) -> None:
    """Whatever the values are: to the digits that a stored table keeps."""
    features = Features({"flat/cls": np.full((N, 30), 7.1, np.float32)})
    y = 50 + 10 * np.random.default_rng(2).standard_normal(N) ** 3
    split = _split()
    (fit,) = _predict_below_50(features, y, [split], balanced=balanced)
    share = 0.5 if balanced else float((y[split.train] < 50).mean())
    assert np.ptp(fit.predictions) == 0
    assert fit.predictions == pytest.approx(share, abs=1e-7)


@pytest.mark.parametrize("side", ["all below", "none below"])
def test_training_rows_on_one_side_of_the_cut(side: str) -> None:
    features, y = _made()
    y = y - 100 if side == "all below" else y + 100
    (fit,) = _predict_below_50(features, y, [_split()])
    assert np.isfinite(fit.predictions).all()
    assert ((fit.predictions > 0.9) == (side == "all below")).all()


def test_the_probability_of_a_cut_is_a_logistic_regression() -> None:
    """Without the prior on its slope, which is weak; it never rises with the value."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(6)
    value = rng.normal(55, 9, 4000)
    below = (value + rng.normal(0, 6, 4000) < 50).astype(float)
    found = BelowCut.fit(value, below, np.ones(4000))(value)[:, 0]
    expected = linear_model.LogisticRegression(C=1e6, tol=1e-8).fit(value[:, None], below)
    assert found == pytest.approx(expected.decision_function(value[:, None]), abs=0.05)
    turned = BelowCut.fit(-value, below, np.ones(4000))
    assert not turned.classes.weights.any()
    assert np.ptp(turned(-value)) == 0


def test_the_version_of_the_probe_tells_classes_that_are_cut_from_others() -> None:
    head = heads.head("stack")
    assert head.version_of(BINARY) == head.version_of(VALUE) == head.version
    assert head.version_of(BELOW_50) == head.version + 1


def test_memory_that_is_shared_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    features, y = _made()
    whole = _predict(features, y, VALUE, [_split()])[0]
    monkeypatch.setattr(shared_fits, "SHARED_BYTES", 0)
    memo = Memo()
    fit = _predict(features, y, VALUE, [_split()], memo)[0]
    assert np.array_equal(fit.predictions, whole.predictions)
    assert not any(place[0] == "stack" for place in memo if isinstance(place, tuple))


def test_balanced_classes_answer_both_classes_under_another_prevalence() -> None:
    rng = np.random.default_rng(8)
    label = (rng.random(N) < 0.15).astype(int)
    x = (label[:, None] + rng.standard_normal((N, 5))).astype(np.float32)
    memo = Memo()
    plain = _predict(Features({"a/cls": x}), label, BINARY, [_split()])[0].predictions
    memo.balanced = True
    balanced = _predict(Features({"a/cls": x}), label, BINARY, [_split()], memo)[0].predictions
    assert plain.mean() < 0.3
    assert 0.3 < balanced.mean() < 0.7


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("target", "n_classes"), [(BINARY, 2), (CLASSES, 3)])
def test_a_constant_has_one_score_in_every_balanced_fit(
    target: Target, n_classes: int, seed: int
) -> None:
    """A threshold that is chosen on inner parts must find the same constant in the test rows."""
    label = (np.random.default_rng(seed).random(N) * n_classes).astype(int)
    memo = Memo()
    memo.balanced = True
    constant = Features({"facts/all": np.full((N, 3), 7.1, dtype=np.float32)})
    people = np.arange(N).astype(str)
    splits = row_splits(people, people, protocol="cv", seed=seed)
    for fit in _predict(constant, label, target, splits, memo):
        assert fit.choice["candidates"] == {}
        assert (fit.predictions == np.round(1 / n_classes, 7)).all()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5])
def test_without_weights_the_intercepts_are_those_of_the_shares(share: float) -> None:
    """To the last digit: a search would be off by its tolerance, differently in every split."""
    onehot = np.zeros((200, 1))
    onehot[: int(200 * share)] = 1
    away_from_truth = 0.4 - 0.3 * onehot[:, None]
    fitted = ClassWeights.fit(away_from_truth, onehot, np.ones(200))
    assert not fitted.weights.any()
    assert fitted.intercepts[0] == np.log(fitted.shares[0] / (1 - fitted.shares[0]))


def test_a_feature_that_only_marks_the_inner_parts_has_no_weight() -> None:
    """Its predictions of the parts follow the values there, and those of other rows are a guess."""
    split = _split()
    marks = np.zeros((N, 1), dtype=np.float32)
    for k, part in enumerate(split.inner):
        marks[part] = k
    y = marks[:, 0] + 0.01 * np.random.default_rng(3).standard_normal(N)
    (fit,) = _predict(Features({"part/mark": marks}), y, VALUE, [split])
    assert fit.choice["candidates"] == {}
    assert np.ptp(fit.predictions) == 0


@pytest.mark.parametrize("target", [VALUE, BINARY, CLASSES])
def test_moments_and_kernels_answer_alike(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    features, y = _made()
    features = Features({"good/cls": features.pooled["good/cls"]})
    if target is not VALUE:
        y = np.digitize(y, [50] if target is BINARY else [45, 55])
    moments = _predict(features, y, target, [_split()])[0].predictions
    monkeypatch.setattr(shared_fits, "_narrow", lambda *_: False)
    kernels = _predict(features, y, target, [_split()])[0].predictions
    scale = 10.0 if target is VALUE else 1.0
    assert np.abs(moments - kernels).max() < 1e-3 * scale


def test_rounding_makes_no_system_singular() -> None:
    """A shift below the rounding of single precision is solved in double precision."""
    matrix = np.ones((40, 40)) * 1e4
    y = np.random.default_rng(9).standard_normal((40, 1))
    solved = kernel_fits.solve_shifted(matrix.astype(np.float32), 1e-4, y.astype(np.float32))
    assert np.isfinite(solved).all()
    assert np.isfinite(moment_fits._solve(matrix.astype(np.float32), y, 1e-4)).all()


@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_products_with_test_rows_are_those_that_are_not_computed(shift: float) -> None:
    """Predictions by columns are those by all inner products, where values are limited too."""
    rng = np.random.default_rng(11)
    x = (shift + rng.standard_normal((60, 3000)) * np.logspace(-2, 2, 3000)).astype(np.float32)
    x[:, 7] = shift
    # Of most columns, one training row is far out: limited columns do not have a mean of 0.
    x[3, :2500] += 300
    train = np.arange(40)
    test = np.arange(40, 60)
    y = rng.standard_normal((40, 2))
    prepared = Prepared.of(x, 1)
    whole = KernelFits(*kernel_fits.standardised_parts(prepared, train, test))
    later = kernel_fits.standardised_fits(prepared, train, test)
    for penalty in (1e-3, 1.0, 1e3):
        assert np.abs(later.predict(y, penalty) - whole.predict(y, penalty)).max() < 1e-5


@pytest.mark.parametrize("target", [VALUE, BINARY])
def test_columns_are_prepared_once_for_all_repeats(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(12)
    features = Features({"wide/cls": rng.standard_normal((60, 200)).astype(np.float32)})
    y = features.pooled["wide/cls"][:, 0].astype(np.float64)
    if target is not VALUE:
        y = np.digitize(y, [0])
    memo = Memo()
    calls: list[int] = []
    real = shared_fits.Prepared.of
    monkeypatch.setattr(shared_fits.Prepared, "of", lambda *x: calls.append(1) or real(*x))
    for seed in range(2):
        memo.forget_fits()
        train = np.random.default_rng(seed).permutation(len(y))
        split = RowSplit(np.sort(train[20:]), (train[20:30], train[30:]), train[:20], "fold0")
        stack.Stack().cross_fit(
            features,
            y,
            np.arange(len(y)),
            [split],
            target,
            rng=np.random.default_rng(0),
            memo=memo,
        )
    assert len(calls) == 1


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e9])
@pytest.mark.parametrize("copies", [2, 9])
def test_predictions_far_larger_than_the_answers_and_equal_to_each_other(
    scale: float, copies: int
) -> None:
    """The matrix of products of such predictions is singular up to rounding."""
    y = np.full(12, 50.0)
    y[0] += scale * 1e-9
    away = 1e6 * scale * np.random.default_rng(0).standard_normal((12, 1))
    fitted = ValueWeights.fit(50 + np.repeat(away, copies, axis=1), y)
    assert np.isfinite(fitted(50 + np.repeat(away, copies, axis=1))).all()
    assert (fitted.weights >= 0).all()


def test_a_column_that_varies_by_rounding_alone_is_constant() -> None:
    """One over its deviation would turn rounding errors into a feature."""
    column = np.full(7, 0.1)
    column[3] = np.nextafter(0.1, 1)
    assert column.std() > 0
    variance = np.array([column.var(), 4.0])
    factors = inverse_deviations(variance, np.array([column.mean(), 1.0]))
    assert factors.tolist() == [0.0, 0.5]
