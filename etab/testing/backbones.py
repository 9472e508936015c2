"""The contract of a backbone, as a test for your own: ``check_backbone(card)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from etab.backbones.base import Backbone, BackboneCard
from etab.errors import UnsupportedOptionError
from etab.testing.loading import check_loading, check_network, close
from etab.testing.recordings import check_described
from etab.testing.video import check_video_backbone
from etab.types import Array, Features

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_backbone"]


def _frames(size: int, n: int = 3) -> Array:
    """Synthetic frames with structure, each of another brightness, uint8 (n, size, size)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    waves = []
    for i in range(n):
        across = np.sin(2 * np.pi * (2 + i) * x + i)
        down = np.cos(2 * np.pi * y * (i + 1))
        brightness = (1.0, 0.4, 0.7)[i % 3]
        waves.append(brightness * (127 + 100 * across * down))
    noise = rng.normal(0, 12, (n, size, size))
    grey = np.stack(waves) + noise
    return np.clip(grey, 0, 255).astype(np.uint8)


def _windows(card: BackboneCard, n: int = 3) -> Array:
    """Synthetic heart beats of different pitch, rate and loudness, float32 (n, samples) of 2 s."""
    rng = np.random.default_rng(0)
    n_samples = round(2 * (card.rate or 0))
    seconds = np.arange(n_samples) / (card.rate or 1)
    beats = []
    for i in range(n):
        period = 0.6 + 0.1 * i
        since_beat = seconds % period
        envelope = np.exp(-200 * since_beat**2)
        pitch = 60 + 50 * i
        tone = np.sin(2 * np.pi * pitch * seconds)
        loudness = (0.3, 0.1, 0.2)[i % 3]
        beats.append(loudness * envelope * tone)
    noise = rng.normal(0, 0.003, (n, n_samples))
    samples = np.stack(beats) + noise
    return samples.astype(np.float32)


def check_backbone(card: BackboneCard) -> None:
    """Check a backbone against the contract that runs rely on.

    The features of a row depend only on that row, are finite, and are the same when computed
    twice. The network is frozen and in eval mode. Widths, strides and layers are those of the card.
    A backbone of sound must also read windows of other lengths than the card's. A backbone of clips
    is checked by ``etab.testing.video.check_video_backbone``, a control that describes recordings by
    ``etab.testing.recordings.check_described``. Vectors made elsewhere are read and compute nothing;
    a run says which keys they lack.

    Args:
        card: The card of the backbone, which is loaded twice.

    Raises:
        AssertionError: A point of the contract is not met; the message names it.
        UnsupportedOptionError: What is given is not a card.

    Example:
        >>> from etab import backbones
        >>> check_backbone(backbones.card("image_stats"))
    """
    import torch

    if not isinstance(card, BackboneCard):
        raise UnsupportedOptionError(
            f"check_backbone was given {type(card).__name__}; wanted a card: that of a function is "
            "etab.backbone(function, input=...), that of a name is etab.backbones.card(name)."
        )
    if card.clip is not None:
        check_video_backbone(card)
        return
    if card.modality == "record":
        check_described(card)
        return
    backbone = check_loading(card)
    if card.modality == "vectors":
        return
    is_sound = card.modality == "sound"
    rows = "windows" if is_sound else "frames"
    made = _windows(card) if is_sound else _frames(card.size)
    x = torch.from_numpy(made)
    features = backbone(x)
    assert len(features) == 3, f"{card.name} returns {len(features)} rows for 3 {rows}"
    is_of_user = card.source == "callable"
    assert len(features.pooled) >= 6 or is_of_user, (
        f"{card.name}: at least 3 layers x 2 poolings are wanted"
    )
    for key, values in features.pooled.items():
        assert torch.isfinite(values).all(), f"{card.name}: {key} is not finite"
        assert not torch.allclose(values[0], values[1]), (
            f"{card.name}: {key} is equal for two different inputs"
        )
    again = backbone(x)
    assert close(features, again, slice(None)), f"{card.name} is not deterministic"
    for i in range(3):
        row = slice(i, i + 1)
        alone = backbone(x[row])
        assert close(features, alone, row), (
            f"{card.name} computes features of a row from other rows of the batch"
        )
    if is_sound:
        _check_lengths(card, backbone, x, features)
    sides = [grid.shape[2] for grid in features.maps]
    assert sides == sorted(sides, reverse=True), f"{card.name}: maps are not fine to coarse"
    _check_card(card, features)
    check_network(card, backbone)


def _check_lengths(
    card: BackboneCard,
    backbone: Backbone,
    x: Tensor,
    features: Features,
) -> None:
    """Check that windows of other lengths give finite features of the same names and widths."""
    import torch

    assert card.rate, f"{card.name} reads sound, and its card has no rate"
    assert not features.maps, f"{card.name} returns maps of sound; wanted pooled features alone"
    widths = _widths(features)
    for samples in (card.rate // 50, card.rate // 2, x.shape[1] - 7):
        window = x[:, :samples]
        other = backbone(window)
        assert _widths(other) == widths, (
            f"{card.name}: the widths of its features depend on the length of the window"
        )
        assert _is_finite(other), f"{card.name}: {samples} samples give NaN"
    silence = torch.zeros_like(x)
    assert _is_finite(backbone(silence)), f"{card.name}: silence is not finite"
    layer_names = [name.split("/")[0] for name in features.pooled]
    layers = tuple(dict.fromkeys(layer_names))
    assert not card.learned or layers == card.layers, (
        f"{card.name}: the card lists the layers {card.layers}; the features are of {layers}"
    )
    if card.dim is not None:
        last_layer = f"{card.layers[-1]}/"
        of_last_layer = [width for name, width in widths.items() if name.startswith(last_layer)]
        width = of_last_layer[0]
        assert width == card.dim, (
            f"{card.name}: the card lists a width of {card.dim}; the last layer has {width}"
        )


def _widths(features: Features) -> dict[str, int]:
    """The width of each pooled feature."""
    return {name: values.shape[1] for name, values in features.pooled.items()}


def _is_finite(features: Features) -> bool:
    """Whether all pooled features are finite."""
    import torch

    finite = [torch.isfinite(values).all() for values in features.pooled.values()]
    return all(finite)


def _check_card(card: BackboneCard, features: Features) -> None:
    """Check the width and strides of the maps against the card, where it lists a width."""
    if card.dim is None or card.modality == "sound":
        return
    width = features.maps[-1].shape[1]
    assert width == card.dim, (
        f"{card.name}: the card lists {card.dim} channels; the last map has {width}"
    )
    strides = tuple(round(card.size / grid.shape[2]) for grid in features.maps)
    assert strides == card.strides, (
        f"{card.name}: the card lists the strides {card.strides}; the maps have {strides}"
    )
