"""From a checkpoint as trainers write it to the state dict of one network.

A checkpoint holds its weights in some container ("state_dict", "teacher", "model_ema", ...), under
some prefix ("module.", "model.backbone.", ...), beside heads that are not used. Neither is guessed
from a list of names: a container and a prefix are right where the keys behind them are those of the
network.

Where several fit (the teacher and the student of DINO, the two encoders of MoCo), the preferred one
is that of the teacher or of averaged weights; then any that is not the student's, the momentum
encoder's or the target's. Several that this rule does not tell apart are refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etab.backbones.weights.index import read_file
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
# First parts of keys that belong to a head, to the other half of a training method, or to its bookkeeping.
_BESIDE = re.compile(
    r"(.*_)?(heads?|fc\d?|fc_norm|classifiers?|proj\w*|prj\w*|pred\w*|decoder\w*|last_layer|linear|logits?"
    r"|logit_(scale|bias)|mlp|mlp_head|mask_token|queue\w*|loss\w*|criterion|metrics?|AuxLogits|aux\d?|prototypes"
    r"|cls_head|head_dist|center|n_averaged|num_batches_tracked|total_\w+)",
    re.IGNORECASE,
)
# Buffers that a network computes for itself, and that other versions of a library wrote to files.
_COMPUTED = re.compile(
    r".*(attn_mask|relative_position_index|relative_coords_table|position_ids|num_batches_tracked"
    r"|total_ops|total_params)"
)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The weights of one network, taken out of a checkpoint.

    Attributes: state: Tensors by the network's own keys, as the file holds them. container: Where
        they lay in the file, as "checkpoint/state_dict"; "" for the top. prefix: What was cut off
        their keys; "" for nothing. dropped: Keys of the same container that are not used: heads,
        other networks. unset: Keys of the network's classification head that the file does not set;
        they are set to zero. others: Labels of other parts of the file that would have fitted as
        well. dtypes: Types that were converted to the network's own, as "float16".
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
        """Container and prefix in one, as ``etab convert --take`` reads it."""
        return "/".join(part for part in (self.container, self.prefix) if part)

    def report(self) -> str:
        """What was done, a line each."""
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
    more = f", and {len(keys) - n} more" if len(keys) > n else ""
    return f"{len(keys)} ({', '.join(keys[:n])}{more})" if keys else "none"


def containers(content: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Tensors]]:
    """The mappings of names to tensors in what a file holds, with their paths; those near the top
    first.
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
    """Keys without what torch.compile and its like insert."""
    return {_INSERTED.sub("", key): value for key, value in tensors.items()}


def _prefixes(tensors: Tensors, own: Tensors) -> list[str]:
    """Prefixes behind which keys of the network lie, the one with the most first."""
    votes: dict[str, int] = {}
    for key in tensors:
        parts = key.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in own:
                prefix = "".join(f"{part}." for part in parts[:i])
                votes[prefix] = votes.get(prefix, 0) + 1
    return sorted(votes, key=lambda prefix: (-votes[prefix], len(prefix)))


@dataclass(frozen=True, slots=True)
class _Try:
    """One container and one prefix, and what keeps them from being the network's."""

    fitted: Fitted
    missing: list[str]
    surplus: list[str]
    shapes: list[str]

    @property
    def fits(self) -> bool:
        return not (self.missing or self.surplus or self.shapes)

    def complaint(self) -> str:
        lists = (
            ("missing", self.missing),
            ("surplus", self.surplus),
            ("of another shape", self.shapes),
        )
        return "; ".join(
            f"{len(keys)} {word}: {', '.join(keys[:5])}" for word, keys in lists if keys
        )


