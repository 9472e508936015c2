"""Torch networks as backbones: grey uint8 frames in, pooled layers and feature maps out."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from etab.backbones.base import BackboneCard
from etab.backbones.image.backends import CHANNELS_LAST, Graph, compiled, folded
from etab.backbones.maps import KeptMaps, map_means, stored_map
from etab.backbones.module_outputs import module_outputs
from etab.backbones.weights.index import digest
from etab.errors import UnsupportedOptionError
from etab.precisions import parts
from etab.types import Features

# Maps normalised frames (n, 3, h, w) to (layer, map (n, c, h, w), class token (n, c) or None).
Taps = Callable[[Tensor], "list[tuple[str, Tensor, Tensor | None]]"]

# Largest difference that folding batch-norms may make, as a share of the largest output.
_FOLDED = 1e-3


class TorchBackbone:
    """A frozen torch network in eval mode, with the layers that become features.

    Args:
        card: The card; its ``mean`` and ``std`` normalise the input.
        network: The torch module. It is put into eval mode and frozen.
        taps: Maps normalised frames to (layer, feature map, class token or None).
    """

    has_backends = True
    """Whether precisions with a backend are possible (``etab.precisions``)."""

    outputs_are_new = True
    """Whether each call returns memory of its own, which the next call does not change."""

    def __init__(
        self,
        card: BackboneCard,
        network: nn.Module,
        taps: Taps,
    ) -> None:
        self.card = card
        self.network = network.eval().requires_grad_(False)
        self.taps = taps
        # The digest is that of the float32 weights, before ``to`` changes their precision.
        self._digest = digest(network.state_dict())
        self._shift = torch.tensor(card.mean).view(1, -1, 1, 1)
        self._scale = torch.tensor(card.std).view(1, -1, 1, 1)
        # The layers computed by the backend of the precision, and whether each has a class token.
        self._graph: Graph | None = None
        self._channels_last = False
        self._layers: list[tuple[str, bool]] = []

    def digest(self) -> str:
        """Return the sha256 of the loaded weights."""
        return self._digest

    def to(self, device: str, precision: str) -> TorchBackbone:
        """Move the network to a device and a precision, in channels-last layout.

        Args:
            device: A torch device, as "cpu" or "cuda:0".
            precision: One of ``etab.precisions.NAMED``.

        Returns:
            The backbone itself.

        Raises:
            MissingPackageError: The backend of the precision is not installed.
            UnsupportedOptionError: The backend does not compute on this device, or has nothing to
                change in this network.
        """
        number, backend = parts(precision)
        if backend == "fused":
            self._fold()
        # The other backends compute in bf16 from weights in float32.
        in_half = number == "bf16" and backend in ("", "fused", "compile")
        dtype = torch.bfloat16 if in_half else torch.float32
        network: Any = self.network
        network.to(
            device=device,
            dtype=dtype,
            memory_format=torch.channels_last,
        )
        # Some networks keep tensors that they made from their weights, as LeViT its biases. Going
        # to training and back makes them anew, in this precision.
        network.train()
        network.eval()
        self._shift = self._shift.to(device)
        self._scale = self._scale.to(device)
        self._dtype = dtype
        if backend:
            self._compile(number, backend, device)
        return self

    def at_size(self, size: int) -> TorchBackbone:
        """Set the network to another input size, and check it with one blank picture.

        Args:
            size: Side of the input in pixels.

        Returns:
            The backbone itself. Its digest stays that of the weights as they were loaded.

        Raises:
            UnsupportedOptionError: The network cannot take pictures of this size.
        """
        refused = f"{self.card.name} cannot take pictures of {size} px"
        try:
            grids = self._grids_at(size)
        except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
            raise UnsupportedOptionError(f"{refused}: {reason}") from error
        if min(grids) < 2:
            raise UnsupportedOptionError(
                f"{refused}: its last layer would be one point. Take a larger size."
            )
        if any(size % side for side in grids):
            stride = _deepest_stride(self.network, size, grids)
            lower = max(1, size // stride) * stride
            raise UnsupportedOptionError(
                f"{refused}: its maps would not cover them exactly. Take a multiple of {stride} "
                f"px, as {lower} or {lower + stride}."
            )
        self.card = replace(self.card, size=size)
        self.network.requires_grad_(False)
        return self

    def _grids_at(self, size: int) -> list[int]:
        """Set the input size, and return the shorter side of the map of each layer."""
        network: Any = self.network
        if hasattr(network, "set_input_size"):
            with warnings.catch_warnings():
                # timm resamples positions in ways that newer versions of torch advise against.
                warnings.simplefilter("ignore", UserWarning)
                network.set_input_size(img_size=(size, size))
        with torch.inference_mode():
            rows = self.taps(torch.zeros(1, 3, size, size))
        return [min(grid.shape[2:]) for _, grid, _ in rows]

    @torch.inference_mode()
    def _compile(self, number: str, backend: str, device: str) -> None:
        """Give the layers to a backend; a call on one empty frame names them."""
        frame = torch.zeros(1, self.card.size, self.card.size, dtype=torch.uint8, device=device)
        rows = self.taps(self.normalised(frame))
        self._layers = [(layer, token is not None) for layer, _, token in rows]
        self._channels_last = backend in CHANNELS_LAST
        module = _Layers(
            self.network, lambda x: self.taps(self.normalised(x)), self._channels_last
        ).eval()
        self._graph = compiled(module, number, backend, device)

    @torch.no_grad()
    def _fold(self) -> None:
        """Multiply batch-norms into convolutions, and check that the outputs stay."""
        generator = torch.Generator().manual_seed(0)
        size = self.card.size
        example = torch.randn(2, 3, size, size, generator=generator)
        before = [grid.clone() for _, grid, _ in self.taps(example)]
        count = folded(self.network, example)
        if not count:
            raise UnsupportedOptionError(
                f"{self.card.name} has no batch-norm after a convolution that could be folded. "
                "Take --precision fp32 or bf16."
            )
        after = [grid for _, grid, _ in self.taps(example)]
        for wanted, grid in zip(before, after, strict=True):
            change = float((wanted - grid).abs().max() / wanted.abs().max())
            if not change <= _FOLDED:
                raise UnsupportedOptionError(
                    f"Folding {count} batch-norms of {self.card.name} changes its features by "
                    f"{change:.2g} of their largest value; at most {_FOLDED:g} is allowed. "
                    "Take --precision fp32 or bf16."
                )

    def normalised(self, x: Tensor) -> Tensor:
        """Convert frames to the input of the network.

        Args:
            x: uint8 frames (n, s, s), or (n, s, s, 3) in colour.

        Returns:
            Float tensor (n, 3, s, s), normalised by the mean and standard deviation of the card.
        """
        f = x.to(torch.float32) / 255
        f = f[:, None].expand(-1, 3, -1, -1) if x.ndim == 3 else f.permute(0, 3, 1, 2)
        f = (f - self._shift) / self._scale
        dtype = getattr(self, "_dtype", torch.float32)
        return f.to(dtype).contiguous(memory_format=torch.channels_last)

    def _tapped(self, x: Tensor) -> list[tuple[str, Tensor, Tensor | None]]:
        """Compute the layers of uint8 frames, in plain torch or by the backend of the precision."""
        if self._graph is None:
            return self.taps(self.normalised(x))
        rows = self._named(self._graph(x))
        if self._channels_last:
            return [(layer, grid.permute(0, 3, 1, 2), token) for layer, grid, token in rows]
        return rows

    def _named(self, outputs: Sequence[Tensor]) -> list[tuple[str, Tensor, Tensor | None]]:
        """Divide the outputs of the backend into layers."""
        values = iter(outputs)
        return [
            (layer, next(values), next(values) if has_token else None)
            for layer, has_token in self._layers
        ]

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Features:
        """Compute the features of uint8 frames (n, s, s).

        Returns:
            Each layer pooled over its map ("<layer>/mean"), over 4 x 4 cells ("<layer>/grid4"),
            and its class token where there is one ("<layer>/cls"); the maps in float16.
        """
        if self._graph is not None and self._channels_last:
            return self._kept(self._graph, x)
        pooled: dict[str, Tensor] = {}
        maps: list[Tensor] = []
        for layer, grid, token in self._tapped(x):
            if token is not None:
                # A copy: a backend writes the next class tokens to the same memory.
                pooled[f"{layer}/cls"] = token.to(torch.float32, copy=True)
            pooled[f"{layer}/mean"], pooled[f"{layer}/grid4"] = map_means(grid)
            maps.append(stored_map(grid))
        return Features(pooled, tuple(maps))

    def _kept(self, graph: Graph, x: Tensor) -> Features:
        """Compute features in parts, each of which is averaged in the thread that computed it."""
        maps: dict[str, KeptMaps] = {}
        tokens: dict[str, Tensor] = {}
        lock = threading.Lock()

        def keep(first: int, outputs: list[Tensor]) -> None:
            rows = self._named(outputs)
            with lock:
                for layer, grid, token in rows if not maps else ():
                    maps[layer] = KeptMaps((len(x), *grid.shape[1:]))
                    if token is not None:
                        tokens[layer] = torch.empty(len(x), *token.shape[1:])
            for layer, grid, token in rows:
                maps[layer].put(first, grid)
                if token is not None:
                    tokens[layer][first : first + len(token)] = token

        graph.each(x, keep)
        pooled: dict[str, Tensor] = {}
        for layer, kept in maps.items():
            if layer in tokens:
                pooled[f"{layer}/cls"] = tokens[layer]
            pooled[f"{layer}/mean"], pooled[f"{layer}/grid4"] = kept.mean, kept.cells
        return Features(pooled, tuple(kept.stored for kept in maps.values()))

    @torch.inference_mode()
    def columns(self, x: Tensor) -> dict[str, Tensor]:
        """Compute feature maps averaged over their rows, for ``etab.features.recordings``.

        Args:
            x: uint8 spectrograms (n, s, s), time from left to right.

        Returns:
            Tensors (n, columns, channels) by layer.
        """
        return {
            layer: grid.float().mean(dim=2).transpose(1, 2) for layer, grid, _ in self._tapped(x)
        }


class _Layers(nn.Module):
    """The module that a backend compiles: a network, and the function that taps its layers.

    Args:
        network: The network.
        taps: Maps uint8 frames (n, s, s) to (layer, feature map, class token or None), through the
            network.
        channels_last: Whether maps are returned as (n, h, w, c).
    """

    def __init__(self, network: nn.Module, taps: Taps, channels_last: bool) -> None:
        super().__init__()
        self.network = network
        self.taps = taps
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs: list[Tensor] = []
        for _, grid, token in self.taps(x):
            outputs.append(grid.permute(0, 2, 3, 1) if self.channels_last else grid)
            if token is not None:
                outputs.append(token)
        return tuple(outputs)


def _deepest_stride(network: Any, size: int, grids: Sequence[int]) -> int:
    """The largest stride of a network in pixels: as timm lists it, or from the maps of a size."""
    stages = getattr(network, "feature_info", None)
    if stages:
        return max(int(stage["reduction"]) for stage in stages)
    return max(1, round(size / min(grids)))


def timm_taps(
    network: Any,
    indices: Sequence[int],
    layers: Sequence[str],
) -> Taps:
    """Tap a timm network at its intermediates.

    Args:
        network: A timm network with ``forward_intermediates``.
        indices: Indices of the intermediates, ascending.
        layers: Name of each intermediate.

    Returns:
        A function of normalised frames. It also returns the class token where the network has one.
    """
    accepted = inspect.signature(network.forward_intermediates).parameters
    has_token = (
        bool(getattr(network, "num_prefix_tokens", 0))
        and getattr(network, "cls_token", None) is not None
        and "return_prefix_tokens" in accepted
    )
    options: dict[str, Any] = {"indices": list(indices), "intermediates_only": True}
    if has_token:
        options["return_prefix_tokens"] = True

    def taps(x: Tensor) -> list[tuple[str, Tensor, Tensor | None]]:
        outputs = network.forward_intermediates(x, **options)
        rows: list[tuple[str, Tensor, Tensor | None]] = []
        for layer, output in zip(layers, outputs, strict=True):
            if has_token:
                grid, prefix = output
                rows.append((layer, grid, prefix[:, 0]))
            else:
                rows.append((layer, output, None))
        return rows

    return taps


def sequential_taps(
    network: nn.Sequential,
    indices: Sequence[int],
    layers: Sequence[str],
) -> Taps:
    """Tap a plain sequence of modules.

    Args:
        network: The sequence.
        indices: Indices of the modules whose outputs are returned, ascending.
        layers: Name of each output.

    Returns:
        A function of normalised frames.
    """

    def taps(x: Tensor) -> list[tuple[str, Tensor, Tensor | None]]:
        outputs: list[tuple[str, Tensor, Tensor | None]] = []
        for i, module in enumerate(network):
            x = module(x)
            if i in indices:
                # A copy, because the next module may work in place (ReLU).
                outputs.append((layers[len(outputs)], x.clone(), None))
        return outputs

    return taps


def probe_modules(network: nn.Module, size: int) -> list[tuple[str, int, int]]:
    """Find the last complete stage at each resolution of a convolutional network.

    Among the modules that output maps of one resolution, the stage is the last of the least
    nested ones. Modules that are called more than once (a shared activation) are ignored, because
    their name would stand for another layer. The network makes one forward pass over zeros, in
    eval mode, and is left as it was.

    Args:
        network: Maps (n, 3, size, size) to anything.
        size: Side of the input in pixels.

    Returns:
        (name, stride, channels) of each stage, fine to coarse.
    """
    maps: dict[str, tuple[str, int, int]] = {}
    calls: dict[str, int] = {}

    def record(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if _is_square_map(output, size):
                maps[name] = (name, size // output.shape[2], output.shape[1])

        return hook

    hooks = [m.register_forward_hook(record(name)) for name, m in network.named_modules() if name]
    was_training = network.training
    parameter = next(network.parameters(), None)
    device = "cpu" if parameter is None else parameter.device
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, 3, size, size, device=device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    # In the order of their calls.
    called_once = [stage for name, stage in maps.items() if calls[name] == 1]
    stages: dict[int, tuple[str, int, int]] = {}
    for stage in called_once:
        earlier = stages.get(stage[1])
        if earlier is None or stage[0].count(".") <= earlier[0].count("."):
            stages[stage[1]] = stage
    return [stages[stride] for stride in sorted(stages)]


def _is_square_map(output: Any, size: int) -> bool:
    """Whether an output is a square map (n, c, h, h), smaller than the input and larger than 1."""
    if not isinstance(output, Tensor) or output.ndim != 4:
        return False
    height, width = output.shape[2:]
    return height == width and 1 < height < size


def module_taps(network: nn.Module, names: Mapping[str, str]) -> Taps:
    """Tap a network at named modules whose outputs are maps.

    Args:
        network: The network.
        names: Module of each layer, {layer: module}, in the order of the layers.

    Returns:
        A function of normalised frames.
    """
    modules = dict(network.named_modules())

    def taps(x: Tensor) -> list[tuple[str, Tensor, Tensor | None]]:
        outputs, _ = module_outputs(network, modules, names, x, copy=True)
        return [(layer, output, None) for layer, output in outputs.items()]

    return taps
