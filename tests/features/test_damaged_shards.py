"""Files of an unfinished entry that others have damaged, or written to do harm: nothing of them is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.errors import StorageError
from etab.features import merged
from etab.features.layout import layout_of
from etab.features.merged import MergedFiles, _layout_from
from etab.types import Features
from tests.damage import unfinished_entry

ARRAY = "pooled last/mean"


@pytest.fixture
def files(tmp_path: Path) -> MergedFiles:
    """The files of an entry of eight rows, four of which were copied from a shard."""

    made = unfinished_entry(tmp_path)
    assert made.seconds(made.note(0, 4)) is not None
    return made


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StorageError("No space left on device")])
def test_files_that_were_not_finished_are_removed(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(merged, "write_atomically", refuse)
    layout = layout_of(Features({"last/mean": np.zeros((4, 3), np.float32)}), 8)
    with pytest.raises(type(error)):
        MergedFiles(tmp_path)._prepared(layout)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "../../outside"),
        (1, -8),
        (1, 0.5),
        (2, []),
        (2, [8, -1]),
        (2, [{}, 8]),
        (3, "O"),
        (3, "<i8"),
        (3, []),
    ],
)
def test_a_layout_that_is_none_is_left_out(files: MergedFiles, place: int, value: Any) -> None:
    path = files.folder / "layout.json"
    content = json.loads(path.read_text())
    content["arrays"][ARRAY][place] = value
    path.write_text(json.dumps(content))
    assert files.layout() is None
    assert files.seconds(files.note(0, 4)) is None


def test_no_file_outside_the_folder_is_written(files: MergedFiles) -> None:
    """Caches are shared: a layout may name any file of somebody else."""
    outside = files.folder.parent / "outside"
    pooled = files.whole / "pooled.safetensors"
    outside.write_bytes(pooled.read_bytes())
    path = files.folder / "layout.json"
    text = path.read_text()
    for name in ("../../outside", "..", "", "."):
        path.write_text(text.replace("pooled.safetensors", name))
        with pytest.raises(ValueError, match="is no name of a file"):
            _layout_from(json.loads(path.read_text()))
        assert files.layout() is None


@pytest.mark.parametrize("rows", [[-1], [8], [[0]], [1e400], "abc", [10**400], None])
def test_a_note_of_rows_that_are_none_is_left_out(files: MergedFiles, rows: Any) -> None:
    note = files.note(0, 4)
    content = {**json.loads(note.read_text()), "rows": rows}
    note.write_text(json.dumps(content))
    assert files.seconds(note) is None
