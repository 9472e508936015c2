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
        help="Side of the input of frame backbones, in pixels; it becomes part of their names "
        "(mobilenetv2@448). [default: the size of each backbone]",
    ),
]
FitOption = Annotated[
    str,
    typer.Option(
        "--fit",
        help="How frames that are not square are made square: squash, letterbox (a black border "
        "keeps the aspect ratio) or crop (the middle).",
    ),
]
FractionsOption = Annotated[
    str | None,
    typer.Option("--fractions", help="Train on these percentages of the patients: 2,5,10,100."),
]
ShotsOption = Annotated[
    str | None,
    typer.Option("--shots", help="Train on this many patients of each class: 2,5,10."),
]
DrawsOption = Annotated[
    int | None,
    typer.Option("--draws", min=1, help="Number of random draws of these patients. [default: 3]"),
]
HeadOption = Annotated[
    str | None,
    typer.Option(
        "--head",
        help="Heads to use instead of those of the tasks, separated by commas. Each is used for "
        "the tasks it can predict.",
    ),
]
AggregateOption = Annotated[
    str | None,
    typer.Option(
        "--aggregate",
        help="Rule that combines the rows of a recording or patient, instead of the rule of the "
        "task.",
    ),
]
DecideOption = Annotated[
    str | None,
    typer.Option(
        "--decide",
        help="How scores become classes: metric (the rule that is best on the training folds, as "
        "on the boards) or balanced (as if all classes were equally frequent).",
    ),
]
PretrainedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pretrained-on",
        metavar="NAME=DATA,...",
        help="Data sets that a backbone was pretrained on, where its weights file does not say: "
        "mine=camus,imagenet-1k. Boards do not rank it on those. May be given several times.",
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
NFoldOption = Annotated[
    int, typer.Option("--n-fold", min=2, max=50, help="Number of folds of cross-validation.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the folds and draws.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache", help="Folder for cached features. [default: ETAB_CACHE or ~/.cache/etab]"
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        help="Precision of the backbone: auto, fp32, bf16, one of these with a backend (fused, "
        "compile, openvino, onnx), such as bf16-openvino, or fastest, which is found by measuring.",
    ),
]
