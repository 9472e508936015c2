"""Image backbones without a name of their own.

Any timm or torchvision model, a model of the Hugging Face hub through timm, or a local weights
file.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from etab.backbones.base import IMAGENET, NOT_STATED, UNKNOWN_DATA, Backbone, BackboneCard
from etab.backbones.hub.access import ASK, asks_for_access, hub_or_cache
from etab.backbones.scales import refuse_ending
from etab.backbones.weights import index as weights
from etab.backbones.weights.fit import Fitted, find_weights, head_keys, load_file
from etab.backbones.weights.recognise import require_file
from etab.errors import UnsupportedOptionError, WeightsError, reason_of
from etab.files import is_file, read_json_file
from etab.registry import unknown

if TYPE_CHECKING:
    from etab.backbones.image.networks import TorchBackbone


def _timm_config(model: str) -> Mapping[str, Any]:
    """The configuration that timm stores for a model; the model is not built.

    Raises UnknownNameError, which suggests a similar name.
    """
    import timm

    refuse_ending(model)
    if not timm.is_model(model.split(".")[0]):
        stem = re.split(r"[\d_.]", model)[0]
        raise unknown(
            "timm model", model, timm.list_models(), listing=f"etab list timm {stem}".rstrip()
        )
    config = timm.get_pretrained_cfg(model)
    return vars(config) if config is not None else {}


def _hub_config(name: str) -> Mapping[str, Any]:
    """Fetch the configuration of a timm model of the hub, with its own input size; no weights."""
    from timm.models import load_model_config_from_hf

    _refuse_saved_folder(name, name.removeprefix("hf-hub:"))
    try:
        with hub_or_cache():
            config = load_model_config_from_hf(name.removeprefix("hf-hub:"))[0]
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise WeightsError(
            f"The configuration of {name} could not be fetched from the hub: {reason_of(error)}. "
            f"{_next_step(error)}"
        ) from error
    return dict(config)


def timm_card(
    name: str,
    seed: int | None = None,
    state: Path | None = None,
) -> BackboneCard:
    """Make the card of a timm model. Its layers are known only after loading.

    Args:
        name: "timm/<model>" or "hf-hub:<owner>/<model>".
        seed: Seed of a random twin; None for pretrained weights.
        state: A local weights file to load instead of the published weights.

    Returns:
        The card, with the input size and normalisation of the model.

    Raises:
        UnknownNameError: timm has no such model.
        WeightsError: The configuration of a model of the hub cannot be fetched.
    """
    config: Mapping[str, Any] = {}
    if name.startswith("hf-hub:"):
        model = name
        config = _hub_config(name)
    else:
        model = name.removeprefix("timm/")
        config = _timm_config(model)
    shape = config.get("input_size") or (3, 224, 224)
    return BackboneCard(
        name=name,
        title=model,
        load=partial(_load_timm, model, seed, state),
        load_at=partial(_load_at, partial(_load_timm, model, seed, state)),
        size=int(shape[-1]),
        mean=tuple(config.get("mean") or IMAGENET[0]),
        std=tuple(config.get("std") or IMAGENET[1]),
        layers=("-3", "-2", "-1"),
        strides=(8, 16, 32),
        pretraining="" if seed is not None else str(config.get("tag", "")),
        pretraining_sets=() if seed is not None else UNKNOWN_DATA,
        licence=str(config.get("license") or "see the model's page"),
        source="timm",
    )


def _create_timm(model: str, pretrained: bool) -> Any:
    import timm

    try:
        with hub_or_cache() if pretrained else nullcontext():
            return timm.create_model(model, pretrained=pretrained, num_classes=0)
    except SafetensorError as error:
        raise WeightsError(
            f"The weights of {model} cannot be read: {reason_of(error)}. The file is cut short, or "
            "is something else, such as a Git LFS pointer: fetch it again."
        ) from error
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        if "weights_only" in str(error):
            raise WeightsError(
                f"The weights of {model} are a pickle that would run code, and are not loaded: "
                "write them as safetensors where you trust them, and name "
                "local:<file>@timm/<model>."
            ) from error
        raise WeightsError(
            f"The weights of {model} could not be fetched from the hub: {reason_of(error)}. "
            f"{_next_step(error)}"
        ) from error


def _next_step(error: Exception) -> str:
    """Advice for a model that cannot be fetched."""
    if asks_for_access(error):
        return ASK
    return (
        "With network access it is fetched once and kept. Without it, use a named backbone "
        "(`etab list backbones`) or local:<file>@timm/<model>."
    )


def _load_timm(
    model: str,
    seed: int | None,
    state: Path | None,
) -> TorchBackbone:
    """Build a timm network: pretrained, from a local file, or (seed given) randomly initialised."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        network = _create_timm(model, pretrained=seed is None and state is None)
    if state is not None:
        load_file(network, state, f"timm/{model}", head=head_keys(network.state_dict()))
    return _wrap_timm(model, network, seed)


