"""Checkpoints as trainers write them, their heads, and files that are of no network or of several."""

from __future__ import annotations

import argparse
import hashlib
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
from etab.backbones.video import named as video
from etab.backbones.weights.fit import find_weights, head_keys, load_file
from etab.backbones.weights.index import digest, load_state
from etab.cli.convert import to_safetensors
from etab.cli.main import app
from etab.errors import CorruptFileError, EtabError, EtabWarning, WeightsError

SMALL = "timm/resnet10t"
HEADED = "torchvision/resnet18"
CLIPS = "torchvision/mc3_18"
SMALL_HEADED = "torchvision/shufflenet_v2_x0_5"
NETWORKS = (SMALL, HEADED, CLIPS, SMALL_HEADED)
LARGER = [pytest.param(network, marks=pytest.mark.slow) for network in (HEADED, CLIPS)]
# Input width of the head of each network.
WIDTHS = {SMALL: 512, HEADED: 512, CLIPS: 512, SMALL_HEADED: 1024}


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


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    """Networks as backbones build them, to load many files into."""
    networks = {SMALL: timm.create_model("resnet10t", num_classes=0)}
    for name in (HEADED, CLIPS, SMALL_HEADED):
        networks[name] = models.get_model(name.partition("/")[2], weights=None)
    return networks


def load(network: Any, file: Path) -> Any:
    """Load a checkpoint as ``local:<file>@<network>`` does, over other weights."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    return load_file(network, file, "the network", head=head_keys(network.state_dict()))


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
    "any name": lambda s: {"my_best_encoder": s, "loss": torch.tensor(0.1)},
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
    "MoCo, the key encoder first": lambda s: {
        **under(other(s), "encoder_k."),
        **under(s, "encoder_q."),
        "queue": torch.zeros(4, 8),
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
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_of_trainers_load(kind: str, states: Any, built: Any, tmp_path: Path) -> None:
    torch.save(CHECKPOINTS[kind](states[SMALL]), tmp_path / "w.pt")
    load(built[SMALL], tmp_path / "w.pt")
    loaded = built[SMALL].state_dict()
    for key, value in states[SMALL].items():
        assert torch.equal(loaded[key], value), key


@pytest.mark.filterwarnings("ignore::etab.errors.EtabWarning")
@pytest.mark.parametrize("network", [SMALL, *LARGER])
@pytest.mark.parametrize("kind", ["Lightning", "DINO"])
def test_backbones_of_checkpoints_have_their_weights(
    kind: str, network: str, states: Any, tmp_path: Path
) -> None:
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


@pytest.mark.parametrize(
    "network", [SMALL_HEADED, pytest.param(SMALL, marks=pytest.mark.slow), *LARGER]
)
@pytest.mark.parametrize("head", ["none", "1", "2", "400", "1000 and a layer", "half", "projector"])
def test_heads_are_not_needed(
    head: str, network: str, states: Any, built: Any, tmp_path: Path
) -> None:
    body = {k: v for k, v in states[network].items() if not k.startswith("fc.")}
    width = WIDTHS[network]
    heads = {
        "none": {},
        "1": {"fc.weight": torch.ones(1, width), "fc.bias": torch.ones(1)},
        "2": {"fc.weight": torch.ones(2, width), "fc.bias": torch.ones(2)},
        "400": {"fc.weight": torch.ones(400, width), "fc.bias": torch.ones(400)},
        "1000 and a layer": {
            "fc.0.weight": torch.ones(64, width),
            "fc.2.weight": torch.ones(1000, 64),
        },
        "half": {"fc.weight": torch.ones(1000, width)},
        "projector": {
            "projection_head.0.weight": torch.ones(2, 2),
            "prototypes.weight": torch.ones(2, 2),
        },
    }
    digests = set()
    for prefix in ("", "module.", "model."):
        torch.save(under({**body, **heads[head]}, prefix), tmp_path / "w.pt")
        load(built[network], tmp_path / "w.pt")
        loaded = built[network].state_dict()
        digests.add(digest(loaded))
        for key, value in body.items():
            assert torch.equal(loaded[key], value), key
    assert len(digests) == 1


def test_clips_with_another_head(states: Any, tmp_path: Path) -> None:
    """Of a file of a user: DataParallel's prefix, and a head of another size."""
    torch.save({"epoch": 1, "state_dict": under(states[CLIPS], "module.")}, tmp_path / "w.pt")
    backbone: Any = backbones.card(f"local:{tmp_path / 'w.pt'}@{CLIPS}").load()
    loaded = backbone.network.state_dict()
    assert torch.equal(loaded["stem.0.weight"], states[CLIPS]["stem.0.weight"])


def without(state: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in state.items() if k != key}


