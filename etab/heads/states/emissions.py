"""States of the heart from the layers of a backbone over time: a probe of frames, then the HSMM.

For each layer a multinomial logistic regression (L2) predicts the state of a frame. Its features
are the layer at the frame, 40 ms before and 40 ms after. They are standardised, projected to at
most COMPONENTS principal components and whitened; all of this is fitted on the training patients.
Layer and penalty are chosen by the log-loss on the inner parts, each predicted by a fit without it.

The states come from the same search as in ``etab.sounds.semimarkov``. The heart rate of a recording
comes from its envelope, for every backbone alike, and durations are learned from the training
patients. So backbones differ only in their emissions: a backbone with constant features is left
with the durations and the heart rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etab.errors import UndefinedError
from etab.heads.pooled.linalg import logistic_path, symmetric_axes
from etab.heads.states.beats import RecordingBeats
from etab.heads.states.hsmm import refuse_shared_people
from etab.sounds.semimarkov import HOMOMORPHIC, STATE_COUNT, Timing
from etab.types import Array, FloatArray, IntArray, RowSplit

# Frames, relative to the classified one, whose features are used.
AROUND = (-2, 0, 2)
COMPONENTS = 64
EMISSION_PENALTIES = (1e-3, 1e-2, 1e-1)
# About the largest number of training frames; the search takes one in SEARCH_STEP of them.
FRAMES = 60_000
SEARCH_STEP = 4
# Deviation, relative to the mean, below which a column is constant.
_FLAT = 1e-6
# Variance, relative to the largest, below which an axis is dropped.
_THIN = 1e-4
# Frames that are computed together: with their products they stay in the cache of one core.
_TOGETHER = 1024


@dataclass(frozen=True, slots=True)
class AnnotatedFrames:
    """Annotated frames of a layer.

    Attributes:
        x: (n, around, d) float32 features.
        y: (n,) states.
        row: (n,) the recording of each frame.
    """

    x: FloatArray
    y: IntArray
    row: IntArray

    def of(self, rows: IntArray, every: int = 1) -> AnnotatedFrames:
        """Select the frames of some recordings.

        Args:
            rows: The recordings.
            every: Take one in this many frames.
        """
        of_rows = np.flatnonzero(np.isin(self.row, rows))
        index = of_rows[::every]
        return AnnotatedFrames(self.x[index], self.y[index], self.row[index])


def select_frames(
    series: Sequence[Any],
    states: Sequence[IntArray],
    limit: int = FRAMES,
) -> AnnotatedFrames:
    """Select annotated frames of all recordings, evenly spaced in each.

    Args:
        series: (k_i, d) of each recording.
        states: (k_i,) of each recording, -1 where not annotated.
        limit: About the largest number of frames.
    """
    total = sum(int((answer >= 0).sum()) for answer in states)
    every = max(1, -(-total // limit))
    selected = [np.flatnonzero(answer >= 0)[::every] for answer in states]
    edges = np.cumsum([0, *map(len, selected)]).tolist()
    features = np.empty((edges[-1], len(AROUND), np.shape(series[0])[1]), dtype=np.float32)
    for x, frames, first in zip(series, selected, edges[:-1], strict=True):
        neighbours = np.clip(frames[:, None] + AROUND, 0, len(x) - 1)
        # Few frames of a stored series are needed: these alone are read and converted.
        features[first : first + len(frames)] = np.asarray(x)[neighbours]
    classes = [s[frames].astype(np.int64) for s, frames in zip(states, selected, strict=True)]
    rows = np.repeat(np.arange(len(selected)), [len(frames) for frames in selected])
    return AnnotatedFrames(features, np.concatenate(classes), rows)


@dataclass(frozen=True, slots=True)
class FrameBasis:
    """The basis in which frames are classified: standardised, projected and whitened.

    Attributes:
        mean: (d,) mean of the columns in training.
        scale: (d,) inverse deviation of the columns, 0 for constant columns.
        axes: (d, c) principal axes of one frame.
        shift: (around c,) mean of a frame with its neighbours, after projection.
        turn: (around c, r) whitened axes of a frame with its neighbours.
    """

    mean: FloatArray
    scale: FloatArray
    axes: FloatArray
    shift: FloatArray
    turn: FloatArray

    @classmethod
    def fit(cls, x: FloatArray, components: int = COMPONENTS) -> tuple[FrameBasis, FloatArray]:
        """Fit the basis to training frames; constant columns have no effect.

        Args:
            x: (n, around, d) training frames.
            components: Largest number of principal axes of one frame.

        Returns:
            The basis, and the training frames in it (n, r) float32, as calling the basis with them
            would compute again.
        """
        middle = len(AROUND) // 2
        mean, covariance = _moments(x[part, middle] for part in _parts(len(x)))
        spread = np.sqrt(np.diag(covariance))
        varies = spread > _FLAT * np.maximum(np.abs(mean), 1e-3)
        divisor = np.where(varies, spread, 1.0)
        scale = np.where(varies, 1 / divisor, 0.0)
        axes, _ = _axes(scale[:, None] * covariance * scale, components, 1e-9)
        stacked = np.empty((len(x), len(AROUND) * axes.shape[1]), dtype=np.float32)
        shift, covariance = _moments(_projected(x, mean, scale, axes, stacked))
        turn, variances = _axes(covariance, stacked.shape[1], _THIN)
        basis = cls(mean, scale, axes, shift, turn / np.sqrt(variances))
        return basis, basis._turned(stacked)

    def __call__(self, x: FloatArray) -> FloatArray:
        """Frames (n, around, d) in the basis, (n, r) float32."""
        stacked = np.empty((len(x), len(self.shift)), dtype=np.float32)
        for _ in _projected(x, self.mean, self.scale, self.axes, stacked):
            pass
        return self._turned(stacked)

    def _turned(self, stacked: FloatArray) -> FloatArray:
        """Turn projected frames beside their neighbours (n, around c) to the basis (n, r)."""
        turn = self.turn.astype(np.float32)
        shift = self.shift.astype(np.float32)
        turned = np.empty((len(stacked), turn.shape[1]), dtype=np.float32)
        for part in _parts(len(stacked)):
            np.matmul(stacked[part] - shift, turn, out=turned[part])
        return turned

    def of_columns(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Write linear functions of the basis as functions of the columns less their means.

        Args:
            weights: (r, k) of k functions of the basis.

        Returns:
            Weights (around, d, k) of the columns of each neighbour, and the values (k,) at frames
            whose columns all have their means.
        """
        turned = self.turn @ weights
        of_neighbours = turned.reshape(len(AROUND), -1, weights.shape[1])
        return (self.scale[:, None] * self.axes) @ of_neighbours, -self.shift @ turned


