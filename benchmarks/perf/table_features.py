"""Wall time of frames that are read, embedded and written, beside the network alone.

The frames are those of CAMUS, found as ``etab run`` finds them (``ETAB_CAMUS_DIR``), or of phantom
patients. Every precision of ``etab.precisions.NAMED`` is timed whose backend is installed. The
start of a backend does not count.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.perf.rows import Row
from etab import backbones, datasets, phantom
from etab.backbones.image.backends import compiled
from etab.datasets.base import Source
from etab.errors import DataNotFoundError, EtabError
from etab.features.batches import embed_batches
from etab.features.entries import load_batches, write_entry
from etab.features.frame_batches import FrameBatches
from etab.features.frames import annotated_frames
from etab.features.store import has_bf16, placed, resolve_precision
from etab.precisions import NAMED, parts
from etab.storage.machine import allowed_cores
from etab.storage.memory import freed_memory_kept

NETWORKS = {
    "ResNet-50": "random/timm/resnet50",
    "ViT-S": "random/timm/vit_small_patch16_224",
}
LEAST_SHARE = 0.9
FRAMES = 96
BATCH = 32
ROUNDS = 5
_BACKENDS_START_IN = 2  # calls until a backend has compiled and warmed up


class Bare(torch.nn.Module):
    """A network that returns a tuple, as backends compile it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the last output of the network."""
        return (self.network(x),)


def bare(name: str, precision: str, batch: torch.Tensor) -> Callable[[], object]:
    """The network alone, in a precision, on normalised frames that are ready.

    Args:
        name: Name of a backbone.
        precision: One of ``etab.precisions.NAMED``.
        batch: uint8 frames (n, s, s).

    Raises:
        EtabError: The network cannot be computed so on this machine.
    """
    number, backend = parts(precision)
    in_torch = precision if backend in ("", "fused") else number
    # The other backends compute in bf16 from weights in float32.
    if backend in ("openvino", "onnx"):
        in_torch = "fp32"
    backbone = placed(backbones.card(name).load(), "cpu", in_torch)
    network = Bare(backbone.network).eval()
    ready = backbone.normalised(batch)
    call: Any = network
    if backend not in ("", "fused"):
        call = compiled(network, number, backend, "cpu")

    def run() -> object:
        with torch.inference_mode():
            return call(ready)

    return run


def extraction(name: str, precision: str, source: Source) -> Callable[[], object]:
    """Everything from files of frames to a finished entry of the cache, which is read back.

    Args:
        name: Name of a backbone.
        precision: One of ``etab.precisions.NAMED``.
        source: The source of the frames.
    """
    card = backbones.card(name)
    backbone = placed(card.load(), "cpu", precision)
    frames = annotated_frames(source)[:FRAMES]

    def embed(folder: Path) -> Any:
        batches = iter(FrameBatches(source, frames, card, BATCH))
        return embed_batches(backbone, batches, len(frames), folder, maps=True)

    def run() -> object:
        with tempfile.TemporaryDirectory() as folder:
            return write_entry(Path(folder) / "entry", embed, load_batches)

    return run


def wall_seconds(functions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median wall time of each function, in s, called in turns after two calls that do not count."""
    for function in functions:
        for _ in range(_BACKENDS_START_IN):
            function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for measured, function in zip(times, functions, strict=True):
            started = time.perf_counter()
            function()
            measured.append(time.perf_counter() - started)
    return [median(measured) for measured in times]


def bare_rates(name: str, batch: torch.Tensor) -> dict[str, float]:
    """Seconds of a batch through the network alone, by each precision that works here."""
    seconds: dict[str, float] = {}
    for precision in NAMED:
        if precision.startswith("bf16") and not has_bf16("cpu"):
            continue
        try:
            function = bare(name, precision, batch)
        except EtabError:
            continue
        seconds[precision] = wall_seconds([function], rounds=3)[0]
    return seconds


def camus_source(folder: Path) -> Source:
    """The data of CAMUS, or phantom data made in the folder where there are none."""
    try:
        return datasets.source("camus")
    except DataNotFoundError:
        phantom.write(folder, patients=FRAMES // 4 + 1, names=["camus"])
        return datasets.source("camus", folder / "camus")


def rows() -> Iterator[Row]:
    """Time both networks in the fastest precision, and in the one that is the default."""
    torch.set_num_threads(allowed_cores())
    # As for the batches of a shard: the network alone has the same memory.
    with freed_memory_kept(), tempfile.TemporaryDirectory() as folder:
        source = camus_source(Path(folder))
        for title, name in NETWORKS.items():
            yield from network_rows(title, name, source)


def network_rows(title: str, name: str, source: Source) -> Iterator[Row]:
    """Time one network.

    Args:
        title: What the table calls it.
        name: Name of the backbone.
        source: The source of the frames.
    """
    card = backbones.card(name)
    batches = FrameBatches(source, annotated_frames(source)[:BATCH], card, BATCH)
    batch = torch.from_numpy(next(iter(batches)))
    alone = bare_rates(name, batch)
    best = min(alone, key=lambda precision: alone[precision])
    default = resolve_precision("auto", card, "cpu")
    for precision in dict.fromkeys((best, default)):
        functions = [extraction(name, precision, source), bare(name, precision, batch)]
        ours, network = wall_seconds(functions, ROUNDS)
        yield Row(
            task=f"{title} in {precision}: {FRAMES} frames read, embedded and written",
            ours=ours,
            peer_name="the network alone, on batches that are ready",
            peer=network * FRAMES / BATCH,
            limit_name=f"the network alone in {best}, the fastest here",
            limit=alone[best] * FRAMES / BATCH,
            wanted=LEAST_SHARE if precision == best else None,
            agreement="",
        )
    for precision in dict.fromkeys((best, default)):
        yield Row(
            task=f"{title} alone in {precision}, {BATCH} frames",
            ours=alone[precision],
            peer_name="in eager fp32",
            peer=alone["fp32"],
            limit_name="",
            limit=None,
            wanted=None,
            agreement="",
        )
