"""The short version of ``python -m benchmarks.coverage``: heads refitted, wide tolerance, always the same draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    coverage,
    coverage_classes,
    coverage_divisions,
    coverage_ridge,
    coverage_stack,
)
from benchmarks.coverage_refits import Setting, refit
from benchmarks.coverage_summary import SCORES, Summary, rows_of, summarised, summary_of
from benchmarks.coverage_world import (
    EF_CUT,
    TASKS,
    WIDTH,
    embed,
    fit_probe,
    made_cohort,
    made_encoder,
    made_world,
    overlap,
    population,
    questions,
    splits_of_frames,
    splits_of_people,
)
from etab.metrics.basic import binary_auroc
from etab.metrics.columns import ScoredRows
from etab.metrics.inference import half_widths
from etab.types import Kind

SMALL = Setting("small", "cv", 50, 0, 2, noises=(0.6,) * 4)
REPLICATES = 16


@pytest.fixture(scope="module")
def found() -> list[Summary]:
    return [summarised(SMALL, refit(SMALL, seed)) for seed in range(REPLICATES)]


def false_pairs(found: list[Summary], name: str) -> tuple[float, float]:
    """Share of pairs of equal backbones with p < 0.05, as probes and as encoders."""
    s = SCORES.index(name)
    pairs = np.triu_indices(4, 1)
    probes = np.array([summary.probe_p[s][pairs] for summary in found])
    encoders = np.array([summary.encoder_p[s][pairs] for summary in found])
    return float((probes < 0.05).mean()), float((encoders < 0.05).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mae", "score"])
def test_equal_encoders_are_left_alike(found: list[Summary], name: str) -> None:
    _, encoders = false_pairs(found, name)
    assert encoders <= 0.08


@pytest.mark.slow
def test_fitted_probes_must_not_be_taken_for_encoders(found: list[Summary]) -> None:
    probes, encoders = false_pairs(found, "score")
    assert probes >= 0.1
    assert encoders < probes / 2


@pytest.mark.slow
def test_intervals_of_encoders_cover(found: list[Summary]) -> None:
    assert coverage.encoders_covered(found).mean(axis=0).min() >= 0.8


@pytest.mark.parametrize("name", TASKS)
def test_the_value_of_a_probe_on_new_people_is_exact(name: str) -> None:
    rng = np.random.default_rng(5)
    world = made_world(rng)
    cohort = made_cohort(80, world, rng)
    encoder = made_encoder(0.6, rng)
    task = questions(cohort)[name]
    splits = splits_of_people(80, "cv", 0, 0)
    splits = splits_of_frames(splits) if task.frames else splits
    fit = fit_probe(task, embed(cohort, encoder, rng), splits, {})[0]
    new = made_cohort(40_000, world, rng)
    table = embed(new, encoder, rng)[fit.layer].reshape(-1, WIDTH if task.frames else 2 * WIDTH)
    scores = table @ fit.weights + fit.offset
    answers = questions(new)[name].answers
    values = {
        "dice": lambda: overlap(scores - answers).mean(),
        "mae": lambda: np.abs(scores - answers).mean(),
    }
    value = values.get(name, lambda: binary_auroc(answers, scores))()
    assert population(name, fit, encoder, world, 40_000) == pytest.approx(value, rel=0.012)
    assert 0.2 < (new.ef < EF_CUT).mean() < 0.5


def test_every_person_is_tested_once_in_each_repeat() -> None:
    replicate = refit(SMALL, 0)
    for name in TASKS:
        rows = rows_of(name, SMALL, replicate, 1)
        per_person = 2 if name in ("dice", "phase") else 1
        for part in rows.of_repeats():
            people, counts = np.unique(rows.patients[part], return_counts=True)
            assert len(people) == 50
            assert set(counts.tolist()) == {per_person}


def test_kept_replicates_are_read_again(tmp_path: Path) -> None:
    first = summary_of(SMALL, 3, tmp_path)
    again = summary_of(SMALL, 3, tmp_path)
    for name in Summary.__dataclass_fields__:
        assert np.array_equal(getattr(first, name), getattr(again, name))
    (tmp_path / "small" / "summary00003.npz").unlink()
    third = summary_of(
        SMALL, 3, tmp_path
    )  # from the kept predictions, which are in single precision
    assert third.values == pytest.approx(first.values, abs=1e-4)


@pytest.mark.slow
def test_the_page_holds_every_setting(found: list[Summary]) -> None:
    setting = coverage.graded(SMALL)
    graded = [summarised(setting, refit(setting, 0))]
    text = coverage.page({100: found}, {100: graded}, "the command")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert sum("ETAB score" in row for row in rows) == 1 + 3
    assert "Simulated: no patient is in it" in text


@pytest.mark.slow
def test_intervals_of_encoders_are_neither_too_narrow_nor_too_wide() -> None:
    """Over many small cohorts, the squared error of a value is near the variance that is stated."""
    setting = Setting("many", "cv", 60, 0, 3, coverage_ridge.TWO)
    many = [
        summarised(setting, coverage_ridge.ridge_replicate(setting, seed)) for seed in range(60)
    ]
    values = np.stack([summary.values for summary in many])
    truth = np.stack([summary.fitted for summary in many]).mean(axis=(0, 2), keepdims=True)
    half = np.stack([summary.encoder_half for summary in many])
    for s, name in enumerate(SCORES):
        error = np.square(values - truth)[:, s].mean()
        stated = np.square(half[:, s] / 2).mean()
        assert 0.55 < error / stated < 1.6, name


def test_a_ridge_replicate_has_the_shape_of_one_with_the_heads() -> None:
    setting = Setting("two", "official", 60, 20, 1, coverage_ridge.TWO)
    ridge = coverage_ridge.ridge_replicate(setting, 0)
    heads = refit(setting, 0)
    for name in TASKS:
        assert ridge.predictions[name].shape == heads.predictions[name].shape
        assert np.array_equal(np.isnan(ridge.predictions[name]), np.isnan(heads.predictions[name]))
    assert ridge.fitted == pytest.approx(heads.fitted, abs=4)
    found = summarised(setting, ridge)
    text = coverage_ridge.page({"of50r": [found]}, {"of50r": [found]}, "the command")
    assert sum("ETAB score" in row for row in text.splitlines() if row.startswith("|")) == 2
    nowhere = np.full_like(found.values, np.inf)
    blind = replace(found, encoder_low=nowhere, beats=np.ones_like(found.beats))
    missed = "\n".join(coverage_ridge.misses({"of50r": [blind]}))
    assert missed.count("0.0 ± 42.9 % covered, the interval is too narrow.") == len(SCORES)
    assert missed.count("100.0 ± 42.9 % of boards have a false verdict") == len(SCORES)
    sure = replace(
        found, encoder_low=-nowhere, encoder_high=nowhere, beats=np.zeros_like(found.beats)
    )
    missed = "\n".join(coverage_ridge.misses({"of50r": [sure]}))
    chance = "100.0 ± 42.9 % covered, the interval is wider than it need be, or this is chance."
    assert missed.count(chance) == len(SCORES)
    assert "false verdict." not in missed


def test_stacked_probes_are_measured_on_people_of_no_split() -> None:
    setting = Setting("two", "official", 60, 20, 1, coverage_ridge.TWO)
    ridge = coverage_ridge.ridge_replicate(setting, 0)
    stack = coverage_stack.stack_replicate(setting, 0)
    assert stack.fitted.shape == ridge.fitted.shape
    for name in TASKS:
        assert np.array_equal(np.isnan(stack.predictions[name]), np.isnan(ridge.predictions[name]))
    assert stack.fitted[TASKS.index("phase")].min() > 0.6
    text = coverage_stack.page({"cv50r": [summarised(setting, stack)]}, "the command")
    assert "ETAB score" in text


def test_bias_and_width_are_told_apart() -> None:
    """Values 0.5 too high, 0.3 apart from that, with intervals of a standard error of 0.2."""
    setting = coverage_ridge.SETTINGS[0]
    shape = (len(SCORES), 2)
    half = half_widths(np.full(shape, 0.04), 49)
    none = np.zeros((len(SCORES), 2, 2))
    found = [
        Summary(
            np.full(shape, 1.5 + sign * 0.3),
            np.ones(shape),
            half,
            half,
            half,
            half,
            none,
            none,
            none,
        )
        for sign in (-1.0, 1.0)
    ]
    for line in coverage_stack.error_rows(setting, found):
        assert line.endswith(f"| 1.000 | +0.5000 | {np.sqrt(0.34):.4f} | 0.2000 |")


def test_two_frames_of_one_person_are_one_pair_of_many() -> None:
    """The AUROC of a fold of few people holds more pairs within one person, which are easier."""
    answers = np.tile([0, 1], 200)
    rng = np.random.default_rng(0)
    scores = np.repeat(rng.normal(size=200), 2) * 5 + answers
    few, many = (coverage_stack.value_on_new("phase", answers, scores, n) for n in (5, 10**9))
    assert many == pytest.approx(0.55, abs=0.05)
    assert few == pytest.approx(many + (1 - many) / 5)


@pytest.mark.slow
def test_auroc_of_few_people_is_covered_with_the_stacked_probe() -> None:
    """With the variance over patients and the measured share alone, 85 % were covered."""
    found = [coverage_classes.found_in("auroc", 50, seed) for seed in range(20000, 20030)]
    assert covered(found) >= 0.9


def covered(found: list[coverage_classes.Found]) -> float:
    """The share of intervals that hold the exact value."""
    exact = np.mean([one.fitted for one in found])
    ends = np.array([one.intervals for one in found])
    return float(((ends[..., 0] <= exact) & (exact <= ends[..., 1])).mean())


def test_kept_cohorts_of_classes_are_read_again(tmp_path: Path) -> None:
    keep = tmp_path / "kept.jsonl"
    found = coverage_classes.cohorts(["balanced_accuracy"], 20, range(1), keep)
    assert coverage_classes.cohorts(["balanced_accuracy"], 20, range(1), keep) == found
    assert len(keep.read_text().splitlines()) == 1
    (one,) = found["balanced_accuracy"]
    for ends, value in zip(one.intervals, one.values, strict=True):
        assert ends[0] <= value <= ends[1]
    sure = replace(one, intervals=[[0, 1]] * 2, plain=[[0, 1], [9, 9]], of_one=[[9, 9]] * 2, p=0.01)
    text = coverage_classes.page({name: {20: [sure]} for name in coverage_classes.TITLES}, "c")
    line = "| 20 (1) | 100.0 ± 42.9 | 50.0 ± 43.8 | 0.0 ± 42.9 | 100.0 ± 42.9 |"
    assert text.count(line) == len(coverage_classes.TITLES)


@pytest.mark.parametrize("metric", ["r2", "balanced_accuracy"])
def test_one_split_trains_people_whom_nobody_tests(metric: str) -> None:
    found = coverage_classes.found_in(metric, coverage_classes.ONE_SPLIT, 1)
    fits = coverage_classes.fits_of(
        coverage_classes.ONE_SPLIT, 1, "mae" if metric == "r2" else "cm", metric != "r2", False
    )
    (split,) = fits.splits
    assert (len(split.train), len(split.test)) == (450, 1276)
    assert not set(split.train) & set(split.test)
    assert found.of_one == []
    assert abs(found.values[0] - found.fitted[0]) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["balanced_accuracy", "macc", "r2"])
def test_metrics_that_a_constant_makes_certain_are_covered(metric: str) -> None:
    """With the variance over patients and the share of scores, 80 % were covered at 0.5."""
    found = [coverage_classes.found_in(metric, 50, seed) for seed in range(40000, 40020)]
    assert covered(found) >= 0.9
    ends = np.array([one.intervals for one in found])
    values = np.array([one.values for one in found])
    assert np.all((ends[..., 0] < values) & (values < ends[..., 1]))
    assert np.mean([one.p < 0.05 for one in found]) <= 0.15


def test_divisions_that_differ_are_told_apart_and_equal_ones_are_not() -> None:
    """The first division is worse by 1 for everybody; the others are alike but for noise."""
    errors = np.random.default_rng(3).normal(10, 1, (5, 40))
    errors[0] += 5
    names = np.tile(np.arange(40).astype(str), 5)
    columns = {"truth": np.zeros(200), "score": errors.ravel()}
    rows = ScoredRows(Kind.VALUE, columns, names, None, np.repeat(np.arange(5), 40))
    tests = coverage_divisions.against_itself("mae", rows)
    assert (len(tests.probes), len(tests.encoders), len(tests.of_two)) == (10, 10, 15)
    assert np.all(tests.encoders[:4] < 0.001)
    assert np.all(tests.probes < tests.encoders)
    assert np.sum(tests.of_two < 0.05) >= 10
    text = coverage_divisions.page({("made", "t", "mae"): [tests]}, "c")
    shares = [100 * np.mean(p < 0.05) for p in (tests.probes, tests.encoders, tests.of_two)]
    assert 0.1 < tests.of_five[0] < 1
    shares.append(100 * tests.of_five[0])
    shown = " | ".join(f"{share:.1f}" for share in shares)
    line = f"| made | t | mae | 1 | 10 | {shown} |"
    assert line in text
