"""Small text files as published: split files, Info files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from etab.errors import CorruptFileError, LayoutError
from etab.files import read_json_file, read_text_file
from etab.readers.regular import require_regular

_Content = TypeVar("_Content")


def read_text(path: Path, hint: str = "Restore it as published.") -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        hint: What to do where it cannot be read; the last sentence of the error.

    Returns:
        Its text.

    Raises:
        LayoutError: There is no such file.
        CorruptFileError: It is not text, or cannot be read.
    """
    return _read(read_text_file, path, "text", hint)


def read_json(path: Path, hint: str = "Download it again.") -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        hint: What to do where it cannot be read; the last sentence of the error.

    Returns:
        Its content.

    Raises:
        LayoutError: There is no such file.
        CorruptFileError: It is not JSON, or cannot be read.
    """
    return _read(read_json_file, path, "JSON", hint)


def _read(read: Callable[[Path], _Content], path: Path, form: str, hint: str) -> _Content:
    """Read a file whole; name it in every error."""
    require_regular(path, hint)
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LayoutError(f"{path} is missing. {hint}") from error
    except ValueError as error:
        raise CorruptFileError(f"{path} is not {form}: {error}. {hint}") from error
    except OSError as error:
        reason = error.strerror or error
        raise CorruptFileError(f"{path} cannot be read: {reason}. {hint}") from error
