"""Vectors that were made elsewhere: ``vectors:FILE``, one row for each key.

A file is one of

* npz: an array ``keys`` of text (n,), and an array (n, d) for each layer;
* parquet: a column ``key``, and for each layer a column of lists; or plain columns of numbers,
  which are the one layer "vector";
* safetensors: a tensor (n, d) for each layer, and the metadata entry ``keys``, a JSON list.

``etab vectors keys`` writes the keys that the tasks need. This file knows nothing of datasets.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.base import (
    LONGEST_LAYER_NAME,
    UNKNOWN_DATA,
    Backbone,
    BackboneCard,
    is_layer_name,
)
from etab.backbones.weights.index import sha256_of
from etab.backbones.weights.recognise import require_file
from etab.errors import CorruptFileError, MissingPackageError, UnsupportedOptionError
from etab.files import is_bomb
from etab.readers.parquet import ParquetFile
from etab.readers.regular import require_regular
from etab.readers.signatures import HEAD_BYTES, kind_of_content
from etab.storage.text import counted
from etab.types import Array, Features

FAMILY = "vectors"
"""Family on the card of supplied vectors; boards mark the rows of such results."""

# 2: the identity is that of the vectors; before, it was that of the bytes of the file.
_VERSION = 2
_KEYS = "keys"
_KEY_COLUMN = "key"
RECORDING_COLUMN = "recording"
"""The column of the list of keys that is not needed beside vectors, and may stay."""

# pandas stores the numbers of rows under such a name once a table was sorted or filtered.
_PANDAS_INDEX = "__index_level_"
_TEXTS = ("string", "large_string", "string_view")
_FORMS = (".npz", ".parquet", ".safetensors")
_NAMED = 3
_ROWS_AT_ONCE = 4096
# What numpy.save writes; a reader that meets it names it.
_ONE_ARRAY = "a NumPy array"
_WHICH_DATA = (
    "--tasks b0 (of your own data: --data clinic.toml, or --data my_echo.py --root FOLDER)"
)


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
        """Return the sha256 of keys, layers and vectors.

        The form of the file and the order of its rows have no part in it, so that the same vectors
        are one backbone wherever they are written.
        """
        hasher = hashlib.sha256()
        keys = sorted(self.rows)
        rows = [self.rows[key] for key in keys]
        hasher.update(json.dumps(keys).encode())
        for name in sorted(self.layers):
            values = self.layers[name]
            hasher.update(json.dumps([name, values.shape[1]]).encode())
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                hasher.update(values[rows[start : start + _ROWS_AT_ONCE]].astype("<f4").tobytes())
        return hasher.hexdigest()

    def to(self, device: str, precision: str) -> SuppliedVectors:
        """Return the vectors unchanged; ``device`` and ``precision`` have no effect on them."""
        return self

    def __call__(self, x: Any) -> Features:
        """Refuse to compute.

        Raises:
            UnsupportedOptionError: Always.
        """
        raise UnsupportedOptionError(
            f"vectors:{self.file} holds vectors of known keys and cannot embed anything else. "
            f"`etab run --backbones vectors:{self.file}` looks them up."
        )


def vectors_card(name: str) -> BackboneCard:
    """Make the card of a file of vectors.

    Args:
        name: "vectors:<file>", with a file that ends with .npz, .parquet or .safetensors.

    Returns:
        The card.

    Raises:
        WeightsError: There is no such file.
        CorruptFileError: It is a folder, a pipe or a device.
        UnsupportedOptionError: The file has another ending.
    """
    file = Path(name.removeprefix("vectors:"))
    if file.suffix.lower() not in _FORMS:
        raise UnsupportedOptionError(
            f"{name}: a file of vectors ends with {', '.join(_FORMS)}; got {file.suffix!r}."
        )
    require_file(
        file,
        f"There is no file of vectors {file}. `etab vectors keys --out keys.csv` with "
        f"{_WHICH_DATA} writes the keys that it needs.",
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
        version=_VERSION,
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
            another number of rows, is not a matrix of numbers, or holds NaN or infinity.
        MissingPackageError: Parquet files need pyarrow.
    """
    require_regular(file, "Write it again.")
    with file.open("rb") as handle:
        kind = kind_of_content(handle.read(HEAD_BYTES))
    if kind and kind != _ONE_ARRAY:
        raise CorruptFileError(
            f"{file} holds no vectors: it is {kind}. Write or download the file itself again."
        )
    readers = {".npz": _npz, ".parquet": _parquet, ".safetensors": _safetensors}
    ending = file.suffix.lower()
    try:
        keys, layers = readers[ending](file)
    except (CorruptFileError, MissingPackageError):
        raise
    except Exception as error:  # every library has errors of its own for a damaged file
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        if "allow_pickle" in reason:  # numpy proposes to run what the file holds
            reason = "it holds Python objects; write keys as text and vectors as numbers"
        raise CorruptFileError(
            f"{file} cannot be read as {ending}: {type(error).__name__}: {reason}. Write it again, "
            "with numbers as float32."
        ) from error
    if not layers:
        raise CorruptFileError(f"{file} holds keys and no vectors.")
    _require_single_keys(file, keys)
    checked = {name: _checked(file, name, values, keys) for name, values in layers.items()}
    _require_no_labels(file, checked)
    return SuppliedVectors(file, {key: i for i, key in enumerate(keys)}, checked)


