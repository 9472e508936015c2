"""The registry of backbones: one more is one row or one decorated function, and a faulty one costs itself alone."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from etab import backbones
from etab.backbones.base import IMAGENET, BackboneCard
from etab.backbones.image.controls import ImageStats
from etab.backbones.registered import BACKBONES, Entry
from etab.backbones.weights import index as weights
from etab.cli.doctor import examine
from etab.cli.main import app
from etab.errors import EtabWarning, UnknownNameError, UnsupportedOptionError, WeightsError
from etab.runs.sweep import backbone_names


@pytest.fixture
def mine() -> Iterator[BackboneCard]:
    card = BackboneCard("mine", "Mine", size=64, layers=("frame",), learned=False, licence="mine")

    @backbones.register(card)
    def load(card: BackboneCard) -> Any:
        return ImageStats(card)

    assert callable(load)
    yield card
    BACKBONES.remove("mine")


def test_a_backbone_is_registered_by_decorator(mine: BackboneCard) -> None:
    card = backbones.card("mine")
    assert card == mine
    backbone: Any = card.load()
    assert backbone.card == mine
    assert len(backbone(torch.zeros(2, 64, 64, dtype=torch.uint8))) == 2
    assert "mine" in backbones.names()
    assert "mine" in backbones.names("image")
    assert "mine" not in backbones.names("sound")
    assert "mine" in CliRunner(env={"COLUMNS": "300"}).invoke(app, ["list", "backbones"]).output


def test_a_name_has_one_holder_and_no_twin_that_was_not_made(mine: BackboneCard) -> None:
    with pytest.raises(UnsupportedOptionError, match="'mine' is taken"):
        backbones.register(mine)(ImageStats)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOptionError, match="without a random twin"):
        backbones.card("random/mine")
    with pytest.raises(UnknownNameError, match="Did you mean 'mine'"):
        backbones.card("minee")


def test_a_card_without_a_loader_is_refused() -> None:
    with pytest.raises(UnsupportedOptionError, match=r"etab\.backbones\.register"):
        BackboneCard("draft", "A draft").load()


FAULTS: dict[str, Any] = {
    "no entry": lambda name, seed: weights.entry(name),
    "an error of the author": lambda name, seed: [][0],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_row_costs_itself_alone(fault: str) -> None:
    good = backbones.names()
    BACKBONES.add("faulty", Entry(FAULTS[fault], "image"))
    try:
        run = CliRunner(env={"COLUMNS": "300"}).invoke(
            app, ["list", "backbones"], catch_exceptions=False
        )
        assert run.exit_code == 0
        assert "faulty" in run.output
        assert "mobilenetv2" in run.output
        findings = [finding for finding in examine() if finding.name == "faulty"]
        assert [finding.ok for finding in findings] == [False]
        with pytest.warns(EtabWarning, match="faulty is left out of all backbones"):
            words = backbone_names(["all"])
        assert "mobilenetv2" in words
        assert "faulty" not in words
        assert [card.name for card in backbones.cards(backbones.names())[0]] == good
    finally:
        BACKBONES.remove("faulty")


def test_a_faulty_entry_of_the_index_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {name: dict(row) for name, row in weights.index().items()}
    del table["mobilenetv2"]["licence"]
    table["mobilenetv2"]["license"] = "MIT"
    monkeypatch.setattr(weights, "index", lambda: table)
    assert backbones.card("efficientnet_lite0").licence
    with pytest.raises(
        WeightsError, match="'mobilenetv2': keys missing: licence; unknown: license"
    ):
        backbones.card("mobilenetv2")
    cards, faults = backbones.cards(backbones.names())
    assert list(faults) == ["mobilenetv2"]
    assert len(cards) == len(backbones.names()) - 1


def test_names_keep_their_order() -> None:
    published = ["efficientnet_lite0", "efficientnet_lite2", "mobilenetv2", "vits14_saliency"]
    # A backbone that is added may stand anywhere between them.
    assert [name for name in backbones.names("image") if name in published] == published
    assert backbones.names() == backbones.names("image") + backbones.names("sound")
    assert "birdnet" in backbones.optional()
    assert set(backbones.video.clip_names()) == {
        n for n, e in BACKBONES.items() if e.group == "clip"
    }


def test_the_numbers_of_imagenet_have_one_home() -> None:
    from etab.datasets import dataset
    from etab.types import IMAGENET as HOME

    assert IMAGENET is HOME
    assert HOME[0] is dataset.IMAGENET_MEAN
    assert BackboneCard("draft", "A draft").mean is HOME[0]


@pytest.mark.parametrize(
    ("module", "read"), [("onnx", "vits14_onnx"), ("h5py", "vgg16_keras"), ("onnx", "silero")]
)
def test_a_reader_of_weights_that_is_absent_is_named(
    module: str, read: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from etab.backbones.sound import formats as sound_formats
    from etab.backbones.weights import formats

    monkeypatch.setitem(sys.modules, module, None)
    function = getattr(formats, read, None) or getattr(sound_formats, read)
    with pytest.raises(
        WeightsError, match=rf'read by {module}, .*pip install "etab-bench\[weights'
    ):
        function(tmp_path / "w")


def test_readers_of_weights_are_an_extra() -> None:
    import tomllib

    from etab.backbones.weights.formats import READERS

    root = Path(__file__).resolve().parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]

    def names_in(lines: list[str]) -> set[str]:
        return {re.split(r"[<>=\[]", line)[0].lower() for line in lines}

    assert names_in(project["optional-dependencies"]["weights"]) == set(READERS.values())
    assert not names_in(project["dependencies"]) & set(READERS.values())
    assert "pillow" in names_in(project["dependencies"])
