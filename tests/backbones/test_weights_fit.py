"""Checkpoints as trainers write them, their heads, and files that are of no network or of several."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import models
from typer.testing import CliRunner

from etab import backbones
from etab.cli.main import app
from etab.errors import EtabError, EtabWarning, WeightsError

SMALL = "timm/resnet10t"
NETWORKS = (SMALL, "torchvision/resnet18", "torchvision/mc3_18")
LARGER = [pytest.param(network, marks=pytest.mark.slow) for network in NETWORKS[1:]]


def made(network: str) -> dict[str, Any]:
    """A state dict of a network, with another head than the published one."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        name = network.split("/")[1]
        if network.startswith("timm/"):
            return timm.create_model(name, num_classes=0).state_dict()
        return models.get_model(name, weights=None, num_classes=3).state_dict()


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Any]]:
    return {network: made(network) for network in NETWORKS}


def under(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


def other(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value * 2 for key, value in state.items()}


def inserted(state: dict[str, Any], word: str) -> dict[str, Any]:
    """Compiled below the top: the word after the first part of every key of the body."""
    return {k.replace(".", f".{word}.", 1) if "." in k else k: v for k, v in state.items()}


CHECKPOINTS = {
    "plain": lambda s: s,
    "Lightning": lambda s: {"state_dict": under(s, "model."), "epoch": 3, "optimizer_states": []},
    "Lightning backbone": lambda s: {"state_dict": under(s, "backbone.")},
    "Lightning net": lambda s: {"state_dict": under(s, "net.encoder.")},
    "compiled": lambda s: under(s, "_orig_mod."),
    "DDP, compiled": lambda s: under(s, "module._orig_mod."),
    "compiled, DDP": lambda s: under(s, "_orig_mod.module."),
    "compiled inside": lambda s: inserted(s, "_orig_mod"),
    "FSDP": lambda s: inserted(s, "_fsdp_wrapped_module"),
    "model of a model": lambda s: {"state_dict": under(s, "model.module.backbone._orig_mod.")},
    "model_state_dict": lambda s: {"model_state_dict": s, "epoch": 1, "loss": torch.tensor(1.0)},
    "model": lambda s: {"model": s, "args": argparse.Namespace(lr=1e-3), "best": np.float64(0.5)},
    "net": lambda s: {"net": s, "acc": 90.0},
    "network": lambda s: {"network": under(s, "module.")},
    "params": lambda s: {"params": s},
    "nested": lambda s: {"checkpoint": {"model": {"state_dict": under(s, "encoder.")}}},
    "MoCo": lambda s: {
        "state_dict": {**under(s, "module.encoder_q."), **under(other(s), "module.encoder_k.")}
    },
    "MoCo v3": lambda s: {
        "state_dict": {
            **under(s, "module.base_encoder."),
            **under(other(s), "module.momentum_encoder."),
        }
    },
    "DINO": lambda s: {
        "student": under(other(s), "module.backbone."),
        "teacher": under(s, "backbone."),
    },
    "DINOv2": lambda s: {**under(other(s), "student.backbone."), **under(s, "teacher.backbone.")},
    "EMA": lambda s: {"state_dict": other(s), "state_dict_ema": s},
    "EMA of a model": lambda s: {"model": other(s), "model_ema": s},
    "BYOL": lambda s: {**under(s, "online_encoder.net."), **under(other(s), "target_encoder.net.")},
    "SimCLR": lambda s: {
        "state_dict": {**under(s, "encoder."), "projector.0.weight": torch.ones(3, 2)}
    },
    "optimizer": lambda s: {"model": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
}


@pytest.mark.filterwarnings("ignore::etab.errors.EtabWarning")
@pytest.mark.parametrize("network", [SMALL, *LARGER])
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_of_trainers_load(kind: str, network: str, states: Any, tmp_path: Path) -> None:
    state = states[network]
    torch.save(CHECKPOINTS[kind](state), tmp_path / "w.pt")
    backbone: Any = backbones.card(f"local:{tmp_path / 'w.pt'}@{network}").load()
    loaded = backbone.network.state_dict()
    for key, value in state.items():
        if not key.startswith("fc."):
            assert torch.equal(loaded[key], value), key


def test_the_choice_of_a_teacher_is_announced(states: Any, tmp_path: Path) -> None:
    state = states["timm/resnet10t"]
    torch.save(CHECKPOINTS["DINO"](state), tmp_path / "w.pt")
    card = backbones.card(f"local:{tmp_path / 'w.pt'}@timm/resnet10t")
    with pytest.warns(EtabWarning, match=r"teacher/backbone\. is used, not student/module\.backb"):
        card.load()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", ["none", "1", "2", "1000 and a layer", "half", "projector"])
def test_heads_are_not_needed(head: str, network: str, states: Any, tmp_path: Path) -> None:
    body = {k: v for k, v in states[network].items() if not k.startswith("fc.")}
    heads = {
        "none": {},
        "1": {"fc.weight": torch.ones(1, 512), "fc.bias": torch.ones(1)},
        "2": {"fc.weight": torch.ones(2, 512), "fc.bias": torch.ones(2)},
        "1000 and a layer": {
            "fc.0.weight": torch.ones(64, 512),
            "fc.2.weight": torch.ones(1000, 64),
        },
        "half": {"fc.weight": torch.ones(1000, 512)},
        "projector": {
            "projection_head.0.weight": torch.ones(2, 2),
            "prototypes.weight": torch.ones(2, 2),
        },
    }
    digests = set()
    for i in range(2):
        torch.save({**body, **heads[head]}, tmp_path / f"{i}.pt")
        digests.add(backbones.card(f"local:{tmp_path / f'{i}.pt'}@{network}").load().digest())
    assert len(digests) == 1


def without(state: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in state.items() if k != key}


FIRST = "layer1.0.conv1.weight"
BAD = {
    "a missing layer": (lambda s: without(s, FIRST), f"1 missing: {FIRST}"),
    "another shape": (lambda s: {**s, FIRST: torch.ones(2)}, rf"of another shape: {FIRST} \(2,\)"),
    "a deeper network": (
        lambda s: {**s, "layer1.9.conv1.weight": torch.ones(2)},
        "surplus: layer1.9",
    ),
    "unknown parts": (lambda s: {**s, "registers": torch.ones(2)}, "1 surplus: registers"),
    "NaN": (lambda s: {**s, FIRST: s[FIRST] * np.nan}, f"{FIRST} holds NaN or infinity"),
    "integers": (lambda s: {**s, FIRST: s[FIRST].to(torch.int8)}, f"{FIRST} holds int8"),
    "sparse": (lambda s: {**s, FIRST: s[FIRST].to_sparse()}, f"{FIRST} is sparse"),
    "quantised": (
        lambda s: {**s, FIRST: torch.quantize_per_tensor(s[FIRST], 0.1, 0, torch.qint8)},
        f"{FIRST} is quantised",
    ),
    "two networks": (
        lambda s: {"left": s, "right": other(s)},
        "2 networks in the file fit: left, right.*--take left",
    ),
    "nothing": (lambda s: {"epoch": 3}, "holds no state dict"),
    "a list": (lambda s: [1, 2], "holds no state dict"),
    "another network": (lambda s: {"a.b": torch.ones(2)}, "1 surplus: a.b"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", BAD)
def test_what_does_not_fit_is_refused_with_the_keys(kind: str, states: Any, tmp_path: Path) -> None:
    make, message = BAD[kind]
    torch.save(make(states["torchvision/resnet18"]), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=message):
        backbones.card(f"local:{tmp_path / 'w.pt'}@torchvision/resnet18").load()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read(kind: Any, states: Any, tmp_path: Path) -> None:
    state = {k: v.to(kind) for k, v in states["timm/resnet10t"].items() if v.is_floating_point()}
    save_file(state, tmp_path / "w.safetensors")
    backbone: Any = backbones.card(f"local:{tmp_path / 'w.safetensors'}@timm/resnet10t").load()
    assert all(p.dtype == torch.float32 for p in backbone.network.parameters())


def test_published_files_may_be_wrapped(tmp_path: Path) -> None:
    twin: Any = backbones.card("random/echoprime").load()
    torch.save({"model": under(twin.network.state_dict(), "module.")}, tmp_path / "w.pt")
    card = backbones.card(f"local:{tmp_path / 'w.pt'}@echoprime")
    assert card.load().digest() == twin.digest()


def convert(*words: str) -> Any:
    return CliRunner().invoke(app, ["convert", *words])


@pytest.mark.filterwarnings("ignore::etab.errors.EtabWarning")
def test_convert_reports_what_it_did(states: Any, tmp_path: Path) -> None:
    state = states["torchvision/resnet18"]
    source, target = tmp_path / "w.ckpt", tmp_path / "w.safetensors"
    torch.save(CHECKPOINTS["DINO"](state), source)
    run = convert(str(source), str(target), "--network", "torchvision/resnet18")
    assert run.exit_code == 0, run.output
    for line in (
        "container: teacher",
        "prefix removed: backbone.",
        "keys used: 120",
        "keys dropped: 2 (backbone.fc.weight, backbone.fc.bias)",
        "other parts, not used: student/module.backbone.",
    ):
        assert line in run.output
    assert backbones.card(f"local:{target}@torchvision/resnet18").load()


def test_convert_takes_one_of_two_networks(states: Any, tmp_path: Path) -> None:
    state = states["timm/resnet10t"]
    source, target = tmp_path / "w.pt", tmp_path / "w.safetensors"
    torch.save({"left": state, "right": other(state)}, source)
    run = convert(str(source), str(target), "--network", "timm/resnet10t", "--take", "right")
    assert run.exit_code == 0, run.output
    loaded: Any = backbones.card(f"local:{target}@timm/resnet10t").load()
    key = "conv1.0.weight"
    assert torch.equal(loaded.network.state_dict()[key], 2 * state[key])
    (tmp_path / "w.safetensors").unlink()
    run = CliRunner().invoke(app, ["convert", str(source), str(target), "--take", "right"])
    assert run.exit_code != 0
    with pytest.raises(EtabError, match="name --network too"):
        CliRunner().invoke(
            app, ["convert", str(source), str(target), "--take", "right"], catch_exceptions=False
        )
