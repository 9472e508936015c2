"""The pretrained networks of sound in torch, each with its own front end.

A network maps float32 windows (n, samples) to a list of (layer, tensor). A tensor is a sequence
(n, time, channels), which is pooled over time, or a vector (n, channels), which is kept as it is.

* ``shortest`` is the smallest number of samples that the network can read.
* ``STEPS`` locates the steps of each sequence in time: (samples between two steps, sample at the
  centre of the first step).
* ``course`` computes the layers of a whole recording. It is defined where the steps of ``forward``
  are too coarse or do not reach both ends.

Front ends are computed here instead of read from the weights (they agree with the values in the
files to 1e-7), so that a random twin differs from its network only in what is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etab.backbones.sound.front_end import NETWORK_RATE, MelPower, NetworkLayers, StepTimes
from etab.backbones.sound.music_networks import Musicnn, MusicVGG, largest


class Resemblyzer(nn.Module):
    """Resemblyzer's speaker encoder: three LSTM layers on the mel power of parts of 1.6 s.

    The parts overlap by about half. As in the published code, a quiet window is amplified to
    -30 dBFS. The removal of stretches without voice is left out, because it would remove the heart
    sounds.

    Source: https://github.com/resemble-ai/Resemblyzer; Wan et al., "Generalized end-to-end loss for
    speaker verification", ICASSP 2018.
    """

    PART = 160
    STEP = 77
    shortest = NETWORK_RATE // 100 * PART
    STEPS: StepTimes = MappingProxyType({"lstm3": (NETWORK_RATE // 100, 0.0)})

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelPower(400, 160, 40, pad="constant")
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    @staticmethod
    def louder(x: Tensor) -> Tensor:
        """Amplify quiet windows (n, samples) to -30 dBFS; silent and loud ones are unchanged."""
        rms = x.square().mean(1, keepdim=True).sqrt()
        return x * (10 ** (-30 / 20) / rms.clamp_min(1e-10)).clamp(1, 1e6)

    def parts(self, x: Tensor) -> Tensor:
        """Compute the mel power of the parts of windows: (n, k, 160, 40).

        As in the published code, a last part counts if at least 3/4 of it lie in the window.
        """
        hop = NETWORK_RATE // 100
        n_frames = -(-(x.shape[1] + 1) // hop)
        starts = list(range(0, max(1, n_frames - self.PART + self.STEP + 1), self.STEP))
        covered = (x.shape[1] - starts[-1] * hop) / (self.PART * hop)
        if covered < 0.75 and len(starts) > 1:
            starts.pop()
        missing = (starts[-1] + self.PART) * hop - x.shape[1]
        mel = self.mel(F.pad(x, (0, max(0, missing))))
        return torch.stack([mel[:, start : start + self.PART] for start in starts], 1)

    def forward(self, x: Tensor) -> NetworkLayers:
        """Compute the layers of windows (n, samples).

        Returns:
            The last state of each LSTM layer of each part, all states of the last layer, the unit
            embeddings of the parts, and the unit embedding of the window.
        """
        parts = self.parts(self.louder(x))
        n, k = parts.shape[:2]
        states, (last, _) = self.lstm(parts.flatten(0, 1))
        projected = self.linear(last[-1]).relu()
        unit = (projected / projected.norm(dim=1, keepdim=True).clamp_min(1e-12)).view(n, k, -1)
        mean = unit.mean(1)
        embedding = mean / mean.norm(dim=1, keepdim=True).clamp_min(1e-12)
        layers = [(f"lstm{i + 1}_last", last[i].view(n, k, -1)) for i in range(3)]
        layers.append(("lstm3", states.reshape(n, -1, 256)))
        return [*layers, ("parts", unit), ("embedding", embedding)]

    def course(self, x: Tensor) -> NetworkLayers:
        """Compute the states of the last layer every 10 ms of whole recordings.

        Where parts overlap, each state is taken from the earliest part.
        """
        louder = self.louder(x)
        hop = NETWORK_RATE // 100
        frames = x.shape[1] // hop + 1
        starts = range(0, max(1, frames - self.PART + self.STEP), self.STEP)
        mel = self.mel(F.pad(louder, (0, (starts[-1] + self.PART) * hop)))
        parts = torch.stack([mel[:, start : start + self.PART] for start in starts], 1)
        states, _ = self.lstm(parts.flatten(0, 1))
        states = states.view(len(x), len(starts), self.PART, -1)
        new_states = [states[:, 0]]
        for i in range(1, len(starts)):
            new_states.append(states[:, i, self.PART - self.STEP :])
        return [("lstm3", torch.cat(new_states, 1)[:, :frames])]


class SpeechEmbedding(nn.Module):
    """Google's speech_embedding: twenty convolutions on 32 mel bands from 60 to 3800 Hz.

    The embedding has 96 numbers every 80 ms.

    Source: Lin et al., "Training keyword spotters with limited and synthesized speech data",
    ICASSP 2020.
    """

    shortest = 75 * 160 + 512
    _WIDTHS = (24, 48, 72, 96, 96)
    _POOLS = ((2, 2), (1, 2), (2, 2), (1, 2), (2, 2))
    _LEAD = 39 * 160
    STEPS: StepTimes = MappingProxyType(
        {
            "pool3": (640, 11.5 * 160 + 256 - _LEAD),
            "pool4": (640, 19.5 * 160 + 256 - _LEAD),
            "pool5": (1280, 29.5 * 160 + 256 - _LEAD),
            "embedding": (1280, 37.5 * 160 + 256 - _LEAD),
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelPower(
            512,
            160,
            32,
            length=400,
            low=60,
            high=3800,
            pad="",
        )
        first = nn.Conv2d(1, 24, (3, 3), padding=(0, 1))
        convs = [first]
        last = 24
        for i, width in enumerate(self._WIDTHS):
            kernels = ((1, 3), (3, 1)) if i == 0 else ((1, 3), (3, 1), (1, 3), (3, 1))
            for kernel in kernels:
                convs.append(nn.Conv2d(last, width, kernel, padding=(0, kernel[1] // 2)))
                last = width
        self.convs = nn.ModuleList(convs)
        self.out = nn.Conv2d(96, 96, (3, 1), bias=False)
        # With torch's own initialisation, activations fade to zero over twenty layers.
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.get_parameter("weight"), a=0.2)
            nn.init.zeros_(conv.get_parameter("bias"))

    def spectrogram(self, x: Tensor) -> Tensor:
        """Compute the spectrogram (n, time, 32) of windows (n, samples).

        It is in dB of 16-bit samples, limited to 80 dB below the maximum of each window, and scaled
        as the network expects.
        """
        power = 10 * torch.log10(self.mel(x * 32767).clamp_min(1e-10))
        deepest = power.amax((1, 2), keepdim=True) - 80
        return torch.maximum(power, deepest) / 10 + 2

    def forward(self, x: Tensor) -> NetworkLayers:
        """Compute the last three poolings of windows, bands as channels, and the embedding."""
        return self.layers(self.spectrogram(x))

    def course(self, x: Tensor) -> NetworkLayers:
        """Compute the layers with silence added before and after the recording.

        The steps then reach both ends of the recording.
        """
        return self(F.pad(x, (self._LEAD, self._LEAD)))  # type: ignore[no-any-return]

    def layers(self, spectrogram: Tensor) -> NetworkLayers:
        """Compute the layers of a spectrogram (n, time, 32).

        There is one embedding for every 76 frames, 8 frames apart.
        """
        layers: NetworkLayers = []
        x = spectrogram[:, None]
        first = 0
        for block, pool_size in enumerate(self._POOLS):
            after = first + (3 if block == 0 else 4)
            for conv in self.convs[first:after]:
                x = F.leaky_relu_(conv(x), 0.2).clamp_min_(-0.4)
            first = after
            x = largest(x, pool_size, pool_size)
            if block >= 2:
                layers.append((f"pool{block + 1}", x.permute(0, 2, 1, 3).flatten(2)))
        return [*layers, ("embedding", self.out(x)[..., 0].transpose(1, 2))]


class Crepe(nn.Module):
    """CREPE tiny: six convolutions on frames of 64 ms, every 40 ms (10 ms in the published code).

    Source: Kim et al., "CREPE: a convolutional representation for pitch estimation", ICASSP 2018.
    """

    FRAME = 1024
    HOP = 640
    shortest = 1
    STEPS: StepTimes = MappingProxyType(
        dict.fromkeys(("conv3", "conv4", "conv5", "conv6", "pitch"), (HOP, 0.0))
    )

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 128, 16, 16, 16, 32, 64)
        sizes = (512, 64, 64, 64, 64, 64)
        steps = (4, 1, 1, 1, 1, 1)
        convs = []
        for i, (size, step) in enumerate(zip(sizes, steps, strict=True)):
            convs.append(nn.Conv1d(widths[i], widths[i + 1], size, step))
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(
            [nn.BatchNorm1d(n, eps=0.0010000000474974513) for n in widths[1:]]
        )
        self.classifier = nn.Linear(256, 360)

    def frames(self, x: Tensor) -> Tensor:
        """Cut windows (n, samples) into standardised frames (n, k, 1024) at 0, 40, 80, ... ms."""
        half = self.FRAME // 2
        cut = F.pad(x, (half, half)).unfold(1, self.FRAME, self.HOP)
        cut = cut - cut.mean(2, keepdim=True)
        return cut / cut.std(2, keepdim=True).clamp_min(1e-10)

    def forward(self, x: Tensor) -> NetworkLayers:
        """Compute the last four layers and the pitch of each frame of windows (n, samples).

        The pitch is the probability of 360 bins of 20 cents.
        """
        return self.layers(self.frames(x))

    def course(self, x: Tensor) -> NetworkLayers:
        """Compute the same layers of whole recordings, a hundred frames at a time."""
        parts = [self.layers(frames) for frames in torch.split(self.frames(x), 100, dim=1)]
        layers = []
        for rows in zip(*parts, strict=True):
            name = rows[0][0]
            layers.append((name, torch.cat([values for _, values in rows], 1)))
        return layers

    def layers(self, frames: Tensor) -> NetworkLayers:
        """Compute the layers of frames (n, k, 1024)."""
        n, k = frames.shape[:2]
        x = frames.reshape(n * k, 1, self.FRAME)
        layers: NetworkLayers = []
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            padded = F.pad(x, (254, 254) if i == 0 else (31, 32))
            x = F.max_pool1d(norm(conv(padded).relu_()), 2)
            if i >= 2:
                layers.append((f"conv{i + 1}", x.flatten(1).view(n, k, -1)))
        pitch = self.classifier(x.transpose(1, 2).flatten(1)).sigmoid()
        return [*layers, ("pitch", pitch.view(n, k, -1))]


class SileroVAD(nn.Module):
    """Silero VAD for 16 kHz: four convolutions on the spectrum of chunks of 32 ms, and one LSTM.

    Source: https://github.com/snakers4/silero-vad.
    """

    CHUNK = 512
    CONTEXT = 64
    N_FFT = 256
    shortest = CHUNK
    STEPS: StepTimes = MappingProxyType(
        dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "lstm"), (CHUNK, CHUNK / 2))
    )

    def __init__(self) -> None:
        super().__init__()
        basis = np.fft.rfft(np.eye(self.N_FFT), axis=0) * np.hanning(self.N_FFT + 1)[:-1]
        whole = np.concatenate([basis.real, basis.imag])[:, None].astype(np.float32)
        self.register_buffer("basis", torch.from_numpy(whole), persistent=False)
        widths = (129, 128, 64, 64, 128)
        steps = (1, 2, 2, 1)
        convs = [nn.Conv1d(widths[i], widths[i + 1], 3, step, 1) for i, step in enumerate(steps)]
        self.convs = nn.ModuleList(convs)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.speech = nn.Linear(128, 1)

    def chunks(self, x: Tensor) -> Tensor:
        """Cut windows (n, samples) into chunks (n, k, 576).

        A chunk is 512 samples with the 64 samples before them; the last one is filled with zeros.
        """
        missing = -x.shape[1] % self.CHUNK
        return F.pad(x, (self.CONTEXT, missing)).unfold(1, self.CHUNK + self.CONTEXT, self.CHUNK)

    def forward(self, x: Tensor) -> NetworkLayers:
        """Compute the convolutions and the state of the LSTM for each chunk."""
        chunks = self.chunks(x)
        n, k = chunks.shape[:2]
        padded = F.pad(chunks.flatten(0, 1)[:, None], (0, self.CONTEXT), "reflect")
        spectrum = F.conv1d(padded, self.get_buffer("basis"), stride=self.N_FFT // 2)
        real, imag = spectrum.chunk(2, 1)
        y = (real.square() + imag.square()).sqrt()
        layers: NetworkLayers = []
        for i, conv in enumerate(self.convs):
            y = conv(y).relu()
            layers.append((f"conv{i + 1}", y.mean(2).view(n, k, -1)))
        states, _ = self.lstm(layers[-1][1])
        return [*layers, ("lstm", states)]

    def probability(self, states: Tensor) -> Tensor:
        """Compute the probability of speech (n, k) from states of the LSTM (n, k, 128)."""
        speech: Tensor = self.speech(states.relu()).sigmoid()[..., 0]
        return speech


# Networks by the name that ``named`` and ``formats`` use.
NETS: dict[str, type[nn.Module]] = {
    "musicnn": Musicnn,
    "music_vgg": MusicVGG,
    "resemblyzer": Resemblyzer,
    "speech_embedding": SpeechEmbedding,
    "crepe": Crepe,
    "silero_vad": SileroVAD,
}


def pool(layers: Sequence[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Pool the layers of a network over time.

    Args:
        layers: Sequences (n, time, channels) and vectors (n, channels), with their names.

    Returns:
        "<layer>/mean" (n, channels) and "<layer>/mean+std" (n, 2 * channels) of each sequence, and
        "<layer>/vector" of each vector.
    """
    pooled: dict[str, Tensor] = {}
    for layer, values in layers:
        if values.ndim == 2:
            pooled[f"{layer}/vector"] = values.float()
            continue
        wide = values.float()
        mean = wide.mean(1)
        pooled[f"{layer}/mean"] = mean
        pooled[f"{layer}/mean+std"] = torch.cat([mean, wide.std(1, correction=0)], 1)
    return pooled
