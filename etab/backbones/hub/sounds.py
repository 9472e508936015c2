"""Models of sound of transformers: hidden states with the real time of their steps.

Feature extractors fill a window up to the length that a model was trained on (10 s for AST, 30 s
for Whisper). The steps of that filling are cut off before anything is pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.hub.codecs import (
    DacNetwork,
    EncodecNetwork,
    MimiNetwork,
    MoonshineNetwork,
    PeAudioNetwork,
)
from etab.backbones.hub.described import Described
from etab.backbones.hub.pictures import normalised_last
from etab.backbones.sound.named import SoundBackbone
from etab.backbones.sound.open import TransformersNetwork, quarters
from etab.backbones.sound.parts import (
    joined_course,
    recording_parts,
    recording_starts,
    window_parts,
)
from etab.errors import UnsupportedOptionError


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a model of spectrograms in time.

    Attributes:
        hop: Samples from one step to the next; 0 where the output has no axis of time.
        first: Sample at the centre of the first step.
        longest: Samples that the model reads at most; 0 without a limit.
        valid: Number of steps of a window of some samples.
        split: Turns a state (n, ...) into steps (n, t, d).
        last: Takes the deepest state and the output of the model, and returns the output in the
            form of a state.
        shortest: Samples that the model needs at least; 0 for a tenth of a second.
    """

    hop: float
    first: float
    longest: int
    valid: Callable[[int], int]
    split: Callable[[Tensor], Tensor]
    last: Callable[[Tensor, Tensor], Tensor] = normalised_last
    shortest: int = 0


