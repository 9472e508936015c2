"""Which outputs inside an image network become features.

The features of a network are the outputs of three of its blocks, the deepest one included.
Networks of timm return them through ``forward_intermediates``. Transformers of torchvision are
tapped at their blocks, and any other torch module at the last stage of each resolution. A check
refuses taps that end before the deepest block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from etab.backbones.image.networks import Taps, probe_modules
from etab.backbones.module_outputs import module_outputs
from etab.errors import UnsupportedOptionError

# Top-level modules that turn the features into one vector or into classes. Features need not
# depend on them.
_CLASSIFIERS = ("aux1", "aux2", "auxlogits", "classifier", "fc", "head", "heads", "head_dist")
_POOLING = ("attn_pool", "conv_head", "final_conv", "head_conv", "pool", "pre_logits")
_HEADS = frozenset(_CLASSIFIERS + _POOLING)
# How many other layers with weights may follow the deepest tap. A transformer block has at
# least four.
_LAYERS_AFTER_LAST_TAP = 2
_NEXT_STEP = (
    "Write a function that returns the feature maps of its blocks, and name it by "
    "backbones.from_callable(name, function)."
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One module whose output can be tapped.

    Attributes:
        module: Name of the module, as in ``named_modules``.
        stride: Stride of its output, in input pixels.
        channels: Width of its output.
        layout: Layout of its output: "maps" for (n, c, h, w), "channels_last" for (n, h, w, c),
            or "tokens" for (n, 1 + h * w, c) with the class token first.
    """

    module: str
    stride: int
    channels: int
    layout: str = "maps"


def stages_of(network: nn.Module, size: int) -> list[Stage]:
    """List the stages of a torch module, fine to coarse or shallow to deep.

    Args:
        network: A network that maps (n, 3, size, size) to anything.
        size: Side of the input in pixels.

    Returns:
        All blocks of a torchvision vision transformer, the four stages of a Swin transformer, and
        one stage for each resolution of any other network. Empty where there is no square map.
    """
    from torchvision.models.swin_transformer import SwinTransformer
    from torchvision.models.vision_transformer import VisionTransformer

    if isinstance(network, VisionTransformer):
        names = [f"encoder.layers.{name}" for name, _ in network.encoder.layers.named_children()]
        return [Stage(name, network.patch_size, network.hidden_dim, "tokens") for name in names]
    if isinstance(network, SwinTransformer):
        return _swin_stages(network)
    return [Stage(name, stride, width) for name, stride, width in probe_modules(network, size)]


def _swin_stages(network: Any) -> list[Stage]:
    """The four stages of a Swin transformer, which alternate with layers that merge patches."""
    patch = network.features[0][0]
    stride = int(patch.stride[0])
    width = int(patch.out_channels)
    stages = []
    for i in range(1, len(network.features), 2):
        stages.append(Stage(f"features.{i}", stride, width, "channels_last"))
        stride *= 2
        width *= 2
    return stages


def deepest(stages: Sequence[Stage], n: int = 3) -> list[Stage]:
    """Choose the stages to tap, the deepest one included.

    Args:
        stages: All stages, as from ``stages_of``.
        n: Number of stages to choose.

    Returns:
        For transformer blocks, which all have one stride: blocks evenly spaced from half the depth
        to the end (for ``n`` = 3 at a half, three quarters and the end). Otherwise the last ``n``
        resolutions with a stride of 4 or more.
    """
    if stages and all(stage.layout == "tokens" for stage in stages):
        depth = len(stages)
        indices = [round(depth * (n - 1 + i) / (2 * (n - 1))) - 1 for i in range(n)]
        return [stages[i] for i in sorted({max(i, 0) for i in indices})]
    return [stage for stage in stages if stage.stride >= 4][-n:]


