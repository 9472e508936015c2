"""Find the weights of one network in a checkpoint as trainers write it.

A checkpoint holds its weights in a container ("state_dict", "teacher", "model_ema", ...), under a
prefix ("module.", "model.backbone.", ...), beside heads that are not used. Neither is guessed from
a list of names: a container and a prefix are right if the keys after the prefix are those of the
network.

Several parts may fit, such as the teacher and the student of DINO or the two encoders of MoCo. The
teacher or averaged weights come first, then any part that is not the student, the momentum encoder
or the target. If this rule leaves several parts with different values, an error lists them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etab.backbones.weights.index import misfit, read_file
from etab.errors import EtabWarning, WeightsError

Tensors = Mapping[str, Any]

_DEEPEST_CONTAINER = 4
# Inserted by torch.compile, FSDP, activation checkpointing and DeepSpeed at any level of a network.
_INSERTED = re.compile(
    r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
_PREFERRED = re.compile(r"(^|[._/])(teacher|ema|swa|averaged)([._/]|$)|_ema\b|\bema_")
_LESS_PREFERRED = re.compile(
    r"(^|[._/])(student|encoder_k|key_encoder|momentum\w*|target\w*|discriminator)([._/]|$)"
)
_CLASSIFIERS = ("aux1", "aux2", "AuxLogits", "classifier", "fc", "head", "heads", "head_dist")
# First parts of keys of a head, of the other half of a training method, or of its counters.
_BESIDE = re.compile(
    r"(.*_)?(heads?|fc\d?|fc_norm|classifiers?|proj\w*|prj\w*|pred\w*|decoder\w*|last_layer|linear"
    r"|logits?|logit_(scale|bias)|mlp|mlp_head|mask_token|queue\w*|loss\w*|criterion|metrics?"
    r"|AuxLogits|aux\d?|prototypes|cls_head|head_dist|center|n_averaged|num_batches_tracked"
    r"|total_\w+)",
    re.IGNORECASE,
)
# Buffers that a network computes itself, and that other versions of a library wrote to files.
_COMPUTED = re.compile(
    r".*(attn_mask|relative_position_index|relative_coords_table|position_ids|num_batches_tracked"
    r"|total_ops|total_params)"
)
_WHOLE_FILE = "the top of the file"


@dataclass(frozen=True, slots=True)
class Fitted:
    """The weights of one network, taken from a checkpoint.

    Attributes:
        state: Tensors by the keys of the network, as stored in the file.
        container: Path of the container in the file, as "checkpoint/state_dict"; "" for the top.
        prefix: Prefix that was removed from the keys; "" for none.
        dropped: Unused keys of the same container: heads, other networks.
        unset: Keys of the classification head of the network that the file does not set. They
            are set to zero.
        others: Labels of other parts of the file that fit as well.
        dtypes: Types that were converted to the type of the network, as "float16".
    """

    state: dict[str, Any]
    container: str
    prefix: str
    dropped: tuple[str, ...]
    unset: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Container and prefix together, as ``etab convert --take`` reads them."""
        return "/".join(part for part in (self.container, self.prefix) if part)

    def report(self) -> str:
        """Describe what was done, one line for each step."""
        lines = [
            f"container: {self.container or 'none'}",
            f"prefix removed: {self.prefix or 'none'}",
            f"keys used: {len(self.state)}",
            f"keys dropped: {_listed(self.dropped)}",
        ]
        if self.unset:
            lines.append(f"unused head set to zero: {_listed(self.unset)}")
        if self.dtypes:
            lines.append(f"read as float32: {', '.join(self.dtypes)}")
        if self.others:
            lines.append(f"other parts, not used: {', '.join(self.others)}")
        return "\n".join(lines)


def _listed(keys: Sequence[str], n: int = 5) -> str:
    """The number of keys and the first ``n`` of them."""
    if not keys:
        return "none"
    more = f", and {len(keys) - n} more" if len(keys) > n else ""
    return f"{len(keys)} ({', '.join(keys[:n])}{more})"


