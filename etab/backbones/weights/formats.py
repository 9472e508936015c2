"""File formats of published weights, converted to the state dicts of the networks.

Every conversion is strict: an unexpected tensor is an error.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.base import IMAGENET
from etab.backbones.weights.index import load_state, reading_weights
from etab.errors import WeightsError

# The optional package that reads each format of checkpoints/index.toml.
READERS: Mapping[str, str] = {"onnx": "onnx", "keras-h5": "h5py"}


_MOST_VALUES = 1 << 24
"""Values of one matrix of VGG16, at most; the largest has 2,359,296."""


def required(module: str, path: Path) -> Any:
    """Import a module that only some weights files need.

    Args:
        module: Name of the module, as "onnx" or "h5py".
        path: The weights file, for the error.

    Returns:
        The module.

    Raises:
        WeightsError: The module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise WeightsError(
            f"{path} is read by {module.partition('.')[0]}, which is not installed: "
            'pip install "etab-bench[weights]".'
        ) from error


def in_order(
    state: Mapping[str, Any],
    wanted: Mapping[str, Any],
    what: str,
) -> dict[str, Any]:
    """Rename tensors by their position; both networks must list the same shapes in one order.

    Args:
        state: Tensors under the names of the file.
        wanted: The state dict of the network, for its names and shapes.
        what: Name of the weights in the error.

    Returns:
        The tensors of ``state`` under the names of ``wanted``.

    Raises:
        WeightsError: The shapes differ.
    """
    shapes = [tuple(tensor.shape) for tensor in state.values()]
    if shapes != [tuple(tensor.shape) for tensor in wanted.values()]:
        raise WeightsError(
            f"{what}: the tensors of the file do not have, in order, the shapes of the network."
        )
    return dict(zip(wanted, state.values(), strict=True))


_EFFICIENTNET = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# Blocks of the first stage have no expansion, so that their layers are numbered differently.
_EFFICIENTNET_FIRST = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_EFFICIENTNET_LATER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def efficientnet(state: Mapping[str, Any], stages: tuple[int, ...]) -> dict[str, Any]:
    """Rename the weights of lukemelas/EfficientNet-PyTorch to those of timm.

    Args:
        state: The published state dict.
        stages: Number of blocks of each stage.

    Returns:
        The state dict of timm's network.
    """
    positions = []
    for stage, n_blocks in enumerate(stages):
        positions += [(stage, i) for i in range(n_blocks)]
    out: dict[str, Any] = {}
    for name, tensor in state.items():
        block = re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)", name)
        if block:
            stage, i = positions[int(block[1])]
            layers = _EFFICIENTNET_FIRST if stage == 0 else _EFFICIENTNET_LATER
            out[f"blocks.{stage}.{i}.{layers[block[2]]}.{block[3]}"] = tensor
        else:
            part, rest = name.split(".", 1)
            out[f"{_EFFICIENTNET[part]}.{rest}"] = tensor
    return out


def vgg16_keras(path: Path) -> dict[str, Any]:
    """Read the convolutions of a Keras VGG16 (HED) for torchvision's ``vgg16().features``.

    Keras stores kernels as (h, w, in, out), and the network reads Caffe input (BGR, 0 to 255, mean
    removed). The first layer is rewritten for RGB on the ImageNet-normalised scale:
    x_caffe = 255 * (x * std + mean) - mean_caffe.

    Args:
        path: The HDF5 file.

    Returns:
        The state dict.

    Raises:
        WeightsError: h5py is not installed.
    """
    import torch

    h5py = required("h5py", path)
    out: dict[str, Any] = {}
    with h5py.File(path) as file:
        index = 0
        for block, n_convolutions in enumerate((2, 2, 3, 3, 3), start=1):
            for i in range(n_convolutions):
                suffix = f"_{i}" if i else ""
                group = file[f"block{block}/layers/conv2d{suffix}/vars"]
                kernel = _values(group["0"]).transpose(3, 2, 0, 1)
                bias = _values(group["1"])
                if index == 0:
                    kernel, bias = _from_caffe(kernel, bias)
                out[f"{index}.weight"] = torch.from_numpy(kernel.astype(np.float32))
                out[f"{index}.bias"] = torch.from_numpy(bias.astype(np.float32))
                index += 2  # a ReLU follows each convolution
            index += 1  # a pooling follows each block
    return out


def _values(dataset: Any) -> Any:
    """The values of a dataset, in float64; raises ValueError where it claims far too many.

    What is absent of a dataset reads as its fill value, so that a header of a few bytes can claim
    any shape.
    """
    if dataset.size > _MOST_VALUES:
        raise ValueError(f"{dataset.name} claims the shape {dataset.shape}")
    return np.asarray(dataset, dtype=np.float64)


