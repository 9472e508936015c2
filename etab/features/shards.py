"""Entries that are computed in shards: a process that is killed loses one shard, not the entry.

The rows of a large entry are divided into shards of whole batches. Each shard is claimed and
computed on its own, so that several processes share an entry. The files of a complete shard are
copied into those of the entry and deleted. The disk never holds more than the entry and the shards
that are not copied yet.

Beside an entry, the folder ``<entry>.<digest of the division>.shards`` holds:

* ``0-2048``: a computed shard, in the files of an entry of its rows
* ``0-2048.claim``: a process computes the shard
* ``0-2048.merged``: its rows were copied into ``whole``; the file holds digests of what was copied
* ``whole``: the files of the entry, which becomes the entry when all shards were copied

Where rows have different lengths, as series of recordings do, the shards stay until all of them are
there, and are then joined to ``whole``. That takes the disk for two entries.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from etab.errors import EtabWarning, UnsupportedOptionError
from etab.features.batches import Batches
from etab.features.entries import (
    SHARDS,
    Computed,
    Load,
    entry_damage,
    load_batches,
    put_in_place,
    remove_parts,
    seal_entry,
    storing,
    write_entry,
)
from etab.features.merged import MergedFiles
from etab.files import read_json_file
from etab.storage.claims import claimed
from etab.storage.memory import freed_memory_kept
from etab.storage.watchdog import progressed
from etab.types import IntArray

SHARD = 2048
"""Frames or windows of a shard. A multiple of the usual sizes of batches."""

SIZE_VARIABLE = "ETAB_SHARD"
"""Environment variable: another number of frames or windows of a shard."""


class EmbedRows(Protocol):
    """Embeds the rows from the first to the last (exclusive); maps are written to the folder."""

    def __call__(self, folder: Path | None, first: int, last: int) -> Computed:
        """Embed some of the rows.

        Args:
            folder: Where maps are written; None writes none.
            first: The first row.
            last: The row after the last one.

        Returns:
            The features of the rows.
        """


@dataclass(frozen=True, slots=True)
class Shards:
    """How the rows of an entry are embedded in shards.

    Attributes:
        edges: First row of each shard, and the number of rows, in the order of embedding.
        prepare: Takes a loaded backbone and returns a function that embeds some of the rows.
        rows: The row of the entry that each embedded row belongs to; None where the order is the
            same.
        load: Reads the files of a shard, and those of the entry.
        join: Writes the files of the entry to a folder, given the folders of all shards in order,
            and returns the facts that are needed to read them. None where every row has the same
            size, so that the rows of a shard are copied to their place as soon as it is complete.
    """

    edges: tuple[int, ...]
    prepare: Callable[[Any], EmbedRows]
    rows: IntArray | None = None
    load: Load = load_batches
    join: Callable[[Sequence[Path], Path], dict[str, Any]] | None = None

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First and last row (exclusive) of each shard, in the order of embedding."""
        return list(zip(self.edges[:-1], self.edges[1:], strict=True))

    def compute(self, backbone: Any, folder: Path | None) -> Computed:
        """Embed all rows in one piece.

        Args:
            backbone: The loaded backbone.
            folder: Where maps are written; None holds them in memory.
        """
        collected = self.embedding(backbone)(folder, 0, self.edges[-1])
        if self.rows is not None and isinstance(collected, Batches):
            collected.reorder(self.rows)
        return collected

    def embedding(self, backbone: Any) -> EmbedRows:
        """Return the function that embeds some of the rows, with the memory of each batch reused.

        Args:
            backbone: The loaded backbone.
        """
        embed = self.prepare(backbone)

        def in_reused_memory(folder: Path | None, first: int, last: int) -> Computed:
            with freed_memory_kept():
                return embed(folder, first, last)

        return in_reused_memory

    def targets(self, first: int, last: int) -> IntArray:
        """The rows of the entry that embedded rows belong to.

        Args:
            first: First embedded row.
            last: Last embedded row, exclusive.
        """
        if self.rows is None:
            return np.arange(first, last)
        return self.rows[first:last]


def shard_size() -> int:
    """Read the number of frames or windows of a shard: ``SHARD``, or ``ETAB_SHARD`` if it is set.

    Features do not depend on it. A smaller shard loses less when its process is killed.

    Raises:
        UnsupportedOptionError: ``ETAB_SHARD`` is not a number from 1.

    Example:
        >>> shard_size()
        2048
    """
    text = os.environ.get(SIZE_VARIABLE, "").strip()
    if not text:
        return SHARD
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise UnsupportedOptionError(
            f"{SIZE_VARIABLE} is {text[:40]!r}. It must be the number of frames of a shard, such "
            f"as {SHARD}; unset it to take {SHARD}."
        )
    return int(text)


