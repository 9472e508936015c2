"""The cache of features: what names an entry, and when it is computed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.identity import identity, is_of_package, nameless
from etab.errors import EtabWarning, UnsupportedOptionError
from etab.features.entries import Computed, Load, load_batches, read_entry, write_entry
from etab.storage.releases import release_version
from etab.types import Array, Features, Record

PRECISIONS = ("auto", "fp32", "bf16")


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
    """Whether the hardware computes in bf16 (AVX512-BF16 or AMX on a processor; any current GPU)."""
    if device != "cpu":
        return True
    info = Path("/proc/cpuinfo")
    flags = set(re.findall(r"amx_bf16|avx512_bf16", info.read_text())) if info.exists() else set()
    return bool(flags)


def resolve_precision(precision: str, card: BackboneCard, device: str) -> str:
    """Resolve "auto": bf16 for a learned backbone on hardware that computes in bf16, else fp32."""
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
    """Yield ``read(part)`` for each part, reading one part ahead of its use."""
    if not parts:
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(read, parts[0])
        for following in [*parts[1:], None]:
            batch = waiting.result()
            if following is not None:
                waiting = pool.submit(read, following)
            yield batch


@dataclass(frozen=True, slots=True)
class EntryKeys:
    """What names the rows of an entry, beside facts, weights and data.

    listed  JSON values
    text    pieces of text, one or several a row, in the order of the rows
    """

    listed: tuple[Any, ...] = ()
    text: tuple[str, ...] = ()

    def digest(self, facts: Mapping[str, Any], weights: str, data: str) -> str:
        """sha256 of everything that decides the features."""
        head = json.dumps([facts, weights, data, *self.listed], sort_keys=True)
        total = hashlib.sha256(head.encode())
        for piece in self.text:
            total.update(piece.encode())
        return total.hexdigest()


class FeatureStore:
    """Stores features under the digest of everything that decides them.

    Only this class handles digests, folders, checksums and renames. Callers give facts, keys, and a
    function that computes the features.
    """

    def __init__(self, cache: Path | None) -> None:
        """Keep entries under ``cache``; None keeps nothing."""
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
    ) -> FrameFeatures:
        """Read an entry back, or compute and keep it.

        Args: card: The backbone; it is loaded only where its weights, or the features, are not
            known. facts: What decides the features beyond weights and data: versions, sizes,
            precision. keys: What names the rows. compute: ``compute(backbone, folder)`` computes
            the features, and may write files to the folder. data_digest: sha256 of the data. load:
            Reads the files of an entry.

        Raises:
            WeightsError: The backbone cannot be loaded.
            StorageError: The cache cannot be written.
            CorruptFileError: What was written does not read back.
        """
        started = time.perf_counter()

        def result(features: Features, weights: str, from_cache: bool) -> FrameFeatures:
            key = keys.digest(facts, weights, data_digest)
            seconds = time.perf_counter() - started
            return FrameFeatures(features, key, weights, data_digest, facts, from_cache, seconds)

        def folder_of(weights: str) -> Path | None:
            return self._folder(card, keys.digest(facts, weights, data_digest))

        known = _known_digest(card, self.cache)
        if known is not None:
            features = read_entry(folder_of(known), load)
            if features is not None:
                return result(features, known, True)
        backbone = card.load()
        weights = identity(card, backbone)
        _remember_digest(card, self.cache, weights)
        kept = cache_for(backbone, self.cache) is not None
        folder = folder_of(weights) if kept else None
        features = None if weights == known else read_entry(folder, load)
        if features is not None:
            return result(features, weights, True)
        if folder is None:
            return result(compute(backbone, None).features(), weights, False)
        return result(write_entry(folder, partial(compute, backbone), load), weights, False)

    def _folder(self, card: BackboneCard, key: str) -> Path | None:
        """Return the folder of an entry: its key, and a digest of the versions of libraries."""
        if self.cache is None:
            return None
        return self.cache / "features" / _slug(card.name) / f"{key}-{_libraries_digest()}"


@functools.cache
def _libraries_digest() -> str:
    """Eight digits for the versions of the libraries that decode, resize, resample and embed."""
    versions = [f"{name} {release_version(name)}" for name in LIBRARIES]
    return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:8]


def _fingerprint(card: BackboneCard) -> str:
    """Digest what decides the weights of a card; "" where only the loaded network can tell."""
    if not is_of_package(card) or not (card.sha256 or (card.twin and card.seed is not None)):
        return ""
    makers = [release_version(name) for name in ("torch", "torchvision", "timm")]
    facts = [card.name, card.sha256, card.seed, card.version, card.source, *makers]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def cache_for(backbone: Backbone, cache: Path | None) -> Path | None:
    """Return the cache, or None, with a warning, for a backbone that no content names."""
    reason = nameless(backbone)
    if cache is None or not reason:
        return cache
    warnings.warn(reason, EtabWarning, stacklevel=4)
    return None


def _digest_file(card: BackboneCard, cache: Path) -> Path:
    return cache / "features" / _slug(card.name) / "weights.json"


def _digests(card: BackboneCard, cache: Path) -> dict[str, str]:
    try:
        digests = json.loads(_digest_file(card, cache).read_text())
    except (OSError, ValueError):
        return {}
    return digests if isinstance(digests, dict) else {}


def _known_digest(card: BackboneCard, cache: Path | None) -> str | None:
    """Return the digest of the weights from an earlier run, so that no network needs to be built."""
    name = _fingerprint(card)
    return _digests(card, cache).get(name) if cache is not None and name else None


def _remember_digest(card: BackboneCard, cache: Path | None, weights: str) -> None:
    name = _fingerprint(card)
    if cache is None or not name:
        return
    path = _digest_file(card, cache)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = path.with_suffix(f".{secrets.token_hex(8)}")
        temp.write_text(json.dumps({**_digests(card, cache), name: weights}))
        temp.replace(path)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[-80:]
