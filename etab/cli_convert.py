"""The command ``etab convert``: published weights to safetensors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


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
    from etab.backbones.convert import to_safetensors

    count = to_safetensors(source, target, network=network, trust=trust)
    end = f"; use it as local:{target}@{network}" if network else ""
    sys.stdout.write(f"{target}: {count} tensors{end}\n")
