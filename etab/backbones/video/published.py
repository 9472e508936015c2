"""The networks of clips that were published for echocardiography.

To add one, add a row to ``PUBLISHED``, with the keys of its file and the input of its code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from etab.backbones.base import IMAGENET, UNKNOWN_DATA
from etab.backbones.video.contract import ClipContract

_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_ECHONET_LAYERS = ("layer2", "layer3", "layer4")

# The code of EchoNet-Dynamic estimates both from 128 random training videos at every start and
# publishes neither; these are the values of EchoCardMAE for the same videos.
ECHONET_SCALE = ((0.1257, 0.1271, 0.1292), (0.1951, 0.1957, 0.1974))
"""Mean and standard deviation of the videos of EchoNet-Dynamic, on the [0, 1] scale."""


@dataclass(frozen=True, slots=True)
class ClipNetwork:
    """One network of clips; fields not listed are those of its card.

    Attributes:
        clip: The input.
        build: Builds the network without weights; returns it and its ``embed`` function.
        where: Page of the published weights.
        renamed: Prefixes of published keys and of the network's keys, as "old=new". The first pair
            that matches a key is applied.
        others: Pattern of the keys of other parts of the published file, which are left out.
        sets: Datasets of the pretraining, as on the card.
    """

    title: str
    clip: ClipContract
    build: Callable[[], tuple[Any, Any]]
    layers: tuple[str, ...]
    dim: int
    params: int
    licence: str
    pretraining: str = ""
    where: str = ""
    renamed: tuple[str, ...] = ()
    others: str = ""
    sets: tuple[str, ...] = UNKNOWN_DATA


def build_mvit(outputs: int = 0) -> tuple[Any, Any]:
    """Build MViTv2-S.

    Args:
        outputs: Width of the last layer, which becomes a feature; 0 for the network of torchvision.

    Returns:
        The network and its ``embed`` function.
    """
    import torch
    from torchvision.models.video import mvit_v2_s

    from etab.backbones.video.networks import mvit_embed

    network = mvit_v2_s()
    if outputs:
        network.head[-1] = torch.nn.Linear(network.head[-1].in_features, outputs)
    blocks = {
        "block2": "blocks.2",
        "block13": "blocks.13",
        "block15": "blocks.15",
    }
    return network, mvit_embed(network, blocks, "video/embedding" if outputs else "")


def _build_published(name: str) -> tuple[Any, Any]:
    """A network class of ``etab.backbones.video.networks``."""
    from etab.backbones.video import networks

    network = getattr(networks, name)()
    return network, network.embed


def _build_echonet_ef() -> tuple[Any, Any]:
    """The R(2+1)D-18 of EchoNet-Dynamic, which has one output, the ejection fraction."""
    import torch
    from torchvision.models.video import r2plus1d_18

    from etab.backbones.video.networks import hooked

    network = r2plus1d_18(weights=None)
    network.fc = torch.nn.Linear(network.fc.in_features, 1)
    layers = {name: name for name in _ECHONET_LAYERS}
    return network, hooked(network, layers, lambda volume: volume)


def _build_echocardmae() -> tuple[Any, Any]:
    from etab.backbones.video.echocardmae import EchoCardMAE

    network = EchoCardMAE()
    return network, network.embed


PUBLISHED: Mapping[str, ClipNetwork] = {
    "echoprime": ClipNetwork(
        "EchoPrime (MViTv2-S)",
        ClipContract(
            16,
            2,
            fitting="zoom",
            short="zeros",
            unit=1.0,
            mean=(29.110628, 28.076836, 29.096405),
            std=(47.989223, 46.456997, 47.20083),
        ),
        partial(build_mvit, 512),
        ("block2", "block13", "block15"),
        512,
        34_623_872,
        "Cedars-Sinai academic (the README says MIT, the LICENSE file does not)",
        "12 M echo videos and reports",
        "https://github.com/echonet/EchoPrime, release v1.0.0, weights/echo_prime_encoder.pt",
    ),
    "panecho": ClipNetwork(
        "PanEcho (ConvNeXt-T and a transformer)",
        ClipContract(
            16,
            1,
            fitting="centre",
            short="hold",
            mean=IMAGENET[0],
            std=IMAGENET[1],
        ),
        partial(_build_published, "PanEcho"),
        ("pictures", "video"),
        768,
        42_006_624,
        "CC BY-NC-SA 4.0",
        "1.2 M echo videos, 39 tasks",
        "https://github.com/CarDS-Yale/PanEcho, release v1.0, panecho.pt",
        renamed=("encoder.encoder.model.=encoder.model.", "encoder.transformer.=transformer."),
        others=r"(encoder\.)?time_encoder\.pe|.+_head\.\d+\.(weight|bias)",
    ),
    "echoclip": ClipNetwork(
        "EchoCLIP (ConvNeXt-B)",
        ClipContract(
            20,
            2,
            fitting="zoom",
            short="fewer",
            mean=_CLIP[0],
            std=_CLIP[1],
        ),
        partial(_build_published, "EchoCLIP"),
        ("frames",),
        512,
        88_090_752,
        "Cedars-Sinai academic",
        "1 M echo videos and reports",
        "https://huggingface.co/mkaichristensen/echo-clip, open_clip_pytorch_model.bin",
        renamed=("visual.=",),
        others=(
            r"(transformer|token_embedding|ln_final|text)\..+|positional_embedding|text_projection"
            r"|logit_(scale|bias)"
        ),
    ),
    "echofm": ClipNetwork(
        "EchoFM (ViT-L)",
        ClipContract(32, 1, fitting="pillow", short="loop"),
        partial(_build_published, "EchoFM"),
        ("tokens",),
        1024,
        305_669_120,
        "CC BY-NC-ND 4.0",
        "290 k echo clips, masked reconstruction and periodicity",
        "https://huggingface.co/sekeun/EchoFM, echofm_vitl.pth",
        others=r"(decoder_|prj_norm\.).+|mask_token",
    ),
    "echonet_ef": ClipNetwork(
        "EchoNet-Dynamic, ejection fraction (R(2+1)D-18)",
        ClipContract(
            32,
            2,
            112,
            short="zeros",
            mean=ECHONET_SCALE[0],
            std=ECHONET_SCALE[1],
        ),
        _build_echonet_ef,
        _ECHONET_LAYERS,
        512,
        31_300_638,
        "Stanford, non-commercial research",
        "Kinetics-400, then EF on EchoNet-Dynamic",
        "https://github.com/douyang/EchoNetDynamic, release v1.0.0, r2plus1d_18_32_2_pretrained.pt",
        sets=("kinetics-400", "echonet"),
    ),
    "echocardmae": ClipNetwork(
        "EchoCardMAE (ViT-S)",
        ClipContract(
            16,
            4,
            112,
            short="black",
            mean=ECHONET_SCALE[0],
            std=ECHONET_SCALE[1],
        ),
        _build_echocardmae,
        ("tokens",),
        384,
        21_437_568,
        "none in the repository",
        "Kinetics-400, then masked reconstruction on the training part of EchoNet-Dynamic",
        "https://github.com/m1dsolo/EchoCardMAE, EchoCardMAE.pt",
        renamed=("encoder.=",),
        others=r"decoder\..+|encoder_to_decoder\..+|mask_token|.*pos_embed",
        sets=("kinetics-400", "echonet"),
    ),
}
"""Networks of clips published for echocardiography, by name."""
