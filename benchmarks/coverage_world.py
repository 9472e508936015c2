"""A made world in which every fitted probe has an exact population value: for coverage of intervals.

Nothing here is a patient. A person has content ``c`` (8 numbers) and two frames, ED and ES, that
differ by a phase. A backbone turns the content of a frame into 12 features by a random orthonormal
map and adds noise of the person and of the frame, once for each of two layers. Ejection fraction is
a noisy linear function of the content; the label CM is EF below 50.

Every probe of ``etab.heads.pooled`` is an affine function of the features. Its coefficients are
read off its predictions for the origin and for the unit vectors, and its value on infinitely many
new people then follows in closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtr

from etab import heads
from etab.splits import row_splits
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

CONTENT = 8
WIDTH = 12  # features of a frame
PHASE = 1.3  # distance of ED and ES in content
FRAME_NOISE = 0.5  # content of a frame beyond that of its person
EXPLAINED = 0.45  # share of the variance of EF that the content explains
EF_MEAN = 55.0
EF_SD = 11.0
EF_CUT = 50.0
SIZE_NOISE = 0.4
SIZE_SCALE = 1.2  # error of a size at which the overlap falls to exp(-1/2) of its best
BEST_OVERLAP = 0.95
LAYERS = {"late": 0.0, "early": 0.15}  # further noise of each layer

TASKS = ("dice", "mae", "phase", "cm")
# (value of the trivial predictor, value of the reference)
ANCHORS = {"dice": (0.55, 0.9), "mae": (8.8, 5.0), "phase": (0.5, 1.0), "cm": (0.5, 1.0)}


@dataclass(frozen=True)
class Cohort:
    """People with two frames each.

    Attributes:
        content: (n, 8) content of each person.
        frames: (n, 2, 8) content of the frames, ED first.
        ef: (n,) ejection fraction in %.
        size: (n, 2) size of a structure in each frame.
    """

    content: FloatArray
    frames: FloatArray
    ef: FloatArray
    size: FloatArray

    def __len__(self) -> int:
        """Count the people."""
        return len(self.content)


@dataclass(frozen=True)
class World:
    """Directions in the space of the content that answers depend on."""

    phase: FloatArray
    ef: FloatArray
    size: FloatArray


@dataclass(frozen=True)
class Encoder:
    """A made backbone: its map (12, 8) and the standard deviation of its noise."""

    map: FloatArray
    noise: float


def made_world(rng: np.random.Generator) -> World:
    """Draw the directions: three unit vectors."""
    vectors = rng.standard_normal((3, CONTENT))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return World(*vectors)


def made_cohort(n: int, world: World, rng: np.random.Generator) -> Cohort:
    """Draw ``n`` people."""
    content = rng.standard_normal((n, CONTENT))
    steps = np.array([0.5, -0.5]) * PHASE
    frames = content[:, None] + steps[None, :, None] * world.phase
    frames = frames + FRAME_NOISE * rng.standard_normal((n, 2, CONTENT))
    known = np.sqrt(EXPLAINED) * (content @ world.ef)
    unknown = np.sqrt(1 - EXPLAINED) * rng.standard_normal(n)
    size = frames @ world.size + SIZE_NOISE * rng.standard_normal((n, 2))
    return Cohort(content, frames, EF_MEAN + EF_SD * (known + unknown), size)


def made_encoder(noise: float, rng: np.random.Generator) -> Encoder:
    """Draw a backbone. Those of one noise are equally good on average, whatever their map is."""
    return Encoder(np.linalg.qr(rng.standard_normal((WIDTH, CONTENT)))[0], noise)


def embed(cohort: Cohort, encoder: Encoder, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Features (n, 2, 12) of the frames by layer; half of the noise is of the person."""
    signal = cohort.frames @ encoder.map.T
    features = {}
    for layer, more in LAYERS.items():
        sd = (encoder.noise + more) / np.sqrt(2)
        of_person = sd * rng.standard_normal((len(cohort), 1, WIDTH))
        of_frame = sd * rng.standard_normal((len(cohort), 2, WIDTH))
        features[layer] = signal + of_person + of_frame
    return features


