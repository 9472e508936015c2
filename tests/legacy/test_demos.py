"""The three demo notebooks of 2022, cell by cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from etab.datasets import ETAB_dataset
from etab.errors import (
    EtabWarning,
)
from etab.legacy.data_tools import training_data_split
from etab.legacy.evaluate import evaluate_model
from etab.legacy.models import (
    ETABmodel,
)
from etab.legacy.score import ETABscore
from etab.legacy.video_tools import create_echo_clip
from etab.legacy.visualization import plot_segment

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")


def demos(
    root: Path, out: Path, *, backbone: str, clips: int, side: int, epochs: int, video: bool = True
) -> list[float]:
    """Run the cells of the three notebooks in order, with other paths, epochs and clips."""
    names_of: dict[str, Any] = {}
    exec(
        "from etab.datasets import *\nfrom etab.legacy.visualization import *\n"
        "from etab.legacy.video_tools import *\nfrom etab.legacy.models import *\n"
        "from etab.legacy.data_tools import *\nfrom etab.legacy.evaluate import *\n"
        "device = torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')\n",
        names_of,
    )
    assert callable(names_of["ETABmodel"])
    # Demo 1: load, plot, animate
    camus = ETAB_dataset(
        name="camus",
        target="LV_seg",
        view="A4",
        video=False,
        normalize=False,
        frame_l=side,
        frame_w=side,
        root=root,
    )
    camus.load_data(n_clips=clips)
    assert len(camus.data) >= clips
    plot_segment(camus.data[3][0], camus.data[3][1][0], overlay=True, color="r", normalized=False)
    for target, view, color in (("LA_seg", "A2", "g"), ("MY_seg", "A2", "b")):
        with pytest.warns(EtabWarning, match="no effect"):
            camus = ETAB_dataset(
                name="camus",
                target=target,
                view=view,
                video=False,
                normalize=False,
                frame_l=side,
                frame_w=side,
                clip_l=16,
                fps=50,
                padding=None,
                root=root,
            )
        camus.load_data(n_clips=clips)
        plot_segment(
            camus.data[3][0], camus.data[3][1][0], overlay=True, color=color, normalized=False
        )
    # the cell prints video=False and shows a clip; without sequences a frame is what there is
    film = ETAB_dataset(
        name="camus", target="EF", view="A4", video=video, frame_l=side, frame_w=side, root=root
    )
    film.load_data(n_clips=2)
    assert film.data[0][0].shape == ((16, 3, side, side) if video else (3, side, side))
    assert create_echo_clip(film.data[0][0], "demo_clip", folder=out).stat().st_size > 500
    # Demo 2: split, compose, fit, predict, evaluate, freeze
    camus = ETAB_dataset(
        name="camus",
        target="LV_seg",
        view="A4",
        normalize=True,
        frame_l=side,
        frame_w=side,
        root=root,
    )
    camus.load_data(n_clips=clips)
    train_loader, valid_loader, test_loader = training_data_split(
        camus.data, train_frac=0.6, val_frac=0.1, batch_size=16, return_loaders=True
    )
    scores = []
    for freeze in (False, True):
        model = ETABmodel(task="segmentation", backbone=backbone, head="SegFormer", side=side)
        if freeze:
            model.freeze_backbone()
        model.fit(
            train_loader=train_loader,
            valid_loader=valid_loader,
            task_code="CA40",
            n_epoch=epochs,
            learning_rate=0.001,
            ckpt_dir=out / ("frozen" if freeze else "tuned"),
            device=names_of["device"],
        )
        inputs, _ = next(iter(test_loader))
        preds = model.predict(inputs)
        plot_segment(inputs[2, :, :, :], preds[2, :, :], overlay=True, color="r")
        scores.append(evaluate_model(model, test_loader))
    return scores


@pytest.fixture
def _closed() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.mark.slow
@pytest.mark.usefixtures("_closed")
def test_the_demo_notebooks_of_2022_on_the_phantom(cohort: Path, tmp_path: Path) -> None:
    scores = demos(
        cohort / "camus", tmp_path, backbone="efficientnet_lite0", clips=8, side=32, epochs=1
    )
    assert all(0 <= s <= 1 for s in scores)
    pair = ETABscore(
        backbone_architecture="efficientnet_lite0",
        backbone_model=None,
        task_weights={"b1-A4-C": 1.0},
        n_fold=2,
        root=cohort / "camus",
    )
    ETAB_score, interval = pair  # noqa: N806
    assert interval[0] < ETAB_score < interval[1]


@pytest.mark.slow
@pytest.mark.usefixtures("_closed")
def test_the_models_of_the_demo_notebooks_learn(cohort: Path, tmp_path: Path) -> None:
    tuned, frozen = demos(
        cohort / "camus", tmp_path, backbone="efficientnet_lite0", clips=14, side=64, epochs=16
    )
    assert tuned > 0.6
    assert frozen > 0.5


@pytest.mark.real
@pytest.mark.usefixtures("_closed")
def test_the_demo_notebooks_of_2022_on_camus(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "camus"
    tuned, frozen = demos(
        root, tmp_path, backbone="efficientnet_lite0", clips=60, side=96, epochs=6, video=False
    )
    assert tuned > 0.35  # after a few steps; a mask of everything has 0.1
    assert frozen > 0.25
    score, (low, high) = ETABscore(
        "efficientnet_lite0",
        None,
        {"a0-A4-C": 1.0},
        n_fold=2,
        finetune=True,
        n_epoch=3,
        n_train=30,
        side=64,
        batch_size=8,
        root=root,
    )
    assert 0 < score < 1
    assert low < score < high
