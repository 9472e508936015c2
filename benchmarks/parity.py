"""Whether bf16 may stand for fp32: the same cells in both, difference against the interval of the fp32 value.

``python -m benchmarks.parity --bf16 benchmarks/results --fp32 DIR`` compares two results folders, the second made by
``etab run --precision fp32 --results DIR``, writes ``benchmarks/parity.md`` and ends with status 1 if a cell of a
pretrained backbone lies outside the fp32 interval. For each task it gives the largest difference over backbones and its
share of the half width of that interval.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from etab.results import Result, load_results
from etab.tasks.menu import TASKS

Pair = tuple[Result, Result]


def pairs(bf16: Path, fp32: Path) -> list[Pair]:
    """(bf16, fp32) cells of the same task, backbone, head, protocol and seed."""
    place = {(r.task, r.backbone, r.head, r.protocol, r.seed): r for r in load_results(bf16)}
    found = []
    for other in load_results(fp32):
        mine = place.get((other.task, other.backbone, other.head, other.protocol, other.seed))
        if (
            mine is not None
            and mine.settings["precision"] == "bf16"
            and other.settings["precision"] == "fp32"
        ):
            found.append((mine, other))
    return found


def lines(found: Iterable[Pair]) -> Iterable[str]:
    """One line of Markdown for each task and protocol: the pair that differs most."""
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in found:
        groups.setdefault((pair[0].task, pair[0].protocol), []).append(pair)
    yield "| task | protocol | backbones | largest difference | of | fp32 [95 %] | share of the half width |"
    yield "|---|---|---|---|---|---|---|"
    for (task, protocol), cells in sorted(
        groups.items(), key=lambda g: (list(TASKS).index(g[0][0]), g[0][1])
    ):
        mine, other = max(cells, key=lambda p: share(*p))
        span = f"{other.value:.4f} [{other.low:.4f}, {other.high:.4f}]"
        yield (
            f"| {task} | {protocol} | {len(cells)} | {mine.value - other.value:+.4f} | {mine.backbone} | {span} | "
            f"{share(mine, other):.2f} |"
        )


def share(mine: Result, other: Result) -> float:
    """Difference as a share of half the width of the fp32 interval."""
    return abs(mine.value - other.value) / max((other.high - other.low) / 2, 1e-12)


def main() -> None:
    """Write the table; status 1 where a value leaves the interval."""
    parser = argparse.ArgumentParser(description="bf16 against fp32")
    parser.add_argument("--bf16", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--fp32", type=Path, required=True)
    parser.add_argument("--write", type=Path, default=Path("benchmarks/parity.md"))
    asked = parser.parse_args()
    found = pairs(asked.bf16, asked.fp32)
    if not found:
        sys.exit(
            f"{asked.bf16} and {asked.fp32} hold no cell in both precisions; run `etab run --precision fp32` first."
        )
    outside = [m for m, o in found if not o.low <= m.value <= o.high]
    text = [
        "# bf16 against fp32",
        "",
        "Made by `python -m benchmarks.parity --fp32 DIR` after `etab run --precision fp32 --results DIR`.",
        "",
        f"{len(found)} cells of {len({m.backbone for m, _ in found})} backbones; "
        f"{len(found) - len(outside)} bf16 values lie inside the 95 % interval of the fp32 value.",
        "",
        *lines(found),
        "",
    ]
    asked.write.write_text("\n".join(text))
    print("\n".join(text))
    for cell in outside:
        print(f"outside: {cell.task} {cell.protocol} {cell.backbone}")
    sys.exit(1 if outside else 0)


if __name__ == "__main__":
    main()
