"""Models of transformers: tokens, steps, padding, towers and processors are read as they are meant."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")

import etab
from etab import backbones
from etab.backbones.hub import card as hub
from etab.backbones.hub.clips import ClipStates
from etab.backbones.hub.codecs import located
from etab.backbones.hub.described import Described, describe
from etab.backbones.hub.families import FAMILIES
from etab.backbones.hub.normalisation import normalisation
from etab.backbones.hub.pictures import PictureStates
from etab.backbones.hub.refused import REFUSED, reason_of_family
from etab.errors import UnsupportedOptionError, WeightsError
from etab.features.frames import resize
from etab.leaderboard.ranking import rank_folder
from etab.leaderboard.suites import Suite
from etab.testing.backbones import check_backbone
from tests.backbones import tiny

DEFAULT = ("vit", "clip", "convnext", "videomae", "vjepa2", "sew", "whisper", "clap")
ALL = (*tiny.PICTURES, *tiny.CLIPS, *tiny.SOUNDS)
TOKENS = (
    *("vit", "deit", "vit_mae", "dinov2", "dinov2_with_registers", "dinov3_vit", "beit"),
    *("aimv2_vision_model", "pixio", "tipsv2", "sapiens2", "siglip2", "sam", "vitdet"),
)
CODECS = ("encodec", "dac", "mimi", "wavtokenizer", "wavtokenizer_encoder")
NO_TOKEN = ("ijepa", "aimv2_vision_model", "siglip2", "sam", "vitdet")
TIMED = (
    *("wav2vec2", "sew", "audio-spectrogram-transformer", "wav2vec2-bert", "whisper", "encodec"),
    *("dac", "mimi", "pe_audio", "moonshine", "speech_to_text", "parakeet_encoder", "lasr_encoder"),
)


def some_slow(kinds: tuple[str, ...], default: tuple[str, ...] = DEFAULT) -> list[Any]:
    """Parameters of a test: a few by default, the others among the slow ones."""
    slow = pytest.mark.slow
    return [kind if kind in default else pytest.param(kind, marks=slow) for kind in kinds]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that gives the folder of a tiny model, made once."""
    folder = tmp_path_factory.mktemp("models")

    def model(kind: str) -> Path:
        made = folder / kind
        return made if made.is_dir() else tiny.write(kind, folder)

    return model


