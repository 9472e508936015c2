"""The two taggers of the musicnn package in torch; see ``etab.backbones.sound.networks``."""

from __future__ import annotations

import functools
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etab.backbones.sound.front_end import MelPower, NetworkLayers, StepTimes


def largest(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Pool maps (n, channels, time, frequency) to the maxima of their windows.

    The values are those of ``torch.nn.functional.max_pool2d``, which takes several times as long
    because it also finds where each maximum is.

    Args:
        x: The maps.
        kernel: Length of a window in time and in frequency.
        stride: Distance between two windows in time and in frequency.
    """
    for dim, size, step in zip((2, 3), kernel, stride, strict=True):
        x = _largest_along(x, dim, size, step)
    return x.contiguous()


def _largest_along(x: Tensor, dim: int, size: int, step: int) -> Tensor:
    """Maxima of windows of ``size`` along one axis, ``step`` apart."""
    windows = x.unfold(dim, size, step).unbind(-1)
    return functools.reduce(torch.maximum, windows)


def _norm(n: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(n, eps=1e-3)


class _Branch(nn.Module):
    """A convolution over a spectrogram, normalised, and its maximum over frequency.

    The output is (n, channels, time). Long spectrograms are processed in blocks of frames, with
    the same result in half the time and with little memory.
    """

    LONGEST = 400
    BLOCK = 160

    def __init__(self, channels: int, time: int, bands: int) -> None:
        super().__init__()
        self.around = ((time - 1) // 2, time // 2)
        self.conv = nn.Conv2d(1, channels, (time, bands))
        self.norm = nn.BatchNorm2d(channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.pad(x, (0, 0, *self.around))
        if x.shape[2] <= self.LONGEST:
            return self._part(wide)
        length = self.BLOCK + sum(self.around)
        starts = range(0, x.shape[2], self.BLOCK)
        return torch.cat([self._part(wide[:, :, start : start + length]) for start in starts], 2)

    def _part(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x).relu_()).amax(3)
        return out


class Musicnn(nn.Module):
    """musicnn: tall and wide filters on a mel spectrogram, three residual layers, two poolings.

    Source: Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio
    tagging", ISMIR 2019 (late-breaking demo).
    """

    shortest = 1024
    STEPS: StepTimes = MappingProxyType(
        dict.fromkeys(("timbral", "temporal", "cnn1", "cnn2", "cnn3"), (256, 0.0))
    )

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelPower(512, 256, 96)
        self.norm_in = nn.BatchNorm2d(1, eps=1e-3)
        timbral = [_Branch(204, 7, bands) for bands in (38, 67)]
        temporal = [_Branch(51, time, 1) for time in (128, 64, 32)]
        self.front = nn.ModuleList([*timbral, *temporal])
        self.mid = nn.ModuleList([nn.Conv1d(n, 64, 7, padding=3) for n in (561, 64, 64)])
        self.mid_norm = nn.ModuleList([_norm(64) for _ in range(3)])
        self.norm_pool = _norm(1506)
        self.dense = nn.Linear(1506, 200)
        self.norm_dense = _norm(200)
        self.tags = nn.Linear(200, 50)

    def spectrogram(self, x: Tensor) -> Tensor:
        """Compute the compressed mel power (n, time, 96) of windows (n, samples).

        The published code does this in half precision; here it is single precision.
        """
        return torch.log10(10_000 * self.mel(x) + 1)

    def forward(self, x: Tensor) -> NetworkLayers:
        """Compute the layers of windows, from the spectrogram filters to the tags (logits)."""
        return self.layers(self.spectrogram(x))

    def layers(self, spectrogram: Tensor) -> NetworkLayers:
        """Compute the layers of a spectrogram (n, time, 96)."""
        x = self.norm_in(spectrogram[:, None])
        parts = [branch(x) for branch in self.front]
        outputs = [torch.cat(parts, 1)]
        for conv, norm in zip(self.mid, self.mid_norm, strict=True):
            output = norm(conv(outputs[-1]).relu_())
            # The connections are residual from the second layer on.
            outputs.append(output if len(outputs) == 1 else output + outputs[-1])
        every = torch.cat(outputs, 1)
        pooled = torch.stack([every.amax(2), every.mean(2)], 2).flatten(1)
        last = self.norm_dense(self.dense(self.norm_pool(pooled)).relu())
        sequences = {
            "timbral": torch.cat(parts[:2], 1),
            "temporal": torch.cat(parts[2:], 1),
            "cnn1": outputs[1],
            "cnn2": outputs[2],
            "cnn3": outputs[3],
        }
        layers = [(name, sequence.transpose(1, 2)) for name, sequence in sequences.items()]
        return [*layers, ("pool", pooled), ("penultimate", last), ("tags", self.tags(last))]


class MusicVGG(nn.Module):
    """The VGG-like tagger of the musicnn package.

    Five convolutions on a mel spectrogram, each pooled over time and frequency.
    """

    shortest = 187 * 256
    # (kernel, stride) of each pooling, over (time, frequency).
    _POOLS = (
        ((4, 1), (2, 2)),
        ((2, 2), (2, 2)),
        ((2, 2), (2, 2)),
        ((2, 2), (2, 2)),
        ((4, 4), (4, 4)),
    )
    STEPS: StepTimes = MappingProxyType(
        {
            "pool1": (512, 1.5 * 256),
            "pool2": (1024, 2.5 * 256),
            "pool3": (2048, 4.5 * 256),
            "pool4": (4096, 8.5 * 256),
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelPower(512, 256, 96)
        self.norm_in = nn.BatchNorm2d(1, eps=1e-3)
        self.convs = nn.ModuleList(
            [nn.Conv2d(n, 128, 3, padding=1) for n in (1, 128, 128, 128, 128)]
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(128, eps=1e-3) for _ in range(5)])
        self.tags = nn.Linear(256, 50)

    def forward(self, x: Tensor) -> NetworkLayers:
        """Compute the last three poolings of windows, as means over frequency.

        The tags are left out, because they need windows of exactly 3 s.
        """
        return self.layers(self._spectrogram(x))

    def course(self, x: Tensor) -> NetworkLayers:
        """Compute all poolings; the first ones are fine enough to separate S1 from systole."""
        return self.layers(self._spectrogram(x), first=0)

    def _spectrogram(self, x: Tensor) -> Tensor:
        return torch.log10(10_000 * self.mel(x) + 1)

    def layers(self, spectrogram: Tensor, *, first: int = 2) -> NetworkLayers:
        """Compute the poolings of a spectrogram.

        Args:
            spectrogram: (n, time, 96).
            first: Index of the first pooling that is returned.
        """
        layers: NetworkLayers = []
        x = self.norm_in(spectrogram[:, None])
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            kernel, stride = self._POOLS[i]
            x = largest(norm(conv(x).relu_()), kernel, stride)
            if i >= first:
                layers.append((f"pool{i + 1}", x.mean(3).transpose(1, 2)))
        return layers
