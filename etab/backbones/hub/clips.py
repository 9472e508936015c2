"""Models of clips of transformers: hidden states pooled over space, with their steps in time."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.hub.described import Described
from etab.backbones.video.networks import VideoBackbone, over_time
from etab.errors import UnsupportedOptionError


class ClipStates(nn.Module):
    """The hidden states of a model of clips, averaged over space at each step.

    Args:
        network: The model.
        described: Configuration and processor.
        frames: Frames of a clip.
        size: Side of a frame in pixels.
    """

    def __init__(
        self,
        network: Any,
        described: Described,
        frames: int,
        size: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.order = described.family.order
        self.form = described.family.form
        config = getattr(described.config, "vision_config", described.config)
        tube = getattr(config, "tubelet_size", 1)
        patch: Any = getattr(config, "patch_size", 16)
        if isinstance(tube, list | tuple):  # frames, rows and columns of a tube
            patch = tube[1]
            tube = tube[0]
        self.steps = frames // int(tube)
        self.places = (size // int(patch)) ** 2
        self.spatial = int(getattr(config, "num_spatial_layers", 0))
        self.predicts = described.kind == "vjepa2"

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the steps (n, t, d) of each state.

        Args:
            x: Normalised clips (n, frames, 3, size, size).

        Raises:
            UnsupportedOptionError: The tokens are not those of the steps and places of the clip.
        """
        if self.predicts:  # the predictor of V-JEPA 2 is not part of the encoder
            output = self.network(
                pixel_values_videos=x,
                skip_predictor=True,
                output_hidden_states=True,
            )
        elif self.form == "factored":
            return self._factored(x)
        elif self.form == "frames":
            return self._of_frames(x)
        else:
            output = self.network(pixel_values=x, output_hidden_states=True)
        states = list(output.hidden_states)
        if output.last_hidden_state.shape == states[-1].shape:
            states[-1] = output.last_hidden_state
        return [self._over_time(state) for state in states]

    def _factored(self, x: Tensor) -> list[Tensor]:
        """Steps of a model whose layers look at the places of a frame, then at the frames of a place."""
        output = self.network(pixel_values_videos=x, output_hidden_states=True)
        n = len(x)
        steps = []
        for i, state in enumerate(output.hidden_states[:-1]):
            if i <= self.spatial:  # (n * frames, places, width)
                steps.append(state.unflatten(0, (n, self.steps)).mean(2))
            else:  # (n * places, frames, width)
                steps.append(state.unflatten(0, (n, self.places)).mean(1))
        return [*steps, self._over_time(output.last_hidden_state)]

    def _of_frames(self, x: Tensor) -> list[Tensor]:
        """Steps of a model whose states are those of single frames, with a class token each."""
        output = self.network(pixel_values=x.flatten(0, 1), output_hidden_states=True)
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        return [state[:, 1:].mean(1).unflatten(0, (len(x), -1)) for state in states]

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


def clip_backbone(
    card: BackboneCard,
    network: Any,
    described: Described,
) -> Backbone:
    """Wrap a model of clips.

    Args:
        card: The card, with the contract of its input.
        network: The model.
        described: Configuration and processor.

    Returns:
        The backbone.
    """
    clip: Any = card.clip
    states = ClipStates(network, described, clip.frames, clip.size)

    def embed(x: Tensor, exists: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Pool the states at equal depths; a short recording is held, so that all frames count."""
        all_states = states(x.transpose(1, 2).contiguous())
        depth = len(all_states) - 1
        pooled: dict[str, Tensor] = {}
        count = len(card.layers)
        for i, layer in enumerate(card.layers):
            steps = all_states[round(depth * (i + 1) / count)].float()
            pooled |= over_time(layer, steps)
        return pooled, {card.layers[-1]: steps}

    return VideoBackbone(card, states, embed, clip)
