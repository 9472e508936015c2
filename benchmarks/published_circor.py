"""A published murmur score on CirCor, made again with the published lists of patients.

``python -m benchmarks.published_circor --root CIRCOR --weights BYOLA512 [--keep FILE]`` prints the
table ``benchmarks/published_circor.md``.

Niizumi et al. (EMBC 2024, arXiv 2404.17107; github.com/nttcslab/m2d, app/circor) trained BYOL-A with
2,048 features on three lists of patients, five seeds each. Their lists are ``lists:walker1`` to
``lists:walker3``, their scores are in ``scores/circor-scores-rulebased.csv`` and ``-normal.csv``. Here
the network has 512 features, the smallest that its authors publish, and stays as it is; only the last
layer is trained, by the published recipe: segments of 5 s, batch norm and one linear layer, SGD with
a rate of 0.001 for 50 epochs, the epoch with the best validation accuracy. Segments follow each other
every 5 s (published: 2.5 s) in batches of 128 (published: 256), so that the steps are as many.

The published loss is the cross-entropy of a softmax of a softmax: answers stay between .21 and .58.
The recipe is run with this loss and with the plain one, and with both published ways of joining the
recordings of a patient.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.byol_a import RATE, LogMel, load
from etab.datasets import CircorSource
from etab.metrics.challenge2022 import weighted_accuracy_2022
from etab.sounds.windows import resample
from etab.tasks.lists import list_key, listed_folds
from etab.types import Array, FloatArray, IntArray

CLASSES = ("Absent", "Present", "Unknown")
"""Order of the published network's outputs."""

LISTS = ("walker1", "walker2", "walker3")
SEEDS = tuple(range(43, 48))
PUBLISHED = {
    "any_present": {
        "walker1": (0.590, 0.062),
        "walker2": (0.529, 0.093),
        "walker3": (0.548, 0.081),
    },
    "mean": {"walker1": (0.580, 0.065), "walker2": (0.546, 0.091), "walker3": (0.581, 0.078)},
}
"""Mean and standard deviation of the weighted accuracy of BYOL-A over five seeds."""

_SEGMENT = 5 * RATE
_EPOCHS = 50
_WARM_UP = 5
_BATCH = 128
_RATE = 0.001
_LEAST_RATE = 1e-7
_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Segments:
    """Segments of all recordings with their features.

    Attributes:
        features: (n, 512) features.
        recordings: (n,) the recording of each segment.
        patients: (n,) the patient id.
        people: (n,) the person behind the id.
        murmurs: (n,) index in CLASSES of the patient.
        tested: (n,) whether tests use the segment.
    """

    features: FloatArray
    recordings: Array
    patients: Array
    people: Array
    murmurs: IntArray
    tested: Array


