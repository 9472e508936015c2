"""The command ``etab finetune``: cells whose backbone is trained too."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etab.finetuning import plan

if TYPE_CHECKING:
    from etab.results import Result
    from etab.training.loop import Progress

Head = Annotated[
    str | None,
    typer.Option(help="unet, segformer, fpn, ... for masks; linear, mlp, gru, ... else."),
]
Tuned = Annotated[
    str,
    typer.Option(
        help="finetune (the whole backbone), partial2 (its last 2 blocks), or, after --source, head."
    ),
]
Root = Annotated[
    Path | None, typer.Option(help="The dataset's folder; else ETAB_<NAME>_DIR, ETAB_DATA, ...")
]
Results = Annotated[
    Path,
    typer.Option(help="Where the result files go; checkpoints lie beside it (<results>.training)."),
]


def finetune(
    tasks: Annotated[
        str, typer.Option(help="Codes or prefixes, with commas: a0,a1,a2.")
    ] = "a0,a1,a2",
    backbones: Annotated[str, typer.Option(help="Names with commas.")] = "mobilenetv2",
    head: Head = None,
    tuning: Tuned = "finetune",
    source: Annotated[
        str, typer.Option(help="Train the backbone on this task before: a0-A4-C (adaptation).")
    ] = "",
    source_head: Annotated[
        str, typer.Option(help="Head on that task. [default: unet or linear]")
    ] = "",
    protocol: Annotated[
        str, typer.Option(help="official, cv5, official-10pct-d0, ...")
    ] = "official",
    together: Annotated[
        bool,
        typer.Option(
            "--together/--apart", help="One network for the mask tasks of a data set, or one each."
        ),
    ] = True,
    side: Annotated[int, typer.Option(min=32, help="Side of the frames in pixels.")] = 224,
    epochs: Annotated[int, typer.Option(min=1)] = 12,
    batch: Annotated[int, typer.Option(min=1, help="Frames in memory at once.")] = 16,
    accumulate: Annotated[int, typer.Option(min=1, help="Batches to one step.")] = 1,
    lr: Annotated[float, typer.Option(help="Peak of the learning rate.")] = 1e-3,
    optimizer: Annotated[str, typer.Option(help="adamw or sgd.")] = "adamw",
    patience: Annotated[
        int, typer.Option(min=0, help="Epochs without a better validation loss; 0: never stop.")
    ] = 5,
    augment: Annotated[str, typer.Option(help="clinical or none.")] = "clinical",
    every: Annotated[
        int, typer.Option(min=0, help="Steps between checkpoints; 0: at the end of each epoch.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    root: Root = None,
    results: Results = Path("results"),
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16 (autocast).")] = "auto",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out recordings that cannot be read.")
    ] = False,
) -> None:
    """Train backbone and head together; an interrupted training goes on from its last checkpoint.

    Several processes or GPUs: torchrun --nproc_per_node=2 -m etab finetune ...
    """
    from etab.finetuning import cells as tuned
    from etab.runs.data import tasks_at
    from etab.runs.run import Settings
    from etab.training.distributed import launched
    from etab.training.loop import Recipe

    recipe = Recipe(
        epochs=epochs,
        batch=batch,
        accumulate=accumulate,
        learning_rate=lr,
        patience=patience,
        every=every,
        optimizer=optimizer,
    )
    plans = plan.plan(
        tasks_at(tasks, root),
        [w.strip() for w in backbones.split(",") if w.strip()],
        head=head,
        tuning=tuning,
        protocol=protocol,
        together=together,
        seed=seed,
        side=side,
        augment=augment,
        recipe=recipe,
        source=source,
        source_head=source_head,
    )
    settings = Settings(
        root=root, results=results, device=device, precision=precision, skip_bad=skip_bad
    )
    first = launched()[0] == 0
    for result in tuned.trainings(plans, settings, _watch() if first else None):
        sys.stdout.write(_line(result) if first else "")


def _line(r: Result) -> str:
    """A finished cell in one line."""
    return f"{r.task:12} {r.backbone} {r.protocol} {r.head}: {r.metric} {r.value:.4f} ({r.low:.4f} to {r.high:.4f})\n"


def _watch() -> Callable[[str, Progress], None]:
    """Say every epoch how the one before ended, and now and then where the current one is."""
    started, told = time.monotonic(), [0, 0.0]

    def watch(name: str, now: Progress) -> None:
        if now.epoch != told[0] and now.history:
            last = now.history[-1]
            _say(
                f"{name}: epoch {now.epoch}, {time.monotonic() - started:.0f} s, loss {last['train']:.4f}, "
                f"validation {last['validation']:.4f} (best {now.best_loss:.4f})"
            )
        elif time.monotonic() - told[1] > 20:
            _say(
                f"{name}: epoch {now.epoch + 1}, step {now.step}, loss {now.running / max(now.rows, 1):.4f}"
            )
        else:
            return
        told[:] = [now.epoch, time.monotonic()]

    return watch


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
