"""What the intervals and tests of etab say of one replicate, beside the truth.

The predictions of a replicate become prediction tables, and everything else is computed by the
functions that a board uses (``etab.metrics.inference``, ``etab.leaderboard.pairs``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.coverage_refits import Replicate, Setting, fold_of_people, refit
from benchmarks.coverage_world import ANCHORS, TASKS, overlap
from etab.leaderboard.noise import Noise, difference_patient_variances, difference_variances, mixed
from etab.leaderboard.pairs import compare
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.design import FoldDesign
from etab.metrics.inference import combined, half_widths, precision_of, two_sided_p
from etab.metrics.intervals import interval_of_encoder
from etab.types import Array, FloatArray, IntArray, Kind

SCORES = (*TASKS, "score")
METRIC_OF = {"dice": "dice", "mae": "mae", "phase": "auroc", "cm": "auroc"}
SHARES = dict.fromkeys(TASKS, 1 / len(TASKS))
_GROUP = ("made", "made")


@dataclass(frozen=True)
class Summary:
    """One replicate in numbers, for four tasks and their score (anchored), in this order.

    Attributes:
        values: (scores, backbones) what is measured.
        fitted: (scores, backbones) the exact value of the fitted probes on new people.
        probe_half: (scores, backbones) half width of the interval of these probes.
        encoder_half: (scores, backbones) half width of Student's interval of the encoder.
        encoder_low: (scores, backbones) lower end of the interval of the encoder.
        encoder_high: (scores, backbones) its upper end.
        probe_p: (scores, backbones, backbones) p of each difference, as one of these probes.
        encoder_p: The same as one of encoders.
        beats: (scores, backbones, backbones) who is told apart from whom, with Holm.
    """

    values: FloatArray
    fitted: FloatArray
    probe_half: FloatArray
    encoder_half: FloatArray
    encoder_low: FloatArray
    encoder_high: FloatArray
    probe_p: FloatArray
    encoder_p: FloatArray
    beats: Array

    def save(self, path: Path) -> None:
        """Write the summary as one file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, **{name: getattr(self, name) for name in self.__dataclass_fields__})
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Summary:
        """Read a summary."""
        with np.load(path) as arrays:
            return cls(**{name: arrays[name] for name in arrays.files})


def rows_of(name: str, setting: Setting, replicate: Replicate, backbone: int) -> ScoredRows:
    """The prediction table of one task and backbone, all repeats one after another.

    Args:
        name: The task.
        setting: The setting of the replicate.
        replicate: The replicate.
        backbone: Index of the backbone.

    Returns:
        The table of the tested rows.
    """
    truth = replicate.truth[name]
    per_person = len(truth) // setting.people
    person = np.arange(len(truth)) // per_person
    people = np.array([f"p{i:05d}" for i in range(setting.people)])
    scores: list[FloatArray] = []
    answers: list[FloatArray] = []
    patients: list[Array] = []
    folds: list[Array] = []
    repeats: list[IntArray] = []
    for repeat, fold in enumerate(fold_of_people(setting)):
        tested = np.flatnonzero(fold[person] >= 0)
        scores.append(replicate.predictions[name][backbone, repeat, tested])
        answers.append(truth[tested])
        patients.append(people[person[tested]])
        folds.append(np.array([f"fold{k}" for k in fold[person[tested]]]))
        repeats.append(np.full(len(tested), repeat))
    columns = {"truth": np.concatenate(answers), "score": np.concatenate(scores)}
    kind = Kind.VALUE if name == "mae" else Kind.BINARY
    if name == "dice":
        kind = Kind.MASK
        columns = {"dice": overlap(columns["score"] - columns["truth"])}
    placed = [np.concatenate(parts) for parts in (patients, folds, repeats)]
    return ScoredRows(kind, columns, *placed)


