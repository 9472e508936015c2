"""Networks over sequences of embeddings (n, T, d): one output a sequence, or one a step.

Only the heads that train import this module, since it needs torch. The output of a row never
depends on other rows of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

NETWORK_WIDTH = 64
DROPOUT = 0.1


class MeanPoolNetwork(nn.Module):
    """The mean over time: (n, T, w) to (n, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Average the steps.

        Args:
            x: (n, T, width).

        Returns:
            (n, width).
        """
        return x.mean(dim=1)


class AttentionPoolNetwork(nn.Module):
    """Mean over time weighted by learned, gated attention (Ilse et al., ICML 2018)."""

    def __init__(self, width: int, hidden: int = 32) -> None:
        """Build for sequences of ``width`` channels, with ``hidden`` channels of attention."""
        super().__init__()
        self.content = nn.Linear(width, hidden)
        self.gate = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1)

    def weights(self, x: Tensor) -> Tensor:
        """Compute the weights of the steps, which sum to 1.

        Args:
            x: (n, T, width).

        Returns:
            (n, T).
        """
        content = self.content(x).tanh()
        gate = self.gate(x).sigmoid()
        score: Tensor = self.score(content * gate)
        return score[..., 0].softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Average the steps by their weights.

        Args:
            x: (n, T, width).

        Returns:
            (n, width).
        """
        return torch.einsum("nt,ntw->nw", self.weights(x), x)


class Recurrent(nn.Module):
    """A recurrent network in both directions: (n, T, w) to (n, T, w)."""

    def __init__(self, kind: Callable[..., nn.RNNBase], width: int) -> None:
        """Build a network of ``kind``: nn.RNN, nn.LSTM or nn.GRU.

        Half of the ``width`` channels belong to each direction.
        """
        super().__init__()
        self.cell = kind(width, width // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of every step."""
        return self.cell(x)[0]  # type: ignore[no-any-return]


class Convolutional(nn.Module):
    """Residual convolutions over time with growing dilation (1, 2, 4).

    The output of a step depends on 14 steps on each side.
    """

    def __init__(self, width: int, dilations: tuple[int, ...] = (1, 2, 4)) -> None:
        """Build a block of two convolutions of length 3 and ``width`` channels for each dilation.

        ``dilations`` are the steps between the taps of the convolutions of each block.
        """
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in dilations)
        blocks = []
        for dilation in dilations:
            block = nn.Sequential(
                nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
                nn.GELU(),
                nn.Dropout(DROPOUT),
                nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
            )
            blocks.append(block)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of every step."""
        for norm, block in zip(self.norms, self.blocks, strict=True):
            channels_first = norm(x).transpose(1, 2)
            change = block(channels_first).transpose(1, 2)
            x = x + change
        return x


class TransformerNetwork(nn.Module):
    """Two encoder layers with four heads, norm first, over steps marked by sinusoids."""

    def __init__(self, width: int) -> None:
        """Build for sequences of ``width`` channels, a multiple of 4."""
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width,
            nhead=4,
            dim_feedforward=2 * width,
            dropout=DROPOUT,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer,
            2,
            norm=nn.LayerNorm(width),
            enable_nested_tensor=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of every step."""
        out: Tensor = self.layers(x + sinusoids(x.shape[1], x.shape[2]).to(x))
        return out


def sinusoids(steps: int, width: int) -> Tensor:
    """Encode positions as sines and cosines.

    Args:
        steps: Number of steps.
        width: Number of channels.

    Returns:
        (steps, width).

    Source:
        Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.5.
    """
    channels = torch.arange(0, width, 2)
    frequencies = torch.exp(channels * (-math.log(10000.0) / width))
    phases = torch.arange(steps)[:, None] * frequencies
    pairs = torch.stack([phases.sin(), phases.cos()], dim=2)
    return pairs.flatten(1)[:, :width]


BODIES: dict[str, Callable[[int], nn.Module]] = {
    "mean_pool": lambda _: nn.Identity(),
    "attention_pool": lambda _: nn.Identity(),
    "rnn": lambda width: Recurrent(nn.RNN, width),
    "lstm": lambda width: Recurrent(nn.LSTM, width),
    "gru": lambda width: Recurrent(nn.GRU, width),
    "tcn": Convolutional,
    "transformer": TransformerNetwork,
}


class TemporalNetwork(nn.Module):
    """A network from sequences (n, T, d) to logits (n, k), or with ``steps`` to (n, T, k).

    Every channel is standardised by the training rows. The sequence is projected to ``width``
    channels and passed through the body of that name. For one answer a sequence the outputs are
    averaged over time; "attention_pool" learns the weights of this average.
    """

    def __init__(
        self,
        name: str,
        channels: int,
        answers: int,
        *,
        steps: bool = False,
        width: int = NETWORK_WIDTH,
    ) -> None:
        """Build the network.

        Args:
            name: Name of the body, a key of ``BODIES``.
            channels: Width d of the sequences.
            answers: Number k of logits.
            steps: Whether each step has an answer of its own.
            width: Channels inside the network.
        """
        super().__init__()
        self.steps = steps
        self.project = nn.Linear(channels, width)
        self.body = BODIES[name](width)
        self.pool: nn.Module = (
            AttentionPoolNetwork(width) if name == "attention_pool" else MeanPoolNetwork()
        )
        self.drop = nn.Dropout(DROPOUT)
        self.answer = nn.Linear(width, answers)
        nn.init.zeros_(self.answer.bias)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def standardise(self, mean: Tensor, deviation: Tensor) -> None:
        """Set the mean and deviation (d,) of each channel."""
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("deviation").copy_(deviation)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: (n, T, channels).
        """
        x = (x - self.get_buffer("mean")) / self.get_buffer("deviation")
        out = self.body(self.project(x))
        if not self.steps:
            out = self.pool(out)
        logits: Tensor = self.answer(self.drop(out))
        return logits
