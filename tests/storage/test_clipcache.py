"""The clip cache gives back what was decoded, notices every damage, and is shared by processes."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from etab.datasets.dataset import Dataset
from etab.errors import EtabWarning, StorageError, UnsupportedOptionError
from etab.storage import clipcache
from etab.storage.clipcache import ClipCache, base_key, clip_key
from etab.types import Array
from tests.trees import camus, echonet

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (5, 30, 41)


def clip(i: int) -> Array:
    return np.random.default_rng(i).integers(0, 256, SHAPE).astype(np.uint8)


def key(i: int) -> bytes:
    return clip_key(base_key("made"), str(i), [], np.arange(5))


def never() -> Array:
    raise AssertionError("decoded although it is kept")


def fill(folder: Path, n: int = 6) -> ClipCache:
    cache = ClipCache(folder)
    for i in range(n):
        cache.get(key(i), lambda i=i: clip(i))  # type: ignore[misc]
    return cache


def part(folder: Path) -> Path:
    (path,) = folder.glob("*.clips")
    return path


def test_what_was_kept_is_given_back_read_only(tmp_path: Path) -> None:
    cache = fill(tmp_path / "c")
    for opened in (cache, ClipCache(tmp_path / "c"), pickle.loads(pickle.dumps(cache))):
        assert len(opened) == 6
        for i in range(6):
            found = opened.get(key(i), never)
            assert found.dtype == np.uint8
            assert np.array_equal(found, clip(i))
            assert not found.flags.writeable
    assert len(list((tmp_path / "c").glob("*.clips"))) == 1


def test_views_stay_good_while_the_part_grows_and_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipcache, "_RELEASE_BYTES", 1)
    cache = fill(tmp_path, 2)
    early = cache.get(key(0), never)
    for i in range(2, 40):
        cache.get(key(i), lambda i=i: clip(i))  # type: ignore[misc]
        assert np.array_equal(cache.get(key(i), never), clip(i))
    del cache
    assert np.array_equal(early, clip(0))


def test_a_new_part_is_begun_where_one_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipcache, "_PART_BYTES", 3 * clip(0).size)
    fill(tmp_path, 8)
    assert len(list(tmp_path.glob("*.clips"))) > 2
    assert all(np.array_equal(ClipCache(tmp_path).get(key(i), never), clip(i)) for i in range(8))


@pytest.mark.parametrize("which", [0, 3, 5])
@pytest.mark.parametrize("where", [0.0, 0.5, 0.999])
def test_each_flipped_bit_is_said_and_decoded_again(
    tmp_path: Path, which: int, where: float
) -> None:
    fill(tmp_path)
    raw = bytearray(part(tmp_path).read_bytes())
    at = raw.index(clip(which).tobytes()) + int(where * clip(which).size)
    raw[at] ^= 1
    part(tmp_path).write_bytes(raw)
    cache = ClipCache(tmp_path)
    with pytest.warns(EtabWarning, match=r"\.clips is damaged .*decoding it again"):
        assert np.array_equal(cache.get(key(which), lambda: clip(which)), clip(which))
    others = [i for i in range(6) if i != which]
    assert all(np.array_equal(cache.get(key(i), never), clip(i)) for i in others)
    again = ClipCache(tmp_path)
    assert np.array_equal(again.get(key(which), never), clip(which)), (
        "the damaged record comes back"
    )


@pytest.mark.parametrize("where", [0, 9, 25, 30, 40, 52, 60, 63])
def test_a_damaged_header_is_never_trusted(tmp_path: Path, where: int) -> None:
    fill(tmp_path)
    raw = bytearray(part(tmp_path).read_bytes())
    raw[where] ^= 0xFF
    part(tmp_path).write_bytes(raw)
    cache = ClipCache(tmp_path)
    assert np.array_equal(cache.get(key(0), lambda: clip(0)), clip(0))
    assert np.array_equal(cache.get(key(4), lambda: clip(4)), clip(4))


@pytest.mark.parametrize("keep", [0, 10, 100, 0.5, 0.99])
def test_a_torn_part_keeps_what_was_finished(tmp_path: Path, keep: float) -> None:
    fill(tmp_path)
    size = part(tmp_path).stat().st_size
    os.truncate(part(tmp_path), int(keep * size) if 0 < keep < 1 else int(keep))
    cache = ClipCache(tmp_path)
    whole = int((keep if 0 < keep < 1 else keep / size) * 6)
    assert len(cache) in (whole, whole - 1)
    assert all(np.array_equal(cache.get(key(i), lambda i=i: clip(i)), clip(i)) for i in range(6))  # type: ignore[misc]


def test_a_part_that_shrinks_while_it_is_open(tmp_path: Path) -> None:
    cache = fill(tmp_path)
    cache.get(key(5), never)
    os.truncate(part(tmp_path), 200)
    with pytest.warns(EtabWarning, match="damaged"):
        assert np.array_equal(cache.get(key(5), lambda: clip(5)), clip(5))


class _Small:
    """A file on a disk with little room."""

    def __init__(self, file: object, room: list[int]) -> None:
        self.file, self.room = file, room

    def write(self, block: bytes) -> int:
        kept = block[: self.room[0]]
        self.room[0] -= len(kept)
        self.file.write(kept)  # type: ignore[attr-defined]
        if len(kept) < len(block):
            raise OSError(28, "No space left on device")
        return len(kept)

    def __enter__(self) -> _Small:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)


def test_a_full_disk_is_an_error_that_leaves_the_cache_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = fill(tmp_path, 2)

    open_, room = Path.open, [100]

    def full(self: Path, mode: str = "r", **more: object) -> object:
        return (
            _Small(open_(self, mode, buffering=0), room)
            if mode == "ab"
            else open_(self, mode, **more)
        )  # type: ignore[call-overload]

    size = part(tmp_path).stat().st_size
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(StorageError, match="No space left on device"):
            cache.get(key(2), lambda: clip(2))
    assert part(tmp_path).stat().st_size == size, "a torn clip stays"
    assert len(ClipCache(tmp_path)) == 2
    assert np.array_equal(cache.get(key(2), lambda: clip(2)), clip(2))
    assert len(ClipCache(tmp_path)) == 3


WORKER = """
import sys, numpy as np
from pathlib import Path
from etab.storage.clipcache import ClipCache, base_key, clip_key
cache = ClipCache(Path(sys.argv[1]))
for i in range(12):
    made = np.random.default_rng(i).integers(0, 256, (5, 30, 41)).astype(np.uint8)
    cache.get(clip_key(base_key("made"), str(i), [], np.arange(5)), lambda: made)
