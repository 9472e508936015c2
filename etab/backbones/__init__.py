"""Backbones by name: registered ones, and networks named by the library or file they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.image import echonet
from etab.backbones.image import named as _image  # noqa: F401  (registers)
from etab.backbones.own.installed import hidden_by, installed, installed_card
from etab.backbones.pretraining import pretrained_on
from etab.backbones.registered import (
    BACKBONES,
    LIBRARIES,
    Entry,
    name_of_function,
    register,
    renamed,
    require_own_name,
)
from etab.backbones.scales import scaled, split_scale
from etab.backbones.sizes import sized
from etab.backbones.sound import named as _sound  # noqa: F401  (registers)
from etab.backbones.sound import records as _records  # noqa: F401  (registers)
from etab.backbones.suggest import unknown_backbone
from etab.backbones.video import named as video
from etab.errors import EtabError, UnknownNameError, UnsupportedOptionError
from etab.results.names import split_size

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneCard",
    "Entry",
    "card",
    "cards",
    "from_callable",
    "hidden",
    "installed",
    "name_of_function",
    "names",
    "optional",
    "pretrained_on",
    "register",
    "renamed",
    "require_own_name",
    "scaled",
    "sized",
    "video",
]

# Names that etab itself brings; packages may register others later.
_OF_ETAB = frozenset(BACKBONES)
_FORMS = (
    "timm/<model>",
    "torchvision/<model>",
    "hf-hub:<owner>/<model>",
    "torchaudio/<BUNDLE>",
    "transformers/<owner>/<model> or transformers/<folder>",
    "local:<file>@timm/<model>",
    "local:<file>@echoprime",
    "open_clip/<model>@<weights>",
    "onnx:<file>",
    "vectors:<file>",
    "random/<name>",
)


def names(modality: str | None = None) -> list[str]:
    """List the registered backbones of images and of sound.

    Backbones of clips, and those listed by ``optional``, are left out.

    Args:
        modality: "image", "sound", or None for both; images come first.

    Returns:
        Names in the order of registration.

    Example:
        >>> from etab import backbones
        >>> backbones.names("image")[:2]
        ['efficientnet_lite0', 'efficientnet_lite2']
    """
    groups = ("image", "sound") if modality is None else (modality,)
    listed = []
    for group in groups:
        for name, entry in BACKBONES.items():
            if entry.group == group and entry.listed:
                listed.append(name)
    return listed


def hidden() -> dict[str, str]:
    """Find the backbones of installed packages that have the name of a backbone of etab.

    They are not used.

    Returns:
        A sentence for each, by name.
    """
    return hidden_by(_OF_ETAB)


def optional() -> list[str]:
    """List the backbones that need an extra, or whose weights are not free for every use.

    ``names`` leaves them out.
    """
    return [name for name, entry in BACKBONES.items() if not entry.listed]


def cards(wanted: Iterable[str]) -> tuple[list[BackboneCard], dict[str, str]]:
    """Make the cards of several backbones; a faulty one does not affect the others.

    Args:
        wanted: Names, as in ``card``.

    Returns:
        (cards, faults): the cards in the order of the names, and the error message of each
        backbone whose card could not be made, by name.
    """
    made: list[BackboneCard] = []
    faults: dict[str, str] = {}
    for name in wanted:
        try:
            made.append(card(name))
        except EtabError as error:
            faults[name] = str(error)
        except Exception as error:  # a maker may be of any author
            faults[name] = f"{type(error).__name__}: {error}"
    return made, faults


def card(name: str) -> BackboneCard:
    """Make the card of a backbone, without reading weights.

    Args:
        name: A registered name (see ``names``), one of ``installed``, "timm/<model>",
            "torchvision/<model>", "hf-hub:<owner>/<model>", "torchaudio/<BUNDLE>",
            "transformers/<owner>/<model>", or "local:<file>@<network>". "random/" in front names
            the random twin of a network; "@448" or "@448+letterbox" behind, the same network at
            another input size or fit (see ``sized``); "@mean=0.5@std=0.25" behind (and before the
            size), with another normalisation (see ``scaled``).

    Returns:
        The card. Its ``load()`` returns the backbone.

    Raises:
        UnknownNameError: There is no backbone of this name; the error suggests a similar one.
        UnsupportedOptionError: The backbone has no random twin, or cannot take the size.
        WeightsError: The local file does not exist, or the index of weights is faulty for this
            name.

    Example:
        >>> from etab import backbones
        >>> backbones.card("random/mobilenetv2").twin
        'mobilenetv2'
    """
    if not isinstance(name, str):
        raise UnknownNameError(f"A backbone is named by a text; got {name!r}.")
    if name in BACKBONES:
        return BACKBONES[name].make(name, None)
    stem, size, fit = split_size(name)
    if size is not None:
        return sized(card(stem), size, fit)
    stem, mean, std = split_scale(name)
    if mean is not None or std is not None:
        return scaled(card(stem), mean, std)
    seed = 0 if name.startswith("random/") else None
    base = name.removeprefix("random/")
    if base in BACKBONES:
        return BACKBONES[base].make(base, seed)
    for prefix, make in _MAKERS.items():
        if base.startswith(prefix):
            return make(base, seed)
    from_package = installed_card(base)
    if from_package is not None:
        if seed is None:
            return from_package
        raise UnsupportedOptionError(
            f"{base} comes from an installed package and has no random twin. "
            "Bring a second entry point with untrained weights."
        )
    raise unknown_backbone(name, [*BACKBONES, *installed()], _FORMS)


def _of_timm(base: str, seed: int | None) -> BackboneCard:
    from etab.backbones.image import open as image_open

    if seed is not None and base.startswith("hf-hub:"):
        raise _no_twin(base)
    return _twin(image_open.timm_card(base, seed), base, seed)


def _of_torchvision(base: str, seed: int | None) -> BackboneCard:
    from etab.backbones.image import open as image_open

    return _twin(image_open.torchvision_card(base, seed), base, seed)


def _of_file(base: str, seed: int | None) -> BackboneCard:
    if video.knows(base):
        return video.clip_card(base, seed)
    if base.endswith(f"@{echonet.ECHONET_SEG}"):
        return echonet.segmentation_card(base, seed)
    if seed is not None:
        raise _no_twin(base)
    from etab.backbones.image import open as image_open

    return image_open.local_card(base)


def _of_sound(base: str, seed: int | None) -> BackboneCard:
    from etab.backbones.sound import open as sound_open

    return _twin(sound_open.bundle_card(base, seed), base, seed)


def _of_transformers(base: str, seed: int | None) -> BackboneCard:
    from etab.backbones.hub import card as hub

    return _twin(hub.transformers_card(base, seed), base, seed)


def _of_open_clip(base: str, seed: int | None) -> BackboneCard:
    from etab.backbones.image import openclip

    return _twin(openclip.open_clip_card(base, seed), base, seed)


def _of_onnx(base: str, seed: int | None) -> BackboneCard:
    from etab.backbones.own import onnx_file

    if seed is not None:
        raise UnsupportedOptionError(f"{base} is a graph with its weights: no random twin.")
    return onnx_file.onnx_card(base)


def _of_vectors(base: str, seed: int | None) -> BackboneCard:
    from etab.backbones.own import vectors

    if seed is not None:
        raise UnsupportedOptionError(
            f"{base} holds vectors without a network, so that there is no random twin."
        )
    return vectors.vectors_card(base)


def _no_twin(base: str) -> UnsupportedOptionError:
    return UnsupportedOptionError(
        f"Name the random twin of {base} by its network: random/timm/<model>."
    )


def _twin(made: BackboneCard, base: str, seed: int | None) -> BackboneCard:
    """Name a card as the random twin of ``base``; without a seed, return it unchanged."""
    if seed is None:
        return made
    return replace(
        made,
        name=f"random/{base}",
        twin=base,
        seed=seed,
    )


# How the card of an unregistered backbone is made, by the prefix of its name.
_MAKERS: Mapping[str, Callable[[str, int | None], BackboneCard]] = dict(
    zip(
        LIBRARIES,
        (
            _of_timm,
            _of_timm,
            _of_torchvision,
            _of_sound,
            _of_transformers,
            _of_open_clip,
            _of_file,
            _of_vectors,
            _of_onnx,
        ),
        strict=True,
    )
)


def from_callable(
    name: str,
    function: Callable[..., object],
    *,
    size: int = 224,
    version: str = "",
) -> BackboneCard:
    """Make the card of a Python callable or torch module.

    Arguments, output and errors are those of ``etab.backbones.image.callables.callable_card``.

    Args:
        name: Name of the backbone in results.
        function: Maps float frames (n, 3, size, size) in [0, 1] to features: (n, d),
            (n, c, h, w), or a list of these, fine to coarse.
        size: Side of the frames in pixels.
        version: Your version of the function; "" identifies it by its code and weights.

    Returns:
        The card, to be passed wherever a backbone is named.

    Example:
        >>> from etab import backbones
        >>> backbones.from_callable("brightness", lambda x: x.mean((2, 3)), size=64).size
        64
    """
    from etab.backbones.image import callables

    return callables.callable_card(
        name,
        function,
        size=size,
        version=version,
    )
