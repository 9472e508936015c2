"""open_clip and ONNX files by name; tried where their libraries are installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from etab import backbones
from etab.backbones.own import onnx_file
from etab.backbones.weights.index import sha256_of
from etab.errors import (
    CorruptFileError,
    MissingPackageError,
    UnknownNameError,
    UnsupportedOptionError,
    WeightsError,
)
from etab.testing.backbones import check_backbone


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [("open_clip", "open_clip/ViT-B-32@openai", "open_clip"), ("onnxruntime", "onnx:{}", "onnx")],
)
def test_a_library_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, name: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / "f.onnx").write_bytes(b"graph")
    with pytest.raises(MissingPackageError, match=rf"etab-bench\[{extra}\]"):
        backbones.card(name.format(tmp_path / "f.onnx"))


@pytest.fixture(scope="module")
def tiny_clip() -> str:
    """A small model among those that open_clip knows, and the name of it."""
    pytest.importorskip("open_clip")
    from open_clip import factory

    vision = {"image_size": 32, "layers": 3, "width": 16, "head_width": 8, "patch_size": 8}
    text = {"context_length": 4, "vocab_size": 8, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}
    factory._MODEL_CONFIGS["tiny-clip"] = config
    return "tiny-clip"


def test_the_vision_tower_of_open_clip(
    tiny_clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    monkeypatch.setattr(open_clip, "list_models", lambda: [tiny_clip])
    twin = backbones.card(f"random/open_clip/{tiny_clip}")
    check_backbone(twin)
    made: Any = twin.load()
    assert made.card.strides == (8, 8, 8)
    assert twin.interpolation == "pillow bicubic"
    whole = open_clip.create_model(tiny_clip)
    file = tmp_path / "weights.pt"
    torch.save(whole.state_dict(), file)
    loaded: Any = backbones.card(f"open_clip/{tiny_clip}@{file}").load()
    assert loaded.digest() != made.digest()
    x = torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        got = whole.visual.forward_intermediates(
            loaded.normalised(x), indices=[2], intermediates_only=True
        )
    wanted = got["image_intermediates"][0].mean((2, 3))
    torch.testing.assert_close(loaded(x).pooled["block2/mean"], wanted)
    with pytest.raises(UnsupportedOptionError, match="does not name its weights"):
        backbones.card(f"open_clip/{tiny_clip}")
    with pytest.raises(UnknownNameError, match=r"no weights 'nothing' of tiny-clip"):
        backbones.card(f"open_clip/{tiny_clip}@nothing")
    with pytest.raises(UnknownNameError, match="tiny-clp"):
        backbones.card("open_clip/tiny-clp")


def test_a_folder_of_open_clip(tiny_clip: str, tmp_path: Path) -> None:
    """As a model of the hub is fetched: a configuration, how pictures are prepared, and weights."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path / "saved"
    folder.mkdir()
    name = f"open_clip/{folder}"
    with pytest.raises(
        WeightsError, match=r"open_clip_config\.json is not a configuration of open_clip"
    ):
        backbones.card(name)
    config = {
        "model_cfg": open_clip.get_model_config(tiny_clip),
        "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.3, 0.3, 0.3]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="could not be fetched or read"):
        backbones.card(name).load()
    whole = open_clip.create_model(tiny_clip)
    state = {key: values.contiguous() for key, values in whole.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    card = backbones.card(name)
    assert (card.size, card.mean) == (32, (0.1, 0.2, 0.3))
    made: Any = card.load()
    file = tmp_path / "weights.pt"
    torch.save(whole.state_dict(), file)
    same: Any = backbones.card(f"open_clip/{tiny_clip}@{file}").load()
    assert made.digest() == same.digest()
    assert backbones.card(f"random/{name}").load().digest() != made.digest()
    with pytest.raises(UnsupportedOptionError, match=r"`hf download me/clip --local-dir FOLDER`"):
        backbones.card("open_clip/hf-hub:me/clip")


@pytest.mark.parametrize("bias", [None, -10.0])
def test_a_text_half_of_the_hub_is_not_fetched(
    tiny_clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bias: float | None
) -> None:
    """BiomedCLIP and others take their text half from the hub; only the vision half is used."""
    import open_clip
    from open_clip import factory, model

    def fetch(*args: Any, **options: Any) -> None:
        raise AssertionError("a text half was fetched")

    settings = open_clip.get_model_config(tiny_clip)
    text = {"hf_model_name": "someone/reads-text", "context_length": 4}
    of_hub = {**settings, "text_cfg": text, "init_logit_bias": bias}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "of-hub", of_hub)
    monkeypatch.setattr(model, "HFTextEncoder", fetch)
    whole = open_clip.create_model(tiny_clip, force_custom_text=True, init_logit_bias=bias)
    state = {f"text.transformer.encoder.{i}": torch.ones(2) for i in range(3)}
    state |= {key: x for key, x in whole.state_dict().items() if not key.startswith("text.")}
    file = tmp_path / "weights.pt"
    torch.save(state, file)
    made: Any = backbones.card(f"open_clip/of-hub@{file}").load()
    torch.testing.assert_close(made.network.state_dict(), whole.visual.state_dict())
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": of_hub}))
    with pytest.raises(WeightsError, match="saved holds no file of weights"):
        backbones.card(f"open_clip/{folder}").load()
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    assert backbones.card(f"open_clip/{folder}").load().digest() == made.digest()
    assert backbones.card("random/open_clip/of-hub").load().digest() != made.digest()
    absent = next(key for key in state if key.startswith("visual."))
    torch.save({key: x for key, x in state.items() if key != absent}, file)
    with pytest.raises(WeightsError, match=rf"vision tower do not fit \(1 missing: {absent}\)"):
        backbones.card(f"open_clip/of-hub@{file}").load()
    torch.save({**state, "visual.more": torch.ones(2)}, file)
    with pytest.raises(WeightsError, match=r"do not fit \(1 surplus: visual\.more\)"):
        backbones.card(f"open_clip/of-hub@{file}").load()


@pytest.mark.parametrize("content", [b"<!doctype html>", b"", b"PK\x03\x04 cut", b"c\x80junk."])
def test_what_is_no_file_of_weights_of_open_clip(
    tiny_clip: str, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="could not be fetched or read") as caught:
        backbones.card(f"open_clip/{tiny_clip}@{file}").load()
    assert "weights_only" not in str(caught.value)  # nobody is told to trust a file


@pytest.mark.slow
def test_towers_of_timm_without_tokens() -> None:
    pytest.importorskip("open_clip")
    made: Any = backbones.card("random/open_clip/MobileCLIP-S1").load()
    assert made.card.strides == (4, 16, 32)


@pytest.mark.parametrize("quick", [True, False])
def test_weights_of_open_clip_bring_their_activation(
    tiny_clip: str, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    """ViT-B-32 with the weights of OpenAI computes QuickGELU, which the model's own name lacks."""
    import open_clip

    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda model: ["made"])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: {"quick_gelu": quick})
    network: Any = backbones.card(f"random/open_clip/{tiny_clip}@made").load().network  # type: ignore[attr-defined]
    assert any(type(part).__name__ == "QuickGELU" for part in network.modules()) == quick


