"""How scores and ranks move with the input size, the fit and the head, on real CAMUS.

``python -m benchmarks.factors sizes --root CAMUS --results DIR`` runs four cheap backbones at 112, 224
and 320 pixels, and ``python -m benchmarks.factors heads --root CAMUS --results DIR`` runs the stack on
pooled features beside the attentive probes of one and four blocks on frozen tokens. ``fits`` compares
squash, letterbox and crop; it needs pictures that are no squares. Each runs the cells that are not in
the folder yet by ``etab run``, and prints a table in Markdown; ``--table`` only prints it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etab.backbones.base import FITS
from etab.results import Result, load_results
from etab.results.names import split_size
from etab.tasks.menu import TASKS

CHEAP = ("mobilenetv2", "efficientnet_lite0", "efficientnet_lite2", "image_stats")
SIZES = (112, 224, 320)


@dataclass(frozen=True, slots=True)
class Factor:
    """What is varied, and on which cells.

    Attributes:
        title: Name of the varied column.
        tasks: Codes of the tasks.
        protocol: The protocol.
        backbones: Names of backbones, with sizes and fits.
        heads: Names of heads; empty for those of the tasks.
    """

    title: str
    tasks: tuple[str, ...]
    protocol: str
    backbones: tuple[str, ...]
    heads: tuple[str, ...] = ()

    def level(self, result: Result) -> str:
        """Name the level of the factor that a result is at."""
        if self.heads:
            return result.head
        _, size, fit = split_size(result.backbone)
        return fit if self.title == "fit" else str(size or 224)


FACTORS: Mapping[str, Factor] = {
    "sizes": Factor(
        "px",
        ("b0-A4-C", "d0-A4-C"),
        "cv5x5",
        tuple(f"{name}@{size}" for name in CHEAP for size in SIZES),
    ),
    "fits": Factor(
        "fit",
        ("a0-A4-C", "b0-A4-C"),
        "cv5",
        tuple(
            f"{name}@224+{fit}" for name in ("efficientnet_lite0", "image_stats") for fit in FITS
        ),
    ),
    "heads": Factor(
        "head",
        ("b0-A4-C", "d0-A4-C"),
        "cv5",
        ("mobilenetv2",),
        ("stack", "attentive_1", "attentive_4"),
    ),
}


def command(factor: Factor, root: Path, results: Path) -> list[str]:
    """The command that runs the cells of a factor.

    Args:
        factor: What is varied.
        root: The folder of CAMUS.
        results: Folder of the results; cells that it holds are not run again.
    """
    heads = ("--head", ",".join(factor.heads)) if factor.heads else ()
    return [
        *(sys.executable, "-m", "etab", "run", "--root", str(root), "--results", str(results)),
        *("--tasks", ",".join(factor.tasks), "--backbones", ",".join(factor.backbones)),
        *("--protocol", factor.protocol, "--keep-masks", "none", "--workers", "1", *heads),
    ]


def table(factor: Factor, results: Sequence[Result]) -> str:
    """Lay results out: a row for each task and backbone, a column for each level, with ranks.

    Args:
        factor: What is varied.
        results: Results by any protocol; those of other protocols and tasks are left out.

    Returns:
        Markdown. A cell holds the value, its 95 % interval, and the rank of the backbone among all
        backbones at that level; "" where a result is absent.
    """
    cells: dict[tuple[str, str, str], Result] = {}
    for result in results:
        if result.task in factor.tasks and result.protocol == factor.protocol:
            name = split_size(result.backbone)[0]
            cells[result.task, name, factor.level(result)] = result
    levels = sorted({key[2] for key in cells}, key=lambda level: (len(level), level))
    names = sorted({key[1] for key in cells})
    lines = ["| task | backbone | " + " | ".join(f"{factor.title} {v}" for v in levels) + " |"]
    lines.append("|" + "---|" * (2 + len(levels)))
    for task in factor.tasks:
        for name in names:
            row = [task, name, *(_cell(cells, task, name, level) for level in levels)]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _cell(cells: Mapping[tuple[str, str, str], Result], task: str, name: str, level: str) -> str:
    """Value, interval and rank of one result."""
    result = cells.get((task, name, level))
    if result is None:
        return ""
    better = TASKS[task].better
    rivals = [other for key, other in cells.items() if (key[0], key[2]) == (task, level)]
    rank = 1 + sum(better * other.value > better * result.value for other in rivals)
    text = f"{result.value:.3f} ({result.low:.3f} to {result.high:.3f})"
    return f"{text}, {rank}" if len(rivals) > 1 else text


def main() -> int:
    """Run the cells of one factor and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("factor", choices=sorted(FACTORS))
    parser.add_argument("--root", type=Path, required=True, help="folder of CAMUS")
    parser.add_argument("--results", type=Path, required=True, help="folder of the results")
    parser.add_argument("--table", action="store_true", help="only print the table")
    options = parser.parse_args()
    factor = FACTORS[options.factor]
    if not options.table:
        done = subprocess.run(command(factor, options.root, options.results), check=False)
        if done.returncode:
            return done.returncode
    print(table(factor, load_results(options.results)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
