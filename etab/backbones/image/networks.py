"""Networks from torch as backbones: grey uint8 frames in, pooled layers and feature maps out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from etab.backbones.base import BackboneCard
from etab.backbones.weights.index import digest
from etab.types import Features

Taps = Callable[[Tensor], "list[tuple[str, Tensor, Tensor | None]]"]


class TorchBackbone:
    """A frozen network in eval mode. ``taps(x)`` gives (layer, map (n, c, h, w), class token (n, c)
    or None).
    """

    def __init__(self, card: BackboneCard, network: nn.Module, taps: Taps) -> None:
        """Freeze the network; remember the digest of the weights as they are in float32."""
        self.card = card
        self.network = network.eval().requires_grad_(False)
        self.taps = taps
        self._digest = digest(network.state_dict())
        self._shift = torch.tensor(card.mean).view(1, -1, 1, 1)
        self._scale = torch.tensor(card.std).view(1, -1, 1, 1)

    def digest(self) -> str:
        """sha256 of the weights loaded."""
        return self._digest

    def to(self, device: str, precision: str) -> TorchBackbone:
        """Move to a device and a precision ("fp32" or "bf16"), channels last."""
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        self.network.to(device=device, dtype=kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._shift, self._scale = self._shift.to(device), self._scale.to(device)
        self._kind = kind
        return self

    def normalised(self, x: Tensor) -> Tensor:
        """uint8 (n, s, s) or (n, s, s, 3) to the network's own float input (n, 3, s, s)."""
        f = x.to(torch.float32) / 255
        f = f[:, None].expand(-1, 3, -1, -1) if x.ndim == 3 else f.permute(0, 3, 1, 2)
        f = (f - self._shift) / self._scale
        return f.to(getattr(self, "_kind", torch.float32)).contiguous(
            memory_format=torch.channels_last
        )

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Features:
        """Embed uint8 frames (n, s, s)."""
        pooled: dict[str, Tensor] = {}
        maps: list[Tensor] = []
        for layer, grid, token in self.taps(self.normalised(x)):
            wide = grid.float()
            if token is not None:
                pooled[f"{layer}/cls"] = token.float()
            pooled[f"{layer}/mean"] = wide.mean(dim=(2, 3))
            pooled[f"{layer}/grid4"] = nn.functional.adaptive_avg_pool2d(wide, 4).flatten(1)
            maps.append(wide.clamp(-6e4, 6e4).to(torch.float16))
        return Features(pooled, tuple(maps))

    @torch.inference_mode()
    def columns(self, x: Tensor) -> dict[str, Tensor]:
        """The maps of pictures (n, s, s) averaged over their rows: {layer: (n, columns, channels)},
        for ``etab.features.recordings``.
        """
        rows = self.taps(self.normalised(x))
        return {layer: grid.float().mean(dim=2).transpose(1, 2) for layer, grid, _ in rows}


def timm_taps(network: Any, indices: Sequence[int], layers: Sequence[str]) -> Taps:
    """Taps on the intermediates that every current timm network offers."""
    accepted = inspect.signature(network.forward_intermediates).parameters
    has_token = (
        bool(getattr(network, "num_prefix_tokens", 0))
        and getattr(network, "cls_token", None) is not None
        and "return_prefix_tokens" in accepted
    )

    def taps(x: Tensor) -> list[tuple[str, Tensor, Tensor | None]]:
        options = {"return_prefix_tokens": True} if has_token else {}
        outputs = network.forward_intermediates(
            x, indices=list(indices), intermediates_only=True, **options
        )
        if has_token:
            return [
                (n, grid, prefix[:, 0]) for n, (grid, prefix) in zip(layers, outputs, strict=True)
            ]
        return [(n, grid, None) for n, grid in zip(layers, outputs, strict=True)]

    return taps


def sequential_taps(network: nn.Sequential, at: Sequence[int], layers: Sequence[str]) -> Taps:
    """Taps after given steps of a plain sequence of layers."""

    def taps(x: Tensor) -> list[tuple[str, Tensor, Tensor | None]]:
        out: list[tuple[str, Tensor, Tensor | None]] = []
        for i, step in enumerate(network):
            x = step(x)
            if i in at:
                out.append((layers[len(out)], x.clone(), None))
        return out

    return taps


def probe_modules(network: nn.Module, size: int) -> list[tuple[str, int, int]]:
    """The last whole stage at each resolution of a convolutional network: (name, stride, channels),
    fine to coarse.

    Of the modules that are called once and give maps of a resolution, the last of those that lie
    least deep: a module that is called again elsewhere (a shared activation) would stand for
    another layer than its name. One forward pass over zeros, in eval mode, with hooks; the network
    is left as it was.
    """
    seen: dict[str, tuple[str, int, int]] = {}
    calls: dict[str, int] = {}

    def remember(name: str) -> Callable[..., None]:
        def hook(_m: nn.Module, _i: Any, y: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if (
                isinstance(y, Tensor)
                and y.ndim == 4
                and y.shape[2] == y.shape[3]
                and 1 < y.shape[2] < size
            ):
                seen[name] = (name, size // y.shape[2], y.shape[1])

        return hook

    hooks = [m.register_forward_hook(remember(n)) for n, m in network.named_modules() if n]
    mode = network.training
    parameter = next(network.parameters(), None)
    device = "cpu" if parameter is None else parameter.device
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, 3, size, size, device=device))
    finally:
        network.train(mode)
        for hook in hooks:
            hook.remove()
    # In the order of their calls.
    called_once = [stage for name, stage in seen.items() if calls[name] == 1]
    stages: dict[int, tuple[str, int, int]] = {}
    for stage in called_once:
        earlier = stages.get(stage[1])
        if earlier is None or stage[0].count(".") <= earlier[0].count("."):
            stages[stage[1]] = stage
    return [stages[stride] for stride in sorted(stages)]