@dataclass(frozen=True)
class Task:
    """A question to the probes: its head, target and answers, and whether a row is a frame."""

    head: str
    target: Target
    answers: Array
    frames: bool


def questions(cohort: Cohort) -> dict[str, Task]:
    """The four tasks; answers are in the order of the rows (person by person, ED first)."""
    phases = np.tile([0, 1], len(cohort))
    low = (cohort.ef < EF_CUT).astype(int)
    size = Target("size", Kind.VALUE)
    ef = Target("EF", Kind.VALUE, unit="%")
    phase = Target("phase", Kind.BINARY, classes=("ED", "ES"))
    cm = Target("CM", Kind.BINARY, classes=("no", "yes"))
    return {
        "dice": Task("ridge", size, cohort.size.ravel(), True),
        "mae": Task("ridge", ef, cohort.ef, False),
        "phase": Task("logistic", phase, phases, True),
        "cm": Task("logistic", cm, low, False),
    }


@dataclass(frozen=True)
class Fit:
    """One fitted probe: its predictions for its test rows, and its coefficients.

    Attributes:
        test: Row indexes.
        predictions: Predictions for them.
        layer: The layer that the probe chose.
        weights: Coefficients of the features; of the log-odds for two classes.
        offset: The prediction (or log-odds) at the origin.
    """

    test: IntArray
    predictions: FloatArray
    layer: str
    weights: FloatArray
    offset: float


def fit_probe(
    task: Task,
    features: Mapping[str, FloatArray],
    splits: Sequence[RowSplit],
    memo: MutableMapping[Any, Any],
) -> list[Fit]:
    """Fit etab's own head for each split and read off its coefficients.

    Args:
        task: The question.
        features: (n, 2, 12) by layer.
        splits: Splits of the rows of this task.
        memo: What fits on the same rows share; empty at first.

    Returns:
        The fits, in the order of the splits.
    """
    tables = {
        layer: values.reshape(-1, WIDTH) if task.frames else values.reshape(len(values), -1)
        for layer, values in features.items()
    }
    width = next(iter(tables.values())).shape[1]
    # The head predicts the origin and the unit vectors: that is where coefficients come from.
    corners = np.concatenate([np.zeros((1, width)), np.eye(width)])
    rows = {layer: np.concatenate([table, corners]) for layer, table in tables.items()}
    corner_rows = len(task.answers) + np.arange(len(corners))
    asked = [RowSplit(s.train, s.inner, corner_rows, s.name) for s in splits]
    answers = np.concatenate([task.answers, np.resize(task.answers, len(corners))])
    names = np.arange(len(answers)).astype(str)
    fits = heads.head(task.head).cross_fit(
        Features(rows), answers, names, asked, task.target, rng=np.random.default_rng(0), memo=memo
    )
    made = []
    for split, fit in zip(splits, fits, strict=True):
        values = np.asarray(fit.predictions, dtype=np.float64)
        if task.target.kind is Kind.BINARY:
            values = np.log(values) - np.log1p(-values)
        layer = str(fit.choice["features"])
        weights = values[1:] - values[0]
        predictions = tables[layer][split.test] @ weights + values[0]
        made.append(Fit(split.test, predictions, layer, weights, float(values[0])))
    return made


def population(name: str, fit: Fit, encoder: Encoder, world: World, people: int) -> float:
    """The exact value of a fitted probe on new people.

    Args:
        name: The task.
        fit: The fitted probe.
        encoder: The backbone.
        world: The world of the cohort.
        people: Number of test people in one fold. Pairs of two frames of one person are one in
            ``people`` of all pairs of AUROC, and are easier than others.

    Returns:
        The expected metric.
    """
    if name in ("dice", "phase"):
        return _of_frames(name, fit, encoder, world, people)
    return _of_people(name, fit, encoder, world)


