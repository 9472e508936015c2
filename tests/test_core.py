"""Names, codes and the menu of tasks."""

from __future__ import annotations

import pytest

from etab.errors import UnknownNameError, UnsupportedOptionError
from etab.registry import Registry
from etab.tasks.codes import CATEGORIES, DATASET_CODES, VIEW_CODES, parse_code
from etab.tasks.menu import TASKS, find


def test_a_miss_suggests_and_lists() -> None:
    names: Registry[int] = Registry("head")
    names.add("ridge", 1)
    names.add("knn", 2)
    with pytest.raises(
        UnknownNameError,
        match=r"No head is called 'rigde'\. Did you mean 'ridge'\? Known: knn, ridge",
    ):
        names["rigde"]


def test_a_taken_name_is_refused() -> None:
    names: Registry[object] = Registry("head")
    thing = object()
    names.add("ridge", thing)
    names.add("ridge", thing)
    with pytest.raises(UnsupportedOptionError, match="taken"):
        names.add("ridge", object())
    assert names["ridge"] is thing


@pytest.mark.parametrize("code", list(TASKS))
def test_every_row_of_the_menu_resolves(code: str) -> None:
    from etab import datasets, heads
    from etab.metrics.base import METRICS

    task, parsed = TASKS[code], parse_code(code)
    card = datasets.SOURCES[task.dataset].card
    assert str(parsed) == code
    assert parsed.dataset == task.dataset
    assert set(task.views) <= set(VIEW_CODES[parsed.view]) & set(card.views)
    assert card.target(task.target).kind is task.kind
    assert task.kind in METRICS[task.metric].kinds
    assert task.kind in METRICS[task.metric_2022].kinds
    assert task.kind in heads.head(task.head).kinds
    assert (task.high - task.low) * task.better > 0
    assert task.anchored(task.low) == 0
    assert task.anchored(task.high) == 1
    assert task.category in CATEGORIES


def test_dataset_letters_agree_with_the_cards() -> None:
    from etab import datasets

    letters = {name: letter for letter, name in DATASET_CODES.items()}
    for name, source in datasets.SOURCES.items():
        assert source.card.code == letters[name]
        assert source.card.name == name


def test_codes_are_taken_apart() -> None:
    code = parse_code("b0-A4-E>C")
    assert (code.category, code.index, code.dataset, code.test_dataset) == (
        "b",
        0,
        "echonet",
        "camus",
    )
    assert str(code) == "b0-A4-E>C"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("LV", "is not a task code"),
        ("a0-A9-C", "No view code is called 'A9'"),
        ("a0-A4-X", "No dataset code"),
        ("g0-A4-C", "is not"),
    ],
)
def test_wrong_codes_say_which_part(text: str, said: str) -> None:
    with pytest.raises(UnknownNameError, match=said):
        parse_code(text)


def test_find_by_code_prefix_dataset_and_all() -> None:
    assert [t.code for t in find("a0-A4-C")] == ["a0-A4-C"]
    assert {t.code for t in find("b")} == {"b0-A2-C", "b0-A4-C", "b1-A2-C", "b1-A4-C"}
    assert len(find("camus")) == 13
    assert find(None) == find(["camus"])
    with pytest.raises(UnknownNameError, match=r"No task is called 'a0-A4-D'\. Did you mean"):
        find("a0-A4-D")
