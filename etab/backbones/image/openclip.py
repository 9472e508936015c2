"""Vision towers of open_clip: ``open_clip/<model>@<weights>`` or ``open_clip/<folder>`` (extra
``open_clip``).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from etab.backbones.base import NOT_STATED, UNKNOWN_DATA, Backbone, BackboneCard
from etab.backbones.hub.access import hub_or_cache
from etab.backbones.weights.index import sha256_of
from etab.backbones.weights.recognise import not_weights, require_file
from etab.errors import (
    EtabError,
    MissingPackageError,
    UnknownNameError,
    UnsupportedOptionError,
    WeightsError,
    reason_of,
)
from etab.files import exists, is_file, is_folder, read_json_file
from etab.registry import nearest, unknown

# Mean and standard deviation of the pictures of CLIP, where the weights name no others.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_LAYERS = 3
# How open_clip names models of the hub and of a folder, and the file that describes them there.
_HUB = "hf-hub:"
_FOLDER = "local-dir:"
_CONFIG = "open_clip_config.json"
# How the names of the tensors of the vision half begin.
_TOWER = "visual."
# A text half that needs no model of the hub. It stands in for one that does, and is never used.
_SMALL_TEXT: Mapping[str, int] = {
    "context_length": 4,
    "vocab_size": 8,
    "width": 16,
    "heads": 2,
    "layers": 1,
}


def _library() -> Any:
    try:
        return importlib.import_module("open_clip")
    except ImportError as error:
        raise MissingPackageError(
            'Names open_clip/... need open_clip: pip install "etab-bench[open_clip]".'
        ) from error


def open_clip_card(name: str, seed: int | None = None) -> BackboneCard:
    """Make the card of a vision tower of open_clip, without reading weights.

    Args:
        name: "open_clip/<model>@<weights>", with the weights by their name in open_clip or as a
            local file; without "@<weights>" for a random twin. Or "open_clip/<folder>", with the
            files of a model of the hub: open_clip_config.json and its weights.
        seed: Seed of a random twin; None for pretrained weights.

    Returns:
        The card, with the input size and normalisation of the model.

    Raises:
        MissingPackageError: open_clip is not installed.
        UnknownNameError: open_clip has no such model, or no such weights of it.
        UnsupportedOptionError: The weights are not named, or the input is not square.
        WeightsError: The folder of a model has no configuration that can be read.
        CorruptFileError: The file of weights is a folder, a pipe or a device.
    """
    library = _library()
    base = name.removeprefix("open_clip/")
    if base and is_folder(Path(base)):
        return _card_of_folder(name, Path(base), seed)
    model, _, tag = base.partition("@")
    if model.startswith(_HUB):
        raise UnsupportedOptionError(
            f"{name}: a model of the hub is named by a folder with its files. Fetch them with `hf "
            f"download {model.removeprefix(_HUB)} --local-dir FOLDER`, and name open_clip/FOLDER."
        )
    if model not in library.list_models():
        raise unknown("open_clip model", model, library.list_models())
    tags = library.list_pretrained_tags_by_model(model)
    file = Path(tag) if tag and tag not in tags else None
    if file is not None and not exists(file):
        similar = nearest(tag, tags)
        hint = f" Did you mean {similar[0]!r}?" if similar else ""
        raise UnknownNameError(
            f"open_clip has no weights {tag!r} of {model}, and there is no such file.{hint} "
            f"Known: {', '.join(tags) or 'none'}."
        )
    if file is not None:
        require_file(file, f"There is no weights file {file}.")
    if seed is None and not tag:
        raise UnsupportedOptionError(
            f"{name} does not name its weights: write open_clip/{model}@<weights>, with one of "
            f"{', '.join(tags) or 'your files'}."
        )
    return _card(library, name, model, "" if file else tag, file, seed)


def _card_of_folder(name: str, folder: Path, seed: int | None) -> BackboneCard:
    """Make the card of a folder that holds the files of a model of the hub."""
    try:
        content = read_json_file(folder / _CONFIG)
        settings = content["model_cfg"]["vision_cfg"]
        published = content.get("preprocess_cfg") or {}
        facts = _facts(name, settings, published)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, EtabError):
            raise
        raise WeightsError(
            f"{name}: {folder / _CONFIG} is not a configuration of open_clip: {reason_of(error)}. "
            "Fetch the files of the model again, all into one folder."
        ) from error
    draft = BackboneCard(
        name=name,
        title=f"{folder.resolve().name}, vision tower",
        pretraining="" if seed is not None else NOT_STATED,
        pretraining_sets=() if seed is not None else UNKNOWN_DATA,
        **facts,
    )
    model = f"{_FOLDER}{folder}"
    return replace(draft, load=partial(_load, model, "", seed, draft, quick=False))


def _facts(name: str, settings: Mapping[str, Any], published: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a card by the settings of a tower and of the pictures that its weights read."""
    size = settings.get("image_size", 224)
    if not isinstance(size, int):
        raise UnsupportedOptionError(f"{name} reads pictures of {size}; wanted a square.")
    return {
        "size": size,
        "mean": tuple(published.get("mean") or _MEAN),
        "std": tuple(published.get("std") or _STD),
        "interpolation": f"pillow {published.get('interpolation') or 'bicubic'}",
        "layers": ("-3", "-2", "-1"),
        "strides": (8, 16, 32),
        "licence": "see the model's page",
        "source": "open_clip",
    }


