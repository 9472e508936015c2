"""The fastest precision is measured once, has to agree with fp32, and is recorded by its own name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from etab import backbones
from etab.backbones.base import BackboneCard
from etab.backbones.image.networks import TorchBackbone, sequential_taps
from etab.cli import doctor
from etab.errors import UnsupportedOptionError
from etab.features import calibration, store
from etab.features.calibration import calibrate, fastest, stored_calibrations
from etab.finetuning.work import precision_of_tuning
from etab.precisions import NAMED
from etab.runs.run import Settings
from etab.runs.units import require_same_precision
from etab.types import Features

LAYERS = ("stride2", "stride4")
FUSED = ["fp32", "fp32-fused"]


SECONDS = {"fp32": 1.0, "fp32-fused": 0.5}


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


CLOCK = Clock()


class Tiny(TorchBackbone):
    """A real network that takes a given time on a clock that stands still otherwise."""

    def __init__(self, card: BackboneCard, change: Callable[[Any], Any]) -> None:
        torch.manual_seed(0)
        modules = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, 2, 1),
            torch.nn.BatchNorm2d(4),
            torch.nn.Conv2d(4, 8, 3, 2, 1),
            torch.nn.ReLU(),
        )
        super().__init__(card, modules, sequential_taps(modules, (1, 3), LAYERS))
        self.change = change
        self.precision = "fp32"

    def to(self, device: str, precision: str) -> TorchBackbone:
        self.precision = precision
        return super().to(device, precision)

    def __call__(self, x: Any) -> Features:
        features = super().__call__(x)
        CLOCK.now += SECONDS[self.precision]
        if self.precision == "fp32":
            return features
        changed = {name: self.change(values) for name, values in features.pooled.items()}
        return Features(changed, features.maps)


def card_of(
    change: Callable[[Any], Any] = lambda x: x,
    *,
    name: str = "tiny",
    loads: list[int] | None = None,
) -> BackboneCard:
    def load() -> Any:
        if loads is not None:
            loads.append(1)
        return Tiny(card, change)

    card = BackboneCard(
        name, name, load, size=32, layers=LAYERS, strides=(2, 4), sha256="0" * 64, version=1
    )
    return card


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETAB_CACHE", str(tmp_path / "user"))
    monkeypatch.setattr(calibration, "time", CLOCK)


def test_the_faster_precision_is_chosen_and_kept() -> None:
    loads: list[int] = []
    card = card_of(loads=loads)
    assert fastest(card, "cpu", FUSED) == "fp32-fused"
    assert len(loads) == 2
    assert fastest(card, "cpu", FUSED) == "fp32-fused"
    assert len(loads) == 2
    (stored,) = stored_calibrations()
    assert stored.backbone == "tiny"
    assert stored.seconds == {"fp32": 1.0, "fp32-fused": 0.5}
    assert stored.differences["fp32-fused"] < 1e-3
    (finding,) = doctor._calibrations()
    assert "fp32-fused on cpu, 2.0 times fp32" in finding.detail


def test_a_small_gain_is_left() -> None:
    measured = calibrate(card_of(), "cpu", FUSED)
    assert measured.precision == "fp32-fused"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SECONDS, "fp32-fused", 0.95)
        assert calibrate(card_of(), "cpu", FUSED).precision == "fp32"


@pytest.mark.parametrize("change", [lambda x: 1.1 * x, lambda x: x + float("nan"), lambda x: 0 * x])
def test_features_that_do_not_agree_with_fp32_are_not_chosen(change: Callable[[Any], Any]) -> None:
    measured = calibrate(card_of(change), "cpu", FUSED)
    assert measured.precision == "fp32"
    assert measured.seconds["fp32-fused"] < measured.seconds["fp32"]
    assert not measured.differences["fp32-fused"] <= calibration.TOLERANCE


def test_a_precision_that_fails_is_listed_with_its_reason() -> None:
    def fail(values: Any) -> Any:
        raise RuntimeError("no such operator\nmore")

    measured = calibrate(card_of(fail), "cpu", FUSED)
    assert measured.precision == "fp32"
    assert measured.refused == {"fp32-fused": "RuntimeError: no such operator"}


@pytest.mark.parametrize("what", ["release_version", "processor", "allowed_cores", "damage"])
def test_it_is_measured_again_where_something_changed(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[int] = []
    card = card_of(loads=loads)
    fastest(card, "cpu", FUSED)
    if what == "damage":
        (path,) = calibration.calibration_folder().iterdir()
        path.write_text(path.read_text()[:50])
    else:
        monkeypatch.setattr(calibration, what, lambda *_: 7)
    fastest(card, "cpu", FUSED)
    assert len(loads) == 4


def test_it_stands_for_the_precision_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "fast_precisions", lambda device: FUSED)
    assert store.resolve_precision("fastest", card_of(), "cpu") == "fp32-fused"
    unlearned = backbones.card("image_stats")
    assert store.resolve_precision("fastest", unlearned, "cpu") == "fp32"
    clips = backbones.card("random/echonet_ef")
    assert store.resolve_precision("fastest", clips, "cpu") in ("fp32", "bf16")
    assert len(stored_calibrations()) == 1


def test_what_may_be_fastest() -> None:
    names = store.fast_precisions("cpu")
    assert names[0] == "fp32"
    assert set(names) < set(NAMED)
    assert not any(name.endswith("-compile") for name in names)


@pytest.mark.parametrize("precision", ["auto", "fastest"])
def test_machines_that_would_choose_for_themselves_are_refused(precision: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=f"with {precision}, each machine"):
        require_same_precision(Settings(precision=precision), "slurm")


def test_a_training_does_not_measure() -> None:
    tuning: Any = None
    with pytest.raises(UnsupportedOptionError, match="--precision fastest: a backbone is trained"):
        precision_of_tuning(tuning, Settings(precision="fastest"))
