"""PNG stills to grey uint8 frames, whole or refused: a damaged file never gives half a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import CorruptFileError, LayoutError
from etab.types import Array

MAX_SIDE = 8192


@dataclass(frozen=True, slots=True)
class PngInfo:
    """What the header says: size in pixels and the text chunks before the picture, joined."""

    height: int
    width: int
    text: str


def png_info(path: Path) -> PngInfo:
    """Read the header. Raises LayoutError where the file is absent, CorruptFileError where it is no PNG."""
    with _opened(path) as image:
        text = " ".join(f"{key} {value}" for key, value in image.info.items() if isinstance(value, str))
        return PngInfo(image.height, image.width, text)


def read_png(path: Path) -> Array:
    """Decode a picture to grey (h, w) uint8; colour becomes luma. Raises as ``png_info``, also for one cut short."""
    with _opened(path) as image:
        try:
            return np.asarray(image.convert("L"))
        except (OSError, SyntaxError, ValueError) as error:
            raise _corrupt(path, str(error)) from error


def _opened(path: Path) -> Any:
    from PIL import Image

    try:
        image = Image.open(path, formats=["PNG"])
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise LayoutError(f"{path} is missing. Restore it, or leave out its recording.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _corrupt(path, "it is no PNG") from error
    if max(image.size) > MAX_SIDE:
        image.close()
        raise _corrupt(path, f"its header claims {image.width} x {image.height} pixels")
    return image


def _corrupt(path: Path, what: str) -> CorruptFileError:
    return CorruptFileError(f"{path} cannot be read: {what}. Restore it as published.")
