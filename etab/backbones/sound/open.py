"""Sound backbones without a name of their own: bundles of torchaudio, and networks of waveforms.

torchaudio is optional: ``pip install "etab-bench[audio]"``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from etab.backbones.base import UNKNOWN_DATA, Backbone, BackboneCard
from etab.backbones.sound.named import SoundBackbone
from etab.errors import UnsupportedOptionError, WeightsError, reason_of
from etab.registry import unknown

# Sampling rate in Hz of models that do not name one.
_RATE = 16_000
# Length in seconds of the shortest window that is not filled with zeros.
_SHORTEST = 0.1
_QUARTERS = ("quarter", "half", "three_quarters", "last")
_TIMED = ("quarter", "half", "last")
# Samples between two steps, and the sample at the centre of the first: all torchaudio bundles.
_WAV2VEC2 = (320, 199.5)


def bundle_card(name: str, seed: int | None = None) -> BackboneCard:
    """Make the card of a bundle of torchaudio, without reading weights.

    Args:
        name: "torchaudio/<BUNDLE>".
        seed: Seed of a random twin; None for pretrained weights.

    Returns:
        The card.

    Raises:
        UnknownNameError: torchaudio has no such bundle.
        WeightsError: The library is not installed.
    """
    pipelines = _library("torchaudio").pipelines
    bundles = []
    for attribute in sorted(dir(pipelines)):
        if not attribute.isupper():
            continue
        if "Wav2Vec2" in type(getattr(pipelines, attribute)).__name__:
            bundles.append(attribute)
    wanted = name.removeprefix("torchaudio/")
    if wanted not in bundles:
        raise unknown("torchaudio bundle", wanted, bundles)
    bundle = getattr(pipelines, wanted)
    draft = _draft(name, wanted, seed, "torchaudio", int(bundle.sample_rate))
    return replace(draft, load=partial(_load_bundle, wanted, seed, draft))


def _draft(
    name: str,
    title: str,
    seed: int | None,
    source: str,
    rate: int,
) -> BackboneCard:
    return BackboneCard(
        name=name,
        title=title,
        family="transformer",
        modality="sound",
        size=0,
        mean=(),
        std=(),
        interpolation="",
        layers=_QUARTERS,
        pretraining="" if seed is not None else f"as {source} gives it",
        pretraining_sets=() if seed is not None else UNKNOWN_DATA,
        licence="see the model's page",
        source=source,
        rate=rate,
        seconds=5.0,
        timed=_TIMED,
    )


def _library(name: str) -> Any:
    """Import an optional library."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError, OSError) as error:
        raise WeightsError(
            f"{name} cannot be imported ({reason_of(error)}). Install the version that matches "
            'your torch: pip install "etab-bench[audio]".'
        ) from error


def _unavailable(name: str, error: Exception) -> WeightsError:
    return WeightsError(
        f"{name} could not be fetched: {reason_of(error)}. With network access it is fetched "
        "once and kept. Without it, use a named backbone (`etab list backbones`)."
    )


def quarters(states: Sequence[Tensor]) -> list[tuple[str, Tensor]]:
    """Choose four layers of a transformer: at a quarter, a half, three quarters, and the last.

    Args:
        states: The input of the first layer, then the output of each layer, (n, time, channels).
    """
    n = len(states) - 1
    return [(name, states[round(n * (i + 1) / 4)]) for i, name in enumerate(_QUARTERS)]


class BundleNetwork(nn.Module):
    """A wav2vec2, HuBERT or WavLM network of torchaudio.

    Args:
        network: A network with ``extract_features``.
    """

    shortest = round(_SHORTEST * _RATE)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.STEPS = dict.fromkeys(_QUARTERS, _WAV2VEC2)

    def forward(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """Compute four layers of windows (n, samples)."""
        layers, _ = self.network.extract_features(x)  # type: ignore[operator]
        return quarters([layers[0], *layers])


class TransformersNetwork(nn.Module):
    """A model of transformers with its own feature extractor.

    Args:
        network: The model. Only the encoder of an encoder-decoder model is used.
        extractor: The feature extractor.
        rate: Sampling rate in Hz.
    """

    def __init__(self, network: Any, extractor: Any, rate: int) -> None:
        super().__init__()
        has_decoder = bool(getattr(network.config, "is_encoder_decoder", False))
        self.network = network.get_encoder() if has_decoder else network
        self.extractor = extractor
        self.rate = rate
        self.shortest = round(_SHORTEST * rate)

    @property
    def STEPS(self) -> dict[str, tuple[int, float]]:  # noqa: N802
        """Locate the steps of the layers in time, as ``etab.backbones.sound.networks`` does.

        They are computed from the strides in the configuration of networks of waveforms. Other
        networks read spectrograms that they pad or cut, so that their steps are not known.

        Raises:
            UnsupportedOptionError: The configuration has no strides.
        """
        kernels = getattr(self.network.config, "conv_kernel", None)
        strides = getattr(self.network.config, "conv_stride", None)
        if not kernels or not strides:
            raise UnsupportedOptionError(
                f"The configuration of {type(self.network).__name__} has no conv_kernel and "
                "conv_stride. The time of its steps is unknown, so it cannot be used for states. "
                "Use a network like wav2vec2."
            )
        hop = 1
        first = 0.0
        # The layers of SEW and SEW-D have one step for this many outputs of the convolutions.
        squeeze = int(getattr(self.network.config, "squeeze_factor", 1))
        for kernel, stride in zip(kernels, strides, strict=True):
            first += hop * (kernel - 1) / 2
            hop *= stride
        first += hop * (squeeze - 1) / 2
        return dict.fromkeys(_QUARTERS, (hop * squeeze, first))

    def forward(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """Compute four layers of windows (n, samples).

        Each window is prepared on its own, so that its features do not depend on other windows.
        """
        rows = []
        for window in x.cpu().numpy():
            prepared = self.extractor(
                [window],
                sampling_rate=self.rate,
                return_tensors="pt",
            )
            rows.append(prepared[self.extractor.model_input_names[0]])
        inputs = torch.cat(rows).to(x.device, torch.float32)
        states = self.network(inputs, output_hidden_states=True).hidden_states
        sequences = []
        for state in states:
            # Networks of spectrograms output (n, channels, height, width).
            is_sequence = state.ndim == 3
            sequences.append(state if is_sequence else state.flatten(2).transpose(1, 2))
        return quarters(sequences)


def _load_bundle(
    wanted: str,
    seed: int | None,
    card: BackboneCard,
) -> Backbone:
    audio = _library("torchaudio")
    bundle = getattr(audio.pipelines, wanted)
    try:
        if seed is None:
            return SoundBackbone(card, BundleNetwork(bundle.get_model()))
        build = audio.models.wav2vec2_model
        if bundle._model_type == "WavLM":
            build = audio.models.wavlm_model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return SoundBackbone(card, BundleNetwork(build(**bundle._params)))
    except (OSError, RuntimeError) as error:
        raise _unavailable(f"torchaudio/{wanted}", error) from error
