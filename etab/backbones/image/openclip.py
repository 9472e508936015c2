"""Vision towers of open_clip: ``open_clip/<model>@<weights>`` (extra ``open_clip``)."""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from etab.backbones.base import UNKNOWN_DATA, Backbone, BackboneCard
from etab.backbones.hub.access import hub_or_cache
from etab.backbones.weights.index import sha256_of
from etab.errors import (
    MissingPackageError,
    UnknownNameError,
    UnsupportedOptionError,
    WeightsError,
    reason_of,
)
from etab.registry import unknown

# Mean and standard deviation of the pictures of CLIP, where the weights name no others.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_LAYERS = 3


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
            local file; without "@<weights>" for a random twin.
        seed: Seed of a random twin; None for pretrained weights.

    Returns:
        The card, with the input size and normalisation of the model.

    Raises:
        MissingPackageError: open_clip is not installed.
        UnknownNameError: open_clip has no such model, or no such weights of it.
        UnsupportedOptionError: The weights are not named, or the input is not square.
    """
    library = _library()
    model, _, tag = name.removeprefix("open_clip/").partition("@")
    if model not in library.list_models():
        raise unknown("open_clip model", model, library.list_models())
    tags = library.list_pretrained_tags_by_model(model)
    file = Path(tag) if tag and tag not in tags else None
    if file is not None and not file.is_file():
        raise UnknownNameError(
            f"open_clip has no weights {tag!r} of {model}, and there is no such file. "
            f"Known: {', '.join(tags) or 'none'}."
        )
    if seed is None and not tag:
        raise UnsupportedOptionError(
            f"{name} does not name its weights: write open_clip/{model}@<weights>, with one of "
            f"{', '.join(tags) or 'your files'}."
        )
    return _card(library, name, model, "" if file else tag, file, seed)


def _card(
    library: Any,
    name: str,
    model: str,
    tag: str,
    file: Path | None,
    seed: int | None,
) -> BackboneCard:
    size = library.get_model_config(model)["vision_cfg"].get("image_size", 224)
    if not isinstance(size, int):
        raise UnsupportedOptionError(f"{name} reads pictures of {size}; wanted a square.")
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
        size=size,
        mean=tuple(published.get("mean") or _MEAN),
        std=tuple(published.get("std") or _STD),
        interpolation=f"pillow {published.get('interpolation') or 'bicubic'}",
        layers=("-3", "-2", "-1"),
        strides=(8, 16, 32),
        pretraining="" if seed is not None else f"open_clip {tag or 'local file'}",
        pretraining_sets=() if seed is not None else UNKNOWN_DATA,
        licence="see the model's page",
        source="open_clip",
        sha256=sha256_of(file) if file and seed is None else "",
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
    pretrained = weights if seed is None else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        try:
            with nullcontext() if pretrained is None or Path(weights).is_file() else hub_or_cache():
                whole = library.create_model(
                    model,
                    pretrained=pretrained,
                    precision="fp32",
                    **({"force_quick_gelu": True} if quick else {}),
                )
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(
                f"The weights of {card.name} could not be fetched or read: {reason_of(error)}. With "
                f"network access they are fetched once and kept; a local file is open_clip/{model}@<file>."
            ) from error
    return _wrap(card, whole.visual)


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
        "output_extra_tokens": True,
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