def _card(
    library: Any,
    name: str,
    model: str,
    tag: str,
    file: Path | None,
    seed: int | None,
) -> BackboneCard:
    # A file and a random twin have the input of the weights that are published for the model.
    tags = library.list_pretrained_tags_by_model(model)
    of_input = tag or (tags[0] if tags else "")
    published = (library.get_pretrained_cfg(model, of_input) if of_input else None) or {}
    weights = tag or (str(file) if file else "")
    # Weights of OpenAI and others were trained with an activation that the name of the model may lack.
    quick = bool(tag and published.get("quick_gelu"))
    draft = BackboneCard(
        name=name,
        version=2 if quick else 1,
        title=f"{model}, vision tower",
        pretraining="" if seed is not None else f"open_clip {tag}" if tag else NOT_STATED,
        pretraining_sets=() if seed is not None else UNKNOWN_DATA,
        sha256=sha256_of(file) if file and seed is None else "",
        **_facts(name, library.get_model_config(model)["vision_cfg"], published),
    )
    return replace(draft, load=partial(_load, model, weights, seed, draft, quick=quick))


def _load(
    model: str,
    weights: str,
    seed: int | None,
    card: BackboneCard,
    *,
    quick: bool,
) -> Backbone:
    """Build the model, with the activation QuickGELU where ``quick``, and keep its vision tower."""
    import torch

    library = _library()
    is_fetched = seed is None and not model.startswith(_FOLDER) and not is_file(Path(weights))
    options: dict[str, Any] = {"force_quick_gelu": True} if quick else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        try:
            with hub_or_cache() if is_fetched else nullcontext():
                settings = library.get_model_config(model)
                if settings["text_cfg"].get("hf_model_name"):
                    whole = _without_text(library, settings, quick=quick)
                    if seed is None:
                        _read_tower(library, whole, _weights_file(library, model, weights))
                else:
                    whole = library.create_model(
                        model,
                        pretrained=weights if seed is None and weights else None,
                        precision="fp32",
                        load_weights=seed is None,
                        require_pretrained=seed is None,
                        **options,
                    )
        except Exception as error:  # a hostile file of weights makes the library raise anything
            raise WeightsError(
                f"The weights of {card.name} could not be fetched or read: "
                f"{_reason(error, weights)}. With network access they are fetched once and kept; a "
                "local file is open_clip/<model>@<file>, and a local folder open_clip/<folder>."
            ) from error
    return _wrap(card, whole.visual)