def graph(file: Path, side: int, metadata: dict[str, str], batch: Any = "n") -> Path:
    """Write a graph that gives a map of means and a vector of means."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("AveragePool", ["x"], ["map"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["vector"]),
    ]
    number = TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", number, [batch, 3, side, side])]
    outputs = [
        helper.make_tensor_value_info("map", number, [batch, 3, side // 8, side // 8]),
        helper.make_tensor_value_info("vector", number, [batch, 3]),
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    helper.set_model_props(made, metadata)
    onnx.save(made, file)
    return file


@pytest.mark.parametrize("batch", ["n", 1])
def test_an_onnx_file(tmp_path: Path, batch: Any) -> None:
    metadata = {"mean": "0.5,0.4,0.3", "std": "0.2, 0.2, 0.1"}
    card = backbones.card(f"onnx:{graph(tmp_path / 'g.onnx', 32, metadata, batch)}")
    assert (card.size, card.layers, card.strides) == (32, ("map", "vector"), (8,))
    assert card.mean == (0.5, 0.4, 0.3)
    check_backbone(card)
    features = card.load()(torch.full((2, 32, 32), 51, dtype=torch.uint8))
    wanted = (0.2 - np.array(card.mean)) / np.array(card.std)
    np.testing.assert_allclose(features.pooled["vector/vector"][0], wanted, atol=1e-5)


def pooled_graph(file: Path, shape: list[Any], half: bool, metadata: dict[str, str]) -> Path:
    """Write a graph that gives the means of the channels, and its input as a map where it is one."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    number = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes = [helper.make_node("Identity", ["x"], ["planes"])]
    if shape[3] == 3:
        nodes = [helper.make_node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2])]
    nodes += [
        helper.make_node("GlobalAveragePool", ["planes"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["vector"]),
    ]
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", number, shape)],
            [helper.make_tensor_value_info("vector", number, ["n", 3])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    helper.set_model_props(made, metadata)
    onnx.save(made, file)
    return file


@pytest.mark.parametrize(
    ("shape", "half"),
    [(["n", 32, 32, 3], False), (["n", 3, 32, 32], True), (["n", 3, "h", "w"], False)],
)
def test_other_inputs_of_an_onnx_file(tmp_path: Path, shape: list[Any], half: bool) -> None:
    metadata = {"mean": "0.5,0.4,0.3", "std": "1,1,1", "size": "32"}
    card = backbones.card(f"onnx:{pooled_graph(tmp_path / 'g.onnx', shape, half, metadata)}")
    assert card.size == 32
    features = card.load()(torch.full((2, 32, 32), 51, dtype=torch.uint8))
    wanted = 0.2 - np.array(card.mean)
    np.testing.assert_allclose(features.pooled["vector/vector"][0], wanted, atol=1e-3)


def test_an_onnx_file_of_any_size_names_one(tmp_path: Path) -> None:
    file = pooled_graph(tmp_path / "g.onnx", ["n", 3, "h", "w"], False, {"size": "big"})
    with pytest.raises(UnsupportedOptionError, match=r"any size.*is 'big'; wanted 32 to 2048"):
        backbones.card(f"onnx:{file}")
    file = pooled_graph(tmp_path / "wide.onnx", ["n", 3, 32, 64], False, {})
    with pytest.raises(
        UnsupportedOptionError, match=r"wanted tensor\(float\) \(n, 3, size, size\)"
    ):
        backbones.card(f"onnx:{file}")


class Session:
    """What onnxruntime makes of a file, for a graph of channel means."""

    def __init__(self, file: str, providers: list[str]) -> None:
        assert Path(file).is_file()
        assert providers == ["CPUExecutionProvider"]

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x", shape=["n", 3, 32, 32], type="tensor(float)")]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="vector")]

    def get_modelmeta(self) -> Any:
        return SimpleNamespace(custom_metadata_map={"mean": "0.5,0.4,0.3", "std": "1,1,1"})

    def run(self, names: Any, inputs: Any) -> list[Any]:
        return [inputs["x"].mean((2, 3))]


def test_an_onnx_file_has_a_card_under_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The library stands aside, so that this is tried where it is not installed, too."""
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    (tmp_path / "f.onnx").write_bytes(b"graph")
    card = backbones.card(f"onnx:{tmp_path / 'f.onnx'}")
    assert (card.name, card.size) == (f"onnx:{tmp_path / 'f.onnx'}", 32)
    features = card.load()(torch.full((1, 32, 32), 51, dtype=torch.uint8))
    np.testing.assert_allclose(features.pooled["vector/vector"][0], [-0.3, -0.2, -0.1], atol=1e-6)


def card_of_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, session: type[Session]) -> Any:
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=session))
    (tmp_path / "f.onnx").write_bytes(b"graph")
    return backbones.card(f"onnx:{tmp_path / 'f.onnx'}")


def test_the_last_batch_of_a_graph_of_a_fixed_batch_is_filled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Four(Session):
        def get_inputs(self) -> list[Any]:
            return [SimpleNamespace(name="x", shape=[4, 3, 32, 32], type="tensor(float)")]

        def run(self, names: Any, inputs: Any) -> list[Any]:
            assert len(inputs["x"]) == 4
            return super().run(names, inputs)

    levels = torch.arange(0, 60, 10, dtype=torch.uint8)[:, None, None].expand(6, 32, 32)
    features = card_of_session(monkeypatch, tmp_path, Four).load()(levels)
    wanted = np.arange(0, 60, 10)[:, None] / 255 - np.array([0.5, 0.4, 0.3])
    np.testing.assert_allclose(features.pooled["vector/vector"], wanted, atol=1e-6)


def test_the_tokens_of_a_graph_are_a_map(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``last_hidden_state`` of an exported transformer: a class token, and a grid row by row."""

    class Tokens(Session):
        def get_outputs(self) -> list[Any]:
            return [SimpleNamespace(name="last_hidden_state")]

        def run(self, names: Any, inputs: Any) -> list[Any]:
            cells = inputs["x"].reshape(-1, 3, 4, 8, 4, 8).mean((3, 5))
            grid = cells.reshape(-1, 3, 16).transpose(0, 2, 1)
            return [np.concatenate([grid[:, -1:] + 7, grid], axis=1)]

    card = card_of_session(monkeypatch, tmp_path, Tokens)
    assert (card.layers, card.strides) == (("last_hidden_state",), (8,))
    frames = torch.arange(2 * 32 * 32).reshape(2, 32, 32).remainder(251).to(torch.uint8)
    features = card.load()(frames)
    cells = frames.float().reshape(2, 4, 8, 4, 8).mean((2, 4)) / 255 - 0.5
    torch.testing.assert_close(features.maps[0][:, 0].float(), cells, atol=1e-3, rtol=0)
    pooled = features.pooled
    torch.testing.assert_close(pooled["last_hidden_state/mean"][:, 0], cells.mean((1, 2)))
    torch.testing.assert_close(pooled["last_hidden_state/cls"][:, 0], cells[:, -1, -1] + 7)


def test_outputs_that_would_become_one_layer_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Two(Session):
        def get_outputs(self) -> list[Any]:
            return [SimpleNamespace(name="a/b"), SimpleNamespace(name="a_b")]

    with pytest.raises(UnsupportedOptionError, match=r"differ only by / and _: a/b, a_b"):
        card_of_session(monkeypatch, tmp_path, Two)


def test_a_graph_of_two_inputs_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Two(Session):
        def get_inputs(self) -> list[Any]:
            return [*super().get_inputs(), SimpleNamespace(name="mask", shape=["n"], type="int64")]

    with pytest.raises(UnsupportedOptionError, match=r"has 2 inputs \(x, mask\); wanted one"):
        card_of_session(monkeypatch, tmp_path, Two)


def test_a_mean_of_frames_up_to_255_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Large(Session):
        def get_modelmeta(self) -> Any:
            metadata = {"mean": "123.7,116.3,103.5", "std": "58.4,57.1,57.4"}
            return SimpleNamespace(custom_metadata_map=metadata)

    with pytest.raises(
        UnsupportedOptionError, match=r"f\.onnx, its metadata: .*123\.7; .*divide those"
    ):
        card_of_session(monkeypatch, tmp_path, Large)


@pytest.mark.parametrize("side", [0, 100_000, 2**40])
def test_an_onnx_file_of_impossible_pictures_is_named(
    side: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A damaged file may claim any size: the trial input took all memory."""
    shape = ["n", 3, side, side]
    inputs = [SimpleNamespace(name="x", shape=shape, type="tensor(float)")]
    monkeypatch.setattr(Session, "get_inputs", lambda _: inputs)
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    (tmp_path / "f.onnx").write_bytes(b"graph")
    with pytest.raises(UnsupportedOptionError, match=r"onnx:.*f\.onnx.*; wanted"):
        backbones.card(f"onnx:{tmp_path / 'f.onnx'}")


def test_what_is_no_onnx_file_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no ONNX file"):
        backbones.card(f"onnx:{tmp_path / 'absent.onnx'}")
    with pytest.raises(UnsupportedOptionError, match="no random twin"):
        backbones.card("random/onnx:f.onnx")
    pytest.importorskip("onnxruntime")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(CorruptFileError, match="cannot be read as ONNX"):
        backbones.card(f"onnx:{tmp_path / 'junk.onnx'}")
    file = graph(tmp_path / "g.onnx", 32, {"mean": "0.5"})
    with pytest.raises(CorruptFileError, match="wanted three numbers"):
        backbones.card(f"onnx:{file}")


def test_weights_beside_an_onnx_file_are_part_of_its_identity(tmp_path: Path) -> None:
    file = tmp_path / "encoder.onnx"
    file.write_bytes(b"graph ... encoder.onnx.data ...")
    digests = []
    for weights in (b"first", b"second"):
        (tmp_path / "encoder.onnx.data").write_bytes(weights)
        (tmp_path / "notes.txt").write_bytes(weights * 2)
        digests.append(onnx_file._sha256_with_data(file))
    assert len(set(digests)) == 2
    (tmp_path / "notes.txt").write_bytes(b"other")
    assert onnx_file._sha256_with_data(file) == digests[1]
    below = tmp_path / "weights" / "w.bin"
    below.parent.mkdir()
    path = b"weights/w.bin"
    entry = b"\x0a\x08location\x12" + bytes([len(path)]) + path
    file.write_bytes(b"graph" + entry)
    digests = []
    for weights in (b"first", b"second"):
        below.write_bytes(weights)
        digests.append(onnx_file._sha256_with_data(file))
    assert len({*digests, sha256_of(file)}) == 3
    below.unlink()
    assert onnx_file._sha256_with_data(file) == sha256_of(file)
    file.write_bytes(b"graph\x0a\x08location\x12")  # cut before the path; it was an IndexError
    assert onnx_file._sha256_with_data(file) == sha256_of(file)
