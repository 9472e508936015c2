"""Backbones of sound: cards without weights, contracts, agreement with the packages, front ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from etab import backbones
from etab.backbones.sound import networks as sound_nets
from etab.backbones.sound.front_end import MelPower
from etab.backbones.sound.music_networks import largest
from etab.backbones.sound.named import SoundBackbone
from etab.errors import UnsupportedOptionError
from etab.testing.backbones import check_backbone
from etab.types import Features

NETS = [name for name in backbones.names("sound") if backbones.card(name).learned]
TWINS = [
    "random/musicnn_msd",
    "random/music_vgg_msd",
    "random/resemblyzer",
    "random/speech_embedding",
    "random/crepe_tiny",
    "random/silero_vad",
]
CONTROLS = ["mel_stats", "mel_pca"]
GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "sound_backbones.json").read_text())


def made_sound() -> torch.Tensor:
    """3.2 s at 16 kHz: a tone that comes and goes, a deep one, and a rising one."""
    t = np.arange(51_200) / 16_000
    tones = 0.3 * np.sin(2 * np.pi * 220 * t) * (np.sin(2 * np.pi * 1.2 * t) > 0) + 0.2 * np.sin(
        2 * np.pi * 60 * t
    )
    return torch.from_numpy(
        (tones + 0.1 * np.sin(2 * np.pi * (400 * t + 300 * t**2))).astype(np.float32)
    )[None]


def twin(name: str) -> Any:
    return backbones.card(f"random/{name}").load().network.eval()  # type: ignore[attr-defined]


# --- contract ---


LARGE = ("random/music_vgg_msd", "random/crepe_tiny")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in (*TWINS, *CONTROLS)],
)
def test_contract(name: str) -> None:
    check_backbone(backbones.card(name))


@pytest.mark.parametrize("name", [n for n in backbones.names("sound") if n not in NETS])
def test_the_contract_of_controls_that_describe_recordings(name: str) -> None:
    """Controls are no networks: they have no device, and some read no sound."""
    check_backbone(backbones.card(name))


class Lost:
    """A control whose rows are not those of the windows that it is asked for."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def digest(self) -> str:
        return "0" * 64

    def describe(self, source: Any, keys: Any) -> Features:
        rows = np.array([[len(record.id) + start, start] for record, start, _ in keys])
        if self.fault == "order":
            rows = np.sort(rows, axis=0)
        if self.fault == "rows":
            rows = rows[1:]
        if self.fault == "number":
            rows[0] = np.nan
        return Features({"facts/all": rows.astype(np.float32)})


@pytest.mark.parametrize(
    ("fault", "match"),
    [("order", "order of the windows"), ("rows", "5 rows for 6 windows"), ("number", "not finite")],
)
def test_a_faulty_control_does_not_meet_the_contract(fault: str, match: str) -> None:
    card = backbones.BackboneCard("lost", "Lost", lambda: Lost(fault), modality="record", size=0)
    with pytest.raises(AssertionError, match=match):
        check_backbone(card)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETS, "random/musicnn_mtt", "random/music_vgg_mtt"])
def test_contract_of_fetched_ones(name: str) -> None:
    check_backbone(backbones.card(name))


def test_every_net_has_a_twin_and_a_contract() -> None:
    assert {f"random/{n}" for n in NETS} >= set(TWINS)
    nets = {type(twin(n)) for n in NETS}
    assert nets == set(sound_nets.NETS.values())
    with pytest.raises(UnsupportedOptionError, match="no random twin"):
        backbones.card("random/mel_stats")


def test_names_by_modality() -> None:
    assert backbones.names() == backbones.names("image") + backbones.names("sound")
    assert all(backbones.card(n).modality in ("sound", "record") for n in backbones.names("sound"))
    assert all(backbones.card(n).modality == "image" for n in backbones.names("image"))


# --- agreement with the packages ---


def _said(name: str) -> dict[str, Any]:
    network = backbones.card(name).load().network  # type: ignore[attr-defined]
    x = made_sound()
    if name.startswith("music_vgg"):
        grid = torch.log10(10_000 * network.mel(x) + 1)[:, :187]
        third = _third_pool(network, grid)
        return {**sound_nets.pool(network.layers(grid)), "tags": network.tags(third)}
    found = network(x)
    out = {**dict(found), **sound_nets.pool(found)}
    if name == "silero_vad":
        out["probability"] = network.probability(out["lstm"])
    if name == "resemblyzer":
        out["quiet"] = dict(network(0.01 * x))["embedding"]
    if name == "crepe_tiny":
        out["pitch/mean"] = out["pitch/mean"][:, 100:]
    return out


