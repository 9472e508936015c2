"""``ETABmodel``: training, freezing, new heads, checkpoints, modules of the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.datasets import ETAB_dataset, source
from etab.errors import (
    UnsupportedOptionError,
    WeightsError,
)
from etab.finetuning.body import Body
from etab.finetuning.fitting import BUDGET, fit
from etab.finetuning.network import Network
from etab.legacy.benchmark import task_items
from etab.legacy.data_tools import training_data_split
from etab.legacy.evaluate import evaluate_model
from etab.legacy.examples import ItemExamples, unit_scale
from etab.legacy.models import ETABmodel
from etab.legacy.score import ETABscore
from etab.legacy.user_backbones import card_of_module, load_weights
from etab.tasks.menu import TASKS
from etab.training.loop import Recipe
from etab.types import Kind
from tests.legacy.small import changed, loaders, state_of, tiny

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")


def test_a_backbone_that_reads_no_pictures_is_refused() -> None:
    from dataclasses import replace

    loaded = card_of_module(tiny(), "ear").load()
    loaded.card = replace(loaded.card, modality="sound")  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedOptionError, match="reads sound"):
        Body(loaded)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", ["U-Net", "Linear"])
def test_it_learns_end_to_end_and_predicts_in_the_loaders_pixels(cohort: Path, head: str) -> None:
    train, valid, test = loaders(cohort)
    model = ETABmodel("segmentation", tiny(), head, side=64)
    before = state_of(model.backbone)
    done = model.fit(train, valid, task_code="CA40", n_epoch=12, learning_rate=1e-2, verbose=False)
    seen = [h["validation"] for h in done.history]
    assert min(seen) < 0.8 * seen[0]
    assert changed(before, model.backbone)
    said = model.predict(next(iter(test))[0])
    assert said.shape[1:] == (64, 64)
    assert said.dtype == torch.int64
    assert set(said.unique().tolist()) <= {0, 1}
    assert evaluate_model(model, test, task_code="a0") == evaluate_model(model, test) > 0.4


def test_a_frozen_backbone_does_not_move_and_an_unfrozen_one_does(cohort: Path) -> None:
    train, valid, _ = loaders(cohort)
    model = ETABmodel("segmentation", tiny(), "SegFormer", side=64)
    model.freeze_backbone()
    before, head = state_of(model.backbone), state_of(model.head)
    assert any("running_mean" in k for k in before)
    assert not any(p.requires_grad for p in model.backbone.parameters())
    model.fit(train, valid, n_epoch=2, verbose=False)
    assert changed(before, model.backbone) == []
    assert changed(head, model.head)
    model.network.train()
    assert not model.backbone.training
    model.unfreeze_backbone()
    model.fit(train, valid, n_epoch=1, verbose=False)
    moved = changed(before, model.backbone)
    assert any("running_mean" in k for k in moved)
    assert "0.weight" in moved


def test_what_a_frozen_backbone_says_is_the_same_kept_or_asked_again(cohort: Path) -> None:
    train, valid, _ = loaders(cohort)
    sets = [train.dataset, valid.dataset]
    found = []
    for budget in (BUDGET, 0):
        network = Network(
            Body(card_of_module(tiny(), "tiny").load()),
            "unet",
            Kind.MASK,
            side=64,
            half_features=True,
        )  # type: ignore[arg-type]
        network.freeze()
        examples = ItemExamples(sets, True, budget=budget)
        recipe = Recipe(epochs=2, batch=8, learning_rate=3e-3)
        done = fit(
            network, examples, examples.rows_of(0), examples.rows_of(1), recipe, budget=budget
        )
        found.append([h["validation"] for h in done.history])
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_normalisation_is_undone_whatever_the_loader_did(cohort: Path) -> None:
    pair = [
        ETAB_dataset(
            "camus", "LV_seg", view="A4", frame_l=32, frame_w=32, normalize=n, root=cohort / "camus"
        ).data
        for n in (True, False)
    ]
    a, b = (
        unit_scale(rows[0][0], normalized=n) for rows, n in zip(pair, (True, False), strict=True)
    )
    assert torch.allclose(a, b, atol=1e-5)
    held = [
        ItemExamples([rows], n).inputs(np.arange(2))
        for rows, n in zip(pair, (True, False), strict=True)
    ]
    assert torch.equal(held[0], held[1])
    assert torch.allclose(held[1][0], b, atol=1e-6)
    with pytest.raises(UnsupportedOptionError, match="normalize"):
        ETABmodel("segmentation", tiny(), "Linear", side=32).fit(
            pair[0], pair[1], n_epoch=1, verbose=False
        )


def test_switch_head_keeps_the_backbone(cohort: Path) -> None:
    train, valid, _ = loaders(cohort)
    model = ETABmodel("segmentation", tiny(), "Linear", side=64)
    model.fit(train, valid, n_epoch=1, verbose=False)
    before = state_of(model.backbone)
    model.switch_head("Linear", task="classification")
    assert changed(before, model.backbone) == []
    assert model.task == "classification"
    assert model.predict_scores(torch.zeros(2, 3, 64, 64)).sum(1).tolist() == pytest.approx([1, 1])
    with pytest.raises(UnsupportedOptionError, match="is not for"):
        model.switch_head("U-Net")


@pytest.mark.parametrize("head", ["Linear", "MLP", "LSTM", "GRU", "RNN"])
def test_values_from_clips_and_frames(cohort: Path, head: str) -> None:
    data = task_items(TASKS["b0-A4-C"], source("camus", cohort / "camus"), side=32)
    rows = training_data_split(data, 0.6, 0.2)
    model = ETABmodel("regression", tiny(), head, frames=2, side=32)
    model.freeze_backbone()
    done = model.fit(
        rows[0], rows[1], task_code="b0", n_epoch=12, learning_rate=0.01, verbose=False
    )
    seen = [h["train"] for h in done.history]
    assert min(seen) < 0.9 * seen[0]
    said = model.predict(torch.stack([rows[2][i][0] for i in range(2)]))
    assert said.shape == (2,)
    assert (said > 0).all()
    assert (said < 100).all()
    if head == "Linear":
        with pytest.raises(UnsupportedOptionError, match="side by side"):
            model.predict(torch.zeros(1, 5, 3, 32, 32))


def test_classes_and_their_number_are_checked(cohort: Path) -> None:
    data = ETAB_dataset("camus", "view", frame_l=32, frame_w=32, root=cohort / "camus")
    train, valid, test = training_data_split(data.data, 0.4, 0.2, 8, return_loaders=True)
    model = ETABmodel("classification", tiny(), side=32, num_classes=3)
    with pytest.raises(UnsupportedOptionError, match="num_classes=3"):
        model.fit(train, valid, n_epoch=1, verbose=False)
    model = ETABmodel("classification", tiny(), side=32)
    with pytest.raises(UnsupportedOptionError, match="segmentation"):
        model.fit(train, valid, task_code="a0", n_epoch=1, verbose=False)
    model.fit(train, valid, task_code="c0", n_epoch=3, learning_rate=5e-3, verbose=False)
    assert model.predict(next(iter(test))[0]).dtype == torch.int64
    assert 0 <= evaluate_model(model, test) <= 1
    with pytest.raises(UnsupportedOptionError, match="LV_seg"):
        model.fit(*loaders(cohort)[:2], n_epoch=1, verbose=False)


def test_checkpoints_go_on_and_never_mix(cohort: Path, tmp_path: Path) -> None:
    train, valid, _ = loaders(cohort)

    def trained(head: str) -> Any:
        model = ETABmodel("segmentation", tiny(), head, side=64)
        model.freeze_backbone()
        return model, model.fit(train, valid, n_epoch=2, ckpt_dir=tmp_path / "a0", verbose=False)

    model, done = trained("U-Net")
    again, same = trained("U-Net")
    assert same.history == done.history
    assert changed(state_of(model.network), again.network) == []
    trained("Linear")
    assert len(list((tmp_path / "a0").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"optimizer": "sgd"}, {"accumulate": 2}, {"augment": "clinical"}]
)
@pytest.mark.parametrize("frozen", [False, True])
def test_options_of_training_act(cohort: Path, options: dict[str, Any], frozen: bool) -> None:
    train_loader, valid_loader, _ = loaders(cohort, batch=4)

    def trained(**more: Any) -> Any:
        model = ETABmodel("segmentation", tiny(), "Linear", side=64)
        if frozen:
            model.freeze_backbone()
        done = model.fit(train_loader, valid_loader, n_epoch=2, verbose=False, **more)
        return done, state_of(model.network)

    (first, plain), (second, moved), (_, again) = trained(), trained(**options), trained(**options)
    assert all(torch.equal(moved[k], again[k]) for k in moved)
    assert any(not torch.equal(plain[k], moved[k]) for k in plain if k.startswith("head."))
    assert (first.step != second.step) == ("accumulate" in options)


def test_options_of_training_that_cannot_act_are_refused(cohort: Path, tmp_path: Path) -> None:
    train_loader, valid_loader, _ = loaders(cohort, batch=4)
    model = ETABmodel("segmentation", tiny(), "Linear", side=64)
    for wrong, said in (
        ({"optimizer": "adam"}, "adamw or sgd"),
        ({"augment": "flips"}, "No augmentation is called"),
        ({"accumulate": 0}, "1 or more"),
    ):
        with pytest.raises(UnsupportedOptionError, match=said):
            model.fit(train_loader, valid_loader, n_epoch=1, verbose=False, **wrong)
    colours = [(torch.rand(3, 64, 64), torch.ones(64, 64)) for _ in range(6)]
    with pytest.raises(UnsupportedOptionError, match="grey ultrasound"):
        model.fit(
            colours, colours[:2], n_epoch=1, verbose=False, normalized=False, augment="clinical"
        )
    with pytest.raises(UnsupportedOptionError, match="optimizer"):
        ETABscore(None, tiny(), root=cohort / "camus", optimizer="sgd")


def test_clips_and_values_are_augmented_too(cohort: Path) -> None:
    items = task_items(TASKS["d0-A4-C"], source("camus", cohort / "camus"), side=32)
    rows = list(range(len(items)))
    found = []
    for augment in ("none", "clinical"):
        model = ETABmodel("classification", tiny(), "Linear", frames=2, side=32)
        model.fit(
            items.select(rows[:12]),
            items.select(rows[12:]),
            n_epoch=1,
            verbose=False,
            augment=augment,
        )
        found.append(state_of(model.head))
    assert any(not torch.equal(found[0][k], found[1][k]) for k in found[0])


@pytest.mark.slow
def test_own_modules_and_own_weights(cohort: Path) -> None:
    import timm
    from torchvision.models import resnet18

    theirs = resnet18(weights=None)
    before = state_of(theirs)
    model = ETABmodel("segmentation", theirs, "Linear", side=64)
    assert all(torch.equal(v, before[k]) for k, v in model.backbone.state_dict().items())
    model.fit(*loaders(cohort)[:2], n_epoch=1, verbose=False)
    assert changed(before, theirs) == []
    card = card_of_module(tiny(), "shared")
    one, other = (ETABmodel("segmentation", card, "Linear", side=64) for _ in range(2))
    start = state_of(other.backbone)
    one.fit(*loaders(cohort)[:2], n_epoch=1, verbose=False)
    assert changed(start, other.backbone) == []
    model = ETABmodel("segmentation", "ResNet-18", "U-Net", side=64)
    model.backbone.load_state_dict(before)
    with pytest.raises(WeightsError, match="ResNet-18"):
        load_weights(
            model.backbone,
            timm.create_model("resnet10t", pretrained=False).state_dict(),
            "ResNet-18",
        )
    with pytest.raises(UnsupportedOptionError, match="wanted a name"):
        ETABmodel("segmentation", 3)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOptionError, match="pretrained=True"):
        ETABmodel("segmentation", theirs, pretrained=True)


def test_whole_stages_are_tapped() -> None:
    """A module that is used twice (the ReLU of a residual block) is not taken for a stage."""
    from torchvision.models import resnet18, resnet50

    from etab.backbones.image.networks import probe_modules

    for make, channels in ((resnet18, [64, 128, 256, 512]), (resnet50, [256, 512, 1024, 2048])):
        found = probe_modules(make(weights=None), 64)
        assert [f for f in found if f[1] >= 4] == [
            (f"layer{i + 1}", s, c)
            for i, (s, c) in enumerate(zip((4, 8, 16, 32), channels, strict=True))
        ]


def test_mit_comes_with_the_decoders_library() -> None:
    model = ETABmodel("segmentation", "MiT-B0", "SegFormer", side=64)
    assert model.predict(torch.zeros(1, 3, 64, 64)).shape == (1, 64, 64)
    assert model.network.levels == (0, 1, 2, 3)


def test_a_head_that_cannot_be_fed_leaves_the_model_as_it_was() -> None:
    model = ETABmodel("regression", tiny(), "Linear", side=8)
    was = (model.task, model.head_name, model.head)
    x = torch.zeros(2, 3, 8, 8)
    before = model.predict(x)
    with pytest.raises(UnsupportedOptionError, match="at least 4 x 4"):
        model.switch_head("U-Net", task="segmentation")
    assert (model.task, model.head_name, model.head) == was
    assert torch.equal(model.predict(x), before)
