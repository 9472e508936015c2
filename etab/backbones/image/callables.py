"""A Python function of frames, or a torch module, as a backbone of pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from etab.backbones import identity
from etab.backbones.base import BackboneCard
from etab.errors import UnsupportedOptionError
from etab.types import Features

# Largest absolute value of a stored feature map; float16 ends at 65,504.
_LARGEST = 6e4


class CallableBackbone:
    """A backbone around a user's function: float frames in, features out.

    Args:
        name: Name of the backbone in results and errors.
        function: Maps float frames (n, 3, size, size) in [0, 1] to features; it is called in
            inference mode.
        version: The user's version of the function; "" identifies it by its code and weights.
        device: Where the frames are, as "cpu".
    """

    # See etab.backbones.identity: the name and the weights do not determine what it computes.
    of_user = True

    def __init__(
        self,
        name: str,
        function: Callable[[Any], Any],
        version: str = "",
        device: str = "cpu",
    ) -> None:
        self.name = name
        self.function = function
        self.device = device
        self._digest, reason = identity.named_by(function, version)
        self.nameless = f"{name} is not cached and not resumed: {reason}" if reason else ""

    def digest(self) -> str:
        """Return the sha256 that identifies the function.

        It is computed once, when the backbone is made: of weights and code, or of the version
        that the user gives.
        """
        return self._digest

    def to(self, device: str, precision: str) -> CallableBackbone:
        """Record the device of the frames; the function itself is not moved.

        Args:
            device: A torch device, as "cpu" or "cuda:0".
            precision: Ignored: the function decides.

        Returns:
            The backbone itself.
        """
        self.device = device
        return self

    def __call__(self, x: Any) -> Features:
        """Compute the features of uint8 frames (n, s, s).

        The function gets them as (n, 3, s, s) in [0, 1] and normalises them itself.
        """
        import torch

        f = (x.to(torch.float32) / 255)[:, None].expand(-1, 3, -1, -1).contiguous()
        with torch.inference_mode():
            return as_features(self.function(f), len(x), self.name)


def as_features(output: Any, n: int, name: str) -> Features:
    """Convert the output of a user's function to features.

    Args:
        output: Tensor (n, d) or (n, c, h, w), a list of these, fine to coarse, or ``Features``.
        n: Number of frames.
        name: Name of the function in errors.

    Returns:
        The features. Output ``i`` is stored as "out<i>/vector", or as "out<i>/mean",
        "out<i>/grid4" and a map.

    Raises:
        UnsupportedOptionError: An output has another type or shape.
    """
    import torch

    if isinstance(output, Features):
        return output
    parts = list(output) if isinstance(output, (list, tuple)) else [output]
    pooled: dict[str, Any] = {}
    maps = []
    for i, part in enumerate(parts):
        if not isinstance(part, torch.Tensor) or part.ndim not in (2, 4) or len(part) != n:
            got = tuple(part.shape) if isinstance(part, torch.Tensor) else type(part).__name__
            raise UnsupportedOptionError(
                f"{name} returned {got} for {n} frames; wanted (n, d), (n, c, h, w), "
                "or a list of those, fine to coarse."
            )
        wide = part.float()
        if part.ndim == 2:
            pooled[f"out{i}/vector"] = wide
            continue
        pooled[f"out{i}/mean"] = wide.mean((2, 3))
        pooled[f"out{i}/grid4"] = torch.nn.functional.adaptive_avg_pool2d(wide, 4).flatten(1)
        maps.append(wide.clamp(-_LARGEST, _LARGEST).half())
    return Features(pooled, tuple(maps))


def callable_card(
    name: str,
    function: Callable[[Any], Any],
    *,
    size: int = 224,
    version: str = "",
) -> BackboneCard:
    """Make the card of a Python callable or torch module.

    A torch module is put into eval mode. The function normalises its input itself. Only feature
    maps (n, c, h, w) can be scored on segmentation.

    Args:
        name: Name of the backbone in results.
        function: Maps float frames (n, 3, size, size) in [0, 1] to features: (n, d),
            (n, c, h, w), or a list of these, fine to coarse.
        size: Side of the frames in pixels.
        version: Your version of the function, for one whose code cannot be read. Features and
            results of one name and version are taken to come from one function: change the version
            whenever the function changes. "" identifies the function by its code, the values that
            the code refers to, and its weights.

    Returns:
        The card.

    Raises:
        UnsupportedOptionError: ``function`` cannot be called.

    Example:
        >>> from etab.backbones.image.callables import callable_card
        >>> callable_card("brightness", lambda x: x.mean((2, 3)), size=64).size
        64
    """
    if hasattr(function, "eval"):
        function.eval()
    if not callable(function):
        raise UnsupportedOptionError(
            f"{name} is {type(function).__name__}, which cannot be called with frames."
        )
    return BackboneCard(
        name,
        name,
        partial(CallableBackbone, name, function, version),
        size=size,
        layers=("out",),
        strides=(8,),
        pretraining="the user's",
        licence="the user's",
        source="callable",
    )
