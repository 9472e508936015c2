"""Scores of one backbone in every precision that works here, beside those in fp32.

``python -m benchmarks.parity_backends --root CAMUS`` runs the same cells by ``etab run --precision``
in each precision of ``etab.precisions.NAMED``, and writes ``benchmarks/parity_backends.md``. A
precision whose backend is absent, or that changes nothing in the network, is listed with the reason.
It ends with status 1 where a score leaves the 95 % interval of its fp32 score.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.perf.sweep import machine
from etab.precisions import NAMED
from etab.results import Result, load_results

BACKBONE = "mobilenetv2"
TASKS = "b0-A4-C,d0-A4-C,c0-AX-C"
PAGE = Path(__file__).parent / "parity_backends.md"

Cell = tuple[str, str]


def cells_of(folder: Path) -> dict[Cell, Result]:
    """Results of a folder by task and protocol."""
    return {(result.task, result.protocol): result for result in load_results(folder)}


def run(options: argparse.Namespace, precision: str, folder: Path) -> str:
    """Run the cells in one precision.

    Args:
        options: The options of the command.
        precision: One of ``NAMED``.
        folder: Where the results and features are written.

    Returns:
        Why the precision does not work here; empty if it does.
    """
    command = [
        *(sys.executable, "-m", "etab", "run", "--root", str(options.root)),
        *("--tasks", options.tasks, "--backbones", options.backbone),
        *("--protocol", options.protocol, "--precision", precision, "--workers", "1"),
        *("--results", str(folder / "results"), "--cache", str(folder / "cache")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    words = " ".join((done.stderr or done.stdout).split())
    return words[-300:]


def share(cell: Result, reference: Result) -> float:
    """The difference to fp32, as a share of half the width of the interval of the fp32 score."""
    half = (reference.high - reference.low) / 2
    return abs(cell.value - reference.value) / max(half, 1e-12)


def lines(
    results: Mapping[str, Mapping[Cell, Result]], refused: Mapping[str, str]
) -> Iterator[str]:
    """Lines of the table in Markdown.

    Args:
        results: Results by precision, by task and protocol; fp32 is among them.
        refused: Reasons by precision, of the precisions that do not work.
    """
    yield "| task | protocol | precision | score | difference to fp32 | share of the half width |"
    yield "|---|---|---|---|---|---|"
    for cell, reference in results["fp32"].items():
        span = f"{reference.value:.4f} [{reference.low:.4f}, {reference.high:.4f}]"
        yield f"| {cell[0]} | {cell[1]} | fp32 | {span} |  |  |"
        for precision in (name for name in results if name != "fp32"):
            other = results[precision][cell]
            yield (
                f"| {cell[0]} | {cell[1]} | {precision} | {other.value:.4f} | "
                f"{other.value - reference.value:+.4f} | {share(other, reference):.2f} |"
            )
    yield ""
    for precision, reason in refused.items():
        yield f"* {precision} was not run: {reason}"


def outside(results: Mapping[str, Mapping[Cell, Result]]) -> list[str]:
    """Name the scores that leave the interval of their fp32 score."""
    names = []
    for precision, cells in results.items():
        for cell, result in cells.items():
            reference = results["fp32"][cell]
            if not reference.low <= result.value <= reference.high:
                names.append(f"{cell[0]} {cell[1]} {precision}")
    return names


def page(
    backbone: str, results: Mapping[str, Mapping[Cell, Result]], refused: Mapping[str, str]
) -> str:
    """The page in Markdown."""
    facts = machine()
    text = [
        f"# {backbone} in every precision",
        "",
        "Made by `python -m benchmarks.parity_backends --root CAMUS`. The backends OpenVINO and ONNX",
        "Runtime are in the extras `openvino` and `onnx`. A score in fp32 has its 95 % interval; the",
        f"last column is the difference as a share of half its width. Machine: {facts['processor']}.",
        "",
        *lines(results, refused),
        "",
    ]
    return "\n".join(text)


def main() -> None:
    """Run the cells in every precision and write the page."""
    parser = argparse.ArgumentParser(description="scores of every precision beside fp32")
    parser.add_argument("--root", type=Path, required=True, help="folder of CAMUS")
    parser.add_argument("--backbone", default=BACKBONE)
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--protocol", default="cv5")
    parser.add_argument("--precisions", default=",".join(NAMED))
    parser.add_argument("--write", type=Path, default=PAGE)
    options = parser.parse_args()
    results: dict[str, dict[Cell, Result]] = {}
    refused: dict[str, str] = {}
    for precision in options.precisions.split(","):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            reason = run(options, precision, folder)
            if reason:
                refused[precision] = reason
            else:
                results[precision] = cells_of(folder / "results")
        print(precision, refused.get(precision, "done"), flush=True)
        if "fp32" in results:
            options.write.write_text(page(options.backbone, results, refused))
    if "fp32" not in results:
        parser.error(f"the cells did not run in fp32: {refused.get('fp32', 'it was left out')}")
    outliers = outside(results)
    for name in outliers:
        print(f"outside the interval: {name}")
    sys.exit(1 if outliers else 0)


if __name__ == "__main__":
    main()
