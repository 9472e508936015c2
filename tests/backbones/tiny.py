"""Tiny models of transformers, made with the library's own classes and saved with their processors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

SIZE = 32
BACKBONES: Mapping[str, str] = {
    "hgnet_v2": "HGNetV2Backbone",
    "pp_lcnet": "PPLCNetBackbone",
    "pp_lcnet_v3": "PPLCNetV3Backbone",
}
"""Networks that the library gives as backbones alone, which have maps in the place of an output."""
CLASSES: Mapping[str, str] = {
    **BACKBONES,
    "altclip_vision_model": "AltCLIPVisionModel",
    "metaclip_2_vision_model": "MetaClip2VisionModel",
    "blip_vision_model": "BlipVisionModel",
    "align_vision_model": "AlignVisionModel",
    "clipseg_vision_model": "CLIPSegVisionModel",
    "flava_image_model": "FlavaImageModel",
    "owlvit_vision_model": "OwlViTVisionModel",
    "owlv2_vision_model": "Owlv2VisionModel",
    "xclip_vision_model": "XCLIPVisionModel",
    "clap_audio_model": "ClapAudioModel",
}
"""Classes of networks that AutoModel does not build."""
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
_PYRAMID: Mapping[str, Any] = {
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "image_size": 64,
}
_LCNET: Mapping[str, Any] = {
    "stem_channels": 8,
    "block_configs": [
        [[3, 8, 8, 1, False]],
        [[3, 8, 16, 2, False]],
        [[3, 16, 16, 2, False]],
        [[3, 16, 24, 2, False]],
        [[5, 24, 24, 2, True]],
    ],
}
_SAM: Mapping[str, Any] = {
    **_VISION,
    "mlp_dim": 24,
    "output_channels": 12,
    "window_size": 2,
    "global_attn_indexes": [1],
    "initializer_range": 0.02,
}
_SAM_DECODER: Mapping[str, Any] = {
    "prompt_encoder_config": {
        "hidden_size": 12,
        "image_size": SIZE,
        "patch_size": 8,
        "image_embedding_size": 4,
        "mask_input_channels": 4,
    },
    "mask_decoder_config": {
        "hidden_size": 12,
        "mlp_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 8,
    },
}
_SAM2: Mapping[str, Any] = {
    "backbone_config": {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "num_attention_heads": 1,
        "image_size": [64, 64],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [8, 4, 4, 4],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [7, 7],
    },
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    "fpn_hidden_size": 8,
    "image_size": 64,
}
_SAM3: Mapping[str, Any] = {
    "backbone_config": {
        "model_type": "sam3_vit_model",
        **_VISION,
        "window_size": 2,
        "global_attn_indexes": [1],
        "pretrain_image_size": SIZE,
    },
    "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    "fpn_hidden_size": 8,
}

_EFFICIENTNET: Mapping[str, Any] = {
    "image_size": 64,
    "hidden_dim": 32,
    "depth_divisor": 4,
    "kernel_sizes": [3, 3, 5, 3],
    "in_channels": [32, 8, 8, 16],
    "out_channels": [8, 8, 16, 16],
    "depthwise_padding": [],
    "strides": [1, 2, 2, 2],
    "num_block_repeats": [1, 1, 1, 1],
    "expand_ratios": [1, 2, 2, 2],
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
    "initializer_range": 0.5,
}
_XCLIP: Mapping[str, Any] = {
    **_VISION,
    "num_frames": 4,
    "mit_hidden_size": 16,
    "mit_intermediate_size": 16,
    "mit_num_attention_heads": 2,
    "mit_num_hidden_layers": 1,
}

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
    "pvt": (
        "Pvt",
        {
            "image_size": 64,
            "hidden_sizes": [8, 8, 16, 16],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 2],
            "mlp_ratios": [2, 2, 2, 2],
        },
    ),
    "aimv2_vision_model": ("Aimv2Vision", _VISION),
    "aimv2": (
        "Aimv2",
        {
            "text_config": {**_TEXT, "eos_token_id": 2},
            "vision_config": _VISION,
            "projection_dim": 8,
        },
    ),
    "chinese_clip_vision_model": ("ChineseCLIPVision", _VISION),
    "mlcd_vision_model": ("MLCDVision", {**_VISION, "num_key_value_groups": 1}),
    "pixio": ("Pixio", _VISION),
    "pixtral": ("PixtralVision", {**_VISION, "image_size": 64}),
    "dpt": ("DPT", {**_VISION, "backbone_out_indices": [0, 1, 2, 2]}),
    "hgnet_v2": (
        "HGNetV2",
        {
            "embedding_size": 8,
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [16, 16, 16, 24],
            "stem_channels": [3, 4, 8],
            "stage_in_channels": [8, 16, 16, 16],
            "stage_mid_channels": [4, 4, 8, 8],
            "stage_out_channels": [16, 16, 16, 24],
            "stage_num_blocks": [1, 1, 1, 1],
            "stage_numb_of_layers": [2, 2, 2, 2],
        },
    ),
    "pp_lcnet": ("PPLCNet", _LCNET),
    "pp_lcnet_v3": ("PPLCNetV3", {**_LCNET, "conv_symmetric_num": 1}),
    "sapiens2": (
        "Sapiens2",
        {**_VISION, "num_key_value_heads": 2, "num_register_tokens": 2},
    ),
    "tipsv2_vision_model": ("Tipsv2Vision", {**_VISION, "num_register_tokens": 1}),
    "tipsv2": (
        "Tipsv2",
        {"text_config": _TEXT, "vision_config": {**_VISION, "num_register_tokens": 1}},
    ),
    "vitdet": ("VitDet", {**_VISION, "pretrain_image_size": SIZE}),
    "dinov3_convnext": ("DINOv3ConvNext", {**_STAGES, "image_size": 64}),
    "bit": (
        "Bit",
        {**_STAGES, "hidden_sizes": [8, 16, 16, 24], "embedding_size": 8, "num_groups": 2},
    ),
    "cvt": (
        "Cvt",
        {
            "embed_dim": [8, 8, 16],
            "depth": [1, 2, 3],
            "num_heads": [1, 1, 2],
            "mlp_ratio": [2.0, 2.0, 2.0],
        },
    ),
    "donut-swin": (
        "DonutSwin",
        {
            "image_size": 64,
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [2, 2, 2, 2],
            "window_size": 2,
        },
    ),
    "efficientnet": ("EfficientNet", {**_EFFICIENTNET, "hidden_dim": 1280}),
    "glpn": ("GLPN", _PYRAMID),
    "levit": (
        "Levit",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "num_attention_heads": [2, 2, 2],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
            "mlp_ratio": [2, 2, 2],
            "attention_ratio": [2, 2, 2],
            "initializer_range": 0.2,
        },
    ),
    "mobilenet_v1": (
        "MobileNetV1",
        {"image_size": 64, "depth_multiplier": 0.25, "initializer_range": 0.1},
    ),
    "mobilenet_v2": (
        "MobileNetV2",
        {"image_size": 64, "depth_multiplier": 0.25, "initializer_range": 0.06},
    ),
    "mobilevit": (
        "MobileViT",
        {
            "image_size": 64,
            "hidden_sizes": [16, 16, 16],
            "neck_hidden_sizes": [8, 8, 8, 16, 16, 16, 24],
            "num_attention_heads": 2,
            "initializer_range": 0.2,
        },
    ),
    "mobilevitv2": (
        "MobileViTV2",
        {"image_size": 64, "width_multiplier": 0.25, "initializer_range": 0.1},
    ),
    "segformer": ("Segformer", _PYRAMID),
    "swiftformer": (
        "SwiftFormer",
        {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [8, 8, 16, 16]},
    ),
    "textnet": ("TextNet", {"image_size": [64, 64]}),
    "hiera": (
        "Hiera",
        {
            "image_size": [64, 64],
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 2, 2, 4],
            "query_stride": [2, 2],
            "masked_unit_size": [8, 8],
        },
    ),
    "sam_vision_model": ("SamVision", _SAM),
    "sam": ("Sam", {"vision_config": _SAM, **_SAM_DECODER}),
    "sam_hq_vision_model": ("SamHQVision", _SAM),
    "sam_hq": ("SamHQ", {"vision_config": _SAM, **_SAM_DECODER}),
    "sam2_vision_model": ("Sam2Vision", _SAM2),
    "sam2": (
        "Sam2",
        {
            "vision_config": _SAM2,
            "prompt_encoder_config": {
                "hidden_size": 8,
                "image_size": 64,
                "mask_input_channels": 4,
            },
            "mask_decoder_config": {
                "hidden_size": 8,
                "mlp_dim": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "iou_head_hidden_dim": 8,
            },
        },
    ),
    "sam3_vision_model": ("Sam3Vision", _SAM3),
    "siglip2_vision_model": ("Siglip2Vision", {**_VISION, "num_patches": 16}),
    "siglip2": (
        "Siglip2",
        {"text_config": _TEXT, "vision_config": {**_VISION, "num_patches": 16}},
    ),
    "align": (
        "Align",
        {
            "text_config": _TEXT,
            "vision_config": _EFFICIENTNET,
            "projection_dim": 16,
        },
    ),
    "align_vision_model": ("AlignVision", _EFFICIENTNET),
    "altclip_vision_model": ("AltCLIPVision", _VISION),
    "metaclip_2_vision_model": ("MetaClip2Vision", _VISION),
    "blip_vision_model": ("BlipVision", {**_VISION, "initializer_range": 0.02}),
    "clipseg_vision_model": ("CLIPSegVision", _VISION),
    "flava_image_model": ("FlavaImage", _VISION),
    "owlvit_vision_model": ("OwlViTVision", _VISION),
    "owlv2_vision_model": ("Owlv2Vision", _VISION),
    "clipseg": (
        "CLIPSeg",
        {"text_config": _TEXT, "vision_config": _VISION, "projection_dim": 8},
    ),
    "flava": (
        "Flava",
        {
            "image_config": _VISION,
            "text_config": _TEXT,
            "multimodal_config": _BLOCKS,
            "hidden_size": 16,
            "projection_dim": 8,
        },
    ),
    "owlvit": (
        "OwlViT",
        {"text_config": _TEXT, "vision_config": _VISION, "projection_dim": 8},
    ),
    "owlv2": (
        "Owlv2",
        {"text_config": _TEXT, "vision_config": _VISION, "projection_dim": 8},
    ),
}
_PRISM: Mapping[str, Any] = {
    "image_size": SIZE,
    "num_frames": 4,
    "tubelet_size": [1, 8, 8],
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_spatial_layers": 3,
    "num_temporal_layers": 2,
    "num_auxiliary_layers": 1,
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
    "videoprism_vision_model": ("VideoPrismVision", _PRISM),
    "videoprism": ("VideoPrism", {"vision_config": _PRISM, "text_config": _TEXT}),
    "xclip_vision_model": ("XCLIPVision", _XCLIP),
    "xclip": (
        "XCLIP",
        {
            "text_config": _TEXT,
            "vision_config": _XCLIP,
            "projection_dim": 16,
        },
    ),
}
_MEL: Mapping[str, Any] = {**_BLOCKS, "num_hidden_layers": 4}
_DAC: Mapping[str, Any] = {
    "encoder_hidden_size": 4,
    "decoder_hidden_size": 32,
    "downsampling_ratios": [2, 4, 5, 8],
    "n_codebooks": 2,
    "codebook_size": 16,
    "codebook_dim": 8,
}
_PE: Mapping[str, Any] = {
    **_BLOCKS,
    "num_hidden_layers": 4,
    "head_dim": 8,
    "dac_config": {**_DAC, "model_type": "dac", "downsampling_ratios": [2, 8, 10, 12]},
}
_WAVTOKENIZER_ENCODER: Mapping[str, Any] = {
    "num_filters": 4,
    "hidden_size": 16,
    "codebook_size": 16,
    "codebook_dim": 16,
    "num_lstm_layers": 1,
}
_WAVTOKENIZER: Mapping[str, Any] = {
    **_WAVTOKENIZER_ENCODER,
    "decoder_hidden_size": 32,
    "decoder_intermediate_size": 16,
    "decoder_num_layers": 1,
    "decoder_attention_num_groups": 4,
}
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
    "wavtokenizer": ("WavTokenizer", _WAVTOKENIZER),
    "wavtokenizer_encoder": ("WavTokenizerEncoder", _WAVTOKENIZER_ENCODER),
    "dac": ("Dac", _DAC),
    "mimi": (
        "Mimi",
        {
            "num_filters": 4,
            "hidden_size": 16,
            "vector_quantization_hidden_dimension": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 16,
            "head_dim": 8,
            "codebook_size": 16,
            "codebook_dim": 8,
            "num_quantizers": 2,
            "num_semantic_quantizers": 1,
            "upsampling_ratios": [8, 6, 5, 4],
            "upsample_groups": 16,
        },
    ),
    "pe_audio_encoder": ("PeAudioEncoder", _PE),
    "pe_audio": (
        "PeAudio",
        {
            "audio_config": _PE,
            "text_config": {
                **_BLOCKS,
                "model_type": "modernbert",
                "vocab_size": 16,
                "pad_token_id": 0,
                "bos_token_id": 1,
                "eos_token_id": 2,
                "cls_token_id": 1,
                "sep_token_id": 2,
            },
        },
    ),
    "moonshine": (
        "Moonshine",
        {
            "hidden_size": 16,
            "intermediate_size": 24,
            "encoder_num_hidden_layers": 4,
            "decoder_num_hidden_layers": 1,
            "encoder_num_attention_heads": 2,
            "decoder_num_attention_heads": 2,
            "vocab_size": 8,
        },
    ),
    "parakeet_encoder": (
        "ParakeetEncoder",
        {**_MEL, "num_mel_bins": 16, "subsampling_conv_channels": 8, "conv_kernel_size": 1},
    ),
    "lasr_encoder": (
        "LasrEncoder",
        {
            **_MEL,
            "num_mel_bins": 16,
            "subsampling_conv_channels": 8,
            "conv_kernel_size": 5,
            "num_key_value_heads": 2,
        },
    ),
    "speech_to_text": (
        "Speech2Text",
        {
            "d_model": 16,
            "encoder_layers": 4,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "decoder_ffn_dim": 16,
            "vocab_size": 8,
            "input_feat_per_channel": 16,
            "conv_channels": 16,
            "max_source_positions": 200,
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
        "wavtokenizer": lambda: library.WavTokenizerFeatureExtractor(),
        "mimi": lambda: library.EncodecFeatureExtractor(sampling_rate=24_000),
        "dac": lambda: library.DacFeatureExtractor(sampling_rate=16_000, hop_length=320),
        "pe_audio": lambda: library.PeAudioFeatureExtractor(),
        "moonshine": lambda: library.Wav2Vec2FeatureExtractor(do_normalize=False),
        "parakeet_encoder": lambda: library.ParakeetFeatureExtractor(feature_size=16),
        "lasr_encoder": lambda: library.LasrFeatureExtractor(feature_size=16),
        "speech_to_text": lambda: library.Speech2TextFeatureExtractor(
            feature_size=16, num_mel_bins=16
        ),
    }
    makers["clap_audio_model"] = makers["clap"]
    makers["pe_audio_encoder"] = makers["pe_audio"]
    makers["wavtokenizer_encoder"] = makers["wavtokenizer"]
    if kind in makers:
        return makers[kind]()
    return library.Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=True)


def _processor(kind: str, library: Any, size: int) -> Any:
    square = {"height": size, "width": size}
    if kind.startswith("siglip2"):
        return library.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    if kind == "pixtral":
        return library.PixtralImageProcessor(size={"longest_edge": size}, patch_size=8)
    if kind.startswith("xclip"):
        return library.CLIPImageProcessor(size=square, crop_size=square)
    if kind in CLIPS:
        names = {
            "videomae": "VideoMAE",
            "vjepa2": "VJEPA2",
            "timesformer": "Timesformer",
            "videoprism": "LlavaOnevision",
            "videoprism_vision_model": "LlavaOnevision",
        }
        options: dict[str, Any] = {"size": square, "crop_size": square}
        return getattr(library, f"{names.get(kind, 'Vivit')}VideoProcessor")(**options)
    makers = {"clip": "CLIP", "siglip": "Siglip", "clip_vision_model": "CLIP"}
    maker = getattr(library, f"{makers.get(kind, 'ViT')}ImageProcessor")
    return maker(size=square, crop_size=square)


# Families without a size of the input in their configuration.
_OF_64 = ("resnet", "regnet", "poolformer", "bit", "cvt", "hgnet_v2", "pp_lcnet", "pp_lcnet_v3")


def _side(kind: str, options: Mapping[str, Any]) -> int:
    """Side of the input in pixels."""
    if kind in _OF_64:
        return 64
    config = options.get("vision_config", options)
    side: Any = config.get("image_size") or config.get("crop_size") or SIZE
    return int(side if isinstance(side, int) else side[0])


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
        if kind in CLASSES:
            model = getattr(transformers, CLASSES[kind])(config)
        else:
            model = transformers.AutoModel.from_config(config)
        # Initial weights of 0.02 leave the features of two inputs almost alike.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(40 if kind in BACKBONES else 4)
    model.save_pretrained(target)
    size = _side(kind, options)
    processor = _extractor(kind, transformers) if kind in SOUNDS else None
    (processor or _processor(kind, transformers, size)).save_pretrained(target)
    return target
