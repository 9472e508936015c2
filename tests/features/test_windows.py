"""Windows of sound: how they are cut, the features of their backbones, and the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from etab import backbones
from etab.backbones.sound import networks as sound_nets
from etab.datasets.base import SoundSource
from etab.datasets.camus import CamusSource
from etab.datasets.circor import CircorSource
from etab.datasets.dataset import Dataset
from etab.errors import EtabWarning, UndefinedError, UnsupportedOptionError
from etab.features.windows import sound_precision, window_features
from etab.sounds.windows import resample
from etab.types import Features, Record


@pytest.fixture(scope="module")
def source(phantom_tree: Callable[..., Path]) -> CircorSource:
    return CircorSource(phantom_tree(["circor"], seed=3) / "circor")


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
    assert sound_precision("auto", card, "cuda") == "fp32"
    source = CircorSource(source.root)  # one of which no sound is kept
    monkeypatch.setattr(
        CircorSource, "wave", lambda self, record: (np.full(9000, np.nan, np.float32), 4000)
    )
    with pytest.raises(UndefinedError, match="not finite"):
        window_features(source, keys, card, data_digest="d")


def test_a_source_of_pictures_is_refused(phantom_tree: Callable[..., Path]) -> None:
    pictures = CamusSource(phantom_tree(["camus"]) / "camus")
    with pytest.raises(UnsupportedOptionError, match="holds no sound"):
        window_features(pictures, [], backbones.card("mel_stats"), data_digest="d")


@pytest.mark.real
@pytest.mark.parametrize("name", ["mel_stats", "random/resemblyzer", "random/mobilenetv2"])
def test_real_recordings(real_data: Path, name: str) -> None:
    real = CircorSource(real_data / "circor")
    found = window_features(real, _keys(real, 5.0), backbones.card(name), data_digest="d")
    assert all(np.isfinite(v).all() and v.std(0).max() > 0 for v in found.features.pooled.values())
