"""Networks of clips in torch: a video backbone around one, and the published ones that torchvision
does not hold.

Module names are those of the published state dicts, so that a file loads without renaming. The code
is our own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from etab.backbones.base import BackboneCard
from etab.backbones.video.contract import ClipContract
from etab.backbones.weights.index import digest
from etab.types import Features

Embed = Callable[[Tensor, Tensor], "tuple[dict[str, Tensor], dict[str, Tensor]]"]


class VideoBackbone:
    """A frozen network of clips in eval mode. ``embed(x, there)`` gives pooled features and
    sequences.
    """

    def __init__(
        self, card: BackboneCard, network: nn.Module, embed: Embed, contract: ClipContract
    ) -> None:
        """Freeze the network; remember the digest of the weights as they are in float32."""
        self.card, self.contract = card, contract
        self.network = network.eval().requires_grad_(False)
        self.embed = embed
        self._kind = torch.float32
        self._digest = digest(network.state_dict())

    def digest(self) -> str:
        """sha256 of the weights loaded."""
        return self._digest

    def to(self, device: str, precision: str) -> VideoBackbone:
        """Move to a device and a precision ("fp32" or "bf16")."""
        self._kind = torch.bfloat16 if precision == "bf16" else torch.float32
        self.network.to(device=device, dtype=self._kind)
        return self

    @torch.inference_mode()
    def __call__(self, x: Tensor, there: Tensor | None = None) -> Features:
        """Embed uint8 clips (n, frames, size, size), as ``contract.prepare`` gives them with
        ``there`` (n, frames).
        """
        there = (
            torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if there is None else there
        )
        pooled, sequences = self.embed(self.contract.tensor(x, there).to(self._kind), there)
        return Features(
            {k: v.float() for k, v in pooled.items()},
            sequences={k: v.float() for k, v in sequences.items()},
        )


def grids(found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Features of volumes (n, c, t, h, w) by layer: mean, mean and deviation over time, and the
    last one's sequence.
    """
    pooled: dict[str, Tensor] = {}
    sequence = torch.empty(0)
    for layer, volume in found.items():
        sequence = volume.float().mean(dim=(3, 4)).transpose(1, 2)
        pooled |= over_time(layer, sequence)
    return pooled, {layer: sequence}


def over_time(name: str, sequence: Tensor, there: Tensor | None = None) -> dict[str, Tensor]:
    """Mean, and mean and deviation side by side, over the steps (n, t, c) that are there."""
    weight = torch.ones(sequence.shape[:2]) if there is None else there
    weight = (weight / weight.sum(dim=1, keepdim=True)).to(sequence)[..., None]
    mean = (weight * sequence).sum(dim=1)
    spread = (weight * (sequence - mean[:, None]).square()).sum(dim=1).clamp_min(0).sqrt()
    return {f"{name}/mean": mean, f"{name}/mean+std": torch.cat([mean, spread], dim=1)}


