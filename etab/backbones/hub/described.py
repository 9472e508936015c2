"""What the configuration and the processor of a model of transformers say of it.

Code that a repository brings is never executed: every call passes ``trust_remote_code=False``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from etab.backbones.hub.access import ASK, asks_for_access, hub_or_cache
from etab.backbones.hub.families import FAMILIES, Family
from etab.backbones.hub.refused import reason_of_family
from etab.errors import UnsupportedOptionError, WeightsError, reason_of
from etab.files import is_file, is_folder, read_json_file
from etab.registry import nearest


@dataclass(frozen=True, slots=True)
class Described:
    """What configuration and processor say of a model.

    Attributes:
        model: Name on the hub, with "@<revision>" or without, or a folder.
        kind: ``model_type`` of the configuration.
        family: How the family is read.
        config: The configuration.
        processor: The image processor, video processor or feature extractor.
    """

    model: str
    kind: str
    family: Family
    config: Any
    processor: Any


def describe(model: str) -> Described:
    """Read the configuration and the processor of a model.

    Args:
        model: Name on the hub, with "@<revision>" or without, or a folder.

    Returns:
        The description.

    Raises:
        UnsupportedOptionError: The family is not read.
        WeightsError: The library is not installed, or the files cannot be fetched or read.
    """
    values = _configuration(model)
    kind = str(values.get("model_type", ""))[:80]
    if kind not in FAMILIES:
        reason = reason_of_family(kind, values) if kind else "its config.json names no model_type"
        similar = nearest(kind, FAMILIES)
        hint = f" Similar families that it reads: {', '.join(similar)}." if similar else ""
        raise UnsupportedOptionError(
            f"transformers/{model}: {reason}.{hint} docs/reference/transformers.md lists the "
            f"{len(FAMILIES)} families that etab reads. Any other model can be wrapped in a "
            "function: etab.backbone(function, input=...)."
        )
    library = transformers_library()
    family = FAMILIES[kind]
    config = fetched(model, library.AutoConfig)
    return Described(model, kind, family, config, _processor(model, family))


def transformers_library() -> Any:
    """Import transformers.

    Raises:
        WeightsError: It is not installed, or does not fit the installed torch.
    """
    try:
        return importlib.import_module("transformers")
    except (ImportError, RuntimeError, OSError) as error:
        raise WeightsError(
            f"transformers cannot be imported ({reason_of(error)}). Install the version that "
            'matches your torch: pip install "etab-bench[transformers]".'
        ) from error


def fetched(model: str, maker: Any, **options: Any) -> Any:
    """Call ``from_pretrained`` without ever executing code of the repository.

    Args:
        model: Name on the hub, with "@<revision>" or without, or a folder.
        maker: A class of transformers.
        options: Further options of ``from_pretrained``.

    Returns:
        What ``from_pretrained`` gives.

    Raises:
        WeightsError: The files cannot be fetched or read.
    """
    place, revision = _revision(model)
    if revision:
        options["revision"] = revision
    try:
        with _without_bar() if is_folder(Path(place)) else hub_or_cache():
            return maker.from_pretrained(place, trust_remote_code=False, **options)
    except Exception as error:  # it raises anything for a hostile configuration
        reason = reason_of(error)
        raise WeightsError(
            f"transformers/{model} could not be fetched or read: {reason}. "
            f"{_next_step(error, is_here=is_folder(Path(place)))}"
        ) from error


@contextmanager
def _without_bar() -> Iterator[None]:
    """Hide the progress bar of transformers, which would be drawn across that of a run."""
    from transformers.utils import logging

    was_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            logging.enable_progress_bar()


def _revision(model: str) -> tuple[str, str]:
    """Split "<owner>/<model>@<revision>"; a folder has no revision."""
    if is_folder(Path(model)):
        return model, ""
    place, _, revision = model.partition("@")
    return place, revision


def _next_step(error: Exception, *, is_here: bool) -> str:
    """What to do about a model that cannot be fetched or read."""
    words = str(error).lower()
    if isinstance(error, SafetensorError):
        return (
            "The weights file is cut short, or is something else, such as a Git LFS pointer: fetch "
            "it again."
        )
    if asks_for_access(error):
        return ASK
    if "file named model.safetensors" in words:
        return (
            "Weights are read as safetensors only, never as a pickle (pytorch_model.bin), which "
            "could run code: load the model where you trust it, write it with "
            "save_pretrained(folder), and name transformers/<folder>."
        )
    if "ignore_mismatched_sizes" in words:
        return (
            "Weights and config.json are of networks of different sizes: take both from the same "
            "model."
        )
    if "does not appear to have a file named" in words or "no such file" in words:
        return "The model is incomplete without this file: fetch or save it again."
    if is_here:
        return "Save the model and its processor again, each with save_pretrained(folder)."
    return (
        "With network access it is fetched once and kept. Without it, name a folder "
        "(transformers/<folder>) or use a named backbone (`etab list backbones`)."
    )


def _configuration(model: str) -> dict[str, Any]:
    """Read a configuration, without building it."""
    folder = Path(model)
    if is_folder(folder):
        values = _json(folder / "config.json")
    else:
        _refuse_no_folder(model)
        library = transformers_library()
        values = fetched(model, _ConfigFile(library))
    if str(values.get("model_type", "")) not in FAMILIES and "auto_map" in values:
        raise UnsupportedOptionError(
            f"transformers/{model} needs code of its own repository (auto_map in config.json), "
            "which is never executed. Wrap the model in a function of yours instead: "
            "etab.backbone(function, input=...)."
        )
    _refuse_quantised(model, values)
    return values


def _refuse_no_folder(model: str) -> None:
    """Refuse a path that is neither a folder nor the name of a model of the hub."""
    if is_file(Path(model)):
        raise WeightsError(
            f"transformers/{model}: {model} is a file; wanted the folder of a model, with its "
            "configuration, its processor and its weights (save_pretrained)."
        )
    # A model of the hub is called <owner>/<model>.
    if model.startswith((".", "~", "/")) or model.count("/") > 1:
        raise WeightsError(
            f"transformers/{model}: there is no folder {model}. Name a folder that is there, "
            "relative or absolute, or a model of the hub as <owner>/<model>."
        )


def _refuse_quantised(model: str, values: dict[str, Any]) -> None:
    """Refuse weights that are stored as whole numbers of a few bits."""
    settings = values.get("quantization_config")
    if not settings:
        return
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    raise UnsupportedOptionError(
        f"transformers/{model}: its weights are quantised (quantization_config in config.json"
        f"{f', {method}' if method else ''}), which is not read. Name the model that it was made of, "
        "or save it in floating point: model.dequantize(), then model.save_pretrained(folder)."
    )


class _ConfigFile:
    """Fetches a configuration as a dict, in the form of an auto class of transformers."""

    def __init__(self, transformers: Any) -> None:
        self._transformers = transformers

    def from_pretrained(
        self, model: str, trust_remote_code: bool, revision: str | None = None
    ) -> dict[str, Any]:
        """Fetch the configuration; nothing is built, so that no code can run."""
        base = self._transformers.PretrainedConfig
        config: dict[str, Any] = base.get_config_dict(model, revision=revision)[0]
        return config


def _json(file: Path) -> dict[str, Any]:
    """Read a JSON file of a model folder."""
    try:
        values = read_json_file(file)
    except FileNotFoundError as error:
        raise WeightsError(
            f"{file.parent} has no {file.name}: it is not a folder of a transformers model. "
            "Save the model and its processor there (save_pretrained)."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{file} cannot be read as JSON: {reason_of(error)}.") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{file} holds {type(values).__name__}; wanted an object.")
    return values


def _processor(model: str, family: Family) -> Any:
    """Fetch the image processor, video processor or feature extractor of a model."""
    library = transformers_library()
    folder = Path(model)
    files = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
    if is_folder(folder) and not any((folder / file).is_file() for file in files):
        raise WeightsError(
            f"{model} has no preprocessor_config.json, so its input is not known. Save the "
            "processor of the model there (processor.save_pretrained)."
        )
    if family.modality == "sound":
        extractor = fetched(model, library.AutoFeatureExtractor)
        if hasattr(extractor, "image_mean"):  # the library makes a default one around any settings
            raise WeightsError(
                f"transformers/{model}: its processor is of pictures, and {family.title} reads "
                "sounds. Save the processor of this model there (processor.save_pretrained)."
            )
        return extractor
    if family.modality == "clip" and family.form != "frames":
        with_video = folder / files[2]
        if not is_folder(folder) or with_video.is_file():
            return fetched(model, library.AutoVideoProcessor)
    return fetched(model, library.AutoImageProcessor)
