"""The cache of features: keys, checks, writing and reading back."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xxhash

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.identity import is_of_package, nameless
from etab.errors import (
    CorruptFileError,
    EtabError,
    EtabWarning,
    StorageError,
    UnsupportedOptionError,
)
from etab.features.lazy import StoredMap
from etab.storage.memory import Spill
from etab.storage.releases import release_version
from etab.types import Array, Features, IntArray, Record

_MAPPED = 256 << 20


_HELD = 2 << 30


PRECISIONS = ("auto", "fp32", "bf16")


FrameKey = tuple[Record, int]


Report = Callable[[int, int], None]


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FrameFeatures:
    """Features of frames with what decided them."""

    features: Features
    key: str
    weights_sha256: str
    data_digest: str
    settings: Mapping[str, Any]
    from_cache: bool
    seconds: float


def has_bf16(device: str) -> bool:
    """Whether bf16 arithmetic is in the hardware (AVX512-BF16 or AMX on a processor; any current GPU)."""
    if device != "cpu":
        return True
    info = Path("/proc/cpuinfo")
    flags = set(re.findall(r"amx_bf16|avx512_bf16", info.read_text())) if info.exists() else set()
    return bool(flags)


def resolve_precision(precision: str, card: BackboneCard, device: str) -> str:
    """What "auto" means here: bf16 where the hardware has it and the backbone is learned, else fp32."""
    if precision not in PRECISIONS:
        raise UnsupportedOptionError(
            f"No precision is called {precision!r}. Known: {', '.join(PRECISIONS)}."
        )
    if not card.learned or card.source == "callable":
        return "fp32"
    if precision != "auto":
        return precision
    return "bf16" if has_bf16(device) else "fp32"


def ahead(parts: Sequence[T], read: Callable[[T], Array]) -> Iterator[Array]:
    """What ``read`` gives for each part, the next one read while the last is used."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(read, parts[0])
        for following in [*parts[1:], None]:
            batch = waiting.result()
            if following is not None:
                waiting = pool.submit(read, following)
            yield batch


def _key(
    settings: Mapping[str, Any], weights: str, data: str, frames: Sequence[FrameKey], maps: bool
) -> str:
    h = hashlib.sha256(json.dumps([settings, weights, data, maps], sort_keys=True).encode())
    for record, at in frames:
        h.update(f"{record.id}\0{at}\0".encode())
    return h.hexdigest()


def _fingerprint(card: BackboneCard) -> str:
    """What decides the weights of a card without building them; empty where only the built network can say."""
    if not is_of_package(card) or not (card.sha256 or (card.twin and card.seed is not None)):
        return ""
    makers = [release_version(name) for name in ("torch", "torchvision", "timm")]
    facts = [card.name, card.sha256, card.seed, card.version, card.source, *makers]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def cache_for(backbone: Backbone, cache: Path | None) -> Path | None:
    """The cache, unless the backbone has no content to name its features by: then None, with a warning."""
    reason = nameless(backbone)
    if cache is None or not reason:
        return cache
    warnings.warn(reason, EtabWarning, stacklevel=4)
    return None


def _digest_file(card: BackboneCard, cache: Path) -> Path:
    return cache / "features" / _slug(card.name) / "weights.json"


