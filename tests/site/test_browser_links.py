"""Links to a view in a browser: what of them does not fit the page is said on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.site.conftest import open_board

pytestmark = pytest.mark.slow


def test_an_address_of_another_board_shows_its_filter(page: Any, site: Path) -> None:
    open_board(
        page, site, "#family=no+such+family&size=7&pick=nobody&cost=x&sort=gone.up&picture=gone"
    )
    assert page.input_value("#f-family") == "no such family"
    assert page.input_value("#f-size") == ""
    assert "0 of" in page.inner_text("#count")
    told = page.inner_text("#unfit")
    assert "family “no such family”: no backbone of this board has it" in told
    assert told.count(";") == 5  # size, pick, cost, sort and picture, too
    page.select_option("#f-family", "")
    assert "0 of" not in page.inner_text("#count")


# A part of a link that does not fit the page, and the words with which the page says so.
_UNFIT = {
    "index.html": [
        ("weights=a:abc", "weight “a:abc”: a weight is a number from 0 to 1000"),
        ("weights=b:1,a:-1", "weight “a:-1”"),
        ("weights=a:1e99", "weight “a:1e99”"),
        ("weights=a:", "weight “a:”: a weight is a number"),
        ("weights=a:Infinity", "weight “a:Infinity”"),
        ("weights=zz9:1", "weight “zz9:1”: no category or task"),
        ("weights=constructor:1", "weight “constructor:1”"),
        ("weights=1", "weight “1”"),
        ("sort=nowhere.up", "sort “nowhere.up”: no such choice"),
        ("sort=etab.sideways", "sort “etab.sideways”"),
        ("sort=etab", "sort “etab”"),
        ("columns=-nothing", "column “-nothing”"),
        ("columns=family", "column “family”"),
        ("columns=+height", "column “+height”"),
        ("kind=healer", "kind “healer”: no backbone of this board has it"),
        ("licence=toString", "licence “toString”"),
        ("size=7", "size “7”: no such choice"),
        ("values=cooked", "values “cooked”"),
        ("pick=strong&pick=nobody", "pick “nobody”: no backbone of this board has this name"),
        ("only=some", "only “some”"),
        ("rows=few", "rows “few”"),
        ("picture=none", "picture “none”"),
        ("picture=size&cost=love", "cost “love”"),
        ("picture=subgroups&factor=shoe+size", "factor “shoe size”"),
        ("colour=red", "“colour”: no part of a view"),
        ("__proto__=1", "“__proto__”: no part of a view"),
        ("q=a&q=b", "q: given more than once"),
    ],
    "compare.html": [
        ("a=nobody&b=strong", "a “nobody”: no backbone of this board has this name"),
        ("a=strong&b=twin_a&task=z9", "task “z9”: no task of which both"),
        ("kind=control", "“kind”: no part of a view"),
    ],
    "backbone/strong.html": [("task=z9", "task “z9”: no task of which this backbone")],
    "task/b0-A4-C.html": [("sort=etab.up", "“sort”: no part of a view")],
}


@pytest.mark.parametrize("name", _UNFIT)
def test_parts_of_a_link_that_do_not_fit_are_named(page: Any, site: Path, name: str) -> None:
    note = page.locator("#unfit")
    page.goto(f"{site.as_uri()}/{name}")
    page.wait_for_load_state("load")
    assert note.is_hidden()
    for part, words in _UNFIT[name]:
        page.goto("about:blank")
        page.goto(f"{site.as_uri()}/{name}#{part}")
        page.wait_for_load_state("load")
        if "factor" in part:  # known once the groups are drawn
            page.locator("#picture").scroll_into_view_if_needed()
        page.wait_for_function("() => !document.getElementById('unfit').hidden")
        assert words in note.inner_text(), part
        assert note.inner_text().count(";") == 0, part  # that part alone
        page.wait_for_timeout(250)  # the address is written anew, and the note stays
        assert note.is_visible()
        if name == "index.html":
            page.click("#reset")
            assert note.is_hidden(), part
    page.goto(f"{site.as_uri()}/{name}?theme=pink")
    page.wait_for_load_state("load")
    assert "theme “pink”: no theme" in note.inner_text()


def test_a_board_is_sorted_by_a_column_that_is_not_shown(page: Any, site: Path) -> None:
    open_board(page, site, "#sort=b0-A4-C.up&columns=-b0-A4-C")
    assert page.locator("#unfit").is_hidden()
    assert page.input_value("#sort") == "b0-A4-C"
    names = page.locator("#table tbody:first-of-type .names a").all_inner_texts()
    by_value = page.evaluate(
        "ETAB.data.board.rows.map(row => [row.cells['b0-A4-C']?.[0] ?? Infinity, row.backbone])"
        ".sort((a, b) => a[0] - b[0]).map(([, name]) => ETAB.short(name))"
    )
    assert names[0] == by_value[0]
    assert names[-1] == by_value[-1]
