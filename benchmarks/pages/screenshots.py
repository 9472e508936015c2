"""Make the pictures of leaderboards in the README: ``python -m benchmarks.pages.screenshots DEMO``.

DEMO is the folder of an ``etab demo``. The sites of the published results are made anew. The command
needs playwright and a Chromium, and writes to ``docs/pictures``.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.pages.site import BOARDS, ROOT
from etab.errors import MissingPackageError

PICTURES = ROOT / "docs" / "pictures"
MOST_BYTES = 300_000
_COLOURS = 128


@dataclass(frozen=True)
class Shot:
    """One picture of a site.

    Attributes:
        name: Name of the file, without its ending.
        site: "demo", or a key of ``BOARDS``.
        page: Path of the page, with the part after ``#``; the first page of a folder where it ends
            in ``/``.
        width: Width of the window in pixels.
        height: Height of the window in pixels, and of an element of more than twice its height.
        element: Selector of the element that is shown; empty for the window.
        button: Text of a button of the element that is pressed first; empty for none.
    """

    name: str
    site: str
    page: str
    width: int = 1280
    height: int = 860
    element: str = ""
    button: str = ""


SHOTS = (
    Shot("leaderboard", "camus", "index.html"),
    Shot("leaderboard_sounds", "heart_sounds", "index.html", height=800),
    Shot(
        "leaderboard_subgroups",
        "camus",
        "index.html#picture=subgroups",
        element="#picture",
        button="image quality",
    ),
    Shot("leaderboard_robustness", "camus", "index.html#picture=robustness", element="#picture"),
    Shot("leaderboard_phantom", "demo", "index.html", height=800),
    Shot("leaderboard_clips", "demo", "backbone/", width=1000, height=400, element=".clips"),
)


def take(demo: Path, sites: Path, shots: tuple[Shot, ...] = SHOTS) -> list[Path]:
    """Make the sites and take their pictures.

    Args:
        demo: Folder of an ``etab demo``.
        sites: Folder for the sites; one that is there is not made again.
        shots: The pictures.

    Returns:
        The files.

    Raises:
        MissingPackageError: If there is no browser.
        ValueError: If a picture is too large for the README.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise MissingPackageError("Screenshots need a chromium on PATH: apt install chromium.")
    from playwright.sync_api import sync_playwright

    for site in sorted({shot.site for shot in shots}):
        if not (sites / site / "index.html").is_file():
            _make(site, demo, sites / site)
    files: list[Path] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for shot in shots:
            picture = in_few_colours(_picture(browser, shot, sites / shot.site))
            if len(picture) > MOST_BYTES:
                raise ValueError(f"{shot.name} takes {len(picture)} bytes of {MOST_BYTES}")
            files.append(PICTURES / f"{shot.name}.png")
            files[-1].write_bytes(picture)
        browser.close()
    return files


def _make(site: str, demo: Path, folder: Path) -> None:
    """Make a site by the command that a reader would use."""
    arguments = [str(demo / "results")] if site == "demo" else BOARDS[site][1]
    command = [sys.executable, "-m", "etab", "leaderboard", *arguments, "--html", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def _picture(browser: Any, shot: Shot, site: Path) -> bytes:
    """A PNG of a page or of one of its elements."""
    path, _, view = shot.page.partition("#")
    file = site / path
    if path.endswith("/"):
        file = _with_clips(file)
    window = {"width": shot.width, "height": shot.height}
    page = browser.new_page(viewport=window, color_scheme="light")
    page.goto(f"{file.as_uri()}#{view}")
    page.wait_for_load_state("load")
    if not shot.element:
        page.wait_for_timeout(500)
        return bytes(page.screenshot())
    element = page.locator(shot.element)
    element.evaluate("shown => shown.scrollIntoView({ block: 'start', behavior: 'instant' })")
    page.wait_for_timeout(1500)  # pictures are drawn, and clips loaded, once they are in view
    if shot.button:
        element.get_by_role("button", name=shot.button, exact=True).click()
        page.wait_for_timeout(500)
    box = element.bounding_box()
    box["y"] += page.evaluate("scrollY")
    if box["height"] > 2 * shot.height:  # a long list: its first rows
        box["height"] = shot.height
    return bytes(page.screenshot(clip=box, full_page=True))


def _with_clips(folder: Path) -> Path:
    """The page of the first pretrained backbone with clips."""
    pages = sorted(folder.glob("*.html"))
    return next(
        page
        for page in pages
        if not page.name.startswith("random") and 'id="examples"' in page.read_text()
    )


def in_few_colours(picture: bytes) -> bytes:
    """A PNG in 128 colours: it looks the same, and takes less room."""
    with Image.open(io.BytesIO(picture)) as opened:
        few = opened.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    file = io.BytesIO()
    few.save(file, "png", optimize=True)
    return file.getvalue()


def main() -> None:
    """Read the command line, and take the pictures."""
    parser = argparse.ArgumentParser(description="screenshots of leaderboards for the README")
    parser.add_argument("demo", type=Path, help="folder of an `etab demo`")
    parser.add_argument("--only", nargs="+", default=[], help="names of some of the pictures")
    parser.add_argument("--sites", type=Path, help="keep the sites here, and take those there")
    options = parser.parse_args()
    shots = tuple(shot for shot in SHOTS if not options.only or shot.name in options.only)
    with tempfile.TemporaryDirectory() as name:
        sites = options.sites or Path(name)
        for path in take(options.demo.resolve(), sites.resolve(), shots):
            print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
