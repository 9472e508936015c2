"""The contract of a head, to run on your own: ``check_head(MyHead())``."""

from __future__ import annotations

from typing import Any

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.heads.base import Head
from etab.splits import row_splits
from etab.types import Array, Features, Kind, RowSplit, Target

__all__ = ["check_head", "made_features", "made_sequences", "made_splits", "made_target"]

N_STEPS = 10


def made_target(kind: Kind) -> Target:
    """A target of a kind."""
    classes = {
        Kind.BINARY: ("no", "yes"),
        Kind.CLASSES: ("a", "b", "c"),
        Kind.STATES: ("a", "b", "c"),
    }.get(kind, ())
    return Target("made", kind, classes=classes)


def made_splits(n: int = 60) -> tuple[Array, list[RowSplit]]:
    """Patients of two rows each, and three folds of them."""
    patients = np.array([f"p{i // 2:03d}" for i in range(n)])
    return patients, row_splits(patients, np.array(["train"] * n), protocol="cv", n_fold=3, seed=0)


def made_features(
    kind: Kind, seed: int = 0, n: int = 60, signal: float = 1.0
) -> tuple[Features, Any]:
    """Features from which the answers can be learned (``signal`` 0: not at all), with nuisance, and
    the answers.
    """
    rng = np.random.default_rng(seed)
    if kind is Kind.MASK:
        return _made_maps(rng, n, signal)
    if kind is Kind.STATES:
        return _made_series(rng, n, signal)
    y: Array = (
        rng.normal(50, 10, n)
        if kind is Kind.VALUE
        else np.arange(n) % (2 if kind is Kind.BINARY else 3)
    )
    code = (y[:, None] - y.mean()) / y.std() if kind is not Kind.CLASSES else np.eye(3)[y]

    def layer(width: int, noise: float) -> Array:
        mix = rng.normal(size=(code.shape[1], width))
        return (signal * code @ mix + noise * rng.normal(size=(n, width))).astype(np.float32)

    pooled = {"early/mean": layer(6, 3.0), "late/mean": layer(10, 0.5), "late/max": layer(80, 2.0)}
    return Features(pooled, pca={"late/max": 5}), y


def _made_maps(rng: np.random.Generator, n: int, signal: float) -> tuple[Features, list[Array]]:
    yy, xx = np.mgrid[:48, :40]
    masks = []
    maps = []
    for _ in range(n):
        cy = rng.uniform(16, 32)
        cx = rng.uniform(12, 28)
        r = rng.uniform(7, 11)
        mask = (yy - cy) ** 2 + (xx - cx) ** 2 < r * r
        masks.append(mask)
        small = mask[2::4, 2::4][:12, :10].astype(np.float32)
        maps.append(
            np.stack(
                [signal * small + 0.2 * rng.normal(size=small.shape), rng.normal(size=small.shape)]
            )
        )
    fine = np.stack(maps).astype(np.float16)
    return Features({}, (fine, fine[:, :, ::2, ::2])), masks


def _made_series(rng: np.random.Generator, n: int, signal: float) -> tuple[Features, list[Array]]:
    """Series (k, 4) at 50 Hz of some 6 s, loud in S1 and S2, and their states; ``signal`` 0: of
    another moment.
    """
    series = np.empty(n, dtype=object)
    states = []
    for i in range(n):
        lasts = (6, 9, 5, int(rng.integers(16, 28)))
        beat = np.repeat(np.arange(4), lasts)
        answer = np.tile(beat, 9)[int(rng.integers(len(beat))) :][:300]
        loud = np.array([1.0, 0.1, 0.7, 0.1])[
            answer if signal else np.roll(answer, int(rng.integers(8, 20)))
        ]
        smooth = np.convolve(loud, np.ones(3) / 3, "same")
        columns = np.stack([smooth, smooth**2, loud], axis=1)
        columns += 0.05 * rng.normal(size=(len(answer), 3))
        series[i] = np.hstack([columns, columns[:, :1]])
        states.append(answer)
    return Features({}, series=series), states


def made_sequences(
    kind: Kind, seed: int = 0, n: int = 60, signal: float = 1.0
) -> tuple[Features, Any]:
    """Sequences of ``STEPS`` steps from which the answers can be learned (``signal`` 0: not at
    all), and the answers.

    For STATES each sequence passes through the three classes in turn, from a phase of its own, and
    a fifth of the steps is not annotated (-1).
    """
    rng = np.random.default_rng(seed)
    y: Array
    if kind is Kind.STATES:
        y = (np.arange(N_STEPS) + rng.integers(0, 9, (n, 1))) // 3 % 3
        code = np.eye(3)[y]
        y = np.where(rng.random(y.shape) < 0.2, -1, y)
    else:
        y = (
            rng.normal(50, 10, n)
            if kind is Kind.VALUE
            else np.arange(n) % (2 if kind is Kind.BINARY else 3)
        )
        one = (y[:, None] - y.mean()) / y.std() if kind is not Kind.CLASSES else np.eye(3)[y]
        code = np.repeat(one[:, None], N_STEPS, axis=1)

    def layer(width: int, noise: float) -> Array:
        mix = rng.normal(size=(code.shape[2], width))
        return np.asarray(
            signal * code @ mix + noise * rng.normal(size=(n, N_STEPS, width)), dtype=np.float32
        )

    if kind is Kind.STATES:
        return Features({}, sequences={"early": layer(6, 8.0), "late": layer(8, 0.5)}), list(y)
    return Features({}, sequences={"early": layer(6, 8.0), "late": layer(8, 0.5)}), y


def _made(head: Head, kind: Kind, signal: float = 1.0) -> tuple[Features, Any]:
    return (made_sequences if head.needs_sequences else made_features)(kind, signal=signal)


