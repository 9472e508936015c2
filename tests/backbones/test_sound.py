"""Backbones of sound: cards without weights, contracts, agreement with the packages, windows to features, the cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from etab import backbones, phantom
from etab.backbones.sound import networks as sound_nets
from etab.backbones.sound.front_end import MelPower
from etab.backbones.weights import index as weights
from etab.backbones.weights.containers import tf_checkpoint, tflite
from etab.datasets.base import SoundSource
from etab.datasets.circor import CircorSource
from etab.datasets.dataset import Dataset
from etab.errors import EtabWarning, UndefinedError, UnsupportedOptionError, WeightsError
from etab.features import windows as features_sound
from etab.features.windows import window_features
from etab.testing.backbones import check_backbone
from etab.types import Features, Record

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


@pytest.mark.parametrize("name", [*TWINS, *CONTROLS])
def test_contract(name: str) -> None:
    check_backbone(backbones.card(name))


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


# --- weights ---


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _table(entries: dict[bytes, bytes]) -> bytes:
    """A sorted string table with one block, as TensorFlow writes its checkpoints' index."""

    def block(rows: dict[bytes, bytes]) -> bytes:
        body = b"".join(b"\0" + _varint(len(k)) + _varint(len(v)) + k + v for k, v in rows.items())
        return body + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")

    data = block(entries)
    index = block({b"z": _varint(0) + _varint(len(data))})
    table = data + b"\0crc0" + index + b"\0crc0"
    handles = _varint(0) + _varint(0) + _varint(len(data) + 5) + _varint(len(index))
    return table + handles.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def _proto(shape: Sequence[int], offset: int, size: int, kind: int = 1) -> bytes:
    dims = b"".join(b"\x12" + _varint(1 + len(_varint(d))) + b"\x08" + _varint(d) for d in shape)
    return (
        b"\x08"
        + _varint(kind)
        + b"\x12"
        + _varint(len(dims))
        + dims
        + b"\x20"
        + _varint(offset)
        + b"\x28"
        + _varint(size)
    )


def test_a_checkpoint_is_read_without_its_library(tmp_path: Path) -> None:
    values = np.arange(6, dtype="<f4")
    rows = {b"": b"\x08\x01", b"a/kernel": _proto((2, 3), 4, 24), b"b": _proto((), 0, 4)}
    (tmp_path / "i").write_bytes(_table(rows))
    (tmp_path / "d").write_bytes(np.float32(7).tobytes() + values.tobytes())
    found = tf_checkpoint(tmp_path / "i", tmp_path / "d")
    assert found["a/kernel"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["b"].shape == ()
    assert float(found["b"]) == 7
    (tmp_path / "d").write_bytes(b"short")
    with pytest.raises(WeightsError, match="no checkpoint that can be read"):
        tf_checkpoint(tmp_path / "i", tmp_path / "d")
    (tmp_path / "i").write_bytes(_table({b"a": _proto((1,), 0, 4, kind=7)}))
    with pytest.raises(WeightsError, match="type 7"):
        tf_checkpoint(tmp_path / "i", tmp_path / "d")


@pytest.mark.parametrize(
    "content", [b"", b"x" * 60, b"\x10\0\0\0TFL3", b"\x10\0\0\0TFL3" + b"\xff" * 64]
)
def test_damaged_containers_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="that can be read here"):
        tflite(path)
    with pytest.raises(WeightsError, match="that can be read here"):
        tf_checkpoint(path, path)


def test_both_members_of_a_checkpoint_are_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ETAB_CACHE", str(tmp_path))
    what = weights.entry("musicnn_msd")
    assert {"beside", "beside_sha256"} <= set(what)
    assert weights.beside("crepe_tiny") is None
    assert not weights.at_hand("musicnn_msd")
    (tmp_path / "weights").mkdir()
    place = weights._fetched("musicnn_msd", what)
    place.write_bytes(b"one half")
    assert not weights.at_hand("musicnn_msd"), "half a checkpoint is not at hand"
    other = weights._fetched("musicnn_msd", weights._other(what))
    assert other != place
    other.write_bytes(b"other half")
    assert weights.at_hand("musicnn_msd")
    with pytest.raises(WeightsError, match=what["beside_sha256"]):
        weights.beside("musicnn_msd")


