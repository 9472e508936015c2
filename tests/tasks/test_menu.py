"""Names, codes and the menu of tasks."""

from __future__ import annotations

import pytest

from etab.errors import UnknownNameError, UnsupportedOptionError
from etab.registry import Registry, unknown
from etab.tasks import menu
from etab.tasks.codes import CATEGORIES, DATASET_CODES, VIEW_CODES, parse_code
from etab.tasks.menu import TASKS, find
from etab.types import Kind


def test_a_miss_suggests_and_lists() -> None:
    names: Registry[int] = Registry("head")
    names.add("ridge", 1)
    names.add("knn", 2)
    with pytest.raises(
        UnknownNameError,
        match=r"No head is called 'rigde'\. Did you mean 'ridge'\? Known: knn, ridge",
    ):
        names["rigde"]


def test_a_name_of_two_lists_is_listed_once() -> None:
    assert "Known: circor, dicom." in str(unknown("dataset", "x", ["circor", "dicom", "circor"]))


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
        ("a0-A4-Q", "No dataset code"),
        ("g0-A4-C", "is not"),
    ],
)
def test_wrong_codes_say_which_part(text: str, said: str) -> None:
    with pytest.raises(UnknownNameError, match=said):
        parse_code(text)


def test_find_by_code_prefix_dataset_and_all() -> None:
    assert [t.code for t in find("a0-A4-C")] == ["a0-A4-C"]
    assert {t.code for t in find("b")} == {"b0-A2-C", "b0-A4-C", "b1-A2-C", "b1-A4-C"}
    of_camus = [t for t in TASKS.values() if t.dataset == "camus" and not t.extra]
    assert find("camus") == of_camus
    assert len(of_camus) >= 13
    assert find(None) == find(["camus"])
    with pytest.raises(UnknownNameError, match=r"No task is called 'a0-A4-D'\. Did you mean"):
        find("a0-A4-D")


def test_a_dataset_that_is_added_has_its_letter_in_codes() -> None:
    """The letter stands on the card alone."""
    from dataclasses import replace

    from etab.datasets import SOURCES, CamusSource

    class Added(CamusSource):
        card = replace(CamusSource.card, name="added", code="Z")

    SOURCES.add("added", Added)
    try:
        assert parse_code("a0-A4-Z").dataset == "added"
        assert str(parse_code("b0-A4-C>Z")) == "b0-A4-C>Z"
    finally:
        SOURCES.remove("added")
    with pytest.raises(UnknownNameError, match="dataset code"):
        parse_code("a0-A4-Z")


def test_a_row_may_be_of_any_dataset() -> None:
    """The helper for rows that wait for their data knows no list of datasets of its own."""
    row = menu._new("tmed", "b1-A4-T", "title", "ES/ED", Kind.BINARY, "frame")
    assert row.dataset == "tmed"
    assert row.views == ("A4C",)


def test_views_of_codes_are_views_of_cards() -> None:
    from etab.echo.views import CANONICAL, PLACES

    assert {view for views in VIEW_CODES.values() for view in views} <= {*CANONICAL, *PLACES}
    assert VIEW_CODES["A4"] == ("A4C",)
    assert VIEW_CODES["AL"][:6] == ("A2C", "A3C", "A4C", "PLAX", "PSAX", "other")


def test_no_file_reads_the_kind_from_the_names_of_columns() -> None:
    from pathlib import Path

    import etab

    allowed = "etab/metrics/base.py"  # callers that give no kind
    root = Path(etab.__file__).parents[1]
    for path in Path(etab.__file__).parent.rglob("*.py"):
        if not str(path).endswith(allowed):
            text = path.read_text()
            assert '"score" in' not in text, path.relative_to(root)
            assert '"score_0" in' not in text, path.relative_to(root)
