"""Readers of the two containers that TensorFlow keeps weights in, without TensorFlow: checkpoints
and flat files.

A checkpoint (V2) is a sorted string table that says where each tensor lies in a data file; a TFLite
file is one FlatBuffer with tensors, buffers and operators. Only what the weights of this package
need is read: tensors of float32 and int32, one shard, no compression. Anything else is refused by
name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import WeightsError
from etab.types import Array, IntArray

_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
_TF_FLOAT, _TF_INT32, _TF_INT64 = 1, 3, 9
_TF_TYPES: Mapping[int, str] = {_TF_FLOAT: "<f4", _TF_INT32: "<i4", _TF_INT64: "<i8"}
_LITE_TYPES: Mapping[int, str] = {0: "<f4", 2: "<i4"}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned integer of seven bits a byte, and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at = at + 1
        shift = shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise WeightsError("an integer has more than 64 bits")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Fields of a protocol buffer: (number, integer or bytes)."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif kind == 2:
            size, at = _varint(data, at)
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            size = {1: 8, 5: 4}[kind]
            yield tag >> 3, data[at : at + size]
            at += size


def _block(data: bytes, at: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block of a sorted string table, whose keys share beginnings."""
    if data[at + size] != 0:
        raise WeightsError("a block is compressed")
    block = data[at : at + size]
    end = size - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    place = 0
    key = b""
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + own]
        yield key, block[place + own : place + own + length]
        place += own + length


def _entry(value: bytes) -> tuple[str, tuple[int, ...], int, int]:
    """What a checkpoint says of one tensor: type, shape, offset and size in the data file."""
    kind = shard = offset = size = 0
    shape: list[int] = []
    for number, content in _fields(value):
        if number == 2:
            shape = [dict(_fields(dim)).get(1, 0) for n, dim in _fields(content) if n == 2]
        kind = content if number == 1 else kind
        shard = content if number == 3 else shard
        offset = content if number == 4 else offset
        size = content if number == 5 else size
    if kind not in _TF_TYPES or shard:
        raise WeightsError(f"a tensor has type {kind} in shard {shard}")
    return _TF_TYPES[kind], tuple(shape), offset, size


def tf_checkpoint(index: Path, data: Path) -> dict[str, Array]:
    """Tensors of a checkpoint (V2) by name. Raises WeightsError for anything else, or where the
    files do not fit.
    """
    table = index.read_bytes()
    tensors = data.read_bytes()
    try:
        if table[-8:] != _TABLE_MAGIC:
            raise WeightsError("no sorted string table")
        _, at = _varint(table, len(table) - _FOOTER)
        _, at = _varint(table, at)
        start, at = _varint(table, at)
        size, _ = _varint(table, at)
        out: dict[str, Array] = {}
        for _, handle in _block(table, start, size):
            first, after = _varint(handle, 0)
            for key, value in _block(table, first, _varint(handle, after)[0]):
                if not key:  # the header of the table
                    continue
                kind, shape, offset, length = _entry(value)
                out[key.decode()] = np.frombuffer(tensors[offset : offset + length], kind).reshape(
                    shape
                )
    except (WeightsError, IndexError, KeyError, ValueError, struct.error) as error:
        raise WeightsError(
            f"{index} and {data.name} are no checkpoint that can be read here: {error}."
        ) from error
    return out


@dataclass(frozen=True, slots=True)
class Operator:
    """One step of a TFLite graph: its number in the format's list, and the tensors that go in and
    come out.
    """

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LiteGraph:
    """The first graph of a TFLite file: names, shapes and constants of its tensors, and its
    operators in order.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    constants: Mapping[int, Array]
    operators: tuple[Operator, ...]

    def weights(self, code: int) -> list[list[Array]]:
        """The constants that each operator of one code reads, in the order of the graph."""
        return [
            [self.constants[i] for i in op.inputs if i in self.constants]
            for op in self.operators
            if op.code == code
        ]


class _Flat:
    """A table of a FlatBuffer: fields by number."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.table = at - struct.unpack_from("<i", data, at)[0]
        self.size = struct.unpack_from("<H", data, self.table)[0]

    def place(self, field: int) -> int:
        """Where a field lies; 0 where it is left out."""
        slot = 4 + 2 * field
        offset = (
            struct.unpack_from("<H", self.data, self.table + slot)[0] if slot < self.size else 0
        )
        return self.at + offset if offset else 0

    def number(self, field: int, form: str) -> int:
        """An integer field, 0 where it is left out."""
        place = self.place(field)
        return int(struct.unpack_from(form, self.data, place)[0]) if place else 0

    def vector(self, field: int) -> tuple[int, int]:
        """Where the items of a vector begin, and how many there are."""
        place = self.place(field)
        if not place:
            return 0, 0
        start = place + struct.unpack_from("<I", self.data, place)[0]
        return start + 4, struct.unpack_from("<I", self.data, start)[0]

    def tables(self, field: int) -> list[_Flat]:
        """The tables of a vector of tables."""
        start, n = self.vector(field)
        places = [start + 4 * i for i in range(n)]
        return [
            _Flat(self.data, place + struct.unpack_from("<I", self.data, place)[0])
            for place in places
        ]

    def integers(self, field: int) -> tuple[int, ...]:
        """A vector of int32."""
        start, n = self.vector(field)
        return struct.unpack_from(f"<{n}i", self.data, start)

    def text(self, field: int) -> str:
        """A string."""
        start, n = self.vector(field)
        return self.data[start : start + n].decode()


def tflite(path: Path) -> LiteGraph:
    """Read the first graph of a TFLite file. Raises WeightsError for a file that is none."""
    data = path.read_bytes()
    try:
        if data[4:8] != b"TFL3":
            raise WeightsError("its mark is missing")
        model = _Flat(data, struct.unpack_from("<I", data, 0)[0])
        graph = model.tables(2)[0]
        codes = [max(c.number(0, "<b"), c.number(3, "<i")) for c in model.tables(1)]
        tensors = graph.tables(0)
        buffers = model.tables(4)
        operators = [
            Operator(codes[o.number(0, "<I")], o.integers(1), o.integers(2))
            for o in graph.tables(3)
        ]
        constants = {
            i: found
            for i, t in enumerate(tensors)
            if (found := _constant(data, t, buffers)) is not None
        }
        return LiteGraph(
            tuple(t.text(3) for t in tensors),
            tuple(t.integers(0) for t in tensors),
            constants,
            tuple(operators),
        )
    except (WeightsError, IndexError, ValueError, struct.error) as error:
        raise WeightsError(f"{path} is no TFLite file that can be read here: {error}.") from error


def _constant(data: bytes, tensor: _Flat, buffers: list[_Flat]) -> Array | IntArray | None:
    """The values of a tensor that has any, of float32 or int32; others are left out."""
    start, n = buffers[tensor.number(2, "<I")].vector(0)
    kind = _LITE_TYPES.get(tensor.number(1, "<b"))
    if not n or kind is None:
        return None
    return np.frombuffer(data[start : start + n], kind).reshape(tensor.integers(0))
