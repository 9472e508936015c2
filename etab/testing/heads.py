"""The contract of a head, as a test for your own: ``check_head(MyHead())``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.heads.base import Head
from etab.splits import row_splits
from etab.types import Array, Features, Kind, RowSplit, Target

__all__ = ["check_head", "made_features", "made_sequences", "made_splits", "made_target"]

# Steps of a synthetic sequence.
N_STEPS = 10
_KINDS = frozenset({Kind.VALUE, Kind.BINARY, Kind.CLASSES, Kind.MASK, Kind.STATES})


def made_target(kind: Kind) -> Target:
    """Make a target of a kind, with two or three classes where the kind has classes."""
    classes: tuple[str, ...] = ()
    if kind is Kind.BINARY:
        classes = ("no", "yes")
    if kind in (Kind.CLASSES, Kind.STATES):
        classes = ("a", "b", "c")
    return Target("made", kind, classes=classes)


def made_splits(n: int = 60) -> tuple[Array, list[RowSplit]]:
    """Make patients with two rows each, and three folds of them.

    Args:
        n: Number of rows.

    Returns:
        (patients, splits): the patient of each row, and the folds.
    """
    rows = range(n)
    patients = np.array([f"p{row // 2:03d}" for row in rows])
    parts = np.array(["train"] * n)
    return patients, row_splits(
        patients,
        parts,
        protocol="cv",
        n_fold=3,
        seed=0,
    )


def made_features(
    kind: Kind,
    seed: int = 0,
    n: int = 60,
    signal: float = 1.0,
) -> tuple[Features, Any]:
    """Make features from which the answers can be learned, with nuisance.

    Args:
        kind: Kind of the answers.
        seed: Seed of the features and answers.
        n: Number of rows.
        signal: Scale of the signal; with 0 the answers cannot be learned.

    Returns:
        (features, answers).
    """
    rng = np.random.default_rng(seed)
    if kind is Kind.MASK:
        return _made_maps(rng, n, signal)
    if kind is Kind.STATES:
        return _made_series(rng, n, signal)
    y = _made_answers(kind, rng, n)
    code = _coded(kind, y)
    code_width = code.shape[1]

    def layer(width: int, noise: float) -> Array:
        """A random linear map of the answers, with noise: float32 (n, width)."""
        mix = rng.normal(size=(code_width, width))
        nuisance = rng.normal(size=(n, width))
        values = signal * code @ mix + noise * nuisance
        return values.astype(np.float32)

    pooled = {
        "early/mean": layer(6, 3.0),
        "late/mean": layer(10, 0.5),
        "late/max": layer(80, 2.0),
    }
    components = {"late/max": 5}
    return Features(pooled, pca=components), y


def _made_answers(kind: Kind, rng: np.random.Generator, n: int) -> Array:
    """Values, or classes in turn: (n,)."""
    if kind is Kind.VALUE:
        return rng.normal(50, 10, n)
    n_classes = 2 if kind is Kind.BINARY else 3
    return np.arange(n) % n_classes


def _coded(kind: Kind, y: Array) -> Array:
    """Answers as standardised numbers (n, 1), or as one-hot classes (n, 3)."""
    if kind is Kind.CLASSES:
        one_hot = np.eye(3)
        return one_hot[y]
    deviations = y[:, None] - y.mean()
    return np.asarray(deviations / y.std())


def _made_maps(
    rng: np.random.Generator,
    n: int,
    signal: float,
) -> tuple[Features, list[Array]]:
    """Masks of discs, and maps at two resolutions with the disc in one of two channels."""
    y, x = np.mgrid[:48, :40]
    masks = []
    maps = []
    for _ in range(n):
        centre_y = rng.uniform(16, 32)
        centre_x = rng.uniform(12, 28)
        radius = rng.uniform(7, 11)
        squared_distance = (y - centre_y) ** 2 + (x - centre_x) ** 2
        mask = squared_distance < radius * radius
        masks.append(mask)
        small = mask[2::4, 2::4]
        small = small[:12, :10].astype(np.float32)
        noise = rng.normal(size=small.shape)
        disc = signal * small + 0.2 * noise
        nuisance = rng.normal(size=small.shape)
        maps.append(np.stack([disc, nuisance]))
    fine = np.stack(maps).astype(np.float16)
    coarse = fine[:, :, ::2, ::2]
    return Features({}, (fine, coarse)), masks


def _made_series(
    rng: np.random.Generator,
    n: int,
    signal: float,
) -> tuple[Features, list[Array]]:
    """Series (k, 4) at 50 Hz of about 6 s, loud in S1 and S2, and their states.

    With ``signal`` 0 the loudness is that of another moment.
    """
    loudness = np.array([1.0, 0.1, 0.7, 0.1])
    series = np.empty(n, dtype=object)
    states = []
    three_steps = np.ones(3) / 3
    for i in range(n):
        diastole = int(rng.integers(16, 28))
        beat = np.repeat(np.arange(4), (6, 9, 5, diastole))
        start = int(rng.integers(len(beat)))
        beats = np.tile(beat, 9)
        answer = beats[start:][:300]
        sounding = answer
        if not signal:
            shift = int(rng.integers(8, 20))
            sounding = np.roll(answer, shift)
        loud = loudness[sounding]
        smooth = np.convolve(loud, three_steps, "same")
        columns = np.stack([smooth, smooth**2, loud], axis=1)
        noise = rng.normal(size=columns.shape)
        columns += 0.05 * noise
        first_column = columns[:, :1]
        series[i] = np.hstack([columns, first_column])
        states.append(answer)
    return Features({}, series=series), states


def made_sequences(
    kind: Kind,
    seed: int = 0,
    n: int = 60,
    signal: float = 1.0,
) -> tuple[Features, Any]:
    """Make sequences of ``N_STEPS`` steps from which the answers can be learned.

    For STATES each sequence passes through the three classes in turn, from a random phase, and a
    fifth of the steps is not annotated (-1).

    Args:
        kind: Kind of the answers.
        seed: Seed of the sequences and answers.
        n: Number of sequences.
        signal: Scale of the signal; with 0 the answers cannot be learned.

    Returns:
        (features, answers).
    """
    rng = np.random.default_rng(seed)
    y: Array
    if kind is Kind.STATES:
        phases = rng.integers(0, 9, (n, 1))
        steps = np.arange(N_STEPS) + phases
        y = steps // 3 % 3
        code = np.eye(3)[y]
        is_open = rng.random(y.shape) < 0.2
        y = np.where(is_open, -1, y)
    else:
        y = _made_answers(kind, rng, n)
        one = _coded(kind, y)
        code = np.repeat(one[:, None], N_STEPS, axis=1)
    code_width = code.shape[2]

    def layer(width: int, noise: float) -> Array:
        """A random linear map of the answers, with noise: float32 (n, steps, width)."""
        mix = rng.normal(size=(code_width, width))
        nuisance = rng.normal(size=(n, N_STEPS, width))
        values = signal * code @ mix + noise * nuisance
        return np.asarray(values, dtype=np.float32)

    sequences = {
        "early": layer(6, 8.0),
        "late": layer(8, 0.5),
    }
    answers = list(y) if kind is Kind.STATES else y
    return Features({}, sequences=sequences), answers


def _made(
    head: Head,
    kind: Kind,
    signal: float = 1.0,
) -> tuple[Features, Any]:
    """Features of the form that a head reads, and the answers."""
    if head.needs_sequences or head.needs_tokens:
        return made_sequences(kind, signal=signal)
    return made_features(kind, signal=signal)


def _score(kind: Kind, predicted: Any, answers: Any) -> float:
    """How good predictions are; larger is better."""
    if kind is Kind.STATES:
        return _mean_of_pairs(_share_of_states, predicted, answers)
    if kind is Kind.MASK:
        return _mean_of_pairs(_dice, predicted, answers)
    if kind is Kind.VALUE:
        errors = np.abs(predicted - answers)
        return -float(errors.mean())
    if kind is Kind.BINARY:
        predicted_yes = predicted >= 0.5
        is_yes = answers == 1
        return float((predicted_yes == is_yes).mean())
    most_probable = predicted.argmax(axis=1)
    return float((most_probable == answers).mean())


def _mean_of_pairs(
    score: Callable[[Array, Array], float],
    predicted: Iterable[Array],
    answers: Iterable[Array],
) -> float:
    """The mean of a score over pairs of a prediction and its answer."""
    pairs = zip(predicted, answers, strict=True)
    scores = [score(prediction, answer) for prediction, answer in pairs]
    return float(np.mean(scores))


def _share_of_states(states: Array, answer: Array) -> float:
    """The share of annotated steps whose state is right."""
    is_annotated = answer >= 0
    is_right = states == answer
    return float(is_right[is_annotated].mean())


def _dice(mask: Array, answer: Array) -> float:
    """The Dice overlap of two masks, 0 where both are empty."""
    common = (mask & answer).sum()
    areas = mask.sum() + answer.sum()
    return float(2 * common / max(areas, 1))


def _run(
    head: Head,
    kind: Kind,
    features: Features,
    answers: Any,
    **options: Any,
) -> tuple[Any, Any, Any]:
    """Cross-fit a head; returns the predictions and answers of the test rows, and the fits."""
    patients, splits = made_splits()
    target = made_target(kind)
    rng = np.random.default_rng(0)
    fits = head.cross_fit(
        features,
        answers,
        patients,
        splits,
        target,
        rng=rng,
        **options,
    )
    assert len(fits) == len(splits), (
        f"{head.name} returned {len(fits)} fits for {len(splits)} splits"
    )
    rows = np.concatenate([split.test for split in splits])
    predictions: list[Any] = []
    for fit in fits:
        predictions.extend(fit.predictions)
    if kind in (Kind.MASK, Kind.STATES):
        answers_of_rows = [answers[row] for row in rows]
        return predictions, answers_of_rows, fits
    table = np.asarray(answers)
    return np.asarray(predictions), table[rows], fits


def check_head(head: Head, *, learns: bool = True) -> None:
    """Check a head against the contract that runs rely on.

    For each of its kinds, the head learns from synthetic features, gives the same predictions for
    the same seed, does not depend on test rows, and gives valid probabilities. It refuses other
    kinds, and features without sequences if it needs them.

    Args:
        head: The head.
        learns: Whether it can learn from the synthetic features; False for a head that ignores its
            input, such as a constant.

    Raises:
        AssertionError: A point of the contract is not met; the message names it.

    Example:
        >>> from etab.heads import HEADS
        >>> check_head(HEADS["ridge"]())
    """
    for kind in sorted(head.kinds):
        _check_kind(head, kind, learns)
    for kind in sorted(_KINDS - head.kinds):
        make = made_features if kind is Kind.MASK else partial(_made, head)
        features, answers = make(kind)
        what = f"{kind}, which it does not declare"
        _check_refuses(head, kind, features, answers, what)
    if head.needs_sequences or head.needs_tokens:
        kind = min(head.kinds)
        _, answers = _made(head, kind)
        without_sequences = Features({})
        what = "features without sequences, which it needs"
        _check_refuses(head, kind, without_sequences, answers, what)


def _check_kind(head: Head, kind: Kind, learns: bool) -> None:
    """Check the predictions of one kind of target."""
    features, answers = _made(head, kind)
    predicted, truth, _ = _run(head, kind, features, answers)
    again, _, _ = _run(head, kind, features, answers, memo={})
    assert _same(predicted, again), (
        f"{head.name}: the same input gave different predictions, or the memo changed them"
    )
    _check_form(head.name, kind, predicted, truth)
    if learns:
        without_signal, _ = _made(head, kind, signal=0.0)
        by_chance, _, _ = _run(head, kind, without_signal, answers)
        learned = _score(kind, predicted, truth)
        chance = _score(kind, by_chance, truth)
        gain = learned - chance
        assert gain > 0.1, f"{head.name} does not learn {kind}: it gains {gain}"
        _check_blind_to_test_rows(head, kind, features, answers)


def _check_form(name: str, kind: Kind, predicted: Any, truth: Any) -> None:
    """Check that probabilities are valid, and that states have a step for each step."""
    if kind in (Kind.BINARY, Kind.CLASSES):
        assert predicted.min() >= 0, f"{name}: a probability is negative"
        assert predicted.max() <= 1, f"{name}: a probability is above 1"
    if kind is Kind.CLASSES:
        sums = predicted.sum(axis=-1)
        assert np.allclose(sums, 1), f"{name}: probabilities do not sum to 1"
    if kind is Kind.STATES:
        for states, answer in zip(predicted, truth, strict=True):
            assert states.shape == answer.shape, f"{name}: steps are missing"


def _check_refuses(
    head: Head,
    kind: Kind,
    features: Features,
    answers: Any,
    what: str,
) -> None:
    try:
        _run(head, kind, features, answers)
    except UnsupportedOptionError:
        return
    raise AssertionError(f"{head.name} accepted {what}")


def _same(a: Any, b: Any) -> bool:
    if len(a) != len(b):
        return False
    pairs = zip(a, b, strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def _check_blind_to_test_rows(
    head: Head,
    kind: Kind,
    features: Features,
    answers: Any,
) -> None:
    """Check that test rows do not influence each other.

    Other features in one test row, and other answers in all test rows, must not change the
    predictions for the other test rows.
    """
    patients, splits = made_splits()
    split = splits[0]
    others = slice(1, None)
    first_test_row = int(split.test[0])
    changed = _changed(features, first_test_row)
    is_list = kind in (Kind.MASK, Kind.STATES)
    relabelled = list(answers) if is_list else np.array(answers)
    for row in split.test:
        next_row = (int(row) + 1) % len(answers)
        relabelled[row] = answers[next_row]
    target = made_target(kind)
    fits = []
    for inputs, labels in ((features, answers), (changed, relabelled)):
        fits += head.cross_fit(
            inputs,
            labels,
            patients,
            [split],
            target,
            rng=np.random.default_rng(0),
        )
    before, after = fits
    assert _close(before.predictions[others], after.predictions[others], kind), (
        f"{head.name} depends on test rows"
    )
    # Numbers may differ by rounding; names must not.
    names_before = _chosen_names(before.choice)
    names_after = _chosen_names(after.choice)
    assert names_before == names_after, f"{head.name} makes its choice by test rows"


def _chosen_names(choice: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in choice.items() if isinstance(value, str)}


def _changed(features: Features, row: int) -> Features:
    """A copy of features with other values in one row."""
    pooled = _copied(features.pooled)
    sequences = _copied(features.sequences)
    for values in (*pooled.values(), *sequences.values()):
        values[row] = values[row] * 7 + 3
    maps = tuple(np.array(grid) for grid in features.maps)
    for grid in maps:
        grid[row] = -2 * grid[row]
    series = None
    if features.series is not None:
        series = np.array(features.series)
        series[row] = -2 * series[row]
    return Features(
        pooled,
        maps,
        features.pca,
        sequences,
        series,
    )


def _copied(arrays: Mapping[str, Any]) -> dict[str, Array]:
    return {name: np.array(values) for name, values in arrays.items()}


def _close(a: Any, b: Any, kind: Kind) -> bool:
    """Whether predictions agree up to rounding; masks and states in 99 % of their points."""
    if kind in (Kind.MASK, Kind.STATES):
        differing = [(x != y).mean() for x, y in zip(a, b, strict=True)]
        return all(share < 0.01 for share in differing)
    return bool(np.allclose(a, b, rtol=1e-5, atol=1e-6))
