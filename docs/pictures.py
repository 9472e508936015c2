"""Makes the pictures of the README from a phantom: ``python -m docs.pictures``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etab.phantom.anatomy import draw_heart
from etab.phantom.sector import draw_scanner, frame, mask
from etab.plots import overlay, write_gif

HERE = Path(__file__).parent / "pictures"


def phantom_clip(size: int = 168, n: int = 14) -> Path:
    """One beat of a made patient in the four-chamber view, plain and with LV, myocardium and LA outlined."""
    rng = np.random.default_rng(11)
    heart, scanner = draw_heart(rng), draw_scanner(np.random.default_rng(20))
    pictures = []
    for i in range(n):
        shape = heart.shape(1, float((1 - np.cos(2 * np.pi * i / n)) / 2))
        grey, labels = frame(shape, scanner, size, rng) // 12 * 12, mask(shape, size)
        plain = np.repeat(grey[..., None], 3, axis=2)
        pictures.append(np.hstack([plain, overlay(grey, labels == 1, labels == 2, labels == 3) // 4 * 4]))
    return write_gif(pictures, HERE / "phantom.gif", fps=14)


if __name__ == "__main__":
    phantom_clip()
