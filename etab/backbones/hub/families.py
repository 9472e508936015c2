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
        tower: Attribute of the part that is used; "" for the whole model.
        form: How sounds are read: a key of ``etab.backbones.hub.sounds.FORMS``; "" otherwise.
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
}
_PICTURE_TOWERS: Mapping[str, str] = {
    "clip": "CLIP",
    "siglip": "SigLIP",
    "chinese_clip": "Chinese CLIP",
    "altclip": "AltCLIP",
    "metaclip_2": "MetaCLIP 2",
    "blip": "BLIP",
}
_CLIPS: Mapping[str, tuple[str, str]] = {
    "videomae": ("VideoMAE", "thw"),
    "vjepa2": ("V-JEPA 2", "thw"),
    "timesformer": ("TimeSformer", "hwt"),
    "vivit": ("ViViT", "thw"),
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
        tower="encoder",
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
}


def _table() -> dict[str, Family]:
    families: dict[str, Family] = {}
    for kind, title in _PICTURES.items():
        families[kind] = Family("image", title)
    for kind, title in _PICTURE_TOWERS.items():
        families[kind] = Family("image", f"{title}, vision tower", tower="vision_model")
    for kind, (title, order) in _CLIPS.items():
        families[kind] = Family("clip", title, order=order)
    for kind, title in _WAVES.items():
        families[kind] = Family("sound", title, form="waves")
    return {**families, **_SOUNDS}


FAMILIES: Mapping[str, Family] = _table()
"""The families, by ``model_type``."""

REFUSED: Mapping[str, str] = {
    "siglip2": (
        "its pictures are lists of patches of any number, without a fixed input size; the SigLIP 2 "
        "checkpoints of a fixed size have the model_type siglip and can be read"
    ),
    "timm_wrapper": "it is a network of timm: name it hf-hub:<owner>/<model>",
    "videoprism": "its video towers have no common form yet",
}
"""Why some families are not read, by ``model_type``."""
