"""Temporary files of killed processes are removed by the clock of the file system, where it can be."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from etab.features.entries import remove_litter
from etab.storage.litter import remove_temporary_files

REMOVERS = [remove_temporary_files, remove_litter]


def _part(folder: Path, *, age: float) -> Path:
    """Write a temporary file, and an unfinished entry, of some age in s."""
    entry = folder / "features" / "image_stats" / "key.0123.part"
    entry.mkdir(parents=True)
    file = folder / "tmpabcdefgh.part"
    file.write_text("half")
    written = time.time() - age
    for path in (file, entry):
        os.utime(path, (written, written))
    return file


@pytest.mark.parametrize("remove", REMOVERS)
def test_a_clock_that_is_days_ahead_removes_nothing_young(
    remove: Callable[[Path], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _part(tmp_path, age=60.0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3 * 86400.0)
    assert remove(tmp_path) == []
    assert file.exists()


@pytest.mark.parametrize("remove", REMOVERS)
def test_what_is_a_day_old_is_removed(remove: Callable[[Path], list[Path]], tmp_path: Path) -> None:
    file = _part(tmp_path, age=2 * 86400.0)
    assert file in remove(tmp_path)
    assert not file.exists()


@pytest.mark.parametrize("remove", REMOVERS)
def test_a_read_only_folder_is_left_as_it_is(
    remove: Callable[[Path], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    file = _part(tmp_path, age=2 * 86400.0)
    monkeypatch.setattr(Path, "touch", refuse)
    assert remove(tmp_path) == []
    assert file.exists()
