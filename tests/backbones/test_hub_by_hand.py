"""The features of every family beside the library's own processor and model, called by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="transformers is not installed")

import transformers

from etab import backbones
from etab.features.frames import resize
from tests.backbones import tiny

# Tokens before the grid: class, distillation and register tokens, as the papers of the families say.
PREFIX: Mapping[str, int] = {
    **dict.fromkeys(("vit", "vit_mae", "vit_msn", "dinov2", "beit", "data2vec-vision"), 1),
    **dict.fromkeys(("clip_vision_model", "clip", "metaclip_2", "altclip", "chinese_clip"), 1),
    **dict.fromkeys(("blip", "timesformer", "vivit", "blip_vision_model"), 1),
    **dict.fromkeys(("altclip_vision_model", "metaclip_2_vision_model", "flava_image_model"), 1),
    **dict.fromkeys(("clipseg_vision_model", "owlvit_vision_model", "owlv2_vision_model"), 1),
    **dict.fromkeys(("dinov2_with_registers", "dinov3_vit"), 5),
    **dict.fromkeys(("pvt", "chinese_clip_vision_model", "mlcd_vision_model", "clipseg"), 1),
    **dict.fromkeys(("dpt", "flava", "owlvit", "owlv2", "dinov3_convnext"), 1),
    **dict.fromkeys(("deit", "tipsv2", "tipsv2_vision_model"), 2),
    "sapiens2": 3,
    "pixio": 8,
}
# Parts of a model of several parts, where they are not called vision_model.
PARTS = ("vision_encoder", "image_model", "vision_model")
# Their output is (n, h, w, c).
CHANNELS_LAST = ("sam2", "sam2_vision_model")
DEFAULT = ("vit", "swin", "clip", "videomae", "hubert", "whisper", "clap")


def some_slow(kinds: Mapping[str, Any]) -> list[Any]:
    slow = pytest.mark.slow
    return [kind if kind in DEFAULT else pytest.param(kind, marks=slow) for kind in kinds]


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any, Any]]:
    """A function that gives the folder of a tiny model, the model of the library, and its card."""
    folder = tmp_path_factory.mktemp("models")

    def model(kind: str) -> tuple[Path, Any, Any]:
        made = tiny.write(kind, folder)
        maker = getattr(transformers, tiny.CLASSES.get(kind, "AutoModel"))
        return made, maker.from_pretrained(made).eval(), backbones.card(f"transformers/{made}")

    return model


def equal(got: Tensor, wanted: Tensor) -> None:
    scale = max(1.0, float(wanted.abs().max()))
    assert float((got - wanted).abs().max()) <= 1e-5 * scale
    assert float(wanted.std()) > 1e-3


@pytest.mark.parametrize("kind", some_slow(tiny.PICTURES))
def test_a_picture(model_of: Any, kind: str) -> None:
    folder, model, card = model_of(kind)
    frame = np.random.default_rng(0).integers(0, 256, (96, 120), dtype=np.uint8)
    fed = resize(frame, card.size, card.interpolation)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    colour = np.repeat(fed[..., None], 3, axis=2)
    pixels = processor(images=colour, return_tensors="pt")
    options = {}
    if kind == "vit_mae":
        model.config.mask_ratio = 0.0
        options["noise"] = torch.arange((tiny.SIZE // 8) ** 2).float()[None]
    with torch.inference_mode():
        tower = next((getattr(model, part) for part in PARTS if hasattr(model, part)), model)
        output = tower(**{**pixels, **options})
        last = output.feature_maps[-1] if kind in tiny.BACKBONES else output.last_hidden_state
    if kind in CHANNELS_LAST:
        last = last.permute(0, 3, 1, 2)
    is_map = last.ndim == 4
    wanted = last.mean((2, 3)) if is_map else last[:, PREFIX.get(kind, 0) :].mean(1)
    features = card.load()(torch.from_numpy(fed)[None])
    name = [key for key in features.pooled if key.endswith("/mean")][-1]
    equal(features.pooled[name], wanted)


@pytest.mark.parametrize("kind", some_slow(tiny.CLIPS))
def test_a_clip(model_of: Any, kind: str) -> None:
    folder, model, card = model_of(kind)
    shape = (4, card.size, card.size)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    maker = transformers.AutoVideoProcessor
    if kind.startswith("xclip"):
        maker = transformers.VideoMAEVideoProcessor  # its own is for single pictures
    processor = maker.from_pretrained(folder)
    colour = [np.repeat(frame[..., None], 3, axis=2) for frame in frames]
    prepared = processor(colour, return_tensors="pt", do_resize=False, do_center_crop=False)
    options = {"skip_predictor": True} if kind == "vjepa2" else {}
    got = card.load()(torch.from_numpy(frames)[None])
    with torch.inference_mode():
        inputs = {name: values.float() for name, values in prepared.items()}
        if kind.startswith("xclip"):  # frames in the place of a batch, each with a class token
            tower = getattr(model, "vision_model", model)
            states = tower(pixel_values=inputs["pixel_values"][0]).last_hidden_state
            equal(got.pooled["last/mean"], states[:, 1:].mean((0, 1))[None])
            return
        if kind == "videoprism":
            model = model.video_model.vision_model
        last = model(**inputs, **options).last_hidden_state
    equal(got.pooled["last/mean"], last[:, PREFIX.get(kind, 0) :].mean(1))


def of_sound(kind: str, model: Any, prepared: Any) -> Tensor:
    """The last states (1, t, d) of one second of sound, without the filling of the window."""
    if kind == "whisper":
        return model.get_encoder()(prepared["input_features"]).last_hidden_state[:, :50]
    if kind.startswith("clap"):
        tower = getattr(model, "audio_model", model)
        return tower(**prepared).last_hidden_state.flatten(2).transpose(1, 2)
    if kind.startswith("wavtokenizer"):
        tower = getattr(model, "encoder_model", model)
        return tower.encoder(prepared["input_values"]).transpose(1, 2)
    if kind in ("encodec", "dac"):
        return model.encoder(prepared["input_values"]).transpose(1, 2)
    if kind == "mimi":
        return model.encoder(prepared["input_values"]).latents.transpose(1, 2)
    if kind.startswith("pe_audio"):
        tower = getattr(model, "audio_encoder", model)
        return tower(prepared["input_values"]).last_hidden_state
    if kind in ("moonshine", "speech_to_text"):
        return model.get_encoder()(**prepared).last_hidden_state
    if kind == "audio-spectrogram-transformer":
        # 98 frames of 10 ms, of which (98 - 16) // 10 + 1 patches are full; two rows of patches.
        tokens = model(**prepared).last_hidden_state[:, 2:]
        return tokens.reshape(1, 2, -1, tokens.shape[2])[:, :, :9].flatten(1, 2)
    if kind.startswith("sew"):  # the output has its steps doubled again
        return model(**prepared, output_hidden_states=True).hidden_states[-1]
    return model(**prepared).last_hidden_state


@pytest.mark.parametrize("kind", some_slow(tiny.SOUNDS))
def test_a_sound(model_of: Any, kind: str) -> None:
    folder, model, card = model_of(kind)
    wave = np.random.default_rng(0).normal(0, 0.1, card.rate).astype(np.float32)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    raw = (
        wave
        if kind
        in (
            "wavtokenizer",
            "wavtokenizer_encoder",
            "encodec",
            "mimi",
            "dac",
            "pe_audio",
            "pe_audio_encoder",
        )
        else [wave]
    )
    prepared = extractor(raw, sampling_rate=card.rate, return_tensors="pt")
    with torch.inference_mode():
        wanted = of_sound(kind, model, prepared).mean(1)
    got = card.load()(torch.from_numpy(wave)[None])
    equal(got.pooled["last/mean"], wanted)
