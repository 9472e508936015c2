"""Models of pictures of transformers: hidden states as feature maps and class tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.hub.described import Described
from etab.backbones.image.networks import TorchBackbone
from etab.backbones.maps import map_of_tokens
from etab.errors import UnsupportedOptionError

# Smallest stride, in input pixels, of a stage that becomes a layer.
_FINEST = 8
_LAYERS = 3


def normalised_last(state: Tensor, last: Tensor) -> Tensor:
    """Take the output of a model in place of its deepest state, which it is before a normalisation.

    Args:
        state: The deepest hidden state: tokens (n, t, c), or a map (n, c, h, w).
        last: The output of the model.

    Returns:
        The output in the form of the state, also with another number of channels. The state itself
        if the output has other places, as that of a network that changes its steps after its last
        layer.
    """
    if last.shape == state.shape:
        return last
    if last.ndim == state.ndim == 4 and last.shape[2:] == state.shape[2:]:
        return last
    if last.ndim == 3 and state.ndim == 4:
        height, width = state.shape[2:]
        # A token of the class may precede the places of the output.
        of_places = last[:, last.shape[1] - height * width :].transpose(1, 2)
        if last.shape[1] - height * width in (0, 1):
            return of_places.reshape(*of_places.shape[:2], height, width)
    return state


class PictureStates(nn.Module):
    """The hidden states of a model of pictures, as maps.

    Args:
        network: The model, or the tower that is used.
        kind: ``model_type`` of the configuration.
        size: Side of the input in pixels.
        form: ``Family.form`` of the family.
    """

    def __init__(self, network: Any, kind: str, size: int, form: str = "") -> None:
        super().__init__()
        self.network = network
        self.kind = kind
        self.size = size
        self.form = form
        if kind == "vit_mae":
            network.config.mask_ratio = 0.0

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """Compute the map (n, c, h, w) and the class token (n, c), if any, of each state.

        Args:
            x: Normalised pictures (n, 3, size, size).

        Raises:
            UnsupportedOptionError: A state is neither a map nor the tokens of a square grid.
        """
        if self.form == "packed" and len(x) > 1:  # attention would span all pictures
            rows = [self.forward(picture[None]) for picture in x]
            return [_stacked(layer) for layer in zip(*rows, strict=True)]
        inputs = {"pixel_values": x, **self._options(x)}
        output = self.network(**inputs, output_hidden_states=True)
        states = getattr(output, "reshaped_hidden_states", None) or output.hidden_states
        if not states:
            raise UnsupportedOptionError(
                f"{type(self.network).__name__} gives no hidden states in this version of "
                "transformers. Wrap it in a function: etab.backbone(function, input=...)."
            )
        states = list(states)
        last = getattr(output, "last_hidden_state", None)
        if last is None:  # a backbone of the library gives the maps of its stages alone
            last = states[-1]
        if self.form == "hwc":
            states = [state.permute(0, 3, 1, 2) for state in states]
            side = states[-1].shape[2]
            # The neck of SAM gives (n, c, h, w); the last state of SAM 2 stays as it is.
            if last.ndim == 4 and last.shape[1] == last.shape[2] == side:
                last = last.permute(0, 3, 1, 2)
        states[-1] = normalised_last(states[-1], last)
        maps = [self._as_map(state) for state in states]
        token = self._token_beside(output)
        return maps if token is None else [*maps[:-1], (maps[-1][0], token)]

    def _token_beside(self, output: Any) -> Tensor | None:
        """The class token (n, c) that some models give beside the map of their last stage."""
        token: Tensor | None = None
        if self.kind == "cvt" and output.cls_token_value is not None:
            token = output.cls_token_value[:, 0]
        if self.kind == "dinov3_convnext":
            token = output.last_hidden_state[:, 0]
        return token

    def _options(self, x: Tensor) -> dict[str, Any]:
        """Further input: MAE must neither mask nor shuffle; SigLIP 2 reads a list of patches."""
        if self.form == "patches":
            side = self.size // int(self.network.config.patch_size)
            return {
                "pixel_values": _patches(x, side),
                "pixel_attention_mask": torch.ones(len(x), side**2, dtype=torch.int32).to(x.device),
                "spatial_shapes": torch.tensor([[side, side]] * len(x)),
            }
        if self.kind != "vit_mae":
            return {}
        patch = int(self.network.config.patch_size)
        count = (self.size // patch) ** 2
        order = torch.arange(count, dtype=torch.float32, device=x.device)
        return {"noise": order.expand(len(x), -1)}

    def _as_map(self, state: Tensor) -> tuple[Tensor, Tensor | None]:
        if state.ndim == 4:
            return state, None
        n_tokens = state.shape[1]
        patch = getattr(self.network.config, "patch_size", 0)
        patch = patch[0] if isinstance(patch, Sequence) else patch
        side = self.size // patch if patch else 0
        if side == 0 or side * side > n_tokens:
            side = math.isqrt(n_tokens)
        return map_of_tokens(state, side)


def _stacked(
    layer: Sequence[tuple[Tensor, Tensor | None]],
) -> tuple[Tensor, Tensor | None]:
    """Join the map and the class token of one layer of several pictures."""
    tokens = [token for _, token in layer if token is not None]
    return torch.cat([grid for grid, _ in layer]), torch.cat(tokens) if tokens else None


def _patches(x: Tensor, side: int) -> Tensor:
    """Cut pictures (n, c, h, w) into side * side patches (n, side * side, rows * columns * c)."""
    n, channels, height, width = x.shape
    cut = x.reshape(n, channels, side, height // side, side, width // side)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(n, side * side, -1)


def _chosen(states: Sequence[tuple[Tensor, Tensor | None]], size: int) -> dict[str, int]:
    """Choose the states that become layers: name and index, shallow to deep."""
    sides = [grid.shape[2] for grid, _ in states]
    depth = len(states) - 1
    if len(set(sides)) == 1:
        indices = [round(depth * (i + 1) / _LAYERS) for i in range(_LAYERS)]
        return {f"block{i}": i for i in indices if i > 0}
    last_of_side = {side: i for i, side in enumerate(sides)}
    deepest = sorted(last_of_side.values())[-_LAYERS:]
    strides = {i: round(size / sides[i]) for i in deepest}
    coarse = [i for i in deepest if strides[i] >= _FINEST]
    # A network of few stages gives a finer one, too.
    is_shallow = strides[deepest[-1]] < 4 * _FINEST
    chosen = deepest if coarse and is_shallow else coarse
    return {f"stride{strides[i]}": i for i in chosen}


def picture_backbone(
    card: BackboneCard,
    network: Any,
    described: Described,
) -> Backbone:
    """Wrap a model of pictures.

    Args:
        card: The card; its layers, strides and width are completed.
        network: The model, or the tower that is used.
        described: Configuration and processor.

    Returns:
        The backbone, with the completed card.

    Raises:
        UnsupportedOptionError: The model does not read its processor's size, or has no maps.
    """
    states_of = PictureStates(network.eval(), described.kind, card.size, described.family.form)
    try:
        with torch.inference_mode():
            states = states_of(torch.zeros(1, 3, card.size, card.size))
    except (RuntimeError, ValueError, TypeError) as error:
        raise UnsupportedOptionError(
            f"{card.name} does not read the pictures of {card.size} px that its processor makes: "
            f"{type(error).__name__}: {error}. Wrap the model in a function: etab.backbone(function, "
            "input=...)."
        ) from error
    chosen = _chosen(states, card.size)
    if not chosen:
        raise UnsupportedOptionError(f"{card.name} has no map of a stride of 8 pixels or more.")

    def taps(x: Tensor) -> list[tuple[str, Tensor, Tensor | None]]:
        outputs = states_of(x)
        return [(layer, *outputs[i]) for layer, i in chosen.items()]

    grids = [states[i][0] for i in chosen.values()]
    complete = replace(
        card,
        layers=tuple(chosen),
        strides=tuple(round(card.size / grid.shape[2]) for grid in grids),
        dim=grids[-1].shape[1],
    )
    return TorchBackbone(complete, states_of, taps)
