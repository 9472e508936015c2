"""Vectors that were made elsewhere: ``vectors:FILE``, one row for each key.

A file is one of

* npz: an array ``keys`` of text (n,), and an array (n, d) for each layer;
* parquet: a column ``key``, and for each layer a column of lists; or plain columns of numbers,
  which are the one layer "vector";
* safetensors: a tensor (n, d) for each layer, and the metadata entry ``keys``, a JSON list.

``etab vectors keys`` writes the keys that the tasks need. This file knows nothing of datasets.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.base import UNKNOWN_DATA, Backbone, BackboneCard
from etab.backbones.weights.index import sha256_of
from etab.errors import CorruptFileError, MissingPackageError, UnsupportedOptionError, WeightsError
from etab.readers.regular import require_regular
from etab.types import Array, Features

FAMILY = "vectors"
"""Family on the card of supplied vectors; boards mark the rows of such results."""

_KEYS = "keys"
_KEY_COLUMN = "key"
_FORMS = (".npz", ".parquet", ".safetensors")
_NAMED = 3


@dataclass(frozen=True, slots=True)
class SuppliedVectors:
    """The content of a file of vectors.

    Attributes:
        file: The file.
        rows: Row of each key.
        layers: Arrays (n, d), float32, by layer.
    """

    file: Path
    rows: Mapping[str, int]
    layers: Mapping[str, Array]

    def digest(self) -> str:
        """Return the sha256 of the file."""
        return sha256_of(self.file)

    def to(self, device: str, precision: str) -> SuppliedVectors:
        """Return the vectors unchanged; ``device`` and ``precision`` have no effect on them."""
        return self

    def __call__(self, x: Any) -> Features:
        """Refuse to compute.

        Raises:
            UnsupportedOptionError: Always.
        """
        raise UnsupportedOptionError(
            f"vectors:{self.file} holds vectors of known keys and cannot embed anything else."
        )


def vectors_card(name: str) -> BackboneCard:
    """Make the card of a file of vectors.

    Args:
        name: "vectors:<file>", with a file that ends with .npz, .parquet or .safetensors.

    Returns:
        The card.

    Raises:
        WeightsError: There is no such file.
        UnsupportedOptionError: The file has another ending.
    """
    file = Path(name.removeprefix("vectors:"))
    if file.suffix not in _FORMS:
        raise UnsupportedOptionError(
            f"{name}: a file of vectors ends with {', '.join(_FORMS)}; got {file.suffix!r}."
        )
    if not file.is_file():
        raise WeightsError(
            f"There is no file of vectors {file}. `etab vectors keys --tasks ... --out keys.csv` "
            "writes the keys that it needs."
        )
    card = BackboneCard(
        name=name,
        title=file.name,
        family=FAMILY,
        modality=FAMILY,
        size=0,
        mean=(),
        std=(),
        interpolation="",
        layers=("vector",),
        pretraining="unknown: the vectors were made elsewhere",
        pretraining_sets=UNKNOWN_DATA,
        licence="yours",
        source=FAMILY,
        sha256=sha256_of(file),
    )
    return replace(card, load=partial(_load, file))


def _load(file: Path) -> Backbone:
    return read_vectors(file)


def read_vectors(file: Path) -> SuppliedVectors:
    """Read and check a file of vectors.

    Args:
        file: The file.

    Returns:
        Its vectors by layer, and the row of each key.

    Raises:
        CorruptFileError: The file cannot be read, has no keys, or a key occurs twice; a layer has
            another number of rows, is no matrix of numbers, or holds NaN or infinity.
        MissingPackageError: Parquet files need pyarrow.
    """
    require_regular(file, "Write it again.")
    readers = {".npz": _npz, ".parquet": _parquet, ".safetensors": _safetensors}
    try:
        keys, layers = readers[file.suffix](file)
    except (CorruptFileError, MissingPackageError):
        raise
    except Exception as error:  # every library has errors of its own for a damaged file
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        raise CorruptFileError(
            f"{file} cannot be read as {file.suffix}: {type(error).__name__}: {reason}"
        ) from error
    if not layers:
        raise CorruptFileError(f"{file} holds keys and no vectors.")
    _require_single_keys(file, keys)
    checked = {name: _checked(file, name, values, keys) for name, values in layers.items()}
    return SuppliedVectors(file, {key: i for i, key in enumerate(keys)}, checked)


def _require_single_keys(file: Path, keys: Sequence[str]) -> None:
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise CorruptFileError(
            f"{file}: {len(twice)} keys occur more than once: {named(twice)}. "
            "Give each key one row."
        )


def named(keys: Sequence[str]) -> str:
    """Name the first keys of a list, and how many more there are."""
    rest = len(keys) - _NAMED
    return ", ".join(keys[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _checked(file: Path, name: str, values: Any, keys: Sequence[str]) -> Array:
    """Check one layer, and convert it to float32."""
    if "/" in name:
        raise CorruptFileError(f"{file}: a layer is called {name!r}; wanted a name without '/'.")
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or array.ndim != 2 or array.shape[1] == 0:
        raise CorruptFileError(
            f"{file}: the layer {name!r} has shape {array.shape} of {array.dtype}; "
            "wanted numbers (keys, width)."
        )
    if len(array) != len(keys):
        raise CorruptFileError(
            f"{file}: the layer {name!r} has {len(array)} rows for {len(keys)} keys; "
            "wanted one row for each key, in the same order."
        )
    vectors = array.astype(np.float32)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise CorruptFileError(
            f"{file}: {len(broken)} vectors of the layer {name!r} hold NaN or infinity: "
            f"{named([keys[int(i)] for i in broken])}."
        )
    return vectors


def _without_keys(file: Path, where: str) -> CorruptFileError:
    return CorruptFileError(
        f"{file} has no {where}: vectors without keys cannot be matched with recordings. "
        "`etab vectors keys --tasks ... --out keys.csv` writes the keys."
    )


def _npz(file: Path) -> tuple[list[str], dict[str, Any]]:
    with np.load(file, allow_pickle=False) as content:
        if _KEYS not in content.files:
            raise _without_keys(file, f"array {_KEYS!r}")
        keys = [str(key) for key in content[_KEYS].ravel()]
        layers = {name: content[name] for name in content.files if name != _KEYS}
    return keys, layers


def _safetensors(file: Path) -> tuple[list[str], dict[str, Any]]:
    from safetensors import safe_open

    with safe_open(str(file), framework="numpy") as content:
        metadata = content.metadata() or {}
        if _KEYS not in metadata:
            raise _without_keys(file, f"metadata entry {_KEYS!r}")
        keys = [str(key) for key in json.loads(metadata[_KEYS])]
        layers = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    return keys, layers


def _parquet(file: Path) -> tuple[list[str], dict[str, Any]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPackageError(
            f'{file} needs pyarrow: pip install "etab-bench[parquet]".'
        ) from error
    table = parquet.read_table(file)
    if _KEY_COLUMN not in table.column_names:
        raise _without_keys(file, f"column {_KEY_COLUMN!r}")
    keys = [str(key) for key in table.column(_KEY_COLUMN).to_pylist()]
    layers: dict[str, Any] = {}
    numbers: list[Any] = []
    for name in table.column_names:
        if name == _KEY_COLUMN:
            continue
        values = table.column(name).to_pylist()
        if values and isinstance(values[0], list):
            layers[name] = _matrix(file, name, values)
        else:
            numbers.append(np.array(values, dtype=np.float64))
    if numbers:
        layers["vector"] = np.stack(numbers, axis=1)
    return keys, layers


def _matrix(file: Path, name: str, rows: Sequence[Sequence[float]]) -> Array:
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise CorruptFileError(
            f"{file}: the lists of the column {name!r} have {len(widths)} lengths, from "
            f"{min(widths)} to {max(widths)}; wanted one."
        )
    return np.array(rows, dtype=np.float64)