def _third_pool(network: Any, grid: torch.Tensor) -> torch.Tensor:
    """The last pooling of music_vgg, which has one step of frequency, flattened as the tags read it."""
    return dict(network.layers(grid))["pool5"].flatten(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_agrees_with_its_package(name: str) -> None:
    with torch.inference_mode():
        said = _said(name)
    for key, wanted in GOLDENS[name].items():
        got = said[key].flatten()[: len(wanted)].numpy()
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(got, wanted, atol=1e-4 * scale, err_msg=f"{name} {key}")


def test_goldens_are_of_every_net() -> None:
    assert set(GOLDENS) - {"about"} == set(NETS)
    assert all(
        len(v) >= 1 for rows in GOLDENS.values() if isinstance(rows, dict) for v in rows.values()
    )


# --- front ends and shapes of the networks, at random weights ---


def test_mel_power_is_its_definition() -> None:
    from etab.sounds.mel import slaney_bank

    x = made_sound()[:, :4000]
    for pad, mode in (("reflect", "reflect"), ("constant", "constant"), ("", "")):
        mel = MelPower(512, 160, 32, length=400, low=60, high=3800, pad=pad)(x)[0]
        row = np.pad(x[0].numpy(), 256, mode=mode) if mode else x[0].numpy()  # type: ignore[call-overload]
        taper = np.pad(np.hanning(401)[:-1], 56)
        frames = np.lib.stride_tricks.sliding_window_view(row, 512)[::160] * taper
        wanted = (
            np.abs(np.fft.rfft(frames)) ** 2 @ slaney_bank(16_000, 512, 32, low=60, high=3800).T
        )
        np.testing.assert_allclose(mel.numpy(), wanted, rtol=1e-3, atol=1e-6 * wanted.max())


def test_musicnn_compresses_and_pools_as_published() -> None:
    network = twin("musicnn_msd")
    x = made_sound()[:, :16_000]
    grid = network.spectrogram(x)
    np.testing.assert_allclose(grid, np.log10(10_000 * network.mel(x).numpy() + 1), rtol=1e-5)
    found = dict(network(x))
    every = torch.cat(
        [found["timbral"], found["temporal"], found["cnn1"], found["cnn2"], found["cnn3"]], 2
    )
    assert found["timbral"].shape == (1, 63, 408)
    assert torch.equal(found["pool"][:, 0::2], every.amax(1)), (
        "maximum and mean alternate, as the checkpoint has them"
    )
    assert torch.allclose(found["pool"][:, 1::2], every.mean(1), atol=1e-6)
    even = network.front[2]
    assert even.around == (63, 64), "an even filter has one sample less before it"


def test_resemblyzer_raises_quiet_windows_only_and_cuts_parts_by_half() -> None:
    network = twin("resemblyzer")
    x = made_sound()
    loud, quiet = network.louder(x), network.louder(1e-4 * x)
    assert torch.equal(loud, x)
    assert float(quiet.square().mean().sqrt()) == pytest.approx(10 ** (-30 / 20), rel=1e-4)
    assert not network.louder(torch.zeros(1, 100)).any()
    assert network.parts(x).shape == (1, 3, 160, 40)
    whole = network.mel(x)[0]
    assert torch.allclose(network.parts(x)[0, 1], whole[77:237], atol=1e-6)
    assert network.parts(x[:, : 25_600 + 2_000]).shape[1] == 1, (
        "a last part that is mostly padding is dropped"
    )
    norms = dict(network(x))["embedding"].norm(dim=1)
    assert torch.allclose(norms, torch.ones(1), atol=1e-5)


def test_speech_embedding_is_that_of_every_76_frames() -> None:
    network = twin("speech_embedding")
    grid = network.spectrogram(made_sound())
    assert float(grid.amax() - grid.amin()) <= 8 + 1e-4, "80 dB deep"
    whole = dict(network.layers(grid))["embedding"]
    assert whole.shape == (1, 31, 96)
    for i in (0, 7, 30):
        alone = dict(network.layers(grid[:, 8 * i : 8 * i + 76]))["embedding"]
        assert alone.shape[1] == 1
        assert torch.allclose(whole[:, i], alone[:, 0], atol=1e-4)
    both = torch.cat([made_sound(), 1e-4 * made_sound()])
    soft = network.spectrogram(both[1:])[0]
    assert torch.allclose(network.spectrogram(both)[1], soft, atol=1e-4), (
        "the depth is that of each window"
    )


def test_crepe_frames_are_centred_and_scaled() -> None:
    network = twin("crepe_tiny")
    x = made_sound()
    frames = network.frames(x)
    assert frames.shape == (1, 81, 1024)
    assert torch.allclose(frames.mean(2), torch.zeros(1, 81), atol=1e-5)
    assert torch.allclose(frames.std(2), torch.ones(1, 81), atol=1e-4)
    own = x[:, 640 * 9 - 512 : 640 * 9 + 512]
    assert torch.allclose(frames[:, 9], (own - own.mean()) / own.std(), atol=1e-5), (
        "frame 9 is centred at 360 ms"
    )


def test_silero_chunks_remember_what_came_before() -> None:
    network = twin("silero_vad")
    x = made_sound()
    chunks = network.chunks(x[:, :1300])
    assert chunks.shape == (1, 3, 576)
    assert not chunks[0, 0, :64].any()
    assert torch.equal(chunks[0, 1], x[0, 512 - 64 : 1024])
    assert not chunks[0, 2, 64 + 1300 - 1024 :].any()
    late = x.clone()
    late[:, :512] = 0
    whole, cut = dict(network(x)), dict(network(late))
    assert torch.equal(whole["conv4"][0, 2:], cut["conv4"][0, 2:])
    assert not torch.allclose(whole["lstm"][0, 2], cut["lstm"][0, 2]), (
        "the LSTM remembers earlier chunks"
    )
    assert dict(network(x))["lstm"].shape == (1, 100, 128)


@pytest.mark.parametrize(
    ("kernel", "stride"), [((4, 1), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4)), ((1, 2), (1, 2))]
)
def test_largest_values_are_those_of_max_pooling(
    kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 19, 13))).float()
    pooled = torch.nn.functional.max_pool2d(maps, kernel, stride)
    assert torch.equal(largest(maps, kernel, stride), pooled)


