"""The contract of a head, as a test for your own: ``check_head(MyHead())``."""

from __future__ import annotations

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
    patients = np.array([f"p{i // 2:03d}" for i in range(n)])
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

    def layer(width: int, noise: float) -> Array:
        mix = rng.normal(size=(code.shape[1], width))
        return (signal * code @ mix + noise * rng.normal(size=(n, width))).astype(np.float32)

    pooled = {
        "early/mean": layer(6, 3.0),
        "late/mean": layer(10, 0.5),
        "late/max": layer(80, 2.0),
    }
    return Features(pooled, pca={"late/max": 5}), y


def _made_answers(kind: Kind, rng: np.random.Generator, n: int) -> Array:
    """Values, or classes in turn: (n,)."""
    if kind is Kind.VALUE:
        return rng.normal(50, 10, n)
    return np.arange(n) % (2 if kind is Kind.BINARY else 3)


def _coded(kind: Kind, y: Array) -> Array:
    """Answers as standardised numbers (n, 1), or as one-hot classes (n, 3)."""
    if kind is Kind.CLASSES:
        return np.eye(3)[y]
    return np.asarray((y[:, None] - y.mean()) / y.std())


def _made_maps(
    rng: np.random.Generator,
    n: int,
    signal: float,
) -> tuple[Features, list[Array]]:
    """Masks of discs, and maps at two resolutions with the disc in one of two channels."""
    yy, xx = np.mgrid[:48, :40]
    masks = []
    maps = []
    for _ in range(n):
        cy = rng.uniform(16, 32)
        cx = rng.uniform(12, 28)
        radius = rng.uniform(7, 11)
        mask = (yy - cy) ** 2 + (xx - cx) ** 2 < radius * radius
        masks.append(mask)
        small = mask[2::4, 2::4][:12, :10].astype(np.float32)
        disc = signal * small + 0.2 * rng.normal(size=small.shape)
        maps.append(np.stack([disc, rng.normal(size=small.shape)]))
    fine = np.stack(maps).astype(np.float16)
    return Features({}, (fine, fine[:, :, ::2, ::2])), masks


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
    for i in range(n):
        durations = (6, 9, 5, int(rng.integers(16, 28)))
        beat = np.repeat(np.arange(4), durations)
        start = int(rng.integers(len(beat)))
        answer = np.tile(beat, 9)[start:][:300]
        sounding = answer if signal else np.roll(answer, int(rng.integers(8, 20)))
        loud = loudness[sounding]
        smooth = np.convolve(loud, np.ones(3) / 3, "same")
        columns = np.stack([smooth, smooth**2, loud], axis=1)
        columns += 0.05 * rng.normal(size=(len(answer), 3))
        series[i] = np.hstack([columns, columns[:, :1]])
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
        y = (np.arange(N_STEPS) + rng.integers(0, 9, (n, 1))) // 3 % 3
        code = np.eye(3)[y]
        y = np.where(rng.random(y.shape) < 0.2, -1, y)
    else:
        y = _made_answers(kind, rng, n)
        one = _coded(kind, y)
        code = np.repeat(one[:, None], N_STEPS, axis=1)

    def layer(width: int, noise: float) -> Array:
        mix = rng.normal(size=(code.shape[2], width))
        return np.asarray(
            signal * code @ mix + noise * rng.normal(size=(n, N_STEPS, width)), dtype=np.float32
        )

    sequences = {"early": layer(6, 8.0), "late": layer(8, 0.5)}
    answers = list(y) if kind is Kind.STATES else y
    return Features({}, sequences=sequences), answers


def _made(
    head: Head,
    kind: Kind,
    signal: float = 1.0,
) -> tuple[Features, Any]:
    """Features of the form that a head reads, and the answers."""
    if head.needs_sequences:
        return made_sequences(kind, signal=signal)
    return made_features(kind, signal=signal)


