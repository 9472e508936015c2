"""States of the heart from the layers of a backbone over time: a probe of frames, then the decoding
of the HSMM.

For each layer a multinomial logistic regression (L2) says how likely each state is at a frame, from
the layer there and 40 ms before and after: standardised, projected to at most COMPONENTS principal
components, and whitened, all of it fitted on training people. Layer and penalty are chosen by the
log-loss of the inner parts, each fitted without. The states then come from the same search as in
``etab.sounds.semimarkov``: the heart rate of a recording is read off its envelope for every
backbone alike, and how long states last is learned from training people. So backbones differ
in their emissions and in nothing else; one that says the same at every moment is left with the
durations and the heart rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etab.errors import UndefinedError
from etab.heads.pooled.linalg import logistic_path
from etab.heads.states.hsmm import learn_spreads, refuse_shared_people
from etab.sounds.semimarkov import (
    BATCH,
    HOMOMORPHIC,
    RATES,
    STATE_COUNT,
    Spreads,
    Timing,
    beat_envelope,
    duration_table,
    heart_timings,
    viterbi_of_all,
)
from etab.types import Array, FloatArray, IntArray, RowSplit

AROUND = (-2, 0, 2)
COMPONENTS = 64
EMISSION_PENALTIES = (1e-3, 1e-2, 1e-1)
FRAMES = 60_000
SEARCH_STEP = 4
_FLAT, _THIN = 1e-6, 1e-4


@dataclass(frozen=True, slots=True)
class AnnotatedFrames:
    """Annotated frames of a layer: x (n, around, d) float32, states y (n,), and the recording (n,)
    each is of.
    """

    x: FloatArray
    y: IntArray
    row: IntArray

    def of(self, rows: IntArray, every: int = 1) -> AnnotatedFrames:
        """Those of some recordings, or every so many of them."""
        kept = np.flatnonzero(np.isin(self.row, rows))[::every]
        return AnnotatedFrames(self.x[kept], self.y[kept], self.row[kept])


def select_frames(
    series: Sequence[Any], states: Sequence[IntArray], limit: int = FRAMES
) -> AnnotatedFrames:
    """At most about ``limit`` annotated frames of all recordings, evenly spaced in each."""
    total = sum(int((s >= 0).sum()) for s in states)
    every = max(1, -(-total // limit))
    xs = []
    ys = []
    rows = []
    for i, (x, s) in enumerate(zip(series, states, strict=True)):
        at = np.flatnonzero(s >= 0)[::every]
        places = np.clip(at[:, None] + AROUND, 0, len(s) - 1)
        xs.append(np.asarray(x, dtype=np.float32)[places])
        ys.append(s[at].astype(np.int64))
        rows.append(np.full(len(at), i))
    return AnnotatedFrames(np.concatenate(xs), np.concatenate(ys), np.concatenate(rows))


@dataclass(frozen=True, slots=True)
class FrameBasis:
    """Standardised, projected, whitened: what training frames say a frame is to be seen in.

    mean, scale (d,); axes (d, c) of one frame; shift (around c,) and turn (around c, r) of it with
    those around it.
    """

    mean: FloatArray
    scale: FloatArray
    axes: FloatArray
    shift: FloatArray
    turn: FloatArray

    @classmethod
    def fit(cls, x: FloatArray, components: int = COMPONENTS) -> FrameBasis:
        """From training frames x (n, around, d); a column that never changes counts for nothing."""
        middle = x[:, len(AROUND) // 2].astype(np.float64)
        mean = middle.mean(axis=0)
        spread = middle.std(axis=0)
        moves = spread > _FLAT * np.maximum(np.abs(mean), 1e-3)
        scale = np.where(moves, 1 / np.where(moves, spread, 1.0), 0.0)
        z = (middle - mean) * scale
        axes = _axes(z, components, 1e-9)
        stacked = _stacked(x, mean, scale, axes).astype(np.float64)
        shift = stacked.mean(axis=0)
        turn = _axes(stacked - shift, stacked.shape[1], _THIN, whiten=True)
        return cls(mean, scale, axes, shift, turn)

    def __call__(self, x: FloatArray) -> FloatArray:
        """Frames (n, around, d) in the basis, (n, r) float32."""
        return np.asarray(
            (_stacked(x, self.mean, self.scale, self.axes) - self.shift) @ self.turn,
            dtype=np.float32,
        )


def _stacked(x: FloatArray, mean: FloatArray, scale: FloatArray, axes: FloatArray) -> FloatArray:
    turned = (scale[:, None] * axes).astype(np.float32)
    found = (x - mean.astype(np.float32)) @ turned
    return np.asarray(found.reshape(len(x), -1))


def _axes(z: FloatArray, most: int, floor: float, *, whiten: bool = False) -> FloatArray:
    """The longest principal axes (d, c) of centred rows z; ``whiten``: of such length that each
    spreads by 1.
    """
    from scipy.linalg import eigh

    if not z.shape[1]:
        return np.zeros((0, 0))
    spread, axes = eigh(z.T @ z / max(len(z), 1))
    kept = np.flatnonzero(spread > max(float(spread[-1]), 1e-30) * floor)[::-1][:most]
    return np.asarray(axes[:, kept] / np.sqrt(spread[kept]) if whiten else axes[:, kept])


@dataclass(frozen=True, slots=True)
class Emission:
    """A fitted probe: weights (r, 4) and intercept (4,) in a basis, and the log of how often
    training had each state.
    """

    basis: FrameBasis
    weights: FloatArray
    intercept: FloatArray
    prior: FloatArray

    def log_probability(self, x: FloatArray) -> FloatArray:
        """Log-probabilities of the states (n, 4) of frames (n, around, d)."""
        logits = self.basis(x) @ self.weights + self.intercept
        logits -= logits.max(axis=1, keepdims=True)
        return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))

    def of(self, series: Any) -> FloatArray:
        """Log-likelihood (k, 4) of each frame of a recording's series (k, d), up to a constant a
        frame.
        """
        x = np.asarray(series, dtype=np.float32)
        places = np.clip(np.arange(len(x))[:, None] + AROUND, 0, len(x) - 1)
        return np.asarray(self.log_probability(x[places]) - self.prior, dtype=np.float64)


def fit_emissions(
    frames: AnnotatedFrames,
    penalties: Sequence[float],
    *,
    iterations: int = 120,
    tolerance: float = 3e-4,
) -> list[Emission]:
    """A probe for each penalty. Raises UndefinedError where training frames lack a state."""
    counts = np.bincount(frames.y, minlength=STATE_COUNT)
    if len(counts) > STATE_COUNT or (counts == 0).any():
        raise UndefinedError(
            f"Frames of S1, systole, S2, diastole in training: {counts.tolist()}; wanted some of "
            "each."
        )
    prior = np.log(counts / counts.sum())
    basis = FrameBasis.fit(frames.x)
    z = basis(frames.x)
    if z.shape[1] == 0:
        return [Emission(basis, np.zeros((0, STATE_COUNT)), prior, prior) for _ in penalties]
    weights, intercepts = logistic_path(
        z,
        np.eye(STATE_COUNT)[frames.y],
        np.ones((len(z), len(penalties))),
        penalties,
        iterations=iterations,
        tolerance=tolerance,
    )
    pairs = zip(weights.astype(np.float64), intercepts.astype(np.float64), strict=True)
    return [Emission(basis, w, b, prior) for w, b in pairs]


def _losses(fits: Sequence[Emission], held: AnnotatedFrames) -> FloatArray:
    """Mean log-loss (probes,) of probes on frames that they were not fitted on; 0 where there are
    none.
    """
    if not len(held.y):
        return np.zeros(len(fits))
    return np.array(
        [-e.log_probability(held.x)[np.arange(len(held.y)), held.y].mean() for e in fits]
    )


def cross_segment_layers(
    beats: Sequence[FloatArray],
    layers: Mapping[str, Sequence[Any]],
    states: Sequence[IntArray],
    patients: Array,
    splits: Sequence[RowSplit],
    *,
    candidates: int,
    beat: str = HOMOMORPHIC,
) -> list[tuple[list[IntArray], dict[str, Any]]]:
    """For each split the states of its test recordings, in their order, and what was chosen inside
    its training part.

    beats: envelopes (k_i, 4), of which ``beat`` gives the heart rate; layers: by name the series (k_i, d) of each recording;
    states (k_i,), -1 where unannotated. candidates: how many readings of the heart rate are
    searched. Raises SplitError naming a person who is in training and in test, UndefinedError where
    lengths differ or a state is missing.
    """
    for split in splits:
        refuse_shared_people(patients, split)
    for name, series in layers.items():
        for i, (x, b, s) in enumerate(zip(series, beats, states, strict=True)):
            if not len(x) == len(b) == len(s):
                raise UndefinedError(
                    f"Recording {i}: {len(x)} frames of {name}, {len(b)} of its envelope, {len(s)} "
                    "states. Align them."
                )
    timings = [
        heart_timings(beat_envelope(envelope, beat), candidates=candidates, rates=RATES)
        for envelope in beats
    ]
    chosen = _choose(layers, states, splits)
    out: dict[int, tuple[list[IntArray], dict[str, Any]]] = {}
    for name, series in layers.items():
        mine = [i for i, (layer, _) in enumerate(chosen) if layer == name]
        if not mine:
            continue
        frames = select_frames(series, states)
        for i in mine:
            split = splits[i]
            penalty = chosen[i][1]
            probe = fit_emissions(frames.of(split.train), (penalty,))[0]
            spreads = learn_spreads(
                [beats[j] for j in split.train],
                [states[j] for j in split.train],
                timings=[timings[j][0] for j in split.train],
            )
            out[i] = (
                _segmented(probe, spreads, series, timings, split.test),
                {
                    "features": name,
                    "penalty": penalty,
                    "context": list(AROUND),
                    "candidates": candidates,
                },
            )
    return [out[i] for i in range(len(splits))]


def _segmented(
    probe: Emission,
    spreads: Spreads,
    series: Sequence[Any],
    timings: Sequence[Sequence[Timing]],
    rows: IntArray,
) -> list[IntArray]:
    """States of some recordings, in their order. Recordings of a similar length are searched
    together, so that little is searched in vain.
    """
    states: dict[int, IntArray] = {}
    by_length = sorted(rows.tolist(), key=lambda j: len(series[j]))
    for start in range(0, len(by_length), BATCH):
        batch = by_length[start : start + BATCH]
        tables = [[duration_table(timing, spreads) for timing in timings[j]] for j in batch]
        paths = viterbi_of_all([probe.of(series[j]) for j in batch], tables)
        states |= {j: path[0] for j, path in zip(batch, paths, strict=True)}
    return [states[j] for j in rows.tolist()]


def _choose(
    layers: Mapping[str, Sequence[Any]], states: Sequence[IntArray], splits: Sequence[RowSplit]
) -> list[tuple[str, float]]:
    """The layer and the penalty with the least log-loss over the inner parts of each split."""
    losses: dict[str, FloatArray] = {}
    for name, series in layers.items():
        frames = select_frames(series, states)
        known: dict[
            bytes, list[Emission]
        ] = {}  # two splits share the recordings that are in neither of their folds
        table = np.zeros((len(splits), len(EMISSION_PENALTIES)))
        for i, split in enumerate(splits):
            for part in split.inner:
                rest = np.setdiff1d(split.train, part)
                if rest.tobytes() not in known:
                    known[rest.tobytes()] = fit_emissions(
                        frames.of(rest, SEARCH_STEP),
                        EMISSION_PENALTIES,
                        iterations=60,
                        tolerance=2e-3,
                    )
                table[i] += _losses(known[rest.tobytes()], frames.of(part, SEARCH_STEP)) / len(
                    split.inner
                )
        losses[name] = table
    names = list(losses)
    best = [np.stack([losses[n][i] for n in names]) for i in range(len(splits))]
    places = [np.unravel_index(int(b.argmin()), b.shape) for b in best]
    return [(names[int(a)], EMISSION_PENALTIES[int(p)]) for a, p in places]
