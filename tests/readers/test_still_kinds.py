"""PNG stills of few levels: what fills the range is read, what was rounded to two levels is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from etab.errors import CorruptFileError
from etab.readers.still import read_still

PICTURE = np.random.default_rng(1).integers(0, 256, (9, 7)).astype(np.uint8)


def test_a_picture_rounded_to_two_levels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), (PICTURE > 100).astype(np.uint8))
    with pytest.raises(CorruptFileError, match="only the values 0 and 1"):
        read_still(path)


@pytest.mark.parametrize("bits", [1, 8])
def test_black_and_white_fill_the_range(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.png"
    stored = 255 * (PICTURE > 100).astype(np.uint8)
    cv2.imwrite(str(path), stored, [cv2.IMWRITE_PNG_BILEVEL, int(bits == 1)])
    assert np.array_equal(read_still(path), stored)
    cv2.imwrite(str(path), np.zeros_like(stored))
    assert read_still(path).max() == 0
