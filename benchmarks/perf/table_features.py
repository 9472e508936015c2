"""Wall time (medians of turns) of frames that are read, embedded and written, beside networks alone.

The frames are those of CAMUS, found as ``etab run`` finds them (``ETAB_CAMUS_DIR``), or of phantom
patients. The network alone, on batches that are ready, is timed in every precision of
``etab.precisions.NAMED`` that may be the fastest here, as one call of all cores and as parts in
threads: the faster counts. Then whole extractions and the network alone take turns, so that a busy
moment of the machine meets both, and lines of processor time stand beside those of wall time. The
start of a backend does not count. ``ETAB_PEER_TIMM`` names a checkout of pytorch-image-models, whose
``validate.py`` is then timed on the same frames, as it stands.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
TIMM = "ETAB_PEER_TIMM"
FRAMES = 384
BATCH = 32
ROUNDS = 3
_BACKENDS_START_IN = 2  # calls until a backend has compiled and warmed up
_SCREENED = 3  # timed calls of the network alone, to find the fastest way


class Bare(torch.nn.Module):
    """A network that returns a tuple, as backends compile it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the last output of the network."""
        return (self.network(x),)


@dataclass(frozen=True)
class Alone:
    """How the network alone is computed.

    Attributes:
        precision: One of ``etab.precisions.NAMED``.
        whole: Whether the backend divides a batch among all cores itself.
        seconds: Shortest wall time of a batch, in s.
    """

    precision: str
    whole: bool
    seconds: float


def bare(
    name: str, precision: str, batch: torch.Tensor, *, whole: bool = False
) -> Callable[[], object]:
    """The network alone, in a precision, on normalised frames that are ready.

    Args:
        name: Name of a backbone.
        precision: One of ``etab.precisions.NAMED``.
        batch: uint8 frames (n, s, s).
        whole: Whether the backend divides a batch among all cores itself.

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
        call = compiled(network, number, backend, "cpu", whole=whole)

    def run() -> object:
        with torch.inference_mode():
            return call(ready)

    return run


def extraction(
    name: str, precision: str, source: Source, folder: Path, *, maps: bool
) -> Callable[[], object]:
    """Everything from files of frames to a finished entry of the cache, which is read back.

    Args:
        name: Name of a backbone.
        precision: One of ``etab.precisions.NAMED``.
        source: The source of the frames.
        folder: Where the entry is written; an entry of before has to be removed.
        maps: Whether feature maps are written beside pooled features, as tasks of masks need them.
    """
    card = backbones.card(name)
    backbone = placed(card.load(), "cpu", precision)
    frames = annotated_frames(source)[:FRAMES]

    def embed(part: Path) -> Any:
        batches = iter(FrameBatches(source, frames, card, BATCH))
        return embed_batches(backbone, batches, len(frames), part, maps=maps)

    def run() -> object:
        return write_entry(folder / "entry", embed, load_batches)

    return run


def turns(
    functions: Sequence[Callable[[], object]],
    rounds: int,
    between: Callable[[], None] = lambda: None,
) -> list[tuple[float, float]]:
    """Time functions in turns, after two calls of each that do not count.

    Args:
        functions: They take no arguments.
        rounds: How often each is timed.
        between: Called after each call; it does not count.

    Returns:
        Median wall time and shortest processor time of each, in s.
    """
    walls: list[list[float]] = [[] for _ in functions]
    processor: list[list[float]] = [[] for _ in functions]
    for turn in range(-_BACKENDS_START_IN, rounds):
        for i, function in enumerate(functions):
            started = time.perf_counter(), time.process_time()
            function()
            ended = time.perf_counter(), time.process_time()
            between()
            if turn >= 0:
                walls[i].append(ended[0] - started[0])
                processor[i].append(ended[1] - started[1])
    return [(median(wall), min(used)) for wall, used in zip(walls, processor, strict=True)]


def candidates(default: str) -> list[str]:
    """Precisions that may be the fastest here; fp32 and the default are among them.

    A backend that computes in bf16 on this processor is not timed in fp32, too.
    """
    names = [name for name in NAMED if not name.startswith("bf16") or has_bf16("cpu")]
    slower = {name.replace("bf16", "fp32", 1) for name in names if name.startswith("bf16-")}
    return [name for name in names if name in ("fp32", default) or name not in slower]


def bare_rates(name: str, batch: torch.Tensor, default: str) -> list[Alone]:
    """Time a batch through the network alone, in each way that works here, the fastest first."""
    ways: list[Alone] = []
    for precision in candidates(default):
        choices = (False, True) if precision.endswith("-openvino") else (False,)
        for whole in choices:
            try:
                function = bare(name, precision, batch, whole=whole)
            except EtabError:
                continue
            ways.append(Alone(precision, whole, turns([function], _SCREENED)[0][0]))
    return sorted(ways, key=lambda way: way.seconds)


