"""A small phantom board with hostile names, a copy of weights and a row that saw a test."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from etab import datasets
from etab.leaderboard.board import Board
from etab.leaderboard.ranking import rank
from etab.leaderboard.seen import SEEN
from etab.leaderboard.suites import Suite
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
# Training patients of a0: fewer than of the other tasks, so that its correction is another one.
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


@pytest.fixture(scope="session")
def site(site_board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_site(site_board, datasets.cards(), folder)
    return folder