def _score(kind: Kind, predicted: Any, answers: Any) -> float:
    """How good predictions are; larger is better."""
    if kind is Kind.STATES:
        shares = []
        for states, answer in zip(predicted, answers, strict=True):
            annotated = answer >= 0
            shares.append((states == answer)[annotated].mean())
        return float(np.mean(shares))
    if kind is Kind.MASK:
        dice = []
        for mask, answer in zip(predicted, answers, strict=True):
            dice.append(2 * (mask & answer).sum() / max(mask.sum() + answer.sum(), 1))
        return float(np.mean(dice))
    if kind is Kind.VALUE:
        return -float(np.abs(predicted - answers).mean())
    if kind is Kind.BINARY:
        return float(((predicted >= 0.5) == (answers == 1)).mean())
    return float((predicted.argmax(axis=1) == answers).mean())


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
    predictions = [prediction for fit in fits for prediction in fit.predictions]
    if kind in (Kind.MASK, Kind.STATES):
        return predictions, [answers[i] for i in rows], fits
    return np.asarray(predictions), np.asarray(answers)[rows], fits


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
        made = made_features(kind) if kind is Kind.MASK else _made(head, kind)
        _check_refuses(head, kind, *made, f"{kind}, which it does not declare")
    if head.needs_sequences:
        kind = min(head.kinds)
        _, answers = _made(head, kind)
        what = "features without sequences, which it needs"
        _check_refuses(head, kind, Features({}), answers, what)


def _check_kind(head: Head, kind: Kind, learns: bool) -> None:
    """Check the predictions of one kind of target."""
    features, answers = _made(head, kind)
    predicted, truth, _ = _run(head, kind, features, answers)
    again, _, _ = _run(head, kind, features, answers, memo={})
    assert _same(predicted, again), (
        f"{head.name}: the same input gave different predictions, or the memo changed them"
    )
    if kind in (Kind.BINARY, Kind.CLASSES):
        assert predicted.min() >= 0, f"{head.name}: a probability is negative"
        assert predicted.max() <= 1, f"{head.name}: a probability is above 1"
    if kind is Kind.STATES:
        assert all(p.shape == a.shape for p, a in zip(predicted, truth, strict=True)), (
            f"{head.name}: steps are missing"
        )
    if kind is Kind.CLASSES:
        assert np.allclose(predicted.sum(axis=-1), 1), f"{head.name}: probabilities do not sum to 1"
    if learns:
        without_signal, _ = _made(head, kind, signal=0.0)
        chance, _, _ = _run(head, kind, without_signal, answers)
        gain = _score(kind, predicted, truth) - _score(kind, chance, truth)
        assert gain > 0.1, f"{head.name} does not learn {kind}: it gains {gain}"
        _check_blind_to_test_rows(head, kind, features, answers)


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
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


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
    changed = _changed(features, int(split.test[0]))
    relabelled = list(answers) if kind in (Kind.MASK, Kind.STATES) else np.array(answers)
    for i in split.test:
        relabelled[i] = answers[(int(i) + 1) % len(answers)]
    target = made_target(kind)
    fits = []
    for inputs, labels in ((features, answers), (changed, relabelled)):
        rng = np.random.default_rng(0)
        fits += head.cross_fit(inputs, labels, patients, [split], target, rng=rng)
    before, after = fits
    assert _close(before.predictions[others], after.predictions[others], kind), (
        f"{head.name} depends on test rows"
    )
    # Numbers may differ by rounding; names must not.
    choices = []
    for fit in fits:
        choices.append({k: v for k, v in fit.choice.items() if isinstance(v, str)})
    assert choices[0] == choices[1], f"{head.name} makes its choice by test rows"


def _changed(features: Features, row: int) -> Features:
    """A copy of features with other values in one row."""
    pooled = {name: np.array(values) for name, values in features.pooled.items()}
    sequences = {name: np.array(values) for name, values in features.sequences.items()}
    for values in (*pooled.values(), *sequences.values()):
        values[row] = values[row] * 7 + 3
    maps = tuple(np.array(grid) for grid in features.maps)
    for grid in maps:
        grid[row] = -2 * grid[row]
    series = None
    if features.series is not None:
        series = np.array(features.series)
        series[row] = -2 * series[row]
    return Features(pooled, maps, features.pca, sequences, series)


def _close(a: Any, b: Any, kind: Kind) -> bool:
    """Whether predictions agree up to rounding; masks and states in 99 % of their points."""
    if kind in (Kind.MASK, Kind.STATES):
        return all((x != y).mean() < 0.01 for x, y in zip(a, b, strict=True))
    return bool(np.allclose(a, b, rtol=1e-5, atol=1e-6))
