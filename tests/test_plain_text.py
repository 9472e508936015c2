"""Tables as etab writes them are read fast; everything else goes to the general reader of CSV."""

from __future__ import annotations

import numpy as np
import pytest

from etab.errors import ResultError
from etab.results import Predictions
from etab.results.plain_text import plain_table
from etab.types import Kind

HEADER = "kind,item,patient,fold,truth,score\n"


def row(number: str) -> str:
    return f"value,r1,p1,fold0,1,{number}\n"


@pytest.mark.parametrize("kind", [Kind.VALUE, Kind.BINARY])
def test_both_readers_give_the_same_numbers(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    if kind is Kind.VALUE:
        score = np.append(rng.normal(size=500) * 10.0 ** rng.integers(-300, 300, 500), [0, -5])
    else:
        score = 1 / (1 + np.exp(-np.append(rng.normal(0, 12, 500), 3 + 1e-10 * np.arange(500))))
    n = len(score)
    names = tuple(f"r{i // 2}" for i in range(2 * n))
    table = Predictions(
        kind,
        names,
        names,
        ("fold0",) * (2 * n),
        {"truth": np.ones(2 * n), "score": np.repeat(score, 2)},
        (0, 1) * n,
    )
    text = table.to_csv()
    assert plain_table(text, 5) is not None
    fast = Predictions.from_csv(text)
    general = Predictions._from_any_csv(text, "this table")
    assert fast.columns["score"].tobytes() == general.columns["score"].tobytes()
    assert fast.columns["score"].tobytes() == table.columns["score"].tobytes()
    assert (fast.items, fast.patients, fast.folds) == (names, names, ("fold0",) * (2 * n))
    assert fast.repeats == general.repeats == (0, 1) * n


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        HEADER,
        HEADER + row("1").strip(),
        HEADER + row("1") + "\n",
        HEADER + '"value",r1,p1,fold0,1,1\n',
        HEADER + "value,r1,p1,fold0,1\n",
        HEADER + "value,r1,p1,fold0,1\nvalue,r1,p1,fold0,1,2,3\n",
        HEADER.replace("score", "truth") + row("1"),
        *[HEADER + row(n) for n in ("nan", "inf", "1e999", "", "1-2", "--1", "e5", ".", "1e", "+")],
        *[HEADER + row(n) for n in (" 1", "1 ", "1_0", "0x1", "١", "1.2.3", "1\r", "\t1", "1;2")],
    ],
)
def test_a_text_that_etab_does_not_write_is_left_to_the_general_reader(text: str) -> None:
    assert plain_table(text, 4) is None


def test_decimals_are_read_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    digits = ["".join(rng.choice(list("0123456789"), n)) for n in rng.integers(1, 20, 2000)]
    numbers = [
        f"{text[:place]}.{text[place:]}"
        for text, place in zip(digits, rng.integers(0, 20, 2000), strict=True)
    ]
    numbers += [*digits, "00.10", "5.", ".5", "9007199254740993", "0.000000000000001"]
    # Also in short tables, since one long number in a table is enough for the reader of any number.
    for part in ([*numbers], *[[number] for number in numbers]):
        found = plain_table(HEADER + "".join(map(row, part)), 4)
        assert found is not None
        assert found.numbers["score"].tobytes() == np.array(list(map(float, part))).tobytes()


@pytest.mark.parametrize(
    "numbers", [("1.2.3", "5"), ("1..2", "7"), ("1", "."), ("1", ""), ("", "1")]
)
def test_what_is_no_decimal_is_not_read_as_its_neighbour(numbers: tuple[str, ...]) -> None:
    assert plain_table(HEADER + "".join(map(row, numbers)), 4) is None


def table_of(*rows: str, header: str = "kind,item,patient,fold,truth,dice,hd95\n") -> str:
    return header + "".join(f"{line}\n" for line in rows)


FIRST = ("mask,r1,p1,fold0,1,0.5,2", "mask,r2,p2,fold1,0,0.25,3")


@pytest.mark.parametrize(
    "other",
    [
        ("mask,r1,p1,fold0,1,0.75,4", "mask,r2,p2,fold1,0,1e-3,5"),
        ("mask,r1,p1,fold0,1,0.75,4", "mask,r3,p2,fold1,0,0.5,5"),
        ("mask,r1,p1,fold0,1,0.75,4", "mask,r2,p2,fold1,1,0.5,5"),
        ("mask,r1,p1,fold0,1,0.75,4", "mask,r2,p2,fold1,0,0.5,5", "mask,r3,p3,fold0,0,1,1"),
        ("mask,r1,p1,fold0,1,0.75,4",),
        ("mask,r1,p1,fold0,10.75,4,4", "mask,r2,p2,fold1,0,0.5,5"),
    ],
)
def test_what_an_earlier_table_begins_with_changes_no_table(other: tuple[str, ...]) -> None:
    assert plain_table(table_of(*FIRST), 4) is not None
    text = table_of(*other)
    found = plain_table(text, 4)
    assert found is not None
    general = Predictions._from_any_csv(text, "this table")
    assert found.names[1:] == (general.items, general.patients, general.folds)
    assert list(found.numbers) == list(general.columns)
    for name, values in general.columns.items():
        assert found.numbers[name].tolist() == values.tolist()


@pytest.mark.parametrize(
    "other",
    [
        ("mask,r1,p1,fold0,1,0.75,4", "mask,r2,p2,fold1,0,0.5"),
        ("mask,r1,p1,fold0,1,0.75,4,9", "mask,r2,p2,fold1,0,0.5"),
        ("mask,r1,p1,fold0,1,0.75,4", "mask,r2,p2,fold1,0,0.5,nan"),
        ("mask,r1,p1,fold0,1,0.75,4", "mask,r2,p2,fold1,0,,5"),
        ("mask,r1,p1,fold0,1,0.75,4", "5"),
    ],
)
def test_rows_that_begin_alike_are_checked_to_their_ends(other: tuple[str, ...]) -> None:
    assert plain_table(table_of(*FIRST), 4) is not None
    assert plain_table(table_of(*other), 4) is None


@pytest.mark.parametrize("number", ["1e3", "+2", ".5", "5."])
def test_numbers_that_python_reads_stay_readable(number: str) -> None:
    assert Predictions.from_csv(HEADER + row(number)).columns["score"].tolist() == [float(number)]


@pytest.mark.parametrize("number", ["1-2", "", "1e", "--1", "1.2.3", "x", "1_0", " 1"])
def test_what_is_no_number_is_damage(number: str) -> None:
    with pytest.raises(ResultError, match="wanted a number"):
        Predictions.from_csv(HEADER + row(number))
