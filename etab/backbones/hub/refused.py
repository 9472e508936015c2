"""Why a model of transformers is not read: what it does instead, and which part could be read."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from etab.backbones.hub.families import FAMILIES

_JOINED = (
    "it is a codec that joins the layers of two networks: a network of speech, which can be read, "
    "and one of its own. Load the model, write its part {part} with save_pretrained(folder), and "
    "the feature extractor of that network too"
)
REFUSED: Mapping[str, str] = {
    "bridgetower": "it reads a picture and text together, in the same layers",
    "embedding_gemma2": "it compares texts, pictures and sounds, in the layers of a language model",
    "glm_image": "it makes pictures from text",
    "layoutxlm": "it answers questions on pages of text",
    "lw_detr_vit": "it is a part of LW-DETR, which finds objects in a picture",
    "nemotron3_diarization": "it finds out who speaks when",
    "neucodec": _JOINED.format(part="semantic_encoder"),
    "xcodec": _JOINED.format(part="semantic_model"),
    "xcodec2": _JOINED.format(part="semantic_encoder"),
    "nougat": "it writes down pages of text",
    "pp_lcnet_v4": (
        "it reads lines of text: its layers shrink the height of a picture more than its width"
    ),
    "rt_detr_resnet": "it is a part of RT-DETR: name the ResNet that it was made from",
    "sam3_lite_text": "it draws masks of what text names",
    "uvdoc": "it makes photographed pages flat",
    "uvdoc_backbone": "it makes photographed pages flat",
    "chmv2": "it estimates the height of trees from satellites",
    "clvp": "it ranks generated speech by text",
    "colpali": "it compares pages of text with questions",
    "colqwen2": "it compares pages of text with questions",
    "dinat": "its attention needs the library natten, which etab does not use",
    "edgetam_video": "it follows masks through a video",
    "edgetam_vision_model": (
        "its layers are a network of timm, repvit_m1: name that one, timm/repvit_m1.dist_in1k"
    ),
    "edgetam": (
        "its layers are a network of timm, repvit_m1: name that one, timm/repvit_m1.dist_in1k"
    ),
    "groupvit": "its deep layers hold tokens of groups, which have no places in the picture",
    "imagegpt": "it reads pictures of 32 x 32 px as 512 numbered colours",
    "maskformer-swin": "it is a part of MaskFormer: name the Swin model that it was made from",
    "mgp-str": "it reads the letters of a word",
    "musicgen": "it makes music from text",
    "musicgen_melody": "it makes music from text",
    "pe_audio_video": (
        "it reads a sound and its video together: save its audio part alone (a PeAudioEncoder)"
    ),
    "pe_video": (
        "each of its frames is the list of class scores of another network: name that one, "
        "timm/vit_pe_core_large_patch14_336"
    ),
    "perceiver": "its layers hold latent tokens, which have no places in the picture",
    "pi0": "it moves a robot",
    "pop2piano": "it makes music from a sound",
    "rf_detr_dinov2": "it is a part of RF-DETR: name the DINOv2 model that it was made from",
    "seggpt": "it draws the mask of a picture after the example of another one",
    "superglue": "it matches points of two pictures",
    "swin2sr": "it makes a picture of more pixels",
    "timm_backbone": "it is a network of timm: name it timm/<model>, or hf-hub:<owner>/<model>",
    "timm_wrapper": "it is a network of timm: name it hf-hub:<owner>/<model>",
    "tvp": "it finds the part of a video that text describes",
    "univnet": "it makes waveforms from spectrograms",
    "vilt": "it reads a picture and text together, in the same layers",
    "vitmatte": "it cuts the foreground out of a picture",
    "vitpose_backbone": "it reads pictures of 256 x 192 px around a person, which are not square",
}
"""Reasons by ``model_type``, where the library's own tables do not say what the model does."""

