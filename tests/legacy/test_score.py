"""``ETABscore``: a score and its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.errors import (
    UndefinedError,
    UnknownNameError,
    UnsupportedOptionError,
    WeightsError,
)
from etab.legacy import names
from etab.legacy.score import ETABscore, ScoreAndInterval, TaskScore

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")


def test_the_score_is_a_pair_and_its_parts_add_up(cohort: Path, tmp_path: Path) -> None:
    root, keep = cohort / "camus", {"results": tmp_path / "results", "cache": tmp_path / "cache"}
    weights = {"a": 0.5, "b": 0.3, "c": 0.2}
    found = ETABscore("image_stats", None, weights, n_fold=2, root=root, **keep)
    score, (low, high) = found
    assert isinstance(found, tuple)
    assert low < score < high
    assert sum(found.weights.values()) == pytest.approx(1)
    assert {
        k: sum(w for c, w in found.weights.items() if c[0] == k) for k in weights
    } == pytest.approx(weights)
    assert score == pytest.approx(sum(w * found.tasks[c].value for c, w in found.weights.items()))
    assert found.phantom
    assert len(found.results) == len(found.tasks) == 11
    assert found.tasks["a0-A4-C"].metric == "jaccard"
    assert len(found.tasks["a0-A4-C"].folds) == 2
    assert "PHANTOM" in found._repr_html_()
    other = ETABscore(
        "image_stats", None, {"a0-A4-C": 3, "CA22": 1, "b0-A4-C": 0}, n_fold=2, root=root, **keep
    )
    assert other.weights == {"a0-A4-C": 0.75, "a1-A2-C": 0.25}
    assert other[0] == pytest.approx(
        0.75 * found.tasks["a0-A4-C"].value + 0.25 * found.tasks["a1-A2-C"].value
    )


def test_the_interval_is_students_t_over_folds() -> None:
    def made(folds: tuple[float, ...]) -> TaskScore:
        return TaskScore(float(np.mean(folds)), 0, 1, "jaccard", folds, 9)

    found = ScoreAndInterval.of(
        "x",
        {"a0-A4-C": made((0.5, 0.7, 0.9)), "a1-A4-C": made((0.1, 0.1, 0.1))},
        {"a0-A4-C": 0.5, "a1-A4-C": 0.5},
        phantom=True,
    )
    assert found.folds == pytest.approx((0.3, 0.4, 0.5))
    half = 4.302652729911275 * 0.1 / 3**0.5
    assert found[1] == pytest.approx((0.4 - half, 0.4 + half))
    with pytest.raises(UndefinedError, match="two folds"):
        ScoreAndInterval.of(
            "x", {"a0-A4-C": made((0.5, float("nan")))}, {"a0-A4-C": 1.0}, phantom=True
        )


@pytest.mark.slow
def test_trained_heads_score_too_and_the_users_weights_are_what_is_scored(cohort: Path) -> None:
    from torchvision.models import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        mine = resnet18(weights=None)
    more = {
        "n_fold": 2,
        "root": cohort / "camus",
        "n_epoch": 1,
        "side": 32,
        "n_train": 6,
        "batch_size": 8,
    }
    frozen = ETABscore("ResNet-18", mine, {"a0-A4-C": 1}, head="SegFormer", **more)
    assert frozen.results == ()
    assert frozen.tasks["a0-A4-C"].patients == 6
    tuned = ETABscore("ResNet-18", mine, {"a0-A4-C": 1}, finetune=True, head="SegFormer", **more)
    assert tuned[0] != frozen[0]
    from etab.legacy.score import _card

    loaded = _card("ResNet-18", mine, False).load()
    own = mine.state_dict()
    assert all(
        torch.equal(v, own[k])
        for k, v in loaded.network.state_dict().items()
        if not k.startswith("fc")
    )
    assert loaded.digest() != names.architecture("ResNet-18").load().digest()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_fold": 1}, "2 folds"),
        ({"n_epoch": 3}, "would have no effect"),
        ({"finetune": True, "cache": "x"}, "would have no effect"),
        ({"train_frac": 0.5}, "n_fold decides"),
        ({"task_weights": {"a": 1, "a0-A4-C": 1}}, "mix both"),
        ({"task_weights": {"a": -1}}, "0 or more"),
        ({"task_weights": {"a": 0}}, "not all 0"),
    ],
)
def test_what_would_not_act_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=said):
        ETABscore("efficientnet_lite0", **options)


@pytest.mark.parametrize(
    "options", [{"nfold": 3}, {"task_weights": {"z": 1}}, {"task_weights": {"a0-A4-Q": 1}}]
)
def test_unknown_words_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError):
        ETABscore("efficientnet_lite0", **options)


def test_weights_of_another_architecture_are_refused() -> None:
    from torchvision.models import resnet18

    with pytest.raises(WeightsError, match="not of ResNet-34"):
        ETABscore("ResNet-34", resnet18(weights=None))