def containers(
    content: Any,
    path: str = "",
    depth: int = 0,
) -> Iterator[tuple[str, Tensors]]:
    """Find the mappings of names to tensors in the content of a file.

    Args:
        content: Nested mappings, or objects with ``state_dict()``.
        path: Path of ``content`` in the file; "" for the top.
        depth: Number of mappings around ``content``; the search ends at four.

    Yields:
        Path and tensors of each mapping, the outer ones first.
    """
    if callable(getattr(content, "state_dict", None)):
        content = content.state_dict()
    if not isinstance(content, Mapping) or depth > _DEEPEST_CONTAINER:
        return
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and hasattr(v, "shape")}
    if tensors:
        yield path, tensors
    for key, value in content.items():
        if isinstance(key, str) and not hasattr(value, "shape"):
            yield from containers(value, f"{path}/{key}" if path else key, depth + 1)


def _plain(tensors: Tensors) -> dict[str, Any]:
    """Remove from the keys the parts that torch.compile and similar wrappers insert."""
    return {_INSERTED.sub("", key): value for key, value in tensors.items()}


def _prefixes(tensors: Tensors, wanted: Tensors) -> list[str]:
    """Prefixes that are followed by keys of the network, the most frequent one first."""
    votes: dict[str, int] = {}
    for key in tensors:
        parts = key.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in wanted:
                prefix = "".join(f"{part}." for part in parts[:i])
                votes[prefix] = votes.get(prefix, 0) + 1
    return sorted(votes, key=lambda prefix: (-votes[prefix], len(prefix)))


@dataclass(frozen=True, slots=True)
class _Try:
    """One container and prefix, and the reasons why they do not fit the network."""

    fitted: Fitted
    missing: list[str]
    surplus: list[str]
    shapes: list[str]

    @property
    def fits(self) -> bool:
        return not (self.missing or self.surplus or self.shapes)

    def complaint(self) -> str:
        return misfit(self.missing, self.surplus, self.shapes)


def _attempt(
    path: str,
    prefix: str,
    tensors: Tensors,
    wanted: Tensors,
    head: Sequence[str],
    strict: bool,
) -> _Try:
    """Match the keys of one container after one prefix with those of the network.

    Args:
        path: Path of the container in the file.
        prefix: Prefix of the keys.
        tensors: The container.
        wanted: State dict of the network.
        head: Keys of ``wanted`` that may be missing or of another shape.
        strict: Whether unknown keys are errors even where they look like a head.
    """
    inside = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    dropped = [key for key in tensors if not key.startswith(prefix)]
    tops = {key.partition(".")[0] for key in wanted if key not in head}
    state: dict[str, Any] = {}
    surplus: list[str] = []
    shapes: list[str] = []
    for key, value in inside.items():
        if key not in wanted:
            if not strict and _is_beside(key, tops):
                dropped.append(prefix + key)
            else:
                surplus.append(key)
        elif tuple(value.shape) == tuple(wanted[key].shape):
            state[key] = value
        elif key in head:
            dropped.append(prefix + key)
        else:
            shapes.append(f"{key} {tuple(value.shape)} for {tuple(wanted[key].shape)}")
    absent = [k for k in wanted if k not in inside and not k.endswith("num_batches_tracked")]
    missing = [k for k in absent if k not in head]
    unset = tuple(k for k in head if k not in state)
    # A head is used whole or not at all: its other half would come from another training.
    if unset:
        dropped.extend(prefix + k for k in head if state.pop(k, None) is not None)
        unset = tuple(head)
    dtypes = {str(v.dtype).removeprefix("torch.") for v in state.values() if _is_converted(v)}
    fitted = Fitted(
        state,
        path,
        prefix,
        tuple(dropped),
        unset=unset,
        dtypes=tuple(sorted(dtypes)),
    )
    return _Try(fitted, missing, surplus, shapes)


def _is_beside(key: str, tops: set[str]) -> bool:
    """Whether an unknown key belongs to a head, a training method, or a computed buffer.

    ``tops`` are the first parts of the keys of the network.
    """
    if _COMPUTED.fullmatch(key):
        return True
    top = key.partition(".")[0]
    if top in tops and top not in _CLASSIFIERS:
        return False
    return _BESIDE.fullmatch(top) is not None