def shard_edges(sizes: Sequence[int], batch: int) -> tuple[int, ...]:
    """Divide batches into shards of about ``shard_size()`` frames or windows.

    Args:
        sizes: Number of rows of each batch.
        batch: About the number of frames or windows of a batch.

    Returns:
        First row of each shard, and the number of rows.

    Example:
        >>> shard_edges([1024, 1024, 1024, 5], 1024)
        (0, 2048, 3077)
    """
    ends = np.cumsum([0, *sizes]).tolist()
    n_batches = max(1, shard_size() // batch)
    return (*ends[:-1:n_batches], ends[-1])


class UnfinishedEntry:
    """An entry that is computed in shards, by this process and others.

    Attributes:
        target: Folder of the entry.
        folder: Folder of its shards.
        shards: How its rows are embedded.
    """

    def __init__(self, target: Path, shards: Shards) -> None:
        division = hashlib.sha256(json.dumps(shards.edges).encode()).hexdigest()[:8]
        self.target = target
        self.folder = target.with_name(f"{target.name}.{division}{SHARDS}")
        self.shards = shards
        self._files = MergedFiles(self.folder)

    def compute_next(self, embed: EmbedRows, work: str, is_entry_done: Callable[[], bool]) -> bool:
        """Compute one shard that no other process computes.

        Args:
            embed: Embeds some of the rows.
            work: What is computed, for ``etab status``.
            is_entry_done: Whether another process has finished the entry meanwhile.

        Returns:
            Whether a shard was computed.

        Raises:
            StorageError: The disk refuses.
            FeaturesLostError: The unfinished files were deleted meanwhile.
        """
        for first, last in self.shards.ranges:
            if self._is_done(first, last):
                continue
            with claimed(self._claim(first, last), work) as is_claimed:
                # Another process may have finished the shard, or all of them, just now.
                if not is_claimed or self._is_done(first, last) or is_entry_done():
                    continue
                shard = self._shard(first, last)
                remove_parts(shard)
                write_entry(shard, partial(embed, first=first, last=last), self.shards.load)
                return True
        return False

    def merge(self) -> bool:
        """Copy the computed shards into the files of the entry, unless they are joined at the end.

        Only one process at a time does so, the one that has claimed the entry.

        Returns:
            Whether all shards were copied, or are there to be joined.

        Raises:
            StorageError: The disk refuses.
            FeaturesLostError: The unfinished files were deleted meanwhile.
        """
        if self.shards.join is not None:
            return all(self._shard(*rows).is_dir() for rows in self.shards.ranges)
        with storing(self.target, self.folder):
            for first, last in self.shards.ranges:
                progressed()
                shard = self._shard(first, last)
                if shard.is_dir():
                    note = self._files.note(first, last)
                    if not note.exists():
                        rows = self.shards.targets(first, last)
                        self._files.copy(shard, note, rows, self.shards.edges[-1])
                    shutil.rmtree(shard, ignore_errors=True)
        return all(self._files.note(*rows).exists() for rows in self.shards.ranges)

    def finish(self) -> dict[str, Any] | None:
        """Put the complete files in the place of the entry.

        Returns:
            The facts in ``entry.json``; None, with a warning, where rows changed on the disk after
            they were copied. Their shards have to be computed again.

        Raises:
            StorageError: The disk refuses.
            FeaturesLostError: The unfinished files were deleted meanwhile.
        """
        if self.shards.join is not None:
            return self._joined(self.shards.join)
        files = self._files
        with storing(self.target, self.folder):
            layout = files.layout()
            if layout is None:
                files.start_again()
                return None
            seconds = {rows: files.seconds(files.note(*rows)) for rows in self.shards.ranges}
            for rows in [rows for rows, time in seconds.items() if time is None]:
                self._forget(*rows)
            known = [time for time in seconds.values() if time is not None]
            if len(known) < len(seconds):
                return None
            (files.whole / "entry.json").unlink(missing_ok=True)  # of a process that was killed
            entry = seal_entry(files.whole, layout.facts, sum(known))
            put_in_place(files.whole, self.target, self.shards.load)
        self.remove()
        return entry

    def _joined(
        self, join: Callable[[Sequence[Path], Path], dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Join all shards and put the files in the place of the entry.

        Returns: The facts in ``entry.json``; None, with a warning, where a shard is damaged.
        """
        damaged = [rows for rows in self.shards.ranges if entry_damage(self._shard(*rows))]
        for rows in damaged:
            self._forget(*rows)
        if damaged:
            return None
        with storing(self.target, self.folder):
            shutil.rmtree(self._files.whole, ignore_errors=True)  # of a process that was killed
            self._files.whole.mkdir()
            folders = [self._shard(*rows) for rows in self.shards.ranges]
            seconds = [read_json_file(one / "entry.json")["seconds"] for one in folders]
            entry = seal_entry(self._files.whole, join(folders, self._files.whole), sum(seconds))
            put_in_place(self._files.whole, self.target, self.shards.load)
        self.remove()
        return entry

    def _forget(self, first: int, last: int) -> None:
        """Let a shard be computed again that is damaged, or whose copied rows are."""
        self._files.note(first, last).unlink(missing_ok=True)
        shutil.rmtree(self._shard(first, last), ignore_errors=True)
        warnings.warn(
            f"Unfinished features in {self.folder} are damaged; rows {first} to {last - 1} are "
            "computed again.",
            EtabWarning,
            stacklevel=6,
        )

    def remove(self) -> None:
        """Delete the files of shards, after the entry is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _shard(self, first: int, last: int) -> Path:
        return self.folder / f"{first}-{last}"

    def _claim(self, first: int, last: int) -> Path:
        return self.folder / f"{first}-{last}.claim"

    def _is_done(self, first: int, last: int) -> bool:
        # In this order: a shard is deleted after it was noted as copied.
        return self._shard(first, last).is_dir() or self._files.note(first, last).exists()
