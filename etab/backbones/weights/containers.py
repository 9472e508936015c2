"""Readers of TensorFlow's two containers of weights, without TensorFlow.

A checkpoint (V2) is a sorted string table of the tensors, with their positions in a data file. A
TFLite file is one FlatBuffer with tensors, buffers and operators. Only what the weights of this
package need is read: float32 and int32 tensors, one shard, no compression. Anything else raises
WeightsError.

Sources: the formats of LevelDB tables (github.com/google/leveldb, doc/table_format.md), Protocol
Buffers (protobuf.dev/programming-guides/encoding), FlatBuffers (flatbuffers.dev/internals), and
TensorFlow's tensor_bundle.proto and schema.fbs, whose field numbers are used below.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import WeightsError
from etab.files import read_file
from etab.types import Array, IntArray

_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
_TF_FLOAT = 1
_TF_INT32 = 3
_TF_INT64 = 9
_TF_TYPES: Mapping[int, str] = {
    _TF_FLOAT: "<f4",
    _TF_INT32: "<i4",
    _TF_INT64: "<i8",
}
_LITE_TYPES: Mapping[int, str] = {0: "<f4", 2: "<i4"}


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """Read an unsigned integer of seven bits a byte; returns it and the offset after it."""
    value = 0
    shift = 0
    while True:
        byte = data[offset]
        value |= (byte & 127) << shift
        offset += 1
        shift += 7
        if byte < 128:
            return value, offset
        if shift > 63:
            raise WeightsError("an integer has more than 64 bits")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Read the fields of a protocol buffer: (number, integer or bytes)."""
    offset = 0
    while offset < len(data):
        tag, offset = _varint(data, offset)
        kind = tag & 7
        if kind == 0:
            value, offset = _varint(data, offset)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, offset = _varint(data, offset)
        else:
            size = {1: 8, 5: 4}[kind]
        yield tag >> 3, data[offset : offset + size]
        offset += size


def _block(
    data: bytes,
    start: int,
    size: int,
) -> Iterator[tuple[bytes, bytes]]:
    """Read the keys and values of one block of a sorted string table.

    A key is stored as the number of bytes that it shares with the key before it, and its other
    bytes.
    """
    if data[start + size] != 0:
        raise WeightsError("a block is compressed")
    block = data[start : start + size]
    n_restarts = struct.unpack("<I", block[-4:])[0]
    end = size - 4 - 4 * n_restarts
    offset = 0
    key = b""
    while offset < end:
        shared, offset = _varint(block, offset)
        unshared, offset = _varint(block, offset)
        length, offset = _varint(block, offset)
        key = key[:shared] + block[offset : offset + unshared]
        offset += unshared
        yield key, block[offset : offset + length]
        offset += length


def _entry(value: bytes) -> tuple[str, tuple[int, ...], int, int]:
    """The entry of one tensor: type, shape, and its offset and size in the data file."""
    fields = {number: content for number, content in _fields(value) if number != 2}
    shape: list[int] = []
    for number, content in _fields(value):
        if number == 2:
            shape = [dict(_fields(dim)).get(1, 0) for n, dim in _fields(content) if n == 2]
    kind = fields.get(1, 0)
    shard = fields.get(3, 0)
    if kind not in _TF_TYPES or shard:
        raise WeightsError(f"a tensor has type {kind} in shard {shard}")
    return _TF_TYPES[kind], tuple(shape), fields.get(4, 0), fields.get(5, 0)


def tf_checkpoint(index: Path, data: Path) -> dict[str, Array]:
    """Read a TensorFlow checkpoint (V2).

    Args:
        index: The file "<name>.index".
        data: The file "<name>.data-00000-of-00001".

    Returns:
        Arrays by the name of the tensor.

    Raises:
        WeightsError: The files are not such a checkpoint, or do not belong together.
    """
    out: dict[str, Array] = {}
    try:
        table = read_file(index)
        tensors = read_file(data)
        if table[-8:] != _TABLE_MAGIC:
            raise WeightsError("no sorted string table")
        for handle in _data_blocks(table):
            start, offset = _varint(handle, 0)
            size, _ = _varint(handle, offset)
            for key, value in _block(table, start, size):
                if not key:  # the header of the table
                    continue
                kind, shape, offset, length = _entry(value)
                values = np.frombuffer(tensors[offset : offset + length], kind)
                out[key.decode()] = values.reshape(shape)
    except (
        WeightsError,
        OSError,
        IndexError,
        KeyError,
        TypeError,  # a number where bytes belong, or bytes where a number does
        ValueError,
        struct.error,
    ) as error:
        raise WeightsError(
            f"{index} and {data.name} are not a checkpoint that can be read here: {error}."
        ) from error
    return out


