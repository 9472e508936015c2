"""Options that are given from Python: each acts or is refused by its name, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import etab
from etab import backbones, phantom
from etab.errors import EtabError, IncompatibleError, StorageError, UnsupportedOptionError
from etab.leaderboard import rank_folder
from etab.legacy.names import plain_name, tasks_of
from etab.training.recipe import Recipe
from etab.utils.data_tools import training_data_split
from etab.utils.video_tools import create_echo_clip
from etab.utils.visualization import plot_segment


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    phantom.write(folder, patients=10, size=32, names=("camus", "circor", "echonet"))
    return folder


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": -1}, "seed is -1; wanted a whole number, 0 to 9223372036854775807"),
        ({"seed": 2**63}, "seed is 9223372036854775808; wanted a whole number, 0 to 92"),
        ({"seed": "0"}, "seed is '0'"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": None}, "seed is None"),
        ({"skip_bad": "yes"}, "skip_bad is 'yes'; possible: True, False"),
        ({"size": "224"}, "size is '224'; wanted a whole number, 32 to 2048 px"),
        ({"size": [64]}, r"size is \[64\]"),
        ({"root": 5}, "root is 5, int; wanted a path"),
        ({"root": b"data"}, "root is b'data', bytes; wanted a path"),
        ({"results": ["a"]}, r"results is \['a'\], list; wanted a path"),
        ({"results": "a\0b"}, "results is .*no file's name has a zero byte"),
        ({"cache": 5}, "cache is 5, int; wanted a path"),
        ({"data": object()}, "data is <object.*wanted a path"),
        ({"tasks": 5}, "tasks is 5; wanted codes"),
        ({"tasks": ["b0-A4-C", 5]}, "tasks lists 5; wanted codes"),
        ({"protocol": 5}, "No protocol is called 5"),
        ({"protocol": "cv05"}, "No protocol is called 'cv05'"),
    ],
)
def test_an_option_of_evaluate_is_refused_by_its_name(
    made: Path, options: dict[str, Any], said: str
) -> None:
    options = {"tasks": "c0", "root": made / "camus", **options}
    with pytest.raises((UnsupportedOptionError, IncompatibleError), match=said):
        etab.evaluate("image_stats", **options)


@pytest.mark.parametrize("backbone", [5, None, ["pixel_pca"]])
def test_what_is_no_backbone_is_told(made: Path, backbone: Any) -> None:
    with pytest.raises(UnsupportedOptionError, match=r"The backbone is .*wanted the name of one"):
        etab.evaluate(backbone, tasks="c0", root=made / "camus")


def test_a_file_in_place_of_the_results_is_told_before_anything_is_computed(
    made: Path, tmp_path: Path
) -> None:
    file = tmp_path / "results"
    file.write_text("a note")

    def function(frames: Any) -> Any:
        raise AssertionError("it was computed")

    with pytest.raises(StorageError, match=r"Nothing can be written to .*Nothing was computed"):
        etab.evaluate(function, name="mine", tasks="c0", root=made / "camus", results=file)
    assert file.read_text() == "a note"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frame_l": 0}, "frame_l is 0; wanted a whole number, 1 to 4096 pixels"),
        ({"frame_w": 64.0}, "frame_w is 64.0"),
        ({"video": "yes"}, "video is 'yes'; possible: True, False"),
        ({"video": True, "clip_l": 10**9}, "clip_l is 1000000000; wanted a whole number, 1 to"),
        ({"video": True, "clip_l": 16.5}, "clip_l is 16.5"),
        ({"video": True, "fps": float("inf")}, "fps is inf; possible: a number above 0"),
        ({"video": True, "fps": 10**400}, "fps is 1000"),
        ({"cache": 5}, "cache is 5, int; wanted a path"),
        ({"root": 5}, "root is 5, int; wanted a path"),
    ],
)
def test_an_option_of_a_dataset_is_refused_by_its_name(
    made: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UnsupportedOptionError, match=said):
        etab.Dataset("echonet", "EF", **{"root": made / "echonet", **options})


@pytest.mark.parametrize("fps", [float("inf"), float("nan"), -1, 2000.5])
def test_a_rate_that_sound_cannot_have(made: Path, fps: float) -> None:
    with pytest.raises(UnsupportedOptionError, match="fps is"):
        etab.Dataset("circor", "murmur", fps=fps, root=made / "circor")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"random": "yes"}, "random is 'yes'"),
        ({"random": True, "seed": -1}, "seed is -1"),
        ({"random": True, "seed": "a"}, "seed is 'a'"),
        ({"random": True, "seed": 1.5}, "seed is 1.5"),
    ],
)
def test_an_option_of_a_draw_is_refused_by_its_name(
    made: Path, options: dict[str, Any], said: str
) -> None:
    data = etab.Dataset("camus", "EF", root=made / "camus")
    with pytest.raises(UnsupportedOptionError, match=said):
        data.load_data(2, **options)


def test_whole_numbers_of_numpy_count(made: Path) -> None:
    data = etab.Dataset(
        "echonet",
        "EF",
        video=True,
        clip_l=np.int64(4),  # type: ignore[arg-type]
        frame_l=np.int32(32),  # type: ignore[arg-type]
        root=made / "echonet",
    )
    assert data.load_data(np.int64(2))[0][0].shape == (4, 3, 32, 224)  # type: ignore[arg-type]
    assert etab.Frames(size=np.int64(64)) == etab.Frames(size=64)  # type: ignore[arg-type]
    assert type(etab.Frames(size=np.int64(64)).size) is int  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: etab.Sound(first="x"), r"Sound\(first=\) is 'x'"),  # type: ignore[arg-type]
        (lambda: etab.Sound(first=float("nan")), r"Sound\(first=\) is nan"),
        (
            lambda: etab.backbone(abs, name="f", pretrained_on=5),  # type: ignore[arg-type]
            "pretrained_on is 5; wanted a list",
        ),
        (lambda: phantom.write(5, names=("camus",)), "folder is 5, int"),  # type: ignore[arg-type]
        (
            lambda: phantom.write("x", patients=9),
            "patients is 9; wanted a whole number, 10 or more",
        ),
        (lambda: phantom.write("x", size=0), "size is 0; wanted a whole number, 16 to 2048 px"),
        (lambda: phantom.write("x", names="camus"), "names is 'camus'; wanted a list"),
        (lambda: backbones.card(5), "named by a text; got 5"),  # type: ignore[arg-type]
        (lambda: etab.Suite("x", 1, "b0"), r"Suite\(tasks=\) is 'b0'"),  # type: ignore[arg-type]
        (
            lambda: etab.Suite("x", 1, ("b0-A4-C",), task_weights=5),  # type: ignore[arg-type]
            r"Suite\(task_weights=\) is 5; wanted a mapping",
        ),
        (lambda: rank_folder(5, "camus"), "folder is 5, int"),  # type: ignore[arg-type]
        (lambda: rank_folder("x", 5), "suite is 5, int"),  # type: ignore[arg-type]
        (lambda: etab.results_frame(5), "folder is 5, int; wanted a path"),  # type: ignore[arg-type]
        (lambda: etab.results_frame("no such folder"), "There is no folder no such folder"),
    ],
)
def test_other_options(make: Callable[[], object], said: str) -> None:
    with pytest.raises(EtabError, match=said):
        make()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train_frac": "x"}, "train_frac is 'x'; wanted a finite number"),
        ({"val_frac": float("nan")}, "val_frac is nan"),
        ({"train_frac": 10**400}, "train_frac is 1000"),
        ({"seed": -1}, "seed is -1"),
        ({"random": 5}, "random is 5; possible: True, False"),
        ({"return_loaders": True, "batch_size": 0}, "batch_size is 0"),
    ],
)
def test_an_option_of_a_division_is_refused_by_its_name(
    made: Path, options: dict[str, Any], said: str
) -> None:
    data = etab.Dataset("camus", "EF", root=made / "camus")
    with pytest.raises(UnsupportedOptionError, match=said):
        training_data_split(data, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": "x"}, "epochs is 'x'; wanted a whole number, 1 or more"),
        ({"batch": 1.5}, "batch is 1.5"),
        ({"accumulate": True}, "accumulate is True"),
        ({"learning_rate": "x"}, "learning_rate is 'x'; wanted a finite number"),
        ({"clip": float("inf")}, "clip is inf"),
    ],
)
def test_an_option_of_a_training_is_refused_by_its_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=said):
        Recipe(**options)


def test_pictures_of_samples_take_arrays_and_refuse_the_rest(made: Path, tmp_path: Path) -> None:
    data = etab.Dataset("camus", "LV_seg", root=made / "camus", frame_l=32, frame_w=32)
    image, mask = data[0]
    of_tensors = plot_segment(image, mask)
    of_arrays = plot_segment(image.numpy()[:, ::-1], mask.numpy()[:, ::-1])
    assert (of_arrays.images[0].get_array() == of_tensors.images[0].get_array()[::-1]).all()
    assert create_echo_clip(image.numpy(), "clip", folder=tmp_path).exists()
    for wrong in (5, None, "x", np.array(["x"])):
        with pytest.raises(UnsupportedOptionError, match="wanted a tensor, or an array"):
            plot_segment(image, wrong)  # type: ignore[arg-type]
        with pytest.raises(UnsupportedOptionError, match="wanted a tensor, or an array"):
            create_echo_clip(wrong, "clip", folder=tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", [5, None, ["U-Net"]])
def test_a_name_of_2022_is_a_text(head: Any) -> None:
    with pytest.raises(EtabError, match="wanted a name"):
        plain_name(head)
    with pytest.raises(EtabError, match="No task is called"):
        tasks_of(head)
