"""Digests of the objects of torch: tensors, modules, TorchScript programs, graphs, operators."""

from __future__ import annotations

import io
import re
import sys
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from etab.errors import NamelessError
from etab.storage.releases import release_of

# Attributes of modules that follow from others: compiled code, and the graph, whose code is read.
_DERIVED = frozenset({"_compiled_call_impl", "_graph", "_tracer_cls", "_tracer_extras", "_code"})
# Names that torch makes unique within a process.
_MANGLED = re.compile(rb"___torch_mangle_\d+")
_ATTRIBUTE = re.compile(rb"  \w+ : ")


class Reader(Protocol):
    """Computes the digests of plain Python values."""

    def digest(self, thing: Any, path: str) -> bytes:
        """Digest the object ``thing``; ``path`` names it in messages."""
        ...

    def each(self, kind: str, things: Iterable[Any], path: str) -> bytes:
        """Digest several objects in order.

        Args:
            kind: A word for the group, part of the digest.
            things: The objects.
            path: The name of the group in messages.
        """
        ...

    def mix(self, *parts: str | bytes) -> bytes:
        """Combine parts of any length in one digest."""
        ...


def torch_digest(reader: Reader, thing: Any, path: str) -> bytes | None:
    """Digest an object of torch.

    Args:
        reader: Computes the digests of plain Python values.
        thing: The object.
        path: Name of the object in messages.

    Returns:
        The digest; None if the object is not of torch, or torch is not loaded.

    Raises:
        NamelessError: A tensor has no plain values, or a TorchScript program cannot be saved.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if isinstance(thing, torch.Tensor):
        return _tensor(reader, torch, thing, path)
    if isinstance(thing, torch.dtype | torch.device | torch.layout | torch.memory_format):
        return reader.mix("torch", str(thing))
    if isinstance(thing, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        return _scripted(reader, torch, thing, path)
    graph_module = getattr(sys.modules.get("torch.fx"), "GraphModule", ())
    if isinstance(thing, graph_module):
        return reader.mix("graph", str(thing.code), _network(reader, torch, thing, path))
    if isinstance(thing, torch.nn.Module):
        return _network(reader, torch, thing, path)
    if type(thing).__module__ == "torch._ops":
        return reader.mix("operator", str(thing), release_of("torch") or "")
    return None


def _tensor(reader: Reader, torch: Any, thing: Any, path: str) -> bytes:
    try:
        values = thing.detach().cpu().contiguous()
        data = values.reshape(-1).view(torch.uint8).numpy().tobytes()
    # What torch raises of tensors that are sparse, quantised, nested or on the device "meta".
    except (RuntimeError, TypeError, NotImplementedError, ValueError) as error:
        raise NamelessError(f"{path} is a tensor without plain values") from error
    return reader.mix("tensor", str(thing.dtype), str(tuple(thing.shape)), data)


def _scripted(reader: Reader, torch: Any, thing: Any, path: str) -> bytes:
    """Digest a TorchScript program by the code, constants and attributes in its saved file."""
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces the end of TorchScript
            torch.jit.save(thing, buffer)
    except RuntimeError as error:
        raise NamelessError(f"{path} is TorchScript that cannot be saved") from error
    parts: list[bytes] = []
    with zipfile.ZipFile(buffer) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith((".debug_pkl", "serialization_id")):
                continue
            data = archive.read(name)
            parts.append(_MANGLED.sub(b"", name.partition("/")[2].encode()))
            parts.append(_stable(data) if name.endswith(".py") else data)
    return reader.mix("torchscript", *parts)


def _stable(code: bytes) -> bytes:
    """Put the declarations of attributes, whose order varies, first in TorchScript code, sorted."""
    lines = _MANGLED.sub(b"", code).splitlines()
    declared = [line for line in lines if _ATTRIBUTE.match(line)]
    others = [line for line in lines if not _ATTRIBUTE.match(line)]
    return b"\n".join([*sorted(declared), *others])


def _network(reader: Reader, torch: Any, thing: Any, path: str) -> bytes:
    """Digest a torch module: its class, and every attribute of the instance."""
    if type(thing).__qualname__ == "OptimizedModule":  # the result of torch.compile
        return reader.mix("compiled", reader.digest(thing._orig_mod, path))
    own = {"_parameters", "_buffers", "_modules", "training"}
    bookkeeping = set(vars(torch.nn.Module())) - own
    parts = [reader.digest(type(thing), path)]
    for name, value in sorted(vars(thing).items()):
        if name in _DERIVED:
            continue
        where = f"{path}.{name}"
        if name not in bookkeeping:
            parts += [name.encode(), reader.digest(value, where)]
        elif isinstance(value, Mapping) and value:
            # Hooks are numbered within a process: their order is content, their numbers are not.
            parts += [name.encode(), reader.each("hooks", value.values(), where)]
    return reader.mix("network", *parts)
