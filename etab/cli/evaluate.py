"""The command ``etab evaluate``: official scores of entries made elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from etab.challenges.scoring import Entry2016, Entry2022

app = typer.Typer(
    no_args_is_help=True,
    help="Score an entry made elsewhere by the official rules of its challenge.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _print(entry: Entry2016 | Entry2022, as_json: bool) -> None:
    sys.stdout.write((json.dumps(entry.as_dict(), indent=2) if as_json else entry.render()) + "\n")


@app.command("cinc2016")
def evaluate_cinc2016(
    answers: Annotated[Path, typer.Option(help="answers.txt: record,1 | -1 | 0 a line.")],
    reference: Annotated[
        Path,
        typer.Option(help="Folder with REFERENCE.csv (validation, training-a), or the release."),
    ],
    rule: Annotated[
        str, typer.Option(help="official, or phase1 (unsure is half right).")
    ] = "official",
    weights: Annotated[
        str, typer.Option(help="own, training, validation, or aC,aN,nC,nN as four shares.")
    ] = "own",
    as_json: Json = False,
) -> None:
    """Se, Sp and MAcc of an answers.txt, which is validated first: no record is dropped."""
    from etab.challenges import scoring as entries
    from etab.errors import UnsupportedOptionError
    from etab.metrics.cinc2016 import Weights2016

    shares: str | Weights2016 = weights
    if "," in weights:
        try:
            shares = Weights2016(*(float(word) for word in weights.split(",")))
        except (ValueError, TypeError):
            raise UnsupportedOptionError(
                f"weights are {weights!r}; wanted four numbers: 0.86,0.14,0.93,0.07."
            ) from None
    _print(entries.evaluate_cinc2016(answers, reference, rule=rule, weights=shares), as_json)


@app.command("circor2022")
def evaluate_circor2022(
    outputs: Annotated[Path, typer.Option(help="Folder of ID.csv, one a patient.")],
    labels: Annotated[Path, typer.Option(help="Folder of ID.txt with the labels.")],
    as_json: Json = False,
) -> None:
    """Every score of the Challenge 2022 for a folder of outputs, which is validated first: no patient is dropped."""
    from etab.challenges import scoring as entries

    _print(entries.evaluate_circor2022(outputs, labels), as_json)
