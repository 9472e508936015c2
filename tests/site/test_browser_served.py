"""The site from a server with a strict policy, and what its controls do by hand and by key."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT, etab

pytestmark = pytest.mark.slow

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Strict(SimpleHTTPRequestHandler):
    """Files of a folder, as a static host with a strict policy serves them."""

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Write nothing to the terminal."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    results = ROOT / "benchmarks/results_sounds_full"
    curves = ROOT / "benchmarks/label_efficiency.csv"
    for name, options in (
        ("sounds", [results, "--suite", "sounds"]),
        ("camus", [ROOT / "benchmarks/results", "--suite", "camus", "--curves", curves]),
    ):
        ended = etab("leaderboard", *options, "--html", folder / name)
        assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    handler = functools.partial(Strict, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def visitor(browser: Any, address: str) -> Iterator[Any]:
    """A page whose faults, failed files and requests to other servers are counted."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else 0)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("response", lambda r: faults.append(r.url) if r.status >= 400 else None)
    opened.on(
        "request",
        lambda r: None if r.url.startswith((address, "blob:")) else faults.append(r.url),
    )
    yield opened
    context.close()
    assert faults == []


def test_every_page_of_a_strict_server_works(visitor: Any, address: str, folder: Path) -> None:
    pages = sorted(path.relative_to(folder) for path in (folder / "sounds").rglob("*.html"))
    assert len(pages) > 15
    for path in pages:
        visitor.goto(f"{address}/{path.as_posix()}")
        visitor.wait_for_load_state("load")
        visitor.wait_for_selector("main svg")
        assert visitor.locator("h1").count() == 1, path


def test_a_served_board_is_weighted_downloaded_and_linked(visitor: Any, address: str) -> None:
    visitor.goto(f"{address}/sounds/index.html#weights=f:0")
    visitor.wait_for_selector("html[data-loaded]")
    assert "not the published ones" in visitor.inner_text("#reweighted")
    visitor.click("#export summary")
    with visitor.expect_download() as started:
        visitor.click("[data-export=csv]")
    assert "envelopes" in Path(started.value.path()).read_text()
    visitor.keyboard.press("Escape")
    assert visitor.evaluate("document.getElementById('export').open") is False
    visitor.reload()
    visitor.wait_for_selector("html[data-loaded]")
    assert not visitor.locator("#reweighted").is_hidden()
    assert visitor.get_attribute("#reweighted", "role") == "status"  # said aloud by screen readers


@pytest.mark.parametrize("sheet", ["columns", "weights", "export"])
def test_sheets_open_close_and_keep_the_focus(visitor: Any, address: str, sheet: str) -> None:
    visitor.goto(f"{address}/camus/index.html")
    visitor.wait_for_selector("html[data-loaded]")
    visitor.focus(f"#{sheet} summary")
    visitor.keyboard.press("Enter")
    visitor.keyboard.press("Tab")
    inside = f"document.getElementById('{sheet}').contains(document.activeElement)"
    assert visitor.evaluate(inside)
    assert visitor.evaluate("document.activeElement.tagName") != "SUMMARY"
    # Everything in a sheet that can be worked has a name, and no text of it is cut.
    unnamed = visitor.locator(f"#{sheet} .sheet").evaluate(
        "sheet => [...sheet.querySelectorAll('button, input, a')].filter(e =>"
        " !(e.getAttribute('aria-label') || e.textContent || e.closest('label')?.textContent))"
        ".length"
    )
    assert unnamed == 0
    cut = visitor.locator(f"#{sheet} .sheet").evaluate(
        "sheet => [...sheet.querySelectorAll('span, label, button')].filter(e =>"
        " e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === 'hidden')"
        ".map(e => e.textContent)"
    )
    assert cut == []
    visitor.keyboard.press("Escape")
    assert visitor.evaluate(f"document.getElementById('{sheet}').open") is False
    assert visitor.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_a_slider_is_moved_by_keys_and_put_back(visitor: Any, address: str) -> None:
    visitor.goto(f"{address}/camus/index.html")
    visitor.wait_for_selector("html[data-loaded]")
    first = visitor.locator("#table tbody:first-of-type .strong").first.inner_text()
    visitor.click("#weights summary")
    slider = visitor.get_by_role("slider", name="Weight of diagnosis")
    slider.focus()
    visitor.keyboard.press("Home")
    visitor.wait_for_function(
        f"() => document.querySelector('#table .strong').textContent !== '{first}'"
    )
    assert slider.input_value() == "0"
    assert "changed" in visitor.inner_text("#weights-state")
    visitor.get_by_role("button", name="Weights of the board").press("Enter")
    visitor.wait_for_function("() => document.getElementById('reweighted').hidden")
    assert visitor.locator("#table tbody:first-of-type .strong").first.inner_text() == first


def test_calibration_is_of_the_class_that_is_chosen(visitor: Any, address: str) -> None:
    visitor.goto(f"{address}/sounds/backbone/mobilenetv2.html")
    visitor.locator("#prediction-task").select_option("f1-AL-D")
    classes = visitor.get_by_role("group", name="Class").get_by_role("button")
    classes.first.wait_for()
    assert classes.all_inner_texts() == ["Present", "Unknown", "Absent"]
    shown = set()
    for k in range(3):
        classes.nth(k).press("Enter")
        assert classes.nth(k).get_attribute("aria-pressed") == "true"
        assert visitor.evaluate("document.activeElement.textContent") == classes.nth(k).inner_text()
        heights = visitor.locator("#prediction-picture svg circle").evaluate_all(
            "all => all.map(dot => dot.getAttribute('cy')).join()"
        )
        shown.add(heights)
    assert len(shown) == 3
    assert visitor.locator("#frame-note").is_hidden()  # a row is a recording, and not a frame


def test_bands_are_shown_and_hidden_by_their_buttons(visitor: Any, address: str) -> None:
    visitor.goto(f"{address}/camus/index.html#picture=curves")
    visitor.wait_for_selector("html[data-loaded]")
    visitor.locator("#picture").scroll_into_view_if_needed()
    names = visitor.locator("#picture .key button")
    names.first.wait_for()
    pressed = visitor.locator("#picture .key [aria-pressed=true]").count()
    assert visitor.locator("#picture .band").count() == pressed
    assert 0 < pressed < names.count()
    names.first.press("Enter")
    assert visitor.locator("#picture .band").count() == pressed - 1
    visitor.locator("#picture .key button").first.press("Enter")
    assert visitor.locator("#picture .band").count() == pressed


def test_pictures_that_a_board_lacks_are_named_with_their_command(
    visitor: Any, address: str
) -> None:
    visitor.goto(f"{address}/sounds/index.html#picture=curves")
    visitor.wait_for_selector("html[data-loaded]")
    absent = visitor.locator("#no-pictures p").all_inner_texts()
    assert [text.partition(":")[0] for text in absent] == ["Label efficiency", "Subgroups"]
    assert visitor.locator("#no-pictures code").count() == 2
    # A link to a picture that is not there shows the first one.
    assert visitor.get_attribute("#tab-scores", "aria-selected") == "true"
