"""The test share of a design has one unit on both sides: people, or rows of one kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from etab.leaderboard.designs import UNKNOWN_SHARE, design_of
from etab.results import Predictions, Result
from etab.tasks.protocols import parse
from etab.types import Array, Kind, RowSplit
from tests import made

# 60 people, of whom every third is sick, with two recordings each and the sick with four.
PEOPLE = np.array([f"p{i:02d}" for i in range(60)])
SICK = np.arange(60) % 3 == 0
RECORDINGS = np.where(SICK, 4, 2)
PATIENTS = PEOPLE.repeat(RECORDINGS)
CLASSES = SICK.astype(int).repeat(RECORDINGS)
PARTS = np.array(["train"] * 40 + ["val"] * 8 + ["test"] * 12).repeat(RECORDINGS)
DATABASES = np.array(["a"] * 12 + ["b"] * 18 + ["c"] * 30).repeat(RECORDINGS)


def splits_by(protocol: str, kind: Kind = Kind.BINARY) -> list[RowSplit]:
    return parse(protocol).splits(PATIENTS, PARTS, CLASSES, kind, 0, DATABASES.tolist())


def cell_of(
    splits: Sequence[RowSplit],
    protocol: str,
    *,
    kind: Kind = Kind.BINARY,
    combined: bool = False,
    n_train_patients: int = 0,
) -> tuple[Result, Predictions]:
    """A cell with the rows that the splits test: people where rows are combined, or recordings."""
    rows: list[tuple[str, str, str, int, int]] = []
    for split in splits:
        for row in split.test:
            item = PATIENTS[row] if combined else f"r{row}"
            rows.append(
                (str(item), str(PATIENTS[row]), split.name, split.repeat, int(CLASSES[row]))
            )
    items, patients, folds, repeats, truth = zip(*dict.fromkeys(rows), strict=True)
    answers = np.array(truth, float)
    columns = {"truth": answers, "score": 0.2 + 0.5 * answers}
    table = Predictions(kind, items, patients, folds, columns, repeats=repeats)
    code = "d0-A4-C" if kind is Kind.BINARY else "b0-A4-C"
    result = made.result(
        table,
        code,
        protocol=protocol,
        folds=[{"name": "fold", "value": None, "n_test": 1, "choice": {}}],
        n_train=int(np.mean([len(split.train) for split in splits])),
        settings={"aggregate": "recordings" if combined else ""},
        n_train_patients=n_train_patients,
    )
    return result, table


def people(rows: Array) -> int:
    return len(set(PATIENTS[rows].tolist()))


def share_of_people(splits: Sequence[RowSplit]) -> float:
    tested = sum(people(split.test) for split in splits)
    return tested / sum(people(split.train) for split in splits)


@pytest.mark.parametrize("combined", [False, True])
@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.VALUE])
@pytest.mark.parametrize(
    "protocol", ["cv5", "cv10", "cv5x3", "lodo", "cv5-50pct-d0", "cv5-4shot-d1", "cv5x2-25pct-d0"]
)
def test_folds_count_people_whatever_their_recordings(
    protocol: str, kind: Kind, combined: bool
) -> None:
    splits = splits_by(protocol, kind)
    design = design_of(*cell_of(splits, protocol, kind=kind, combined=combined))
    assert design.test_share == pytest.approx(share_of_people(splits), rel=0.03)
    assert design.alike == (protocol != "lodo")
    assert design.n_fold * design.repeats == len(splits)


@pytest.mark.parametrize("n_fold", [2, 5, 10])
def test_k_folds_have_the_share_of_one_to_the_others(n_fold: int) -> None:
    protocol = f"cv{n_fold}"
    design = design_of(*cell_of(splits_by(protocol), protocol, combined=True))
    assert design.test_share == pytest.approx(1 / (n_fold - 1))


@pytest.mark.parametrize("protocol", ["official", "official-25pct-d0", "official-5shot-d0"])
def test_a_published_split_counts_rows_on_both_sides_or_people_on_both(protocol: str) -> None:
    splits = splits_by(protocol)
    trained = sum(people(split.train) for split in splits)
    rows = sum(len(split.test) for split in splits) / sum(len(split.train) for split in splits)
    assert design_of(*cell_of(splits, protocol)).test_share == pytest.approx(rows)
    of_people = cell_of(splits, protocol, combined=True, n_train_patients=trained)
    assert design_of(*of_people).test_share == pytest.approx(share_of_people(splits))
    older = cell_of(splits, protocol, combined=True)
    assert design_of(*older).test_share == UNKNOWN_SHARE


@pytest.mark.parametrize("combined", [False, True])
def test_lists_train_on_whom_they_name(combined: bool) -> None:
    """Two listed folds that leave most people out: other folds do not tell who is trained on."""
    whole = splits_by("cv10")
    listed = [RowSplit(whole[k + 2].test, (), whole[k].test, f"fold{k}") for k in (0, 1)]
    name = "lists:two@0a1b2c3d4e5f"
    trained = people(listed[0].train) if combined else 0
    cell = cell_of(listed, name, combined=combined, n_train_patients=trained)
    wanted = 1.0
    if not combined:
        wanted = len(listed[0].test) + len(listed[1].test)
        wanted /= len(listed[0].train) + len(listed[1].train)
    assert design_of(*cell).test_share == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("protocol", ["cv5", "cv5-50pct-d0", "cv5-4shot-d1"])
def test_folds_that_test_everybody_tell_nothing_of_the_training(protocol: str) -> None:
    rows = np.arange(len(PATIENTS))  # everybody has an even number of recordings
    splits = [RowSplit(rows, (), rows[k::2], f"fold{k}") for k in (0, 1)]
    assert all(people(split.test) == len(PEOPLE) for split in splits)
    assert design_of(*cell_of(splits, protocol)).test_share == UNKNOWN_SHARE