def _attempt(
    path: str, prefix: str, tensors: Tensors, own: Tensors, head: Sequence[str], strict: bool
) -> _Try:
    inside = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    dropped = [key for key in tensors if not key.startswith(prefix)]
    tops = {key.partition(".")[0] for key in own if key not in head}
    state: dict[str, Any] = {}
    surplus: list[str] = []
    shapes: list[str] = []
    for key, value in inside.items():
        if key in own:
            if tuple(value.shape) == tuple(own[key].shape):
                state[key] = value
            elif key in head:
                dropped.append(prefix + key)
            else:
                shapes.append(f"{key} {tuple(value.shape)} for {tuple(own[key].shape)}")
        elif not strict and _is_beside(key, tops):
            dropped.append(prefix + key)
        else:
            surplus.append(key)
    absent = [k for k in own if k not in inside and not k.endswith("num_batches_tracked")]
    missing = [k for k in absent if k not in head]
    unset = tuple(k for k in head if k not in state)
    # Half of a head is no head: its other half would be one of another training.
    if unset:
        dropped.extend(prefix + k for k in head if state.pop(k, None) is not None)
        unset = tuple(head)
    dtypes = {str(v.dtype).removeprefix("torch.") for v in state.values() if _is_converted(v)}
    fitted = Fitted(state, path, prefix, tuple(dropped), unset, (), tuple(sorted(dtypes)))
    return _Try(fitted, missing, surplus, shapes)


def _is_beside(key: str, tops: set[str]) -> bool:
    """Whether a key that the network has not belongs to a head, a training method, or a computed
    buffer.
    """
    if _COMPUTED.fullmatch(key):
        return True
    top = key.partition(".")[0]
    if top in tops and top not in _CLASSIFIERS:
        return False
    return _BESIDE.fullmatch(top) is not None


def _is_converted(tensor: Any) -> bool:
    return str(tensor.dtype) in ("torch.float16", "torch.bfloat16", "torch.float64")


def head_keys(own: Tensors) -> tuple[str, ...]:
    """Keys of the classification head of a network of pictures or clips; none of its features
    depends on them.
    """
    return tuple(key for key in own if key.partition(".")[0] in _CLASSIFIERS)


def fit(
    content: Any,
    own: Tensors,
    what: str,
    *,
    head: Sequence[str] = (),
    take: str = "",
    rename: Callable[[Tensors], Tensors] | None = None,
) -> Fitted:
    """Find the weights of one network in what a checkpoint holds.

    Args:
        content: What the file holds: nested mappings, or objects with ``state_dict()``.
        own: The state dict of the network, for its keys and shapes.
        what: What errors call the file and the network, as "w.pt as resnet18".
        head: Keys of ``own`` that features do not depend on; the file need not fit them.
        take: A label (``Fitted.label``) to choose among parts that all fit; "" for the rule above.
        rename: Published keys to the network's own, applied to every container; it leaves out what belongs to other
            parts, so that nothing else may be left over.

    Raises: WeightsError: Nothing fits (with the keys), or several parts do and no rule tells them
        apart.
    """
    tries = []
    for path, raw in containers(content):
        tensors = _plain(raw)
        if rename is not None:
            tensors = dict(rename(_unwrapped(tensors)))
        for prefix in _prefixes(tensors, own):
            tries.append(_attempt(path, prefix, tensors, own, head, rename is not None))
    if not tries:
        raise WeightsError(_no_key(content, own, what))
    whole = [attempt.fitted for attempt in tries if attempt.fits]
    if not whole:
        best = max(tries, key=lambda attempt: len(attempt.fitted.state))
        where = f" (read from {best.fitted.label})" if best.fitted.label else ""
        raise WeightsError(f"{what} does not fit the network{where}: {best.complaint()}.")
    chosen = _chosen(whole, what, take)
    _refuse_unreadable(chosen.state, own, what)
    return chosen


