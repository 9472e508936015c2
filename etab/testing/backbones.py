"""The contract of a backbone, to run on your own: ``check_backbone(card)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.types import Array, Features

__all__ = ["check_backbone", "check_video_backbone", "recording"]


def _frames(size: int, n: int = 3) -> Array:
    """Made frames with structure, uint8 (n, size, size)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    waves = [127 + 100 * np.sin(2 * np.pi * (2 + i) * x + i) * np.cos(2 * np.pi * y * (i + 1)) for i in range(n)]
    return np.clip(np.stack(waves) + rng.normal(0, 12, (n, size, size)), 0, 255).astype(np.uint8)


def _close(a: Features, b: Features, rows: slice) -> bool:
    pairs = [(np.asarray(a.pooled[k])[rows], np.asarray(b.pooled[k])) for k in a.pooled]
    pairs += [(np.asarray(x)[rows], np.asarray(y)) for x, y in zip(a.maps, b.maps, strict=True)]
    return all(
        np.allclose(x.astype(float), y.astype(float), rtol=2e-2, atol=2e-2 * (np.abs(y).max() + 1e-6)) for x, y in pairs
    )


def check_backbone(card: BackboneCard) -> None:
    """Row-wise, deterministic, in eval mode and frozen; widths, strides and layers as the card says; finite."""
    import torch

    state = torch.get_rng_state()
    backbone = card.load().to("cpu", "fp32")  # type: ignore[attr-defined]
    assert torch.equal(state, torch.get_rng_state()), f"{card.name}: loading moved torch's global generator"
    assert card.load().digest() == backbone.digest(), f"{card.name}: loading twice gives other weights"
    x = torch.from_numpy(_frames(card.size))
    whole = backbone(x)
    assert len(whole) == 3, f"{card.name} gave {len(whole)} rows for 3 frames"
    assert len(whole.pooled) >= 6 or card.source == "callable", (
        f"{card.name}: at least 3 layers x 2 poolings are wanted"
    )
    for key, values in whole.pooled.items():
        assert torch.isfinite(values).all(), f"{card.name}: {key} is not finite"
        assert not torch.allclose(values[0], values[1]), f"{card.name}: {key} is the same for two frames"
    assert _close(whole, backbone(x), slice(None)), f"{card.name} is not deterministic"
    for i in range(3):
        assert _close(whole, backbone(x[i : i + 1]), slice(i, i + 1)), f"{card.name} looks at its batch neighbours"
    sides = [m.shape[2] for m in whole.maps]
    assert sides == sorted(sides, reverse=True), f"{card.name}: maps are not fine to coarse"
    _check_card(card, backbone, whole)


def recording(n: int, height: int = 96, width: int = 128) -> Array:
    """A made recording, uint8 (n, height, width): a disc that beats, with noise; no two frames are alike."""
    rng = np.random.default_rng(n)
    y, x = np.mgrid[:height, :width]
    far = np.hypot(y - height / 2, x - width / 2)
    frames = [200.0 * (far < height / 4 + 6 * np.sin(t / 3)) + 20 + t % 17 for t in range(n)]
    return np.clip(np.stack(frames) + rng.normal(0, 12, (n, height, width)), 0, 255).astype(np.uint8)


def check_video_backbone(card: BackboneCard) -> None:
    """Row-wise, deterministic, frozen, as wide as the card says, finite; every frame that is there counts."""
    import torch

    clip = card.clip
    assert clip is not None, f"{card.name}: the card of a backbone of clips says what the network is fed"
    state = torch.get_rng_state()
    backbone: Any = card.load().to("cpu", "fp32")  # type: ignore[attr-defined]
    assert torch.equal(state, torch.get_rng_state()), f"{card.name}: loading moved torch's global generator"
    assert card.load().digest() == backbone.digest(), f"{card.name}: loading twice gives other weights"
    pairs = [clip.prepare(recording(n)) for n in (clip.span + 3, max(clip.span - 2 * clip.period, 1))]
    x, there = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
    whole = backbone(x, there)
    assert len(whole) == 2, f"{card.name} gave {len(whole)} rows for 2 clips"
    for key, values in [*whole.pooled.items(), *whole.sequences.items()]:
        assert torch.isfinite(values).all(), f"{card.name}: {key} is not finite"
        assert not torch.equal(values[0], values[1]), f"{card.name}: {key} is the same for two clips"
    for key, values in whole.sequences.items():
        assert values.ndim == 3, f"{card.name}: {key} has shape {tuple(values.shape)}, wanted (clips, steps, width)"
    widths = {v.shape[1] for v in whole.pooled.values()}
    assert card.dim in widths, f"{card.name}: the card says a width of {card.dim}, there are {sorted(widths)}"
    for i in range(2):
        alone = backbone(x[i : i + 1], there[i : i + 1])
        assert _close(whole, alone, slice(i, i + 1)), (
            f"{card.name} looks at its batch neighbours, or is not deterministic"
        )
    x[0, -1] = 255 - x[0, -1]
    moved = backbone(x, there)
    for key, values in moved.pooled.items():
        assert not torch.equal(values[0], whole.pooled[key][0]), f"{card.name}: {key} is blind to the last frame"
    _check_network(card, backbone)


def _check_card(card: BackboneCard, backbone: object, whole: Features) -> None:
    if card.dim is not None:
        width = whole.maps[-1].shape[1]
        assert width == card.dim, f"{card.name}: the card says {card.dim} channels, the last map has {width}"
        strides = tuple(round(card.size / m.shape[2]) for m in whole.maps)
        assert strides == card.strides, f"{card.name}: the card says strides {card.strides}, the maps have {strides}"
    _check_network(card, backbone)


def _check_network(card: BackboneCard, backbone: object) -> None:
    network = getattr(backbone, "network", None)
    if network is not None:
        assert not network.training, f"{card.name} is in training mode"
        assert not any(p.requires_grad for p in network.parameters()), f"{card.name} is not frozen"
        if card.params is not None:
            count = sum(p.numel() for p in network.parameters())
            assert count == card.params, f"{card.name}: the card says {card.params} parameters, there are {count}"
