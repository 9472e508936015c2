"""Checks that backbones of frames, clips and sound share: loading, freezing, equal features."""

from __future__ import annotations

from typing import Any

import numpy as np

from etab.backbones.base import Backbone, BackboneCard
from etab.types import Features

__all__ = ["check_loading", "check_network", "close"]


def close(a: Features, b: Features, rows: slice) -> bool:
    """Compare features, up to rounding of the maps.

    Args:
        a: Features of a batch.
        b: Features of some rows of the batch.
        rows: The rows of ``a`` to compare with ``b``.

    Returns:
        Whether all pooled features and maps agree to 2 %.
    """
    pairs = [(a.pooled[name], b.pooled[name]) for name in a.pooled]
    pairs += zip(a.maps, b.maps, strict=True)
    for values_a, values_b in pairs:
        x = np.asarray(values_a)[rows].astype(float)
        y = np.asarray(values_b)
        tolerance = 2e-2 * (np.abs(y).max() + 1e-6)
        if not np.allclose(x, y.astype(float), rtol=2e-2, atol=tolerance):
            return False
    return True


def check_loading(card: BackboneCard) -> Backbone:
    """Load a backbone twice; check torch's generator and the weights.

    Args:
        card: The card of the backbone.

    Returns:
        The backbone, on the CPU in fp32.

    Raises:
        AssertionError: Loading changes the state of torch's global generator, or gives different
            weights each time.
    """
    import torch

    state = torch.get_rng_state()
    backbone: Any = card.load()
    if hasattr(backbone, "to"):  # a control that describes recordings has no device
        backbone = backbone.to("cpu", "fp32")
    assert torch.equal(state, torch.get_rng_state()), (
        f"{card.name}: loading changes the state of torch's global generator"
    )
    # Features of a backbone without readable content are never stored: nothing to compare.
    nameless = getattr(backbone, "nameless", "")
    assert nameless or card.load().digest() == backbone.digest(), (
        f"{card.name}: loading twice gives different weights"
    )
    loaded: Backbone = backbone
    return loaded


def check_network(card: BackboneCard, backbone: object) -> None:
    """Check that the network of a backbone is frozen, in eval mode, and of the listed size.

    Args:
        card: The card of the backbone.
        backbone: The loaded backbone. One without an attribute ``network`` passes.

    Raises:
        AssertionError: The network is in training mode, requires gradients, or has another number
            of parameters than the card lists.
    """
    network = getattr(backbone, "network", None)
    if network is None:
        return
    assert not network.training, f"{card.name} is in training mode"
    assert not any(p.requires_grad for p in network.parameters()), f"{card.name} is not frozen"
    if card.params is not None:
        count = sum(p.numel() for p in network.parameters())
        assert count == card.params, (
            f"{card.name}: the card lists {card.params} parameters; the network has {count}"
        )