# --- windows ---


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> CircorSource:
    folder = tmp_path_factory.mktemp("sounds")
    phantom.write_sounds(folder, patients=12, seed=3)
    return CircorSource(folder / "circor")


def _keys(source: SoundSource, length: float = 2.0) -> list[tuple[Record, float, float]]:
    return [(record, start, length) for record in source.records()[:3] for start in (0.0, 1.25)]


def _same(a: Features, b: Features, rows: Any = slice(None)) -> bool:
    return all(np.allclose(a.pooled[k], np.asarray(b.pooled[k])[rows], atol=1e-4) for k in a.pooled)


@pytest.mark.parametrize("name", ["mel_stats", "random/silero_vad", "image_stats", "pixel_pca"])
def test_rows_come_in_the_order_of_the_keys(source: CircorSource, name: str) -> None:
    card = backbones.card(name)
    keys = _keys(source)
    keys.insert(3, (keys[0][0], 0.5, 1.0))
    whole = window_features(source, keys, card, data_digest="d", batch_size=2)
    assert len(whole.features) == len(keys)
    assert whole.features.maps == ()
    back = window_features(source, keys[::-1], card, data_digest="d")
    assert _same(whole.features, back.features, slice(None, None, -1))
    alone = window_features(source, [keys[3]], card, data_digest="d")
    assert _same(alone.features, whole.features, [3])
    other = window_features(source, [keys[-1]], card, data_digest="d")
    assert _same(other.features, whole.features, [-1]), "another recording has its own sound"
    assert back.key != whole.key
    assert whole.settings["modality"] == card.modality


def test_a_window_is_cut_at_the_rate_of_the_backbone(source: CircorSource) -> None:
    from etab.sounds.windows import resample

    seen: list[torch.Tensor] = []
    card = backbones.card("random/silero_vad")
    record = source.records()[0]

    class Spy:
        def digest(self) -> str:
            return "spy"

        def to(self, device: str, precision: str) -> Spy:
            return self

        def __call__(self, x: torch.Tensor) -> Features:
            seen.append(x)
            return Features({"a/mean": x[:, :3]})

    from dataclasses import replace

    spy = replace(card, load=Spy)
    window_features(source, [(record, 1.5, 0.75)], spy, data_digest="d")
    samples, rate = source.wave(record)
    wanted = resample(samples, rate, 16_000)[24_000:36_000]
    assert seen[0].dtype == torch.float32
    np.testing.assert_allclose(seen[0][0].numpy(), wanted, atol=1e-6)
    end = len(samples) / rate
    window_features(source, [(record, end - 0.25, 0.5)], spy, data_digest="d")
    n = round((end - 0.25) * 16_000)
    whole = resample(samples, rate, 16_000)
    np.testing.assert_allclose(
        seen[1][0, len(whole) - n :].numpy(), whole[: 8_000 - (len(whole) - n)], atol=1e-6
    )


def test_a_backbone_of_pictures_sees_the_picture_of_the_dataset(source: CircorSource) -> None:
    from dataclasses import replace

    seen: list[torch.Tensor] = []

    class Spy:
        def digest(self) -> str:
            return "spy"

        def to(self, device: str, precision: str) -> Spy:
            return self

        def __call__(self, x: torch.Tensor) -> Features:
            seen.append(x)
            return Features({"a/mean": x.float().flatten(1)[:, :2]})

    data = Dataset("circor", "murmur", video=False, normalize=False, root=source.root.parent)
    sample = data.sample(0)
    record = next(r for r in source.records() if r.id == sample.id)
    card = replace(backbones.card("random/mobilenetv2"), load=Spy)
    window_features(source, [(record, 0.0, 5.0)], card, data_digest="d")
    assert seen[0].dtype == torch.uint8
    assert tuple(seen[0].shape) == (1, 224, 224)
    np.testing.assert_allclose(seen[0][0].numpy() / 255, sample.x[0].numpy(), atol=0.5 / 255 + 1e-6)


