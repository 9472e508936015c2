"""Sources and Dataset on tiny trees in the published layouts, and on real data where it is."""

from __future__ import annotations

import csv
import pickle
import shutil
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import etab
from etab import datasets
from etab.datasets.camus import CamusSource
from etab.datasets.dataset import Dataset
from etab.datasets.echonet import EchoNetSource, traced_mask
from etab.datasets.integrity.check import check
from etab.datasets.paths import dataset_folder
from etab.echo.clips import fitted_size, frame_grid, place_clip, window
from etab.echo.views import aliases, canonical
from etab.errors import EtabWarning, SplitError, UnsupportedOptionError
from etab.legacy.data_tools import training_data_split
from etab.testing.datasets import check_dataset
from tests.trees import camus, echonet


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("trees")
    return {
        "stills": camus.write(base / "stills", cfg_4ch=False, reversed_2ch="patient0002"),
        "sequences": camus.write(base / "sequences", sequences=True, reversed_2ch="patient0002"),
        "old": camus.write_old(base / "old"),
        "echonet": echonet.write(base / "echonet"),
    }


LAYOUTS = {
    "stills": CamusSource,
    "sequences": CamusSource,
    "old": CamusSource,
    "echonet": EchoNetSource,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_contract(trees: dict[str, Path], layout: str, tmp_path: Path) -> None:
    check_dataset(LAYOUTS[layout], trees[layout], scratch=tmp_path)


# --- CAMUS ---


def _camus(
    trees: dict[str, Path], layout: str, record: str
) -> tuple[CamusSource, datasets.base.Record]:
    source = CamusSource(trees[layout])
    return source, next(r for r in source.records() if r.id == record)


@pytest.mark.parametrize("layout", ["stills", "sequences", "old"])
def test_camus_pixels_masks_and_spacing(trees: dict[str, Path], layout: str) -> None:
    source, record = _camus(trees, layout, "patient0001_4CH")
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


def test_camus_facts(trees: dict[str, Path]) -> None:
    source, record = _camus(trees, "stills", "patient0003_4CH")
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


def test_camus_es_before_ed(trees: dict[str, Path]) -> None:
    for layout, expected in (("stills", (1, 0)), ("sequences", (5, 0))):
        source, record = _camus(trees, layout, "patient0002_2CH")
        assert source.phases(record) == expected
        areas = {a.at: a.value.sum() for a in source.answers(record, source.card.target("LV_seg"))}
        assert areas[expected[0]] > areas[expected[1]]
        phase = source.answers(record, source.card.target("ES/ED"))
        assert [(a.at, a.value) for a in phase] == [(0, 1), (expected[0], 0)]


def test_camus_sequence_without_cfg_is_ordered_by_area(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(trees["sequences"], tmp_path / "c")
    for name in ("patient0001", "patient0002"):
        (root / "database_nifti" / name / "Info_2CH.cfg").unlink()
    for name, expected in (("patient0001", (0, 5)), ("patient0002", (5, 0))):
        source, record = _camus({"c": root}, "c", f"{name}_2CH")
        assert source.phases(record) == expected


def test_camus_sequence_masks_are_of_every_frame(trees: dict[str, Path]) -> None:
    source, record = _camus(trees, "sequences", "patient0001_2CH")
    assert source.n_frames(record) == 6
    assert record.fps == 50
    answers = source.answers(record, source.card.target("LV_seg"))
    assert [a.at for a in answers] == list(range(6))
    assert np.array_equal(answers[2].value, camus.mask("2CH", 0.4) == 1)
    assert np.array_equal(source.frames(record, [2])[0], camus.picture("patient0001", "2CH", 0.4))


def test_camus_stills_stand_for_their_frames_of_the_sequence(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(trees["sequences"], tmp_path / "c")
    still = root / "database_nifti" / "patient0001" / "patient0001_2CH_ED.nii.gz"
    camus.write_nifti(still, np.full(camus.SIZE, 77, np.uint8))
    source, record = _camus({"c": root}, "c", "patient0001_2CH")
    assert (source.frames(record)[0] == 77).all()
    assert (source.frames(record, [0]) == 77).all()
    still.unlink()
    source, record = _camus({"c": root}, "c", "patient0001_2CH")
    assert np.array_equal(source.frames(record, [0])[0], camus.picture("patient0001", "2CH", 0))


def test_camus_old_release_has_no_answers_for_its_testing_patients(trees: dict[str, Path]) -> None:
    source = CamusSource(trees["old"])
    last = [r for r in source.records() if r.patient == "patient0004"]
    assert {r.split for r in source.records()} == {"train", "test"}
    for record in last:
        assert source.answers(record, source.card.target("EF")) == ()
        assert source.answers(record, source.card.target("LV_seg")) == ()
        assert len(source.answers(record, source.card.target("ES/ED"))) == 2
    assert check("camus", trees["old"]).missing == []


@pytest.mark.parametrize("below", [".", "database_nifti", "database_split", ".."])
def test_camus_is_found_from_the_folders_around_it(tmp_path: Path, below: str) -> None:
    root = camus.write(tmp_path / "CAMUS_public", n=3)
    assert len(CamusSource(root / below).records()) == 6
    assert CamusSource(root / below).root.resolve() == root.resolve()


def test_camus_tolerates_what_a_task_does_not_need(trees: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(trees["stills"], tmp_path / "c")
    (root / "database_nifti" / "patient0001" / "patient0001_2CH_ES_gt.nii.gz").unlink()
    shutil.rmtree(root / "database_split")
    source, record = _camus({"c": root}, "c", "patient0001_4CH")
    assert len(source.answers(record, source.card.target("LV_seg"))) == 2
    assert len(Dataset("camus", "EF", view="A2", root=root)) == 6
    assert {r.split for r in source.records()} == {""}


@pytest.mark.parametrize("mark", ["PHANTOM", "cfg", "descrip"])
def test_camus_phantom_marks(trees: dict[str, Path], tmp_path: Path, mark: str) -> None:
    root = shutil.copytree(trees["stills"], tmp_path / "c")
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
def test_camus_digest_sees_every_file(trees: dict[str, Path], tmp_path: Path, name: str) -> None:
    root = shutil.copytree(trees["stills"], tmp_path / "c")
    before = CamusSource(root).digest()
    assert before == CamusSource(trees["stills"]).digest()
    path = next(root.rglob(name))
    path.write_bytes(path.read_bytes() + b"\n")
    assert CamusSource(root).digest() != before


def test_old_camus_digest_sees_the_pixels(trees: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(trees["old"], tmp_path / "c")
    before = CamusSource(root).digest()
    raw = root / "training" / "patient0001" / "patient0001_2CH_ED.raw"
    raw.write_bytes(bytes([raw.read_bytes()[0] ^ 1]) + raw.read_bytes()[1:])
    assert CamusSource(root).digest() != before


# --- EchoNet ---


def test_echonet_facts(trees: dict[str, Path]) -> None:
    source = EchoNetSource(trees["echonet"])
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


def test_echonet_tells_ed_from_es_by_area(trees: dict[str, Path]) -> None:
    source = EchoNetSource(trees["echonet"])
    for i, record in enumerate(source.records()[:-1]):
        assert source.phases(record) == echonet.traced(i)
    last = source.records()[-1]
    assert source.answers(last, source.card.target("LV_seg")) == ()
    assert source.phases(last) is None


def test_echonet_masks_lie_on_the_dark_chamber(trees: dict[str, Path]) -> None:
    source = EchoNetSource(trees["echonet"])
    record = source.records()[0]
    for answer in source.answers(record, source.card.target("LV_seg")):
        dark = source.frames(record, [answer.at])[0] < 75
        assert 2 * (dark & answer.value).sum() / (dark.sum() + answer.value.sum()) > 0.9


def test_echonet_tables_of_other_copies(trees: dict[str, Path], tmp_path: Path) -> None:
    """An index column, no Split, suffixes everywhere, a traced video that is not listed: as copies on the web have them."""
    root = shutil.copytree(trees["echonet"], tmp_path / "e")
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
    whole, other = EchoNetSource(trees["echonet"]), EchoNetSource(root)
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


def test_echonet_without_tracings_still_answers_ef(trees: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(trees["echonet"], tmp_path / "e")
    (root / "VolumeTracings.csv").unlink()
    assert len(Dataset("echonet", "EF", root=root)) == 6


def test_echonet_phantom_mark_in_one_video(trees: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(trees["echonet"], tmp_path / "e")
    assert not EchoNetSource(root).phantom
    echonet.add_info(root / "Videos" / f"{echonet.names()[3]}.avi", "a Phantom")
    assert EchoNetSource(root).phantom
    (root / "PHANTOM").write_text("made\n")
    assert EchoNetSource(root).phantom


# --- clips ---


def test_resample_keeps_time() -> None:
    assert frame_grid(5, native=50, fps=None).tolist() == [0, 1, 2, 3, 4]
    assert frame_grid(9, native=50, fps=25).tolist() == [0, 2, 4, 6, 8]
    assert frame_grid(3, native=25, fps=50).tolist() == [0, 0, 1, 2, 2]
    assert frame_grid(10, native=30, fps=20).tolist() == [0, 2, 3, 4, 6, 8, 9]
    with pytest.raises(UnsupportedOptionError, match="unknown"):
        frame_grid(5, native=None, fps=25)


def test_window_cuts_and_repeats() -> None:
    assert window(np.arange(10), 4, start=3).tolist() == [3, 4, 5, 6]
    assert window(np.arange(10), 4, start=99).tolist() == [6, 7, 8, 9]
    assert window(np.arange(3), 7).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_place_holds_the_marked_frames_exactly() -> None:
    clip, inside = place_clip(np.arange(0, 100, 3), 8, [40, 52])
    assert {clip[i] for i in inside.values()} == {40, 52}
    assert sorted(inside) == [40, 52]
    assert (np.diff(clip) > 0).all()
    clip, inside = place_clip(np.arange(100), 5, [10, 90])
    assert sorted(inside) == [10]
    clip, inside = place_clip(np.arange(50), 6, [])
    assert clip.tolist() == [0, 1, 2, 3, 4, 5]
    assert inside == {}
    clip, inside = place_clip(np.arange(4), 6, [3])
    assert clip.tolist() == [0, 1, 2, 3, 0, 1]
    assert inside == {3: 3}


def test_fit_keeps_or_squashes_the_aspect() -> None:
    assert fitted_size(40, 80, out=(100, 100), padding=False) == ((100, 100), (0, 0))
    assert fitted_size(40, 80, out=(100, 100), padding=True) == ((50, 100), (25, 0))


# --- Dataset ---


def test_names_of_2022() -> None:
    assert etab.ETAB_dataset is Dataset
    assert datasets.ETAB_dataset is Dataset
    assert etab.Dataset is Dataset
    assert {"camus", "echonet", "tmed"} <= set(datasets.names())


@pytest.mark.parametrize("name", ["AP4CH", "A4CH", "A4C", "A4", "ap4ch"])
def test_views_by_every_name_in_use(trees: dict[str, Path], name: str) -> None:
    assert canonical(name) == "A4C"
    ds = Dataset("camus", "EF", view=name, root=trees["stills"])
    assert len(ds) == 6
    assert all("4CH" in i for i in ds.data.ids)


def test_view_aliases_do_not_collide() -> None:
    assert canonical("PL") == "PLAX"
    assert canonical("PS") == "PSAX"
    assert canonical("AP2CH") == canonical("A2") == "A2C"
    assert len(aliases()) == len({a.upper() for a in aliases()})


@pytest.mark.parametrize(
    ("target", "n", "kind"),
    [("EF", 12, float), ("view", 12, int), ("CM", 12, int), ("ES/ED", 24, int)],
)
def test_stills_and_their_labels(trees: dict[str, Path], target: str, n: int, kind: type) -> None:
    ds = Dataset("camus", target, root=trees["stills"])
    assert len(ds) == len(ds.data) == n
    x, y = ds[0]
    assert x.shape == (3, 224, 224)
    assert x.dtype == torch.float32
    assert type(y) is kind
    assert isinstance(ds[0], tuple)
    assert len(list(ds)) == n


def test_mask_label_is_the_mask_of_its_own_picture(trees: dict[str, Path]) -> None:
    rows, columns = camus.SIZE
    ds = Dataset(
        "camus",
        "LV_seg",
        view="A4",
        normalize=False,
        frame_l=rows,
        frame_w=columns,
        root=trees["stills"],
    )
    assert len(ds) == 12
    for i, phase in ((0, 0.0), (1, 1.0)):
        x, y = ds.data[i]
        assert y.shape == (1, rows, columns)
        assert y.dtype == torch.int64
        assert np.array_equal(y[0].numpy(), camus.mask("4CH", phase) == 1)
        assert np.allclose(
            x[0].numpy() * 255, camus.picture("patient0001", "4CH", phase), atol=1e-4
        )


def test_normalize_takes_out_imagenet(trees: dict[str, Path]) -> None:
    plain, normal = (
        Dataset("camus", "EF", normalize=n, root=trees["stills"])[3][0] for n in (False, True)
    )
    assert 0 <= plain.min() < plain.max() <= 1
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(normal, (plain - mean[:, None, None]) / std[:, None, None], atol=1e-6)


def test_size_and_padding_act(trees: dict[str, Path]) -> None:
    def first(**options: object) -> tuple[torch.Tensor, torch.Tensor]:
        return Dataset("camus", "LV_seg", normalize=False, root=trees["stills"], **options)[0]

    x, y = first(frame_l=64, frame_w=32)
    assert x.shape == (3, 64, 32)
    assert y.shape == (1, 64, 32)
    x, y = first(frame_l=56, frame_w=56, padding=True)
    assert (x[:, :8] == 0).all()
    assert (x[:, 48:] == 0).all()
    assert (x[:, 8:48] > 0).all()
    assert np.array_equal(y[0, 8:48].numpy(), camus.mask("2CH", 0) == 1)
    assert (first(frame_l=56, frame_w=56)[0] > 0).all()


def test_masks_are_resized_to_the_nearest_pixel(trees: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(trees["stills"], tmp_path / "c")
    point = np.zeros((9, 9), np.uint8)
    point[4, 4] = 1
    for role, truth in (("ED", 9 * point), ("ED_gt", point), ("ES", 9 * point), ("ES_gt", point)):
        camus.write_nifti(
            root / "database_nifti" / "patient0001" / f"patient0001_2CH_{role}.nii.gz", truth
        )
    _, y = Dataset("camus", "LV_seg", view="A2", frame_l=3, frame_w=3, root=root)[0]
    assert y.tolist() == [[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]


def test_split_acts(trees: dict[str, Path]) -> None:
    sizes = {
        s: len(Dataset("camus", "EF", split=s, root=trees["stills"]))
        for s in ("train", "val", "test")
    }
    assert sizes == {"train": 8, "val": 2, "test": 2}


def test_load_data_in_order_and_by_seed(trees: dict[str, Path]) -> None:
    ds = Dataset("camus", "ES/ED", root=trees["stills"])
    everything = ds.data.ids
    assert ds.load_data(3) is ds
    assert len(ds) == 6, "n_clips counts recordings, each with two phases"
    assert ds.data.ids == everything[:6]
    ds.load_data(5, random=True, seed=1)
    first = ds.data.ids
    ds.load_data(5, random=True, seed=1)
    assert ds.data.ids == first
    assert first != everything[:10]
    ds.load_data(5, random=True, seed=2)
    assert ds.data.ids != first
    ds.load_data()
    assert ds.data.ids == everything
    assert ds.data[2:4].ids == everything[2:4]
    assert ds.data[-1][1] == ds.data[len(ds) - 1][1]


@pytest.mark.parametrize("name", ["camus", "echonet"])
def test_clips(trees: dict[str, Path], name: str) -> None:
    root = trees["sequences" if name == "camus" else name]
    ds = Dataset(
        name, "EF", video=True, clip_l=5, frame_l=32, frame_w=48, normalize=False, root=root
    )
    x, y = ds[0]
    assert x.shape == (5, 3, 32, 48)
    assert isinstance(y, float)
    native = ds.source.frames(ds.source.records()[0], [2])[0]
    assert np.abs(x[2].mean().item() * 255 - native.mean()) < 1
    assert Dataset(name, "EF", video=True, root=root)[0][0].shape == (16, 3, 224, 224)


def test_clip_masks_name_their_frames(trees: dict[str, Path]) -> None:
    ds = Dataset(
        "echonet",
        "LV_seg",
        video=True,
        clip_l=12,
        frame_l=48,
        frame_w=48,
        normalize=False,
        root=trees["echonet"],
    )
    assert len(ds) == 5, "a recording without tracings is no item"
    for i in range(5):
        x, (masks, at) = ds[i]
        assert masks.shape == (2, 48, 48)
        assert masks.dtype == torch.int64
        assert at.shape == (2,)
        for mask, k in zip(masks, at.tolist(), strict=True):
            dark = x[k, 0] * 255 < 75
            assert 2 * (dark & (mask == 1)).sum() / (dark.sum() + mask.sum()) > 0.9


def test_clip_phases_point_at_ed_and_es(trees: dict[str, Path]) -> None:
    ds = Dataset(
        "echonet",
        "ES/ED",
        video=True,
        clip_l=10,
        frame_l=48,
        frame_w=48,
        normalize=False,
        root=trees["echonet"],
    )
    for i in range(5):
        x, (ed, es) = ds[i]
        dark = (x[:, 0] * 255 < 75).sum((1, 2))
        assert abs(ed - es) == 8
        assert dark[ed] == dark.max()
        assert dark[es] <= dark.min() + 6
    assert [ds[i][1][0] > ds[i][1][1] for i in range(5)] == [False, True, False, False, False]


def test_fps_acts_and_keeps_the_marked_frames(trees: dict[str, Path]) -> None:
    def phases(fps: float | None, clip_l: int) -> list[tuple[int, int]]:
        ds = Dataset("echonet", "ES/ED", video=True, clip_l=clip_l, fps=fps, root=trees["echonet"])
        return [ds[i][1] for i in range(5)]

    for (ed, es), (ed2, es2), rate in zip(
        phases(None, 9), phases(10, 9), echonet.RATES, strict=False
    ):
        assert abs(ed2 - es2) == pytest.approx(abs(ed - es) * 10 / rate, abs=1)
    native = Dataset("echonet", "EF", video=True, clip_l=4, root=trees["echonet"])[0][0]
    slow = Dataset("echonet", "EF", video=True, clip_l=4, fps=25, root=trees["echonet"])[0][0]
    assert torch.equal(native[2], slow[1])
    assert not torch.equal(native[1], slow[1])


def test_what_the_pages_of_2022_print_warns(trees: dict[str, Path]) -> None:
    with pytest.warns(EtabWarning, match=r"clip_l=16, fps=50, padding=None .*no effect") as caught:
        ds = Dataset(
            "echonet",
            "EF",
            view="A4CH",
            video=False,
            clip_l=16,
            fps=50,
            padding=None,
            root=trees["echonet"],
        )
    assert caught[0].filename == __file__
    assert ds[0][0].shape == (3, 224, 224)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip = Dataset("echonet", "EF", video=True, clip_l=2, padding=None, root=trees["echonet"])[
            0
        ][0]
    assert torch.equal(
        clip,
        Dataset("echonet", "EF", video=True, clip_l=2, padding=False, root=trees["echonet"])[0][0],
    )


def test_goes_into_a_data_loader_and_through_pickle(trees: dict[str, Path]) -> None:
    ds = Dataset("camus", "LV_seg", frame_l=32, frame_w=32, root=trees["stills"]).load_data(5)
    batches = [b[0].shape[0] for b in DataLoader(ds, batch_size=4)]
    assert batches == [4, 4, 2]
    copy = pickle.loads(pickle.dumps(ds))
    assert torch.equal(copy[3][0], ds[3][0])
    assert len(copy) == len(ds)


@pytest.mark.slow
def test_goes_into_a_data_loader_with_workers(trees: dict[str, Path]) -> None:
    ds = Dataset("camus", "LV_seg", frame_l=32, frame_w=32, root=trees["stills"])
    mine = torch.cat([x for x, _ in DataLoader(ds, batch_size=5)])
    theirs = torch.cat([x for x, _ in DataLoader(ds, batch_size=5, num_workers=2)])
    assert torch.equal(mine, theirs)


@pytest.mark.parametrize("random", [True, False])
def test_training_data_split_is_by_patient(trees: dict[str, Path], random: bool) -> None:
    ds = Dataset("camus", "ES/ED", root=trees["stills"])
    parts = training_data_split(ds.data, train_frac=0.5, val_frac=1 / 6, random=random)
    patients = [set(p.patients) for p in parts]
    assert [len(p) for p in patients] == [3, 1, 2]
    assert sum(len(p) for p in parts) == len(ds)
    assert not patients[0] & patients[1]
    assert not (patients[0] | patients[1]) & patients[2]
    assert random != (sorted(patients[0]) == ["patient0001", "patient0002", "patient0003"])
    again = training_data_split(ds, train_frac=0.5, val_frac=1 / 6, random=random)
    assert [p.ids for p in again] == [p.ids for p in parts]
    assert len(list(parts[1])) == 4


def test_training_data_split_gives_loaders(trees: dict[str, Path]) -> None:
    ds = Dataset("camus", "EF", frame_l=16, frame_w=16, root=trees["stills"])
    train, val, test = training_data_split(
        ds, 0.5, 1 / 6, batch_size=4, return_loaders=True, seed=3
    )
    assert [x.shape[0] for x, _ in train] == [4, 2]
    assert next(iter(test))[0].shape == (4, 3, 16, 16)
    again = training_data_split(ds, 0.5, 1 / 6, batch_size=4, return_loaders=True, seed=3)[0]
    train = training_data_split(ds, 0.5, 1 / 6, batch_size=4, return_loaders=True, seed=3)[0]
    assert all(torch.equal(a[1], b[1]) for a, b in zip(train, again, strict=True))
    assert len(val) == 1


# --- where the data is ---


def test_order_of_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {
        k: tmp_path / k for k in ("root", "own", "base/camus", "toml", "work/etab/data/camus")
    }
    for path in places.values():
        path.mkdir(parents=True)
    (tmp_path / "paths.toml").write_text("camus_dir = 'toml'\n")
    monkeypatch.chdir(tmp_path / "work")
    env = {
        "ETAB_CAMUS_DIR": str(places["own"]),
        "ETAB_DATA": str(tmp_path / "base"),
        "ETAB_PATHS": str(tmp_path / "paths.toml"),
    }
    assert dataset_folder("camus", places["root"], env=env) == places["root"]
    for key, expected in (
        ("ETAB_CAMUS_DIR", "own"),
        ("ETAB_DATA", "base/camus"),
        ("ETAB_PATHS", "toml"),
    ):
        assert dataset_folder("camus", env=env) == places[expected]
        del env[key]
    assert dataset_folder("camus", env=env).absolute() == places["work/etab/data/camus"]
    (tmp_path / "work" / "configs").mkdir()
    (tmp_path / "work" / "configs" / "paths.toml").write_text("camus_dir = '../../toml'\n")
    assert dataset_folder("camus", env=env).resolve() == places["toml"]
    monkeypatch.undo()


def test_source_by_name(trees: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETAB_ECHONET_DIR", str(trees["echonet"]))
    assert datasets.source("echonet").root == trees["echonet"]
    assert datasets.card("camus").code == "C"


# --- check ---


def test_check_of_a_sound_phantom_tree(trees: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(trees["stills"], tmp_path / "c")
    report = check("camus", root)
    assert not report.ok
    assert "6 patients; published: 500" in report.differs
    (root / "PHANTOM").write_text("made\n")
    seen = []
    report = check("camus", root, progress=lambda done, total: seen.append((done, total)))
    assert report.ok
    assert report.found["patients"] == 6
    assert report.found["frames"] == 24
    assert seen[-1] == (12, 12)
    assert "phantom" in report.render()
    assert report.as_dict()["ok"] is True


def test_check_lists_and_does_not_crash(trees: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(trees["stills"], tmp_path / "c")
    (root / "PHANTOM").write_text("made\n")
    base = root / "database_nifti"
    (base / "patient0001" / "patient0001_2CH_ED.nii.gz").unlink()
    bad = base / "patient0003" / "patient0003_4CH_ES_gt.nii.gz"
    bad.write_bytes(bad.read_bytes()[:60])
    report = check("camus", root)
    assert not report.ok
    assert [m for m in report.missing if "patient0001_2CH_ED.nii.gz" in m]
    assert [m for m in report.corrupt if "patient0003_4CH_ES_gt.nii.gz" in m]
    assert "not ok" in report.render()
    (root / "database_split" / "subgroup_testing.txt").write_text("patient0001\n")
    assert "patient0001" in check("camus", root).leaks[0]


# --- real data ---


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


def test_no_answers_in_a_split(trees: dict[str, Path]) -> None:
    with pytest.raises(SplitError, match="no recording with an answer"):
        Dataset("camus", "EF", split="test", root=trees["old"])


@pytest.mark.parametrize("rate", ["48,5", "fast", "-3", "0", "nan"])
def test_camus_rate_that_is_no_rate_costs_the_rate(
    trees: dict[str, Path], tmp_path: Path, rate: str
) -> None:
    root = shutil.copytree(trees["sequences"], tmp_path / "c")
    path = root / "database_nifti" / "patient0001" / "Info_4CH.cfg"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("FrameRate")]
    path.write_text("\n".join([*lines, f"FrameRate: {rate}"]))
    source, record = _camus({"c": root}, "c", "patient0001_4CH")
    assert record.fps is None
    assert source.phases(record) == (0, 5)
