"""Backbones that are not named here: any timm or torchvision model, the hub through timm, a local
file, a callable.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from etab.backbones import identity
from etab.backbones.base import IMAGENET, Backbone, BackboneCard
from etab.backbones.weights import index as weights
from etab.backbones.weights.fit import Fitted, fit, head_keys, load_file
from etab.errors import UnsupportedOptionError, WeightsError
from etab.registry import unknown
from etab.types import Features


def _timm_config(model: str) -> Mapping[str, Any]:
    """The facts that timm keeps of a model, without building it; raises UnknownNameError with a
    suggestion.
    """
    import timm

    if not timm.is_model(model.split(".")[0]):
        raise unknown("timm model", model, timm.list_models())
    config = timm.get_pretrained_cfg(model)
    return vars(config) if config is not None else {}


def timm_card(name: str, seed: int | None = None, state: Path | None = None) -> BackboneCard:
    """Card of "timm/<model>" or "hf-hub:<owner>/<model>"; the size is the model's own, its layers
    are known on loading.
    """
    hub = name.startswith("hf-hub:")
    model = name if hub else name.removeprefix("timm/")
    config: Mapping[str, Any] = {} if hub else _timm_config(model)
    shape = config.get("input_size") or (3, 224, 224)
    return BackboneCard(
        name=name,
        title=model,
        load=partial(_load_timm, model, seed, state),
        size=int(shape[-1]),
        mean=tuple(config.get("mean") or IMAGENET[0]),
        std=tuple(config.get("std") or IMAGENET[1]),
        layers=("-3", "-2", "-1"),
        strides=(8, 16, 32),
        pretraining="" if seed is not None else str(config.get("tag", "")),
        licence=str(config.get("license") or "see the model's page"),
        source="timm",
    )


def _create(model: str, pretrained: bool) -> Any:
    import timm

    try:
        return timm.create_model(model, pretrained=pretrained, num_classes=0)
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"The weights of {model} could not be fetched from the hub: {_short(error)}. On a machine with a network they are "
            "fetched once and kept; without one, use a named backbone (`etab list backbones`) or local:<file>@timm/<model>."
        ) from error


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _load_timm(model: str, seed: int | None, state: Path | None) -> Backbone:
    """Build a timm network: pretrained, from a local state dict, or (seed given) at random
    initialisation.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        network = _create(model, pretrained=seed is None and state is None)
    if state is not None:
        load_file(network, state, f"timm/{model}", head=head_keys(network.state_dict()))
    return _wrap_timm(model, network, seed)


def fitted(name: str, content: Any, what: str, take: str = "") -> Fitted:
    """The weights of "timm/<model>" or "torchvision/<model>" in what a file holds.

    Args:
        name: The network.
        content: As in ``weights.fit.fit``.
        what: What errors call the file and the network.
        take: As in ``weights.fit.fit``.

    Raises:
        UnknownNameError: There is no such network.
        WeightsError: The file does not fit it.
    """
    import torch
    from torchvision import models

    model = name.partition("/")[2]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        if name.startswith("timm/"):
            _timm_config(model)
            network = _create(model, pretrained=False)
        else:
            torchvision_card(name, seed=0)
            network = models.get_model(model, weights=None)
    own = network.state_dict()
    return fit(content, own, what, head=head_keys(own), take=take)


