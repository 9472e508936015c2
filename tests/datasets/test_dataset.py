"""``Dataset`` on echocardiograms: views, options, clips, labels, loaders."""

from __future__ import annotations

import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import etab
from etab import datasets
from etab.datasets.dataset import Dataset
from etab.echo.clips import fitted_size, frame_grid, place_clip, window
from etab.echo.views import aliases, canonical
from etab.errors import EtabWarning, SplitError, UnsupportedOptionError
from etab.legacy.data_tools import training_data_split
from tests.trees import camus, echonet

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
def test_views_by_every_name_in_use(echo_trees: dict[str, Path], name: str) -> None:
    assert canonical(name) == "A4C"
    ds = Dataset("camus", "EF", view=name, root=echo_trees["stills"])
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
def test_stills_and_their_labels(
    echo_trees: dict[str, Path], target: str, n: int, kind: type
) -> None:
    ds = Dataset("camus", target, root=echo_trees["stills"])
    assert len(ds) == len(ds.data) == n
    x, y = ds[0]
    assert x.shape == (3, 224, 224)
    assert x.dtype == torch.float32
    assert type(y) is kind
    assert isinstance(ds[0], tuple)
    assert len(list(ds)) == n


def test_mask_label_is_the_mask_of_its_own_picture(echo_trees: dict[str, Path]) -> None:
    rows, columns = camus.SIZE
    ds = Dataset(
        "camus",
        "LV_seg",
        view="A4",
        normalize=False,
        frame_l=rows,
        frame_w=columns,
        root=echo_trees["stills"],
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


def test_normalize_takes_out_imagenet(echo_trees: dict[str, Path]) -> None:
    plain, normal = (
        Dataset("camus", "EF", normalize=n, root=echo_trees["stills"])[3][0] for n in (False, True)
    )
    assert 0 <= plain.min() < plain.max() <= 1
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(normal, (plain - mean[:, None, None]) / std[:, None, None], atol=1e-6)


def test_size_and_padding_act(echo_trees: dict[str, Path]) -> None:
    def first(**options: object) -> tuple[torch.Tensor, torch.Tensor]:
        return Dataset("camus", "LV_seg", normalize=False, root=echo_trees["stills"], **options)[0]

    x, y = first(frame_l=64, frame_w=32)
    assert x.shape == (3, 64, 32)
    assert y.shape == (1, 64, 32)
    x, y = first(frame_l=56, frame_w=56, padding=True)
    assert (x[:, :8] == 0).all()
    assert (x[:, 48:] == 0).all()
    assert (x[:, 8:48] > 0).all()
    assert np.array_equal(y[0, 8:48].numpy(), camus.mask("2CH", 0) == 1)
    assert (first(frame_l=56, frame_w=56)[0] > 0).all()


def test_masks_are_resized_to_the_nearest_pixel(
    echo_trees: dict[str, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(echo_trees["stills"], tmp_path / "c")
    point = np.zeros((9, 9), np.uint8)
    point[4, 4] = 1
    for role, truth in (("ED", 9 * point), ("ED_gt", point), ("ES", 9 * point), ("ES_gt", point)):
        camus.write_nifti(
            root / "database_nifti" / "patient0001" / f"patient0001_2CH_{role}.nii.gz", truth
        )
    _, y = Dataset("camus", "LV_seg", view="A2", frame_l=3, frame_w=3, root=root)[0]
    assert y.tolist() == [[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]


def test_split_acts(echo_trees: dict[str, Path]) -> None:
    sizes = {
        s: len(Dataset("camus", "EF", split=s, root=echo_trees["stills"]))
        for s in ("train", "val", "test")
    }
    assert sizes == {"train": 8, "val": 2, "test": 2}


def test_load_data_in_order_and_by_seed(echo_trees: dict[str, Path]) -> None:
    ds = Dataset("camus", "ES/ED", root=echo_trees["stills"])
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
def test_clips(echo_trees: dict[str, Path], name: str) -> None:
    root = echo_trees["sequences" if name == "camus" else name]
    ds = Dataset(
        name, "EF", video=True, clip_l=5, frame_l=32, frame_w=48, normalize=False, root=root
    )
    x, y = ds[0]
    assert x.shape == (5, 3, 32, 48)
    assert isinstance(y, float)
    native = ds.source.frames(ds.source.records()[0], [2])[0]
    assert np.abs(x[2].mean().item() * 255 - native.mean()) < 1
    assert Dataset(name, "EF", video=True, root=root)[0][0].shape == (16, 3, 224, 224)


def test_clip_masks_name_their_frames(echo_trees: dict[str, Path]) -> None:
    ds = Dataset(
        "echonet",
        "LV_seg",
        video=True,
        clip_l=12,
        frame_l=48,
        frame_w=48,
        normalize=False,
        root=echo_trees["echonet"],
    )
    assert len(ds) == 5, "a recording without tracings is not an item"
    for i in range(5):
        x, (masks, at) = ds[i]
        assert masks.shape == (2, 48, 48)
        assert masks.dtype == torch.int64
        assert at.shape == (2,)
        for mask, k in zip(masks, at.tolist(), strict=True):
            dark = x[k, 0] * 255 < 75
            assert 2 * (dark & (mask == 1)).sum() / (dark.sum() + mask.sum()) > 0.9


def test_clip_phases_point_at_ed_and_es(echo_trees: dict[str, Path]) -> None:
    ds = Dataset(
        "echonet",
        "ES/ED",
        video=True,
        clip_l=10,
        frame_l=48,
        frame_w=48,
        normalize=False,
        root=echo_trees["echonet"],
    )
    for i in range(5):
        x, (ed, es) = ds[i]
        dark = (x[:, 0] * 255 < 75).sum((1, 2))
        assert abs(ed - es) == 8
        assert dark[ed] == dark.max()
        assert dark[es] <= dark.min() + 6
    assert [ds[i][1][0] > ds[i][1][1] for i in range(5)] == [False, True, False, False, False]


def test_fps_acts_and_keeps_the_marked_frames(echo_trees: dict[str, Path]) -> None:
    def phases(fps: float | None, clip_l: int) -> list[tuple[int, int]]:
        ds = Dataset(
            "echonet", "ES/ED", video=True, clip_l=clip_l, fps=fps, root=echo_trees["echonet"]
        )
        return [ds[i][1] for i in range(5)]

    for (ed, es), (ed2, es2), rate in zip(
        phases(None, 9), phases(10, 9), echonet.RATES, strict=False
    ):
        assert abs(ed2 - es2) == pytest.approx(abs(ed - es) * 10 / rate, abs=1)
    native = Dataset("echonet", "EF", video=True, clip_l=4, root=echo_trees["echonet"])[0][0]
    slow = Dataset("echonet", "EF", video=True, clip_l=4, fps=25, root=echo_trees["echonet"])[0][0]
    assert torch.equal(native[2], slow[1])
    assert not torch.equal(native[1], slow[1])


def test_what_the_pages_of_2022_print_warns(echo_trees: dict[str, Path]) -> None:
    with pytest.warns(EtabWarning, match=r"clip_l=16, fps=50, padding=None .*no effect") as caught:
        ds = Dataset(
            "echonet",
            "EF",
            view="A4CH",
            video=False,
            clip_l=16,
            fps=50,
            padding=None,
            root=echo_trees["echonet"],
        )
    assert caught[0].filename == __file__
    assert ds[0][0].shape == (3, 224, 224)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip = Dataset(
            "echonet", "EF", video=True, clip_l=2, padding=None, root=echo_trees["echonet"]
        )[0][0]
    assert torch.equal(
        clip,
        Dataset("echonet", "EF", video=True, clip_l=2, padding=False, root=echo_trees["echonet"])[
            0
        ][0],
    )


def test_goes_into_a_data_loader_and_through_pickle(echo_trees: dict[str, Path]) -> None:
    ds = Dataset("camus", "LV_seg", frame_l=32, frame_w=32, root=echo_trees["stills"]).load_data(5)
    batches = [b[0].shape[0] for b in DataLoader(ds, batch_size=4)]
    assert batches == [4, 4, 2]
    copy = pickle.loads(pickle.dumps(ds))
    assert torch.equal(copy[3][0], ds[3][0])
    assert len(copy) == len(ds)


@pytest.mark.slow
def test_goes_into_a_data_loader_with_workers(echo_trees: dict[str, Path]) -> None:
    ds = Dataset("camus", "LV_seg", frame_l=32, frame_w=32, root=echo_trees["stills"])
    mine = torch.cat([x for x, _ in DataLoader(ds, batch_size=5)])
    theirs = torch.cat([x for x, _ in DataLoader(ds, batch_size=5, num_workers=2)])
    assert torch.equal(mine, theirs)


@pytest.mark.parametrize("random", [True, False])
def test_training_data_split_is_by_patient(echo_trees: dict[str, Path], random: bool) -> None:
    ds = Dataset("camus", "ES/ED", root=echo_trees["stills"])
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


def test_training_data_split_gives_loaders(echo_trees: dict[str, Path]) -> None:
    ds = Dataset("camus", "EF", frame_l=16, frame_w=16, root=echo_trees["stills"])
    train, val, test = training_data_split(
        ds, 0.5, 1 / 6, batch_size=4, return_loaders=True, seed=3
    )
    assert [x.shape[0] for x, _ in train] == [4, 2]
    assert next(iter(test))[0].shape == (4, 3, 16, 16)
    again = training_data_split(ds, 0.5, 1 / 6, batch_size=4, return_loaders=True, seed=3)[0]
    train = training_data_split(ds, 0.5, 1 / 6, batch_size=4, return_loaders=True, seed=3)[0]
    assert all(torch.equal(a[1], b[1]) for a, b in zip(train, again, strict=True))
    assert len(val) == 1


def test_no_answers_in_a_split(echo_trees: dict[str, Path]) -> None:
    with pytest.raises(SplitError, match="no recording with an answer"):
        Dataset("camus", "EF", split="test", root=echo_trees["old"])
