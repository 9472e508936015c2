"""Notes of a board say what its numbers alone would hide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from etab.datasets import cards
from etab.leaderboard import Suite, rank
from etab.leaderboard.notes import (
    _areas_of_one_division,
    _one_division,
    notes_of_results,
    set_aside_note,
    supplied_vectors,
)
from etab.leaderboard.page import board_facts
from etab.results import load_results
from etab.results.notes import alike_sentence, joined_notes
from tests import made

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


def test_a_metric_that_nobody_can_check_is_not_shown() -> None:
    held = [
        replace(result, metrics={**result.metrics, "super_score": 1e9})
        for result in load_results(SOUNDS)
        if result.backbone in ("constant", "demographics")
    ]
    suite = Suite(name="one", version=1, tasks=("f0-PH-N",))
    facts = board_facts(rank(held, suite, folder=SOUNDS, draws=20), cards())
    for row in facts["rows"]:
        metrics = row["cells"]["f0-PH-N"]["metrics"]
        assert "macro_macc" in metrics
        assert "super_score" not in metrics


def test_areas_of_few_patients_who_were_divided_once_are_named() -> None:
    cell = replace(load_results(SOUNDS)[0], task="d0-A4-C", metric="auroc", n_patients=100)
    (note,) = _areas_of_one_division([replace(cell, protocol="cv5")])
    assert "TOO NARROW: d0-A4-C" in note
    for change in (
        {"protocol": "cv5x5"},
        {"protocol": "official"},
        {"protocol": "lodo"},
        {"protocol": "cv5", "n_patients": 450},
        {"protocol": "cv5", "metric": "mae"},
    ):
        assert _areas_of_one_division([replace(cell, **change)]) == []


def test_a_board_of_one_division_says_what_it_does_not_know() -> None:
    cell = load_results(SOUNDS)[0]
    once = [replace(cell, protocol=name) for name in ("cv5", "cv10")]
    (note,) = _one_division([*once, replace(cell, protocol="cv5x5")])
    assert note.startswith("ONE DIVISION (cv10, cv5):")
    assert _one_division([replace(cell, protocol=name) for name in ("lodo", "official")]) == []


def test_the_shares_in_the_note_are_those_that_were_measured() -> None:
    (note,) = _one_division([replace(load_results(SOUNDS)[0], protocol="cv5")])
    lines = (SOUNDS.parent / "coverage_divisions.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    of_encoders = rows[0].index("cv5, encoders %")
    (of_all,) = [row for row in rows if row[0] == "**all**"]
    (of_dice,) = [row for row in rows if row[0] == "all" and row[2] == "dice"]
    assert f"in {float(of_all[of_encoders]):.0f} % of pairs" in note
    assert f"in {float(of_dice[of_encoders]):.0f} % by Dice" in note


def test_pairs_that_are_alike_are_listed_once_on_a_board() -> None:
    """Each view has a note of its own, and tasks of both views name the same pairs again."""
    four, two = "a_4CH and b_4CH (0.99)", "a_2CH and b_2CH (1.00)"
    held = [
        replace(result, settings={**result.settings, "notes": ["Another.", alike_sentence(pairs)]})
        for result, pairs in zip(
            [
                made.result(made.predictions(code), code)
                for code in ("b0-A4-C", "b0-A2-C", "c0-AX-C")
            ],
            ([four], [two], [two, four]),
            strict=True,
        )
    ]
    notes = joined_notes(note for result in held for note in result.settings["notes"])
    assert notes == ["Another.", alike_sentence([four, two])]
    assert notes_of_results(held) == notes


def test_plain_cells_of_supplied_vectors_are_marked() -> None:
    run_here = made.result(made.predictions("b0-A4-C"), "b0-A4-C")
    supplied = replace(run_here, backbone="theirs", settings={"family": "vectors"})
    assert supplied_vectors([run_here]) == []
    assert supplied_vectors([run_here, supplied]) == [
        "Vectors supplied (theirs): computed elsewhere, so no encoder was run here."
    ]


def test_plain_cells_of_incomplete_data_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    """``etab run``, ``etab results`` and a board without a suite show cells in this way."""
    from etab.cli import show

    whole = made.result(made.predictions("b0-A4-C"), "b0-A4-C")
    bad = {
        "recordings": [["p3_4CH", "it is missing."]],
        "lost": ["p3"],
        "partly": [],
        "patients": 12,
    }
    show.noted_cells([whole])
    assert "INCOMPLETE" not in capsys.readouterr().err
    show.noted_cells([replace(whole, bad=bad)])
    said = " ".join(capsys.readouterr().err.split())
    assert "INCOMPLETE DATA: 1 of 12 patients of camus are missing: 1 recording" in said
    assert "p3_4CH" in said


def test_pairs_beyond_those_that_are_named_are_counted() -> None:
    many = [f"a{i} and b{i} (0.9{i})" for i in range(9)]
    other = ["c, (0.5) and d and 3 more (0.99)"]
    (note,) = joined_notes([alike_sentence(many), alike_sentence(other)])
    assert note.endswith(
        "a4 and b4 (0.94) and at least 4 more. They may be copies, or one person under two ids."
    )
    assert joined_notes([note, alike_sentence(many)]) == [note]
    assert joined_notes([alike_sentence(other)]) == [alike_sentence(other)]
    assert joined_notes([alike_sentence(many[:5])]) == [alike_sentence(many[:5])]


def test_files_that_are_set_aside_are_told_in_whole_sentences() -> None:
    (note,) = set_aside_note([f"{k}.json: no result" for k in range(6)] + ["7.json: no."])
    assert "1.json: no result. Also: 2.json: no result." in note
    assert note.endswith("no result. And 2 more.")
    assert "no.." not in set_aside_note(["7.json: no."])[0]


def test_a_note_of_some_results_says_whose_it_is() -> None:
    """A result could hold any sentence, also one about another backbone."""
    claim = "FLAGGED: demographics (f0-PH-N): its predictions are those of constant."
    held = []
    for result in load_results(SOUNDS):
        if result.backbone in ("constant", "demographics"):
            notes = [
                *result.settings.get("notes", []),
                *([claim] * (result.backbone == "constant")),
            ]
            held.append(replace(result, settings={**result.settings, "notes": notes}))
    suite = Suite(name="one", version=1, tasks=("f0-PH-N",))
    notes = rank(held, suite, folder=SOUNDS, draws=20).notes
    assert claim not in notes
    assert f"Noted in results of constant: {claim}" in notes
    assert any(note.startswith("Patients are unknown") for note in notes)
