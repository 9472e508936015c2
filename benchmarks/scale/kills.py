"""SIGKILL at random moments: the resumed run must end with the results of an undisturbed one.

``python -m benchmarks.scale.kills FOLDER --kills 200`` writes a phantom cohort, runs a plan on it
undisturbed, and runs the plan again while it is killed at random moments. The records (without
their times) and the tables of predictions must then be equal byte for byte, every cached entry must
be as it was written, and nothing unfinished may remain.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import timm  # noqa: F401  # every process of the plan needs it

from etab import phantom
from etab.cli.main import main as main_command
from etab.features.entries import entry_damage, remove_litter
from etab.runs.execute import CLAIMS
from etab.runs.sweep import sweep  # noqa: F401  # likewise
from etab.storage.litter import remove_temporary_files

TRIES = 10
"""Starts of the plan, for each kill that is asked for, after which the benchmark gives up."""

BACKBONES = "image_stats,pixel_pca,random/efficientnet_lite0"


def command(folder: Path, data: Path, workers: int) -> list[str]:
    """Write the command of the plan, from the word ``run``.

    Args:
        folder: Where results and features go.
        data: Folder of the phantom cohort.
        workers: Number of worker processes.
    """
    return [
        *("run", "--tasks", "a0-A4-C,b0-A4-C,d0-A4", "--backbones", BACKBONES),
        *("--protocol", "cv3", "--root", str(data / "camus")),
        *("--results", str(folder / "results"), "--cache", str(folder / "cache")),
        *("--workers", str(workers)),
    ]


def started(words: list[str]) -> int:
    """Start the command in a process group of its own.

    The process is a fork of this one, which has imported everything, so that the time until it is
    killed is spent on the plan. Its code is that of ``etab``.

    Args:
        words: The command, from the word ``run``.

    Returns:
        The number of the process.
    """
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    sys.argv = ["etab", *words]
    code = 1
    try:
        main_command()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os._exit(code)


def killed(words: list[str], seconds: float) -> bool:
    """Run a command, and kill it with all its processes after some seconds.

    Args:
        words: The command, from the word ``run``.
        seconds: When it is killed.

    Returns:
        Whether the command was still at work.
    """
    pid = started(words)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        time.sleep(0.005)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def claims(folder: Path) -> set[str]:
    """Read the claims of cells and entries that are there; each text holds digits of its own.

    Args:
        folder: Where the killed runs write.
    """
    paths = [*(folder / "results" / CLAIMS).glob("*"), *(folder / "cache").rglob("*.claim")]
    return {path.read_text() for path in paths if path.is_file()}


def seconds_of(words: list[str]) -> float:
    """Run a command to its end, and measure how long it takes.

    Args:
        words: The command, from the word ``run``.

    Raises:
        RuntimeError: If the command does not end with the status 0.
    """
    began = time.monotonic()
    status = os.waitpid(started(words), 0)[1]
    if status:
        raise RuntimeError(f"etab {' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - began


def contents(results: Path) -> dict[str, str]:
    """Read the records without their times, and the tables, by their paths.

    Args:
        results: Folder of results.
    """
    texts: dict[str, str] = {}
    for path in sorted(results.rglob("*")):
        name = str(path.relative_to(results))
        if name.startswith(".") or path.suffix not in (".json", ".csv"):
            continue
        texts[name] = path.read_text()
        if path.suffix == ".json":
            record = json.loads(texts[name])
            record.pop("provenance")
            texts[name] = json.dumps(record)
    return texts


def faults(folder: Path, reference: Path) -> list[str]:
    """List what differs from the undisturbed run, and what was left behind.

    Args:
        folder: Where the killed runs wrote.
        reference: Where the undisturbed run wrote.
    """
    found: list[str] = []
    if contents(folder / "results") != contents(reference / "results"):
        found.append("the results differ from those of the undisturbed run")
    entries = [path.parent for path in (folder / "cache").rglob("entry.json")]
    found += [f"{entry}: {entry_damage(entry)}" for entry in entries if entry_damage(entry)]
    found += [f"{path} is left" for path in (folder / "results" / CLAIMS).glob("*")]
    found += [f"{path} is left" for path in (folder / "cache").glob("features/*/*.*.part")]
    # A claim may outlive its entry by a moment: nobody takes it over, and --clean removes it. The
    # next run removes temporary files that are a day old.
    remove_litter(folder / "cache", older_than=0.0)
    remove_temporary_files(folder / "results", older_than=0.0)
    found += [f"{path} is left" for path in folder.rglob("*.part")]
    for pattern in ("*.claim", "*.takeover", ".*.clock"):
        found += [f"{path} is left" for path in (folder / "cache").rglob(pattern)]
    return found


def main() -> None:
    """Kill a plan as often as asked, resume it, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.folder.exists() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty; name a new folder.")
    data = options.folder / "data"
    phantom.write(data, patients=12, names=("camus",))
    reference = options.folder / "reference"
    warm = options.folder / "warm"
    seconds_of(command(reference, data, options.workers))
    whole = seconds_of(command(warm, data, options.workers))
    idle = seconds_of(command(warm, data, options.workers))  # every cell is finished
    problems = faults(warm, reference)
    cells = len(contents(reference / "results"))
    moments = random.Random(options.seed)
    kills = outside = starts = cycle = 0
    while kills < options.kills and starts < TRIES * options.kills:
        folder = options.folder / f"killed-{cycle}"
        words = command(folder, data, options.workers)
        while kills < options.kills and starts < TRIES * options.kills:
            starts += 1
            before = claims(folder)
            left = 1 - len(contents(folder / "results")) / cells
            if not killed(words, moments.uniform(0.7 * idle, idle + left * (whole - idle))):
                break
            if claims(folder) - before:
                kills += 1
            else:
                outside += 1
        seconds_of(words)
        problems += faults(folder, reference)
        cycle += 1
    print(
        f"{kills} of {options.kills} kills in the middle of a cell or an entry, {outside} before, "
        f"between or after them, {starts - kills - outside} starts that ended by themselves; "
        f"{cycle} plans of {whole:.0f} s, of which {idle:.0f} s without work: "
        f"{len(problems)} faults."
    )
    print("\n".join(problems))
    sys.exit(1 if problems or kills < options.kills else 0)


if __name__ == "__main__":
    main()
