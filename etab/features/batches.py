"""Features of batches of rows, collected as a backbone computes them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.base import Backbone
from etab.errors import UnsupportedOptionError
from etab.features.checksums import SummedFile
from etab.features.layout import in_c_order, npy_header, write_pooled
from etab.features.overlap import OneBehind
from etab.storage.memory import Spill
from etab.types import Array, Features, IntArray

# Bytes of a feature map that are held in memory when there is no cache.
_HELD = 2 << 30

OnRows = Callable[[int, int], None]


class Batches:
    """Collects the features of batches.

    Pooled features are collected in memory, and maps in a folder, or in memory without one.

    Attributes:
        n: Rows in all.
        folder: Folder of the files of maps; None collects maps in memory.
        at: Rows that were added so far.
        pooled: Pooled features (n, d), float32, by name.
        sequences: Sequences (n, T, d), float16, by name.
        maps: Maps in memory, or the files they are written to.
        pca: Dimensions after the reduction, by name of the pooled features.
    """

    def __init__(self, n: int, folder: Path | None) -> None:
        self.n = n
        self.folder = folder
        self.at = 0
        self.pooled: dict[str, Array] = {}
        self.sequences: dict[str, Array] = {}
        self.maps: list[Any] = []
        self.pca: Mapping[str, int] = {}
        self._layout: dict[str, tuple[int, ...]] = {}

    def add(self, part: Features, maps: bool) -> None:
        """Append the features of one batch.

        Args:
            part: The features of the batch.
            maps: Whether to append its feature maps too.

        Raises:
            UnsupportedOptionError: The features have other names or shapes than those of the first
                batch.
        """
        from etab.backbones.maps import stored_map

        k = len(part)
        self._require_same_layout(part, maps)
        for name, values in part.pooled.items():
            block = values.cpu().numpy().astype(np.float32)
            whole = self.pooled.setdefault(name, np.empty((self.n, block.shape[1]), np.float32))
            whole[self.at : self.at + k] = block
        for name, values in part.sequences.items():
            block = stored_map(values.cpu()).numpy()
            stored = self.sequences.setdefault(
                name, np.empty((self.n, *block.shape[1:]), np.float16)
            )
            stored[self.at : self.at + k] = block
        for i, values in enumerate(part.maps if maps else ()):
            block = values.cpu().numpy()
            if i == len(self.maps):
                self.maps.append(self._new(i, (self.n, *block.shape[1:])))
            if self.folder is None:
                self.maps[i].put(self.at, block)
            else:
                self.maps[i].write(in_c_order(block).data)
        self.at += k
        self.pca = part.pca

    def _require_same_layout(self, part: Features, maps: bool) -> None:
        """Refuse a batch that would leave rows of some features unwritten."""
        named = {**part.pooled, **part.sequences}
        if maps:
            named |= {f"map {i}": values for i, values in enumerate(part.maps)}
        layout = {name: tuple(values.shape[1:]) for name, values in named.items()}
        if self.at == 0:
            self._layout = layout
        if layout != self._layout:
            raise UnsupportedOptionError(
                f"The features of two batches differ in names or shapes: {self._layout} in the "
                f"first one, {layout} in a later one. A backbone must give the same for every "
                "batch."
            )

    def _new(self, i: int, shape: tuple[int, ...]) -> Any:
        if self.folder is None:
            return Spill(shape, budget=_HELD)
        free = shutil.disk_usage(self.folder).free
        if free < 2 * int(np.prod(shape)) + (64 << 20):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        out = SummedFile(self.folder / f"map{i}.npy")
        out.write(npy_header(shape))
        return out

    def reorder(self, rows: IntArray) -> None:
        """Put pooled features in order: the i-th features added belong to row ``rows[i]``."""
        order = np.argsort(rows)
        self.pooled = {name: values[order] for name, values in self.pooled.items()}

    def features(self) -> Features:
        """Return the features, in memory as far as they fit."""
        maps = tuple(np.asarray(m) if m.held else m for m in self.maps)
        return Features(self.pooled, maps, self.pca, self.sequences)

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the files that are not on disk yet, and return the facts for entry.json."""
        write_pooled(folder / "pooled.safetensors", self.pooled)
        for i, values in enumerate(self.sequences.values()):
            np.save(folder / f"sequence{i}.npy", values)
        facts: dict[str, Any] = {"order": list(self.pooled), "pca": dict(self.pca)}
        if self.sequences:
            facts["sequences"] = list(self.sequences)
        if self.folder is not None:
            facts["files"] = {file.path.name: file.checksum for file in self.maps}
        return facts

    def close(self) -> None:
        """Close the files of maps."""
        if self.folder is None:
            return
        for out in self.maps:
            out.close()


def progress_of_part(progress: OnRows | None, first: int, total: int) -> OnRows:
    """Report the progress of some rows as that of all rows.

    Args:
        progress: Called with (rows done, rows in all); None reports nothing.
        first: First of the rows.
        total: Rows in all.
    """

    def report(done: int, _: int) -> None:
        if progress is not None:
            progress(first + done, total)

    return report


def embed_batches(
    backbone: Backbone,
    batches: Iterator[Array],
    n: int,
    folder: Path | None,
    *,
    device: str = "cpu",
    progress: OnRows | None = None,
    maps: bool = False,
) -> Batches:
    """Embed batches of ``n`` rows in all.

    Args:
        backbone: A backbone that is on ``device`` already.
        batches: Arrays whose first axis is rows.
        n: Rows in all.
        folder: Where each batch of maps is written; None holds maps in memory.
        device: The device to which batches are copied.
        progress: Called with (rows done, n) after each batch.
        maps: Whether feature maps are collected.

    Returns:
        The features, collected.
    """
    import torch

    collected = Batches(n, folder)
    # Features in memory of their own are written while the network computes the next batch.
    in_background = getattr(backbone, "outputs_are_new", False)
    done = 0
    try:
        with OneBehind() as writing:
            for batch in batches:
                features = backbone(torch.from_numpy(batch).to(device))
                writing.call(partial(collected.add, features, maps))
                if not in_background:
                    writing.wait()
                done += len(features)
                if progress:
                    progress(done, n)
    finally:
        collected.close()
    return collected
