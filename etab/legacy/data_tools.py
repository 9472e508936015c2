"""``training_data_split``, under its 2022 name: split a dataset by patient, never by row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from etab.datasets.dataset import Dataset, Items
from etab.errors import SplitError, UnsupportedOptionError
from etab.options import finite_number, require_flag, whole_number

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
    """Split a dataset by patient into training, validation and test part.

    Args:
        data: A dataset, or its ``.data``.
        train_frac: Fraction of the patients in the training part, above 0.
        val_frac: Fraction of the patients in the validation part. The other patients are the test
            part.
        batch_size: Rows of a batch; only with ``return_loaders``.
        return_loaders: Whether to return DataLoaders; the one of the training part shuffles rows.
        random: Whether patients are shuffled; otherwise they are in the order of the dataset.
        seed: Seed of the patients' order and of the training loader.

    Returns:
        The three parts: lazy sequences of (tensor, label), or DataLoaders.

    Raises:
        UnsupportedOptionError: The fractions do not fit, an option would have no effect, or
            ``data`` has no patients.
        SplitError: A part would be empty although its fraction is above 0.
    """
    items = data.data if isinstance(data, Dataset) else data
    if not isinstance(items, Items):
        raise UnsupportedOptionError(
            f"Wanted an etab Dataset or its .data, got {type(data).__name__}: "
            "no patients to split by."
        )
    train_frac = finite_number("train_frac", train_frac)
    val_frac = finite_number("val_frac", val_frac)
    seed = whole_number("seed", seed, 0)
    batch_size = whole_number("batch_size", batch_size, 1)
    require_flag("random", random)
    require_flag("return_loaders", return_loaders)
    in_range = 0 < train_frac <= 1 and 0 <= val_frac <= 1
    if not in_range or train_frac + val_frac > 1 + 1e-9:
        raise UnsupportedOptionError(
            f"train_frac={train_frac:g} and val_frac={val_frac:g}; wanted train_frac above 0, "
            "val_frac of 0 or more, and a sum of at most 1."
        )
    if not return_loaders and batch_size != _BATCH:
        raise UnsupportedOptionError(
            f"batch_size={batch_size} works only with return_loaders=True."
        )
    if seed and not (random or return_loaders):
        raise UnsupportedOptionError(
            f"seed={seed} works only with random=True or return_loaders=True."
        )
    parts = _cut(items, train_frac, val_frac, seed if random else None)
    if not return_loaders:
        return parts
    train, validation, test = parts
    generator = torch.Generator().manual_seed(seed)
    return (
        DataLoader(train, batch_size=batch_size, shuffle=True, generator=generator),
        DataLoader(validation, batch_size=batch_size),
        DataLoader(test, batch_size=batch_size),
    )


def _cut(
    items: Items,
    train_frac: float,
    val_frac: float,
    seed: int | None,
) -> tuple[Items, Items, Items]:
    """Select the rows of the training, validation and test patients; ``seed`` None keeps order."""
    patients = list(dict.fromkeys(items.patients))
    if seed is not None:
        patients.sort()
        order = np.random.default_rng(seed).permutation(len(patients))
        patients = [patients[int(i)] for i in order]
    first_validation = math.floor(len(patients) * train_frac + 0.5)
    first_test = math.floor(len(patients) * (train_frac + val_frac) + 0.5)
    sides = dict.fromkeys(patients[:first_validation], 0)
    sides.update(dict.fromkeys(patients[first_validation:first_test], 1))
    sides.update(dict.fromkeys(patients[first_test:], 2))
    is_expected = (True, val_frac > 0, train_frac + val_frac < 1 - 1e-9)
    for k, part in enumerate(("training", "validation", "test")):
        if is_expected[k] and k not in sides.values():
            raise SplitError(
                f"{len(patients)} patients leave the {part} part empty; "
                "change the fractions or load more."
            )
    positions: list[list[int]] = []
    for k in range(3):
        positions.append([i for i, p in enumerate(items.patients) if sides[p] == k])
    train, validation, test = positions
    return items.select(train), items.select(validation), items.select(test)