@pytest.fixture(scope="module")
def trees(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus", "echonet", "circor"])


def card_of(folder: Path) -> Any:
    return backbones.card(f"transformers/{folder}")


def tower_of(folder: Path) -> tuple[Any, Described]:
    described = describe(str(folder))
    return hub._tower(described, hub._network(described, None)).eval(), described


def test_at_least_25_families_are_tried() -> None:
    assert len(ALL) >= 25
    assert set(ALL) <= set(FAMILIES)


@pytest.mark.parametrize("kind", some_slow(ALL))
def test_a_model_meets_the_contract(models: Any, kind: str) -> None:
    check_backbone(card_of(models(kind)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", some_slow(ALL, ("vit", "videomae")))
def test_a_model_runs_on_the_phantom(models: Any, trees: Path, kind: str) -> None:
    card = card_of(models(kind))
    tasks, data = ["b0-A4-C", "a0-A4-C"], "camus"
    if kind in tiny.CLIPS:
        tasks, data = ["b6-A4-E"], "echonet"
    if kind in tiny.SOUNDS:
        # Most of the time goes into the network, so that each is asked for one kind of features.
        tasks, data = (["e0"] if card.timed else ["e1"]), "circor"
    score = etab.evaluate(card, tasks=tasks, root=trees / data, protocol="cv3")
    assert {row["task"][:2] for row in score.tasks} == {task[:2] for task in tasks}


def test_a_result_of_a_model_is_ranked(models: Any, trees: Path, tmp_path: Path) -> None:
    """The version of its card is a digest, which a board took for no version."""
    card = replace(card_of(models("vit")), name="mine")
    etab.evaluate(card, tasks="b0-A4-C", root=trees / "camus", protocol="cv5", results=tmp_path)
    board = rank_folder(tmp_path, Suite(name="ef", version=1, tasks=("b0-A4-C",)), protocol="cv5")
    assert [row.backbone for row in board.rows] == [card.name]


def test_no_progress_bar_of_transformers_is_drawn(
    models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    folder = models("vit")
    logging.enable_progress_bar()
    capsys.readouterr()
    card_of(folder).load()
    assert "Loading" not in capsys.readouterr().err
    assert logging.is_progress_bar_enabled()


def test_tensors_that_a_network_keeps_follow_its_precision(models: Any) -> None:
    """LeViT keeps the biases of its attention from the first call, which is in float32."""
    backbone = card_of(models("levit")).load()
    side = backbone.card.size
    frames = torch.zeros(1, side, side, dtype=torch.uint8)
    single = backbone.to("cpu", "fp32")(frames).pooled
    half = backbone.to("cpu", "bf16")(frames).pooled
    for layer, values in single.items():
        assert torch.cosine_similarity(half[layer], values) > 0.98, layer


@pytest.mark.parametrize("kind", some_slow(("swinv2", "speech_to_text"), ()))
def test_constants_are_in_float32_where_weights_are_stored_in_half(
    models: Any, tmp_path: Path, kind: str
) -> None:
    import transformers

    folder = shutil.copytree(models(kind), tmp_path / "model")
    model = transformers.AutoModel.from_pretrained(folder).to(torch.bfloat16)
    model.save_pretrained(folder)
    card = card_of(folder)
    if kind in tiny.SOUNDS:
        x = torch.randn(2, card.rate, generator=torch.Generator().manual_seed(0)) * 0.1
    else:
        x = torch.randint(0, 256, (2, card.size, card.size), dtype=torch.uint8)
    stored = card.load()(x).pooled
    model.float().save_pretrained(folder)  # the same weights, in single precision
    for layer, values in card_of(folder).load()(x).pooled.items():
        torch.testing.assert_close(stored[layer], values, rtol=1e-5, atol=1e-6)
    twin = backbones.card(f"random/transformers/{folder}").load()
    model.to(torch.bfloat16).save_pretrained(folder)
    assert backbones.card(f"random/transformers/{folder}").load().digest() == twin.digest()


@pytest.mark.slow
def test_a_network_that_can_have_a_class_token_has_none(models: Any, tmp_path: Path) -> None:
    import transformers

    folder = shutil.copytree(models("cvt"), tmp_path / "model")
    config = transformers.CvtConfig(**{**tiny.PICTURES["cvt"][1], "cls_token": [False] * 3})
    transformers.CvtModel(config).save_pretrained(folder)
    card = card_of(folder)
    features = card.load()(torch.zeros(1, card.size, card.size, dtype=torch.uint8))
    assert not any(layer.endswith("/cls") for layer in features.pooled)


@pytest.mark.parametrize("kind", some_slow(TOKENS, ("vit", "vit_mae", "dinov2_with_registers")))
def test_tokens_lie_where_their_patches_are(models: Any, kind: str) -> None:
    """Before any attention, a change of one patch changes one place of the map."""
    network, _ = tower_of(models(kind))
    states = PictureStates(network, kind, tiny.SIZE, FAMILIES[kind].form).eval()
    x = torch.randn(1, 3, tiny.SIZE, tiny.SIZE, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[:, :, 8:16, 24:32] += 1
    with torch.inference_mode():
        before, token = states(x)[0]
        after, _ = states(changed)[0]
    moved = (before - after).abs().sum(1)[0] > 1e-4
    assert moved.nonzero().tolist() == [[1, 3]]
    assert (token is None) == (kind in NO_TOKEN)


@pytest.mark.parametrize("kind", some_slow(tuple(tiny.CLIPS), ("videomae", "timesformer")))
def test_steps_of_clips_lie_where_their_frames_are(models: Any, kind: str) -> None:
    network, described = tower_of(models(kind))
    states = ClipStates(network, described, 4, tiny.SIZE).eval()
    x = torch.randn(1, 4, 3, tiny.SIZE, tiny.SIZE, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[:, -1] += 1
    with torch.inference_mode():
        moved = (states(x)[0] - states(changed)[0]).abs().sum(2)[0] > 1e-4
    assert moved.tolist() == [False] * (len(moved) - 1) + [True]


@pytest.mark.parametrize("kind", some_slow(TIMED, ("sew", "whisper")))
@pytest.mark.parametrize("seconds", [1.0, 7.0])
def test_steps_of_sound_lie_where_the_sound_is(models: Any, kind: str, seconds: float) -> None:
    """A burst changes the layers most at its own time, also in a recording longer than a part."""
    card = card_of(models(kind))
    backbone = card.load()
    rng = np.random.default_rng(0)
    n = round(seconds * card.rate)
    quiet = rng.normal(0, 0.05, n).astype(np.float32)
    burst = quiet.copy()
    moment = 0.72 * seconds
    at = round(moment * card.rate)
    width = card.rate // 50
    burst[at - width : at + width] += rng.normal(0, 0.1, 2 * width).astype(np.float32)
    name = card.timed[-1] if kind in CODECS else card.timed[0]
    one = backbone.course(torch.from_numpy(quiet))[name]
    two = backbone.course(torch.from_numpy(burst))[name]
    times = one.first + one.hop * np.arange(len(one.values))
    change = np.abs(one.values - two.values).sum(1)
    assert times[change.argmax()] == pytest.approx(moment, abs=max(0.06, 1.1 * one.hop))
    assert times[-1] == pytest.approx(seconds, abs=max(0.1, 3 * one.hop))


def test_the_filling_of_a_window_is_no_part_of_its_features(models: Any) -> None:
    backbone = card_of(models("whisper")).load()
    x = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    steps = dict(backbone.network(x))["last"]
    assert steps.shape[1] == 50
    long = dict(backbone.network(torch.cat([x] * 6, 1)))["last"]
    assert long.shape[1] == 2 * 200
    ast = card_of(models("audio-spectrogram-transformer")).load()
    assert dict(ast.network(x))["last"].shape[1] == (98 - 16) // 10 + 1


@pytest.mark.parametrize("kind", ["vit", "clip", "convnext"])
def test_pictures_reach_the_model_as_its_processor_makes_them(models: Any, kind: str) -> None:
    import transformers

    folder = models(kind)
    card = card_of(folder)
    frame = np.random.default_rng(0).integers(0, 256, (96, 120), dtype=np.uint8)
    fed = torch.from_numpy(resize(frame, card.size, card.interpolation))[None]
    got = card.load().normalised(fed)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    square = np.repeat(fed[0].numpy()[..., None], 3, axis=2)
    wanted = processor(images=square, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(got.contiguous(), wanted, atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", some_slow(tuple(tiny.CLIPS), ("vivit",)))
def test_clips_reach_the_model_as_its_processor_makes_them(models: Any, kind: str) -> None:
    folder = models(kind)
    clip = card_of(folder).clip
    described = describe(str(folder))
    frames = np.random.default_rng(0).integers(0, 256, (4, clip.size, clip.size), dtype=np.uint8)
    colour = np.repeat(frames[..., None], 3, axis=3)
    whole = {"do_resize": False, "do_center_crop": False}
    prepared = described.processor(list(colour), return_tensors="pt", **whole)
    wanted = next(iter(prepared.values()))
    got = clip.tensor(torch.from_numpy(frames)[None]).transpose(1, 2)
    # The processor of pictures of X-CLIP has no axis of clips.
    torch.testing.assert_close(
        got.contiguous(), wanted.float().reshape(got.shape), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"include_top": False},
        {"rescale_offset": True, "rescale_factor": 1 / 127.5},
        {"rescale_offset": True, "rescale_factor": 1 / 127.5, "do_normalize": False},
        {"do_rescale": False, "do_normalize": False, "include_top": False},
        {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]},
    ],
    ids=str,
)
def test_a_processor_that_does_more_than_it_says_is_obeyed(
    models: Any, tmp_path: Path, options: Any
) -> None:
    """That of EfficientNet (and ALIGN) divides by the deviation twice, and may subtract 1."""
    import transformers

    folder = shutil.copytree(models("efficientnet"), tmp_path / "model")
    square = {"height": 64, "width": 64}
    processor = transformers.EfficientNetImageProcessor(size=square, crop_size=square, **options)
    processor.save_pretrained(folder)
    card = card_of(folder)
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    wanted = processor(images=frame, return_tensors="pt")["pixel_values"][0]
    colour = torch.from_numpy(frame).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (card.mean, card.std))
    assert torch.allclose((colour - mean) / std, wanted.float(), rtol=1e-4, atol=1e-4)


def test_one_number_of_a_processor_is_that_of_every_channel(models: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(models("vit"), tmp_path / "model")
    file = folder / "preprocessor_config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "image_mean": 0.25, "image_std": 0.5}))
    card = card_of(folder)
    assert card.mean == pytest.approx([0.25] * 3, abs=1e-6)
    assert card.std == pytest.approx([0.5] * 3, abs=1e-6)


@pytest.mark.parametrize("power", [0, 2])
def test_a_processor_that_is_no_scale_is_refused(power: int) -> None:
    class Processor:
        def __call__(self, images: Any, return_tensors: str) -> dict[str, Any]:
            pixels = torch.from_numpy(images).permute(2, 0, 1)[None].float() / 255
            return {"pixel_values": pixels**power}

    described = Described("made", "vit", FAMILIES["vit"], None, Processor())
    with pytest.raises(UnsupportedOptionError, match="which no mean and deviation can produce"):
        normalisation(described, 16)


def test_the_tower_alone_is_taken_out(models: Any) -> None:
    import transformers

    folder = models("clip")
    x = torch.randint(0, 256, (2, tiny.SIZE, tiny.SIZE), dtype=torch.uint8)
    card = card_of(folder)
    backbone: Any = card.load()
    assert not any("text" in name for name, _ in backbone.network.named_parameters())
    whole = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        states = whole.vision_model(
            pixel_values=backbone.normalised(x), output_hidden_states=True
        ).hidden_states
    torch.testing.assert_close(backbone(x).pooled["block2/cls"], states[2][:, 0])
    torch.testing.assert_close(backbone(x).pooled["block2/mean"], states[2][:, 1:].mean(1))


def test_code_of_a_repository_is_never_executed(tmp_path: Path, models: Any) -> None:
    folder = shutil.copytree(models("vit"), tmp_path / "model")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    config = json.loads((folder / "config.json").read_text())
    maps = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": maps}))
    check_backbone(card_of(folder))  # the family is known: the library's own code is used
    changed = {**config, "auto_map": maps, "model_type": "evil"}
    (folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(UnsupportedOptionError, match=r"auto_map.*never executed"):
        card_of(folder)
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_not_in_the_file_are_refused(tmp_path: Path, models: Any) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(models("vit"), tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    lost = next(key for key in state if "layer" in key and key.endswith("weight"))
    del state[lost]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"no values for 1 tensor of the network \(\S+\), which"):
        card_of(folder).load()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (
            {"model_type": "llama"},
            UnsupportedOptionError,
            "'llama' is not an encoder: it writes text",
        ),
        ({"model_type": "nobody"}, UnsupportedOptionError, "family 'nobody' is not among those"),
        ({"model_type": ["vit"]}, UnsupportedOptionError, "is not among those"),
        ({"model_type": "detr"}, UnsupportedOptionError, "it finds objects in a picture"),
        (
            {"model_type": "paligemma", "vision_config": {"model_type": "siglip_vision_model"}},
            UnsupportedOptionError,
            "writes text about pictures. Its part vision is a siglip_vision_model, which can be",
        ),
        ({"image_size": 48}, UnsupportedOptionError, "does not read the pictures of 32 px"),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            UnsupportedOptionError,
            r"its weights are quantised \(quantization_config in config.json, gptq\)",
        ),
    ],
)
def test_what_is_not_read_has_a_reason(
    tmp_path: Path, models: Any, change: dict[str, Any], error: type[Exception], match: str
) -> None:
    folder = shutil.copytree(models("vit"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(error, match=match):
        backbones.card(f"random/transformers/{folder}").load()


_INPUT = "preprocessor_config.json"


@pytest.mark.parametrize(
    ("kind", "file", "change", "match"),
    [
        (
            "vit",
            _INPUT,
            {"size": {"height": -1, "width": -1}},
            "has -1 px a side; wanted 1 to 2048",
        ),
        ("vit", _INPUT, {"size": {"height": 10**6, "width": 10**6}}, "1000000 px a side"),
        (
            "vit",
            _INPUT,
            {"size": {"height": 32, "width": 48}},
            "of height 32, width 48; wanted a sq",
        ),
        ("vit", "config.json", {"model_type": ""}, "its config.json names no model_type"),
        (
            "videomae",
            "config.json",
            {"num_frames": 0},
            "its num_frames is 0; wanted a whole number",
        ),
        ("sew", _INPUT, {"sampling_rate": None}, "its sampling_rate is None; wanted a whole"),
        ("sew", _INPUT, {"sampling_rate": "16k"}, "its sampling_rate is '16k'; wanted a whole"),
        ("sew", _INPUT, {"sampling_rate": 0}, "its sampling_rate is 0; wanted a whole"),
        ("vit", _INPUT, {"resample": 17}, r"resizes by the filter 17; wanted one of 0 \(nearest\)"),
        (
            "vit",
            _INPUT,
            {"image_mean": [123.7, 116.3, 103.5], "image_std": [58.4, 57.1, 57.4]},
            r"subtracts 124 from pictures in \[0, 1\], as if they were in \[0, 255\]",
        ),
    ],
)
def test_an_impossible_input_is_told_before_anything_is_made(
    tmp_path: Path, models: Any, kind: str, file: str, change: dict[str, Any], match: str
) -> None:
    folder = shutil.copytree(models(kind), tmp_path / "model")
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**settings, **change}))
    with pytest.raises(UnsupportedOptionError, match=match):
        card_of(folder)


def test_a_refusal_names_similar_families_and_not_all(tmp_path: Path, models: Any) -> None:
    folder = shutil.copytree(models("vit"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "dinov3"}))
    with pytest.raises(UnsupportedOptionError, match=r"Similar families .*dinov3_vit") as raised:
        card_of(folder)
    assert len(str(raised.value).replace(str(folder), "")) < 500


@pytest.mark.slow
def test_a_classifier_that_holds_one_tower_of_two_is_read(tmp_path: Path, models: Any) -> None:
    import transformers

    config = transformers.AutoConfig.from_pretrained(models("siglip"))
    classifier = transformers.SiglipForImageClassification(config).eval()
    folder = shutil.copytree(models("siglip"), tmp_path / "model")
    classifier.save_pretrained(folder)
    backbone: Any = card_of(folder).load()
    x = torch.randint(0, 256, (2, tiny.SIZE, tiny.SIZE), dtype=torch.uint8)
    with torch.inference_mode():
        wanted = classifier.vision_model(pixel_values=backbone.normalised(x)).last_hidden_state
    torch.testing.assert_close(backbone(x).pooled["block3/mean"], wanted.mean(1))


def test_every_family_of_pictures_clips_and_sounds_is_read_or_has_a_reason() -> None:
    """Of the library's own lists; families that a later version adds may have no words yet."""
    from benchmarks.pages import hub as page

    if page.VERSION + page.installed() not in page.FILE.read_text():
        pytest.skip("the lists are of another version of transformers")
    refused = {kind: reason_of_family(kind, {}) for kind in page.kinds() - set(FAMILIES)}
    assert not [kind for kind, reason in refused.items() if "is not among those" in reason]
    assert len(page.kinds() & set(FAMILIES)) >= 85
    assert not set(REFUSED) & set(FAMILIES)


def test_steps_of_causal_convolutions_lie_before_their_end() -> None:
    layers = [torch.nn.Conv1d(1, 1, 7), torch.nn.Conv1d(1, 1, 8, stride=4)]
    # The first step reads the samples -10 to 3.
    assert located(layers, causal=True) == (4, -3.5)
    assert located(layers, causal=False) == (4, 1.5)


def test_silence_is_finite_where_an_extractor_divides_by_its_deviation(models: Any) -> None:
    card = card_of(models("speech_to_text"))
    features = card.load()(torch.zeros(1, card.rate))
    assert all(bool(values.isfinite().all()) for values in features.pooled.values())


@pytest.mark.parametrize("kind", ["sam_vision_model", "hiera"])
def test_states_with_channels_last_are_maps_of_their_places(models: Any, kind: str) -> None:
    """A change of one corner of the picture changes the same corner of every map most."""
    network, described = tower_of(models(kind))
    size = card_of(models(kind)).size
    states = PictureStates(network, kind, size, described.family.form).eval()
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[:, :, -8:, :8] += 1
    with torch.inference_mode():
        before, after = states(x)[0][0], states(changed)[0][0]
    moved = (before - after).abs().sum(1)[0]
    rows, columns = moved.shape
    assert divmod(int(moved.argmax()), columns)[0] >= rows - 2
    assert divmod(int(moved.argmax()), columns)[1] <= 1


def test_a_folder_without_processor_is_refused(tmp_path: Path, models: Any) -> None:
    folder = shutil.copytree(models("vit"), tmp_path / "model")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"no preprocessor_config.json.*save_pretrained"):
        card_of(folder)


