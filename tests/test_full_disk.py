"""A disk that is full: a file system of its own where one may be mounted, else a limit of the system."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scale.campaigns import contents, files_below, written
from etab import datasets
from etab.errors import StorageError
from etab.features import merged, shards
from etab.features.entries import SHARDS
from etab.features.merged import MergedFiles
from etab.leaderboard.ranking import rank
from etab.leaderboard.suites import Suite
from etab.results import load_results
from etab.runs import execute as executing
from etab.runs.events import Event
from etab.runs.failed_cells import failed_cells
from etab.runs.run import Run, Settings, plan
from etab.runs.sweep import Done, sweep
from etab.site.write import write_site
from etab.storage.atomic import write_atomically
from tests.commands import Ended, etab

_PAGE = 4096


class MountedDisk:
    """A file system of a few kilobytes in memory, which only an administrator may mount."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while file.write(bytes(_PAGE)) == _PAGE:
                pass

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)


class LimitedFiles:
    """No file of this process may grow: the system refuses every write, as a full disk does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, self._before[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


Disk = MountedDisk | LimitedFiles


@pytest.fixture(params=["a mounted disk", "a limit of files"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "a limit of files":
        limited = LimitedFiles(folder)
        try:
            yield limited
        finally:
            limited.free()
        return
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield MountedDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def camus(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


@pytest.fixture(scope="module")
def results(camus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run."""
    folder = tmp_path_factory.mktemp("results")
    runs = plan("b0-A4-C", ["image_stats", "pixel_pca"], protocols=("cv3",), head="knn")
    settings = Settings(root=camus, results=folder)
    sweep(runs, settings, workers=1, watch=lambda _: contextlib.nullcontext(_ignore))
    return folder


def _ignore(_: Event) -> None:
    """Listen to nothing."""


def _pictures(folder: Path, camus: Path) -> Path:
    """Recordings of one's own."""
    folder.mkdir()
    for i, path in enumerate(sorted(camus.rglob("*4CH_ED.nii.gz"))[:3]):
        (folder / f"r{i}.nii.gz").write_bytes(path.read_bytes())
    return folder


_RUN = ("run", "--tasks", "b0-A4-C", "--protocol", "cv3", "--backbones", "image_stats")
DOORS = {
    "results": (*_RUN, "--root", "CAMUS", "--cache", "HERE/c", "--results", "DISK/results"),
    "keys of vectors": (
        "vectors",
        "keys",
        "--tasks",
        "b0-A4-C",
        "--root",
        "CAMUS",
        "--out",
        "DISK/k.csv",
    ),
    "csv": ("leaderboard", "RESULTS", "--csv", "DISK/board.csv"),
    "markdown": ("leaderboard", "RESULTS", "--markdown", "DISK/board.md"),
    "page": ("leaderboard", "RESULTS", "--tasks", "b0-A4-C", "--html", "DISK/board.html"),
    "numbers": ("leaderboard", "RESULTS", "--tasks", "b0-A4-C", "--numbers", "DISK/board.json"),
    "new dataset": ("new", "dataset", "clinic", "--to", "DISK/new"),
    "description": ("data", "init", "PICTURES", "--out", "DISK/clinic.toml"),
}


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_a_full_disk_is_told_with_the_file_and_the_next_step(
    door: str, disk: Disk, camus: Path, results: Path, tmp_path: Path
) -> None:
    """The same command ends well once there is space."""
    places = {
        "CAMUS": camus,
        "RESULTS": results,
        "DISK": disk.folder,
        "HERE": tmp_path,
        "PICTURES": _pictures(tmp_path / "clinic", camus),
    }
    words = [str(word) for word in DOORS[door]]
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    disk.fill()
    ended = etab(*words, cwd=tmp_path)
    disk.free()
    assert ended.returncode == 2, _said(ended)
    assert str(disk.folder) in ended.stderr
    assert "space" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(disk.folder.rglob("*.part"))
    assert not [
        path for path in disk.folder.rglob("*") if path.is_file() and not path.stat().st_size
    ]
    again = etab(*words, cwd=tmp_path)
    assert again.returncode == 0, _said(again)


def _said(ended: Ended) -> str:
    return ended.stdout + ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("place", ["results", "cache"])
def test_a_disk_that_becomes_full_in_a_run_costs_no_finished_cell(
    place: str, disk: Disk, camus: Path, tmp_path: Path
) -> None:
    """After the first cell nothing can be written: claims, shards and entries, or results."""
    runs = plan("b0-A4-C,d0-A4-C", ["image_stats", "pixel_pca"], protocols=("cv3", "cv2"))
    folders = {"results": tmp_path / "results", "cache": tmp_path / "cache"}
    folders[place] = disk.folder / place
    settings = Settings(root=camus, **folders)

    def listen(event: Event) -> None:
        if event.kind == "cell":
            disk.fill()

    try:
        done = sweep(runs, settings, workers=1, watch=lambda _: contextlib.nullcontext(listen))
    finally:
        disk.free()
    assert done.failures
    assert all("space" in why for _, why in done.failures)
    assert all(
        str(folders[place]) in why for _, why in done.failures if isinstance(disk, MountedDisk)
    )
    kept = load_results(folders["results"])
    assert kept
    again = sweep(
        runs,
        settings,
        workers=1,
        watch=lambda _: contextlib.nullcontext(_ignore),
        retry_failed=True,
    )
    assert (again.skipped, again.failures) == (len(kept), ())
    reference = Settings(root=camus, results=tmp_path / "reference")
    sweep(runs, reference, workers=1, watch=lambda _: contextlib.nullcontext(_ignore))
    expected = {
        (cell.task, cell.backbone, cell.protocol): cell for cell in load_results(reference.results)
    }
    cells = load_results(folders["results"])
    assert len(cells) == len(expected)
    for cell in cells:
        other = expected[cell.task, cell.backbone, cell.protocol]
        assert cell.predictions_sha256 == other.predictions_sha256
    assert not failed_cells(folders["results"])
    assert not list(disk.folder.rglob("*.part"))


