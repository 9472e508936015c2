"""The files of an entry that grow shard by shard, with a note of each shard that was copied."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from etab.errors import CorruptFileError, EtabWarning, StorageError
from etab.features.entries import entry_damage, read_entry
from etab.features.layout import Layout, StoredArray, arrays_of, layout_of
from etab.files import finite_number, read_json_file
from etab.storage.atomic import write_atomically
from etab.types import IntArray

_BLOCK = 4 << 20  # bytes that are copied at once
_KINDS = {"<f4": "<f4", "<f2": "<f2"}  # of the values of an array
_SPARE = 64 << 20  # bytes of the disk that stay free
_LARGE = 10e9  # from this many bytes on, the size of an entry is announced before it is written


class MergedFiles:
    """The files of an entry of which some rows are known, and notes of these rows.

    Attributes:
        folder: Folder of the shards, the notes and the folder ``whole``.
        whole: Folder of the files of the entry.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whole = folder / "whole"

    def note(self, first: int, last: int) -> Path:
        """The file that notes that a shard was copied.

        Args:
            first: First row of the shard.
            last: Last row, exclusive.
        """
        return self.folder / f"{first}-{last}.merged"

    def copy(self, shard: Path, note: Path, rows: IntArray, n: int) -> None:
        """Copy a shard, and note it. A damaged shard is left out, with a warning.

        Args:
            shard: Folder of the shard.
            note: File of the note.
            rows: Row of the entry that each row of the shard belongs to.
            n: Rows of the entry.

        Raises:
            StorageError: The disk is too small.
            CorruptFileError: The features differ in names or shapes from those of other shards.
        """
        features = read_entry(shard)
        if features is None:
            return
        seconds = read_json_file(shard / "entry.json")["seconds"]
        layout = self._prepared(layout_of(features, n))
        digests: dict[str, str] = {}
        for name, values in arrays_of(features).items():
            array = layout.arrays[name]
            digest = xxhash.xxh3_128()
            with (self.whole / array.file).open("r+b", buffering=0) as file:
                for part in _blocks(array, len(rows)):
                    block = np.ascontiguousarray(values[part], array.dtype)
                    digest.update(block.data)
                    array.write(file, rows[part], block)
                os.fsync(file.fileno())
            digests[name] = digest.hexdigest()
        facts = {"seconds": seconds, "rows": rows.tolist(), "digests": digests}
        write_atomically(note, json.dumps(facts))

    def layout(self) -> Layout | None:
        """The layout of the files; None if any file is absent or has another size."""
        try:
            layout = _layout_from(read_json_file(self.folder / "layout.json"))
            sizes = {name: (self.whole / name).stat().st_size for name in layout.headers}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None
        return layout if sizes == layout.sizes else None

    def start_again(self) -> None:
        """Forget what was copied: the files of the entry are gone."""
        for path in self.folder.glob("*.merged"):
            path.unlink(missing_ok=True)
        for path in self.folder.glob("whole*"):
            shutil.rmtree(path, ignore_errors=True)

    def seconds(self, note: Path) -> float | None:
        """How long a copied shard took to compute, in s.

        Args:
            note: File of the note.

        Returns:
            The time; None where the note or the copied rows changed since they were written.
        """
        layout = self.layout()
        try:
            facts = read_json_file(note)
            rows = np.array(facts["rows"], dtype=np.int64)
            seconds = finite_number(facts["seconds"])
            digests = dict(facts["digests"])
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return None
        if layout is None or not _are_rows(rows, layout):
            return None
        return seconds if digests == self._digests(layout, rows) else None

    def _digests(self, layout: Layout, rows: IntArray) -> dict[str, str]:
        """Digest rows of each array; none where a file ends early."""
        digests: dict[str, str] = {}
        for name, array in layout.arrays.items():
            digest = xxhash.xxh3_128()
            with (self.whole / array.file).open("rb", buffering=0) as file:
                for part in _blocks(array, len(rows)):
                    try:
                        digest.update(array.read(file, rows[part]).data)
                    except (EOFError, ValueError):
                        return {}
            digests[name] = digest.hexdigest()
        return digests

    def _prepared(self, layout: Layout) -> Layout:
        """Make the files of the entry, unless they exist; they are filled with zeros."""
        known = self.layout()
        if known is not None:
            if known != layout:
                raise CorruptFileError(
                    "The backbone gave features with different names or shapes in two shards: "
                    f"{sorted(known.arrays)}, {sorted(layout.arrays)}. It must give the same for "
                    "every batch."
                )
            return known
        self.start_again()
        self._require_space(sum(layout.sizes.values()))
        part = self.folder / f"whole.{secrets.token_hex(8)}.part"
        part.mkdir()
        try:
            for name, header in layout.headers.items():
                with (part / name).open("wb") as file:
                    file.write(header)
                    file.truncate(layout.sizes[name])
            write_atomically(self.folder / "layout.json", _layout_text(layout))
            part.rename(self.whole)
        finally:
            shutil.rmtree(part, ignore_errors=True)  # a full disk, or Ctrl-C
        return layout

    def _require_space(self, size: int) -> None:
        """Tell the size of a large entry, and refuse one that the disk cannot hold."""
        free = shutil.disk_usage(self.folder).free
        words = (
            f"The features in {self.folder.parent} will take {size / 1e9:.1f} GB; "
            f"{free / 1e9:.1f} GB are free."
        )
        if free < size + _SPARE:
            raise StorageError(f"{words} Free some space, or name another --cache.")
        if size >= _LARGE:
            warnings.warn(words, EtabWarning, stacklevel=2)


