"""Entries of the feature cache: folders of arrays, with their checksums in ``entry.json``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError

from etab.errors import (
    CorruptFileError,
    EtabError,
    EtabWarning,
    FeaturesLostError,
    StorageError,
)
from etab.features.checksums import checksum
from etab.features.lazy import StoredMap
from etab.files import read_json_file
from etab.storage.claims import claimed, file_system_time, is_abandoned, remove_abandoned
from etab.storage.litter import remove_temporary_files
from etab.types import Array, Features

# Pooled features of more bytes than this are mapped, not read.
_MAPPED = 256 << 20

# What reading an entry raises where its files are absent, cut, or hold something else.
_DAMAGE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError),
    *(EOFError, OverflowError, SafetensorError),
)


SHARDS = ".shards"
"""How the folder of an entry ends that is computed in shards (``etab.features.shards``)."""


Load = Callable[[Path, Mapping[str, Any]], Features]


class Computed(Protocol):
    """Computed features, in memory or partly on disk."""

    def features(self) -> Features:
        """Return the features, if they are not stored."""
        ...

    def write(self, folder: Path) -> dict[str, Any]:
        """Finish the files of an entry, and return the facts that are needed to read them.

        Under "files" they hold the checksums of files that were computed while they were written.
        """
        ...


def write_entry(target: Path, compute: Callable[[Path], Computed], load: Load) -> Features:
    """Compute an entry in a temporary folder and rename it when it is complete.

    If another process completes the same entry first, its files are used.

    Args:
        target: Folder of the entry.
        compute: ``compute(folder)`` computes the features and may write files to the folder.
        load: Reads the files of an entry.

    Returns:
        The features, read from the entry.

    Raises:
        StorageError: The files cannot be written; no partial files are left.
        FeaturesLostError: The unfinished files were deleted meanwhile.
        CorruptFileError: The files just written cannot be read.
    """
    temp = target.with_name(f"{target.name}.{secrets.token_hex(8)}.part")
    try:
        with storing(target, temp):
            temp.mkdir(parents=True)
            started = time.perf_counter()
            facts = compute(temp).write(temp)
            entry = seal_entry(temp, facts, time.perf_counter() - started)
            put_in_place(temp, target, load)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return read_back(target, entry, load)


@contextlib.contextmanager
def storing(target: Path, temp: Path) -> Iterator[None]:
    """Name an error of the disk that occurs while an entry is written.

    Args:
        target: Folder of the entry, for the message.
        temp: Folder of the unfinished files. It is absent at first, or exists already.

    Yields:
        Nothing.

    Raises:
        StorageError: The files cannot be written.
        FeaturesLostError: The unfinished files were deleted meanwhile.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, EtabError):
            raise
        if isinstance(error, FileNotFoundError) and not temp.exists():
            raise FeaturesLostError(
                f"{temp} was deleted while it was written. Run the same command again: the "
                "features are computed again."
            ) from error
        raise StorageError(
            f"Features could not be kept in {target}: {error.strerror or error}. "
            "Free some space, or name another --cache."
        ) from error


