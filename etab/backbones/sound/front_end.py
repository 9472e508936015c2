"""Parts that the networks of sound share: their rate, the types of their output, and mel power."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from etab.sounds.mel import slaney_bank

# Layers by name: sequences (n, time, channels) and vectors (n, channels).
NetworkLayers = list[tuple[str, Tensor]]
# By layer: samples between two steps, and the sample at the centre of the first step.
StepTimes = Mapping[str, tuple[int, float]]
# Sampling rate of all networks, in Hz.
NETWORK_RATE = 16_000


class MelPower(nn.Module):
    """Mel power of windows, from Slaney bands of a Hann window's power spectrum.

    Nothing is learned, and the state dict is empty.

    Args:
        n_fft: Length of the transform in samples.
        hop: Distance between two frames in samples.
        bands: Number of mel bands.
        length: Length of the Hann window in samples; None for ``n_fft``.
        low: Lower end of the bands in Hz.
        high: Upper end of the bands in Hz; None for half the sampling rate.
        pad: torch's padding mode for the ends, so that the first frame is centred on the first
            sample; "" for frames that lie inside the window only.
    """

    def __init__(
        self,
        n_fft: int,
        hop: int,
        bands: int,
        *,
        length: int | None = None,
        low: float = 0.0,
        high: float | None = None,
        pad: str = "reflect",
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop = hop
        self.length = length or n_fft
        self.pad = pad
        self.register_buffer("window", torch.hann_window(self.length), persistent=False)
        bank = torch.from_numpy(
            slaney_bank(NETWORK_RATE, n_fft, bands, low=low, high=high).T.copy()
        )
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the power (not its logarithm) of windows (n, samples): (n, frames, bands)."""
        spectrum = torch.stft(
            x,
            self.n_fft,
            self.hop,
            self.length,
            self.get_buffer("window"),
            center=bool(self.pad),
            pad_mode=self.pad or "reflect",
            return_complex=True,
        )
        power = (spectrum.real**2 + spectrum.imag**2).transpose(1, 2)
        return power @ self.get_buffer("bank")
