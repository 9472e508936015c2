"""Checkpoints of training: where it stands, and its tensors, as ``state.json`` and the safetensors
file that it names.

An interruption between the two writes leaves the earlier checkpoint whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etab.errors import CorruptFileError, StorageError, WeightsError

if TYPE_CHECKING:
    import torch
    from torch import nn

SCHEMA = 1


@dataclass(slots=True)
class Progress:
    """Where training stands; all of it but ``best_loss`` of an untried network is finite."""

    step: int = 0
    epoch: int = 0
    rows: int = 0
    batch: int = 0
    running: float = 0.0
    best_loss: float = float("inf")
    best_epoch: int = -1
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


def fit_state(network: nn.Module, state: Mapping[str, torch.Tensor], place: str) -> None:
    """Load a whole state or nothing. Raises WeightsError with every key that is missing, unknown or
    of another shape.
    """
    own = network.state_dict()
    faults = [f"missing: {k}" for k in own if k not in state] + [
        f"unknown: {k}" for k in state if k not in own
    ]
    faults += [
        f"{k}: {tuple(state[k].shape)} there, {tuple(own[k].shape)} here"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if faults:
        raise WeightsError(
            f"The weights in {place} are of another architecture ({len(faults)} of {len(own)} keys differ); "
            "none was loaded. Name the backbone and head they were trained with.\n  "
            + "\n  ".join(faults)
        )
    network.load_state_dict(dict(state))


def part(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Tensors of one part of a checkpoint ("network", "optimizer", ...), by their names in it."""
    return {k.partition("/")[2]: v for k, v in tensors.items() if k.partition("/")[0] == name}


def flatten(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """State of an optimizer as flat tensors: ``<parameter number>.<name>``."""
    return {
        f"{i}.{k}": v
        for i, state in optimizer.state_dict()["state"].items()
        for k, v in state.items()
    }


def restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what ``flatten`` gave."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        i, _, name = key.partition(".")
        state.setdefault(int(i), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def write_checkpoint(
    folder: Path, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Write tensors, then the state that names them; an earlier checkpoint stays whole until then."""
    from safetensors.torch import save

    # two names may hold one tensor, which the format refuses: each is written for itself
    blob = save({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()})
    digest = hashlib.sha256(blob).hexdigest()
    whole = {"schema": SCHEMA, "tensors": f"{digest[:24]}.safetensors", "sha256": digest, **state}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in (
            (whole["tensors"], blob),
            ("state.json", json.dumps(whole, indent=1).encode()),
        ):
            temp = folder / f"{name}.{os.getpid()}.part"
            temp.write_bytes(data)
            temp.replace(folder / name)
        for path in folder.glob("*.safetensors"):
            if path.name != whole["tensors"]:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"The checkpoint could not be written to {folder}: {error.strerror}. Free some space or name another folder."
        ) from error


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """State and tensors of a checkpoint, verified. Raises CorruptFileError."""
    from safetensors.torch import load

    try:
        state = json.loads((folder / "state.json").read_text())
        blob = (folder / str(state["tensors"])).read_bytes()
        if state["schema"] != SCHEMA or hashlib.sha256(blob).hexdigest() != state["sha256"]:
            raise ValueError(
                "the tensors differ from the checksum in state.json, or the schema is another"
            )
        Progress(**state["progress"])
        return state, load(blob)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(
            f"The checkpoint in {folder} cannot be read ({error}). Remove the folder to train from the start."
        ) from error
