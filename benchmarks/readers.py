"""The human ceiling of the left ventricle (a0): a reader against the consensus of the others.

``python -m benchmarks.readers --root UNITYLV`` reads UnityLV-MultiX and prints the Dice of each
reader against the consensus of the other readers, and their mean with an interval from resamples of
patients; ``--phantom N`` does so on a phantom of N patients. The mean is a candidate for the upper
anchor of a0-A4-V, "as close to the consensus as a reader is".
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from etab import phantom
from etab.datasets.unitylv import UnityLvSource, consensus
from etab.metrics.uncertainty import percentile_interval, resample_weights
from etab.types import Array, FloatArray

RESAMPLES = 2000


def overlap(one: Array, other: Array) -> float:
    """Compute the Dice of two masks.

    Args:
        one: Boolean (h, w).
        other: Boolean (h, w).
    """
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def agreement(source: UnityLvSource) -> tuple[list[str], FloatArray]:
    """Compute the Dice of each reader against the others, by patient.

    Args:
        source: The data.

    Returns:
        The readers, and (patients, readers) means over the frames of a patient; NaN where a reader
        outlined none of them.
    """
    readers = list(source.readers)
    table = np.full((len(source.records()), len(readers)), np.nan)
    for row, record in enumerate(source.records()):
        of_frames: dict[str, list[float]] = {reader: [] for reader in readers}
        for number in range(source.n_frames(record)):
            readings = source.readings(record, number)
            for reader, mask in readings.items():
                others = [other for name, other in readings.items() if name != reader]
                if others:
                    of_frames[reader].append(overlap(mask, consensus(others)))
        for column, reader in enumerate(readers):
            if of_frames[reader]:
                table[row, column] = np.mean(of_frames[reader])
    return readers, table


def report(source: UnityLvSource) -> str:
    """Write the Dice of every reader and the ceiling as text."""
    readers, table = agreement(source)
    of_patients = np.nanmean(table, axis=1)
    weights = resample_weights(len(table), RESAMPLES, np.random.default_rng(0))
    draws = weights @ of_patients / weights.sum(axis=1)
    ceiling = percentile_interval(
        float(of_patients.mean()),
        np.asarray(draws, dtype=np.float64),
        method="bootstrap over patients",
    )
    means = np.nanmean(table, axis=0)
    lines = [f"{name}  {value:.3f}" for name, value in zip(readers, means, strict=True)]
    kind = "phantom patients" if source.phantom else "patients"
    lines.append(
        f"a reader against the consensus of the others: Dice {ceiling.value:.3f} "
        f"({ceiling.low:.3f} to {ceiling.high:.3f}), {len(table)} {kind}, {len(readers)} readers"
    )
    return "\n".join(lines)


def main() -> None:
    """Read the arguments and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--phantom", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.root is not None:
        print(report(UnityLvSource(arguments.root)))
        return
    with tempfile.TemporaryDirectory() as folder:
        phantom.write(Path(folder), patients=arguments.phantom, names=("unitylv",))
        print(report(UnityLvSource(Path(folder) / "unitylv")))


if __name__ == "__main__":
    main()
