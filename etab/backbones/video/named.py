"""Backbones of whole clips by name: six of torchvision, and adapters of four published for
echocardiography.

A torchvision one takes its weights from the hub where there is one; the published ones take a file
of the user's: ``local:<file>@echoprime``. A new one is a row in ``_TORCHVISION`` or ``_PUBLISHED``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from etab.backbones.base import IMAGENET, Backbone, BackboneCard
from etab.backbones.registered import BACKBONES, Entry
from etab.backbones.video.contract import ClipContract
from etab.backbones.weights import fit
from etab.backbones.weights import index as weights
from etab.errors import UnsupportedOptionError, WeightsError

_KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_PREFIX = "torchvision/"


@dataclass(frozen=True, slots=True)
class ClipNet:
    """One row: what it is, what it is fed, how it is built, and what of a published state dict is
    its own.

    build     the network without weights, and how it embeds
    inside    prefixes of the published keys that are cut off, the first that occurs
    others    keys, as a pattern, of other parts that are published in the same file; they are left
              out
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
    inside: tuple[str, ...] = ()
    others: str = ""


def _stages(model: str, names: Mapping[str, str], channels_last: bool = False) -> tuple[Any, Any]:
    """A torchvision network tapped at named stages, its classifier left on for its weights to fit."""
    from torchvision import models

    from etab.backbones.video import networks as clipnets

    network = models.get_model(model, weights=None)
    last = (0, 4, 1, 2, 3)
    return network, clipnets.hooked(
        network, names, (lambda y: y.permute(last)) if channels_last else (lambda y: y)
    )


def _mvit(answers: int = 0) -> tuple[Any, Any]:
    import torch
    from torchvision.models.video import mvit_v2_s

    from etab.backbones.video import networks as clipnets

    network = mvit_v2_s()
    if answers:
        network.head[-1] = torch.nn.Linear(network.head[-1].in_features, answers)
    blocks = {"block2": "blocks.2", "block13": "blocks.13", "block15": "blocks.15"}
    return network, clipnets.mvit(network, blocks, "video/embedding" if answers else "")


def _own(name: str) -> tuple[Any, Any]:
    from etab.backbones.video import networks as clipnets

    network = getattr(clipnets, name)()
    return network, network.embed


_RESNET = {"layer2": "layer2", "layer3": "layer3", "layer4": "layer4"}
_S3D = {"mixed3c": "features.6", "mixed4f": "features.12", "mixed5c": "features.15"}
_SWIN = {"stage2": "features.2", "stage3": "features.4", "stage4": "features.6"}


def _kinetics(
    frames: int, size: int, numbers: tuple[tuple[float, ...], tuple[float, ...]] = _KINETICS
) -> ClipContract:
    return ClipContract(frames, 2, size, mean=numbers[0], std=numbers[1])


def _tv(
    title: str, clip: ClipContract, names: Mapping[str, str], model: str, dim: int, params: int
) -> ClipNet:
    return ClipNet(
        title,
        clip,
        partial(_stages, model, names, model.startswith("swin")),
        tuple(names),
        dim,
        params,
        "BSD-3-Clause",
        "Kinetics-400",
    )


_TORCHVISION: Mapping[str, ClipNet] = {
    "r2plus1d_18": _tv("R(2+1)D-18", _kinetics(16, 112), _RESNET, "r2plus1d_18", 512, 31_505_325),
    "mc3_18": _tv("MC3-18", _kinetics(16, 112), _RESNET, "mc3_18", 512, 11_695_440),
    "r3d_18": _tv("R3D-18", _kinetics(16, 112), _RESNET, "r3d_18", 512, 33_371_472),
    "s3d": _tv("S3D", _kinetics(16, 224), _S3D, "s3d", 1024, 8_320_048),
    "mvit_v2_s": ClipNet(
        "MViTv2-S",
        _kinetics(16, 224, ((0.45,) * 3, (0.225,) * 3)),
        _mvit,
        ("block2", "block13", "block15"),
        768,
        34_537_744,
        "BSD-3-Clause",
        "Kinetics-400",
    ),
    "swin3d_t": _tv(
        "Video Swin-T", _kinetics(16, 224, IMAGENET), _SWIN, "swin3d_t", 768, 28_158_070
    ),
}
_PUBLISHED: Mapping[str, ClipNet] = {
    "echoprime": ClipNet(
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
        partial(_mvit, 512),
        ("block2", "block13", "block15"),
        512,
        34_623_872,
        "Cedars-Sinai academic (the README says MIT, the LICENSE file does not)",
        "12 M echo videos and reports",
        "https://github.com/echonet/EchoPrime, release v1.0.0, weights/echo_prime_encoder.pt",
    ),
    "panecho": ClipNet(
        "PanEcho (ConvNeXt-T and a transformer)",
        ClipContract(16, 1, fitting="centre", short="hold", mean=IMAGENET[0], std=IMAGENET[1]),
        partial(_own, "PanEcho"),
        ("pictures", "video"),
        768,
        42_006_624,
        "CC BY-NC-SA 4.0",
        "1.2 M echo videos, 39 tasks",
        "https://github.com/CarDS-Yale/PanEcho, release v1.0, panecho.pt",
        inside=("encoder.encoder.model.=encoder.model.", "encoder.transformer.=transformer."),
        others=r"(encoder\.)?time_encoder\.pe|.+_head\.\d+\.(weight|bias)",
    ),
    "echoclip": ClipNet(
        "EchoCLIP (ConvNeXt-B)",
        ClipContract(20, 2, fitting="zoom", short="fewer", mean=_CLIP[0], std=_CLIP[1]),
        partial(_own, "EchoCLIP"),
        ("frames",),
        512,
        88_090_752,
        "Cedars-Sinai academic",
        "1 M echo videos and reports",
        "https://huggingface.co/mkaichristensen/echo-clip, open_clip_pytorch_model.bin",
        inside=("visual.=",),
        others=r"(transformer|token_embedding|ln_final|text)\..+|positional_embedding|text_projection|logit_(scale|bias)",
    ),
    "echofm": ClipNet(
        "EchoFM (ViT-L)",
        ClipContract(32, 1, fitting="pillow", short="loop"),
        partial(_own, "EchoFM"),
        ("tokens",),
        1024,
        305_669_120,
        "CC BY-NC-ND 4.0",
        "290 k echo clips, masked reconstruction and periodicity",
        "https://huggingface.co/sekeun/EchoFM, echofm_vitl.pth",
        others=r"(decoder_|prj_norm\.).+|mask_token",
    ),
}


