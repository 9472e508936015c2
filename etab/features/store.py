"""The cache of features: the key of an entry, and when the entry is computed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.identity import identity, is_of_package, nameless
from etab.errors import EtabWarning, FeaturesLostError, StorageError, UnsupportedOptionError
from etab.features.calibration import fastest
from etab.features.entries import (
    Computed,
    Load,
    load_batches,
    read_back,
    read_entry,
    remove_parts,
    write_entry,
)
from etab.features.shards import Shards, UnfinishedEntry
from etab.files import read_json_file
from etab.precisions import AUTO, FASTEST, NAMED, parts, refuse_backend
from etab.storage.atomic import write_atomically
from etab.storage.claims import claimed
from etab.storage.machine import processor_has_bf16
from etab.storage.releases import release_version
from etab.storage.watchdog import wait_for_others
from etab.types import Features, Record

PRECISIONS = (AUTO, FASTEST, *NAMED)

FrameKey = tuple[Record, int]

# A feature may change with any of these: entries of other versions are not read.
LIBRARIES = (
    "torch",
    "torchvision",
    "torchaudio",
    "timm",
    "transformers",
    "onnxruntime",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "simplejpeg",
    "av",
    "pydicom",
    "nibabel",
    "SimpleITK",
    "soundfile",
)

BACKEND_PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}
"""The package of each backend that is not torch itself."""

BACKEND_VERSIONS = {"openvino": "2"}
"""Raised where what is done with a backend changes its features, if only in the last bits."""

# Libraries that make and read the networks of a source, beside those in LIBRARIES.
_OWN_MAKERS = {"transformers": "transformers", "open_clip": "open_clip_torch"}


WAIT = 0.5
"""Seconds between two looks at an entry that another process computes."""


@dataclass(frozen=True, slots=True)
class FrameFeatures:
    """Features of the rows of an input, with everything that decided them.

    Attributes:
        features: The features, one row for each key.
        key: sha256 of everything that decides the features, in hexadecimal digits.
        weights_sha256: Digest of the weights of the backbone.
        data_digest: sha256 of the data.
        settings: The facts that decide the features beyond weights, data and keys.
        from_cache: Whether the features were read from the cache.
        seconds: How long computing or reading them took, in s.
    """

    features: Features
    key: str
    weights_sha256: str
    data_digest: str
    settings: Mapping[str, Any]
    from_cache: bool
    seconds: float


def has_bf16(device: str) -> bool:
    """Whether the hardware computes in bf16.

    A processor does with AVX512-BF16 or AMX; every current GPU does.

    Args:
        device: The device, as torch names it: "cpu", "cuda", "cuda:1".
    """
    return device != "cpu" or processor_has_bf16()


def resolve_precision(precision: str, card: BackboneCard, device: str) -> str:
    """Resolve "auto" and "fastest" for a backbone on this machine.

    "auto" is bf16 for a learned backbone on hardware that computes in bf16, else fp32. "fastest" is
    measured (``etab.features.calibration``); for a network of clips it is "auto".

    Args:
        precision: "auto", "fastest", or one of ``etab.precisions.NAMED``.
        card: The backbone. One that is not learned always computes in fp32.
        device: The device, as torch names it.

    Returns:
        One of ``etab.precisions.NAMED``.

    Raises:
        UnsupportedOptionError: The precision is unknown.
        WeightsError: "fastest" cannot be measured, because the backbone cannot be loaded.
    """
    if precision not in PRECISIONS:
        raise UnsupportedOptionError(
            f"No precision is called {precision!r}. Known: {', '.join(PRECISIONS)}."
        )
    if not card.learned or card.source in ("callable", "vectors"):
        return "fp32"
    if precision not in (AUTO, FASTEST):
        if card.clip is not None:
            refuse_backend(card.name, precision)
        return precision
    if precision == FASTEST and card.clip is None:
        return fastest(card, device, fast_precisions(device))
    return "bf16" if has_bf16(device) else "fp32"


def fast_precisions(device: str) -> list[str]:
    """List the precisions that may be the fastest, fp32 first, the simplest first.

    Args:
        device: The device, as torch names it.

    Returns:
        Those of ``etab.precisions.NAMED`` that the hardware computes in, without ``torch.compile``.
    """
    names = [name for name in NAMED if parts(name)[1] != "compile"]
    return [name for name in names if parts(name)[0] == "fp32" or has_bf16(device)]


def placed(backbone: Any, device: str, precision: str) -> Any:
    """Move a backbone to a device and a precision.

    Args:
        backbone: A loaded backbone.
        device: The device, as torch names it.
        precision: One of ``etab.precisions.NAMED``.

    Returns:
        The backbone.

    Raises:
        UnsupportedOptionError: The backbone does not compute in the precision.
    """
    if not getattr(backbone, "has_backends", False):
        name = getattr(getattr(backbone, "card", None), "name", type(backbone).__name__)
        refuse_backend(name, precision)
    return backbone.to(device, precision)


def precision_facts(precision: str) -> dict[str, str]:
    """Facts of a precision that enter the key of features.

    Args:
        precision: One of ``etab.precisions.NAMED``.

    Returns:
        The precision, and the version of a backend that is a package of its own.

    Example:
        >>> precision_facts("bf16")
        {'precision': 'bf16'}
    """
    _, backend = parts(precision)
    package = BACKEND_PACKAGES.get(backend)
    if package is None:
        return {"precision": precision}
    facts = {"precision": precision, "backend": f"{package} {release_version(package)}"}
    version = BACKEND_VERSIONS.get(backend)
    return facts if version is None else facts | {"backend_version": version}


@dataclass(frozen=True, slots=True)
class EntryKeys:
    """The keys of the rows of an entry, beside facts, weights and data.

    Attributes:
        listed: Values that JSON can hold.
        text: Pieces of text, one or several a row, in the order of the rows.
    """

    listed: tuple[Any, ...] = ()
    text: tuple[str, ...] = ()

    def digest(self, facts: Mapping[str, Any], weights: str, data: str) -> str:
        """Compute the sha256 of everything that decides the features.

        Args:
            facts: Settings that decide the features.
            weights: Digest of the weights.
            data: Digest of the data.
        """
        head = json.dumps([facts, weights, data, *self.listed], sort_keys=True)
        total = hashlib.sha256(head.encode())
        for piece in self.text:
            total.update(piece.encode())
        return total.hexdigest()


class FeatureStore:
    """Stores features under the digest of everything that decides them.

    Only this class handles digests, folders, checksums and renames. Callers pass facts, keys, and a
    function that computes the features.
    """

    def __init__(self, cache: Path | None) -> None:
        """Store entries under the folder ``cache``; with None, store nothing."""
        self.cache = cache

    def get(
        self,
        card: BackboneCard,
        facts: Mapping[str, Any],
        keys: EntryKeys,
        compute: Callable[[Any, Path | None], Computed],
        *,
        data_digest: str,
        load: Load = load_batches,
        shards: Shards | None = None,
        fuller: EntryKeys | None = None,
    ) -> FrameFeatures:
        """Read an entry from the cache, or compute and store it.

        Args:
            card: The backbone. It is loaded only if its weights or the features are not known yet.
            facts: Whatever decides the features beyond weights and data: versions, sizes,
                precision.
            keys: The keys of the rows.
            compute: ``compute(backbone, folder)`` computes the features. It may write files to the
                folder, which is None where nothing is stored.
            data_digest: sha256 of the data.
            load: Reads the files of an entry.
            shards: How the rows are divided, so that several processes compute them and a process
                that is killed loses one shard. None computes the entry in one piece.
            fuller: Keys of an entry that holds the same features and more. It is read where it is
                there, and its key is that of the features either way.

        Returns:
            The features, with their key and whether they came from the cache.

        Raises:
            WeightsError: The backbone cannot be loaded.
            StorageError: The cache cannot be written.
            CorruptFileError: The files just written cannot be read back.
        """
        started = time.perf_counter()

        def result(features: Features, weights: str, from_cache: bool) -> FrameFeatures:
            key = (fuller or keys).digest(facts, weights, data_digest)
            seconds = time.perf_counter() - started
            return FrameFeatures(features, key, weights, data_digest, facts, from_cache, seconds)

        def folder_of(weights: str) -> Path | None:
            return self._folder(card, keys.digest(facts, weights, data_digest))

        def read(weights: str) -> Features | None:
            found = None
            if fuller is not None:
                found = read_entry(
                    self._folder(card, fuller.digest(facts, weights, data_digest)), load
                )
            return read_entry(folder_of(weights), load) if found is None else found

        known = _known_digest(card, self.cache)
        features = None
        looked_at = None
        if known is not None:
            looked_at = _stamp(folder_of(known))
            features = read(known)
            if features is not None:
                return result(features, known, True)
        backbone = card.load()
        weights = identity(card, backbone)
        _remember_digest(card, self.cache, weights)
        is_stored = cache_for(backbone, self.cache) is not None
        folder = folder_of(weights) if is_stored else None
        if folder is None:
            return result(compute(backbone, None).features(), weights, False)
        # An entry under the known digest was looked up above.
        if weights != known:
            looked_at = _stamp(folder)
            features = read(weights)
        if features is not None:
            return result(features, weights, True)
        if shards is not None and len(shards.ranges) > 1:
            sharded = _written_in_shards(folder, shards, backbone, looked_at)
            return result(sharded[0], weights, sharded[1])
        return result(*_written(folder, weights, partial(compute, backbone), load, looked_at))

    def _folder(self, card: BackboneCard, key: str) -> Path | None:
        """Return the folder of an entry: its key, and a digest of the versions of libraries."""
        if self.cache is None:
            return None
        return features_folder(self.cache, card) / f"{key}-{_libraries_digest()}"


def features_folder(cache: Path, card: BackboneCard) -> Path:
    """Name the folder of the features of a backbone.

    Args:
        cache: Folder of the cache.
        card: The backbone.
    """
    return cache / "features" / _slug(card.name)


@functools.cache
def _libraries_digest() -> str:
    """Digest the versions of the libraries that decode, resize, resample and embed: 8 digits."""
    versions = [f"{name} {release_version(name)}" for name in LIBRARIES]
    return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:8]


def _fingerprint(card: BackboneCard) -> str:
    """Digest the facts that decide the weights of a card.

    "" where the weights are known only once the network is loaded.
    """
    is_random_twin = card.twin and card.seed is not None
    if not is_of_package(card) or not (card.sha256 or is_random_twin):
        return ""
    makers = [release_version(name) for name in ("torch", "torchvision", "timm")]
    if card.source in _OWN_MAKERS:
        makers.append(release_version(_OWN_MAKERS[card.source]))
    facts = [card.name, card.sha256, card.seed, card.version, card.source, *makers]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def cache_for(backbone: Backbone, cache: Path | None) -> Path | None:
    """Return the cache; None, with a warning, for a backbone without a digest of its content.

    Args:
        backbone: The loaded backbone.
        cache: Folder of the cache; None stores nothing.
    """
    reason = nameless(backbone)
    if cache is None or not reason:
        return cache
    warnings.warn(reason, EtabWarning, stacklevel=4)
    return None


def _written(
    folder: Path,
    weights: str,
    compute: Callable[[Path], Computed],
    load: Load,
    looked_at: tuple[int, int] | None,
) -> tuple[Features, str, bool]:
    """Compute an entry, or wait for the process that computes it.

    Args:
        folder: Folder of the entry.
        weights: Digest of the weights.
        compute: Computes the features.
        load: Reads the files of an entry.
        looked_at: ``_stamp`` of the entry that was found absent or damaged.

    Returns:
        The features, ``weights``, and whether another process computed them.
    """
    claim_file = folder.with_name(f"{folder.name}.claim")
    while True:
        with claimed(claim_file, f"features {folder.parent.name}") as is_claimed:
            # Another process may have finished it since it was looked up.
            stamp = _stamp(folder)
            if stamp is not None and stamp != looked_at:
                looked_at = stamp
                features = read_entry(folder, load)
                if features is not None:
                    return features, weights, True
            if is_claimed:
                remove_parts(folder)
                # It is lost where this process was paused and another took its claim over.
                with contextlib.suppress(FeaturesLostError):
                    return write_entry(folder, compute, load), weights, False
        wait_for_others(WAIT)


def _written_in_shards(
    folder: Path, shards: Shards, backbone: Any, looked_at: tuple[int, int] | None
) -> tuple[Features, bool]:
    """Compute an entry in shards, together with the processes that compute other shards.

    Args:
        folder: Folder of the entry.
        shards: How its rows are divided.
        backbone: The loaded backbone.
        looked_at: ``_stamp`` of the entry that was found absent or damaged.

    Returns:
        The features, and whether other processes computed all of them.
    """
    unfinished = UnfinishedEntry(folder, shards)
    embed = shards.embedding(backbone)
    work = f"features {folder.parent.name}"
    is_elsewhere = True

    def is_entry_done() -> bool:
        return _stamp(folder) not in (None, looked_at)

    while True:
        # It is lost where the cache was emptied meanwhile: then everything is computed again.
        with contextlib.suppress(FeaturesLostError):
            if is_entry_done():
                looked_at = _stamp(folder)
                features = read_entry(folder, shards.load)
                if features is not None:
                    unfinished.remove()
                    return features, is_elsewhere
            is_computed = unfinished.compute_next(embed, work, is_entry_done)
            is_elsewhere = is_elsewhere and not is_computed
            entry = None
            with claimed(folder.with_name(f"{folder.name}.claim"), work) as is_claimed:
                if is_claimed and not is_entry_done():
                    remove_parts(folder)
                    entry = unfinished.finish() if unfinished.merge() else None
            if entry is not None:
                return read_back(folder, entry, shards.load), is_elsewhere
            if is_computed:
                continue
        wait_for_others(WAIT)


def _stamp(folder: Path | None) -> tuple[int, int] | None:
    """Facts that distinguish an entry from one that was written later; None if there is none."""
    if folder is None:
        return None
    try:
        status = (folder / "entry.json").stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _digest_file(card: BackboneCard, cache: Path) -> Path:
    return features_folder(cache, card) / "weights.json"


def _digests(card: BackboneCard, cache: Path) -> dict[str, str]:
    try:
        digests = read_json_file(_digest_file(card, cache))
    except (OSError, ValueError):
        return {}
    if not isinstance(digests, dict):
        return {}
    return {name: digest for name, digest in digests.items() if isinstance(digest, str)}


def _known_digest(card: BackboneCard, cache: Path | None) -> str | None:
    """Return the digest of the weights from an earlier run, which saves building the network."""
    name = _fingerprint(card)
    if cache is None or not name:
        return None
    return _digests(card, cache).get(name)


def _remember_digest(card: BackboneCard, cache: Path | None, weights: str) -> None:
    name = _fingerprint(card)
    if cache is None or not name:
        return
    path = _digest_file(card, cache)
    with contextlib.suppress(StorageError):  # it only saves time
        write_atomically(path, json.dumps({**_digests(card, cache), name: weights}))


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[-80:]
