"""Who is trained on and who is tested: the authors' split, or folds of patients; never of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from etab.errors import SplitError
from etab.registry import unknown
from etab.types import Array, IntArray, Record, RowSplit

PROTOCOL_SORTS = ("official", "cv", "lodo")
SPLIT_PARTS = ("train", "val", "test")
INNER_FOLDS = 3


def folds(patients: Sequence[str], n_fold: int = 5, seed: int = 0) -> dict[str, int]:
    """Give each patient a fold 0..n_fold-1, sizes differing by at most one, whatever the order
    given.

    Raises SplitError where there are fewer patients than folds, or fewer than 2 folds.
    """
    unique = sorted(set(patients))
    if n_fold < 2 or n_fold > len(unique):
        raise SplitError(
            f"{len(unique)} patients cannot make {n_fold} folds; choose n_fold from 2 to {len(unique)}."
        )
    order = np.random.default_rng(seed).permutation(len(unique))
    return {unique[int(i)]: place % n_fold for place, i in enumerate(order)}


def check_leaks(records: Iterable[Record]) -> None:
    """Raise SplitError naming the first patient whose recordings lie in two parts of the authors'
    split.
    """
    _check_pairs((record.patient, record.split) for record in records)


def row_splits(
    patients: Array,
    parts: Array,
    *,
    protocol: str,
    n_fold: int = 5,
    seed: int = 0,
    groups: Array | None = None,
) -> list[RowSplit]:
    """Turn rows into fits: ``patients`` and ``parts`` ("train", "val", "test") are (n,) arrays of
    text.

    "official": one split named "official"; train = train + val, inner = (val,) or, where the
    authors give no val, patient folds of train. "cv": ``n_fold`` splits named "fold0"..., inner =
    the other folds one by one. "lodo": leave one database out; a split for each of ``groups`` (n,),
    named after it, inner = the others one by one. Raises SplitError where a patient lies in two
    parts, or a part is empty.
    """
    patients = np.asarray(patients, dtype=object)
    if protocol == "official":
        return [_official(patients, np.asarray(parts, dtype=object), seed)]
    if protocol == "cv":
        return _cross(patients, n_fold, seed)
    if protocol == "lodo":
        return _leave_one_out(
            patients, np.asarray(patients if groups is None else groups, dtype=object)
        )
    raise unknown("protocol", protocol, PROTOCOL_SORTS)


def _check_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    home: dict[str, str] = {}
    for patient, part in pairs:
        if home.setdefault(patient, part) != part:
            raise SplitError(
                f"Patient {patient} lies in two parts of the split, {home[patient]!r} and {part!r}: "
                "scores would be of patients seen in training. Restore the split files as published."
            )


def _official(patients: Array, parts: Array, seed: int) -> RowSplit:
    _check_pairs(zip(patients.tolist(), parts.tolist(), strict=True))
    odd = sorted(set(parts.tolist()) - set(SPLIT_PARTS))
    if odd:
        raise SplitError(
            f"{int(np.isin(parts, odd).sum())} rows are in no part of the authors' split; use protocol 'cv'."
        )
    fit, val, test = (
        np.flatnonzero(np.isin(parts, p)) for p in (["train", "val"], ["val"], ["test"])
    )
    for name, rows in (("train", np.flatnonzero(parts == "train")), ("test", test)):
        if len(rows) == 0:
            raise SplitError(
                f"The authors' split has no {name} rows with an answer here; use protocol 'cv'."
            )
    inner = (val,) if len(val) else inner_parts(patients, fit, seed)
    return RowSplit(fit, inner, test, "official")


def _cross(patients: Array, n_fold: int, seed: int) -> list[RowSplit]:
    fold_of = folds(patients.tolist(), n_fold, seed)
    fold = np.array([fold_of[p] for p in patients])
    out = []
    for k in range(n_fold):
        train = np.flatnonzero(fold != k)
        others = tuple(np.flatnonzero(fold == j) for j in range(n_fold) if j != k)
        inner = others if len(others) > 1 else inner_parts(patients, train, seed)
        out.append(RowSplit(train, inner, np.flatnonzero(fold == k), f"fold{k}"))
    return out


def _leave_one_out(patients: Array, groups: Array) -> list[RowSplit]:
    names = sorted(set(groups.tolist()))
    if len(names) < 3:
        raise SplitError(
            f"Leaving one database out needs at least three, got {', '.join(map(str, names)) or 'none'}; use protocol 'cv'."
        )
    _check_pairs(zip(patients.tolist(), map(str, groups.tolist()), strict=True))
    parts = {name: np.flatnonzero(groups == name) for name in names}
    out = []
    for name in names:
        inner = tuple(rows for other, rows in parts.items() if other != name)
        out.append(RowSplit(np.sort(np.concatenate(inner)), inner, parts[name], str(name)))
    return out


def inner_parts(patients: Array, rows: IntArray, seed: int) -> tuple[IntArray, ...]:
    """Patient folds of ``rows``, to choose by where nobody says what to validate on."""
    mine = patients[rows]
    fold_of = folds(mine.tolist(), min(INNER_FOLDS, len(set(mine.tolist()))), seed)
    fold = np.array([fold_of[p] for p in mine])
    return tuple(rows[fold == k] for k in range(int(fold.max()) + 1))


def inner_fits(
    splits: Sequence[RowSplit], patients: Array
) -> tuple[list[RowSplit], list[list[int]]]:
    """List the fits that answer every inner part of every split without it.

    Leaving out folds j and k is one fit, whichever of them is the outer one: its test rows are
    those of both.

    Args:
        splits: The splits, with their inner parts.
        patients: (n,) the patient of each row.

    Returns:
        The fits, their test rows sorted; and for each split the index of the fit for each of its
        inner parts.
    """
    fits: list[RowSplit] = []
    index_of: dict[tuple[bytes, ...], int] = {}
    fit_of: list[list[int]] = []
    for split in splits:
        indexes = []
        for part in split.inner:
            train = without(split.train, part)
            inner = tuple(other for other in split.inner if other is not part)
            if len(inner) < 2:  # one part is too few to choose by
                inner = inner_parts(np.asarray(patients, dtype=object), train, 0)
            key = (train.tobytes(), *(other.tobytes() for other in inner))
            if key not in index_of:
                index_of[key] = len(fits)
                fits.append(RowSplit(train, inner, part, f"inner{len(fits)}"))
            i = index_of[key]
            tested = np.union1d(fits[i].test, part)
            fits[i] = RowSplit(train, inner, tested, fits[i].name)
            indexes.append(i)
        fit_of.append(indexes)
    return fits, fit_of


def without(train: IntArray, part: IntArray) -> IntArray:
    """Training rows without an inner part."""
    return np.setdiff1d(train, part)
