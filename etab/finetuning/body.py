"""The network of a backbone as a torch module that can be trained."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from etab.errors import UnsupportedOptionError

if TYPE_CHECKING:
    from etab.backbones.image.networks import TorchBackbone

_N_LEVELS = 4
_FINEST_STRIDE = 4


class Body(nn.Module):
    """A trainable copy of a backbone's network, with outputs at several of its layers.

    The module normalises its input with the mean and standard deviation on the backbone's card.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: TorchBackbone) -> None:
        """Copy the network of a backbone; the backbone itself does not change.

        Args:
            backbone: A loaded backbone for images that is a torch network.

        Raises:
            UnsupportedOptionError: If the backbone is not a torch network, is not for images, or
                has no feature maps.
        """
        super().__init__()
        if not hasattr(backbone, "network") or not hasattr(backbone, "taps"):
            raise UnsupportedOptionError(
                f"{type(backbone).__name__} is not a torch network, so no head can be trained "
                "together with it. Choose a backbone with weights, or give a torch module."
            )
        if backbone.card.modality != "image":
            raise UnsupportedOptionError(
                f"{backbone.card.name} reads {backbone.card.modality}; only image backbones can "
                "be fine-tuned."
            )
        copied = copy.deepcopy(backbone.network)
        self.network = copied.float().requires_grad_(True)
        self.size = backbone.card.size
        self.taps = _tap_levels(copied, backbone)
        mean = torch.tensor(backbone.card.mean).view(1, -1, 1, 1)
        deviation = torch.tensor(backbone.card.std).view(1, -1, 1, 1)
        self.register_buffer("shift", mean, persistent=False)
        self.register_buffer("scale", deviation, persistent=False)

    @property
    def fixed_size(self) -> bool:
        """Whether the network accepts only frames of its own size."""
        patch_embedding = getattr(self.network, "patch_embed", None)
        return getattr(patch_embedding, "img_size", None) is not None

    def input_size(self, side: int) -> int:
        """Return the size at which frames enter the network.

        Args:
            side: Height and width of the frames in pixels.

        Returns:
            Height and width of the network's input in pixels.
        """
        return self.size if self.fixed_size else side

    def forward(self, frames: Tensor) -> tuple[list[Tensor], Tensor]:
        """Compute feature maps and a feature vector for each frame.

        Args:
            frames: Frames (n, 3, h, w) in [0, 1].

        Returns:
            The maps (n, channels, height, width) of the tapped layers, from fine to coarse; and
            the spatial mean of the last map (n, d), preceded by the class token if there is one.
        """
        size = (self.size, self.size)
        if self.fixed_size and tuple(frames.shape[-2:]) != size:
            frames = functional.interpolate(
                frames,
                size=size,
                mode="bilinear",
                antialias=True,
            )
        normalised = (frames - self.shift) / self.scale
        outputs = self.taps(normalised)
        maps = [grid for _, grid, _ in outputs]
        class_token = outputs[-1][2]
        vector = maps[-1].mean(dim=(2, 3))
        if class_token is not None:
            vector = torch.cat([class_token, vector], dim=1)
        return maps, vector


def _tap_levels(network: Any, backbone: TorchBackbone) -> Callable[[Tensor], Any]:
    """Tap the last four resolutions from stride 4 on, or all of them where there are fewer."""
    from etab.backbones.image import networks as vision
    from etab.backbones.image import taps as tapping

    if hasattr(network, "forward_intermediates"):
        indices = tapping.timm_indices(network, _N_LEVELS, finest=_FINEST_STRIDE)
        return vision.timm_taps(network, indices, [str(index) for index in indices])
    if backbone.card.source == "segmentation_models_pytorch":
        return lambda x: [("", grid, None) for grid in network(x)[-_N_LEVELS:]]
    every_stage = tapping.stages_of(network, backbone.card.size)
    stages = tapping.deepest(every_stage, _N_LEVELS)
    if not stages:
        raise UnsupportedOptionError(
            f"{backbone.card.name} has no square feature map (n, c, h, w) that a head could use."
        )
    return tapping.stage_taps(network, stages, tapping.layer_names(stages))


def _n_parameters(module: nn.Module) -> int:
    """Count the numbers in the parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def blocks_of(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Find the blocks of a network in their order.

    The blocks are the members of the sequence (``nn.Sequential`` or ``nn.ModuleList``) that holds
    most of the parameters. The search goes deeper while one member holds 80 % of them or more.

    Args:
        network: The network.

    Returns:
        The name of each block in the network, and the block.
    """
    total = _n_parameters(network)
    blocks: list[tuple[str, nn.Module]] = []
    for name, module in network.named_modules():
        children = []
        for key, child in module.named_children():
            if _n_parameters(child):
                children.append((key, child))
        is_sequence = isinstance(module, nn.Sequential | nn.ModuleList) or module is network
        if not is_sequence or len(children) < 2:
            continue
        if blocks and 2 * _n_parameters(module) <= total:
            continue
        prefix = f"{name}." if name else ""
        blocks = [(prefix + key, child) for key, child in children]
        largest = max(_n_parameters(child) for _, child in children)
        if largest < 0.8 * total:
            break
    return blocks


def train_last_blocks(body: Body, count: int | None) -> list[nn.Module]:
    """Choose which parameters of a body are trained.

    Args:
        body: The body; its ``requires_grad`` flags are set.
        count: How many of the last blocks are trained, with all that follows them. None: all of
            the body; 0: nothing.

    Returns:
        The modules without a trainable parameter, which must remain in evaluation mode.

    Raises:
        UnsupportedOptionError: If the body has no more than ``count`` blocks.
    """
    if count is None:
        body.requires_grad_(True)
        return []
    if count == 0:
        body.requires_grad_(False)
        return [body]
    blocks = blocks_of(body.network)
    if count >= len(blocks):
        raise UnsupportedOptionError(
            f"This backbone has {len(blocks)} blocks, so its last {count} cannot be trained "
            f"apart. Choose 1 to {len(blocks) - 1}, or finetune to train all of it."
        )
    first_trained = f"{blocks[-count][0]}."
    trainable = False
    for name, parameter in body.network.named_parameters():
        trainable = trainable or name.startswith(first_trained)
        parameter.requires_grad_(trainable)
    frozen = []
    for module in body.network.modules():
        if not any(parameter.requires_grad for parameter in module.parameters()):
            frozen.append(module)
    return frozen
