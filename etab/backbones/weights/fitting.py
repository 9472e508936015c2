"""Which tensors of a checkpoint are those of a network, under whatever names the training code gave them.

Training code wraps networks: Lightning writes ``model.``, DistributedDataParallel ``module.``, torch.compile
``_orig_mod.``, MoCo ``encoder_q.``, DINO keeps a ``teacher`` and a ``student``. The prefix is therefore not guessed from a
list: it is the one under which the file holds the names of the network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etab.errors import WeightsError

# Of several complete copies the first of these words in the prefix decides: the network that is evaluated by those
# who publish such files. Without any of them the copy that comes first in the file is taken.
PREFERRED = ("teacher", "ema", "encoder_q", "base_encoder", "online")

HEADS = (
    "fc",
    "head",
    "heads",
    "head_dist",
    "classifier",
    "last_linear",
    "aux1",
    "aux2",
    "AuxLogits",
)

_TRAINING_STATE = ("optim", "lr_sched", "scheduler", "callbacks", "loops", "scaler", "rng")


@dataclass(frozen=True, slots=True)
class Fitted:
    """What of a checkpoint a network takes.

    Attributes:
        tensors: The network's tensors under the network's own names.
        prefix: What stood before these names in the file; "" for nothing.
        dropped: Names of the file's other tensors: heads, projections, a second copy of the network.
        unset: Names of the network's head that the file does not hold or holds in another shape. No feature
            depends on them.
    """

    tensors: dict[str, Any]
    prefix: str
    dropped: tuple[str, ...]
    unset: tuple[str, ...]

    def summary(self) -> str:
        """Describe in one line what was taken and what was not."""
        parts = [f"{len(self.tensors)} tensors"]
        if self.prefix:
            parts.append(f"found under {self.prefix!r}")
        if self.dropped:
            parts.append(f"{len(self.dropped)} left out ({_some(self.dropped)})")
        if self.unset:
            parts.append(f"{len(self.unset)} of the unused head not in the file")
        return ", ".join(parts)


def flat_tensors(content: Any) -> dict[str, Any]:
    """List every tensor of a checkpoint by the path of keys that leads to it, joined by dots.

    Args:
        content: What a file holds: a mapping of names to tensors, or a mapping that holds such mappings beside
            epochs, losses and the state of an optimiser.

    Returns:
        Tensors by name, in the order of the file. The state of optimisers and schedulers is left out.

    Example:
        >>> import torch
        >>> list(flat_tensors({"epoch": 3, "state_dict": {"fc.bias": torch.zeros(2)}}))
        ['state_dict.fc.bias']
    """
    if not isinstance(content, Mapping):
        return {}
    tensors: dict[str, Any] = {}
    for key, value in content.items():
        if not isinstance(key, str) or key.startswith(_TRAINING_STATE):
            continue
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            tensors[key] = value
        else:
            inner = value.state_dict() if callable(getattr(value, "state_dict", None)) else value
            for name, tensor in flat_tensors(inner).items():
                tensors[f"{key}.{name}"] = tensor
    return tensors


def fit(
    tensors: Mapping[str, Any], own: Mapping[str, Any], what: str, *, heads: Sequence[str] = HEADS
) -> Fitted:
    """Choose the tensors of a checkpoint that are those of a network.

    Args:
        tensors: Tensors of the file by name, as ``flat_tensors`` lists them.
        own: The network's own state dict.
        what: The file and the network, for messages.
        heads: Parts of the network that no feature depends on. They may be missing, or have another shape.

    Returns:
        What the network takes, and what is left out.

    Raises:
        WeightsError: The file does not hold every tensor of the network's body, one has another shape, or the file's
            network has layers in its body that this one does not have.
    """
    prefix = _prefix(tensors, own, heads)
    inside = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    body = [name for name in own if not _is_head(name, heads)]
    missing = [n for n in body if n not in inside and not n.endswith("num_batches_tracked")]
    misshapen = [
        f"{name} {tuple(inside[name].shape)} for {tuple(own[name].shape)}"
        for name in body
        if name in inside and tuple(inside[name].shape) != tuple(own[name].shape)
    ]
    parts = {name.split(".")[0] for name in body}
    surplus = [
        name
        for name in inside
        if name not in own and name.split(".")[0] in parts and not _is_head(name, heads)
    ]
    _refuse(what, missing, misshapen, surplus)
    taken = {
        name: inside[name]
        for name in own
        if name in inside and tuple(inside[name].shape) == tuple(own[name].shape)
    }
    _refuse_packed(taken, what)
    return Fitted(
        tensors=taken,
        prefix=prefix,
        dropped=tuple(
            name
            for name in tensors
            if name.removeprefix(prefix) not in taken or not name.startswith(prefix)
        ),
        unset=tuple(
            name
            for name in own
            if _is_head(name, heads)
            and name not in taken
            and not name.endswith("num_batches_tracked")
        ),
    )


def load_fitting(network: Any, content: Any, what: str, *, heads: Sequence[str] = HEADS) -> Fitted:
    """Load a checkpoint into a network in place: every tensor of its body, or a refusal that lists what does not fit.

    Args:
        network: A torch module.
        content: What the file holds, see ``flat_tensors``.
        what: The file and the network, for messages.
        heads: See ``fit``.

    Returns:
        What was taken and what was left out.

    Raises:
        WeightsError: See ``fit``.
    """
    tensors = flat_tensors(content)
    if not tensors:
        raise WeightsError(f"{what}: the file holds no state dict (a mapping of names to tensors).")
    fitted = fit(tensors, network.state_dict(), what, heads=heads)
    network.load_state_dict(fitted.tensors, strict=False)
    return fitted


def _is_head(name: str, heads: Sequence[str]) -> bool:
    return name.split(".")[0] in heads


def _prefix(tensors: Mapping[str, Any], own: Mapping[str, Any], heads: Sequence[str]) -> str:
    """Find what stands before the network's names in the file: the prefix under which most of them are there."""
    names = [n for n in own if not _is_head(n, heads) and not n.endswith("num_batches_tracked")]
    wanted = set(names)
    counts: Counter[str] = Counter()
    for name in tensors:
        # Every way to cut a name into a prefix that ends with a dot and a rest that is a name of the network.
        parts = name.split(".")
        for i in range(len(parts)):
            rest = ".".join(parts[i:])
            if rest in wanted:
                counts[name.removesuffix(rest)] += 1
    if not counts:
        return ""
    most = max(counts.values())
    complete = [prefix for prefix, count in counts.items() if count == most]
    return min(complete, key=lambda prefix: (_preference(prefix), complete.index(prefix)))


def _preference(prefix: str) -> int:
    words = set(prefix.replace("_", ".").split(".")) | set(prefix.split("."))
    for place, word in enumerate(PREFERRED):
        if word in words:
            return place
    return len(PREFERRED)


def _refuse(
    what: str, missing: Sequence[str], misshapen: Sequence[str], surplus: Sequence[str]
) -> None:
    faults = (("missing", missing), ("of another shape", misshapen), ("surplus", surplus))
    lists = [f"{len(names)} {word}: {_some(names)}" for word, names in faults if names]
    if lists:
        raise WeightsError(
            f"{what} does not fit the network: {'; '.join(lists)}. Name the network that the file was made with after "
            "the @, or save the state dict of that network alone."
        )


def _refuse_packed(tensors: Mapping[str, Any], what: str) -> None:
    """Raise WeightsError for tensors that are quantised or sparse, which no network here can load."""
    packed = [
        name
        for name, tensor in tensors.items()
        if getattr(tensor, "is_quantized", False) or getattr(tensor, "is_sparse", False)
    ]
    if packed:
        raise WeightsError(
            f"{what}: {len(packed)} tensors are quantised or sparse ({_some(packed)}). Save the weights in float32."
        )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "")
