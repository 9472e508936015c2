"""The pretrained networks of sound, written out in torch, each with the front end that it was
trained with.

A network maps float32 windows (n, samples) at its rate to ``[(layer, tensor)]``: sequences (n,
time, channels), which are pooled over time, and vectors (n, channels), which are kept. ``shortest``
is the fewest samples it can read. ``STEPS`` says when the steps of a sequence are: samples from one
to the next, and the sample in the middle of the first. Where they are not those of ``forward``,
``course`` gives them, for whole recordings. Front ends are computed here rather than read from the
weights (they agree with those in the files to 1e-7), so that a random twin differs in what was
learned and in nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etab.sounds.mel import slaney_bank

Found = list[tuple[str, Tensor]]
Steps = Mapping[str, tuple[int, float]]
RATE = 16_000


class MelPower(nn.Module):
    """Mel power (n, frames, bands) of windows (n, samples): Slaney bands of a Hann window's power
    spectrum.

    ``pad`` is how the ends are filled so that the first frame is centred on the first sample; ""
    for no frame that reaches over an end. Nothing in here is learned, and nothing is kept in a
    state dict.
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
        self.n_fft, self.hop, self.length, self.pad = n_fft, hop, length or n_fft, pad
        self.register_buffer("window", torch.hann_window(self.length), persistent=False)
        bank = torch.from_numpy(slaney_bank(RATE, n_fft, bands, low=low, high=high).T.copy())
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Power, not its logarithm."""
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
        return (spectrum.real**2 + spectrum.imag**2).transpose(1, 2) @ self.get_buffer("bank")


def _norm(n: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(n, eps=1e-3)


class _Branch(nn.Module):
    """A convolution over the spectrogram, its normalisation, and its maximum over frequency: (n,
    channels, time).

    Whole recordings go through in blocks of frames, with the same result in half the time and
    little memory.
    """

    LONGEST, BLOCK = 400, 160

    def __init__(self, channels: int, time: int, bands: int) -> None:
        super().__init__()
        self.around = ((time - 1) // 2, time // 2)
        self.conv = nn.Conv2d(1, channels, (time, bands))
        self.norm = nn.BatchNorm2d(channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.pad(x, (0, 0, *self.around))
        if x.shape[2] <= self.LONGEST:
            return self._part(wide)
        more = sum(self.around)
        starts = range(0, x.shape[2], self.BLOCK)
        return torch.cat([self._part(wide[:, :, s : s + self.BLOCK + more]) for s in starts], 2)

    def _part(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x).relu()).amax(3)
        return out


class Musicnn(nn.Module):
    """musicnn (Pons and Serra, 2019): tall and wide filters on a mel spectrogram, three residual
    layers, two poolings.
    """

    shortest = 1024
    STEPS: Steps = MappingProxyType(
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
        self.dense, self.norm_dense = nn.Linear(1506, 200), _norm(200)
        self.tags = nn.Linear(200, 50)

    def spectrogram(self, x: Tensor) -> Tensor:
        """Compress the mel power (n, time, 96) as upstream does, but in single precision instead of
        half.
        """
        return torch.log10(10_000 * self.mel(x) + 1)

    def forward(self, x: Tensor) -> Found:
        """Layers from the spectrogram filters to the tags (logits)."""
        return self.layers(self.spectrogram(x))

    def layers(self, spectrogram: Tensor) -> Found:
        """The network itself, from (n, time, 96)."""
        x = self.norm_in(spectrogram[:, None])
        parts = [branch(x) for branch in self.front]
        found = [torch.cat(parts, 1)]
        for conv, norm in zip(self.mid, self.mid_norm, strict=True):
            step = norm(conv(found[-1]).relu())
            found.append(step if len(found) == 1 else step + found[-1])
        every = torch.cat(found, 1)
        pooled = torch.stack([every.amax(2), every.mean(2)], 2).flatten(1)
        last = self.norm_dense(self.dense(self.norm_pool(pooled)).relu())
        sequences = {
            "timbral": torch.cat(parts[:2], 1),
            "temporal": torch.cat(parts[2:], 1),
            "cnn1": found[1],
            "cnn2": found[2],
            "cnn3": found[3],
        }
        return [
            *((name, s.transpose(1, 2)) for name, s in sequences.items()),
            ("pool", pooled),
            ("penultimate", last),
            ("tags", self.tags(last)),
        ]


class MusicVGG(nn.Module):
    """The VGG-like tagger of the same package: five convolutions on the spectrogram, poolings of
    time and frequency.
    """

    shortest = 187 * 256
    STEPS: Steps = MappingProxyType(
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

    def forward(self, x: Tensor) -> Found:
        """The poolings; the first ones as means over frequency. The tags need windows of 3 s and
        are left out.
        """
        return self.layers(torch.log10(10_000 * self.mel(x) + 1))

    def course(self, x: Tensor) -> Found:
        """The same from the first pooling on, which are the ones fine enough to tell S1 from
        systole.
        """
        return self.layers(torch.log10(10_000 * self.mel(x) + 1), first=0)

    def layers(self, spectrogram: Tensor, *, first: int = 2) -> Found:
        """The network itself, from (n, time, 96); poolings before ``first`` are left out."""
        found: Found = []
        x = self.norm_in(spectrogram[:, None])
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            kernel, stride = (
                ((4, 1), (2, 2)) if i == 0 else ((4, 4), (4, 4)) if i == 4 else ((2, 2), (2, 2))
            )
            x = F.max_pool2d(norm(conv(x).relu()), kernel, stride)
            if i >= first:
                found.append((f"pool{i + 1}", x.mean(3).transpose(1, 2)))
        return found


class Resemblyzer(nn.Module):
    """Resemblyzer's GE2E speaker encoder: three LSTM layers on mel power, on parts of 1.6 s that
    overlap by half.

    As upstream, a quiet window is brought up to -30 dBFS. The removal of stretches without voice is
    left out: it would remove the heart.
    """

    PART = 160
    STEP = 77
    shortest = RATE // 100 * PART
    STEPS: Steps = MappingProxyType({"lstm3": (RATE // 100, 0.0)})

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelPower(400, 160, 40, pad="constant")
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    @staticmethod
    def louder(x: Tensor) -> Tensor:
        """Bring windows that are quieter up to -30 dBFS; silence stays as it is."""
        rms = x.square().mean(1, keepdim=True).sqrt()
        return x * (10 ** (-30 / 20) / rms.clamp_min(1e-10)).clamp(1, 1e6)

    def parts(self, x: Tensor) -> Tensor:
        """Mel power of the parts (n, k, 160, 40) as upstream cuts them: a last part counts from 3/4
        of its length on.
        """
        hop = RATE // 100
        n_frames = -(-(x.shape[1] + 1) // hop)
        starts = list(range(0, max(1, n_frames - self.PART + self.STEP + 1), self.STEP))
        covered = (x.shape[1] - starts[-1] * hop) / (self.PART * hop)
        if covered < 0.75 and len(starts) > 1:
            starts.pop()
        missing = (starts[-1] + self.PART) * hop - x.shape[1]
        mel = self.mel(F.pad(x, (0, max(0, missing))))
        return torch.stack([mel[:, s : s + self.PART] for s in starts], 1)

    def forward(self, x: Tensor) -> Found:
        """Last states of the three layers of each part, the course of the last layer, and the
        speaker embedding.
        """
        parts = self.parts(self.louder(x))
        n, k = parts.shape[:2]
        course, (last, _) = self.lstm(parts.flatten(0, 1))
        spoken = self.linear(last[-1]).relu()
        unit = (spoken / spoken.norm(dim=1, keepdim=True).clamp_min(1e-12)).view(n, k, -1)
        mean = unit.mean(1)
        return [
            *((f"lstm{i + 1}_last", last[i].view(n, k, -1)) for i in range(3)),
            ("lstm3", course.reshape(n, -1, 256)),
            ("parts", unit),
            ("embedding", mean / mean.norm(dim=1, keepdim=True).clamp_min(1e-12)),
        ]

    def course(self, x: Tensor) -> Found:
        """States of the last layer every 10 ms of a whole recording, each from the part that began
        earliest before it.
        """
        louder = self.louder(x)
        frames = x.shape[1] // (RATE // 100) + 1
        starts = range(0, max(1, frames - self.PART + self.STEP), self.STEP)
        mel = self.mel(F.pad(louder, (0, (starts[-1] + self.PART) * (RATE // 100))))
        parts = torch.stack([mel[:, s : s + self.PART] for s in starts], 1)
        states, _ = self.lstm(parts.flatten(0, 1))
        states = states.view(len(x), len(starts), self.PART, -1)
        fresh = [
            states[:, 0],
            *(states[:, i, self.PART - self.STEP :] for i in range(1, len(starts))),
        ]
        return [("lstm3", torch.cat(fresh, 1)[:, :frames])]


class SpeechEmbedding(nn.Module):
    """Google's speech_embedding: twenty convolutions on 32 mel bands (60 to 3800 Hz), 96 numbers
    every 80 ms.
    """

    shortest = 75 * 160 + 512
    _WIDTHS = (24, 48, 72, 96, 96)
    _POOLS = ((2, 2), (1, 2), (2, 2), (1, 2), (2, 2))
    _LEAD = 39 * 160
    STEPS: Steps = MappingProxyType(
        {
            "pool3": (640, 11.5 * 160 + 256 - _LEAD),
            "pool4": (640, 19.5 * 160 + 256 - _LEAD),
            "pool5": (1280, 29.5 * 160 + 256 - _LEAD),
            "embedding": (1280, 37.5 * 160 + 256 - _LEAD),
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelPower(512, 160, 32, length=400, low=60, high=3800, pad="")
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
        for conv in (
            self.convs
        ):  # torch's own initialisation fades to nothing over twenty layers without normalisation
            nn.init.kaiming_normal_(conv.get_parameter("weight"), a=0.2)
            nn.init.zeros_(conv.get_parameter("bias"))

    def spectrogram(self, x: Tensor) -> Tensor:
        """(n, time, 32) in dB of 16-bit samples, 80 dB deep in each window, on the scale that the
        network reads.
        """
        power = 10 * torch.log10(self.mel(x * 32767).clamp_min(1e-10))
        deepest = power.amax((1, 2), keepdim=True) - 80
        return torch.maximum(power, deepest) / 10 + 2

    def forward(self, x: Tensor) -> Found:
        """Layers before the last two poolings, and the embedding; the bands of each as channels."""
        return self.layers(self.spectrogram(x))

    def course(self, x: Tensor) -> Found:
        """The same with silence before and after, so that there are steps up to either end of the
        recording.
        """
        return self(F.pad(x, (self._LEAD, self._LEAD)))  # type: ignore[no-any-return]

    def layers(self, spectrogram: Tensor) -> Found:
        """The network itself, from (n, time, 32); one embedding of every 76 frames, 8 apart."""
        found: Found = []
        x = spectrogram[:, None]
        at = 0
        for block, pool in enumerate(self._POOLS):
            for conv in self.convs[at : at + (3 if block == 0 else 4)]:
                x = F.leaky_relu(conv(x), 0.2).clamp_min(-0.4)
            at += 3 if block == 0 else 4
            x = F.max_pool2d(x, pool)
            if block >= 2:
                found.append((f"pool{block + 1}", x.permute(0, 2, 1, 3).flatten(2)))
        return [*found, ("embedding", self.out(x)[..., 0].transpose(1, 2))]


class Crepe(nn.Module):
    """CREPE tiny (Kim et al., 2018): six convolutions on frames of 64 ms, taken every 40 ms where
    upstream takes 10.
    """

    FRAME = 1024
    HOP = 640
    shortest = 1
    STEPS: Steps = MappingProxyType(
        dict.fromkeys(("conv3", "conv4", "conv5", "conv6", "pitch"), (HOP, 0.0))
    )

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 128, 16, 16, 16, 32, 64)
        sizes = (512, 64, 64, 64, 64, 64)
        steps = (4, 1, 1, 1, 1, 1)
        self.convs = nn.ModuleList(
            [
                nn.Conv1d(a, b, k, s)
                for a, b, k, s in zip(widths, widths[1:], sizes, steps, strict=False)
            ]
        )
        self.norms = nn.ModuleList(
            [nn.BatchNorm1d(n, eps=0.0010000000474974513) for n in widths[1:]]
        )
        self.classifier = nn.Linear(256, 360)

    def frames(self, x: Tensor) -> Tensor:
        """Frames (n, k, 1024) centred at 0, 40, 80 ... ms, each less its mean, over its standard
        deviation.
        """
        half = self.FRAME // 2
        cut = F.pad(x, (half, half)).unfold(1, self.FRAME, self.HOP)
        cut = cut - cut.mean(2, keepdim=True)
        return cut / cut.std(2, keepdim=True).clamp_min(1e-10)

    def forward(self, x: Tensor) -> Found:
        """The last four layers and the pitch (probabilities of 360 bins of 20 cents), for each
        frame.
        """
        return self.layers(self.frames(x))

    def course(self, x: Tensor) -> Found:
        """The same of a whole recording, a hundred frames at a time."""
        parts = [self.layers(some) for some in torch.split(self.frames(x), 100, dim=1)]
        return [
            (rows[0][0], torch.cat([values for _, values in rows], 1))
            for rows in zip(*parts, strict=True)
        ]

    def layers(self, frames: Tensor) -> Found:
        """The network itself, from (n, k, 1024)."""
        n, k = frames.shape[:2]
        x = frames.reshape(n * k, 1, self.FRAME)
        found: Found = []
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = F.max_pool1d(norm(conv(F.pad(x, (254, 254) if i == 0 else (31, 32))).relu()), 2)
            if i >= 2:
                found.append((f"conv{i + 1}", x.flatten(1).view(n, k, -1)))
        pitch = self.classifier(x.transpose(1, 2).flatten(1)).sigmoid()
        return [*found, ("pitch", pitch.view(n, k, -1))]


class SileroVAD(nn.Module):
    """Silero VAD, the network of 16 kHz: four convolutions on the spectrum of chunks of 32 ms, and
    one LSTM.
    """

    CHUNK, CONTEXT, N_FFT = 512, 64, 256
    shortest = CHUNK
    STEPS: Steps = MappingProxyType(
        dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "lstm"), (CHUNK, CHUNK / 2))
    )

    def __init__(self) -> None:
        super().__init__()
        basis = np.fft.rfft(np.eye(self.N_FFT), axis=0) * np.hanning(self.N_FFT + 1)[:-1]
        whole = np.concatenate([basis.real, basis.imag])[:, None].astype(np.float32)
        self.register_buffer("basis", torch.from_numpy(whole), persistent=False)
        widths = (129, 128, 64, 64, 128)
        steps = (1, 2, 2, 1)
        self.convs = nn.ModuleList(
            [nn.Conv1d(a, b, 3, s, 1) for a, b, s in zip(widths, widths[1:], steps, strict=False)]
        )
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.speech = nn.Linear(128, 1)

    def chunks(self, x: Tensor) -> Tensor:
        """Chunks (n, k, 576): 512 samples after the 64 before them; the last one is filled with
        zeros.
        """
        missing = -x.shape[1] % self.CHUNK
        return F.pad(x, (self.CONTEXT, missing)).unfold(1, self.CHUNK + self.CONTEXT, self.CHUNK)

    def forward(self, x: Tensor) -> Found:
        """The convolutions and the state of the LSTM for each chunk."""
        chunks = self.chunks(x)
        n, k = chunks.shape[:2]
        padded = F.pad(chunks.flatten(0, 1)[:, None], (0, self.CONTEXT), "reflect")
        real, imag = F.conv1d(padded, self.get_buffer("basis"), stride=self.N_FFT // 2).chunk(2, 1)
        y = (real.square() + imag.square()).sqrt()
        found: Found = []
        for i, conv in enumerate(self.convs):
            y = conv(y).relu()
            found.append((f"conv{i + 1}", y.mean(2).view(n, k, -1)))
        states, _ = self.lstm(found[-1][1])
        return [*found, ("lstm", states)]

    def probability(self, states: Tensor) -> Tensor:
        """Probability of speech (n, k) of the LSTM's states (n, k, 128)."""
        found: Tensor = self.speech(states.relu()).sigmoid()[..., 0]
        return found


NETS: dict[str, type[nn.Module]] = {
    "musicnn": Musicnn,
    "music_vgg": MusicVGG,
    "resemblyzer": Resemblyzer,
    "speech_embedding": SpeechEmbedding,
    "crepe": Crepe,
    "silero_vad": SileroVAD,
}


def pool(found: Sequence[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Pool sequences over time: their mean, and their mean beside their standard deviation; vectors
    stay.
    """
    out: dict[str, Tensor] = {}
    for layer, values in found:
        if values.ndim == 2:
            out[f"{layer}/vector"] = values.float()
            continue
        wide = values.float()
        mean = wide.mean(1)
        out[f"{layer}/mean"] = mean
        out[f"{layer}/mean+std"] = torch.cat([mean, wide.std(1, correction=0)], 1)
    return out
