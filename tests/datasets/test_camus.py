"""CAMUS through its source: published and older layouts, quirks, marks, and the real data."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from etab import datasets
from etab.datasets.camus import CamusSource
from etab.datasets.dataset import Dataset
from etab.datasets.integrity.check import check
from etab.errors import UnsupportedOptionError
from etab.testing.datasets import check_dataset
from tests.trees import camus

# --- CAMUS ---


def _camus(
    echo_trees: dict[str, Path], layout: str, record: str
) -> tuple[CamusSource, datasets.base.Record]:
    source = CamusSource(echo_trees[layout])
    return source, next(r for r in source.records() if r.id == record)


@pytest.mark.parametrize("layout", ["stills", "sequences", "old"])
def test_camus_pixels_masks_and_spacing(echo_trees: dict[str, Path], layout: str) -> None:
    source, record = _camus(echo_trees, layout, "patient0001_4CH")
    ed, es = source.phases(record)
    for at, phase in ((ed, 0.0), (es, 1.0)):
        frame = source.frames(record, [at])[0]
        assert np.array_equal(frame, camus.picture("patient0001", "4CH", phase))
        assert frame[0].mean() > frame[-1].mean(), "the probe is not at the top"
        truth = camus.mask("4CH", phase)
        for name, label in (("LV_seg", 1), ("MY_seg", 2), ("LA_seg", 3)):
            (answer,) = source.answers(record, source.card.target(name), [at])
            assert np.array_equal(answer.value, truth == label), name
    assert source.spacing(record) == pytest.approx(camus.SPACING)


def test_camus_facts(echo_trees: dict[str, Path]) -> None:
    source, record = _camus(echo_trees, "stills", "patient0003_4CH")
    assert (record.patient, record.view, record.split, record.fps) == (
        "patient0003",
        "A4C",
        "train",
        None,
    )
    assert source.answers(record, source.card.target("EF"))[0].value == camus.ef("patient0003")
    assert source.answers(record, source.card.target("CM"))[0].value == int(
        camus.ef("patient0003") < 50
    )
    assert source.answers(record, source.card.target("view"))[0].value == 1
    assert {r.split for r in source.records()} == {"train", "val", "test"}
    assert not source.phantom


def test_camus_es_before_ed(echo_trees: dict[str, Path]) -> None:
    for layout, expected in (("stills", (1, 0)), ("sequences", (5, 0))):
        source, record = _camus(echo_trees, layout, "patient0002_2CH")
        assert source.phases(record) == expected
        areas = {a.at: a.value.sum() for a in source.answers(record, source.card.target("LV_seg"))}
        assert areas[expected[0]] > areas[expected[1]]
        phase = source.answers(record, source.card.target("ES/ED"))
        assert [(a.at, a.value) for a in phase] == [(0, 1), (expected[0], 0)]


def test_camus_sequence_without_cfg_is_ordered_by_area(
    echo_trees: dict[str, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(echo_trees["sequences"], tmp_path / "c")
    for name in ("patient0001", "patient0002"):
        (root / "database_nifti" / name / "Info_2CH.cfg").unlink()
    for name, expected in (("patient0001", (0, 5)), ("patient0002", (5, 0))):
        source, record = _camus({"c": root}, "c", f"{name}_2CH")
        assert source.phases(record) == expected


def test_camus_sequence_masks_are_of_every_frame(echo_trees: dict[str, Path]) -> None:
    source, record = _camus(echo_trees, "sequences", "patient0001_2CH")
    assert source.n_frames(record) == 6
    assert record.fps == 50
    answers = source.answers(record, source.card.target("LV_seg"))
    assert [a.at for a in answers] == list(range(6))
    assert np.array_equal(answers[2].value, camus.mask("2CH", 0.4) == 1)
    assert np.array_equal(source.frames(record, [2])[0], camus.picture("patient0001", "2CH", 0.4))


def test_camus_stills_stand_for_their_frames_of_the_sequence(
    echo_trees: dict[str, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(echo_trees["sequences"], tmp_path / "c")
    still = root / "database_nifti" / "patient0001" / "patient0001_2CH_ED.nii.gz"
    camus.write_nifti(still, np.full(camus.SIZE, 77, np.uint8))
    source, record = _camus({"c": root}, "c", "patient0001_2CH")
    assert (source.frames(record)[0] == 77).all()
    assert (source.frames(record, [0]) == 77).all()
    still.unlink()
    source, record = _camus({"c": root}, "c", "patient0001_2CH")
    assert np.array_equal(source.frames(record, [0])[0], camus.picture("patient0001", "2CH", 0))


def test_camus_old_release_has_no_answers_for_its_testing_patients(
    echo_trees: dict[str, Path],
) -> None:
    source = CamusSource(echo_trees["old"])
    last = [r for r in source.records() if r.patient == "patient0004"]
    assert {r.split for r in source.records()} == {"train", "test"}
    for record in last:
        assert source.answers(record, source.card.target("EF")) == ()
        assert source.answers(record, source.card.target("LV_seg")) == ()
        assert len(source.answers(record, source.card.target("ES/ED"))) == 2
    assert check("camus", echo_trees["old"]).missing == []


@pytest.mark.parametrize("below", [".", "database_nifti", "database_split", ".."])
def test_camus_is_found_from_the_folders_around_it(tmp_path: Path, below: str) -> None:
    root = camus.write(tmp_path / "CAMUS_public", n=3)
    assert len(CamusSource(root / below).records()) == 6
    assert CamusSource(root / below).root.resolve() == root.resolve()


def test_camus_tolerates_what_a_task_does_not_need(
    echo_trees: dict[str, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(echo_trees["stills"], tmp_path / "c")
    (root / "database_nifti" / "patient0001" / "patient0001_2CH_ES_gt.nii.gz").unlink()
    shutil.rmtree(root / "database_split")
    source, record = _camus({"c": root}, "c", "patient0001_4CH")
    assert len(source.answers(record, source.card.target("LV_seg"))) == 2
    assert len(Dataset("camus", "EF", view="A2", root=root)) == 6
    assert {r.split for r in source.records()} == {""}


@pytest.mark.parametrize("mark", ["PHANTOM", "cfg", "descrip"])
def test_camus_phantom_marks(echo_trees: dict[str, Path], tmp_path: Path, mark: str) -> None:
    root = shutil.copytree(echo_trees["stills"], tmp_path / "c")
    patient = root / "database_nifti" / "patient0004"
    if mark == "PHANTOM":
        (root / mark).write_text("made\n")
    elif mark == "cfg":
        (patient / "Info_2CH.cfg").write_text(
            (patient / "Info_2CH.cfg").read_text() + "Phantom: yes\n"
        )
    else:
        camus.write_nifti(
            patient / "patient0004_4CH_ES.nii.gz", np.zeros(camus.SIZE, np.uint8), "phantom"
        )
    assert CamusSource(root).phantom


@pytest.mark.parametrize(
    "name",
    [
        "patient0002_2CH_ED.nii.gz",
        "patient0002_4CH_ES_gt.nii.gz",
        "Info_2CH.cfg",
        "subgroup_testing.txt",
    ],
)
def test_camus_digest_sees_every_file(
    echo_trees: dict[str, Path], tmp_path: Path, name: str
) -> None:
    root = shutil.copytree(echo_trees["stills"], tmp_path / "c")
    before = CamusSource(root).digest()
    assert before == CamusSource(echo_trees["stills"]).digest()
    path = next(root.rglob(name))
    path.write_bytes(path.read_bytes() + b"\n")
    assert CamusSource(root).digest() != before


def test_old_camus_digest_sees_the_pixels(echo_trees: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(echo_trees["old"], tmp_path / "c")
    before = CamusSource(root).digest()
    raw = root / "training" / "patient0001" / "patient0001_2CH_ED.raw"
    raw.write_bytes(bytes([raw.read_bytes()[0] ^ 1]) + raw.read_bytes()[1:])
    assert CamusSource(root).digest() != before


@pytest.mark.parametrize("rate", ["48,5", "fast", "-3", "0", "nan"])
def test_camus_rate_that_is_no_rate_costs_the_rate(
    echo_trees: dict[str, Path], tmp_path: Path, rate: str
) -> None:
    root = shutil.copytree(echo_trees["sequences"], tmp_path / "c")
    path = root / "database_nifti" / "patient0001" / "Info_4CH.cfg"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("FrameRate")]
    path.write_text("\n".join([*lines, f"FrameRate: {rate}"]))
    source, record = _camus({"c": root}, "c", "patient0001_4CH")
    assert record.fps is None
    assert source.phases(record) == (0, 5)


# --- real data ---


@pytest.mark.parametrize("name", ["patient0001 copy", "patient0001 (1)", "patient0001_old"])
def test_folders_that_are_no_patients_are_named(
    echo_trees: dict[str, Path], tmp_path: Path, name: str
) -> None:
    root = tmp_path / "camus"
    shutil.copytree(echo_trees["stills"], root)
    records = CamusSource(root).records()
    (root / "database_nifti" / name).mkdir()
    source = CamusSource(root)
    assert source.records() == records
    (remark,) = source.remarks()
    assert f"database_nifti/{name}" in remark


@pytest.fixture(scope="module")
def real(real_data: Path) -> CamusSource:
    return CamusSource(real_data / "camus")


@pytest.mark.real
def test_real_camus_counts(real: CamusSource) -> None:
    records = real.records()
    splits = {r.patient: r.split for r in records}
    assert len(records) == 1000
    assert [list(splits.values()).count(s) for s in ("train", "val", "test")] == [400, 50, 50]
    efs = [real.answers(r, real.card.target("EF"))[0].value for r in records[::2]]
    assert np.mean(efs) == pytest.approx(44.2, abs=0.1)
    assert np.mean(np.array(efs) < 50) == pytest.approx(0.66, abs=0.01)
    assert not real.phantom


@pytest.mark.real
def test_real_camus_is_the_right_way_up(real: CamusSource) -> None:
    """The sector's apex is at the top, and the atrium below the cavity, which is larger at end-diastole."""
    larger = []
    for record in real.records()[::20]:
        ed, es = real.phases(record)
        frames = real.frames(record)
        lit = (frames[0] > 0).sum(axis=1)
        assert lit[:20].mean() < lit[100:120].mean(), record.id
        area = {a.at: a.value.sum() for a in real.answers(record, real.card.target("LV_seg"))}
        larger.append(area[ed] > area[es])
        for cavity, atrium in zip(
            real.answers(record, real.card.target("LV_seg")),
            real.answers(record, real.card.target("LA_seg")),
            strict=True,
        ):
            if atrium.value.any():
                assert np.nonzero(atrium.value)[0].mean() > np.nonzero(cavity.value)[0].mean(), (
                    record.id
                )
    assert np.mean(larger) > 0.97


@pytest.mark.real
def test_real_camus_contract(real: CamusSource) -> None:
    check_dataset(CamusSource, real.root)


@pytest.mark.real
def test_real_camus_as_simpleitk_reads_it(real: CamusSource) -> None:
    import SimpleITK

    for record in real.records()[::100]:
        peer = SimpleITK.ReadImage(str(real.root / record.files["ES"]))
        assert np.array_equal(
            real.frames(record, [real.phases(record)[1]])[0], SimpleITK.GetArrayFromImage(peer)
        )
        assert real.spacing(record) == pytest.approx(peer.GetSpacing()[::-1])


@pytest.mark.real
def test_real_camus_dataset(real: CamusSource) -> None:
    ds = Dataset("camus", "LA_seg", view="A2", split="test", root=real.root)
    assert len(ds) == 100
    x, y = ds[0]
    assert x.shape == (3, 224, 224)
    assert y[0].sum() > 500
    assert cv2.connectedComponents(y[0].numpy().astype(np.uint8))[0] == 2
    with pytest.raises(UnsupportedOptionError, match="1000 of 1000 recordings are stills"):
        Dataset("camus", "EF", video=True, root=real.root)