def test_a_processor_of_pictures_is_none_of_sounds(tmp_path: Path, models: Any) -> None:
    folder = shutil.copytree(models("sew"), tmp_path / "model")
    shutil.copy(models("vit") / _INPUT, folder / _INPUT)
    with pytest.raises(WeightsError, match="its processor is of pictures, and SEW reads sounds"):
        card_of(folder)


@pytest.mark.parametrize("name", ["./none", "/none", "~/none", "a/b/c", "here.json", "n" * 5000])
def test_what_is_no_folder_is_told_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.json").write_text("{}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    told = {
        "here.json": "here.json is a file; wanted the folder",
        "n" * 5000: "could not be fetched",
    }
    with pytest.raises(WeightsError, match=told.get(name, f"there is no folder {name}")):
        backbones.card(f"transformers/{name}")


def test_numbers_after_the_name(models: Any) -> None:
    assert card_of(models("clip")).interpolation == "pillow bicubic"
    clip = backbones.card(f"transformers/{models('videomae')}@3").clip
    assert clip is not None
    assert clip.period == 3
    with pytest.raises(UnsupportedOptionError, match="reads single frames: @3"):
        backbones.card(f"transformers/{models('vit')}@3")
    with pytest.raises(UnsupportedOptionError, match="reads 48000 Hz, not 16000 Hz"):
        backbones.card(f"transformers/{models('clap')}@16000")


@pytest.mark.slow
def test_the_page_lists_what_the_models_give() -> None:
    from benchmarks.pages import hub as page

    if page.VERSION + page.installed() not in page.FILE.read_text():
        pytest.skip("the page is of another version of transformers")
    assert page.main(check=True) == 0, "run python -m benchmarks.pages.hub"


def test_a_changed_processor_or_configuration_is_another_backbone(tmp_path: Path) -> None:
    folder = tiny.write("wav2vec2", tmp_path)
    name = f"transformers/{folder}"
    first = backbones.card(name)
    assert backbones.card(name).version == first.version
    file = folder / "preprocessor_config.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({**facts, "do_normalize": not facts["do_normalize"]}))
    second = backbones.card(name)
    assert second.sha256 == first.sha256
    assert second.version != first.version
    file = folder / "config.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({**facts, "intermediate_size": 2 * facts["intermediate_size"]}))
    assert backbones.card(f"random/{name}").version != second.version
