"""BYOL-A with 512 features, from the file of weights that its authors publish.

The network of Niizumi et al. (IJCNN 2021, arXiv 2103.06695): three convolutions on log-mel bands,
two linear layers over time, and the sum of mean and maximum over time. The weights
(``pretrained_weights/AudioNTT2020-BYOLA-64x96d512.pth`` of github.com/nttcslab/byol-a) are under a
licence of their own and are not part of etab.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from etab.sounds.mel import slaney_bank

RATE = 16_000
_FFT = 1024
_HOP = 160
_BANDS = 64
_CHANNELS = 64
_LOW, _HIGH = 60.0, 7800.0


class LogMel(nn.Module):
    """Log-mel bands of sound at 16 kHz, as BYOL-A takes them."""

    bank: torch.Tensor
    taper: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        bank = slaney_bank(RATE, _FFT, _BANDS, low=_LOW, high=_HIGH)
        self.register_buffer("bank", torch.from_numpy(bank))
        self.register_buffer("taper", torch.hann_window(_FFT))

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        """Compute the bands.

        Args:
            sound: (n, samples) in [-1, 1].

        Returns:
            (n, 64, 1 + samples // 160) natural logarithms of power.
        """
        spectrum = torch.stft(sound, _FFT, _HOP, window=self.taper, return_complex=True)
        power = spectrum.real**2 + spectrum.imag**2
        return torch.log(self.bank @ power + torch.finfo().eps)


class ByolA(nn.Module):
    """The network; its layers are named as in the published file.

    Args:
        mean: Mean of the log-mel values of the recordings.
        std: Their standard deviation.
        width: Number of features.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0, width: int = 512) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        layers: list[nn.Module] = []
        for channels in (1, _CHANNELS, _CHANNELS):
            layers += [
                nn.Conv2d(channels, _CHANNELS, 3, padding=1),
                nn.BatchNorm2d(_CHANNELS),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.features = nn.Sequential(*layers)
        bands = _BANDS // 8
        self.fc = nn.Sequential(
            nn.Linear(_CHANNELS * bands, width),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(width, width),
            nn.ReLU(),
        )

    def forward(self, bands: torch.Tensor) -> torch.Tensor:
        """Compute the features of a sound.

        Args:
            bands: (n, 64, time) of LogMel.

        Returns:
            (n, width).
        """
        maps = self.features(((bands - self.mean) / self.std)[:, None])
        steps = self.fc(maps.permute(0, 3, 2, 1).flatten(2))
        joined: torch.Tensor = steps.amax(dim=1) + steps.mean(dim=1)
        return joined


def load(weights: Path, mean: float, std: float) -> ByolA:
    """Make the network with its published weights.

    Args:
        weights: The file of weights.
        mean: Mean of the log-mel values of the recordings.
        std: Their standard deviation.
    """
    network = ByolA(mean, std)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()
