"""Wall time and memory of whole boards under five divisions into folds, beside the time allowed.

``python -m benchmarks.perf.sweep`` measures them and writes the records that this part reads: for
minutes, and with the data at hand, which a table of speeds does not need.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.perf.rows import Row

IS_RECORD = True
FOLDER = Path(__file__).resolve().parent
RECORDS = {
    "CAMUS board": "sweep.json",
    "board of heart sounds, the small part": "sweep_sounds.json",
}


def rows() -> Iterator[Row]:
    """Lay out the records of ``benchmarks.perf.sweep``."""
    for title, name in RECORDS.items():
        yield from record_rows(title, FOLDER / name)


def record_rows(title: str, path: Path) -> Iterator[Row]:
    """The lines of one record.

    Args:
        title: The board.
        path: A record that ``benchmarks.perf.sweep`` has written.
    """
    record = json.loads(path.read_text())
    allowed = record["limits"]
    memory = allowed["peak_gb"]
    of_memory = "" if memory is None else f" of {memory:g}"
    for stage, measured in record["measured"].items():
        divisions = measured.get("protocol", "protocol not recorded")
        yield Row(
            task=f"{title}, {stage}, {divisions}, peak {measured['peak_gb']:g}{of_memory} GB",
            ours=measured["seconds"],
            peer_name="the time allowed",
            peer=allowed[stage],
            wanted=1.0,
        )