def cut(sound: FloatArray) -> Iterator[tuple[FloatArray, bool]]:
    """Cut a recording into segments that follow each other.

    Args:
        sound: (samples,) at 16 kHz.

    Yields:
        A segment of 5 s, the last one filled with zeros and left out if less than half of it is
        sound, and whether a test uses it: it is whole, or the only one of a short recording.
    """
    for start in range(0, max(1, len(sound) - _SEGMENT // 2 + 1), _SEGMENT):
        segment = sound[start : start + _SEGMENT]
        is_whole = len(segment) == _SEGMENT or start == 0
        yield np.pad(segment, (0, _SEGMENT - len(segment))), is_whole


def log_mel_moments(source: CircorSource, log_mel: LogMel) -> tuple[float, float]:
    """Mean and standard deviation of the log-mel values of every recording's first segment."""
    sums = np.zeros(3)
    for record in source.records():
        samples, rate = source.wave(record)
        segment = _at_rate(samples[: _SEGMENT * rate // RATE], rate)
        with torch.no_grad():
            values = log_mel(torch.from_numpy(segment)[None]).double()
        sums += (values.numel(), float(values.sum()), float((values**2).sum()))
    mean = sums[1] / sums[0]
    return mean, float(np.sqrt(sums[2] / sums[0] - mean**2))


def _at_rate(samples: FloatArray, rate: int) -> FloatArray:
    return np.asarray(resample(samples, rate, RATE), dtype=np.float32)


def embed(root: Path, weights: Path, keep: Path | None = None) -> Segments:
    """Compute the features of every segment of every recording.

    Args:
        root: CirCor as published.
        weights: Weights of BYOL-A with 512 features.
        keep: A file that features are read from and written to; None for none.
    """
    source = CircorSource(root)
    records = source.records()
    if keep is not None and keep.exists():
        with np.load(keep) as file:
            return Segments(**{name: file[name] for name in Segments.__slots__})
    log_mel = LogMel()
    network = load(weights, *log_mel_moments(source, log_mel)).to(memory_format=torch.channels_last)
    target = source.card.target("murmur")
    order = [target.classes.index(name) for name in CLASSES]
    rows: dict[str, list[object]] = {name: [] for name in Segments.__slots__}
    for record in records:
        pieces = list(cut(_at_rate(*source.wave(record))))
        with torch.no_grad():
            bands = log_mel(torch.from_numpy(np.stack([segment for segment, _ in pieces])))
            with torch.autocast("cpu", torch.bfloat16):
                rows["features"] += list(network(bands).float().numpy())
        (answer,) = source.answers(record, target)
        facts = {
            "recordings": record.id,
            "patients": record.meta["id"],
            "people": record.patient,
            "murmurs": order.index(int(answer.value)),
        }
        for name, value in facts.items():
            rows[name] += [value] * len(pieces)
        rows["tested"] += [is_tested for _, is_tested in pieces]
    arrays = {name: np.array(values) for name, values in rows.items()}
    if keep is not None:
        np.savez(keep, **arrays)  # type: ignore[arg-type]
    return Segments(**arrays)


def published_loss(
    outputs: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """The published loss: cross-entropy of outputs that went through a softmax before."""
    return functional.cross_entropy(functional.softmax(outputs, dim=1), truth, weight)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "published": published_loss,
    "plain": functional.cross_entropy,
}
"""Losses by name, each of (outputs, truth, weights of classes)."""


def learning_rate(epoch: float) -> float:
    """The published schedule: five epochs of warm-up, then half a cosine over all epochs."""
    if epoch < _WARM_UP:
        return _RATE * epoch / _WARM_UP
    cosine = 0.5 * (1 + np.cos(np.pi * epoch / _EPOCHS))
    return float(_LEAST_RATE + (_RATE - _LEAST_RATE) * cosine)


def outputs_of(
    segments: Segments, parts: dict[str, Array], loss: str, seed: int, epochs: int = _EPOCHS
) -> FloatArray:
    """Train the last layer as published.

    Args:
        segments: The segments.
        parts: (n,) bool for "train" and "val": which segments are of its patients.
        loss: Name of a loss.
        seed: Seed of the first weights and of the order of segments.
        epochs: Number of epochs.

    Returns:
        (n, 3) outputs of every segment, by the epoch with the best validation accuracy.
    """
    torch.manual_seed(seed)
    features = torch.from_numpy(segments.features)
    truth = torch.from_numpy(segments.murmurs)
    train, val = (torch.from_numpy(np.flatnonzero(parts[part])) for part in ("train", "val"))
    counts = torch.bincount(truth[train], minlength=len(CLASSES))
    weight = len(train) / (len(CLASSES) * counts.float())
    last = nn.Linear(features.shape[1], len(CLASSES))
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    head = nn.Sequential(nn.BatchNorm1d(features.shape[1], affine=False), last)
    optimizer = torch.optim.SGD(head.parameters(), _RATE, momentum=0.9)
    best, answers = -1.0, np.zeros((len(truth), len(CLASSES)))
    for epoch in range(epochs):
        head.train()
        batches = torch.split(train[torch.randperm(len(train))], _BATCH)
        for number, rows in enumerate(batches):
            optimizer.param_groups[0]["lr"] = learning_rate(epoch + number / len(batches))
            optimizer.zero_grad()
            LOSSES[loss](head(features[rows]), truth[rows], weight).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        head.eval()
        with torch.no_grad():
            accuracy = float((head(features[val]).argmax(dim=1) == truth[val]).float().mean())
            if accuracy > best:
                best, answers = accuracy, head(features).numpy()
    return answers


def answers_of(segments: Segments, outputs: FloatArray, tested: Array, rule: str) -> IntArray:
    """Join the segments of a patient to an answer.

    Args:
        segments: The segments.
        outputs: (n, 3) outputs.
        tested: The patients that are answered.
        rule: "any_present": the most serious answer of a recording; "mean": the mean output of
            the recordings.

    Returns:
        (patients,) indexes in CLASSES.
    """
    answers = []
    for patient in tested:
        rows = np.flatnonzero((segments.patients == patient) & segments.tested)
        recordings = segments.recordings[rows]
        means = np.array([outputs[rows[recordings == r]].mean(0) for r in np.unique(recordings)])
        if rule == "mean":
            answers.append(int(means.mean(0).argmax()))
            continue
        heard = set(means.argmax(1).tolist())
        serious = ("Present", "Unknown", "Absent")
        answers.append(next(c for c in map(CLASSES.index, serious) if c in heard))
    return np.array(answers)


def weighted_accuracy(truth: IntArray, answers: IntArray) -> float:
    """The weighted accuracy of the Challenge 2022 for murmurs."""
    every = np.eye(len(CLASSES))
    weights = [{"Present": 5.0, "Unknown": 3.0, "Absent": 1.0}[name] for name in CLASSES]
    return weighted_accuracy_2022(every[truth], every[answers], weights)


def interval(truth: IntArray, answers: Sequence[IntArray], people: Array) -> tuple[float, float]:
    """Interval of the mean over seeds, by drawing people anew.

    Args:
        truth: (patients,) murmurs.
        answers: The answers of each seed.
        people: (patients,) the person of each patient.
    """
    rng = np.random.default_rng(0)
    weights = np.array([1.0, 5.0, 3.0])[truth]
    right = np.mean([truth == given for given in answers], axis=0) * weights
    _, index = np.unique(people, return_inverse=True)
    draws = rng.multinomial(
        index.max() + 1, np.full(index.max() + 1, 1 / (index.max() + 1)), _DRAWS
    )
    chosen = draws[:, index]
    low, high = np.percentile(chosen @ right / (chosen @ weights), [2.5, 97.5])
    return float(low), float(high)


Values = dict[tuple[str, str], list[tuple[float, float]]]
"""Published and measured values of each list, by loss and rule."""


def rows_of_list(segments: Segments, name: str, values_of: Values) -> list[str]:
    """Run the recipe on a list, and write its rows of the table.

    Args:
        segments: The segments of all recordings.
        name: Name of the list.
        values_of: Receives the values of this list.
    """
    (fold,) = listed_folds(list_key(name))
    parts = {part: np.isin(segments.patients, sorted(ids)) for part, ids in fold.parts.items()}
    patients, first = np.unique(segments.patients[parts["test"]], return_index=True)
    truth = segments.murmurs[parts["test"]][first]
    people = segments.people[parts["test"]][first]
    fitted = segments.people[parts["train"] | parts["val"]]
    divided = np.isin(people, fitted)
    lines = []
    for loss in LOSSES:
        outputs = [outputs_of(segments, parts, loss, seed) for seed in SEEDS]
        for rule, published in PUBLISHED.items():
            answers = [answers_of(segments, o, patients, rule) for o in outputs]
            values = [weighted_accuracy(truth, a) for a in answers]
            apart = [weighted_accuracy(truth[~divided], a[~divided]) for a in answers]
            low, high = interval(truth, answers, people)
            mean, deviation = published[name]
            values_of.setdefault((loss, rule), []).append((mean, float(np.mean(values))))
            lines.append(
                f"| {name} | {len(patients)} ({divided.sum()}) | {loss} | {rule} "
                f"| {mean:.3f} ({deviation:.3f}) | {np.mean(values):.3f} ({np.std(values, ddof=1):.3f}) "
                f"| {low:.3f} to {high:.3f} | {'yes' if low <= mean <= high else 'no'} "
                f"| {np.mean(apart):.3f} |"
            )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    segments = embed(options.root, options.weights, options.keep)
    print(_HEADING)
    values_of: Values = {}
    for name in LISTS:
        print("\n".join(rows_of_list(segments, name, values_of)), flush=True)
    for (loss, rule), values in values_of.items():
        published, here = np.mean(values, axis=0)
        print(f"| all three | | {loss} | {rule} | {published:.3f} | {here:.3f} | | | |")


_HEADING = """# A published murmur score on CirCor, made again

Weighted accuracy of the Challenge 2022; means of five seeds with their standard deviation. Published:
BYOL-A with 2,048 features, trained as a whole. Here: 512 features, of which the last layer is trained.
The features are computed in bfloat16 and normalised by the mean and standard deviation of the log-mel
values of all recordings, tested ones included; no label enters them.
`published` and `plain` are losses, `any_present` and `mean` ways of joining the recordings of a patient:
see `benchmarks/published_circor.py`. In brackets after the patients: those whose other id, the same
person, was trained on or validated with. The last column leaves them out.

| list | tested | loss | patient | published | here | 95 % over people | published is inside | without divided people |
|---|---|---|---|---|---|---|---|---|"""


if __name__ == "__main__":
    main()
