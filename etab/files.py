"""Reading whole files of strangers: ordinary files alone, up to a size, and two kinds of error.

Every function here raises OSError where a file cannot be read and ValueError where its content is not
what was wanted, and nothing else, however hostile the file is. A pipe is not waited for, a device is
not read, and the check and the reading are of one open file, so that nothing can be exchanged between
them.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

_Record = TypeVar("_Record")

LARGEST = 256 << 20
"""Largest size in bytes of a file that is read as a whole."""

_ALWAYS_UNPACKED = 64 << 20
_LARGEST_FACTOR = 200
_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def open_regular(path: Path) -> BinaryIO:
    """Open an ordinary file for reading; links are followed.

    Args:
        path: The file.

    Returns:
        The open file.

    Raises:
        OSError: There is no such file, it cannot be read, or it is a folder, a pipe or a device.
    """
    number, _ = _opened(path)
    return os.fdopen(number, "rb")


def _opened(path: Path) -> tuple[int, int]:
    """The number of an open ordinary file, and its size in bytes."""
    try:
        number = os.open(path, os.O_RDONLY | _NO_WAITING | _BINARY)
    except ValueError as error:  # a name with a NUL or a lone surrogate
        raise OSError(errno.EINVAL, f"no file can have this name ({error})") from error
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return number, status.st_size


def read_file(path: Path, largest: int = LARGEST) -> bytes:
    """Read an ordinary file as a whole.

    Args:
        path: The file. What is added to it meanwhile is not read.
        largest: Largest size in bytes.

    Returns:
        Its content.

    Raises:
        OSError: As for ``open_regular``, or the file is larger.

    Example:
        >>> read_file(Path("/dev/zero"))
        Traceback (most recent call last):
            ...
        OSError: [Errno 22] it is not a regular file
    """
    number, size = _opened(path)
    try:
        if size > largest:
            raise OSError(errno.EFBIG, f"it is larger than {_shown(largest)}")
        parts = []
        while size > 0 and (part := os.read(number, size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
    finally:
        os.close(number)


def is_file(path: Path) -> bool:
    """Whether a file exists; False, too, where no file could have such a name.

    True where the system does not say, as in a folder that may not be searched: whoever opens the
    file then learns why.

    Example:
        >>> is_file(Path("n" * 5000))
        False
    """
    try:
        return path.is_file()
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG


def is_folder(path: Path) -> bool:
    """Whether a folder exists; False, too, where none could have such a name.

    Example:
        >>> is_folder(Path("n" * 5000))
        False
    """
    try:
        return path.is_dir()
    except OSError:
        return False


def exists(path: Path) -> bool:
    """Whether a file or folder exists; False, too, where none could have such a name.

    Args:
        path: The path, which a damaged table may name.

    Raises:
        OSError: The system does not say, as in a folder that may not be searched.

    Example:
        >>> exists(Path("n" * 5000))
        False
    """
    try:
        return path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def resolved(path: Path) -> Path:
    """Where a path leads when all links are followed.

    Args:
        path: The path. Links may lead in a circle: what follows them stays as it is then, where
            ``Path.resolve`` of some versions of Python raises RuntimeError.

    Returns:
        The absolute path.

    Example:
        >>> resolved(Path("/dev/../dev/null"))
        PosixPath('/dev/null')
    """
    return Path(os.path.realpath(path))


def read_text_file(path: Path, largest: int = LARGEST) -> str:
    """Read text in UTF-8, with or without a byte order mark; line ends become ``\\n``.

    Args:
        path: The file.
        largest: Largest size in bytes.

    Returns:
        Its text.

    Raises:
        OSError: As for ``read_file``.
        ValueError: The file is not text in UTF-8.
    """
    text = read_file(path, largest).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json_file(path: Path, largest: int = LARGEST) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        largest: Largest size in bytes.

    Returns:
        Its content, of any type.

    Raises:
        OSError: As for ``read_file``.
        ValueError: The file is not JSON, or nested too deeply.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.json"
        ...     _ = path.write_text("[" * 100_000)
        ...     read_json_file(path)
        Traceback (most recent call last):
            ...
        ValueError: it is nested too deeply
    """
    return parse_json(read_text_file(path, largest))


