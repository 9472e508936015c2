"""What sites show of choices beside the encoder, and of subgroups of patients."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etab.errors import DataNotFoundError, ResultError
from etab.leaderboard.board import Board, Sensitivity
from etab.metrics.clinical import Readout
from etab.site.robustness import robustness_facts
from etab.site.subgroups import kept_subgroups, read_subgroups, subgroup_facts

CODE = "b0-A4-C"
WOMEN = Readout("sex: female", 6.5, 6.0, 7.1, 40)
MEN = Readout("sex: male", 7.5, None, None, 5)
TABLES = {("strong", CODE): [WOMEN, MEN], ("pixel_pca", CODE): [replace(MEN, name="sex: male")]}


def test_groups_keep_their_order_and_what_is_absent_is_none(site_board: Board) -> None:
    facts = subgroup_facts(site_board, CODE, TABLES)
    assert facts is not None
    assert facts["groups"] == ["sex: female", "sex: male"]
    assert facts["rows"]["strong"] == [[6.5, 6.0, 7.1, 40], [7.5, None, None, 5]]
    assert facts["rows"]["pixel_pca"] == [None, [7.5, None, None, 5]]
    assert subgroup_facts(site_board, "d0-A4-C", TABLES) is None


def test_ages_stand_in_their_order(site_board: Board) -> None:
    names = ["age: adolescent", "age: child", "age: infant", "sex: female", "sex: male"]
    tables = {("strong", CODE): [replace(MEN, name=name) for name in names]}
    facts = subgroup_facts(site_board, CODE, tables)
    assert facts is not None
    assert facts["groups"] == ["age: infant", "age: child", "age: adolescent", *names[3:]]


def test_kept_subgroups_are_read_for_the_same_predictions_only(
    site_board: Board, tmp_path: Path
) -> None:
    path = tmp_path / "subgroups.json"
    path.write_text(kept_subgroups(site_board, TABLES, ["Read from another copy."]))
    kept = read_subgroups(path, site_board)
    assert kept.cells == TABLES
    assert kept.notes == ("Read from another copy.",)
    assert kept.n_other == 0
    rows = [
        replace(
            row, cells={**row.cells, CODE: replace(row.cells[CODE], predictions_sha256="0" * 64)}
        )
        if row.backbone == "strong"
        else row
        for row in site_board.rows
    ]
    kept = read_subgroups(path, replace(site_board, rows=tuple(rows)))
    assert list(kept.cells) == [("pixel_pca", CODE)]
    assert kept.n_other == 1


def _cell(*groups: object) -> str:
    cell = {"backbone": "strong", "task": CODE, "predictions_sha256": "0", "groups": groups}
    return json.dumps({"format": "etab subgroups 1", "cells": [cell]})


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[" * 100_000,
        "[]",
        '{"format": "another", "cells": []}',
        '{"format": "etab subgroups 1"}',
        '{"format": "etab subgroups 1", "cells": 3}',
        '{"format": "etab subgroups 1", "cells": [3]}',
        '{"format": "etab subgroups 1", "notes": "one", "cells": []}',
        _cell(3),
        _cell(["sex: male", 1.0]),
        _cell(["sex: male", "1.0", 0.0, 2.0, 5]),
        _cell(["sex: male", 1.0, 0.0, 2.0, "many"]),
        _cell(["sex: male", 1.0, 0.0, 2.0, None]),
    ],
)
def test_a_file_that_holds_no_subgroups_is_refused(
    site_board: Board, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "subgroups.json"
    path.write_text(text)
    with pytest.raises(ResultError, match=r"is not a file of subgroups|is damaged"):
        read_subgroups(path, site_board)


def test_a_file_of_subgroups_that_is_absent_is_named(site_board: Board, tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"none\.json cannot be read"):
        read_subgroups(tmp_path / "none.json", site_board)


def test_each_division_has_its_own_value(site_board: Board) -> None:
    table = site_board.tables["strong", CODE]
    columns = {name: np.concatenate([values, values]) for name, values in table.columns.items()}
    columns["score"][len(table.items) :] += 1.0
    twice = replace(
        table,
        items=table.items * 2,
        patients=table.patients * 2,
        folds=table.folds * 2,
        repeats=(0,) * len(table.items) + (1,) * len(table.items),
        columns=columns,
    )
    board = replace(site_board, tables={**site_board.tables, ("strong", CODE): twice})
    facts = robustness_facts(board)
    assert list(facts) == ["fold seed"]
    assert list(facts["fold seed"]) == ["strong"]
    errors = table.columns["score"] - table.columns["truth"]
    wanted = [np.abs(errors).mean(), np.abs(errors + 1.0).mean()]
    assert facts["fold seed"]["strong"][CODE] == pytest.approx(wanted, rel=1e-5)


def test_only_known_differences_of_other_results_are_drawn(site_board: Board) -> None:
    known = {
        CODE: (
            Sensitivity("head", "ridge +0.100", 0.1),
            Sensitivity("precision", "not known"),
            Sensitivity("layer", "2 chosen in 5 folds"),
        )
    }
    rows = (replace(site_board.rows[0], sensitivities=known), *site_board.rows[1:])
    facts = robustness_facts(replace(site_board, rows=rows))
    backbone = site_board.rows[0].backbone
    assert facts == {"head": {backbone: {CODE: ["ridge +0.100", 0.1]}}}
