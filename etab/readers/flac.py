"""The first bytes of a FLAC file, which say how large the file can be.

Source of the fields: RFC 9639, sections 6, 8.1 and 8.2.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from etab.errors import CorruptFileError
from etab.files import open_regular
from etab.readers.regular import require_regular

_MARK = b"fLaC"
_TAG = b"ID3"  # some programs write a tag of MP3 files in front
_TAG_HEADER = 10
_STREAMINFO = 34
_HINT = "Write it again."
# Pictures and texts beside the sound: a block of metadata has at most 16 MiB.
_BESIDE_SOUND = 64 << 20
# A frame of sound that cannot be packed takes this much more than its samples.
_OVERHEAD = 1.1


def require_flac(path: Path, longest: int) -> None:
    """Refuse what is not a FLAC file, and a file that is far larger than the sound it promises.

    Args:
        path: The file.
        longest: Samples of a sound whose header leaves their number open; and the largest number
            that is read at all.

    Raises:
        LayoutError: There is no such file.
        CorruptFileError: It is not an ordinary file, is not FLAC, promises more than ``longest``
            samples, or has more bytes than its samples can take.
    """
    require_regular(path, _HINT)
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            _skip_tag(file)
            head = file.read(len(_MARK) + 4 + _STREAMINFO)
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror}. {_HINT}") from error
    if not head.startswith(_MARK):
        raise CorruptFileError(f"{path} is not a FLAC file: it begins with {head[:4]!r}. {_HINT}")
    if len(head) < len(_MARK) + 4 + _STREAMINFO:
        raise CorruptFileError(f"{path} is not a whole FLAC file: it ends early. {_HINT}")
    # 20 bits of rate, 3 of channels - 1, 5 of bits a sample - 1, 36 of samples in all.
    facts = int.from_bytes(head[18:26], "big")
    samples = facts & ((1 << 36) - 1)
    bits = (facts >> 36 & 31) + 1
    channels = (facts >> 41 & 7) + 1
    if samples > longest:
        raise CorruptFileError(
            f"{path} promises {samples:,} samples; wanted at most {longest:,}. Cut it into parts."
        )
    most = int((samples or longest) * channels * bits / 8 * _OVERHEAD) + _BESIDE_SOUND
    if size > most:
        raise CorruptFileError(
            f"{path} has {size:,} bytes, and the sound that its header promises takes at most "
            f"{most:,}. {_HINT}"
        )


def _skip_tag(file: BinaryIO) -> None:
    """Go behind a tag; its size is stored in four bytes of seven bits."""
    head = file.read(_TAG_HEADER)
    size = 0
    if head.startswith(_TAG) and len(head) == _TAG_HEADER:
        size = _TAG_HEADER
        for i, byte in enumerate(reversed(head[6:])):
            size += (byte & 127) << 7 * i
    file.seek(size)
