"""Descriptions that travel with etab: tables of class folders, copies, and notes in results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from etab.cli.main import app
from etab.datasets.own.description import read_description
from etab.datasets.own.registered import own_source
from etab.datasets.own.shipped import SHIPPED, write_shipped
from etab.datasets.own.table import read_own_table
from etab.errors import LayoutError, UnknownNameError, UnsupportedOptionError
from etab.phantom.sound_files import wav_bytes

pytestmark = pytest.mark.usefixtures("forget_own_data")

FOLDERS = {
    "yaseen": ("N_New_3", "AS_New_3", "MR_New_3", "MS_New_3", "MVP_New_3"),
    "zchsound": ("NORMAL", "ASD", "VSD", "PDA", "PFO"),
}
A_CLASS = 3


def sound(seed: int) -> bytes:
    noise = np.random.default_rng(seed).normal(0, 2000, 800)
    return wav_bytes(noise.astype("<i2"), 4000)


def tree(folder: Path, name: str) -> Path:
    """Three recordings of each class; the first of each are written by number."""
    for k, label in enumerate(FOLDERS[name]):
        (folder / label).mkdir(parents=True)
        for n in range(A_CLASS):
            (folder / label / f"X{k}{n}.wav").write_bytes(sound(10 * k + n))
    (folder / "README.txt").write_text("not a sound")
    return folder


@pytest.mark.parametrize("name", SHIPPED)
def test_every_recording_has_the_class_of_its_folder(name: str, tmp_path: Path) -> None:
    draft = write_shipped(name, tree(tmp_path, name))
    description = read_description(draft.description)
    rows = read_own_table(description).rows
    label = description.labels[0]
    assert len(rows) == len({row.patient for row in rows}) == 5 * A_CLASS
    for row in rows:
        top = row.files["file0"].split("/")[0]
        assert label.classes[int(row.values[label.name])] == top.split("_")[0]
    source = own_source(description)(description.folder)
    assert any("patient" in note for note in source.notes()), "the trap is in every result"


@pytest.mark.parametrize("above", ["Archive-main", "a/b c"])
def test_folders_of_an_archive_stand_above_those_of_the_classes(above: str, tmp_path: Path) -> None:
    tree(tmp_path / above, "zchsound")
    draft = write_shipped("zchsound", tmp_path)
    assert draft.recordings == len(FOLDERS["zchsound"]) * A_CLASS
    rows = read_own_table(read_description(tmp_path / "zchsound.toml"))
    assert f"{above}/ASD/" in draft.table.read_text()
    assert not rows.problems


def test_copies_of_one_label_are_listed_once_and_of_two_labels_never(tmp_path: Path) -> None:
    root = tree(tmp_path, "zchsound")
    (root / "ASD" / "twice.wav").write_bytes(sound(10))
    (root / "VSD" / "also_ASD.wav").write_bytes(sound(11))
    draft = write_shipped("zchsound", root)
    listed = {
        row.files["file0"] for row in read_own_table(read_description(draft.description)).rows
    }
    assert "ASD/X10.wav" in listed
    assert "ASD/twice.wav" not in listed
    assert not {"ASD/X11.wav", "VSD/also_ASD.wav"} & listed
    assert len(listed) == 5 * A_CLASS - 1
    notes = " ".join(read_description(draft.description).notes)
    assert "with the same label, left out: 1 (ASD/twice.wav)" in notes
    assert "different labels, all left out: 2 (ASD/X11.wav, VSD/also_ASD.wav)" in notes


def test_folders_of_no_class_and_classes_without_a_folder_are_refused(tmp_path: Path) -> None:
    root = tree(tmp_path, "yaseen")
    (root / "extra").mkdir()
    (root / "extra" / "a.wav").write_bytes(sound(99))
    with pytest.raises(LayoutError, match=r"extra/a\.wav is in a folder of no class"):
        write_shipped("yaseen", root)
    (root / "extra" / "a.wav").unlink()
    for path in (root / "MVP_New_3").iterdir():
        path.unlink()
    with pytest.raises(LayoutError, match="no recordings of MVP"):
        write_shipped("yaseen", root)
    assert not list(root.glob("*.toml")), "nothing is left behind"


def test_names_and_files_that_exist_are_refused(tmp_path: Path) -> None:
    root = tree(tmp_path, "yaseen")
    with pytest.raises(UnknownNameError, match="yaseen"):
        write_shipped("yasen", root)
    write_shipped("yaseen", root)
    with pytest.raises(UnsupportedOptionError, match="is there already"):
        write_shipped("yaseen", root)


def test_the_command_writes_checks_and_names_the_next_step(tmp_path: Path) -> None:
    root = tree(tmp_path, "yaseen")
    done = CliRunner().invoke(app, ["data", "init", str(root), "--as", "yaseen"])
    assert done.exit_code == 0, done.output
    assert "etab run --data" in done.output.replace("\n", "")
    checked = CliRunner().invoke(app, ["data", "check", str(root / "yaseen.toml")])
    assert "15 recordings" in checked.output


@pytest.mark.parametrize("notes", ['"text"', "[1]", '[""]'])
def test_notes_that_are_no_sentences_are_refused(notes: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f'name = "a"\ntable = "a.csv"\nnotes = {notes}\n[labels.x]\nkind = "value"\n')
    with pytest.raises(LayoutError, match="notes is"):
        read_description(path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_is_not_finished_leaves_no_file(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A description without its table would be in the way of the next attempt."""
    root = tree(tmp_path, "yaseen")
    before = sorted(root.rglob("*"))

    def stopped(*_: object) -> str:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("etab.datasets.own.shipped._with_notes", stopped)
        with pytest.raises(error):
            write_shipped("yaseen", root)
    assert sorted(root.rglob("*")) == before
    write_shipped("yaseen", root)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_traps_are_told_by_the_check(name: str, tmp_path: Path) -> None:
    root = tree(tmp_path, name)
    first = FOLDERS[name][0]
    (root / first / "twice.wav").write_bytes(sound(0))
    write_shipped(name, root)
    told = CliRunner().invoke(app, ["data", "check", str(root / f"{name}.toml")])
    assert told.exit_code == 0, told.output
    for note in read_description(root / f"{name}.toml").notes:
        assert f"note: {note}" in told.stdout
    assert "twice.wav" in told.stdout


@pytest.mark.parametrize("words", [("data", "check"), ("run", "--data")])
def test_a_name_without_a_source_says_how_it_is_used(words: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, [*words, "yaseen"])
    assert isinstance(told.exception, UnknownNameError)
    assert "etab data init FOLDER --as yaseen" in str(told.exception)