def parse_json(text: str) -> Any:
    """Parse JSON; every fault of the text is a ValueError.

    Args:
        text: The text.

    Returns:
        Its content, of any type.

    Raises:
        ValueError: The text is not JSON, or nested too deeply.
    """
    return _parsed(json.loads, text)


def read_toml_file(path: Path, largest: int = LARGEST) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file.
        largest: Largest size in bytes.

    Returns:
        Its table.

    Raises:
        OSError: As for ``read_file``.
        ValueError: The file is not TOML, or nested too deeply.
    """
    return parse_toml(read_text_file(path, largest))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML; every fault of the text is a ValueError.

    Args:
        text: The text.

    Returns:
        Its table.

    Raises:
        ValueError: The text is not TOML, or nested too deeply.

    Example:
        >>> parse_toml("a = 1")
        {'a': 1}
    """
    table: dict[str, Any] = _parsed(tomllib.loads, text)
    return table


def record_of(kind: type[_Record], found: Any) -> _Record:
    """Make a flat dataclass of what a JSON file holds.

    Args:
        kind: A dataclass whose fields are ``str``, ``int``, ``float`` or ``bool``.
        found: Content of the file.

    Returns:
        The dataclass.

    Raises:
        ValueError: The content is not an object, lacks a field, has another one, or a value is of
            another type.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Note:
        ...     pid: int
        >>> record_of(Note, {"pid": "5"})
        Traceback (most recent call last):
            ...
        ValueError: 'pid' is '5'; wanted int
    """
    if not isinstance(found, dict):
        raise ValueError(f"it holds {type(found).__name__}; wanted an object")
    types = {field.name: field.type for field in fields(cast(Any, kind))}
    values: dict[str, Any] = {}
    for name, value in found.items():
        wanted = types.get(name)
        name_of_type = type(value).__name__
        if name_of_type != wanted and (name_of_type, wanted) != ("int", "float"):
            shown = repr(value)[:80]
            raise ValueError(f"{str(name)[:80]!r} is {shown}; wanted {wanted or 'no such field'}")
        values[name] = finite_number(value) if wanted == "float" else value
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"a field is absent: {error}") from error


def finite_number(value: Any) -> float:
    """A number of a JSON file.

    Args:
        value: What the file holds.

    Raises:
        ValueError: It is not a number, is NaN, or is larger than a number can be.

    Example:
        >>> finite_number(2)
        2.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{repr(value)[:80]} is not a number")
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError("a number has more than 308 digits") from error
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a finite number")
    return number


def is_bomb(unpacked: int, stored: int) -> bool:
    """Whether a packed file claims to unpack to far more than real data ever do.

    Up to 64 MiB is unpacked from any file; beyond that, at most 200 times what is stored. Pictures
    of hearts shrink to a tenth, tables to a fiftieth.

    Args:
        unpacked: Bytes that it claims to unpack to.
        stored: Bytes that it has.

    Example:
        >>> is_bomb(1 << 40, 4000), is_bomb(1 << 32, 1 << 28)
        (True, False)
    """
    return unpacked > largest_unpacked(stored)


def largest_unpacked(stored: int) -> int:
    """Bytes that a packed file may unpack to.

    Args:
        stored: Bytes that it has.
    """
    return max(_ALWAYS_UNPACKED, _LARGEST_FACTOR * stored)


def _shown(n_bytes: int) -> str:
    return f"{n_bytes >> 20} MiB" if n_bytes >= 1 << 20 else f"{n_bytes >> 10} KiB"


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except MemoryError as error:
        raise ValueError("it takes more memory than there is") from error
