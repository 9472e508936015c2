"""Writes made patients in the layout of TED: full cycles of the 4-chamber view, every frame
outlined, MetaImage.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from etab.phantom.anatomy import draw_heart
from etab.phantom.sector import DEPTH, draw_scanner, frame, mask
from etab.phantom.trees import MARK, NOTICE, contraction_at
from etab.types import Array

_SHORTEST = 12  # frames
_LONGEST = 20


def write_ted(root: Path, patients: int, seed: int, size: int) -> Iterator[int]:
    """Write the tree; yields after each patient. A cycle begins up to two frames after the R wave,
    as clips do.
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
        late = int(rng.integers(0, 3))
        contraction = [contraction_at((k + late) % n / n) for k in range(n)]
        shapes = [heart.shape(1, c) for c in contraction]
        _mhd(
            folder / f"{name}_4CH_sequence.mhd",
            np.stack([frame(s, scanner, size, rng) for s in shapes]),
            DEPTH / size,
        )
        _mhd(
            folder / f"{name}_4CH_sequence_gt.mhd",
            np.stack([mask(s, size) for s in shapes]),
            DEPTH / size,
        )
        ed = -late % n
        es = contraction.index(max(contraction))
        facts = {
            "ED": ed + 1,
            "ES": es + 1,
            "NbFrame": n,
            "ImageQuality": scanner.quality,
            "EF": round(heart.ef),
        }
        (folder / f"{name}_4CH_info.cfg").write_text(
            "".join(f"{key}: {value}\n" for key, value in facts.items()) + "Phantom: yes\n"
        )
        yield i + 1


def _mhd(path: Path, frames: Array, spacing: float) -> None:
    """Frames (t, h, w) as uint8 in a .raw beside its header, whose comment says phantom."""
    n, height, width = frames.shape
    path.with_suffix(".raw").write_bytes(np.ascontiguousarray(frames, np.uint8).tobytes())
    path.write_text(
        f"ObjectType = Image\nComment = {MARK}\nNDims = 3\nBinaryData = "
        "True\nBinaryDataByteOrderMSB = False\n"
        f"CompressedData = False\nElementSpacing = {spacing:g} {spacing:g} 1\nDimSize = {width} "
        f"{height} {n}\n"
        f"ElementType = MET_UCHAR\nElementDataFile = {path.with_suffix('.raw').name}\n"
    )
