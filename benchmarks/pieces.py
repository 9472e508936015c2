"""Recordings that are pieces of one longer recording: ``python -m benchmarks.pieces cinc2016=DIR circor=DIR``.

``benchmarks/pieces.md`` has a row for each two recordings of different patients that share a stretch: where
it lies, how long it is, how many of its samples are equal, how they correlate, and the labels of both. Below
are the people that follow from all rows, and as a control the largest correlation, at any shift, between
recordings of different people among them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from etab import datasets
from etab.datasets.base import SoundSource
from etab.datasets.integrity.stretches import Marks, marks_of, shared_stretches
from etab.types import FloatArray, Record

TABLE = Path(__file__).with_suffix(".md")
FEWEST_SECONDS = 3.0  # that two strangers share, for their correlation to count


@dataclass(frozen=True)
class Stretch:
    """What two recordings share.

    Attributes:
        first: Id of one recording.
        second: Id of the other.
        shift: Seconds of the first before the second begins; negative where it begins earlier.
        seconds: Length of the stretch.
        equal: Share of its samples that are equal.
        correlation: Correlation of its samples.
    """

    first: str
    second: str
    shift: float
    seconds: float
    equal: float
    correlation: float


def shift_of(first: Marks, second: Marks) -> int:
    """Samples of the first recording before the second begins, as most of their marks say."""
    places: dict[int, list[int]] = {}
    for mark, place in zip(first.hashes.tolist(), first.positions.tolist(), strict=True):
        places.setdefault(mark, []).append(place)
    shifts: Counter[int] = Counter(
        before - place
        for mark, place in zip(second.hashes.tolist(), second.positions.tolist(), strict=True)
        for before in places.get(mark, [])
    )
    return shifts.most_common(1)[0][0]


def overlap(first: FloatArray, second: FloatArray, shift: int) -> tuple[FloatArray, FloatArray]:
    """The samples of both where they overlap, the second one beginning ``shift`` samples late."""
    start, stop = max(shift, 0), min(len(first), shift + len(second))
    return first[start:stop], second[start - shift : stop - shift]


def largest_correlation(first: FloatArray, second: FloatArray, least: int) -> float:
    """The largest correlation of two sounds at any shift at which they share ``least`` samples."""
    first = np.asarray(first - first.mean(), dtype=np.float64)
    second = np.asarray(second - second.mean(), dtype=np.float64)
    size = 1 << (len(first) + len(second)).bit_length()
    spectrum = np.fft.rfft(first, size) * np.conj(np.fft.rfft(second, size))
    shifts = np.arange(least - len(second), len(first) - least + 1)
    products = np.fft.irfft(spectrum, size)[shifts]
    start, stop = np.maximum(shifts, 0), np.minimum(len(first), shifts + len(second))
    sums = [np.concatenate([[0.0], np.cumsum(np.square(sound))]) for sound in (first, second)]
    energy = (sums[0][stop] - sums[0][start]) * (sums[1][stop - shifts] - sums[1][start - shifts])
    return float(np.abs(products / np.sqrt(np.where(energy > 0, energy, np.inf))).max(initial=0.0))


def people_of(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The recordings of each person: all that are joined by pairs."""
    groups: list[set[str]] = []
    for pair in pairs:
        joined = [group for group in groups if group & set(pair)]
        groups = [group for group in groups if group not in joined]
        groups.append(set(pair).union(*joined))
    return sorted(sorted(group) for group in groups)


def label_of(source: SoundSource, record: Record) -> str:
    """The first reference value of a recording, in words."""
    target = source.card.targets[0]
    answers = source.answers(record, target)
    return target.classes[int(answers[0].value)] if answers and target.classes else "-"


def measured(name: str, root: Path) -> Iterator[str]:
    """The lines of one data set."""
    source = datasets.source(name, root)
    assert isinstance(source, SoundSource)
    records = list(source.records())
    marks = [marks_of(source.wave(record)[0]) for record in records]
    _, people = np.unique([record.patient for record in records], return_inverse=True)
    stretches: list[Stretch] = []
    labels: dict[str, str] = {}
    sounds: dict[str, FloatArray] = {}
    rate = 1
    for i, j in shared_stretches(marks, people):
        for record in (records[i], records[j]):
            sounds[record.id], rate = source.wave(record)
            labels[record.id] = label_of(source, record)
        shift = shift_of(marks[i], marks[j])
        a, b = overlap(sounds[records[i].id], sounds[records[j].id], shift)
        equal, correlation = float(np.mean(a == b)), float(np.corrcoef(a, b)[0, 1])
        ids = records[i].id, records[j].id
        stretches.append(Stretch(*ids, shift / rate, len(a) / rate, equal, correlation))
    yield f"## {name}: {len(records):,} recordings, {len(stretches)} pairs"
    if not stretches:
        return
    yield ""
    yield "| first | second | shift, s | shared, s | equal samples | correlation | labels |"
    yield "|---|---|---|---|---|---|---|"
    for s in stretches:
        both = f"{labels[s.first]}, {labels[s.second]}"
        yield (
            f"| {s.first} | {s.second} | {s.shift:.4f} | {s.seconds:.3f} | {s.equal:.1%} "
            f"| {s.correlation:.4f} | {both} |"
        )
    groups = people_of((s.first, s.second) for s in stretches)
    yield ""
    for group in groups:
        yield f"* One recording in {len(group)} pieces: {', '.join(group)}."
    person = {piece: k for k, group in enumerate(groups) for piece in group}
    strangers = [p for p in combinations(sorted(sounds), 2) if person[p[0]] != person[p[1]]]
    least = round(FEWEST_SECONDS * rate)
    found = sorted(
        ((largest_correlation(sounds[p], sounds[q], least), p, q) for p, q in strangers),
        reverse=True,
    )
    if found:
        value, *names = found[0]
        yield (
            f"* The largest correlation of {len(found):,} pairs of pieces of different recordings, at any shift "
            f"at which they share {FEWEST_SECONDS:.0f} s: {value:.3f} ({' and '.join(names)})."
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Look through the data sets that are named, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", help="NAME=DIR")
    lines = ["# Pieces of one recording", "", "Written by `python -m benchmarks.pieces`."]
    for word in parser.parse_args(arguments).data:
        name, _, folder = word.partition("=")
        lines += ["", *measured(name, Path(folder))]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
