"""The lower anchors of the heart-sound tasks, computed on CirCor: ``python -m benchmarks.anchors_sound --root CIRCOR``.

e1: the median heart rate of the training folds for everybody, five folds of people (the protocol of the board). f1, f2:
one answer for everybody by the official code, and the cost of the right outcome for everybody. Reads the patients' .txt
and the .tsv alone, so a copy without sound will do; the anchors of ``etab.tasks.menu`` are of all 942 patients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from etab.datasets.circor_layout import persons, read_patient, read_states
from etab.metrics.challenge2022 import challenge2022
from etab.sounds.states import MURMUR, OUTCOME, heart_rate
from etab.splits import folds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, required=True, help="the folder that contains training_data/"
    )
    folder = parser.parse_args().root / "training_data"
    patients = [read_patient(path) for path in sorted(folder.glob("*.txt")) if path.stem.isdigit()]
    people = persons({p.id: p.facts.get("Additional ID", "nan") for p in patients})
    beats = [
        (people[p.id], heart_rate(read_states(folder / files["states"])))
        for p in patients
        for _, files in p.recordings
    ]
    told = [(who, rate) for who, rate in beats if rate is not None]
    who, rates = np.array([w for w, _ in told]), np.array([r for _, r in told])
    place = folds(who.tolist(), 5, 0)
    fold = np.array([place[w] for w in who])
    wrong = np.concatenate(
        [np.abs(rates[fold == k] - np.median(rates[fold != k])) for k in range(5)]
    )
    print(
        f"{len(patients)} ids of {len(set(people.values()))} people, {len(beats)} recordings, {len(told)} with a beat"
    )
    print(
        f"e1-AL-D  training median, cv5: MAE {wrong.mean():.3f} bpm (standard deviation {rates.std():.2f})"
    )
    murmur = np.eye(3)[[MURMUR.index(p.facts["Murmur"]) for p in patients]]
    outcome = np.eye(2)[[OUTCOME.index(p.facts["Outcome"]) for p in patients]]
    for word, first, second in (
        ("Present + Abnormal", 0, 0),
        ("Unknown + Abnormal", 1, 0),
        ("Absent + Normal", 2, 1),
    ):
        said, ill = (
            np.tile(np.eye(3)[first], (len(patients), 1)),
            np.tile(np.eye(2)[second], (len(patients), 1)),
        )
        heard, found = challenge2022(murmur, outcome, said, ill, said, ill)
        print(
            f"f1, f2   {word:20s} murmur weighted accuracy {heard.weighted_accuracy:.4f}  outcome weighted accuracy "
            f"{found.weighted_accuracy:.4f}  cost {found.cost:.4f}"
        )
    heard, found = challenge2022(murmur, outcome, murmur, outcome, murmur, outcome)
    print(
        f"f1, f2   {'the right answers':20s} murmur weighted accuracy {heard.weighted_accuracy:.4f}  outcome weighted "
        f"accuracy {found.weighted_accuracy:.4f}  cost {found.cost:.4f}"
    )


if __name__ == "__main__":
    main()
