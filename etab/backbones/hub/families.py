"""The families of transformers that etab reads, by ``model_type`` of their configuration.

This file is a table: it imports no library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """How one family is read.

    Attributes:
        modality: "image", "clip" or "sound".
        title: Name of the family.
        tower: Attribute of the part that is used, also of a part ("video_model.vision_model"); "" for
            the whole model.
        form: How the model is read, where its modality alone does not say it. Pictures: "hwc" for
            states (n, h, w, c), "patches" for pictures given as lists of patches, "packed" for
            states (1, n * tokens, c) of all pictures in a row. Clips: "frames"
            for states of single frames, "factored" for layers over space, then over time. Sounds: a
            key of ``FORMS`` or ``WAVES`` of ``etab.backbones.hub.sounds``.
        order: Order of the tokens of clips: "thw" with time outermost, "hwt" with time innermost.
        model: The class of the library that is loaded.
    """

    modality: str
    title: str
    tower: str = ""
    form: str = ""
    order: str = "thw"
    model: str = "AutoModel"


_PICTURES: Mapping[str, str] = {
    "vit": "ViT",
    "deit": "DeiT",
    "vit_mae": "MAE",
    "vit_msn": "MSN",
    "ijepa": "I-JEPA",
    "dinov2": "DINOv2",
    "dinov2_with_registers": "DINOv2 with registers",
    "dinov3_vit": "DINOv3",
    "beit": "BEiT",
    "data2vec-vision": "data2vec (pictures)",
    "clip_vision_model": "CLIP, vision tower",
    "siglip_vision_model": "SigLIP, vision tower",
    "swin": "Swin",
    "swinv2": "Swin V2",
    "convnext": "ConvNeXt",
    "convnextv2": "ConvNeXt V2",
    "resnet": "ResNet",
    "regnet": "RegNet",
    "focalnet": "FocalNet",
    "poolformer": "PoolFormer",
    "pvt_v2": "PVT v2",
    "pvt": "PVT",
    "aimv2_vision_model": "AIMv2",
    "chinese_clip_vision_model": "Chinese CLIP, vision tower alone",
    "mlcd_vision_model": "MLCD",
    "mlcd": "MLCD",
    "pixio": "Pixio",
    "sapiens2": "Sapiens 2",
    "tipsv2_vision_model": "TIPS v2, vision tower alone",
    "vitdet": "ViTDet",
    "dinov3_convnext": "DINOv3 ConvNeXt",
    "bit": "BiT",
    "cvt": "CvT",
    "donut-swin": "Donut, Swin encoder",
    "efficientnet": "EfficientNet",
    "glpn": "GLPN, encoder",
    "levit": "LeViT",
    "mobilenet_v1": "MobileNet V1",
    "mobilenet_v2": "MobileNet V2",
    "mobilevit": "MobileViT",
    "mobilevitv2": "MobileViT V2",
    "segformer": "SegFormer, encoder",
    "swiftformer": "SwiftFormer",
    "textnet": "TextNet",
    "dpt": "DPT, encoder",
}
# Title and class of networks that the library's AutoModel does not build.
_PICTURE_CLASSES: Mapping[str, tuple[str, str]] = {
    "hgnet_v2": ("HGNet V2", "HGNetV2Backbone"),
    "pp_lcnet": ("PP-LCNet", "PPLCNetBackbone"),
    "pp_lcnet_v3": ("PP-LCNet V3", "PPLCNetV3Backbone"),
    "altclip_vision_model": ("AltCLIP, vision tower alone", "AltCLIPVisionModel"),
    "metaclip_2_vision_model": ("MetaCLIP 2, vision tower alone", "MetaClip2VisionModel"),
    "blip_vision_model": ("BLIP, vision tower alone", "BlipVisionModel"),
    "align_vision_model": ("ALIGN, vision tower alone", "AlignVisionModel"),
    "clipseg_vision_model": ("CLIPSeg, vision tower alone", "CLIPSegVisionModel"),
    "flava_image_model": ("FLAVA, image tower alone", "FlavaImageModel"),
    "owlvit_vision_model": ("OWL-ViT, vision tower alone", "OwlViTVisionModel"),
    "owlv2_vision_model": ("OWLv2, vision tower alone", "Owlv2VisionModel"),
}
# Title, part that is used, and form of its states.
_PICTURE_PARTS: Mapping[str, tuple[str, str, str]] = {
    "clip": ("CLIP, vision tower", "vision_model", ""),
    "siglip": ("SigLIP, vision tower", "vision_model", ""),
    "siglip2": ("SigLIP 2 of any ratio, vision tower", "vision_model", "patches"),
    "siglip2_vision_model": ("SigLIP 2 of any ratio, vision tower alone", "", "patches"),
    "chinese_clip": ("Chinese CLIP, vision tower", "vision_model", ""),
    "altclip": ("AltCLIP, vision tower", "vision_model", ""),
    "metaclip_2": ("MetaCLIP 2, vision tower", "vision_model", ""),
    "blip": ("BLIP, vision tower", "vision_model", ""),
    "aimv2": ("AIMv2, vision tower", "vision_model", ""),
    "align": ("ALIGN, vision tower", "vision_model", ""),
    "clipseg": ("CLIPSeg, vision tower", "vision_model", ""),
    "flava": ("FLAVA, image tower", "image_model", ""),
    "owlvit": ("OWL-ViT, vision tower", "vision_model", ""),
    "owlv2": ("OWLv2, vision tower", "vision_model", ""),
    "tipsv2": ("TIPS v2, vision tower", "vision_model", ""),
    "pixtral": ("Pixtral, vision encoder", "", "packed"),
    "hiera": ("Hiera", "", "hwc"),
    "sam": ("SAM, vision encoder", "vision_encoder", "hwc"),
    "sam_vision_model": ("SAM, vision encoder alone", "", "hwc"),
    "sam_hq": ("SAM-HQ, vision encoder", "vision_encoder", "hwc"),
    "sam_hq_vision_model": ("SAM-HQ, vision encoder alone", "", "hwc"),
    "sam2": ("SAM 2, vision encoder", "vision_encoder", "hwc"),
    "sam2_vision_model": ("SAM 2, vision encoder alone", "", "hwc"),
    "sam3": ("SAM 3, vision encoder", "vision_encoder", "hwc"),
    "sam3_vision_model": ("SAM 3, vision encoder alone", "", "hwc"),
}
_CLIPS: Mapping[str, Family] = {
    "videomae": Family("clip", "VideoMAE"),
    "vjepa2": Family("clip", "V-JEPA 2"),
    "timesformer": Family("clip", "TimeSformer", order="hwt"),
    "vivit": Family("clip", "ViViT"),
    "videoprism": Family(
        "clip",
        "VideoPrism, video tower",
        tower="video_model.vision_model",
        form="factored",
    ),
    "videoprism_vision_model": Family("clip", "VideoPrism", form="factored"),
    "xclip": Family("clip", "X-CLIP, vision tower", tower="vision_model", form="frames"),
    "xclip_vision_model": Family(
        "clip", "X-CLIP, vision tower alone", form="frames", model="XCLIPVisionModel"
    ),
}
_WAVES: Mapping[str, str] = {
    "wav2vec2": "wav2vec 2.0",
    "wav2vec2-conformer": "wav2vec 2.0 Conformer",
    "hubert": "HuBERT",
    "wavlm": "WavLM",
    "sew": "SEW",
    "sew-d": "SEW-D",
    "data2vec-audio": "data2vec (sound)",
    "unispeech": "UniSpeech",
    "unispeech-sat": "UniSpeech-SAT",
}
_SOUNDS: Mapping[str, Family] = {
    "audio-spectrogram-transformer": Family("sound", "AST", form="ast"),
    "wav2vec2-bert": Family("sound", "w2v-BERT", form="w2v_bert"),
    "whisper": Family(
        "sound",
        "Whisper, encoder",
        tower="get_encoder",
        form="whisper",
    ),
    "clap": Family(
        "sound",
        "CLAP, audio tower",
        tower="audio_model",
        form="clap",
    ),
    "clap_audio_model": Family(
        "sound",
        "CLAP, audio tower alone",
        form="clap",
        model="ClapAudioModel",
    ),
    "encodec": Family("sound", "EnCodec, encoder", form="encodec"),
    "wavtokenizer": Family("sound", "WavTokenizer, encoder", tower="encoder_model", form="encodec"),
    "wavtokenizer_encoder": Family("sound", "WavTokenizer, encoder alone", form="encodec"),
    "dac": Family("sound", "DAC, encoder", tower="encoder", form="dac"),
    "mimi": Family("sound", "Mimi, encoder", tower="encoder", form="mimi"),
    "pe_audio": Family(
        "sound",
        "Perception Encoder, audio tower",
        tower="audio_encoder",
        form="pe_audio",
    ),
    "pe_audio_encoder": Family("sound", "Perception Encoder, audio tower alone", form="pe_audio"),
    "moonshine": Family("sound", "Moonshine, encoder", form="moonshine"),
    "parakeet_encoder": Family("sound", "Parakeet, encoder", form="parakeet"),
    "lasr_encoder": Family("sound", "LASR, encoder", form="lasr"),
    "speech_to_text": Family(
        "sound",
        "Speech2Text, encoder",
        tower="get_encoder",
        form="speech_to_text",
    ),
}


def _table() -> dict[str, Family]:
    families: dict[str, Family] = {}
    for kind, title in _PICTURES.items():
        families[kind] = Family("image", title)
    for kind, (title, tower, form) in _PICTURE_PARTS.items():
        families[kind] = Family("image", title, tower=tower, form=form)
    for kind, (title, model) in _PICTURE_CLASSES.items():
        families[kind] = Family("image", title, model=model)
    for kind, title in _WAVES.items():
        families[kind] = Family("sound", title, form="waves")
    return {**families, **_CLIPS, **_SOUNDS}


FAMILIES: Mapping[str, Family] = _table()
"""The families, by ``model_type``."""

CODEC_LAYERS: Mapping[str, tuple[str, ...]] = {
    "encodec": ("stage3", "stage4", "last"),
    "dac": ("stage3", "stage4", "last"),
    "mimi": ("stage4", "transformer", "last"),
}
"""Layers of the encoders of codecs, by ``Family.form``."""
