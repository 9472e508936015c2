"""Entries in shards: a kill loses one shard, processes share them, and the entry is as in one piece."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from etab import backbones
from etab.cli.cache import cache_command
from etab.errors import CorruptFileError, EtabWarning, StorageError, UnsupportedOptionError
from etab.features import budget, merged, shards
from etab.features.batches import Batches, embed_batches
from etab.features.entries import SHARDS, remove_litter
from etab.features.layout import write_pooled
from etab.features.shards import Shards, UnfinishedEntry
from etab.features.store import EntryKeys, FeatureStore, FrameFeatures
from etab.storage.claims import claimed, take_claim

BATCH = 4
N = 46
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 64, 64)).astype(np.uint8)


class Work:
    """Embeds numbered rows, and counts them."""

    def __init__(self, order: Any = None, fails_at: int = N) -> None:
        self.order = order
        self.fails_at = fails_at
        self.rows: list[int] = []

    def shards(self, size: int = 16) -> Shards:
        sizes = [min(BATCH, N - first) for first in range(0, N, BATCH)]
        ends = np.cumsum([0, *sizes]).tolist()
        return Shards((*ends[: -1 : size // BATCH], N), self.prepare, self.order)

    def prepare(self, backbone: Any) -> Any:
        def embed(folder: Path | None, first: int, last: int) -> Batches:
            maps = self.order is None
            return embed_batches(
                backbone, self.batches(first, last), last - first, folder, maps=maps
            )

        return embed

    def batches(self, first: int, last: int) -> Iterator[Any]:
        rows = np.arange(N) if self.order is None else self.order
        for start in range(first, last, BATCH):
            if start >= self.fails_at:
                raise KeyboardInterrupt
            some = rows[start : min(start + BATCH, last)]
            self.rows += some.tolist()
            yield PIXELS[some]


def _get(cache: Path | None, work: Work, *, size: int = 16) -> FrameFeatures:
    card = backbones.card("image_stats")
    parts = work.shards(size)
    return FeatureStore(cache).get(
        card, {}, EntryKeys((True,)), parts.compute, data_digest="d", shards=parts
    )


def _files(cache: Path) -> dict[str, bytes]:
    """The files of the one entry of a cache; its time is left out."""
    (text,) = cache.rglob("entry.json")
    files = {path.name: path.read_bytes() for path in text.parent.iterdir()}
    entry = json.loads(files.pop("entry.json"))
    del entry["seconds"], entry["sha256"]
    return {**files, "entry.json": json.dumps(entry).encode()}


def _left(cache: Path) -> list[str]:
    """What lies beside the one entry of a cache."""
    return [path.name for path in cache.glob("features/*/*") if not (path / "entry.json").exists()]


@pytest.mark.parametrize("order", [None, np.random.default_rng(1).permutation(N)])
def test_an_entry_in_shards_has_the_bytes_of_one_in_one_piece(order: Any, tmp_path: Path) -> None:
    whole = _get(tmp_path / "one", Work(order), size=48)
    work = Work(order)
    parts = _get(tmp_path / "parts", work)
    assert sorted(work.rows) == list(range(N))
    assert [parts.key, parts.from_cache] == [whole.key, False]
    assert _files(tmp_path / "parts") == _files(tmp_path / "one")
    assert set(_left(tmp_path / "parts")) <= {"weights.json"}
    for name, values in whole.features.pooled.items():
        assert np.array_equal(parts.features.pooled[name], values)
    again = Work(order)
    assert _get(tmp_path / "parts", again).from_cache
    assert again.rows == []


def test_the_library_reads_what_is_written_for_it(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    for names in (["b/mean", "a/cls", "a/größe"], ["Z", "a", "_", 'q"\\\t'], ["x"]):
        arrays = {name: np.full((2, i + 1), i, np.float32) for i, name in enumerate(names)}
        save_file(arrays, str(tmp_path / "library"))
        write_pooled(tmp_path / "ours", arrays)
        assert (tmp_path / "ours").read_bytes() == (tmp_path / "library").read_bytes()


@pytest.mark.parametrize("at", [0, 4, 16, 28, 44])
def test_what_ends_early_loses_one_shard(at: int, tmp_path: Path) -> None:
    _get(tmp_path / "one", Work(), size=48)
    first = Work(fails_at=at)
    with pytest.raises(KeyboardInterrupt):
        _get(tmp_path / "parts", first)
    second = Work()
    assert not _get(tmp_path / "parts", second).from_cache
    again = set(first.rows) & set(second.rows)
    assert len(again) < 16
    assert set(first.rows) | set(second.rows) == set(range(N))
    assert _files(tmp_path / "parts") == _files(tmp_path / "one")


def test_shards_of_another_division_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _get(tmp_path, Work(fails_at=28))
    work = Work()
    _get(tmp_path, work, size=8)
    assert sorted(work.rows) == list(range(N))
    (left,) = [name for name in _left(tmp_path) if name.endswith(SHARDS)]
    assert remove_litter(tmp_path)[0].name == left  # its entry is complete


@pytest.mark.parametrize("name", ["0-16", "16-32.merged", "whole/map0.npy", "layout.json", "whole"])
def test_damaged_parts_of_an_unfinished_entry_are_computed_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _get(tmp_path / "one", Work(), size=48)
    if name == "0-16":  # killed between computing and copying
        monkeypatch.setattr(shards.UnfinishedEntry, "merge", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        _get(tmp_path / "parts", Work(fails_at=40))
    monkeypatch.undo()
    (folder,) = (tmp_path / "parts").glob(f"features/*/*{SHARDS}")
    _damage(folder / name)
    work = Work()
    if name in ("layout.json", "whole"):
        _get(tmp_path / "parts", work)
    else:
        with pytest.warns(EtabWarning, match="damaged"):
            _get(tmp_path / "parts", work)
    assert _files(tmp_path / "parts") == _files(tmp_path / "one")
    assert set(_left(tmp_path / "parts")) <= {"weights.json"}


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _damage(path: Path) -> None:
    """Turn one bit near the end of a file, or of a map of a shard; or delete a folder."""
    if path.name == "whole":
        shutil.rmtree(path)
        return
    if path.is_dir():
        path = path / "map0.npy"
    data = bytearray(path.read_bytes())
    data[200 if path.suffix == ".npy" else -2] ^= 1
    path.write_bytes(bytes(data))


def test_unfinished_entries_are_listed_verified_and_deleted_by_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _get(tmp_path, Work(fails_at=40))
    cache_command("verify", tmp_path, clear=False, verify=False, clean=False)
    assert "unfinished" in capsys.readouterr().out
    (entry,) = budget.unfinished_entries(tmp_path)
    assert budget.cached_entries(tmp_path) == []
    _damage(entry.path / "whole" / "map0.npy")
    with pytest.raises(typer.Exit):
        cache_command("verify", tmp_path, clear=False, verify=False, clean=False)
    assert "0-16: its copied rows have changed" in capsys.readouterr().out
    assert remove_litter(tmp_path, older_than=0.0) == []  # a resumed run goes on with it
    claim = take_claim(entry.path / "32-46.claim")
    assert claim is not None
    assert budget.evict(tmp_path, 0) == []
    claim.release()
    assert [gone.path for gone in budget.evict(tmp_path, 0)] == [entry.path]
    assert not entry.path.exists()


def test_a_disk_that_is_too_small_is_noticed_after_one_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged, "_SPARE", 1 << 60)
    first = Work()
    with pytest.raises(StorageError, match=r"will take 0\.0 GB; .* GB are free.*--cache"):
        _get(tmp_path, first)
    assert first.rows == list(range(16))
    monkeypatch.undo()
    second = Work()
    _get(tmp_path, second)
    assert second.rows == list(range(16, N))


def test_the_size_of_large_features_is_told_after_one_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged, "_LARGE", 0)
    work = Work()
    with pytest.warns(EtabWarning, match=r"will take 0\.0 GB; .* GB are free"):
        _get(tmp_path, work)
    assert work.rows == list(range(N))


def test_a_cache_that_is_deleted_in_the_middle_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Work.batches

    def deleting(self: Work, first: int, last: int) -> Iterator[Any]:
        for batch in real(self, first, last):
            if first == 32 and len(self.rows) == 40:
                shutil.rmtree(tmp_path / "parts" / "features")
            yield batch

    _get(tmp_path / "one", Work(), size=48)
    monkeypatch.setattr(Work, "batches", deleting)
    assert not _get(tmp_path / "parts", Work()).from_cache
    assert _files(tmp_path / "parts") == _files(tmp_path / "one")


def test_features_that_change_their_names_are_refused(tmp_path: Path) -> None:
    work = Work()
    real = work.prepare

    def prepare(backbone: Any) -> Any:
        def embed(folder: Path | None, first: int, last: int) -> Batches:
            collected: Batches = real(backbone)(folder, first, last)
            if first:
                collected.pooled = {"other/mean": next(iter(collected.pooled.values()))}
            return collected

        return embed

    parts = Shards(work.shards().edges, prepare)
    card = backbones.card("image_stats")
    with pytest.raises(CorruptFileError, match="different names or shapes in two shards"):
        FeatureStore(tmp_path).get(
            card, {}, EntryKeys(), parts.compute, data_digest="d", shards=parts
        )


_CODE = """
import os, signal, sys, time
from pathlib import Path
from tests.features import test_shards as t

