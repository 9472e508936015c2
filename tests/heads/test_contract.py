"""Every head keeps the contract; closed forms equal scikit-learn; choices are made inside."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import numpy as np
import pytest

from etab import heads
from etab.echo.surface import largest
from etab.errors import MissingPackageError, UnknownNameError, UnsupportedOptionError
from etab.heads.masks import moments as moments_of_points
from etab.heads.masks import points as points_of_maps
from etab.heads.masks.decoders import TrainedSegmentation
from etab.heads.masks.pyramid import Pyramid, choose_levels, sides_of
from etab.heads.pooled import linalg
from etab.testing.heads import check_head, made_features, made_splits, made_target
from etab.training.loop import Recipe, fit_state
from etab.types import Features, Kind, RowSplit

TRAINED = (
    "unet",
    "fpn",
    "deeplabv3plus",
    "segformer",
    "dpt",
    "unetplusplus",
    "manet",
    "linknet",
    "pspnet",
    "deeplabv3",
    "upernet",
    "topformer",
)


# The U-Net and the attentive probes train long; hsmm is hsmm_wavelet with other features.
SLOW = ("state_unet", "hsmm", "attentive_1", "attentive_4")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n
        for n, h in heads.HEADS.items()
        if n not in TRAINED and not h.needs_sequences
    ],
)
def test_contract(name: str) -> None:
    check_head(heads.head(name), learns=name != "trivial")


def small(name: str, epochs: int = 8, width: int = 32, **more: Any) -> TrainedSegmentation:
    pytest.importorskip(
        "segmentation_models_pytorch", reason='the extra "decoders" is not installed'
    )
    kind: Any = heads.HEADS[name]
    made: TrainedSegmentation = kind(
        Recipe(epochs=epochs, batch=8, learning_rate=4e-3), grid=16, width=width, **more
    )
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_contract_of_trained_heads(name: str) -> None:
    check_head(small(name, width=16))


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize(
    "shapes", [[(24, 56), (40, 28), (112, 14), (320, 7)], [(48, 16)] * 3, [(8, 9)]]
)
def test_decoders_take_maps_of_networks_and_transformers(
    name: str, shapes: list[tuple[int, int]], tmp_path
) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    torch = pytest.importorskip("torch")
    maps = [
        np.random.default_rng(0).normal(size=(3, c, s, s)).astype(np.float16) for c, s in shapes
    ]
    sides = sides_of(name, [m.shape for m in maps], 16)
    pyramid, head = Pyramid(maps, 16, 1 << 30, sides), small(name)
    net = head.network(pyramid.channels, 0, sides).eval()
    out = net(pyramid.rows(np.arange(3)))
    assert out.shape == (3, 16, 16)
    safetensors.save_file(net.state_dict(), tmp_path / "head.safetensors")
    other = head.network(pyramid.channels, 1, sides).eval()
    assert not torch.equal(other(pyramid.rows(np.arange(3))), out)
    fit_state(other, safetensors.load_file(tmp_path / "head.safetensors"), "the file")
    assert torch.equal(other(pyramid.rows(np.arange(3))), out)
    streamed = Pyramid(maps, 16, 0, sides)
    assert streamed.held is None
    assert all(
        torch.equal(a, b)
        for a, b in zip(streamed.rows(np.arange(3)), pyramid.rows(np.arange(3)), strict=True)
    )


def test_levels_take_the_nearest_map() -> None:
    assert choose_levels([(1, 1, s, s) for s in (112, 56, 28, 14, 7)], 56) == (1, 2, 3, 4)
    assert choose_levels([(1, 1, 16, 16)] * 4, 56) == (0, 1, 2, 3)
    assert choose_levels([(1, 1, 16, 16)], 56) == (0, 0, 0, 0)


def test_dpt_takes_tokens_at_their_own_resolution_and_a_pyramid_as_it_is() -> None:
    tokens, stages = [(1, 1, 14, 14)] * 3, [(1, 1, s, s) for s in (56, 28, 14, 7)]
    assert sides_of("dpt", tokens, 56) == (14, 14, 14, 14)
    assert sides_of("dpt", [(1, 1, 16, 16)] * 2, 56) == (14, 14, 14, 14)
    assert sides_of("dpt", [(1, 1, 7, 7)], 56) == (7, 7, 7, 7)
    assert sides_of("dpt", stages, 56) == sides_of("unet", tokens, 56) == (56, 28, 14, 7)
    blocks = small("dpt").network((1,) * 4, 0, (4, 4, 4, 4)).decoder.net.reassemble_blocks
    assert [type(b.upsample).__name__ for b in blocks] == [
        "ConvTranspose2d",
        "ConvTranspose2d",
        "Identity",
        "Conv2d",
    ]


def test_dpt_hears_every_level() -> None:
    torch = pytest.importorskip("torch")
    for sides in ((4, 4, 4, 4), (16, 8, 4, 2)):
        net = small("dpt").network((3,) * 4, 0, sides).eval()
        maps = [
            torch.randn(2, 3, s, s, generator=torch.Generator().manual_seed(i))
            for i, s in enumerate(sides)
        ]
        before = net(maps)
        for level in range(4):
            assert not torch.equal(
                net([m + (i == level) * m for i, m in enumerate(maps)]), before
            ), level


def test_the_best_learning_rate_is_chosen_inside_and_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one rate that cannot learn, the other is taken, and the answer is that of training with it alone."""
    import etab.heads.masks.decoders as place

    features, masks = made_features(Kind.MASK)
    patients, splits = made_splits()
    small("linknet")
    kind: Any = heads.HEADS["linknet"]
    reads: list[int] = []
    real = Pyramid.rows
    monkeypatch.setattr(
        Pyramid, "rows", lambda self, index: reads.append(len(index)) or real(self, index)
    )

    def run(rates: Any) -> Any:
        reads.clear()
        recipe = Recipe(epochs=4, batch=8, learning_rate=4e-3)
        head = kind(recipe, rates=rates, grid=16, width=16)
        rng = np.random.default_rng(0)
        fit = head.cross_fit(
            features, masks, patients, splits[:1], made_target(Kind.MASK), rng=rng
        )[0]
        return fit, len(reads)

    (alone, once), (chosen, several) = run(None), run((1e-9, 4e-3))
    assert alone.choice["learning_rate"] == chosen.choice["learning_rate"] == 4e-3
    assert chosen.choice["rates"] == "1e-09,0.004"
    assert {k: v for k, v in alone.choice.items() if k != "rates"} == {
        k: v for k, v in chosen.choice.items() if k != "rates"
    }
    assert all((a == b).all() for a, b in zip(alone.predictions, chosen.predictions, strict=True))
    assert several == once, "another learning rate reads the maps again"
    assert kind().rates == place.LEARNING_RATES


