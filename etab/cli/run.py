"""The command ``etab run``: compute the cells that are not there yet, and show them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etab.cli.options import (
    DataOption,
    DeviceOption,
    FitOption,
    KeepMasksOption,
    RootOption,
    SizeOption,
    SkipBadOption,
)
from etab.cli.words import say, words

if TYPE_CHECKING:
    from etab.datasets.own.description import Description


def run_command(
    context: typer.Context,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Task codes (b0-A4-E>C is a cross-dataset cell), prefixes of codes, or datasets, "
            "separated by commas. [default: camus]"
        ),
    ] = None,
    backbones: Annotated[
        str,
        typer.Option(
            help="Names, separated by commas. 'all' means all named backbones, their random twins "
            "and the controls. NAME=ENCODER (mine=local:weights.pth@timm/resnet18) gives an "
            "encoder a name on the board and runs its random twin, too."
        ),
    ] = "all",
    protocol: Annotated[
        str | None,
        typer.Option(
            help="official, cv, lodo, or lists:FILE (lists:leclerc) for the folds that a file names, "
            "separated by commas. [default: the protocols of each task]"
        ),
    ] = None,
    n_fold: Annotated[
        int, typer.Option(min=2, max=50, help="Number of folds of cross-validation.")
    ] = 5,
    fractions: Annotated[
        str | None, typer.Option(help="Train on these percentages of the patients: 2,5,10,100.")
    ] = None,
    shots: Annotated[
        str | None, typer.Option(help="Train on so many patients of each class: 2,5,10.")
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(min=1, help="Number of random draws of these patients. [default: 3]"),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="Heads to use instead of those of the tasks, separated by commas. Each is used "
            "for the tasks it can predict."
        ),
    ] = None,
    aggregate: Annotated[
        str | None,
        typer.Option(
            help="How to aggregate the rows of a recording or patient, instead of the rule of the "
            "task."
        ),
    ] = None,
    decide: Annotated[
        str | None,
        typer.Option(
            help="How scores become classes: metric (the rule that is best on training folds, as "
            "on the boards) or balanced (as balanced "
            "classes decide)."
        ),
    ] = None,
    size: SizeOption = None,
    fit: FitOption = "squash",
    root: RootOption = None,
    results: Annotated[Path, typer.Option(help="Folder for the result files.")] = Path("results"),
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for cached features. [default: ETAB_CACHE or ~/.cache/etab]"),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Number of processes; 0 means one for each core.")
    ] = 0,
    device: DeviceOption = "cpu",
    precision: Annotated[
        str,
        typer.Option(
            help="Precision of the backbone: auto, fp32, bf16, one of these with a backend "
            "(fused, compile, openvino, onnx), as bf16-openvino, or fastest, which is measured."
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds and draws.")] = 0,
    data: DataOption = None,
    skip_bad: SkipBadOption = False,
    keep_masks: KeepMasksOption = "all",
    log: Annotated[
        Path | None,
        typer.Option(
            help="File for the log of the run, a line of JSON for each start and end. [default: "
            "the hidden folder .log of the results]"
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Try cells again that `etab status` lists as failed."),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Time in s for which a process may make no progress (load a backbone, embed a "
            "batch, finish a cell). It is ended then, its cell is recorded as failed, and the "
            "others go on; 0 is no limit.",
        ),
    ] = 0.0,
    executor: Annotated[
        str,
        typer.Option(
            help="Where cells are computed: local (processes of this machine), ray (a cluster of "
            "Ray) or slurm (jobs of SLURM)."
        ),
    ] = "local",
    executor_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of the executor; may be given several times. local: memory_gb. ray: "
            "address, cpus, gpus, memory_gb, retries, wait. slurm: partition, account, qos, "
            "minutes, cpus, gpus, memory_gb, parallel, requeues.",
        ),
    ] = None,
) -> None:
    """Compute all results that are not there yet.

    There is one result for each task, backbone and protocol. A run that was stopped goes on where
    it was.
    """
    from etab.cli import show
    from etab.cli.cache import default_cache
    from etab.cli.encoders import named_encoders
    from etab.errors import UnknownNameError
    from etab.leaderboard.plain import cell_order
    from etab.results.masks import keep_named
    from etab.runs.choose_executor import named_executor
    from etab.runs.data import lacking, tasks_at
    from etab.runs.run import Settings, plan
    from etab.runs.sweep import backbone_names, sweep
    from etab.tasks.own import keep_brought, own_protocols

    own = None
    if data is not None:
        own = _noted(data, root, results)
        root = own.folder
    wanted = words(tasks) or (None if own is None else [own.name])
    try:
        codes = tasks_at(wanted, root)
    except UnknownNameError as error:
        raise UnknownNameError(f"{error} {_TASKS}") from None
    encoders = named_encoders(backbone_names(words(backbones) or [], codes), size, fit)
    named = words(protocol)
    if named is None and own is not None:
        few = fractions is not None or shots is not None
        named = own_protocols(own, n_fold, few=few)
    protocols = _protocols(named, codes, n_fold, fractions, shots, draws)
    runs = plan(
        codes,
        encoders,
        protocols=protocols,
        head=words(head),
        seed=seed,
        n_fold=n_fold,
        aggregate=aggregate,
        decide=decide,
    )
    settings = Settings(
        root=root,
        results=results,
        cache=cache or default_cache(),
        device=device,
        precision=precision,
        skip_bad=skip_bad,
        data=data,
        keep_masks=keep_named(keep_masks),
        log=log,
        timeout=timeout,
    ).absolute()  # code of a backbone may change the folder
    _keep(own, settings.results, replace=False)  # there, should this run be stopped
    done = sweep(
        runs,
        settings,
        workers=workers,
        watch=show.watch,
        retry_failed=retry_failed,
        executor=named_executor(executor, executor_option or (), workers=workers),
        earlier=context.obj,
    )
    _keep(own, settings.results, replace=True)
    if own is None:
        keep_brought(codes, settings.results)
    for message in lacking([run.row.dataset for run in runs], settings.root):
        say(message, error=True)
    say(done.said())
    cells = sorted([*done.before, *done.ran], key=cell_order)
    if cells:
        show.cell_table(cells)
        say(f"Rank them with: etab leaderboard {shlex.quote(str(results))}")
    raise typer.Exit(1 if done.failures else 0)


_TASKS = (
    "`etab list tasks` lists the tasks of etab; recordings of your own are run with --data "
    "clinic.toml, which `etab data init FOLDER` writes."
)


def _noted(data: Path, root: Path | None, results: Path) -> Description:
    """Register a table of one's own beside those of a folder of results, and print its notes."""
    from etab.tasks.own import own_notes, use_results

    use_results(results)  # so that a code that another table has there is refused first
    own = own_data(data, root)
    for note in own_notes(own):
        say(f"note: {note}", error=True)
    return own