def test_features_are_kept_read_back_and_mended(source: CircorSource, tmp_path: Path) -> None:
    card, keys = backbones.card("mel_stats"), _keys(source)
    first = window_features(source, keys, card, cache=tmp_path, data_digest="d")
    again = window_features(source, keys, card, cache=tmp_path, data_digest="d")
    assert (first.from_cache, again.from_cache) == (False, True)
    assert all(
        np.array_equal(first.features.pooled[k], again.features.pooled[k])
        for k in first.features.pooled
    )
    assert first.features.pooled["mel/mean"].dtype == np.float32
    others = [
        window_features(
            source, [(r, s + 0.1, n) for r, s, n in keys], card, cache=tmp_path, data_digest="d"
        ),
        window_features(
            source, [(r, s, n + 0.1) for r, s, n in keys], card, cache=tmp_path, data_digest="d"
        ),
        window_features(source, keys, card, cache=tmp_path, data_digest="e"),
    ]
    assert len({first.key, *(o.key for o in others)}) == 4
    assert not any(o.from_cache for o in others)
    (kept,) = tmp_path.glob(f"features/mel_stats/{first.key}*/pooled.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.warns(EtabWarning, match="damaged"):
        mended = window_features(source, keys, card, cache=tmp_path, data_digest="d")
    assert not mended.from_cache
    assert _same(mended.features, first.features)


def test_a_twin_is_not_built_again_for_what_is_kept(
    source: CircorSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, keys = backbones.card("random/silero_vad"), _keys(source)
    window_features(source, keys, card, cache=tmp_path, data_digest="d")
    monkeypatch.setattr(sound_nets, "NETS", {})
    assert window_features(source, keys, card, cache=tmp_path, data_digest="d").from_cache


def test_progress_counts_to_the_end(source: CircorSource) -> None:
    said: list[tuple[int, int]] = []
    window_features(
        source,
        _keys(source),
        backbones.card("mel_stats"),
        data_digest="d",
        batch_size=4,
        progress=lambda k, n: said.append((k, n)),
    )
    assert said == [(4, 6), (6, 6)]


@pytest.mark.parametrize(
    ("start", "length", "said"),
    [
        (-1.0, 2.0, "starts at -1"),
        (0.0, 0.0, "lasts 0"),
        (0.0, float("nan"), "lasts nan"),
        (1e4, 2.0, "the recording lasts"),
    ],
)
def test_a_window_without_sound_is_refused(
    source: CircorSource, start: float, length: float, said: str
) -> None:
    record = source.records()[0]
    with pytest.raises(UnsupportedOptionError, match=said):
        window_features(
            source, [(record, start, length)], backbones.card("mel_stats"), data_digest="d"
        )


def test_what_cannot_be_embedded_is_refused(
    source: CircorSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, card = _keys(source), backbones.card("mel_stats")
    with pytest.raises(UnsupportedOptionError, match="No window"):
        window_features(source, [], card, data_digest="d")
    with pytest.raises(UnsupportedOptionError, match="possible: auto, fp32"):
        window_features(source, keys, card, data_digest="d", precision="bf16")
    assert features_sound.sound_precision("auto", card, "cuda") == "fp32"
    monkeypatch.setattr(
        CircorSource, "wave", lambda self, record: (np.full(9000, np.nan, np.float32), 4000)
    )
    with pytest.raises(UndefinedError, match="not finite"):
        window_features(source, keys, card, data_digest="d")


def test_a_source_of_pictures_is_refused(tmp_path: Path) -> None:
    from etab.datasets.camus import CamusSource

    phantom.write(tmp_path, names=["camus"], patients=10, size=48)
    with pytest.raises(UnsupportedOptionError, match="holds no sound"):
        window_features(
            CamusSource(tmp_path / "camus"), [], backbones.card("mel_stats"), data_digest="d"
        )


@pytest.mark.real
@pytest.mark.parametrize("name", ["mel_stats", "random/resemblyzer", "random/mobilenetv2"])
def test_real_recordings(real_data: Path, name: str) -> None:
    real = CircorSource(real_data / "circor")
    found = window_features(real, _keys(real, 5.0), backbones.card(name), data_digest="d")
    assert all(np.isfinite(v).all() and v.std(0).max() > 0 for v in found.features.pooled.values())
