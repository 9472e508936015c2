"""Recordings that cannot be read: a clear error; with --skip-bad the run goes on and the score says what it lacks."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import etab
from etab import datasets
from etab.datasets.base import Fault
from etab.datasets.dicom import DicomSource
from etab.errors import (
    CorruptFileError,
    EtabError,
    LayoutError,
    ResultError,
    UnsupportedOptionError,
)
from etab.leaderboard.page import board_page
from etab.leaderboard.ranking import rank
from etab.leaderboard.render import board_markdown
from etab.leaderboard.suites import Suite
from etab.results import Result, load_results
from etab.runs.data import Data
from etab.runs.execute import execute
from etab.runs.executors import serial
from etab.runs.run import Settings, plan
from etab.runs.skip_bad import left_out, sift
from etab.tasks.menu import TASKS
from tests.trees import dicom

CODES = ["a0-A2-C", "b0-A4-C", "c0-AX-C"]
SUITE = Suite(name="some", version=1, tasks=tuple(CODES))
Harm = Callable[[Path], None]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def _huge(path: Path) -> None:
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<4h", raw, 40, 3, 30000, 30000, 30000)
    path.write_bytes(gzip.compress(bytes(raw)))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _file(root: Path, view: str, role: str, number: int = 3) -> Path:
    name = sorted(p.name for p in (root / "database_nifti").iterdir())[number]
    return (
        root
        / "database_nifti"
        / name
        / (f"{name}_{view}_{role}.nii.gz" if role != "cfg" else f"Info_{view}.cfg")
    )


def _bad_number(path: Path) -> None:
    path.write_text(
        "\n".join(
            "EF: nan" if line.startswith("EF") else line for line in path.read_text().splitlines()
        )
    )


@pytest.fixture(scope="module")
def trees(phantom_tree: Callable[..., Path]) -> Path:
    folder = phantom_tree(["camus", "echonet", "tmed"])
    for path in (folder / "camus").rglob("*half_sequence*"):
        path.unlink()
    return folder


@pytest.fixture
def camus(trees: Path, tmp_path: Path) -> Path:
    shutil.copytree(trees / "camus", tmp_path / "camus")
    return tmp_path / "camus"


def _settings(root: Path, skip_bad: bool = True, name: str = "results") -> Settings:
    return Settings(
        root=root, results=root.parent / name, cache=root.parent / "cache", skip_bad=skip_bad
    )


def _run(
    settings: Settings, codes: list[str] = CODES, protocol: str = "cv", n_fold: int = 3
) -> list[Result]:
    return list(
        execute(plan(codes, ["image_stats"], protocols=[protocol], n_fold=n_fold), settings)
    )


FAULTS: dict[str, tuple[Callable[[Path], Path], Harm]] = {
    "a picture cut short": (lambda root: _file(root, "2CH", "ED"), _cut),
    "a picture missing": (lambda root: _file(root, "2CH", "ES"), Path.unlink),
    "a mask cut short": (lambda root: _file(root, "2CH", "ED_gt"), _cut),
    "a picture of terabytes": (lambda root: _file(root, "2CH", "ED"), _huge),
    "a folder in its place": (lambda root: _file(root, "2CH", "ES_gt"), _folder),
    "a folder in place of what is not read": (
        lambda root: _file(root, "2CH", "half_sequence_gt"),
        Path.mkdir,
    ),
}


BY_DEFAULT = ("a picture cut short", "a picture missing")


@pytest.mark.parametrize(
    "name", [n if n in BY_DEFAULT else pytest.param(n, marks=pytest.mark.slow) for n in FAULTS]
)
def test_one_view_lost(name: str, camus: Path) -> None:
    where, harm = FAULTS[name]
    path = where(camus)
    harm(path)
    with pytest.raises(EtabError, match="--skip-bad") as caught:
        _run(_settings(camus, skip_bad=False, name="strict"))
    assert path.name in str(caught.value)
    assert isinstance(caught.value, CorruptFileError | LayoutError)
    patient = path.parent.name
    for found in _run(_settings(camus)):
        (bad,) = found.bad["recordings"]
        assert bad[0] == f"{patient}_2CH"
        assert path.name in bad[1]
        assert "--skip-bad" not in bad[1]
        ids = {item.split("#")[0] for item in found.predictions(camus.parent / "results").items}
        assert f"{patient}_2CH" not in ids
        assert found.bad["patients"] == 12
        assert found.bad["lost"] == ([patient] if found.task == "a0-A2-C" else [])
        assert found.bad["partly"] == ([patient] if found.task == "c0-AX-C" else [])
        assert Result.load(found.path(camus.parent / "results")) == found


@pytest.mark.slow
@pytest.mark.parametrize("harm", [_bad_number, Path.unlink, None])
def test_a_whole_patient_lost(harm: Harm | None, camus: Path) -> None:
    path = _file(camus, "2CH", "cfg")
    if harm is None:
        shutil.rmtree(path.parent)
    else:
        for one in path.parent.glob("Info*"):
            harm(one)
    with pytest.raises(EtabError, match="--skip-bad"):
        _run(_settings(camus, skip_bad=False, name="strict"))
    patient = path.parent.name
    for found in _run(_settings(camus)):
        # Only b0-A4-C needs EF, and it shows the 4-chamber view alone.
        lost = ("2CH", "4CH") if harm is None else ("4CH",)
        is_lost = harm is None or found.task == "b0-A4-C"
        is_partly_lost = harm is not None and found.task == "c0-AX-C"
        assert [pair[0] for pair in found.bad["recordings"]] == [f"{patient}_{v}" for v in lost]
        assert found.bad["lost"] == ([patient] if is_lost else [])
        assert found.bad["partly"] == ([patient] if is_partly_lost else [])
        assert found.bad["patients"] == 12
        assert found.n_patients == (11 if is_lost else 12)


LISTED = [
    Fault("a", "cut", "1", "A4C", "test"),
    Fault("b", "cut", "2", "A4C", "train"),
    Fault("c", "?"),
]


@pytest.mark.parametrize(
    "protocol",
    [
        "official",
        "official-50pct-d0",
        "official-5shot-d1",
        "official-finetune",
        "official-partial2",
        "official-2pct-d0-finetune",
        "official-head-from:a0-A4-C",
    ],
)
def test_an_official_result_counts_its_test_part(protocol: str) -> None:
    found = left_out(TASKS["a0-A4-C"], LISTED, ["3", "4"], protocol=protocol)
    assert (found["lost"], found["partly"], found["patients"]) == (["1"], [], 3)
    assert found["recordings"] == [["a", "cut"], ["b", "cut"], ["c", "?"]]


@pytest.mark.parametrize("protocol", ["cv5", "cv5-50pct-d0", "cv3-finetune", "lodo"])
def test_folds_test_every_patient(protocol: str) -> None:
    found = left_out(TASKS["a0-A4-C"], LISTED, ["2"], protocol=protocol)
    assert (found["lost"], found["partly"]) == (["1"], ["2"])
    assert left_out(TASKS["a0-A2-C"], LISTED, ["2"], protocol=protocol)["lost"] == []


@pytest.mark.slow
def test_nothing_bad_is_the_same_result(camus: Path) -> None:
    whole = _run(_settings(camus, skip_bad=False))
    again = _run(_settings(camus, name="again"))
    assert [r.identity() for r in whole] == [r.identity() for r in again]
    assert "bad" not in json.loads(whole[0].path(camus.parent / "results").read_text())


@pytest.mark.slow
def test_incomplete_is_never_mixed_with_whole(camus: Path) -> None:
    whole = _run(_settings(camus, skip_bad=False))
    _cut(_file(camus, "4CH", "ES"))
    short = _run(_settings(camus, name="short"))
    assert {r.data_digest for r in whole}.isdisjoint(r.data_digest for r in short)
    assert {r.features_key for r in whole}.isdisjoint(r.features_key for r in short)
    with pytest.raises(ResultError, match=r"different.*data"):
        _run(_settings(camus))
    mixed = [*whole, *[replace(r, backbone="other") for r in short]]
    with pytest.raises(
        ResultError,
        match=r"differ in data_digest.*other lacks.*of 12 patients of camus are missing",
    ):
        rank(mixed, SUITE, folder=camus.parent / "results", protocol="cv3")


def test_the_board_says_what_is_missing_everywhere(
    camus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(_file(camus, "2CH", "cfg").parent)
    settings = _settings(camus)
    _run(settings)
    board = rank(load_results(settings.results), SUITE, folder=settings.results, protocol="cv3")
    said = "INCOMPLETE DATA: 1 of 12 patients of camus are missing"
    assert board.notes[0].startswith(said)
    assert said in board_markdown(board, datasets.cards())
    assert said in board_page(board, datasets.cards())
    from etab.cli import show

    show.board(board)
    assert said in " ".join(capsys.readouterr().out.split())


def test_from_python(camus: Path) -> None:
    shutil.rmtree(_file(camus, "2CH", "cfg").parent)
    with pytest.raises(EtabError, match="--skip-bad"):
        etab.evaluate("image_stats", tasks="c", root=camus)
    found = etab.evaluate("image_stats", tasks="c", root=camus, skip_bad=True)
    assert "1 of 12 patients of camus are missing" in repr(found)
    assert "1 of 12 patients of camus are missing" in found._repr_html_()


@pytest.mark.slow
def test_in_workers(camus: Path) -> None:
    _cut(_file(camus, "2CH", "ED"))
    place = camus.parent / "results"
    command = [
        sys.executable,
        "-m",
        "etab",
        "run",
        "--root",
        str(camus),
        "--results",
        str(place),
        "--cache",
        str(camus.parent / "cache"),
        "--tasks",
        "c0",
        "--backbones",
        "image_stats,pixel_pca",
        "--protocol",
        "cv",
        "--n-fold",
        "3",
        "--workers",
        "2",
    ]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert said.returncode == 1
    assert "--skip-bad" in said.stdout.replace("\n", "")
    said = subprocess.run(
        [*command, "--skip-bad"], capture_output=True, text=True, timeout=300, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
    found = load_results(place)
    assert {r.backbone for r in found} == {"image_stats", "pixel_pca"}
    assert len({r.data_digest for r in found}) == 1
    assert all(len(r.bad["recordings"]) == 1 for r in found)


def test_a_file_that_goes_bad_after_it_was_looked_at(camus: Path) -> None:
    settings, failures = _settings(camus), list[str]()
    cells = plan(["c0-AX-C"], ["image_stats"], protocols=["cv"], n_fold=3)
    data = Data(settings.needing(["c0-AX-C"]))
    data.digest("camus")
    _cut(_file(camus, "2CH", "ED"))
    assert serial(cells, settings, lambda event: failures.append(event.error), data) == []
    assert _file(camus, "2CH", "ED").name in failures[0]
    assert "--skip-bad" in failures[0]
    assert len(_run(settings, ["c0-AX-C"])) == 1


def test_all_bad(camus: Path) -> None:
    for path in (camus / "database_nifti").glob("*/*_ED.nii.gz"):
        path.write_bytes(b"")
    with pytest.raises(
        CorruptFileError, match=r"not one of 24 recordings of camus can be read\. The first: .*_ED"
    ):
        _run(_settings(camus))


def test_what_concerns_every_recording_is_no_bad_recording(camus: Path) -> None:
    (camus / "database_split" / "subgroup_training.txt").write_bytes(b"\xff\xfe\x00")
    for skip in (False, True):
        with pytest.raises(CorruptFileError, match="subgroup_training") as caught:
            _run(_settings(camus, skip_bad=skip))
        assert "--skip-bad" not in str(caught.value)


def _absurd(root: Path, new: str) -> None:
    path = root / "FileList.csv"
    lines = path.read_text().splitlines()
    cells = lines[2].split(",")
    cells[1] = new
    path.write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]) + "\n")


@pytest.mark.parametrize("fault", ["cut", "missing", "noise", "EF"])
def test_videos(fault: str, trees: Path, tmp_path: Path) -> None:
    shutil.copytree(trees / "echonet", tmp_path / "echonet")
    root = tmp_path / "echonet"
    name = (root / "FileList.csv").read_text().splitlines()[2].split(",")[0].removesuffix(".avi")
    path = root / "Videos" / f"{name}.avi"
    if fault == "EF":
        _absurd(root, "nan")
    elif fault == "cut":
        _cut(path)
    elif fault == "missing":
        path.unlink()
    else:
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(EtabError, match="--skip-bad"):
        _run(_settings(root, skip_bad=False), ["b0-A4-E"])
    (found,) = _run(_settings(root), ["b0-A4-E"])
    assert [pair[0] for pair in found.bad["recordings"]] == [name]
    assert found.bad["lost"] == [name]


@pytest.mark.slow
@pytest.mark.parametrize("harm", [_cut, Path.unlink, pytest.param(_folder, marks=pytest.mark.slow)])
def test_stills(harm: Harm, trees: Path, tmp_path: Path) -> None:
    shutil.copytree(trees / "tmed", tmp_path / "tmed")
    root = tmp_path / "tmed"
    rows = (root / "DEV479" / "TMED2_fold0_labeledpart.csv").read_text().splitlines()[1:]
    key, folder = next(
        (r.split(",")[0], r.split(",")[3])
        for r in rows
        if ",PLAX," in r and "Not_Provided" not in r
    )
    harm(root / folder / key)
    with pytest.raises(EtabError, match="--skip-bad") as caught:
        _run(_settings(root, skip_bad=False), ["c2-AL-T"])
    assert key in str(caught.value)
    (found,) = _run(_settings(root), ["c2-AL-T"])
    assert [pair[0] for pair in found.bad["recordings"]] == [key.removesuffix(".png")]
    assert (found.bad["lost"], found.bad["partly"]) == ([], [key.split("s")[0]])


def test_objects(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed")
    root = dicom.write(tmp_path / "tree")
    records = DicomSource(root).records()
    objects = [root / r.files["object"] for r in records]
    _cut(objects[0])
    objects[1].write_bytes(objects[1].read_bytes()[:140])
    found = sift(DicomSource(root))
    assert {r.id for r in found.records()} == {r.id for r in records[2:]}
    assert len(found.faults or ()) == 2
    assert all(
        any(path.name in fault.reason for path in objects[:2]) for fault in found.faults or ()
    )
    assert len(found.digest()) == 64


def test_a_strict_source_leaves_nothing_out(trees: Path) -> None:
    from etab.datasets.camus import CamusSource

    with pytest.raises(UnsupportedOptionError, match="lenient"):
        CamusSource(trees / "camus").leave_out([])


def test_a_recording_without_its_file_is_not_listed(
    phantom_tree: Callable[..., Path],
) -> None:
    root = phantom_tree(["echonet"]) / "echonet"
    clip = sorted((root / "Videos").iterdir())[1]
    clip.unlink()
    source = datasets.SOURCES["echonet"](root).lenient()
    records = source.records()
    assert [fault.id for fault in source.faults or []] == [clip.stem]
    assert clip.stem not in {record.id for record in records}
    assert len(records) == len(list((root / "Videos").iterdir()))