def hooked(
    network: nn.Module, names: Mapping[str, str], as_volume: Callable[[Any], Tensor]
) -> Embed:
    """Embed by the outputs of modules ({layer: module}), brought to (n, c, t, h, w) by
    ``as_volume``.
    """
    modules = dict(network.named_modules())

    def embed(x: Tensor, there: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return grids({k: as_volume(v) for k, v in _seen(network, modules, names, x)[0].items()})

    return embed


def mvit(network: Any, blocks: Mapping[str, str], answer: str = "") -> Embed:
    """Embed by a torchvision MViT: the patches of some blocks, its class token, and as ``answer``
    the output of its head.
    """
    modules = dict(network.named_modules())

    def embed(x: Tensor, there: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        seen, output = _seen(network, modules, {**blocks, "token": "norm"}, x)
        token = seen.pop("token")[:, 0]
        volumes = {
            k: tokens[:, 1:].transpose(1, 2).unflatten(2, thw) for k, (tokens, thw) in seen.items()
        }
        pooled, sequences = grids(volumes)
        return {**pooled, "video/token": token} | ({answer: output} if answer else {}), sequences

    return embed


def _seen(
    network: nn.Module, modules: Mapping[str, nn.Module], names: Mapping[str, str], x: Tensor
) -> tuple[dict[str, Any], Tensor]:
    """What named modules gave for ``x``, in the order of ``names``, and the network's own answer."""
    seen: dict[str, Any] = {}
    hooks = [
        modules[place].register_forward_hook(
            lambda _m, _i, y, layer=layer: seen.__setitem__(layer, y)
        )
        for layer, place in names.items()
    ]
    try:
        output = network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return {layer: seen[layer] for layer in names}, output


def flat(x: Tensor) -> Tensor:
    """Clips (n, 3, t, h, w) to pictures (n * t, 3, h, w)."""
    return x.transpose(1, 2).flatten(0, 1)


class _ImageEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        import torchvision

        self.model = torchvision.models.convnext_tiny(weights=None)
        self.model.classifier[-1] = nn.Identity()


class PanEcho(nn.Module):
    """ConvNeXt-T on pictures, then four transformer layers over pictures marked by sinusoids; 768
    wide.

    As published and trained, the planes of a clip (n, 3, t, h, w) are not brought to frames but
    read in the order they lie in memory, three to a picture: first the red plane of frames 0, 1, 2
    and so on, then green, then blue.
    """

    WIDTH = 768

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _ImageEncoder()
        layer = nn.TransformerEncoderLayer(
            self.WIDTH, nhead=8, dim_feedforward=self.WIDTH, dropout=0.0, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, num_layers=4, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (n, t, 768) of the t pictures, before and after the transformer."""
        planes = x.flatten(1, 2).reshape(-1, 3, *x.shape[3:])
        pictures = self.encoder.model(planes).reshape(len(x), x.shape[2], self.WIDTH)
        return pictures, self.transformer(pictures + places(x.shape[2], self.WIDTH).to(pictures))

    def embed(self, x: Tensor, there: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The published embedding of a clip ("video/mean"), and that of the pictures before the
        transformer.
        """
        pictures, mixed = (part.float() for part in self(x))
        return over_time("video", mixed) | over_time("pictures", pictures), {"video": mixed}


def places(steps: int, width: int) -> Tensor:
    """(steps, width) sines in even and cosines in odd columns."""
    at = torch.arange(steps)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([at.sin(), at.cos()], dim=2).flatten(1)


class _Projection(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, out, bias=False)


class EchoCLIP(nn.Module):
    """The image tower of EchoCLIP: ConvNeXt-B and a projection to 512, L2-normalised a frame."""

    def __init__(self, model: str = "convnext_base", out: int = 512) -> None:
        """``model``: the trunk's name in timm."""
        super().__init__()
        import timm

        trunk: Any = timm.create_model(model, pretrained=False, num_classes=0)
        self.trunk, self.head = trunk, _Projection(trunk.num_features, out)

    def forward(self, x: Tensor) -> Tensor:
        """Unit embeddings (n, t, 512) of the frames."""
        vectors: Tensor = self.head.proj(self.trunk(flat(x))).float()
        return functional.normalize(vectors, dim=-1).reshape(len(x), x.shape[2], -1)

    def embed(self, x: Tensor, there: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The mean of the frames that are there, as published, and the frames."""
        frames = self(x)
        return over_time("frames", frames, there), {"frames": frames}


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return output


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = _Attention(width, heads), _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        output: Tensor = x + self.mlp(self.norm2(x))
        return output


class _Tubes(nn.Module):
    def __init__(self, width: int, tube: tuple[int, int, int]) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, width, tube, tube)


class EchoFM(nn.Module):
    """The encoder of EchoFM: a ViT-L over tubes of 4 frames x 16 x 16 pixels, with a class token;
    nothing is masked.
    """

    def __init__(
        self,
        width: int = 1024,
        depth: int = 24,
        heads: int = 16,
        *,
        frames: int = 32,
        size: int = 224,
        tube: tuple[int, int, int] = (4, 16, 16),
    ) -> None:
        """Sizes as published unless told otherwise."""
        super().__init__()
        self.steps, self.side = frames // tube[0], size // tube[1]
        self.patch_embed = _Tubes(width, tube)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed_spatial = nn.Parameter(torch.zeros(1, self.side**2, width))
        self.pos_embed_temporal = nn.Parameter(torch.zeros(1, self.steps, width))
        self.pos_embed_class = nn.Parameter(torch.zeros(1, 1, width))
        for part in (
            self.cls_token,
            self.pos_embed_spatial,
            self.pos_embed_temporal,
            self.pos_embed_class,
        ):
            nn.init.trunc_normal_(part, std=0.02)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (n, steps, side * side, width)."""
        tubes = self.patch_embed.proj(x).flatten(3).permute(0, 2, 3, 1)
        tubes = tubes + self.pos_embed_spatial[:, None] + self.pos_embed_temporal[:, :, None]
        first = (self.cls_token + self.pos_embed_class).expand(len(x), -1, -1)
        tokens = torch.cat([first, tubes.flatten(1, 2)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, 1:].unflatten(1, (self.steps, -1))  # type: ignore[no-any-return]

    def embed(self, x: Tensor, there: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The mean of all tokens, as published, and of those of each step in time."""
        sequence = self(x).float().mean(dim=2)
        return over_time("tokens", sequence), {"tokens": sequence}