def _data_blocks(table: bytes) -> Iterator[bytes]:
    """The handles (offset and size) of the data blocks of a sorted string table."""
    # The footer holds two handles, of the meta index and of the index.
    _, offset = _varint(table, len(table) - _FOOTER)
    _, offset = _varint(table, offset)
    start, offset = _varint(table, offset)
    size, _ = _varint(table, offset)
    for _, handle in _block(table, start, size):
        yield handle


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a TFLite graph.

    Attributes:
        code: Number of the operator in the list of the format.
        inputs: Indices of its input tensors.
        outputs: Indices of its output tensors.
    """

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LiteGraph:
    """The first graph of a TFLite file.

    Attributes:
        names: Names of the tensors.
        shapes: Shapes of the tensors.
        constants: Values of the constant tensors, by index.
        operators: Operators in the order of execution.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    constants: Mapping[int, Array]
    operators: tuple[Operator, ...]

    def weights(self, code: int) -> list[list[Array]]:
        """List the constant inputs of each operator of one kind.

        Args:
            code: Number of the operator in the list of the format.

        Returns:
            The constants of each operator, in the order of execution.
        """
        rows = []
        for operator in self.operators:
            if operator.code == code:
                constants = [i for i in operator.inputs if i in self.constants]
                rows.append([self.constants[i] for i in constants])
        return rows


class _Flat:
    """A table of a FlatBuffer, which begins at ``offset``; its fields have numbers."""

    def __init__(self, data: bytes, offset: int) -> None:
        self.data = data
        self.offset = offset
        self.vtable = offset - struct.unpack_from("<i", data, offset)[0]
        self.vtable_size = struct.unpack_from("<H", data, self.vtable)[0]

    def position(self, field: int) -> int:
        """Offset of a field in the file; 0 where the field is left out."""
        slot = 4 + 2 * field
        if slot >= self.vtable_size:
            return 0
        relative = struct.unpack_from("<H", self.data, self.vtable + slot)[0]
        return self.offset + relative if relative else 0

    def number(self, field: int, form: str) -> int:
        """An integer field; 0 where the field is left out."""
        position = self.position(field)
        return int(struct.unpack_from(form, self.data, position)[0]) if position else 0

    def vector(self, field: int) -> tuple[int, int]:
        """Offset of the first item of a vector, and the number of items."""
        position = self.position(field)
        if not position:
            return 0, 0
        start = position + struct.unpack_from("<I", self.data, position)[0]
        return start + 4, struct.unpack_from("<I", self.data, start)[0]

    def tables(self, field: int) -> list[_Flat]:
        """The tables of a vector of tables."""
        start, n = self.vector(field)
        tables = []
        for position in range(start, start + 4 * n, 4):
            relative = struct.unpack_from("<I", self.data, position)[0]
            tables.append(_Flat(self.data, position + relative))
        return tables

    def integers(self, field: int) -> tuple[int, ...]:
        """A vector of int32."""
        start, n = self.vector(field)
        return struct.unpack_from(f"<{n}i", self.data, start)

    def text(self, field: int) -> str:
        """A string."""
        start, n = self.vector(field)
        return self.data[start : start + n].decode()


def tflite(path: Path) -> LiteGraph:
    """Read the first graph of a TFLite file.

    Args:
        path: The file.

    Returns:
        The graph, with the values of its float32 and int32 constants.

    Raises:
        WeightsError: The file cannot be read, or is not a TFLite file.
    """
    try:
        data = read_file(path)
        if data[4:8] != b"TFL3":
            raise WeightsError("its mark is missing")
        model = _Flat(data, struct.unpack_from("<I", data, 0)[0])
        return _first_graph(data, model)
    except (WeightsError, OSError, IndexError, ValueError, struct.error) as error:
        raise WeightsError(
            f"{path} is not a TFLite file that can be read here: {error}."
        ) from error


def _first_graph(data: bytes, model: _Flat) -> LiteGraph:
    """The first graph of a model; the field numbers are those of TensorFlow's schema.fbs."""
    graph = model.tables(2)[0]
    codes = [max(code.number(0, "<b"), code.number(3, "<i")) for code in model.tables(1)]
    tensors = graph.tables(0)
    buffers = model.tables(4)
    operators = []
    for operator in graph.tables(3):
        code = codes[operator.number(0, "<I")]
        operators.append(Operator(code, operator.integers(1), operator.integers(2)))
    constants = {}
    for i, tensor in enumerate(tensors):
        values = _constant(data, tensor, buffers)
        if values is not None:
            constants[i] = values
    return LiteGraph(
        tuple(tensor.text(3) for tensor in tensors),
        tuple(tensor.integers(0) for tensor in tensors),
        constants,
        tuple(operators),
    )


def _constant(
    data: bytes,
    tensor: _Flat,
    buffers: list[_Flat],
) -> Array | IntArray | None:
    """The values of a float32 or int32 tensor; None for another type or without values."""
    start, n_bytes = buffers[tensor.number(2, "<I")].vector(0)
    kind = _LITE_TYPES.get(tensor.number(1, "<b"))
    if not n_bytes or kind is None:
        return None
    return np.frombuffer(data[start : start + n_bytes], kind).reshape(tensor.integers(0))
