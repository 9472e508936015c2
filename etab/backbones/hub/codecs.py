"""Encoders of codecs of sound, and of models that begin with one, before any quantisation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from etab.backbones.sound.open import TransformersNetwork, quarters

_SHORTEST = 0.1  # seconds of the shortest window that is not filled with zeros


def located(convolutions: Iterable[Any], causal: bool) -> tuple[float, float]:
    """Locate the steps of convolutions in time: the centre of what each step reads.

    Args:
        convolutions: The layers, in their order; each is padded so that a step stands for
            ``stride`` of its values.
        causal: Whether they are padded before the first value alone, so that no step reads what
            comes later.

    Returns:
        Samples from one step to the next, and the sample at the centre of the first.
    """
    hop = 1
    first = 0.0
    for layer in convolutions:
        stride = layer.stride[0]
        seen = (layer.kernel_size[0] - 1) * layer.dilation[0] + 1
        padding = seen - stride
        before = padding if causal else padding - padding // 2
        first += hop * ((seen - 1) / 2 - before)
        hop *= stride
    return hop, first


class EncodecNetwork(nn.Module):
    """The encoder of EnCodec or WavTokenizer, before quantisation.

    Args:
        network: An EncodecModel, or the encoder of a WavTokenizerModel.
        rate: Sampling rate in Hz.
    """

    def __init__(self, network: Any, rate: int) -> None:
        super().__init__()
        self.encoder = network.encoder
        self.config = network.config
        self.shortest = round(_SHORTEST * rate)
        layers = [layer.conv for layer in self.encoder.layers if hasattr(layer, "conv")]
        ends = [i + 1 for i, layer in enumerate(layers) if layer.stride[0] > 1]
        causal = bool(network.config.use_causal_conv)
        self.STEPS: Mapping[str, tuple[float, float]] = {
            "stage3": located(layers[: ends[-2]], causal),
            "stage4": located(layers[: ends[-1]], causal),
            "last": located(layers, causal),
        }

    def forward(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """Compute the layers (n, t, d) of windows (n, samples), each on its own."""
        waves = x[:, None].expand(-1, self.config.audio_channels, -1)
        if getattr(self.config, "normalize", False):
            level = waves.mean(1, keepdim=True).pow(2).mean(-1, keepdim=True).sqrt()
            waves = waves / (level + 1e-8)
        rows = [self._stages(wave[None]) for wave in waves]
        return [(name, torch.cat([row[name] for row in rows])) for name in self.STEPS]

    def _stages(self, wave: Tensor) -> dict[str, Tensor]:
        """Compute the output (1, t, d) of the last two reductions in time, and the embedding."""
        reduced: list[Tensor] = []
        values = wave
        for layer in self.encoder.layers:
            values = layer(values)
            convolution = getattr(layer, "conv", None)
            if convolution is not None and max(convolution.stride) > 1:
                reduced.append(values)
        third, fourth = (state.transpose(1, 2) for state in reduced[-2:])
        return {
            "stage3": third,
            "stage4": fourth,
            "last": values.transpose(1, 2),
        }


def dac_steps(ratios: Sequence[int]) -> tuple[float, float]:
    """Locate the steps of an encoder of DAC in time.

    Each of its reductions reads ``2 * ratio`` values around the middle of ``ratio`` of them.

    Args:
        ratios: The reductions in time, in their order.

    Returns:
        Samples from one step to the next, and the sample at the centre of the first.

    Example:
        >>> dac_steps([2, 4])
        (8, 3.5)
    """
    hop = 1
    first = 0.0
    for ratio in ratios:
        first += hop * (ratio - 0.5 - math.ceil(ratio / 2))
        hop *= ratio
    return hop, first


class DacNetwork(nn.Module):
    """The encoder of DAC, before quantisation.

    Args:
        encoder: The encoder of a DacModel.
        ratios: Its reductions in time, in their order.
        rate: Sampling rate in Hz.
    """

    def __init__(self, encoder: Any, ratios: Sequence[int], rate: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.shortest = round(_SHORTEST * rate)
        self.STEPS: Mapping[str, tuple[float, float]] = {
            "stage3": dac_steps(ratios[:-1]),
            "stage4": dac_steps(ratios),
            "last": dac_steps(ratios),
        }

    def forward(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """Compute the layers (n, t, d) of windows (n, samples)."""
        values = self.encoder.conv1(x[:, None])
        stages = []
        for block in self.encoder.block:
            values = block(values)
            stages.append(values)
        stages.append(self.encoder.conv2(self.encoder.snake1(values)))
        names = self.STEPS
        return [
            (name, stage.transpose(1, 2)) for name, stage in zip(names, stages[-3:], strict=True)
        ]


class MimiNetwork(nn.Module):
    """The encoder of Mimi: convolutions, a transformer, and a last reduction in time.

    Args:
        encoder: The encoder of a MimiModel.
        rate: Sampling rate in Hz.
    """

    def __init__(self, encoder: Any, rate: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.shortest = round(_SHORTEST * rate)
        layers = [x.conv for x in encoder.encoder_seanet.layers if hasattr(x, "conv")]
        causal = bool(encoder.config.use_causal_conv)
        reduced = located(layers, causal)
        if encoder.downsample is not None:
            layers.append(encoder.downsample.conv)
        self.STEPS: Mapping[str, tuple[float, float]] = {
            "stage4": reduced,
            "transformer": reduced,
            "last": located(layers, causal),
        }

    def forward(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """Compute the layers (n, t, d) of windows (n, samples)."""
        reduced = self.encoder.encoder_seanet(x[:, None]).transpose(1, 2)
        seen = self.encoder.encoder_transformer(reduced).last_hidden_state
        latent = seen
        if self.encoder.downsample is not None:
            latent = self.encoder.downsample(seen.transpose(1, 2)).transpose(1, 2)
        return [("stage4", reduced), ("transformer", seen), ("last", latent)]


class PeAudioNetwork(nn.Module):
    """The audio tower of the Perception Encoder: a transformer over the steps of an encoder of DAC.

    Args:
        network: A PeAudioEncoder.
        rate: Sampling rate in Hz.
    """

    def __init__(self, network: Any, rate: int) -> None:
        super().__init__()
        self.network = network
        self.shortest = round(_SHORTEST * rate)
        names = ("quarter", "half", "three_quarters", "last")
        steps = dac_steps(network.config.dac_config.downsampling_ratios)
        self.STEPS: Mapping[str, tuple[float, float]] = dict.fromkeys(names, steps)

    def forward(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """Compute four layers (n, t, d) of windows (n, samples)."""
        output = self.network(input_values=x[:, None], output_hidden_states=True)
        # A class token precedes the steps of every state but the output.
        return quarters([*(s[:, 1:] for s in output.hidden_states[:-1]), output.last_hidden_state])


class MoonshineNetwork(TransformersNetwork):
    """The encoder of Moonshine: three convolutions of fixed strides, and a transformer."""

    @property
    def STEPS(self) -> dict[str, tuple[int, float]]:  # noqa: N802
        """Locate the steps: the convolutions read 127, 7 and 3 values, at strides of 64, 3 and 2."""
        names = ("quarter", "half", "three_quarters", "last")
        return dict.fromkeys(names, (64 * 3 * 2, 63.0 + 64 * 3 + 64 * 3))
