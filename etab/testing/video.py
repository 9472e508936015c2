"""The contract of a backbone of clips, to run on your own: ``check_video_backbone(card)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.testing.backbones import check_network, close
from etab.types import Array

__all__ = ["check_video_backbone", "recording"]


def recording(n: int, height: int = 96, width: int = 128) -> Array:
    """A made recording, uint8 (n, height, width): a disc that beats, with noise; no two frames are alike."""
    rng = np.random.default_rng(n)
    y, x = np.mgrid[:height, :width]
    far = np.hypot(y - height / 2, x - width / 2)
    frames = [200.0 * (far < height / 4 + 6 * np.sin(t / 3)) + 20 + t % 17 for t in range(n)]
    return np.clip(np.stack(frames) + rng.normal(0, 12, (n, height, width)), 0, 255).astype(
        np.uint8
    )


def check_video_backbone(card: BackboneCard) -> None:
    """Row-wise, deterministic, frozen, as wide as the card says, finite; every frame that is there counts."""
    import torch

    clip = card.clip
    assert clip is not None, (
        f"{card.name}: the card of a backbone of clips says what the network is fed"
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
    x, there = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
    whole = backbone(x, there)
    assert len(whole) == 2, f"{card.name} gave {len(whole)} rows for 2 clips"
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
        f"{card.name}: the card says a width of {card.dim}, there are {sorted(widths)}"
    )
    for i in range(2):
        alone = backbone(x[i : i + 1], there[i : i + 1])
        assert close(whole, alone, slice(i, i + 1)), (
            f"{card.name} looks at its batch neighbours, or is not deterministic"
        )
    x[0, -1] = 255 - x[0, -1]
    moved = backbone(x, there)
    for key, values in moved.pooled.items():
        assert not torch.equal(values[0], whole.pooled[key][0]), (
            f"{card.name}: {key} is blind to the last frame"
        )
    check_network(card, backbone)