class Logged(t.Work):
    def batches(self, first, last):
        for batch in super().batches(first, last):
            with open(sys.argv[2], "a") as log:
                log.write(" ".join(map(str, self.rows[-len(batch):])) + " ")
            if len(self.rows) >= int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.02)
            yield batch

t._get(Path(sys.argv[1]), Logged())
"""


def _started(cache: Path, log: Path, killed_after: int = 10 * N) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _CODE, str(cache), str(log), str(killed_after)])


@pytest.mark.slow
def test_a_killed_process_loses_one_shard_at_most(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for killed_after in (10, 26):
        process = _started(tmp_path / "parts", log, killed_after)
        assert process.wait(timeout=100) == -signal.SIGKILL
    lost = [int(word) for word in log.read_text().split()]
    work = Work()
    _get(tmp_path / "parts", work)
    _get(tmp_path / "one", Work(), size=48)
    assert _files(tmp_path / "parts") == _files(tmp_path / "one")
    assert set(_left(tmp_path / "parts")) <= {"weights.json"}
    rows = lost + work.rows
    assert set(rows) == set(range(N))
    assert len(rows) - N <= 2 * 16  # one shard for each of the two kills


def test_a_shard_that_another_process_computes_is_left_to_it(tmp_path: Path) -> None:
    work = Work()
    entry = UnfinishedEntry(tmp_path / "entry", work.shards())
    entry.folder.mkdir()
    embed = work.prepare(backbones.card("image_stats").load())
    with claimed(entry.folder / "0-16.claim") as is_mine:
        assert is_mine
        assert entry.compute_next(embed, "features", lambda: False)
    assert work.rows == list(range(16, 32))


@pytest.mark.slow
def test_processes_share_the_shards_of_an_entry(tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [_started(tmp_path / "parts", log) for _ in range(3)]
    assert [process.wait(timeout=200) for process in processes] == [0] * 3
    assert sorted(map(int, log.read_text().split())) == list(range(N))
    _get(tmp_path / "one", Work(), size=48)
    assert _files(tmp_path / "parts") == _files(tmp_path / "one")
    assert set(_left(tmp_path / "parts")) <= {"weights.json"}


def test_the_size_of_shards_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(shards.SIZE_VARIABLE, "8")
    assert shards.shard_edges([4, 4, 4, 4, 2], 4) == (0, 8, 16, 18)
    assert shards.shard_edges([4, 4], 16) == (0, 4, 8)


@pytest.mark.parametrize("text", ["0", "-1", "many", "2.5", "1e3", "9" * 30])
def test_a_size_that_is_no_number_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(shards.SIZE_VARIABLE, text)
    with pytest.raises(UnsupportedOptionError, match="number of frames of a shard"):
        shards.shard_edges([4], 4)


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Refuses, from its call on, every file and folder that is made below a folder."""

    def refuse_below(folder: Path) -> None:
        def refused(call: Any) -> Any:
            def checked(path: Any, *rest: Any, **more: Any) -> Any:
                writes = call is mkdir or (rest and rest[0] & os.O_CREAT)
                if writes and str(path).startswith(str(folder)):
                    raise OSError(errno.EROFS, "Read-only file system")
                return call(path, *rest, **more)

            return checked

        mkdir = os.mkdir
        monkeypatch.setattr(os, "open", refused(os.open))
        monkeypatch.setattr(os, "mkdir", refused(mkdir))

    return refuse_below


