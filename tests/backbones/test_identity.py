"""What names a backbone: its weights, its code and the values that the code refers to; never a name or an address."""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap
import threading
import types
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import etab
from etab import backbones
from etab.backbones.base import BackboneCard
from etab.backbones.identity import difference, identity, is_of_package
from etab.errors import EtabWarning, IncompatibleError, NamelessError, ResultError
from etab.features.frames import annotated_frames, frame_features
from etab.leaderboard.ranking import rank
from etab.leaderboard.suites import Suite
from etab.results import load_results
from etab.runs.run import plan
from etab.storage.content import content_digest
from etab.types import Features

Pool = Callable[[torch.Tensor], torch.Tensor]


class Pooled(nn.Module):
    """A convolution and one of two poolings: the state dict does not tell which."""

    def __init__(self, how: str = "mean", seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, 8, 16, stride=16)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y.mean((2, 3)) if self.how == "mean" else y.amax((2, 3))


class Other(Pooled):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).std((2, 3))


def _closed(value: object) -> Callable[[Any], Any]:
    return lambda x: (x, value)


def _nested(value: int) -> Callable[[Any], Any]:
    def outer(x: int) -> int:
        def inner() -> int:
            return x * value

        return inner()

    return outer


def _with_globals(**names: object) -> Callable[[Any], Any]:
    space: dict[str, Any] = dict(names)
    exec("def f(x): return scale * x.mean()", space)
    made: Callable[[Any], Any] = space["f"]
    return made


def _patched(pool: Pool) -> nn.Module:
    network = Pooled()
    network.forward = pool  # type: ignore[method-assign]
    return network


def _buffered(value: float) -> nn.Module:
    network = Pooled()
    network.register_buffer("shift", torch.full((2,), value), persistent=False)
    return network


def _hooked(factor: float) -> nn.Module:
    network = Pooled()
    network.register_forward_hook(lambda _m, _i, y: y * factor)
    return network


def _in_module(text: str) -> Callable[[Any], Any]:
    helper = types.ModuleType("helper_of_the_test")
    exec(text, vars(helper))
    space: dict[str, Any] = {"helper": helper}
    exec("def f(x): return helper.pool(x)", space)
    made: Callable[[Any], Any] = space["f"]
    return made


def _class(body: str) -> type:
    space: dict[str, Any] = {"Pooled": Pooled}
    exec(f"class Net(Pooled):\n    def forward(self, x): return {body}", space)
    made: type = space["Net"]
    return made


def _scripted(factor: float) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of TorchScript
        return torch.jit.trace(lambda x: x * factor, torch.ones(2))


pool = nn.functional.adaptive_avg_pool2d

# Pairs that differ in what they compute and share name, type and, where there are any, weights.
DIFFERENT: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "attribute": (lambda: Pooled("mean"), lambda: Pooled("max")),
    "weights": (lambda: Pooled(seed=0), lambda: Pooled(seed=1)),
    "forward of a subclass": (Pooled, Other),
    "class of one name": (lambda: _class("x + 1")(), lambda: _class("x + 2")()),
    "closure": (lambda: _closed(1), lambda: _closed(2)),
    "closure over an array": (lambda: _closed(np.zeros(3)), lambda: _closed(np.ones(3))),
    "closure over a tensor": (lambda: _closed(torch.zeros(3)), lambda: _closed(torch.ones(3))),
    "closure over True and 1": (lambda: _closed(True), lambda: _closed(1)),
    "closure over 1 and 1.0": (lambda: _closed(1), lambda: _closed(1.0)),
    "closure over an object": (lambda: _closed(Pooled()), lambda: _closed(Pooled("max"))),
    "inner function": (lambda: _nested(1), lambda: _nested(2)),
    "default": (lambda: lambda x, s=1: pool(x, s), lambda: lambda x, s=2: pool(x, s)),
    "partial": (
        lambda: functools.partial(pool, output_size=1),
        lambda: functools.partial(pool, output_size=2),
    ),
    "partial of another function": (
        lambda: functools.partial(pool, output_size=1),
        lambda: functools.partial(nn.functional.adaptive_max_pool2d, output_size=1),
    ),
    "global": (lambda: _with_globals(scale=1), lambda: _with_globals(scale=2)),
    "global function": (
        lambda: _with_globals(scale=_nested(1)),
        lambda: _with_globals(scale=_nested(2)),
    ),
    "function of a module": (
        lambda: _in_module("def pool(x): return x.mean()"),
        lambda: _in_module("def pool(x): return x.sum()"),
    ),
    "released function": (lambda: lambda x: torch.relu(x), lambda: lambda x: torch.tanh(x)),
    "bound method": (lambda: Pooled("mean").forward, lambda: Pooled("max").forward),
    "replaced method": (lambda: _patched(lambda x: x + 1), lambda: _patched(lambda x: x + 2)),
    "buffer that is not saved": (lambda: _buffered(0.0), lambda: _buffered(1.0)),
    "hook": (lambda: _hooked(1.0), lambda: _hooked(2.0)),
    "TorchScript": (lambda: _scripted(1.0), lambda: _scripted(2.0)),
    "compiled": (lambda: torch.compile(Pooled("mean")), lambda: torch.compile(Pooled("max"))),
    "order of layers": (
        lambda: nn.Sequential(nn.ReLU(), nn.Tanh()),
        lambda: nn.Sequential(nn.Tanh(), nn.ReLU()),
    ),
    "dtype": (lambda: _closed(torch.zeros(1)), lambda: _closed(torch.zeros(1).double())),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_other_content_is_another_digest_and_equal_content_the_same(name: str) -> None:
    first, second = DIFFERENT[name]
    assert content_digest(first()) != content_digest(second())
    assert content_digest(first()) == content_digest(first())
    assert content_digest(second()) == content_digest(second())


