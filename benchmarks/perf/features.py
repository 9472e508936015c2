"""Extraction of features from CAMUS frames beside the bare network, in the same precisions.

``python -m benchmarks.perf.features --root CAMUS`` prints a table: frames a second of etab (reading,
resizing, network, pooling, maps and writing) and of the bare network on a batch that is ready, both
by wall time, in short turns of one process; medians over the rounds. Times of one machine are
compared only with each other. Starting a backend is not counted. ``--precisions`` names others than
the default ones, whose extras have to be installed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from etab import backbones, datasets
from etab.backbones.image.backends import compiled
from etab.features.entries import embed_batches
from etab.features.frames import _FrameBatches, annotated_frames
from etab.features.store import placed
from etab.precisions import parts

NAMES = "random/timm/resnet50,random/timm/vit_small_patch16_224"
PRECISIONS = "fp32,bf16,bf16-openvino"


class Bare(torch.nn.Module):
    """A network that returns a tuple, as backends compile it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the last output of the network."""
        return (self.network(x),)


def bare(backbone: Any, precision: str, batch: torch.Tensor) -> Callable[[], object]:
    """The network alone, in a precision, on normalised frames that are ready."""
    number, backend = parts(precision)
    network = Bare(backbone.network)
    ready = backbone.normalised(batch)
    call: Any = network
    if backend:
        call = compiled(network, number, backend, "cpu")

    def run() -> object:
        with torch.inference_mode():
            return call(ready)

    return run


def extraction(
    backbone: Any, source: Any, frames: list[Any], card: Any, n: int
) -> Callable[[], object]:
    """Everything that etab does from files of frames to files of features."""

    def run() -> object:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            batches = iter(_FrameBatches(source, frames, card, n))
            computed = embed_batches(backbone, batches, len(frames), folder, maps=True)
            return computed.write(folder)

    return run


def main() -> None:
    """Time both in turns, and print the table."""
    parser = argparse.ArgumentParser(description="time the extraction of features")
    parser.add_argument("--root", type=Path, required=True, help="folder of CAMUS")
    parser.add_argument("--backbones", default=NAMES)
    parser.add_argument("--precisions", default=PRECISIONS)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    source = datasets.source("camus", options.root)
    frames = annotated_frames(source)[: options.frames]
    print("| backbone | precision | etab, frames/s | bare | share of bare | bare over fp32 |")
    print("|---|---|---|---|---|---|")
    for name in options.backbones.split(","):
        card = backbones.card(name)
        batch = torch.from_numpy(next(iter(_FrameBatches(source, frames, card, options.batch))))
        functions: list[Callable[[], object]] = []
        names = options.precisions.split(",")
        for precision in names:
            backbone = placed(card.load(), "cpu", precision)
            functions.append(extraction(backbone, source, frames, card, options.batch))
            functions.append(bare(backbone, precision, batch))
        seconds: list[list[float]] = [[] for _ in functions]
        for function in functions:
            function()
        for _ in range(options.rounds):
            for times, function in zip(seconds, functions, strict=True):
                started = time.perf_counter()
                function()
                times.append(time.perf_counter() - started)
        rates = []
        for i, times in enumerate(seconds):
            rows = len(batch) if i % 2 else len(frames)
            rates.append(rows / median(times))
        for i, precision in enumerate(names):
            ours = rates[2 * i]
            alone = rates[2 * i + 1]
            print(
                f"| {name} | {precision} | {ours:.1f} | {alone:.1f} | {ours / alone:.0%} | "
                f"{alone / rates[1]:.2f} x |",
                flush=True,
            )


if __name__ == "__main__":
    main()
