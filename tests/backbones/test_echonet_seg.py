"""The segmentation network of EchoNet-Dynamic: its file loads whole or not at all, and gives maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from etab import backbones
from etab.cli.convert import to_safetensors
from etab.errors import UnsupportedOptionError, WeightsError


@pytest.fixture(scope="module")
def twin() -> Any:
    return backbones.card("random/echonet_seg").load()


@pytest.mark.slow
def test_a_frame_reaches_the_network_as_published(twin: Any) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 112, 112), dtype=np.uint8)
    mean = 255 * np.array([0.1257, 0.1271, 0.1292], np.float32)
    std = 255 * np.array([0.1951, 0.1957, 0.1974], np.float32)
    colour = np.stack([frames] * 3, axis=-1).astype(np.float32)
    wanted = ((colour - mean) / std).transpose(0, 3, 1, 2)
    got = twin.normalised(torch.from_numpy(frames)).numpy()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_the_layers_are_maps_of_stride_8(twin: Any) -> None:
    card = twin.card
    features = twin(torch.zeros((1, 112, 112), dtype=torch.uint8))
    assert [m.shape for m in features.maps] == [
        (1, width, 14, 14) for width in (512, 2048, card.dim)
    ]
    assert card.strides == (8, 8, 8)
    assert backbones.card("echonet_seg").pretraining_sets == ("echonet",)
    assert (card.twin, card.pretraining_sets) == ("echonet_seg", ())
    count = sum(parameter.numel() for parameter in twin.network.parameters())
    assert count == card.params


@pytest.mark.slow
def test_the_published_form_of_the_file_loads(twin: Any, tmp_path: Path) -> None:
    state = {f"module.{key}": value for key, value in twin.network.state_dict().items()}
    torch.save({"epoch": 49, "state_dict": state}, tmp_path / "published.pt")
    target = tmp_path / "weights.safetensors"
    to_safetensors(tmp_path / "published.pt", target, network="echonet_seg")
    card = backbones.card(f"local:{target}@echonet_seg")
    assert card.sha256
    assert card.load().digest() == twin.digest()
    del state["module.classifier.4.weight"]
    torch.save({"state_dict": state}, tmp_path / "cut.pt")
    with pytest.raises(WeightsError, match=r"1 missing: classifier\.4\.weight"):
        backbones.card(f"local:{tmp_path / 'cut.pt'}@echonet_seg").load()


def test_what_is_needed_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"deeplabv3_resnet50_random.*etab convert FILE"):
        backbones.card("echonet_seg").load()
    with pytest.raises(WeightsError, match="no weights file"):
        backbones.card("local:nowhere.pt@echonet_seg")
    with pytest.raises(UnsupportedOptionError, match="random/echonet_seg"):
        backbones.card(f"random/local:{tmp_path}@echonet_seg")
