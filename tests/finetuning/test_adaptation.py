"""Adaptation: a backbone trained on one task, taken to another with a new head, as cells of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from etab.cli.main import app
from etab.errors import (
    IncompatibleError,
    ResultError,
    SplitError,
    UnknownNameError,
    UnsupportedOptionError,
)
from etab.finetuning import cells as tuned
from etab.finetuning import plan
from etab.finetuning.work import TuningWork
from etab.results import Result, load_results
from etab.runs.run import Settings
from etab.tasks.protocols import parse
from etab.training.loop import Progress, Recipe
from etab.types import Kind

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")

BACKBONE = "random/efficientnet_lite0"
SHORT = Recipe(epochs=1, batch=8, learning_rate=2e-3, patience=0)


@pytest.fixture(scope="module")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"], patients=20) / "camus"


def planned(task: str = "b0-A4-C", **more: Any) -> plan.Tuning:
    options = {"side": 32, "recipe": SHORT, "source": "a0-A4-C", "source_head": "linear", **more}
    (found,) = plan.plan(task, [BACKBONE], **options)
    return found


@pytest.fixture(scope="module")
def adapted(
    tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Result, Settings, list[str]]:
    """One cell, and which training said each step."""
    settings, seen = (
        Settings(root=tree, results=tmp_path_factory.mktemp("r") / "out", precision="fp32"),
        [],
    )
    (result,) = tuned.execute(planned(), settings, watch=lambda name, now: seen.append(name))
    return result, settings, seen


@pytest.mark.parametrize(
    "name",
    [
        "official-finetune-from:a0-A4-C",
        "cv5-partial2-from:b0-A4-E",
        "official-10pct-d1-head-from:c0-AX-C",
    ],
)
def test_names_say_the_source_and_mean_the_same_splits(name: str) -> None:
    how, plain = (
        parse(name),
        parse(name.split("-finetune")[0].split("-partial")[0].split("-head")[0]),
    )
    assert how.name == name
    assert how.source == name.split(":")[1]
    assert plain.source == ""
    assert how.blocks == {"finetune": None, "partial2": 2, "head": 0}[how.tuning]
    assert (how.sort, how.n_fold, how.percent) == (plain.sort, plain.n_fold, plain.percent)


@pytest.mark.parametrize(
    "name", ["official-head", "official-from:a0-A4-C", "official-finetune-from:a0", "cv5-head-d0"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(IncompatibleError, match="-head-from:a0-A4-C"):
        parse(name)


@pytest.mark.slow
def test_a_cell_says_its_source_and_stands_apart(adapted: Any) -> None:
    result, settings, seen = adapted
    assert result.protocol == "official-finetune-from:a0-A4-C"
    assert (result.task, result.head, result.metric) == ("b0-A4-C", "linear", "mae")
    assert result.phantom
    assert result.settings["source"] == ["a0-A4-C", "linear"]
    assert result.settings["source_data"] == result.data_digest
    assert result.folds[0]["choice"]["source_epoch"] == 1
    assert [*dict.fromkeys(seen)] == [
        f"{BACKBONE} official-finetune linear a0-A4-C s0",
        f"{BACKBONE} official-finetune-from:a0-A4-C linear linear b0-A4-C s0",
    ]
    plain = replace(planned(), protocol="official-finetune", source_head="")
    assert tuned.finished(plain, settings) is None, "the adapted cell is taken for a plain one"
    assert tuned.finished(planned(), settings) == [result]
    with pytest.raises(ResultError, match=r"different.*source"):
        tuned.finished(planned(source_head="topformer"), settings)


@pytest.mark.slow
def test_the_source_is_trained_once_for_all_targets_and_the_backbone_is_taken_along(
    adapted: Any,
) -> None:
    """Kept by the tuning "head", the backbone is what the source's training left, which is read and not done again."""
    _, settings, _ = adapted
    work = TuningWork.of(planned("b1-A4-C", tuning="head"), settings)
    seen: list[str] = []
    network, _, choice = work.fitted(0, lambda name, now: seen.append(name))
    assert set(seen) == {f"{BACKBONE} official-head-from:a0-A4-C linear linear b1-A4-C s0"}
    assert not [p for p in network.body.parameters() if p.requires_grad]
    assert work.before is not None
    source, _, _ = work.before.fitted(
        0, lambda name, now: pytest.fail("the source is trained again")
    )
    fresh = TuningWork.of(
        plan.plan("a0-A4-C", [BACKBONE], head="linear", side=32, recipe=SHORT)[0], settings
    )
    first = fresh._network(0, fresh.splits[0]).body.state_dict()
    mine, theirs = network.body.state_dict(), source.body.state_dict()
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    assert any(not torch.equal(mine[k], first[k]) for k in mine)
    assert choice["adapted"] == work.trained["adapted"]


