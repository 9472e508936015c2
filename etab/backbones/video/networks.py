"""Networks of clips in torch: the wrapper of all of them, and the ones published for echo.

Modules have the names of the published state dicts, so that a file loads without renaming. The
code is written for etab.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from etab.backbones.base import BackboneCard
from etab.backbones.module_outputs import module_outputs
from etab.backbones.video.contract import ClipContract
from etab.backbones.weights.index import digest
from etab.types import Features

# Maps the input of the network and the frames that exist (n, t) to pooled features and sequences.
Embed = Callable[[Tensor, Tensor], "tuple[dict[str, Tensor], dict[str, Tensor]]"]


class VideoBackbone:
    """A frozen network of clips in eval mode.

    Args:
        card: The card.
        network: The torch module. It is put into eval mode and frozen.
        embed: Maps the input of the network and the frames that exist to pooled features
            {name: (n, width)} and sequences {name: (n, steps, width)}.
        contract: The input of the network.
    """

    def __init__(
        self,
        card: BackboneCard,
        network: nn.Module,
        embed: Embed,
        contract: ClipContract,
    ) -> None:
        self.card = card
        self.contract = contract
        self.network = network.eval().requires_grad_(False)
        self.embed = embed
        self._dtype = torch.float32
        # The digest is that of the float32 weights, before ``to`` changes their precision.
        self._digest = digest(network.state_dict())

    def digest(self) -> str:
        """Return the sha256 of the loaded weights."""
        return self._digest

    def to(self, device: str, precision: str) -> VideoBackbone:
        """Move the network to a device and a precision.

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
            x: uint8 clips (n, frames, size, size), as ``contract.prepare`` returns them.
            exists: Boolean tensor (n, frames), False beyond the end of a recording; None where all
                frames exist.

        Returns:
            Pooled features and sequences in float32.
        """
        if exists is None:
            exists = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        pooled, sequences = self.embed(self.contract.tensor(x, exists).to(self._dtype), exists)
        return Features(
            {name: values.float() for name, values in pooled.items()},
            sequences={name: values.float() for name, values in sequences.items()},
        )


def grids(volumes: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Pool volumes of activations over space and time.

    Args:
        volumes: (n, c, t, h, w) by layer.

    Returns:
        Pooled features of all layers, as in ``over_time``, and the sequence (n, t, c) of the last
        layer.
    """
    pooled: dict[str, Tensor] = {}
    sequence = torch.empty(0)
    for layer, volume in volumes.items():
        sequence = volume.float().mean(dim=(3, 4)).transpose(1, 2)
        pooled |= over_time(layer, sequence)
    return pooled, {layer: sequence}


def over_time(
    name: str,
    sequence: Tensor,
    exists: Tensor | None = None,
) -> dict[str, Tensor]:
    """Pool a sequence over the steps that exist.

    Args:
        name: Name of the layer.
        sequence: (n, t, c).
        exists: Boolean (n, t); None where all steps exist.

    Returns:
        "<name>/mean" (n, c), and "<name>/mean+std" (n, 2 * c) with the standard deviation.
    """
    weight = torch.ones(sequence.shape[:2]) if exists is None else exists
    weight = (weight / weight.sum(dim=1, keepdim=True)).to(sequence)[..., None]
    mean = (weight * sequence).sum(dim=1)
    variance = (weight * (sequence - mean[:, None]).square()).sum(dim=1)
    spread = variance.clamp_min(0).sqrt()
    return {
        f"{name}/mean": mean,
        f"{name}/mean+std": torch.cat([mean, spread], dim=1),
    }


