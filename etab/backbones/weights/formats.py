"""From the formats that weights travel in to the names of the networks they fit; every conversion
is strict.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.base import IMAGENET
from etab.backbones.weights.index import load_state
from etab.errors import WeightsError

# The package that reads a format of checkpoints/index.toml, where it is no dependency of etab itself.
READERS: Mapping[str, str] = {"onnx": "onnx", "keras-h5": "h5py"}


def required(module: str, path: Path) -> Any:
    """Import a module that only some files of weights need.

    Args:
        module: Its name, as "onnx" or "h5py".
        path: The file, for the error.

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


def in_order(state: Mapping[str, Any], own: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Rename by order: both networks list the same tensors in the same order under other names."""
    if [tuple(v.shape) for v in state.values()] != [tuple(v.shape) for v in own.values()]:
        raise WeightsError(f"{what}: the file's tensors are not, in order, those of the network.")
    return dict(zip(own, state.values(), strict=True))


def efficientnet(state: Mapping[str, Any], stages: tuple[int, ...]) -> dict[str, Any]:
    """Names of lukemelas/EfficientNet-PyTorch to those of timm; ``stages`` counts the blocks of
    each stage.
    """
    positions = [(stage, i) for stage, n in enumerate(stages) for i in range(n)]
    whole = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    out: dict[str, Any] = {}
    for name, tensor in state.items():
        block = re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)", name)
        if block:
            stage, i = positions[int(block[1])]
            out[f"blocks.{stage}.{i}.{(first if stage == 0 else later)[block[2]]}.{block[3]}"] = (
                tensor
            )
        else:
            part, rest = name.split(".", 1)
            out[f"{whole[part]}.{rest}"] = tensor
    return out


def vgg16_keras(path: Path) -> dict[str, Any]:
    """Convolutions of a Keras VGG16 (HED) to torchvision's vgg16().features.

    Keras holds (h, w, in, out) and the network takes Caffe input (BGR, 0-255, mean removed); the
    first layer is rewritten for RGB on the ImageNet-normalised scale: x_caffe = 255 * (x * std +
    mean) - mean_caffe.
    """
    import torch

    h5py = required("h5py", path)

    out: dict[str, Any] = {}
    with h5py.File(path) as file:
        at = 0
        for block, n in enumerate((2, 2, 3, 3, 3), start=1):
            for i in range(n):
                group = file[f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars"]
                kernel = np.asarray(group["0"], dtype=np.float64).transpose(3, 2, 0, 1)
                bias = np.asarray(group["1"], dtype=np.float64)
                if at == 0:
                    kernel, bias = _from_caffe(kernel, bias)
                out[f"{at}.weight"] = torch.from_numpy(kernel.astype(np.float32))
                out[f"{at}.bias"] = torch.from_numpy(bias.astype(np.float32))
                at += 2
            at += 1
    return out


def _from_caffe(kernel: Any, bias: Any) -> tuple[Any, Any]:
    mean = np.array(IMAGENET[0])
    std = np.array(IMAGENET[1])
    caffe_bgr = np.array([104.00698793, 116.66876762, 122.67891434])
    rgb = kernel[:, ::-1]
    shift = 255 * mean - caffe_bgr[::-1]
    return rgb * (255 * std)[None, :, None, None], bias + (rgb * shift[None, :, None, None]).sum(
        axis=(1, 2, 3)
    )


def vits14_onnx(path: Path) -> dict[str, Any]:
    """Encoder of the ONNX saliency net to timm's vit_small_patch14_dinov2 (37 x 37 position
    embedding).
    """
    import torch

    onnx = required("onnx", path)
    numpy_helper = required("onnx.numpy_helper", path)

    graph = onnx.load(str(path)).graph
    arrays = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    matmul = {
        node.name: arrays[x].T
        for node in graph.node
        if node.op_type == "MatMul"
        for x in node.input
        if x in arrays
    }
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
    """Position embedding: that of the class token, then those of the 37 x 37 patches."""
    patches = arrays["onnx::Reshape_1962"]
    first = arrays["onnx::Concat_1957"]
    return {
        "pos_embed": np.concatenate([first, patches], axis=1),
        "cls_token": arrays["backbone.embeddings.cls_token"],
    }


def _vit_block(arrays: Mapping[str, Any], matmul: Mapping[str, Any], i: int) -> dict[str, Any]:
    layer = f"backbone.encoder.layer.{i}."
    node = f"/backbone/encoder/layer.{i}/"
    block = f"blocks.{i}."
    parts = ("query", "key", "value")
    inner = "attention/attention/"
    return {
        f"{block}attn.qkv.weight": np.concatenate(
            [matmul[f"{node}{inner}{p}/MatMul"] for p in parts]
        ),
        f"{block}attn.qkv.bias": np.concatenate(
            [arrays[f"{layer}attention.attention.{p}.bias"] for p in parts]
        ),
        f"{block}attn.proj.weight": matmul[f"{node}attention/output/dense/MatMul"],
        f"{block}attn.proj.bias": arrays[f"{layer}attention.output.dense.bias"],
        f"{block}mlp.fc1.weight": matmul[f"{node}mlp/fc1/MatMul"],
        f"{block}mlp.fc2.weight": matmul[f"{node}mlp/fc2/MatMul"],
        f"{block}ls1.gamma": arrays[f"{layer}layer_scale1.lambda1"],
        f"{block}ls2.gamma": arrays[f"{layer}layer_scale2.lambda1"],
        **{
            f"{block}{n}": arrays[f"{layer}{n}"]
            for n in (
                "norm1.weight",
                "norm1.bias",
                "norm2.weight",
                "norm2.bias",
                "mlp.fc1.bias",
                "mlp.fc2.bias",
            )
        },
    }


def read(path: Path, kind: str) -> dict[str, Any]:
    """Read a file of one of the index's formats: pth, onnx (ViT-S/14), keras-h5 (VGG16)."""
    if kind == "onnx":
        return vits14_onnx(path)
    if kind == "keras-h5":
        return vgg16_keras(path)
    return load_state(path)
