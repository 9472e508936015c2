"""Fine-tuning: its own protocols, the same scoring, the same bytes after an interruption, augmentation that stays anatomy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from etab import backbones
from etab.cli.main import app
from etab.errors import IncompatibleError, ResultError, UnsupportedOptionError
from etab.finetuning import cells as tuned
from etab.finetuning import plan as finetuning_plan
from etab.finetuning.work import TuningWork
from etab.results import Result, load_results
from etab.runs import execute
from etab.runs import run as runs_run
from etab.runs.run import Settings
from etab.tasks.protocols import parse
from etab.training.loop import Progress, Recipe, train
from etab.types import Kind

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")

BACKBONE = "random/efficientnet_lite0"
SHORT = Recipe(epochs=2, batch=8, learning_rate=2e-3, patience=0)


@pytest.fixture(scope="module")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"], patients=20) / "camus"


def planned(tasks: str = "a0,a1", **more: Any) -> finetuning_plan.Tuning:
    (found,) = finetuning_plan.plan(tasks, [BACKBONE], **{"side": 32, "recipe": SHORT, **more})
    return found


@pytest.fixture(scope="module")
def trained(
    tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Result], Settings, list[Progress]]:
    """One short training of four tasks, and what it said of every step."""
    settings, seen = (
        Settings(root=tree, results=tmp_path_factory.mktemp("r") / "out", precision="fp32"),
        [],
    )

    def watch(name: str, now: Progress) -> None:
        seen.append(replace(now, history=list(now.history)))

    return tuned.execute(planned(), settings, watch=watch), settings, seen


@pytest.mark.parametrize(
    "name", ["official-finetune", "cv5-partial2", "official-10pct-d0-finetune"]
)
def test_protocols_with_tuning_have_codes_and_the_same_splits(name: str) -> None:
    how, frozen = parse(name), parse(name.rpartition("-")[0])
    assert how.name == name
    assert how.blocks == (2 if "partial" in name else None)
    assert frozen.blocks == 0
    patients = np.repeat([f"p{i:02d}" for i in range(60)], 2)
    parts = np.array(["train"] * 80 + ["val"] * 20 + ["test"] * 20)
    both = [p.splits(patients, parts, np.zeros(120), Kind.VALUE, 0) for p in (how, frozen)]
    for a, b in zip(*both, strict=True):
        assert (a.train == b.train).all()
        assert (a.test == b.test).all()


@pytest.mark.parametrize(
    "name", ["official-partial0", "official-tuned", "finetune", "official-finetune-d0"]
)
def test_other_endings_are_refused(name: str) -> None:
    with pytest.raises(IncompatibleError, match="No protocol is called"):
        parse(name)


def test_a_frozen_run_refuses_a_tuned_protocol() -> None:
    with pytest.raises(IncompatibleError, match="etab finetune"):
        runs_run.plan("a0-A4-C", [BACKBONE], protocols=["official-finetune"])


@pytest.mark.slow
def test_cells_say_how_they_were_trained_and_stand_apart(trained: Any) -> None:
    results, settings, _ = trained
    assert [r.task for r in results] == ["a0-A2-C", "a0-A4-C", "a1-A2-C", "a1-A4-C"]
    for r in results:
        assert r.protocol == "official-finetune"
        assert r.head == "unet"
        assert r.phantom
        assert r.settings["tuning"] == "finetune"
        assert r.settings["trained_with"] == [x.task for x in results]
        assert not r.settings["refit"]
        assert r.path(settings.results).name == "official-finetune-unet-s0.json"
        assert 0 < r.low <= r.value <= r.high <= 1
    assert load_results(settings.results)
    frozen = list(
        execute.execute(runs_run.plan("a0-A2-C", [BACKBONE], protocols=["official"]), settings)
    )
    tuned_cell = results[0]
    assert (frozen[0].n_test, frozen[0].n_patients) == (tuned_cell.n_test, tuned_cell.n_patients)
    assert (
        frozen[0].predictions(settings.results).items
        == tuned_cell.predictions(settings.results).items
    )


def test_a_result_of_another_network_of_the_same_name_is_not_read(trained: Any) -> None:
    _, settings, _ = trained
    other = backbones.renamed(backbones.card("random/hed_vgg16"), BACKBONE)
    with pytest.raises(ResultError, match="belongs to another backbone called"):
        tuned.finished(replace(planned(), card=other), settings)


def test_finished_is_read_and_other_conditions_are_refused(trained: Any) -> None:
    results, settings, _ = trained
    again = tuned.execute(planned(), settings, watch=lambda *_: pytest.fail("trained again"))
    assert again == results
    with pytest.raises(ResultError, match="augment"):
        tuned.execute(planned(augment="none"), settings)


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 6])
def test_interrupted_and_resumed_gives_the_same_results(
    trained: Any, tree: Path, tmp_path: Path, step: int
) -> None:
    results, settings, seen = trained
    mine = replace(settings, results=tmp_path / "out")
    often = planned(recipe=replace(SHORT, every=1))

    def stop(name: str, now: Progress) -> None:
        if now.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned.execute(often, mine, watch=stop)
    assert not (tmp_path / "out").exists()
    steps: list[int] = []
    found = tuned.execute(often, mine, watch=lambda _, now: steps.append(now.step))
    assert steps[0] == step + 1, "training began again before its last checkpoint"
    assert [r.identity() for r in found] == [r.identity() for r in results]
    state = json.loads(next((tmp_path / "out.training").rglob("state.json")).read_text())
    assert state["progress"]["step"] == seen[-1].step


@pytest.mark.slow
def test_a_checkpoint_of_another_training_is_not_taken_up(tree: Path, tmp_path: Path) -> None:
    def stop(name: str, now: Progress) -> None:
        if now.step == 2:
            raise KeyboardInterrupt

    settings = Settings(root=tree, results=tmp_path / "out", precision="fp32")
    plan = planned("a0-A4-C", recipe=replace(SHORT, every=1))
    with pytest.raises(KeyboardInterrupt):
        tuned.execute(plan, settings, watch=stop)
    with pytest.raises(UnsupportedOptionError, match="augment: clinical there, none here"):
        tuned.execute(replace(plan, augment="none"), settings)


@pytest.mark.slow
def test_learns_in_a_few_steps(tree: Path, tmp_path: Path) -> None:
    plan = planned(
        "a0-A4-C", augment="none", recipe=Recipe(epochs=8, batch=8, learning_rate=4e-3, patience=0)
    )
    seen: list[Progress] = []
    settings = Settings(root=tree, results=tmp_path / "out", precision="fp32")
    (result,) = tuned.execute(plan, settings, watch=lambda _, now: seen.append(replace(now)))
    losses = [h["train"] for h in seen[-1].history]
    assert losses[-1] < 0.6 * losses[0]
    assert result.value > 0.5


@pytest.mark.parametrize(
    ("task", "head"), [("b0-A4-C", "linear"), ("b1-A4-C", "mlp"), ("c0-AX-C", "linear")]
)
def test_other_answers_train_too(tree: Path, tmp_path: Path, task: str, head: str) -> None:
    plan = planned(task, head=head, tuning="partial1", recipe=replace(SHORT, epochs=1))
    (result,) = tuned.execute(plan, Settings(root=tree, results=tmp_path / "out", precision="fp32"))
    assert result.protocol == "official-partial1"
    assert result.settings["tuning"] == "partial1"
    assert np.isfinite(result.value)


def test_partial_trains_the_last_blocks_alone() -> None:
    from etab import backbones
    from etab.finetuning.body import Body, blocks_of
    from etab.finetuning.network import Network

    body = Body(backbones.card(BACKBONE).load())
    names = [name for name, _ in blocks_of(body.network)]
    assert len(names) == 7
    net = Network(body, "unet", Kind.MASK, side=32)
    net.freeze(except_last=2)
    before = {k: v.clone() for k, v in net.state_dict().items()}

    def loss(rows: Any) -> Any:
        return (net(torch.rand(len(rows), 1, 1, 32, 32)) - 1).square().mean()

    train(net, loss, np.arange(8), np.arange(8, 10), Recipe(epochs=1, batch=4, learning_rate=0.01))
    moved = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    held = tuple(f"body.network.{name}." for name in names[:-2])
    assert not [k for k in moved if k.startswith(held)]
    for name in names[-2:]:
        assert any(k.startswith(f"body.network.{name}.") for k in moved)
    with pytest.raises(UnsupportedOptionError, match="has 7 blocks"):
        net.freeze(except_last=7)


@pytest.mark.parametrize("frozen", [False, True])
def test_one_network_serves_the_board_and_2022(frozen: bool) -> None:
    """Grey clips and frames in colour channels are the same input; only rounding and grid differ."""
    from etab import backbones
    from etab.finetuning.body import Body
    from etab.finetuning.network import FINER, Network

    board, legacy = (
        Network(Body(backbones.card(BACKBONE).load()), "linear", Kind.MASK, side=32, **options)  # type: ignore[arg-type]
        for options in ({"finer": FINER}, {"half_features": True})
    )
    if frozen:
        board.freeze()
        legacy.freeze()
    board.eval()
    legacy.eval()
    frames = torch.linspace(0, 1, 2 * 32 * 32).view(2, 1, 1, 32, 32)
    (exact, *_), (rounded, *_) = (
        board.features(frames),
        legacy.features(frames.expand(2, 1, 3, 32, 32)[:, 0]),
    )
    assert torch.equal(exact, exact.half().float()) is False
    assert torch.equal(rounded, exact.half().float() if frozen else exact)
    assert board(frames).shape == (2, 1, 32, 32)
    assert legacy(frames).shape == (2, 1, 16, 16)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tasks": "a0-A4-C,b0-A4-C", "head": "unet"}, "cannot predict EF"),
        ({"head": "linear_seg"}, "Choose one of: unet"),
        ({"side": 16}, "32 px or more"),
        ({"augment": "flips"}, "No augmentation"),
        ({"protocol": "best"}, "No protocol"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_read(
    options: dict[str, Any], said: str
) -> None:
    tasks = options.pop("tasks", "a0-A4-C")
    with pytest.raises((IncompatibleError, UnsupportedOptionError), match=said):
        finetuning_plan.plan(tasks, [BACKBONE], **options)


def test_controls_are_refused() -> None:
    with pytest.raises(IncompatibleError, match="choose a trainable network"):
        finetuning_plan.plan("a0-A4-C", ["pixel_pca"])


def _sector() -> tuple[Any, Any]:
    """Two frames of a made sector whose bright chamber lies left of the middle, and its mask."""
    rows, columns = np.mgrid[0:64, 0:64] / 63 * 2 - 1
    inside = np.abs(columns) < 0.5 * (rows + 1)
    chamber = (rows - 0.1) ** 2 + (columns + 0.3) ** 2 < 0.15**2
    frame = torch.from_numpy((0.4 * inside + 0.5 * chamber).astype(np.float32))
    return frame.expand(12, 2, 1, 64, 64).clone(), torch.from_numpy(
        chamber.astype(np.float32)
    ).expand(12, 1, 64, 64)


def test_augmentation_moves_frame_and_mask_alike_and_mirrors_nothing() -> None:
    from etab.finetuning.augment import clinical

    frames, masks = _sector()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        x, y = clinical(frames, masks)
        torch.manual_seed(1)
        again, _ = clinical(frames, masks)
    assert torch.equal(x, again)
    assert y is not None
    assert x.shape == frames.shape
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1
    across = torch.linspace(-1, 1, 64)
    for row in range(12):
        where = float((y[row, 0].sum(0) * across).sum() / y[row].sum())
        assert where < 0, "the chamber changed sides"
        inside, outside = (
            x[row, 0, 0][y[row, 0] > 0.9],
            x[row, 0, 0][(y[row, 0] < 0.05) & (x[row, 0, 0] > 0.02)],
        )
        assert float(inside.mean()) > 1.3 * float(outside.mean()), "the mask left the chamber"
    places = [float((y[r, 0].sum(1) * across).sum() / y[r].sum()) for r in range(12)]
    assert np.std(places) > 0.02, "nothing moved"


def test_augmentation_keeps_black_black() -> None:
    from etab.finetuning.augment import clinical

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, masks = clinical(torch.zeros(4, 1, 1, 32, 32), None)
    assert masks is None
    assert not bool(x.any())


def test_structures_that_nobody_drew_do_not_count() -> None:
    from types import SimpleNamespace

    from etab.finetuning.network import answer_loss

    net: Any = SimpleNamespace(kind=Kind.MASK)
    logits = torch.randn(3, 2, 16, 16)
    answers = (torch.rand(3, 2, 16, 16) > 0.5).float()
    answers[1, 1] = torch.nan
    whole = answer_loss(net, logits, answers)
    logits[1, 1] += 5
    assert torch.equal(answer_loss(net, logits, answers), whole)
    logits[1, 0] += 5
    assert not torch.equal(answer_loss(net, logits, answers), whole)


@pytest.mark.parametrize(
    "options", [{"optimizer": "sgd"}, {"precision": "bf16"}, {"accumulate": 2}]
)
def test_recipes_act(options: dict[str, Any]) -> None:
    found = []
    for recipe in (SHORT, replace(SHORT, **options)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = torch.nn.Linear(64, 1)
        x = torch.linspace(-1, 1, 40 * 64).view(40, 64).sin()

        def loss(rows: Any, net: Any = net, x: Any = x) -> Any:
            return (net(x[torch.as_tensor(rows)]).float() - 1).square().mean()

        done = train(net, loss, np.arange(32), np.arange(32, 40), recipe)
        found.append((done.step, net.weight.detach().clone()))
    assert not torch.equal(found[0][1], found[1][1])
    assert (found[0][0] != found[1][0]) == ("accumulate" in options)


def test_without_validation_training_stops_where_told() -> None:
    net = torch.nn.Linear(4, 1)
    x = torch.ones(8, 4)

    def loss(rows: Any) -> Any:
        return (net(x[torch.as_tensor(rows)]) - 1).square().mean()

    none = np.arange(0)
    done = train(net, loss, np.arange(8), none, Recipe(epochs=6, batch=4, stop=3))
    assert (done.epoch, done.best_epoch, done.step) == (3, 2, 6)
    with pytest.raises(UnsupportedOptionError, match="where to stop"):
        train(net, loss, np.arange(8), none, Recipe(epochs=6, batch=4))


def _launched(tree: Path, results: Path, processes: int, *more: str) -> str:
    """Fine-tune by the command in processes of their own, under torchrun where there are several."""
    import os
    import subprocess
    import sys

    start = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        if processes > 1
        else []
    )
    words = [
        sys.executable,
        *start,
        "-m",
        "etab",
        "finetune",
        "--root",
        str(tree),
        "--tasks",
        "a0",
        "--backbones",
        BACKBONE,
        "--head",
        "linear",
        "--tuning",
        "partial1",
        "--side",
        "32",
        "--epochs",
        "3",
        "--lr",
        "2e-3",
        "--patience",
        "0",
        "--augment",
        "none",
        "--precision",
        "fp32",
        "--results",
        str(results),
        *more,
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(tuned.__file__).parents[2])}
    run = subprocess.run(words, capture_output=True, text=True, timeout=280, env=env)
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no torch.distributed"
)
def test_two_processes_train_one_network(tree: Path, tmp_path: Path) -> None:
    """Written once, equal to one process with the same parts of the same steps; and resumed to the same bytes."""
    alone = _launched(tree, tmp_path / "one", 1, "--batch", "4", "--accumulate", "2")
    both = _launched(tree, tmp_path / "two", 2, "--batch", "4", "--accumulate", "2")
    assert both.count("a0-A4-C") == alone.count("a0-A4-C") == 1, (
        "a line is said once, by the first process"
    )
    one, two = (load_results(tmp_path / name) for name in ("one", "two"))
    assert [r.task for r in two] == ["a0-A2-C", "a0-A4-C"]
    for a, b in zip(one, two, strict=True):
        assert b.settings["processes"] == 2
        assert b.value == pytest.approx(a.value, abs=0.02)
        assert b.folds[0]["choice"]["epochs"] == a.folds[0]["choice"]["epochs"]
        assert b.folds[0]["choice"]["validation_loss"] == pytest.approx(
            a.folds[0]["choice"]["validation_loss"], rel=0.02
        )
    states = [
        json.loads(next((tmp_path / f"{n}.training").rglob("state.json")).read_text())
        for n in ("one", "two")
    ]
    histories = [s["progress"]["history"] for s in states]
    for a, b in zip(*histories, strict=True):
        assert b["train"] == pytest.approx(a["train"], rel=0.01)
    # only the checkpoint is left, as after an interruption between training and saving
    for path in (tmp_path / "two").rglob("*.*"):
        path.unlink()
    _launched(tree, tmp_path / "two", 2, "--batch", "4", "--accumulate", "2")
    assert [r.identity() for r in load_results(tmp_path / "two")] == [r.identity() for r in two]


@pytest.mark.slow
def test_the_command_takes_a_name_and_the_data_of_a_pretraining(tree: Path, tmp_path: Path) -> None:
    import timm

    network = timm.create_model("resnet10t", pretrained=False)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    words = [
        "finetune",
        "--root",
        str(tree),
        "--tasks",
        "a0-A4-C",
        "--backbones",
        f"mine=local:{tmp_path}/mine.pth@timm/resnet10t",
        "--pretrained-on",
        "mine=CAMUS",
        "--side",
        "32",
        "--epochs",
        "1",
        "--batch",
        "16",
        "--results",
        str(tmp_path / "r"),
        "--precision",
        "fp32",
    ]
    out = CliRunner().invoke(app, words, catch_exceptions=False)
    assert out.exit_code == 0
    assert "a0-A4-C" in out.output
    assert "official-finetune unet: dice" in out.output
    (result,) = load_results(tmp_path / "r")
    assert result.backbone == "mine"
    assert any("PRETRAINED ON TEST DATA" in note for note in result.settings["notes"])


def test_a_view_without_a_structure_is_unknown(tree: Path) -> None:
    """Trained together, a structure asked for in one view alone has no answer in the other: that is not "empty"."""
    plan = finetuning_plan.Tuning(
        ("a0-A2-C", "a0-A4-C", "a1-A4-C"), BACKBONE, "unet", side=32, recipe=SHORT
    )
    work = TuningWork.of(plan, Settings(root=tree))
    answers = work.table.answers(np.arange(len(work.items)))
    other = np.array(["2CH" in item for item in work.items])
    assert not bool(answers[:, 0].isnan().any())
    assert bool(answers[other, 1].isnan().all())
    assert not bool(answers[~other, 1].isnan().any())
