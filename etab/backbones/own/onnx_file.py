"""ONNX files of pictures: ``onnx:FILE`` (extra ``onnx``).

The input is (n, 3, size, size) or (n, size, size, 3), in float32 or float16. The size is that
of the input, or the metadata entry ``size`` where the input has none. Frames are normalised by the
metadata entries ``mean`` and ``std`` (three numbers with commas, on the [0, 1] scale); without them,
the values are in [0, 1]. Each output is a layer: vectors (n, d), maps (n, c, h, w), or the tokens of a
square grid (n, t, d), as ``last_hidden_state`` of an exported transformer.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.base import NOT_STATED, BackboneCard
from etab.backbones.own.function import FunctionBackbone, card_of
from etab.backbones.own.inputs import Frames
from etab.backbones.sizes import SIZES
from etab.backbones.weights.index import sha256_of
from etab.backbones.weights.recognise import not_weights, require_file
from etab.errors import CorruptFileError, MissingPackageError, UnsupportedOptionError, reason_of
from etab.files import is_file
from etab.types import Array

# Characters of an error of onnxruntime, which names a place in its own code first.
_LONGEST = 500
# The entry of a graph that names a file of external data: field 1 "location", field 2 the length of the
# path and the path. Longer paths have a length of two bytes, and no exporter writes them.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x00-\x7f])", re.DOTALL)
# Numbers of the input that are read, by their name in onnxruntime.
_NUMBERS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxFunction:
    """The function of an ONNX file, on the processor.

    Args:
        file: The file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.session = _session(file)
        inputs = self.session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(each.name for each in inputs)
            raise UnsupportedOptionError(
                f"onnx:{file} has {len(inputs)} inputs ({names}); wanted one, of pictures. Wrap it "
                "in a function: etab.backbone(function, input=...)."
            )
        self.input = inputs[0]
        outputs = [output.name for output in self.session.get_outputs()]
        self.names = [name.replace("/", "_") for name in outputs]
        if len(set(self.names)) < len(outputs):
            raise UnsupportedOptionError(
                f"onnx:{file} has outputs whose names differ only by / and _: {', '.join(outputs)}. "
                "Give each output a name of its own."
            )

    @property
    def size(self) -> int:
        """Side of the square input in pixels."""
        shape = list(self.input.shape)
        sides = shape[1:3] if self.is_channels_last else shape[2:]
        is_colour = len(shape) == 4 and (3 in (shape[1], shape[3]) or not isinstance(shape[1], int))
        is_picture = is_colour and sides[0] == sides[-1]
        is_of_any_size = len(shape) == 4 and not any(isinstance(x, int) for x in sides)
        if not (is_picture or is_of_any_size) or self.input.type not in _NUMBERS:
            raise UnsupportedOptionError(
                f"onnx:{self.file} reads {self.input.type} of shape {shape}; wanted tensor(float) "
                "(n, 3, size, size) or (n, size, size, 3). Wrap another one in a function: "
                "etab.backbone(function, input=...)."
            )
        return sides[0] if isinstance(sides[0], int) else self._named_size()

    @property
    def is_channels_last(self) -> bool:
        """Whether the input is (n, size, size, 3)."""
        shape = list(self.input.shape)
        return len(shape) == 4 and shape[3] == 3 and shape[1] != 3

    def _named_size(self) -> int:
        """The size from the metadata of a file whose input has any size."""
        word = str(self.session.get_modelmeta().custom_metadata_map.get("size", ""))
        if not word.isdigit() or not SIZES[0] <= int(word) <= SIZES[1]:
            raise UnsupportedOptionError(
                f"onnx:{self.file} reads pictures of any size, {list(self.input.shape)}, and its "
                f"metadata entry size is {word!r}; wanted {SIZES[0]} to {SIZES[1]}. Write it with "
                'onnx.helper.set_model_props(model, {"size": "224"}), or export the model with a '
                "fixed size."
            )
        return int(word)

    def normalisation(self) -> dict[str, tuple[float, float, float]]:
        """Mean and standard deviation from the metadata of the file; empty without them."""
        metadata = self.session.get_modelmeta().custom_metadata_map
        values: dict[str, tuple[float, float, float]] = {}
        for name in ("mean", "std"):
            if name not in metadata:
                continue
            try:
                first, second, third = (float(word) for word in metadata[name].split(","))
            except ValueError as error:
                raise CorruptFileError(
                    f"{self.file}: its metadata entry {name} is {metadata[name]!r}; "
                    "wanted three numbers separated by commas."
                ) from error
            values[name] = (first, second, third)
        return values

    def __call__(self, x: Array) -> dict[str, Array]:
        """Compute the outputs of pictures (n, 3, size, size), by the fixed batch of the graph if it has one."""
        if self.is_channels_last:
            x = x.transpose(0, 2, 3, 1)
        x = np.ascontiguousarray(x, dtype=_NUMBERS[self.input.type])
        fixed = self.input.shape[0]
        batch = fixed if isinstance(fixed, int) and fixed > 0 else len(x)
        filling = np.repeat(x[-1:], -len(x) % batch, axis=0)
        filled = np.concatenate([x, filling])
        parts = [filled[i : i + batch] for i in range(0, len(filled), batch)]
        rows = [self.session.run(None, {self.input.name: part}) for part in parts]
        if len(rows) == 1 and len(filled) == len(x):
            return dict(zip(self.names, rows[0], strict=True))
        return {
            name: np.concatenate([row[i] for row in rows])[: len(x)]
            for i, name in enumerate(self.names)
        }


