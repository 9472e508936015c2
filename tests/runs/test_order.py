"""In which order the backbones of a plan are started: those that take longest first."""

from __future__ import annotations

from pathlib import Path

import pytest

from etab import backbones
from etab.backbones.base import BackboneCard
from etab.backbones.computing import computing_facts, estimated_seconds
from etab.results import Result
from etab.runs import units
from etab.runs.data import Data
from etab.runs.executors import groups
from etab.runs.run import Run, Settings, plan


def order(runs: list[Run]) -> list[str]:
    return [group[0].backbone for group in groups(runs)]


def test_the_network_that_computes_longest_is_first_however_few_parameters_it_has() -> None:
    names = ["constant", "resemblyzer", "efficientnet_lite0", "mel_pca", "crepe_tiny"]
    runs = plan("circor", names)
    first, *middle, last = order(runs)
    assert (first, last) == ("crepe_tiny", "constant")
    assert middle == ["efficientnet_lite0", "mel_pca", "resemblyzer"]


def test_an_order_neither_drops_nor_changes_a_cell() -> None:
    names = ["image_stats", "mobilenetv2", "hed_vgg16"]
    runs = plan("b0,circor", ["image_stats", "mobilenetv2", "efficientnet_lite0"])
    grouped = [run for group in groups(runs) for run in group]
    assert sorted(map(repr, grouped)) == sorted(map(repr, runs))
    assert order(plan("b0", names)) == names[::-1]
    for group in groups(runs):
        assert len({(run.row.dataset, run.backbone) for run in group}) == 1
        assert group == [run for run in runs if run in group]  # in the order of the plan


def test_what_was_timed_decides_and_parameters_where_nothing_was() -> None:
    timed = computing_facts()["musicnn_msd"]["per_second"]
    assert estimated_seconds(backbones.card("musicnn_msd")) == pytest.approx(1 / timed / 3)
    twin = backbones.card("random/musicnn_msd")
    assert estimated_seconds(twin) == pytest.approx(1 / timed / 3)
    small = BackboneCard("nobody_timed", "Nobody timed", params=1_000_000)
    large = BackboneCard("nobody_timed", "Nobody timed", params=1_000_000, size=448)
    assert estimated_seconds(large) == pytest.approx(4 * estimated_seconds(small))
    assert estimated_seconds(BackboneCard("unknown", "Unknown")) == 0


def test_the_parameters_stand_for_about_what_was_timed() -> None:
    pictures = [backbones.card(name) for name in ("efficientnet_lite0", "vits14_saliency")]
    for card in pictures:
        untimed = BackboneCard("nobody_timed", "Nobody timed", params=card.params)
        assert 0.5 < estimated_seconds(untimed) / estimated_seconds(card) < 2


def test_units_elsewhere_are_added_in_this_order(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, results=tmp_path)
    added: list[str] = []

    class StoppedError(Exception):
        pass

    class Jobs:
        def add(self, new: list[units.Unit]) -> None:
            added.extend(unit.runs[0].backbone for unit in new)

        def ended(self) -> list[tuple[int, units.Outcome]]:
            raise StoppedError

        def stop(self) -> None:
            pass

    runs = plan("e0", ["mel_stats", "resemblyzer", "musicnn_msd"])
    listen = list[Result]().append
    with pytest.raises(StoppedError):
        units.run_units(runs, settings, Jobs(), listen, Data(settings))  # type: ignore[arg-type]
    assert added == order(runs) == ["musicnn_msd", "resemblyzer", "mel_stats"]
