"""BMD-HS: how well facts that are no disease separate people with and without valve disease.

``python -m benchmarks.valves BMD-HS_DIR`` prints the AUROC of age and of loudness alone. Loudness
is the root of the mean square of the samples, as the mean over the recordings of a person.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from etab.datasets.bmdhs import BmdhsSource
from etab.metrics import METRICS


def separations(root: Path) -> dict[str, float]:
    """Compute the AUROC of age and of loudness for the target "disease".

    Args:
        root: The folder of BMD-HS, or its phantom.

    Returns:
        The AUROC by fact for having a disease; below 0.5, the ill have the lower values.
    """
    source = BmdhsSource(root)
    loudness: dict[str, list[float]] = {}
    ages: dict[str, float] = {}
    diseased: dict[str, int] = {}
    for record in source.records():
        samples, _ = source.wave(record)
        level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
        loudness.setdefault(record.patient, []).append(level)
        ages[record.patient] = float(record.meta["age"])
        diseased[record.patient] = int(bool(record.meta["diseases"]))
    people = list(diseased)
    everybody = np.array(people)
    truth = np.array([diseased[person] for person in people])
    auroc = METRICS["auroc"]
    by_age = np.array([ages[person] for person in people])
    by_loudness = np.array([np.mean(loudness[person]) for person in people])
    return {
        "age": float(auroc({"truth": truth, "score": by_age}, everybody)),
        "loudness": float(auroc({"truth": truth, "score": by_loudness}, everybody)),
    }


if __name__ == "__main__":
    for name, value in separations(Path(sys.argv[1])).items():
        sys.stdout.write(f"{name}: AUROC {value:.3f}\n")
