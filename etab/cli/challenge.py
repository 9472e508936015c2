"""The command ``etab challenge``: run an entry of somebody else, or write one from a result."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from etab.cli.options import JsonOption

if TYPE_CHECKING:
    from etab.challenges.limits import Limits

app = typer.Typer(
    no_args_is_help=True,
    help="Run an entry of a challenge, or write one.",
)

# Options that both challenges share.
EntryArgument = Annotated[Path | None, typer.Argument(help="The entry: a folder, .zip or .tar.gz.")]
_DataOption = Annotated[
    Path | None,
    typer.Option(help="The data as published. [default: ETAB_<NAME>_DIR, ETAB_DATA, ...]"),
]
FromOption = Annotated[
    list[Path],
    typer.Option(
        "--from",
        help="Write an entry from this result (.json) instead of running one. circor2022 takes two "
        "results, one for murmur and one for outcome.",
    ),
]
OutOption = Annotated[
    Path, typer.Option(help="Folder for the answers. A run that was stopped resumes from it.")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(help="With --from: the probability at or above which the answer is abnormal."),
]
MemoryOption = Annotated[
    int | None,
    typer.Option(
        min=16, help="Memory that the entry may use, in MiB. [default: that of the challenge]"
    ),
]
DiskOption = Annotated[
    int | None,
    typer.Option(min=1, help="MiB that the entry may write. [default: that of the challenge]"),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        "--yes",
        help="Allow the entry's program to run. Without bubblewrap it runs with your rights.",
    ),
]
NoSandboxOption = Annotated[
    bool,
    typer.Option(
        "--no-sandbox",
        help="Run the program outside bubblewrap, if it needs the network or a licence.",
    ),
]
_WITH_FROM = "only with --from: an entry decides by itself"
_WITH_ENTRY = "only with an ENTRY: --from runs nothing"
_WITHOUT_HOLD_OUT = "only without --hold-out: one folder is trained on, the other answered"


class _Outcome(Protocol):
    """The outcome of a challenge, which prints as text and as JSON."""

    def render(self) -> str:
        """Some lines of text."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        ...


