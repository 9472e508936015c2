"""The command ``etab check backbone``: hold an encoder against the contract that runs rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from etab.cli.words import say

if TYPE_CHECKING:
    from etab.backbones.base import BackboneCard

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

    Features must be finite, must be the same when computed twice, and must depend on their own row
    alone. The exit status is 1 if a point of the contract is not met.
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
    say(f"{card.name} meets the contract. {_described(card)}.")


def _described(card: BackboneCard) -> str:
    """The input of a backbone and its layers, in one sentence without a full stop."""
    backbone: Any = card.load()
    if card.modality == "vectors":
        widths = [f"{name} ({values.shape[1]})" for name, values in backbone.layers.items()]
        return (
            f"It holds vectors of {len(backbone.rows)} keys; layers and widths: "
            f"{', '.join(widths)}. A run says which keys its tasks lack"
        )
    loaded = getattr(backbone, "card", card)
    reads = f"frames of {loaded.size} px"
    if loaded.clip is not None:
        reads = f"clips: {loaded.clip}"
    elif loaded.modality == "record":
        reads = "whole recordings of sound and what is known of them"
    elif loaded.rate:
        reads = f"sound at {loaded.rate} Hz"
    layers = f"; layers: {', '.join(loaded.layers)}" if loaded.layers else ""
    return f"It reads {reads}{layers}"
