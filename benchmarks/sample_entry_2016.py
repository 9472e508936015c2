"""The sample entry of CinC 2016, made again: twenty timing features and a logistic regression.

``python -m benchmarks.sample_entry_2016 --root CINC2016 [--keep FILE]`` prints how recordings of one
database are answered by a fit on another, with both scores of the challenge. The output for all
3,240 public recordings is ``benchmarks/sample_entry_2016.txt``.

The published entry was fitted on a balanced part of database a, and Liu et al. (Physiol. Meas. 37(12),
2016) fitted it with one database left out. Here the features come from a segmenter that was fitted
on phantom sounds, with the heart rate of each envelope, and the regression weighs classes (and
databases in a class) alike, so that 0.5 decides. ``--keep`` keeps the features for the next run.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etab import heads
from etab.backbones.sound.timing import timing_of
from etab.datasets import Cinc2016Source
from etab.errors import EtabWarning, UndefinedError
from etab.heads.base import Memo
from etab.metrics import METRICS
from etab.sounds.semimarkov import BEATS
from etab.splits import inner_parts, row_splits
from etab.types import Array, Features, FloatArray, IntArray, RowSplit

METRICS_SHOWN = ("se", "sp", "macc", "macc_2016", "auroc")
HEADS = ("logistic_balanced", "stack")
FITTED_ON = "a"


@dataclass(frozen=True, slots=True)
class Recordings:
    """Recordings with their features.

    Attributes:
        names: (n,) ids.
        people: (n,) patients; each recording is one where the appendix is missing.
        databases: (n,) letters.
        abnormal: (n,) 1 for abnormal, 0 for normal.
        clean: (n,) 1 clean, 0 noisy, -1 without a mark.
        features: For each envelope of the heart rate, (n, 20) timing features.
    """

    names: Array
    people: Array
    databases: Array
    abnormal: IntArray
    clean: FloatArray
    features: dict[str, FloatArray]


def load(root: Path, keep: Path | None = None) -> Recordings:
    """Read every recording of the training folders and its features.

    Args:
        root: CinC 2016 as published.
        keep: A file that features are read from and written to; None for none.

    Returns:
        The recordings, in the order of the release.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EtabWarning)
        source = Cinc2016Source(root)
        records = source.records()
    target = source.card.target("abnormal")
    names = np.array([record.id for record in records])
    kept: dict[str, FloatArray] = {}
    if keep is not None and keep.exists():
        with np.load(keep) as file:
            if np.array_equal(file["names"], names):
                kept = {beat: file[beat] for beat in BEATS}
    features = kept or {beat: np.zeros((len(records), 20)) for beat in BEATS}
    if not kept:
        for i, record in enumerate(records):
            samples, rate = source.wave(record)
            for beat in BEATS:
                features[beat][i] = timing_of(samples, rate, record.id, beat)
        if keep is not None:
            kept = {"names": names, **features}
            np.savez(keep, **kept)  # type: ignore[arg-type]
    return Recordings(
        names=names,
        people=np.array([record.patient for record in records]),
        databases=np.array([record.meta["database"] for record in records]),
        abnormal=np.array([int(source.answers(r, target)[0].value) for r in records]),
        clean=np.array([float(r.meta["good"]) if "good" in r.meta else -1.0 for r in records]),
        features=features,
    )


def fitted_on_one(recordings: Recordings) -> list[RowSplit]:
    """One split: fitted on database a, tested on all others."""
    train = np.flatnonzero(recordings.databases == FITTED_ON)
    test = np.flatnonzero(recordings.databases != FITTED_ON)
    inner = inner_parts(recordings.people, train, 0)
    return [RowSplit(train, inner, test, f"fitted on {FITTED_ON}")]


def one_left_out(recordings: Recordings) -> list[RowSplit]:
    """A split for each database, which is tested; the others are fitted on."""
    people = recordings.people
    return row_splits(people, people, protocol="lodo", groups=recordings.databases)


def scores_of(
    recordings: Recordings, beat: str, head: str, splits: Sequence[RowSplit]
) -> FloatArray:
    """Fit a head on each split and predict its test rows.

    Args:
        recordings: The recordings.
        beat: The envelope that heart rates are read from.
        head: Name of the head.
        splits: The splits.

    Returns:
        (n,) probabilities of abnormal, NaN for rows that no split tests.
    """
    memo = Memo()
    memo.groups = recordings.databases
    memo.balanced = True
    fits = heads.head(head).cross_fit(
        Features({"timing": recordings.features[beat]}),
        recordings.abnormal,
        recordings.people,
        splits,
        Cinc2016Source.card.target("abnormal"),
        rng=np.random.default_rng(0),
        memo=memo,
    )
    out = np.full(len(recordings.names), np.nan)
    for split, fit in zip(splits, fits, strict=True):
        out[split.test] = fit.predictions
    return out


def row_of(name: str, recordings: Recordings, scores: FloatArray, rows: IntArray) -> str:
    """A row of the table: the scores of some recordings.

    Args:
        name: What the recordings are.
        recordings: The recordings.
        scores: (n,) probabilities of abnormal.
        rows: Indexes of the recordings that are scored.

    Returns:
        A row of Markdown; empty cells where a score does not exist.
    """
    columns = {
        "truth": recordings.abnormal[rows].astype(np.float64),
        "score": scores[rows],
        "answer": (scores[rows] >= 0.5).astype(np.float64),
        "clean": recordings.clean[rows],
    }
    cells = []
    for metric in METRICS_SHOWN:
        try:
            cells.append(f"{METRICS[metric](columns, recordings.names[rows]):.3f}")
        except UndefinedError:
            cells.append("")
    return f"| {name} | {len(rows)} | {' | '.join(cells)} |"


def table(title: str, recordings: Recordings, scores: FloatArray) -> list[str]:
    """The scores of each tested database, their mean, and those of all recordings together.

    Args:
        title: Heading of the table.
        recordings: The recordings.
        scores: (n,) probabilities of abnormal, NaN where nothing was tested.

    Returns:
        Lines of Markdown.
    """
    heading = ["Se", "Sp", "MAcc", "MAcc, official", "AUROC"]
    lines = [
        f"\n## {title}\n",
        f"| database | recordings | {' | '.join(heading)} |",
        "|---" * 7 + "|",
    ]
    tested = np.flatnonzero(np.isfinite(scores))
    macc = []
    for letter in np.unique(recordings.databases[tested]):
        rows = tested[recordings.databases[tested] == letter]
        lines.append(row_of(str(letter), recordings, scores, rows))
        columns = {
            "truth": recordings.abnormal[rows].astype(np.float64),
            "answer": (scores[rows] >= 0.5).astype(np.float64),
            "score": scores[rows],
        }
        macc.append(METRICS["macc"](columns, recordings.names[rows]))
    lines.append(f"| mean | {len(macc)} databases | | | {np.mean(macc):.3f} | | |")
    lines.append(row_of("all together", recordings, scores, tested))
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    recordings = load(options.root, options.keep)
    print(f"{len(recordings.names)} recordings, {recordings.abnormal.sum()} abnormal")
    ways = (
        (f"Fitted on database {FITTED_ON}", fitted_on_one(recordings)),
        ("One database left out", one_left_out(recordings)),
    )
    for way, splits in ways:
        for beat in BEATS:
            for head in HEADS:
                title = f"{way}: {head}, heart rate from the {beat} envelope"
                scores = scores_of(recordings, beat, head, splits)
                print("\n".join(table(title, recordings, scores)), flush=True)


if __name__ == "__main__":
    main()
