"""Tensors of a network that a file of weights holds under other names, or lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from etab.backbones.hub.described import Described, transformers_library
from etab.errors import WeightsError
from etab.storage.text import counted

_NAMED = 3
# Tensors that may be absent from a checkpoint: their output is not used.
_UNUSED = (
    "pooler",
    "mask_token",
    "masked_spec_embed",
    "lm_head",
    "classifier",
    "num_batches_tracked",
)


def absent_tensors(info: Mapping[str, Any], tower: str) -> list[str]:
    """Name the tensors that were not in the file, without those whose output is never used.

    Args:
        info: What ``from_pretrained`` says about loading.
        tower: Name of the part that is used; "" for the whole network.

    Example:
        >>> absent_tensors({"missing_keys": {"pooler.bias", "a.bias", "b.bias"}}, "a")
        ['a.bias']
    """
    names = sorted(info["missing_keys"])
    # A classifier may hold one tower of two; the other one is not used.
    of_tower = [name for name in names if not tower or name.startswith(f"{tower}.")]
    return [name for name in of_tower if not any(part in name for part in _UNUSED)]


def part_that_holds(absent: Sequence[str], surplus: Sequence[str]) -> str:
    """Find the part of a larger network that holds the absent tensors.

    Args:
        absent: Names of the tensors that were not found.
        surplus: Names in the file that the network does not have.

    Returns:
        The part; "" where no part holds all of them.

    Example:
        >>> part_that_holds(["a.bias", "b.bias"], ["audio_model.a.bias", "audio_model.b.bias"])
        'audio_model'
    """
    there = set(surplus)
    ending = f".{absent[0]}"
    parts = [name.removesuffix(ending) for name in sorted(there) if name.endswith(ending)]
    return next((part for part in parts if there.issuperset(f"{part}.{x}" for x in absent)), "")


def saved_class(described: Described, network: Any) -> Any:
    """The class of the library that wrote the weights, by the configuration.

    Args:
        described: The configuration.
        network: The network that was built for its family.

    Returns:
        The class; None where it is that of the network, or none of the library.
    """
    names = getattr(described.config, "architectures", None)
    name = str(names[0]) if isinstance(names, list) and names else ""
    library = transformers_library()
    found = getattr(library, name, None)
    if not isinstance(found, type) or not issubclass(found, library.PreTrainedModel):
        return None
    return None if found is type(network) else found


def absent_error(described: Described, network: Any, absent: Sequence[str]) -> WeightsError:
    """The error about tensors that were not in the file.

    Args:
        described: The configuration.
        network: The network that was built for its family.
        absent: Names of its tensors.
    """
    saved = saved_class(described, network)
    own = type(network).__name__
    step = "The file is incomplete: fetch it again, or save the whole model."
    if saved is not None:
        step = (
            f"The file was written by {saved.__name__}. If that class has no such tensors, name the "
            f"{own} that it was made from, or wrap it in a function: etab.backbone(function, "
            "input=...). Otherwise the file is incomplete: fetch it again."
        )
    shown = ", ".join(absent[:_NAMED]) + (", ..." if len(absent) > _NAMED else "")
    return WeightsError(
        f"transformers/{described.model}: the file holds no values for {counted(len(absent), 'tensor')} "
        f"of the network ({shown}), which would be random. {step}"
    )
