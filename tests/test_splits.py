"""Splits of patients: balanced, independent of order, never leaking."""

from __future__ import annotations

import numpy as np
import pytest

from etab.errors import SplitError, UnknownNameError
from etab.splits import check_leaks, folds, row_splits
from etab.types import Record

PATIENTS = np.array([f"p{i:02d}" for i in range(23) for _ in range(1 + i % 3)])
PARTS = np.array(
    ["train" if int(p[1:]) < 15 else "val" if int(p[1:]) < 19 else "test" for p in PATIENTS]
)


@pytest.mark.parametrize("n_fold", [2, 3, 5, 23])
def test_folds_are_balanced_and_forget_the_order(n_fold: int) -> None:
    found = folds(PATIENTS.tolist(), n_fold, seed=3)
    sizes = np.bincount(list(found.values()), minlength=n_fold)
    assert len(sizes) == n_fold
    assert sizes.max() - sizes.min() <= 1
    assert folds(PATIENTS[::-1].tolist(), n_fold, seed=3) == found


def test_seed_acts_on_folds() -> None:
    assert folds(PATIENTS.tolist(), 5, seed=0) != folds(PATIENTS.tolist(), 5, seed=1)


@pytest.mark.parametrize("n_fold", [0, 1, 24])
def test_impossible_folds(n_fold: int) -> None:
    with pytest.raises(SplitError, match="23 patients cannot make"):
        folds(PATIENTS.tolist(), n_fold)


@pytest.mark.parametrize("protocol", ["official", "cv"])
@pytest.mark.parametrize("n_fold", [2, 3, 5])
def test_no_patient_on_two_sides(protocol: str, n_fold: int) -> None:
    for split in row_splits(PATIENTS, PARTS, protocol=protocol, n_fold=n_fold):
        assert not set(PATIENTS[split.train]) & set(PATIENTS[split.test])
        for inner in split.inner:
            rest = np.setdiff1d(split.train, inner)
            assert len(inner)
            assert len(rest)
            assert not set(PATIENTS[inner]) & set(PATIENTS[rest])
            assert set(inner) <= set(split.train)


def test_official_split_is_the_authors() -> None:
    (split,) = row_splits(PATIENTS, PARTS, protocol="official")
    assert split.name == "official"
    assert np.array_equal(split.test, np.flatnonzero(PARTS == "test"))
    assert np.array_equal(split.train, np.flatnonzero(PARTS != "test"))
    assert len(split.inner) == 1
    assert np.array_equal(split.inner[0], np.flatnonzero(PARTS == "val"))


def test_official_split_without_val_chooses_by_patient_folds() -> None:
    parts = np.where(PARTS == "val", "train", PARTS)
    (split,) = row_splits(PATIENTS, parts, protocol="official")
    assert len(split.inner) == 3
    assert np.array_equal(np.sort(np.concatenate(split.inner)), split.train)


def test_cross_validation_tests_every_row_once() -> None:
    splits = row_splits(PATIENTS, PARTS, protocol="cv", n_fold=5, seed=2)
    assert [s.name for s in splits] == [f"fold{k}" for k in range(5)]
    assert np.array_equal(
        np.sort(np.concatenate([s.test for s in splits])), np.arange(len(PATIENTS))
    )
    for k, split in enumerate(splits):
        assert len(split.inner) == 4
        assert np.array_equal(np.sort(np.concatenate(split.inner)), split.train)
        others = [s.test for j, s in enumerate(splits) if j != k]
        assert all(np.array_equal(a, b) for a, b in zip(split.inner, others, strict=True))


def test_leaks_and_empty_parts_are_refused() -> None:
    parts = PARTS.copy()
    parts[-1] = "train"
    with pytest.raises(
        SplitError, match="Patient p22 lies in two parts of the split, 'test' and 'train'"
    ):
        row_splits(PATIENTS, parts, protocol="official")
    with pytest.raises(SplitError, match="no test rows"):
        row_splits(PATIENTS, np.full(len(PATIENTS), "train"), protocol="official")
    with pytest.raises(SplitError, match="no train rows"):
        row_splits(PATIENTS, np.where(PARTS == "train", "val", PARTS), protocol="official")
    with pytest.raises(SplitError, match="in no part"):
        row_splits(PATIENTS, np.where(PARTS == "val", "", PARTS), protocol="official")
    with pytest.raises(UnknownNameError, match="official"):
        row_splits(PATIENTS, PARTS, protocol="offical")


def test_leaking_records_are_named() -> None:
    rows = [Record("a1", "a", "A4C", "train"), Record("a2", "a", "A2C", "test")]
    with pytest.raises(SplitError, match=r"Patient a .*'train' and 'test'"):
        check_leaks(rows)
    check_leaks(rows[:1])