def _session(file: Path) -> Any:
    try:
        library = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingPackageError(
            'Names onnx:... need onnxruntime: pip install "etab-bench[onnx]".'
        ) from error
    try:
        return library.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an error class for each cause
        other = not_weights(file)
        if other:
            raise CorruptFileError(f"{file} cannot be read as ONNX. {other}") from error
        raise CorruptFileError(
            f"{file} cannot be read as ONNX: {reason_of(error, _LONGEST)}. Export it again, with the "
            f"files of its weights beside it, for onnxruntime {library.__version__} or an earlier one."
        ) from error


def onnx_card(name: str) -> BackboneCard:
    """Make the card of an ONNX file; it is run once, with a trial input.

    Args:
        name: "onnx:<file>".

    Returns:
        The card.

    Raises:
        WeightsError: There is no such file.
        MissingPackageError: onnxruntime is not installed.
        CorruptFileError: The file cannot be read.
        UnsupportedOptionError: Its input is not a square picture, or its outputs are not features.
    """
    file = Path(name.removeprefix("onnx:"))
    require_file(file, f"There is no ONNX file {file}.")
    function = OnnxFunction(file)
    sha256 = _sha256_with_data(file)
    card = card_of(FunctionBackbone(name, function, _input(function), version=sha256))
    return replace(card, load=partial(_load, name, file), sha256=sha256, pretraining=NOT_STATED)


def _sha256_with_data(file: Path) -> str:
    """Digest a file and the files of external data that it names; exporters keep weights there."""
    content = file.read_bytes()
    beside = [other.name for other in file.parent.iterdir() if other.name.encode() in content]
    names = sorted({*beside, *_locations(content)} - {file.name})
    others = [name for name in names if is_file(file.parent / name)]
    if not others:
        return sha256_of(file)
    digests = [sha256_of(file), *(f"{name} {sha256_of(file.parent / name)}" for name in others)]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _locations(content: bytes) -> set[str]:
    """Paths of the files of external data, which may lie in folders below that of the graph."""
    found = set()
    for entry in _LOCATION.finditer(content):
        length = entry[1][0]
        path = content[entry.end() : entry.end() + length]
        found.add(path.decode("utf-8", "replace"))
    return found


def _input(function: OnnxFunction) -> Frames:
    size = function.size
    try:
        return Frames(size=size, array="numpy", **function.normalisation())
    except UnsupportedOptionError as error:
        raise UnsupportedOptionError(f"onnx:{function.file}, its metadata: {error}") from error


def _load(name: str, file: Path) -> FunctionBackbone:
    function = OnnxFunction(file)
    return FunctionBackbone(name, function, _input(function), version=_sha256_with_data(file))
