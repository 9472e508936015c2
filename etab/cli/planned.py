"""The cells that the options of ``etab run`` and ``etab plan`` name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOptions:
    """The options of the command line that name cells, as they were typed.

    Args:
        tasks: Task codes, prefixes or datasets, separated by commas; None for all tasks of a user's
            own table, or of CAMUS.
        backbones: Names of backbones, separated by commas.
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
        fit: How frames are made square.
        pretrained_on: NAME=DATA,DATA for the data that the backbone NAME was pretrained on.
    """

    tasks: str | None
    backbones: str
    root: Path | None
    protocol: str | None
    n_fold: int
    fractions: str | None
    shots: str | None
    draws: int | None
    head: str | None
    aggregate: str | None
    decide: str | None
    seed: int
    size: int | None
    fit: str
    pretrained_on: Sequence[str] = ()

    @property
    def few(self) -> bool:
        """Whether probes are trained on few labelled patients."""
        return self.fractions is not None or self.shots is not None


def planned(options: CellOptions, own: Description | None) -> list[Run]:
    """List the cells that options of the command line name.

    Args:
        options: The options.
        own: The registered description of a user's own table.

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

    wanted = words(options.tasks) or (None if own is None else [own.name])
    try:
        codes = tasks_at(wanted, options.root)
    except UnknownNameError as error:
        raise UnknownNameError(f"{error} {_TASKS}") from None
    names = backbone_names(words(options.backbones) or [], codes)
    encoders = named_encoders(names, options.size, options.fit, options.pretrained_on)
    require_board_names(encoders)
    protocols = words(options.protocol)
    if protocols is None and own is not None:
        protocols = own_protocols(own, options.n_fold, few=options.few)
    return plan(
        codes,
        encoders,
        protocols=_with_draws(protocols, codes, options),
        head=words(options.head),
        seed=options.seed,
        n_fold=options.n_fold,
        aggregate=options.aggregate,
        decide=options.decide,
    )


def _with_draws(
    named: list[str] | None, codes: list[str], options: CellOptions
) -> list[str] | None:
    """The protocols to run, with few labelled patients where --fractions or --shots are given."""
    from etab.errors import UnsupportedOptionError
    from etab.tasks.menu import TASKS
    from etab.tasks.protocols import drawn, parse

    if not options.few:
        if options.draws is not None:
            raise UnsupportedOptionError(
                "--draws counts draws of --fractions or --shots; give one of these too."
            )
        return named
    of_tasks = dict.fromkeys(name for code in codes for name in TASKS[code].protocols)
    return drawn(
        [parse(base, options.n_fold).name for base in named or of_tasks],
        _amounts("--fractions", options.fractions, "pct", "percentages above 0, up to 100"),
        _amounts(
            "--shots", options.shots, "shot", "whole numbers of patients of each class, 2 or more"
        ),
        3 if options.draws is None else options.draws,
    )


def _amounts(option: str, text: str | None, unit: str, possible: str) -> list[float]:
    """Read the numbers of --fractions or --shots."""
    from etab.errors import UnsupportedOptionError
    from etab.tasks.protocols import is_draw

    try:
        amounts = [float(word) for word in words(text) or []]
    except ValueError:
        raise UnsupportedOptionError(
            f"{option} {text!r} is not a list of numbers such as 2,5,10."
        ) from None
    for amount in amounts:
        if not (is_draw(amount, unit) or (unit == "pct" and amount == 100)):
            raise UnsupportedOptionError(f"{option} takes {possible}; got {amount:g}.")
    return amounts
