"""The command ``etab convert``: published weights to safetensors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from etab.backbones.video import named as video
from etab.backbones.weights.index import load_state
from etab.errors import StorageError, UnsupportedOptionError
from etab.registry import unknown


def convert(
    source: Annotated[
        Path, typer.Argument(help="The file as published (.pt, .pth, .bin, .safetensors).")
    ],
    target: Annotated[Path, typer.Argument(help="A new file, weights.safetensors.")],
    network: Annotated[
        str, typer.Option(help="echoprime, panecho, echoclip, echofm, torchvision/r2plus1d_18, ...")
    ] = "",
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Run the code that a pickle holds; only if you trust it."),
    ] = False,
) -> None:
    """Write weights as safetensors, checked against the network they are for."""

    count = to_safetensors(source, target, network=network, trust=trust)
    end = f"; use it as local:{target}@{network}" if network else ""
    sys.stdout.write(f"{target}: {count} tensors{end}\n")


def to_safetensors(source: Path, target: Path, *, network: str = "", trust: bool = False) -> int:
    """Write the tensors of a published file as safetensors and say how many; ``target`` must be new.

    With the name of a backbone of clips, what belongs to it is kept under its own names, and anything that does not fit
    is refused with the keys. ``trust`` reads a pickle that runs code. Raises WeightsError, StorageError.
    """
    import torch
    from safetensors.torch import save_file

    if network and network not in video.names():
        raise unknown("network", network, video.names())
    if target.suffix != ".safetensors" or target.exists():
        raise UnsupportedOptionError(
            f"{target} is not a new file whose name ends with .safetensors."
        )
    state = load_state(source, trust=trust)
    if network:
        state = video.own_state(network, state)
        video.refuse_others(network, state, f"{source} as {network}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(
            {k: torch.as_tensor(v).detach().clone().contiguous() for k, v in state.items()}, target
        )
    except OSError as error:
        raise StorageError(
            f"{target} could not be written: {error.strerror}. Name a place with room."
        ) from error
    return len(state)
