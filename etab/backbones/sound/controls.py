"""Controls of sound: what log-mel bands give away without any learned representation."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from etab.backbones.base import BackboneCard, Course
from etab.errors import UnsupportedOptionError
from etab.sounds.mel import HEART, Mel, log_mel_bands
from etab.types import Features

_RATE = 2000
_HOP = 0.02


class _MelControl:
    """No weights: the digest is that of the definition. Everything is computed on the processor."""

    def __init__(self, card: BackboneCard, mel: Mel = HEART) -> None:
        self.card, self.mel = card, mel

    def digest(self) -> str:
        """sha256 of the definition: name, version and parameters of the bands."""
        facts = [self.card.name, self.card.version, self.card.rate, self.mel.facts()]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def to(self, device: str, precision: str) -> Any:
        """Controls always run in float32 on the processor; the rows go back to where the windows
        were.
        """
        return self

    def bands(self, x: Tensor) -> Tensor:
        """Windows (n, samples) at RATE Hz to (n, bands, time) in dB."""
        if x.ndim != 2 or x.dtype != torch.float32:
            raise UnsupportedOptionError(
                f"{self.card.name} reads float32 (n, samples), got {x.dtype} {tuple(x.shape)}."
            )
        rows = [log_mel_bands(row, _RATE, self.mel) for row in x.cpu().numpy()]
        return torch.from_numpy(np.stack(rows))

    def course(self, x: Tensor) -> dict[str, Course]:
        """The bands of a whole recording, float32 (samples,) at RATE Hz, every 20 ms."""
        bands = log_mel_bands(x.cpu().numpy(), _RATE, replace(self.mel, hop=_HOP)).T
        return {"log-mel": Course(bands, _HOP, 0.0)}


class MelStats(_MelControl):
    """Mean, spread, change and order statistics over time of 40 log-mel bands, 25 to 800 Hz, of the
    window.
    """

    def __call__(self, x: Tensor) -> Features:
        """Describe float32 windows (n, samples) at 2000 Hz."""
        mel = self.bands(x)
        mean = mel.mean(2)
        std = mel.std(2, correction=0)
        level = mean.mean(1, keepdim=True)
        change = (
            (mel[:, :, 1:] - mel[:, :, :-1]).abs().mean(2)
            if mel.shape[2] > 1
            else torch.zeros_like(mean)
        )
        marks = (
            torch.quantile(mel, torch.tensor([0.1, 0.5, 0.9]), dim=2).permute(1, 0, 2).flatten(1)
        )
        pooled = {
            "mel/mean": mean,
            "mel/std": std,
            "mel/mean+std": torch.cat([mean, std], 1),
            "mel/quantiles": marks,
            "shape/mean": mean - level,
            "shape/mean+std": torch.cat([mean - level, std], 1),
            "change/mean": change,
            "all/mean+std+change": torch.cat([mean, std, change], 1),
        }
        return Features({name: rows.to(x.device) for name, rows in pooled.items()})


class MelPCA(_MelControl):
    """The log-mel picture itself: the probe fits its principal components on training rows."""

    TIMES = (16, 32, 64)
    COMPONENTS = (20, 50)
    AROUND = (-8, -4, 0, 4, 8)

    def __call__(self, x: Tensor) -> Features:
        """Hand out float32 windows (n, samples) at 2000 Hz as pictures of 40 bands at three
        resolutions of time.
        """
        mel = self.bands(x)
        grids = {t: F.adaptive_avg_pool1d(mel, t).flatten(1).to(x.device) for t in self.TIMES}
        names = {f"40x{t}/pca{k}": (t, k) for t in self.TIMES for k in self.COMPONENTS}
        return Features(
            {n: grids[t] for n, (t, _) in names.items()}, (), {n: k for n, (_, k) in names.items()}
        )

    def course(self, x: Tensor) -> dict[str, Course]:
        """The picture around every 20 ms: the bands there, and 80 and 160 ms before and after; the
        head fits the PCA.
        """
        bands = super().course(x)["log-mel"].values
        places = np.clip(np.arange(len(bands))[:, None] + self.AROUND, 0, len(bands) - 1)
        return {"log-mel": Course(bands[places].reshape(len(bands), -1), _HOP, 0.0)}
