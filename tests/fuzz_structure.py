"""Damage that knows the format: checksums and lengths are made right again after a change.

Random bits mostly break a checksum, and no code behind it is reached. Here a value of a JSON file, a
cell of a table, a member of an archive or a chunk of a picture is changed, and the rest stays whole.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Bytes = Callable[[bytes], bytes]
"""A change of bytes that knows nothing of the format."""

_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**400,
    1 << 63,
    float("nan"),
    float("inf"),
    1e308,
    "",
    "x" * 100_000,
    "../../../../etc/passwd",
    "/dev/zero",
    "a\nb",
    "a\x1b[2J",
    "\ud800",
    "nan",
    [],
    {},
    [[]],
    ["a", 1],
    {"a": 1},
    [0] * 100_000,
)
_DEEP = 100_000
_CELLS = (
    b"nan",
    b"inf",
    b"-1",
    b"1e400",
    b"9" * 5000,
    b'"',
    b'"a\nb"',
    b"../../x",
    b"\xe2\x80\xa8",
    b"\x1b[2J",
    b"x" * 200_000,
    b"[" * 5000,
    b"",
)
_NAMES = ("../out", "/etc/out", "a" * 300, "a\nb", "data.pkl", "entry.json", "a/../../b", "\0")


def restructured(raw: bytes, rng: np.random.Generator, change: Bytes) -> bytes | None:
    """Change one part of a file whose format is known.

    Args:
        raw: The content of a sound file.
        rng: Decides what is changed.
        change: Changes the bytes of a part, as of any file.

    Returns:
        The changed file; None where the format is none of those known here.
    """
    if raw[:4] == b"PK\x03\x04":
        return _zip(raw, rng, change)
    if raw[:2] == b"\x1f\x8b":
        return _gzip(raw, rng, change)
    if raw[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(raw, rng, change)
    if raw[:4] == b"RIFF":
        return _riff(raw, rng, change)
    if raw[:4] == b"PAR1":
        return _parquet(raw, rng, change)
    if raw[:1] in (b"{", b"["):
        return _json(raw, rng)
    if len(raw) > 9 and raw[8:9] == b"{":
        return _safetensors(raw, rng)
    if b"\0" not in raw and b"\n" in raw:
        return _lines(raw, rng)
    return None


def _pick(rng: np.random.Generator, things: Any) -> Any:
    return things[int(rng.integers(len(things)))]


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    """Every place of a JSON value: the list or dict that holds it, and its key."""
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += _nodes(value[key])
    return found


def _change_value(content: Any, rng: np.random.Generator) -> Any:
    """Replace, rename, remove or repeat one value."""
    places = _nodes(content)
    if not places:
        return _pick(rng, _VALUES)
    holder, key = _pick(rng, places)
    action = int(rng.integers(6))
    if action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, dict):
        holder[_pick(rng, _NAMES)] = holder.pop(key)
    elif action == 2 and isinstance(holder, list):
        holder.extend([holder[key]] * 2)
    else:
        holder[key] = copy.deepcopy(_pick(rng, _VALUES))
    return content


def _json_text(content: Any, rng: np.random.Generator) -> bytes:
    text = json.dumps(content)
    if rng.random() < 0.1:
        text = text.replace(json.dumps(_pick(rng, _NAMES[:4])), "[" * _DEEP + "]" * _DEEP)
        places = [i for i, letter in enumerate(text) if letter in "0["]
        if places:
            i = int(_pick(rng, places))
            text = text[:i] + "[" * _DEEP + "]" * _DEEP + text[i + 1 :]
    return text.encode("utf-8", "surrogatepass")


def _json(raw: bytes, rng: np.random.Generator) -> bytes | None:
    try:
        content = json.loads(raw)
    except ValueError:
        return _lines(raw, rng)
    for _ in range(int(rng.integers(1, 4))):
        if isinstance(content, dict | list):
            content = _change_value(content, rng)
    return _json_text(content, rng)


def _safetensors(raw: bytes, rng: np.random.Generator) -> bytes | None:
    size = struct.unpack("<Q", raw[:8])[0]
    try:
        header = json.loads(raw[8 : 8 + size])
    except ValueError:
        return None
    text = _json_text(_change_value(header, rng), rng)
    return struct.pack("<Q", len(text)) + text + raw[8 + size :]


def _lines(raw: bytes, rng: np.random.Generator) -> bytes:
    """Change a cell of a table or the value of a setting; or repeat or lose a line."""
    lines = raw.split(b"\n")
    i = int(rng.integers(len(lines)))
    action = int(rng.integers(8))
    if action == 0:
        lines[i:i] = [lines[i]] * int(_pick(rng, (1, 3, 20_000)))
    elif action == 1:
        del lines[i]
    elif action == 2:
        lines[i] = lines[i] + _pick(rng, (b",", b"\t", b" ", b"=", b":")) * int(
            rng.integers(1, 2000)
        )
    else:
        marks = [mark for mark in (b"=", b",", b"\t", b":", b" ") if mark in lines[i]]
        mark = _pick(rng, marks or [b","])
        cells = lines[i].split(mark)
        cells[int(rng.integers(len(cells)))] = _pick(rng, _CELLS)
        lines[i] = mark.join(cells)
    return b"\n".join(lines)


def _zip(raw: bytes, rng: np.random.Generator, change: Bytes) -> bytes | None:
    """Change a member with its checksum; rename, repeat or lose one; or make one a bomb."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = [(info, archive.read(info)) for info in archive.infolist()]
    except (zipfile.BadZipFile, NotImplementedError):
        return None
    i = int(rng.integers(len(members)))
    info, data = members[i]
    action = int(rng.integers(8))
    if action == 0:
        info.filename = _pick(rng, _NAMES)
    elif action == 1:
        members.append(members[i])
    elif action == 2:
        del members[i]
    elif action == 3:
        members[i] = info, data + bytes(1 << 26)
    elif action == 4:
        info.external_attr = int(_pick(rng, (0o120777, 0o010644, 0o020644, 0o040755))) << 16
    else:
        inner = restructured(data, rng, change) if rng.random() < 0.5 else None
        members[i] = info, change(data) if inner is None else inner
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # two members of one name are wanted
        for info, data in members:
            kind = zipfile.ZIP_DEFLATED if len(data) > 1 << 20 else info.compress_type
            archive.writestr(info, data, compress_type=kind)
    return out.getvalue()


