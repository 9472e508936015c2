"""The linear mask probe by likelihood: its fits are scikit-learn's, and its choices are made inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from etab import heads
from etab.echo.surface import largest
from etab.heads.base import Memo
from etab.heads.masks import likelihood, minimiser, passes, probe
from etab.heads.masks.likelihood import LogisticFits, Problem
from etab.heads.masks.logistic import LOGISTIC_PENALTIES, MaskLogistic
from etab.heads.masks.moments import Design
from etab.heads.masks.points import Points, sample_points
from etab.heads.masks.probe import best_cut
from etab.splits import row_splits
from etab.storage.memory import Spill
from etab.testing.heads import made_features, made_splits, made_target
from etab.types import Array, Features, FloatArray, Kind, RowSplit

EXACT: dict[str, Any] = {"tolerance": 1e-10, "passes": 400}


def made_design(
    n: int = 24, parts: int = 3, seed: int = 0, shift: float = 0.0
) -> tuple[Design, FloatArray]:
    """Points of two small maps, and shares of a structure that three channels tell of."""
    rng = np.random.default_rng(seed)
    maps = tuple(
        (shift + rng.standard_normal((n, c, s, s))).astype(np.float16) for c, s in ((4, 28), (3, 9))
    )
    points = sample_points(maps, 1 << 30)["point"]
    design = Design(points, np.arange(n) % parts)
    x = design.points.rows(np.arange(n)).copy()
    odds = 1.5 * (x[:, :3] - shift).sum(axis=1) - 2
    share = 1 / (1 + np.exp(-odds)) + 0.3 * rng.standard_normal(len(odds))
    return design, np.clip(share, 0, 1).reshape(n, -1)


def fitted(design: Design, y: FloatArray, problems: list[Problem], **more: Any) -> LogisticFits:
    start = likelihood.least_squares_start(design, design.label(y), y, problems)
    return likelihood.fit_logistic(design, y, problems, start, **(EXACT | more))


def scikit_learns(
    design: Design, y: FloatArray, problem: Problem
) -> tuple[FloatArray, float, FloatArray]:
    """Standardised weights, intercept and features; each point counts once as 1 and once as 0."""
    linear = pytest.importorskip("sklearn.linear_model")
    rows = np.flatnonzero(np.isin(design.parts, problem.parts))
    x = design.points.rows(rows).astype(np.float64)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    share = y[rows].ravel()
    model = linear.LogisticRegression(
        C=1 / (len(x) * problem.penalty), tol=1e-9, max_iter=5000, solver="newton-cholesky"
    )
    label = np.repeat([1, 0], len(x))
    model.fit(np.vstack([x, x]), label, sample_weight=np.r_[share, 1 - share])
    return model.coef_[0], float(model.intercept_[0]), x


@pytest.mark.parametrize(("shift", "tolerance"), [(0.0, 2e-3), (30.0, 1e-2)])
def test_fits_are_those_of_scikit_learn(shift: float, tolerance: float) -> None:
    """Several penalties and training sets at once, in single precision; standardised weights to 1e-3."""
    design, y = made_design(shift=shift)
    problems = [Problem(p, c) for p in ((0, 1), (1, 2), (0, 1, 2)) for c in (0.1, 1e-3, 1e-6)]
    fits = fitted(design, y, problems)
    for i, problem in enumerate(problems):
        weights, intercept, x = scikit_learns(design, y, problem)
        rows = np.flatnonzero(np.isin(design.parts, problem.parts))
        raw = design.points.rows(rows).astype(np.float64)
        odds = raw @ fits.weights[:, i] + fits.intercepts[i]
        assert np.allclose(fits.weights[:, i] * raw.std(axis=0), weights, atol=1e-3)
        assert np.allclose(odds, x @ weights + intercept, atol=tolerance)


def test_the_intercept_is_not_penalised() -> None:
    """With a penalty beyond measure the rate of the structure is left, not one half."""
    design, y = made_design()
    fits = fitted(design, y, [Problem((0, 1, 2), 1e6)])
    assert np.abs(fits.weights).max() < 1e-4
    assert 1 / (1 + np.exp(-fits.intercepts[0])) == pytest.approx(y.mean(), abs=1e-4)


def test_problems_do_not_know_of_each_other() -> None:
    design, y = made_design()
    problems = [Problem((0, 1), 1e-3), Problem((1, 2), 1e-2), Problem((0, 1), 1e-5)]
    together = fitted(design, y, problems)
    for i, problem in enumerate(problems):
        alone = fitted(design, y, [problem])
        assert np.allclose(together.weights[:, i], alone.weights[:, 0], atol=1e-3)
        assert together.intercepts[i] == pytest.approx(alone.intercepts[0], abs=1e-3)


def test_requests_share_a_pass_and_keep_their_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of one and of several fits, on one design and on another, get what they get alone."""
    # These products are small: without a limit they are multiplied together all the same.
    monkeypatch.setattr(passes, "_SMALL", 0)
    rng = np.random.default_rng(0)
    design, y = made_design()
    second, z = made_design(seed=1)

    def request(on: Design, labels: FloatArray, *members: tuple[int, ...]) -> passes.Request:
        columns = {k: np.flatnonzero([k in m for m in members]) for k in range(3)}
        weights = 0.1 * rng.standard_normal((on.width, len(members)))
        shares = labels.astype(np.float32)
        return passes.Request(on, shares, columns, weights, rng.standard_normal(len(members)))

    asked = [
        request(design, y, (0, 1), (1, 2), (0,)),
        request(design, 1 - y, (1,)),
        request(second, z, (0, 2), (0, 1)),
        request(design, y**2, (0, 1, 2), (0, 1)),
    ]
    for together, alone in zip(passes.sums_of(asked), asked, strict=True):
        (expected,) = passes.sums_of([alone])
        assert np.allclose(together.loss, expected.loss, rtol=1e-5)
        assert np.allclose(together.first, expected.first, rtol=1e-4, atol=1e-3)
        assert np.allclose(together.total, expected.total, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("passes", [3, 400])
def test_rows_outside_the_training_set_change_nothing(passes: int) -> None:
    """Not even where a fit stops before the minimum."""
    design, y = made_design()
    other = y.copy()
    other[design.parts == 2] = 1 - other[design.parts == 2]
    problems = [Problem((0, 1), 1e-3)]
    first = fitted(design, y, problems, passes=passes)
    second = fitted(design, other, problems, passes=passes)
    assert np.array_equal(first.weights, second.weights)
    assert np.array_equal(first.intercepts, second.intercepts)


def test_the_start_does_not_decide_the_fit() -> None:
    design, y = made_design()
    problems = [Problem((0, 1, 2), 1e-3)]
    zero = LogisticFits(np.zeros((design.width, 1)), np.zeros(1), np.full(1, np.inf))
    cold = likelihood.fit_logistic(design, y, problems, zero, **EXACT)
    assert np.allclose(cold.weights, fitted(design, y, problems).weights, atol=1e-3)


def test_the_gap_bounds_what_is_left() -> None:
    """After few passes the penalised loss is above the minimum by about the stated gap."""
    design, y = made_design()
    problems = [Problem((0, 1, 2), 1e-4)]

    def loss(fits: LogisticFits) -> float:
        x = design.points.rows(np.arange(len(y))).astype(np.float64)
        odds = x @ fits.weights[:, 0] + fits.intercepts[0]
        mean = (np.logaddexp(0, odds) - y.ravel() * odds).mean()
        scaled = fits.weights[:, 0] * x.std(axis=0)
        return float(mean + 0.5 * problems[0].penalty * np.square(scaled).sum())

    least = loss(fitted(design, y, problems))
    for most in (2, 4, 8):
        early = fitted(design, y, problems, passes=most)
        above = loss(early) - least
        assert above >= -1e-6
        assert above <= 10 * early.gaps[0] + 1e-6


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_training_set_of_one_class_gives_a_constant(value: float) -> None:
    design, y = made_design()
    y = y.copy()
    y[design.parts != 2] = value
    fits = fitted(design, y, [Problem((0, 1), 1e-3), Problem((0, 1, 2), 1e-3)])
    assert not fits.weights[:, 0].any()
    assert 1 / (1 + np.exp(-fits.intercepts[0])) == pytest.approx(value, abs=1e-5)
    assert fits.weights[:, 1].any()


def test_collinear_and_badly_scaled_channels() -> None:
    """A channel twice, one of 1e3 and one of 1e-3 change next to nothing."""
    features, masks = made_features(Kind.MASK)
    fine = np.asarray(features.maps[0], dtype=np.float32)
    scaled = np.concatenate([1e3 * fine[:, :1], 1e-3 * fine[:, 1:], 1e3 * fine[:, :1]], axis=1)
    plain = cross_fit(Features({}, (fine.astype(np.float16),)), masks)
    odd = cross_fit(Features({}, (scaled.astype(np.float16),)), masks)
    for a, b in zip(plain, odd, strict=True):
        assert b.choice["inner_log_loss"] == pytest.approx(a.choice["inner_log_loss"], rel=0.02)
        assert b.choice["gap"] < 1e-3
        assert b.choice["inner_dice"] > a.choice["inner_dice"] - 0.02


@pytest.mark.parametrize("value", [0.0, 7.0, 1000.0])
def test_a_constant_channel_gets_no_weight(value: float) -> None:
    design, y = made_design()
    shown = design.points.values[:]
    maps = np.concatenate([shown, np.full_like(shown[:, :, :1], value)], axis=2)
    more = Design(_points_of(maps), design.parts)
    problems = [Problem((0, 1), 1e-3)]
    plain = fitted(design, y, problems)
    wider = fitted(more, y, problems)
    channels = shown.shape[2]
    assert wider.weights[channels, 0] == 0
    assert np.allclose(np.delete(wider.weights, channels, axis=0), plain.weights, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 7.0, 1000.0])