class SpectrogramNetwork(nn.Module):
    """A model of spectrograms with its own feature extractor.

    Args:
        network: The model, or the tower that is used.
        extractor: The feature extractor.
        steps: The steps of its states in time.
        rate: Sampling rate in Hz.
        names: Names of the layers.
    """

    def __init__(
        self,
        network: Any,
        extractor: Any,
        steps: Steps,
        rate: int,
        names: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.network = network
        self.extractor = extractor
        self.steps = steps
        self.rate = rate
        self.shortest = steps.shortest or round(0.1 * rate)
        self.STEPS: Mapping[str, tuple[float, float]] = dict.fromkeys(
            names, (steps.hop, steps.first)
        )

    def _states(self, part: Any) -> list[tuple[str, Tensor]]:
        """Compute four layers (1, t, d) of one part (samples,), without its filling."""
        device = next(self.network.parameters()).device
        with np.errstate(divide="ignore", invalid="ignore"):
            prepared = self.extractor(
                [part],
                sampling_rate=self.rate,
                return_tensors="pt",
            )
        inputs = {name: values.to(device) for name, values in prepared.items()}
        for name in ("input_features", "input_values"):
            if name in inputs:
                # Some extractors divide by the deviation of a band, which silence has not.
                inputs[name] = torch.nan_to_num(inputs[name].float(), posinf=0, neginf=0)
        output = self.network(**inputs, output_hidden_states=True)
        count = self.steps.valid(len(part))
        hidden = list(output.hidden_states)
        hidden[-1] = self.steps.last(hidden[-1], output.last_hidden_state)
        return quarters([self.steps.split(state)[:, :count] for state in hidden])

    def forward(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """Compute four layers of windows (n, samples), each on its own."""
        rows: dict[str, list[Tensor]] = {}
        for window in x.cpu().numpy():
            longest = self.steps.longest
            is_long = bool(longest) and len(window) > longest
            parts = window_parts(window, longest) if is_long else window[None]
            of_window: dict[str, list[Tensor]] = {}
            for part in parts:
                for name, values in self._states(part):
                    of_window.setdefault(name, []).append(values)
            for name, pieces in of_window.items():
                rows.setdefault(name, []).append(torch.cat(pieces, 1))
        return [(name, torch.cat(values)) for name, values in rows.items()]

    def course(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """Compute the layers of a whole recording (1, samples)."""
        longest = self.steps.longest
        if not longest or x.shape[1] <= longest:
            return self.forward(x)
        recording = x[0].cpu().numpy()
        starts = recording_starts(len(recording), longest) / self.rate
        collected: dict[str, list[Any]] = {}
        for part in recording_parts(recording, longest):
            for name, values in self._states(part):
                collected.setdefault(name, []).append(values[0].cpu().numpy())
        hop = self.steps.hop / self.rate
        first = self.steps.first / self.rate
        end = len(recording) / self.rate
        layers = []
        for name, pieces in collected.items():
            course = joined_course(np.stack(pieces), starts, longest / self.rate, hop, first, end)
            layers.append((name, torch.from_numpy(course.values)[None]))
        return layers


def _ast_steps(described: Described) -> Steps:
    config = described.config
    patch = int(config.patch_size)
    stride = int(config.time_stride)
    longest = int(config.max_length)
    rows = (int(config.num_mel_bins) - patch) // int(config.frequency_stride) + 1

    def valid(samples: int) -> int:
        frames = 1 + max(0, samples - 400) // 160
        return max(1, (min(frames, longest) - patch) // stride + 1)

    def split(state: Tensor) -> Tensor:
        tokens = state[:, 2:]  # after the class and distillation tokens
        return tokens.reshape(len(tokens), rows, -1, tokens.shape[2]).mean(1)

    first = 200 + 160 * (patch - 1) / 2
    return Steps(160 * stride, first, 160 * (longest - 1) + 400, valid, split)


def _whisper_steps(described: Described) -> Steps:
    extractor = described.processor
    hop = 2 * int(extractor.hop_length)
    return Steps(hop, 0.0, int(extractor.n_samples), lambda samples: -(-samples // hop), _same)


def _w2v_bert_steps(described: Described) -> Steps:
    stride = int(described.processor.stride)

    def valid(samples: int) -> int:
        frames = 1 + max(0, samples - 400) // 160
        return max(1, frames // stride)

    return Steps(160 * stride, 200 + 160 * (stride - 1) / 2, 0, valid, _same)


def _speech_to_text_steps(described: Described) -> Steps:
    reductions = int(described.config.num_conv_layers)
    stride = 2**reductions

    def valid(samples: int) -> int:
        steps = 1 + max(0, samples - 400) // 160
        for _ in range(reductions):
            steps = (steps - 1) // 2 + 1
        return steps

    longest = 160 * (int(described.config.max_source_positions) * stride - 1) + 400
    return Steps(160 * stride, 200.0, longest, valid, _same)


def _parakeet_steps(described: Described) -> Steps:
    hop = int(described.processor.hop_length) * int(described.config.subsampling_factor)
    # A frame lies at every hop, and each reduction by 2 begins with the first one.
    return Steps(hop, 0.0, 0, lambda samples: -(-samples // hop), _same)


def _lasr_steps(described: Described) -> Steps:
    kernel = int(described.config.subsampling_conv_kernel_size)
    stride = int(described.config.subsampling_conv_stride)

    def valid(samples: int) -> int:
        steps = 1 + max(0, samples - 400) // 160
        for _ in range(2):
            steps = (steps - kernel) // stride + 1
        return max(1, steps)

    seen = kernel + (kernel - 1) * stride  # frames that the first step reads
    first = 200 + 160 * (seen - 1) / 2
    shortest = 160 * (seen - 1) + 400
    return Steps(160 * stride**2, first, 0, valid, _same, shortest=shortest)


def _clap_steps(described: Described) -> Steps:
    longest = int(described.processor.nb_max_samples)

    def split(state: Tensor) -> Tensor:
        return state.flatten(2).transpose(1, 2)

    def last(state: Tensor, output: Tensor) -> Tensor:
        # The output holds the places of the deepest state in another order, which no pooling sees.
        return output.reshape(state.shape)

    return Steps(0.0, 0.0, longest, lambda samples: 1 << 30, split, last)


def _same(state: Tensor) -> Tensor:
    return state


FORMS: Mapping[str, Callable[[Described], Steps]] = {
    "ast": _ast_steps,
    "whisper": _whisper_steps,
    "w2v_bert": _w2v_bert_steps,
    "speech_to_text": _speech_to_text_steps,
    "parakeet": _parakeet_steps,
    "lasr": _lasr_steps,
    "clap": _clap_steps,
}
"""How the steps of models of spectrograms lie in time, by ``Family.form``."""


def _waves(network: Any, described: Described, rate: int) -> nn.Module:
    return TransformersNetwork(network, described.processor, rate)


def _moonshine(network: Any, described: Described, rate: int) -> nn.Module:
    return MoonshineNetwork(network, described.processor, rate)


def _encodec(network: Any, described: Described, rate: int) -> nn.Module:
    if getattr(described.processor, "normalize_audio", False):
        raise UnsupportedOptionError(
            f"transformers/{described.model}: its processor scales each sound to the same peak, "
            "which windows of a recording do not have. Wrap the model in a function: "
            "etab.backbone(function, input=...)."
        )
    return EncodecNetwork(network, rate)


def _dac(network: Any, described: Described, rate: int) -> nn.Module:
    return DacNetwork(network, described.config.downsampling_ratios, rate)


def _mimi(network: Any, described: Described, rate: int) -> nn.Module:
    return MimiNetwork(network, rate)


def _pe_audio(network: Any, described: Described, rate: int) -> nn.Module:
    return PeAudioNetwork(network, rate)


WAVES: Mapping[str, Callable[[Any, Described, int], nn.Module]] = {
    "waves": _waves,
    "moonshine": _moonshine,
    "encodec": _encodec,
    "dac": _dac,
    "mimi": _mimi,
    "pe_audio": _pe_audio,
}
"""Makers of networks of waveforms, by ``Family.form``."""


def sound_backbone(
    card: BackboneCard,
    network: Any,
    described: Described,
) -> Backbone:
    """Wrap a model of sound.

    Args:
        card: The card.
        network: The model, or the tower that is used.
        described: Configuration and processor.

    Returns:
        The backbone.

    Raises:
        UnsupportedOptionError: The sampling rate of the extractor does not fit its family.
    """
    rate = int(card.rate or 0)
    form = described.family.form
    if form in WAVES:
        return SoundBackbone(card, WAVES[form](network, described, rate))
    if form in ("ast", "w2v_bert", "speech_to_text", "lasr") and rate != 16_000:
        raise UnsupportedOptionError(
            f"{card.name}: its processor reads {rate} Hz; models of this family read 16000 Hz."
        )
    steps = FORMS[form](described)
    made = SpectrogramNetwork(network, described.processor, steps, rate, card.layers)
    return SoundBackbone(card, made)