def unpack(content: Any, what: str) -> Fitted:
    """The tensors of a checkpoint whose network is not known: the best container, without what all
    keys begin with.

    Args:
        content: As in ``fit``.
        what: What errors call the file.

    Raises:
        WeightsError: It holds no mapping of names to tensors.
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
    others = tuple(part.container or "the top of the file" for part in parts if part is not chosen)
    return Fitted(chosen.state, chosen.container, chosen.prefix, (), (), others)


def _unwrapped(tensors: Tensors) -> Tensors:
    """Keys without the prefixes that all of them have, where these are known to come from a
    trainer.
    """
    for prefix in ("module.", "model.", "net.", "network.") * 2:
        if tensors and all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _no_key(content: Any, own: Tensors, what: str) -> str:
    wanted = [key for key in own if not key.endswith("num_batches_tracked")]
    for path, tensors in containers(content):
        where = f" in {path}" if path else ""
        first = ", ".join(list(tensors)[:3])
        return (
            f"{what} does not fit the network: {len(wanted)} missing: {', '.join(wanted[:3])}; "
            f"{len(tensors)} surplus: {first}{where}. Name the network that the file is of."
        )
    return f"{what} holds no state dict (a mapping of names to tensors)."


def _rank(fitted: Fitted) -> int:
    if _PREFERRED.search(fitted.label):
        return 2
    return 0 if _LESS_PREFERRED.search(fitted.label) else 1


def _chosen(whole: Sequence[Fitted], what: str, take: str) -> Fitted:
    labels = [fitted.label or "the top of the file" for fitted in whole]
    if take:
        for fitted in whole:
            if take.rstrip("./") == fitted.label.rstrip("./"):
                return fitted
        raise WeightsError(
            f"{what}: no part {take!r} of the file fits. Those that fit: {', '.join(labels)}."
        )
    top = max(_rank(fitted) for fitted in whole)
    best = [fitted for fitted in whole if _rank(fitted) == top]
    if any(not _same(best[0], other) for other in best[1:]):
        raise WeightsError(
            f"{what}: {len(best)} networks in the file fit: {', '.join(f.label for f in best)}. Take one of them out: "
            "etab convert FILE weights.safetensors --network NETWORK --take "
            f"{best[0].label or best[1].label}."
        )
    chosen = best[0]
    others = [
        label
        for label, fitted in zip(labels, whole, strict=True)
        if fitted is not chosen and not _same(fitted, chosen)
    ]
    if others:
        warnings.warn(
            f"{what}: {chosen.label or 'the top of the file'} is used, not {', '.join(others)}, which would fit as well.",
            EtabWarning,
            stacklevel=2,
        )
    return Fitted(
        chosen.state,
        chosen.container,
        chosen.prefix,
        chosen.dropped,
        chosen.unset,
        tuple(others),
        chosen.dtypes,
    )


def _same(a: Fitted, b: Fitted) -> bool:
    """Whether two parts hold the same values."""
    import torch

    return set(a.state) == set(b.state) and all(
        a.state[key] is b.state[key] or torch.equal(a.state[key], b.state[key]) for key in a.state
    )


def _refuse_unreadable(state: Tensors, own: Tensors, what: str) -> None:
    """Raise WeightsError for sparse, quantised or integer tensors where numbers are wanted, and for
    NaN.
    """
    import torch

    for key, value in state.items():
        kind = str(value.dtype).removeprefix("torch.")
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            sort = "quantised" if value.is_quantized else "sparse" if not value.is_meta else "empty"
            raise WeightsError(
                f"{what}: {key} is {sort} ({kind}); wanted plain floating-point numbers. Save the network before it is "
                "quantised or pruned, or tensor.dequantize() or tensor.to_dense()."
            )
        if own[key].is_floating_point() and not value.is_floating_point():
            raise WeightsError(
                f"{what}: {key} holds {kind}; wanted floating-point numbers. Save the network before it is quantised."
            )
        if value.is_floating_point() and not bool(torch.isfinite(value.float()).all()):
            raise WeightsError(f"{what}: {key} holds NaN or infinity; the training has diverged.")


def load_file(
    network: Any,
    file: Path,
    name: str,
    *,
    head: Sequence[str] = (),
    rename: Callable[[Tensors], Tensors] | None = None,
) -> Fitted:
    """Load a checkpoint of a user into a network, whole or not at all.

    Args:
        network: The torch module; the head that the file does not fit is set to zero.
        file: The checkpoint.
        name: What errors call the network.
        head: As in ``fit``.
        rename: As in ``fit``.

    Raises:
        WeightsError: As ``fit``, and for a file that cannot be read.
    """
    own = network.state_dict()
    fitted = fit(read_file(file), own, f"{file} as {name}", head=head, rename=rename)
    state = dict(fitted.state)
    for key in fitted.unset:
        state[key] = own[key] * 0
    network.load_state_dict(state, strict=False)
    return fitted
