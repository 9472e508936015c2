"""Backbones by name. A new named one is a row in ``named.py``; anything else goes by where it comes from."""

from __future__ import annotations

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.image import named
from etab.backbones.sound import named as sound
from etab.backbones.sound import records
from etab.backbones.video import named as video
from etab.errors import UnknownNameError, UnsupportedOptionError
from etab.registry import unknown

__all__ = ["Backbone", "BackboneCard", "card", "from_callable", "names", "optional", "video"]

_PREFIXES = (
    "timm/<model>",
    "torchvision/<model>",
    "hf-hub:<owner>/<model>",
    "torchaudio/<BUNDLE>",
    "transformers/<owner>/<model>",
    "local:<file>@timm/<model>",
    "local:<file>@echoprime",
    "random/<name>",
)


def names(modality: str | None = None) -> list[str]:
    """The backbones that have a name here: those of pictures, then those of sound ("image", "sound"; None: both)."""
    heard = [*sound.names(), *records.names()]
    return [
        *(named.names() if modality != "sound" else []),
        *(heard if modality != "image" else []),
    ]


def optional() -> list[str]:
    """Named backbones that ``names`` leaves out: they need an extra, or their weights are not free for every use."""
    return sound.optional()


def card(name: str) -> BackboneCard:
    """The card of a backbone; reads no weights. Raises UnknownNameError with a suggestion, or WeightsError for a file."""
    seed = None
    base = name
    if name.startswith("random/"):
        base, seed = name.removeprefix("random/"), 0
    if base in named.names():
        return named.card(base, seed)
    if base in (*sound.names(), *sound.optional()):
        return sound.card(base, seed)
    if base in records.names():
        return records.card(base, seed)
    if base.startswith(("torchaudio/", "transformers/")):
        return _open_sound(base, seed)
    if video.knows(base):
        return video.card(base, seed)
    if base.startswith(("timm/", "torchvision/", "hf-hub:", "local:")):
        return _open(base, seed)
    error = unknown("backbone", name, [*names(), *optional(), *video.names()])
    raise UnknownNameError(f"{error} Or: {', '.join(_PREFIXES)}.")


def _open_sound(base: str, seed: int | None) -> BackboneCard:
    from dataclasses import replace

    from etab.backbones.sound import open as open_sound

    found = open_sound.sound_card(base, seed)
    return found if seed is None else replace(found, name=f"random/{base}", twin=base, seed=seed)


def _open(base: str, seed: int | None) -> BackboneCard:
    from dataclasses import replace

    from etab.backbones.image import open as opened

    if base.startswith("local:") or (seed is not None and base.startswith("hf-hub:")):
        if seed is not None:
            raise UnsupportedOptionError(
                f"Name the random twin of {base} by its network: random/timm/<model>."
            )
        return opened.local_card(base)
    make = opened.torchvision_card if base.startswith("torchvision/") else opened.timm_card
    found = make(base, seed)
    return found if seed is None else replace(found, name=f"random/{base}", twin=base, seed=seed)


def from_callable(
    name: str, function: object, *, size: int = 224, version: str = ""
) -> BackboneCard:
    """Card of a Python callable or torch module that maps (n, 3, size, size) in [0, 1] to features.

    See ``etab.backbones.image.open.from_callable``.
    """
    from etab.backbones.image import open as opened

    return opened.from_callable(name, function, size=size, version=version)  # type: ignore[arg-type]
