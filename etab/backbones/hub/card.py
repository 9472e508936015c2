"""Cards of models of transformers: the facts come from the configuration and the processor."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from etab.backbones.base import NOT_STATED, UNKNOWN_DATA, Backbone, BackboneCard
from etab.backbones.hub.absent import absent_error, absent_tensors, part_that_holds, saved_class
from etab.backbones.hub.described import Described, describe, fetched, transformers_library
from etab.backbones.hub.families import CODEC_LAYERS
from etab.backbones.hub.normalisation import normalisation
from etab.backbones.sizes import SIZES
from etab.backbones.video.contract import ClipContract
from etab.backbones.weights import index as weights
from etab.errors import UnsupportedOptionError, WeightsError
from etab.files import is_folder

# Names of Pillow's filters by the number that processors store.
_FILTERS = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
    5: "hamming",
}
# Entries of a configuration or a processor that decide no feature.
_NO_FACTS = frozenset({"transformers_version", "_name_or_path", "name_or_path", "_commit_hash"})
# Version of how hidden states are read. 2: the deepest layer of Swin, Swin V2, FocalNet, AST and CLAP
# is the output of the model, after its last normalisation, as that of every other family.
_READING = 2
# 3: the steps of EnCodec lie at the centre of what they read; frames of EfficientNet are normalised as
# its processor does, which divides twice, and those of ALIGN too, whose processor subtracts 1. Constants
# of Swin V2 and Speech2Text are in float32, also where the weights are stored in half precision.
_READING_OF: Mapping[str, int] = dict.fromkeys(
    ("encodec", "efficientnet", "align", "swinv2", "speech_to_text"), 3
)
# About how many native frames a clip spans where its name gives no period.
_SPAN = 32
# Digits of the shortest name of a commit; a number of fewer digits is a rate or a period.
_SHORTEST_COMMIT = 7


def transformers_card(name: str, seed: int | None = None) -> BackboneCard:
    """Make the card of a model of transformers, without reading weights.

    Args:
        name: "transformers/<owner>/<model>" or "transformers/<folder>". "@<revision>" after a
            model of the hub is a branch, a tag or a commit. "@<number>" at the end is the rate in
            Hz of a model of sound, or the period of a model of clips.
        seed: Seed of a random twin; None for pretrained weights.

    Returns:
        The card, with the size, normalisation, interpolation or rate of the model's processor.

    Raises:
        UnsupportedOptionError: The family is not read, the text after @ is not a number, or the
            input of the model is not square.
        WeightsError: The library is not installed, the model cannot be fetched, or the folder
            lacks a configuration or a processor.
    """
    model, number = _model_and_number(name)
    described = describe(model)
    draft = BackboneCard(
        name=name,
        title=model,
        family="transformer",
        pretraining=_pretraining(model, seed),
        pretraining_sets=() if seed is not None else UNKNOWN_DATA,
        licence="see the model's page",
        source="transformers",
        sha256="" if seed is not None else _sha256(model),
        version=_version(described),
    )
    makers = {
        "image": _picture_facts,
        "clip": _clip_facts,
        "sound": _sound_facts,
    }
    facts = makers[described.family.modality](described, number)
    card = replace(draft, **facts)
    return replace(card, load=partial(load, model, seed, card))


def _pretraining(model: str, seed: int | None) -> str:
    """Pretraining of the card: a model of the hub is what its page says, a folder can be anything."""
    if seed is not None:
        return ""
    return NOT_STATED if is_folder(Path(model)) else "as transformers gives it"


def _model_and_number(name: str) -> tuple[str, int | None]:
    """Split a name from the rate or the period that it ends with; a revision stays."""
    model = name.removeprefix("transformers/")
    if is_folder(Path(model)):
        return model, None
    stem, _, last = model.rpartition("@")
    number = None
    if stem and last.isdigit() and len(last) < _SHORTEST_COMMIT:
        model = stem
        number = int(last)
    place, _, revision = model.partition("@")
    if "@" in model and (is_folder(Path(place)) or not revision):
        raise UnsupportedOptionError(
            f"{name}: the text after @ must be a rate in Hz, as in transformers/laion/clap@48000, "
            "the period of a clip in frames, as in transformers/MCG-NJU/videomae-base@2, or the "
            "revision of a model of the hub, as in transformers/facebook/dinov2-small@main."
        )
    return model, number


def _version(described: Described) -> int:
    """Digest the configuration and the processor, which decide features beside the weights."""
    facts: list[Any] = [_plain(described.config), _plain(described.processor)]
    facts.append(_READING_OF.get(described.kind, _READING))
    text = json.dumps(facts, sort_keys=True, default=str)
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)


def _plain(item: Any) -> dict[str, Any]:
    """The facts of a configuration or a processor, without where it is and who wrote it."""
    to_dict = getattr(item, "to_dict", None)
    facts: dict[str, Any] = to_dict() if to_dict is not None else {}
    return {name: value for name, value in facts.items() if name not in _NO_FACTS}


def _sha256(model: str) -> str:
    file = Path(model) / "model.safetensors"
    return weights.sha256_of(file) if file.is_file() else ""


def _side(described: Described) -> int:
    """The side of the square input, from the crop, the size or the patches of the processor."""
    processor = described.processor
    if described.family.form == "patches":
        # A square picture of the most patches that the processor makes.
        return int(processor.patch_size) * math.isqrt(int(processor.max_num_patches))
    size = getattr(processor, "size", None)
    if getattr(processor, "do_center_crop", False):
        size = getattr(processor, "crop_size", None) or size
    height = _entry(size, "height") or _entry(size, "shortest_edge")
    height = height or _entry(size, "longest_edge") or size
    width = _entry(size, "width") or height
    if not isinstance(height, int) or height != width:
        raise UnsupportedOptionError(
            f"transformers/{described.model}: its processor makes pictures of {_said(size)}; "
            "wanted a square. Wrap the model in a function: etab.backbone(function, input=...)."
        )
    return _possible(described, height)


def _possible(described: Described, side: int) -> int:
    """The side of the input, if it is one that pictures can have."""
    if not 1 <= side <= SIZES[1]:
        raise UnsupportedOptionError(
            f"transformers/{described.model}: its input has {side} px a side; wanted 1 to "
            f"{SIZES[1]}."
        )
    return side


def _said(size: Any) -> str:
    """A size as a message names it: the entries that it has, or the value itself."""
    names = ("height", "width", "shortest_edge", "longest_edge")
    entries = [f"{name} {_entry(size, name)}" for name in names if _entry(size, name) is not None]
    return ", ".join(entries) or repr(size)


def _entry(size: Any, name: str) -> Any:
    """One entry of a size, which versions of transformers hold as a dict or as attributes."""
    if isinstance(size, Mapping):
        return size.get(name)
    return getattr(size, name, None)


def _filter_name(described: Described) -> str:
    """Name of the filter that the processor resizes with; bilinear where it names none."""
    number = getattr(described.processor, "resample", None)
    if number is None or not getattr(described.processor, "do_resize", True):
        return "bilinear"
    if number not in _FILTERS:
        raise UnsupportedOptionError(
            f"transformers/{described.model}: its processor resizes by the filter {number!r}; wanted "
            f"one of {', '.join(f'{i} ({name})' for i, name in _FILTERS.items())}."
        )
    return _FILTERS[number]


def _picture_facts(described: Described, number: int | None) -> dict[str, Any]:
    if number is not None:
        raise UnsupportedOptionError(
            f"transformers/{described.model} reads single frames: @{number} has no meaning."
        )
    size = _side(described)
    mean, std = normalisation(described, size)
    return {
        "size": size,
        "mean": mean,
        "std": std,
        "interpolation": f"pillow {_filter_name(described)}",
        "layers": ("-3", "-2", "-1"),
        "strides": (8, 16, 32),
    }


def _clip_facts(described: Described, number: int | None) -> dict[str, Any]:
    config = getattr(described.config, "vision_config", described.config)
    frames = _count(described, config, "num_frames", "frames_per_clip")
    side = _possible(described, _count(described, config, "image_size", "crop_size"))
    mean, std = normalisation(described, side)
    period = number or max(1, _SPAN // frames)
    fitting = f"pillow {_filter_name(described)}"
    contract = ClipContract(
        frames,
        period=period,
        size=side,
        fitting=fitting,
        mean=mean,
        std=std,
    )
    return {
        "family": "video",
        "size": side,
        "mean": mean,
        "std": std,
        "interpolation": fitting,
        "layers": ("quarter", "half", "three_quarters", "last"),
        "dim": int(config.hidden_size),
        "clip": contract,
    }


def _count(described: Described, settings: Any, *names: str) -> int:
    """A whole number of a configuration or a processor, by the first of its names that is there."""
    found = [(name, getattr(settings, name, None)) for name in names]
    found = [(name, value) for name, value in found if value is not None]
    name, value = found[0] if found else (names[0], None)
    if not isinstance(value, int) or value < 1:
        raise UnsupportedOptionError(
            f"transformers/{described.model}: its {name} is {value!r}; wanted a whole number, 1 or "
            "more."
        )
    return value


def _sound_facts(described: Described, number: int | None) -> dict[str, Any]:
    rate = _count(described, described.processor, "sampling_rate")
    if number is not None and number != rate:
        raise UnsupportedOptionError(
            f"{described.model} reads {rate} Hz, not {number} Hz: "
            f"write transformers/{described.model}@{rate}."
        )
    layers: tuple[str, ...] = ("quarter", "half", "three_quarters", "last")
    timed: tuple[str, ...] = ("quarter", "half", "last")
    if described.family.form in CODEC_LAYERS:
        layers = CODEC_LAYERS[described.family.form]
        timed = layers
    if described.family.form == "clap":
        timed = ()
    return {
        "modality": "sound",
        "size": 0,
        "mean": (),
        "std": (),
        "interpolation": "",
        "layers": layers,
        "rate": rate,
        "seconds": 5.0,
        "timed": timed,
    }


def load(model: str, seed: int | None, card: BackboneCard) -> Backbone:
    """Build a model: pretrained, or (seed given) randomly initialised.

    Args:
        model: Name on the hub, or a folder.
        seed: Seed of a random twin; None for pretrained weights.
        card: The card.

    Returns:
        The backbone.

    Raises:
        WeightsError: The weights cannot be fetched, are incomplete, or the tower is absent.
        UnsupportedOptionError: The output of the model has an unknown form.
    """
    described = describe(model)
    network = _tower(described, _network(described, seed))
    if card.clip is not None:
        from etab.backbones.hub.clips import clip_backbone

        return clip_backbone(card, network, described)
    if card.modality == "image":
        from etab.backbones.hub.pictures import picture_backbone

        return picture_backbone(card, network, described)
    from etab.backbones.hub.sounds import sound_backbone

    return sound_backbone(card, network, described)


def _network(described: Described, seed: int | None) -> Any:
    """Build the network in float32, and check that every weight was in the file."""
    import torch

    maker = getattr(transformers_library(), described.family.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        if seed is not None:
            return _random(maker, described.config).float()
        network, info = _fetched_weights(described, maker)
    tower = described.family.tower.replace("get_encoder", "encoder")
    absent = absent_tensors(info, tower)
    larger = saved_class(described, network) if absent else None
    part = part_that_holds(absent, list(info["unexpected_keys"])) if absent else ""
    if larger is not None and part:  # such as ClapAudioModelWithProjection, around a ClapAudioModel
        outer, info = _fetched_weights(described, larger)
        inner = dict(outer.named_modules()).get(part)
        if type(inner) is type(network):
            network = inner
            absent = [name.removeprefix(f"{part}.") for name in absent_tensors(info, part)]
    if absent:
        raise absent_error(described, network, absent)
    return network.float()


def _fetched_weights(described: Described, maker: Any) -> tuple[Any, Mapping[str, Any]]:
    """Build a network of the weights of a file, and say which tensors were absent or surplus."""
    network, info = fetched(
        described.model,
        maker,
        use_safetensors=True,
        output_loading_info=True,
        **_in_float32(),
    )
    return network, info


def _random(maker: Any, config: Any) -> Any:
    """Build a network of random weights by an auto class, or by a class of its own."""
    if hasattr(maker, "from_config"):
        return maker.from_config(config, trust_remote_code=False, **_in_float32())
    return maker(config)


def _in_float32() -> dict[str, Any]:
    """Options that build a network in float32, also where its weights are stored in half precision.

    Version 5 of transformers otherwise computes constants, such as the relative places of Swin V2,
    in the precision of the file. Earlier versions build in float32 unless told.
    """
    import torch

    major = int(transformers_library().__version__.partition(".")[0])
    return {"dtype": torch.float32} if major >= 5 else {}


def _tower(described: Described, network: Any) -> Any:
    """Take the part that is wanted out of a model of two towers."""
    name = described.family.tower
    if not name:
        return network
    if name == "get_encoder":
        return network.get_encoder()
    tower = network
    for part in name.split("."):
        tower = getattr(tower, part, None)
        if tower is None:
            raise WeightsError(
                f"transformers/{described.model}: {type(network).__name__} has no part called "
                f"{name}."
            )
    return tower
