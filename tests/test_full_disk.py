"""A disk that is full: a file system of its own where one may be mounted, else a limit of the system."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etab.results import load_results
from etab.runs.events import Event
from etab.runs.failed_cells import failed_cells
from etab.runs.run import Settings, plan
from etab.runs.sweep import sweep
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