def _from_caffe(kernel: Any, bias: Any) -> tuple[Any, Any]:
    """Rewrite a first layer for RGB on the ImageNet-normalised scale, in float64."""
    mean = np.array(IMAGENET[0])
    std = np.array(IMAGENET[1])
    caffe_bgr = np.array([104.00698793, 116.66876762, 122.67891434])
    rgb = kernel[:, ::-1]
    shift = 255 * mean - caffe_bgr[::-1]
    added = (rgb * shift[None, :, None, None]).sum(axis=(1, 2, 3))
    return rgb * (255 * std)[None, :, None, None], bias + added


def vits14_onnx(path: Path) -> dict[str, Any]:
    """Read the encoder of the ONNX saliency network for timm's vit_small_patch14_dinov2.

    Args:
        path: The ONNX file.

    Returns:
        The state dict, with a position embedding of 37 x 37 patches.

    Raises:
        WeightsError: onnx is not installed.
    """
    import torch

    onnx = required("onnx", path)
    numpy_helper = required("onnx.numpy_helper", path)
    graph = onnx.load(str(path)).graph
    arrays = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    # The exporter renames the matrices of linear layers; they are found by their nodes.
    matmul = {}
    for node in graph.node:
        if node.op_type == "MatMul":
            for name in node.input:
                if name in arrays:
                    matmul[node.name] = arrays[name].T
    top = "backbone."
    out = {
        "patch_embed.proj.weight": arrays[f"{top}embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": arrays[f"{top}embeddings.patch_embeddings.projection.bias"],
        "norm.weight": arrays[f"{top}layernorm.weight"],
        "norm.bias": arrays[f"{top}layernorm.bias"],
    }
    out |= _positions(arrays)
    for i in range(12):
        out |= _vit_block(arrays, matmul, i)
    return {k: torch.from_numpy(np.array(v, dtype=np.float32, order="C")) for k, v in out.items()}


def _positions(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The position embedding: the class token first, then the 37 x 37 patches."""
    patches = arrays["onnx::Reshape_1962"]
    first = arrays["onnx::Concat_1957"]
    return {
        "pos_embed": np.concatenate([first, patches], axis=1),
        "cls_token": arrays["backbone.embeddings.cls_token"],
    }


def _vit_block(
    arrays: Mapping[str, Any],
    matmul: Mapping[str, Any],
    i: int,
) -> dict[str, Any]:
    """The weights of block ``i`` under the names of timm."""
    layer = f"backbone.encoder.layer.{i}."
    node = f"/backbone/encoder/layer.{i}/"
    block = f"blocks.{i}."
    parts = ("query", "key", "value")
    kernels = [matmul[f"{node}attention/attention/{part}/MatMul"] for part in parts]
    biases = [arrays[f"{layer}attention.attention.{part}.bias"] for part in parts]
    out = {
        f"{block}attn.qkv.weight": np.concatenate(kernels),
        f"{block}attn.qkv.bias": np.concatenate(biases),
        f"{block}attn.proj.weight": matmul[f"{node}attention/output/dense/MatMul"],
        f"{block}attn.proj.bias": arrays[f"{layer}attention.output.dense.bias"],
        f"{block}mlp.fc1.weight": matmul[f"{node}mlp/fc1/MatMul"],
        f"{block}mlp.fc2.weight": matmul[f"{node}mlp/fc2/MatMul"],
        f"{block}ls1.gamma": arrays[f"{layer}layer_scale1.lambda1"],
        f"{block}ls2.gamma": arrays[f"{layer}layer_scale2.lambda1"],
    }
    for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
        out[f"{block}{name}"] = arrays[f"{layer}{name}"]
    for name in ("mlp.fc1.bias", "mlp.fc2.bias"):
        out[f"{block}{name}"] = arrays[f"{layer}{name}"]
    return out


def read_weights(path: Path, kind: str) -> dict[str, Any]:
    """Read a weights file in one of the formats of the index.

    Args:
        path: The file.
        kind: "pth", "onnx" (ViT-S/14) or "keras-h5" (VGG16).

    Returns:
        The state dict.

    Raises:
        WeightsError: The file cannot be read, or its reader is not installed.
    """
    with reading_weights(path):
        if kind == "onnx":
            return vits14_onnx(path)
        if kind == "keras-h5":
            return vgg16_keras(path)
        return load_state(path)
