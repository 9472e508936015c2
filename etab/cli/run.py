"""The command ``etab run``: compute the cells that are not there yet, and show them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etab.cli.options import (
    AggregateOption,
    CacheOption,
    DataOption,
    DecideOption,
    DeviceOption,
    DrawsOption,
    FitOption,
    FractionsOption,
    HeadOption,
    KeepMasksOption,
    NFoldOption,
    PrecisionOption,
    PretrainedOption,
    RootOption,
    SeedOption,
    ShotsOption,
    SizeOption,
    SkipBadOption,
)
from etab.cli.planned import CellOptions, planned
from etab.cli.words import say

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
            "encoder a name on the board and also runs its random twin."
        ),
    ] = "all",
    protocol: Annotated[
        str | None,
        typer.Option(
            help="official, cv, lodo, or lists:FILE (lists:leclerc) for the folds in a file; "
            "separated by commas. [default: the protocols of each task]"
        ),
    ] = None,
    n_fold: NFoldOption = 5,
    fractions: FractionsOption = None,
    shots: ShotsOption = None,
    draws: DrawsOption = None,
    head: HeadOption = None,
    aggregate: AggregateOption = None,
    decide: DecideOption = None,
    size: SizeOption = None,
    fit: FitOption = "squash",
    pretrained_on: PretrainedOption = None,
    root: RootOption = None,
    results: Annotated[Path, typer.Option(help="Folder for the result files.")] = Path("results"),
    cache: CacheOption = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Number of processes; 0 means one for each core.")
    ] = 0,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "auto",
    seed: SeedOption = 0,
    data: DataOption = None,
    skip_bad: SkipBadOption = False,
    keep_masks: KeepMasksOption = "all",
    log: Annotated[
        Path | None,
        typer.Option(
            help="Log file of the run, one line of JSON for each start and end. [default: "
            "the hidden folder .log of the results]"
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Try the cells again that `etab status` lists as failed."
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Seconds that a process may take without any progress (a backbone loaded, a batch "
            "embedded, a cell finished). A process that takes longer is ended and its cell is "
            "recorded as failed; the others go on. 0 means no limit.",
        ),
    ] = 0.0,
    executor: Annotated[
        str,
        typer.Option(
            help="Where cells are computed: local (processes on this machine), ray (a Ray cluster) "
            "or slurm (SLURM jobs)."
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
    """Compute all results that do not exist yet.

    There is one result for each task, backbone and protocol. A run that was stopped resumes where
    it left off.
    """
    from etab.cli import show
    from etab.cli.cache import default_cache
    from etab.leaderboard.plain import cell_order
    from etab.results.masks import keep_named
    from etab.runs.choose_executor import named_executor
    from etab.runs.data import lacking
    from etab.runs.run import Settings
    from etab.runs.sweep import sweep
    from etab.storage.machine import require_device
    from etab.tasks.own import keep_brought

    where = named_executor(executor, executor_option or (), workers=workers)
    if where.is_here:
        require_device(device)
    own = None
    if data is not None:
        own = _noted(data, root, results)
        root = own.folder
    options = CellOptions(
        tasks=tasks,
        backbones=backbones,
        root=root,
        protocol=protocol,
        n_fold=n_fold,
        fractions=fractions,
        shots=shots,
        draws=draws,
        head=head,
        aggregate=aggregate,
        decide=decide,
        seed=seed,
        size=size,
        fit=fit,
        pretrained_on=pretrained_on or (),
    )
    runs = planned(options, own)
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
        executor=where,
        earlier=context.obj,
    )
    _keep(own, settings.results, replace=True)
    if own is None:
        keep_brought([run.task for run in runs], settings.results)
    for message in lacking([run.row.dataset for run in runs], settings.root):
        say(message, error=True)
    say(done.said())
    cells = sorted([*done.before, *done.ran], key=cell_order)
    if cells:
        show.noted_cells(cells)
        say(f"Rank them with: etab leaderboard {shlex.quote(str(results))}")
    raise typer.Exit(1 if done.failures else 0)


def _noted(data: Path, root: Path | None, results: Path) -> Description:
    """Register a user's own table beside those of a folder of results, and print its notes."""
    from etab.tasks.own import own_notes, use_results

    use_results(results)  # so that a code that another table has there is refused first
    own = own_data(data, root)
    for note in own_notes(own):
        say(f"note: {note}", error=True)
    return own


def _keep(own: Description | None, results: Path, *, replace: bool) -> None:
    """Store the description of a user's own table beside its results."""
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
