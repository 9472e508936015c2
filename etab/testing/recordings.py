"""The contract of a control that describes recordings of a source, as a test for your own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.testing.loading import check_loading
from etab.types import Features, FloatArray, Record

__all__ = ["MadeSounds", "check_described"]

_RATE = 2000
_SECONDS = 8.0


class MadeSounds:
    """The source that a control reads: three people with heart sounds of the phantom cohort."""

    def __init__(self) -> None:
        people = (
            {"age": "Child", "sex": "Female", "height": 110.0, "weight": 20.0, "campaign": "one"},
            {"age": "Adolescent", "sex": "Male", "height": 160.0, "campaign": "two"},
            {"age": "Infant", "sex": "Female", "weight": 8.0, "campaign": "one"},
        )
        self.records = [
            Record(f"made{i}", f"person{i}", "AV", fps=float(_RATE), meta=facts)
            for i, facts in enumerate(people)
        ]

    def wave(self, record: Record) -> tuple[FloatArray, int]:
        """Make the sound of a recording: float32 (samples,), and its rate in Hz."""
        from etab.phantom.sounds import STETHOSCOPES, auscultate, draw_chest

        number = self.records.index(record)
        rng = np.random.default_rng(number)
        chest = draw_chest(rng, murmur=number == 1, third=False, rate=70.0 + 20 * number)
        device = STETHOSCOPES["circor"]
        samples, _ = auscultate(
            chest, device, rate=_RATE, seconds=_SECONDS, loud=1.0, noise=0.0, rng=rng
        )
        return samples.astype(np.float32) / 32768, _RATE


def check_described(card: BackboneCard) -> None:
    """Check a control that describes recordings (modality "record") on made heart sounds.

    There is a row of finite numbers for each window, in the order of the windows, and the same when
    computed twice. A control with a series has a finite one for each recording.

    Args:
        card: The card of the control, which is loaded twice.

    Raises:
        AssertionError: A point of the contract is not met; the message names it.
    """
    backbone: Any = check_loading(card)
    source = MadeSounds()
    keys = [(record, start, 5.0) for record in source.records for start in (0.0, 3.0)]
    features = backbone.describe(source, keys)
    assert len(features) == len(keys), (
        f"{card.name} returns {len(features)} rows for {len(keys)} windows"
    )
    again = backbone.describe(source, keys)
    turned = backbone.describe(source, keys[::-1])
    for name, values in features.pooled.items():
        rows = np.asarray(values)
        assert np.isfinite(rows).all(), f"{card.name}: {name} is not finite"
        assert np.array_equal(rows, again.pooled[name]), f"{card.name} is not deterministic"
        assert np.allclose(rows[::-1], turned.pooled[name]), (
            f"{card.name}: the rows are not in the order of the windows"
        )
    if card.series is not None:
        _check_series(card, card.series, features, source.records)


def _check_series(
    card: BackboneCard, rate: int, features: Features, records: Sequence[Record]
) -> None:
    """Check the series of a control: one for each recording, at the rate of the card."""
    series: Any = features.series
    assert series is not None, f"{card.name}: the card lists a series, and there is none"
    for record in records:
        assert record.id in series, f"{card.name} has no series of the recording {record.id}"
        values = np.asarray(series[record.id])
        assert values.ndim == 2, f"{card.name}: the series of {record.id} is no (steps, width)"
        assert np.isfinite(values).all(), f"{card.name}: the series of {record.id} is not finite"
        wanted = _SECONDS * rate
        assert abs(len(values) - wanted) <= 1, (
            f"{card.name}: {len(values)} steps for {_SECONDS:g} s at {rate} Hz"
        )
