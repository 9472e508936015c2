"""A cell that is tested on data of its backbone's pretraining says so, in the result and on the board."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import etab
from etab import backbones
from etab.datasets.base import SOURCES
from etab.errors import UnsupportedOptionError
from etab.leaderboard.ranking import rank_folder
from etab.leaderboard.suites import Suite
from etab.runs.execute import execute
from etab.runs.leaks import seen_notes
from etab.runs.run import Settings, plan


@pytest.mark.parametrize(
    ("name", "sets"),
    [
        ("efficientnet_lite0", ("imagenet-1k",)),
        ("hed_vgg16", ("imagenet-1k", "bsds500")),
        ("vits14_saliency", ("unknown",)),
        ("random/efficientnet_lite0", ()),
        ("random/hed_vgg16", ()),
        ("image_stats", ()),
    ],
)
def test_cards_list_the_data_of_their_pretraining(name: str, sets: tuple[str, ...]) -> None:
    assert backbones.card(name).pretraining_sets == sets


@pytest.mark.parametrize("sets", [("camus",), ("imagenet-1k", "camus"), ("imagenet-1k",), ()])
def test_a_result_and_the_board_say_that_test_data_were_seen(
    tmp_path: Path, phantom_tree: Callable[..., Path], sets: tuple[str, ...]
) -> None:
    card = replace(backbones.card("image_stats"), pretraining_sets=sets)
    root = phantom_tree(["camus"]) / "camus"
    settings = Settings(root=root, results=tmp_path / "results")
    (result,) = execute(plan("b0-A4-C", [card], protocols=["cv5"]), settings)
    notes = [n for n in result.settings.get("notes", []) if n.startswith("PRETRAINED ON TEST DATA")]
    assert bool(notes) == ("camus" in sets)
    board = rank_folder(settings.results, "camus", protocol="cv5")
    assert [n for n in board.notes if n.startswith("PRETRAINED ON TEST DATA")] == notes
    assert [n for n in board.notes if n.startswith("SEEN IN PRETRAINING: image_stats (b0-A4-C)")][
        :1
    ] == [n for n in board.notes if n.startswith("SEEN")]


@pytest.mark.parametrize("sets", [("camus",), ("unknown",)])
def test_a_backbone_that_saw_the_test_is_ranked_only_where_that_is_asked_for(
    tmp_path: Path, phantom_tree: Callable[..., Path], sets: tuple[str, ...]
) -> None:
    card = replace(backbones.card("image_stats"), pretraining_sets=sets)
    root = phantom_tree(patients=12, names=("camus",)) / "camus"
    settings = Settings(root=root, results=tmp_path / "results")
    other = backbones.card("pixel_pca")
    list(execute(plan("b0-A4-C", [card, other], protocols=["cv5"]), settings))
    suite = Suite(name="ef", version=1, tasks=("b0-A4-C",))
    board = rank_folder(settings.results, suite, protocol="cv5")
    ranked = {row.backbone for row in board.rows if row.ranked}
    seen = sets == ("camus",)
    assert ranked == ({"pixel_pca"} if seen else {"pixel_pca", "image_stats"})
    assert {row.backbone for row in board.rows} == {"pixel_pca", "image_stats"}
    everyone = rank_folder(settings.results, suite, protocol="cv5", with_seen=True)
    assert all(row.ranked for row in everyone.rows)
    assert any("ranked because" in note for note in everyone.notes) == seen


@pytest.mark.parametrize(
    "name", [*backbones.names(), *backbones.optional(), *backbones.video.clip_names()]
)
def test_every_learned_card_lists_its_data_or_unknown(name: str) -> None:
    card = backbones.card(name)
    assert bool(card.pretraining_sets) == card.learned


@pytest.mark.parametrize("dataset", ["circor", "circor_hf", "circor_hf_processed"])
def test_every_form_of_a_release_counts(dataset: str) -> None:
    source = SOURCES[dataset].__new__(SOURCES[dataset])
    card = backbones.card("image_stats")
    assert len(seen_notes(source, replace(card, pretraining_sets=("circor",)))) == 1
    assert seen_notes(source, replace(card, pretraining_sets=("cinc2016", "echonet"))) == ()


@pytest.mark.parametrize(
    ("dataset", "listed"),
    [
        ("camus", "CAMUS"),
        ("echonet", "EchoNet-Dynamic"),
        ("circor", "circor_hf"),
        ("circor_hf", "CirCor DigiScope"),
    ],
)
def test_data_are_known_by_their_title_too(
    dataset: str, listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SOURCES[dataset].__new__(SOURCES[dataset])
    monkeypatch.setattr(type(source), "canonical", lambda _: "")
    card = replace(backbones.card("image_stats"), pretraining_sets=("imagenet-1k", listed))
    (note,) = seen_notes(source, card)
    assert f"lists {listed} among" in note


def test_another_release_of_the_same_place_is_not_taken_for_the_data() -> None:
    source = SOURCES["mimic_echo"].__new__(SOURCES["mimic_echo"])
    card = replace(backbones.card("image_stats"), pretraining_sets=("mimic_cxr",))
    assert seen_notes(source, card) == ()


@pytest.mark.parametrize("listed", [5, "", " "])
def test_what_is_no_name_of_data_is_refused(listed: Any) -> None:
    with pytest.raises(UnsupportedOptionError, match="wanted names of data sets"):
        etab.backbone(lambda x: x.mean((2, 3)), name="mine", pretrained_on=[listed])
