"""A run needs only the files that its tasks need, and skipping bad recordings judges by these alone."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from etab.datasets.camus import CamusSource
from etab.datasets.integrity.check import check
from etab.errors import EtabError
from etab.results import Result
from etab.runs.execute import execute
from etab.runs.run import Settings, plan

MASKS, EF = "a0-A4-C", "b0-A4-C"
Harm = Callable[[Path], None]


@pytest.fixture(scope="module")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    folder = phantom_tree(["camus"])
    for path in (folder / "camus").rglob("*half_sequence*"):
        path.unlink()
    return folder / "camus"


@pytest.fixture
def camus(tree: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tree, tmp_path / "camus")


def run(root: Path, *codes: str, skip_bad: bool = False) -> list[Result]:
    settings = Settings(
        root=root, results=root.parent / "r", cache=root.parent / "c", skip_bad=skip_bad
    )
    return list(execute(plan(codes, ["image_stats"], protocols=["cv"], n_fold=2), settings))


def _remove(pattern: str, number: int | None = None) -> Harm:
    def harm(root: Path) -> None:
        paths = sorted(root.rglob(pattern))
        assert paths
        for path in paths if number is None else [paths[number]]:
            path.unlink()

    return harm


def _write(pattern: str, content: bytes, number: int = 1) -> Harm:
    def harm(root: Path) -> None:
        sorted(root.rglob(pattern))[number].write_bytes(content)

    return harm


NOT_NEEDED: dict[str, tuple[str, Harm]] = {
    "no picture of the other view": (MASKS, _remove("*2CH*")),
    "one picture of the other view missing": (MASKS, _remove("*2CH_ED.nii.gz", 1)),
    "no Info file": (MASKS, _remove("Info*")),
    "one Info file missing": (MASKS, _remove("Info_4CH.cfg", 1)),
    "no Info file of the other view": (EF, _remove("Info_2CH.cfg")),
    "no mask": (EF, _remove("*_gt.nii.gz")),
    "one mask missing": (EF, _remove("*4CH_ED_gt.nii.gz", 1)),
    "one mask damaged": (EF, _write("*4CH_ED_gt.nii.gz", b"no mask")),
    "an EF that is none": (MASKS, _write("Info_4CH.cfg", b"ED: 1\nES: 9\nEF: n/a\n")),
    "an odd line": (EF, _write("Info_4CH.cfg", b"made by hand\nED: 1\nES: 9\nEF: 40\n\n# x\n")),
    "an odd rate": (EF, _write("Info_4CH.cfg", b"ED: 1\nES: 9\nEF: 40\nFrameRate: 48,5\n")),
    "an odd age": (EF, _write("Info_4CH.cfg", b"ED: 1\nES: 9\nEF: 40\nAge: old\nSex: -\n")),
}


# Without --skip-bad, the first of each kind is run by default.
STRICT = ("no picture of the other view", "no Info file", "no mask", "an odd line")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "skip_bad"),
    [
        *((name, True) for name in NOT_NEEDED),
        *((name, False) for name in STRICT),
        *(
            pytest.param(name, False, marks=pytest.mark.slow)
            for name in NOT_NEEDED
            if name not in STRICT
        ),
    ],
)
def test_a_run_does_without_what_its_tasks_do_not_need(
    camus: Path, name: str, skip_bad: bool
) -> None:
    code, harm = NOT_NEEDED[name]
    harm(camus)
    (result,) = run(camus, code, skip_bad=skip_bad)
    assert result.n_patients == 12
    assert not result.bad


@pytest.mark.parametrize(
    ("code", "harm"),
    [
        (MASKS, _remove("*4CH_ED_gt.nii.gz", 1)),
        (MASKS, _write("*4CH_ED.nii.gz", b"no picture")),
        (EF, _remove("*4CH_ES.nii.gz", 1)),
        (EF, _write("Info_4CH.cfg", b"ED: 1\nES: 9\nEF: n/a\n")),
        *(
            pytest.param(MASKS, _write("Info_4CH.cfg", content), marks=pytest.mark.slow)
            for content in (b"ED 1\nES: 9\nEF: 40\n", b"\xff\xfe\x00\x01")
        ),
    ],
)
def test_what_a_task_needs_is_missed(camus: Path, code: str, harm: Harm) -> None:
    harm(camus)
    with pytest.raises(EtabError, match="--skip-bad"):
        run(camus, code)
    (result,) = run(camus, code, skip_bad=True)
    assert result.n_patients == 11
    assert len(result.bad["lost"]) == 1


def test_a_damaged_picture_of_the_other_view_costs_nothing(camus: Path) -> None:
    _write("*2CH_ED.nii.gz", b"no picture")(camus)
    (result,) = run(camus, MASKS, skip_bad=True)
    assert result.n_patients == 12
    assert not result.bad


def test_whole_data_have_one_digest_whatever_is_run(camus: Path) -> None:
    (masks,) = run(camus, MASKS)
    (ef,) = run(camus, EF)
    both = run(camus, MASKS, EF, "c0-AX-C")
    assert {r.data_digest for r in (masks, ef, *both)} == {CamusSource(camus).digest()}
    assert len({r.features_key for r in (masks, ef, *both)}) == 1


def test_a_view_that_is_absent_is_said_to_be(camus: Path) -> None:
    _remove("*4CH*")(camus)
    source = CamusSource(camus)
    assert {record.view for record in source.records()} == {"A2C"}
    assert source.remarks() == ["no picture of the view A4C is here; it is left out"]
    assert "no picture of the view A4C" in check("camus", camus).render()
    with pytest.raises(EtabError, match="no recording of that view"):
        run(camus, MASKS)


def test_distances_in_pixels_and_in_mm_do_not_meet(camus: Path) -> None:
    path = sorted(camus.rglob("*4CH_ED.nii.gz"))[0]
    plain = bytearray(gzip.decompress(path.read_bytes()))
    plain[76:108] = bytes(32)  # pixdim
    plain[252:256] = bytes(4)  # qform_code and sform_code
    path.write_bytes(gzip.compress(bytes(plain)))
    assert run(camus, EF)
    with pytest.raises(EtabError, match="rows have no pixel size, first"):
        run(camus, MASKS)
