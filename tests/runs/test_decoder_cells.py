"""Decoders as cells: several heads on maps that are read once, the learning rate of each fold on record, DPT on tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import etab.heads.masks.decoders as place
from etab import heads
from etab.cli.main import app
from etab.errors import IncompatibleError, UnsupportedOptionError
from etab.features.frames import FrameInput
from etab.finetuning import plan as finetuning_plan
from etab.results import Result, load_results
from etab.runs import execute
from etab.runs import run as runs_run
from etab.runs.run import Settings
from etab.testing.heads import made_features, made_splits, made_target
from etab.training.loop import Recipe
from etab.types import Features, Kind

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")

BACKBONE, HEADS = "random/efficientnet_lite0", ("linear_seg", "linknet", "topformer")


@pytest.fixture(scope="module")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"], patients=20) / "camus"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders train for one epoch with two rates."""
    monkeypatch.setattr(place, "LEARNING_RATES", (1e-3, 4e-3))
    monkeypatch.setattr(
        place.TrainedSegmentation,
        "_recipe",
        lambda self, rows, seed, precision: Recipe(
            epochs=1, batch=8, seed=seed, precision=precision
        ),
    )


def run(tree: Path, folder: Path, names: Sequence[str]) -> list[Result]:
    plan = runs_run.plan("a0-A4-C", [BACKBONE], protocols=["official"], head=list(names))
    return list(execute.execute(plan, Settings(root=tree, results=folder, precision="fp32")))


@pytest.mark.slow
def test_several_heads_read_the_maps_once_and_are_what_each_is_alone(
    tree: Path, tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    real = place.Pyramid.__init__
    monkeypatch.setattr(
        place.Pyramid, "__init__", lambda self, *args: (made.append(args), real(self, *args))[1]
    )
    embedded: list[str] = []
    embed = FrameInput.embed
    monkeypatch.setattr(
        FrameInput, "embed", lambda *a, **k: (embedded.append("once"), embed(*a, **k))[1]
    )
    together = run(tree, tmp_path / "together", HEADS)
    assert (len(made), len(embedded)) == (1, 1)
    assert [r.head for r in together] == list(HEADS)
    (alone,) = run(tree, tmp_path / "alone", [HEADS[1]])
    assert alone.identity() == together[1].identity()
    for r in together[1:]:
        (choice,) = [f["choice"] for f in r.folds]
        rates = [float(rate) for rate in choice["rates"].split(",")]
        assert {1e-3, 4e-3} < set(rates)
        assert choice["learning_rate"] in rates
        assert r.settings["head_version"] == 4


@pytest.mark.slow
def test_the_command_takes_several_heads(tree: Path, tmp_path: Path, short: None) -> None:
    words = [
        "run",
        "--root",
        str(tree),
        "--tasks",
        "a0-A4-C,b0-A4-C",
        "--backbones",
        BACKBONE,
        "--protocol",
        "official",
        "--head",
        "linear_seg,topformer,ridge",
        "--results",
        str(tmp_path / "r"),
        "--cache",
        str(tmp_path / "c"),
        "--workers",
        "1",
    ]
    out = CliRunner().invoke(app, words, catch_exceptions=False)
    assert out.exit_code == 0, out.output
    found = {(r.task, r.head) for r in load_results(tmp_path / "r")}
    assert found == {("a0-A4-C", "linear_seg"), ("a0-A4-C", "topformer"), ("b0-A4-C", "ridge")}
    with pytest.raises(IncompatibleError, match="the head 'ridge' or 'knn' answers none"):
        runs_run.plan("a0-A4-C", [BACKBONE], head=["ridge", "knn"])
    with pytest.raises(IncompatibleError, match=r"a0-A4-C asks for mask; these heads .*linear_seg"):
        runs_run.plan("a0-A4-C", [BACKBONE], head="ridge")


def test_processes_of_torchrun_do_not_run_the_same_cells_twice(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from etab.runs.sweep import sweep

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    plan = runs_run.plan("a0-A4-C", [BACKBONE], protocols=["official"])
    with pytest.raises(UnsupportedOptionError, match="torchrun is for `etab finetune`"):
        sweep(
            plan,
            Settings(root=tree, results=tmp_path),
            workers=1,
            watch=lambda n: pytest.fail("it runs"),
        )


@pytest.mark.slow
def test_dpt_learns_from_tokens_of_one_size() -> None:
    kind: Any = heads.HEADS["dpt"]
    patients, splits = made_splits()
    scores = []
    for signal in (1.0, 0.0):
        features, masks = made_features(Kind.MASK, signal=signal)
        fine = np.asarray(features.maps[0])
        tokens = Features({}, (fine, fine[:, ::-1].copy()))
        head = kind(Recipe(epochs=8, batch=8, learning_rate=4e-3), grid=16, width=16)
        assert head._pyramid(tokens, None).sides == (8, 8, 8, 8)
        fit = head.cross_fit(
            tokens,
            masks,
            patients,
            splits[:1],
            made_target(Kind.MASK),
            rng=np.random.default_rng(0),
        )[0]
        pairs = zip(fit.predictions, (masks[i] for i in splits[0].test), strict=True)
        scores.append(
            float(np.mean([2 * (p & m).sum() / max(p.sum() + m.sum(), 1) for p, m in pairs]))
        )
    assert scores[0] > scores[1] + 0.1
    assert scores[0] > 0.8


@pytest.mark.slow
def test_dpt_on_a_transformer_and_on_a_network_of_the_phantom(
    tree: Path, tmp_path: Path, short: None
) -> None:
    """As a cell on the tokens of a ViT (14 x 14 at three depths), and fine-tuned."""
    from etab.finetuning import cells as tuned
    from etab.finetuning.work import TuningWork

    vit = "random/timm/vit_tiny_patch16_224"
    settings = Settings(root=tree, results=tmp_path / "r", precision="fp32")
    (cell,) = execute.execute(
        runs_run.plan("a0-A4-C", [vit], protocols=["official"], head="dpt"), settings
    )
    assert cell.head == "dpt"
    assert 0 < cell.value < 1
    for backbone in (vit, BACKBONE):
        (plan,) = finetuning_plan.plan(
            "a0-A4-C",
            [backbone],
            head="dpt",
            side=64,
            recipe=Recipe(epochs=1, batch=8),
            augment="none",
        )
        (result,) = tuned.execute(plan, settings)
        assert result.protocol == "official-finetune"
        assert 0 <= result.value < 1
        work = TuningWork.of(plan, settings)
        network = work._network(0, work.splits[0])
        assert len(set(network.head.sides)) == (1 if backbone == vit else 4)
