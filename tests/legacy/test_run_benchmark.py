"""``run_benchmark.py``: the flags of 2022 mean what they say."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("segmentation_models_pytorch")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("run_benchmark", ROOT / "run_benchmark.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cohort(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


@pytest.mark.parametrize(
    ("words", "frozen"),
    [
        (["--freeze_backbone", "False"], False),
        (["--freeze_backbone", "false"], False),
        (["--freeze_backbone", "0"], False),
        (["--freeze_backbone", "True"], True),
        (["--freeze_backbone"], True),
        ([], False),
    ],
)
def test_false_means_false(script: Any, words: list[str], frozen: bool) -> None:
    assert script.parser().parse_args(words).freeze_backbone is frozen


def test_the_documented_commands_are_read(script: Any) -> None:
    args = script.parser().parse_args(
        [
            "--source_task",
            "a0-A4-E",
            "--target_task",
            "a1-A2-C",
            "--backbone",
            "ResNet-50",
            "--head",
            "U-Net",
            "--freeze_backbone",
            "False",
            "--train_frac",
            "0.6",
            "--val_frac",
            "0.1",
            "--lr",
            "0.001",
            "--epochs",
            "100",
            "--batch",
            "32",
            "--nsample",
            "100",
            "--source_head",
            "None",
            "--target_head",
            "SegFormer",
        ]
    )
    assert (args.train_frac, args.val_frac, args.lr, args.epochs, args.batch, args.nsample) == (
        0.6,
        0.1,
        0.001,
        100,
        32,
        100,
    )
    assert (args.source_task, args.target_task, args.source_head, args.target_head) == (
        "a0-A4-E",
        "a1-A2-C",
        None,
        "SegFormer",
    )
    assert script.parser().parse_args(["--train", "0.5", "--val", "0.2"]).train_frac == 0.5


@pytest.mark.parametrize(
    "words", [["--freeze_backbone", "maybe"], ["--tasks", "a0"], ["--lr", "x"]]
)
def test_other_words_are_refused(
    script: Any, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        script.main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err


def test_one_task(
    script: Any, cohort: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [
        "--task",
        "a0-A4-C",
        "--backbone",
        "MobileNet-V3-Small",
        "--head",
        "U-Net",
        "--freeze_backbone",
        "True",
        "--val_frac",
        "0.2",
        "--epochs",
        "2",
        "--batch",
        "4",
        "--nsample",
        "8",
        "--side",
        "32",
        "--root",
        str(cohort),
        "--ckpt_dir",
        str(tmp_path / "kept"),
        "--optimizer",
        "sgd",
        "--accumulate",
        "2",
        "--augment",
        "clinical",
    ]
    assert script.main(words) == 0
    state = json.loads(next((tmp_path / "kept").glob("*/state.json")).read_text())["identity"]
    assert (state["optimizer"], state["accumulate"], state["augment"]) == ("sgd", 2, "clinical")
    out = capsys.readouterr().out
    assert "backbone frozen" in out
    assert "Epoch: 2/2" in out
    assert 0 <= float(out.split("score on a0-A4-C: ")[1].split()[0]) <= 1
    assert len(list((tmp_path / "kept").glob("*/state.json"))) == 1


def test_adaptation_takes_the_trained_backbone_along(
    script: Any, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from etab.legacy import benchmark as benchmarks

    seen: list[Any] = []
    real = benchmarks.ETABBenchmark.run

    def run(self: Any, *args: Any, **more: Any) -> None:
        state = {k: v.clone() for k, v in self.model.backbone.state_dict().items()}
        real(self, *args, **{**more, "verbose": False})
        seen.append(
            (
                state,
                {k: v.clone() for k, v in self.model.backbone.state_dict().items()},
                self.model.head_name,
            )
        )

    monkeypatch.setattr(benchmarks.ETABBenchmark, "run", run)
    args = script.parser().parse_args(
        [
            "--source_task",
            "a0-A4-C",
            "--target_task",
            "d0-A2-C",
            "--backbone",
            "MobileNet-V3-Small",
            "--source_head",
            "FPN",
            "--target_head",
            "MLP",
            "--freeze_backbone",
            "False",
            "--train_frac",
            "0.4",
            "--val_frac",
            "0.1",
            "--epochs",
            "1",
            "--batch",
            "4",
            "--side",
            "32",
            "--root",
            str(cohort),
        ]
    )
    scores = script.run(args)
    assert len(scores) == 2
    (first, trained, head), (start, end, other) = seen
    assert (head, other) == ("FPN", "MLP")
    assert any(not torch.equal(first[k], trained[k]) for k in first)
    assert all(torch.equal(trained[k], start[k]) for k in start)
    assert any(not torch.equal(start[k], end[k]) for k in start)


def test_what_cannot_be_done_is_said(
    script: Any, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--root", str(cohort), "--side", "32"]
    for words, said in (
        (["--backbone", "UniFormer-S"], "caformer"),
        (["--task", "a0-A9-C"], "task"),
        (["--task", "b0-A4-C", "--head", "U-Net"], "regression"),
        (["--nsample", "999"], "recordings"),
    ):
        full = words if "--task" in words else ["--task", "a0-A4-C", *words]
        full = full if "--backbone" in words else [*full, "--backbone", "MobileNet-V3-Small"]
        assert script.main([*full, *more]) == 1
        assert said in capsys.readouterr().err