def unfinished_damage(folder: Path) -> list[str]:
    """Name what changed in an unfinished entry since it was written.

    Args:
        folder: Folder of the shards.

    Returns:
        A sentence for each shard that is damaged; these are computed again.
    """
    files = MergedFiles(folder)
    damage = []
    for path in sorted(folder.glob("*/entry.json")):
        words = "" if path.parent == files.whole else entry_damage(path.parent)
        if words:
            damage.append(f"{path.parent.name}: {words}")
    for note in sorted(folder.glob("*.merged")):
        if files.seconds(note) is None:
            damage.append(f"{note.stem}: its copied rows have changed")
    return damage


def _are_rows(rows: IntArray, layout: Layout) -> bool:
    """Whether numbers are a list of rows that every array of a layout has."""
    if rows.ndim != 1:
        return False
    fewest = min((array.shape[0] for array in layout.arrays.values()), default=0)
    return bool(((rows >= 0) & (rows < fewest)).all())


def _blocks(array: StoredArray, n: int) -> Iterator[slice]:
    """Divide ``n`` rows of an array into blocks that are copied at once."""
    step = max(1, _BLOCK // max(array.row_bytes, 1))
    for first in range(0, n, step):
        yield slice(first, min(first + step, n))


def _layout_text(layout: Layout) -> str:
    arrays = {
        name: [array.file, array.offset, list(array.shape), array.dtype]
        for name, array in layout.arrays.items()
    }
    headers = {name: header.hex() for name, header in layout.headers.items()}
    return json.dumps({"headers": headers, "arrays": arrays, "facts": layout.facts})


def _layout_from(facts: dict[str, Any]) -> Layout:
    """Make a layout of what its file holds, which others may have written.

    Raises ValueError and errors of wrong types where that is not a layout; above all where a file
    lies outside the folder, which would be written.
    """
    headers = {_plain(name): bytes.fromhex(text) for name, text in facts["headers"].items()}
    arrays = {
        name: StoredArray(file, _count(offset), tuple(map(_count, shape)), _KINDS[dtype])
        for name, (file, offset, shape, dtype) in facts["arrays"].items()
    }
    if not all(array.file in headers and array.shape for array in arrays.values()):
        raise ValueError("an array lies in no file of the entry")
    return Layout(headers, arrays, dict(facts["facts"]))


def _plain(name: str) -> str:
    """The name of a file in a folder; ValueError for a path that leads elsewhere."""
    if name in ("", "..") or Path(name).name != name:
        raise ValueError(f"{name!r} is no name of a file")
    return name


def _count(number: Any) -> int:
    """A number of bytes or rows."""
    if type(number) is not int or not 0 <= number < 1 << 62:
        raise ValueError(f"{number!r} is not a number of bytes or rows")
    return number
