"""Splits into training and test rows: the authors' split, or folds of patients.

All rows of a patient belong to the same part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from etab.errors import SplitError
from etab.registry import unknown
from etab.types import Array, IntArray, Record, RowSplit

PROTOCOL_SORTS = ("official", "cv", "lodo")
SPLIT_PARTS = ("train", "val", "test")
_PART_WORDS = {
    "training": "train",
    "validation": "val",
    "valid": "val",
    "dev": "val",
    "testing": "test",
}
# Number of folds of a training set that has no validation part.
INNER_FOLDS = 3


def part_of_word(word: str) -> str:
    """The part of a split that a word of a table or folder means.

    Args:
        word: Such as "Training" or "valid", in upper or lower case.

    Returns:
        "train", "val" or "test"; any other word in small letters, without spaces around it.

    Example:
        >>> part_of_word("Training"), part_of_word("dev"), part_of_word("fold 3")
        ('train', 'val', 'fold 3')
    """
    plain = word.strip().lower()
    return _PART_WORDS.get(plain, plain)


def folds(
    patients: Iterable[str],
    n_fold: int = 5,
    seed: int = 0,
    strata: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Divide patients into folds whose sizes differ by at most one.

    Args:
        patients: Names, in any order; repeated names count once.
        n_fold: Number of folds, from 2 to the number of patients.
        seed: Seed of the division.
        strata: The stratum of each patient; the values must be sortable. The patients of a stratum
            are spread over the folds so that their numbers differ by at most one. The same holds
            for neighbouring strata together, so that (class, database) balances the classes as
            well. None: all patients are one stratum.

    Returns:
        The fold of each patient, 0 to ``n_fold`` - 1.

    Raises:
        SplitError: Where there are fewer patients than folds, or fewer than 2 folds.

    Example:
        >>> strata = {"p1": "sick", "p2": "sick", "p3": "well", "p4": "well"}
        >>> fold_of = folds(strata, 2, strata=strata)
        >>> fold_of["p1"] != fold_of["p2"], fold_of["p3"] != fold_of["p4"]
        (True, True)
    """
    unique = sorted(set(patients))
    if len(unique) < 2:
        raise SplitError(
            f"{len(unique)} patient cannot be divided into folds: at least two are needed, so that "
            "one is tested while another is trained on. Add patients with this label."
        )
    if n_fold < 2 or n_fold > len(unique):
        raise SplitError(
            f"{len(unique)} patients cannot make {n_fold} folds; "
            f"choose 2 to {len(unique)} folds, such as --protocol cv{len(unique)}."
        )
    members: dict[Any, list[str]] = {}
    for patient in unique:
        stratum = None if strata is None else strata[patient]
        members.setdefault(stratum, []).append(patient)
    rng = np.random.default_rng(seed)
    shuffled: list[str] = []
    for stratum in sorted(members):
        of_stratum = members[stratum]
        order = rng.permutation(len(of_stratum))
        shuffled += [of_stratum[int(i)] for i in order]
    return {patient: i % n_fold for i, patient in enumerate(shuffled)}


def check_leaks(records: Iterable[Record], files: str = "the split files") -> None:
    """Check that no patient is in two parts of the authors' split.

    Args:
        records: The recordings of a dataset.
        files: The files that hold the split, for messages.

    Raises:
        SplitError: The recordings of a patient are in two parts; the message names the patient.
    """
    _check_pairs(((record.patient, record.split) for record in records), files)


def row_splits(
    patients: Array,
    parts: Array,
    *,
    protocol: str,
    n_fold: int = 5,
    seed: int = 0,
    groups: Array | None = None,
    strata: Mapping[str, Any] | None = None,
) -> list[RowSplit]:
    """Turn rows into fits.

    "official" gives one split named "official": train is train + val, inner is (val,) or, where
    the authors give no val, patient folds of train. "cv" gives ``n_fold`` splits named "fold0"...;
    inner is the other folds one by one. "lodo" leaves one database out: a split for each database,
    named after it; inner is the other databases one by one.

    Args:
        patients: (n,) the patient of each row.
        parts: (n,) the authors' part of each row: "train", "val" or "test".
        protocol: "official", "cv" or "lodo".
        n_fold: Number of folds of "cv".
        seed: Seed of the folds.
        groups: (n,) the database of each row, for "lodo".
        strata: The stratum of each patient, for "cv"; see ``folds``.

    Returns:
        The splits.

    Raises:
        SplitError: Where a patient lies in two parts, or a part is empty.
    """
    patients = np.asarray(patients, dtype=object)
    if protocol == "official":
        return [_official(patients, np.asarray(parts, dtype=object), seed)]
    if protocol == "cv":
        return _cross(patients, folds(patients.tolist(), n_fold, seed, strata), seed)
    if protocol == "lodo":
        databases = patients if groups is None else groups
        return _leave_one_out(patients, np.asarray(databases, dtype=object))
    raise unknown("protocol", protocol, PROTOCOL_SORTS)


def _check_pairs(pairs: Iterable[tuple[str, str]], files: str = "the split files") -> None:
    """Check that each patient occurs with one part only."""
    home: dict[str, str] = {}
    for patient, part in pairs:
        if home.setdefault(patient, part) != part:
            raise SplitError(
                f"Patient {patient} lies in two parts of the split, {home[patient]!r} and "
                f"{part!r}: scores would be of patients seen in training. Restore {files} "
                "as published."
            )


