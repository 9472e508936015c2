"""Backbones of frames with another normalisation: ``local:mine.pth@timm/resnet18@mean=0.5@std=0.25``.

A file of weights does not say how frames were normalised when it was trained. Mean and standard
deviation stand in the name, on the card, in the key of the features and in every result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from etab.backbones.base import Backbone, BackboneCard
from etab.errors import UnsupportedOptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from etab.backbones.image.networks import TorchBackbone

_SUFFIX = re.compile(r"(?P<stem>.+?)(?:@mean=(?P<mean>[^@]*))?(?:@std=(?P<std>[^@]*))?")
_OTHER_ORDER = re.compile(r".+@std=[^@]*@mean=[^@]*")
_EXAMPLE = "@mean=0.5@std=0.25 (one number), or @mean=0.485/0.456/0.406 (red, green, blue)"
_CHANNELS = 3


def split_scale(name: str) -> tuple[str, tuple[float, ...] | None, tuple[float, ...] | None]:
    """Split the name of a backbone from the mean and the standard deviation that it ends with.

    Args:
        name: Name of a backbone, without the size that may follow.

    Returns:
        The name without them, and three numbers each, or None where the name does not say it.

    Raises:
        UnsupportedOptionError: What follows is not one number or three.

    Example:
        >>> split_scale("timm/resnet18@mean=0.5")
        ('timm/resnet18', (0.5, 0.5, 0.5), None)
    """
    if _OTHER_ORDER.fullmatch(name):
        raise UnsupportedOptionError(f"{name}: the mean comes before the deviation: {_EXAMPLE}.")
    match = _SUFFIX.fullmatch(name)
    if match is None:
        return name, None, None
    return match["stem"], _numbers(name, match["mean"]), _numbers(name, match["std"])


def refuse_ending(network: str) -> None:
    """Refuse the name of a network that ends with an option which no network has.

    Args:
        network: Name of a network of timm or torchvision, without the mean, deviation and size that
            may follow it. Their own names hold neither ``@`` nor ``?``.

    Raises:
        UnsupportedOptionError: Something else follows the name; the message shows what can.

    Example:
        >>> refuse_ending("resnet18.a1_in1k")
    """
    found = re.search(r"[@?]", network)
    if found is not None:
        raise UnsupportedOptionError(
            f"{network[found.start() :]!r} behind {network[: found.start()]} is not understood. A "
            f"mean and a deviation are written as {_EXAMPLE}; then the size in pixels and the fit, "
            "as @448 or @448+letterbox."
        )


def refuse_parted(word: str) -> None:
    """Refuse a word that commas cut out of the mean or deviation of a backbone.

    Args:
        word: A word of a list of backbones, such as "0.456" of ``@mean=0.485,0.456,0.406``.

    Raises:
        UnsupportedOptionError: The word is a number, whatever follows it.

    Example:
        >>> refuse_parted("mobilenetv2@448")
    """
    number = word.partition("@")[0]
    try:
        float(number)
    except ValueError:
        return
    raise UnsupportedOptionError(
        f"{word!r} is no backbone: commas separate backbones. Write the channels of a mean or "
        f"deviation with slashes, such as {_EXAMPLE}."
    )


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split("/")]
    except ValueError:
        values = []
    if len(values) not in (1, _CHANNELS):
        raise UnsupportedOptionError(
            f"{name}: {text!r} is not a mean or deviation; write {_EXAMPLE}."
        )
    return tuple(values * _CHANNELS if len(values) == 1 else values)


def scaled(
    card: BackboneCard,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> BackboneCard:
    """Make the card of a network of frames with another normalisation: ``(frame - mean) / std``.

    Args:
        card: The card of a network of timm or torchvision, published, random or of a local file.
        mean: Mean of the channels of a frame in [0, 1]: one number, or three. None for that of
            the card.
        std: Standard deviation of the channels, above 0: one number, or three. None for that of
            the card.

    Returns:
        A card whose name ends with "@mean=...", "@std=..." or both; the card itself where nothing
        changes.

    Raises:
        UnsupportedOptionError: A number is out of range, or the backbone normalises its input
            itself.

    Example:
        >>> from etab import backbones
        >>> scaled(backbones.card("timm/resnet18"), 0.5, 0.25).name
        'timm/resnet18@mean=0.5@std=0.25'
    """
    if card.own_scale and not (mean is None and std is None):
        raise UnsupportedOptionError(
            f"{card.name} already has a mean or a deviation; give both at once: {_EXAMPLE}."
        )
    new_mean = card.mean if mean is None else _checked(card, "mean", mean, least=0.0)
    new_std = card.std if std is None else _checked(card, "std", std, least=1e-3)
    if (new_mean, new_std) == (tuple(card.mean), tuple(card.std)):
        return card
    if not _takes_a_scale(card):
        raise UnsupportedOptionError(
            f"{card.name} cannot take a mean or a deviation: only frame networks of timm and "
            "torchvision do. Other encoders declare their own, in a processor, in a graph, or "
            "with etab.Frames(size=..., mean=..., std=...)."
        )
    suffix = "" if mean is None else f"@mean={_text(new_mean)}"
    suffix += "" if std is None else f"@std={_text(new_std)}"
    made = replace(
        card,
        name=f"{card.name}{suffix}",
        title=f"{card.title}, {suffix.removeprefix('@').replace('@', ', ')}",
        twin=f"{card.twin}{suffix}" if card.twin else "",
        mean=new_mean,
        std=new_std,
        own_scale=True,
        load=partial(_load, card.load, new_mean, new_std),
    )
    if card.load_at is None:
        return made
    return replace(made, load_at=partial(_load_at, card.load_at, new_mean, new_std))


def _takes_a_scale(card: BackboneCard) -> bool:
    base = card.name.removeprefix("random/")
    of_library = base.startswith(("timm/", "torchvision/", "hf-hub:"))
    of_file = base.startswith("local:") and ("@timm/" in base or "@torchvision/" in base)
    return card.clip is None and card.modality == "image" and (of_library or of_file)


def _checked(
    card: BackboneCard, what: str, value: float | Sequence[float], *, least: float
) -> tuple[float, ...]:
    """Three numbers on the scale from 0 to 1."""
    try:
        numbers = np.atleast_1d(np.asarray(value, dtype=np.float64)).ravel().tolist()
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) == 1:
        numbers *= _CHANNELS
    if len(numbers) != _CHANNELS or not all(least <= number <= 1 for number in numbers):
        raise UnsupportedOptionError(
            f"{card.name}: {what} is {value!r}; wanted one number or three from {least:g} to 1, "
            "for frames in [0, 1]. Divide those for frames in [0, 255] by 255."
        )
    return tuple(numbers)


def _text(values: Sequence[float]) -> str:
    """One number where the channels agree, else three with a slash between them."""
    shown = values[:1] if len(set(values)) == 1 else values
    return "/".join(repr(value).removesuffix(".0") for value in shown)


def _load(
    load: Callable[[], Backbone], mean: tuple[float, ...], std: tuple[float, ...]
) -> Backbone:
    return _normalising(load(), mean, std)


def _load_at(
    load_at: Callable[[int], Backbone],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    size: int,
) -> Backbone:
    return _normalising(load_at(size), mean, std)


def _normalising(
    backbone: Backbone, mean: tuple[float, ...], std: tuple[float, ...]
) -> TorchBackbone:
    """A network that normalises its frames in another way."""
    from etab.backbones.image.networks import TorchBackbone  # deferred: it imports torch

    if not isinstance(backbone, TorchBackbone):
        raise UnsupportedOptionError("Only frame networks take a mean and a deviation.")
    card = replace(backbone.card, mean=mean, std=std)
    return TorchBackbone(card, backbone.network, backbone.taps)