def _require_single_keys(file: Path, keys: Sequence[str]) -> None:
    blank = [row for row, key in enumerate(keys, start=1) if not key]
    if blank:
        raise CorruptFileError(
            f"{file}: rows without a key: {len(blank)}, first row {blank[0]}. Give each row its key."
        )
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise CorruptFileError(
            f"{file}: keys that occur more than once: {named(twice)}. Give each key one row."
        )


def _require_no_labels(file: Path, layers: Mapping[str, Array]) -> None:
    """Refuse layers of a single number beside wider ones: a label would predict itself."""
    single = [name for name, values in layers.items() if values.shape[1] == 1]
    if single and len(single) < len(layers):
        raise CorruptFileError(
            f"{file}: layers of a single number ({named(single)}) beside wider ones, as labels are. "
            "Keep the layers of vectors."
        )


def named(keys: Sequence[str]) -> str:
    """Name the first keys of a list, and how many more there are."""
    rest = len(keys) - _NAMED
    return ", ".join(keys[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _checked(file: Path, name: str, values: Any, keys: Sequence[str]) -> Array:
    """Check one layer, and convert it to float32."""
    if not is_layer_name(name):
        raise CorruptFileError(
            f"{file}: a layer is called {name!r}; wanted 1 to {LONGEST_LAYER_NAME} letters that can be "
            "printed, without '/'."
        )
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
    with np.errstate(over="ignore"):  # what is too large becomes infinity, and is refused below
        vectors = array.astype(np.float32)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise CorruptFileError(
            f"{file}: NaN or infinity in {counted(len(broken), 'vector')} of the layer {name!r}: "
            f"{named([keys[int(i)] for i in broken])}."
        )
    return vectors


def _without_keys(file: Path, where: str, found: Sequence[str]) -> CorruptFileError:
    return CorruptFileError(
        f"{file} has no {where}; it has {named(found) or 'nothing'}: vectors without keys cannot be matched with recordings. "
        f"`etab vectors keys --out keys.csv` with {_WHICH_DATA} writes the keys."
    )


def _key(value: Any) -> str:
    """A key as text without spaces around it."""
    if value is None:
        return ""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text.strip()


def _npz(file: Path) -> tuple[list[str], dict[str, Any]]:
    with file.open("rb") as handle:
        begin = handle.read(6)
        if not begin.startswith((b"PK", b"\x93NUMPY")):
            raise CorruptFileError(
                f"{file} is a file that begins with {begin!r}; wanted an npz file, as numpy.savez(FILE, keys=..., vectors=...) "
                "writes it."
            )
        handle.seek(0)
        content = np.load(handle, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise CorruptFileError(f"{file} is one array; wanted an npz file with keys and layers.")
        if _KEYS not in content.files:
            raise _without_keys(file, f"array {_KEYS!r}", content.files)
        archive: Any = content.zip
        _require_plausible(file, sum(member.file_size for member in archive.infolist()))
        keys = [_key(key) for key in np.asarray(content[_KEYS]).ravel()]
        layers = {name: content[name] for name in content.files if name != _KEYS}
    return keys, layers


def _require_plausible(file: Path, claimed: int) -> None:
    """Refuse a packed file that would take far more memory than it has bytes."""
    size = file.stat().st_size
    if is_bomb(claimed, size):
        raise CorruptFileError(
            f"{file} would unpack to {claimed:,} bytes, and has {size:,}. Write it again, with "
            "numbers as float32."
        )


def _safetensors(file: Path) -> tuple[list[str], dict[str, Any]]:
    import torch
    from safetensors import safe_open

    # NumPy has no bfloat16 and no numbers of eight bits, in which networks store what they compute.
    with safe_open(str(file), framework="pt") as content:
        metadata = content.metadata() or {}
        if _KEYS not in metadata:
            raise _without_keys(file, f"metadata entry {_KEYS!r}", list(metadata))
        listed = _json_list(metadata[_KEYS])
        if listed is None:
            raise CorruptFileError(
                f"{file}: the metadata entry {_KEYS!r} is not a JSON list; wanted "
                "json.dumps(keys), with the keys in the order of the rows."
            )
        keys = [_key(key) for key in listed]
        layers = {}
        for name in content.keys():  # noqa: SIM118
            values = content.get_tensor(name)
            is_short = values.is_floating_point() and values.itemsize < torch.float32.itemsize
            layers[name] = (values.to(torch.float32) if is_short else values).numpy()
    return keys, layers


def _json_list(text: str) -> list[Any] | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, list) else None


def _parquet(file: Path) -> tuple[list[str], dict[str, Any]]:
    table = ParquetFile(file, (), hint="Write it again, with numbers as float32.").read_all()
    if _KEY_COLUMN not in table.column_names:
        raise _without_keys(file, f"column {_KEY_COLUMN!r}", table.column_names)
    keys = [_key(key) for key in table.column(_KEY_COLUMN).to_pylist()]
    layers: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for name in table.column_names:
        if name == _KEY_COLUMN or name.startswith(_PANDAS_INDEX):
            continue
        column = table.column(name)
        if name == RECORDING_COLUMN and str(column.type) in _TEXTS:
            _require_same_rows(file, keys, column.to_pylist())
            continue
        if "list" in str(column.type):
            layers[name] = _matrix(file, name, column.to_pylist())
        else:
            numbers[name] = column.to_numpy()
    if numbers and layers:
        raise CorruptFileError(
            f"{file}: there are columns of single numbers ({named(list(numbers))}) beside the "
            f"column of vectors {next(iter(layers))!r}, as labels and row numbers are. Keep "
            f"{_KEY_COLUMN!r} and the columns of vectors."
        )
    if numbers:
        _require_one_kind(file, numbers)
        layers["vector"] = np.stack(list(numbers.values()), axis=1).astype(np.float64)
    return keys, layers


def _require_same_rows(file: Path, keys: Sequence[str], recordings: Sequence[str | None]) -> None:
    """Refuse a table whose keys were sorted without its recordings, or the other way round."""
    for key, recording in zip(keys, recordings, strict=True):
        if recording != recording_of(key):
            raise CorruptFileError(
                f"{file}: the row of the key {key!r} names the recording {recording!r}, as if a "
                f"column had been sorted alone. Write the vectors beside the keys again, or leave "
                f"the column {RECORDING_COLUMN!r} out."
            )


def recording_of(key: str) -> str:
    """Take the recording out of a key, which names a frame or a window of it behind "#".

    Args:
        key: A key as ``etab vectors keys`` writes it.

    Example:
        >>> recording_of("camus/patient0001_4CH#7")
        'camus/patient0001_4CH'
    """
    return key.partition("#")[0]


def _require_one_kind(file: Path, columns: Mapping[str, Any]) -> None:
    """Refuse columns that are not part of a vector: texts, and labels among fractions."""
    texts = [name for name, values in columns.items() if values.dtype.kind not in "fiu"]
    if texts:
        raise CorruptFileError(
            f"{file}: the column {texts[0]!r} holds no numbers. Keep {_KEY_COLUMN!r} and the "
            "columns of the vectors."
        )
    whole = [name for name, values in columns.items() if values.dtype.kind in "iu"]
    if whole and len(whole) < len(columns):
        raise CorruptFileError(
            f"{file}: there are columns of whole numbers ({named(whole)}) beside columns of "
            "fractions, as labels and row numbers are. Keep the columns of the vectors, all of one "
            "type."
        )
    stems = {name: name.strip("0123456789") for name in columns}
    counts = Counter(stem for name, stem in stems.items() if name != stem)
    odd = [name for name, stem in stems.items() if counts[stem] < 2]
    if odd and len(odd) < len(columns):
        numbered = next(name for name in columns if name not in odd)
        raise CorruptFileError(
            f"{file}: there are columns with other names ({named(odd)}) beside numbered ones such as "
            f"{numbered!r}, as labels are. Keep the columns of the vectors, or write each vector as a "
            "list in one column."
        )


def _matrix(file: Path, name: str, rows: Sequence[Sequence[float] | None]) -> Array:
    empty = [number for number, row in enumerate(rows, start=1) if row is None or None in row]
    if empty:
        raise CorruptFileError(
            f"{file}: no vector, or an empty number, in {counted(len(empty), 'row')} of the "
            f"column {name!r}, "
            f"first row {empty[0]}."
        )
    widths = {len(row) for row in rows if row is not None}
    if len(widths) > 1:
        raise CorruptFileError(
            f"{file}: the lists of the column {name!r} have {len(widths)} lengths, from "
            f"{min(widths)} to {max(widths)}; wanted one."
        )
    return np.array(rows, dtype=np.float64)
