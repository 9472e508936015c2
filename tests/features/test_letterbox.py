"""A mask task with letterboxed frames: it is fitted and scored in the pixels of the original picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import etab
from etab import backbones
from tests.datasets import own_tables

pytestmark = pytest.mark.usefixtures("forget_own_data")

PATIENTS = 16
SHAPES = ((48, 128), (128, 40), (64, 64), (50, 110))


def ellipses(folder: Path) -> Path:
    """Pictures of several shapes with one bright ellipse each, whose mask is the truth."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(PATIENTS):
        h, w = SHAPES[patient % len(SHAPES)]
        centre = (int(w * rng.uniform(0.3, 0.7)), int(h * rng.uniform(0.3, 0.7)))
        axes = (w // 5, h // 5)
        mask = cv2.ellipse(np.zeros((h, w), np.uint8), centre, axes, 0, 0, 360, 1, -1)
        noise = rng.normal(60, 6, (h, w))
        name = f"p{patient:02d}"
        cv2.imwrite(
            str(folder / f"{name}.png"), np.clip(noise + 120 * mask, 1, 255).astype(np.uint8)
        )
        cv2.imwrite(str(folder / f"{name}_mask.png"), mask)
        rows.append({"file": f"{name}.png", "patient": name, "mask": f"{name}_mask.png"})
    own_tables.write_table(folder, rows)
    return own_tables.describe(folder, '[labels.LV]\nkind = "mask"\ncolumn = "mask"')


def cells(x: object) -> object:
    """Grey levels of cells of two pixels, as a map."""
    from torch.nn import functional

    return functional.avg_pool2d(x, 2)  # type: ignore[arg-type]


def test_masks_of_letterboxed_frames_are_scored_on_the_picture(tmp_path: Path) -> None:
    path = ellipses(tmp_path / "data")
    plain = backbones.from_callable("cells", cells, size=64)
    values = {}
    for fit in ("squash", "letterbox"):
        score = etab.evaluate(backbones.sized(plain, None, fit), data=path, protocol="cv2")
        (row,) = score.tasks
        values[fit] = float(row["value"])
    # A map that was not mapped back would put the ellipse elsewhere: a Dice far below.
    assert values["squash"] > 0.85
    assert values["letterbox"] > 0.85
    assert abs(values["letterbox"] - values["squash"]) < 0.08
