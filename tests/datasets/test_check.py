"""``etab data check``: everything that is wrong with a folder, in one report, with an exit status."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from etab import phantom
from etab.cli.main import main
from etab.datasets import cinc2016
from etab.datasets.integrity.check import FAULTS, check
from etab.datasets.integrity.listed import check_lists, read_sums
from etab.errors import CorruptFileError, EtabWarning
from tests.trees import camus

CANONICAL = True
BASE = "database_nifti"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CAMUS of 5 patients, marked."""
    root = camus.write(tmp_path_factory.mktemp("check") / "c", n=5, cfg_4ch=False)
    (root / "PHANTOM").write_text("made\n")
    return root


@pytest.fixture(scope="module")
def sounds(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["circor"]) / "circor"


@pytest.fixture
def tree(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "c")


def still(root: Path, patient: int, role: str = "4CH_ED") -> Path:
    return root / BASE / f"patient{patient:04d}" / f"patient{patient:04d}_{role}.nii.gz"


def sums(root: Path) -> None:
    """Write the list of checksums that PhysioNet ships, of everything in a tree."""
    files = sorted(
        path for path in root.rglob("*") if path.is_file() and path.name != "SHA256SUMS.txt"
    )
    rows = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(root).as_posix()}"
        for path in files
    ]
    (root / "SHA256SUMS.txt").write_text("\n".join(rows) + "\n")


def test_a_whole_tree_is_whole(tree: Path) -> None:
    report = check("camus", tree)
    assert report.ok, report.render()
    assert report.found["recordings with LV_seg"] == 10
    assert not any(getattr(report, name) for name in FAULTS)
    assert report.seconds > 0
    assert report.as_dict()["ok"] is True


def test_a_fault_that_stops_the_check_is_one_problem(tmp_path: Path) -> None:
    """It is listed among the faults, and told as the reason; the number says how many are listed."""
    (tmp_path / "labels.csv").write_text("filename;ef\na.dcm;50\n")
    report = check("dicom", tmp_path)
    assert report.stopped
    assert len(report.corrupt) == 1
    assert "problems found: 1 (" in report.render()


def test_every_kind_of_fault_has_its_own_list() -> None:
    report = check.__globals__["FolderReport"]("x", "y")
    assert report.ok
    for name in FAULTS:
        setattr(report, name, ["z"])
        assert not report.ok, name
        assert f"{name}: 1 - " in report.render()
        setattr(report, name, [])
    report.stopped = "why"
    assert not report.ok


def test_all_missing_are_listed_and_the_rest_is_still_read(tree: Path) -> None:
    for patient in (2, 3):
        shutil.rmtree(tree / BASE / f"patient{patient:04d}")
    bad = still(tree, 4)
    bad.write_bytes(bad.read_bytes()[:70])
    report = check("camus", tree)
    assert [Path(name).name for name in report.missing] == ["patient0002", "patient0003"]
    assert "with 1 more patient that" in report.stopped
    assert len(report.corrupt) == 1
    assert bad.name in report.corrupt[0]
    assert not report.ok
    assert "stopped: " in report.render()
    assert "problems found: 3 (" in report.render()  # what stopped the check is no fourth one


def test_videos_that_are_missing_are_all_listed(phantom_tree: Callable[..., Path]) -> None:
    root = phantom_tree(["echonet"]) / "echonet"
    videos = sorted((root / "Videos").glob("*.avi"))
    for path in videos[:3]:
        path.unlink()
    videos[5].write_bytes(b"RIFF")
    report = check("echonet", root)
    assert sorted(report.missing) == [str(path) for path in videos[:3]]
    assert [said for said in report.corrupt if videos[5].name in said]


def test_content_under_two_names_is_found(tree: Path) -> None:
    shutil.copy(still(tree, 1), still(tree, 5))
    shutil.copy(still(tree, 1, "4CH_ES"), still(tree, 5, "4CH_ES"))
    report = check("camus", tree)
    assert report.duplicates == [
        "patient0001_4CH and patient0005_4CH hold the same, of two patients"
    ]
    assert report.leaks == [
        "patient0001_4CH and patient0005_4CH hold the same, in train and in test"
    ]
    assert not report.ok


def test_content_counts_and_not_how_it_is_stored(tree: Path) -> None:
    for role in ("ED", "ES"):
        frames = camus.picture("patient0001", "4CH", float(role == "ES"))
        camus.write_nifti(still(tree, 2, f"4CH_{role}"), frames, "stored another time")
    assert still(tree, 1).read_bytes() != still(tree, 2).read_bytes()
    report = check("camus", tree)
    assert len(report.duplicates) == 1
    assert not report.leaks, "both are in train"


