"""The contract of a backbone of clips, to run on your own: ``check_video_backbone(card)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.testing.backbones import check_network, close
from etab.types import Array

__all__ = ["check_video_backbone", "recording"]


def recording(n: int, height: int = 96, width: int = 128) -> Array:
    """A made recording, uint8 (n, height, width): a disc that beats, with noise; no two frames are
    alike.
    """
    rng = np.random.default_rng(n)
    y, x = np.mgrid[:height, :width]
    far = np.hypot(y - height / 2, x - width / 2)
    frames = [200.0 * (far < height / 4 + 6 * np.sin(t / 3)) + 20 + t % 17 for t in range(n)]
    return np.clip(np.stack(frames) + rng.normal(0, 12, (n, height, width)), 0, 255).astype(
        np.uint8
    )


def check_video_backbone(card: BackboneCard) -> None:
    """Check a backbone of clips against the contract that runs rely on.

    The features of a clip depend on that clip alone and on all of its frames, are finite and come
    out alike twice; the network is frozen, and one of the features has the card's width.

    Args:
        card: Its card, with a ``clip`` contract; the backbone is loaded twice.

    Raises:
        AssertionError: A point of the contract is not met; the message names it.
    """
    import torch

    clip = card.clip
    assert clip is not None, (
        f"{card.name}: the card of a backbone of clips needs a contract of its input (clip)"
    )
    state = torch.get_rng_state()
    backbone: Any = card.load().to("cpu", "fp32")  # type: ignore[attr-defined]
    assert torch.equal(state, torch.get_rng_state()), (
        f"{card.name}: loading moved torch's global generator"
    )
    assert card.load().digest() == backbone.digest(), (
        f"{card.name}: loading twice gives other weights"
    )
    pairs = [
        clip.prepare(recording(n)) for n in (clip.span + 3, max(clip.span - 2 * clip.period, 1))
    ]
    x, present = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
    whole = backbone(x, present)
    assert len(whole) == 2, f"{card.name} returns {len(whole)} rows for 2 clips"
    for key, values in [*whole.pooled.items(), *whole.sequences.items()]:
        assert torch.isfinite(values).all(), f"{card.name}: {key} is not finite"
        assert not torch.equal(values[0], values[1]), (
            f"{card.name}: {key} is the same for two clips"
        )
    for key, values in whole.sequences.items():
        assert values.ndim == 3, (
            f"{card.name}: {key} has shape {tuple(values.shape)}, wanted (clips, steps, width)"
        )
    widths = {v.shape[1] for v in whole.pooled.values()}
    assert card.dim in widths, (
        f"{card.name}: the card lists a width of {card.dim}; the features have {sorted(widths)}"
    )
    for i in range(2):
        alone = backbone(x[i : i + 1], present[i : i + 1])
        assert close(whole, alone, slice(i, i + 1)), (
            f"{card.name} computes features of a clip from other clips of the batch, or is not deterministic"
        )
    x[0, -1] = 255 - x[0, -1]
    moved = backbone(x, present)
    for key, values in moved.pooled.items():
        assert not torch.equal(values[0], whole.pooled[key][0]), (
            f"{card.name}: {key} does not depend on the last frame"
        )
    check_network(card, backbone)
