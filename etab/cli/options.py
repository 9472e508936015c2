"""Options that several sub-commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RootOption = Annotated[
    Path | None,
    typer.Option(
        "--root", help="Folder of the dataset. [default: ETAB_<NAME>_DIR, ETAB_DATA, ...]"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
DeviceOption = Annotated[str, typer.Option(help="Device: cpu, cuda, cuda:1, ...")]
SkipBadOption = Annotated[
    bool,
    typer.Option(
        "--skip-bad", help="Leave out recordings that cannot be read, and say so in the results."
    ),
]
KeepMasksOption = Annotated[
    str,
    typer.Option(
        "--keep-masks",
        help="Predicted masks to write beside a result: all, sample (20 rows) or none. States of "
        "heart sounds are written for about 20 recordings, unless this is none.",
    ),
]
SizeOption = Annotated[
    int | None,
    typer.Option(
        "--size",
        help="Side of the input of backbones of frames in pixels; it stands in their names "
        "(mobilenetv2@448). [default: the size of each backbone]",
    ),
]
FitOption = Annotated[
    str,
    typer.Option(
        "--fit",
        help="How frames that are no squares become squares: squash, letterbox (a black border "
        "keeps the aspect ratio) or crop (the middle).",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Description of a table of your own recordings (clinic.toml), or a Python file with a "
        "Source class of your own (my_echo.py, whose code is run; --root names the folder).",
    ),
]
