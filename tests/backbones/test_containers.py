"""Weights of sound backbones in TensorFlow's containers, and weights that lie in two files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from etab.backbones.weights import index as weights
from etab.backbones.weights.containers import tf_checkpoint, tflite
from etab.errors import WeightsError


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _table(entries: dict[bytes, bytes]) -> bytes:
    """A sorted string table with one block, as TensorFlow writes its checkpoints' index."""

    def block(rows: dict[bytes, bytes]) -> bytes:
        body = b"".join(b"\0" + _varint(len(k)) + _varint(len(v)) + k + v for k, v in rows.items())
        return body + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")

    data = block(entries)
    index = block({b"z": _varint(0) + _varint(len(data))})
    table = data + b"\0crc0" + index + b"\0crc0"
    handles = _varint(0) + _varint(0) + _varint(len(data) + 5) + _varint(len(index))
    return table + handles.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def _proto(shape: Sequence[int], offset: int, size: int, kind: int = 1) -> bytes:
    dims = b"".join(b"\x12" + _varint(1 + len(_varint(d))) + b"\x08" + _varint(d) for d in shape)
    return (
        b"\x08"
        + _varint(kind)
        + b"\x12"
        + _varint(len(dims))
        + dims
        + b"\x20"
        + _varint(offset)
        + b"\x28"
        + _varint(size)
    )


def test_a_checkpoint_is_read_without_its_library(tmp_path: Path) -> None:
    values = np.arange(6, dtype="<f4")
    rows = {b"": b"\x08\x01", b"a/kernel": _proto((2, 3), 4, 24), b"b": _proto((), 0, 4)}
    (tmp_path / "i").write_bytes(_table(rows))
    (tmp_path / "d").write_bytes(np.float32(7).tobytes() + values.tobytes())
    found = tf_checkpoint(tmp_path / "i", tmp_path / "d")
    assert found["a/kernel"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["b"].shape == ()
    assert float(found["b"]) == 7
    (tmp_path / "d").write_bytes(b"short")
    with pytest.raises(WeightsError, match="not a checkpoint that can be read"):
        tf_checkpoint(tmp_path / "i", tmp_path / "d")
    (tmp_path / "i").write_bytes(_table({b"a": _proto((1,), 0, 4, kind=7)}))
    with pytest.raises(WeightsError, match="type 7"):
        tf_checkpoint(tmp_path / "i", tmp_path / "d")


@pytest.mark.parametrize(
    "content", [b"", b"x" * 60, b"\x10\0\0\0TFL3", b"\x10\0\0\0TFL3" + b"\xff" * 64]
)
def test_damaged_containers_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="that can be read here"):
        tflite(path)
    with pytest.raises(WeightsError, match="that can be read here"):
        tf_checkpoint(path, path)


def test_both_members_of_a_checkpoint_are_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ETAB_CACHE", str(tmp_path))
    what = weights.entry("musicnn_msd")
    assert {"beside", "beside_sha256"} <= set(what)
    assert weights.beside("crepe_tiny") is None
    assert not weights.at_hand("musicnn_msd")
    (tmp_path / "weights").mkdir()
    place = weights._fetched("musicnn_msd", what)
    place.write_bytes(b"one half")
    assert not weights.at_hand("musicnn_msd"), "half a checkpoint is not at hand"
    other = weights._fetched("musicnn_msd", weights._other(what))
    assert other != place
    other.write_bytes(b"other half")
    assert weights.at_hand("musicnn_msd")
    with pytest.raises(WeightsError, match=what["beside_sha256"]):
        weights.beside("musicnn_msd")
