"""The contract of a backbone of clips, as a test for your own: ``check_video_backbone(card)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.testing.loading import check_loading, check_network, close
from etab.types import Array, Features

__all__ = ["check_video_backbone", "recording"]


def recording(n: int, height: int = 96, width: int = 128) -> Array:
    """Make a synthetic recording: a beating disc with noise, no two frames alike.

    Args:
        n: Number of frames; also the seed of the noise.
        height: Height in pixels.
        width: Width in pixels.

    Returns:
        uint8 (n, height, width).
    """
    rng = np.random.default_rng(n)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2)
    frames = []
    for t in range(n):
        radius = height / 4 + 6 * np.sin(t / 3)
        disc = distance < radius
        frames.append(200.0 * disc + 20 + t % 17)
    noise = rng.normal(0, 12, (n, height, width))
    grey = np.stack(frames) + noise
    return np.clip(grey, 0, 255).astype(np.uint8)


def check_video_backbone(card: BackboneCard) -> None:
    """Check a backbone of clips against the contract that runs rely on.

    The features of a clip depend only on that clip and on all of its frames, are finite, and are
    the same when computed twice. The network is frozen, and one of the features has the width of
    the card.

    Args:
        card: The card, with a ``clip`` contract. The backbone is loaded twice.

    Raises:
        AssertionError: A point of the contract is not met; the message names it.
    """
    import torch

    clip = card.clip
    assert clip is not None, (
        f"{card.name}: the card of a backbone of clips needs a contract of its input (clip)"
    )
    backbone: Any = check_loading(card)
    # One recording is long enough, the other is darker and ends two steps before the clip.
    last_offset = int(clip.offsets(clip.fps)[-1])
    span = last_offset + 1
    short = max(span - 2 * clip.period, 1)
    frames_of_clips = []
    flags_of_clips = []
    for n_frames, darker in ((span + 3, 1), (short, 2)):
        frames, flags = clip.prepare(recording(n_frames) // darker, fps=clip.fps)
        frames_of_clips.append(frames)
        flags_of_clips.append(flags)
    x = torch.from_numpy(np.stack(frames_of_clips))
    exists = torch.from_numpy(np.stack(flags_of_clips))
    features = backbone(x, exists)
    _check_features(card, features)
    of_clips = [backbone(x[i : i + 1], exists[i : i + 1]) for i in range(2)]
    for i, alone in enumerate(of_clips):
        assert close(features, alone, slice(i, i + 1)), (
            f"{card.name} computes features of a clip from other clips of the batch, "
            "or is not deterministic"
        )
    x[0, -1] = 255 - x[0, -1]
    # Alone again, since a batch of another size may be rounded in another way.
    changed = backbone(x[:1], exists[:1])
    for key, values in changed.pooled.items():
        assert not torch.equal(values, of_clips[0].pooled[key]), (
            f"{card.name}: {key} does not depend on the last frame"
        )
    check_network(card, backbone)


def _check_features(card: BackboneCard, features: Features) -> None:
    """Check the features of two different clips."""
    import torch

    assert len(features) == 2, f"{card.name} returns {len(features)} rows for 2 clips"
    for key, values in [*features.pooled.items(), *features.sequences.items()]:
        assert torch.isfinite(values).all(), f"{card.name}: {key} is not finite"
        assert not torch.equal(values[0], values[1]), (
            f"{card.name}: {key} is the same for two clips"
        )
    for key, values in features.sequences.items():
        assert values.ndim == 3, (
            f"{card.name}: {key} has shape {tuple(values.shape)}, wanted (clips, steps, width)"
        )
    widths = {values.shape[1] for values in features.pooled.values()}
    assert card.dim in widths, (
        f"{card.name}: the card lists a width of {card.dim}; the features have {sorted(widths)}"
    )
