"""Sound backbones with a name of their own: pretrained networks and two controls.

The weights of the networks are taken from Python packages. To add one, add a class to
``etab.backbones.sound.networks``, a conversion to ``etab.backbones.sound.formats``, a row to
``_LEARNED``, and an entry to checkpoints/index.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from etab.backbones.base import Backbone, BackboneCard, Course, refuse_twin_of_control
from etab.backbones.registered import BACKBONES, Entry
from etab.backbones.weights import index as weights
from etab.errors import UnsupportedOptionError
from etab.types import Features


@dataclass(frozen=True, slots=True)
class _Network:
    """One pretrained network; fields not listed are those of its card.

    Attributes:
        net: Key of its class in ``etab.backbones.sound.networks.NETS``.
        timed: Up to three layers for tasks of states. They must be fine in time, because a heart
            sound lasts 0.1 s.
    """

    title: str
    net: str
    layers: tuple[str, ...]
    dim: int
    params: int
    seconds: float
    timed: tuple[str, ...]
    family: str = "cnn"


_MUSICNN = ("timbral", "temporal", "cnn1", "cnn2", "cnn3", "pool", "penultimate", "tags")
_VGG = ("pool3", "pool4", "pool5")
_MUSICNN_TIMED = ("timbral", "cnn1", "cnn3")
_VGG_TIMED = ("pool1", "pool2", "pool3")
_LEARNED: Mapping[str, _Network] = {
    "musicnn_msd": _Network(
        "musicnn (Million Song Dataset)", "musicnn", _MUSICNN, 50, 787_159, 3.0, _MUSICNN_TIMED
    ),
    "musicnn_mtt": _Network(
        "musicnn (MagnaTagATune)", "musicnn", _MUSICNN, 50, 787_159, 3.0, _MUSICNN_TIMED
    ),
    "music_vgg_msd": _Network(
        "VGG of music tags (Million Song Dataset)", "music_vgg", _VGG, 128, 605_748, 3.0, _VGG_TIMED
    ),
    "music_vgg_mtt": _Network(
        "VGG of music tags (MagnaTagATune)", "music_vgg", _VGG, 128, 605_748, 3.0, _VGG_TIMED
    ),
    "resemblyzer": _Network(
        "Resemblyzer speaker encoder",
        "resemblyzer",
        ("lstm1_last", "lstm2_last", "lstm3_last", "lstm3", "parts", "embedding"),
        256,
        1_423_616,
        1.6,
        ("lstm3",),
        "lstm",
    ),
    "speech_embedding": _Network(
        "Google speech_embedding",
        "speech_embedding",
        ("pool3", "pool4", "pool5", "embedding"),
        96,
        328_128,
        0.78,
        ("pool3", "pool5", "embedding"),
    ),
    "crepe_tiny": _Network(
        "CREPE tiny, a frame every 40 ms",
        "crepe",
        ("conv3", "conv4", "conv5", "conv6", "pitch"),
        360,
        486_552,
        0.064,
        ("conv3", "conv5", "pitch"),
    ),
    "silero_vad": _Network(
        "Silero VAD",
        "silero_vad",
        ("conv1", "conv2", "conv3", "conv4", "lstm"),
        128,
        243_585,
        0.032,
        ("conv1", "conv4", "lstm"),
        "lstm",
    ),
}
# Not among all backbones: it needs an extra, and its weights are for non-commercial use.
_OPTIONAL = ("birdnet",)
_CONTROLS: Mapping[str, str] = {
    "mel_stats": "statistics over time of 40 log-mel bands, 25 to 800 Hz",
    "mel_pca": "principal components of the log-mel picture, fitted on training patients",
}
# Sampling rates in Hz.
_CONTROL_RATE = 2000
_NETWORK_RATE = 16_000
# Windows that a processor computes together. More are no faster, and need more memory; fewer change
# the last bits of matrix products.
_TOGETHER = 4
# Fields of every card of a waveform: it has no image.
_NO_IMAGE: Mapping[str, Any] = {
    "size": 0,
    "mean": (),
    "std": (),
    "interpolation": "",
}


class SoundBackbone:
    """A frozen network of sound in eval mode.

    Args:
        card: The card.
        network: A network as described in ``etab.backbones.sound.networks``. It is put into eval
            mode and frozen.
    """

    def __init__(self, card: BackboneCard, network: Any) -> None:
        self.card = card
        self.network = network.eval().requires_grad_(False)
        self._digest = weights.digest(network.state_dict())

    def digest(self) -> str:
        """Return the sha256 of the loaded weights."""
        return self._digest

    def to(self, device: str, precision: str) -> SoundBackbone:
        """Move the network to a device.

        Args:
            device: A torch device, as "cpu" or "cuda:0".
            precision: "fp32"; networks of sound have no other.

        Returns:
            The backbone itself.

        Raises:
            UnsupportedOptionError: Another precision is wanted.
        """
        if precision != "fp32":
            raise UnsupportedOptionError(
                f"{self.card.name} runs in fp32 only; {precision!r} was requested."
            )
        self.network.to(device)
        return self

    def __call__(self, x: Any) -> Features:
        """Compute the features of windows.

        Args:
            x: float32 tensor (n, samples) at the rate of the card. Windows shorter than the
                network can read are filled with zeros at their end.

        Returns:
            The layers, pooled over time.

        Raises:
            UnsupportedOptionError: ``x`` has another type or shape.
        """
        import torch

        from etab.backbones.sound.networks import pool

        if x.ndim != 2 or x.dtype != torch.float32:
            raise UnsupportedOptionError(
                f"{self.card.name} reads float32 (n, samples), got {x.dtype} {tuple(x.shape)}."
            )
        missing = self.network.shortest - x.shape[1]
        with torch.inference_mode():
            filled = torch.nn.functional.pad(x, (0, missing)) if missing > 0 else x
            parts = [pool(self.network(part)) for part in filled.split(_sizes(filled))]
            return Features({name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def course(self, x: Any) -> dict[str, Course]:
        """Compute the ``timed`` layers of the card over a whole recording.

        Args:
            x: float32 tensor (samples,) at the rate of the card.

        Returns:
            The output of each layer, with the time of its steps.
        """
        import torch

        missing = max(0, self.network.shortest - len(x))
        with torch.inference_mode():
            filled = torch.nn.functional.pad(x, (0, missing))[None]
            layers = dict(getattr(self.network, "course", self.network)(filled))
        rate = float(self.card.rate or 1)
        steps = {name: self.network.STEPS[name] for name in self.card.timed}
        courses = {}
        for name, (hop, first) in steps.items():
            values = layers[name][0].cpu().numpy()
            courses[name] = Course(values, hop / rate, first / rate)
        return courses


def _sizes(x: Any) -> list[int]:
    """Numbers of the windows (n, samples) that are computed together.

    On a processor that is _TOGETHER, and the last part takes what is left over as well; on other
    devices it is all of them.
    """
    n = len(x)
    parts = n // _TOGETHER if x.device.type == "cpu" else 1
    if parts < 2:
        return [n]
    return [_TOGETHER] * (parts - 1) + [n - _TOGETHER * (parts - 1)]


def _load(name: str, seed: int | None, card: BackboneCard) -> Backbone:
    """Build the network, with its pretrained weights or (seed given) at random initialisation."""
    import torch

    from etab.backbones.sound.networks import NETS

    row = _LEARNED[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        network = NETS[row.net]()
    if seed is None:
        from etab.backbones.sound.formats import read_sound_weights

        state = read_sound_weights(row.net, weights.path_of(name), weights.beside(name))
        weights.load_strictly(network, state, name)
    return SoundBackbone(card, network)


def _network_card(name: str, seed: int | None) -> BackboneCard:
    """The card of a pretrained network, or with a seed of its random twin."""
    row = _LEARNED[name]
    entry = weights.entry(name)
    draft = BackboneCard(
        name=name,
        title=row.title,
        family=row.family,
        modality="sound",
        **_NO_IMAGE,
        layers=row.layers,
        dim=row.dim,
        params=row.params,
        pretraining=entry["pretraining"],
        pretraining_sets=weights.pretraining_sets(name),
        licence=entry["licence"],
        source=f"{entry['package']} {entry['version']}",
        sha256=entry["sha256"],
        rate=_NETWORK_RATE,
        seconds=row.seconds,
        timed=row.timed,
    )
    if seed is not None:
        draft = draft.random_twin(seed)
    return replace(draft, load=partial(_load, name, seed, draft))


def _load_birdnet(name: str, card: BackboneCard) -> Backbone:
    from etab.backbones.sound.birdnet import LiteBackbone

    return LiteBackbone(card, weights.path_of(name))


def _birdnet_card(name: str, seed: int | None) -> BackboneCard:
    """The card of BirdNET; raises UnsupportedOptionError with a seed."""
    if seed is not None:
        raise UnsupportedOptionError(
            f"{name} runs in its own format and cannot be initialised at random: no random twin."
        )
    entry = weights.entry(name)
    draft = BackboneCard(
        name,
        "BirdNET 2.4 (optional, non-commercial)",
        modality="sound",
        **_NO_IMAGE,
        layers=("block4_3", "block4_4", "embedding"),
        dim=1024,
        pretraining=entry["pretraining"],
        pretraining_sets=weights.pretraining_sets(name),
        licence=entry["licence"],
        source=f"{entry['package']} {entry['version']}",
        sha256=entry["sha256"],
        rate=48_000,
        seconds=3.0,
    )
    return replace(draft, load=partial(_load_birdnet, name, draft))


def _load_control(name: str, card: BackboneCard) -> Backbone:
    from etab.backbones.sound import controls

    if name == "mel_stats":
        return controls.MelStats(card)
    return controls.MelPCA(card)


def _control_card(name: str, seed: int | None) -> BackboneCard:
    """The card of a control; raises UnsupportedOptionError with a seed."""
    refuse_twin_of_control(name, seed)
    draft = BackboneCard(
        name,
        _CONTROLS[name],
        family="control",
        modality="sound",
        **_NO_IMAGE,
        layers=("log-mel",),
        learned=False,
        licence="BSD-3-Clause",
        source="etab",
        rate=_CONTROL_RATE,
        seconds=5.0,
        timed=("log-mel",),
    )
    return replace(draft, load=partial(_load_control, name, draft))


for _name in _LEARNED:
    BACKBONES.add(_name, Entry(_network_card, "sound"))
for _name in _CONTROLS:
    BACKBONES.add(_name, Entry(_control_card, "sound"))
for _name in _OPTIONAL:
    BACKBONES.add(_name, Entry(_birdnet_card, "sound", listed=False))
