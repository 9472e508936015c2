"""Makes the pictures of the README from a phantom: ``python -m benchmarks.pages.pictures``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etab.heads.states import hsmm
from etab.phantom.anatomy import draw_heart
from etab.phantom.sector import draw_scanner, frame, mask
from etab.phantom.sounds import STETHOSCOPES, auscultate, draw_chest
from etab.plots.echo import overlay, write_gif
from etab.plots.sounds import plot_states
from etab.sounds.envelopes import envelopes
from etab.sounds.states import states_at

HERE = Path(__file__).resolve().parents[2] / "docs" / "pictures"


def phantom_clip(size: int = 168, n: int = 14) -> Path:
    """One beat of a made patient in the four-chamber view, plain and with LV, myocardium and LA outlined."""
    rng = np.random.default_rng(11)
    heart, scanner = draw_heart(rng), draw_scanner(np.random.default_rng(20))
    pictures = []
    for i in range(n):
        shape = heart.shape(1, float((1 - np.cos(2 * np.pi * i / n)) / 2))
        grey, labels = frame(shape, scanner, size, rng) // 12 * 12, mask(shape, size)
        plain = np.repeat(grey[..., None], 3, axis=2)
        pictures.append(
            np.hstack([plain, overlay(grey, labels == 1, labels == 2, labels == 3) // 4 * 4])
        )
    return write_gif(pictures, HERE / "phantom.gif", fps=14)


def phantom_sound() -> Path:
    """Five seconds of a made heart with a murmur, over its true states and those that an HSMM finds."""
    rng = np.random.default_rng(5)
    chests = [draw_chest(rng, murmur=k % 2 == 0, third=False, rate=80) for k in range(9)]
    heard = [
        auscultate(
            chest, STETHOSCOPES["circor"], rate=4000, seconds=12, loud=0.8, noise=0.05, rng=rng
        )
        for chest in chests
    ]
    sounds = [samples.astype(np.float32) / 32768 for samples, _ in heard]
    states = [states_at(found, len(samples), 4000) for samples, found in heard]
    shapes = [envelopes(samples, 4000) for samples in sounds]
    found = hsmm.fit_hsmm(shapes[1:], states[1:]).predict(shapes[0])
    path = HERE / "phantom_sound.png"
    plot_states(
        sounds[0],
        4000,
        states[0],
        {"HSMM": found},
        start=2,
        seconds=5,
        title="phantom heart sound",
        path=path,
    )
    return path


if __name__ == "__main__":
    phantom_clip()
    phantom_sound()
