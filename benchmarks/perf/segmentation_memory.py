"""Memory of the linear segmentation probe at the size of EchoNet-Dynamic: 10,024 traced videos, two frames each, 112 px.

``python -m benchmarks.perf.segmentation_memory [VIDEOS]`` fits ``linear_seg`` on phantom maps of a ResNet-18 at 112 pixels
(28, 14, 7 and 4 points a side), made as they are read, in the authors' split; nothing is kept but the sampled points. It
prints what those are, the peak of the process's own memory, and writes ``benchmarks/perf/segmentation_memory.json``.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etab.heads.masks.linear import LinearSeg
from etab.heads.masks.points import POOLINGS
from etab.splits import row_splits
from etab.types import Features, Kind, Target

VIDEOS, PARTS = 10_024, {"train": 7460, "val": 1288, "test": 1276}
MAPS = ((64, 28), (128, 14), (256, 7), (512, 4))
SIDE, TILE = 112, 40
LIMIT_MIB = 4096
HERE = Path(__file__).parent


class PhantomMap:
    """A map of many rows, made when they are read: one of ``TILE`` noises, brighter where the row's mask is."""

    def __init__(self, n: int, channels: int, side: int, masks: np.ndarray) -> None:
        """Draw the noises; ``masks`` (TILE, SIDE, SIDE) are taken in turn."""
        self.shape, self.dtype = (n, channels, side, side), np.dtype(np.float16)
        at = ((np.arange(side) + 0.5) * SIDE / side).astype(int)
        tile = np.random.default_rng(channels).standard_normal((TILE, channels, side, side))
        tile[:, : channels // 4] += masks[:, at][:, :, at][:, None]
        self.tile = tile.astype(np.float16)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        return np.asarray(self.tile[np.arange(len(self))[rows] % TILE])


def ovals() -> np.ndarray:
    """Masks (TILE, SIDE, SIDE) of ovals of different sizes."""
    y, x = np.mgrid[:SIDE, :SIDE]
    sizes = np.random.default_rng(0).uniform(14, 30, (TILE, 2))
    return np.stack([((x - 56) / a) ** 2 + ((y - 52) / b) ** 2 < 1 for a, b in sizes])


def measure(videos: int) -> dict[str, Any]:
    n, tile = 2 * videos, ovals()
    masks = [tile[i % TILE] for i in range(n)]
    parts = np.repeat(
        np.concatenate([[p] * round(k * videos / VIDEOS) for p, k in PARTS.items()]), 2
    )
    parts = np.resize(parts, n)
    patients = np.array([f"v{i // 2}" for i in range(n)])
    maps = tuple(PhantomMap(n, c, side, tile) for c, side in MAPS)
    splits = row_splits(patients, parts, protocol="official")
    before, started = _peak(), time.perf_counter()
    head = LinearSeg()
    fit = head.cross_fit(
        Features({}, maps),
        masks,
        patients,
        splits,
        Target("LV_seg", Kind.MASK),
        rng=np.random.default_rng(0),
    )[0]
    test = splits[0].test
    dice = [
        2 * (p & masks[i]).sum() / (p.sum() + masks[i].sum())
        for p, i in zip(fit.predictions, test, strict=True)
    ]
    width = sum(c for c, _ in MAPS)
    return {
        "videos": videos,
        "frames": n,
        "channels": width,
        "phantom": True,
        "points_mib": round(len(POOLINGS) * n * 98 * width * 2 / 2**20),
        "budget_mib": head.budget >> 20,
        "before_mib": before,
        "peak_mib": _peak(),
        "dice": round(float(np.mean(dice)), 3),
        "seconds": round(time.perf_counter() - started),
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(arguments: Sequence[str]) -> int:
    found = measure(int(arguments[0]) if arguments else VIDEOS)
    print(json.dumps(found))
    if not arguments:
        (HERE / "segmentation_memory.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0 if found["peak_mib"] < LIMIT_MIB and found["dice"] > 0.8 else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
