"""Backbones by name: those that are registered, and those that are named by where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.image import named as _image  # noqa: F401  (registers)
from etab.backbones.registered import BACKBONES, Entry, register
from etab.backbones.sound import named as _sound  # noqa: F401  (registers)
from etab.backbones.sound import records as _records  # noqa: F401  (registers)
from etab.backbones.video import named as video
from etab.errors import EtabError, UnknownNameError, UnsupportedOptionError
from etab.registry import unknown

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneCard",
    "Entry",
    "card",
    "cards",
    "from_callable",
    "names",
    "optional",
    "register",
    "video",
]

_FORMS = (
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
    """Names of the registered backbones that are listed, without those of whole clips.

    Args:
        modality: "image", "sound", or None for both; those of images come first.

    Returns:
        Names in the order of registration.
    """
    groups = ("image", "sound") if modality is None else (modality,)
    listed = []
    for group in groups:
        listed += [name for name, e in BACKBONES.items() if e.group == group and e.listed]
    return listed


def optional() -> list[str]:
    """Names that ``names`` leaves out: they need an extra, or their weights are not free for every
    use.
    """
    return [name for name, entry in BACKBONES.items() if not entry.listed]


def cards(wanted: Iterable[str]) -> tuple[list[BackboneCard], dict[str, str]]:
    """The cards of several backbones; a faulty one costs itself alone.

    Args:
        wanted: Names, as ``card`` takes them.

    Returns: (cards, faults): the cards that could be made, in the order of the names, and what is
        wrong with the others by name.
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
    """The card of a backbone; reads no weights.

    Args:
        name: A registered name (``names()``), "timm/<model>", "torchvision/<model>", "hf-hub:<owner>/<model>",
            "torchaudio/<BUNDLE>", "transformers/<owner>/<model>", "local:<file>@<network>", or "random/" and one of
            these for its random twin.

    Returns:
        The card, whose ``load()`` gives the backbone.

    Raises:
        UnknownNameError: Nothing has this name; the error suggests one.
        UnsupportedOptionError: It has no random twin.
        WeightsError: The local file is not there, or the index of weights is faulty for this name.

    Example:
        >>> from etab import backbones
        >>> backbones.card("random/mobilenetv2").twin
        'mobilenetv2'
    """
    if name in BACKBONES:
        return BACKBONES[name].make(name, None)
    seed = 0 if name.startswith("random/") else None
    base = name.removeprefix("random/")
    if base in BACKBONES:
        return BACKBONES[base].make(base, seed)
    for prefix, make in _MAKERS.items():
        if base.startswith(prefix):
            return make(base, seed)
    error = unknown("backbone", name, BACKBONES)
    raise UnknownNameError(f"{error} Or: {', '.join(_FORMS)}.")


def _of_timm(base: str, seed: int | None) -> BackboneCard:
    from etab.backbones.image import open as opened

    if seed is not None and base.startswith("hf-hub:"):
        raise _no_twin(base)
    return _twin(opened.timm_card(base, seed), base, seed)


def _of_torchvision(base: str, seed: int | None) -> BackboneCard:
    from etab.backbones.image import open as opened

    return _twin(opened.torchvision_card(base, seed), base, seed)


def _of_file(base: str, seed: int | None) -> BackboneCard:
    if video.knows(base):
        return video.card(base, seed)
    if seed is not None:
        raise _no_twin(base)
    from etab.backbones.image import open as opened

    return opened.local_card(base)


def _of_sound(base: str, seed: int | None) -> BackboneCard:
    from etab.backbones.sound import open as open_sound

    return _twin(open_sound.sound_card(base, seed), base, seed)


def _no_twin(base: str) -> UnsupportedOptionError:
    return UnsupportedOptionError(
        f"Name the random twin of {base} by its network: random/timm/<model>."
    )


def _twin(made: BackboneCard, base: str, seed: int | None) -> BackboneCard:
    return made if seed is None else replace(made, name=f"random/{base}", twin=base, seed=seed)


# Cards of backbones that are named by where they come from, by the beginning of their names.
_MAKERS: Mapping[str, Callable[[str, int | None], BackboneCard]] = {
    "timm/": _of_timm,
    "hf-hub:": _of_timm,
    "torchvision/": _of_torchvision,
    "local:": _of_file,
    "torchaudio/": _of_sound,
    "transformers/": _of_sound,
}


def from_callable(
    name: str, function: object, *, size: int = 224, version: str = ""
) -> BackboneCard:
    """Card of a Python callable or torch module that maps (n, 3, size, size) in [0, 1] to features.

    See ``etab.backbones.image.open.from_callable``.
    """
    from etab.backbones.image import open as opened

    return opened.from_callable(name, function, size=size, version=version)  # type: ignore[arg-type]
