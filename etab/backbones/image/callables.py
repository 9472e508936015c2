"""A Python function of frames, or a torch module, as a backbone of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from etab.backbones import identity
from etab.backbones.base import NOT_STATED, BackboneCard
from etab.backbones.own.inputs import Frames
from etab.errors import UnsupportedOptionError
from etab.types import Features


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
        from etab.backbones.own.output import SameShapes

        self.name = name
        self.function = function
        self.device = device
        self._is_tried = False
        self._shapes = SameShapes(name)
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

        The function gets them as (n, 3, s, s) in [0, 1] and normalises them itself. Before the first
        batch, it is tried with a few frames of noise: alone, each must have the same features.
        """
        if not self._is_tried:
            self._try(Frames(size=x.shape[-1]), x.device)
            self._is_tried = True
        return self._computed(x)

    def _try(self, kind: Frames, device: Any) -> None:
        from etab.backbones.own.trial import require_rows_alone, trial_rows

        rows = trial_rows(kind).to(device)
        require_rows_alone(
            self._computed(rows), [self._computed(row[None]) for row in rows], self.name
        )

    def _computed(self, x: Any) -> Features:
        import torch

        f = (x.to(torch.float32) / 255)[:, None].expand(-1, 3, -1, -1).contiguous()
        with torch.inference_mode():
            features = as_features(self.function(f), len(x), self.name)
        self._shapes.check(features.pooled)
        return features


def as_features(output: Any, n: int, name: str) -> Features:
    """Convert the output of a user's function to features.

    Args:
        output: Array (n, d) or (n, c, h, w), a list of these, fine to coarse, a dict of these by
            layer, or ``Features``.
        n: Number of frames.
        name: Name of the function in errors.

    Returns:
        The features. Output ``i`` is stored as "out<i>/vector", or as "out<i>/mean",
        "out<i>/grid4" and a map.

    Raises:
        UnsupportedOptionError: An output has another type or shape.
        UndefinedError: An output holds NaN or infinity.
    """
    from etab.backbones.own.output import features_of, layers_of

    if isinstance(output, Features):
        return output
    layers = output
    if not isinstance(output, Mapping):
        parts = output if isinstance(output, list | tuple) else [output]
        layers = {f"out{i}": part for i, part in enumerate(parts)}
    kind = Frames()
    return features_of(layers_of(layers, n, name, kind), kind)


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
    if not callable(function):
        raise UnsupportedOptionError(
            f"The backbone is {function!r}; wanted the name of one, a card, or a function of frames."
        )
    if hasattr(function, "eval"):
        function.eval()
    return BackboneCard(
        name,
        name,
        partial(CallableBackbone, name, function, version),
        size=size,
        layers=("out",),
        strides=(8,),
        pretraining=NOT_STATED,
        licence="the user's",
        source="callable",
    )
