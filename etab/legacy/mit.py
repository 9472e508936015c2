"""Mix Transformer encoders (MiT), which come with the library of the decoders."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from etab.backbones.base import Backbone, BackboneCard
from etab.errors import MissingPackageError, WeightsError

_LAYERS = ("stride4", "stride8", "stride16", "stride32")
_STRIDES = (4, 8, 16, 32)


def mit_card(model: str, seed: int | None) -> BackboneCard:
    """Make the card of a Mix Transformer.

    Args:
        model: "mit_b0" ... "mit_b5".
        seed: Seed of a random initialisation; None is the ImageNet weights.
    """
    twin = seed is not None
    name = f"smp/{model}"
    blank = BackboneCard(
        name=f"random/{name}" if twin else name,
        title=f"MiT-{model[-2:].upper()}",
        load=_undone,
        family="vit",
        layers=_LAYERS,
        strides=_STRIDES,
        pretraining="" if twin else "ImageNet-1K",
        licence="NVIDIA Source Code License (non-commercial)",
        source="segmentation_models_pytorch",
        twin=name if twin else "",
        seed=seed,
    )
    return replace(blank, load=partial(_load, model, seed, blank))


def _undone() -> Backbone:
    """Stand for the loader while the card is made."""
    raise WeightsError("This card is a draft without a loader.")


def _load(
    model: str,
    seed: int | None,
    card: BackboneCard,
) -> Backbone:
    """Load the network of a card, with random or ImageNet weights."""
    from etab.backbones.image.networks import TorchBackbone
    from etab.training.loop import seeded

    try:
        from segmentation_models_pytorch.encoders import get_encoder
    except ImportError as error:
        raise MissingPackageError(
            f"{card.title} is part of segmentation_models_pytorch, which is not installed: "
            'pip install "etab-bench[decoders]".'
        ) from error
    try:
        with seeded(seed or 0):
            network = get_encoder(model, weights="imagenet" if seed is None else None)
    except OSError as error:
        raise WeightsError(
            f"The weights of {card.title} could not be downloaded. Connect to the network, or use "
            "pretrained=False."
        ) from error

    def taps(x: Any) -> list[tuple[str, Any, Any]]:
        maps = network(x)[-4:]
        return [(layer, grid, None) for layer, grid in zip(_LAYERS, maps, strict=True)]

    return TorchBackbone(card, network, taps)