def _digests(card: BackboneCard, cache: Path) -> dict[str, str]:
    try:
        found = json.loads(_digest_file(card, cache).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _known_digest(card: BackboneCard, cache: Path | None) -> str | None:
    """Digest of the weights as an earlier run found it, so that cached features need no network built."""
    name = _fingerprint(card)
    return _digests(card, cache).get(name) if cache is not None and name else None


def _remember_digest(card: BackboneCard, cache: Path | None, weights: str) -> None:
    name = _fingerprint(card)
    if cache is None or not name:
        return
    path = _digest_file(card, cache)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = path.with_suffix(f".{os.getpid()}")
        temp.write_text(json.dumps({**_digests(card, cache), name: weights}))
        temp.replace(path)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[-80:]


class _Store:
    """Collects batches: pooled in memory, maps straight to disk (without a folder: in memory as far as they fit)."""

    def __init__(self, n: int, folder: Path | None) -> None:
        self.n, self.folder, self.at = n, folder, 0
        self.pooled: dict[str, Array] = {}
        self.sequences: dict[str, Array] = {}
        self.maps: list[Any] = []
        self.pca: Mapping[str, int] = {}

    def add(self, part: Features, maps: bool) -> None:
        """Append what the backbone said of one batch."""
        k = len(part)
        for name, values in part.pooled.items():
            block = values.cpu().numpy().astype(np.float32)
            self.pooled.setdefault(name, np.empty((self.n, block.shape[1]), np.float32))[
                self.at : self.at + k
            ] = block
        for name, values in part.sequences.items():
            block = values.cpu().float().clamp(-6e4, 6e4).numpy().astype(np.float16)
            place = self.sequences.setdefault(
                name, np.empty((self.n, *block.shape[1:]), np.float16)
            )
            place[self.at : self.at + k] = block
        for i, values in enumerate(part.maps if maps else ()):
            block = values.cpu().numpy()
            if i == len(self.maps):
                self.maps.append(self._new(i, (self.n, *block.shape[1:])))
            if self.folder is None:
                self.maps[i].put(self.at, block)
            else:
                self.maps[i].write(np.ascontiguousarray(block, np.float16).tobytes())
        self.at, self.pca = self.at + k, part.pca

    def _new(self, i: int, shape: tuple[int, ...]) -> Any:
        if self.folder is None:
            return Spill(shape, budget=_HELD)
        free = shutil.disk_usage(self.folder).free
        if free < 2 * int(np.prod(shape)) + (64 << 20):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        out = (self.folder / f"map{i}.npy").open("wb")
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        return out

    def close(self) -> None:
        """Finish the files; a map written in part is no map."""
        for out in self.maps if self.folder is not None else ():
            out.close()


def _compute(
    backbone: Backbone,
    batches: Iterator[Array],
    n: int,
    device: str,
    place: Path | None,
    progress: Report | None,
    maps: bool,
    rows: IntArray | None = None,
) -> Features:
    """Embed the batches; ``rows`` says which row each item that comes is (pooled features only)."""
    import torch

    temp = None
    try:
        if place is not None:
            temp = place.with_name(f"{place.name}.{os.getpid()}.part")
            shutil.rmtree(temp, ignore_errors=True)
            temp.mkdir(parents=True)
        store = _Store(n, temp)
        try:
            for batch in batches:
                store.add(backbone(torch.from_numpy(batch).to(device)), maps)
                if progress:
                    progress(store.at, n)
        finally:
            store.close()
        if rows is not None:
            store.pooled = {name: values[np.argsort(rows)] for name, values in store.pooled.items()}
        if place is None or temp is None:
            maps_ = tuple(np.asarray(m) if m.held else m for m in store.maps)
            return Features(store.pooled, maps_, store.pca, store.sequences)
        return _keep(store, temp, place)
    except OSError as error:
        if isinstance(error, EtabError) or temp is None:
            raise
        raise StorageError(
            f"Features could not be kept in {place}: {error.strerror}. Free some space, or name another --cache."
        ) from error
    finally:
        if temp is not None:
            shutil.rmtree(temp, ignore_errors=True)


def _keep(store: _Store, temp: Path, place: Path) -> Features:
    """Finish an entry and put it in place in one step."""
    from safetensors.numpy import save_file

    save_file(
        {k: np.ascontiguousarray(v) for k, v in store.pooled.items()},
        str(temp / "pooled.safetensors"),
    )
    for i, values in enumerate(store.sequences.values()):
        np.save(temp / f"sequence{i}.npy", values)
    files = sorted(p.name for p in temp.iterdir())
    entry = {
        "files": {n: _file_digest(temp / n) for n in files},
        "order": list(store.pooled),
        "pca": dict(store.pca),
    } | ({"sequences": list(store.sequences)} if store.sequences else {})
    (temp / "entry.json").write_text(
        json.dumps({**entry, "sha256": _entry_digest(entry)}, indent=1)
    )
    shutil.rmtree(place, ignore_errors=True)
    temp.replace(place)
    try:
        return _stored(place, entry)
    except (OSError, ValueError, KeyError) as error:
        raise CorruptFileError(
            f"The features just written to {place} do not read back; check the disk."
        ) from error


def _file_digest(path: Path) -> str:
    """Checksum against damage (xxh3, 128 bits), at the speed of memory: maps are gigabytes."""
    found = xxhash.xxh3_128()
    with path.open("rb") as handle:
        while block := handle.read(1 << 22):
            found.update(block)
    return found.hexdigest()


def _read(
    place: Path | None, stored: Callable[[Path, Mapping[str, Any]], Features] | None = None
) -> Features | None:
    """An entry that verifies; None where there is none, or (with a warning) where it is damaged."""
    if place is None or not place.is_dir():
        return None
    try:
        return _verified(place, stored or _stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.warn(
            f"The cached features in {place} are damaged ({said}); computing them again.",
            EtabWarning,
            stacklevel=4,
        )
        return None


def _entry_digest(entry: Mapping[str, Any]) -> str:
    """sha256 of an entry without its own digest; entries of before the digest was kept have none."""
    facts = {key: value for key, value in entry.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _verified(place: Path, stored: Callable[[Path, Mapping[str, Any]], Features]) -> Features:
    entry = json.loads((place / "entry.json").read_text())
    there = {path.name for path in place.iterdir()} - {"entry.json"}
    if set(entry["files"]) != there or entry.get("sha256") not in (None, _entry_digest(entry)):
        raise ValueError("entry.json has changed, or a file was added or removed")
    for name, wanted in entry["files"].items():
        if _file_digest(place / name) != wanted:
            raise ValueError(f"{name} has changed")
    return stored(place, entry)


def _pooled(path: Path, *, above: int = _MAPPED) -> dict[str, Array]:
    """The arrays of a safetensors file; of one with more than ``above`` bytes they stay on disk until they are read."""
    from safetensors.numpy import load_file

    if path.stat().st_size <= above:
        return dict(load_file(str(path)))
    with path.open("rb") as file:
        n = int.from_bytes(file.read(8), "little")
        header = {
            name: facts
            for name, facts in json.loads(file.read(n)).items()
            if name != "__metadata__"
        }
    if any(facts["dtype"] != "F32" for facts in header.values()):
        return dict(load_file(str(path)))
    return {
        name: np.asarray(
            np.memmap(
                path, np.float32, "r", 8 + n + facts["data_offsets"][0], tuple(facts["shape"])
            )
        )
        for name, facts in header.items()
    }


def _stored(place: Path, entry: Mapping[str, Any]) -> Features:
    pooled = _pooled(place / "pooled.safetensors")
    maps = sorted(n for n in entry["files"] if n.startswith("map"))
    sequences = {
        k: StoredMap(place / f"sequence{i}.npy") for i, k in enumerate(entry.get("sequences", ()))
    }
    whole = {k: pooled[k] for k in entry["order"]}
    return Features(whole, tuple(StoredMap(place / n) for n in maps), entry["pca"], sequences)