def test_a_constant_channel_changes_no_least_squares(value: float) -> None:
    """Its correlations are rounding errors, which a penalty near 0 would blow up."""
    design, y = made_design()
    shown = design.points.values[:]
    flat = np.full_like(shown[:, :, :1], value)
    more = Design(_points_of(np.concatenate([flat, shown], axis=2)), design.parts)
    parts = (0, 1)
    _, plain, intercepts = design.solve(parts, list(design.options())[-1], design.label(y))
    _, wider, shifted = more.solve(parts, list(more.options())[-1], more.label(y))
    assert not wider[0].any()
    assert np.allclose(wider[1:], plain, atol=1e-4)
    assert np.allclose(shifted, intercepts, atol=1e-4)


def test_the_cut_is_chosen_on_masks_as_they_are_predicted() -> None:
    """A bridge with a low score joins the halves of a structure; something else lies apart.

    At the level that is best for all points, the halves fall apart and one of them is lost.
    """
    grid = np.zeros((28, 28))
    grid[8:12, 4:12] = 0.9
    grid[8:12, 16:24] = 0.9
    mask = grid > 0.5
    mask[8:12, 12:16] = True
    grid[9:11, 12:16] = 0.4
    grid[20:27, 4:24] = 0.35
    grid[20:24, 4:8] = 0.9
    cut = best_cut(grid[None], [mask], (0.3, 0.38, 0.5))
    assert cut.level == 0.38
    assert cut.largest
    assert cut.dice > 0.85


