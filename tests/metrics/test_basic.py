"""Laws of every metric, hand-checked goldens, parity with the definitions written out and with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from etab.errors import UndefinedError
from etab.metrics import masks
from etab.metrics.base import METRICS
from etab.metrics.basic import evaluate
from etab.metrics.masks import mask_scores
from etab.testing.metrics import check_metric, sample
from etab.types import Kind


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", list(METRICS))
def test_laws(name: str, seed: int) -> None:
    check_metric(METRICS[name], seed)


def disc(h: int, w: int, y: float, x: float, r: float) -> np.ndarray:
    yy, xx = np.mgrid[:h, :w]
    return (yy - y) ** 2 + (xx - x) ** 2 <= r * r


def test_two_by_two_masks() -> None:
    truth, said = np.array([[1, 1], [0, 0]], bool), np.array([[1, 0], [1, 0]], bool)
    scores = mask_scores(truth, said, spacing=(2.0, 1.0))
    assert scores["dice"] == 0.5
    assert scores["jaccard"] == pytest.approx(1 / 3)
    # border pixels in mm: truth (0,0) (0,1), said (0,0) (2,0): distances 0, 1 and 0, 2
    assert scores["hd95"] == pytest.approx(1.9)
    assert scores["msd"] == pytest.approx((0 + 1 + 0 + 2) / 4)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 1.7)])
def test_surface_distances_equal_the_definition(spacing: tuple[float, float]) -> None:
    a, b = disc(64, 80, 30, 40, 18) & ~disc(64, 80, 30, 40, 6), disc(64, 80, 33, 36, 15)
    cross = ndimage.generate_binary_structure(2, 1)
    rim = [m & ~ndimage.binary_erosion(m, cross) for m in (a, b)]
    far = [ndimage.distance_transform_edt(~r, sampling=spacing) for r in rim]
    there, back = far[1][rim[0]], far[0][rim[1]]
    scores = mask_scores(a, b, spacing=spacing)
    assert scores["hd95"] == pytest.approx(
        max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-9
    )
    assert scores["msd"] == pytest.approx(np.r_[there, back].mean(), abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 20, 21, 22, 41, 337])
def test_the_percentile_is_numpys(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    assert masks._percentile95(values) == np.percentile(values, 95)


def test_empty_masks() -> None:
    nothing, something = np.zeros((3, 4), bool), disc(3, 4, 1, 1, 1)
    with pytest.raises(UndefinedError, match="empty"):
        mask_scores(nothing, nothing, spacing=(1, 1))
    missed = mask_scores(something, nothing, spacing=(1, 1))
    assert (missed["dice"], missed["hd95"]) == (0.0, 5.0)
    with pytest.raises(UndefinedError, match="resize"):
        mask_scores(something, np.zeros((4, 4), bool), spacing=(1, 1))


def test_dice_is_the_mean_over_patients_not_frames() -> None:
    columns = {k: np.array([1.0, 1.0, 1.0, 0.0]) for k in ("dice", "jaccard", "hd95", "msd")}
    assert METRICS["dice"](columns, np.array(["a", "a", "a", "b"])) == 0.5


def test_ties_count_half_and_one_class_is_refused() -> None:
    patients = np.array(list("abcd"))
    tied = {"truth": np.array([0.0, 1, 0, 1]), "score": np.full(4, 0.3)}
    assert METRICS["auroc"](tied, patients) == 0.5
    one = {"truth": np.ones(4), "score": np.arange(4.0)}
    for name in ("auroc", "auprc", "balanced_accuracy"):
        with pytest.raises(UndefinedError, match="class"):
            METRICS[name](one, patients)
    assert "auroc" not in evaluate(Kind.BINARY, one, patients)


@pytest.mark.parametrize("seed", range(3))
def test_parity_with_scikit_learn(seed: int) -> None:
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    c, p = sample(Kind.BINARY, rng, 200)
    c["score"] = np.round(c["score"], 1)
    ours = evaluate(Kind.BINARY, c, p)
    assert ours["auroc"] == pytest.approx(sk.roc_auc_score(c["truth"], c["score"]), abs=1e-12)
    assert ours["auprc"] == pytest.approx(
        sk.average_precision_score(c["truth"], c["score"]), abs=1e-12
    )
    assert ours["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(c["truth"], c["score"] >= 0.5)
    )
    m, p = sample(Kind.CLASSES, rng, 90, error=3)
    scores = np.stack([m[f"score_{k}"] for k in range(3)], axis=1)
    ours = evaluate(Kind.CLASSES, m, p)
    assert ours["auroc"] == pytest.approx(
        sk.roc_auc_score(m["truth"], scores, multi_class="ovr"), abs=1e-12
    )
    v, p = sample(Kind.VALUE, rng)
    ours = evaluate(Kind.VALUE, v, p)
    assert ours["r2"] == pytest.approx(sk.r2_score(v["truth"], v["score"]))
    assert ours["mae"] == pytest.approx(sk.mean_absolute_error(v["truth"], v["score"]))


def test_bland_altman_by_hand() -> None:
    c = {"truth": np.array([50.0, 60.0, 70.0]), "score": np.array([51.0, 63.0, 71.0])}
    ours = evaluate(Kind.VALUE, c, np.array(list("abc")))
    assert ours["bias"] == pytest.approx(5 / 3)
    assert ours["loa_high"] - ours["bias"] == pytest.approx(1.96 * np.std([1, 3, 1], ddof=1))
    assert ours["loa_low"] + ours["loa_high"] == pytest.approx(2 * ours["bias"])


def test_examples_run() -> None:
    import doctest
    import importlib
    import pkgutil

    from etab import metrics

    attempted = 0
    for info in pkgutil.iter_modules(metrics.__path__):
        module = importlib.import_module(f"etab.metrics.{info.name}")
        outcome = doctest.testmod(module)
        assert outcome.failed == 0, info.name
        attempted += outcome.attempted
    assert attempted > 10
