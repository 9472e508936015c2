"""Segmentation networks over feature maps: an adapter, then a decoder.

The decoders are those of segmentation_models_pytorch. Only the heads that train import this module,
since it needs torch and the extra "decoders".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from etab.errors import MissingPackageError

N_LEVELS = 4
# Strides of the levels in an image of four times the grid.
STRIDES = (4, 8, 16, 32)
# Makes a decoder for levels of a width; returns it with its number of output channels.
DecoderMaker = Callable[[int], "tuple[nn.Module, int]"]


def _needs_decoders(name: str, error: ImportError) -> MissingPackageError:
    return MissingPackageError(
        f"The head {name!r} needs the package segmentation_models_pytorch, which is not installed "
        f"({error}): "
        'pip install "etab-bench[decoders]". The head linear_seg works without it.'
    )


def decoder(
    name: str,
    width: int,
    strides: Sequence[int] = STRIDES,
) -> tuple[nn.Module, int]:
    """Make a decoder over four levels.

    Args:
        name: A key of ``DECODERS``.
        width: Number of channels of each level.
        strides: Strides of the levels, where the finest grid has stride 4. Only "dpt" supports
            other strides than 4, 8, 16 and 32.

    Returns:
        (decoder, channels): the decoder and the number of its output channels.

    Raises:
        MissingPackageError: segmentation_models_pytorch is not installed.
    """
    make = partial(_dpt, strides=tuple(strides)) if name == "dpt" else DECODERS[name]
    try:
        return make(width)
    except ImportError as error:
        raise _needs_decoders(name, error) from error


def _unet(width: int) -> tuple[nn.Module, int]:
    from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

    steps = (width, width * 3 // 4, width // 2, width // 2)
    return UnetDecoder(
        encoder_channels=(0, *[width] * N_LEVELS),
        decoder_channels=steps,
        n_blocks=N_LEVELS,
    ), steps[-1]


def _fpn(width: int) -> tuple[nn.Module, int]:
    from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder

    # The group norm of the decoder has 32 groups.
    out = 32 * max(1, width // 32)
    net = FPNDecoder(
        [width] * N_LEVELS,
        encoder_depth=N_LEVELS,
        pyramid_channels=width,
        segmentation_channels=out,
    )
    return net, out


def _deeplab(width: int) -> tuple[nn.Module, int]:
    from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder

    # The rates of the paper are for maps of 33 points a side and more; these have grid / 4.
    net = DeepLabV3PlusDecoder(
        encoder_channels=(0, 0, width, width, 2 * width),
        encoder_depth=4,
        out_channels=width,
        atrous_rates=(2, 4, 6),
        output_stride=16,
        aspp_separable=True,
        aspp_dropout=0.1,
    )
    return net, width


def _segformer(width: int) -> tuple[nn.Module, int]:
    from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder

    return SegformerDecoder(
        [3, *[width] * N_LEVELS],
        encoder_depth=N_LEVELS,
        segmentation_channels=width,
    ), width


def _unetplusplus(width: int) -> tuple[nn.Module, int]:
    from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder

    steps = (width, width * 3 // 4, width // 2, width // 2)
    net = UnetPlusPlusDecoder(
        encoder_channels=(0, *[width] * N_LEVELS),
        decoder_channels=steps,
        n_blocks=N_LEVELS,
    )
    return net, steps[-1]


def _manet(width: int) -> tuple[nn.Module, int]:
    from segmentation_models_pytorch.decoders.manet.decoder import MAnetDecoder

    steps = [width, width * 3 // 4, width // 2, width // 2]
    net = MAnetDecoder(
        [0, *[width] * N_LEVELS],
        steps,
        n_blocks=N_LEVELS,
        reduction=8,
        pab_channels=width // 2,
    )
    return net, steps[-1]


def _linknet(width: int) -> tuple[nn.Module, int]:
    from segmentation_models_pytorch.decoders.linknet.decoder import LinknetDecoder

    return LinknetDecoder(
        [0, *[width] * N_LEVELS],
        prefinal_channels=width // 2,
        n_blocks=N_LEVELS,
    ), width // 2


def _pspnet(width: int) -> tuple[nn.Module, int]:
    from segmentation_models_pytorch.decoders.pspnet.decoder import PSPDecoder

    # Without a norm, since each pooled branch has one point.
    net = PSPDecoder(
        [2 * width],
        out_channels=width,
        use_norm="identity",
        dropout=0.1,
    )
    return net, width


def _deeplabv3(width: int) -> tuple[nn.Module, int]:
    from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder

    net = DeepLabV3Decoder(
        in_channels=2 * width,
        out_channels=width,
        atrous_rates=(2, 4, 6),
        aspp_separable=False,
        aspp_dropout=0.1,
    )
    return net, width


def _upernet(width: int) -> tuple[nn.Module, int]:
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

    return UPerNetDecoder(
        [0, 0, *[width] * N_LEVELS],
        encoder_depth=N_LEVELS + 1,
        decoder_channels=width,
    ), width


class Reassembled(nn.Module):
    """DPT: tokens of several blocks, brought to their resolutions by learned steps, then fused.

    Maps have no class tokens, so the readout is "ignore", one of the three of Ranftl et al. (ICCV
    2021). A pyramid is fused unchanged, like the stages of a ResNet in their DPT-Hybrid.
    """

    def __init__(self, width: int, strides: Sequence[int]) -> None:
        """Build for four levels of ``width`` channels at ``strides``."""
        from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder

        super().__init__()
        self.net = DPTDecoder(
            [width] * N_LEVELS,
            list(strides),
            encoder_has_prefix_tokens=False,
            readout="ignore",
            intermediate_channels=[width] * N_LEVELS,
            fusion_channels=width,
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Fuse the levels.

        Args:
            levels: Maps (n, width, side, side), fine to coarse.

        Returns:
            (n, width, 2 * grid, 2 * grid).
        """
        fused: Tensor = self.net(list(levels), [None] * N_LEVELS)
        return fused


