"""Which outputs inside an image network become features, and the check that they are those of its
whole depth.

The features of a network are the outputs of three of its blocks, the deepest included. Networks of
timm offer them by ``forward_intermediates``; the transformers of torchvision are tapped at their
blocks; any other torch module at the last stage of each of its resolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from etab.backbones.image.networks import Taps, probe_modules
from etab.errors import UnsupportedOptionError

# Top-level modules that turn the features into one vector or into classes. No feature is expected to depend on them.
_CLASSIFIERS = ("aux1", "aux2", "auxlogits", "classifier", "fc", "head", "heads", "head_dist")
_POOLING = ("attn_pool", "conv_head", "final_conv", "head_conv", "pool", "pre_logits")
_HEADS = frozenset(_CLASSIFIERS + _POOLING)
# How many other layers with weights may follow the deepest tap; a block of a transformer has four at least.
_LAYERS_AFTER_LAST_TAP = 2
_NEXT_STEP = (
    "Write a function that returns the feature maps of its blocks, and name it by "
    "backbones.from_callable(name, function)."
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One place to tap: the name of its module, the stride in pixels, the channels, and the layout
    of its output.

    ``layout`` is "maps" for (n, c, h, w), "channels_last" for (n, h, w, c), or "tokens" for (n, 1 +
    h * w, c) with the class token first.
    """

    module: str
    stride: int
    channels: int
    layout: str = "maps"


def stages_of(network: nn.Module, size: int) -> list[Stage]:
    """The stages of a torch module, fine to coarse or shallow to deep.

    Args:
        network: A network that maps (n, 3, size, size) to anything.
        size: Side of its input in pixels.

    Returns: All blocks of a torchvision vision transformer, the four stages of a Swin transformer,
        else one stage for each resolution that is reached; empty where no square map is found.
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
    """The four stages of a Swin transformer; between two of them a layer merges patches."""
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
    """The ``n`` stages to tap, the deepest included.

    Of blocks that all have one stride, those at a half, at three quarters (more of them: evenly
    from a half on) and at the end of the depth; else the last ``n`` resolutions from stride 4 on.
    """
    if stages and all(stage.layout == "tokens" for stage in stages):
        depth = len(stages)
        at = [round(depth * (n - 1 + i) / (2 * (n - 1))) - 1 for i in range(n)]
        return [stages[i] for i in sorted({max(i, 0) for i in at})]
    return [stage for stage in stages if stage.stride >= 4][-n:]


def layer_names(stages: Sequence[Stage]) -> tuple[str, ...]:
    """What features of these stages are called: "stride16", or "block11" where all have one stride."""
    if all(stage.layout == "tokens" for stage in stages):
        return tuple(f"block{stage.module.rpartition('_')[2]}" for stage in stages)
    return tuple(f"stride{stage.stride}" for stage in stages)


def as_maps(output: Tensor, layout: str) -> tuple[Tensor, Tensor | None]:
    """An output in one of the layouts of ``Stage`` as maps (n, c, h, w) and a class token (n, c) or
    None.
    """
    if layout == "channels_last":
        return output.permute(0, 3, 1, 2), None
    if layout == "tokens":
        side = round((output.shape[1] - 1) ** 0.5)
        patches = output[:, 1:].transpose(1, 2)
        return patches.reshape(*patches.shape[:2], side, side), output[:, 0]
    return output, None


def stage_taps(network: nn.Module, stages: Sequence[Stage], layers: Sequence[str]) -> Taps:
    """Taps on stages of a torch module, by hooks that live as long as one call."""
    modules = dict(network.named_modules())

    def taps(x: Tensor) -> list[tuple[str, Tensor, Tensor | None]]:
        outputs: dict[str, Tensor] = {}
        hooks = [
            modules[stage.module].register_forward_hook(_keep(outputs, stage.module))
            for stage in stages
        ]
        try:
            network(x)
        finally:
            for hook in hooks:
                hook.remove()
        rows = []
        for layer, stage in zip(layers, stages, strict=True):
            grid, token = as_maps(outputs[stage.module], stage.layout)
            rows.append((layer, grid, token))
        return rows

    return taps


def _keep(outputs: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        outputs[name] = output

    return hook


def timm_indices(network: Any, n: int = 3, finest: int = 8) -> list[int]:
    """Which intermediates of a timm network are tapped, the deepest included.

    Args:
        network: A timm network with ``forward_intermediates``.
        n: How many at most.
        finest: The smallest stride, in pixels, of the stages of a network that has several.

    Returns:
        Blocks at a half, three quarters and the end of a plain transformer; else the last stages.
    """
    reductions = [int(info["reduction"]) for info in network.feature_info]
    blocks = len(getattr(network, "blocks", ())) if hasattr(network, "cls_token") else 0
    if blocks:
        return [blocks // 2 - 1, 3 * blocks // 4 - 1, blocks - 1]
    if len(reductions) > n and len(set(reductions)) == 1:
        depth = len(reductions)
        return [depth // 2 - 1, 3 * depth // 4 - 1, depth - 1]
    return [i for i, reduction in enumerate(reductions) if reduction >= finest][-n:]


def reached(output: Tensor, network: nn.Module) -> set[str]:
    """Names of the parameters that an output was computed from, read from its autograd graph."""
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


def left_out(network: nn.Module, taps: Taps, size: int) -> list[str]:
    """Names of the layers with weights, heads apart, that no tap depends on; one forward pass over
    zeros.

    Args:
        network: The network in eval mode; its parameters require no gradients afterwards.
        taps: The taps on it.
        size: Side of its input in pixels.
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
    return [
        name
        for name, parameter in network.named_parameters()
        if parameter.ndim > 1 and name not in used and not _of_head(name)
    ]


def _of_head(name: str) -> bool:
    return name.partition(".")[0].lower() in _HEADS


def refuse_shallow(name: str, network: nn.Module, taps: Taps, size: int) -> None:
    """Raise UnsupportedOptionError where the taps end before the deepest block of a network.

    Args:
        name: What the error calls the network.
        network: The network in eval mode.
        taps: The taps that are to be its features.
        size: Side of its input in pixels.
    """
    try:
        names = left_out(network, taps, size)
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
