"""Backbones of whole clips by name: six of torchvision, and those published for echocardiography.

The weights of torchvision's networks are fetched from its hub. A published network needs a file of
the user: ``local:<file>@echoprime``. To add a network, add a row to ``_TORCHVISION`` or to the
table of ``etab.backbones.video.published``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from etab.backbones.base import IMAGENET, Backbone, BackboneCard
from etab.backbones.registered import BACKBONES, Entry
from etab.backbones.video.contract import ClipContract
from etab.backbones.video.published import PUBLISHED, ClipNetwork, build_mvit
from etab.backbones.weights import fit
from etab.backbones.weights import index as weights
from etab.backbones.weights.recognise import require_file
from etab.errors import UnsupportedOptionError, WeightsError, reason_of

_KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
_PREFIX = "torchvision/"


def _build_stages(model: str, names: Mapping[str, str]) -> tuple[Any, Any]:
    """A torchvision network tapped at named stages.

    Its classifier is kept, so that the published weights fit.
    """
    from torchvision import models

    from etab.backbones.video.networks import hooked

    network = models.get_model(model, weights=None)
    channels_last = model.startswith("swin")

    def as_volume(output: Any) -> Any:
        return output.permute(0, 4, 1, 2, 3) if channels_last else output

    return network, hooked(network, names, as_volume)


_RESNET = {
    "layer2": "layer2",
    "layer3": "layer3",
    "layer4": "layer4",
}
_S3D = {
    "mixed3c": "features.6",
    "mixed4f": "features.12",
    "mixed5c": "features.15",
}
_SWIN = {
    "stage2": "features.2",
    "stage3": "features.4",
    "stage4": "features.6",
}


def _every_second(
    size: int, scale: tuple[tuple[float, ...], tuple[float, ...]] = _KINETICS
) -> ClipContract:
    """16 frames, every second native frame; ``scale`` is the mean and standard deviation."""
    return ClipContract(16, 2, size, mean=scale[0], std=scale[1])


def _of_torchvision(
    title: str,
    clip: ClipContract,
    names: Mapping[str, str],
    model: str,
    dim: int,
    params: int,
) -> ClipNetwork:
    return ClipNetwork(
        title,
        clip,
        partial(_build_stages, model, names),
        tuple(names),
        dim,
        params,
        "BSD-3-Clause",
        "Kinetics-400",
    )


_TORCHVISION: Mapping[str, ClipNetwork] = {
    "r2plus1d_18": _of_torchvision(
        "R(2+1)D-18", _every_second(112), _RESNET, "r2plus1d_18", 512, 31_505_325
    ),
    "mc3_18": _of_torchvision("MC3-18", _every_second(112), _RESNET, "mc3_18", 512, 11_695_440),
    "r3d_18": _of_torchvision("R3D-18", _every_second(112), _RESNET, "r3d_18", 512, 33_371_472),
    "s3d": _of_torchvision("S3D", _every_second(224), _S3D, "s3d", 1024, 8_320_048),
    "mvit_v2_s": ClipNetwork(
        "MViTv2-S",
        _every_second(224, ((0.45,) * 3, (0.225,) * 3)),
        build_mvit,
        ("block2", "block13", "block15"),
        768,
        34_537_744,
        "BSD-3-Clause",
        "Kinetics-400",
    ),
    "swin3d_t": _of_torchvision(
        "Video Swin-T", _every_second(224, IMAGENET), _SWIN, "swin3d_t", 768, 28_158_070
    ),
}


def clip_names() -> list[str]:
    """List the backbones of clips: those of torchvision, then those published for echo."""
    return [*(_PREFIX + name for name in _TORCHVISION), *PUBLISHED]


def _row(name: str) -> ClipNetwork:
    if name.startswith(_PREFIX):
        return _TORCHVISION[name.removeprefix(_PREFIX)]
    return PUBLISHED[name]


def _parts(name: str) -> tuple[str, str]:
    """(file, network) of "local:<file>@<network>"; ("", name) for any other name."""
    if not name.startswith("local:"):
        return "", name
    path, separator, network = name.removeprefix("local:").rpartition("@")
    return (path, network) if separator else ("", name)


def knows(name: str) -> bool:
    """Whether a name is that of a backbone of clips.

    Args:
        name: A network, or "local:<file>@<network>"; without "random/".
    """
    return _parts(name)[1] in clip_names()


def clip_card(name: str, seed: int | None = None) -> BackboneCard:
    """Make the card of a backbone of clips, without reading weights.

    Args:
        name: A name for which ``knows`` is true.
        seed: Seed of the random twin; None for the backbone itself.

    Returns:
        The card.

    Raises:
        UnsupportedOptionError: The random twin of a local file is wanted.
        WeightsError: The local file does not exist.
    """
    path, network = _parts(name)
    if path and seed is not None:
        raise UnsupportedOptionError(
            f"Name the random twin of {name} by its network: random/{network}."
        )
    file = Path(path) if path else None
    if file is not None:
        require_file(file, f"There is no weights file {file}.")
    row = _row(network)
    # The card holds the mean and standard deviation on the [0, 1] scale.
    unit = row.clip.unit / 255
    draft = BackboneCard(
        name=name,
        title=row.title,
        family="video",
        size=row.clip.size,
        mean=tuple(m * unit for m in row.clip.mean),
        std=tuple(s * unit for s in row.clip.std),
        interpolation=row.clip.fitting,
        layers=row.layers,
        dim=row.dim,
        params=row.params,
        pretraining=row.pretraining,
        pretraining_sets=("kinetics-400",) if network.startswith(_PREFIX) else row.sets,
        licence=row.licence,
        source=row.where or "torchvision",
        clip=row.clip,
    )
    if seed is not None:
        draft = draft.random_twin(seed)
    if file is not None:
        draft = replace(draft, source=file.name, sha256=weights.sha256_of(file))
    return replace(draft, load=partial(_load, network, seed, file, draft))


def _load(
    name: str,
    seed: int | None,
    file: Path | None,
    card: BackboneCard,
) -> Backbone:
    """Build the network: from a local file, from the hub, or (seed given) randomly initialised."""
    import torch

    from etab.backbones.video.networks import VideoBackbone

    row = _row(name)
    if seed is None and file is None and name in PUBLISHED:
        raise WeightsError(
            f"{row.title} needs its published weights ({row.where}; licence: {row.licence}), "
            "which are not fetched for you. Convert them once with "
            f"`etab convert FILE weights.safetensors --network {name}`, then name "
            f"local:weights.safetensors@{name}; or use its random twin, random/{name}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        network, embed = row.build()
    if file is not None:
        fit.load_file(network, file, name, **_reading(name, network.state_dict()))
    elif seed is None:
        weights.load_strictly(network, _hub_state(name), f"the hub's weights as {name}")
    return VideoBackbone(card, network, embed, row.clip)


def _reading(name: str, initial: Mapping[str, Any]) -> dict[str, Any]:
    """How ``weights.fit`` reads a user's file of a network with the state dict ``initial``.

    A published network needs all its keys, one of torchvision needs no head.
    """
    if name in PUBLISHED:
        return {"rename": partial(own_state, name)}
    return {"head": fit.head_keys(initial)}


def clip_weights(
    name: str,
    content: Any,
    what: str,
    take: str = "",
) -> fit.Fitted:
    """Find the weights of a backbone of clips in the content of a checkpoint.

    Args:
        name: The network, one of ``clip_names()``.
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
        initial = _row(name).build()[0].state_dict()
    return fit.find_weights(
        content,
        initial,
        what,
        take=take,
        **_reading(name, initial),
    )


