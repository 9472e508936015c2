"""Sound backbones by name: folders of transformers built here, and bundles in the form that torchaudio gives them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from etab import backbones
from etab.backbones.sound import birdnet as lite
from etab.backbones.sound import open as open_sound
from etab.backbones.weights import index as weights
from etab.errors import UnknownNameError, UnsupportedOptionError, WeightsError
from etab.testing.backbones import check_backbone


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec2 of four small layers, saved as the hub gives them."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    place = tmp_path_factory.mktemp("model")
    transformers.utils.logging.disable_progress_bar()
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        transformers.Wav2Vec2Model(config).save_pretrained(place)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=True).save_pretrained(
        place
    )
    return place


def test_a_folder_of_transformers(folder: Path) -> None:
    card = backbones.card(f"transformers/{folder}")
    assert (card.rate, card.modality, len(card.sha256)) == (8000, "sound", 64)
    check_backbone(card)
    check_backbone(backbones.card(f"random/transformers/{folder}"))
    assert card.load().digest() != backbones.card(f"random/transformers/{folder}").load().digest()


def test_layers_are_those_of_the_model(folder: Path) -> None:
    import transformers

    x = torch.sin(torch.arange(8000) / 20)[None]
    found = backbones.card(f"transformers/{folder}").load()(x)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    with torch.inference_mode():
        states = model(
            extractor(x[0].numpy(), sampling_rate=8000, return_tensors="pt").input_values,
            output_hidden_states=True,
        ).hidden_states
    for name, layer in zip(
        ("quarter", "half", "three_quarters", "last"), (1, 2, 3, 4), strict=True
    ):
        assert torch.allclose(found.pooled[f"{name}/mean"], states[layer].mean(1), atol=1e-5)


def test_another_rate_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(UnsupportedOptionError, match="reads 8000 Hz, not 16000 Hz"):
        backbones.card(f"transformers/{folder}@16000").load()
    with pytest.raises(UnsupportedOptionError, match="rate in Hz"):
        backbones.card(f"transformers/{folder}@fast")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5]}))
    with pytest.raises(WeightsError, match="not a folder of a transformers model"):
        backbones.card(f"transformers/{tmp_path}")


def test_no_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="Name a folder"):
        backbones.card(f"transformers/{tmp_path / 'nothing'}").load()


class Net(torch.nn.Module):
    """What a torchaudio bundle's network offers: ``extract_features``."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Conv1d(a, 8, 5, 2) for a in (1, 8, 8, 8)])

    def extract_features(self, x: torch.Tensor) -> tuple[list[torch.Tensor], None]:
        found, x = [], x[:, None]
        for layer in self.layers:
            x = layer(x).tanh()
            found.append(x.transpose(1, 2))
        return found, None


class Wav2Vec2Bundle:
    """What a torchaudio bundle is: a rate, its model's type and parameters, and the model."""

    sample_rate, _model_type, _params = 16_000, "Wav2Vec2", {"none": None}

    def __init__(self, reachable: bool) -> None:
        self.reachable = reachable

    def get_model(self) -> Net:
        if not self.reachable:
            raise OSError("Name or service not known")
        with torch.random.fork_rng():
            torch.manual_seed(9)
            return Net()