def layer_names(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Name the features of stages: "stride16", or "block11" for the blocks of a transformer."""
    if all(stage.layout == "tokens" for stage in stages):
        return tuple(f"block{stage.module.rpartition('_')[2]}" for stage in stages)
    return tuple(f"stride{stage.stride}" for stage in stages)


def as_maps(output: Tensor, layout: str) -> tuple[Tensor, Tensor | None]:
    """Convert the output of a stage to feature maps.

    Args:
        output: The output.
        layout: Its layout, as in ``Stage``.

    Returns:
        Maps (n, c, h, w), and the class token (n, c) or None.
    """
    if layout == "channels_last":
        return output.permute(0, 3, 1, 2), None
    if layout == "tokens":
        side = round((output.shape[1] - 1) ** 0.5)
        patches = output[:, 1:].transpose(1, 2)
        return patches.reshape(*patches.shape[:2], side, side), output[:, 0]
    return output, None


def stage_taps(
    network: nn.Module,
    stages: Sequence[Stage],
    layers: Sequence[str],
) -> Taps:
    """Tap stages of a torch module by hooks, which are removed after each call.

    Args:
        network: The network.
        stages: The stages to tap.
        layers: Name of each stage in the features.

    Returns:
        A function of normalised frames.
    """
    modules = dict(network.named_modules())
    names = {stage.module: stage.module for stage in stages}

    def taps(x: Tensor) -> list[tuple[str, Tensor, Tensor | None]]:
        outputs, _ = module_outputs(network, modules, names, x)
        rows = []
        for layer, stage in zip(layers, stages, strict=True):
            grid, token = as_maps(outputs[stage.module], stage.layout)
            rows.append((layer, grid, token))
        return rows

    return taps


def timm_indices(network: Any, n: int = 3, finest: int = 8) -> list[int]:
    """Choose the intermediates of a timm network to tap, the deepest one included.

    Args:
        network: A timm network with ``forward_intermediates``.
        n: Number of intermediates at most.
        finest: Smallest stride in pixels, for networks with several strides.

    Returns:
        Blocks at a half, three quarters and the end of a plain transformer; otherwise the last
        stages.
    """
    reductions = [int(stage["reduction"]) for stage in network.feature_info]
    blocks = len(getattr(network, "blocks", ())) if hasattr(network, "cls_token") else 0
    if blocks:
        return [blocks // 2 - 1, 3 * blocks // 4 - 1, blocks - 1]
    if len(reductions) > n and len(set(reductions)) == 1:
        depth = len(reductions)
        return [depth // 2 - 1, 3 * depth // 4 - 1, depth - 1]
    return [i for i, reduction in enumerate(reductions) if reduction >= finest][-n:]


def reached(output: Tensor, network: nn.Module) -> set[str]:
    """Find the parameters that an output was computed from.

    Args:
        output: A tensor with an autograd graph.
        network: The network whose parameters are looked for.

    Returns:
        Names of the parameters, as in ``named_parameters``.
    """
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    reached_names: set[str] = set()
    visited = set()
    waiting = [output.grad_fn]
    while waiting:
        step = waiting.pop()
        if step is None or step in visited:
            continue
        visited.add(step)
        parameter = getattr(step, "variable", None)
        if id(parameter) in names:
            reached_names.add(names[id(parameter)])
        waiting.extend(previous for previous, _ in step.next_functions)
    return reached_names


def unused_layers(network: nn.Module, taps: Taps, size: int) -> list[str]:
    """List the layers that no tap depends on, heads apart; makes one forward pass over zeros.

    Args:
        network: The network in eval mode. Its parameters require no gradients afterwards.
        taps: The taps on the network.
        size: Side of the input in pixels.

    Returns:
        Names of the weights with two or more dimensions that no tapped output was computed from.
    """
    device = next(network.parameters()).device
    frames = torch.zeros(1, 3, size, size, device=device)
    network.requires_grad_(True)
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            outputs = taps(frames)
        used: set[str] = set()
        for _, grid, token in outputs:
            used |= reached(grid, network)
            if token is not None:
                used |= reached(token, network)
    finally:
        network.requires_grad_(False)
    unused = []
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1 and name not in used and not _of_head(name):
            unused.append(name)
    return unused


def _of_head(name: str) -> bool:
    return name.partition(".")[0].lower() in _HEADS


def refuse_shallow(
    name: str,
    network: nn.Module,
    taps: Taps,
    size: int,
) -> None:
    """Check that the taps reach the deepest block of a network.

    Args:
        name: Name of the network in the error.
        network: The network in eval mode.
        taps: The taps that are to be its features.
        size: Side of the input in pixels.

    Raises:
        UnsupportedOptionError: More than two layers with weights follow the last tap, or the
            network cannot process an input of this size.
    """
    try:
        names = unused_layers(network, taps, size)
    except Exception as error:  # the code of any network of timm or of the user runs here
        reason = f"its layers cannot be read at {size} pixels ({type(error).__name__}: {error})"
        raise UnsupportedOptionError(
            f"{name} cannot be a backbone: {reason}. {_NEXT_STEP}"
        ) from error
    if len(names) > _LAYERS_AFTER_LAST_TAP:
        reason = (
            f"its features would not depend on {len(names)} of its layers "
            f"({names[0]} to {names[-1]})"
        )
        raise UnsupportedOptionError(f"{name} cannot be a backbone: {reason}. {_NEXT_STEP}")
