"""``training_data_split``, under its 2022 name: three parts of a dataset, by patient and never by
row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from etab.datasets.dataset import Dataset, Items
from etab.errors import SplitError, UnsupportedOptionError

_BATCH = 32


def training_data_split(
    data: Dataset | Items,
    train_frac: float = 0.5,
    val_frac: float = 0.1,
    batch_size: int = _BATCH,
    return_loaders: bool = False,
    random: bool = True,
    seed: int = 0,
) -> tuple[Any, Any, Any]:
    """Cut a dataset (or its ``.data``) into (train, validation, test), the rest of the patients
    being the test part.

    The fractions are of patients. ``random`` shuffles the patients by ``seed``; otherwise they keep
    their order. The parts are lazy sequences of (tensor, label), or with ``return_loaders``
    DataLoaders of ``batch_size`` of which the training one shuffles by ``seed``. Raises
    UnsupportedOptionError for fractions that do not fit and for anything without patients,
    SplitError where a part that was asked for would be empty.
    """
    items = data.data if isinstance(data, Dataset) else data
    if not isinstance(items, Items):
        raise UnsupportedOptionError(
            f"Wanted an etab Dataset or its .data, got {type(data).__name__}: no patients to split by."
        )
    if not (0 < train_frac <= 1 and 0 <= val_frac <= 1 and train_frac + val_frac <= 1 + 1e-9):
        raise UnsupportedOptionError(
            f"train_frac={train_frac:g} and val_frac={val_frac:g}; wanted above 0, 1 in all."
        )
    if not return_loaders and batch_size != _BATCH:
        raise UnsupportedOptionError(f"batch_size={batch_size} acts with return_loaders=True only.")
    if seed and not (random or return_loaders):
        raise UnsupportedOptionError(
            f"seed={seed} acts with random=True or return_loaders=True only."
        )
    parts = _cut(items, train_frac, val_frac, seed if random else None)
    if not return_loaders:
        return parts
    chance = torch.Generator().manual_seed(seed)
    train = DataLoader(parts[0], batch_size=batch_size, shuffle=True, generator=chance)
    return (
        train,
        DataLoader(parts[1], batch_size=batch_size),
        DataLoader(parts[2], batch_size=batch_size),
    )


def _cut(
    items: Items, train_frac: float, val_frac: float, seed: int | None
) -> tuple[Items, Items, Items]:
    patients = list(dict.fromkeys(items.patients))
    if seed is not None:
        patients.sort()
        patients = [
            patients[int(i)] for i in np.random.default_rng(seed).permutation(len(patients))
        ]
    first = math.floor(len(patients) * train_frac + 0.5)
    second = math.floor(len(patients) * (train_frac + val_frac) + 0.5)
    sides = {p: 0 if i < first else 1 if i < second else 2 for i, p in enumerate(patients)}
    asked = (True, val_frac > 0, train_frac + val_frac < 1 - 1e-9)
    for k, part in enumerate(("training", "validation", "test")):
        if asked[k] and k not in sides.values():
            raise SplitError(
                f"{len(patients)} patients leave the {part} part empty; change the fractions or load more."
            )
    sets = [[i for i, p in enumerate(items.patients) if sides[p] == k] for k in range(3)]
    return items.select(sets[0]), items.select(sets[1]), items.select(sets[2])
