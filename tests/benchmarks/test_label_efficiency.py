"""New curves take the place of those of the same cells, and the committed lines stay as they are."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.label_efficiency import TABLE, joined
from etab.leaderboard.curves import curves_csv, read_curves


def test_a_new_curve_takes_the_place_of_the_old_one_and_the_others_stay() -> None:
    kept = read_curves(TABLE)
    assert curves_csv(joined(kept, [])) == TABLE.read_text()
    first = kept[0]
    new = replace(first, value=0.5)
    points = joined(kept, [new])
    of_curve = [p for p in points if (p.task, p.backbone) == (first.task, first.backbone)]
    assert of_curve == [new]
    others = [p for p in kept if (p.task, p.backbone) != (first.task, first.backbone)]
    assert [p for p in points if p is not new] == others