def _without_text(library: Any, settings: Mapping[str, Any], *, quick: bool) -> Any:
    """Build a model whose text half is a model of the hub, without fetching that half."""
    return library.CustomTextCLIP(
        embed_dim=settings["embed_dim"],
        vision_cfg={**settings["vision_cfg"], "timm_model_pretrained": False},
        text_cfg=_SMALL_TEXT,
        quick_gelu=quick or bool(settings.get("quick_gelu")),
        init_logit_bias=settings.get("init_logit_bias"),
    )


def _weights_file(library: Any, model: str, weights: str) -> Path:
    """The file of weights of a model: in its folder, named, or fetched once."""
    if model.startswith(_FOLDER):
        folder = model.removeprefix(_FOLDER)
        found = library.factory._find_checkpoint_in_dir(Path(folder))
        if found is None:
            raise WeightsError(f"{folder} holds no file of weights")
        return Path(found)
    if is_file(Path(weights)):
        return Path(weights)
    return Path(library.download_pretrained(library.get_pretrained_cfg(model, weights)))


def _read_tower(library: Any, whole: Any, file: Path) -> None:
    """Read the vision half of a file of weights; every tensor of that half has to fit."""
    unlike = library.load_checkpoint(whole, str(file), strict=False)
    of_tower = {
        "missing": [key for key in unlike.missing_keys if key.startswith(_TOWER)],
        "surplus": [key for key in unlike.unexpected_keys if key.startswith(_TOWER)],
    }
    told = [
        f"{len(keys)} {which}: {', '.join(keys[:3])}" for which, keys in of_tower.items() if keys
    ]
    if told:
        raise WeightsError(f"the tensors of the vision tower do not fit ({'; '.join(told)})")


def _reason(error: Exception, weights: str) -> str:
    """Why weights are not read, without the advice to trust them that torch gives."""
    other = not_weights(Path(weights)) if weights and is_file(Path(weights)) else ""
    if not other and "weights_only" in str(error):
        return "they are a pickle that would run code, or a damaged one; such files are never run"
    return other.rstrip(".") or reason_of(error)


def _wrap(card: BackboneCard, tower: Any) -> Backbone:
    """Tap a vision tower at a third, two thirds and the end of its depth."""
    import torch

    from etab.backbones.image.networks import TorchBackbone

    if not hasattr(tower, "forward_intermediates"):
        raise UnsupportedOptionError(
            f"{card.name} has no intermediate outputs in this version of open_clip."
        )
    options = {
        "intermediates_only": True,
        "output_fmt": "NCHW",
        "output_extra_tokens": _has_tokens(tower),
    }

    def outputs(x: Any, indices: list[int] | None) -> tuple[list[Any], list[Any]]:
        got = tower.forward_intermediates(x, indices=indices, **options)
        grids = list(got["image_intermediates"])
        prefixes = list(got.get("image_intermediates_prefix") or [None] * len(grids))
        return grids, prefixes

    with torch.inference_mode():
        grids, _ = outputs(torch.zeros(1, 3, card.size, card.size), None)
    depth = len(grids)
    chosen = [round(depth * (i + 1) / _LAYERS) - 1 for i in range(_LAYERS)]
    indices = list(dict.fromkeys(max(0, i) for i in chosen))
    layers = tuple(f"block{i}" for i in indices)

    def taps(x: Any) -> list[tuple[str, Any, Any]]:
        rows = []
        for layer, grid, prefix in zip(layers, *outputs(x, indices), strict=True):
            has_token = prefix is not None and prefix.shape[1] > 0
            rows.append((layer, grid, prefix[:, 0] if has_token else None))
        return rows

    last = grids[indices[-1]]
    complete = replace(
        card,
        layers=layers,
        strides=tuple(round(card.size / grids[i].shape[2]) for i in indices),
        dim=last.shape[1],
    )
    return TorchBackbone(complete, tower.eval(), taps)


def _has_tokens(tower: Any) -> bool:
    """Whether a tower gives tokens beside its maps; convolutional networks of timm refuse to."""
    trunk = getattr(tower, "trunk", None)
    if trunk is None:
        return True
    return "return_prefix_tokens" in inspect.signature(trunk.forward_intermediates).parameters
