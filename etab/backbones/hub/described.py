"""What the configuration and the processor of a model of transformers say of it.

Code that a repository brings is never executed: every call passes ``trust_remote_code=False``.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etab.backbones.hub.families import FAMILIES, REFUSED, Family
from etab.errors import UnsupportedOptionError, WeightsError
from etab.files import read_json_file


@dataclass(frozen=True, slots=True)
class Described:
    """What configuration and processor say of a model.

    Attributes:
        model: Name on the hub, or a folder.
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
        model: Name on the hub, or a folder.

    Returns:
        The description.

    Raises:
        UnsupportedOptionError: The family is not read.
        WeightsError: The library is not installed, or the files cannot be fetched or read.
    """
    kind = _model_type(model)
    if kind not in FAMILIES:
        reason = REFUSED.get(kind, f"the family {kind!r} is not among those that etab reads")
        raise UnsupportedOptionError(
            f"transformers/{model}: {reason}. Known families: {', '.join(sorted(FAMILIES))}. "
            "Any other model can be wrapped in a function: etab.backbone(function, input=...)."
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
            f"transformers cannot be imported ({_first_line(error)}). Install the version that "
            'matches your torch: pip install "etab-bench[transformers]".'
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def fetched(model: str, maker: Any, **options: Any) -> Any:
    """Call ``from_pretrained`` without ever executing code of the repository.

    Args:
        model: Name on the hub, or a folder.
        maker: A class of transformers.
        options: Further options of ``from_pretrained``.

    Returns:
        What ``from_pretrained`` gives.

    Raises:
        WeightsError: The files cannot be fetched or read.
    """
    try:
        return maker.from_pretrained(model, trust_remote_code=False, **options)
    except Exception as error:  # it raises anything for a hostile configuration
        raise WeightsError(
            f"transformers/{model} could not be fetched or read: {_first_line(error)}. With "
            "network access it is fetched once and kept. Without it, name a folder "
            "(transformers/<folder>) or use a named backbone (`etab list backbones`)."
        ) from error


def _model_type(model: str) -> str:
    """Read the ``model_type`` of a configuration, without building it."""
    folder = Path(model)
    if folder.is_dir():
        values = _json(folder / "config.json")
    else:
        library = transformers_library()
        values = fetched(model, _ConfigFile(library))
    kind = str(values.get("model_type", ""))
    if kind not in FAMILIES and "auto_map" in values:
        raise UnsupportedOptionError(
            f"transformers/{model} needs code of its own repository (auto_map in config.json), "
            "which is never executed. Wrap the model in a function of yours instead: "
            "etab.backbone(function, input=...)."
        )
    return kind


class _ConfigFile:
    """Fetches a configuration as a dict, in the form of an auto class of transformers."""

    def __init__(self, transformers: Any) -> None:
        self._transformers = transformers

    def from_pretrained(self, model: str, trust_remote_code: bool) -> dict[str, Any]:
        """Fetch the configuration; nothing is built, so that no code can run."""
        base = self._transformers.PretrainedConfig
        config: dict[str, Any] = base.get_config_dict(model)[0]
        return config


def _json(file: Path) -> dict[str, Any]:
    """Read a JSON file of a model folder."""
    try:
        values = read_json_file(file)
    except FileNotFoundError as error:
        raise WeightsError(
            f"{file.parent} has no {file.name}: it is no folder of a transformers model. "
            "Save the model and its processor there (save_pretrained)."
        ) from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read as JSON: {_first_line(error)}.") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{file} holds {type(values).__name__}; wanted an object.")
    return values


def _processor(model: str, family: Family) -> Any:
    """Fetch the image processor, video processor or feature extractor of a model."""
    library = transformers_library()
    folder = Path(model)
    files = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
    if folder.is_dir() and not any((folder / file).is_file() for file in files):
        raise WeightsError(
            f"{model} has no preprocessor_config.json, so its input is not known. Save the "
            "processor of the model there (processor.save_pretrained)."
        )
    if family.modality == "sound":
        return fetched(model, library.AutoFeatureExtractor)
    if family.modality == "clip":
        with_video = folder / files[2]
        if not folder.is_dir() or with_video.is_file():
            return fetched(model, library.AutoVideoProcessor)
    return fetched(model, library.AutoImageProcessor)
