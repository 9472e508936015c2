"""Image controls: features without a learned representation, which a backbone must beat."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from etab.backbones.base import BackboneCard
from etab.types import Features


class _Control:
    """A backbone without weights."""

    def __init__(self, card: BackboneCard) -> None:
        self.card = card

    def digest(self) -> str:
        """Return the sha256 of the name and version of the definition."""
        return hashlib.sha256(f"{self.card.name} v{self.card.version}".encode()).hexdigest()

    def to(self, device: str, precision: str) -> Any:
        """Return the control itself: it runs in float32 on the device of the frames."""
        return self


def _cell_means(x: Tensor, cells: int) -> Tensor:
    """Means of ``cells`` x ``cells`` equal parts of images (n, s, s): (n, cells, cells)."""
    return F.adaptive_avg_pool2d(x[:, None], cells)[:, 0]


class ImageStats(_Control):
    """Grey-level statistics.

    Pooled features are the histogram, moments and gradients of the whole frame, and statistics of
    its blocks. Maps are local means, standard deviations and gradients.
    """

    def __call__(self, x: Tensor) -> Features:
        """Compute the features of uint8 frames (n, s, s)."""
        f = x.to(torch.float32) / 255
        gradient = self._gradient(f)
        pooled = {
            "frame/histogram": self._histogram(x),
            "frame/moments": self._moments(f, gradient),
        }
        for cells in (4, 8):
            mean = _cell_means(f, cells)
            variance = _cell_means(f * f, cells) - mean * mean
            pooled[f"blocks{cells}/mean"] = mean.flatten(1)
            pooled[f"blocks{cells}/std"] = variance.clamp_min(0).sqrt().flatten(1)
        maps = tuple(self._local(f, gradient, kernel) for kernel in (9, 17, 33))
        return Features(pooled, maps)

    def columns(self, x: Tensor) -> dict[str, Tensor]:
        """Compute statistics of every second column of images, over its height and in eight blocks.

        Args:
            x: uint8 spectrograms (n, s, s), time from left to right.

        Returns:
            {"pixels": (n, s // 2, 19)}: block means and block gradients, then mean, standard
            deviation and maximum of the column.
        """
        f = x.to(torch.float32) / 255
        channels = torch.stack([f, self._gradient(f)], 1)
        blocks = F.adaptive_avg_pool2d(channels, (8, f.shape[2] // 2)).flatten(1, 2)
        over_height = torch.stack([f.mean(1), f.std(1), f.amax(1)], 1)
        every_second = F.avg_pool1d(over_height, 2)
        return {"pixels": torch.cat([blocks, every_second], 1).transpose(1, 2)}

    @staticmethod
    def _gradient(f: Tensor) -> Tensor:
        """Sum of the absolute differences from the next column and the next row."""
        across = f[:, :, 1:] - f[:, :, :-1]
        down = f[:, 1:] - f[:, :-1]
        dx = F.pad(across, (0, 1)).abs()
        dy = F.pad(down, (0, 0, 0, 1)).abs()
        return dx + dy

    @staticmethod
    def _histogram(x: Tensor) -> Tensor:
        """Shares of the pixels in 32 bins of grey levels: (n, 32)."""
        bins = (x.flatten(1) // 8).long()
        ones = torch.ones_like(bins, dtype=torch.float32)
        counts = torch.zeros(len(x), 32, device=x.device).scatter_add_(1, bins, ones)
        return counts / bins.shape[1]

    @staticmethod
    def _moments(f: Tensor, gradient: Tensor) -> Tensor:
        """Mean, deviation, skewness and kurtosis; mean and deviation of the gradient: (n, 6)."""
        flat = f.flatten(1)
        mean = flat.mean(1)
        std = flat.std(1)
        z = (flat - mean[:, None]) / std[:, None].clamp_min(1e-6)
        edges = gradient.flatten(1)
        skewness = (z**3).mean(1)
        kurtosis = (z**4).mean(1)
        moments = [mean, std, skewness, kurtosis, edges.mean(1), edges.std(1)]
        return torch.stack(moments, dim=1)

    @staticmethod
    def _local(f: Tensor, gradient: Tensor, kernel: int) -> Tensor:
        """Mean, deviation and gradient in windows of ``kernel`` pixels, at stride 8."""

        def window_mean(a: Tensor) -> Tensor:
            return F.avg_pool2d(
                a[:, None],
                kernel,
                stride=8,
                padding=kernel // 2,
                count_include_pad=False,
            )

        mean = window_mean(f)
        variance = window_mean(f * f) - mean * mean
        std = variance.clamp_min(0).sqrt()
        channels = [mean, std, window_mean(gradient)]
        return torch.cat(channels, dim=1).to(torch.float16)


class PixelPCA(_Control):
    """The pixels themselves.

    Pooled features are frames at three resolutions, whose principal components the probe fits on
    the training rows. Maps are patches of pixels.
    """

    SIZES = (28, 56, 112)
    COMPONENTS = (50, 100)

    def __call__(self, x: Tensor) -> Features:
        """Compute the features of uint8 frames (n, s, s).

        Returns:
            The frames at three resolutions, with the number of components to fit, and maps of
            8 x 8 patches at three zooms.
        """
        f = x.to(torch.float32) / 255
        pooled = {}
        components = {}
        for size in self.SIZES:
            pixels = _cell_means(f, size).flatten(1)
            for k in self.COMPONENTS:
                pooled[f"{size}px/pca{k}"] = pixels
                components[f"{size}px/pca{k}"] = k
        maps = tuple(self._patches(f, zoom) for zoom in (1, 2, 4))
        return Features(pooled, maps, components)

    def columns(self, x: Tensor) -> dict[str, Tensor]:
        """Resize images to 56 rows and half their columns; the head fits principal components.

        Args:
            x: uint8 spectrograms (n, s, s), time from left to right.

        Returns:
            {"pixels": (n, s // 2, 56)}.
        """
        f = x.to(torch.float32) / 255
        columns = f.shape[2] // 2
        small = F.adaptive_avg_pool2d(f[:, None], (56, columns))[:, 0]
        return {"pixels": small.transpose(1, 2)}

    @staticmethod
    def _patches(f: Tensor, zoom: int) -> Tensor:
        """The 8 x 8 patch around each point of a grid of stride 8, as maps (n, 64, g, g).

        A cell of the patch is the mean of ``zoom`` x ``zoom`` pixels (1, 2 or 4).
        """
        g = f.shape[-1] // 8
        small = F.avg_pool2d(f[:, None], zoom) if zoom > 1 else f[:, None]
        stride = 8 // zoom
        pad = (8 - stride + 1) // 2
        padded = F.pad(small, (pad, pad, pad, pad), mode="replicate")
        patches = F.unfold(padded, 8, stride=stride)
        side = round(patches.shape[2] ** 0.5)
        maps = patches.view(len(f), 64, side, side)
        return maps[:, :, :g, :g].to(torch.float16)
