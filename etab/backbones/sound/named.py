"""The backbones of sound that have a name here: networks whose weights travel in packages, and two
controls.

A new one with a network of its own is a class in ``sound_nets``, a conversion in ``convert_sound``,
a row in ``_LEARNED`` and an entry of checkpoints/index.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from etab.backbones.base import Backbone, BackboneCard, Course
from etab.backbones.registered import BACKBONES, Entry
from etab.backbones.weights import index as weights
from etab.errors import UnsupportedOptionError
from etab.types import Features


@dataclass(frozen=True, slots=True)
class Net:
    """A named network: its class in ``sound_nets``, its layers, the width of the last, and the
    window it was made for.

    ``timed``: its candidates for tasks of states, three at most, fine in time (a heart sound lasts
    0.1 s).
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
_MUSICNN_TIMED, _VGG_TIMED = ("timbral", "cnn1", "cnn3"), ("pool1", "pool2", "pool3")
_LEARNED: Mapping[str, Net] = {
    "musicnn_msd": Net(
        "musicnn (Million Song Dataset)", "musicnn", _MUSICNN, 50, 787_159, 3.0, _MUSICNN_TIMED
    ),
    "musicnn_mtt": Net(
        "musicnn (MagnaTagATune)", "musicnn", _MUSICNN, 50, 787_159, 3.0, _MUSICNN_TIMED
    ),
    "music_vgg_msd": Net(
        "VGG of music tags (Million Song Dataset)", "music_vgg", _VGG, 128, 605_748, 3.0, _VGG_TIMED
    ),
    "music_vgg_mtt": Net(
        "VGG of music tags (MagnaTagATune)", "music_vgg", _VGG, 128, 605_748, 3.0, _VGG_TIMED
    ),
    "resemblyzer": Net(
        "Resemblyzer speaker encoder",
        "resemblyzer",
        ("lstm1_last", "lstm2_last", "lstm3_last", "lstm3", "parts", "embedding"),
        256,
        1_423_616,
        1.6,
        ("lstm3",),
        "lstm",
    ),
    "speech_embedding": Net(
        "Google speech_embedding",
        "speech_embedding",
        ("pool3", "pool4", "pool5", "embedding"),
        96,
        328_128,
        0.78,
        ("pool3", "pool5", "embedding"),
    ),
    "crepe_tiny": Net(
        "CREPE tiny, a frame every 40 ms",
        "crepe",
        ("conv3", "conv4", "conv5", "conv6", "pitch"),
        360,
        486_552,
        0.064,
        ("conv3", "conv5", "pitch"),
    ),
    "silero_vad": Net(
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
_OPTIONAL = ("birdnet",)
_CONTROLS: Mapping[str, str] = {
    "mel_stats": "statistics over time of 40 log-mel bands, 25 to 800 Hz",
    "mel_pca": "principal components of the log-mel picture, fitted on training patients",
}
_CONTROL_RATE, _NET_RATE = 2000, 16_000


def names() -> list[str]:
    """Names in the order of the tables."""
    return [*_LEARNED, *_CONTROLS]


def optional() -> list[str]:
    """Names that no list of all backbones holds: they need an extra, or their weights may not be
    used by everybody.
    """
    return [*_OPTIONAL]


class SoundBackbone:
    """A frozen network of sound in eval mode; it reads float32 windows (n, samples) at its card's
    rate.
    """

    def __init__(self, card: BackboneCard, network: Any) -> None:
        """Freeze the network; remember the digest of its weights."""
        self.card = card
        self.network = network.eval().requires_grad_(False)
        self._digest = weights.digest(network.state_dict())

    def digest(self) -> str:
        """sha256 of the weights loaded."""
        return self._digest

    def to(self, device: str, precision: str) -> SoundBackbone:
        """Move to a device; sound runs in fp32, any other precision raises UnsupportedOptionError."""
        if precision != "fp32":
            raise UnsupportedOptionError(
                f"{self.card.name} runs in fp32; {precision!r} was asked for."
            )
        self.network.to(device)
        return self

    def __call__(self, x: Any) -> Features:
        """Embed windows; shorter ones than the network can read are filled with zeros at their end.

        Raises UnsupportedOptionError for anything but float32 (n, samples).
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
            return Features(pool(self.network(filled)))

    def course(self, x: Any) -> dict[str, Course]:
        """The card's ``timed`` layers of a whole recording, float32 (samples,), one after the other
        in its time.
        """
        import torch

        missing = max(0, self.network.shortest - len(x))
        with torch.inference_mode():
            filled = torch.nn.functional.pad(x, (0, missing))[None]
            found = dict(getattr(self.network, "course", self.network)(filled))
        times = {name: self.network.STEPS[name] for name in self.card.timed}
        rate = float(self.card.rate or 1)
        return {
            name: Course(found[name][0].cpu().numpy(), hop / rate, first / rate)
            for name, (hop, first) in times.items()
        }


def _load(name: str, seed: int | None, card: BackboneCard) -> Backbone:
    """Build the network, with its pretrained weights or (seed given) at random initialisation."""
    import torch

    from etab.backbones.sound.networks import NETS

    row = _LEARNED[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        network = NETS[row.net]()
    if seed is None:
        from etab.backbones.sound import formats as convert_sound

        state = convert_sound.read(row.net, weights.path_of(name), weights.beside(name))
        weights.load_strictly(network, state, name)
    return SoundBackbone(card, network)


def _control(name: str, card: BackboneCard) -> Backbone:
    from etab.backbones.sound import controls as controls_sound

    return controls_sound.MelStats(card) if name == "mel_stats" else controls_sound.MelPCA(card)


def card(name: str, seed: int | None = None) -> BackboneCard:
    """The card of a named sound backbone, or with a seed of its random twin; raises for a control's
    twin.
    """
    if name in _CONTROLS:
        return _control_card(name, seed)
    if name in _OPTIONAL:
        return _birdnet_card(name, seed)
    row = _LEARNED[name]
    what = weights.entry(name)
    twin = seed is not None
    blank = BackboneCard(
        name=f"random/{name}" if twin else name,
        title=f"{row.title}, random initialisation" if twin else row.title,
        family=row.family,
        modality="sound",
        size=0,
        mean=(),
        std=(),
        interpolation="",
        layers=row.layers,
        dim=row.dim,
        params=row.params,
        pretraining="" if twin else what["pretraining"],
        licence=what["licence"],
        source="etab" if twin else f"{what['package']} {what['version']}",
        sha256="" if twin else what["sha256"],
        twin=name if twin else "",
        seed=seed,
        rate=_NET_RATE,
        seconds=row.seconds,
        timed=row.timed,
    )
    return replace(blank, load=partial(_load, name, seed, blank))


def _birdnet(name: str, card: BackboneCard) -> Backbone:
    from etab.backbones.sound.birdnet import LiteBackbone

    return LiteBackbone(card, weights.path_of(name))


def _birdnet_card(name: str, seed: int | None) -> BackboneCard:
    if seed is not None:
        raise UnsupportedOptionError(
            f"{name} stays in its own format and cannot be initialised anew: no random twin."
        )
    what = weights.entry(name)
    blank = BackboneCard(
        name,
        "BirdNET 2.4 (optional, non-commercial)",
        modality="sound",
        size=0,
        mean=(),
        std=(),
        interpolation="",
        layers=("block4_3", "block4_4", "embedding"),
        dim=1024,
        pretraining=what["pretraining"],
        licence=what["licence"],
        source=f"{what['package']} {what['version']}",
        sha256=what["sha256"],
        rate=48_000,
        seconds=3.0,
    )
    return replace(blank, load=partial(_birdnet, name, blank))


def _control_card(name: str, seed: int | None) -> BackboneCard:
    if seed is not None:
        raise UnsupportedOptionError(f"{name} has no weights, so it has no random twin.")
    blank = BackboneCard(
        name,
        _CONTROLS[name],
        family="control",
        modality="sound",
        size=0,
        mean=(),
        std=(),
        interpolation="",
        layers=("log-mel",),
        learned=False,
        licence="BSD-3-Clause",
        source="etab",
        rate=_CONTROL_RATE,
        seconds=5.0,
        timed=("log-mel",),
    )
    return replace(blank, load=partial(_control, name, blank))


for _name in [*names(), *optional()]:
    BACKBONES.add(_name, Entry(card, "sound", listed=_name not in _OPTIONAL))
