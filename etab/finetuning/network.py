"""A backbone and a head as one torch module.

The cells of the board (``etab.finetuning.cells``) and the models of 2022 (``etab.legacy.models``)
train this module. The backbone is trained as a whole, in its last blocks, or not at all. A frozen
part receives no gradient and stays in evaluation mode: no dropout, and constant batch-norm
statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from etab.backbones.maps import LARGEST
from etab.errors import UnsupportedOptionError
from etab.finetuning.body import Body, train_last_blocks
from etab.heads.masks import networks
from etab.heads.masks.pyramid import choose_levels, refuse_maps, sides_of
from etab.heads.probabilities import class_probabilities
from etab.training.loop import seeded
from etab.types import Kind

FINER = 2
"""Points of a predicted mask of the board for each point of the decoder's grid."""


class VectorHead(nn.Module):
    """A head on the feature vectors of a frame or of the frames of a clip.

    "linear" and "mlp" take the vectors of a fixed number of frames side by side; "rnn", "lstm" and
    "gru" take clips of any length and use the last state.
    """

    mean: Tensor
    deviation: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        name: str,
        dim: int,
        outputs: int,
        *,
        frames: int = 1,
        hidden: int = 128,
    ) -> None:
        """Build the head.

        Args:
            name: "linear", "mlp", "rnn", "lstm" or "gru".
            dim: Length of a feature vector.
            outputs: Number of classes, or 1 for a value.
            frames: Frames in a clip, for "linear" and "mlp".
            hidden: Width of the hidden layer or state.
        """
        super().__init__()
        self.name = name
        self.frames = frames
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        recurrent: dict[str, Any] = {
            "rnn": nn.RNN,
            "lstm": nn.LSTM,
            "gru": nn.GRU,
        }
        self.cell = recurrent[name](dim, hidden, batch_first=True) if name in recurrent else None
        width = dim * frames if self.cell is None else hidden
        layers: list[nn.Module] = []
        if name == "mlp":
            layers = [
                nn.Linear(width, hidden),
                nn.GELU(),
                nn.Dropout(0.2),
            ]
            width = hidden
        self.answer = nn.Sequential(*layers, nn.Linear(width, outputs))

    def standardise(self, vectors: Tensor) -> None:
        """Set the mean and standard deviation of the input.

        Args:
            vectors: (rows, frames, dim) of training rows.
        """
        flat = vectors.flatten(0, 1)
        self.mean.copy_(flat.mean(0))
        self.deviation.copy_(flat.std(0, correction=0).clamp_min(1e-3))

    def scale_values(self, values: Tensor) -> None:
        """Set the centre and spread of the predicted values.

        Args:
            values: (rows,) of training rows.
        """
        self.centre.copy_(values.mean())
        self.spread.copy_(values.std(correction=0).clamp_min(1e-6))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Predict from feature vectors.

        Args:
            features: One tensor of vectors (n, frames, dim).

        Returns:
            Logits (n, outputs), or values (n,) in the unit of the target if there is one output.

        Raises:
            UnsupportedOptionError: If "linear" or "mlp" receive another number of frames.
        """
        vectors = (features[0] - self.mean) / self.deviation
        if self.cell is not None:
            states, _ = self.cell(vectors)
            out = self.answer(states[:, -1])
        elif vectors.shape[1] == self.frames:
            out = self.answer(vectors.flatten(1))
        else:
            raise UnsupportedOptionError(
                f"The head {self.name!r} was made for {self.frames} frame(s) side by side; these "
                f"clips have {vectors.shape[1]}. Choose RNN, LSTM or GRU, or pass "
                f"frames={vectors.shape[1]}."
            )
        if out.shape[1] > 1:
            return out  # type: ignore[no-any-return]
        return self.centre + self.spread * out[:, 0]  # type: ignore[no-any-return]


class Network(nn.Module):
    """A body and a head, trained together; ``freeze`` and ``unfreeze`` the body at any time."""

    def __init__(
        self,
        body: Body,
        head: str,
        kind: Kind,
        *,
        outputs: int = 1,
        frames: int = 1,
        side: int = 224,
        seed: int = 0,
        finer: int = 1,
        channels_last: bool = False,
        half_features: bool = False,
    ) -> None:
        """Put a new head on a body.

        Args:
            body: The body; it is not copied.
            head: A decoder for masks, else "linear", "mlp", "rnn", "lstm" or "gru".
            kind: What is predicted.
            outputs: Number of structures (masks) or classes; 1 for values.
            frames: Frames in a clip, for "linear" and "mlp".
            side: Height and width of the frames in pixels; decides the grid of masks.
            seed: Seed of the head's first weights.
            finer: Points of a predicted mask for each point of the decoder's grid.
            channels_last: Compute in the memory format "channels last", which is faster for
                convolutions and changes results by rounding.
            half_features: Round the features of a frozen body to half precision, so that they can
                be stored without changing results.

        Raises:
            UnsupportedOptionError: If the maps of the body do not suit the head.
            MissingPackageError: If the decoder's package is not installed.
        """
        super().__init__()
        self.body = body
        self.kind = kind
        self.finer = finer
        self.channels_last = channels_last
        self.half_features = half_features
        self.trained_blocks: int | None = None
        self.frozen_modules: list[nn.Module] = []
        self.set_head(
            head,
            outputs=outputs,
            frames=frames,
            side=side,
            seed=seed,
        )
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def set_head(
        self,
        name: str,
        *,
        outputs: int,
        frames: int,
        side: int,
        seed: int,
    ) -> None:
        """Replace the head by a new one.

        Args:
            name: The name of the head.
            outputs: The number of outputs.
            frames: The number of frames of a row.
            side: The side of the images in pixels.
            seed: The seed of its weights.
        """
        size = self.body.input_size(side)
        blank = next(self.body.parameters()).new_zeros(1, 3, size, size)
        training = self.body.training
        with torch.no_grad():
            maps, vector = self.body.eval()(blank)
        self.body.train(training)
        self.side = side
        with seeded(seed):
            if self.kind is Kind.MASK:
                head, levels = self._mask_head(name, maps, outputs)
            else:
                head = VectorHead(name, vector.shape[1], outputs, frames=frames)
                levels = ()
        self.levels = levels
        self.head: nn.Module = head.to(blank.device)
        self.is_new = True

    def _mask_head(
        self,
        name: str,
        maps: Sequence[Tensor],
        outputs: int,
    ) -> tuple[nn.Module, tuple[int, ...]]:
        """Build a decoder, and choose the maps that it takes."""
        refuse_maps(name, maps)
        grid = decoder_grid(self.side)
        shapes = [tuple(grid_map.shape) for grid_map in maps]
        levels = choose_levels(shapes, grid)
        head = networks.SegmentationNetwork(
            name,
            [maps[level].shape[1] for level in levels],
            grid=grid,
            outputs=outputs,
            finer=self.finer,
            sides=sides_of(name, shapes, grid),
        )
        return head, levels

    @property
    def device(self) -> torch.device:
        """The device that holds the parameters."""
        return next(self.parameters()).device

    @property
    def frozen(self) -> bool:
        """Whether nothing of the body is trained."""
        return self.trained_blocks == 0

    def freeze(self, *, except_last: int = 0) -> None:
        """Keep the body constant, except its last blocks.

        Args:
            except_last: How many of the last blocks are trained, with all that follows them.

        Raises:
            UnsupportedOptionError: If the body has no more than ``except_last`` blocks.
        """
        self.frozen_modules = train_last_blocks(self.body, except_last)
        self.trained_blocks = except_last
        self.train(self.training)

    def unfreeze(self) -> None:
        """Train all of the body again."""
        self.frozen_modules = train_last_blocks(self.body, None)
        self.trained_blocks = None
        self.train(self.training)

    def train(self, mode: bool = True) -> Network:
        """Set training or evaluation mode; frozen modules stay in evaluation mode.

        Args:
            mode: True for training, False for evaluation.
        """
        super().train(mode)
        for module in self.frozen_modules:
            module.eval()
        return self

    def features(self, inputs: Tensor) -> list[Tensor]:
        """Compute the input of the head.

        Args:
            inputs: Frames (n, c, h, w) or clips (n, frames, c, h, w) in [0, 1] with 1 or 3
                channels.

        Returns:
            For masks the maps (n, channels, height, width) of the chosen levels; otherwise one
            tensor of vectors (n, frames, dim).

        Raises:
            UnsupportedOptionError: If masks are predicted from clips of several frames.
        """
        clips = inputs[:, None] if inputs.ndim == 4 else inputs
        n_rows = len(clips)
        n_frames = clips.shape[1]
        if self.kind is Kind.MASK and n_frames != 1:
            raise UnsupportedOptionError(
                f"Segmentation takes single frames (n, 3, h, w); got clips of {n_frames} frames."
            )
        frames = clips.flatten(0, 1).expand(-1, 3, -1, -1)
        if self.channels_last:
            frames = frames.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps, vector = self.body(frames)
        if self.kind is Kind.MASK:
            features = [maps[level].float() for level in self.levels]
        else:
            features = [vector.float().unflatten(0, (n_rows, n_frames))]
        if self.frozen and self.half_features:
            features = [_rounded_to_half(level) for level in features]
        return features

    def predict_from(self, features: Sequence[Tensor]) -> Tensor:
        """Apply the head.

        Args:
            features: The output of ``features``.

        Returns:
            The same as ``forward``.
        """
        output: Tensor = self.head(features).float()
        if self.kind is Kind.MASK and output.ndim == 3:
            return output[:, None]
        return output

    def forward(self, inputs: Tensor) -> Tensor:
        """Predict from frames or clips.

        Args:
            inputs: Frames (n, c, h, w) or clips (n, frames, c, h, w) in [0, 1].

        Returns:
            Logits of masks (n, structures, height, width) on the grid, logits of classes
            (n, classes), or values (n,) in the unit of the target.
        """
        return self.predict_from(self.features(inputs))

    def probabilities(self, output: Tensor) -> Tensor:
        """Turn the output of ``forward`` into probabilities; values stay as they are.

        Probabilities of classes are float64 and on the CPU: in float32, probabilities near 1
        would be equal.

        Args:
            output: What ``forward`` returned.
        """
        if self.kind is Kind.VALUE:
            return output
        if self.kind is Kind.MASK:
            return output.sigmoid()
        return torch.from_numpy(class_probabilities(output.float().cpu().numpy()))

    def standardise_head(self, blocks: Sequence[Sequence[Tensor]], values: Tensor | None) -> None:
        """Standardise the inputs of a new head, and scale its values.

        Args:
            blocks: ``features`` of several batches of training rows.
            values: The values (rows,) of all training rows, if values are predicted.
        """
        head: Any = self.head
        self.is_new = False
        if self.kind is not Kind.MASK:
            head.standardise(torch.cat([block[0] for block in blocks]))
            if values is not None:
                head.scale_values(values)
            return
        for level, side in enumerate(head.sides):
            maps = torch.cat([networks.resize_map(block[level], side) for block in blocks])
            mean = maps.mean(dim=(0, 2, 3))
            deviation = maps.std(dim=(0, 2, 3), correction=0).clamp_min(1e-4)
            head.standardise(level, mean, deviation)


def _rounded_to_half(features: Tensor) -> Tensor:
    """Round features to half precision, and return them in single precision."""
    limited = features.clamp(-LARGEST, LARGEST)
    return limited.half().float()


def decoder_grid(side: int) -> int:
    """Compute the number of points along a side of a decoder's grid.

    Args:
        side: Height and width of the frames in pixels.

    Example:
        >>> decoder_grid(224), decoder_grid(32)
        (56, 16)
    """
    return max(16, 8 * round(side / 32))


def answer_loss(
    network: Network,
    output: Tensor,
    answers: Tensor,
) -> Tensor:
    """Compute the mean loss over rows.

    Args:
        network: The network that made the output.
        output: What ``Network.forward`` returns.
        answers: Values or classes (n,), or the share of each structure at every point (n,
            structures, h, w). A mask that was not drawn is NaN and does not count. Masks of
            another size are averaged onto the grid of the output.

    Returns:
        The loss as a scalar: squared error in units of the spread, cross-entropy, or
        ``etab.heads.masks.networks.mask_loss``.
    """
    if network.kind is Kind.VALUE:
        spread: Any = network.head.spread
        error: Tensor = (output - answers.float()) / spread
        return error.square().mean()
    if network.kind is not Kind.MASK:
        return functional.cross_entropy(output, answers.long())
    known = ~answers.isnan().flatten(2).any(dim=2)
    grid = output.shape[-2:]
    shares = answers
    if answers.shape[-2:] != grid:
        shares = functional.interpolate(answers, size=grid, mode="area")
    return networks.mask_loss(output[known], shares[known])