@pytest.mark.slow
def test_finetuning_begins_where_the_source_ended(adapted: Any, tmp_path: Path) -> None:
    """With a rate too small to move it, the backbone that is fine-tuned further is the source's."""
    _, settings, _ = adapted
    work = TuningWork.of(planned("b1-A4-C"), replace(settings, results=tmp_path / "out"))
    source, done, _ = TuningWork.of(planned("b1-A4-C").origin, settings).fitted(0, None)  # type: ignore[arg-type]
    work.trained["body"], work.trained["adapted"] = source.body.state_dict(), "here"
    network = work._network(0, work.splits[0])
    assert all(
        torch.equal(v, source.body.state_dict()[k]) for k, v in network.body.state_dict().items()
    )
    assert all(p.requires_grad for p in network.body.parameters())
    assert network.kind is Kind.BINARY
    assert done.epoch == 1


def test_who_the_source_trained_on_is_never_tested(adapted: Any) -> None:
    _, settings, _ = adapted
    work = TuningWork.of(planned("b1-A4-C"), settings)
    assert work.before is not None
    mine, source = work.splits[0], work.before.splits[0]
    patient = str(work.patients[mine.test[0]])
    where = np.flatnonzero(work.before.patients == patient)
    work.before.splits[0] = replace(source, train=np.concatenate([source.train, where]))
    with pytest.raises(SplitError, match=rf"{patient} .*source task and tested"):
        work.refuse_leaks()
    work.before.splits[0] = replace(source, name="fold7")
    with pytest.raises(SplitError, match="has no split 'official'"):
        work.refuse_leaks()


@pytest.mark.parametrize("n_fold", [2, 3])
def test_folds_of_source_and_target_are_of_the_same_patients(adapted: Any, n_fold: int) -> None:
    work = TuningWork.of(planned("b1-A4-C", protocol=f"cv{n_fold}"), adapted[1])
    assert work.before is not None
    for a, b in zip(work.splits, work.before.splits, strict=True):
        assert set(work.patients[a.test]) == set(work.before.patients[b.test])


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"task": "a0-A4-C"}, IncompatibleError, "adapted to itself"),
        ({"source": "", "tuning": "head", "source_head": ""}, IncompatibleError, "-head-from"),
        ({"source": ""}, UnsupportedOptionError, "has no effect without a source task"),
        ({"source": "a9-A4-C"}, UnknownNameError, "a9-A4-C"),
        ({"source_head": "mlp"}, IncompatibleError, "LV_seg"),
        ({"source": "b0-A4-E>C"}, IncompatibleError, "No protocol is called"),
    ],
)
def test_what_cannot_be_adapted_is_refused_before_anything_is_read(
    options: dict[str, Any], error: Any, said: str
) -> None:
    with pytest.raises(error, match=said):
        planned(**options)


@pytest.mark.slow
def test_the_command(tree: Path, adapted: Any, tmp_path: Path) -> None:
    words = [
        "finetune",
        "--root",
        str(tree),
        "--tasks",
        "b0-A4-C",
        "--backbones",
        BACKBONE,
        "--side",
        "32",
        "--epochs",
        "1",
        "--batch",
        "8",
        "--lr",
        "2e-3",
        "--patience",
        "0",
        "--source",
        "a0-A4-C",
        "--source-head",
        "linear",
        "--precision",
        "fp32",
        "--results",
        str(tmp_path / "r"),
    ]
    out = CliRunner().invoke(app, words, catch_exceptions=False)
    assert out.exit_code == 0
    assert "b0-A4-C" in out.output
    assert "official-finetune-from:a0-A4-C linear: mae" in out.output
    assert [r.identity() for r in load_results(tmp_path / "r")] == [adapted[0].identity()]


@pytest.mark.slow
def test_interrupted_in_either_training_it_goes_on(adapted: Any, tmp_path: Path) -> None:
    result, settings, _ = adapted
    mine = replace(settings, results=tmp_path / "out")
    often = planned(recipe=replace(SHORT, every=1))
    stops = [
        lambda name, now: "from" not in name and now.step == 2,
        lambda name, now: "from" in name,
    ]

    def watch(name: str, now: Progress) -> None:
        if stops and stops[0](name, now):
            stops.pop(0)
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tuned.execute(often, mine, watch=watch)
    assert [r.identity() for r in tuned.execute(often, mine)] == [result.identity()]