def _keep(own: Description | None, results: Path, *, replace: bool) -> None:
    """Store the description of a table of one's own beside its results."""
    from etab.tasks.own import keep_description

    if own is not None:
        keep_description(own, results, replace=replace)


def own_data(data: Path, root: Path | None) -> Description:
    """Register data of the user.

    Args:
        data: The description of a table, or a Python file with a Source class.
        root: The option ``--root``: the folder that a class reads; absent for a table.
    """
    from etab.datasets.own.classes import is_class_file
    from etab.errors import UnsupportedOptionError
    from etab.tasks.own import use_own_data

    if is_class_file(data):
        return use_own_data(data, root)
    if root is not None:
        raise UnsupportedOptionError(
            "--data names the folder of its files itself (folder = ...); leave out --root."
        )
    return use_own_data(data)


def _protocols(
    bases_named: list[str] | None,
    codes: list[str],
    n_fold: int,
    fractions: str | None,
    shots: str | None,
    draws: int | None,
) -> list[str] | None:
    """The protocols to run, with few labelled patients where --fractions or --shots are given."""
    from etab.errors import UnsupportedOptionError
    from etab.tasks.menu import TASKS
    from etab.tasks.protocols import drawn, is_draw, parse

    of_tasks = dict.fromkeys(name for code in codes for name in TASKS[code].protocols)
    bases = bases_named or list(of_tasks)
    if fractions is None and shots is None:
        if draws is not None:
            raise UnsupportedOptionError(
                "--draws counts draws of --fractions or --shots; give one of these too."
            )
        return bases_named
    numbers: list[list[float]] = []
    for option, text, unit, possible in (
        ("--fractions", fractions, "pct", "percentages above 0, up to 100"),
        ("--shots", shots, "shot", "whole numbers of patients of each class, from 2 on"),
    ):
        try:
            amounts = [float(word) for word in words(text) or []]
        except ValueError:
            raise UnsupportedOptionError(
                f"{option} {text!r} is not a list of numbers such as 2,5,10."
            ) from None
        for amount in amounts:
            if not (is_draw(amount, unit) or (unit == "pct" and amount == 100)):
                raise UnsupportedOptionError(f"{option} takes {possible}; got {amount:g}.")
        numbers.append(amounts)
    return drawn(
        [parse(base, n_fold).name for base in bases],
        numbers[0],
        numbers[1],
        3 if draws is None else draws,
    )