def hooked(
    network: nn.Module,
    names: Mapping[str, str],
    as_volume: Callable[[Any], Tensor],
) -> Embed:
    """Embed by the outputs of modules.

    Args:
        network: The network.
        names: Module of each layer, {layer: module}.
        as_volume: Converts the output of a module to (n, c, t, h, w).

    Returns:
        The ``embed`` function of a ``VideoBackbone``.
    """
    modules = dict(network.named_modules())

    def embed(x: Tensor, exists: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        outputs, _ = module_outputs(network, modules, names, x)
        return grids({layer: as_volume(output) for layer, output in outputs.items()})

    return embed


def mvit_embed(
    network: Any,
    blocks: Mapping[str, str],
    output_name: str = "",
) -> Embed:
    """Embed by a torchvision MViT: patches of some blocks, and the class token.

    Args:
        network: The MViT.
        blocks: Block of each layer, {layer: module}.
        output_name: Name of the output of the network as a feature; "" to leave it out.

    Returns:
        The ``embed`` function of a ``VideoBackbone``.
    """
    modules = dict(network.named_modules())

    def embed(x: Tensor, exists: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        outputs, output = module_outputs(network, modules, {**blocks, "token": "norm"}, x)
        token = outputs.pop("token")[:, 0]
        volumes = {}
        for layer, (tokens, size) in outputs.items():
            # The first token is the class token; ``size`` is (t, h, w).
            volumes[layer] = tokens[:, 1:].transpose(1, 2).unflatten(2, size)
        pooled, sequences = grids(volumes)
        pooled["video/token"] = token
        if output_name:
            pooled[output_name] = output
        return pooled, sequences

    return embed


def images_of(x: Tensor) -> Tensor:
    """Reshape clips (n, 3, t, h, w) to images (n * t, 3, h, w)."""
    return x.transpose(1, 2).flatten(0, 1)


class _ImageEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        import torchvision

        self.model = torchvision.models.convnext_tiny(weights=None)
        self.model.classifier[-1] = nn.Identity()


class PanEcho(nn.Module):
    """PanEcho: a ConvNeXt-T on images, and a transformer of four layers over their embeddings.

    The published network does not bring a clip (n, 3, t, h, w) into the order of its frames. It
    takes the planes as they lie in memory, three to an image: first the red planes of frames 0, 1
    and 2, then of 3, 4 and 5, and so on, followed by green and blue. It was trained in this way,
    so the same is done here.

    Source: https://github.com/CarDS-Yale/PanEcho.
    """

    WIDTH = 768

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _ImageEncoder()
        layer = nn.TransformerEncoderLayer(
            self.WIDTH,
            nhead=8,
            dim_feedforward=self.WIDTH,
            dropout=0.0,
            batch_first=True,
        )
        self.transformer = nn.TransformerEncoder(
            layer,
            num_layers=4,
            enable_nested_tensor=False,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the embeddings (n, t, 768) of the t images, before and after the transformer."""
        planes = x.flatten(1, 2).reshape(-1, 3, *x.shape[3:])
        steps = x.shape[2]
        images = self.encoder.model(planes).reshape(len(x), steps, self.WIDTH)
        return images, self.transformer(images + sine_table(steps, self.WIDTH).to(images))

    def embed(self, x: Tensor, exists: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute pooled features and sequences.

        Args:
            x: Clips (n, 3, t, h, w).
            exists: Not used: the contract fills short recordings.

        Returns:
            "video", whose mean is the published embedding, and "pictures", before the transformer.
            The sequence is "video".
        """
        images, mixed = (part.float() for part in self(x))
        return over_time("video", mixed) | over_time("pictures", images), {"video": mixed}


def sine_table(steps: int, width: int) -> Tensor:
    """Compute position embeddings (steps, width): sines in even columns, cosines in odd ones."""
    angles = torch.arange(steps)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class _Projection(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, out, bias=False)


class EchoCLIP(nn.Module):
    """The image tower of EchoCLIP: ConvNeXt-B, a projection to 512, and L2 normalisation.

    Source: https://huggingface.co/mkaichristensen/echo-clip.

    Args:
        model: Name of the trunk in timm.
        out: Width of the projection.
    """

    def __init__(self, model: str = "convnext_base", out: int = 512) -> None:
        super().__init__()
        import timm

        trunk: Any = timm.create_model(model, pretrained=False, num_classes=0)
        self.trunk = trunk
        self.head = _Projection(trunk.num_features, out)

    def forward(self, x: Tensor) -> Tensor:
        """Compute unit embeddings (n, t, 512) of the frames of clips (n, 3, t, h, w)."""
        vectors: Tensor = self.head.proj(self.trunk(images_of(x))).float()
        return functional.normalize(vectors, dim=-1).reshape(len(x), x.shape[2], -1)

    def embed(self, x: Tensor, exists: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute pooled features and sequences.

        Args:
            x: Clips (n, 3, t, h, w).
            exists: Boolean (n, t), False beyond the end of a recording.

        Returns:
            "frames", whose mean over the existing frames is the published embedding; the sequence
            is "frames" too.
        """
        frames = self(x)
        return over_time("frames", frames, exists), {"frames": frames}


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Two linear layers with a GELU between them, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (..., width) to tokens (..., width)."""
        output: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return output


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        output: Tensor = x + self.mlp(self.norm2(x))
        return output


class Tubes(nn.Module):
    """A convolution whose kernel and stride are a tube: ``proj`` makes a token of each."""

    def __init__(self, width: int, tube: tuple[int, int, int]) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, width, tube, tube)


class EchoFM(nn.Module):
    """The encoder of EchoFM: a ViT-L over tubes of 4 frames x 16 x 16 pixels, with a class token.

    The published encoder masks tubes in training; here none is masked. The default sizes are the
    published ones.

    Source: https://huggingface.co/sekeun/EchoFM.

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
        width: int = 1024,
        depth: int = 24,
        heads: int = 16,
        *,
        frames: int = 32,
        size: int = 224,
        tube: tuple[int, int, int] = (4, 16, 16),
    ) -> None:
        super().__init__()
        self.steps = frames // tube[0]
        self.side = size // tube[1]
        self.patch_embed = Tubes(width, tube)
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
        """Compute tokens (n, steps, side * side, width) of clips (n, 3, t, h, w)."""
        tubes = self.patch_embed.proj(x).flatten(3).permute(0, 2, 3, 1)
        tubes = tubes + self.pos_embed_spatial[:, None] + self.pos_embed_temporal[:, :, None]
        first = (self.cls_token + self.pos_embed_class).expand(len(x), -1, -1)
        tokens = torch.cat([first, tubes.flatten(1, 2)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        patches: Tensor = self.norm(tokens)[:, 1:]
        return torch.unflatten(patches, 1, (self.steps, -1))

    def embed(self, x: Tensor, exists: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute pooled features and sequences.

        Args:
            x: Clips (n, 3, t, h, w).
            exists: Not used: the contract loops short recordings.

        Returns:
            "tokens", whose mean is the published embedding, and the sequence of its steps.
        """
        sequence = self(x).float().mean(dim=2)
        return over_time("tokens", sequence), {"tokens": sequence}
