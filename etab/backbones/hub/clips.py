"""Models of clips of transformers: hidden states pooled over space, with their steps in time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.hub.described import Described
from etab.backbones.weights.index import digest
from etab.errors import UnsupportedOptionError
from etab.types import Features


class ClipStates(nn.Module):
    """The hidden states of a model of clips, averaged over space at each step.

    Args:
        network: The model.
        described: Configuration and processor.
        frames: Frames of a clip.
        size: Side of a frame in pixels.
    """

    def __init__(self, network: Any, described: Described, frames: int, size: int) -> None:
        super().__init__()
        self.network = network
        self.order = described.family.order
        config = described.config
        tube = getattr(config, "tubelet_size", 1)
        patch: Any = getattr(config, "patch_size", 16)
        if isinstance(tube, list | tuple):  # frames, rows and columns of a tube
            patch = tube[1]
            tube = tube[0]
        self.steps = frames // int(tube)
        self.places = (size // int(patch)) ** 2
        self.predicts = described.kind == "vjepa2"

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the steps (n, t, d) of each state.

        Args:
            x: Normalised clips (n, frames, 3, size, size).

        Raises:
            UnsupportedOptionError: The tokens are not those of the steps and places of the clip.
        """
        if self.predicts:  # the predictor of V-JEPA 2 is no part of the encoder
            output = self.network(
                pixel_values_videos=x, skip_predictor=True, output_hidden_states=True
            )
        else:
            output = self.network(pixel_values=x, output_hidden_states=True)
        states = list(output.hidden_states)
        if output.last_hidden_state.shape == states[-1].shape:
            states[-1] = output.last_hidden_state
        return [self._over_time(state) for state in states]

    def _over_time(self, state: Tensor) -> Tensor:
        count = self.steps * self.places
        prefix = state.shape[1] - count
        if prefix not in (0, 1):
            raise UnsupportedOptionError(
                f"{type(self.network).__name__} gives {state.shape[1]} tokens; wanted {count}: "
                f"{self.steps} steps of {self.places} places, with or without a class token."
            )
        tokens = state[:, prefix:]
        n, _, width = tokens.shape
        if self.order == "hwt":
            return tokens.reshape(n, self.places, self.steps, width).mean(1)
        return tokens.reshape(n, self.steps, self.places, width).mean(2)


class HubClips:
    """A frozen model of clips in eval mode.

    Args:
        card: The card, with the contract of its input.
        states: The hidden states of the model.
    """

    def __init__(self, card: BackboneCard, states: ClipStates) -> None:
        self.card = card
        self.network = states.eval().requires_grad_(False)
        self._digest = digest(states.state_dict())
        self._dtype = torch.float32

    def digest(self) -> str:
        """Return the sha256 of the loaded weights."""
        return self._digest

    def to(self, device: str, precision: str) -> HubClips:
        """Move the model to a device and a precision.

        Args:
            device: A torch device, as "cpu" or "cuda:0".
            precision: "fp32" or "bf16".

        Returns:
            The backbone itself.
        """
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.network.to(device=device, dtype=self._dtype)
        return self

    @torch.inference_mode()
    def __call__(self, x: Tensor, exists: Tensor | None = None) -> Features:
        """Compute the features of clips.

        Args:
            x: uint8 clips (n, frames, size, size).
            exists: Frames that exist in their recordings; a short recording is held.

        Returns:
            Four layers, pooled over time; the steps of the last one as a sequence.
        """
        clip: Any = self.card.clip
        clips = clip.tensor(x).transpose(1, 2).to(self._dtype)
        states = self.network(clips.contiguous())
        depth = len(states) - 1
        pooled: dict[str, Tensor] = {}
        count = len(self.card.layers)
        for i, layer in enumerate(self.card.layers):
            steps = states[round(depth * (i + 1) / count)].float()
            mean = steps.mean(1)
            pooled[f"{layer}/mean"] = mean
            pooled[f"{layer}/mean+std"] = torch.cat([mean, steps.std(1, correction=0)], 1)
        return Features(pooled, sequences={self.card.layers[-1]: steps})


def clip_backbone(card: BackboneCard, network: Any, described: Described) -> Backbone:
    """Wrap a model of clips.

    Args:
        card: The card, with the contract of its input.
        network: The model.
        described: Configuration and processor.

    Returns:
        The backbone.
    """
    clip: Any = card.clip
    return HubClips(card, ClipStates(network, described, clip.frames, clip.size))
