"""Networks over sequences of embeddings (n, T, d): one answer a sequence, or one a time step.

Imported only by the heads that train, since it needs torch. None of them looks at its batch
neighbours.
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
        """Average the steps."""
        return x.mean(dim=1)


class AttentionPoolNetwork(nn.Module):
    """Mean over time weighted by learned, gated attention (Ilse et al., ICML 2018)."""

    def __init__(self, width: int, hidden: int = 32) -> None:
        """``hidden``: width of the attention network."""
        super().__init__()
        self.content, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1)

    def weights(self, x: Tensor) -> Tensor:
        """(n, T) weights of the steps, which sum to 1."""
        score: Tensor = self.score(self.content(x).tanh() * self.gate(x).sigmoid())
        return score[..., 0].softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Average the steps by their weights."""
        return torch.einsum("nt,ntw->nw", self.weights(x), x)


class Recurrent(nn.Module):
    """A recurrent network in both directions: (n, T, w) to (n, T, w)."""

    def __init__(self, kind: Callable[..., nn.RNNBase], width: int) -> None:
        """``kind``: nn.RNN, nn.LSTM or nn.GRU; half the width goes to each direction."""
        super().__init__()
        self.cell = kind(width, width // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of every step."""
        return self.cell(x)[0]  # type: ignore[no-any-return]


class Convolutional(nn.Module):
    """Residual convolutions over time with growing dilation (1, 2, 4): each step sees 14 on each
    side.
    """

    def __init__(self, width: int, dilations: tuple[int, ...] = (1, 2, 4)) -> None:
        """One block of two convolutions of length 3 for each dilation."""
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in dilations)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, 3, padding=d, dilation=d),
                nn.GELU(),
                nn.Dropout(DROPOUT),
                nn.Conv1d(width, width, 3, padding=d, dilation=d),
            )
            for d in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of every step."""
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x).transpose(1, 2)).transpose(1, 2)
        return x


class TransformerNetwork(nn.Module):
    """Two encoder layers with four heads, norm first, over steps marked by sinusoids."""

    def __init__(self, width: int) -> None:
        """``width``: a multiple of 4."""
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
        return self.layers(x + sinusoids(x.shape[1], x.shape[2]).to(x))  # type: ignore[no-any-return]


def sinusoids(steps: int, width: int) -> Tensor:
    """(steps, width) sines and cosines of the place of a step (Vaswani et al., NeurIPS 2017)."""
    at = torch.arange(steps)[:, None] * torch.exp(
        torch.arange(0, width, 2) * (-math.log(10000.0) / width)
    )
    return torch.stack([at.sin(), at.cos()], dim=2).flatten(1)[:, :width]


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
    """Sequences (n, T, d) to logits (n, k), or with ``steps`` to (n, T, k).

    Every channel is standardised by the training rows, projected to ``width``, and goes through the
    body of that name; for one answer a sequence the outputs are averaged over time (by learned
    weights in "attention_pool").
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
        """``channels``: d; ``answers``: k."""
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
        """Logits."""
        x = (x - self.get_buffer("mean")) / self.get_buffer("deviation")
        found = self.body(self.project(x))
        return self.answer(self.drop(found if self.steps else self.pool(found)))  # type: ignore[no-any-return]
