"""Maps and points of tens of thousands of frames: what outgrows memory lies on disk, and no answer changes."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab import heads
from etab.errors import StorageError, UnsupportedOptionError
from etab.features.batches import embed_batches
from etab.features.frames import row_features
from etab.features.lazy import JoinedMap, PickedMap, StoredMap
from etab.heads.masks.linear import LinearSeg
from etab.heads.masks.logistic import MaskLogistic
from etab.storage.memory import Spill, limit_memory
from etab.testing.heads import made_features, made_splits, made_target
from etab.types import Features, Kind

SHAPE = (40, 3, 5)
ROWS = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float16)


def _filled(budget: int, folder: Path | None = None) -> Spill:
    spill = Spill(SHAPE, budget=budget, folder=folder)
    for start in range(0, len(ROWS), 7):
        spill.put(start, ROWS[start : start + 7])
    return spill


@pytest.mark.parametrize("rows", [slice(None), slice(3, 20, 4), np.array([5, 2, 39, 2]), 7])
def test_both_places_give_the_same_rows(rows: Any, tmp_path: Path) -> None:
    held, kept = _filled(ROWS.nbytes), _filled(ROWS.nbytes - 1, tmp_path)
    assert (held.held, kept.held) == (True, False)
    for spill in (held, kept):
        assert len(spill) == 40
        assert spill[rows].dtype == np.float16
        assert np.array_equal(spill[rows], ROWS[rows])
        assert np.array_equal(np.asarray(spill, dtype=np.float32), ROWS.astype(np.float32))
        if isinstance(rows, np.ndarray):
            out = np.full((len(rows), *SHAPE[1:-1], SHAPE[-1] + 2), 9, dtype=np.float32)
            spill.widened(rows, out[..., :-2])
            assert np.array_equal(out[..., :-2], ROWS[rows].astype(np.float32))
            assert (out[..., -2:] == 9).all()
    assert not isinstance(kept[rows], np.memmap)
    assert list(tmp_path.iterdir()) == [], "the file has no name"


def test_a_folder_that_cannot_be_written_is_not_needed(tmp_path: Path) -> None:
    assert np.array_equal(_filled(0, tmp_path / "absent")[:], ROWS)


def test_no_room_is_said_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1 << 40, 1 << 40, 1 << 20))
    with pytest.raises(
        StorageError, match=r"0\.9 GiB that outgrow memory .* 0\.0 GiB are free.*--cache"
    ):
        Spill((10_000, 50_000), budget=1 << 20, folder=tmp_path)


# --- the linear segmentation probe ---


def _stored(maps: tuple[Any, ...], folder: Path) -> tuple[StoredMap, ...]:
    (folder / "entry").mkdir()
    for i, m in enumerate(maps):
        np.save(folder / "entry" / f"map{i}.npy", m)
    return tuple(StoredMap(folder / "entry" / f"map{i}.npy") for i in range(len(maps)))


@pytest.mark.parametrize("kind", [LinearSeg, MaskLogistic])
def test_points_on_disk_give_the_very_same_answers(
    kind: type[LinearSeg | MaskLogistic], tmp_path: Path
) -> None:
    found, masks = made_features(Kind.MASK)
    patients, splits = made_splits()
    fits = []
    for budget, maps in (
        (1 << 30, found.maps),
        (0, found.maps),
        (0, _stored(found.maps, tmp_path)),
    ):
        memo: dict[Any, Any] = {}
        head = kind(budget=budget)
        fits.append(
            head.cross_fit(
                Features({}, maps),
                masks,
                patients,
                splits,
                made_target(Kind.MASK),
                rng=np.random.default_rng(0),
                memo=memo,
            )
        )
        assert {p.values.held for p in memo["linear_seg points"][1].values()} == {budget > 0}
    for other in fits[1:]:
        for one, two in zip(fits[0], other, strict=True):
            assert one.choice == two.choice
            assert all(
                np.array_equal(a, b) for a, b in zip(one.predictions, two.predictions, strict=True)
            )


@pytest.mark.parametrize("name", ["linear_seg", "mask_logistic"])
def test_the_default_budget_is_two_gibibytes(name: str) -> None:
    head = heads.head(name)
    assert isinstance(head, LinearSeg | MaskLogistic)
    assert head.budget == 2 << 30


SCRIPT = """
import resource, sys
import numpy as np
from etab import heads
from etab.splits import row_splits
from etab.types import Features, Kind, Target

class Phantom:
    '''A map of many rows that are made when they are read.'''
    def __init__(self, n, c, side):
        self.shape = (n, c, side, side)
        self.tile = np.random.default_rng(c).standard_normal((20, c, side, side)).astype(np.float16)
    def __len__(self):
        return self.shape[0]
    def __getitem__(self, rows):
        return self.tile[np.arange(len(self))[rows] % 20]

n = int(sys.argv[1])
masks = [np.roll(np.eye(24, dtype=bool) | np.eye(24, k=1, dtype=bool), i % 24, axis=0) for i in range(n)]
patients = np.array([f"p{i // 2}" for i in range(n)])
parts = np.array(["train", "train", "val", "test"])[np.arange(n) // 2 % 4]
splits = row_splits(patients, parts, protocol="official")
maps = (Phantom(n, 96, 12), Phantom(n, 32, 24))
def fit(rows, budget):
    return type(heads.head(sys.argv[3]))(budget=budget).cross_fit(Features({}, maps), masks, patients, splits, Target("LV", Kind.MASK),
                                              rng=np.random.default_rng(0))
found = fit(n, int(sys.argv[2]))
assert len(found[0].predictions) == (parts == "test").sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def _peak(n: int, budget: int, head: str) -> int:
    words = [sys.executable, "-c", SCRIPT, str(n), str(budget), head]
    run = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["linear_seg", "mask_logistic"])