def test_blank_pictures_are_a_remark(tree: Path) -> None:
    for role in ("2CH_ED", "2CH_ES"):
        camus.write_nifti(still(tree, 3, role), np.zeros(camus.SIZE, np.uint8))
    report = check("camus", tree)
    assert report.ok
    assert "patient0003_2CH is blank: every value in it is 0" in report.remarks


def test_patients_elsewhere_than_published(tree: Path) -> None:
    (tree / "PHANTOM").unlink()
    report = check("camus", tree)
    assert report.canonical == [
        "patient0004: val here, train in the canonical split",
        "patient0005: test here, train in the canonical split",
    ]
    assert "5 patients; published: 500" in report.differs
    assert "495 of the 500 that the canonical split lists are not here" in report.remarks


def test_quick_reads_no_pictures(tree: Path) -> None:
    bad = still(tree, 4)
    bad.write_bytes(b"")
    report = check("camus", tree, quick=True)
    assert report.ok, report.render()
    assert "frames" not in report.found
    assert not check("camus", tree).ok
    still(tree, 5).unlink()
    assert check("camus", tree, quick=True).found["patients"] == 5


def test_progress_is_told(tree: Path) -> None:
    seen: list[tuple[int, int]] = []
    check("camus", tree, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 10) for i in range(1, 11)]


# --- lists of checksums and of records ---


def test_checksums_that_agree(sounds: Path, tmp_path: Path) -> None:
    root = shutil.copytree(sounds, tmp_path / "s")
    sums(root)
    n = len(read_sums(root / "SHA256SUMS.txt"))
    report = check("circor", root)
    assert report.ok, report.render()
    assert f"{n} of {n} checksums of SHA256SUMS.txt agree" in report.remarks


def test_altered_missing_and_rewritten_files_are_told_apart(sounds: Path, tmp_path: Path) -> None:
    root = shutil.copytree(sounds, tmp_path / "s")
    sums(root)
    waves = sorted((root / "training_data").glob("*.wav"))
    raw = bytearray(waves[0].read_bytes())
    raw[200] ^= 1
    waves[0].write_bytes(raw)
    header = next((root / "training_data").glob("*.hea"))
    header.write_bytes(header.read_bytes().replace(b"\r\n", b"\n"))
    (root / "RECORDS").unlink(missing_ok=True)
    report = check("circor", root)
    assert report.altered == [str(waves[0])]
    assert report.missing == [str(root / "RECORDS")]
    assert any(
        "1 text files have other line ends than published" in said for said in report.remarks
    )
    assert not report.corrupt, "one bit of one sample is seen by the checksum alone"
    assert not check("circor", root, quick=True).altered


@pytest.mark.parametrize(
    "line", ["abc file", "0" * 64, f"{'0' * 64} ../up", f"{'0' * 64} /etc/passwd", f"{'g' * 64} x"]
)
def test_a_list_of_checksums_that_is_none(tmp_path: Path, line: str) -> None:
    (tmp_path / "SHA256SUMS.txt").write_text(f"{'a' * 64} fine.txt\n{line}\n")
    with pytest.raises(CorruptFileError, match=r"SHA256SUMS\.txt, line 2"):
        read_sums(tmp_path / "SHA256SUMS.txt")
    assert len(check_lists(tmp_path).altered) == 1


def test_records_that_are_listed_and_absent(tmp_path: Path) -> None:
    (tmp_path / "training-a").mkdir()
    (tmp_path / "training-a" / "a0001.wav").write_bytes(b"")
    (tmp_path / "training-a" / "RECORDS").write_text("a0001\na0002\n../../up\n")
    assert check_lists(tmp_path).missing == [
        f"{tmp_path / 'training-a' / 'a0002'} (listed in RECORDS)"
    ]


# --- the command ---


