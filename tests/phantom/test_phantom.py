"""Masks, volumes and EF of the phantom agree; the same seed gives the same bytes; everything says phantom."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest

from etab import datasets, phantom
from etab.errors import UnsupportedOptionError
from etab.phantom.anatomy import Heart, draw_heart


@pytest.fixture(scope="module")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus", "echonet"], size=192)


def digest(folder: Path) -> str:
    h = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        h.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return h.hexdigest()


@pytest.mark.parametrize("name", ["camus", "echonet"])
def test_the_first_patient_follows_from_the_seed(name: str, tmp_path: Path) -> None:
    """Each writer yields after a patient, so the others need not be drawn."""
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        next(iter(phantom._writers(10, seed, 32)[name](tmp_path / folder)))
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


@pytest.mark.slow
def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        phantom.write(tmp_path / name, patients=10, seed=seed, size=64)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_everything_says_phantom(tree: Path) -> None:
    for name in ("camus", "echonet"):
        assert "PHANTOM" in (tree / name / "PHANTOM").read_text()
        source = datasets.source(name, tree / name)
        assert source.phantom
    image = nibabel.load(next(tree.rglob("*_ED.nii.gz")))
    assert image.header["descrip"].tobytes().startswith(b"phantom")
    assert "Phantom: yes" in next(tree.rglob("Info_2CH.cfg")).read_text()
    assert b"INFOICMT" in next(tree.rglob("*.avi")).read_bytes()


@pytest.mark.parametrize("strip", ["marker", "nothing else"])
def test_the_marks_inside_are_enough(tree: Path, tmp_path: Path, strip: str) -> None:
    import shutil

    for name in ("camus", "echonet"):
        shutil.copytree(tree / name, tmp_path / name)
        (tmp_path / name / "PHANTOM").unlink()
        assert datasets.source(name, tmp_path / name).phantom


def test_volumes_follow_the_ef_exactly() -> None:
    for seed in range(30):
        heart: Heart = draw_heart(np.random.default_rng(seed))
        edv, esv = heart.volume(0.0), heart.volume(1.0)
        assert 100 * (edv - esv) / edv == pytest.approx(heart.ef, abs=1e-6)
        assert 5 < esv < edv < 600


def biplane(masks: list[np.ndarray], spacing: float, discs: int = 20) -> float:
    """Standard Simpson from two masks: discs across the long axis, found from the masks alone."""
    lengths, widths = [], []
    for mask in masks:
        y, x = np.nonzero(mask)
        points = np.stack([x, y], axis=1) * spacing
        centre = points.mean(axis=0)
        axis = np.linalg.svd(points - centre, full_matrices=False)[2][0]
        along = (points - centre) @ axis
        lengths.append(np.ptp(along) + spacing)
        edges = np.linspace(along.min() - spacing / 2, along.max() + spacing / 2, discs + 1)
        area = np.histogram(along, edges)[0] * spacing**2
        widths.append(area / (lengths[-1] / discs))
    return float(np.pi / 4 * (widths[0] * widths[1]).sum() * max(lengths) / discs / 1000)


def test_masks_volumes_and_ef_agree(tree: Path) -> None:
    source = datasets.source("camus", tree / "camus")
    lv, ef = source.card.target("LV_seg"), source.card.target("EF")
    errors = []
    for patient in sorted({r.patient for r in source.records()}):
        views = [r for r in source.records() if r.patient == patient]
        masks = [[a.value for a in source.answers(r, lv)] for r in views]
        spacing = source.spacing(views[0])
        assert spacing is not None
        edv, esv = (biplane([m[i] for m in masks], spacing[0]) for i in (0, -1))
        errors.append(100 * (edv - esv) / edv - source.answers(views[0], ef)[0].value)
    assert np.abs(errors).mean() < 2.5
    assert np.abs(errors).max() < 6


def test_chambers_lie_as_they_should(tree: Path) -> None:
    source = datasets.source("camus", tree / "camus")
    for record in source.records():
        masks = {
            t: [a.value for a in source.answers(record, source.card.target(t))]
            for t in ("LV_seg", "MY_seg", "LA_seg")
        }
        assert masks["LV_seg"][0].sum() > masks["LV_seg"][-1].sum()
        assert not (masks["LV_seg"][0] & masks["MY_seg"][0]).any()
        rows = [np.nonzero(masks[t][0])[0].mean() for t in ("LV_seg", "LA_seg")]
        assert rows[0] < rows[1]
        sizes = [m.sum() for m in masks["LV_seg"]]
        assert all(a >= b - 3 for a, b in pairwise(sizes))


def test_echonet_traces_and_csv_agree(tree: Path) -> None:
    source = datasets.source("echonet", tree / "echonet")
    phase, lv, ef = (source.card.target(t) for t in ("ES/ED", "LV_seg", "EF"))
    without = [r for r in source.records() if not source.answers(r, phase)]
    assert len(without) == 1
    orders = set()
    for record in source.records():
        if record in without:
            continue
        at = {a.value: a.at for a in source.answers(record, phase)}
        orders.add(at[0] < at[1])
        area = {a.at: a.value.sum() for a in source.answers(record, lv)}
        assert area[at[0]] > area[at[1]]
        shrink = 1 - (area[at[1]] / area[at[0]]) ** 1.5
        assert 100 * shrink == pytest.approx(source.answers(record, ef)[0].value, abs=9)
    assert orders == {True, False}  # one patient in fifty is traced ES first
    video = cv2.VideoCapture(str(next(tree.rglob("*.avi"))))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) > 40
    assert video.read()[1].shape == (112, 112, 3)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOptionError, match="10 or more for the splits"):
        phantom.write(tmp_path, patients=3)
    (tmp_path / "camus").mkdir()
    (tmp_path / "camus" / "real.txt").write_text("x")
    with pytest.raises(UnsupportedOptionError, match="not a phantom"):
        phantom.write(tmp_path, patients=10)


def test_progress_counts_the_patients_of_each_tree(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    phantom.write(
        tmp_path,
        patients=10,
        names=["circor", "unity"],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 22) for done in range(1, 23)]
