"""Files that are far larger than their headers account for, and pipes that have the name of a file.

Each is refused by name at once: a header says how many bytes are needed, and no more are read.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

from etab.challenges.unpack import unpack_entry
from etab.errors import EtabError, EtabWarning
from etab.features.entries import read_entry
from etab.readers.volume import read_volume, volume_info
from tests.damage import Subject, limits
from tests.fuzz import subjects
from tests.trees import camus

pytest.importorskip("pydicom", reason="pydicom is not installed")
pytest.importorskip("av", reason="PyAV is not installed")

_FAR_TOO_LARGE = 256 << 30  # sparse: the zeros take no room on the disk
_SUBJECTS = {subject.name: subject for subject in subjects()}


def _refused(subject: Subject, path: Path) -> str:
    """The error of a file, within seconds and a gigabyte."""
    with limits(), pytest.raises(EtabError) as caught:
        subject.read(path)
    return str(caught.value)


def _with_zeros_behind(path: Path) -> Path:
    os.truncate(path, _FAR_TOO_LARGE)
    return path


@pytest.mark.parametrize("name", ["nii", "nii.gz", "mhd packed", "raw", "flac"])
def test_zeros_without_end_behind_a_sound_file_are_not_read(name: str, tmp_path: Path) -> None:
    path = _with_zeros_behind(_SUBJECTS[name].build(tmp_path))
    message = _refused(_SUBJECTS[name], path)
    assert f"{_FAR_TOO_LARGE:,} bytes" in message or f"{path.name} cannot be read" in message
    assert path.name in message


@pytest.mark.parametrize("name", ["nii", "nii.gz", "flac"])
def test_nothing_but_zeros(name: str, tmp_path: Path) -> None:
    path = _SUBJECTS[name].build(tmp_path)
    path.write_bytes(b"")
    assert path.name in _refused(_SUBJECTS[name], _with_zeros_behind(path))


def test_a_few_bytes_behind_the_pixels_are_harmless(tmp_path: Path) -> None:
    """Some programs pad the files that they write."""
    picture = camus.picture("patient0001", "4CH", 0)
    camus.write_nifti(tmp_path / "a.nii", picture[None])
    before = read_volume(tmp_path / "a.nii").data
    with (tmp_path / "a.nii").open("ab") as file:
        file.write(bytes(4096))
    assert (read_volume(tmp_path / "a.nii").data == before).all()


def test_frames_that_the_header_leaves_open_are_limited(tmp_path: Path) -> None:
    camus.write_nifti(tmp_path / "a.nii", camus.picture("patient0001", "4CH", 0)[None])
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[40:50] = b"".join(n.to_bytes(2, "little") for n in (3, *_shape_of(raw), 0, 1))
    (tmp_path / "a.nii").write_bytes(raw)
    assert volume_info(tmp_path / "a.nii").shape[0] == 1
    _with_zeros_behind(tmp_path / "a.nii")
    for read in (read_volume, volume_info):
        assert "bytes" in _refused(Subject("nii", camus.write, read), tmp_path / "a.nii")


def _shape_of(header: bytearray) -> tuple[int, int]:
    return int.from_bytes(header[42:44], "little"), int.from_bytes(header[44:46], "little")


@pytest.mark.parametrize("name", ["features pooled.safetensors", "series series1.bin"])
def test_features_that_have_grown_are_computed_again(name: str, tmp_path: Path) -> None:
    path = _with_zeros_behind(_SUBJECTS[name].build(tmp_path))
    with limits(), pytest.warns(EtabWarning, match=f"{path.name} has changed: it had"):
        assert read_entry(path.parent) is None


def test_a_checkpoint_that_has_grown_is_not_read(tmp_path: Path) -> None:
    subject = _SUBJECTS["checkpoint *.safetensors"]
    assert "larger than" in _refused(subject, _with_zeros_behind(subject.build(tmp_path)))


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ""])
def test_an_entry_that_is_a_pipe_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"entry{ending}"
    os.mkfifo(path)
    with limits(), pytest.raises(EtabError, match=f"{path.name} is a pipe"):
        unpack_entry(path, tmp_path / "unpacked")


@pytest.mark.parametrize("name", ["keras", "onnx"])
def test_weights_that_are_a_pipe_are_refused(name: str, tmp_path: Path) -> None:
    ending = {"keras": ".h5", "onnx": ".onnx"}[name]
    os.mkfifo(tmp_path / f"w{ending}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "is a named pipe" in _refused(_SUBJECTS[name], tmp_path / f"w{ending}")