def summarised(setting: Setting, replicate: Replicate) -> Summary:
    """Compute every interval and test of a replicate.

    Args:
        setting: The setting of the replicate.
        replicate: The replicate.

    Returns:
        The summary.
    """
    design = FoldDesign(setting.n_fold, setting.repeats, 0.25)
    if setting.protocol == "official":
        design = FoldDesign.of_split(setting.test, setting.train)
    n = len(setting.noises)
    values: dict[str, FloatArray] = {}
    noises: list[dict[str, Noise]] = [{} for _ in range(n)]
    for name in TASKS:
        low, high = ANCHORS[name]
        measured = []
        for b in range(n):
            rows = rows_of(name, setting, replicate, b)
            order = np.unique(rows.patients)
            part = precision_of(METRIC_OF[name], rows, order, design)
            noises[b][name] = Noise({_GROUP: combined([part], [1 / (high - low)])})
            measured.append((METRICS[METRIC_OF[name]].value(rows) - low) / (high - low))
        values[name] = np.array(measured)
    fitted: dict[str, FloatArray] = {}
    for t, name in enumerate(TASKS):
        low, high = ANCHORS[name]
        fitted[name] = (replicate.fitted[t].mean(axis=(1, 2)) - low) / (high - low)
    for by_name in (values, fitted):
        by_name["score"] = np.mean([by_name[name] for name in TASKS], axis=0)
    of_scores = [_of_score(name, noises) for name in SCORES]
    return _summary(values, fitted, of_scores)


def _of_score(name: str, noises: Sequence[Mapping[str, Noise]]) -> list[Noise]:
    if name == "score":
        return [mixed(of_backbone, SHARES) for of_backbone in noises]
    return [of_backbone[name] for of_backbone in noises]


def _summary(
    values: Mapping[str, FloatArray],
    fitted: Mapping[str, FloatArray],
    of_scores: Sequence[Sequence[Noise]],
) -> Summary:
    parts: dict[str, list[Array]] = {name: [] for name in Summary.__dataclass_fields__}
    for name, noises in zip(SCORES, of_scores, strict=True):
        degrees = noises[0].degrees
        differences = values[name][:, None] - values[name][None, :]
        probes = np.array([noise.patient_variance for noise in noises])
        names = [str(b) for b in range(len(noises))]
        parts["values"].append(values[name])
        parts["fitted"].append(fitted[name])
        parts["probe_half"].append(half_widths(probes, degrees))
        halves = np.array([noise.half_width for noise in noises])
        parts["encoder_half"].append(halves)
        ends = [_ends(name, *pair) for pair in zip(values[name], halves, strict=True)]
        parts["encoder_low"].append(np.array([min(pair) for pair in ends]))
        parts["encoder_high"].append(np.array([max(pair) for pair in ends]))
        of_probes = difference_patient_variances(noises)
        parts["probe_p"].append(two_sided_p(differences, of_probes, degrees))
        of_encoders = difference_variances(noises)
        parts["encoder_p"].append(two_sided_p(differences, of_encoders, degrees))
        parts["beats"].append(compare(values[name].tolist(), noises, names).beats)
    return Summary(**{name: np.stack(arrays) for name, arrays in parts.items()})


def _ends(name: str, value: float, half: float) -> tuple[float, float]:
    """The ends of the interval of an encoder in anchored units, as a board computes them."""
    if name == "score":
        return value - half, value + half
    low, high = ANCHORS[name]
    scale = high - low
    ends = interval_of_encoder(METRIC_OF[name], low + value * scale, half * abs(scale))
    return (ends[0] - low) / scale, (ends[1] - low) / scale


def error_of_share(shares: Array) -> float:
    """What the mean of shares is known to, in %, 95 % of the time.

    Two more hits and two more misses are counted (Agresti and Coull, Am. Stat. 52, 1998), so that
    the error is not 0 where all were hit.

    Args:
        shares: (cohorts,) 0 to 1. What backbones of one cohort share makes them count as one.

    Returns:
        The half width of the interval.
    """
    n = len(shares) + 4
    share = (float(np.sum(shares)) + 2) / n
    return float(196 * np.sqrt(share * (1 - share) / n))


def with_error(shares: Array) -> str:
    """The mean of (cohorts,) shares in %, with what it is known to."""
    return f"{100 * float(np.mean(shares)):.1f} ± {error_of_share(shares):.1f}"


def summary_of(
    setting: Setting,
    seed: int,
    folder: Path | None,
    make: Callable[[Setting, int], Replicate] = refit,
) -> Summary:
    """Make one replicate and its summary, or read what ``folder`` already holds of it.

    Args:
        setting: The setting.
        seed: Seed of the replicate.
        folder: Where replicates and summaries are kept; None keeps none.
        make: What draws and fits a replicate.

    Returns:
        The summary.
    """
    if folder is None:
        return summarised(setting, make(setting, seed))
    kept = folder / setting.name / f"{seed:05d}.npz"
    path = folder / setting.name / f"summary{seed:05d}.npz"
    if path.exists():
        return Summary.load(path)
    if kept.exists():
        replicate = Replicate.load(kept)
    else:
        replicate = make(setting, seed)
        replicate.save(kept)
    summary = summarised(setting, replicate)
    summary.save(path)
    return summary
