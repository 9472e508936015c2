"""BackboneCard: the facts of a backbone that need no weights. Backbone: the loaded network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from etab.backbones.video.contract import ClipContract
from etab.errors import UnsupportedOptionError
from etab.types import IMAGENET, Array, Features

__all__ = ["IMAGENET", "Backbone", "BackboneCard", "Course"]


@dataclass(frozen=True, slots=True)
class Course:
    """A layer over time of one recording: values (steps, channels), step i centred at ``first + i *
    hop`` seconds.
    """

    values: Array
    hop: float
    first: float


class Backbone(Protocol):
    """A loaded backbone. The features of a frame, or a window of sound, never depend on other rows
    of the batch.
    """

    def __call__(self, x: Any) -> Features:
        """Embed a uint8 torch tensor (n, size, size) on any device; normalises by its own card.

        Modality "sound": a float32 tensor (n, samples) at the card's ``rate``, full scale at 1.
        """
        ...

    def digest(self) -> str:
        """sha256 of the weights actually loaded (tensor bytes), or of the definition where nothing
        is learned.
        """
        ...


def _without_loader() -> Backbone:
    raise UnsupportedOptionError(
        "This card has no loader. Register it (etab.backbones.register), or give load= a function without arguments."
    )


@dataclass(frozen=True, slots=True)
class BackboneCard:
    """The facts of one backbone. ``load`` gives it in eval mode with frozen parameters.

    name            as typed: "efficientnet_lite0", "timm/resnet18", "local:weights.pt",
                    "random/efficientnet_lite0"
    family          "cnn", "vit", "lstm", "video" or "control"
    modality        "image" (any source, through frames or log-mel pictures), "sound" (a waveform),
                    or "record" (the facts or envelopes of a recording of sound)
    size            side of the square input in pixels; frames are resized to it with
                    ``interpolation``
    mean, std       per channel, on the [0, 1] scale
    layers          names of the layers in ``Features.pooled`` and ``Features.maps``, fine to coarse
    strides         of the maps, in input pixels, fine to coarse
    dim             width of the last layer
    learned         False for controls that have no weights (image statistics, pixels)
    twin            name of the pretrained backbone whose random-initialisation twin this is; ""
                    otherwise
    seed            initialisation seed of a random twin
    rate            Hz of the waveform that a sound backbone reads; None for pictures
    seconds         length of the windows that a sound backbone was made for; others are allowed
    series          Hz of the time series of whole recordings that it gives itself, homomorphic
                    envelope first; None: none
    timed           layers that ``etab.features.recordings`` can put on the time of a recording of
                    sound, the candidates of a head of states; pictures go by their maps instead
                    (``over_time``)
    clip            the input of a "video" backbone; None for backbones of single frames
    """

    name: str
    title: str
    load: Callable[[], Backbone] = field(default=_without_loader, compare=False, repr=False)
    family: str = "cnn"
    modality: str = "image"
    size: int = 224
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    interpolation: str = "bilinear"
    layers: tuple[str, ...] = ()
    strides: tuple[int, ...] = ()
    dim: int | None = None
    params: int | None = None
    learned: bool = True
    pretraining: str = ""
    licence: str = ""
    source: str = ""
    sha256: str = ""
    twin: str = ""
    seed: int | None = None
    version: int = 1
    rate: int | None = None
    seconds: float = 0.0
    series: int | None = None
    timed: tuple[str, ...] = ()
    clip: ClipContract | None = None

    @property
    def over_time(self) -> bool:
        """Whether it has features for every moment of a recording of sound: a series of its own, or
        layers over time.
        """
        pictures = self.modality == "image" and bool(self.strides) and self.clip is None
        return self.series is not None or bool(self.timed) or pictures