"""


def test_processes_fill_one_cache(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], cwd=ROOT) for _ in range(2)
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    cache = ClipCache(tmp_path)
    assert len(cache) == 12
    assert all(np.array_equal(cache.get(key(i), never), clip(i)) for i in range(12))


def test_the_key_holds_all_that_decides(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"1")
    base, numbers = base_key("a", (224, 224)), np.arange(3)
    seen = {
        clip_key(base, "r", [path], numbers),
        clip_key(base, "s", [path], numbers),
        clip_key(base, "r", [path], numbers[::-1].copy()),
        clip_key(base, "r", [], numbers),
        clip_key(base_key("a", (112, 112)), "r", [path], numbers),
        clip_key(base_key("b", (224, 224)), "r", [path], numbers),
    }
    assert len(seen) == 6
    path.write_bytes(b"22")
    assert clip_key(base, "r", [path], numbers) not in seen
    os.utime(path, ns=(5, 5))
    first = clip_key(base, "r", [path], numbers)
    os.utime(path, ns=(6, 6))
    assert clip_key(base, "r", [path], numbers) != first


# --- Dataset ---


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("trees")
    return {"echonet": echonet.write(base / "echonet"), "camus": camus.write(base / "camus")}


OPTIONS: list[dict[str, object]] = [
    {"video": True, "clip_l": 8},
    {"video": True, "clip_l": 8, "fps": 10.0},
    {"video": True, "clip_l": 8, "padding": True, "frame_w": 60},
    {"frame_l": 50, "normalize": False},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_cached_samples_are_the_samples(
    trees: dict[str, Path], tmp_path: Path, options: dict[str, object]
) -> None:
    base = {"frame_l": 40, "frame_w": 40} | options
    plain = Dataset("echonet", "EF", root=trees["echonet"], **base)  # type: ignore[arg-type]
    for _ in range(2):
        kept = Dataset("echonet", "EF", root=trees["echonet"], cache=tmp_path / "c", **base)  # type: ignore[arg-type]
        for i in range(len(plain)):
            assert torch.equal(plain[i][0], kept[i][0])
    assert len(ClipCache(tmp_path / "c")) == len(plain)


def test_options_do_not_share_clips(trees: dict[str, Path], tmp_path: Path) -> None:
    for options in OPTIONS:
        base = {"frame_l": 40, "frame_w": 40, "root": trees["echonet"]} | options
        plain, kept = (Dataset("echonet", "EF", cache=cache, **base) for cache in (None, tmp_path))  # type: ignore[arg-type]
        assert torch.equal(plain[1][0], kept[1][0])
    assert len(ClipCache(tmp_path)) == len(OPTIONS)


def _no_frames(*_: object) -> Array:
    raise AssertionError("decoded although it is kept")


def test_the_cache_spares_the_decoding(
    trees: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETAB_CLIP_CACHE", str(tmp_path / "c"))

    def make() -> Dataset:
        return Dataset("camus", "LV_seg", frame_l=32, frame_w=32, root=trees["camus"])

    before = make()[3]
    monkeypatch.setattr("etab.datasets.camus.CamusSource.frames", _no_frames)
    after = make()[3]
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_a_changed_file_is_decoded_again(trees: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(trees["echonet"], tmp_path / "tree")
    one = Dataset("echonet", "EF", root=root, cache=tmp_path / "c")[0][0]
    echonet.write_avi(
        root / "Videos" / f"{echonet.names()[0]}.avi", [echonet.frame(3, k) for k in range(24)], 50
    )
    assert not torch.equal(Dataset("echonet", "EF", root=root, cache=tmp_path / "c")[0][0], one)


def test_workers_share_a_cache(trees: dict[str, Path], tmp_path: Path) -> None:
    ds = Dataset("echonet", "EF", root=trees["echonet"], frame_l=32, frame_w=32, cache=tmp_path)
    alone = torch.stack([ds[i][0] for i in range(len(ds))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch forks beside threads
        batches = [x for x, _ in DataLoader(ds, batch_size=2, num_workers=2)]
    assert torch.equal(torch.cat(batches), alone)


def test_a_cache_that_is_a_file_is_refused(trees: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(UnsupportedOptionError, match="which is a file"):
        Dataset("echonet", "EF", root=trees["echonet"], cache=tmp_path / "f")
