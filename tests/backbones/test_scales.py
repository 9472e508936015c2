"""Mean and standard deviation of a file's encoder: in its name, its input, its keys and its results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import etab
from etab import backbones
from etab.backbones.image.networks import TorchBackbone
from etab.backbones.scales import scaled
from etab.cli.encoders import named_encoders
from etab.errors import UnsupportedOptionError

NETWORK = "timm/test_resnet"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import timm

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), path)
    return path


def loaded(card: backbones.BackboneCard) -> TorchBackbone:
    backbone = card.load()
    assert isinstance(backbone, TorchBackbone)
    return backbone


def test_frames_are_normalised_as_the_name_says(weights: Path) -> None:
    plain = backbones.card(f"local:{weights}@{NETWORK}")
    own = backbones.card(f"{plain.name}@mean=0.1/0.2/0.3@std=0.25")
    assert (own.mean, own.std, own.sha256) == ((0.1, 0.2, 0.3), (0.25,) * 3, plain.sha256)
    frames = torch.randint(0, 256, (2, 96, 96), dtype=torch.uint8)
    wanted = (frames[:, None] / 255 - torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)) / 0.25
    torch.testing.assert_close(loaded(own).normalised(frames), wanted)
    assert loaded(own).card.mean == own.mean, "fine-tuning reads it from the loaded card"
    sized = backbones.card(f"{own.name}@64+letterbox")
    assert (sized.size, sized.fit, sized.mean) == (64, "letterbox", own.mean)
    torch.testing.assert_close(
        loaded(sized).normalised(frames[:, :64, :64]), wanted[:, :, :64, :64]
    )


def test_the_same_is_said_in_python(weights: Path) -> None:
    plain = backbones.card(f"local:{weights}@{NETWORK}")
    own = scaled(plain, 0.5, (0.2, 0.25, 0.3))
    assert own.name == f"local:{weights}@{NETWORK}@mean=0.5@std=0.2/0.25/0.3"
    assert own == backbones.card(own.name)
    exact = scaled(plain, np.float32(0.1), [1 / 3])
    assert backbones.card(exact.name) == exact
    assert scaled(plain) is plain
    assert scaled(plain, plain.mean, plain.std) is plain


def test_what_is_no_number_is_refused_in_python() -> None:
    plain = backbones.card(NETWORK)
    for strange in ("half", [0.1, None], [[0.1], [0.1, 0.2]], 2.0, float("nan")):
        with pytest.raises(UnsupportedOptionError, match=r"wanted one number or three"):
            scaled(plain, strange)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOptionError, match=r"give both at once"):
        scaled(scaled(plain, 0.4), std=0.25)


def test_twin_and_own_name_have_it_too(weights: Path) -> None:
    words = [f"mine=local:{weights}@{NETWORK}@mean=0.5@std=0.5@64", f"{NETWORK}@mean=0.4"]
    cards = named_encoders(words)
    mine, twin = cards[:2]
    assert isinstance(mine, backbones.BackboneCard)
    assert isinstance(twin, backbones.BackboneCard)
    assert (mine.name, twin.name, twin.twin) == ("mine", "random/mine", "mine")
    assert (mine.mean, twin.mean, twin.size) == ((0.5,) * 3, (0.5,) * 3, 64)
    assert cards[2] == words[1]
    assert backbones.card(f"random/{NETWORK}@std=0.3").twin == f"{NETWORK}@std=0.3"


def test_results_record_it_and_values_differ(
    weights: Path, tmp_path: Path, phantom_tree: Callable[..., Path]
) -> None:
    root = phantom_tree(("camus",)) / "camus"
    settings, values = [], []
    for name, suffix in (("mine", ""), ("scaled", "@mean=0.05@std=0.9")):
        card = backbones.card(f"local:{weights}@{NETWORK}{suffix}")
        score = etab.evaluate(
            card, tasks="b0-A4-C", root=root, protocol="cv3", results=tmp_path, name=name
        )
        settings.append(score.results[0].settings)
        values.append(score.value)
    assert "mean" not in settings[0]
    assert settings[1]["mean"] == [0.05] * 3
    assert settings[1]["std"] == [0.9] * 3
    assert values[0] != values[1]


@pytest.mark.parametrize(
    ("name", "match"),
    [
        (f"{NETWORK}@mean=123.7", r"from 0 to 1, for frames in \[0, 1\]\. Divide"),
        (f"{NETWORK}@std=0", r"from 0\.001 to 1"),
        (f"{NETWORK}@mean=nan", r"mean is \(nan"),
        (f"{NETWORK}@mean=half", r"'half' is not a mean or deviation"),
        (f"{NETWORK}@mean=0.1/0.2", r"one number\), or @mean=0\.485/0\.456/0\.406"),
        (f"{NETWORK}@std=0.2@mean=0.2", r"the mean comes before the deviation"),
        (f"{NETWORK}@mean=0.1@mean=0.2", r"already has a mean or a deviation"),
        ("mobilenetv2@mean=0.5", r"mobilenetv2 cannot take a mean"),
        ("image_stats@std=0.5", r"image_stats cannot take a mean"),
    ],
)
def test_what_cannot_be_is_refused(name: str, match: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=match):
        backbones.card(name)


@pytest.mark.parametrize("network", ["timm/resnet18", "torchvision/resnet18"])
@pytest.mark.parametrize("ending", ["@size=112", "?size=112&mean=0.5", "@mean=0.5@size=112", "@"])
def test_an_ending_that_no_network_has_shows_what_can_stand_there(
    network: str, ending: str
) -> None:
    with pytest.raises(UnsupportedOptionError, match=r"is not understood.*@mean=0\.5.*@448"):
        backbones.card(f"{network}{ending}")


def test_channels_that_commas_cut_apart_are_told(weights: Path) -> None:
    """Commas separate backbones, so that ``@mean=0.4,0.5,0.6`` would be three of them."""
    words = f"local:{weights}@{NETWORK}@mean=0.4,0.5,0.6@std=0.2".split(",")
    with pytest.raises(UnsupportedOptionError, match=r"'0\.5' is no backbone.*slashes"):
        named_encoders(words)
