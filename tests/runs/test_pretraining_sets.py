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
from etab.errors import ResultError, UnsupportedOptionError
from etab.leaderboard.board import kind_of
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


def test_a_stored_result_is_not_served_after_its_pretraining_is_told(
    tmp_path: Path, phantom_tree: Callable[..., Path]
) -> None:
    """The features are those of the cache; only the cell has to be computed again."""
    root = phantom_tree(patients=12, names=("camus",)) / "camus"
    card = etab.backbone(lambda x: x.mean((2, 3)), name="mine", input=etab.Frames(size=32))
    told = backbones.pretrained_on(card, ["CAMUS"])
    also = backbones.pretrained_on(card, ["imagenet-1k"])
    settings = Settings(root=root, results=tmp_path / "results", cache=tmp_path / "cache")
    (first,) = execute(plan("b0-A4-C", [card], protocols=["cv5"]), settings)
    (same,) = execute(plan("b0-A4-C", [also], protocols=["cv5"]), settings)
    assert same == first
    with pytest.raises(ResultError, match="made with different data of the pretraining"):
        list(execute(plan("b0-A4-C", [told], protocols=["cv5"]), settings))
    elsewhere = replace(settings, results=tmp_path / "other")
    (marked,) = execute(plan("b0-A4-C", [told], protocols=["cv5"]), elsewhere)
    assert marked.features_key == first.features_key
    assert marked.predictions_sha256 == first.predictions_sha256
    assert any("PRETRAINED ON TEST DATA" in note for note in marked.settings["notes"])
    kinds = [kind_of(result.backbone, [result]) for result in (first, marked)]
    assert kinds == ["pretraining not stated", "pretrained"]
    assert marked.provenance["pretraining"] == "CAMUS"
    with pytest.raises(ResultError, match="data of the pretraining"):
        list(execute(plan("b0-A4-C", [card], protocols=["cv5"]), elsewhere))


def test_data_are_told_of_learned_backbones_alone() -> None:
    for name, kind in (("image_stats", "a control"), ("random/mobilenetv2", "a random twin")):
        with pytest.raises(UnsupportedOptionError, match=f"is {kind}, without pretraining"):
            backbones.pretrained_on(backbones.card(name), ["camus"])
    for sets, match in (("camus", "wanted a list"), ([], "lists nothing"), ([""], "wanted names")):
        with pytest.raises(UnsupportedOptionError, match=match):
            backbones.pretrained_on(backbones.card("mobilenetv2"), sets)


@pytest.mark.parametrize("name", ["root", "results", "cache", "data", "log"])
def test_folders_of_settings_may_be_texts(name: str) -> None:
    assert getattr(Settings(**{name: "a/folder"}), name) == Path("a/folder")
    for wrong in (3, b"folder", ["a"]):
        with pytest.raises(
            UnsupportedOptionError, match=rf"Settings\({name}=\) is .*wanted a path"
        ):
            Settings(**{name: wrong})


@pytest.mark.parametrize("listed", [5, "", " "])
def test_what_is_no_name_of_data_is_refused(listed: Any) -> None:
    with pytest.raises(UnsupportedOptionError, match="wanted names of data sets"):
        etab.backbone(lambda x: x.mean((2, 3)), name="mine", pretrained_on=[listed])