def _hub_state(name: str) -> Mapping[str, Any]:
    """The state dict that torchvision fetches from its hub."""
    from torchvision import models

    published = models.get_model_weights(name.removeprefix(_PREFIX))["DEFAULT"]
    try:
        state: Mapping[str, Any] = published.get_state_dict()
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"The weights of {name} could not be fetched: {reason_of(error)}. Without network "
            f"access, name a file, local:<file>@{name}, or the random twin, random/{name}."
        ) from error
    return state


def own_state(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """Select the part of a published state dict that belongs to the network, and rename it.

    Args:
        name: A published network, as "panecho".
        state: The published state dict.

    Returns:
        Tensors by the keys of the network. Keys of known other parts are left out; unknown keys
        are not.
    """
    row = _row(name)
    own = {}
    for key, tensor in state.items():
        if not (row.others and re.fullmatch(row.others, key)):
            own[key] = tensor
    pairs = [pair.split("=") for pair in row.renamed]
    return {_renamed(key, pairs): tensor for key, tensor in own.items()}


def _renamed(key: str, pairs: Sequence[Sequence[str]]) -> str:
    """Replace the first old prefix that matches a key by its new one."""
    for old, new in pairs:
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


for _name in clip_names():
    BACKBONES.add(_name, Entry(clip_card, "clip"))
