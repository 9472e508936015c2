"""Notes of a board say what its numbers alone would hide."""

from __future__ import annotations

from pathlib import Path

from etab.leaderboard import Suite, rank
from etab.results import load_results

SOUNDS = Path(__file__).resolve().parents[2] / "benchmarks" / "results_sounds"


def _notes(code: str) -> list[str]:
    names = ("constant", "database_only", "demographics")
    held = [result for result in load_results(SOUNDS) if result.backbone in names]
    suite = Suite(name="one", version=1, tasks=(code,))
    return [note for note in rank(held, suite, folder=SOUNDS, draws=20).notes if "constant" in note]


def test_a_constant_that_is_not_at_the_anchor_is_explained() -> None:
    """On e0 the head still reads the heart rate, so that constant features are worth something."""
    (note,) = _notes("e0-AL-D")
    assert "0.214 and not 0" in note
    assert "heart rate" in note


def test_a_constant_at_the_anchor_needs_no_words() -> None:
    assert _notes("f0-PH-N") == []
