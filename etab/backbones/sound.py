"""The backbones of sound that have a name here: networks whose weights travel in packages, and two controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from etab.backbones.base import Backbone, BackboneCard
from etab.errors import UnsupportedOptionError

_CONTROLS: Mapping[str, str] = {
    "mel_stats": "statistics over time of 40 log-mel bands, 25 to 800 Hz",
    "mel_pca": "principal components of the log-mel picture, fitted on training patients",
}


def names() -> list[str]:
    """Names in the order of the tables."""
    return [*_CONTROLS]


def _control(name: str, card: BackboneCard) -> Backbone:
    from etab.backbones import controls_sound

    return controls_sound.MelStats(card) if name == "mel_stats" else controls_sound.MelPCA(card)


def card(name: str, seed: int | None = None) -> BackboneCard:
    """The card of a named sound backbone, or with a seed of its random twin; raises for a control's twin."""
    if seed is not None:
        raise UnsupportedOptionError(f"{name} has no weights, so it has no random twin.")
    blank = BackboneCard(name, _CONTROLS[name], _nothing, family="control", modality="sound", size=0, mean=(), std=(),
                         interpolation="", layers=("log-mel",), learned=False, licence="BSD-3-Clause", source="etab",
                         rate=2000, seconds=5.0)  # fmt: skip
    return replace(blank, load=partial(_control, name, blank))


def _nothing() -> Backbone:
    raise UnsupportedOptionError("This card is a draft without a loader.")
