"""Results of runs, written as entries of both challenges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from etab.challenges.export import answers_2016, export_cinc2016, export_circor2022
from etab.challenges.scoring import read_answers
from etab.datasets.circor import CircorSource
from etab.errors import (
    ResultError,
    UnsupportedOptionError,
)
from etab.results import Predictions
from etab.types import Kind
from tests.challenges.entries import (
    binary,
    saved,
)


def test_scores_become_answers() -> None:
    table = binary(["a0001", "b0001", "c0001"], [0.2, 0.5, 0.8])
    assert answers_2016(table)[0] == {"a0001": -1, "b0001": 1, "c0001": 1}
    assert answers_2016(table, threshold=0.6)[0] == {"a0001": -1, "b0001": -1, "c0001": 1}
    assert answers_2016(table, unsure=(0.3, 0.7))[0] == {"a0001": -1, "b0001": 0, "c0001": 1}
    own = binary(["a0001", "b0001", "c0001"], [0.2, 0.5, 0.8], [1.0, 0.5, 0.0])
    assert answers_2016(own)[0] == {"a0001": 1, "b0001": 0, "c0001": -1}
    assert "training folds" in answers_2016(own)[1]
    assert answers_2016(own, threshold=0.5)[0]["a0001"] == -1
    for options, said in (
        ({"threshold": 1.5}, "from 0 to 1"),
        ({"threshold": 0.5, "unsure": (0, 1)}, "one of them"),
        ({"unsure": (0.6, 0.4)}, "low < high"),
    ):
        with pytest.raises(UnsupportedOptionError, match=said):
            answers_2016(table, **options)
    with pytest.raises(ResultError, match="no records such as a0001, first 'a0001#0'"):
        answers_2016(binary(["a0001#0"], [0.5]))


def test_a_result_becomes_an_answers_file(
    made: Path, tmp_path: Path, truth: dict[str, int]
) -> None:
    names = [*sorted(truth), "e99999"]
    right = [0.9 if truth.get(n, 1) == 1 else 0.1 for n in names]
    path = saved(tmp_path / "r", "f0-PH-N", "cinc2016", binary(names, right))
    done = export_cinc2016(path, tmp_path / "out", data=made / "cinc2016")
    assert read_answers(tmp_path / "out" / "answers.txt") == truth, "the copies alone"
    assert done.scores["official"].score.macc == 1
    facts = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert (facts["decided"], facts["results"][0]["phantom"]) == ("abnormal at 0.5 or above", True)
    assert (
        len(read_answers(Path(export_cinc2016(path, tmp_path / "all").folder) / "answers.txt"))
        == 13
    )
    short = saved(tmp_path / "s", "f0-PH-N", "cinc2016", binary(names[1:], right[1:]))
    with pytest.raises(ResultError, match=f"1 of validation, first {names[0]}"):
        export_cinc2016(short, tmp_path / "no", data=made / "cinc2016")
    assert not (tmp_path / "no").exists()
    other = saved(tmp_path / "s", "a0-A4-C", "camus", binary(names, right))
    with pytest.raises(ResultError, match="of a0-A4-C on camus; wanted a result of abnormal"):
        export_cinc2016(other, tmp_path / "no")
    path.with_suffix(".csv").write_text("changed")
    with pytest.raises(ResultError, match="not the table"):
        export_cinc2016(path, tmp_path / "no")


def test_a_result_of_repeated_folds_becomes_no_entry(tmp_path: Path) -> None:
    once = binary(["a0001", "a0002"], [0.9, 0.1])
    columns = {name: np.tile(values, 2) for name, values in once.columns.items()}
    twice = Predictions(
        Kind.BINARY, once.items * 2, once.patients * 2, once.folds * 2, columns, (0, 0, 1, 1)
    )
    path = saved(tmp_path, "f0-PH-N", "cinc2016", twice)
    with pytest.raises(ResultError, match="predicts every row 2 times"):
        export_cinc2016(path, tmp_path / "out")


def test_two_results_become_an_entry_of_2022(made: Path, tmp_path: Path) -> None:
    source = CircorSource(made / "circor")
    facts = {r.meta["id"]: r.meta for r in source.records()}
    names = sorted(facts)
    right = np.array([("Present", "Unknown", "Absent").index(facts[n]["murmur"]) for n in names])
    columns = {"truth": right, **{f"score_{k}": (right == k) * 0.8 + 0.1 for k in range(3)}}
    table = Predictions(Kind.CLASSES, tuple(names), tuple(names), ("f",) * len(names), columns)
    murmur = saved(tmp_path / "r", "f1-AL-D", "circor", table)
    sick = [0.9 if facts[n]["outcome"] == "Abnormal" else 0.1 for n in names]
    outcome = saved(tmp_path / "r", "f2-AL-D", "circor", binary(names, sick))
    done = export_circor2022([outcome, murmur], tmp_path / "out", data=made / "circor")
    score = done.scores["2022"]
    assert (score.murmur.weighted_accuracy, score.outcome.accuracy, score.repaired) == (1, 1, 0)
    assert (tmp_path / "out" / "outputs" / f"{names[0]}.csv").read_text().splitlines()[
        0
    ] == f"#{names[0]}"
    with pytest.raises(ResultError, match="already holds outputs"):
        export_circor2022([outcome, murmur], tmp_path / "out")
    with pytest.raises(ResultError, match="one result of each; got murmur"):
        export_circor2022([murmur], tmp_path / "no")
    fewer = saved(tmp_path / "s", "f2-AL-D", "circor", binary(names[1:], sick[1:]))
    with pytest.raises(ResultError, match=f"1 are in only one of them, first {names[0]}"):
        export_circor2022([murmur, fewer], tmp_path / "no")
    decided = binary(names, sick, [1 - round(s) for s in sick])
    wrong = saved(tmp_path / "t", "f2-AL-D", "circor", decided)
    done = export_circor2022([murmur, wrong], tmp_path / "own", data=made / "circor")
    assert done.scores["2022"].outcome.accuracy == 0, "the table's own decisions are written"
    done = export_circor2022(
        [murmur, wrong], tmp_path / "mine", data=made / "circor", threshold=0.5
    )
    assert done.scores["2022"].outcome.accuracy == 1