def test_trained_heads_refuse_maps_they_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    patients, splits = made_splits()
    masks, head = made_features(Kind.MASK)[1], small("unet")
    nan = np.full((60, 2, 8, 8), np.nan)
    for maps, said in (
        ((), "have none"),
        ((np.zeros((60, 9, 2, 2)),), "at least 4 x 4"),
        ((np.zeros((60, 9, 4)),), "maps .channels, h, w."),
        ((nan,), "not finite"),
    ):
        with pytest.raises(UnsupportedOptionError, match=said):
            head.cross_fit(
                Features({}, maps),
                masks,
                patients,
                splits,
                made_target(Kind.MASK),
                rng=np.random.default_rng(0),
            )
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch.decoders.unet.decoder", None)
    with pytest.raises(MissingPackageError, match=r'pip install "etab-bench\[decoders\]"'):
        head.network((1, 1, 1, 1), 0)


def test_unknown_head_suggests() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'ridge'"):
        heads.head("rigde")


@pytest.mark.parametrize("d", [5, 90])
def test_ridge_is_scikit_learns(d: int) -> None:
    sk = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x, y = rng.normal(2, 3, (50, d)), rng.normal(50, 10, 50)
    train, test = np.arange(40), np.arange(40, 50)
    kernel = linalg.gram(x)
    fit = linalg.basis(kernel, train)
    path, mean = linalg.ridge_path(fit, y[train])
    ours = fit.project(kernel, test) @ path + mean
    centred = x[train] - x[train].mean(axis=0)
    for i, penalty in enumerate(linalg.PENALTIES):
        alpha = penalty * np.square(centred).sum() / 40
        theirs = sk.Ridge(alpha=alpha).fit(x[train], y[train]).predict(x[test])
        assert ours[:, i] == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 40, 200])