def test_a_method_replaced_in_a_released_class_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    before = content_digest(network)
    monkeypatch.setattr(nn.ReLU, "forward", lambda _self, x: x)
    assert content_digest(network) != before
    monkeypatch.setattr(nn.ReLU, "forward", nn.Tanh.forward)
    assert content_digest(network) != before
    monkeypatch.undo()
    assert content_digest(network) == before


def test_a_function_replaced_in_a_released_module_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def embed(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(x)

    before = content_digest(embed)
    monkeypatch.setattr(nn.functional, "relu", lambda x: x)
    assert content_digest(embed) != before


LOCK = threading.Lock()


def _numbers() -> Any:
    yield from range(3)


def _locked(x: Any) -> Any:
    with LOCK:
        return x


@pytest.mark.parametrize(
    ("thing", "part"),
    [
        (_locked, "global LOCK"),
        (_closed(_numbers()), "variable value"),
        (_closed(np.random.default_rng(0)), "variable value"),
        (lambda x: eval("x"), "eval"),
        (lambda x: (x, open("weights")), "open"),  # noqa: SIM115, PTH123
        (torch.zeros(2, device="meta"), "plain values"),
    ],
    ids=["lock", "generator", "random generator", "eval", "open", "meta tensor"],
)
def test_what_cannot_be_read_is_refused_by_its_part(thing: object, part: str) -> None:
    with pytest.raises(NamelessError, match=part):
        content_digest(thing)


@pytest.mark.slow
def test_a_script_gives_one_digest_in_two_processes_and_another_when_edited(tmp_path: Path) -> None:
    text = textwrap.dedent("""
        import torch
        from etab.storage.content import content_digest

        NAMES = {"mean", "max", "sum"}

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                torch.manual_seed(0)
                self.conv = torch.nn.Conv2d(3, 8, 16)

            def forward(self, x):
                return self.conv(x).mean((2, 3)) if "mean" in NAMES else x

        print(content_digest(Net()), content_digest(torch.jit.script(torch.nn.BatchNorm2d(3))))
    """)
    file = tmp_path / "net.py"

    def run(seed: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, str(file)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(etab.__file__).parents[1])},
        )
        return done.stdout.split()

    file.write_text(text)
    first = run("1")
    file.write_text(f"# A comment moves every line.\n{text}")
    assert run("2") == first
    file.write_text(text.replace("mean((2, 3))", "amax((2, 3))"))
    assert run("1")[0] != first[0]


