"""Precisions with a backend: each acts or is refused, and the default stays what it was."""

from __future__ import annotations

import importlib.util
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from etab import backbones
from etab.backbones.base import BackboneCard
from etab.backbones.image import backends
from etab.backbones.image.networks import TorchBackbone, sequential_taps
from etab.errors import MissingPackageError, UnsupportedOptionError
from etab.features.store import placed, precision_facts, resolve_precision
from etab.precisions import NAMED, parts
from etab.types import Features

SIZE = 16
LAYERS = ("stride2", "stride4")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    modules = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
    )
    for module in modules:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(module.bias, -1, 1)
    return modules


def backbone(modules: nn.Sequential | None = None, taps: tuple[int, ...] = (2, 5)) -> TorchBackbone:
    card = BackboneCard(name="tiny", title="tiny", size=SIZE, layers=LAYERS, strides=(2, 4))
    modules = modules or network()
    return TorchBackbone(card, modules, sequential_taps(modules, taps, LAYERS))


def frames(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, SIZE, SIZE), dtype=torch.uint8, generator=generator)


def equal(one: Features, other: Features, tolerance: float) -> bool:
    assert list(one.pooled) == list(other.pooled)
    assert len(one.maps) == len(other.maps)
    pairs = [*zip(one.pooled.values(), other.pooled.values(), strict=True)]
    pairs += [*zip(one.maps, other.maps, strict=True)]
    return all(
        torch.allclose(a.float(), b.float(), rtol=tolerance, atol=tolerance) for a, b in pairs
    )


def test_folded_batch_norms_are_gone_and_the_features_stay() -> None:
    plain = backbone().to("cpu", "fp32")(frames(3))
    fused = backbone()
    digest = fused.digest()
    computed = fused.to("cpu", "fp32-fused")(frames(3))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.network.modules())
    assert fused.digest() == digest
    assert equal(plain, computed, 2e-3)
    assert equal(plain, backbone().to("cpu", "bf16-fused")(frames(3)), 0.1)


def test_folding_that_cannot_be_done_is_refused() -> None:
    without_norms = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1))
    with pytest.raises(UnsupportedOptionError, match="tiny has no batch-norm after a convolution"):
        backbone(without_norms, (1, 2)).to("cpu", "fp32-fused")
    # A tapped convolution: its features would become those after the batch-norm.
    with pytest.raises(UnsupportedOptionError, match="Folding 2 batch-norms of tiny changes"):
        backbone(taps=(0, 5)).to("cpu", "fp32-fused")


def test_a_shared_convolution_is_not_folded() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 3, 1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.convolution(self.convolution(x)))  # type: ignore[no-any-return]

    assert backends.folded(Twice().eval(), torch.ones(1, 3, 4, 4)) == 0


def test_a_smaller_batch_is_filled_up_and_a_larger_one_compiled_again() -> None:
    shapes: list[tuple[int, ...]] = []

    def make(module: nn.Module, example: Tensor, _threads: int) -> backends.Compute:
        shapes.append(tuple(example.shape))

        def compute(x: Tensor) -> list[Tensor]:
            assert x.shape == example.shape
            return [module(x)]

        return compute

    graph = backends.Graph(nn.Flatten(), make)
    for n in (4, 1, 4, 6, 5):
        x = torch.arange(n * 4.0).reshape(n, 2, 2)
        assert torch.equal(graph(x)[0], x.flatten(1))
    assert shapes == [(4, 2, 2), (6, 2, 2)]
    graph(torch.zeros(2, 3, 3))
    assert shapes[-1] == (2, 3, 3)


def test_a_batch_that_could_not_be_compiled_for_is_tried_again() -> None:
    def make(module: nn.Module, example: Tensor, _threads: int) -> backends.Compute:
        if len(example) > 4:
            raise MemoryError
        return lambda x: [module(x)]

    graph = backends.Graph(nn.Flatten(), make)
    small, large = torch.zeros(4, 2, 2), torch.zeros(6, 2, 2)
    graph(small)
    for _ in range(2):
        with pytest.raises(MemoryError):
            graph(large)
    assert graph(small)[0].shape == (4, 4)


def test_features_stay_when_a_backend_writes_to_the_same_memory_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(module: nn.Module, example: Tensor, _threads: int) -> backends.Compute:
        kept: list[Tensor] = []

        def compute(x: Tensor) -> list[Tensor]:
            for i, output in enumerate(module(x)):
                if i == len(kept):
                    kept.append(torch.empty_like(output))
                kept[i].copy_(output)
            return kept

        return compute

    monkeypatch.setitem(backends._MAKERS, "fused", lambda number: make)  # type: ignore[index]

    def with_token(x: Tensor) -> list[tuple[str, Tensor, Tensor | None]]:
        rows = backbone().taps(x)
        return [(layer, grid, grid[:, :, 0, 0]) for layer, grid, _ in rows]

    ours = TorchBackbone(backbone().card, network(), with_token).to("cpu", "fp32-fused")
    plain = TorchBackbone(backbone().card, network(), with_token)
    first = ours(frames(3))
    ours(255 - frames(3))
    assert equal(first, plain(frames(3)), 0)


