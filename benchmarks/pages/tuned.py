"""The page of fine-tuning, from the result files in ``benchmarks/results_finetune`` beside the frozen linear probe's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etab.results import Result, load_results
from etab.tasks.menu import TASKS
from etab.tasks.protocols import parse

BENCHMARKS = Path(__file__).resolve().parents[1]
_INTRO = """A frozen backbone says what its pretraining has learned; fine-tuned, what a researcher would get from it. The two
have protocols of their own and never share a leaderboard:

| protocol | what of the backbone is trained |
|---|---|
| `official`, `cv5`, `official-10pct-d0`, ... | nothing (`etab run`) |
| `official-finetune`, `cv5-finetune`, ... | all of it (`etab finetune`) |
| `official-partial2`, ... | its last 2 blocks and what follows them (`etab finetune --tuning partial2`) |
| `official-finetune-from:a0-A4-C`, ... | all of it, on `a0-A4-C` first (`--source a0-A4-C`), then on the cell's task |
| `official-head-from:a0-A4-C`, ... | nothing more than on `a0-A4-C`: a new head on the backbone it left (`--tuning head`) |

`etab leaderboard <results> --protocol official-finetune` ranks cells of one protocol. From Python: `etab.finetuning.plan.plan(...)`
and `etab.finetuning.cells.execute(plan, settings)`.

## How it trains

* One loop (`etab.training.loop`): AdamW or SGD, warm-up and cosine, gradient accumulation, bf16 autocast where the processor has
  it (weights and their updates stay fp32). The authors' validation part (or the first inner part of a fold) says when to stop
  and at which level masks are cut. The fine-tuned network is not trained again with it (`settings["refit"]` is false in its
  results); decoders on frozen maps are, on all training patients for the number of epochs that was chosen.
* The mask tasks of a data set train as one network, with an output a structure and the frames of every view (`--together`,
  the default; `settings["trained_with"]` names them); `--apart` trains one each. Other answers (EF, view, ED or ES) always
  train apart, with a head on the pooled maps.
* `--augment clinical` (the default): the probe tilts by up to 10 degrees about the apex of the sector, depth, place and
  proportions change a little; gain, gain over depth, contrast and speckle change, inside the sector alone. Nothing is
  mirrored, since left and right are anatomy. `--augment none` leaves frames as they are.
* Heart sounds (f0, f1, f2, f3, e1): a network for images reads log-mel pictures. A window of 5 s is `--side` pixels high and
  two and a half times as wide; it is drawn anew in each epoch, at another level, with background noise and with a stretch of
  bands and of time silenced (`--augment clinical`). A recording that is tested has the mean over its windows, and patients
  are joined as on the board. The validation part chooses how scores become classes. States (e0) have a trained head of
  their own, `etab run --head state_unet`.
* Checkpoints lie beside the results (`<results>.training/`, `--every N` steps): an interrupted command goes on when it is
  given again, to the same bytes. One of another recipe, data, weights or architecture is refused with what differs.
* SGD with Nesterov's momentum (`--optimizer sgd`) beside AdamW; `--accumulate N` batches make one step. Both resume alike.
* Several processes or GPUs train one network: `torchrun --nproc_per_node=2 -m etab finetune ...` (torch.distributed; gloo on
  processors, NCCL with `--device cuda`). The steps are the same: their rows are shared, `--batch` at once in each
  process, so that two processes with `--batch 8 --accumulate 2` do what one with the same options does (batch norm hears 8
  frames in both; its running statistics are those of the first process). The first process writes checkpoints and results,
  and an interrupted training goes on with as many processes as before.
* A batch that does not fit memory is halved with a message, in every process where it does not fit one; a loss that is not
  finite stops with its step and leaves the last good state.
