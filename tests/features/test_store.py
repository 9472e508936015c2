"""The feature store: entries are made in one step, by one process or several, and read by what decided them."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from etab import backbones
from etab.cli.cache import cache_command
from etab.errors import EtabWarning, FeaturesLostError, StorageError
from etab.features import store
from etab.features.batches import Batches, embed_batches
from etab.features.entries import load_batches, read_entry, write_entry
from etab.features.overlap import ahead
from etab.features.store import EntryKeys, FeatureStore
from etab.storage.claims import take_claim
from etab.types import Features

KEYS = EntryKeys((True,), ("a\0", "b\0"))


def _compute(backbone: Any, folder: Path | None) -> Batches:
    x = np.arange(2 * 64 * 64, dtype=np.uint8).reshape(2, 64, 64)
    return embed_batches(backbone, iter([x[:1], x[1:]]), 2, folder, maps=True)


def _get(cache: Path | None, **changes: Any) -> store.FrameFeatures:
    card = backbones.card(changes.get("name", "image_stats"))
    facts = changes.get("facts", {"size": 64})
    keys = changes.get("keys", KEYS)
    data = changes.get("data", "d")
    return FeatureStore(cache).get(card, facts, keys, _compute, data_digest=data)


def test_an_entry_is_read_back_by_everything_that_decided_it(tmp_path: Path) -> None:
    first = _get(tmp_path)
    again = _get(tmp_path)
    assert [first.from_cache, again.from_cache] == [False, True]
    assert first.key == again.key == _get(None).key
    for name, values in first.features.pooled.items():
        assert np.array_equal(values, again.features.pooled[name])
    changes: list[dict[str, Any]] = [
        {"name": "pixel_pca"},
        {"facts": {"size": 65}},
        {"data": "e"},
        {"keys": EntryKeys((False,), KEYS.text)},
        {"keys": EntryKeys((True,), ("b\0", "a\0"))},
    ]
    for change in changes:
        other = _get(tmp_path, **change)
        assert not other.from_cache
        assert other.key != first.key


@pytest.mark.parametrize("library", ["torch", "numpy", "timm", "opencv-python-headless"])
def test_features_of_another_version_of_a_library_are_computed_again(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _get(tmp_path)
    real = store.release_version
    monkeypatch.setattr(
        store, "release_version", lambda name: "0.0" if name == library else real(name)
    )
    store._libraries_digest.cache_clear()
    try:
        later = _get(tmp_path)
        assert not later.from_cache
        assert later.key == first.key  # a result that was published keeps its key
    finally:
        monkeypatch.undo()
        store._libraries_digest.cache_clear()
    assert _get(tmp_path).from_cache


def test_two_processes_that_make_one_entry_do_not_meet(tmp_path: Path) -> None:
    backbone = backbones.card("image_stats").load()
    temporary: list[Path] = []

    def outer(folder: Path) -> Batches:
        temporary.append(folder)
        collected = _compute(backbone, folder)

        def inner(other: Path) -> Batches:
            temporary.append(other)
            return _compute(backbone, other)

        write_entry(tmp_path / "entry", inner, load_batches)  # the other one is faster
        first.append((tmp_path / "entry").stat().st_ino)
        return collected

    first: list[int] = []

    features = write_entry(tmp_path / "entry", outer, load_batches)
    assert len(set(temporary)) == 2
    assert first == [(tmp_path / "entry").stat().st_ino]  # whoever reads it keeps what is read
    again = read_entry(tmp_path / "entry")
    assert again is not None
    assert set(again.pooled) == set(features.pooled)
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("odd")])
def test_what_fails_leaves_nothing_behind(error: Exception, tmp_path: Path) -> None:
    def compute(folder: Path) -> Batches:
        (folder / "map0.npy").write_bytes(b"half")
        raise error

    wanted = StorageError if isinstance(error, OSError) else ValueError
    with pytest.raises(wanted, match=r"No space left.*--cache|odd"):
        write_entry(tmp_path / "entry", compute, load_batches)
    assert not list(tmp_path.iterdir())


def test_rows_that_come_in_another_order_are_put_in_order() -> None:
    def backbone(x: Any) -> Features:
        return Features({"a/mean": x.float().mean((1, 2))[:, None]})

    x = np.arange(4, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)
    order = np.array([2, 0, 3, 1])
    came = embed_batches(backbone, iter([x[order]]), 4, None)  # type: ignore[arg-type]
    came.reorder(order)
    assert came.features().pooled["a/mean"][:, 0].tolist() == [0, 1, 2, 3]
    assert torch.is_tensor(backbone(torch.from_numpy(x)).pooled["a/mean"])


def test_reading_ahead_of_nothing_is_nothing() -> None:
    assert list(ahead([], lambda _: pytest.fail("nothing is read"))) == []
    assert [int(x[0]) for x in ahead([1, 2, 3], lambda n: np.array([n]))] == [1, 2, 3]


def test_an_entry_without_its_digest_is_not_believed(tmp_path: Path) -> None:
    _get(tmp_path)
    (text,) = tmp_path.rglob("entry.json")
    entry = json.loads(text.read_text())
    del entry["sha256"]
    text.write_text(json.dumps(entry))
    with pytest.warns(EtabWarning, match="entry.json has changed"):
        assert not _get(tmp_path).from_cache
    assert _get(tmp_path).from_cache


def test_a_damaged_entry_is_never_absent_for_its_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _get(tmp_path)
    (text,) = tmp_path.rglob("entry.json")
    map_file = text.parent / "map0.npy"
    map_file.write_bytes(map_file.read_bytes()[:-1] + b"x")
    real = shutil.rmtree
    deleted: list[Path] = []

    def remove(path: Path, **options: Any) -> None:
        deleted.append(path)
        assert text.exists()
        real(path, **options)

    monkeypatch.setattr(shutil, "rmtree", remove)
    with pytest.warns(EtabWarning, match="map0.npy has changed"):
        _get(tmp_path)
    assert text.parent not in deleted


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    key = _get(tmp_path).key
    (text,) = tmp_path.rglob("entry.json")
    folder = text.parent
    shutil.rmtree(folder)
    left = folder.with_name(f"{folder.name}.0123.part")
    left.mkdir()
    other = folder.with_name(f"{key}0.0123.part")
    other.mkdir()
    assert not _get(tmp_path).from_cache
    assert [left.exists(), other.exists()] == [False, True]


def test_an_entry_that_another_process_computes_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _get(tmp_path)
    (text,) = tmp_path.rglob("entry.json")
    folder = text.parent
    hidden = tmp_path / "hidden"
    folder.rename(hidden)
    claim = take_claim(folder.with_name(f"{folder.name}.claim"))
    assert claim is not None
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        hidden.rename(folder)

    monkeypatch.setattr(store.time, "sleep", sleep)
    assert _get(tmp_path).from_cache
    assert len(waits) == 1
    claim.release()


def test_features_that_are_deleted_while_they_are_used_are_named(tmp_path: Path) -> None:
    maps = _get(tmp_path).features.maps
    shutil.rmtree(tmp_path / "features")
    with pytest.raises(FeaturesLostError, match="was deleted while it was in use"):
        np.asarray(maps[0])


def test_damage_and_litter_of_a_cache_are_named_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _get(tmp_path)
    (text,) = tmp_path.rglob("entry.json")
    assert json.loads(text.read_text())["seconds"] >= 0
    name = text.parent.name
    old, young, claimed_part = (
        text.parent.with_name(f"{name[:-1]}{i}.0123.part") for i in range(3)
    )
    for part in (old, young, claimed_part):
        part.mkdir()
    for part in (old, claimed_part):
        os.utime(part, (1.0, 1.0))
    claim = take_claim(claimed_part.with_name(f"{name[:-1]}2.claim"))
    assert claim is not None
    cache_command(cache=tmp_path, clear=False, verify=True, clean=True)
    assert [old.exists(), young.exists(), claimed_part.exists()] == [False, True, True]
    assert "1 of 1 entries are as they were written" in capsys.readouterr().out
    claim.release()
    (text.parent / "map0.npy").write_bytes(b"odd")
    with pytest.raises(typer.Exit):
        cache_command(cache=tmp_path, clear=False, verify=True, clean=False)
    assert "map0.npy has changed" in capsys.readouterr().out


@pytest.mark.parametrize("fact", ["name", "version", "seed"])
def test_a_remembered_digest_belongs_to_one_card(fact: str, tmp_path: Path) -> None:
    """The digest of the weights of an earlier run serves the same network alone."""
    card = replace(backbones.card("image_stats"), sha256="a" * 64)
    other = replace(card, **{fact: {"name": "another", "version": "9", "seed": 9}[fact]})
    assert store._fingerprint(card)
    assert store._fingerprint(other) != store._fingerprint(card)
