"""Every published number computed again with numpy alone, and how many agree: one command.

``python -m benchmarks.recomputed [--parts records,boards,read-outs] [--folders NAMES] [--camus CAMUS]``
goes through the stored results in this folder. It compares

* every number of each record with what ``rescore_numpy`` computes,
* every number of the published boards with what ``board_numpy`` computes,
* every clinical read-out of each record with what ``readouts_numpy`` computes; with ``--camus`` also
  the subgroups of CAMUS.

etab writes boards and read-outs by its own commands, in processes of their own. The counts are kept
in ``recomputed.json``, renewed after each folder, and ``recomputed.md`` is written from it. The exit
status is 1 where a number differs by more than 1e-9, or none was compared. ``--parts`` and ``--folders`` renew some
of the counts and leave the others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.board_numpy import compare_board
from benchmarks.readouts_numpy import compare_readouts
from benchmarks.rescore_numpy import Tally, compare_records

HERE = Path(__file__).parent
SUITES = HERE.parent / "configs" / "suites"
COUNTS = HERE / "recomputed.json"
PAGE = HERE / "recomputed.md"
PARTS = ("records", "boards", "read-outs")


@dataclass(frozen=True)
class Board:
    """A published board: its folder, its suite, and folders of cells with other heads."""

    folder: str
    suite: str
    variants: tuple[str, ...] = ()


BOARDS = (
    Board("results", "camus", ("results_heads",)),
    Board("results_sounds", "sounds"),
    Board("results_sounds_full", "sounds"),
)


def folders() -> list[Path]:
    """The folders of stored results."""
    return sorted(path for path in HERE.glob("results*") if path.is_dir())


def etab(*words: object) -> str:
    """What a command of etab prints."""
    command = [sys.executable, "-m", "etab", *map(str, words)]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def of_records(folder: Path, tally: Tally) -> None:
    """Compare the records of a folder."""
    compare_records(folder, tally)


def of_board(board: Board, tally: Tally) -> None:
    """Let etab write a board, and compare it."""
    variants = [HERE / name for name in board.variants]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "board.json"
        options: list[object] = ["--suite", board.suite, "--numbers", path]
        for variant in variants:
            options += ["--variants", variant]
        etab("leaderboard", HERE / board.folder, *options)
        suite = SUITES / f"{board.suite}.toml"
        compare_board(HERE / board.folder, suite, path, variants, tally)


def of_readouts(folder: Path, camus: Path | None, tally: Tally) -> None:
    """Let etab write the read-outs of a folder, and compare them."""
    options = ["--root", camus] if camus else []
    stored = json.loads(etab("results", folder, "--clinical", "--json", *options))
    compare_readouts(folder, stored, camus, tally)


def jobs(parts: Sequence[str], camus: Path | None) -> dict[str, Callable[[Tally], None]]:
    """What there is to compare, by the title of its row."""
    found: dict[str, Callable[[Tally], None]] = {}
    for folder in folders():
        if "records" in parts:
            found[f"records of {folder.name}"] = partial(of_records, folder)
        if "read-outs" in parts:
            root = camus if folder.name == "results" else None
            title = f"read-outs of {folder.name}"
            found[title] = partial(of_readouts, folder, root)
    if "boards" in parts:
        for board in BOARDS:
            found[f"board of {board.folder}"] = partial(of_board, board)
    return found


def counted(tally: Tally) -> dict[str, float]:
    """The counts of a row."""
    return {
        "records": tally.records,
        "compared": tally.compared,
        "different": tally.different,
        "not computed": tally.unknown.total(),
        "largest": tally.largest,
    }


def page(counts: Mapping[str, Mapping[str, float]]) -> str:
    """The table of the counts, with a total for records, boards and read-outs."""
    lines = [
        "# Published numbers computed again with numpy alone",
        "",
        "Made by `python -m benchmarks.recomputed`. Numbers differ where they are more than 1e-9 apart.",
        "",
        "| what | records or boards | numbers compared | different | not computed | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    for kind in ("records", "board", "read-outs"):
        rows = {title: row for title, row in counts.items() if title.startswith(f"{kind} of ")}
        lines += [_line(title, row) for title, row in sorted(rows.items())]
        if rows:
            total = {
                key: sum(row[key] for row in rows.values()) for key in next(iter(rows.values()))
            }
            total["largest"] = max(row["largest"] for row in rows.values())
            lines.append(_line(f"**{kind} in all**".replace("board ", "boards "), total))
    missing = sorted(set(jobs(PARTS, None)) - set(counts))
    if missing:
        lines += ["", f"Not counted by this command yet: {', '.join(missing)}."]
    return "\n".join([*lines, ""])


def _line(title: str, row: Mapping[str, float]) -> str:
    keys = ("records", "compared", "different", "not computed")
    numbers = " | ".join(f"{row[key]:,}" for key in keys)
    return f"| {title} | {numbers} | {row['largest']:.1e} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, keep the counts and write the page."""
    parser = argparse.ArgumentParser(
        description="published numbers computed again with numpy alone"
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="what to compare")
    parser.add_argument("--folders", help="folders of results, by name; all unless told otherwise")
    parser.add_argument("--camus", type=Path, help="CAMUS, for subgroups")
    asked = parser.parse_args(arguments)
    parts = asked.parts.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"--parts names {', '.join(PARTS)}; got {', '.join(unknown)}")
    chosen = jobs(parts, asked.camus)
    if asked.folders:
        wanted = asked.folders.split(",")
        chosen = {title: job for title, job in chosen.items() if title.split(" of ")[1] in wanted}
    if not chosen:
        parser.error(f"--folders names none of {', '.join(path.name for path in folders())}")
    different = 0
    compared = 0
    for title, job in chosen.items():
        tally = Tally()
        job(tally)
        print(f"{title}: {tally.words()}", end="", flush=True)
        different += tally.different
        compared += tally.compared
        counts = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
        counts[title] = counted(tally)
        COUNTS.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")
        PAGE.write_text(page(counts))
    return 1 if different or not compared else 0


if __name__ == "__main__":
    raise SystemExit(main())
