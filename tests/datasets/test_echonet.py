"""EchoNet-Dynamic through its source: tables, traced masks and marks."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from etab.datasets.dataset import Dataset
from etab.datasets.echonet import EchoNetSource, traced_mask
from tests.trees import echonet

# --- EchoNet ---


def test_echonet_facts(echo_trees: dict[str, Path]) -> None:
    source = EchoNetSource(echo_trees["echonet"])
    records = source.records()
    assert [r.id for r in records] == echonet.names()
    assert [r.split for r in records] == [s.lower() for s in echonet.SPLITS]
    assert [source.n_frames(r) for r in records] == list(echonet.LENGTHS)
    assert [r.fps for r in records] == list(echonet.RATES)
    assert [source.answers(r, source.card.target("EF"))[0].value for r in records] == [
        echonet.ef(i) for i in range(6)
    ]
    assert [source.answers(r, source.card.target("CM"))[0].value for r in records] == [
        1,
        1,
        1,
        0,
        0,
        0,
    ]


def test_echonet_tells_ed_from_es_by_area(echo_trees: dict[str, Path]) -> None:
    source = EchoNetSource(echo_trees["echonet"])
    for i, record in enumerate(source.records()[:-1]):
        assert source.phases(record) == echonet.traced(i)
    last = source.records()[-1]
    assert source.answers(last, source.card.target("LV_seg")) == ()
    assert source.phases(last) is None


def test_echonet_masks_lie_on_the_dark_chamber(echo_trees: dict[str, Path]) -> None:
    source = EchoNetSource(echo_trees["echonet"])
    record = source.records()[0]
    for answer in source.answers(record, source.card.target("LV_seg")):
        dark = source.frames(record, [answer.at])[0] < 75
        assert 2 * (dark & answer.value).sum() / (dark.sum() + answer.value.sum()) > 0.9


def test_echonet_tables_of_other_copies(echo_trees: dict[str, Path], tmp_path: Path) -> None:
    """An index column, no Split, suffixes everywhere, a traced video that is not listed: as copies on the web have them."""
    root = shutil.copytree(echo_trees["echonet"], tmp_path / "e")
    with (root / "FileList.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [key for key in rows[0] if key != "Split"]
    with (root / "FileList.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["Unnamed: 0", *kept])
        out.writerows(
            [i, row["FileName"].removesuffix(".avi") + ".avi", *(row[k] for k in kept[1:])]
            for i, row in enumerate(rows)
        )
    text = (root / "VolumeTracings.csv").read_text().replace(".avi,", ",")
    extra = "".join(f"0X4F8859C8AB4DA9CB,{10 + k},20,30,{20 + k},5\n" for k in range(8))
    (root / "VolumeTracings.csv").write_text(text + extra)
    whole, other = EchoNetSource(echo_trees["echonet"]), EchoNetSource(root)
    assert [r.id for r in other.records()] == echonet.names()
    assert {r.split for r in other.records()} == {""}
    for one, two in zip(whole.records(), other.records(), strict=True):
        for target in whole.card.targets:
            pairs = zip(whole.answers(one, target), other.answers(two, target), strict=True)
            assert all(a.at == b.at and np.array_equal(a.value, b.value) for a, b in pairs)


def test_traced_masks_are_those_of_the_authors_loader() -> None:
    """Their code, line by line (``echonet/datasets/echo.py``): the same pixels, tolerance none."""
    draw = pytest.importorskip("skimage.draw")
    rng = np.random.default_rng(0)
    for _ in range(50):
        t = rng.uniform(-4, 116, (21, 4))
        x1, y1, x2, y2 = t[:, 0], t[:, 1], t[:, 2], t[:, 3]
        x = np.concatenate((x1[1:], np.flip(x2[1:])))
        y = np.concatenate((y1[1:], np.flip(y2[1:])))
        r, c = draw.polygon(np.rint(y).astype(int), np.rint(x).astype(int), (112, 112))
        wanted = np.zeros((112, 112), np.float32)
        wanted[r, c] = 1
        assert np.array_equal(traced_mask(t, (112, 112)), wanted == 1)


def test_traced_mask_is_the_published_recipe() -> None:
    trace = np.array([[10.0, 2, 10, 18], [6, 4, 14, 4], [5, 10, 15, 10], [8, 16, 30, 16]])
    mask = traced_mask(trace, (20, 20))
    assert mask[10, 10]
    assert not mask[2, 10], "the long axis must not count as an outline"
    assert mask[16, 19], "what lies outside the picture is cut, not refused"


def test_echonet_without_tracings_still_answers_ef(
    echo_trees: dict[str, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(echo_trees["echonet"], tmp_path / "e")
    (root / "VolumeTracings.csv").unlink()
    assert len(Dataset("echonet", "EF", root=root)) == 6


def test_echonet_phantom_mark_in_one_video(echo_trees: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(echo_trees["echonet"], tmp_path / "e")
    assert not EchoNetSource(root).phantom
    echonet.add_info(root / "Videos" / f"{echonet.names()[3]}.avi", "a Phantom")
    assert EchoNetSource(root).phantom
    (root / "PHANTOM").write_text("made\n")
    assert EchoNetSource(root).phantom