def _dpt(width: int, strides: Sequence[int] = STRIDES) -> tuple[nn.Module, int]:
    return Reassembled(width, strides), width


class Together(nn.Module):
    """The levels side by side at the finest resolution, for a linear layer on the maps."""

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Resample the levels to the finest grid and stack their channels.

        Args:
            levels: Maps (n, width, side, side), fine to coarse.

        Returns:
            (n, 4 * width, grid, grid).
        """
        side = levels[0].shape[-1]
        return torch.cat([resize_map(m, side) for m in levels], dim=1)


class TokenPyramid(nn.Module):
    """A light decoder like TopFormer: a transformer over all levels, pooled to the coarsest.

    The output of the transformer gates and shifts each level, and the levels are summed at the
    finest resolution. The maps of the backbone are the token pyramid. Written from the paper: Zhang
    et al., TopFormer, CVPR 2022.
    """

    def __init__(self, width: int, depth: int = 2) -> None:
        """Build for four levels of ``width`` channels, with ``depth`` layers of the transformer."""
        super().__init__()
        wide = N_LEVELS * width
        layer = nn.TransformerEncoderLayer(
            wide,
            4,
            2 * wide,
            dropout=0.0,
            batch_first=True,
            norm_first=True,
        )
        self.relate = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.local = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(N_LEVELS))
        self.gate = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(N_LEVELS))
        self.add = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(N_LEVELS))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Decode the levels.

        Args:
            levels: Maps (n, width, side, side), fine to coarse.

        Returns:
            (n, width, grid, grid).
        """
        side = levels[-1].shape[-1]
        fine = levels[0].shape[-1]
        pooled = [functional.adaptive_avg_pool2d(m, side) for m in levels]
        tokens = torch.cat(pooled, dim=1).flatten(2).transpose(1, 2)
        related = self.relate(tokens).transpose(1, 2).unflatten(2, (side, side))
        total = levels[0].new_zeros(())
        for m, semantics, local, gate, add in zip(
            levels,
            related.chunk(N_LEVELS, dim=1),
            self.local,
            self.gate,
            self.add,
            strict=True,
        ):
            size = m.shape[-1]
            gates = resize_map(gate(semantics), size).sigmoid()
            shifts = resize_map(add(semantics), size)
            injected = local(m) * gates + shifts
            total = total + resize_map(injected, fine)
        return total


def _linear(width: int) -> tuple[nn.Module, int]:
    return Together(), N_LEVELS * width


def _topformer(width: int) -> tuple[nn.Module, int]:
    return TokenPyramid(width), width


DECODERS: dict[str, DecoderMaker] = {
    "unet": _unet,
    "unetplusplus": _unetplusplus,
    "manet": _manet,
    "linknet": _linknet,
    "pspnet": _pspnet,
    "deeplabv3": _deeplabv3,
    "deeplabv3plus": _deeplab,
    "fpn": _fpn,
    "upernet": _upernet,
    "segformer": _segformer,
    "topformer": _topformer,
    "dpt": _dpt,
    "linear": _linear,
}