def names() -> list[str]:
    """Names of all: those of torchvision, then the published ones for echocardiography."""
    return [*(_PREFIX + name for name in _TORCHVISION), *_PUBLISHED]


def _row(name: str) -> ClipNet:
    return (
        _TORCHVISION[name.removeprefix(_PREFIX)] if name.startswith(_PREFIX) else _PUBLISHED[name]
    )


def _parts(name: str) -> tuple[str, str]:
    """(file, network) of "local:<file>@<network>"; ("", name) of any other name."""
    path, at, network = (
        name.removeprefix("local:").rpartition("@") if name.startswith("local:") else ("", "", name)
    )
    return (path, network) if at else ("", name)


def knows(name: str) -> bool:
    """Whether a name (without "random/") is that of a backbone of clips."""
    return _parts(name)[1] in names()


def card(name: str, seed: int | None = None) -> BackboneCard:
    """Card of a backbone of clips, or with a seed of its random twin; reads no weights. Raises
    WeightsError.
    """
    path, network = _parts(name)
    row = _row(network)
    twin = seed is not None
    if path and twin:
        raise UnsupportedOptionError(
            f"Name the random twin of {name} by its network: random/{network}."
        )
    file = Path(path) if path else None
    if file is not None and not file.is_file():
        raise WeightsError(f"There is no weights file {file}.")
    unit = row.clip.unit / 255
    blank = BackboneCard(
        name=f"random/{name}" if twin else name,
        title=f"{row.title}, random initialisation" if twin else row.title,
        family="video",
        size=row.clip.size,
        mean=tuple(m * unit for m in row.clip.mean),
        std=tuple(s * unit for s in row.clip.std),
        interpolation=row.clip.fitting,
        layers=row.layers,
        dim=row.dim,
        params=row.params,
        pretraining="" if twin else row.pretraining,
        licence=row.licence,
        source="etab" if twin else file.name if file else row.where or "torchvision",
        sha256=weights.sha256_of(file) if file else "",
        twin=name if twin else "",
        seed=seed,
        clip=row.clip,
    )
    return replace(blank, load=partial(_load, network, seed, file, blank))


def _load(name: str, seed: int | None, file: Path | None, card: BackboneCard) -> Backbone:
    """Build the network: pretrained by the hub, from a local state dict, or (seed given) at random
    initialisation.
    """
    import torch

    from etab.backbones.video.networks import VideoBackbone

    row = _row(name)
    if seed is None and file is None and name in _PUBLISHED:
        raise WeightsError(
            f"{row.title} needs its published weights ({row.where}; licence: {row.licence}), which are not fetched for "
            f"you. Convert them once with `etab convert FILE weights.safetensors --network {name}`, then name "
            f"local:weights.safetensors@{name}; or take its random twin, random/{name}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        network, embed = row.build()
    if file is not None:
        fit.load_file(network, file, name, **_reading(name, network.state_dict()))
    elif seed is None:
        weights.load_strictly(network, _hub(name), f"the hub's weights as {name}")
    return VideoBackbone(card, network, embed, row.clip)


def _reading(name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """How ``fit`` reads a user's file: published networks need all their keys, those of torchvision
    no head.
    """
    if name in _PUBLISHED:
        return {"rename": partial(own_state, name)}
    return {"head": fit.head_keys(own)}


def fitted(name: str, content: Any, what: str, take: str = "") -> fit.Fitted:
    """The weights of a backbone of clips in what a file holds; arguments and raises as
    ``weights.fit.fit``.
    """
    import torch

    with torch.device("meta"):
        own = _row(name).build()[0].state_dict()
    return fit.fit(content, own, what, take=take, **_reading(name, own))


def _hub(name: str) -> Mapping[str, Any]:
    """The state dict that torchvision fetches."""
    from torchvision import models

    try:
        state: Mapping[str, Any] = models.get_model_weights(name.removeprefix(_PREFIX))[
            "DEFAULT"
        ].get_state_dict()
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise WeightsError(
            f"The weights of {name} could not be fetched: {reason}. Without a network name a file, local:<file>@{name}, or "
            f"its random twin, random/{name}."
        ) from error
    return state


def own_state(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """Of a published state dict, the part that is this network's, under its own names; nothing
    unknown is left out.
    """
    row = _row(name)
    own = {k: v for k, v in state.items() if not (row.others and re.fullmatch(row.others, k))}
    inside = [tuple(pair.split("=")) for pair in row.inside]
    if not any(k.startswith(old) for k in own for old, _ in inside):
        return own
    return {
        next((new + k.removeprefix(old) for old, new in inside if k.startswith(old)), k): v
        for k, v in own.items()
    }


for _name in names():
    BACKBONES.add(_name, Entry(card, "clip"))
