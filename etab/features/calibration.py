"""Which precision computes a backbone fastest on this machine: a short measurement that is kept.

``--precision fastest`` loads the backbone in each precision that may be faster, compares its
features of made frames with those in fp32, and times a batch. The fastest whose features agree
within ``TOLERANCE`` is chosen. The choice is kept in the user's cache, under a digest of the
machine, the backbone and the versions of libraries; features and results name the precision that
was chosen. ``torch.compile`` is left out, because it starts for a minute in every process.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.files import finite_number, read_json_file
from etab.precisions import refuse_backend
from etab.storage.atomic import write_atomically
from etab.storage.machine import allowed_cores, processor
from etab.storage.releases import release_version
from etab.storage.user_cache import user_cache
from etab.types import Array

TOLERANCE = 0.02
"""Largest difference to fp32 of any output, as a share of its root mean square."""

_VERSION = 2
_CALLS = 2  # timed calls, after one that starts the backend
# A precision is chosen over one before it in the list where it takes less than this share of time.
_GAIN = 0.9
_LIBRARIES = ("torch", "torchvision", "timm", "openvino", "onnxruntime")
_BATCH = {"cpu": 32}
_BATCH_ON_GPU = 128


@dataclass(frozen=True, slots=True)
class Calibration:
    """The measurements for one backbone.

    Attributes:
        backbone: Name of the backbone.
        device: The device, as torch names it.
        machine: The processor or GPU.
        frames: Frames of the batch that was timed.
        precision: The precision that was chosen.
        seconds: Shortest wall time of the batch in s, by precision.
        differences: Largest difference to fp32 of any output, as a share of its root mean square,
            by precision.
        refused: Why precisions do not work here, by precision.
    """

    backbone: str
    device: str
    machine: str
    frames: int
    precision: str
    seconds: dict[str, float]
    differences: dict[str, float]
    refused: dict[str, str]


def fastest(card: BackboneCard, device: str, candidates: Sequence[str]) -> str:
    """Return the fastest precision of a backbone, measured now or kept from an earlier run.

    Args:
        card: A backbone of frames.
        device: The device, as torch names it.
        candidates: Precisions of ``etab.precisions.NAMED``, fp32 first, the simplest first.

    Returns:
        One of the candidates.

    Raises:
        WeightsError: The backbone cannot be loaded.
        StorageError: The user's cache cannot be written.
    """
    path = calibration_folder() / f"{_key(card, device, tuple(candidates))}.json"
    stored = _read(path)
    if stored is None:
        stored = calibrate(card, device, candidates)
        write_atomically(path, json.dumps(asdict(stored), indent=1) + "\n")
    return stored.precision


def calibration_folder() -> Path:
    """Name the folder of what was measured, in the user's cache."""
    return user_cache() / "calibration"


def stored_calibrations() -> list[Calibration]:
    """List what was measured, by backbone. Files that cannot be read are left out."""
    stored = [_read(path) for path in sorted(calibration_folder().glob("*.json"))]
    return sorted((each for each in stored if each is not None), key=lambda each: each.backbone)


def _read(path: Path) -> Calibration | None:
    """Read a measurement; None if there is none, or it is damaged and has to be made again."""
    try:
        content = Calibration(**read_json_file(path))
        # What is shown of it. A precision that is not chosen may have given NaN.
        times = [finite_number(content.seconds[name]) for name in ("fp32", content.precision)]
        finite_number(content.differences[content.precision])
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return content if min(times) > 0 else None