STAGES: dict[str, tuple[Any, str, int]] = {
    "embedding": (shards, "write_entry", 2),
    "merging": (MergedFiles, "copy", 2),
    "completing features": (shards, "seal_entry", 1),
    "fitting": (executing, "compute", 2),
}
"""For each stage: what does its work, and the call of it at which the disk is full."""


def _swept(runs: Sequence[Run], settings: Settings, **options: Any) -> Done:
    return sweep(
        runs,
        settings,
        workers=1,
        watch=lambda _: contextlib.nullcontext(_ignore),
        **options,
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_full_at_any_stage_costs_nothing_that_was_finished(
    stage: str, disk: Disk, camus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged, "_SPARE", 0)
    monkeypatch.setenv(shards.SIZE_VARIABLE, "32")
    write_entry = shards.write_entry
    computed: list[str] = []

    def note(target: Path, *words: Any) -> Any:
        features = write_entry(target, *words)
        computed.append(target.name)
        return features

    monkeypatch.setattr(shards, "write_entry", note)
    runs = plan("b0-A4-C,d0-A4-C", ["image_stats", "pixel_pca"], protocols=("cv3", "cv2"))
    reference = Settings(root=camus, results=tmp_path / "results", cache=tmp_path / "cache")
    _swept(runs, reference)
    wanted = Counter(computed)
    assert len(wanted) == 2
    computed.clear()
    place, name, number = STAGES[stage]
    does = getattr(place, name)
    begun = itertools.count(1)

    def fill_first(*words: Any, **named: Any) -> Any:
        if next(begun) == number:
            disk.fill()
        return does(*words, **named)

    monkeypatch.setattr(place, name, fill_first)
    folder = disk.folder
    settings = Settings(root=camus, results=folder / "results", cache=folder / "cache")
    try:
        done = _swept(runs, settings)
    finally:
        disk.free()
    assert done.failures
    assert all("space" in why for _, why in done.failures), done.failures
    assert not list(folder.rglob("*.part"))
    finished = written(folder)
    assert _swept(runs, settings, retry_failed=True).failures == ()
    assert contents(settings.results) == contents(reference.results)
    kept = written(folder)
    assert all(kept[name] == facts for name, facts in finished.items() if SHARDS not in name)
    assert Counter(computed) == wanted
    assert not failed_cells(settings.results)


@pytest.mark.slow
def test_a_site_that_a_full_disk_stopped_is_written_by_the_same_command(
    disk: Disk, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = rank(
        load_results(results), Suite("some", 1, ("b0-A4-C",)), folder=results, protocol="cv3"
    )
    write_site(board, datasets.cards(), tmp_path / "whole")
    begun = itertools.count(1)

    def write(path: Path, content: str | bytes) -> None:
        if next(begun) == 9:
            disk.fill()
        write_atomically(path, content)

    monkeypatch.setattr("etab.site.write.write_atomically", write)
    site = disk.folder / "site"
    with pytest.raises(StorageError, match=rf"{site}/.*could not be written.*free some space"):
        write_site(board, datasets.cards(), site)
    disk.free()
    assert not list(site.rglob("*.part"))
    write_site(board, datasets.cards(), site)
    whole = {path: path.read_bytes() for path in files_below(tmp_path / "whole")}
    assert len(whole) > 9
    for path, content in whole.items():
        assert (site / path.relative_to(tmp_path / "whole")).read_bytes() == content
    assert len(files_below(site)) == len(whole)


_WRITES_AN_ARRAY = """
import sys, tempfile
from pathlib import Path
from etab.storage import memory
from tests.test_full_disk import MountedDisk

memory._SPARE = 0
disk = MountedDisk(Path(sys.argv[1]))
tempfile.tempdir = sys.argv[1]
array = memory.large_array((1024, 1024), held=0)
disk.fill()
array[:] = 1
try:
    memory.large_array((1024, 1024), held=0)
except memory.StorageError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_disk_that_others_fill_does_not_end_a_process_that_writes_a_mapped_array(
    disk: Disk,
) -> None:
    if not isinstance(disk, MountedDisk):
        pytest.skip("a limit of the size of files leaves the disk its space")
    command = [sys.executable, "-c", _WRITES_AN_ARRAY, str(disk.folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, (ended.returncode, ended.stderr)
    assert f"would lie in {disk.folder}" in ended.stdout
    assert "set TMPDIR to a folder with more space" in ended.stdout