def test_tridiagonal_systems_are_those_of_the_matrix(n: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(4 * n + 4, n)) * np.exp(-np.arange(n) / max(n / 8, 1))
    matrix, y, shifts = x.T @ x / len(x), rng.normal(size=n), (3e-4, 0.02, 1.0, 80.0)
    got = linalg.Tridiagonal.of(matrix.astype(np.float32)).solve(y, shifts)
    want = np.stack([np.linalg.solve(matrix + s * np.eye(n), y) for s in shifts], axis=1)
    assert got.shape == (n, len(shifts))
    assert np.allclose(got, want, rtol=0, atol=2e-3 * np.abs(want).max(axis=0))
    assert np.allclose(got[:, 2:], want[:, 2:], rtol=0, atol=1e-5 * np.abs(want[:, 2:]).max(axis=0))


def test_rounding_below_zero_makes_no_system_singular() -> None:
    q = np.linalg.qr(np.random.default_rng(3).normal(size=(30, 30)))[0]
    spread = np.r_[
        -3e-4, np.linspace(0.5, 2, 29)
    ]  # the first is rounding: with a shift of 3e-4 nothing would be left of it
    y = q @ np.ones(30)
    got = linalg.Tridiagonal.of(((q * spread) @ q.T).astype(np.float32)).solve(y, [3e-4, 1.0])
    lifted = np.stack([q @ (1 / (spread + s)) for s in (6e-4, 1.0)], axis=1)
    assert np.allclose(got, lifted, rtol=0, atol=5e-3 * np.abs(lifted).max(axis=0))


def test_moments_of_points_are_those_of_the_maps() -> None:
    rng = np.random.default_rng(0)
    maps = tuple(
        (5 + rng.standard_normal((30, c, s, s))).astype(np.float16) for c, s in ((3, 28), (4, 9))
    )
    points = points_of_maps.sample_points(maps, 1 << 30)["point"]
    y = np.maximum(points.rows(np.arange(30))[:, :3].sum(axis=1) - 15, 0).reshape(30, -1)
    design = moments_of_points.Design(points, np.arange(30) % 3)
    label = design.label(y)
    both = moments_of_points.total_of([label[k] for k in (0, 2)])
    rows = np.flatnonzero(np.arange(30) % 3 != 1)
    x = points.rows(rows).astype(np.float64)
    assert np.allclose(both.xy, y[rows].ravel() @ x, rtol=1e-5)
    moments = design.total((0, 2))
    assert np.allclose(np.triu(moments.second), np.triu(x.T @ x), rtol=1e-5, atol=1e-3)
    deviation, correlations = moments_of_points.standardised(
        moments.second, moments.n, moments.first / moments.n
    )
    assert np.allclose(deviation, x.std(axis=0), rtol=1e-3)
    assert np.allclose(np.triu(correlations), np.triu(np.corrcoef(x.T)), atol=1e-3)
    index, w, b = design.solve((0, 2), "all maps", label)
    assert np.array_equal(index, np.arange(x.shape[1]))
    error = np.square(x @ w + b - y[rows].reshape(-1, 1)).sum(axis=0)
    assert np.allclose(
        design.squared_errors((0, 2), {"all maps": (index, w, b)}, label)["all maps"],
        error,
        rtol=1e-3,
    )
    centred, penalty = (
        (x - x.mean(axis=0)) / x.std(axis=0),
        moments_of_points.MASK_PENALTIES[5] * len(x),
    )
    want = np.linalg.solve(
        centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ y[rows].ravel()
    )
    assert np.allclose(w[:, 5] * x.std(axis=0), want, atol=1e-4)