def _score(kind: Kind, predicted: Any, answers: Any) -> float:
    """Larger is better."""
    if kind is Kind.STATES:
        return float(
            np.mean([(p == a)[a >= 0].mean() for p, a in zip(predicted, answers, strict=True)])
        )
    if kind is Kind.MASK:
        pairs = zip(predicted, answers, strict=True)
        return float(np.mean([2 * (p & a).sum() / max((p.sum() + a.sum()), 1) for p, a in pairs]))
    if kind is Kind.VALUE:
        return -float(np.abs(predicted - answers).mean())
    if kind is Kind.BINARY:
        return float(((predicted >= 0.5) == (answers == 1)).mean())
    return float((predicted.argmax(axis=1) == answers).mean())


def _run(
    head: Head, kind: Kind, features: Features, answers: Any, **more: Any
) -> tuple[Any, Any, Any]:
    patients, splits = made_splits()
    fits = head.cross_fit(
        features, answers, patients, splits, made_target(kind), rng=np.random.default_rng(0), **more
    )
    assert len(fits) == len(splits), f"{head.name} gave {len(fits)} fits for {len(splits)} splits"
    rows = np.concatenate([s.test for s in splits])
    parts = [p for f in fits for p in f.predictions]
    listed = kind in (Kind.MASK, Kind.STATES)
    truth = [answers[i] for i in rows] if listed else np.asarray(answers)[rows]
    return (parts if listed else np.asarray(parts)), truth, fits


def check_head(head: Head, *, learns: bool = True) -> None:
    """Learns something, refuses other kinds, same seed same answer, blind to test rows,
    probabilities are probabilities.
    """
    for kind in sorted(head.kinds):
        features, answers = _made(head, kind)
        predicted, truth, _ = _run(head, kind, features, answers)
        again, _, _ = _run(head, kind, features, answers, memo={})
        assert _same(predicted, again), (
            f"{head.name}: the same input gave another answer, or the memo changed it"
        )
        if kind in (Kind.BINARY, Kind.CLASSES):
            assert predicted.min() >= 0, f"{head.name}: a probability is negative"
            assert predicted.max() <= 1, f"{head.name}: a probability is above 1"
        if kind is Kind.STATES:
            assert all(p.shape == a.shape for p, a in zip(predicted, truth, strict=True)), (
                f"{head.name}: steps are missing"
            )
        if kind is Kind.CLASSES:
            assert np.allclose(predicted.sum(axis=-1), 1), (
                f"{head.name}: probabilities do not sum to 1"
            )
        if learns:
            blind, _ = _made(head, kind, signal=0.0)
            nothing, _, _ = _run(head, kind, blind, answers)
            gain = _score(kind, predicted, truth) - _score(kind, nothing, truth)
            assert gain > 0.1, f"{head.name} learns nothing of {kind}: {gain}"
            _check_blind_to_test_rows(head, kind, features, answers)
    for kind in sorted(
        {Kind.VALUE, Kind.BINARY, Kind.CLASSES, Kind.MASK, Kind.STATES} - head.kinds
    ):
        _check_refuses(
            head,
            kind,
            *_made(head, kind) if kind is not Kind.MASK else made_features(kind),
            f"{kind}, which it does not declare",
        )
    if head.needs_sequences:
        kind = min(head.kinds)
        _check_refuses(
            head,
            kind,
            Features({}),
            _made(head, kind)[1],
            "features without sequences, which it needs",
        )


def _check_refuses(head: Head, kind: Kind, features: Features, answers: Any, what: str) -> None:
    try:
        _run(head, kind, features, answers)
    except UnsupportedOptionError:
        return
    raise AssertionError(f"{head.name} accepted {what}")


def _same(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def _check_blind_to_test_rows(head: Head, kind: Kind, features: Features, answers: Any) -> None:
    """Changing one test row's features, or any test row's answer, changes nothing for the other
    test rows.
    """
    patients, splits = made_splits()
    split = splits[0]
    row = int(split.test[0])
    others = slice(1, None)
    pooled = {k: np.array(v) for k, v in features.pooled.items()}
    for values in pooled.values():
        values[row] = values[row] * 7 + 3
    maps = tuple(np.array(m) for m in features.maps)
    for m in maps:
        m[row] = -2 * m[row]
    sequences = {k: np.array(v) for k, v in features.sequences.items()}
    for values in sequences.values():
        values[row] = values[row] * 7 + 3
    series = None if features.series is None else np.array(features.series)
    if series is not None:
        series[row] = -2 * series[row]
    moved = Features(pooled, maps, features.pca, sequences, series)
    relabelled = list(answers) if kind in (Kind.MASK, Kind.STATES) else np.array(answers)
    for i in split.test:
        relabelled[i] = answers[(int(i) + 1) % len(answers)]
    target = made_target(kind)
    chance = np.random.default_rng
    before = head.cross_fit(features, answers, patients, [split], target, rng=chance(0))[0]
    after = head.cross_fit(moved, relabelled, patients, [split], target, rng=chance(0))[0]
    assert _close(before.predictions[others], after.predictions[others], kind), (
        f"{head.name} looks at test rows"
    )
    assert {k: v for k, v in before.choice.items() if isinstance(v, str)} == {
        k: v for k, v in after.choice.items() if isinstance(v, str)
    }, f"{head.name} chooses by test rows"


def _close(a: Any, b: Any, kind: Kind) -> bool:
    if kind in (Kind.MASK, Kind.STATES):
        return all((x != y).mean() < 0.01 for x, y in zip(a, b, strict=True))
    return bool(np.allclose(a, b, rtol=1e-5, atol=1e-6))