def _key(card: BackboneCard, device: str, candidates: tuple[str, ...]) -> str:
    facts = [
        *(_VERSION, TOLERANCE, _CALLS, _GAIN, list(candidates)),
        *(card.name, card.size, card.version, _weights(card)),
        *(device, _machine(device), allowed_cores()),
        *(f"{name} {release_version(name)}" for name in _LIBRARIES),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@lru_cache(maxsize=256)
def _weights(card: BackboneCard) -> str:
    """A digest of the weights; the network is loaded if its card does not state one."""
    if card.sha256:
        return card.sha256
    if card.twin and card.seed is not None:
        return f"seed {card.seed}"
    return card.load().digest()


def _machine(device: str) -> str:
    if device == "cpu":
        return processor()
    import torch

    return str(torch.cuda.get_device_name(device)) if device.startswith("cuda") else device


def made_frames(n: int, size: int) -> Array:
    """Make frames with structures of several sizes, and noise; the same ones every time.

    Args:
        n: Number of frames.
        size: Their side in pixels.

    Returns:
        uint8 (n, size, size).
    """
    import cv2

    rng = np.random.default_rng(0)
    frames = rng.normal(0, 8, (n, size, size))
    for cells in (3, 9, 27):
        for frame in frames:
            coarse = rng.normal(0, 25, (cells, cells))
            frame += cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(frames + 60, 0, 255).astype(np.uint8)


def calibrate(card: BackboneCard, device: str, candidates: Sequence[str]) -> Calibration:
    """Measure a backbone in each of several precisions.

    Args:
        card: A backbone of frames.
        device: The device, as torch names it.
        candidates: Precisions, fp32 first, the simplest first.

    Returns:
        The measurement, with the precision that is chosen.

    Raises:
        WeightsError: The backbone cannot be loaded.
    """
    import torch

    n = _BATCH.get(device, _BATCH_ON_GPU)
    batch = torch.from_numpy(made_frames(n, card.size)).to(device)
    chosen = candidates[0]
    reference, taken = _computed(_placed(card, device, chosen), batch)
    seconds = {chosen: taken}
    differences = {chosen: 0.0}
    refused: dict[str, str] = {}
    for precision in candidates[1:]:
        try:
            outputs, taken = _computed(_placed(card, device, precision), batch)
        except Exception as error:  # whatever the packages of a backend raise
            words = str(error).strip().splitlines() or [""]
            refused[precision] = f"{type(error).__name__}: {words[0][:160]}"
            continue
        seconds[precision] = taken
        differences[precision] = difference(outputs, reference)
        agrees = differences[precision] <= TOLERANCE
        if agrees and taken < _GAIN * seconds[chosen]:
            chosen = precision
    return Calibration(
        backbone=card.name,
        device=device,
        machine=_machine(device),
        frames=n,
        precision=chosen,
        seconds=seconds,
        differences=differences,
        refused=refused,
    )


def _placed(card: BackboneCard, device: str, precision: str) -> Any:
    """Load a backbone in a precision; one that no backend can compute is refused a backend."""
    backbone: Any = card.load()
    if not getattr(backbone, "has_backends", False):
        refuse_backend(card.name, precision)
    return backbone.to(device, precision)


def _computed(backbone: Any, batch: Any) -> tuple[list[Array], float]:
    """The outputs for a batch, and the shortest wall time of a call in s."""
    outputs = _outputs(backbone(batch))
    times = []
    for _ in range(_CALLS):
        started = time.perf_counter()
        _outputs(backbone(batch))
        times.append(time.perf_counter() - started)
    return outputs, min(times)


def _outputs(features: Any) -> list[Array]:
    """Pooled features and maps on the processor, in float32."""
    tensors = [*features.pooled.values(), *features.maps]
    return [tensor.cpu().float().numpy() for tensor in tensors]


def difference(outputs: Sequence[Array], reference: Sequence[Array]) -> float:
    """Largest difference of any output, as a share of the root mean square of its reference.

    Args:
        outputs: Arrays of any shapes.
        reference: Arrays of the same shapes.

    Returns:
        Root mean square of the difference, divided by that of the reference; infinite where an
        output is not finite.

    Example:
        >>> difference([np.array([1.0, 1.1])], [np.array([1.0, 1.0])])
        0.0707
    """
    shares = [0.0]
    for values, wanted in zip(outputs, reference, strict=True):
        wide = wanted.astype(np.float64)
        size = max(float(np.sqrt(np.mean(wide**2))), 1e-12)
        share = float(np.sqrt(np.mean((values - wide) ** 2))) / size
        shares.append(share if np.isfinite(share) else float("inf"))
    return round(max(shares), 4)