"""


def page(note: str) -> str:
    """The whole page."""
    return "\n".join(["# Fine-tuning\n", note, _INTRO, *_measured()])


def _measured() -> list[str]:
    every = load_results(BENCHMARKS / "results_finetune")
    found = [r for r in every if TASKS[r.task].dataset == "camus"]
    if not found:
        return []
    tasks = sorted({r.task for r in found})
    known = {(r.task, r.backbone) for r in found}
    frozen = [
        r
        for r in load_results(BENCHMARKS / "results")
        if r.protocol == "official" and r.head == "linear_seg" and (r.task, r.backbone) in known
    ]
    out = [
        "## Measured on CAMUS (official test part, 50 patients)\n",
        "Dice with its 95 % interval over patients. Seconds are of one processor core beside other work: of one cell, or, "
        "where the backbone is trained, of the whole training that gave all of its tasks.\n",
    ]
    if any(r.settings.get("head_version") == 3 for r in found if not parse(r.protocol).tuning):
        out.append(
            "Decoders on frozen maps are of version 3 here: three rates for six epochs. Since version 4 they train until they stop "
            "gaining, over rates that bracket the best, and the last training ends where validation says; these cells were not made "
            "again, so that what training the backbone adds is overstated.\n"
        )
    for task in tasks:
        out += [
            f"### {task}\n",
            "| backbone | head | trained | dice | 95 % | seconds |",
            "|---|---|---|---|---|---|",
        ]
        mine = sorted([r for r in [*frozen, *found] if r.task == task], key=lambda r: -r.value)
        out += [_line(r) for r in mine] + [""]
    processors = sorted({str(r.provenance.get("processor", "")) for r in found})
    return [
        *out,
        f"Made on {', '.join(processors)} by\n",
        *_tuned_commands(found),
        "",
        *_frozen_commands(found),
    ]


def _line(r: Result) -> str:
    how = parse(r.protocol)
    trained = {"": "head", "finetune": "backbone and head", "head": "head"}.get(
        how.tuning, f"head and last {how.blocks} blocks"
    )
    trained = f"{trained}, first on {how.source}" if how.source else trained
    return (
        f"| {r.backbone} | {r.head} | {trained} | {r.value:.4f} | {r.low:.4f} to {r.high:.4f} | "
        f"{r.provenance.get('seconds', float('nan')):.1f} |"
    )


def _tuned_commands(found: Sequence[Result]) -> list[str]:
    """The commands that trained backbones, from what the results say of themselves."""
    tuned = [
        r for r in found if parse(r.protocol).tuning == "finetune" and not parse(r.protocol).source
    ]
    lines = []
    for r in tuned:
        codes = r.settings.get("trained_with") or [r.task]
        recipe = r.settings["recipe"]
        lines.append(
            f"    etab finetune --root <CAMUS> --tasks {_asked(codes)} --backbones {r.backbone} --head {r.head} "
            f"--side {r.settings['size']} --epochs {recipe['epochs']} --batch {recipe['batch']} "
            f"--lr {recipe['learning_rate']:g} --patience {recipe['patience']} "
            "--results benchmarks/results_finetune"
        )
    return list(dict.fromkeys(lines))


def _asked(codes: Sequence[str]) -> str:
    """These codes as one would ask for them: by their prefixes where every view is there."""
    prefixes = sorted({code.split("-")[0] for code in codes})
    whole = {f"{prefix}-{view}-C" for prefix in prefixes for view in ("A2", "A4")} == set(codes)
    return ",".join(prefixes if whole else codes)


def _frozen_commands(found: Sequence[Result]) -> list[str]:
    heads: dict[tuple[str, str], list[str]] = {}
    for r in sorted(
        (r for r in found if not parse(r.protocol).tuning),
        key=lambda r: (r.backbone, r.head, r.task),
    ):
        heads.setdefault((r.backbone, r.head), []).append(r.task)
    if not heads:
        return []
    lines = [
        f"    etab run --root <CAMUS> --tasks {_asked(codes)} --protocol official --backbones {b} --head {h} "
        "--results benchmarks/results_finetune"
        for (b, h), codes in heads.items()
    ]
    return ["and the heads on frozen maps by\n", *lines, ""]
