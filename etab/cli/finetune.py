"""The command ``etab finetune``: results of backbones that are trained together with their head."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from etab.cli.options import (
    DataOption,
    DeviceOption,
    KeepMasksOption,
    PretrainedOption,
    RootOption,
    SkipBadOption,
)
from etab.cli.words import words

if TYPE_CHECKING:
    from etab.results import Result
    from etab.training.loop import Progress

# Seconds between two reports within an epoch.
_REPORT_EVERY = 20


class Wanted(NamedTuple):
    """The tasks, the protocol and the folder of the data to train on."""

    tasks: str
    protocol: str
    root: Path | None


HeadOption = Annotated[
    str | None,
    typer.Option(
        help="unet, segformer, fpn, ... for masks; linear, mlp, gru, ... for other tasks."
    ),
]
Tuned = Annotated[
    str,
    typer.Option(
        help="What is trained: finetune (the whole backbone), partial2 (its last 2 blocks), or, "
        "with --source, head."
    ),
]
Results = Annotated[
    Path,
    typer.Option(
        help="Folder for the result files; checkpoints go to <results>.training beside it."
    ),
]


def _check_tuning(tuning: str) -> None:
    from etab.errors import UnsupportedOptionError

    if not re.fullmatch(r"finetune|head|partial[1-9]\d*", tuning):
        raise UnsupportedOptionError(
            f"--tuning is {tuning!r}; possible: finetune (the whole backbone), partialN (its last "
            "N blocks, such as partial2), and head with --source."
        )


def finetune(
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Task codes or prefixes of codes, separated by commas. [default: a0,a1,a2, or all "
            "tasks of --data]"
        ),
    ] = None,
    backbones: Annotated[
        str,
        typer.Option(
            help="Names of backbones, separated by commas; NAME=ENCODER gives one a name of your "
            "own."
        ),
    ] = "mobilenetv2",
    pretrained_on: PretrainedOption = None,
    head: HeadOption = None,
    tuning: Tuned = "finetune",
    source: Annotated[
        str,
        typer.Option(help="Task to train the backbone on first, such as a0-A4-C (adaptation)."),
    ] = "",
    source_head: Annotated[
        str, typer.Option(help="Head for that task. [default: unet or linear]")
    ] = "",
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Protocol: official, cv5, official-10pct-d0, lists:FILE, ... "
            "[default: official; cv5 for data without an official split]"
        ),
    ] = None,
    together: Annotated[
        bool,
        typer.Option(
            "--together/--apart",
            help="Train one network for all mask tasks of a dataset, or one for each task.",
        ),
    ] = True,
    side: Annotated[
        int, typer.Option(min=32, help="Side of the frames (height of log-mel pictures) in pixels.")
    ] = 224,
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs.")] = 12,
    batch: Annotated[int, typer.Option(min=1, help="Number of frames in memory at once.")] = 16,
    accumulate: Annotated[
        int, typer.Option(min=1, help="Number of batches for one optimizer step.")
    ] = 1,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    optimizer: Annotated[str, typer.Option(help="Optimizer: adamw or sgd.")] = "adamw",
    patience: Annotated[
        int,
        typer.Option(
            min=0, help="Stop after this many epochs without a better validation loss; 0: never."
        ),
    ] = 5,
    augment: Annotated[
        str, typer.Option(help="Augmentation of the frames: clinical or none.")
    ] = "clinical",
    every: Annotated[
        int,
        typer.Option(
            min=0, help="Number of steps between checkpoints; 0: one at the end of each epoch."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training and the folds.")] = 0,
    root: RootOption = None,
    results: Results = Path("results"),
    device: DeviceOption = "cpu",
    precision: Annotated[
        str, typer.Option(help="Precision: auto, fp32 or bf16 (autocast).")
    ] = "auto",
    data: DataOption = None,
    skip_bad: SkipBadOption = False,
    keep_masks: KeepMasksOption = "all",
) -> None:
    """Train a backbone together with its head.

    An interrupted training goes on from its last checkpoint. For several processes or GPUs, use
    torchrun --nproc_per_node=2 -m etab finetune ...
    """
    from etab.cli.encoders import named_encoders, require_board_names
    from etab.finetuning import cells as tuned
    from etab.finetuning import plan
    from etab.results.masks import keep_named
    from etab.runs.data import tasks_at
    from etab.runs.run import Settings
    from etab.training.distributed import launched
    from etab.training.loop import Recipe

    _check_tuning(tuning)
    if data is None:
        codes = tasks or "a0,a1,a2"
        wanted = Wanted(codes, protocol or _usual_protocol(codes), root)
    else:
        wanted = own_wanted(data, tasks, protocol, root, results)
    recipe = Recipe(
        epochs=epochs,
        batch=batch,
        accumulate=accumulate,
        learning_rate=lr,
        patience=patience,
        every=every,
        optimizer=optimizer,
    )
    encoders = named_encoders(words(backbones) or [], pretrained=pretrained_on or (), twins=False)
    require_board_names(encoders)
    plans = plan.plan(
        tasks_at(wanted.tasks, wanted.root),
        encoders,
        head=head,
        tuning=tuning,
        protocol=wanted.protocol,
        together=together,
        seed=seed,
        side=side,
        augment=augment,
        recipe=recipe,
        source=source,
        source_head=source_head,
    )
    settings = Settings(
        root=wanted.root,
        results=results,
        data=data,
        device=device,
        precision=precision,
        skip_bad=skip_bad,
        keep_masks=keep_named(keep_masks),
    )
    first = launched()[0] == 0
    failures: list[str] = []

    def failed(name: str, reason: str) -> None:
        failures.append(f"{name} failed: {reason}")
        _say(failures[-1])

    for result in tuned.trainings(plans, settings, _watch() if first else None, failed):
        if first:
            sys.stdout.write(_line(result) + "\n")
    if failures:
        raise typer.Exit(1)


def _usual_protocol(codes: str) -> str:
    """Return the protocol of tasks for which none is named."""
    from etab.tasks.menu import find

    with_split = [task for task in find(codes) if "official" in task.protocols]
    return "official" if with_split else "cv5"


def own_wanted(
    data: Path, tasks: str | None, protocol: str | None, root: Path | None, results: Path
) -> Wanted:
    """Register a table of the user, and choose its tasks, protocol and folder.

    Args:
        data: The description of the table.
        tasks: The option ``--tasks``.
        protocol: The option ``--protocol``.
        root: The option ``--root``.
        results: The folder of results.
    """
    from etab.cli.run import own_data
    from etab.tasks.own import has_split, keep_description, use_results

    use_results(results)  # so that a code that another table has there is refused first
    own = own_data(data, root)
    keep_description(own, results, replace=False)
    codes = tasks or _tunable(own.name)
    usual = "official" if has_split(own) else "cv5"
    return Wanted(codes, protocol or usual, own.folder)


def _tunable(dataset: str) -> str:
    """The tasks of a dataset that a backbone can be trained on; every task where there is none."""
    from etab.finetuning.plan import not_tunable
    from etab.tasks.menu import find

    codes = [task.code for task in find(dataset) if not not_tunable(task)]
    return ",".join(codes) or dataset


def _line(result: Result) -> str:
    """A finished cell in one line."""
    cell = f"{result.task:12} {result.backbone} {result.protocol} {result.head}"
    interval = f"{result.low:.4f} to {result.high:.4f}"
    return f"{cell}: {result.metric} {result.value:.4f} ({interval})"


def _watch() -> Callable[[str, Progress], None]:
    """Report each epoch when it ends, and the current one every 20 seconds."""
    started = time.monotonic()
    last_epoch = 0
    last_time = 0.0

    def watch(name: str, progress: Progress) -> None:
        nonlocal last_epoch, last_time
        now = time.monotonic()
        if progress.epoch != last_epoch and progress.history:
            losses = progress.history[-1]
            _say(
                f"{name}: epoch {progress.epoch}, {now - started:.0f} s, "
                f"loss {losses['train']:.4f}, validation {losses['validation']:.4f} "
                f"(best {progress.best_loss:.4f})"
            )
        elif now - last_time > _REPORT_EVERY:
            mean_loss = progress.running / max(progress.rows, 1)
            _say(f"{name}: epoch {progress.epoch + 1}, step {progress.step}, loss {mean_loss:.4f}")
        else:
            return
        last_epoch = progress.epoch
        last_time = now

    return watch


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
