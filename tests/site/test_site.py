"""The folder of pages: whole, closed to the outside, and with the noise that its weights need."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from etab import datasets
from etab.errors import UnsupportedOptionError
from etab.leaderboard.board import Board
from etab.site.noise import noise_facts, reduced
from etab.site.packing import as_script, unpacked
from etab.site.write import write_site
from tests.site.conftest import NASTY


class Page(HTMLParser):
    """Collects addresses, and what the policy of a page would block."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.blocked: list[str] = []
        self.scripts = 0
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.append(value or "")
            if name == "style" or name.startswith("on"):
                self.blocked.append(f"{tag} {name}")
        if tag == "style" or (tag == "script" and "src" not in dict(attrs)):
            self.blocked.append(tag)
        if tag == "img":
            self.blocked.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def pages(site: Path) -> dict[Path, Page]:
    read: dict[Path, Page] = {}
    for path in sorted(site.rglob("*.html")):
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        read[path] = page
    return read


def test_every_link_is_a_file_of_the_folder_and_nothing_is_inline(site: Path) -> None:
    read = pages(site)
    assert len(read) == 2 + 4 + 5  # board and comparison, tasks, backbones
    for path, page in read.items():
        assert page.blocked == [], path
        for link in page.links:
            target = unquote(link.split("#")[0])
            assert not re.match(r"[a-z]+:|/", target), (path, link)
            assert not target or (path.parent / target).is_file(), (path, link)
        policy = path.read_text(encoding="utf-8")
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy


def test_a_hostile_name_stays_text(site: Path) -> None:
    assert "</script" not in (site / "data/board.js").read_text(encoding="utf-8").lower()
    rows = json.loads((site / "data/board.json").read_text(encoding="utf-8"))["rows"]
    row = next(row for row in rows if row["backbone"] == NASTY)
    page = pages(site)[site / "backbone" / f"{row['file']}.html"]
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text


def test_the_packed_noise_gives_the_intervals_of_the_board(site_board: Board) -> None:
    facts = noise_facts(site_board)
    for group in facts["groups"]:
        coordinates = unpacked(group["mean"]["coordinates"])
        rest = unpacked(group["mean"]["rest"])
        for i, backbone in enumerate(facts["rows"]):
            for j, code in enumerate(group["tasks"]):
                wanted = site_board.noises[backbone][code].patient_variance
                variance = np.square(coordinates[i, j]).sum() + rest[i, j]
                assert variance == pytest.approx(wanted, rel=2e-3)
    table = next(iter(facts["t"].values()))
    row = site_board.rows[0]
    noise = site_board.noises[row.backbone]["b0-A4-C"]
    half = noise.half_width / np.sqrt(noise.encoder_variance)
    assert table["half"] == pytest.approx(half, rel=1e-6)


def test_few_directions_keep_the_length_of_every_vector() -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 15))
    short = reduced(vectors, most=4)
    lengths = np.square(short.coordinates).sum(axis=1) + short.rest
    assert short.coordinates.shape == (40, 4)
    assert lengths == pytest.approx(np.square(vectors).sum(axis=1))


def test_a_site_replaces_itself_and_nothing_else(site_board: Board, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    write_site(site_board, datasets.cards(), folder)
    stale = folder / "backbone/gone.html"
    stale.write_text("old")
    listed = json.loads((folder / "site.json").read_text())
    listed["files"] += ["backbone/gone.html", "../outside.txt"]
    (folder / "site.json").write_text(json.dumps(listed))
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    write_site(site_board, datasets.cards(), folder)
    assert not stale.exists()
    assert outside.read_text() == "mine"

    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(UnsupportedOptionError, match="not of a site of etab"):
        write_site(site_board, datasets.cards(), other)


def test_a_script_of_data_cannot_end_early() -> None:
    script = as_script("a", {"</script>": "\u2028"})
    assert "<" not in script
    assert "\u2028" not in script
