"""Segmentation networks over feature maps: our adapter, then a decoder of
segmentation_models_pytorch.

Imported only by the heads that train, since it needs torch and the extra "decoders".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from etab.errors import MissingPackageError

N_LEVELS = 4
STRIDES = (4, 8, 16, 32)
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
    """A decoder over four levels of ``width`` channels, and how many channels it gives. Raises
    MissingPackageError.

    ``strides`` of the levels, where the finest grid has 4: only "dpt" takes others than 4, 8, 16,
    32.
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

    out = 32 * max(1, width // 32)  # its group norm has 32 groups
    net = FPNDecoder(
        [width] * N_LEVELS,
        encoder_depth=N_LEVELS,
        pyramid_channels=width,
        segmentation_channels=out,
    )
    return net, out


def _deeplab(width: int) -> tuple[nn.Module, int]:
    from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder

    # rates of the paper are for maps of 33 points a side and more; ours have grid / 4
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

    # without a norm: the pooled branches have one point each
    return PSPDecoder(
        [2 * width],
        out_channels=width,
        use_norm="identity",
        dropout=0.1,
    ), width


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
    """DPT: tokens of several blocks, each brought to its own resolution by learned steps, then
    fused coarse to fine.

    Maps come without class tokens, so its readout ignores them, which is one of the three of Ranftl
    et al., ICCV 2021. A pyramid goes into the fusion as it is, as the stages of a ResNet do in
    their DPT-Hybrid.
    """

    def __init__(self, width: int, strides: Sequence[int]) -> None:
        """Build for four levels of ``width`` channels at these strides."""
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
        """(n, width, 2 * grid, 2 * grid)."""
        said: Tensor = self.net(list(levels), [None] * N_LEVELS)
        return said


def _dpt(width: int, strides: Sequence[int] = STRIDES) -> tuple[nn.Module, int]:
    return Reassembled(width, strides), width


class Together(nn.Module):
    """No decoder at all: the levels side by side at the finest, for a linear answer on the maps."""

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """(n, 4 * width, grid, grid)."""
        side = levels[0].shape[-1]
        return torch.cat([resize_map(m, side) for m in levels], dim=1)


class TokenPyramid(nn.Module):
    """A light head in the manner of TopFormer: all levels pooled to the coarsest and related there
    by a transformer.

    What comes out gates and shifts each level (its semantics injected), and the levels are summed
    at the finest. After Zhang et al., TopFormer, CVPR 2022; written from the paper, with the
    backbone's maps as the token pyramid.
    """

    def __init__(self, width: int, depth: int = 2) -> None:
        """Build for four levels of ``width`` channels."""
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
        """(n, width, grid, grid)."""
        side = levels[-1].shape[-1]
        fine = levels[0].shape[-1]
        tokens = torch.cat([functional.adaptive_avg_pool2d(m, side) for m in levels], dim=1)
        related = (
            self.relate(tokens.flatten(2).transpose(1, 2))
            .transpose(1, 2)
            .unflatten(2, (side, side))
        )
        total = levels[0].new_zeros(())
        for m, said, local, gate, add in zip(
            levels, related.chunk(N_LEVELS, dim=1), self.local, self.gate, self.add, strict=True
        ):
            size = m.shape[-1]
            total = total + resize_map(
                local(m) * resize_map(gate(said), size).sigmoid() + resize_map(add(said), size),
                fine,
            )
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
    """Four maps (n, c, h, w), fine to coarse, to logits (n, grid, grid), or (n, outputs, ...) of
    several structures.

    Each map is brought to its level (``sides``: grid, grid/2, grid/4, grid/8 points a side if None)
    by bilinear resampling where it has another size, standardised by the training rows' mean and
    deviation of each channel, and projected to ``width``.
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
        """Build for maps of ``channels``; ``grid`` is a multiple of 8. ``finer``: points of the
        answer in one of the grid.
        """
        super().__init__()
        self.name, self.grid, self.finer, self.outputs = name, grid, finer, outputs
        self.sides = tuple(sides or (grid >> level for level in range(N_LEVELS)))
        self.decoder, out = decoder(name, width, [4 * grid // side for side in self.sides])
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
        """Set the mean and deviation (channels,) of a level."""
        getattr(self, f"mean{level}").copy_(mean.view(-1, 1, 1))
        getattr(self, f"deviation{level}").copy_(deviation.view(-1, 1, 1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits of the structure on the grid."""
        levels = []
        for i, (m, project) in enumerate(zip(maps, self.project, strict=True)):
            standard = (resize_map(m, self.sides[i]) - getattr(self, f"mean{i}")) / getattr(
                self, f"deviation{i}"
            )
            levels.append(project(standard))
        out = self.decoder(self._as_decoder_wants(levels))
        side = min(
            max(out.shape[-1], self.grid), self.grid * self.finer
        )  # no finer than the decoder answers
        said: Tensor = resize_map(self.answer(resize_map(out, side)), self.grid * self.finer)
        return said[:, 0] if self.outputs == 1 else said

    def _as_decoder_wants(self, levels: list[Tensor]) -> list[Tensor]:
        """The levels in the list that an encoder of the library would give, whose first is the
        input image.
        """
        fine = levels[0]
        if self.name in ("pspnet", "deeplabv3"):  # answer from one deep map
            return [torch.cat([levels[2], resize_map(levels[3], self.grid // 4)], dim=1)]
        if self.name in ("linear", "topformer", "dpt"):
            return levels
        if self.name == "upernet":  # speaks of an image of four times the grid
            return [fine, fine, *levels]
        if (
            self.name == "deeplabv3plus"
        ):  # wants its deepest map at grid / 4, as an encoder with dilation gives it
            deep = torch.cat([levels[2], resize_map(levels[3], self.grid // 4)], dim=1)
            return [fine, fine, fine, levels[1], deep]
        if self.name == "segformer":  # answers on a quarter of the image
            return [fine.new_zeros(1).expand(len(fine), 1, 4 * self.grid, 4 * self.grid), *levels]
        return [fine, *levels]


def resize_map(m: Tensor, side: int) -> Tensor:
    """Bring maps to (side, side): averages when shrinking, bilinear; themselves where they fit."""
    if tuple(m.shape[-2:]) == (side, side):
        return m
    wide = m.float()  # half precision has no antialiasing
    return functional.interpolate(
        wide,
        size=(side, side),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )


def mask_loss(logits: Tensor, share: Tensor) -> Tensor:
    """Mean over rows of binary cross-entropy plus one minus the soft Dice; ``share`` (n, grid,
    grid) in [0, 1].
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, share, reduction="none").mean(
        dim=(1, 2)
    )
    p = logits.sigmoid()
    dice = (2 * (p * share).sum(dim=(1, 2)) + 1) / (p.sum(dim=(1, 2)) + share.sum(dim=(1, 2)) + 1)
    return (entropy + 1 - dice).mean()