def _official(patients: Array, parts: Array, seed: int) -> RowSplit:
    """The split of the authors."""
    _check_pairs(zip(patients.tolist(), parts.tolist(), strict=True))
    odd = sorted(set(parts.tolist()) - set(SPLIT_PARTS))
    if odd:
        n_odd = int(np.isin(parts, odd).sum())
        raise SplitError(f"{n_odd} rows are in no part of the authors' split; use protocol 'cv'.")
    fit = np.flatnonzero(np.isin(parts, ["train", "val"]))
    train = np.flatnonzero(parts == "train")
    val = np.flatnonzero(parts == "val")
    test = np.flatnonzero(parts == "test")
    for name, rows in (("train", train), ("test", test)):
        if len(rows) == 0:
            raise SplitError(
                f"The authors' split has no {name} rows with a label here; use protocol 'cv'."
            )
    inner = (val,) if len(val) else inner_parts(patients, fit, seed)
    return RowSplit(fit, inner, test, "official")


def _cross(
    patients: Array,
    fold_of: Mapping[str, int],
    seed: int,
) -> list[RowSplit]:
    """A split for each fold of patients."""
    n_fold = max(fold_of.values()) + 1
    fold = np.array([fold_of[p] for p in patients])
    out = []
    for k in range(n_fold):
        train = np.flatnonzero(fold != k)
        test = np.flatnonzero(fold == k)
        others = [j for j in range(n_fold) if j != k]
        inner: tuple[IntArray, ...] = tuple(np.flatnonzero(fold == j) for j in others)
        if len(inner) < 2:
            inner = inner_parts(patients, train, seed)
        out.append(RowSplit(train, inner, test, f"fold{k}"))
    return out


def _leave_one_out(patients: Array, groups: Array) -> list[RowSplit]:
    """One split for each database: trained on the others, tested on it."""
    names = sorted(set(groups.tolist()))
    if len(names) < 3:
        listed = ", ".join(map(str, names)) if names else "none"
        raise SplitError(
            f"Leaving one database out needs at least three, got {listed}; use protocol 'cv'."
        )
    _check_pairs(zip(patients.tolist(), map(str, groups.tolist()), strict=True))
    parts = {name: np.flatnonzero(groups == name) for name in names}
    out = []
    for name in names:
        inner = tuple(rows for other, rows in parts.items() if other != name)
        train = np.sort(np.concatenate(inner))
        out.append(RowSplit(train, inner, parts[name], str(name)))
    return out


def inner_parts(
    patients: Array,
    rows: IntArray,
    seed: int,
) -> tuple[IntArray, ...]:
    """Divide rows into folds of patients, to choose by where there is no validation part.

    Args:
        patients: (n,) the patient of each row of the table.
        rows: Indexes of the rows to divide.
        seed: Seed of the folds.

    Returns:
        The rows of each fold: three folds, or one for each patient where there are fewer.
    """
    names = patients[rows].tolist()
    n_patients = len(set(names))
    fold_of = folds(names, min(INNER_FOLDS, n_patients), seed)
    fold = np.array([fold_of[name] for name in names])
    n_fold = int(fold.max()) + 1
    return tuple(rows[fold == k] for k in range(n_fold))


def inner_fits(
    splits: Sequence[RowSplit], patients: Array
) -> tuple[list[RowSplit], list[list[int]]]:
    """List the fits that predict every inner part of every split without training on it.

    Leaving out folds j and k is one fit, whichever of them is the outer one: its test rows are the
    rows of both.

    Args:
        splits: The splits, with their inner parts.
        patients: (n,) the patient of each row.

    Returns:
        The fits, their test rows sorted; and for each split the index of the fit for each of its
        inner parts.
    """
    fits: list[RowSplit] = []
    index_of: dict[tuple[Any, ...], int] = {}
    fit_of: list[list[int]] = []
    for split in splits:
        indexes = []
        for part in split.inner:
            train = without(split.train, part)
            inner = tuple(other for other in split.inner if other is not part)
            # A choice needs at least two parts.
            if len(inner) < 2:
                inner = inner_parts(np.asarray(patients, dtype=object), train, 0)
            key = (split.repeat, train.tobytes(), *(other.tobytes() for other in inner))
            if key not in index_of:
                index_of[key] = len(fits)
                fits.append(RowSplit(train, inner, part, f"inner{len(fits)}", split.repeat))
            i = index_of[key]
            tested = np.union1d(fits[i].test, part)
            fits[i] = RowSplit(train, inner, tested, fits[i].name, split.repeat)
            indexes.append(i)
        fit_of.append(indexes)
    return fits, fit_of


def without(train: IntArray, part: IntArray) -> IntArray:
    """Remove an inner part from training rows.

    Args:
        train: Indexes of the training rows.
        part: Indexes of the rows of the part.

    Returns:
        The other training rows, sorted.
    """
    last = max(int(np.max(rows)) if len(rows) else -1 for rows in (train, part))
    kept = np.zeros(last + 1, dtype=bool)
    kept[train] = True
    kept[part] = False
    return np.flatnonzero(kept)