def timm_seconds(checkout: Path, name: str, source: Source, folder: Path) -> float:
    """Seconds of the frames by timm's ``validate.py`` as it stands, in bf16 and channels-last.

    Args:
        checkout: A checkout of pytorch-image-models.
        name: Name of a backbone, "random/timm/<model>".
        source: The source of the frames, which become PNG files of two classes.
        folder: Where they are written, and the weights.

    Raises:
        ValueError: The script ended without a rate.
    """
    import cv2
    import timm

    model = name.rsplit("/", 1)[-1]
    shutil.rmtree(folder / "png", ignore_errors=True)
    for i, (record, at) in enumerate(annotated_frames(source)[:FRAMES]):
        path = folder / "png" / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), source.frames(record, [at])[0])
    weights = folder / "weights.pt"
    torch.save(timm.create_model(model, num_classes=10).state_dict(), weights)
    number = ["--amp", "--amp-dtype", "bfloat16"] if has_bf16("cpu") else []
    command = [
        *(sys.executable, str(checkout / "validate.py"), "--data-dir", str(folder / "png")),
        *("--model", model, "--checkpoint", str(weights), "--num-classes", "10"),
        *("--device", "cpu", "--channels-last", "--batch-size", str(BATCH), "--log-freq", "1"),
        *("--workers", str(allowed_cores()), *number),
    ]
    threads = {"OMP_NUM_THREADS": str(allowed_cores())}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | threads
    )
    rates = re.findall(r"([0-9.]+)/s\)", done.stdout + done.stderr)
    if not rates:
        raise ValueError(f"validate.py gave no rate: {(done.stderr or done.stdout)[-400:]}")
    return FRAMES / float(rates[-1])


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
    default = resolve_precision("auto", card, "cpu")
    ways = bare_rates(name, batch, default)
    best = ways[0]
    eager = next(way for way in ways if way.precision == "fp32")
    limit = f"the network alone in {best.precision}, the fastest here"
    work = f"{FRAMES} frames read, embedded and written"
    ways_to_write = {"with maps": True, "pooled features alone": False}
    of_default = next(way for way in ways if way.precision == default)
    of_best = best.seconds * FRAMES / BATCH
    peer = "the network alone, on batches that are ready"
    ours = 0.0
    for way in dict.fromkeys((best, of_default)):
        is_best = way == best
        times = _in_turns(name, source, batch, way, list(ways_to_write.values()))
        *of_writing, (alone, alone_used) = times
        for words, (wall, used) in zip(ways_to_write, of_writing, strict=True):
            yield Row(
                task=f"{title} in {way.precision}: {work}, {words}",
                ours=wall,
                peer_name=peer,
                peer=alone,
                limit_name=limit,
                limit=alone if is_best else of_best,
                wanted=LEAST_SHARE if is_best else None,
            )
            yield Row(
                task=f"{title} in {way.precision}: the same, {words}, processor time",
                ours=used,
                peer_name=peer,
                peer=alone_used,
                wanted=LEAST_SHARE if is_best else None,
            )
        ours = of_writing[0][0] if is_best else ours
        yield Row(
            task=f"{title} alone in {way.precision}, {BATCH} frames",
            ours=way.seconds,
            peer_name="in eager fp32",
            peer=eager.seconds,
        )
    checkout = os.environ.get(TIMM)
    if checkout:
        with tempfile.TemporaryDirectory() as folder:
            theirs = timm_seconds(Path(checkout), name, source, Path(folder))
        yield Row(
            task=f"{title} in {best.precision}: {work}, with maps",
            ours=ours,
            peer_name="timm's validate.py, which keeps no features",
            peer=theirs,
            limit_name=limit,
            limit=of_best,
        )


def _in_turns(
    name: str, source: Source, batch: torch.Tensor, way: Alone, maps: Sequence[bool]
) -> list[tuple[float, float]]:
    """Whole extractions and the network alone, in turns, on as many frames.

    Args:
        name: Name of the backbone.
        source: The source of the frames.
        batch: uint8 frames (n, s, s) for the network alone.
        way: How the network is computed.
        maps: For each extraction, whether maps are written.

    Returns:
        Median wall time and shortest processor time of each extraction, then of the network alone,
        in s.
    """
    alone = bare(name, way.precision, batch, whole=way.whole)

    calls = max(1, FRAMES // BATCH)
    share = FRAMES / (calls * BATCH)

    def all_alone() -> None:
        for _ in range(calls):
            alone()

    with tempfile.TemporaryDirectory() as folder:
        entry = Path(folder) / "entry"
        whole = [extraction(name, way.precision, source, Path(folder), maps=one) for one in maps]
        times = turns([*whole, all_alone], ROUNDS, lambda: shutil.rmtree(entry, ignore_errors=True))
    (wall, used) = times[-1]
    return [*times[:-1], (share * wall, share * used)]
