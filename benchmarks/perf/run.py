"""One table of speeds: etab, a peer, their ratio, a limit and the distance to it.

``python -m benchmarks.perf.run`` times every part, a module ``benchmarks/perf/table_<part>.py``
whose ``rows()`` yields lines of the table (``benchmarks.perf.rows.Row``), and writes
``benchmarks/perf/run.json`` and ``docs/performance.md``. ``--parts statistics,start`` times some;
the others keep the lines of the last run. The peers are in the extra ``perf``:
``pip install -e .[perf]``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmarks.perf
from benchmarks.perf.rows import Row, table
from benchmarks.perf.sweep import machine

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benchmarks" / "perf" / "run.json"
PAGE = ROOT / "docs" / "performance.md"
PREFIX = "table_"
_IDLE = 1.2  # the part before leaves a load of 1 itself
FIELDS = (
    "task",
    "ours",
    "peer_name",
    "peer",
    "limit_name",
    "limit",
    "wanted",
    "agreement",
)
HEAD = """# Performance

Written by `python -m benchmarks.perf.run` (peers: `pip install -e .[perf]`). Times are processor
time, the shortest of several rounds in which etab and its peer take turns in one process; a part
whose heading says wall time gives medians of it, with all cores where it names no number. Quote
ratios: seconds are of one machine. *Ratio* is how many times longer the peer takes, *aim* the ratio
that is wanted, and *above the limit* how many times longer etab takes than the least work that the
task needs.

Loops of other benchmarks are timed as they stand, where their checkouts are there
(`benchmarks/perf/peers.py`). Not timed are the linear probes that eva and CardioBench train by
gradient steps: they end somewhere else than at the solution, so that no answer can be compared, and
that of CardioBench runs the whole network again in every epoch and asks for memory pinned by CUDA.

The rows of the CAMUS board are of the heads before the present ones and of one division into folds.
With the present heads and five divisions, the times allowed are not kept: masks take three quarters
of the work.

No figure here is of a GPU. Batches of uint8 frames go to a GPU from ordinary memory, one after
another; pinned memory is not used, because no run on a GPU has shown what it saves. Frames are
resized on the processor, in the thread that reads ahead: the interpolation (OpenCV's average by
area, or a filter of Pillow) is part of the protocol and of the key of features, and torch's own
interpolation on a device gives other pixels, so features would depend on where they were computed.

"""


def parts() -> list[str]:
    """Names of the parts of the table, in alphabetical order."""
    modules = pkgutil.iter_modules(benchmarks.perf.__path__)
    names = [module.name for module in modules if module.name.startswith(PREFIX)]
    return sorted(name.removeprefix(PREFIX) for name in names)


def measured(part: str) -> dict[str, Any]:
    """Time one part: its title, seconds that it took, and its lines."""
    load = os.getloadavg()[0]
    started = time.perf_counter()
    module = importlib.import_module(f"benchmarks.perf.{PREFIX}{part}")
    rows = [row.facts() for row in module.rows()]
    # A part that lays out a record does not know how busy the machine was then.
    is_record = getattr(module, "IS_RECORD", False)
    return {
        "title": str(module.__doc__).splitlines()[0],
        "seconds": round(time.perf_counter() - started, 1),
        "machine": machine(),
        "load": None if is_record else round(load, 2),
        "rows": rows,
    }


def load_words(load: float | None) -> str:
    """Say whether other processes kept the machine busy.

    Args:
        load: Mean number of busy processes in the minute before a part began; None for a part that
            was timed before this was recorded.
    """
    if load is None:
        return "Whether the machine was otherwise idle was not recorded."
    if load < _IDLE:
        return "The machine was otherwise idle."
    return f"Other processes were busy: a load of {load:.1f} in the minute before."


def page(record: dict[str, Any]) -> str:
    """The Markdown page of a record of all parts."""
    sections = [HEAD]
    for part, content in sorted(record.items()):
        facts = content["machine"]
        bf16 = "with" if facts["bf16"] else "without"
        on = f"{facts['processor']}, {facts['cores']} cores, {bf16} bf16, Python {facts['python']}"
        rows = [Row(**{name: row[name] for name in FIELDS}) for row in content["rows"]]
        sections.append(f"## {part.capitalize()}\n\n{content['title']} Machine: {on}.\n")
        sections.append(f"{load_words(content.get('load'))}\n\n")
        sections.append(table(rows) + "\n")
    return "".join(sections).rstrip("\n") + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Time the parts asked for, and write the record and the page."""
    parser = argparse.ArgumentParser(description="time etab beside its peers")
    parser.add_argument("--parts", default=",".join(parts()), help="parts, separated by commas")
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    record = json.loads(options.record.read_text()) if options.record.is_file() else {}
    for part in options.parts.split(","):
        if part not in parts():
            parser.error(f"there is no part {part!r}; there are {', '.join(parts())}")
        record[part] = measured(part)
        print(f"{part}: {record[part]['seconds']} s")
        options.record.write_text(json.dumps(record, indent=1) + "\n")
        options.page.write_text(page(record))
    print(f"written: {options.record}, {options.page}")


if __name__ == "__main__":
    main()