def test_a_read_only_cache_is_read(tmp_path: Path, read_only: Callable[[Path], None]) -> None:
    first = _get(tmp_path, Work())
    read_only(tmp_path)
    again = _get(tmp_path, Work())
    assert again.from_cache
    assert all(
        np.array_equal(first.features.pooled[k], v) for k, v in again.features.pooled.items()
    )


@pytest.mark.parametrize("size", [16, 64], ids=["in shards", "in one piece"])
def test_a_read_only_cache_is_named_before_anything_is_computed(
    size: int, tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    work = Work()
    read_only(tmp_path)
    with pytest.raises(StorageError, match=r"Read-only file system.*name another"):
        _get(tmp_path, work, size=size)
    assert work.rows == []


@pytest.mark.parametrize("is_cached", [True, False])
def test_every_batch_is_embedded_in_reused_memory(
    is_cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    depth: list[int] = []
    seen: list[int] = []

    @contextlib.contextmanager
    def kept() -> Iterator[None]:
        depth.append(1)
        yield
        depth.pop()

    monkeypatch.setattr(shards, "freed_memory_kept", kept)
    work = Work()
    read = work.batches

    def watched(first: int, last: int) -> Iterator[Any]:
        for batch in read(first, last):
            seen.append(len(depth))
            yield batch

    monkeypatch.setattr(work, "batches", watched)
    _get(tmp_path if is_cached else None, work)
    assert seen == [1] * -(-N // BATCH)
    assert not depth