def _wrap_timm(model: str, network: Any, seed: int | None) -> Backbone:
    from etab.backbones.image import taps as tapping
    from etab.backbones.image.networks import TorchBackbone, timm_taps

    prefix = f"timm/{model}" if not model.startswith("hf-hub:") else model
    info = network.pretrained_cfg
    card = replace(
        timm_card(prefix, seed),
        mean=tuple(info.get("mean", IMAGENET[0])),
        std=tuple(info.get("std", IMAGENET[1])),
    )
    if not hasattr(network, "forward_intermediates"):
        raise UnsupportedOptionError(
            f"{model} offers no intermediates in this version of timm; choose another model."
        )
    indices = tapping.timm_indices(network)
    if not indices:
        raise UnsupportedOptionError(
            f"{model} has no stage of a stride of 8 pixels or more to tap; choose another model."
        )
    reductions = [info["reduction"] for info in network.feature_info]
    one_stride = len(set(reductions)) == 1
    layers = tuple(f"block{i}" if one_stride else f"stride{reductions[i]}" for i in indices)
    taps = timm_taps(network, indices, layers)
    tapping.refuse_shallow(prefix, network.eval(), taps, card.size)
    return TorchBackbone(replace(card, layers=layers), network, taps)


def torchvision_card(name: str, seed: int | None = None, state: Path | None = None) -> BackboneCard:
    """Card of "torchvision/<model>": any classifier of pictures of torchvision.models."""
    from torchvision import models

    model = name.removeprefix("torchvision/")
    classifiers = models.list_models(module=models)
    if model not in classifiers:
        raise unknown("torchvision model", model, classifiers)
    # Transformers with a fixed size of input name it; pretrained vit_h_14 reads 518 pixels.
    smallest = (1, 1)
    if seed is None and state is None:
        smallest = models.get_model_weights(model).DEFAULT.meta["min_size"]
    return BackboneCard(
        name=name,
        title=model,
        load=partial(_load_torchvision, name, seed, state),
        size=max(224, *smallest),
        layers=("-3", "-2", "-1"),
        strides=(8, 16, 32),
        pretraining="" if seed is not None else "torchvision default weights",
        licence="BSD-3-Clause",
        source="torchvision",
        version=3,  # 2: taps on whole stages; 3: transformers by their blocks
    )


def _load_torchvision(name: str, seed: int | None, state: Path | None) -> Backbone:
    import torch
    from torchvision import models

    model = name.removeprefix("torchvision/")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # GoogLeNet and Inception announce a change of their default initialisation.
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(seed or 0)
        try:
            network = models.get_model(
                model, weights="DEFAULT" if seed is None and state is None else None
            )
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"The weights of {name} could not be fetched: {_short(error)}. Without a network use a named backbone "
                f"(`etab list backbones`), or local:<file>@{name}."
            ) from error
    if state is not None:
        load_file(network, state, name, head=head_keys(network.state_dict()))
    return wrap_module(torchvision_card(name, seed), network)


def wrap_module(card: BackboneCard, network: Any) -> Backbone:
    """Tap a torch module at three of its blocks, the deepest included.

    Args:
        card: Its card; strides, layers and width are filled in.
        network: A transformer of torchvision, or any module with square feature maps (n, c, h, w).

    Raises:
        UnsupportedOptionError: It has no square feature map, or has layers beyond its last one.
    """
    from etab.backbones.image import taps as tapping
    from etab.backbones.image.networks import TorchBackbone

    stages = tapping.deepest(tapping.stages_of(network, card.size))
    if not stages:
        raise UnsupportedOptionError(
            f"{card.name} shows no square feature map (n, c, h, w) to tap; wrap it in a callable."
        )
    layers = tapping.layer_names(stages)
    strides = tuple(stage.stride for stage in stages)
    tapped = replace(card, layers=layers, strides=strides, dim=stages[-1].channels)
    taps = tapping.stage_taps(network, stages, layers)
    tapping.refuse_shallow(card.name, network.eval(), taps, card.size)
    return TorchBackbone(tapped, network, taps)


def local_card(name: str) -> BackboneCard:
    """Card of "local:<file>@<timm/... or torchvision/...>"."""
    path, at, builder = name.removeprefix("local:").partition("@")
    if not at or not builder.startswith(("timm/", "torchvision/")):
        raise WeightsError(
            f"{name!r} does not say which network the file fits: write local:{path or 'weights.safetensors'}@timm/resnet18 "
            "(or @torchvision/resnet50)."
        )
    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"There is no weights file {file}.")
    make = timm_card if builder.startswith("timm/") else torchvision_card
    return replace(
        make(builder, None, file),
        name=name,
        pretraining="a local file",
        licence="yours",
        source=str(file.name),
        sha256=weights.sha256_of(file),
    )


