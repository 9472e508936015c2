"""Tiny models of transformers, made with the library's own classes and saved with their processors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

SIZE = 32
_BLOCKS: Mapping[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
_WAVES: Mapping[str, Any] = {
    **_BLOCKS,
    "num_hidden_layers": 4,
    "conv_dim": (8, 8, 8),
    "conv_stride": (5, 4, 4),
    "conv_kernel": (10, 8, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 8,
}
_STAGES: Mapping[str, Any] = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
_TEXT: Mapping[str, Any] = {**_BLOCKS, "vocab_size": 16, "max_position_embeddings": 12}
_VISION: Mapping[str, Any] = {**_BLOCKS, "image_size": SIZE, "patch_size": 8}

# model_type: configuration class, and its options
PICTURES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "vit": ("ViT", _VISION),
    "deit": ("DeiT", _VISION),
    "vit_mae": (
        "ViTMAE",
        {
            **_VISION,
            "decoder_hidden_size": 8,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 8,
        },
    ),
    "vit_msn": ("ViTMSN", _VISION),
    "ijepa": ("IJepa", _VISION),
    "dinov2": ("Dinov2", _VISION),
    "dinov2_with_registers": ("Dinov2WithRegisters", {**_VISION, "num_register_tokens": 4}),
    "dinov3_vit": ("DINOv3ViT", {**_VISION, "num_register_tokens": 4}),
    "beit": ("Beit", _VISION),
    "data2vec-vision": ("Data2VecVision", _VISION),
    "clip_vision_model": ("CLIPVision", _VISION),
    "siglip_vision_model": ("SiglipVision", _VISION),
    "swin": (
        "Swin",
        {
            "image_size": 64,
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [2, 2, 2, 2],
            "window_size": 2,
        },
    ),
    "swinv2": (
        "Swinv2",
        {
            "image_size": 64,
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [2, 2, 2, 2],
            "window_size": 2,
        },
    ),
    "convnext": ("ConvNext", {**_STAGES, "image_size": 64}),
    "convnextv2": ("ConvNextV2", {**_STAGES, "image_size": 64}),
    "resnet": ("ResNet", {**_STAGES, "embedding_size": 8}),
    "regnet": ("RegNet", {**_STAGES, "embedding_size": 8, "groups_width": 4}),
    "focalnet": (
        "FocalNet",
        {
            "image_size": 64,
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 16, 16, 16],
            "focal_levels": [1, 1, 1, 1],
            "focal_windows": [3, 3, 3, 3],
        },
    ),
    "poolformer": ("PoolFormer", {**_STAGES}),
    "pvt_v2": (
        "PvtV2",
        {
            "image_size": 64,
            "hidden_sizes": [8, 8, 16, 16],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 2],
            "mlp_ratios": [2, 2, 2, 2],
        },
    ),
    "clip": ("CLIP", {"text_config": _TEXT, "vision_config": _VISION, "projection_dim": 8}),
    "siglip": ("Siglip", {"text_config": _TEXT, "vision_config": _VISION}),
    "metaclip_2": (
        "MetaClip2",
        {"text_config": _TEXT, "vision_config": _VISION, "projection_dim": 8},
    ),
    "altclip": (
        "AltCLIP",
        {
            "text_config": {**_TEXT, "project_dim": 8},
            "vision_config": _VISION,
            "projection_dim": 8,
        },
    ),
    "chinese_clip": (
        "ChineseCLIP",
        {"text_config": _TEXT, "vision_config": _VISION, "projection_dim": 8},
    ),
    "blip": (
        "Blip",
        {
            "text_config": {**_TEXT, "encoder_hidden_size": 16},
            "vision_config": {**_VISION, "initializer_range": 0.02},
            "projection_dim": 8,
        },
    ),
}
CLIPS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "videomae": (
        "VideoMAE",
        {
            **_VISION,
            "num_frames": 4,
            "tubelet_size": 2,
            "decoder_hidden_size": 8,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 8,
        },
    ),
    "vjepa2": (
        "VJEPA2",
        {
            **_BLOCKS,
            "hidden_size": 24,
            "crop_size": SIZE,
            "patch_size": 8,
            "frames_per_clip": 4,
            "tubelet_size": 2,
            "pred_hidden_size": 12,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
            "pred_num_mask_tokens": 1,
        },
    ),
    "timesformer": ("Timesformer", {**_VISION, "num_frames": 4}),
    "vivit": ("Vivit", {**_BLOCKS, "image_size": SIZE, "num_frames": 4, "tubelet_size": [2, 8, 8]}),
}
_MEL: Mapping[str, Any] = {**_BLOCKS, "num_hidden_layers": 4}
SOUNDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2", _WAVES),
    "wav2vec2-conformer": ("Wav2Vec2Conformer", _WAVES),
    "hubert": ("Hubert", _WAVES),
    "wavlm": ("WavLM", _WAVES),
    "sew": ("SEW", {**_WAVES, "squeeze_factor": 2}),
    "sew-d": (
        "SEWD",
        {**_WAVES, "squeeze_factor": 2, "position_buckets": 8, "max_position_embeddings": 64},
    ),
    "unispeech": ("UniSpeech", _WAVES),
    "data2vec-audio": ("Data2VecAudio", {**_WAVES, "conv_pos_kernel_size": 3}),
    "unispeech-sat": ("UniSpeechSat", _WAVES),
    "audio-spectrogram-transformer": (
        "AST",
        {**_MEL, "max_length": 256, "num_mel_bins": 32, "patch_size": 16},
    ),
    "wav2vec2-bert": ("Wav2Vec2Bert", {**_MEL, "feature_projection_input_dim": 16}),
    "whisper": (
        "Whisper",
        {
            "d_model": 16,
            "encoder_layers": 4,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "decoder_ffn_dim": 16,
            "vocab_size": 32,
            "num_mel_bins": 16,
            "max_source_positions": 200,
            "pad_token_id": 1,
            "bos_token_id": 1,
            "eos_token_id": 1,
            "decoder_start_token_id": 1,
        },
    ),
    "clap": (
        "Clap",
        {
            "text_config": {**_TEXT, "projection_dim": 8},
            "audio_config": {
                "spec_size": 64,
                "num_mel_bins": 16,
                "patch_embeds_hidden_size": 8,
                "depths": [1, 1, 1],
                "num_attention_heads": [2, 2, 2],
                "window_size": 2,
                "hidden_size": 32,
                "patch_size": 4,
                "patch_stride": [4, 4],
                "projection_dim": 8,
            },
            "projection_dim": 8,
        },
    ),
    "clap_audio_model": (
        "ClapAudio",
        {
            "spec_size": 64,
            "num_mel_bins": 16,
            "patch_embeds_hidden_size": 8,
            "depths": [1, 1, 1],
            "num_attention_heads": [2, 2, 2],
            "window_size": 2,
            "hidden_size": 32,
            "patch_size": 4,
            "patch_stride": [4, 4],
        },
    ),
    "encodec": (
        "Encodec",
        {
            "num_filters": 4,
            "hidden_size": 16,
            "upsampling_ratios": [8, 5, 4, 2],
            "codebook_size": 16,
            "codebook_dim": 16,
            "num_lstm_layers": 1,
        },
    ),
}


def _extractor(kind: str, library: Any) -> Any:
    makers: dict[str, Callable[[], Any]] = {
        "audio-spectrogram-transformer": lambda: library.ASTFeatureExtractor(
            num_mel_bins=32, max_length=256
        ),
        "wav2vec2-bert": lambda: library.SeamlessM4TFeatureExtractor(
            feature_size=8, num_mel_bins=8, stride=2
        ),
        "whisper": lambda: library.WhisperFeatureExtractor(feature_size=16, chunk_length=4),
        "clap": lambda: library.ClapFeatureExtractor(
            feature_size=16, sampling_rate=48_000, max_length_s=2, truncation="rand_trunc"
        ),
        "encodec": lambda: library.EncodecFeatureExtractor(sampling_rate=24_000),
    }
    makers["clap_audio_model"] = makers["clap"]
    if kind in makers:
        return makers[kind]()
    return library.Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=True)


def _processor(kind: str, library: Any, size: int) -> Any:
    square = {"height": size, "width": size}
    if kind in CLIPS:
        names = {"videomae": "VideoMAE", "vjepa2": "VJEPA2", "timesformer": "Timesformer"}
        options: dict[str, Any] = {"size": square, "crop_size": square}
        return getattr(library, f"{names.get(kind, 'Vivit')}VideoProcessor")(**options)
    makers = {"clip": "CLIP", "siglip": "Siglip", "clip_vision_model": "CLIP"}
    maker = getattr(library, f"{makers.get(kind, 'ViT')}ImageProcessor")
    return maker(size=square, crop_size=square)


def write(kind: str, folder: Path) -> Path:
    """Save a tiny model of a family, of fixed random weights, with its processor.

    Args:
        kind: A key of ``PICTURES``, ``CLIPS`` or ``SOUNDS``.
        folder: Where it is saved, in a folder of its own.

    Returns:
        The folder of the model.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    name, options = {**PICTURES, **CLIPS, **SOUNDS}[kind]
    config = getattr(transformers, f"{name}Config")(**options)
    target = folder / kind
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        if kind == "clap_audio_model":
            model = transformers.ClapAudioModel(config)
        else:
            model = transformers.AutoModel.from_config(config)
        # Initial weights of 0.02 leave the features of two inputs almost alike.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4)
    model.save_pretrained(target)
    size = int(options.get("image_size") or options.get("crop_size") or 0) or SIZE
    if kind in ("resnet", "regnet", "poolformer"):
        size = 64
    processor = _extractor(kind, transformers) if kind in SOUNDS else None
    (processor or _processor(kind, transformers, size)).save_pretrained(target)
    return target
