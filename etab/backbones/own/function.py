"""A Python function as a backbone: ``etab.backbone(function, input=...)``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from etab.backbones import identity
from etab.backbones.base import NOT_STATED, UNKNOWN_DATA, BackboneCard, Course
from etab.backbones.own.inputs import Clip, Frames, InputKind, Sound
from etab.backbones.pretraining import checked_sets
from etab.backbones.registered import name_of_function, require_own_name
from etab.errors import EtabError, UnsupportedOptionError, reason_of
from etab.storage.machine import require_device
from etab.types import Features

# Layers over time that a head of states chooses among: at most three.
_TIMED = 3
# Characters of the message of an error of the function.
_LONGEST = 300
# Parts of sound that go through the function at once.
_PARTS = 32


class FunctionBackbone:
    """A backbone around a user's function, which receives the array that its input describes.

    Args:
        name: Name of the backbone in results and errors.
        function: Maps a batch to an array, or to a dict of arrays by layer.
        kind: The input of the function.
        version: The user's version of the function; "" identifies it by its code and weights.
    """

    # See etab.backbones.identity: the name and the weights do not determine what it computes.
    of_user = True

    def __init__(
        self, name: str, function: Callable[[Any], Any], kind: InputKind, version: str = ""
    ) -> None:
        from etab.backbones.own.output import SameShapes

        self.name = name
        self.function = function
        self.kind = kind
        self.version = version
        content, reason = identity.named_by(function, version)
        self._digest = hashlib.sha256(f"{content} {kind!r}".encode()).hexdigest()
        self.nameless = f"{name} is not cached and not resumed: {reason}" if reason else ""
        self._shapes = SameShapes(name)

    def digest(self) -> str:
        """Return the sha256 that identifies the function and its input."""
        return self._digest

    def to(self, device: str, precision: str) -> FunctionBackbone:
        """Move a torch module to a device; another function must work where its input is.

        Args:
            device: A torch device, as "cpu" or "cuda:0".
            precision: Ignored: the function receives float32.

        Returns:
            The backbone itself.
        """
        import torch

        if isinstance(self.function, torch.nn.Module):
            self.function.to(device)
        return self

    def layers(self, x: Any) -> dict[str, Any]:
        """Call the function with a prepared batch, and check what it returns.

        Args:
            x: float32 tensor, as the input describes it.

        Returns:
            float32 tensors by layer.
        """
        import torch

        from etab.backbones.own.output import layers_of

        batch = x.cpu().numpy() if self.kind.array == "numpy" else x
        pid = os.getpid()
        with torch.inference_mode():
            values = self.function(batch)
            if os.getpid() != pid:
                os._exit(0)  # a fork that the function made: it must not go on with the run
            layers = layers_of(values, len(x), self.name, self.kind)
        self._shapes.check(layers)
        return layers

    def __call__(self, x: Any, exists: Any = None) -> Features:
        """Compute the features of a batch as ``Backbone`` describes it.

        Args:
            x: uint8 frames (n, s, s), uint8 clips (n, frames, s, s), or float32 windows of sound
                (n, samples).
            exists: Frames of clips that exist in their recordings; not needed by this backbone.

        Returns:
            The features.
        """
        from etab.backbones.own.output import features_of

        if isinstance(self.kind, Sound):
            return self._windows(x)
        if isinstance(self.kind, Clip):
            clips = self.kind.contract.tensor(x)
            if self.kind.layout == "TCHW":
                clips = clips.transpose(1, 2)
            return features_of(self.layers(clips.contiguous()), self.kind)
        return features_of(self.layers(self._frames(x)), self.kind)

    def _frames(self, x: Any) -> Any:
        """Normalise grey uint8 frames (n, s, s), or (n, s, s, 3) in colour."""
        import torch

        scaled = x.to(torch.float32) / 255
        if x.ndim == 3:
            colour = scaled[:, None].expand(-1, 3, -1, -1)
        else:
            colour = scaled.permute(0, 3, 1, 2)
        kind: Any = self.kind
        mean = torch.tensor(kind.mean, device=x.device).view(1, 3, 1, 1)
        std = torch.tensor(kind.std, device=x.device).view(1, 3, 1, 1)
        return ((colour - mean) / std).contiguous()

    def _parts(self, parts: Any) -> dict[str, Any]:
        """Compute the layers of parts of sound (k, samples), a few at a time."""
        import torch

        collected: dict[str, list[Any]] = {}
        for first in range(0, len(parts), _PARTS):
            for layer, values in self.layers(parts[first : first + _PARTS]).items():
                collected.setdefault(layer, []).append(values)
        return {layer: torch.cat(values) for layer, values in collected.items()}

    def _windows(self, x: Any) -> Features:
        """Compute the features of windows (n, samples), averaged over the parts of each."""
        import torch

        from etab.backbones.own.output import features_of
        from etab.backbones.sound.parts import window_parts

        n = len(x)
        kind: Any = self.kind
        rows = [window_parts(window, kind.samples) for window in x.cpu().numpy()]
        parts = torch.from_numpy(np.concatenate(rows)).to(x.device)
        layers: dict[str, Any] = {}
        for layer, values in self._parts(parts).items():
            by_window = values.reshape(n, -1, *values.shape[1:])
            is_vector = values.ndim == 2
            layers[layer] = by_window.mean(1) if is_vector else by_window.flatten(1, 2)
        return features_of(layers, self.kind)

    def course(self, x: Any) -> dict[str, Course]:
        """Compute the layers over time of a whole recording.

        Args:
            x: float32 tensor (samples,) at the rate of the input.

        Returns:
            The steps of each layer that has them, with their times.
        """
        import torch

        from etab.backbones.sound.parts import joined_course, recording_parts, recording_starts

        sound: Any = self.kind
        recording = x.cpu().numpy()
        parts = torch.from_numpy(recording_parts(recording, sound.samples)).to(x.device)
        starts = recording_starts(len(recording), sound.samples) / sound.rate
        courses: dict[str, Course] = {}
        layers = self._parts(parts)
        for layer in _timed_layers(layers):
            values = layers[layer]
            hop = sound.hop or sound.seconds / values.shape[1]
            first = hop / 2 if sound.first is None else sound.first
            steps = values.cpu().numpy()
            end = len(recording) / sound.rate
            courses[layer] = joined_course(steps, starts, sound.seconds, hop, first, end)
        return courses


def _timed_layers(layers: Mapping[str, Any]) -> tuple[str, ...]:
    """Choose the layers of steps over time for tasks of states: first, middle and last."""
    names = [layer for layer, values in layers.items() if values.ndim == 3]
    chosen = np.linspace(0, len(names) - 1, min(_TIMED, len(names))).round().astype(int)
    return tuple(names[i] for i in chosen)


def _device_of(function: object, device: str) -> str:
    """The device of the trial: the given one, or that of the weights of a torch module."""
    parameters = getattr(function, "parameters", None)
    if device or not callable(parameters):
        return device or "cpu"
    weights = next(iter(parameters()), None)
    return "cpu" if weights is None else str(weights.device)


def _trial(backbone: FunctionBackbone, device: str) -> tuple[Mapping[str, Any], Features]:
    """Call a function with a few rows: its layers, and their features."""
    from etab.backbones.own.trial import require_rows_alone, trial_rows

    layers: dict[str, Any] = {}
    call = backbone.layers

    def remember(x: Any) -> dict[str, Any]:
        layers.update(call(x))
        return dict(layers)

    x = trial_rows(backbone.kind).to(device)
    backbone.layers = remember  # type: ignore[method-assign]
    try:
        features = backbone(x)
        alone = [backbone(row[None]) for row in x]
    except (EtabError, KeyboardInterrupt):
        raise
    except BaseException as error:  # also sys.exit, and errors that are not an Exception
        reason = reason_of(error, _LONGEST)
        raise UnsupportedOptionError(
            f"{backbone.name}: the function failed with a trial input "
            f"({backbone.kind!r}, {len(x)} rows on {device}): {type(error).__name__}: {reason}. "
            "Put a network into eval mode (network.eval()). If it works on another device, pass "
            'device="cuda".'
        ) from error
    require_rows_alone(features, alone, backbone.name)
    return layers, features


def backbone(
    function: Callable[[Any], Any],
    *,
    name: str = "",
    version: str = "",
    input: InputKind | None = None,
    pretrained_on: Sequence[str] = UNKNOWN_DATA,
    device: str = "",
) -> BackboneCard:
    """Make a backbone of any Python function or torch module.

    The function is called with three rows of noise to learn which layers it gives, and with each of
    them alone, which must give the same values in the same order. A torch
    module is put into eval mode. What the function receives is described by its input: ``Frames``
    (n, 3, size, size), ``Clip`` (n, frames, 3, size, size) or ``Sound`` (n, samples), all float32.
    It returns an array with a row for each row of its input, or a dict of such arrays by layer:

    * vectors (n, d);
    * maps (n, c, h, w), of frames: the backbone then takes part in segmentation;
    * tokens (n, t, d), of frames: a square grid row by row, behind a class token and registers or
      alone, which is a map;
    * steps over time (n, t, d), of clips and sound: of sound, the backbone then takes part in the
      tasks of states.

    Args:
        function: The function or torch module. It must compute each row from that row alone.
        name: Name of the backbone in results; "" for "callable/<name of the function>".
        version: Your version of the function, for one whose code cannot be read. Change it whenever
            the function changes. "" identifies the function by its code, the values that the code
            refers to, and its weights.
        input: What the function receives; None for ``Frames()``.
        pretrained_on: Datasets of its pretraining: by their name in etab where they have one. A
            board does not rank a backbone on data of its pretraining.
        device: Device of the trial input; "" for that of a torch module, otherwise "cpu".

    Returns:
        The card, to be passed wherever a backbone is named.

    Raises:
        UnsupportedOptionError: The function cannot be called, fails, returns something else, or
            gives a row other values in another batch; or the name cannot stand on a board or is
            that of another backbone; or there is no such device.
        UndefinedError: The function returns NaN or infinity.

    Example:
        >>> import etab
        >>> card = etab.backbone(lambda x: x.mean((2, 3)), name="brightness",
        ...                      input=etab.Frames(size=64))
        >>> card.name, card.layers
        ('brightness', ('out',))
    """
    kind = Frames() if input is None else input
    if name != "":
        require_own_name(name)
    label = name or name_of_function(function)
    if device:
        require_device(str(device))
    if isinstance(function, type):
        raise UnsupportedOptionError(
            f"{label} is the class {function.__name__} itself; pass an object: "
            f"{function.__name__}(...)."
        )
    if not isinstance(version, str):
        raise UnsupportedOptionError(f"{label}: version is {version!r}; wanted a string.")
    sets = checked_sets(label, pretrained_on)
    if not isinstance(kind, InputKind):
        raise UnsupportedOptionError(
            f"{label}: input is {kind!r}; wanted etab.Frames(...), etab.Clip(...) or "
            "etab.Sound(...)."
        )
    if not callable(function):
        raise UnsupportedOptionError(
            f"{label} is {type(function).__name__}, which cannot be called with {kind!r}."
        )
    if hasattr(function, "eval"):
        function.eval()
    made = FunctionBackbone(label, function, kind, version)
    return card_of(made, _device_of(function, device), sets)


def card_of(
    made: FunctionBackbone,
    device: str = "cpu",
    pretrained_on: tuple[str, ...] = UNKNOWN_DATA,
) -> BackboneCard:
    """Make the card of a function after a trial, under whatever name it has.

    Args:
        made: The function, with its name, input and version.
        device: Device of the trial input.
        pretrained_on: Datasets of its pretraining.

    Returns:
        The card.

    Raises:
        UnsupportedOptionError: The function fails, returns something else than features, or gives
            a row other values in another batch.
        UndefinedError: The function returns NaN or infinity.
    """
    layers, features = _trial(made, device)
    load = partial(FunctionBackbone, made.name, made.function, made.kind, made.version)
    return _card(made.name, load, made.kind, layers, features, pretrained_on)


def _card(
    name: str,
    load: Callable[[], FunctionBackbone],
    kind: InputKind,
    layers: Mapping[str, Any],
    features: Features,
    pretrained_on: tuple[str, ...],
) -> BackboneCard:
    """Describe a function by the layers of its trial."""
    from etab.backbones.own.output import strides_of

    facts: dict[str, Any] = {
        "layers": tuple(layers),
        "strides": strides_of(layers, kind),
        "pretraining": NOT_STATED,
        "pretraining_sets": pretrained_on,
        "licence": "the user's",
        "source": "callable",
    }
    width = list(features.pooled.values())[-1].shape[1]
    if isinstance(kind, Sound):
        facts |= {
            "modality": "sound",
            "size": 0,
            "mean": (),
            "std": (),
            "interpolation": "",
            "rate": kind.rate,
            "seconds": kind.seconds,
            "timed": _timed_layers(layers),
        }
        return BackboneCard(name, name, load, **facts)
    facts |= {"size": kind.size, "mean": tuple(kind.mean), "std": tuple(kind.std)}
    if isinstance(kind, Clip):
        facts |= {"clip": kind.contract, "dim": width, "family": "video"}
    return BackboneCard(name, name, load, **facts)