@pytest.mark.parametrize("number", ["fp32", "bf16"])
@pytest.mark.parametrize("threads", [1, 3])
def test_parts_in_threads_are_the_features_of_plain_torch(
    threads: int, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers: set[str] = set()

    def make(module: nn.Module, example: Tensor, at_once: int) -> backends.Compute:
        assert at_once == threads
        kept = threading.local()

        def compute(x: Tensor) -> list[Tensor]:
            assert x.shape == example.shape
            callers.add(threading.current_thread().name)
            outputs = [output.to(dtype).contiguous() for output in module(x)]
            if hasattr(kept, "outputs"):
                for old, new in zip(kept.outputs, outputs, strict=True):
                    old.copy_(new)
            else:
                kept.outputs = outputs
            return list(kept.outputs)

        return compute

    dtype = torch.float32 if number == "fp32" else torch.bfloat16
    monkeypatch.setattr(backends.torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(backends, "require", lambda *_: None)
    monkeypatch.setitem(backends._MAKERS, "openvino", lambda number: make)  # type: ignore[index]

    # Made once: threads that draw weights at the same time would draw each other's numbers.
    one = backbone()

    def with_token(x: Tensor) -> list[tuple[str, Tensor, Tensor | None]]:
        rows = one.taps(x)
        return [(layer, grid, grid[:, :, 0, 0].float()) for layer, grid, _ in rows]

    ours = TorchBackbone(one.card, network(), with_token).to("cpu", f"{number}-openvino")
    plain = TorchBackbone(one.card, network(), with_token)
    first = ours(frames(21))
    ours(255 - frames(21))
    assert equal(first, plain(frames(21)), 1e-4 if number == "fp32" else 2e-2)
    assert all(values.is_contiguous() for values in first.maps)
    assert len(callers) <= threads
    assert ("MainThread" in callers) == (threads == 1)
    grids = ours.columns(frames(5))
    for layer, columns in plain.columns(frames(5)).items():
        assert torch.allclose(grids[layer], columns, atol=2e-2)


@pytest.mark.parametrize(
    ("precision", "package"),
    [
        ("fp32-openvino", "openvino"),
        ("bf16-openvino", "openvino"),
        ("fp32-onnx", "onnxruntime"),
    ],
)
def test_an_absent_backend_is_named_with_its_extra(
    precision: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    extra = precision.split("-")[1]
    with pytest.raises(MissingPackageError, match=rf"package {package}: .*etab-bench\[{extra}\]"):
        backbone().to("cpu", precision)


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.shutil, "which", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"needs a C\+\+ compiler"):
        backbone().to("cpu", "fp32-compile")


def test_backends_of_the_processor_are_refused_on_another_device() -> None:
    with pytest.raises(UnsupportedOptionError, match="openvino computes on the processor here"):
        backends.require("openvino", "cuda")


@pytest.mark.parametrize("precision", ["fp16", "bf16-onnx", "fp32-", "openvino", "fp32-tensorrt"])
def test_unknown_precisions_are_refused(precision: str) -> None:
    with pytest.raises(UnsupportedOptionError, match="No precision is called"):
        parts(precision)
    with pytest.raises(UnsupportedOptionError, match="No precision is called"):
        resolve_precision(precision, backbones.card("mobilenetv2"), "cpu")


@pytest.mark.parametrize("precision", [name for name in NAMED if "-" in name])
def test_a_backbone_that_is_no_torch_network_of_frames_is_refused(precision: str) -> None:
    class Other:
        card = BackboneCard(name="other", title="other")

        def to(self, device: str, precision: str) -> Any:
            raise AssertionError("it was moved")

    with pytest.raises(UnsupportedOptionError, match="other is none"):
        placed(Other(), "cpu", precision)


def test_a_network_of_clips_is_refused_before_it_is_loaded() -> None:
    with pytest.raises(UnsupportedOptionError, match="computes torch networks of frames"):
        resolve_precision("fp32-fused", backbones.card("random/echonet_ef"), "cpu")


def test_only_a_package_of_its_own_is_named_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision_facts("fp32") == {"precision": "fp32"}
    assert precision_facts("bf16-fused") == {"precision": "bf16-fused"}
    monkeypatch.setattr("etab.features.store.release_version", lambda name: "1.2")
    assert precision_facts("fp32-onnx") == {
        "precision": "fp32-onnx",
        "backend": "onnxruntime 1.2",
    }
    # Features that OpenVINO computed before its maps stayed as it computes them are not read.
    assert precision_facts("bf16-openvino") == {
        "precision": "bf16-openvino",
        "backend": "openvino 1.2",
        "backend_version": "2",
    }


def test_the_default_calls_the_network_as_it_is() -> None:
    loaded = backbone().to("cpu", "fp32")
    expected = loaded.taps(loaded.normalised(frames(2)))
    features = loaded(frames(2))
    for (layer, grid, _), maps in zip(expected, features.maps, strict=True):
        assert torch.equal(features.pooled[f"{layer}/mean"], grid.mean(dim=(2, 3)))
        assert torch.equal(maps, grid.to(torch.float16))