def _is_converted(tensor: Any) -> bool:
    return str(tensor.dtype) in ("torch.float16", "torch.bfloat16", "torch.float64")


def head_keys(wanted: Tensors) -> tuple[str, ...]:
    """List the keys of the classification head of a network; no feature depends on them.

    Args:
        wanted: State dict of a network of images or clips.
    """
    return tuple(key for key in wanted if key.partition(".")[0] in _CLASSIFIERS)


def find_weights(
    content: Any,
    wanted: Tensors,
    what: str,
    *,
    head: Sequence[str] = (),
    take: str = "",
    rename: Callable[[Tensors], Tensors] | None = None,
) -> Fitted:
    """Find the weights of one network in the content of a checkpoint.

    Args:
        content: Content of the file: nested mappings, or objects with ``state_dict()``.
        wanted: State dict of the network, for its keys and shapes.
        what: Name of the file and the network in errors, as "w.pt as resnet18".
        head: Keys of ``wanted`` that no feature depends on; the file need not fit them.
        take: Label (``Fitted.label``) of one of several parts that fit; "" for the rule of this
            module.
        rename: Maps the published keys of a container to those of the network and leaves out other
            parts of the file. All keys that it returns must then be keys of the network.

    Returns:
        The weights, and a report of where they come from.

    Raises:
        WeightsError: Nothing fits (the error lists keys), or several parts fit and no rule prefers
            one of them.

    Example:
        >>> import torch
        >>> network = torch.nn.Linear(2, 1)
        >>> checkpoint = {"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}
        >>> find_weights(checkpoint, network.state_dict(), "w.pt as a layer").label
        'state_dict/module.'
    """
    tries = []
    for path, raw in containers(content):
        tensors = _plain(raw)
        if rename is not None:
            tensors = dict(rename(_unwrapped(tensors)))
        for prefix in _prefixes(tensors, wanted):
            tries.append(_attempt(path, prefix, tensors, wanted, head, rename is not None))
    if not tries:
        raise WeightsError(_no_key(content, wanted, what))
    fitting = [attempt.fitted for attempt in tries if attempt.fits]
    if not fitting:
        best = max(tries, key=lambda attempt: len(attempt.fitted.state))
        where = f" (read from {best.fitted.label})" if best.fitted.label else ""
        raise WeightsError(f"{what} does not fit the network{where}: {best.complaint()}.")
    chosen = _chosen(fitting, what, take)
    _refuse_unreadable(chosen.state, wanted, what)
    return chosen


def unpack(content: Any, what: str) -> Fitted:
    """Take the tensors out of a checkpoint whose network is not known.

    Args:
        content: Content of the file, as in ``find_weights``.
        what: Name of the file in errors.

    Returns:
        The tensors of the best container, without the prefix that all keys share.

    Raises:
        WeightsError: The file holds no mapping of names to tensors.
    """
    parts = []
    for path, raw in containers(content):
        tensors = _plain(raw)
        short = dict(_unwrapped(tensors))
        prefix = next(iter(tensors)).removesuffix(next(iter(short)))
        parts.append(Fitted(short, path, prefix, ()))
    if not parts:
        raise WeightsError(f"{what} holds no state dict (a mapping of names to tensors).")
    chosen = max(parts, key=lambda part: (_rank(part), len(part.state)))
    others = tuple(part.container or _WHOLE_FILE for part in parts if part is not chosen)
    return replace(chosen, others=others)


def _unwrapped(tensors: Tensors) -> Tensors:
    """Remove the known prefixes of trainers where all keys have them."""
    for prefix in ("module.", "model.", "net.", "network.") * 2:
        if tensors and all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _no_key(content: Any, wanted: Tensors, what: str) -> str:
    """The message for a file without any key of the network."""
    missing = [key for key in wanted if not key.endswith("num_batches_tracked")]
    for path, tensors in containers(content):
        where = f" in {path}" if path else ""
        first = ", ".join(list(tensors)[:3])
        return (
            f"{what} does not fit the network: {len(missing)} missing: {', '.join(missing[:3])}; "
            f"{len(tensors)} surplus: {first}{where}. Name the network that the file belongs to."
        )
    return f"{what} holds no state dict (a mapping of names to tensors)."