@app.command("cinc2016")
def cinc2016_command(
    entry: EntryArgument = None,
    data: _DataOption = None,
    result: FromOption = [],  # noqa: B006
    out: OutOption = Path("challenge"),
    part: Annotated[
        str, typer.Option(help="The records to answer: validation, training-a, ...")
    ] = "validation",
    threshold: ThresholdOption = None,
    unsure: Annotated[
        str | None,
        typer.Option(
            help="With --from: LOW,HIGH. Between these probabilities the answer is unsure."
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="Time limit of next.sh for one record, in seconds. [default: 40]"),
    ] = None,
    setup_seconds: Annotated[
        float | None, typer.Option(help="Time limit of setup.sh in seconds. [default: 300]")
    ] = None,
    memory: MemoryOption = None,
    disk: DiskOption = None,
    trust: TrustOption = False,
    no_sandbox: NoSandboxOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run an entry of CinC 2016 and compare its answers with those it ships.

    The answers are scored by both rules. The exit status is 1 if they differ.
    """
    from etab.challenges import cinc2016 as challenge
    from etab.challenges.export import export_cinc2016
    from etab.challenges.safety import require_trust
    from etab.cli import show
    from etab.datasets.paths import dataset_folder

    _require_one_source(entry, result)
    if entry is None:
        _refuse_idle(
            _WITH_ENTRY,
            seconds=seconds,
            setup_seconds=setup_seconds,
            memory=memory,
            disk=disk,
            trust=trust,
            no_sandbox=no_sandbox,
        )
        _require_one_result(result)
        written = export_cinc2016(
            result[0],
            out,
            data=data,
            part=part,
            threshold=threshold,
            unsure=_two_numbers(unsure),
        )
        _print(written, as_json)
        return
    _refuse_idle(_WITH_FROM, threshold=threshold, unsure=unsure)
    require_trust(trust)
    root = dataset_folder("cinc2016", data)
    with show.bar("records") as progress:
        done = challenge.run_cinc2016(
            entry,
            root,
            out,
            trust=trust,
            part=part,
            progress=progress,
            setup=_limits(challenge.SETUP_LIMITS, setup_seconds, memory, disk),
            record=_limits(challenge.RECORD_LIMITS, seconds, memory, disk),
            use_sandbox=not no_sandbox,
        )
    _print(done, as_json)
    raise typer.Exit(0 if done.ok else 1)


@app.command("circor2022")
def circor2022_command(
    entry: EntryArgument = None,
    data: _DataOption = None,
    result: FromOption = [],  # noqa: B006
    out: OutOption = Path("challenge"),
    hold_out: Annotated[
        Path | None,
        typer.Option(help="Train on all of --data and predict the patients in this folder."),
    ] = None,
    n_fold: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Number of folds (without --hold-out); each person is in one fold. [default: 5]",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the folds. [default: 0]")] = None,
    threshold: ThresholdOption = None,
    python: Annotated[
        str | None, typer.Option(help="Interpreter for both scripts. [default: this one]")
    ] = None,
    train_seconds: Annotated[
        float | None,
        typer.Option(help="Time limit of train_model.py in seconds. [default: 72 h]"),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Time limit of run_model.py in seconds. [default: 24 h]")
    ] = None,
    memory: MemoryOption = None,
    disk: DiskOption = None,
    trust: TrustOption = False,
    no_sandbox: NoSandboxOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train an entry of the Challenge 2022 and score it on people it was not trained on."""
    from etab.challenges import circor2022 as challenge
    from etab.challenges.export import export_circor2022
    from etab.challenges.safety import require_trust
    from etab.cli import show
    from etab.datasets.paths import dataset_folder

    _require_one_source(entry, result)
    if entry is None:
        _refuse_idle(
            _WITH_ENTRY,
            hold_out=hold_out,
            n_fold=n_fold,
            seed=seed,
            python=python,
            train_seconds=train_seconds,
            seconds=seconds,
            memory=memory,
            disk=disk,
            trust=trust,
            no_sandbox=no_sandbox,
        )
        _print(export_circor2022(result, out, data=data, threshold=threshold), as_json)
        return
    _refuse_idle(_WITH_FROM, threshold=threshold)
    if hold_out is not None:
        _refuse_idle(_WITHOUT_HOLD_OUT, n_fold=n_fold, seed=seed)
    require_trust(trust)
    root = dataset_folder("circor", data)
    with show.bar("folds") as progress:
        done = challenge.run_circor2022(
            entry,
            root,
            out,
            trust=trust,
            hold_out=hold_out,
            n_fold=n_fold or 5,
            seed=seed or 0,
            progress=progress,
            train=_limits(challenge.TRAIN_LIMITS, train_seconds, memory, disk),
            answer=_limits(challenge.RUN_LIMITS, seconds, memory, disk),
            python=challenge.find_python(python or sys.executable),
            use_sandbox=not no_sandbox,
        )
    _print(done, as_json)


def _require_one_source(entry: Path | None, results: list[Path]) -> None:
    from etab.errors import UnsupportedOptionError

    if (entry is None) == (not results):
        raise UnsupportedOptionError(
            "Name an ENTRY to run, or a result with --from; one of them, not both."
        )


def _require_one_result(results: list[Path]) -> None:
    from etab.errors import UnsupportedOptionError

    if len(results) != 1:
        raise UnsupportedOptionError(
            f"--from names {len(results)} results; answers.txt is written from one."
        )


def _refuse_idle(when: str, **options: object) -> None:
    """Refuse options that would have no effect; ``when`` says when they have one."""
    from etab.errors import UnsupportedOptionError

    for name, value in options.items():
        if value is not None and value is not False:
            raise UnsupportedOptionError(f"--{name.replace('_', '-')} works {when}. Leave it out.")


def _limits(base: Limits, seconds: float | None, memory: int | None, disk: int | None) -> Limits:
    changes: dict[str, Any] = {"seconds": seconds, "memory": memory, "disk": disk}
    return replace(base, **{name: value for name, value in changes.items() if value is not None})


def _two_numbers(text: str | None) -> tuple[float, float] | None:
    from etab.errors import UnsupportedOptionError

    if text is None:
        return None
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        raise UnsupportedOptionError(
            f"--unsure is {text!r}; wanted two numbers: 0.4,0.6."
        ) from None
    return low, high


def _print(outcome: _Outcome, as_json: bool) -> None:
    text = json.dumps(outcome.as_dict(), indent=2) if as_json else outcome.render()
    sys.stdout.write(text + "\n")