FIRST = "layer1.0.conv1.weight"
BAD = {
    "a missing layer": (lambda s: without(s, FIRST), f"1 missing: {FIRST}"),
    "a stage is missing": (
        lambda s: {k: v for k, v in s.items() if not k.startswith("layer3.")},
        "missing: layer3.0",
    ),
    "another width": (lambda s: {k: v[:1] for k, v in s.items() if v.ndim}, "of another shape"),
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
    "no key of the network": (lambda s: {"a.b": torch.ones(2)}, "1 surplus: a.b"),
    "another network": (
        lambda s: models.squeezenet1_0(weights=None).state_dict(),
        "missing: conv1.0.weight",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", BAD)
def test_what_does_not_fit_is_refused_with_the_keys(
    kind: str, states: Any, built: Any, tmp_path: Path
) -> None:
    make, message = BAD[kind]
    torch.save(make(states[SMALL]), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=message):
        load(built[SMALL], tmp_path / "w.pt")


def test_a_backbone_of_a_file_that_does_not_fit_is_refused(states: Any, tmp_path: Path) -> None:
    torch.save(without(states[SMALL], FIRST), tmp_path / "w.pt")
    card = backbones.card(f"local:{tmp_path / 'w.pt'}@{SMALL}")
    with pytest.raises(WeightsError, match=f"w.pt as {SMALL} does not fit.*{FIRST}"):
        card.load()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read(kind: Any, states: Any, built: Any, tmp_path: Path) -> None:
    state = {k: v.to(kind) for k, v in states[SMALL].items() if v.is_floating_point()}
    save_file(state, tmp_path / "w.safetensors")
    load(built[SMALL], tmp_path / "w.safetensors")
    for key, value in built[SMALL].named_parameters():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[key].float()), key


def test_published_files_may_be_wrapped() -> None:
    network, _ = video._row("echoprime").build()
    state = network.state_dict()
    fitted = video.clip_weights("echoprime", {"model": under(state, "module.")}, "w.pt")
    assert fitted.container == "model"
    assert set(fitted.state) == set(state)
    assert all(value is state[key] for key, value in fitted.state.items())


def test_a_report_names_container_prefix_and_dropped_keys(states: Any) -> None:
    state = states[SMALL]
    content = {"state_dict": under(state, "model.") | {"queue": torch.zeros(3)}}
    fitted = find_weights(content, state, "w.pt")
    assert (fitted.container, fitted.prefix) == ("state_dict", "model.")
    assert fitted.dropped == ("queue",)
    assert fitted.report().splitlines() == [
        "container: state_dict",
        "prefix removed: model.",
        f"keys used: {len(state)}",
        "keys dropped: 1 (queue)",
    ]


def test_convert_finds_a_network_of_images(states: Any, tmp_path: Path) -> None:
    torch.save({"state_dict": under(states[SMALL], "module.encoder_q.")}, tmp_path / "w.pt")
    target = tmp_path / "w.safetensors"
    fitted = to_safetensors(tmp_path / "w.pt", target, network=SMALL)
    assert fitted.prefix == "module.encoder_q."
    loaded = load_state(target)
    assert torch.equal(loaded["conv1.0.weight"], states[SMALL]["conv1.0.weight"])


def convert(*words: str) -> Any:
    return CliRunner().invoke(app, ["convert", *words])


@pytest.mark.filterwarnings("ignore::etab.errors.EtabWarning")
def test_convert_reports_what_it_did(states: Any, tmp_path: Path) -> None:
    state = states[SMALL_HEADED]
    source, target = tmp_path / "w.ckpt", tmp_path / "w.safetensors"
    torch.save(CHECKPOINTS["DINO"](state), source)
    run = convert(str(source), str(target), "--network", SMALL_HEADED)
    assert run.exit_code == 0, run.output
    for line in (
        "container: teacher",
        "prefix removed: backbone.",
        "keys used: 336",
        "keys dropped: 2 (backbone.fc.weight, backbone.fc.bias)",
        "other parts, not used: student/module.backbone.",
    ):
        assert line in run.output
    assert backbones.card(f"local:{target}@{SMALL_HEADED}").load()


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


@pytest.mark.parametrize(
    "name",
    [
        "local:{}.pth@timm/resnet10t",
        "vectors:{}.npz",
        "vectors:{}.safetensors",
        "vectors:{}.parquet",
    ],
)
def test_a_file_of_zeros_is_refused_before_it_is_digested(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that reserves its space and is stopped leaves one; its digest may take hours."""
    begin = str(tmp_path / "weights")
    file = Path(begin + Path(name.partition("@")[0]).suffix)
    with file.open("wb") as empty:
        empty.truncate(1 << 40)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("it was digested"))
    with pytest.raises(CorruptFileError, match=r"begins with zeros.*Download or write it again"):
        backbones.card(name.format(begin))
