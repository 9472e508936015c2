"""How long learned backbones compute: what ``python -m benchmarks.perf.zoo`` counted and timed."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from etab.backbones.base import BackboneCard
from etab.storage import resources

_OF_A_PARAMETER = 8e-9
"""Seconds that a picture of 224 x 224 pixels takes for each parameter, about as networks that were
timed: 3 million parameters in 30 ms, 22 million in 150 ms."""


@lru_cache(maxsize=1)
def computing_facts() -> dict[str, dict[str, Any]]:
    """Read what ``python -m benchmarks.perf.zoo`` counted and timed of learned backbones.

    Returns:
        By name: ``gmacs`` (giga multiply-adds of one input), ``per_second`` (inputs in a second of
        processor time of one thread; None where it was not timed), ``counted`` (the input in words)
        and ``machine``. A backbone that nobody measured is absent.

    Example:
        >>> computing_facts()["mobilenetv2"]["counted"]
        'a picture of 224 x 224 pixels'
    """
    content = json.loads(resources.text("configs/compute.json"))
    return {
        name: {
            "gmacs": row["gmacs"],
            "per_second": row["per_second"],
            "counted": row["input"],
            "machine": content["machine"],
        }
        for name, row in content["backbones"].items()
    }


def estimated_seconds(card: BackboneCard) -> float:
    """Estimate how long a backbone computes, to compare it with other backbones.

    Args:
        card: The backbone.

    Returns:
        Seconds of processor time of one thread for one picture, or for one second of sound: as
        timed, or else by the number of parameters and the size of the picture; 0 for controls,
        and for a network of which neither is known.

    Example:
        >>> from etab.backbones import card
        >>> estimated_seconds(card("crepe_tiny")) > 5 * estimated_seconds(card("resemblyzer"))
        True
    """
    if not card.learned:
        return 0.0
    # A random twin is the same network, so that it computes as long.
    rate = computing_facts().get(card.twin or card.name, {}).get("per_second")
    if rate:
        return 1 / float(rate) / (card.seconds or 1.0)
    return _OF_A_PARAMETER * (card.params or 0) * ((card.size or 224) / 224) ** 2