def test_largest_components_found_together_are_those_of_each_mask() -> None:
    """Of masks with many pieces of equal size, with none, and full."""
    rng = np.random.default_rng(0)
    masks = rng.random((30, 16, 16)) < rng.choice([0.0, 0.05, 0.4, 0.6, 1.0], 30)[:, None, None]
    true = rng.random(masks.shape) < 0.3
    common, size = probe._of_largest(masks, true)
    alone = np.stack([largest(mask) for mask in masks])
    assert np.array_equal(common, (alone & true).sum(axis=(1, 2)))
    assert np.array_equal(size, alone.sum(axis=(1, 2)))


@pytest.mark.parametrize("gap", [0, 3])
def test_pieces_are_kept_where_the_structure_is_in_pieces(gap: int) -> None:
    grid = np.zeros((28, 28))
    grid[4:10, 4:12] = 1
    grid[4:10, 12 + gap : 20 + gap] = 1
    cut = best_cut(grid[None], [grid > 0.5], (0.25, 0.5))
    assert cut.largest == (gap == 0)
    assert cut.dice > 0.95


def _divisions() -> tuple[Array, list[list[RowSplit]]]:
    patients, _ = made_splits()
    parts = np.full(len(patients), "train")
    seeds = (0, 1, 2)
    return patients, [row_splits(patients, parts, protocol="cv", n_fold=3, seed=s) for s in seeds]