def seal_entry(folder: Path, facts: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Write ``entry.json`` for the files in a folder.

    Args:
        folder: Folder of the complete files.
        facts: What is needed to read them. "files" holds checksums that are known from writing.
        seconds: How long computing them took, in s. `etab cache gc` compares it.

    Returns:
        The facts, with the checksum of each file.
    """
    names = sorted(path.name for path in folder.iterdir())
    known = facts.get("files", {})
    checksums = {name: known.get(name) or checksum(folder / name) for name in names}
    sizes = {name: (folder / name).stat().st_size for name in names}
    entry = {**facts, "files": checksums, "sizes": sizes}
    entry["seconds"] = round(seconds, 3)
    text = json.dumps({**entry, "sha256": _entry_digest(entry)}, indent=1)
    (folder / "entry.json").write_text(text)
    return entry


def read_back(target: Path, entry: Mapping[str, Any], load: Load) -> Features:
    """Read an entry that was written just now.

    Args:
        target: Folder of the entry.
        entry: The facts in ``entry.json``.
        load: Reads the files of an entry.

    Raises:
        CorruptFileError: The files cannot be read.
    """
    try:
        return load(target, entry)
    except _DAMAGE as error:
        raise CorruptFileError(
            f"The features just written to {target} do not read back; check the disk."
        ) from error


def remove_parts(target: Path) -> None:
    """Remove what processes left behind that ended while they computed an entry.

    Args:
        target: Folder of the entry, which this process has claimed.
    """
    for part in target.parent.glob(f"{target.name}.*.part"):
        shutil.rmtree(part, ignore_errors=True)


def remove_dead_parts(cache: Path) -> None:
    """Remove what ended processes were writing into a cache; what they finished stays.

    Args:
        cache: Folder of the cache.
    """
    for path in sorted((cache / "features").glob("**/*.claim")):
        if is_abandoned(path):
            with contextlib.suppress(StorageError), claimed(path) as is_mine:
                if is_mine:
                    remove_parts(path.with_suffix(""))


def put_in_place(temp: Path, target: Path, load: Load) -> None:
    """Rename a complete entry, unless a valid one exists, which another process may be reading.

    A damaged entry is renamed first, and deleted once the new one has its name: whoever reads it by
    its name finds one of the two.
    """
    if _is_sound(target, load):
        return
    damaged = target.with_name(f"{target.name}.{secrets.token_hex(8)}.part")
    with contextlib.suppress(FileNotFoundError):
        target.rename(damaged)
    try:
        temp.rename(target)
    except OSError:
        # Another process was faster. Its entry has the same content, if it is sound.
        if not _is_sound(target, load):
            raise
    finally:
        shutil.rmtree(damaged, ignore_errors=True)


def _is_sound(folder: Path, load: Load) -> bool:
    try:
        _verified(folder, load)
    except _DAMAGE:
        return False
    return True


def read_entry(folder: Path | None, load: Load | None = None) -> Features | None:
    """Read an entry.

    Args:
        folder: Folder of the entry; None has no entry.
        load: Reads the files of an entry; None is ``load_batches``.

    Returns:
        The features; None if there is no entry or, with a warning, if it is damaged.
    """
    if folder is None or not folder.is_dir():
        return None
    try:
        return _verified(folder, load or load_batches)
    except _DAMAGE as error:
        text = str(error)
        reason = text.splitlines()[0] if text else type(error).__name__
        warnings.warn(
            f"The cached features in {folder} are damaged ({reason}); computing them again.",
            EtabWarning,
            stacklevel=4,
        )
        return None


def entry_damage(folder: Path) -> str:
    """Say what is wrong with an entry, whichever input wrote it.

    Args:
        folder: Folder of the entry.

    Returns:
        What has changed since it was written; "" if nothing has.
    """
    try:
        _verified(folder, lambda *_: Features({}))
    except _DAMAGE as error:
        return str(error) or type(error).__name__
    return ""


def remove_litter(cache: Path, *, older_than: float = 86400.0) -> list[Path]:
    """Remove unfinished entries, claims and temporary files that ended processes left in a cache.

    An unfinished entry stays while a living process claims it, or while it is young.

    Args:
        cache: Folder of the cache.
        older_than: Age in s from which an unfinished entry or a temporary file is removed.

    Returns:
        What was removed.
    """
    folders = [path for path in (cache / "features").glob("*") if path.is_dir()]
    shards = [path for folder in folders for path in folder.glob(f"*{SHARDS}")]
    claims = [path for folder in (*folders, *shards) for path in folder.glob("*.claim")]
    removed = remove_abandoned(sorted(claims))
    parts = [path for folder in (*folders, *shards) for path in folder.glob("*.part")]
    for part in sorted(parts):
        target = part.name.split(".")[0]
        is_at_work = part.with_name(f"{target}.claim").exists()
        with contextlib.suppress(OSError):  # the folder is read-only, or it was removed just now
            age = file_system_time(part.parent) - part.stat().st_mtime_ns
            is_young = age < older_than * 1e9
            if not is_at_work and not is_young:
                shutil.rmtree(part, ignore_errors=True)
                removed.append(part)
    for folder in sorted(shards):
        # Its entry was completed by a process that ended before it deleted the shards.
        entry = folder.with_name(folder.name.split(".")[0]) / "entry.json"
        if entry.exists() and not any(folder.glob("*.claim")):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed + remove_temporary_files(cache, older_than=older_than)


def _entry_digest(entry: Mapping[str, Any]) -> str:
    """Digest the facts of an entry, without the digest itself."""
    facts = {key: value for key, value in entry.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _verified(folder: Path, load: Load) -> Features:
    entry = read_json_file(folder / "entry.json")
    names = {path.name for path in folder.iterdir()} - {"entry.json"}
    if set(entry["files"]) != names or entry.get("sha256") != _entry_digest(entry):
        raise ValueError("entry.json has changed, or a file was added or removed")
    # Entries of before have no sizes. A file that is cut or has grown is not read to its end.
    for name, size in entry.get("sizes", {}).items():
        if (folder / name).stat().st_size != size:
            raise ValueError(f"{name} has changed: it had {size} bytes")
    for name, wanted in entry["files"].items():
        if checksum(folder / name) != wanted:
            raise ValueError(f"{name} has changed")
    return load(folder, entry)


def _pooled(path: Path, *, above: int = _MAPPED) -> dict[str, Array]:
    """Read the arrays of a safetensors file; map them if it is larger than ``above`` bytes."""
    from safetensors.numpy import load_file

    if path.stat().st_size <= above:
        return dict(load_file(str(path)))
    with path.open("rb") as file:
        n = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(n))
    header.pop("__metadata__", None)
    if any(facts["dtype"] != "F32" for facts in header.values()):
        return dict(load_file(str(path)))
    arrays: dict[str, Array] = {}
    for name, facts in header.items():
        # The offsets count from the end of the header.
        offset = 8 + n + facts["data_offsets"][0]
        mapped = np.memmap(path, np.float32, "r", offset, tuple(facts["shape"]))
        arrays[name] = np.asarray(mapped)
    return arrays


def load_batches(folder: Path, entry: Mapping[str, Any]) -> Features:
    """Read an entry that ``etab.features.batches.Batches`` wrote; maps and sequences stay on disk.

    Args:
        folder: Folder of the entry.
        entry: The facts in ``entry.json``.
    """
    arrays = _pooled(folder / "pooled.safetensors")
    # safetensors sorts names; the entry remembers their order.
    pooled = {name: arrays[name] for name in entry["order"]}
    files = sorted(name for name in entry["files"] if name.startswith("map"))
    maps = tuple(StoredMap(folder / name) for name in files)
    sequences: dict[str, Any] = {}
    for i, name in enumerate(entry.get("sequences", ())):
        sequences[name] = StoredMap(folder / f"sequence{i}.npy")
    return Features(pooled, maps, dict(entry["pca"]), sequences)
