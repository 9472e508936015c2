"""Which envelope gives the heart rate of a recording: a table over the annotated recordings of CirCor.

``python -m benchmarks.heart_rate --root CIRCOR [--folds 5] [--seed 0] [--segment]``

The heart rate is that of the highest peak of the envelope's autocorrelation. The truth is the
median time between annotated S1. ``--segment`` also segments every recording with the heart rates
of each envelope that a head uses (``hsmm``, ``hsmm_wavelet``), in folds of people: F1 at 100 ms.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from etab.datasets import CircorSource
from etab.heads.states.hsmm import cross_segment
from etab.metrics.states import segmentation
from etab.sounds.envelopes import KINDS, envelopes
from etab.sounds.semimarkov import BEATS, HOMOMORPHIC, WAVELET, beat_envelope, heart_timings
from etab.sounds.states import heart_rate, states_at
from etab.splits import row_splits
from etab.types import Array, FloatArray, IntArray

TOLERANCE = 0.10
CONTEXT = 2
CANDIDATES = 5


def _column(kind: str) -> Callable[[FloatArray], FloatArray]:
    column = KINDS.index(kind)
    return lambda series: series[:, column]


ENVELOPES: Mapping[str, Callable[[FloatArray], FloatArray]] = MappingProxyType(
    {
        "homomorphic (hsmm)": lambda series: beat_envelope(series, HOMOMORPHIC),
        "Hilbert": _column("hilbert"),
        "power from 40 to 60 Hz": _column("psd"),
        "wavelet": _column("wavelet"),
        "wavelet, smoothed logarithm (hsmm_wavelet)": lambda s: beat_envelope(s, WAVELET),
    }
)


@dataclass(frozen=True, slots=True)
class Annotated:
    """One annotated recording.

    Attributes:
        person: Who it is of; ids that Additional ID joins are one person.
        infant: Whether the person is an infant.
        series: (n, 4) envelopes at 50 Hz.
        states: (n,) states at 50 Hz, -1 where nothing is annotated.
        rate: Heart rate in beats per minute by the annotation.
    """

    person: str
    infant: bool
    series: FloatArray
    states: IntArray
    rate: float


def load(root: Path) -> list[Annotated]:
    """Read every recording whose annotation holds a whole beat.

    Args:
        root: CirCor as published.

    Returns:
        The recordings, in the order of the release.
    """
    source = CircorSource(root)
    rows: list[Annotated] = []
    for record in source.records():
        intervals = source.intervals(record)
        rate = heart_rate(intervals)
        if rate is None:
            continue
        samples, per_second = source.wave(record)
        rows.append(
            Annotated(
                person=record.patient,
                infant=record.meta.get("age") == "Infant",
                series=envelopes(samples, per_second, name=record.id),
                states=states_at(intervals, len(samples), per_second),
                rate=rate,
            )
        )
    return rows


def rates_of(rows: Sequence[Annotated], select: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Read the heart rate of each recording from one envelope.

    Args:
        rows: The recordings.
        select: The envelope (n,) of a series (n, 4).

    Returns:
        (recordings,) beats per minute.
    """
    return np.array([60 / heart_timings(select(row.series))[0].period for row in rows])


def accuracy_line(name: str, rates: FloatArray, rows: Sequence[Annotated]) -> str:
    """Write one row of the table of heart rates.

    Args:
        name: Name of the envelope.
        rates: (recordings,) beats per minute.
        rows: The recordings.

    Returns:
        A row of a Markdown table: share within 10 %, the same for infants, mean absolute error.
    """
    truth = np.array([row.rate for row in rows])
    infant = np.array([row.infant for row in rows])
    near = np.abs(rates / truth - 1) <= TOLERANCE
    error = float(np.abs(rates - truth).mean())
    of_infants = f"{near[infant].mean():.3f}" if infant.any() else ""
    return f"| {name} | {near.mean():.3f} | {of_infants} | {error:.1f} |"


def segmented(rows: Sequence[Annotated], beat: str, *, n_fold: int, seed: int) -> FloatArray:
    """Segment each recording by a model that was fitted without its person.

    Args:
        rows: The recordings.
        beat: The envelope that heart rates are read from, as for ``beat_envelope``.
        n_fold: Number of folds of people.
        seed: Seed of the folds.

    Returns:
        (recordings,) F1 at 100 ms.
    """
    people: Array = np.array([row.person for row in rows])
    splits = row_splits(people, people, protocol="cv", n_fold=n_fold, seed=seed)
    f1 = np.zeros(len(rows))
    for split, answers in cross_segment(
        [row.series for row in rows],
        [row.states for row in rows],
        people,
        splits,
        context=CONTEXT,
        candidates=CANDIDATES,
        beat=beat,
    ):
        for i, states in zip(split.test, answers, strict=True):
            f1[i] = segmentation(rows[i].states, states, tolerance_ms=100).f1
    return f1


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--segment", action="store_true")
    options = parser.parse_args()
    rows = load(options.root)
    infant = np.array([row.infant for row in rows])
    people = len({row.person for row in rows})
    print(f"{len(rows)} recordings of {people} people, {infant.sum()} of infants\n")
    print("| envelope | within 10 % | infants | MAE, bpm |")
    print("|---|---|---|---|")
    for name, select in ENVELOPES.items():
        print(accuracy_line(name, rates_of(rows, select), rows), flush=True)
    median = np.full(len(rows), float(np.median([row.rate for row in rows])))
    print(accuracy_line("median of all recordings", median, rows))
    if not options.segment:
        return
    print(f"\n| envelope of the heart rate | F1 at 100 ms, {options.folds} folds | infants |")
    print("|---|---|---|")
    for beat in BEATS:
        f1 = segmented(rows, beat, n_fold=options.folds, seed=options.seed)
        of_infants = f"{f1[infant].mean():.3f}" if infant.any() else ""
        print(f"| {beat} | {f1.mean():.3f} | {of_infants} |", flush=True)


if __name__ == "__main__":
    main()
