"""Backbones of the user for the models of 2022: a card for a torch module, and its weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from etab.backbones.base import BackboneCard
from etab.errors import UnsupportedOptionError, WeightsError
from etab.legacy import names

if TYPE_CHECKING:
    from torch import nn

_CLASSIFIERS = ("fc.", "head.", "head.fc.", "classifier.", "heads.", "last_linear.")


def card_of(backbone: Any, *, pretrained: bool) -> BackboneCard:
    """Find the card of a backbone as ``ETABmodel`` takes it.

    Args:
        backbone: A name, a card or a torch module.
        pretrained: Whether a name of 2022 means the network with published weights.

    Raises:
        UnsupportedOptionError: ``backbone`` is none of these, or has weights of its own and
            ``pretrained`` is True.
    """
    if isinstance(backbone, str):
        return names.architecture(backbone, pretrained=pretrained)
    if pretrained:
        raise UnsupportedOptionError(
            "pretrained=True applies to the name of a backbone; a card or module has its weights."
        )
    if isinstance(backbone, BackboneCard):
        return backbone
    if isinstance(backbone, torch.nn.Module):
        return card_of_module(backbone, f"module/{type(backbone).__name__}")
    raise UnsupportedOptionError(
        f"backbone is {type(backbone).__name__}; wanted a name, a card or a torch module."
    )


def card_of_module(module: nn.Module, name: str) -> BackboneCard:
    """Make a card for a torch module of the user.

    Args:
        module: A timm network, or a convolutional network whose stages follow each other as in
            torchvision. It is copied.
        name: The name of the backbone.

    Returns:
        A card whose loader returns the copy.

    Raises:
        UnsupportedOptionError: If the module has no feature maps.
    """
    from etab.backbones.base import IMAGENET
    from etab.backbones.image import open as opening
    from etab.backbones.image.networks import TorchBackbone, timm_taps

    config = getattr(module, "pretrained_cfg", None) or {}
    input_size = config.get("input_size") or (3, 224, 224)
    card = BackboneCard(
        name,
        name,
        lambda: backbone,
        size=int(input_size[-1]),
        mean=tuple(config.get("mean") or IMAGENET[0]),
        std=tuple(config.get("std") or IMAGENET[1]),
        layers=("-3", "-2", "-1"),
        strides=(8, 16, 32),
        pretraining="the user's",
        licence="the user's",
        source="module",
    )
    backbone: Any
    network: Any = copy.deepcopy(module)
    if hasattr(network, "forward_intermediates"):
        n_layers = len(network.feature_info)
        last_three = list(range(max(0, n_layers - 3), n_layers))
        backbone = TorchBackbone(card, network, timm_taps(network, last_three, card.layers))
    else:
        backbone = opening.wrap_module(card, network)
    return card


def load_weights(network: Any, state: Any, name: str) -> None:
    """Load the weights of a user's network into one of the same architecture.

    Args:
        network: The network that receives the weights.
        state: A state dict. Only the weights of a classifier may be missing or superfluous.
        name: The name of the architecture, for the error message.

    Raises:
        WeightsError: If other weights differ; nothing is loaded then.
    """
    expected = network.state_dict()
    fitting = {}
    for key, tensor in state.items():
        if key in expected and expected[key].shape == tensor.shape:
            fitting[key] = tensor
    missing = [key for key in expected if key not in fitting]
    unknown = [key for key in state if key not in expected]
    lost = [key for key in (*missing, *unknown) if not key.startswith(_CLASSIFIERS)]
    if lost:
        raise WeightsError(
            f"The weights given are not of {name}: {len(lost)} of {len(expected)} keys differ, "
            f"first {', '.join(lost[:4])}. Name the architecture of the module."
        )
    network.load_state_dict(fitting, strict=False)
