"""The backbones that have a name here: five pretrained ones whose weights travel in packages, and
two controls.

A new backbone with its own name is one row in ``_LEARNED`` (and its weights one entry of
checkpoints/index.toml).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from etab.backbones.base import IMAGENET, Backbone, BackboneCard
from etab.backbones.registered import BACKBONES, Entry
from etab.backbones.weights import index as weights
from etab.errors import UnsupportedOptionError

_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Net:
    """How a named network is built: a timm name with indices of intermediates, or torchvision's
    VGG16 features.
    """

    title: str
    builder: str
    indices: tuple[int, ...]
    layers: tuple[str, ...]
    strides: tuple[int, ...]
    dim: int
    params: int
    family: str = "cnn"
    size: int = 224
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    stages: tuple[int, ...] = ()


_CNN = ("stride8", "stride16", "stride32")
_LEARNED: Mapping[str, Net] = {
    "efficientnet_lite0": Net(
        "EfficientNet-Lite0",
        "timm/tf_efficientnet_lite0",
        (2, 3, 4),
        _CNN,
        (8, 16, 32),
        320,
        3_371_008,
        mean=_HALF,
        std=_HALF,
        stages=(1, 2, 2, 3, 3, 4, 1),
    ),
    "efficientnet_lite2": Net(
        "EfficientNet-Lite2",
        "timm/tf_efficientnet_lite2",
        (2, 3, 4),
        _CNN,
        (8, 16, 32),
        352,
        4_811_072,
        mean=_HALF,
        std=_HALF,
        stages=(1, 3, 3, 4, 4, 5, 1),
    ),
    "mobilenetv2": Net(
        "MobileNetV2 1.0",
        "timm/mobilenetv2_100",
        (2, 3, 4),
        _CNN,
        (8, 16, 32),
        320,
        2_223_872,
    ),
    "vits14_saliency": Net(
        "ViT-S/14",
        "timm/vit_small_patch14_dinov2",
        (5, 8, 11),
        ("block5", "block8", "block11"),
        (14, 14, 14),
        384,
        21_628_800,
        family="vit",
    ),
    "hed_vgg16": Net(
        "VGG16 (HED edge detection)",
        "vgg16",
        (15, 22, 29),
        ("conv3", "conv4", "conv5"),
        (4, 8, 16),
        512,
        14_714_688,
        size=128,
    ),
}
_CONTROLS = {
    "image_stats": ("grey-level statistics of the frame and of blocks", 224),
    "pixel_pca": ("principal components of the pixels, fitted on training patients", 224),
}


def names() -> list[str]:
    """Names in the order of the table."""
    return [*_LEARNED, *_CONTROLS]


def _build(net: Net) -> Any:
    """The network without weights of its own (random initialisation from the current generator)."""
    if net.builder == "vgg16":
        import torchvision

        return torchvision.models.vgg16(weights=None).features
    import timm

    options: dict[str, Any] = (
        {"img_size": net.size, "dynamic_img_size": False} if net.family == "vit" else {}
    )
    return timm.create_model(
        net.builder.removeprefix("timm/"), pretrained=False, num_classes=0, **options
    )


def _state(name: str, net: Net, own: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pretrained weights under the network's own names."""
    from etab.backbones.weights import formats as convert

    path = weights.path_of(name)
    state = convert.read(path, weights.entry(name)["format"])
    if net.stages:
        state = convert.efficientnet(state, net.stages)
        return {k: v for k, v in state.items() if not k.startswith("classifier")}
    if net.builder == "vgg16":
        return state
    if net.family == "vit":
        from timm.layers.pos_embed import resample_abs_pos_embed

        side = net.size // 14
        grid = resample_abs_pos_embed(
            state["pos_embed"], [side, side], interpolation="bicubic", antialias=False
        )
        return {**state, "pos_embed": grid}
    return convert.in_order(state, own, name)


def _load(name: str, seed: int | None, card: BackboneCard) -> Backbone:
    """Build the network, with its pretrained weights or (seed given) at random initialisation."""
    import torch

    from etab.backbones.image import networks as vision

    net = _LEARNED[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        network = _build(net)
    if seed is None:
        weights.load_strictly(network, _state(name, net, network.state_dict()), name)
    if net.builder == "vgg16":
        taps = vision.sequential_taps(network, net.indices, net.layers)
    else:
        taps = vision.timm_taps(network, net.indices, net.layers)
    return vision.TorchBackbone(card, network, taps)


def _control(name: str, card: BackboneCard) -> Backbone:
    from etab.backbones.image import controls

    return controls.ImageStats(card) if name == "image_stats" else controls.PixelPCA(card)


def card(name: str, seed: int | None = None) -> BackboneCard:
    """The card of a named backbone, or with a seed of its random twin; raises for a control's twin."""
    if name in _CONTROLS:
        if seed is not None:
            raise UnsupportedOptionError(f"{name} has no weights, so it has no random twin.")
        title, size = _CONTROLS[name]
        blank = BackboneCard(
            name,
            title,
            family="control",
            size=size,
            layers=("pixels",),
            strides=(8, 8, 8),
            learned=False,
            licence="BSD-3-Clause",
            source="etab",
        )
        return replace(blank, load=partial(_control, name, blank))
    net = _LEARNED[name]
    what = weights.entry(name)
    twin = seed is not None
    blank = BackboneCard(
        name=f"random/{name}" if twin else name,
        title=f"{net.title}, random initialisation" if twin else net.title,
        family=net.family,
        size=net.size,
        mean=net.mean,
        std=net.std,
        layers=net.layers,
        strides=net.strides,
        dim=net.dim,
        params=net.params,
        pretraining="" if twin else what["pretraining"],
        licence=what["licence"],
        source="etab" if twin else f"{what['package']} {what['version']}",
        sha256="" if twin else what["sha256"],
        twin=name if twin else "",
        seed=seed,
    )
    return replace(blank, load=partial(_load, name, seed, blank))


for _name in names():
    BACKBONES.add(_name, Entry(card, "image"))
