"""The segmentation network of EchoNet-Dynamic, as a backbone of frames from a local file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.registered import BACKBONES, Entry
from etab.backbones.video.published import ECHONET_SCALE
from etab.backbones.weights import fit
from etab.backbones.weights import index as weights
from etab.backbones.weights.recognise import require_file
from etab.errors import UnsupportedOptionError, WeightsError

ECHONET_SEG = "echonet_seg"
"""Name of the segmentation network of EchoNet-Dynamic."""

_SOURCE = "https://github.com/douyang/EchoNetDynamic, release v1.0.0, deeplabv3_resnet50_random.pt"
_LICENCE = "Stanford, non-commercial research"
# Modules by layer: two stages of the trunk, and the last map before the output.
_LAYERS = {
    "layer2": "backbone.layer2",
    "layer4": "backbone.layer4",
    "aspp": "classifier.3",
}


def segmentation_card(name: str, seed: int | None = None) -> BackboneCard:
    """Make the card of the segmentation network, without reading weights.

    Args:
        name: "echonet_seg" or "local:<file>@echonet_seg".
        seed: Seed of the random twin; None for the backbone itself.

    Returns:
        The card. A frame is resized to 112 x 112 pixels, the size of the published videos.

    Raises:
        UnsupportedOptionError: The random twin of a local file is wanted.
        WeightsError: The local file does not exist.
    """
    path = name.removeprefix("local:").rpartition("@")[0]
    if path and seed is not None:
        raise UnsupportedOptionError(
            f"Name the random twin of {name} by its network: random/{ECHONET_SEG}."
        )
    file = Path(path) if path else None
    if file is not None:
        require_file(file, f"There is no weights file {file}.")
    draft = BackboneCard(
        name=name,
        title="EchoNet-Dynamic, segmentation (DeepLabV3, ResNet-50)",
        load=partial(_load, seed, file, name),
        size=112,
        mean=ECHONET_SCALE[0],
        std=ECHONET_SCALE[1],
        layers=tuple(_LAYERS),
        strides=(8, 8, 8),
        dim=256,
        params=39_633_729,
        pretraining="left ventricle of EchoNet-Dynamic",
        pretraining_sets=("echonet",),
        licence=_LICENCE,
        source=_SOURCE,
    )
    if file is not None:
        return replace(draft, source=file.name, sha256=weights.sha256_of(file))
    if seed is None:
        return draft
    return draft.random_twin(seed)


def _network() -> Any:
    """DeepLabV3 with one output, without weights."""
    from torchvision.models.segmentation import deeplabv3_resnet50

    return deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=1, aux_loss=False)


def _load(seed: int | None, file: Path | None, name: str) -> Backbone:
    """Build the network: from a local file, or (seed given) randomly initialised."""
    import torch

    from etab.backbones.image.networks import TorchBackbone, module_taps

    if seed is None and file is None:
        raise WeightsError(
            f"{ECHONET_SEG} needs its published weights ({_SOURCE}; licence: {_LICENCE}), which "
            "are not fetched for you. Convert them once with "
            f"`etab convert FILE weights.safetensors --network {ECHONET_SEG}`, then name "
            f"local:weights.safetensors@{ECHONET_SEG}; or use its random twin, "
            f"random/{ECHONET_SEG}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        network = _network()
    if file is not None:
        fit.load_file(network, file, ECHONET_SEG)
    return TorchBackbone(segmentation_card(name, seed), network, module_taps(network, _LAYERS))


def segmentation_weights(content: Any, what: str, take: str = "") -> fit.Fitted:
    """Find the weights of the segmentation network in the content of a checkpoint.

    Args:
        content: Content of the file, as in ``weights.fit.find_weights``.
        what: Name of the file and the network in errors.
        take: Label of the part to use, as in ``weights.fit.find_weights``.

    Returns:
        The weights under the keys of the network.

    Raises:
        WeightsError: The file does not fit the network.
    """
    import torch

    with torch.device("meta"):
        initial = _network().state_dict()
    return fit.find_weights(content, initial, what, take=take)


BACKBONES.add(ECHONET_SEG, Entry(segmentation_card, "image", listed=False))