def _load_at(load: Callable[[], TorchBackbone], size: int) -> Backbone:
    """Load a network and set its input to another size."""
    return load().at_size(size)


def image_weights(
    name: str,
    content: Any,
    what: str,
    take: str = "",
) -> Fitted:
    """Find the weights of a timm or torchvision network in the content of a checkpoint.

    Args:
        name: The network: "timm/<model>" or "torchvision/<model>".
        content: Content of the file, as in ``weights.fit.find_weights``.
        what: Name of the file and the network in errors.
        take: Label of the part to use, as in ``weights.fit.find_weights``.

    Returns:
        The weights under the keys of the network.

    Raises:
        UnknownNameError: There is no such network.
        WeightsError: The file does not fit the network.
    """
    import torch
    from torchvision import models

    model = name.partition("/")[2]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # GoogLeNet and Inception announce a change of their default initialisation.
        warnings.simplefilter("ignore", FutureWarning)
        if name.startswith("timm/"):
            _timm_config(model)
            network = _create_timm(model, pretrained=False)
        else:
            torchvision_card(name, seed=0)
            network = models.get_model(model, weights=None)
    initial = network.state_dict()
    heads = head_keys(initial)
    return find_weights(content, initial, what, head=heads, take=take)


def _wrap_timm(model: str, network: Any, seed: int | None) -> TorchBackbone:
    """Tap a timm network at its intermediates, the deepest one included."""
    from etab.backbones.image import taps as tapping
    from etab.backbones.image.networks import TorchBackbone, timm_taps

    name = model if model.startswith("hf-hub:") else f"timm/{model}"
    config = network.pretrained_cfg
    card = replace(
        timm_card(name, seed),
        mean=tuple(config.get("mean", IMAGENET[0])),
        std=tuple(config.get("std", IMAGENET[1])),
    )
    if not hasattr(network, "forward_intermediates"):
        raise UnsupportedOptionError(
            f"{model} has no intermediate outputs in this version of timm; choose another model."
        )
    indices = tapping.timm_indices(network)
    if not indices:
        raise UnsupportedOptionError(
            f"{model} has no stage of a stride of 8 pixels or more to tap; choose another model."
        )
    reductions = [stage["reduction"] for stage in network.feature_info]
    if len(set(reductions)) == 1:
        layers = tuple(f"block{i}" for i in indices)
    else:
        layers = tuple(f"stride{reductions[i]}" for i in indices)
    taps = timm_taps(network, indices, layers)
    tapping.refuse_shallow(name, network.eval(), taps, card.size)
    return TorchBackbone(replace(card, layers=layers), network, taps)


def torchvision_card(
    name: str,
    seed: int | None = None,
    state: Path | None = None,
) -> BackboneCard:
    """Make the card of a classifier of ``torchvision.models``.

    Args:
        name: "torchvision/<model>".
        seed: Seed of a random twin; None for pretrained weights.
        state: A local weights file to load instead of the published weights.

    Returns:
        The card. Its layers are known only after loading.

    Raises:
        UnknownNameError: torchvision has no such classifier of images.
    """
    from torchvision import models

    model = name.removeprefix("torchvision/")
    classifiers = models.list_models(module=models)
    refuse_ending(model)
    if model not in classifiers:
        raise unknown("torchvision model", model, classifiers)
    # Transformers with a fixed input size list it; pretrained vit_h_14 reads 518 pixels.
    smallest = (1, 1)
    if seed is None and state is None:
        smallest = models.get_model_weights(model).DEFAULT.meta["min_size"]
    return BackboneCard(
        name=name,
        title=model,
        load=partial(_load_torchvision, name, seed, state),
        load_at=partial(_load_at, partial(_load_torchvision, name, seed, state)),
        size=max(224, *smallest),
        layers=("-3", "-2", "-1"),
        strides=(8, 16, 32),
        pretraining="" if seed is not None else "torchvision default weights",
        pretraining_sets=() if seed is not None else ("imagenet-1k",),
        licence="BSD-3-Clause",
        source="torchvision",
        version=3,  # 2: taps on whole stages; 3: transformers by their blocks
    )