@pytest.fixture(scope="module")
def camus(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


def _grid(size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: pool(x, size).flatten(1)


STORED: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "attribute": (lambda: Pooled("mean"), lambda: Pooled("max")),
    "weights": (lambda: Pooled(seed=0), lambda: Pooled(seed=1)),
    "closure": (lambda: _grid(2), lambda: _grid(3)),
    "partial": (
        lambda: functools.partial(nn.functional.avg_pool2d, kernel_size=32),
        lambda: functools.partial(nn.functional.max_pool2d, kernel_size=32),
    ),
    "replaced method": (lambda: _patched(_grid(2)), lambda: _patched(_grid(3))),
}


@pytest.mark.parametrize("name", STORED)
def test_stored_features_and_results_are_of_the_backbone_given(
    name: str, camus: Path, tmp_path: Path
) -> None:
    first, second = STORED[name]
    how: dict[str, Any] = {"tasks": "b0-A4-C", "root": camus, "size": 64}
    alone = etab.evaluate(second(), **how).value
    stored = {"cache": tmp_path / "cache", "results": tmp_path / "results"}
    value = etab.evaluate(first(), **how, **stored).value
    assert value != alone
    assert etab.evaluate(first(), **how, **stored).value == value
    with pytest.raises(etab.errors.EtabError, match=r"another backbone.*name of its own"):
        etab.evaluate(second(), **how, **stored)
    assert etab.evaluate(second(), **how, **stored, name="second").value == alone
    assert [r.backbone.split("/")[0] for r in load_results(tmp_path / "results")] == [
        "callable",
        "second",
    ]


def test_what_cannot_be_named_is_never_stored_until_it_has_a_version(
    camus: Path, tmp_path: Path
) -> None:
    lock = threading.Lock()

    def embed(x: torch.Tensor) -> torch.Tensor:
        with lock:
            return x.mean((2, 3))

    how: dict[str, Any] = {
        "tasks": "b0-A4-C",
        "root": camus,
        "size": 64,
        "cache": tmp_path / "cache",
        "results": tmp_path / "results",
    }
    with pytest.warns(EtabWarning, match=r"embed.*variable lock.*version") as met:
        first = etab.evaluate(embed, **how)
    assert len([w for w in met if "version" in str(w.message)]) == 1
    assert not list((tmp_path / "cache").rglob("entry.json"))
    with pytest.raises(etab.errors.EtabError, match=r"lock.*version="):
        etab.evaluate(embed, **how)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = etab.evaluate(embed, **how, name="embed", version="1")
        assert etab.evaluate(embed, **how, name="embed", version="1").results == named.results
    assert named.value == first.value
    assert list((tmp_path / "cache").rglob("entry.json"))
    with pytest.raises(etab.errors.EtabError, match="another backbone"):
        etab.evaluate(embed, **how, name="embed", version="2")


class Mine:
    """A backbone of a user's own whose digest is of a name, as that of a control."""

    def __init__(self, power: int) -> None:
        self.power = power

    def digest(self) -> str:
        return "0" * 64

    def to(self, device: str, precision: str) -> Mine:
        return self

    def __call__(self, x: Any) -> Features:
        return Features({"a": (x.float() / 255).pow(self.power).mean((1, 2))[:, None]}, ())


def _mine(power: int, **facts: Any) -> BackboneCard:
    return BackboneCard("mine", "mine", lambda: Mine(power), size=64, **facts)


@pytest.mark.parametrize("facts", [{}, {"sha256": "1" * 64}, {"twin": "x", "seed": 0}])
def test_a_card_with_a_loader_of_its_own_is_named_by_what_it_loads(
    facts: dict[str, Any], camus: Path, tmp_path: Path
) -> None:
    source = etab.datasets.source("camus", camus)
    frames = annotated_frames(source)[:4]
    one, two = _mine(1, **facts), _mine(2, **facts)
    assert not is_of_package(one)
    first = frame_features(source, frames, one, cache=tmp_path)
    second = frame_features(source, frames, two, cache=tmp_path)
    assert not second.from_cache
    assert first.key != second.key
    assert frame_features(source, frames, _mine(2, **facts), cache=tmp_path).from_cache
    assert difference(one, second.weights_sha256)
    assert not difference(two, second.weights_sha256)


def test_a_named_backbone_with_another_loader_is_another_backbone(camus: Path) -> None:
    card = backbones.card("image_stats")
    assert identity(card, card.load()) == card.load().digest()
    changed = replace(card, load=lambda: Mine(1))
    assert not is_of_package(changed)
    assert "another backbone" in difference(changed, card.load().digest())
    with pytest.raises(IncompatibleError, match=r"Two backbones.*image_stats"):
        plan("b0-A4-C", [card, changed])


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("mine", "pixel_pca", "image_stats"),
        ("random/mine", "random/timm/resnet10t", "random/timm/resnet14t"),
    ],
)
def test_a_name_of_the_user_never_stands_for_another_control_or_twin(
    name: str, first: str, second: str
) -> None:
    """Neither has a sha256 on its card; only what is loaded tells them apart."""
    cards = [backbones.renamed(backbones.card(each), name) for each in (first, second)]
    stored = identity(cards[0], cards[0].load())
    assert difference(cards[0], stored) == ""
    assert "belongs to another backbone called" in difference(cards[1], stored)


def test_two_functions_of_one_name_do_not_share_a_plan() -> None:
    one = backbones.from_callable("f", lambda x: x.mean((2, 3)))
    two = backbones.from_callable("f", lambda x: x.amax((2, 3)))
    with pytest.raises(IncompatibleError, match="name of its own"):
        plan("b0-A4-C", [one, two])
    assert plan("b0-A4-C", [one, one])


def test_weights_that_change_after_the_card_was_made_are_seen(camus: Path) -> None:
    network = Pooled()
    card = backbones.from_callable("net", network, size=64)
    before = identity(card, card.load())
    with torch.no_grad():
        network.conv.bias += 1
    assert identity(card, card.load()) != before


def test_a_board_does_not_mix_two_backbones_of_one_name(camus: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"root": camus, "results": tmp_path, "size": 64}
    etab.evaluate(Pooled("mean"), tasks="b0-A4-C", **how)
    etab.evaluate(Pooled("max"), tasks="b1-A4-C", **how)
    suite = Suite(name="both", version=1, tasks=("b0-A4-C", "b1-A4-C"))
    with pytest.raises(ResultError, match="callable/Pooled"):
        rank(load_results(tmp_path), suite, folder=tmp_path)