def _parts(n: int) -> list[slice]:
    """Divide n frames into parts that are computed together."""
    return [slice(first, first + _TOGETHER) for first in range(0, n, _TOGETHER)]


def _moments(parts: Iterable[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Mean (d,) and covariance (d, d), in double precision, of rows that come in parts (m, d)."""
    count = 0
    centre = total = products = np.zeros(0)
    for part in parts:
        rows = part.astype(np.float64)
        if not count:
            # Any point amid the rows will do.
            centre = rows.mean(axis=0)
            total = np.zeros(len(centre))
            products = np.zeros((len(centre), len(centre)))
        rows -= centre
        total += rows.sum(axis=0)
        products += rows.T @ rows
        count += len(rows)
    shift = total / max(count, 1)
    return centre + shift, products / max(count, 1) - np.outer(shift, shift)


def _projected(
    x: FloatArray, mean: FloatArray, scale: FloatArray, axes: FloatArray, out: FloatArray
) -> Iterator[FloatArray]:
    """Standardise frames (n, around, d) and project them to the axes, into ``out`` (n, around c).

    Yields:
        The parts of ``out`` as they are computed.
    """
    turn = (scale[:, None] * axes).astype(np.float32)
    mean = mean.astype(np.float32)
    for part in _parts(len(x)):
        # One product of matrices is faster than one for each frame.
        rows = x[part].reshape(-1, x.shape[-1]) - mean
        np.matmul(rows, turn, out=out[part].reshape(len(rows), turn.shape[1]))
        yield out[part]


def _axes(covariance: FloatArray, most: int, floor: float) -> tuple[FloatArray, FloatArray]:
    """The longest principal axes of rows with a covariance (d, d).

    Args:
        covariance: Covariance of the columns.
        most: Largest number of axes.
        floor: Variance, relative to the largest, below which an axis is dropped.

    Returns:
        The axes (d, c) of unit length, the longest first, and the variance (c,) along each.
    """
    if not len(covariance):
        return np.zeros((0, 0)), np.zeros(0)
    variances, axes = symmetric_axes(covariance)
    smallest = max(float(variances[-1]), 1e-30) * floor
    long_enough = np.flatnonzero(variances > smallest)
    index = long_enough[::-1][:most]
    return np.asarray(axes[:, index]), np.asarray(variances[index])


@dataclass(frozen=True, slots=True)
class Emission:
    """A fitted probe of frames.

    Attributes:
        basis: The basis of the features.
        weights: (r, 4) of the logistic regression.
        intercept: (4,) of the logistic regression.
        prior: (4,) logarithm of the share of each state in training.
    """

    basis: FrameBasis
    weights: FloatArray
    intercept: FloatArray
    prior: FloatArray

    def log_probability(self, x: FloatArray) -> FloatArray:
        """Compute the log-probabilities of the states.

        Args:
            x: (n, around, d) features of frames.

        Returns:
            (n, 4).
        """
        return _log_probabilities([self], x)[:, 0]

    def of(self, series: Any) -> FloatArray:
        """Compute the log-likelihood of each frame of a recording, up to a constant for each frame.

        Args:
            series: (k, d) of the recording.

        Returns:
            (k, 4): log P(state | frame) - log P(state).
        """
        weights, values = self.basis.of_columns(self.weights)
        centred = np.asarray(series, dtype=np.float64) - self.basis.mean
        frames = np.arange(len(centred))
        logits = np.tile(values + self.intercept, (len(centred), 1))
        for step, of_neighbour in zip(AROUND, weights, strict=True):
            neighbours = np.clip(frames + step, 0, len(centred) - 1)
            logits += (centred @ of_neighbour)[neighbours]
        return _log_softmax(logits) - self.prior


def _log_probabilities(probes: Sequence[Emission], x: FloatArray) -> FloatArray:
    """Log-probabilities (n, probes, 4) of the states of frames (n, around, d).

    The probes share their basis. Their few functions of the columns cost less than the basis.
    """
    basis = probes[0].basis
    together = np.concatenate([probe.weights for probe in probes], axis=1)
    intercepts = np.concatenate([probe.intercept for probe in probes])
    weights, values = basis.of_columns(together)
    logits = np.tile(values + intercepts, (len(x), 1))
    for part in _parts(len(x)):
        centred = x[part].astype(np.float64) - basis.mean
        logits[part] += centred.reshape(len(centred), -1) @ weights.reshape(-1, len(values))
    return _log_softmax(logits.reshape(len(x), len(probes), -1))


def _log_softmax(logits: FloatArray) -> FloatArray:
    """Logarithms of the probabilities of logits (..., classes)."""
    shifted = np.moveaxis(logits, -1, 0).copy()
    shifted -= shifted.max(axis=0)
    shifted -= np.log(np.exp(shifted).sum(axis=0))
    return np.moveaxis(shifted, 0, -1)


def fit_emissions(
    frames: AnnotatedFrames,
    penalties: Sequence[float],
    *,
    iterations: int = 120,
    tolerance: float = 3e-4,
) -> list[Emission]:
    """Fit a probe for each penalty.

    Args:
        frames: Training frames.
        penalties: L2 penalties on the mean log-loss.
        iterations: Largest number of iterations.
        tolerance: Change of the coefficients at which a fit ends.

    Raises:
        UndefinedError: The training frames lack a state.
    """
    counts = np.bincount(frames.y, minlength=STATE_COUNT)
    if len(counts) > STATE_COUNT or (counts == 0).any():
        raise UndefinedError(
            f"Frames of S1, systole, S2, diastole in training: {counts.tolist()}; wanted some of "
            "each."
        )
    prior = np.log(counts / counts.sum())
    basis, z = FrameBasis.fit(frames.x)
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
    """Mean log-loss (probes,) on frames that the probes were not fitted on; 0 without frames.

    The probes are those of one call of ``fit_emissions``, which share their basis.
    """
    n = len(held.y)
    if not n:
        return np.zeros(len(fits))
    log_p = _log_probabilities(fits, held.x)
    return np.asarray(-log_p[np.arange(n), :, held.y].mean(axis=0))


def cross_segment_layers(
    beats: Sequence[FloatArray],
    layers: Mapping[str, Sequence[Any]],
    states: Sequence[IntArray],
    patients: Array,
    splits: Sequence[RowSplit],
    *,
    candidates: int,
    beat: str = HOMOMORPHIC,
    timings: MutableMapping[int, tuple[Timing, ...]] | None = None,
) -> list[tuple[list[IntArray], dict[str, Any]]]:
    """Choose, fit and segment for each split.

    Args:
        beats: Envelopes (k_i, 4) of each recording.
        layers: The series (k_i, d) of each recording, for each layer.
        states: (k_i,) of each recording, -1 where not annotated.
        patients: (n,) the patient of each recording.
        splits: The recordings to train on, the inner parts to choose by, and those to predict.
        candidates: Largest number of timings of the beat to search with.
        beat: Name of the envelope that the heart rate is read from.
        timings: Timings of recordings with the same candidates and beat that earlier calls on
            these envelopes found; more are added. None starts without any.

    Returns:
        (states, choice) for each split: the states of its test recordings in their order, and what
        was chosen inside its training part.

    Raises:
        SplitError: A patient is in training and in test; the message names them.
        UndefinedError: Lengths differ, or a state is missing.
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
    recordings = RecordingBeats(beats, states, candidates, beat=beat)
    if timings is not None:
        recordings.known = timings
    chosen = _choose(layers, states, splits)
    out: dict[int, tuple[list[IntArray], dict[str, Any]]] = {}
    for name, series in layers.items():
        of_layer = [i for i, (layer, _) in enumerate(chosen) if layer == name]
        if not of_layer:
            continue
        frames = select_frames(series, states)
        for i in of_layer:
            split = splits[i]
            _, penalty = chosen[i]
            probe = fit_emissions(frames.of(split.train), (penalty,))[0]
            log_likelihoods = {j: probe.of(series[j]) for j in split.test.tolist()}
            paths = recordings.search(log_likelihoods, recordings.spreads(split.train))
            choice = {
                "features": name,
                "penalty": penalty,
                "context": list(AROUND),
                "candidates": candidates,
            }
            out[i] = ([paths[j] for j in split.test.tolist()], choice)
    return [out[i] for i in range(len(splits))]


def _choose(
    layers: Mapping[str, Sequence[Any]],
    states: Sequence[IntArray],
    splits: Sequence[RowSplit],
) -> list[tuple[str, float]]:
    """The layer and the penalty with the least log-loss over the inner parts of each split."""
    losses: dict[str, FloatArray] = {}
    for name, series in layers.items():
        frames = select_frames(series, states)
        # Two splits share the fit on the recordings that are in neither of their folds.
        known: dict[bytes, list[Emission]] = {}
        table = np.zeros((len(splits), len(EMISSION_PENALTIES)))
        for i, split in enumerate(splits):
            for part in split.inner:
                rest = np.setdiff1d(split.train, part)
                key = rest.tobytes()
                if key not in known:
                    known[key] = fit_emissions(
                        frames.of(rest, SEARCH_STEP),
                        EMISSION_PENALTIES,
                        iterations=60,
                        tolerance=2e-3,
                    )
                of_part = _losses(known[key], frames.of(part, SEARCH_STEP))
                table[i] += of_part / len(split.inner)
        losses[name] = table
    names = list(losses)
    choices = []
    for i in range(len(splits)):
        of_split = np.stack([losses[name][i] for name in names])
        smallest = int(of_split.argmin())
        layer, penalty = np.unravel_index(smallest, of_split.shape)
        choices.append((names[int(layer)], EMISSION_PENALTIES[int(penalty)]))
    return choices
