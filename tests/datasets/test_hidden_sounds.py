"""Files that operating systems write beside recordings are never data of a set of sounds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from etab.datasets import source
from etab.datasets.integrity.check import check
from etab.datasets.integrity.listed import damaged
from etab.errors import LayoutError

NOTE = bytes.fromhex("000516070002000000000000") + bytes(80)
NAMES = ("circor", "cinc2016")


@pytest.fixture(scope="module")
def trees(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(NAMES)


def litter(root: Path) -> None:
    """A note of macOS beside every file, a folder of an archive, and files of Windows and of network storage."""
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for path in [path for path in root.rglob("*") if path.is_file()]:
        (path.parent / f"._{path.name}").write_bytes(NOTE)
    for folder in folders:
        (folder / ".DS_Store").write_bytes(NOTE)
        (folder / "Thumbs.db").write_bytes(NOTE)
        for name in ("__MACOSX", "@eaDir"):
            (folder / name).mkdir()
            (folder / name / "a0001.wav").write_bytes(NOTE)
            (folder / name / "RECORDS").write_text("training-a/nothing\n")


@pytest.mark.parametrize("name", NAMES)
def test_hidden_files_change_nothing(trees: Path, tmp_path: Path, name: str) -> None:
    root = shutil.copytree(trees / name, tmp_path / name)
    before = source(name, root)
    records, digest = before.records(), before.digest()
    litter(root)
    after = source(name, root)
    assert after.records() == records
    assert after.digest() == digest
    report = check(name, root)
    assert report.ok, report.render()
    assert list(damaged(root)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_with_hidden_files_alone_is_empty(tmp_path: Path, name: str) -> None:
    litter(tmp_path)
    with pytest.raises(LayoutError, match="it is empty"):
        source(name, tmp_path).records()