def test_command_status_and_json(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "check", "camus", "--root", str(tree)]
    assert _status([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["found"]["patients"] == 5
    assert "10/10" in err, "progress goes to the other stream"
    shutil.copy(still(tree, 1), still(tree, 5))
    shutil.copy(still(tree, 1, "4CH_ES"), still(tree, 5, "4CH_ES"))
    assert _status(words) == 1
    out, _ = capsys.readouterr()
    assert "duplicates: 1 - " in out
    assert out.rstrip().splitlines()[-1].startswith("  problems found: ")
    assert _status([*words, "--quick"]) == 0


def _status(words: list[str]) -> int:
    sys.argv = ["etab", *words]
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", phantom.NAMES)
def test_every_phantom_tree_is_whole(name: str, tmp_path: Path) -> None:
    phantom.write(tmp_path, patients=12, names=[name], size=64)
    report = check(
        {"ted": "camus"}.get(name, name), tmp_path / name
    )  # full cycles are read by the source of CAMUS
    assert report.ok, report.render()
    assert report.phantom


@pytest.fixture
def unmarked(phantom_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny CinC 2016 whose 26 recordings stand for the whole release, one of them withdrawn; nothing says phantom."""
    root = phantom_tree(["cinc2016"]) / "cinc2016"
    monkeypatch.setattr(cinc2016, "ALL", 26)
    monkeypatch.setattr(cinc2016, "ALL_E", 8)
    monkeypatch.setattr(cinc2016, "WITHDRAWN", 1)
    monkeypatch.setattr(cinc2016.Cinc2016Source, "phantom", False)
    monkeypatch.setattr(cinc2016.Cinc2016Source, "canonical", lambda self: "")
    return root


def test_withdrawn_recordings_are_no_difference(unmarked: Path) -> None:
    said = "The 1 recordings of training-e that the organisers withdrew are among the 26 here (25 are left without them)"
    report = check("cinc2016", unmarked, quick=True)
    assert (report.found["recordings"], report.differs) == (25, []), (
        "the appendix names the one withdrawn"
    )
    assert not any(
        said in remark
        for remark in report.remarks + list(cinc2016.Cinc2016Source(unmarked).notes())
    )
    (unmarked / "annotations" / "Online_Appendix_training_set.csv").unlink()
    with pytest.warns(EtabWarning, match="Patients are unknown"):
        report = check("cinc2016", unmarked, quick=True)
    assert (report.found["recordings"], report.differs) == (26, []), (
        "nothing names it, and it is there"
    )
    assert report.found["recordings of database e"] == 8
    assert any(said in remark for remark in report.remarks)


def test_other_counts_are_differences_still(unmarked: Path) -> None:
    (unmarked / "annotations" / "Online_Appendix_training_set.csv").unlink()
    for letter, wanted in (("b", 26), ("e", 25)):
        table = unmarked / f"training-{letter}" / "REFERENCE.csv"
        lines = table.read_text().splitlines(keepends=True)
        gone = lines[-2].split(",")[0]
        for path in [*unmarked.rglob(f"{gone}.wav"), *unmarked.rglob("REFERENCE*.csv")]:
            rows = [] if path.suffix == ".wav" else path.read_text().splitlines(keepends=True)
            path.write_text(
                "".join(row for row in rows if gone not in row)
            ) if rows else path.unlink()
        with pytest.warns(EtabWarning, match="Patients are unknown"):
            report = check("cinc2016", unmarked, quick=True)
        found = report.found["recordings"]
        assert report.differs == [f"{found} recordings; published: {wanted}"]


@pytest.mark.real
def test_real_camus_is_whole(real_data: Path) -> None:
    report = check("camus", real_data / "camus")
    assert report.ok, report.render()
    assert report.found["recordings with LA_seg"] == report.found["recordings with EF"] == 1000


@pytest.mark.real
def test_real_circor_differs_in_its_counts_alone(real_data: Path) -> None:
    report = check("circor", real_data / "circor")
    assert [name for name in FAULTS if getattr(report, name)] == ["differs"]
    assert "452 of 452 checksums of SHA256SUMS.txt agree" in report.remarks


def test_the_module_is_importable_alone() -> None:
    code = (
        "from etab.datasets.integrity.canonical_write import SPLIT_NAMES\n"
        "from etab.datasets.integrity.check import FAULTS\n"
        "print(len(FAULTS), len(SPLIT_NAMES))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["7", "5"], run.stderr


def test_lists_with_names_too_long_for_a_file(tmp_path: Path) -> None:
    summed, listed = "n" * 300, "m" * 300
    (tmp_path / "SHA256SUMS.txt").write_text(f"{'a' * 64} {summed}\n")
    (tmp_path / "RECORDS").write_text(f"{listed}\n")
    missing = check_lists(tmp_path).missing
    assert missing == [str(tmp_path / summed), f"{tmp_path / listed} (listed in RECORDS)"]
