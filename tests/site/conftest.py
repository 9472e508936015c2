"""A small phantom board with hostile names, a copy of weights and a row that saw a test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from etab import datasets
from etab.leaderboard.board import Board
from etab.leaderboard.ranking import rank
from etab.leaderboard.seen import SEEN
from etab.leaderboard.suites import Suite
from etab.metrics.clinical import Readout
from etab.results import Result
from etab.site.write import write_site
from tests import made

NASTY = "<img src=x onerror=alert(1)>=1+1\u202egnp\x1b[2J😀 {{DATA}} </script>"
FORMULAS = ("=1+1", "+2", "-2+3", "@SUM(A1)")
SKILLS = {
    "strong": 0.9,
    "twin_a": 0.7,
    NASTY: 0.7,
    "pixel_pca": 0.3,
    "random/strong": 0.1,
    **dict.fromkeys(FORMULAS, 0.6),
}
COPY = "strong_again"
PEEKED = "peeked"
# A published division: the number of training patients is that of the record.
PROTOCOL = "official"
# Training patients of a0: fewer than of the other tasks, so that its factor is another one.
FEW = 48


class Made(NamedTuple):
    folder: Path
    results: list[Result]
    suite: Suite


@pytest.fixture(scope="session")
def made_results(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("results")
    suite = made.suite()
    first, *others = suite.tasks
    results = made.board(folder, SKILLS, [first], n_train=FEW, protocol=PROTOCOL)
    results += made.board(folder, SKILLS, others, protocol=PROTOCOL)
    digest = hashlib.sha256(b"strong").hexdigest()
    for code in suite.tasks:
        division: dict[str, Any] = {"n_train": FEW if code == first else 96, "protocol": PROTOCOL}
        copy = made.save(folder, code, COPY, 0.8, noise=5, weights_sha256=digest, **division)
        notes = [f"{SEEN}: camus"] if code == "b0-A4-C" else []
        settings = {"family": "cnn", "size": 224, "notes": notes}
        peeked = made.save(folder, code, PEEKED, 0.95, noise=6, settings=settings, **division)
        results += [copy, peeked]
    return Made(folder, results, suite)


@pytest.fixture(scope="session")
def site_board(made_results: Made) -> Board:
    folder, results, suite = made_results
    return rank(results, suite, folder=folder, protocol=PROTOCOL, draws=50)


def made_subgroups(board: Board) -> dict[tuple[str, str], list[Readout]]:
    """Two groups of one task for every backbone, one of them with a hostile name."""
    groups = [
        Readout("sex: male", 7.0, 6.0, 8.0, 55),
        Readout(f"sex: {NASTY}", 8.0, 6.5, 9.5, 41),
        Readout("age: below 65", 7.2, None, None, 3),
    ]
    return {(row.backbone, "b0-A4-C"): groups for row in board.rows}


@pytest.fixture(scope="session")
def site(site_board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_site(site_board, datasets.cards(), folder, subgroups=made_subgroups(site_board))
    return folder


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else 0)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "blob:")) else faults.append(r.url),
    )
    yield opened
    context.close()
    assert faults == []


def open_board(page: Any, site: Path, address: str = "") -> None:
    page.goto("about:blank")
    page.goto(f"{(site / 'index.html').as_uri()}{address}")
    page.wait_for_selector("html[data-loaded]")
