"""Checkpoints under the prefixes and in the containers that training code writes; heads that no feature needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models

from etab import backbones
from etab.backbones.weights.fit import find_weights
from etab.cli.convert import to_safetensors
from etab.errors import WeightsError

State = Mapping[str, torch.Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    import timm

    torch.manual_seed(1)
    return dict(timm.create_model("resnet10t", num_classes=0).state_dict())


def _under(state: State, prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def _other(state: State) -> dict[str, torch.Tensor]:
    return {name: tensor + 1 for name, tensor in state.items()}


CONTAINERS: dict[str, Callable[[State], Any]] = {
    "bare": dict,
    "DistributedDataParallel": lambda s: _under(s, "module."),
    "torch.compile": lambda s: _under(s, "_orig_mod."),
    "both": lambda s: _under(s, "module._orig_mod."),
    "both, the other way": lambda s: _under(s, "_orig_mod.module."),
    "Lightning": lambda s: {
        "epoch": 3,
        "state_dict": _under(s, "model."),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
        "pytorch-lightning_version": "2.2",
    },
    "Lightning, deep": lambda s: {"state_dict": _under(s, "net.backbone.encoder.")},
    "an optimiser beside": lambda s: {
        "model_state_dict": dict(s),
        "optimizer": {"state": {"conv1.0.weight": torch.zeros(3)}},
    },
    "net": lambda s: {"net": dict(s), "acc": 0.9},
    "network": lambda s: {"network": dict(s)},
    "any name": lambda s: {"my_best_encoder": dict(s), "loss": torch.tensor(0.1)},
    "a state dict in two containers": lambda s: {"checkpoint": {"state_dict": dict(s)}},
    "MoCo": lambda s: {
        "state_dict": _under(s, "module.encoder_q.")
        | _under(_other(s), "module.encoder_k.")
        | {"module.queue": torch.zeros(4, 8)}
    },
    "MoCo, the key encoder first": lambda s: (
        _under(_other(s), "encoder_k.") | _under(s, "encoder_q.")
    ),
    "MoCo v3": lambda s: (
        _under(s, "module.base_encoder.") | _under(_other(s), "module.momentum_encoder.")
    ),
    "DINO": lambda s: {
        "student": _under(_other(s), "module.backbone."),
        "teacher": _under(s, "backbone.") | {"head.mlp.0.weight": torch.zeros(2, 2)},
    },
    "DINOv2": lambda s: {
        "model": _under(_other(s), "student.backbone.") | _under(s, "teacher.backbone.")
    },
    "an average of weights": lambda s: {"model": _other(s), "model_ema": dict(s)},
    "half precision": lambda s: {n: t.half() if t.is_floating_point() else t for n, t in s.items()},
    "with a head": lambda s: {**s, "fc.weight": torch.zeros(3, 512), "fc.bias": torch.zeros(3)},
    "with a projection": lambda s: {
        **_under(s, "backbone."),
        "projector.0.weight": torch.zeros(8, 512),
    },
}


@pytest.mark.filterwarnings("ignore::etab.errors.EtabWarning")
@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_gives_the_same_network(name: str, state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(CONTAINERS[name](state), path)
    loaded = backbones.card(f"local:{path}@timm/resnet10t").load().network.state_dict()  # type: ignore[attr-defined]
    wanted = state["layer4.0.conv2.weight"]
    if name == "half precision":
        wanted = wanted.half().float()
    assert torch.equal(loaded["layer4.0.conv2.weight"], wanted)
    assert loaded["layer4.0.conv2.weight"].dtype == torch.float32


@pytest.mark.parametrize("outputs", [1, 2, 400, 1000])
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_a_head_of_any_size_is_left_out(outputs: int, prefix: str, tmp_path: Path) -> None:
    network = models.resnet18(num_classes=outputs)
    torch.save(_under(network.state_dict(), prefix), tmp_path / "w.pt")
    loaded = backbones.card(f"local:{tmp_path / 'w.pt'}@torchvision/resnet18").load()
    own = loaded.network.state_dict()  # type: ignore[attr-defined]
    assert torch.equal(own["layer4.1.conv2.weight"], network.state_dict()["layer4.1.conv2.weight"])


def test_clips_with_another_head(tmp_path: Path) -> None:
    network = models.video.r2plus1d_18()
    network.fc = torch.nn.Linear(512, 1)
    state = torch.nn.DataParallel(network).state_dict()
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "w.pt")
    loaded = backbones.card(f"local:{tmp_path / 'w.pt'}@torchvision/r2plus1d_18").load()
    own = loaded.network.state_dict()  # type: ignore[attr-defined]
    assert torch.equal(own["stem.0.weight"], network.state_dict()["stem.0.weight"])


REFUSED: dict[str, tuple[Callable[[State], Any], str]] = {
    "a layer is missing": (
        lambda s: {n: t for n, t in s.items() if not n.startswith("layer3.")},
        "missing: layer3.0",
    ),
    "another width": (lambda s: {n: t[:1] for n, t in s.items() if t.ndim}, "of another shape"),
    "a deeper network": (
        lambda s: {**s, "layer4.1.conv1.weight": torch.zeros(2)},
        r"1 surplus: layer4\.1\.conv1\.weight",
    ),
    "sparse": (
        lambda s: {n: t.to_sparse() if n == "conv1.0.weight" else t for n, t in s.items()},
        r"conv1\.0\.weight is sparse",
    ),
    "another network": (lambda s: models.vgg11().state_dict(), "missing: conv1.0.weight"),
    "numbers alone": (lambda s: {"epoch": 1, "loss": 0.2}, "holds no state dict"),
    "a list": (lambda s: [1, 2], "holds no state dict"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_misfit_is_refused(name: str, state: State, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    torch.save(make(state), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=words):
        backbones.card(f"local:{tmp_path / 'w.pt'}@timm/resnet10t").load()


def test_a_report_names_container_prefix_and_dropped_keys(state: State) -> None:
    content = {"state_dict": _under(state, "model.") | {"queue": torch.zeros(3)}}
    fitted = find_weights(content, state, "w.pt")
    assert (fitted.container, fitted.prefix) == ("state_dict", "model.")
    assert fitted.dropped == ("queue",)
    assert fitted.report() == (
        f"container: state_dict\nprefix removed: model.\nkeys used: {len(state)}\nkeys dropped: 1 (queue)"
    )


def test_convert_finds_a_network_of_pictures(state: State, tmp_path: Path) -> None:
    torch.save({"state_dict": _under(state, "module.encoder_q.")}, tmp_path / "w.pt")
    target = tmp_path / "w.safetensors"
    fitted = to_safetensors(tmp_path / "w.pt", target, network="timm/resnet10t")
    assert fitted.prefix == "module.encoder_q."
    card = backbones.card(f"local:{target}@timm/resnet10t")
    loaded = card.load().network.state_dict()  # type: ignore[attr-defined]
    assert torch.equal(loaded["conv1.0.weight"], state["conv1.0.weight"])