@pytest.fixture
def bundles(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for torchaudio, so that this is tried where its release for this torch is not at hand."""
    module = ModuleType("torchaudio")
    module.pipelines = SimpleNamespace(
        GOOD=Wav2Vec2Bundle(True), FAR=Wav2Vec2Bundle(False), OTHER=object()
    )  # type: ignore[attr-defined]
    module.models = SimpleNamespace(wav2vec2_model=lambda none: Net())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchaudio", module)
    return module


@pytest.mark.usefixtures("bundles")
def test_a_bundle_by_name() -> None:
    card = backbones.card("torchaudio/GOOD")
    assert card.rate == 16_000
    check_backbone(card)
    check_backbone(backbones.card("random/torchaudio/GOOD"))
    assert card.load().digest() != backbones.card("random/torchaudio/GOOD").load().digest()
    x = torch.sin(torch.arange(4000) / 20)[None]
    layers, _ = Wav2Vec2Bundle(True).get_model().extract_features(x)
    found = card.load()(x).pooled
    for name, layer in zip(card.layers, layers, strict=True):
        assert torch.allclose(found[f"{name}/mean"], layer.mean(1), atol=1e-6)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'GOOD'|Known"):
        backbones.card("torchaudio/GOOOD")
    with pytest.raises(UnknownNameError):
        backbones.card("torchaudio/OTHER")
    with pytest.raises(WeightsError, match="Name or service"):
        backbones.card("torchaudio/FAR").load()


class Interpreter:
    """What LiteRT offers of BirdNET's graph: three tensors that follow the input."""

    def __init__(self, path: str, **options: object) -> None:
        assert options["experimental_preserve_all_tensors"]
        self.names = list(lite.TENSORS.values())

    def allocate_tensors(self) -> None:
        self.given = np.zeros((1, lite.PART), np.float32)

    def get_input_details(self) -> list[dict[str, int]]:
        return [{"index": 9}]

    def get_tensor_details(self) -> list[dict[str, object]]:
        return [{"name": name, "index": i} for i, name in enumerate(self.names)]

    def set_tensor(self, place: int, value: np.ndarray) -> None:
        assert (place, value.shape, value.dtype) == (9, (1, lite.PART), np.float32)
        self.given = value

    def invoke(self) -> None:
        third = np.abs(self.given).reshape(3, -1).mean(1)
        wide = [
            np.outer(third, np.arange(1.0, 193.0))[None, :, None],
            np.outer(third, np.arange(2.0, 194.0))[None, :, None],
        ]
        self.said = [*wide, third.mean() * np.arange(1.0, 1025.0)[None]]

    def get_tensor(self, place: int) -> np.ndarray:
        return self.said[place].astype(np.float32)


@pytest.fixture
def birdnet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A card whose file and interpreter are stand-ins."""
    module = ModuleType("ai_edge_litert.interpreter")
    module.Interpreter = Interpreter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ai_edge_litert", ModuleType("ai_edge_litert"))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)
    (tmp_path / "graph").write_bytes(b"graph")
    monkeypatch.setattr(weights, "path_of", lambda name: tmp_path / "graph")
    return backbones.card("birdnet")


def test_birdnet_reads_parts_of_three_seconds(
    birdnet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_backbone(birdnet)
    x = torch.zeros(1, 5 * lite._RATE)
    x[:, : lite.PART], x[:, lite.PART :] = 0.5, 0.25
    found = birdnet.load()(x).pooled["embedding/mean"][0, 0]
    assert float(found) == pytest.approx((0.5 + 0.25 * 2 / 3) / 2)
    assert lite.parts(np.ones(4 * lite._RATE, np.float32)).shape == (1, lite.PART), (
        "a last second is dropped"
    )
    assert lite.parts(np.ones(lite._RATE, np.float32)).sum() == lite._RATE, (
        "an only part is filled with zeros"
    )
    monkeypatch.setattr(Interpreter, "get_tensor_details", lambda self: [])
    with pytest.raises(WeightsError, match="has no tensor"):
        birdnet.load()


def test_birdnet_is_optional(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "birdnet" not in backbones.names()
    assert "birdnet" in backbones.optional()
    assert "non-commercial" in backbones.card("birdnet").licence
    with pytest.raises(UnsupportedOptionError, match="no random twin"):
        backbones.card("random/birdnet")
    monkeypatch.setattr(weights, "path_of", lambda name: tmp_path)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(WeightsError, match=r"etab-bench\[birdnet\]"):
        backbones.card("birdnet").load()


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(WeightsError, match=r"etab-bench\[audio\]"):
        backbones.card("torchaudio/WAV2VEC2_BASE")


def test_quarters_of_any_depth() -> None:
    rows = [torch.full((1, 2, 3), float(i)) for i in range(13)]
    assert [float(v[0, 0, 0]) for _, v in open_sound.quarters(rows)] == [3, 6, 9, 12]
