"""The states that lie beside a record: which recordings, and that a damaged file is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etab.errors import ResultError
from etab.results import Predictions
from etab.results.states import (
    LARGEST_STATES,
    read_kept_states,
    rows_with_states,
    shown_cases,
    states_text,
)
from etab.types import Kind

RECORDINGS = 60


def table_of(repeats: int = 2) -> Predictions:
    names = tuple(f"r{i:02d}" for i in range(RECORDINGS))
    rng = np.random.default_rng(0)
    states = [np.repeat([0, 1, -1, 3], rng.integers(1, 9, 4)) for _ in range(RECORDINGS * repeats)]
    scores = np.tile(np.linspace(1, 0, RECORDINGS), repeats)
    return Predictions(
        Kind.STATES,
        names * repeats,
        names * repeats,
        ("fold0",) * RECORDINGS * repeats,
        {"f1_100": scores},
        tuple(np.repeat(range(repeats), RECORDINGS).tolist()),
        states=states,
    )


def test_the_sample_and_the_three_cases_come_back_as_they_were(tmp_path: Path) -> None:
    table = table_of()
    path = tmp_path / "x.states.csv"
    path.write_text(states_text(table))
    kept = read_kept_states(path)
    rows = rows_with_states(table)
    assert 20 <= len(rows) <= 23
    assert shown_cases(table) == {"best": "r00", "median": "r29", "worst": "r59"}
    assert {("r00", 0), ("r29", 0), ("r59", 0)} <= set(kept)
    assert set(kept) == {(table.items[row], table.repeats[row]) for row in rows}
    for row in rows:
        states = kept[table.items[row], table.repeats[row]]
        assert states.tolist() == table.states[row].tolist()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "item,states\nr,0:1\n",
        "item,repeat,states\nr,0\n",
        "item,repeat,states\nr,zero,0:1\n",
        "item,repeat,states\nr,0,9:1\n",
        "item,repeat,states\nr,0,0:-1\n",
        "item,repeat,states\nr,0,0:99999999999\n",
        "item,repeat,states\nr,0," + "0:99999 " * 3 + "\n",
        "item,repeat,states\n" + "".join(f"r{i},0,0:9\n" for i in range(24)),
    ],
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.states.csv"
    path.write_text(text)
    with pytest.raises(ResultError, match="not a file of states, or is damaged"):
        read_kept_states(path)


def test_a_link_and_a_large_file_are_not_read(tmp_path: Path) -> None:
    large = tmp_path / "large.states.csv"
    with large.open("wb") as handle:
        handle.truncate(LARGEST_STATES + 1)
    with pytest.raises(ResultError, match="is larger than"):
        read_kept_states(large)
    link = tmp_path / "link.states.csv"
    link.symlink_to(large)
    with pytest.raises(ResultError, match="is not an ordinary file"):
        read_kept_states(link)
