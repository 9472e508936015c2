"""The command ``etab evaluate``: official scores of entries that were made elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etab.cli.options import JsonOption

if TYPE_CHECKING:
    from etab.challenges.echorisk import EntryRisk
    from etab.challenges.scoring import Entry2016, Entry2022

app = typer.Typer(
    no_args_is_help=True,
    help="Score the answers of a challenge entry.",
)


def _print(entry: Entry2016 | Entry2022 | EntryRisk, as_json: bool) -> None:
    text = json.dumps(entry.as_dict(), indent=2) if as_json else entry.render()
    sys.stdout.write(text + "\n")


@app.command("cinc2016")
def score_cinc2016_command(
    answers: Annotated[
        Path, typer.Option(help="The answers.txt; each line is record,1 or record,-1 or record,0.")
    ],
    reference: Annotated[
        Path,
        typer.Option(
            help="Folder with REFERENCE.csv (validation, training-a, ...), or the release."
        ),
    ],
    rule: Annotated[
        str, typer.Option(help="official, or phase1, where an unsure answer counts as half right.")
    ] = "official",
    weights: Annotated[
        str,
        typer.Option(
            help="Weights of the four groups of records: own, training, validation, or the shares "
            "aC,aN,nC,nN (abnormal or normal, clean or noisy)."
        ),
    ] = "own",
    as_json: JsonOption = False,
) -> None:
    """Compute Se, Sp and MAcc of an answers.txt of CinC 2016.

    The answers are validated first; no record is dropped.
    """
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
def score_circor2022_command(
    outputs: Annotated[
        Path, typer.Option(help="Folder of the outputs, one ID.csv for each patient.")
    ],
    labels: Annotated[
        Path, typer.Option(help="Folder of the labels, one ID.txt for each patient.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Compute all scores of the Challenge 2022 for a folder of outputs.

    The outputs are validated first; no patient is dropped.
    """
    from etab.challenges import scoring as entries

    _print(entries.evaluate_circor2022(outputs, labels), as_json)


@app.command("echorisk")
def score_echorisk_command(
    predictions: Annotated[
        Path,
        typer.Option(
            help="CSV with patient_id, timepoint and lvef_pred, dysfunction_pred or "
            "cardiotoxicity_pred."
        ),
    ],
    truth: Annotated[
        Path,
        typer.Option(
            help="CSV with patient_id, timepoint and lvef, lv_dysfunction or cardiotoxicity, such "
            "as a manifest with labels."
        ),
    ],
    task: Annotated[
        int, typer.Option(help="1 ejection fraction, 2 LV dysfunction, 3 cardiotoxicity.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Compute the official scores of EchoRisk (MICCAI 2026) for the predictions of one task.

    The predictions are validated first; no examination is dropped.
    """
    from etab.challenges.echorisk import evaluate_echorisk

    _print(evaluate_echorisk(predictions, truth, task), as_json)
