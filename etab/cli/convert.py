"""The command ``etab convert``: weights as trainers write them to safetensors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etab.errors import UnsupportedOptionError
from etab.registry import unknown
from etab.storage.atomic import write_atomically

if TYPE_CHECKING:
    from etab.backbones.weights.fit import Fitted

_IMAGE_NETWORKS = ("timm/", "torchvision/")


def convert(
    source: Annotated[
        Path, typer.Argument(help="The published file (.pt, .pth, .ckpt, .bin, .safetensors).")
    ],
    target: Annotated[Path, typer.Argument(help="The new file, such as weights.safetensors.")],
    network: Annotated[
        str,
        typer.Option(help="timm/resnet18, torchvision/vit_b_16, echoprime, panecho, echofm, ..."),
    ] = "",
    take: Annotated[
        str,
        typer.Option(
            help="Which network to take from a file that holds several; the error lists their "
            "names."
        ),
    ] = "",
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Read a pickle, which runs the code in it. Do so only if you trust its author.",
        ),
    ] = False,
) -> None:
    """Write weights as safetensors, checked against the network they are for."""
    fitted = to_safetensors(source, target, network=network, take=take, trust=trust)
    end = f"; use it as local:{target}@{network}" if network else ""
    sys.stdout.write(f"{fitted.report()}\n{target}: {len(fitted.state)} tensors{end}\n")


def to_safetensors(
    source: Path, target: Path, *, network: str = "", take: str = "", trust: bool = False
) -> Fitted:
    """Write the tensors of a checkpoint as safetensors.

    Args:
        source: The checkpoint.
        target: A new file whose name ends with .safetensors.
        network: The network that the file is of, as backbones name it; its keys are written, heads
            that it does not use are dropped. "" writes the keys of the file, without the prefix
            that all of them have.
        take: Of several parts of the file that fit the network, the label of the one to take.
        trust: Whether a pickle that runs code may be read.

    Returns:
        What was written, and what was dropped.

    Raises: UnknownNameError: There is no such network. UnsupportedOptionError: ``target`` exists or
        is not a .safetensors file; ``take`` without ``network``. WeightsError: The file cannot be
        read or does not fit the network; the keys are listed. StorageError: ``target`` cannot be
        written.
    """
    from etab.backbones.image import echonet
    from etab.backbones.image import open as image_open
    from etab.backbones.video import named as video
    from etab.backbones.weights.fit import unpack
    from etab.backbones.weights.index import read_file

    _refuse_options(target, network, take)
    content = read_file(source, trust=trust)
    what = f"{source} as {network}"
    if network in video.clip_names():
        fitted = video.clip_weights(network, content, what, take)
    elif network == echonet.ECHONET_SEG:
        fitted = echonet.segmentation_weights(content, what, take)
    elif network:
        fitted = image_open.image_weights(network, content, what, take)
    else:
        fitted = unpack(content, str(source))
    _write(fitted, target)
    return fitted


def _refuse_options(target: Path, network: str, take: str) -> None:
    from etab.backbones.image.echonet import ECHONET_SEG
    from etab.backbones.video import named as video

    names = [*video.clip_names(), ECHONET_SEG]
    if network and network not in names and not network.startswith(_IMAGE_NETWORKS):
        known = [*names, "timm/<model>", "torchvision/<model>"]
        raise unknown("network", network, known)
    if take and not network:
        raise UnsupportedOptionError("--take chooses among networks that fit; name --network too.")
    if target.suffix != ".safetensors" or target.exists():
        raise UnsupportedOptionError(
            f"{target} is not a new file whose name ends with .safetensors."
        )


def _write(fitted: Fitted, target: Path) -> None:
    import torch
    from safetensors.torch import save

    tensors = {}
    for key, value in fitted.state.items():
        tensors[key] = torch.as_tensor(value).detach().clone().contiguous()
    write_atomically(target, save(tensors))