class CallableBackbone:
    """A function of the user's: float frames in, features out."""

    of_user = True  # etab.backbones.identity: a name and weights do not say what it computes

    def __init__(
        self, name: str, function: Callable[[Any], Any], version: str = "", device: str = "cpu"
    ) -> None:
        """Keep the function and name it by content, or by ``version``; it is called under inference
        mode.
        """
        self.name, self.function, self.device = name, function, device
        self._digest, reason = identity.named_by(function, version)
        self.nameless = f"{name} is not cached and not resumed: {reason}" if reason else ""

    def digest(self) -> str:
        """sha256 of weights and code as they were when this was made, or of the version that the
        user gave.
        """
        return self._digest

    def to(self, device: str, precision: str) -> CallableBackbone:
        """Remember where the frames go; the function itself is left as it is."""
        self.device = device
        return self

    def __call__(self, x: Any) -> Features:
        """Embed uint8 frames (n, s, s): the input of the function is (n, 3, s, s) in [0, 1]; it
        normalises by itself.
        """
        import torch

        f = (x.to(torch.float32) / 255)[:, None].expand(-1, 3, -1, -1).contiguous()
        with torch.inference_mode():
            return as_features(self.function(f), len(x), self.name)


def as_features(output: Any, n: int, name: str) -> Features:
    """Features from the output of a user's function: (n, d), (n, c, h, w), a list of these, or
    Features.
    """
    import torch

    if isinstance(output, Features):
        return output
    parts = list(output) if isinstance(output, (list, tuple)) else [output]
    pooled: dict[str, Any] = {}
    maps = []
    for i, part in enumerate(parts):
        if not isinstance(part, torch.Tensor) or part.ndim not in (2, 4) or len(part) != n:
            came = tuple(part.shape) if isinstance(part, torch.Tensor) else type(part).__name__
            raise UnsupportedOptionError(
                f"{name} gave {came} for {n} frames; wanted (n, d), (n, c, h, w), or a list of those, fine to coarse."
            )
        if part.ndim == 2:
            pooled[f"out{i}/vector"] = part.float()
        else:
            pooled[f"out{i}/mean"] = part.float().mean((2, 3))
            pooled[f"out{i}/grid4"] = torch.nn.functional.adaptive_avg_pool2d(
                part.float(), 4
            ).flatten(1)
            maps.append(part.float().clamp(-6e4, 6e4).half())
    return Features(pooled, tuple(maps))


def from_callable(
    name: str, function: Callable[[Any], Any], *, size: int = 224, version: str = ""
) -> BackboneCard:
    """Make the card of a Python callable or torch module.

    A torch module is put into eval mode; it normalises its input by itself. Give feature maps (n,
    c, h, w) to be scored on segmentation too.

    Args:
        name: What results call it.
        function: Maps float frames (n, 3, size, size) in [0, 1] to features: (n, d), (n, c, h, w), or a list of
            these, fine to coarse.
        size: Side of the frames in pixels.
        version: What you call this state of the function, for one whose code cannot be read. Features and results of
            one name and version are taken to be of one function; change it whenever the function changes. "" names
            the function by its code, the values it refers to, and its weights.

    Raises:
        UnsupportedOptionError: ``function`` cannot be called.
    """
    if hasattr(function, "eval"):
        function.eval()
    if not callable(function):
        raise UnsupportedOptionError(
            f"{name} is {type(function).__name__}, which cannot be called with frames."
        )
    return BackboneCard(
        name,
        name,
        partial(CallableBackbone, name, function, version),
        size=size,
        layers=("out",),
        strides=(8,),
        pretraining="the user's",
        licence="the user's",
        source="callable",
    )
