"""Backbones of sound that are not named here: a bundle of torchaudio, or a model of transformers
from hub or folder.

Both libraries are optional: ``pip install "etab-bench[audio]"``.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.sound.named import SoundBackbone
from etab.backbones.weights import index as weights
from etab.errors import UnsupportedOptionError, WeightsError
from etab.registry import unknown

PREFIXES = ("torchaudio/", "transformers/")
_RATE = 16_000
_SHORTEST = 0.1
_QUARTERS = ("quarter", "half", "three_quarters", "last")
_TIMED = ("quarter", "half", "last")
_WAV2VEC2 = (
    320,
    199.5,
)  # samples between two steps, and the middle of the first: every bundle of torchaudio


def sound_card(name: str, seed: int | None = None) -> BackboneCard:
    """Card of "torchaudio/<BUNDLE>" or "transformers/<owner>/<model or folder>[@<Hz>]"; reads no
    weights.

    Raises WeightsError where the library is not installed, UnknownNameError for a bundle that
    torchaudio has not.
    """
    if name.startswith("torchaudio/"):
        return _bundle_card(name, seed)
    model, at, hertz = name.removeprefix("transformers/").partition("@")
    if at and not hertz.isdigit():
        raise UnsupportedOptionError(
            f"{name}: what follows @ is a rate in Hz, as in transformers/laion/clap@48000."
        )
    folder = Path(model)
    file = folder / "model.safetensors"
    rate = int(hertz) if at else _rate_of(folder)
    blank = _blank(name, model, seed, "transformers", rate)
    known = weights.sha256_of(file) if seed is None and file.is_file() else ""
    return replace(blank, sha256=known, load=partial(_load_transformers, model, seed, blank))


def _blank(name: str, title: str, seed: int | None, source: str, rate: int) -> BackboneCard:
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
        licence="see the model's page",
        source=source,
        rate=rate,
        seconds=5.0,
        timed=_TIMED,
    )


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError, OSError) as error:
        raise WeightsError(
            f'{name} cannot be imported ({_short(error)}). Install it to match torch: pip install "etab-bench[audio]".'
        ) from error


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _no_hub(name: str, error: Exception) -> WeightsError:
    return WeightsError(
        f"{name} could not be had: {_short(error)}. On a machine with a network it is fetched once and kept; without one, "
        "give a folder (transformers/<folder>), or use a named backbone (`etab list backbones`)."
    )


def _quarters(found: Sequence[Tensor]) -> list[tuple[str, Tensor]]:
    """Four layers of a transformer, (n, time, channels) each: at a quarter, a half, three quarters,
    and the last.

    found: what goes into the first layer, then what comes out of each.
    """
    n = len(found) - 1
    return [(name, found[round(n * (i + 1) / 4)]) for i, name in enumerate(_QUARTERS)]


class BundleNetwork(nn.Module):
    """A wav2vec2, HuBERT or WavLM network of torchaudio; its layers as ``extract_features`` gives
    them.
    """

    shortest = round(_SHORTEST * _RATE)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.STEPS = dict.fromkeys(_QUARTERS, _WAV2VEC2)

    def forward(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """Layers of windows (n, samples)."""
        layers, _ = self.network.extract_features(x)  # type: ignore[operator]
        return _quarters([layers[0], *layers])


class TransformersNetwork(nn.Module):
    """A model of transformers behind its own feature extractor; of an encoder and a decoder, the
    encoder.
    """

    def __init__(self, network: Any, extractor: Any, rate: int) -> None:
        super().__init__()
        whole = bool(getattr(network.config, "is_encoder_decoder", False))
        self.network = network.get_encoder() if whole else network
        self.extractor, self.rate = extractor, rate
        self.shortest = round(_SHORTEST * rate)

    @property
    def STEPS(self) -> dict[str, tuple[int, float]]:  # noqa: N802
        """When the steps of the layers are, from the strides that networks of waveforms name in
        their configuration.

        Raises UnsupportedOptionError for those that name none: their steps are of spectrograms that
        they pad or cut.
        """
        kernels, strides = (
            getattr(self.network.config, f"conv_{what}", None) for what in ("kernel", "stride")
        )
        if not kernels or not strides:
            raise UnsupportedOptionError(
                f"{type(self.network).__name__} does not say when its steps are (conv_kernel, conv_stride), so that states "
                "cannot be asked of it. Networks of the kind of wav2vec2 do."
            )
        hop = 1
        first = 0.0
        for kernel, stride in zip(kernels, strides, strict=True):
            first += hop * (kernel - 1) / 2
            hop *= stride
        return dict.fromkeys(_QUARTERS, (hop, first))

    def forward(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """Hidden states of windows (n, samples), each prepared alone so that no window sees
        another.
        """
        rows = [
            self.extractor([row], sampling_rate=self.rate, return_tensors="pt")
            for row in x.cpu().numpy()
        ]
        name = self.extractor.model_input_names[0]
        read = torch.cat([row[name] for row in rows]).to(x.device, torch.float32)
        states = self.network(read, output_hidden_states=True).hidden_states
        return _quarters([s if s.ndim == 3 else s.flatten(2).transpose(1, 2) for s in states])


def _bundle_card(name: str, seed: int | None) -> BackboneCard:
    pipelines = _library("torchaudio").pipelines
    bundles = sorted(
        n
        for n in dir(pipelines)
        if n.isupper() and "Wav2Vec2" in type(getattr(pipelines, n)).__name__
    )
    wanted = name.removeprefix("torchaudio/")
    if wanted not in bundles:
        raise unknown("torchaudio bundle", wanted, bundles)
    bundle = getattr(pipelines, wanted)
    blank = _blank(name, wanted, seed, "torchaudio", int(bundle.sample_rate))
    return replace(blank, load=partial(_load_bundle, wanted, seed, blank))


def _load_bundle(wanted: str, seed: int | None, card: BackboneCard) -> Backbone:
    audio = _library("torchaudio")
    bundle = getattr(audio.pipelines, wanted)
    try:
        if seed is None:
            return SoundBackbone(card, BundleNetwork(bundle.get_model()))
        build = (
            audio.models.wavlm_model
            if bundle._model_type == "WavLM"
            else audio.models.wav2vec2_model
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return SoundBackbone(card, BundleNetwork(build(**bundle._params)))
    except (OSError, RuntimeError) as error:
        raise _no_hub(f"torchaudio/{wanted}", error) from error


def _rate_of(folder: Path) -> int:
    """The rate that a saved feature extractor names; 16 kHz where there is none to ask."""
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return _RATE
    try:
        return int(json.loads(file.read_text())["sampling_rate"])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{file} names no sampling_rate: this is no model of sound.") from error


def _load_transformers(model: str, seed: int | None, card: BackboneCard) -> Backbone:
    library = _library("transformers")
    try:
        extractor = library.AutoFeatureExtractor.from_pretrained(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed or 0)
            if seed is None:
                network = library.AutoModel.from_pretrained(model, use_safetensors=True)
            else:
                network = library.AutoModel.from_config(library.AutoConfig.from_pretrained(model))
    except (OSError, ValueError, RuntimeError) as error:
        raise _no_hub(f"transformers/{model}", error) from error
    if extractor.sampling_rate != card.rate:
        own = extractor.sampling_rate
        raise UnsupportedOptionError(
            f"{model} reads {own} Hz, not {card.rate} Hz: write transformers/{model}@{own}."
        )
    return SoundBackbone(card, TransformersNetwork(network, extractor, extractor.sampling_rate))