def _rank(fitted: Fitted) -> int:
    """2 for teachers and averaged weights, 0 for students and the like, 1 for all others."""
    if _PREFERRED.search(fitted.label):
        return 2
    return 0 if _LESS_PREFERRED.search(fitted.label) else 1


def _chosen(fitting: Sequence[Fitted], what: str, take: str) -> Fitted:
    """Choose one of the parts that fit; warn about other parts with different values."""
    labels = [fitted.label or _WHOLE_FILE for fitted in fitting]
    if take:
        for fitted in fitting:
            if take.rstrip("./") == fitted.label.rstrip("./"):
                return fitted
        raise WeightsError(
            f"{what}: no part {take!r} of the file fits. Parts that fit: {', '.join(labels)}."
        )
    top = max(_rank(fitted) for fitted in fitting)
    best = [fitted for fitted in fitting if _rank(fitted) == top]
    if any(not _same(best[0], other) for other in best[1:]):
        raise WeightsError(
            f"{what}: {len(best)} networks in the file fit: {', '.join(f.label for f in best)}. "
            "Choose one: etab convert FILE weights.safetensors --network NETWORK --take "
            f"{best[0].label or best[1].label}."
        )
    chosen = best[0]
    others = []
    for label, fitted in zip(labels, fitting, strict=True):
        if fitted is not chosen and not _same(fitted, chosen):
            others.append(label)
    if others:
        warnings.warn(
            f"{what}: {chosen.label or _WHOLE_FILE} is used, not {', '.join(others)}, "
            "which would fit as well.",
            EtabWarning,
            stacklevel=2,
        )
    return replace(chosen, others=tuple(others))


def _same(a: Fitted, b: Fitted) -> bool:
    """Whether two parts hold the same values."""
    import torch

    if set(a.state) != set(b.state):
        return False
    for key, value in a.state.items():
        other = b.state[key]
        if value is other:
            continue
        if not torch.equal(value, other):
            return False
    return True


def _refuse_unreadable(state: Tensors, wanted: Tensors, what: str) -> None:
    """Raise WeightsError for tensors that are not plain finite numbers.

    Sparse and quantised tensors, integers where the network has floating-point numbers, NaN and
    infinity are refused.
    """
    import torch

    for key, value in state.items():
        dtype = str(value.dtype).removeprefix("torch.")
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise WeightsError(
                f"{what}: {key} is {_kind(value)} ({dtype}); wanted plain floating-point numbers. "
                "Save the network before it is quantised or pruned, or use tensor.dequantize() "
                "or tensor.to_dense()."
            )
        if wanted[key].is_floating_point() and not value.is_floating_point():
            raise WeightsError(
                f"{what}: {key} holds {dtype}; wanted floating-point numbers. "
                "Save the network before it is quantised."
            )
        if value.is_floating_point() and not bool(torch.isfinite(value.float()).all()):
            raise WeightsError(f"{what}: {key} holds NaN or infinity; the training has diverged.")


def _kind(tensor: Any) -> str:
    """How a tensor that is not plain is stored."""
    if tensor.is_quantized:
        return "quantised"
    return "empty" if tensor.is_meta else "sparse"


def load_file(
    network: Any,
    file: Path,
    name: str,
    *,
    head: Sequence[str] = (),
    rename: Callable[[Tensors], Tensors] | None = None,
) -> Fitted:
    """Load a user's checkpoint into a network, completely or not at all.

    Args:
        network: The torch module. A head that the file does not fit is set to zero.
        file: The checkpoint.
        name: Name of the network in errors.
        head: As in ``find_weights``.
        rename: As in ``find_weights``.

    Returns:
        The weights, and a report of where they come from.

    Raises:
        WeightsError: As ``find_weights``, and for a file that cannot be read.
    """
    initial = network.state_dict()
    content = read_file(file)
    fitted = find_weights(
        content,
        initial,
        f"{file} as {name}",
        head=head,
        rename=rename,
    )
    state = dict(fitted.state)
    for key in fitted.unset:
        state[key] = initial[key] * 0
    network.load_state_dict(state, strict=False)
    return fitted
