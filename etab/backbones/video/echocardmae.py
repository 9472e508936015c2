"""The encoder of EchoCardMAE in torch: a ViT-S over tubes of 2 frames x 8 x 8 pixels.

Modules have the names of the published state dict. The code is written for etab.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from etab.backbones.video.networks import Mlp, Tubes, over_time, sine_table


class _Attention(nn.Module):
    """Attention without biases.

    The published file holds biases of queries and values. The published code never adds them, in
    training neither, so that they are read here and left unused.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        values = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(values.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        output: Tensor = x + self.mlp(self.norm2(x))
        return output


class EchoCardMAE(nn.Module):
    """The encoder of EchoCardMAE. No tube is masked; the default sizes are the published ones.

    Source: https://github.com/m1dsolo/EchoCardMAE.

    Args:
        width: Width of the tokens.
        depth: Number of blocks.
        heads: Number of attention heads.
        frames: Number of frames of a clip.
        size: Side of a frame in pixels.
        tube: Frames, rows and columns of a tube.
    """

    def __init__(
        self,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        *,
        frames: int = 16,
        size: int = 112,
        tube: tuple[int, int, int] = (2, 8, 8),
    ) -> None:
        super().__init__()
        self.steps = frames // tube[0]
        self.tokens = self.steps * (size // tube[1]) * (size // tube[2])
        self.width = width
        self.patch_embed = Tubes(width, tube)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Compute tokens (n, steps, places, width) of clips (n, 3, t, h, w)."""
        tokens = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        tokens = tokens + sine_table(self.tokens, self.width).to(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        normed: Tensor = self.norm(tokens)
        return torch.unflatten(normed, 1, (self.steps, -1))

    def embed(self, x: Tensor, exists: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute pooled features and sequences.

        Args:
            x: Clips (n, 3, t, h, w).
            exists: Not used: what follows a short recording is black, as in the published code.

        Returns:
            "tokens", whose mean is that over all tubes, and the sequence of its steps.
        """
        sequence = self(x).float().mean(dim=2)
        return over_time("tokens", sequence), {"tokens": sequence}
