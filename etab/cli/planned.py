"""The cells that the options of ``etab run`` and ``etab plan`` name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etab.cli.words import words

if TYPE_CHECKING:
    from etab.datasets.own.description import Description
    from etab.runs.run import Run

_TASKS = (
    "`etab list tasks` lists the tasks of etab; recordings of your own are run with --data "
    "clinic.toml, which `etab data init FOLDER` writes."
)


def planned(
    tasks: str | None,
    backbones: str,
    own: Description | None,
    *,
    root: Path | None,
    protocol: str | None,
    n_fold: int,
    fractions: str | None,
    shots: str | None,
    draws: int | None,
    head: str | None,
    aggregate: str | None,
    decide: str | None,
    seed: int,
    size: int | None,
    fit: str,
    pretrained_on: Sequence[str] = (),
) -> list[Run]:
    """List the cells that options of the command line name.

    Args:
        tasks: Task codes, prefixes or datasets, separated by commas; None for all tasks of a table
            of one's own, or of CAMUS.
        backbones: Names of backbones, separated by commas.
        own: The registered description of a table of one's own.
        root: Folder of the dataset.
        protocol: Protocols, separated by commas; None for those of each task.
        n_fold: Number of folds where a protocol does not name one.
        fractions: Percentages of the patients to train on, separated by commas.
        shots: Numbers of patients of each class to train on, separated by commas.
        draws: Number of draws of these patients.
        head: Heads, separated by commas.
        aggregate: Rule that combines the rows of a unit.
        decide: How scores become classes.
        seed: Seed of folds and draws.
        size: Side of the inputs in pixels.
        fit: How frames become squares.
        pretrained_on: NAME=DATA,DATA for the data that the backbone NAME was pretrained on.

    Raises:
        UnknownNameError: If a name is not known.
        UnsupportedOptionError: If an option cannot take effect.
        IncompatibleError: If nothing is left to run, or parts of a cell do not fit together.
    """
    from etab.cli.encoders import named_encoders, require_board_names
    from etab.errors import UnknownNameError
    from etab.runs.data import tasks_at
    from etab.runs.run import plan
    from etab.runs.sweep import backbone_names
    from etab.tasks.own import own_protocols

    wanted = words(tasks) or (None if own is None else [own.name])
    try:
        codes = tasks_at(wanted, root)
    except UnknownNameError as error:
        raise UnknownNameError(f"{error} {_TASKS}") from None
    names = backbone_names(words(backbones) or [], codes)
    encoders = named_encoders(names, size, fit, pretrained_on)
    require_board_names(encoders)
    named = words(protocol)
    if named is None and own is not None:
        few = fractions is not None or shots is not None
        named = own_protocols(own, n_fold, few=few)
    return plan(
        codes,
        encoders,
        protocols=_protocols(named, codes, n_fold, fractions, shots, draws),
        head=words(head),
        seed=seed,
        n_fold=n_fold,
        aggregate=aggregate,
        decide=decide,
    )


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
