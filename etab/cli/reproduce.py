"""The command ``etab reproduce``: a result file beside the same cell, computed here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etab.cli.options import DataOption, DeviceOption, RootOption
from etab.cli.words import say

if TYPE_CHECKING:
    from etab.runs.reproduce import Reproduction


def reproduce(
    result: Annotated[Path, typer.Argument(help="A result file, results/.../cv5x5-stack-s0.json.")],
    root: RootOption = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for cached features. [default: none is used]")
    ] = None,
    device: DeviceOption = "cpu",
    lists: Annotated[
        Path | None,
        typer.Option(
            help="File of the published folds, if the result was computed on published folds."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="The backbone, if the result is of a file of yours: local:FILE@timm/resnet18, "
            "onnx:FILE, vectors:FILE, transformers/FOLDER."
        ),
    ] = None,
    data: DataOption = None,
) -> None:
    """Compute a result again and say whether the same numbers come out.

    On a machine with the same processor, instructions and libraries every prediction must be equal;
    elsewhere the value may differ by a quarter of the half width of its interval. The exit status is
    0 for a result that came out again, and 1 otherwise.
    """
    from etab.cli.run import own_data
    from etab.runs.reproduce import reproduce as compute_again

    if data is not None:
        root = own_data(data, root).folder
    reproduction = compute_again(
        result, root=root, cache=cache, device=device, lists=lists, backbone=backbone
    )
    say(_in_words(reproduction))
    raise typer.Exit(0 if reproduction.reproduced else 1)


def _in_words(reproduction: Reproduction) -> str:
    from etab.datasets import cards
    from etab.leaderboard.plain import cell_unit

    stored = reproduction.stored
    computed = reproduction.computed
    unit = f" {cell_unit(stored, cards())}".rstrip()
    lines = [
        f"{stored.task} with {stored.backbone} ({stored.protocol}, {stored.head}, seed "
        f"{stored.seed})",
        f"  stored    {stored.metric} {stored.value:.10g}{unit}, predictions "
        f"{stored.predictions_sha256[:12]}",
        f"  computed  {computed.metric} {computed.value:.10g}{unit}, predictions "
        f"{computed.predictions_sha256[:12]}",
    ]
    if reproduction.other_machine:
        lines.append(f"  another machine: {'; '.join(reproduction.other_machine)}")
    if reproduction.others:
        stated = ", ".join(_stated(reproduction, name) for name in reproduction.others)
        return "\n".join([*lines, f"  NOT reproduced: the record states other values: {stated}"])
    if reproduction.identical:
        return "\n".join([*lines, "  reproduced: every prediction is equal"])
    if reproduction.rows_differ is not None:
        lines.append(f"  {reproduction.rows_differ} of {reproduction.n_rows} rows differ")
    outcome = "reproduced" if reproduction.reproduced else "NOT reproduced"
    if reproduction.same_machine:
        reason = (
            "this machine has the same processor and libraries, so every prediction should be equal"
        )
    else:
        reason = (
            f"on another machine the value may differ by {reproduction.allowed:.3g}; it differs by "
            f"{abs(reproduction.difference):.3g}"
        )
    return "\n".join([*lines, f"  {outcome}: {reason}"])


def _stated(reproduction: Reproduction, name: str) -> str:
    """What a record states under a name; a number stands beside the one computed here."""
    stored = getattr(reproduction.stored, name, None)
    computed = getattr(reproduction.computed, name, None)
    if isinstance(stored, float | int) and isinstance(computed, float | int):
        return f"{name} {stored:.6g} (here {computed:.6g})"
    return name
