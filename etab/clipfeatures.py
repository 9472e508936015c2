"""Clips as frozen backbones of pictures see them: mean and standard deviation over time of the frames' features.

What is kept is one entry a clip, not a frame: "<layer>/<pooling>/mean", and "<layer>/<pooling>/mean+std" with both side
by side, so that a probe may choose whether motion helps. A frame that a short recording repeats counts as often. Heads over
sequences have 16 steps spread evenly over the clip, of the last layer whose pooling is narrow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etab.backbones.base import Backbone
from etab.datasets.base import Source
from etab.features import FrameKey, ahead, resize
from etab.types import Array, Features, IntArray, Record

VERSION = 2
STEPS = 16
_STEPPED = ("mean", "cls", "moments")
Clip = tuple[Record, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips to embed, in order; ``sampling`` says how they were cut, in the words of the task's family."""

    clips: tuple[Clip, ...]
    sampling: str

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def frames(self) -> list[FrameKey]:
        """Every frame of every clip, in order."""
        return [(record, at) for record, shown in self.clips for at in shown]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the features beyond frames and backbone: sampling, pooling over time, where clips end."""
        lengths = ",".join(str(len(shown)) for _, shown in self.clips)
        return {
            "sampling": self.sampling,
            "over_time": f"mean, mean+std, {STEPS} steps v{VERSION}",
            "lengths": hashlib.sha256(lengths.encode()).hexdigest(),
        }

    def groups(self, n: int) -> list[list[Clip]]:
        """Whole clips put together to about ``n`` frames each, one clip at least."""
        out: list[list[Clip]] = []
        full = n
        for clip in self.clips:
            size = len(set(clip[1]))
            if full + size > n:
                out.append([])
                full = 0
            out[-1].append(clip)
            full += size
        return out

    def batches(self, source: Source, size: int, n: int) -> Iterator[Array]:
        """uint8 batches (frames, size, size) of the groups, each frame of a clip once, the next read ahead."""

        def read(group: list[Clip]) -> Array:
            return np.stack(
                [
                    resize(frame, size)
                    for record, at in group
                    for frame in source.frames(record, sorted(set(at)))
                ]
            )

        return ahead(self.groups(n), read)

    def over(self, backbone: Backbone, n: int) -> OverTime:
        """Embed the batches of ``batches`` with the same ``n``, in their order, by a backbone of pictures."""
        return OverTime(backbone, self.groups(n), n)


class OverTime:
    """A backbone of clips made of one of pictures; it takes the batches that were planned, in order."""

    def __init__(self, backbone: Backbone, groups: Sequence[Sequence[Clip]], n: int) -> None:
        """Take the groups of clips; ``n`` frames at most go through the backbone at once."""
        self.backbone, self.n, self._groups = backbone, n, iter(groups)

    def digest(self) -> str:
        """sha256 of the weights of the backbone of pictures."""
        return self.backbone.digest()

    def __call__(self, x: Any) -> Features:
        """Embed uint8 (frames, s, s) of the next group: a row a clip, no maps."""
        import torch

        parts = [self.backbone(x[at : at + self.n]) for at in range(0, len(x), self.n)]
        group = next(self._groups)
        counts = [np.unique(shown, return_counts=True)[1] for _, shown in group]
        weights = [
            torch.as_tensor(c / c.sum(), dtype=torch.float32, device=x.device)[:, None]
            for c in counts
        ]
        edges = np.cumsum([0, *map(len, counts)])
        pooled: dict[str, Any] = {}
        sequences: dict[str, Any] = {}
        for key in parts[0].pooled:
            values = torch.cat([part.pooled[key] for part in parts]).to(torch.float32)
            rows = [
                _moments(values[a:b], w)
                for a, b, w in zip(edges[:-1], edges[1:], weights, strict=True)
            ]
            pooled[f"{key}/mean"] = torch.stack([mean for mean, _ in rows])
            pooled[f"{key}/mean+std"] = torch.stack([torch.cat(row) for row in rows])
            if key.split("/")[-1] in _STEPPED:
                clips = zip(edges[:-1], edges[1:], group, strict=True)
                sequences = {
                    key: torch.stack([values[a:b][_steps(shown)] for a, b, (_, shown) in clips])
                }
        pca = {f"{key}/{how}": n for key, n in parts[0].pca.items() for how in ("mean", "mean+std")}
        return Features(pooled, (), pca, sequences)


def _moments(values: Any, weights: Any) -> tuple[Any, Any]:
    """Weighted mean and standard deviation (d,) of (k, d) values."""
    mean = (weights * values).sum(0)
    return mean, (weights * (values - mean) ** 2).sum(0).clamp_min(0).sqrt()


def _steps(shown: Sequence[int]) -> IntArray:
    """Which of the sorted frames of a clip are its ``STEPS`` steps: spread evenly over what it shows."""
    order: IntArray = np.unique(shown, return_inverse=True)[1]
    return np.asarray(order[np.linspace(0, len(order) - 1, STEPS).round().astype(int)])