# What the models of a table of the library do. The first table that holds a model decides.
_DOES: Mapping[str, str] = {
    "OBJECT_DETECTION": "it finds objects in a picture",
    "ZERO_SHOT_OBJECT_DETECTION": "it finds the objects in a picture that text names",
    "DEPTH_ESTIMATION": "it estimates the depth of a scene",
    "UNIVERSAL_SEGMENTATION": "it draws masks",
    "SEMANTIC_SEGMENTATION": "it draws masks",
    "INSTANCE_SEGMENTATION": "it draws masks",
    "MASK_GENERATION": "it draws masks that a user points at",
    "POSE_ESTIMATION": "it finds the joints of people",
    "KEYPOINT_DETECTION": "it finds points of a picture",
    "KEYPOINT_MATCHING": "it matches points of two pictures",
    "IMAGE_TO_IMAGE": "it makes other pictures",
    "TEXT_RECOGNITION": "it reads the letters of a line",
    "TABLE_RECOGNITION": "it reads tables of a page",
    "DOCUMENT_QUESTION_ANSWERING": "it answers questions on pages of text",
    "TEXT_TO_WAVEFORM": "it makes sound from text",
    "TEXT_TO_SPECTROGRAM": "it makes sound from text",
    "IMAGE_TEXT_TO_TEXT": "it writes text about pictures",
    "VISUAL_QUESTION_ANSWERING": "it answers questions on pictures",
    "MULTIMODAL_LM": "it writes text about pictures or sound",
    "CTC": "it writes speech down",
    "RNNT": "it writes speech down",
    "TDT": "it writes speech down",
    "SPEECH_SEQ_2_SEQ": "it writes speech down",
    "TIME_SERIES_PREDICTION": "it continues series of numbers",
    "CAUSAL_LM": "it writes text",
    "SEQ_TO_SEQ_CAUSAL_LM": "it writes text",
    "MASKED_LM": "it reads text",
    "TEXT_ENCODING": "it reads text",
    "SEQUENCE_CLASSIFICATION": "it reads text",
}
# What the rest of the models is called by, in these words of their names.
_WORDS: Mapping[str, str] = {
    "codec": "it is a codec whose encoder has no form in common with others",
    "tokenizer": "it is a codec whose encoder has no form in common with others",
    "asr": "it writes speech down",
    "speech": "it reads or makes speech",
    "video": "it reads videos together with text",
    "vision": "it is a part of a model that writes text about pictures",
    "audio": "it is a part of a model that writes text about sound",
    "encoder": "it is a part of another model",
}


def reason_of_family(kind: str, values: Mapping[str, Any]) -> str:
    """Say why a family is not read, and which part of the model could be.

    Args:
        kind: ``model_type`` of the configuration.
        values: The configuration.

    Example:
        >>> reason_of_family("timm_wrapper", {})
        'it is a network of timm: name it hf-hub:<owner>/<model>'
    """
    reason = REFUSED.get(kind) or _from_tables(kind)
    if "save_pretrained" in reason:  # it names the part already
        return reason
    return reason + _part_that_is_read(values)


def _from_tables(kind: str) -> str:
    """The purpose of a model by the tables of ``transformers``; its family if no table lists it."""
    try:
        library = import_module("transformers.models.auto.modeling_auto")
    except (ImportError, RuntimeError, OSError):
        library = None
    for table, does in _DOES.items():
        if kind in getattr(library, f"MODEL_FOR_{table}_MAPPING_NAMES", ()):
            return f"a model of the family {kind!r} is not an encoder: {does}"
    for word, does in _WORDS.items():
        if word in kind:
            return f"a model of the family {kind!r} is not an encoder: {does}"
    return f"the family {kind!r} is not among those that etab reads"


def _part_that_is_read(values: Mapping[str, Any]) -> str:
    """Name the part of a model whose family is read, as the vision tower of a language model."""
    for name, part in values.items():
        kind = str(part.get("model_type", "")) if isinstance(part, Mapping) else ""
        if kind in FAMILIES:
            return (
                f". Its part {name.removesuffix('_config')} is a {kind}, which can be read: load "
                "the model, write that part with save_pretrained(folder), and its processor too"
            )
    return ""
