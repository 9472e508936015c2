"""Controls: what pictures give away without any learned representation. A backbone must beat them."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from etab.backbones.base import BackboneCard
from etab.types import Features


class _Control:
    """No weights: the digest is that of the definition's name and version."""

    def __init__(self, card: BackboneCard) -> None:
        self.card = card

    def digest(self) -> str:
        """sha256 of the definition's name and version."""
        return hashlib.sha256(f"{self.card.name} v{self.card.version}".encode()).hexdigest()

    def to(self, device: str, precision: str) -> Any:
        """Controls always run in float32, wherever the frames are."""
        return self


def _grid(x: Tensor, cells: int) -> Tensor:
    """(n, cells, cells) mean of square cells."""
    return F.adaptive_avg_pool2d(x[:, None], cells)[:, 0]


class ImageStats(_Control):
    """Grey-level histogram, moments and gradients of the whole frame and of blocks; local
    statistics as maps.
    """

    def __call__(self, x: Tensor) -> Features:
        """Describe uint8 frames (n, s, s)."""
        f = x.to(torch.float32) / 255
        gradient = self._gradient(f)
        pooled = {
            "frame/histogram": self._histogram(x),
            "frame/moments": self._moments(f, gradient),
        }
        for cells in (4, 8):
            mean = _grid(f, cells)
            square = _grid(f * f, cells)
            pooled[f"blocks{cells}/mean"] = mean.flatten(1)
            pooled[f"blocks{cells}/std"] = (square - mean * mean).clamp_min(0).sqrt().flatten(1)
        return Features(pooled, tuple(self._local(f, gradient, k) for k in (9, 17, 33)))

    def columns(self, x: Tensor) -> dict[str, Tensor]:
        """Statistics of every second column of pictures (n, s, s), over its height and in eight
        blocks of it.
        """
        f = x.to(torch.float32) / 255
        blocks = F.adaptive_avg_pool2d(
            torch.stack([f, self._gradient(f)], 1), (8, f.shape[2] // 2)
        ).flatten(1, 2)
        wide = F.avg_pool1d(torch.stack([f.mean(1), f.std(1), f.amax(1)], 1), 2)
        return {"pixels": torch.cat([blocks, wide], 1).transpose(1, 2)}

    @staticmethod
    def _gradient(f: Tensor) -> Tensor:
        dx = F.pad(f[:, :, 1:] - f[:, :, :-1], (0, 1)).abs()
        dy = F.pad(f[:, 1:] - f[:, :-1], (0, 0, 0, 1)).abs()
        return dx + dy

    @staticmethod
    def _histogram(x: Tensor) -> Tensor:
        bins = (x.flatten(1) // 8).long()
        ones = torch.ones_like(bins, dtype=torch.float32)
        return torch.zeros(len(x), 32, device=x.device).scatter_add_(1, bins, ones) / bins.shape[1]

    @staticmethod
    def _moments(f: Tensor, gradient: Tensor) -> Tensor:
        flat = f.flatten(1)
        mean = flat.mean(1)
        std = flat.std(1)
        z = (flat - mean[:, None]) / std[:, None].clamp_min(1e-6)
        edges = gradient.flatten(1)
        return torch.stack(
            [mean, std, (z**3).mean(1), (z**4).mean(1), edges.mean(1), edges.std(1)], dim=1
        )

    @staticmethod
    def _local(f: Tensor, gradient: Tensor, k: int) -> Tensor:
        def box(a: Tensor) -> Tensor:
            return F.avg_pool2d(a[:, None], k, stride=8, padding=k // 2, count_include_pad=False)

        mean = box(f)
        std = (box(f * f) - mean * mean).clamp_min(0).sqrt()
        return torch.cat([mean, std, box(gradient)], dim=1).to(torch.float16)


class PixelPCA(_Control):
    """The pixels themselves: the probe fits their principal components on training rows; patches as
    maps.
    """

    SIZES = (28, 56, 112)
    COMPONENTS = (50, 100)

    def __call__(self, x: Tensor) -> Features:
        """Hand out uint8 frames (n, s, s) at three resolutions, and 8 x 8 patches of three fields
        of view.
        """
        f = x.to(torch.float32) / 255
        pixels = {size: _grid(f, size).flatten(1) for size in self.SIZES}
        pooled = {f"{s}px/pca{k}": pixels[s] for s in self.SIZES for k in self.COMPONENTS}
        pca = {f"{s}px/pca{k}": k for s in self.SIZES for k in self.COMPONENTS}
        return Features(pooled, tuple(self._patches(f, zoom) for zoom in (1, 2, 4)), pca)

    def columns(self, x: Tensor) -> dict[str, Tensor]:
        """Every second column of pictures (n, s, s), 56 pixels high; the head fits their
        components.
        """
        f = x.to(torch.float32) / 255
        return {
            "pixels": F.adaptive_avg_pool2d(f[:, None], (56, f.shape[2] // 2))[:, 0].transpose(1, 2)
        }

    @staticmethod
    def _patches(f: Tensor, zoom: int) -> Tensor:
        """(n, 64, g, g): the 8 x 8 patch around each point of a stride-8 grid, seen at 1, 2 or 4
        pixels a cell.
        """
        g = f.shape[-1] // 8
        small = F.avg_pool2d(f[:, None], zoom) if zoom > 1 else f[:, None]
        stride = 8 // zoom
        pad = (8 - 8 // zoom + 1) // 2
        columns = F.unfold(F.pad(small, (pad, pad, pad, pad), mode="replicate"), 8, stride=stride)
        side = round(columns.shape[2] ** 0.5)
        return columns.view(len(f), 64, side, side)[:, :, :g, :g].to(torch.float16)