class SegmentationNetwork(nn.Module):
    """A network from four maps (n, c, h, w), fine to coarse, to logits.

    The logits are (n, grid, grid), or (n, outputs, grid, grid) of several structures. Each map is
    resampled bilinearly to the size of its level, standardised by the mean and deviation of each
    channel over the training rows, and projected to ``width`` channels.
    """

    def __init__(
        self,
        name: str,
        channels: Sequence[int],
        *,
        grid: int = 56,
        width: int = 64,
        outputs: int = 1,
        finer: int = 1,
        sides: Sequence[int] | None = None,
    ) -> None:
        """Build the network.

        Args:
            name: Name of the decoder, a key of ``DECODERS``.
            channels: Number of channels of each map.
            grid: Points on a side of the finest level, a multiple of 8.
            width: Number of channels of each level.
            outputs: Number of structures.
            finer: Points on a side of the logits for each point on a side of the grid.
            sides: Points on a side of each level; None for grid, grid/2, grid/4, grid/8.
        """
        super().__init__()
        self.name = name
        self.grid = grid
        self.finer = finer
        self.outputs = outputs
        self.sides = tuple(sides or (grid >> level for level in range(N_LEVELS)))
        strides = [4 * grid // side for side in self.sides]
        self.decoder, out = decoder(name, width, strides)
        self.project = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.answer = nn.Conv2d(out, outputs, 1)
        for i, c in enumerate(channels):
            self.register_buffer(f"mean{i}", torch.zeros(c, 1, 1))
            self.register_buffer(f"deviation{i}", torch.ones(c, 1, 1))

    def standardise(
        self,
        level: int,
        mean: Tensor,
        deviation: Tensor,
    ) -> None:
        """Set the ``mean`` and ``deviation`` (channels,) of a ``level``."""
        getattr(self, f"mean{level}").copy_(mean.view(-1, 1, 1))
        getattr(self, f"deviation{level}").copy_(deviation.view(-1, 1, 1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Compute the logits of the structures on the grid.

        Args:
            maps: Feature maps (n, channels, side, side) of the four levels.
        """
        levels = []
        for i, (m, project) in enumerate(zip(maps, self.project, strict=True)):
            centred = resize_map(m, self.sides[i]) - getattr(self, f"mean{i}")
            standard = centred / getattr(self, f"deviation{i}")
            levels.append(project(standard))
        out = self.decoder(self._decoder_input(levels))
        finest = self.grid * self.finer
        # The last layer is applied at the resolution of the decoder where that is coarser.
        side = min(max(out.shape[-1], self.grid), finest)
        logits: Tensor = resize_map(self.answer(resize_map(out, side)), finest)
        return logits[:, 0] if self.outputs == 1 else logits

    def _decoder_input(self, levels: list[Tensor]) -> list[Tensor]:
        """The levels as an encoder of the library returns them: its first item is the image."""
        fine = levels[0]
        if self.name in ("pspnet", "deeplabv3"):
            return [self._deep(levels)]
        if self.name in ("linear", "topformer", "dpt"):
            return levels
        if self.name == "upernet":
            # Its image has four times the side of the grid.
            return [fine, fine, *levels]
        if self.name == "deeplabv3plus":
            return [fine, fine, fine, levels[1], self._deep(levels)]
        if self.name == "segformer":
            # Its output has a quarter of the side of the image.
            side = 4 * self.grid
            image = fine.new_zeros(1).expand(len(fine), 1, side, side)
            return [image, *levels]
        return [fine, *levels]

    def _deep(self, levels: list[Tensor]) -> Tensor:
        """The two deepest levels at grid / 4, like the output of an encoder with dilation."""
        deepest = resize_map(levels[3], self.grid // 4)
        return torch.cat([levels[2], deepest], dim=1)


def resize_map(m: Tensor, side: int) -> Tensor:
    """Resize maps bilinearly, with averages when shrinking.

    Args:
        m: (n, c, h, w).
        side: Points on a side of the result.

    Returns:
        (n, c, side, side); the maps themselves where they have this size.
    """
    if tuple(m.shape[-2:]) == (side, side):
        return m
    # Antialiasing is not implemented in half precision.
    wide = m.float()
    return functional.interpolate(
        wide,
        size=(side, side),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )


def mask_loss(logits: Tensor, share: Tensor) -> Tensor:
    """Compute the mean over rows of binary cross-entropy plus one minus the soft Dice.

    Args:
        logits: (n, grid, grid).
        share: (n, grid, grid) share of the structure in each cell, in [0, 1].
    """
    of_points = functional.binary_cross_entropy_with_logits(logits, share, reduction="none")
    entropy = of_points.mean(dim=(1, 2))
    p = logits.sigmoid()
    common = (p * share).sum(dim=(1, 2))
    dice = (2 * common + 1) / (p.sum(dim=(1, 2)) + share.sum(dim=(1, 2)) + 1)
    return (entropy + 1 - dice).mean()
