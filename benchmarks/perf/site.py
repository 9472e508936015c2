"""Time, memory and size of the site of a leaderboard, and how fast its page ranks again.

``python -m benchmarks.perf.site`` writes 300 made backbones x 30 tasks of 500 patients each into a
folder that is removed afterwards (some minutes), makes their site with ``etab leaderboard`` in a
process of its own, opens it in Chromium, and moves the weight of a category. It prints what it
measured against the limits. Status 1 if a limit is passed. It needs playwright and a Chromium.
``--write`` also writes ``benchmarks/perf/site.json`` and ``docs/reference/site.md``, and lists the
page in the contents of the documentation; ``--made FOLDER`` keeps the made results in a folder, or
takes those that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.perf.board import BACKBONES, N_TASKS, PATIENTS, PROTOCOL, made_tasks, write
from benchmarks.perf.sweep import machine

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benchmarks" / "perf" / "site.json"
PAGE = ROOT / "docs" / "reference" / "site.md"
CONTENTS = ROOT / "docs" / "index.md"
_BEFORE = "reference/scaling\n"  # the page that stands before this one in the contents
LIMITS = {
    "build_seconds": 60.0,
    "build_megabytes": 2000.0,
    "site_megabytes": 10.0,
    "first_paint_ms": 1000.0,
    "rerank_ms": 50.0,
}
WORDS = {
    "build_seconds": "processor time of `etab leaderboard RESULTS --html FOLDER`, s",
    "build_megabytes": "peak of its resident memory, MB",
    "site_megabytes": "size of the folder, MB",
    "first_paint_ms": "first paint of the board in a new browser, ms",
    "rerank_ms": "a step of a slider: new scores, intervals and ranks, and a new table, ms",
}
STEPS = 25
HEAD = """# Speed of a large site

Written by `python -m benchmarks.perf.site --write`, which makes the results, writes their site and opens it in Chromium.

"""

_BUILD = """
import resource, sys
from pathlib import Path
from etab.cli.main import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    # ru_maxrss would count the memory of the process that started this one, too.
    status = Path("/proc/self/status").read_text().split()
    peak = int(status[status.index("VmHWM:") + 1])
    print(used.ru_utime + used.ru_stime, peak / 1000, sep=",", file=sys.stderr)
"""

# Each step moves a weight, ranks again, updates the table, and waits for its layout.
_MOVE = """
steps => Array.from({ length: steps }, (_, k) => {
  const weights = ETAB.defaultWeights(ETAB.data.board);
  weights.categories[Object.keys(weights.categories)[0]] = 0.2 + k / 10;
  return ETAB.reweigh(weights);
})
"""


@dataclass(frozen=True)
class Measured:
    """What a site took.

    Attributes:
        build_seconds: Processor time of the command.
        build_megabytes: Peak of its resident memory.
        site_megabytes: Size of the folder.
        first_paint_ms: First paint with content of the board's page in a new browser.
        rerank_ms: Median over the steps of a slider, with the update and layout of the table.
    """

    build_seconds: float
    build_megabytes: float
    site_megabytes: float
    first_paint_ms: float
    rerank_ms: float


def built(results: Path, suite: Path, folder: Path) -> tuple[float, float]:
    """Make a site in a process of its own: processor seconds and peak memory in MB.

    A board that was computed before is not taken: ``--recompute`` checks every result anew.
    """
    options = ["leaderboard", str(results), "--suite", str(suite), "--protocol", PROTOCOL]
    command = [sys.executable, "-c", _BUILD, *options, "--recompute", "--html", str(folder)]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"etab leaderboard ended with {run.returncode}:\n{run.stderr}")
    seconds, megabytes = run.stderr.strip().splitlines()[-1].split(",")
    return float(seconds), float(megabytes)


def looked_at(folder: Path, steps: int = STEPS) -> tuple[float, float]:
    """Open a site in a browser: first paint, and the median step of a slider, both in ms."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto((folder / "index.html").as_uri())
        page.wait_for_selector("html[data-loaded]")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        page.wait_for_timeout(1000)  # the page prepares its arrays after the first paint
        times = page.evaluate(_MOVE, steps)
        browser.close()
    return float(paint), median(times)


def measured(results: Path, suite: Path, folder: Path) -> Measured:
    """Make the site of a folder of results and open it."""
    seconds, megabytes = built(results, suite, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    paint, step = looked_at(folder)
    return Measured(seconds, megabytes, size / 1e6, paint, step)


def page(record: dict[str, Any]) -> str:
    """Write what was measured as Markdown.

    Args:
        record: The content of ``RECORD``.

    Returns:
        The page.
    """
    lines = [f"{record['size']}. Machine: {record['machine']['processor']}, "]
    lines[0] += f"{record['machine']['cores']} cores; load {record['load']:.1f} at the start.\n"
    lines += ["| what | measured | at most |", "|---|---|---|"]
    for key, words in WORDS.items():
        lines.append(f"| {words} | {record['measured'][key]:.1f} | {LIMITS[key]:g} |")
    return HEAD + "\n".join(lines) + "\n"


def contents_with_page(text: str) -> str:
    """List the page in the contents of the documentation, where it is not yet.

    Args:
        text: The Markdown of the contents.

    Returns:
        The Markdown with the page after that of the scaling.
    """
    entry = "reference/site\n"
    return text if entry in text else text.replace(_BEFORE, _BEFORE + entry)


def main() -> None:
    """Measure a site and hold it against the limits of the full size."""
    parser = argparse.ArgumentParser(description="time the site of a leaderboard of made results")
    parser.add_argument("--backbones", type=int, default=BACKBONES)
    parser.add_argument("--tasks", type=int, default=N_TASKS)
    parser.add_argument("--patients", type=int, default=PATIENTS)
    parser.add_argument("--made", type=Path, help="folder for the made results, or with them")
    parser.add_argument("--write", action="store_true", help="write the record and its page")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        made = options.made or Path(name)
        tasks = made_tasks(options.tasks)
        suite = made / "made.toml"
        if not suite.is_file():
            suite = write(made, options.backbones, tasks, options.patients)
        facts = asdict(measured(made / "results", suite, Path(name) / "site"))
    size = f"{options.backbones} backbones x {len(tasks)} tasks, {options.patients} patients"
    print(size)
    for key, value in facts.items():
        print(f"{key}: {value:.1f} of {LIMITS[key]:g}")
    if options.write:
        record = {"size": size, "machine": machine(), "load": load, "measured": facts}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        PAGE.write_text(page(record))
        CONTENTS.write_text(contents_with_page(CONTENTS.read_text()))
    sys.exit(1 if any(value > LIMITS[key] for key, value in facts.items()) else 0)


if __name__ == "__main__":
    main()