def test_pooling_is_mean_and_spread() -> None:
    rows = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
    found = sound_nets.pool([("a", rows), ("b", rows[:, 0])])
    assert found["a/mean"].tolist() == [[2.0, 4.0]]
    assert found["a/mean+std"].tolist() == [[2.0, 4.0, 1.0, 2.0]]
    assert found["b/vector"].tolist() == [[1.0, 2.0]]


def test_a_wave_of_another_type_is_refused() -> None:
    for name in ("random/silero_vad", "mel_stats"):
        backbone = backbones.card(name).load()
        with pytest.raises(UnsupportedOptionError, match=r"float32 \(n, samples\)"):
            backbone(torch.zeros(2, 4000, dtype=torch.float64))
        with pytest.raises(UnsupportedOptionError, match=r"float32 \(n, samples\)"):
            backbone(torch.zeros(4000))
    with pytest.raises(UnsupportedOptionError, match="fp32"):
        backbones.card("random/silero_vad").load().to("cpu", "bf16")  # type: ignore[attr-defined]


class _Seen(torch.nn.Module):
    """A network that remembers how many windows it was given at once."""

    shortest = 1

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
        self.seen.append(len(x))
        return [("samples", x[:, :, None]), ("last", x[:, -2:])]


@pytest.mark.parametrize(("windows", "parts"), [(1, [1]), (7, [7]), (8, [4, 4]), (13, [4, 4, 5])])
def test_windows_are_computed_a_few_at_a_time_and_never_alone(
    windows: int, parts: list[int]
) -> None:
    network = _Seen()
    backbone = SoundBackbone(backbones.card("silero_vad"), network)
    x = torch.randn(windows, 50)
    pooled = backbone(x).pooled
    assert network.seen == parts
    assert torch.equal(pooled["last/vector"], x[:, -2:])
    assert torch.equal(pooled["samples/mean"], x.mean(1, keepdim=True))
