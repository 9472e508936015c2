"""The network of the attentive probes. Only heads that train import this module: it needs torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from etab.heads.sequences.networks import sinusoids

# Channels of an attention head, at least, and numbers of heads, the preferred one first.
_NARROWEST = 32
_COUNTS = (16, 12, 8, 6, 5, 4, 3, 2)


def heads_for(width: int) -> int:
    """Choose the number of attention heads for tokens of some width.

    Args:
        width: Channels of a token.

    Returns:
        The largest usual number of heads of 32 channels or more that divides the width, else 1.

    Example:
        >>> heads_for(384), heads_for(7)
        (12, 1)
    """
    for count in _COUNTS:
        if width % count == 0 and width // count >= _NARROWEST:
            return count
    return 1


class QueryAttention(nn.Module):
    """A learned query that attends to tokens: (n, T, d) to (n, d).

    The keys of all tokens are never computed: the query is moved to the space of the tokens, and
    values are taken of the weighted means of the tokens. The result is the same.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Build for tokens of ``width`` channels, with ``heads`` attention heads."""
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.empty(width))
        nn.init.trunc_normal_(self.query, std=0.02)
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Attend to the tokens (n, T, d) that are ``present`` (n, T)."""
        of_heads = self.q(self.query).unflatten(0, (self.heads, -1))
        keys = torch.unflatten(self.k.weight, 0, (self.heads, -1))
        scale = of_heads.shape[1] ** -0.5
        in_tokens = torch.einsum("he,hed->hd", of_heads, keys) * scale
        scores = torch.einsum("ntd,hd->nht", x, in_tokens)
        scores = scores.masked_fill(~present[:, None], float("-inf"))
        means = torch.einsum("nht,ntd->nhd", scores.softmax(dim=2), x)
        values = torch.unflatten(self.v.weight, 0, (self.heads, -1))
        mixed = torch.einsum("nhd,hed->nhe", means, values).flatten(1) + self.v.bias
        return self.proj(mixed)  # type: ignore[no-any-return]


class AttentiveNetwork(nn.Module):
    """A network from tokens (n, T, d) to logits (n, k).

    Every channel is standardised by the training rows. The place of a token in its row is marked
    by sinusoids, since the frames of a row were embedded one by one. A token that is NaN is masked.
    """

    def __init__(self, width: int, answers: int, blocks: int = 1) -> None:
        """Build the network.

        Args:
            width: Channels d of the tokens.
            answers: Number k of logits.
            blocks: Number of blocks, the query's included.
        """
        super().__init__()
        heads = heads_for(width)
        layers = []
        for _ in range(blocks - 1):
            layer = nn.TransformerEncoderLayer(
                width,
                nhead=heads,
                dim_feedforward=4 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            layers.append(layer)
        self.blocks = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)
        self.attention = QueryAttention(width, heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )
        self.last = nn.LayerNorm(width)
        self.answer = nn.Linear(width, answers)
        nn.init.zeros_(self.answer.bias)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def standardise(self, mean: Tensor, deviation: Tensor) -> None:
        """Set the mean and deviation (d,) of each channel."""
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("deviation").copy_(deviation)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        present = ~x.isnan().any(dim=2)
        x = (x - self.get_buffer("mean")) / self.get_buffer("deviation")
        x = torch.nan_to_num(x) + sinusoids(x.shape[1], x.shape[2]).to(x)
        for block in self.blocks:
            x = block(x, src_key_padding_mask=~present)
        pooled = self.attention.query + self.attention(self.norm(x), present)
        pooled = pooled + self.mlp(pooled)
        logits: Tensor = self.answer(self.last(pooled))
        return logits
