"""The contract of a backbone, to run on your own: ``check_backbone(card)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from etab.backbones.base import Backbone, BackboneCard
from etab.types import Array, Features

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_backbone", "check_network", "close"]


def _frames(size: int, n: int = 3) -> Array:
    """Made frames with structure, uint8 (n, size, size)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    waves = [
        127 + 100 * np.sin(2 * np.pi * (2 + i) * x + i) * np.cos(2 * np.pi * y * (i + 1))
        for i in range(n)
    ]
    return np.clip(np.stack(waves) + rng.normal(0, 12, (n, size, size)), 0, 255).astype(np.uint8)


def _windows(card: BackboneCard, n: int = 3) -> Array:
    """Made heart beats of different tone and pace, float32 (n, samples) of two seconds at the
    card's rate.
    """
    rng = np.random.default_rng(0)
    t = np.arange(round(2 * (card.rate or 0))) / (card.rate or 1)
    beats = [
        np.exp(-200 * (t % (0.6 + 0.1 * i)) ** 2) * np.sin(2 * np.pi * (60 + 50 * i) * t)
        for i in range(n)
    ]
    return (0.3 * np.stack(beats) + rng.normal(0, 0.003, (n, len(t)))).astype(np.float32)


def close(a: Features, b: Features, rows: slice) -> bool:
    """Whether some rows of ``a`` equal the features ``b``, up to rounding of the maps."""
    pairs = [(np.asarray(a.pooled[k])[rows], np.asarray(b.pooled[k])) for k in a.pooled]
    pairs += [(np.asarray(x)[rows], np.asarray(y)) for x, y in zip(a.maps, b.maps, strict=True)]
    return all(
        np.allclose(
            x.astype(float), y.astype(float), rtol=2e-2, atol=2e-2 * (np.abs(y).max() + 1e-6)
        )
        for x, y in pairs
    )


def check_backbone(card: BackboneCard) -> None:
    """Check a backbone against the contract that runs rely on.

    The features of a row depend on that row alone, are finite and come out alike twice; the network
    is frozen and in eval mode; widths, strides and layers are those of the card. A backbone of
    sound must also read windows of other lengths than the card's.

    Args:
        card: The card of the backbone, which is loaded twice.

    Raises:
        AssertionError: A point of the contract is not met; the message names it.

    Example:
        >>> from etab import backbones
        >>> check_backbone(backbones.card("image_stats"))
    """
    import torch

    state = torch.get_rng_state()
    backbone = card.load().to("cpu", "fp32")  # type: ignore[attr-defined]
    assert torch.equal(state, torch.get_rng_state()), (
        f"{card.name}: loading moved torch's global generator"
    )
    nameless = getattr(
        backbone, "nameless", ""
    )  # no content to compare: etab never stores its features
    assert nameless or card.load().digest() == backbone.digest(), (
        f"{card.name}: loading twice gives other weights"
    )
    sound = card.modality == "sound"
    x = torch.from_numpy(_windows(card) if sound else _frames(card.size))
    whole = backbone(x)
    assert len(whole) == 3, (
        f"{card.name} returns {len(whole)} rows for 3 {'windows' if sound else 'frames'}"
    )
    assert len(whole.pooled) >= 6 or card.source == "callable", (
        f"{card.name}: at least 3 layers x 2 poolings are wanted"
    )
    for key, values in whole.pooled.items():
        assert torch.isfinite(values).all(), f"{card.name}: {key} is not finite"
        assert not torch.allclose(values[0], values[1]), (
            f"{card.name}: {key} is equal for two different inputs"
        )
    assert close(whole, backbone(x), slice(None)), f"{card.name} is not deterministic"
    for i in range(3):
        assert close(whole, backbone(x[i : i + 1]), slice(i, i + 1)), (
            f"{card.name} computes features of a row from other rows of the batch"
        )
    if sound:
        _check_lengths(card, backbone, x, whole)
    sides = [m.shape[2] for m in whole.maps]
    assert sides == sorted(sides, reverse=True), f"{card.name}: maps are not fine to coarse"
    _check_card(card, backbone, whole)


def _check_lengths(card: BackboneCard, backbone: Backbone, x: Tensor, whole: Features) -> None:
    """Windows of other lengths, down to a fraction of a beat, give features of the same names and
    widths.
    """
    import torch

    assert card.rate, f"{card.name} reads sound, and its card has no rate"
    assert not whole.maps, f"{card.name} returns maps of sound; wanted pooled features alone"
    widths = {name: values.shape[1] for name, values in whole.pooled.items()}
    for samples in (card.rate // 50, card.rate // 2, x.shape[1] - 7):
        other = backbone(x[:, :samples])
        assert {k: v.shape[1] for k, v in other.pooled.items()} == widths, (
            f"{card.name}: the widths of its features depend on the length of the window"
        )
        assert all(torch.isfinite(v).all() for v in other.pooled.values()), (
            f"{card.name}: {samples} samples give NaN"
        )
    silent = backbone(torch.zeros_like(x))
    assert all(torch.isfinite(v).all() for v in silent.pooled.values()), (
        f"{card.name}: silence is not finite"
    )
    layers = tuple(dict.fromkeys(name.split("/")[0] for name in whole.pooled))
    assert not card.learned or layers == card.layers, (
        f"{card.name}: the card lists the layers {card.layers}; the features are of {layers}"
    )
    if card.dim is not None:
        width = widths[next(name for name in widths if name.startswith(f"{card.layers[-1]}/"))]
        assert width == card.dim, (
            f"{card.name}: the card lists a width of {card.dim}; the last layer has {width}"
        )


def _check_card(card: BackboneCard, backbone: object, whole: Features) -> None:
    if card.dim is not None and card.modality != "sound":
        width = whole.maps[-1].shape[1]
        assert width == card.dim, (
            f"{card.name}: the card lists {card.dim} channels; the last map has {width}"
        )
        strides = tuple(round(card.size / m.shape[2]) for m in whole.maps)
        assert strides == card.strides, (
            f"{card.name}: the card lists the strides {card.strides}; the maps have {strides}"
        )
    check_network(card, backbone)


def check_network(card: BackboneCard, backbone: object) -> None:
    """Check that the network of a backbone is frozen, in eval mode, and has the card's number of
    parameters.

    Args:
        card: Its card.
        backbone: The loaded backbone; one without ``network`` passes.

    Raises: AssertionError: It is in training mode, requires gradients, or has another number of
        parameters.
    """
    network = getattr(backbone, "network", None)
    if network is not None:
        assert not network.training, f"{card.name} is in training mode"
        assert not any(p.requires_grad for p in network.parameters()), f"{card.name} is not frozen"
        if card.params is not None:
            count = sum(p.numel() for p in network.parameters())
            assert count == card.params, (
                f"{card.name}: the card lists {card.params} parameters; the network has {count}"
            )