def _of_frames(name: str, fit: Fit, encoder: Encoder, world: World, people: int) -> float:
    sd = encoder.noise + LAYERS[fit.layer]
    along = fit.weights @ encoder.map
    noise = sd**2 * float(fit.weights @ fit.weights)
    variance = (1 + FRAME_NOISE**2) * float(along @ along) + noise
    shift = PHASE * float(along @ world.phase)
    if name == "phase":
        between = ndtr(-shift / np.sqrt(2 * variance))
        of_frame = FRAME_NOISE**2 * float(along @ along) + noise / 2
        within = ndtr(-shift / np.sqrt(2 * of_frame))
        return float(between + (within - between) / people)
    error = along - world.size
    spread = (1 + FRAME_NOISE**2) * float(error @ error) + noise + SIZE_NOISE**2
    total = spread + SIZE_SCALE**2
    best = BEST_OVERLAP * SIZE_SCALE / np.sqrt(total)
    values = []
    for sign in (0.5, -0.5):
        mean = fit.offset + sign * PHASE * float(error @ world.phase)
        values.append(best * np.exp(-(mean**2) / (2 * total)))
    return float(np.mean(values))


def _of_people(name: str, fit: Fit, encoder: Encoder, world: World) -> float:
    sd = encoder.noise + LAYERS[fit.layer]
    both = fit.weights.reshape(2, WIDTH)
    along = both @ encoder.map
    common = along.sum(axis=0)
    variance = float(common @ common) + FRAME_NOISE**2 * float(np.square(along).sum())
    of_person = both.sum(axis=0)
    variance += sd**2 / 2 * float(of_person @ of_person + np.square(both).sum())
    covariance = EF_SD * np.sqrt(EXPLAINED) * float(common @ world.ef)
    mean = fit.offset + PHASE / 2 * float((along[0] - along[1]) @ world.phase)
    if name == "cm":
        correlation = -covariance / (EF_SD * np.sqrt(max(variance, 1e-30)))
        grid, values = _auroc_of_correlation()
        return float(np.interp(correlation, grid, values))
    spread = np.sqrt(variance + EF_SD**2 - 2 * covariance)
    bias = mean - EF_MEAN
    folded = np.sqrt(2 / np.pi) * np.exp(-(bias**2) / (2 * spread**2)) * spread
    return float(folded + bias * (1 - 2 * ndtr(-bias / spread)))


@lru_cache(maxsize=1)
def _auroc_of_correlation() -> tuple[FloatArray, FloatArray]:
    """AUROC of "EF below the cut" by a score that has a given correlation with minus EF."""
    cut = (EF_CUT - EF_MEAN) / EF_SD
    below = -8 + (cut + 8) * (np.arange(400) + 0.5) / 400
    above = cut + (8 - cut) * (np.arange(400) + 0.5) / 400
    weight = np.exp(-(below[:, None] ** 2 + above[None, :] ** 2) / 2)
    weight /= weight.sum()
    apart = above[None, :] - below[:, None]
    grid = np.linspace(-0.995, 0.995, 399)
    values = [float((weight * ndtr(r * apart / np.sqrt(2 * (1 - r * r)))).sum()) for r in grid]
    return grid, np.array(values)


def overlap(error: FloatArray) -> FloatArray:
    """The Dice-like score of an error of the size."""
    return np.asarray(BEST_OVERLAP * np.exp(-np.square(error) / (2 * SIZE_SCALE**2)))


def splits_of_people(n: int, protocol: str, n_train: int, seed: int) -> list[RowSplit]:
    """Splits of people: five folds by a seed, or the first ``n_train`` people against the others."""
    names = np.array([f"p{i:05d}" for i in range(n)])
    parts = np.where(np.arange(n) < n_train, "train", "test")
    return row_splits(names, parts, protocol=protocol, n_fold=5, seed=seed)


def splits_of_frames(splits: Sequence[RowSplit]) -> list[RowSplit]:
    """The same splits for two rows a person."""

    def doubled(people: IntArray) -> IntArray:
        return np.stack([2 * people, 2 * people + 1], axis=1).ravel()

    return [
        RowSplit(doubled(s.train), tuple(doubled(p) for p in s.inner), doubled(s.test), s.name)
        for s in splits
    ]
