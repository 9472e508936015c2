"""Cross-dataset cells: fitted on one dataset, tested on another, the same question asked of both.

Fitted on every row of the authors' training and validation parts; rows of their test part are not
used. Protocol "official" chooses on the validation part and tests on the other dataset's test part;
"cvN" chooses over N folds of the patients fitted on and tests on everybody of the other dataset.
Where the dataset fitted on has no split by its authors, everybody is fitted on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from etab import datasets
from etab.errors import EtabError, IncompatibleError, SplitError
from etab.features.lazy import JoinedMap
from etab.features.store import FrameFeatures
from etab.splits import SPLIT_PARTS, folds
from etab.tasks.base import Task
from etab.tasks.codes import DATASET_CODES
from etab.tasks.menu import TASKS
from etab.tasks.rows import Rows
from etab.types import Features, RowSplit

_FIT, _TEST = "fit on ", "tested on "


def dataset_root(root: Path | None, dataset: str) -> Path | None:
    """The folder of a dataset: ``root``/<name> where that is there, so that one ``root`` serves two
    datasets.
    """
    return root / dataset if root is not None and (root / dataset).is_dir() else root


def cross_clash(task: Task) -> str:
    """Explain how the targets of the two datasets of a cell differ, from their cards.

    Returns "" where the targets agree.
    """
    first, *others = (datasets.SOURCES[name].card for name in task.datasets)
    for card in others:
        first_target = first.target(task.target)
        other_target = card.target(task.target)
        for fact in ("kind", "unit", "classes"):
            if getattr(first_target, fact) != getattr(other_target, fact):
                return (
                    f"{first.name} and {card.name} differ in the {fact} of {task.target}: "
                    f"{getattr(first_target, fact)} and {getattr(other_target, fact)}."
                )
    return ""


def cells() -> Iterator[Task]:
    """Every cross-dataset cell that can be asked for, in the order of the menu."""
    for row in list(TASKS.values()):
        for letter, name in DATASET_CODES.items():
            if name != row.dataset and f"{row.code[:-1]}{letter}" in TASKS:
                try:
                    task = TASKS[f"{row.code}>{letter}"]
                except EtabError:
                    continue
                if not cross_clash(task):
                    yield task


def joined_rows(fitted: Rows, tested: Rows, n_fitted: int) -> Rows:
    """Rows of both datasets, those fitted on first; ``n_fitted`` pictures (or clips) stand before
    those tested on.

    Patients fitted on are renamed, so that nobody is in both; ``parts`` says "fit on train",
    "tested on test", ...
    """
    names = np.array([f"{_FIT}{p}" for p in fitted.patients.tolist()])
    parts = [
        np.array([f"{prefix}{p}" for p in rows.parts.tolist()])
        for prefix, rows in ((_FIT, fitted), (_TEST, tested))
    ]
    answers = (
        [*fitted.answers, *tested.answers]
        if isinstance(fitted.answers, list)
        else np.concatenate([fitted.answers, tested.answers])
    )
    missing = [(f"{_FIT}{name}", why) for name, why in fitted.missing]
    return Rows(
        items=(*[f"{_FIT}{i}" for i in fitted.items], *tested.items),
        patients=np.concatenate([names, tested.patients]),
        parts=np.concatenate(parts),
        frames=np.concatenate([fitted.frames, tested.frames + n_fitted]),
        answers=answers,
        spacing=(*fitted.spacing, *tested.spacing),
        missing=(*missing, *tested.missing),
        records=(*[f"{_FIT}{r}" for r in fitted.records], *tested.records),
        units=(*[f"{_FIT}{u}" for u in fitted.units], *tested.units),
    )


def splits(rows: Rows, *, protocol: str, n_fold: int, seed: int) -> list[RowSplit]:
    """Return the single split of a cross-dataset cell; see the docstring of this module.

    Args:
        rows: The rows that are fitted on and the rows that are tested.
        protocol: "official", or "cv" followed by a number of folds.
        n_fold: Number of inner folds with "official" if there is no validation part.
        seed: Seed of the inner folds.

    Raises:
        SplitError: A part that is needed is empty.
        IncompatibleError: The protocol is another one.
    """
    if protocol != "official" and not (protocol.startswith("cv") and protocol[2:].isdigit()):
        raise IncompatibleError(
            f"A cross-dataset cell has the protocols official and cv, not {protocol!r}: it is "
            "fitted once, so that nothing is left to draw or to repeat."
        )
    n_fold = n_fold if protocol == "official" else int(protocol[2:])
    parts = rows.parts.tolist()
    is_fitted = np.array([p.startswith(_FIT) for p in parts])
    part = np.array([p.removeprefix(_FIT).removeprefix(_TEST) for p in parts], dtype=object)
    split = bool(np.isin(part[is_fitted], SPLIT_PARTS).any())
    fit = (
        np.flatnonzero(is_fitted & np.isin(part, ("train", "val")))
        if split
        else np.flatnonzero(is_fitted)
    )
    test = (
        np.flatnonzero(~is_fitted & (part == "test"))
        if protocol == "official"
        else np.flatnonzero(~is_fitted)
    )
    for role, positions in (
        ("to fit on", fit),
        ("in the test part of the dataset tested on", test),
    ):
        if len(positions) == 0:
            raise SplitError(
                f"A cross-dataset cell has no rows {role}; use protocol 'cv', which tests "
                "everybody."
            )
    patients = rows.patients[fit].astype(object)
    if (
        protocol == "official"
        and split
        and (part[fit] == "val").any()
        and (part[fit] == "train").any()
    ):
        return [RowSplit(fit, (fit[part[fit] == "val"],), test, "official")]
    fold_of_patient = folds(patients.tolist(), min(n_fold, len(set(patients.tolist()))), seed)
    fold = np.array([fold_of_patient[p] for p in patients])
    return [
        RowSplit(
            fit,
            tuple(fit[fold == k] for k in range(int(fold.max()) + 1)),
            test,
            "everybody" if protocol != "official" else "official",
        )
    ]


def joined_features(parts: Sequence[FrameFeatures]) -> FrameFeatures:
    """Features of both datasets, one after the other; the key names both entries."""
    first = parts[0]
    features = [part.features for part in parts]
    pooled = {k: np.concatenate([f.pooled[k] for f in features]) for k in first.features.pooled}
    maps = (
        tuple(JoinedMap(m) for m in zip(*[f.maps for f in features], strict=True))
        if all(f.maps for f in features)
        else ()
    )
    key = hashlib.sha256("\0".join(part.key for part in parts).encode()).hexdigest()
    return replace(
        first,
        features=Features(pooled, maps, first.features.pca),
        key=key,
        from_cache=all(p.from_cache for p in parts),
        seconds=sum(p.seconds for p in parts),
    )