def _load_torchvision(
    name: str,
    seed: int | None,
    state: Path | None,
) -> TorchBackbone:
    """Build a torchvision network: pretrained, from a local file, or randomly initialised."""
    import torch
    from torchvision import models

    model = name.removeprefix("torchvision/")
    published = "DEFAULT" if seed is None and state is None else None
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # GoogLeNet and Inception announce a change of their default initialisation.
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(seed or 0)
        try:
            network = models.get_model(model, weights=published)
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"The weights of {name} could not be fetched: {reason_of(error)}. Without "
                "network access, use a named backbone (`etab list backbones`) or "
                f"local:<file>@{name}."
            ) from error
    if state is not None:
        load_file(network, state, name, head=head_keys(network.state_dict()))
    return wrap_module(torchvision_card(name, seed), network)


def wrap_module(card: BackboneCard, network: Any) -> TorchBackbone:
    """Tap a torch module at three of its blocks, the deepest one included.

    Args:
        card: The card; its strides, layers and width are filled in.
        network: A vision transformer of torchvision, or any module that computes square feature
            maps (n, c, h, w).

    Returns:
        The backbone, with the completed card.

    Raises:
        UnsupportedOptionError: The network has no square feature map, or too many layers after
            the last one.
    """
    from etab.backbones.image import taps as tapping
    from etab.backbones.image.networks import TorchBackbone

    stages = tapping.deepest(tapping.stages_of(network, card.size))
    if not stages:
        raise UnsupportedOptionError(
            f"{card.name} has no square feature map (n, c, h, w) to tap. "
            "Write a function that returns feature maps (backbones.from_callable)."
        )
    layers = tapping.layer_names(stages)
    strides = tuple(stage.stride for stage in stages)
    tapped = replace(
        card,
        layers=layers,
        strides=strides,
        dim=stages[-1].channels,
    )
    taps = tapping.stage_taps(network, stages, layers)
    tapping.refuse_shallow(card.name, network.eval(), taps, card.size)
    return TorchBackbone(tapped, network, taps)


def local_card(name: str) -> BackboneCard:
    """Make the card of a local weights file.

    Args:
        name: "local:<file>@timm/<model>" or "local:<file>@torchvision/<model>".

    Returns:
        The card of the network, with the sha256 of the file.

    Raises:
        UnknownNameError: There is no such network.
        WeightsError: No network is named, or the file does not exist.
    """
    path, _, network = name.removeprefix("local:").partition("@")
    _refuse_saved_folder(name, path)
    if not network.startswith(("timm/", "torchvision/")):
        raise WeightsError(
            f"{name!r} does not name the network of the file: write "
            f"local:{path or 'weights.safetensors'}@timm/resnet18 (or @torchvision/resnet50)."
        )
    file = Path(path)
    require_file(file, f"There is no weights file {file}.")
    make = timm_card if network.startswith("timm/") else torchvision_card
    return replace(
        make(network, None, file),
        name=name,
        pretraining=NOT_STATED,
        pretraining_sets=UNKNOWN_DATA,
        licence="yours",
        source=str(file.name),
        sha256=weights.sha256_of(file),
    )


def _refuse_saved_folder(name: str, path: str) -> None:
    """Refuse a folder that transformers or timm wrote, naming the form that reads it."""
    config = Path(path) / "config.json"
    if not is_file(config):
        return
    try:
        content = read_json_file(config)
    except (OSError, ValueError):
        return
    if isinstance(content, dict) and "model_type" in content:
        raise WeightsError(
            f"{name}: {path} is a folder that save_pretrained of transformers wrote. Name it "
            f"transformers/{path}."
        )
    if isinstance(content, dict) and "architecture" in content:
        raise WeightsError(
            f"{name}: {path} is a folder of timm. Name its file and its network: "
            f"local:{path}/model.safetensors@timm/{content['architecture']}."
        )
