"""The command ``etab convert``: published weights to safetensors."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from etab.backbones.image import open as image
from etab.backbones.video import named as video
from etab.backbones.weights.fitting import fit, flat_tensors
from etab.backbones.weights.index import read_checkpoint, state_in
from etab.errors import StorageError, UnsupportedOptionError
from etab.registry import unknown


def convert(
    source: Annotated[
        Path, typer.Argument(help="The file as published (.pt, .pth, .bin, .safetensors).")
    ],
    target: Annotated[Path, typer.Argument(help="A new file, weights.safetensors.")],
    network: Annotated[
        str,
        typer.Option(
            help="The network that the weights are for: timm/resnet18, torchvision/swin_t, "
            "torchvision/r2plus1d_18, echoprime, panecho, echoclip, echofm, ..."
        ),
    ] = "",
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Run the code that a pickle holds; only if you trust it."),
    ] = False,
) -> None:
    """Write weights as safetensors, checked against the network they are for."""

    summary = to_safetensors(source, target, network=network, trust=trust)
    end = f"; use it as local:{target}@{network}" if network else ""
    sys.stdout.write(f"{target}: {summary}{end}\n")


def to_safetensors(source: Path, target: Path, *, network: str = "", trust: bool = False) -> str:
    """Write the tensors of a checkpoint as safetensors.

    Args:
        source: The checkpoint: safetensors, or a pickle as ``torch.save`` writes it.
        target: A new file whose name ends with ``.safetensors``.
        network: The network that the weights are for. Its tensors are kept under its own names; without it the
            tensors of the file's state dict are kept under the names they have.
        trust: Read a pickle that runs code.

    Returns:
        A line that says what was kept, under which prefix it was found, and what was left out.

    Raises:
        UnknownNameError: No network has this name.
        UnsupportedOptionError: ``target`` exists, or its name ends otherwise.
        WeightsError: The file cannot be read, or does not fit the network.
        StorageError: ``target`` cannot be written.
    """
    if target.suffix != ".safetensors" or target.exists():
        raise UnsupportedOptionError(
            f"{target} is not a new file whose name ends with .safetensors."
        )
    if network and network not in video.names() and not network.startswith(image.BUILDERS):
        raise unknown("network", network, [*video.names(), "timm/<model>", "torchvision/<model>"])
    content = read_checkpoint(source, trust=trust)
    tensors, summary = _kept(content, network, source)
    _save(tensors, target)
    return summary


def _kept(content: Any, network: str, source: Path) -> tuple[Mapping[str, Any], str]:
    """Choose the tensors of a checkpoint that are written, and describe the choice."""
    what = f"{source} as {network}"
    if not network:
        state = state_in(content, source)
        return state, f"{len(state)} tensors"
    if network in video.PUBLISHED:
        state = video.own_state(network, state_in(content, source))
        video.refuse_others(network, state, what)
        return state, f"{len(state)} tensors"
    own = video.own_names(network) if network in video.names() else image.own_names(network)
    fitted = fit(flat_tensors(content), own, what)
    return fitted.tensors, fitted.summary()


def _save(tensors: Mapping[str, Any], target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    # Tensors of a checkpoint may share memory, which safetensors does not hold.
    separate = {
        name: torch.as_tensor(tensor).detach().clone().contiguous()
        for name, tensor in tensors.items()
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(separate, target)
    except OSError as error:
        raise StorageError(
            f"{target} could not be written: {error.strerror}. Name a place with room."
        ) from error