def test_the_mean_square_is_of_the_training_rows() -> None:
    x = np.random.default_rng(0).normal(size=(20, 4)) * np.arange(1, 21)[:, None]
    rows = np.array([1, 4, 9, 12])
    z, scale = x[rows] - x[rows].mean(axis=0), np.square(x - x.mean(axis=0)).sum() / len(x)
    assert linalg.mean_square(linalg.gram(x), rows) == pytest.approx(np.square(z).sum() / 4 / scale)


def test_a_kernel_that_is_not_finite_is_refused() -> None:
    with pytest.raises(UnsupportedOptionError, match="too large"):
        linalg.basis(np.full((4, 4), np.nan), np.arange(4))


def test_a_matrix_that_is_not_finite_is_refused() -> None:
    with pytest.raises(UnsupportedOptionError, match="not finite"):
        linalg.Tridiagonal.of(np.full((4, 4), np.nan, dtype=np.float32))


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_is_scikit_learns(classes: int) -> None:
    sk = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(1)
    y = np.arange(80) % classes
    x = rng.normal(size=(80, 6)) + 0.8 * np.eye(6)[y]
    rows = np.arange(80)
    fit = linalg.basis(linalg.gram(x), rows)
    onehot = y[:, None].astype(float) if classes == 2 else np.eye(classes)[y]
    scale = np.square(x - x.mean(axis=0)).sum() / 80
    for penalty in (0.3, 0.003):
        w, b = linalg.logistic_path(fit.train, onehot, np.ones((80, 1)), [penalty], iterations=3000)
        ours = linalg.probabilities(fit.train @ w[0] + b[0])
        theirs = sk.LogisticRegression(C=1 / (80 * penalty), tol=1e-10, max_iter=5000)
        scaled = (x - x.mean(axis=0)) / np.sqrt(scale)
        p = theirs.fit(scaled, y).predict_proba(scaled)
        assert ours == pytest.approx(p[:, 1:] if classes == 2 else p, abs=1e-3)


def test_batched_problems_equal_single_ones() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 5)), (np.arange(60) % 2).astype(float)[:, None]
    fit = linalg.basis(linalg.gram(x), np.arange(60))
    weights = (rng.random((60, 4)) > 0.3).astype(float)
    w, b = linalg.logistic_path(fit.train, y, weights, [0.1, 0.01, 0.1, 1.0], iterations=2000)
    for i, penalty in enumerate([0.1, 0.01, 0.1, 1.0]):
        keep = weights[:, i] == 1
        one, c = linalg.logistic_path(
            fit.train[keep], y[keep], np.ones((keep.sum(), 1)), [penalty], iterations=4000
        )
        assert w[i] == pytest.approx(one[0], abs=2e-3)
        assert b[i] == pytest.approx(c[0], abs=2e-3)


@pytest.mark.parametrize("name", ["ridge", "logistic", "knn"])
def test_not_finite_features_are_named(name: str) -> None:
    kind = min(heads.head(name).kinds)
    features, answers = made_features(kind)
    features.pooled["late/mean"][7, 2] = np.inf
    patients, splits = made_splits()
    with pytest.raises(UnsupportedOptionError, match=r"Row 7 of the features 'late/mean' .*fp32"):
        heads.head(name).cross_fit(
            features, answers, patients, splits, made_target(kind), rng=np.random.default_rng(0)
        )


