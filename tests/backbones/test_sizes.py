"""Backbones at another input size: names, networks, and refusals that say why."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import etab
from etab import backbones
from etab.errors import UnknownNameError, UnsupportedOptionError


def test_size_and_fit_stand_in_the_name_and_in_that_of_the_twin() -> None:
    card = backbones.card("random/mobilenetv2@448+letterbox")
    assert card.name == "random/mobilenetv2@448+letterbox"
    assert card.twin == "mobilenetv2@448+letterbox"
    assert (card.size, card.fit, card.seed) == (448, "letterbox", 0)
    assert backbones.card("mobilenetv2@64").name == "mobilenetv2@64"


def test_the_size_of_the_card_changes_nothing() -> None:
    card = backbones.card("mobilenetv2")
    assert backbones.sized(card, 224) is card
    assert backbones.card("mobilenetv2@224+squash").name == "mobilenetv2"
    assert backbones.card("mobilenetv2@224+crop").name == "mobilenetv2@224+crop"


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        pytest.param("random/timm/resnet10t@96", [12, 6, 3], marks=pytest.mark.slow),
        pytest.param("random/timm/vit_tiny_patch16_224@96", [6, 6, 6], marks=pytest.mark.slow),
        ("random/mobilenetv2@64", [8, 4, 2]),
        ("pixel_pca@64", [8, 8, 8]),
    ],
)
def test_a_network_reads_pictures_of_the_size(name: str, sides: list[int]) -> None:
    card = backbones.card(name)
    pictures = np.random.default_rng(0).integers(0, 255, (2, card.size, card.size), np.uint8)
    features = card.load()(torch.from_numpy(pictures))
    assert [grid.shape[2] for grid in features.maps] == sides


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("random/timm/vit_tiny_patch16_224@100", "multiple of 16 px, as 96 or 112"),
        ("random/timm/resnet10t@100", "multiple of 32 px, as 96 or 128"),
        ("random/timm/resnet10t@32", "its last layer would be one point"),
        ("random/torchvision/vit_b_16@96", "Wrong image height"),
    ],
)
def test_a_network_that_cannot_take_a_size_says_why(name: str, reason: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=reason):
        backbones.card(name).load()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mel_stats@448", "its input is sound"),
        ("mobilenetv2@448@64", "has a size already"),
        ("mobilenetv2@16", "size is 16; wanted a whole number, 32 to 2048 px"),
    ],
)
def test_a_size_is_refused_before_anything_is_loaded(name: str, reason: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=reason):
        backbones.card(name)


def test_a_name_with_a_fit_is_taken_as_it_is() -> None:
    card = backbones.card("image_stats@112+letterbox")
    assert backbones.sized(card) is card
    with pytest.raises(UnsupportedOptionError, match="has a size already"):
        backbones.sized(card, None, "crop")


def test_a_function_declares_its_own_size() -> None:
    card = etab.backbone(lambda x: x.mean((2, 3)), name="mean", input=etab.Frames(size=64))
    with pytest.raises(UnsupportedOptionError, match=r"Frames\(size=448\)"):
        backbones.sized(card, 448)
    assert backbones.sized(card, None, "letterbox").name == "mean@64+letterbox"


def test_clips_keep_the_size_of_their_authors() -> None:
    with pytest.raises(UnsupportedOptionError, match="clips of 112 px"):
        backbones.card("random/torchvision/r2plus1d_18@224+letterbox")


def test_an_unknown_fit_lists_those_that_there_are() -> None:
    with pytest.raises(UnknownNameError, match="squash, letterbox, crop"):
        backbones.sized(backbones.card("mobilenetv2"), 448, "round")