def test_memory_does_not_grow_with_the_points(head: str) -> None:
    few = _peak(400, 8 << 20, head)
    many = _peak(3200, 8 << 20, head)
    assert many - few < 60, f"{few} to {many} MiB; the points of 3,200 rows are 153 MiB"


# --- rows of maps ---


class Watched(StoredMap):
    """Counts the rows that were read."""

    read = 0

    def __getitem__(self, rows: Any) -> Any:
        found = super().__getitem__(rows)
        Watched.read += (
            len(np.atleast_1d(np.arange(len(self))[rows]))
            if not isinstance(found, StoredMap)
            else 0
        )
        return found


class _Rows:
    def __init__(self, frames: Any) -> None:
        self.frames = np.asarray(frames)[:, None]


@pytest.mark.parametrize("frames", [range(10, 20), [3, 1, 7, 30], [*range(5), *range(10, 15)]])
@pytest.mark.parametrize("joined", [False, True])
def test_rows_of_maps_are_read_when_they_are_asked_for(
    frames: Any, joined: bool, tmp_path: Path
) -> None:
    np.save(tmp_path / "map0.npy", ROWS)
    Watched.read = 0
    whole: Any = Watched(tmp_path / "map0.npy")
    if joined:
        whole = JoinedMap([whole[:12], whole[12:]])
    picked = row_features(Features({}, (whole,)), _Rows(list(frames))).maps[0]  # type: ignore[arg-type]
    assert Watched.read == 0, "nothing is read before it is asked for"
    assert picked.shape == (len(list(frames)), *SHAPE[1:])
    assert picked.path == tmp_path / "map0.npy"
    wanted = ROWS[list(frames)]
    assert np.array_equal(np.asarray(picked[1:3]), wanted[1:3])
    assert np.array_equal(picked[np.array([2, 0])], wanted[[2, 0]])
    assert np.array_equal(np.asarray(picked), wanted)


def test_maps_in_memory_stay_a_view() -> None:
    picked = row_features(Features({}, (ROWS,)), _Rows([4, 5, 6])).maps[0]  # type: ignore[arg-type]
    assert picked.base is ROWS
    assert isinstance(PickedMap(ROWS, np.array([1, 2])).path, type(None))


def test_maps_that_no_cache_keeps_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etab.features.batches._HELD", ROWS.nbytes - 1)
    torch = pytest.importorskip("torch")

    class Backbone:
        at = 0

        def __call__(self, x: Any) -> Features:
            block = torch.from_numpy(ROWS[self.at : self.at + len(x)])
            self.at += len(x)
            return Features(
                {"a/mean": block.mean(dim=(1, 2)).float()[:, None]}, (block, block[:, :1])
            )

    batches = (np.zeros((8, 4, 4), np.uint8) for _ in range(5))
    found = embed_batches(Backbone(), batches, 40, None, maps=True).features()  # type: ignore[arg-type]
    assert isinstance(found.maps[0], Spill)
    assert isinstance(found.maps[1], np.ndarray)
    assert np.array_equal(np.asarray(found.maps[0]), ROWS)
    assert np.array_equal(found.maps[1], ROWS[:, :1])


def _faults_of_large_pieces() -> int:
    """Pages that the system fills while 48 MB are allocated a second and a third time."""
    import ctypes
    import resource

    glibc = ctypes.CDLL(None)
    glibc.malloc.argtypes, glibc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    glibc.free.argtypes = [ctypes.c_void_p]

    def use() -> None:
        piece = glibc.malloc(48 << 20)
        ctypes.memset(piece, 1, 48 << 20)
        glibc.free(piece)

    use()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use()
    use()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


_IN_A_NEW_PROCESS = """
from etab.storage.memory import freed_memory_kept
from tests.storage.test_memory import _faults_of_large_pieces, _resident

alone = _faults_of_large_pieces()
with freed_memory_kept():
    kept = _faults_of_large_pieces()
    held = _resident()
print(alone, kept, _faults_of_large_pieces(), held, _resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_memory_is_filled_once_for_all_batches_and_returned_afterwards() -> None:
    # A process that ran other tests may have a gap of 48 MB, which is used without any fault.
    command = [sys.executable, "-c", _IN_A_NEW_PROCESS]
    root = Path(__file__).parents[2]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout
    alone, kept, after, held, left = map(int, said.split())
    assert kept < alone / 10
    assert after == pytest.approx(alone, rel=0.2)
    assert held - left > 5000, "pages of 4 kB, of a piece of 48 MB"


def test_memory_beyond_a_limit_is_refused() -> None:
    """In a process of its own: 200 MB more than it has fit, 600 MB do not."""
    code = """
import resource
from pathlib import Path
import numpy as np
from etab.storage.memory import limit_memory
resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
limit_memory(resident + 400e6)
kept = np.ones(25_000_000)
try:
    np.ones(75_000_000)
except MemoryError:
    print("refused")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "refused\n"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say")
def test_a_limit_below_what_a_process_takes_is_refused() -> None:
    """Under such a limit a worker could not say anything any longer."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(
        UnsupportedOptionError, match=r"0\.001 GB of memory is too small.*memory_gb"
    ):
        limit_memory(1e6)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
