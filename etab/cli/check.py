"""The command ``etab check backbone``: hold an encoder against the contract that runs rely on."""

from __future__ import annotations

from typing import Annotated

import typer

from etab.cli.words import say

app = typer.Typer(no_args_is_help=True, help="Check an encoder of your own.")


@app.callback()
def _group() -> None:
    """Check an encoder of your own."""


@app.command("backbone")
def backbone_command(
    name: Annotated[
        str,
        typer.Argument(help="Name of the backbone: local:weights.pth@timm/resnet18, timm/..., ..."),
    ],
) -> None:
    """Load a backbone twice and check its output on synthetic input.

    Features must be finite, the same when computed twice, and of each row alone. The exit status is
    1 where a point of the contract is not met.
    """
    from etab import backbones
    from etab.cli.encoders import named_encoders
    from etab.testing.backbones import check_backbone

    encoder = named_encoders([name])[0]
    card = backbones.card(encoder) if isinstance(encoder, str) else encoder
    try:
        check_backbone(card)
    except AssertionError as error:
        say(f"{card.name} does not meet the contract: {error}", error=True)
        raise typer.Exit(1) from None
    loaded = getattr(card.load(), "card", card)
    reads = f"frames of {loaded.size} px"
    if loaded.clip is not None:
        reads = f"clips: {loaded.clip}"
    elif loaded.rate:
        reads = f"sound at {loaded.rate} Hz"
    layers = f"; layers: {', '.join(loaded.layers)}" if loaded.layers else ""
    say(f"{card.name} meets the contract. It reads {reads}{layers}.")