def _gzip(raw: bytes, rng: np.random.Generator, change: Bytes) -> bytes | None:
    """Change what is packed, and pack it again; sometimes with 256 MB of zeros behind it."""
    try:
        data = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error):
        return None
    inner = restructured(data, rng, change) if rng.random() < 0.5 else None
    data = change(data) if inner is None else inner
    packed = gzip.compress(data, mtime=0)
    if rng.random() < 0.1:
        packed += gzip.compress(bytes(1 << 28), 1, mtime=0)
    if rng.random() < 0.1:
        packed = gzip.compress(data + bytes(1 << 28), 1, mtime=0)
    return packed


def _png(raw: bytes, rng: np.random.Generator, change: Bytes) -> bytes:
    """Change the content of one chunk; its length and checksum are right."""
    chunks = []
    at = 8
    while at + 8 <= len(raw):
        length = struct.unpack(">I", raw[at : at + 4])[0]
        chunks.append((raw[at + 4 : at + 8], raw[at + 8 : at + 8 + length]))
        at += 12 + length
    i = int(rng.integers(len(chunks)))
    kind, body = chunks[i]
    if rng.random() < 0.2:
        chunks.insert(i, chunks[i])
    chunks[i] = kind, change(body) if body else body
    out = raw[:8]
    for kind, body in chunks:
        out += struct.pack(">I", len(body)) + kind + body
        out += struct.pack(">I", zlib.crc32(kind + body))
    return out


def _parquet(raw: bytes, rng: np.random.Generator, change: Bytes) -> bytes:
    """Change the footer, or one of its bytes; its length is right. Sometimes the pages."""
    start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    pages, footer = raw[:start], bytearray(raw[start:-8])
    action = int(rng.integers(4))
    if action == 0:
        pages = pages[:4] + change(pages[4:])
    elif action == 1:
        footer = bytearray(change(bytes(footer)))
    else:
        for _ in range(int(rng.integers(1, 4))):
            footer[int(rng.integers(len(footer)))] = int(rng.integers(256))
    return pages + bytes(footer) + len(footer).to_bytes(4, "little") + raw[-4:]


def _riff(raw: bytes, rng: np.random.Generator, change: Bytes) -> bytes:
    """Change the content of one chunk of a WAV or AVI file; all lengths are right."""
    chunks = []
    at = 12
    while at + 8 <= len(raw):
        kind, length = struct.unpack("<4sI", raw[at : at + 8])
        chunks.append((kind, raw[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    i = int(rng.integers(len(chunks)))
    action = int(rng.integers(4))
    if action == 0:
        chunks.insert(i, chunks[i])
    elif action == 1:
        del chunks[i]
    else:
        chunks[i] = chunks[i][0], change(chunks[i][1]) if chunks[i][1] else b""
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return raw[:4] + struct.pack("<I", len(body) + 4) + raw[8:12] + body
