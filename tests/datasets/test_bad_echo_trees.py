"""Bad input: each gives the error that names the thing, what was wanted and the next step."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab import datasets
from etab.datasets.camus import CamusSource
from etab.datasets.dataset import Dataset
from etab.datasets.echonet import EchoNetSource
from etab.datasets.paths import dataset_folder
from etab.errors import (
    CorruptFileError,
    DataNotFoundError,
    LayoutError,
    SplitError,
    UnknownNameError,
    UnsupportedOptionError,
)
from etab.legacy.data_tools import training_data_split
from tests.trees import camus, echonet

FIRST = "database_nifti/patient0001/patient0001_2CH"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("made")
    return {
        "camus": camus.write(base / "camus", n=4),
        "sequences": camus.write(base / "sequences", n=3, sequences=True),
        "echonet": echonet.write(base / "echonet"),
    }


@pytest.fixture
def tree(made: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(made["camus"], tmp_path / "c")


@pytest.fixture
def sequences(made: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(made["sequences"], tmp_path / "s")


@pytest.fixture
def echo(made: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(made["echonet"], tmp_path / "e")


def _read(root: Path, record: str = "patient0001_2CH") -> None:
    source = CamusSource(root)
    row = next(r for r in source.records() if r.id == record)
    source.frames(row)
    for target in source.card.targets:
        source.answers(row, target)


# --- folders ---


@pytest.mark.parametrize("source", [CamusSource, EchoNetSource])
def test_empty_folder(tmp_path: Path, source: Any) -> None:
    with pytest.raises(
        LayoutError,
        match=rf"{re.escape(str(tmp_path))} .*it is empty\. Pass the folder that contains",
    ):
        source(tmp_path)


@pytest.mark.parametrize("source", [CamusSource, EchoNetSource])
def test_folder_that_is_not_there(tmp_path: Path, source: Any) -> None:
    with pytest.raises(DataNotFoundError, match="nowhere is not a folder"):
        source(tmp_path / "nowhere")


def test_wrong_level_one_patient(tree: Path) -> None:
    with pytest.raises(
        LayoutError, match=rf"folder of one patient, and {re.escape(str(tree))} may be"
    ):
        CamusSource(tree / "database_nifti" / "patient0001")


def test_wrong_level_renamed_database(tree: Path) -> None:
    (tree / "database_nifti").rename(tree / "nifti")
    with pytest.raises(LayoutError, match=r"holds patients directly.*contains database_nifti/"):
        CamusSource(tree / "nifti")
    with pytest.raises(LayoutError, match="neither database_nifti/ nor training/ holds a patient"):
        CamusSource(tree)


def test_two_trees_in_one_folder(tmp_path: Path, made: dict[str, Path]) -> None:
    for name in ("CAMUS_public", "camus"):
        shutil.copytree(made["camus"], tmp_path / name)
    with pytest.raises(LayoutError, match=r"several CAMUS trees.*Pass one of them"):
        CamusSource(tmp_path)


def test_wrong_level_of_echonet(echo: Path) -> None:
    assert EchoNetSource(echo / "Videos").root.resolve() == echo.resolve()
    echo.rename(echo.parent / "EchoNet-Dynamic")
    assert len(EchoNetSource(echo.parent).records()) == 6
    (echo.parent / "EchoNet-Dynamic" / "FileList.csv").unlink()
    with pytest.raises(LayoutError, match=r"FileList\.csv is missing"):
        EchoNetSource(echo.parent / "EchoNet-Dynamic")


# --- CAMUS files ---


@pytest.mark.parametrize("name", ["ED.nii.gz", "ES.nii.gz", "ED_gt.nii.gz", "ES_gt.nii.gz"])
def test_one_missing_file(tree: Path, name: str) -> None:
    (tree / f"{FIRST}_{name}").unlink()
    with pytest.raises(LayoutError, match=re.escape(f"patient0001_2CH_{name} is missing")):
        _read(tree)
    _read(tree, "patient0001_4CH")
    _read(tree, "patient0002_2CH")


def test_missing_patient_split_file_and_cfg(tree: Path) -> None:
    (tree / "database_split" / "subgroup_validation.txt").rename(tree / "kept.txt")
    with pytest.raises(LayoutError, match=r"subgroup_validation\.txt is missing"):
        CamusSource(tree).records()
    (tree / "kept.txt").rename(tree / "database_split" / "subgroup_validation.txt")
    for view in ("2CH", "4CH"):
        (tree / "database_nifti" / "patient0001" / f"Info_{view}.cfg").unlink()
    with pytest.raises(LayoutError, match=r"Info_2CH\.cfg is missing, and Info_4CH\.cfg too"):
        _read(tree)
    shutil.rmtree(tree / "database_nifti" / "patient0002")
    with pytest.raises(LayoutError, match="patient0002 is missing, which database_split lists"):
        CamusSource(tree).records()


@pytest.mark.parametrize("name", ["ED.nii.gz", "ES_gt.nii.gz"])
@pytest.mark.parametrize("keep", [0.3, 0.9, -2])
def test_truncated_nifti(tree: Path, name: str, keep: float) -> None:
    path = tree / f"{FIRST}_{name}"
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw)) if keep > 0 else int(keep)])
    with pytest.raises(CorruptFileError, match=re.escape(name)):
        _read(tree)


def test_mask_of_another_size(tree: Path) -> None:
    camus.write_nifti(tree / f"{FIRST}_ES_gt.nii.gz", np.zeros((40, 50), np.uint8))
    with pytest.raises(
        CorruptFileError, match=r"patient0001_2CH_ES_gt\.nii\.gz is 40 x 50 pixels.*is 40 x 56"
    ):
        _read(tree)


def test_stills_of_two_sizes(tree: Path) -> None:
    camus.write_nifti(tree / f"{FIRST}_ES.nii.gz", np.zeros((41, 56), np.uint8))
    with pytest.raises(CorruptFileError, match="patient0001_2CH: its frames differ in size"):
        _read(tree)


def test_labels_that_are_none(tree: Path) -> None:
    camus.write_nifti(tree / f"{FIRST}_ED_gt.nii.gz", np.full(camus.SIZE, 4, np.uint8))
    with pytest.raises(CorruptFileError, match="labels run from 4 to 4"):
        _read(tree)


def test_patient_listed_in_two_splits(tree: Path) -> None:
    with (tree / "database_split" / "subgroup_testing.txt").open("a") as file:
        file.write("patient0001\n")
    with pytest.raises(
        SplitError,
        match=r"Patient patient0001 is listed as 'train' and, in .*testing\.txt, as 'test'",
    ):
        Dataset("camus", "EF", root=tree)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("EF: 37", "EF: 137", "EF is '137'; wanted a number from 0 to 100"),
        ("EF: 37", "EF: high", "EF is 'high'"),
        ("EF: 37", "EF: nan", "EF is 'nan'"),
        ("ED: 1", "ED one", "has the line 'ED one'"),
        ("ED: 1", "ED: 0", "ED is '0'"),
    ],
)
def test_damaged_cfg(tree: Path, old: str, new: str, message: str) -> None:
    path = tree / "database_nifti" / "patient0001" / "Info_2CH.cfg"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CorruptFileError, match=re.escape(message)):
        _read(tree)


def test_cfg_without_ef(tree: Path) -> None:
    for view in ("2CH", "4CH"):
        path = tree / "database_nifti" / "patient0001" / f"Info_{view}.cfg"
        path.write_text(path.read_text().replace("EF:", "Ef:"))
    with pytest.raises(CorruptFileError, match="no Info file gives EF for patient0001"):
        _read(tree)


def test_cfg_names_a_frame_that_is_not_there(sequences: Path) -> None:
    path = sequences / "database_nifti" / "patient0001" / "Info_2CH.cfg"
    path.write_text(path.read_text().replace("ES: 6", "ES: 9"))
    with pytest.raises(CorruptFileError, match=r"ED 1 and ES 9; .*has frames 1 to 6"):
        _read(sequences)


def test_sequence_and_masks_of_two_lengths(sequences: Path) -> None:
    camus.write_nifti(
        sequences / f"{FIRST}_half_sequence_gt.nii.gz", np.zeros((4, *camus.SIZE), np.uint8)
    )
    with pytest.raises(CorruptFileError, match=r"has 4 frames and .*has 6"):
        _read(sequences)


# --- EchoNet files ---


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_missing_video(echo: Path) -> None:
    (echo / "Videos" / f"{echonet.names()[2]}.avi").unlink()
    with pytest.raises(LayoutError, match=rf"{echonet.names()[2]}\.avi is missing, which"):
        EchoNetSource(echo).records()


def test_truncated_video(echo: Path) -> None:
    path = echo / "Videos" / f"{echonet.names()[0]}.avi"
    path.write_bytes(path.read_bytes()[:-900])
    source = EchoNetSource(echo)
    with pytest.raises(CorruptFileError, match=path.name):
        source.frames(source.records()[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",35.0,", ",135.0,", "EF '135.0'"),
        (",35.0,", ",,", "EF ''"),
        (",TRAIN", ",TRIAN", "Split 'TRIAN'; wanted TRAIN, VAL or TEST"),
        ("EF,ESV", "Ef,ESV", "has no column 'EF'"),
    ],
)
def test_damaged_file_list(echo: Path, old: str, new: str, message: str) -> None:
    _edit(echo / "FileList.csv", old, new)
    with pytest.raises(CorruptFileError, match=re.escape(message)):
        EchoNetSource(echo).records()


def test_video_listed_twice(echo: Path) -> None:
    path = echo / "FileList.csv"
    row = path.read_text().splitlines()[1]
    path.write_text(path.read_text() + row + "\n")
    with pytest.raises(CorruptFileError, match="twice"):
        EchoNetSource(echo).records()
    path.write_text(path.read_text() + row.replace("TRAIN", "TEST") + "\n")
    with pytest.raises(SplitError, match=f"{echonet.names()[0]} lies in two parts"):
        EchoNetSource(echo).records()


def test_damaged_tracings(echo: Path) -> None:
    path = echo / "VolumeTracings.csv"
    lines = path.read_text().splitlines()
    for new, message in (("999", "traces frame 999"), ("x", "line 2")):
        path.write_text("\n".join([lines[0], lines[1].rsplit(",", 1)[0] + f",{new}", *lines[2:]]))
        source = EchoNetSource(echo)
        with pytest.raises(CorruptFileError, match=message):
            source.answers(source.records()[0], source.card.target("LV_seg"))
    path.unlink()
    with pytest.raises(LayoutError, match=r"VolumeTracings\.csv is missing"):
        Dataset("echonet", "LV_seg", root=echo)


# --- names and options ---


@pytest.mark.parametrize(
    ("name", "target", "options", "message"),
    [
        (
            "camsu",
            "EF",
            {},
            "No dataset is called 'camsu'. Did you mean 'camus'? Known: bmdhs, camus,",
        ),
        ("unit", "EF", {}, "No dataset is called 'unit'."),
        (
            "camus",
            "LV_sge",
            {},
            "No target of camus is called 'LV_sge'. Did you mean 'LV_seg'? Known: CM, EF,",
        ),
        ("camus", "AS", {}, "No target of camus is called 'AS'."),
        ("echonet", "LA_seg", {}, "No target of echonet is called 'LA_seg'."),
        ("echonet", "view", {}, "No target of echonet is called 'view'."),
        ("camus", "EF", {"view": "AP5CH"}, "No view is called 'AP5CH'. Did you mean 'AP"),
        ("camus", "EF", {"split": "tests"}, "No split is called 'tests'. Did you mean 'test'?"),
    ],
)
def test_unknown_names(
    made: dict[str, Path], name: str, target: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnknownNameError, match=re.escape(message)):
        Dataset(name, target, root=made.get(name), **options)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (
            "EF",
            {"view": "PLAX"},
            "camus has no view 'PLAX' (PLAX). Possible: A2C, A4C, or view=None.",
        ),
        ("view", {"view": "A4"}, "use view=None, not 'A4'"),
        ("EF", {"frame_l": 0}, "frame_l is 0; wanted a whole number, 1 to 4096"),
        ("EF", {"frame_w": 1.5}, "frame_w is 1.5"),
        ("EF", {"video": "False"}, "video is 'False'; possible: True, False."),
        ("EF", {"normalize": 1}, "normalize is 1"),
        ("EF", {"padding": "zeros"}, "padding is 'zeros'"),
        ("EF", {"video": True, "clip_l": 0}, "clip_l is 0"),
        ("EF", {"clip_l": -1}, "clip_l is -1"),
        ("EF", {"video": True, "fps": 0}, "fps is 0"),
        (
            "EF",
            {"video": True},
            "8 of 8 recordings are stills without a sequence, first patient0001_2CH",
        ),
    ],
)
def test_options_that_cannot_act(
    made: dict[str, Path], target: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedOptionError, match=re.escape(message)):
        Dataset("camus", target, root=made["camus"], **options)


def test_rates_that_cannot_be_had(made: dict[str, Path], sequences: Path) -> None:
    with pytest.raises(
        UnsupportedOptionError, match=r"recorded at 50 frames/s; it cannot give fps=60"
    ):
        Dataset("echonet", "EF", video=True, fps=60, root=made["echonet"])
    (sequences / "database_nifti" / "patient0001" / "Info_2CH.cfg").unlink()
    with pytest.raises(UnsupportedOptionError, match=r"1 of [0-9]+ recordings without a rate"):
        Dataset("camus", "view", video=True, fps=20, root=sequences)
    assert len(Dataset("camus", "view", video=True, clip_l=2, root=sequences)) == 6


def test_clips_that_cannot_hold_both_phases(made: dict[str, Path]) -> None:
    with pytest.raises(
        UnsupportedOptionError,
        match=r"clip_l=8 cannot hold both ED and ES of 5 of 5 .*Use clip_l=9",
    ):
        Dataset("echonet", "ES/ED", video=True, clip_l=8, root=made["echonet"])
    assert len(Dataset("echonet", "ES/ED", video=True, clip_l=9, root=made["echonet"])) == 5
    with pytest.raises(UnsupportedOptionError, match="fall on one frame"):
        Dataset("echonet", "ES/ED", video=True, fps=2, root=made["echonet"])


@pytest.mark.parametrize("n", [0, -1, 9, 2.0, True])
def test_more_recordings_than_there_are(made: dict[str, Path], n: Any) -> None:
    with pytest.raises(
        UnsupportedOptionError, match=r"n_clips is .*; wanted a whole number, 1 to 8 recordings of"
    ):
        Dataset("camus", "EF", root=made["camus"]).load_data(n)


def test_a_seed_without_chance(made: dict[str, Path]) -> None:
    with pytest.raises(UnsupportedOptionError, match="seed=2 works only with random=True"):
        Dataset("camus", "EF", root=made["camus"]).load_data(3, seed=2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"train_frac": 0.9, "val_frac": 0.2},
            UnsupportedOptionError,
            "train_frac=0.9 and val_frac=0.2",
        ),
        ({"train_frac": 0.0}, UnsupportedOptionError, "train_frac=0"),
        (
            {"train_frac": 0.95, "val_frac": 0.02},
            SplitError,
            "4 patients leave the validation part empty",
        ),
        ({"batch_size": 4}, UnsupportedOptionError, "works only with return_loaders=True"),
        (
            {"seed": 4, "random": False},
            UnsupportedOptionError,
            "seed=4 works only with random=True",
        ),
    ],
)
def test_splits_that_cannot_be(
    made: dict[str, Path], options: dict[str, Any], error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        training_data_split(Dataset("camus", "EF", root=made["camus"]), **options)


def test_split_of_what_has_no_patients() -> None:
    with pytest.raises(UnsupportedOptionError, match=r"got list: no patients to split by"):
        training_data_split([(1, 2)])  # type: ignore[arg-type]


# --- places ---


def test_every_place_looked_at_is_listed(tmp_path: Path) -> None:
    (tmp_path / "paths.toml").write_text("echonet_dir = 'x'\n")
    env = {"ETAB_DATA": str(tmp_path), "ETAB_PATHS": str(tmp_path / "paths.toml")}
    with pytest.raises(DataNotFoundError) as caught:
        dataset_folder("camus", env=env)
    for word in (
        "ETAB_DATA",
        str(tmp_path / "camus"),
        "working directory",
        "ETAB_CAMUS_DIR",
        "etab doctor",  # it says where to get the data, and the command that makes a phantom
    ):
        assert word in str(caught.value)


@pytest.mark.parametrize("key", ["root", "ETAB_CAMUS_DIR", "toml"])
def test_a_place_that_was_named_is_never_skipped(tmp_path: Path, key: str) -> None:
    (tmp_path / "data" / "camus").mkdir(parents=True)
    (tmp_path / "paths.toml").write_text("camus_dir = 'gone'\n")
    gone = tmp_path / "gone"
    env = (
        {"ETAB_CAMUS_DIR": str(gone)}
        if key == "ETAB_CAMUS_DIR"
        else {"ETAB_DATA": str(tmp_path / "data")}
    )
    env = {"ETAB_PATHS": str(tmp_path / "paths.toml")} if key == "toml" else env
    with pytest.raises(DataNotFoundError, match="gone is not a folder"):
        dataset_folder("camus", gone if key == "root" else None, env=env)


def test_damaged_paths_toml(tmp_path: Path) -> None:
    path = tmp_path / "paths.toml"
    env = {"ETAB_PATHS": str(path)}
    with pytest.raises(DataNotFoundError, match="not a file"):
        dataset_folder("camus", env=env)
    path.write_text("camus_dri = 'x'\n")
    with pytest.raises(UnknownNameError, match=r"'camus_dri'\. Did you mean 'camus_dir'"):
        dataset_folder("camus", env=env)
    path.write_text("camus_dir = \n")
    with pytest.raises(CorruptFileError, match="is not TOML"):
        dataset_folder("camus", env=env)
    path.write_text("camus_dir = 3\n")
    with pytest.raises(CorruptFileError, match="camus_dir is 3"):
        dataset_folder("camus", env=env)


def test_unknown_attribute_of_datasets() -> None:
    with pytest.raises(AttributeError, match="ETAB_datasets"):
        datasets.ETAB_datasets  # noqa: B018
