"""Series of recordings over time, as they are collected and stored: a file for each layer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import CorruptFileError
from etab.files import read_json_file
from etab.types import Array, Features, Record

# Name under which the envelopes of a recording stand among its layers.
BEAT = "beat"
Layers = dict[str, Array]


class CollectedSeries:
    """Collects the layers of recordings: in memory, or in a folder with a file for each layer.

    Attributes:
        folder: The folder; None keeps the series in memory.
        held: The series in memory, by layer and recording.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.held: dict[str, Layers] = {}
        self._files: dict[str, Any] = {}
        self._kinds: dict[str, tuple[str, int]] = {}
        self._lengths: list[tuple[str, int]] = []

    @classmethod
    def of(cls, held: Mapping[str, Layers]) -> CollectedSeries:
        """Wrap series that are in memory already."""
        series = cls(None)
        series.held = dict(held)
        return series

    def add_all(self, layers: Iterator[tuple[Record, Layers]]) -> None:
        """Add the layers of each recording, in the order of the iterator."""
        try:
            for record, values in layers:
                for name, series in values.items():
                    self._add(record, name, series)
                self._lengths.append((record.id, len(values[BEAT])))
        finally:
            for file in self._files.values():
                file.close()

    def _add(self, record: Record, name: str, series: Array) -> None:
        if self.folder is None:
            self.held.setdefault(name, {})[record.id] = series
            return
        if name not in self._files:
            self._files[name] = (self.folder / f"series{len(self._files)}.bin").open("wb")
            self._kinds[name] = (series.dtype.str, series.shape[1])
        self._files[name].write(np.ascontiguousarray(series).tobytes())

    def features(self) -> Features:
        """Return the series that are in memory."""
        return _features_of(self.held)

    def write(self, folder: Path) -> dict[str, Any]:
        """Return the facts that are needed to read the files."""
        return {
            "series": [[name, *kind] for name, kind in self._kinds.items()],
            "lengths": [list(pair) for pair in self._lengths],
        }


def join_series(parts: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Join entries of series to one, as if their recordings had been added one after another.

    Args:
        parts: Folders of entries of the same layers.
        folder: Where the files of the joined entry are written.

    Returns:
        The facts that are needed to read the files.

    Raises:
        CorruptFileError: The entries hold different layers.
    """
    entries = [read_json_file(part / "entry.json") for part in parts]
    series = entries[0]["series"]
    for part, entry in zip(parts, entries, strict=True):
        if entry["series"] != series:
            raise CorruptFileError(
                f"The backbone gave other layers in {part.name} than in {parts[0].name}: "
                f"{entry['series']}, {series}. It must give the same for every recording."
            )
    for i in range(len(series)):
        with (folder / f"series{i}.bin").open("wb") as whole:
            for part in parts:
                with (part / f"series{i}.bin").open("rb") as file:
                    shutil.copyfileobj(file, whole, 4 << 20)
    lengths = [pair for entry in entries for pair in entry["lengths"]]
    return {"series": series, "lengths": lengths}


def load_series(folder: Path, entry: Mapping[str, Any]) -> Features:
    """Read an entry as slices of mapped files; values are read when they are used.

    Args:
        folder: Folder of the entry.
        entry: The facts in ``entry.json``.
    """
    ends = np.cumsum([k for _, k in entry["lengths"]])
    held: dict[str, Layers] = {}
    for i, (name, kind, d) in enumerate(entry["series"]):
        path = folder / f"series{i}.bin"
        whole = np.memmap(path, np.dtype(kind), "r", shape=(int(ends[-1]), int(d)))
        held[name] = {
            record: whole[end - k : end]
            for (record, k), end in zip(entry["lengths"], ends, strict=True)
        }
    return _features_of(held)


def _features_of(held: Mapping[str, Layers]) -> Features:
    layers = {name: values for name, values in held.items() if name != BEAT}
    return Features({}, sequences=layers, series=held[BEAT])
