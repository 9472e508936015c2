"""The command ``etab plan``: what a run would compute, and what that would take."""

from __future__ import annotations

from collections.abc import Sequence
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
    from etab.runs.forecast import Forecast, Need


def plan_command(
    suite: Annotated[
        str | None,
        typer.Argument(
            help="Task codes, prefixes of codes, or datasets, as in `etab run --tasks`."
        ),
    ] = None,
    backbones: Annotated[
        str, typer.Option(help="Names, separated by commas, as in `etab run --backbones`.")
    ] = "all",
    protocol: Annotated[
        str | None, typer.Option(help="Protocols. [default: the protocols of each task]")
    ] = None,
    n_fold: NFoldOption = 5,
    fractions: FractionsOption = None,
    shots: ShotsOption = None,
    draws: DrawsOption = None,
    head: HeadOption = None,
    aggregate: AggregateOption = None,
    decide: DecideOption = None,
    seed: SeedOption = 0,
    size: SizeOption = None,
    fit: FitOption = "squash",
    pretrained_on: PretrainedOption = None,
    root: RootOption = None,
    results: Annotated[Path, typer.Option(help="Folder of the result files.")] = Path("results"),
    cache: CacheOption = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "auto",
    data: DataOption = None,
    skip_bad: SkipBadOption = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Embed a few rows with each backbone whose features were never computed, to "
            "estimate its time.",
        ),
    ] = False,
) -> None:
    """Show which cells of a plan are done, which are missing, and what those will take.

    Nothing is computed or written. Times and sizes are estimated from the cells and features that
    exist; a question mark stands for what was never measured.
    """
    from etab.cli.cache import default_cache
    from etab.cli.run import own_data
    from etab.runs.data import Data
    from etab.runs.forecast import forecast
    from etab.runs.run import Settings

    own = None
    if data is not None:
        own = own_data(data, root)
        root = own.folder
    options = CellOptions(
        tasks=suite,
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
    ).needing(code for run in runs for code in run.row.parts)
    data_of_plan = Data(settings, keeps_digests=False)
    _show(forecast(runs, settings, data_of_plan, measure=measure), len(runs))


def _show(state: Forecast, n_cells: int) -> None:
    """Print the state of a plan, a line for each backbone, and the sums."""
    from etab.cli import show

    missing = sum(need.cells for need in state.needs)
    say(
        f"{state.done} of {n_cells} cells finished; {missing} to compute, of which {state.at_work} "
        f"at work now; {state.given_up} failed before and are not tried again."
    )
    for conflict in state.conflicts:
        say(conflict)
    if not state.needs:
        return
    header = ["backbone", "cells", "fits", "rows to embed", "embedding", "disk", "memory"]
    rows = [_row(need) for need in state.needs]
    show.table("still to compute, in one process", header, rows)
    fits = _time(_sum([need.seconds for need in state.needs]))
    embedding = _time(_sum([need.embed_seconds for need in state.needs]))
    disk = _size(_sum([need.disk for need in state.needs]))
    say(f"In all: fits {fits}, embedding {embedding}, disk {disk}.")


def _row(need: Need) -> list[str]:
    return [
        need.backbone,
        str(need.cells),
        _time(need.seconds),
        str(need.rows),
        _time(need.embed_seconds),
        _size(need.disk),
        _size(need.memory),
    ]


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _time(seconds: float | None) -> str:
    """A time for people: in seconds, minutes or hours."""
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _size(size: float | None) -> str:
    from etab.cli.cache import size_words

    return "?" if size is None else size_words(int(size))
