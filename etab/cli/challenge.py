"""The command ``etab challenge``: run entries of other people under their challenge's rules, or write one from a result."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from etab.challenges.limits import Limits

app = typer.Typer(
    no_args_is_help=True,
    help="Run an entry of a challenge as its rules say, or write one from a result.",
)

Entry = Annotated[Path | None, typer.Argument(help="The entry: a folder, .zip or .tar.gz.")]
Data = Annotated[
    Path | None, typer.Option(help="The data as published; else ETAB_<NAME>_DIR, ETAB_DATA, ...")
]
Out = Annotated[
    Path, typer.Option(help="Folder for the answers; a run that was stopped goes on there.")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", "--yes", help="Run the entry's code with your rights; there is no sandbox."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Memory = Annotated[
    int | None, typer.Option(min=16, help="MiB of memory; default: that of the challenge.")
]
Disk = Annotated[
    int | None, typer.Option(min=1, help="MiB that may be written; default: that of the challenge.")
]
Threshold = Annotated[
    float | None, typer.Option(help="With --from: abnormal from this probability on.")
]
_FROM = "with --from alone: an entry decides by itself"
_ENTRY = "with an ENTRY alone: --from runs nothing"
_FOLDS = "without --hold-out alone: one folder is trained on, the other answered"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _limits(base: Limits, seconds: float | None, memory: int | None, disk: int | None) -> Limits:
    given = {"seconds": seconds, "memory": memory, "disk": disk}
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return replace(base, **changed)


def _one_of(entry: Path | None, results: list[Path]) -> None:
    from etab.errors import UnsupportedOptionError

    if (entry is None) == (not results):
        raise UnsupportedOptionError(
            "Name an ENTRY to run, or a result with --from; one of them, not both."
        )


@app.command("cinc2016")
def cinc2016(
    entry: Entry = None,
    data: Data = None,
    result: Annotated[
        list[Path],
        typer.Option("--from", help="Write answers.txt from this result (.json) instead."),
    ] = [],  # noqa: B006
    out: Out = Path("challenge"),
    part: Annotated[
        str, typer.Option(help="Which records: validation, training-a, ...")
    ] = "validation",
    threshold: Threshold = None,
    unsure: Annotated[
        str | None, typer.Option(help="With --from: LOW,HIGH; answer unsure between these.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Limit of next.sh a record. [default: 40]")
    ] = None,
    setup_seconds: Annotated[
        float | None, typer.Option(help="Limit of setup.sh. [default: 300]")
    ] = None,
    memory: Memory = None,
    disk: Disk = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Run a 2016 entry on the validation copies, compare with its own answers, and score it. Exit status 1 if they differ."""
    from etab.challenges import cinc2016 as challenge
    from etab.challenges import export as challenge_from
    from etab.cli import show
    from etab.datasets.paths import folder

    _one_of(entry, result)
    if entry is None:
        _idle(
            _ENTRY,
            seconds=seconds,
            setup_seconds=setup_seconds,
            memory=memory,
            disk=disk,
            trust=trust,
        )
        made = challenge_from.write_cinc2016(
            _only(result), out, data=data, part=part, threshold=threshold, unsure=_pair(unsure)
        )
        _told(made, as_json)
        return
    _idle(_FROM, threshold=threshold, unsure=unsure)
    challenge.require_trust(trust)
    root = folder("cinc2016", data)
    with show.bar("records") as advance:
        done = challenge.run_cinc2016(
            entry,
            root,
            out,
            trust=trust,
            part=part,
            progress=advance,
            setup=_limits(challenge.SETUP, setup_seconds, memory, disk),
            record=_limits(challenge.RECORD, seconds, memory, disk),
        )
    _told(done, as_json)
    raise typer.Exit(0 if done.ok else 1)


@app.command("circor2022")
def circor2022(
    entry: Entry = None,
    data: Data = None,
    result: Annotated[
        list[Path],
        typer.Option("--from", help="Write the csv files from two results, of murmur and outcome."),
    ] = [],  # noqa: B006
    out: Out = Path("challenge"),
    hold_out: Annotated[
        Path | None, typer.Option(help="Train on all of --data, answer this folder.")
    ] = None,
    n_fold: Annotated[
        int | None, typer.Option(min=2, help="Folds of people, without --hold-out. [default: 5]")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Decides the folds. [default: 0]")] = None,
    threshold: Threshold = None,
    python: Annotated[
        str | None, typer.Option(help="Interpreter to run the scripts with. [default: this one]")
    ] = None,
    train_seconds: Annotated[
        float | None, typer.Option(help="Limit of train_model.py. [default: 72 h]")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Limit of run_model.py. [default: 24 h]")
    ] = None,
    memory: Memory = None,
    disk: Disk = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Train and run a 2022 entry on people it has not seen, and score its outputs."""
    from etab.challenges import cinc2016 as challenge
    from etab.challenges import circor2022 as challenge_circor
    from etab.challenges import export as challenge_from
    from etab.cli import show
    from etab.datasets.paths import folder

    _one_of(entry, result)
    if entry is None:
        _idle(
            _ENTRY,
            hold_out=hold_out,
            n_fold=n_fold,
            seed=seed,
            python=python,
            train_seconds=train_seconds,
            seconds=seconds,
            memory=memory,
            disk=disk,
            trust=trust,
        )
        _told(challenge_from.write_circor2022(result, out, data=data, threshold=threshold), as_json)
        return
    _idle(_FROM, threshold=threshold)
    if hold_out is not None:
        _idle(_FOLDS, n_fold=n_fold, seed=seed)
    challenge.require_trust(trust)
    root = folder("circor", data)
    with show.bar("folds") as advance:
        done = challenge_circor.run_circor2022(
            entry,
            root,
            out,
            trust=trust,
            hold_out=hold_out,
            n_fold=n_fold or 5,
            seed=seed or 0,
            progress=advance,
            train=_limits(challenge_circor.TRAIN, train_seconds, memory, disk),
            answer=_limits(challenge_circor.RUN, seconds, memory, disk),
            python=challenge_circor.check_python(python or sys.executable),
        )
    _told(done, as_json)


def _only(results: list[Path]) -> Path:
    from etab.errors import UnsupportedOptionError

    if len(results) != 1:
        raise UnsupportedOptionError(
            f"--from names {len(results)} results; answers.txt is written from one."
        )
    return results[0]


def _idle(when: str, **options: object) -> None:
    """Refuse options that have nothing to act on: given ones (neither None nor False); ``when`` says when they act."""
    from etab.errors import UnsupportedOptionError

    given = [
        name.replace("_", "-")
        for name, value in options.items()
        if value is not None and value is not False
    ]
    if given:
        raise UnsupportedOptionError(f"--{given[0]} acts {when}. Leave it out.")


def _told(done: Any, as_json: bool) -> None:
    _say(json.dumps(done.as_dict(), indent=2) if as_json else done.render())


def _pair(text: str | None) -> tuple[float, float] | None:
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
