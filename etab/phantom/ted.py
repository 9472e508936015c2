"""Writes phantom patients in the layout of TED.

TED holds full cycles of the four-chamber view as MetaImage, with an outline in every frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from etab.phantom.anatomy import draw_heart
from etab.phantom.sector import DEPTH, draw_scanner, frame, mask
from etab.phantom.trees import MARK, NOTICE, beat_contractions
from etab.types import Array

_SHORTEST = 12  # frames
_LONGEST = 20


def write_ted(
    root: Path,
    patients: int,
    seed: int,
    size: int,
) -> Iterator[int]:
    """Write the tree, and yield the number of patients written after each.

    A clip starts up to two frames after the R wave.

    Args:
        root: The folder to write to.
        patients: The number of patients.
        seed: The same seed gives the same bytes.
        size: The side of the images in pixels.
    """
    root.mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    for i in range(patients):
        rng = np.random.default_rng([seed, 9, i])
        name = f"patient{i + 1:03d}"
        folder = root / "database" / name
        folder.mkdir(parents=True, exist_ok=True)
        heart = draw_heart(rng)
        scanner = draw_scanner(rng)
        n = int(rng.integers(_SHORTEST, _LONGEST + 1))
        delay = int(rng.integers(0, 3))
        contractions = beat_contractions(n, n, delay)
        shapes = [heart.shape(1, contraction) for contraction in contractions]
        frames = np.stack([frame(shape, scanner, size, rng) for shape in shapes])
        _write_mhd(folder / f"{name}_4CH_sequence.mhd", frames, DEPTH / size)
        masks = np.stack([mask(shape, size) for shape in shapes])
        _write_mhd(folder / f"{name}_4CH_sequence_gt.mhd", masks, DEPTH / size)
        ed = -delay % n
        es = contractions.index(max(contractions))
        facts = {
            "ED": ed + 1,
            "ES": es + 1,
            "NbFrame": n,
            "ImageQuality": scanner.quality,
            "EF": round(heart.ef),
            "Phantom": "yes",
        }
        lines = [f"{key}: {value}\n" for key, value in facts.items()]
        (folder / f"{name}_4CH_info.cfg").write_text("".join(lines))
        yield i + 1


def _write_mhd(path: Path, frames: Array, spacing: float) -> None:
    """Write frames (t, h, w) as uint8 to a .raw file, and a header that is marked as a phantom."""
    n, height, width = frames.shape
    values = np.ascontiguousarray(frames, np.uint8)
    raw = path.with_suffix(".raw")
    raw.write_bytes(values.tobytes())
    lines = [
        "ObjectType = Image",
        f"Comment = {MARK}",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        f"ElementSpacing = {spacing:g} {spacing:g} 1",
        f"DimSize = {width} {height} {n}",
        "ElementType = MET_UCHAR",
        f"ElementDataFile = {raw.name}",
    ]
    path.write_text("\n".join(lines) + "\n")