def test_segmentation_says_what_it_needs() -> None:
    features, masks = made_features(Kind.MASK)
    patients, splits = made_splits()
    head = heads.head("linear_seg")
    with pytest.raises(UnsupportedOptionError, match="needs feature maps"):
        head.cross_fit(
            Features({"a/mean": np.zeros((60, 3))}),
            masks,
            patients,
            splits,
            made_target(Kind.MASK),
            rng=np.random.default_rng(0),
        )
    bad = np.array(features.maps[0])
    bad[55, 0, 0, 0] = np.nan
    with pytest.raises(UnsupportedOptionError, match="not finite"):
        head.cross_fit(
            Features({}, (bad,)),
            masks,
            patients,
            splits,
            made_target(Kind.MASK),
            rng=np.random.default_rng(0),
        )


def test_memo_serves_the_next_structure_without_changing_it() -> None:
    features, masks = made_features(Kind.MASK)
    other = [np.roll(m, 3, axis=0) for m in masks]
    patients, splits = made_splits()
    memo: dict = {}
    runs = [
        heads.head("linear_seg").cross_fit(
            features,
            y,
            patients,
            splits,
            made_target(Kind.MASK),
            rng=np.random.default_rng(0),
            memo=m,
        )
        for y, m in ((masks, memo), (other, memo), (other, None))
    ]
    for shared, alone in zip(runs[1], runs[2], strict=True):
        assert all(
            np.array_equal(a, b) for a, b in zip(shared.predictions, alone.predictions, strict=True)
        )
        assert shared.choice == alone.choice


def test_what_cells_share_goes_with_their_memo() -> None:
    """Matrices of whole backbones are freed when their cells are done, not when somebody looks for cycles."""
    features, masks = made_features(Kind.MASK)
    patients, splits = made_splits()
    memo: dict[Any, Any] = {}
    heads.head("linear_seg").cross_fit(
        features,
        masks,
        patients,
        splits,
        made_target(Kind.MASK),
        rng=np.random.default_rng(0),
        memo=memo,
    )
    kept = [
        weakref.ref(design)
        for designs in memo["linear_seg"].values()
        for design in designs.values()
    ]
    gc.disable()
    try:
        memo.clear()
        assert kept
        assert all(ref() is None for ref in kept)
    finally:
        gc.enable()


def test_choices_are_recorded_for_every_fold() -> None:
    features, answers = made_features(Kind.VALUE)
    patients, splits = made_splits()
    fits = heads.head("ridge").cross_fit(
        features, answers, patients, splits, made_target(Kind.VALUE), rng=np.random.default_rng(0)
    )
    assert {f.choice["features"] for f in fits} == {"late/mean"}
    assert all(f.choice["penalty"] in linalg.PENALTIES for f in fits)


def test_largest_component() -> None:
    mask = np.zeros((9, 9), bool)
    mask[1:3, 1:3] = mask[5:8, 5:8] = True
    assert largest(mask).sum() == 9
    assert largest(np.zeros((3, 3), bool)).sum() == 0


@pytest.mark.parametrize("name", ["ridge", "stack"])
def test_all_components_that_a_key_names_are_fitted(name: str) -> None:
    """The answer is the second principal component: one component alone does not hold it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((90, 6)).astype(np.float32) * np.array([9, 5, 1, 1, 1, 1], np.float32)
    answers = 50 + 4 * x[:, 1].astype(np.float64)
    patients = np.array([f"p{i}" for i in range(90)])
    splits = [RowSplit(np.arange(60), (np.arange(20), np.arange(20, 60)), np.arange(60, 90), "a")]
    fits = heads.head(name).cross_fit(
        Features({"x/pca3": x}, pca={"x/pca3": 3}),
        answers,
        patients,
        splits,
        made_target(Kind.VALUE),
        rng=np.random.default_rng(0),
    )
    errors = np.abs(np.asarray(fits[0].predictions) - answers[60:])
    assert errors.mean() < 0.2 * np.abs(answers[60:] - 50).mean()
