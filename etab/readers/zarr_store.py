"""Arrays of Zarr stores (folders, or zip files), whole and verified.

A store leaves out chunks that hold nothing but the fill value, so that a chunk that was lost reads
as zeros. Only a digest of the array separates the two cases.

Needs zarr (``pip install "etab-bench[zarr]"``).
"""

from __future__ import annotations

import hashlib
import importlib
import math
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from etab.errors import CorruptFileError, EtabError, LayoutError, MissingPackageError
from etab.files import is_bomb, read_file
from etab.readers.packed_chunks import UNKNOWN, unpacked_size
from etab.readers.regular import require_regular
from etab.readers.zarr_packing import Packing
from etab.types import Array

_Value = TypeVar("_Value")
_SMALL_CHUNK = 1 << 20
_HEADS = ("zarr.json", ".zarray", ".zattrs", ".zgroup")


class ZarrStore:
    """A group of arrays that is opened for reading.

    Args:
        path: A folder or a zip file.

    Raises:
        MissingPackageError: zarr is not installed.
        LayoutError: There is no such folder or file.
        CorruptFileError: It is not a Zarr group.
    """

    def __init__(self, path: Path) -> None:
        """Open the group; no array is read."""
        self.path = path
        try:
            zarr: Any = importlib.import_module("zarr")
        except ImportError as error:
            raise MissingPackageError(
                f'{path} is a Zarr store, and zarr is not installed: pip install "etab-bench[zarr]".'
            ) from error
        if not path.exists():
            raise LayoutError(f"{path} is missing. Restore it, or leave out its recording.")
        if path.is_dir():
            self._require_files(path.iterdir())
        else:
            require_regular(path)

        def opened() -> Any:
            if path.is_dir():
                return zarr.open_group(str(path), mode="r")
            store = importlib.import_module("zarr.storage").ZipStore(str(path), mode="r")
            return zarr.open_group(store=store, mode="r")

        self._group: Any = self._guarded("it is not a Zarr group", opened)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The attributes of the group."""
        return self._guarded("its attributes", lambda: dict(self._group.attrs))

    def __contains__(self, name: str) -> bool:
        return self._guarded(name, lambda: name in self._group)

    def shape(self, name: str) -> tuple[int, ...]:
        """Read the shape of an array from its header.

        Args:
            name: The path of the array in the group.

        Raises:
            CorruptFileError: There is no such array.
        """
        self._require_files((self.path / name).glob("*.json"))
        return self._guarded(name, lambda: tuple(int(n) for n in self._group[name].shape))

    def array(self, name: str, sha256: str = "") -> Array:
        """Read a whole array.

        Args:
            name: The path of the array in the group.
            sha256: The published digest of its bytes in C order; "" if there is none.

        Raises:
            CorruptFileError: There is no such array, a chunk is damaged, or the digest differs.
        """
        self._guarded(name, lambda: self._require_plausible(name))
        values = self._guarded(name, lambda: np.ascontiguousarray(self._group[name][:]))
        if sha256 and hashlib.sha256(values.tobytes()).hexdigest() != sha256.lower():
            raise CorruptFileError(
                f"{self.path}: the array {name} is not the published one (its sha256 differs): a "
                "chunk is damaged or absent. Download the recording again."
            )
        return values

    def _require_files(self, paths: Iterable[Path]) -> None:
        """Refuse links out of the store, pipes and devices: zarr would follow them."""
        inside = self.path.resolve()
        for path in paths:
            try:
                leads_out = path.is_symlink() and not path.resolve().is_relative_to(inside)
            except (OSError, RuntimeError) as error:  # pathlib's words for links in a circle
                raise CorruptFileError(f"{path} is a link that leads nowhere: {error}.") from error
            if leads_out:
                raise CorruptFileError(f"{path} is a link that leads out of its store.")
            if not path.is_file() and not path.is_dir():
                raise CorruptFileError(
                    f"{path} is not an ordinary file. Download the recording again."
                )

    def _require_plausible(self, name: str) -> None:
        """Refuse an array that would take far more memory than is stored of it.

        Chunks that are absent read as the fill value, so that a header of a few bytes can claim any
        shape.
        """
        held = list((self.path / name).rglob("*")) if self.path.is_dir() else [self.path]
        self._require_files(held)
        array = self._guarded(name, lambda: self._group[name])
        shapes = [array.shape, array.chunks, array.shards or ()]
        claimed = max(math.prod(map(int, shape)) for shape in shapes) * int(array.dtype.itemsize)
        stored = sum(file.stat().st_size for file in held if file.is_file())
        if is_bomb(claimed, stored):
            raise CorruptFileError(
                f"{self.path}: the array {name} claims {claimed:,} bytes, and {stored:,} are "
                "stored of it. Download the recording again."
            )
        self._require_chunks(name, array)

    def _require_chunks(self, name: str, array: Any) -> None:
        """Refuse a chunk that unpacks to far more than a chunk of the array has."""
        packing = self._guarded(name, lambda: Packing.of(array))
        if not packing.codec:
            return
        wanted = packing.chunk_bytes
        limit = max(_SMALL_CHUNK, 2 * wanted)
        for file, content in self._chunks(name):
            for chunk in packing.chunks(content):
                size = unpacked_size(chunk, packing.codec, limit)
                if size > limit:
                    stated = (
                        "does not state its size" if size == UNKNOWN else f"claims {size:,} bytes"
                    )
                    raise CorruptFileError(
                        f"{self.path}: the chunk {file} {stated}; wanted {wanted:,} bytes. Download "
                        "the recording again."
                    )

    def _chunks(self, name: str) -> Iterator[tuple[str, bytes]]:
        """Name and content of each stored chunk of an array."""
        if self.path.is_dir():
            for path in sorted((self.path / name).rglob("*")):
                if path.is_file() and path.name not in _HEADS:
                    yield path.relative_to(self.path).as_posix(), read_file(path)
            return
        with zipfile.ZipFile(self.path) as archive:
            for member in archive.infolist():
                inside = member.filename.startswith(f"{name}/") and not member.is_dir()
                if inside and member.filename.rpartition("/")[2] not in _HEADS:
                    if is_bomb(member.file_size, member.compress_size):
                        raise CorruptFileError(
                            f"{self.path}: {member.filename} claims {member.file_size:,} bytes. "
                            "Download the recording again."
                        )
                    yield member.filename, archive.read(member)

    def _guarded(self, what: str, read: Callable[[], _Value]) -> _Value:
        """Turn errors of zarr and its codecs into one that names the store and the array."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return read()
        except EtabError:
            raise
        except Exception as error:  # zarr and its codecs raise anything
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            raise CorruptFileError(
                f"{self.path} cannot be read: {what} ({first}). Download the recording again."
            ) from error
