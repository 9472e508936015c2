"""Image backbones with a name of their own: five pretrained networks and two controls.

The weights of the pretrained networks are taken from Python packages. To add one, add a row to
``_LEARNED`` and an entry to checkpoints/index.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from etab.backbones.base import IMAGENET, Backbone, BackboneCard, refuse_twin_of_control
from etab.backbones.registered import BACKBONES, Entry
from etab.backbones.weights import index as weights

if TYPE_CHECKING:
    from etab.backbones.image.networks import TorchBackbone

_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class _Network:
    """How one network is built; the other fields are those of its card.

    Attributes:
        builder: "timm/<model>", or "vgg16" for the features of torchvision's VGG16.
        indices: Indices of the tapped intermediates (timm) or modules (VGG16).
        stages: Number of blocks of each stage, for EfficientNets whose weights are renamed.
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
_LEARNED: Mapping[str, _Network] = {
    "efficientnet_lite0": _Network(
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
    "efficientnet_lite2": _Network(
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
    "mobilenetv2": _Network(
        "MobileNetV2 1.0",
        "timm/mobilenetv2_100",
        (2, 3, 4),
        _CNN,
        (8, 16, 32),
        320,
        2_223_872,
    ),
    "vits14_saliency": _Network(
        "ViT-S/14",
        "timm/vit_small_patch14_dinov2",
        (5, 8, 11),
        ("block5", "block8", "block11"),
        (14, 14, 14),
        384,
        21_628_800,
        family="vit",
    ),
    "hed_vgg16": _Network(
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
# Title and input size of each control.
_CONTROLS = {
    "image_stats": ("grey-level statistics of the frame and of blocks", 224),
    "pixel_pca": ("principal components of the pixels, fitted on training patients", 224),
}


def _build(row: _Network, size: int) -> Any:
    """Build a network, initialised at random from the current state of torch's generator."""
    if row.builder == "vgg16":
        import torchvision

        return torchvision.models.vgg16(weights=None).features
    import timm

    options: dict[str, Any] = {}
    if row.family == "vit":
        options = {"img_size": size, "dynamic_img_size": False}
    model = row.builder.removeprefix("timm/")
    return timm.create_model(
        model,
        pretrained=False,
        num_classes=0,
        **options,
    )


def _pretrained(
    name: str,
    row: _Network,
    initial: Mapping[str, Any],
    size: int,
) -> Mapping[str, Any]:
    """Read the pretrained weights under the keys of the network.

    Args:
        name: The backbone.
        row: Its row of ``_LEARNED``.
        initial: The state dict of the network as built.
        size: Side of the input in pixels, to which the positions of a transformer are resampled.
    """
    from etab.backbones.weights import formats

    path = weights.path_of(name)
    state = formats.read_weights(path, weights.entry(name)["format"])
    if row.stages:
        state = formats.efficientnet(state, row.stages)
        return {k: v for k, v in state.items() if not k.startswith("classifier")}
    if row.builder == "vgg16":
        return state
    if row.family == "vit":
        from timm.layers.pos_embed import resample_abs_pos_embed

        side = size // 14
        grid = resample_abs_pos_embed(
            state["pos_embed"],
            [side, side],
            interpolation="bicubic",
            antialias=False,
        )
        return {**state, "pos_embed": grid}
    return formats.in_order(state, initial, name)


def _load_at(name: str, seed: int | None, card: BackboneCard, size: int) -> Backbone:
    """Build the network for another input size."""
    return _load(name, seed, replace(card, size=size)).at_size(size)


def _load(name: str, seed: int | None, card: BackboneCard) -> TorchBackbone:
    """Build the network, with its pretrained weights or (seed given) at random initialisation."""
    import torch

    from etab.backbones.image.networks import TorchBackbone, sequential_taps, timm_taps

    row = _LEARNED[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        network = _build(row, card.size)
    if seed is None:
        weights.load_strictly(
            network, _pretrained(name, row, network.state_dict(), card.size), name
        )
    if row.builder == "vgg16":
        taps = sequential_taps(network, row.indices, row.layers)
    else:
        taps = timm_taps(network, row.indices, row.layers)
    return TorchBackbone(card, network, taps)


def _load_control(name: str, card: BackboneCard) -> Backbone:
    from etab.backbones.image import controls

    if name == "image_stats":
        return controls.ImageStats(card)
    return controls.PixelPCA(card)


def _load_control_at(name: str, card: BackboneCard, size: int) -> Backbone:
    return _load_control(name, replace(card, size=size))


def _control_card(name: str, seed: int | None) -> BackboneCard:
    """The card of a control; raises UnsupportedOptionError with a seed."""
    refuse_twin_of_control(name, seed)
    title, size = _CONTROLS[name]
    draft = BackboneCard(
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
    return replace(
        draft,
        load=partial(_load_control, name, draft),
        load_at=partial(_load_control_at, name, draft),
    )


def _network_card(name: str, seed: int | None) -> BackboneCard:
    """The card of a pretrained network, or with a seed of its random twin."""
    row = _LEARNED[name]
    entry = weights.entry(name)
    draft = BackboneCard(
        name=name,
        title=row.title,
        family=row.family,
        size=row.size,
        mean=row.mean,
        std=row.std,
        layers=row.layers,
        strides=row.strides,
        dim=row.dim,
        params=row.params,
        pretraining=entry["pretraining"],
        pretraining_sets=weights.pretraining_sets(name),
        licence=entry["licence"],
        source=f"{entry['package']} {entry['version']}",
        sha256=entry["sha256"],
    )
    if seed is not None:
        draft = draft.random_twin(seed)
    return replace(
        draft,
        load=partial(_load, name, seed, draft),
        load_at=partial(_load_at, name, seed, draft),
    )


for _name in _LEARNED:
    BACKBONES.add(_name, Entry(_network_card, "image"))
for _name in _CONTROLS:
    BACKBONES.add(_name, Entry(_control_card, "image"))
