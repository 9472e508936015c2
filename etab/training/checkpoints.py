"""Checkpoints of training: ``state.json`` and the safetensors file that it names.

An interruption between the two writes leaves the previous checkpoint intact.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etab.errors import CorruptFileError, StorageError, UnsupportedOptionError, WeightsError
from etab.files import read_file, read_json_file

if TYPE_CHECKING:
    import torch
    from torch import nn

CHECKPOINT_SCHEMA = 1
# Bytes of the tensors of a training: networks here have up to some hundred million weights.
_LARGEST_TENSORS = 16 << 30


@dataclass(slots=True)
class Progress:
    """The progress of a training.

    Attributes:
        step: Steps done.
        epoch: Epochs done.
        rows: Rows seen in the current epoch.
        batch: Rows in memory at once.
        running: Sum of the losses of these rows.
        best_loss: Lowest validation loss; infinite before the first epoch ends.
        best_epoch: The epoch with that loss, from 0; -1 before the first epoch ends.
        finished: Whether training has ended.
        history: Mean loss of the "train" and "validation" rows in each epoch.
    """

    step: int = 0
    epoch: int = 0
    rows: int = 0
    batch: int = 0
    running: float = 0.0
    best_loss: float = float("inf")
    best_epoch: int = -1
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


def fit_state(
    network: nn.Module,
    state: Mapping[str, torch.Tensor],
    origin: str,
) -> None:
    """Load a state dict into a network, all of it or nothing.

    Args:
        network: The network.
        state: The state dict.
        origin: Where the state comes from, for the error message.

    Raises:
        WeightsError: If a key is missing, unknown, or of another shape; all are listed.
    """
    expected = network.state_dict()
    faults = [f"missing: {key}" for key in expected if key not in state]
    faults += [f"unknown: {key}" for key in state if key not in expected]
    for key, tensor in expected.items():
        if key in state and state[key].shape != tensor.shape:
            stored_shape = tuple(state[key].shape)
            faults.append(f"{key}: {stored_shape} there, {tuple(tensor.shape)} here")
    if faults:
        listed = "\n  ".join(faults)
        raise WeightsError(
            f"The weights in {origin} are of another architecture ({len(faults)} of "
            f"{len(expected)} keys differ); none was loaded. Name the backbone and head they were "
            f"trained with.\n  {listed}"
        )
    network.load_state_dict(dict(state))


def refuse_other_training(
    folder: Path,
    stored: Mapping[str, Any],
    current: Mapping[str, Any],
) -> None:
    """Refuse to continue a training from the checkpoint of another one.

    Args:
        folder: The folder of the checkpoint.
        stored: What decided the training of the checkpoint.
        current: What decides the current training.

    Raises:
        UnsupportedOptionError: If they differ; each difference is listed.
    """
    differing = []
    for name in {**current, **stored}:
        stored_value = stored.get(name)
        value = current.get(name)
        if stored_value != value:
            differing.append(f"{name}: {stored_value} there, {value} here")
    if differing:
        raise UnsupportedOptionError(
            f"The checkpoint in {folder} is of another training ({', '.join(differing)}). Name "
            "another folder, or remove it."
        )


def part(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Select the tensors of one part of a checkpoint.

    Args:
        tensors: All tensors, with keys "<part>/<name>".
        name: The part, such as "network" or "optimizer".

    Returns:
        The tensors of the part by their names in it.

    Example:
        >>> part({"network/bias": 1, "optimizer/0.step": 2}, "network")
        {'bias': 1}
    """
    prefix = f"{name}/"
    selected = {}
    for key, tensor in tensors.items():
        if key.startswith(prefix):
            selected[key.removeprefix(prefix)] = tensor
    return selected


def flatten(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Flatten the state of an optimizer.

    Args:
        optimizer: The optimizer.

    Returns:
        Tensors with the keys "<parameter number>.<name>".
    """
    flat = {}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            flat[f"{number}.{name}"] = value
    return flat


def restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Restore the state of an optimizer.

    Args:
        optimizer: An optimizer of the same parameters.
        tensors: What ``flatten`` returned.
    """
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def write_checkpoint(
    folder: Path,
    state: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Write a checkpoint; the previous one stays intact until this one is complete.

    Args:
        folder: The folder, which is created if needed.
        state: The content of ``state.json``, without the name and digest of the tensors' file.
        tensors: The tensors.

    Raises:
        StorageError: If the files cannot be written.
    """
    from safetensors.torch import save

    # Two names may refer to one tensor, which safetensors refuses: write a copy for each name.
    copies = {}
    for name, tensor in tensors.items():
        copies[name] = tensor.detach().cpu().clone().contiguous()
    blob = save(copies)
    digest = hashlib.sha256(blob).hexdigest()
    blob_name = f"{digest[:24]}.safetensors"
    whole = {
        "schema": CHECKPOINT_SCHEMA,
        "tensors": blob_name,
        "sha256": digest,
        "bytes": len(blob),
        **state,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / blob_name, blob)
        _write(folder / "state.json", json.dumps(whole, indent=1).encode())
        for path in folder.glob("*.safetensors"):
            if path.name != blob_name:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"The checkpoint could not be written to {folder}: {error.strerror}. Free some space "
            "or name another folder."
        ) from error


def _write(path: Path, data: bytes) -> None:
    """Write a file under another name and rename it, so that it is never seen half written."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    temporary.write_bytes(data)
    temporary.replace(path)


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read and verify a checkpoint.

    Args:
        folder: The folder of the checkpoint.

    Returns:
        The content of ``state.json``, and the tensors.

    Raises:
        CorruptFileError: If a file is missing, damaged, or of another schema.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state = read_json_file(folder / "state.json")
        # Checkpoints of before have no size.
        n_bytes = state.get("bytes", _LARGEST_TENSORS)
        largest = min(_LARGEST_TENSORS, n_bytes)
        blob = read_file(folder / Path(str(state["tensors"])).name, largest)
        is_current = state["schema"] == CHECKPOINT_SCHEMA
        is_intact = hashlib.sha256(blob).hexdigest() == state["sha256"]
        if not is_current or not is_intact:
            raise ValueError(
                "the tensors do not match the checksum in state.json, or the schema differs"
            )
        Progress(**state["progress"])
        return state, load(blob)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise CorruptFileError(
            f"The checkpoint in {folder} cannot be read ({str(error)[:200]}). Remove the folder to train from "
            "the start."
        ) from error
