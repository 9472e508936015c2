"""Fits the model that ``etab.backbones.sound.timing`` segments with, on phantom sounds alone, and prints its numbers.

``python -m benchmarks.fit_segmenter`` prints the lines of SEGMENTER; ``--beat wavelet`` prints them for the control
``timing_wavelet``; ``--root CIRCOR`` also scores the model on real people.
No person is in its training, so no split of any data set can leak through it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from etab.heads.states import hsmm
from etab.metrics.states import segmentation
from etab.phantom.sounds import STETHOSCOPES, auscultate, draw_chest
from etab.sounds.envelopes import envelopes
from etab.sounds.semimarkov import BEATS, HOMOMORPHIC
from etab.sounds.states import states_at
from etab.types import FloatArray, IntArray

RECORDINGS = 40
SECONDS = 10.0
RATE = 2000


def phantom(seed: int) -> tuple[FloatArray, IntArray]:
    """Envelopes and states of one made recording: 55 to 150 beats a minute, a murmur in every other one."""
    rng = np.random.default_rng(seed)
    rate = float(rng.uniform(55, 150))
    chest = draw_chest(rng, murmur=seed % 2 == 0, third=False, rate=rate)
    device = STETHOSCOPES[sorted(STETHOSCOPES)[seed % len(STETHOSCOPES)]]
    sound, intervals = auscultate(
        chest, device, rate=RATE, seconds=SECONDS, loud=0.5, noise=0.0, rng=rng
    )
    return envelopes(sound / 32768, RATE), states_at(intervals, len(sound), RATE)


def segmenter(beat: str = HOMOMORPHIC) -> hsmm.HeartSoundModel:
    """Fit the model again; heart rates are read from the envelope ``beat``."""
    made = [phantom(seed) for seed in range(RECORDINGS)]
    return hsmm.fit_hsmm(
        [x for x, _ in made], [y for _, y in made], context=0, candidates=5, beat=beat
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path)
    parser.add_argument("--beat", choices=list(BEATS), default=HOMOMORPHIC)
    options = parser.parse_args()
    root = options.root
    model = segmenter(options.beat)
    for name in ("mean", "weights", "intercept", "prior"):
        print(f"{name.upper()} = {np.round(getattr(model, name), 4).tolist()}")
    print(model.spreads)
    if root is not None:
        from benchmarks.hsmm_circor import load

        rows = load(root)
        scores = [segmentation(r.states, model.predict(r.heard), tolerance_ms=100).f1 for r in rows]
        print(
            f"F1 at 100 ms on {len(rows)} real recordings of {len({r.person for r in rows})} people: {np.mean(scores):.3f}"
        )


if __name__ == "__main__":
    main()
