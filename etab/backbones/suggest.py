"""Suggestions for names that are not those of a backbone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from etab.errors import UnknownNameError
from etab.files import is_file
from etab.registry import nearest

_WEIGHTS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".tar", ".h5")
_OTHER_FORMS = {"onnx:": (".onnx",), "vectors:": (".npz", ".parquet")}
# Similarity from which a registered name is suggested before a model of a library.
_SPELLING = 0.85


def unknown_backbone(
    name: str,
    known: Iterable[str],
    forms: Iterable[str],
) -> UnknownNameError:
    """Build the error for a name that is not a backbone.

    The commonest slip is a missing prefix: "resnet18" for "timm/resnet18", or a file of weights
    without "local:".

    Args:
        name: The name that was looked up.
        known: Names of registered backbones.
        forms: Forms of the other names, such as "timm/<model>".

    Returns:
        The error. It suggests at most five names.

    Example:
        >>> print(unknown_backbone("resnet18", ["birdnet"], ["timm/<model>"]))
        No backbone is called 'resnet18'. Did you mean 'timm/resnet18' or 'torchvision/resnet18'? \
`etab list backbones` lists the named ones. Other forms: timm/<model>.
    """
    base = name.removeprefix("random/")
    twin = name[: len(name) - len(base)]
    suggested = nearest(base, known, _SPELLING)[:1]
    suggested += _of_libraries(base)
    suggested += _of_files(base)
    if not suggested:
        suggested = nearest(base, known)[:1]
    hint = ""
    if suggested:
        names = " or ".join(repr(f"{twin}{suggestion}") for suggestion in suggested[:3])
        hint = f" Did you mean {names}?"
    return UnknownNameError(
        f"No backbone is called {name!r}.{hint} `etab list backbones` lists the named ones. "
        f"Other forms: {', '.join(forms)}."
    )


def _of_libraries(base: str) -> list[str]:
    """The name with the prefix of each library that has a model of this name."""
    if not base or "/" in base:
        return []
    import timm
    from torchvision import models

    suggested = []
    if timm.is_model(base.split(".")[0]):
        suggested.append(f"timm/{base}")
    if base in models.list_models(module=models):
        suggested.append(f"torchvision/{base}")
    return suggested


def _of_files(base: str) -> list[str]:
    """The form of a local file or folder."""
    path, _, network = base.partition("@")
    for form, suffixes in _OTHER_FORMS.items():
        if Path(path).suffix.lower() in suffixes:
            return [f"{form}{path}"]
    if Path(path).suffix.lower() in _WEIGHTS:
        return [f"local:{path}@{network or 'timm/<model>'}"]
    if is_file(Path(path) / "config.json"):
        return [f"transformers/{path}"]
    return []
