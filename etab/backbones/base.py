"""The two objects that describe an encoder: ``BackboneCard`` (facts) and ``Backbone`` (network)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from etab.backbones.video.contract import ClipContract
from etab.errors import UnsupportedOptionError
from etab.results.names import SQUASH
from etab.types import IMAGENET, Array, Features

__all__ = [
    "FITS",
    "IMAGENET",
    "NOT_STATED",
    "SQUASH",
    "UNKNOWN_DATA",
    "Backbone",
    "BackboneCard",
    "Course",
]

FITS = (SQUASH, "letterbox", "crop")
"""How a frame becomes a square input (see ``etab.backbones.sizes.sized``)."""

UNKNOWN_DATA = ("unknown",)
"""``pretraining_sets`` of learned weights whose data are not known."""

NOT_STATED = "not stated"
"""``pretraining`` on the card of a backbone whose pretraining only its user knows."""


LONGEST_LAYER_NAME = 80
"""Most letters of the name of a layer."""


def is_layer_name(name: object) -> bool:
    """Whether a layer of a user can be called so: printable letters without "/".

    Example:
        >>> is_layer_name("block 3"), is_layer_name("block/3"), is_layer_name("")
        (True, False, False)
    """
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_LAYER_NAME:
        return False
    return name == name.strip() and name.isprintable() and "/" not in name


@dataclass(frozen=True, slots=True)
class Course:
    """The output of one layer over the time of one recording.

    Attributes:
        values: Array (steps, channels). Step ``i`` is centred at ``first + i * hop`` seconds.
        hop: Time from one step to the next, in seconds.
        first: Time of the centre of step 0, in seconds.
    """

    values: Array
    hop: float
    first: float


class Backbone(Protocol):
    """A loaded backbone.

    The features of a frame, or of a window of sound, must not depend on other rows of the batch.
    """

    def __call__(self, x: Any) -> Features:
        """Compute the features of a batch.

        Args:
            x: A torch tensor on any device. Images: uint8 (n, size, size); the backbone normalises
                them by its own card. Sound: float32 (n, samples) at ``card.rate``, full scale at 1.

        Returns:
            The features, with ``n`` rows.
        """
        ...

    def digest(self) -> str:
        """Return the sha256 of the loaded weights (the bytes of the tensors).

        A backbone without learned weights returns the sha256 of its definition.
        """
        ...


def _without_loader() -> Backbone:
    raise UnsupportedOptionError(
        "This card has no loader. Register it (etab.backbones.register), or pass load=, "
        "a function without arguments."
    )


def refuse_twin_of_control(name: str, seed: int | None) -> None:
    """Refuse the random twin of a backbone without weights.

    Args:
        name: Name of the backbone.
        seed: Seed of the twin; None where the backbone itself is wanted.

    Raises:
        UnsupportedOptionError: If a seed is given.
    """
    if seed is not None:
        raise UnsupportedOptionError(f"{name} has no weights, so it has no random twin.")


@dataclass(frozen=True, slots=True)
class BackboneCard:
    """The facts of one backbone. Making a card reads no weights.

    Attributes:
        name: As typed: "efficientnet_lite0", "timm/resnet18", "local:weights.pt@timm/resnet18",
            "random/efficientnet_lite0".
        title: Name for tables and plots.
        load: Function without arguments that returns the backbone in eval mode, with frozen
            parameters.
        family: "cnn", "vit", "transformer", "lstm", "video" or "control".
        modality: "image" (frames, or log-mel spectrograms of a sound), "sound" (waveforms), or
            "record" (metadata or envelopes of a recording).
        size: Side of the square input in pixels; frames are resized to it. 0 for sound.
        mean: Mean of each channel, on the [0, 1] scale.
        std: Standard deviation of each channel, on the [0, 1] scale.
        interpolation: How frames are resized to ``size``.
        fit: How frames that are not squares become squares, one of ``FITS``.
        load_at: Function of a side in pixels that returns the backbone for inputs of that size;
            None for a network that takes one size only.
        layers: Names of the layers in ``Features.pooled`` and ``Features.maps``, fine to coarse.
        strides: Strides of the feature maps in input pixels, fine to coarse.
        dim: Width of the last layer; None where it is known only after loading.
        params: Number of parameters; None where it is unknown.
        learned: False for a control without weights (image statistics, pixels).
        pretraining: Data and task of the pretraining; "" for a random twin.
        pretraining_sets: Datasets of the pretraining: by their name in etab ("camus", "echonet")
            where they have one, otherwise in lower case ("imagenet-1k"); ("unknown",) for learned
            weights whose data nobody lists. A cell that is tested on one of them says so in its
            notes, and boards leave the backbone out of the ranking.
        licence: Licence of the weights.
        source: Package or page of the weights.
        sha256: sha256 of the weights file; "" where there is none.
        twin: Name of the pretrained backbone that this one is the random twin of; "" otherwise.
        seed: Seed of the initialisation of a random twin; None otherwise.
        version: Version of the definition; features cached under another version are not reused.
        rate: Sampling rate of the waveform that a sound backbone reads, in Hz; None otherwise.
        seconds: Window length that a sound backbone was trained on. Other lengths are allowed.
        series: Rate in Hz of the time series of whole recordings in the output, with the
            homomorphic envelope first; None where there is no such series.
        timed: Layers that ``etab.features.recordings`` can align with the time of a recording.
            They are the candidates of a head of states. Image backbones use their maps instead.
        clip: Input of a video backbone; None for backbones of single frames.
        own_scale: Whether the user chose ``mean`` and ``std``; results then hold both.
        own_name: Whether the user chose ``name``, so that it may stand for another backbone in a
            later run; stored results are then compared by what was loaded.
    """

    name: str
    title: str
    load: Callable[[], Backbone] = field(
        default=_without_loader,
        compare=False,
        repr=False,
    )
    family: str = "cnn"
    modality: str = "image"
    size: int = 224
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    interpolation: str = "bilinear"
    fit: str = SQUASH
    load_at: Callable[[int], Backbone] | None = field(
        default=None,
        compare=False,
        repr=False,
    )
    layers: tuple[str, ...] = ()
    strides: tuple[int, ...] = ()
    dim: int | None = None
    params: int | None = None
    learned: bool = True
    pretraining: str = ""
    pretraining_sets: tuple[str, ...] = ()
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
    own_scale: bool = False
    own_name: bool = False

    def random_twin(self, seed: int) -> BackboneCard:
        """Make the card of the same network with untrained weights.

        Args:
            seed: Seed of the random initialisation.
        """
        return replace(
            self,
            name=f"random/{self.name}",
            title=f"{self.title}, random initialisation",
            pretraining="",
            pretraining_sets=(),
            source="etab",
            sha256="",
            twin=self.name,
            seed=seed,
        )

    @property
    def over_time(self) -> bool:
        """Whether there are features for every moment of a recording of sound.

        True for a backbone with its own series, with timed layers, or with feature maps of images.
        """
        if self.series is not None or self.timed:
            return True
        return self.modality == "image" and bool(self.strides) and self.clip is None