@pytest.mark.parametrize("name", ["linear_seg", "mask_logistic"])
def test_structures_and_repeats_share_their_moments(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second structure reads no moments, in any of the divisions; its masks stay the same."""
    import etab.heads.masks.moments as module

    calls = []
    real = module._moments
    monkeypatch.setattr(
        module, "_moments", lambda points, rows: calls.append(len(rows)) or real(points, rows)
    )
    features, masks = made_features(Kind.MASK)
    other = [np.roll(m, 3, axis=0) for m in masks]
    patients, divisions = _divisions()
    memo: dict[Any, Any] = {}

    def fits(structure: list[Array], shared: dict[Any, Any] | None) -> list[Any]:
        return [
            fit
            for splits in divisions
            for fit in heads.head(name).cross_fit(
                features,
                structure,
                patients,
                splits,
                made_target(Kind.MASK),
                rng=np.random.default_rng(0),
                memo=shared,
            )
        ]

    fits(masks, memo)
    calls.clear()
    shared = fits(other, memo)
    assert not calls
    for one, two in zip(shared, fits(other, None), strict=True):
        assert one.choice == two.choice
        pairs = zip(one.predictions, two.predictions, strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_a_structure_fitted_beside_another_is_as_it_is_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, masks = made_features(Kind.MASK)
    other = [np.roll(m, 3, axis=0) for m in masks]
    patients, splits = made_splits()

    def fits(structure: list[Array], memo: Memo) -> list[Any]:
        return heads.head("mask_logistic").cross_fit(
            features,
            structure,
            patients,
            splits,
            made_target(Kind.MASK),
            rng=np.random.default_rng(0),
            memo=memo,
        )

    alone = {name: fits(m, Memo()) for name, m in (("first", masks), ("second", other))}
    shared = Memo()
    shared.beside = [other]
    found = {"first": fits(masks, shared)}
    shared.beside = []
    asked: list[Any] = []
    real = passes.sums_of
    monkeypatch.setattr(passes, "sums_of", lambda requests: asked.append(1) or real(requests))
    first_took = shared.seconds_beside
    assert first_took > 0  # half of the time of its fits was for the other structure
    found["second"] = fits(other, shared)
    assert not asked
    assert shared.seconds_beside == pytest.approx(0.0, abs=0.2 * first_took)
    for name, expected in alone.items():
        for one, two in zip(found[name], expected, strict=True):
            assert one.choice["penalty"] == two.choice["penalty"]
            assert one.choice["threshold"] == two.choice["threshold"]
            assert one.choice["inner_log_loss"] == pytest.approx(two.choice["inner_log_loss"])
            pairs = zip(one.predictions, two.predictions, strict=True)
            assert max(np.mean(a != b) for a, b in pairs) < 0.001
    fits([~m for m in masks], shared)
    assert asked
    asked.clear()
    # Other parts of the same rows are summed in another order.
    shared.cells = np.arange(len(masks))
    fits(other, shared)
    assert asked


def test_each_pass_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits of several cells may take longer than the time that one cell is given."""
    events: list[str] = []
    real = passes.sums_of
    monkeypatch.setattr(passes, "progressed", lambda: events.append("progress"))
    monkeypatch.setattr(passes, "sums_of", lambda asked: events.append("pass") or real(asked))
    design, y = made_design()
    fitted(design, y, [Problem((0, 1), 1e-3)], passes=4)
    assert events == ["pass", "progress"] * 4


def test_designs_keep_to_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two divisions fit, the first stays and the last is replaced."""
    features, masks = made_features(Kind.MASK)
    _, divisions = _divisions()
    memo: dict[Any, Any] = {}
    y = probe.lattice_shares(masks)

    def filled(splits: list[RowSplit]) -> int:
        designs = probe.designs_of(features, splits, memo, 1 << 30)
        for design in designs.values():
            probe.inner_errors(design, splits[0], design.label(y), ["all maps"])
        return sum(design.nbytes for design in designs.values())

    size = filled(divisions[0])
    first = next(iter(memo["linear_seg"]))
    monkeypatch.setattr(probe, "DESIGN_BYTES", int(2.5 * size))
    for splits in divisions[1:]:
        filled(splits)
        assert len(memo["linear_seg"]) == 2
        assert next(iter(memo["linear_seg"])) == first


def _points_of(values: Array) -> Points:
    spill = Spill(values.shape, budget=1 << 30)
    spill.put(0, values)
    return Points(spill, (slice(0, values.shape[2]),))


def cross_fit(features: Features, masks: list[Array], **more: Any) -> list[Any]:
    patients, splits = made_splits()
    head = MaskLogistic(**more)
    rng = np.random.default_rng(0)
    return head.cross_fit(features, masks, patients, splits, made_target(Kind.MASK), rng=rng)


@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_masks(value: bool) -> None:
    features, masks = made_features(Kind.MASK)
    fits = cross_fit(features, [np.full_like(m, value) for m in masks])
    assert all((p == value).all() for fit in fits for p in fit.predictions)


def test_masks_that_are_empty_for_half_of_the_patients() -> None:
    features, masks = made_features(Kind.MASK)
    half = [m & (i % 4 < 2) for i, m in enumerate(masks)]
    fits = cross_fit(features, half)
    assert all(np.isfinite(fit.choice["inner_log_loss"]) for fit in fits)


def test_penalty_and_threshold_are_chosen_and_recorded() -> None:
    features, masks = made_features(Kind.MASK)
    fits = cross_fit(features, masks)
    for fit in fits:
        assert fit.choice["maps"] == "all maps"
        assert fit.choice["penalty"] in LOGISTIC_PENALTIES
        assert 0 < fit.choice["threshold"] < 1
        assert 0.5 < fit.choice["inner_dice"] <= 1
    worst = cross_fit(features, masks, penalties=(1e6, 1e-3))
    assert {fit.choice["penalty"] for fit in worst} == {1e-3}


def test_it_is_no_worse_than_least_squares_where_a_threshold_is_hard() -> None:
    """Log odds fit a mask that a linear score of 0 and 1 fits badly: rare and far from its mean."""
    features, masks = made_features(Kind.MASK)
    patients, splits = made_splits()
    dice = {}
    for name in ("linear_seg", "mask_logistic"):
        fits = heads.head(name).cross_fit(
            features, masks, patients, splits, made_target(Kind.MASK), rng=np.random.default_rng(0)
        )
        pairs = [
            (p, masks[i])
            for split, fit in zip(splits, fits, strict=True)
            for p, i in zip(fit.predictions, split.test, strict=True)
        ]
        dice[name] = np.mean([2 * (p & m).sum() / (p.sum() + m.sum()) for p, m in pairs])
    assert dice["mask_logistic"] > dice["linear_seg"] - 0.005
    assert dice["mask_logistic"] > 0.85


def test_minimise_finds_the_minimum_of_each_quadratic() -> None:
    rng = np.random.default_rng(0)
    matrices = []
    for k in range(3):
        q = np.linalg.qr(rng.normal(size=(12, 12)))[0]
        matrices.append((q * np.logspace(0, k, 12)) @ q.T)
    targets = rng.normal(size=(12, 3))

    def evaluate(points: FloatArray, which: Array) -> tuple[FloatArray, FloatArray]:
        values, slopes = [], []
        for column, k in enumerate(which):
            apart = points[:, column] - targets[:, k]
            slopes.append(matrices[k] @ apart)
            values.append(0.5 * apart @ slopes[-1])
        return np.array(values), np.stack(slopes, axis=1)

    found, gaps = minimiser.minimise(
        evaluate, lambda slope: slope / 100, np.zeros((12, 3)), tolerance=1e-16, passes=400
    )
    assert np.allclose(found, targets, atol=1e-6)
    assert gaps.max() < 1e-14


def test_minimise_takes_no_step_that_climbs() -> None:
    """From a metric ten times too small, the value never rises from one accepted point to the next."""
    matrix = np.diag([1.0, 10.0, 100.0])
    accepted: list[float] = []

    def evaluate(points: FloatArray, which: Array) -> tuple[FloatArray, FloatArray]:
        value = 0.5 * float(points[:, 0] @ matrix @ points[:, 0])
        accepted.append(value)
        return np.array([value]), matrix @ points

    start = np.ones((3, 1))
    found, _ = minimiser.minimise(evaluate, lambda slope: slope, start, tolerance=1e-12, passes=2)
    assert accepted[1] > accepted[0]
    assert np.array_equal(found, start)


def test_choices_are_made_on_the_first_inner_part() -> None:
    """With the labels of that part turned round, the strongest penalty is the least bad."""
    features, masks = made_features(Kind.MASK)
    _, splits = made_splits()
    inner = splits[0].inner[0]
    turned = [~m if i in inner else m for i, m in enumerate(masks)]
    assert cross_fit(features, turned)[0].choice["penalty"] == max(LOGISTIC_PENALTIES)


def test_log_odds_are_cut_at_the_chosen_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    import etab.heads.masks.logistic as module

    levels = []
    real = module.mask_from_scores
    monkeypatch.setattr(
        module,
        "mask_from_scores",
        lambda grid, shape, level, **more: levels.append(level) or real(grid, shape, level, **more),
    )
    features, masks = made_features(Kind.MASK)
    fits = cross_fit(features, masks)
    chosen = {fit.choice["threshold"] for fit in fits}
    assert {round(1 / (1 + np.exp(-level)), 6) for level in levels} == chosen
